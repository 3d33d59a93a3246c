"""Sixteen pairs: each official SDK as a client, each protocol as an upstream."""
