"""Particle sets that arrive by themselves: rules, where they lie, which files count, what they hold, what was taken."""
