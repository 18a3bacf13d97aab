"""cargo: which crates, how they are compiled, what came out, what failed and why."""
