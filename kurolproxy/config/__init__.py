"""Configuration: one TOML file becomes one frozen Config."""
