"""Faults of the ledger, with real processes, real kills and real disks."""
