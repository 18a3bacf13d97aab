"""A deploy target on this machine: what users try and what the tests use."""
