"""A volume at a latent point: neighbourhoods, residual sums, the choice between model and data."""
