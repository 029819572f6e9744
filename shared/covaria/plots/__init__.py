"""Every figure that a run writes: one look, colour-blind-safe, legible at half size."""

from covaria.plots.components import plot_eigenvalues, plot_volumes_overview
from covaria.plots.density import plot_all_densities, plot_density, plot_density_slices, plot_l_curve
from covaria.plots.latent import (
    plot_contrast_histogram,
    plot_latent_histogram,
    plot_latent_pairs,
    plot_scatter_with_centers,
)
from covaria.plots.spectra import plot_fsc, plot_noise_spectrum

__all__ = [
    "plot_all_densities",
    "plot_contrast_histogram",
    "plot_density",
    "plot_density_slices",
    "plot_eigenvalues",
    "plot_fsc",
    "plot_l_curve",
    "plot_latent_histogram",
    "plot_latent_pairs",
    "plot_noise_spectrum",
    "plot_scatter_with_centers",
    "plot_volumes_overview",
]
