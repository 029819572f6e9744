"""Image stacks: where they lie, what their bytes mean, reading and shrinking them."""
