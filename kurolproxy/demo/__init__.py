"""The built-in demo vendor; it knows nothing of the gateway."""
