"""HTTP out: how a request reaches a vendor."""
