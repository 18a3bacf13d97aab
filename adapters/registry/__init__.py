"""The registry, asked by ourselves."""
