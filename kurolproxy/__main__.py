"""Run the command line: ``python -m kurolproxy``."""
