"""What the gateway counts, on a registry of its own."""
