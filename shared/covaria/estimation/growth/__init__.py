"""A model that grows with its images: what a version keeps, and how the next goes on from it."""
