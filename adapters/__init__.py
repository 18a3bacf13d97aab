"""One outside system a module: its bytes become our values."""
