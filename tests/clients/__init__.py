"""Real agents and Node SDKs against the gateway; ``make test-clients`` runs them."""
