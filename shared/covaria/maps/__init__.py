"""What is reconstructed: volumes on disk, FSC, masks, local filtering, sharpening."""

from covaria.maps.correlation import crossing, fsc, fsc_area, resolution_at
from covaria.maps.filtering import local_filter
from covaria.maps.fourier import radial_filter, resample_volume, shell_average, shell_indices, shell_sum
from covaria.maps.masks import Masks, load_focus_mask, soft_edge, solvent_mask, sphere_mask
from covaria.maps.sharpening import apply_b_factor, guinier_b_factor
from covaria.maps.volume import read_volume, write_volume

__all__ = [
    "Masks",
    "apply_b_factor",
    "crossing",
    "fsc",
    "fsc_area",
    "guinier_b_factor",
    "load_focus_mask",
    "local_filter",
    "radial_filter",
    "read_volume",
    "resample_volume",
    "resolution_at",
    "shell_average",
    "shell_indices",
    "shell_sum",
    "soft_edge",
    "solvent_mask",
    "sphere_mask",
    "write_volume",
]
