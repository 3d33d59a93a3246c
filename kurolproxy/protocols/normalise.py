"""The one pass between decode and encode, and the rearrangements that encoders share."""
