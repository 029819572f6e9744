"""Volumes at chosen latent points: the linear model, plus what it leaves of the images nearby."""

from covaria.states.compute import StateGroup, compute_state_groups, compute_states, preview_volume

__all__ = ["StateGroup", "compute_state_groups", "compute_states", "preview_volume"]
