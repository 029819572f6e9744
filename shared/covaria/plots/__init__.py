"""Every figure that a run writes: one look, colour-blind-safe, legible at half size; PNG, SVG and CSV."""

from covaria.plots.components import plot_eigenvalues
from covaria.plots.covariates import Dependence, plot_dependences
from covaria.plots.density import plot_density, plot_density_slices
from covaria.plots.latent import (
    plot_contrast_histogram,
    plot_latent_histogram,
    plot_latent_pairs,
    plot_scatter_with_centers,
)
from covaria.plots.maps import plot_local_resolution, plot_mask, plot_volumes_overview
from covaria.plots.particles import plot_angular_distribution, plot_particles
from covaria.plots.regularisation import plot_all_densities, plot_l_curve
from covaria.plots.sensitivity import plot_sensitivity
from covaria.plots.spectra import plot_fsc, plot_noise_spectrum
from covaria.plots.states import plot_populations, plot_state_fsc, plot_state_resolution, plot_states

__all__ = [
    "Dependence",
    "plot_all_densities",
    "plot_angular_distribution",
    "plot_contrast_histogram",
    "plot_density",
    "plot_density_slices",
    "plot_dependences",
    "plot_eigenvalues",
    "plot_fsc",
    "plot_l_curve",
    "plot_latent_histogram",
    "plot_latent_pairs",
    "plot_local_resolution",
    "plot_mask",
    "plot_noise_spectrum",
    "plot_particles",
    "plot_populations",
    "plot_scatter_with_centers",
    "plot_sensitivity",
    "plot_state_fsc",
    "plot_state_resolution",
    "plot_states",
    "plot_volumes_overview",
]
