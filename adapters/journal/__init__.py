"""The journal: SQLite under every move, and the lock of a tenant."""
