"""Images made without an engine: layers from files, written straight to the registry."""
