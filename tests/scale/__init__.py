"""The gateway with 100,000 keys and 10,000,000 rows of usage: ``make test-scale``."""
