"""The wire protocols: pure functions between wire bytes and the neutral form."""
