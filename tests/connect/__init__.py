"""Tests of the tools' settings and of how a tool is known."""
