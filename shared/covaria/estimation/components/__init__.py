"""The principal components: sums over images, the M-step, shrinkage, what the half-sets confirm."""
