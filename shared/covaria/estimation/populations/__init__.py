"""How many particles belong to each state, with errors, given how well each particle's place is known."""
