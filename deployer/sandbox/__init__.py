"""The other side of a deploy, on loopback: Management API, registry and Fly machine, all real."""
