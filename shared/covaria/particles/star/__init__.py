"""STAR files: the grammar, RELION's particle tables, and writing them."""
