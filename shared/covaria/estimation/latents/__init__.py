"""The posterior of an image's contrast and latent coordinates under the linear model."""
