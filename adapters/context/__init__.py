"""What an engine may see of the project: the Dockerfile's sources, and nothing else."""
