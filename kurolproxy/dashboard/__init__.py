"""The dashboard: pages for account holders and operators, rendered on the server."""
