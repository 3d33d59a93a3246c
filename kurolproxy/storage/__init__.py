"""SQLite: accounts, keys and usage."""
