"""One module for each page: its routes and their handlers."""
