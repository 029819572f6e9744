"""Poses moved to where their own half-set's map wants them, as long as the other half-set confirms it."""
