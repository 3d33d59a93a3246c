"""HTTP in: routes, admission, relay."""
