"""Where settings come from, and why one is refused: flag, environment, project files."""
