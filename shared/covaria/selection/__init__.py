"""Which particles: conditions on their columns, and the same particles back in the files they came from."""
