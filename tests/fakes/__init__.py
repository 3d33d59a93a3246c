"""Stand-ins for what lies beyond the gateway: vendors and their recorded answers."""
