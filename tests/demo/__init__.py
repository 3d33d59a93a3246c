"""The demo vendor, seen by the SDKs of the vendors it stands for."""
