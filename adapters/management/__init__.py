"""The Management API, in all its generations."""
