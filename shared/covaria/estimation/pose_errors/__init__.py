"""Errors of the poses, integrated out to first order: the slices that they add, and their spread."""
