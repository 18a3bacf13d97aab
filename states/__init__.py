"""The story of a deploy: one table of moves, one file a state."""
