"""What goes on now, in memory: the server writes it, the dashboard reads it."""
