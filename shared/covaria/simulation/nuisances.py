"""What real particle sets suffer from and a clean simulation leaves out: how much of each, all off by default."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from covaria.errors import InvalidInput


@dataclass(frozen=True)
class Nuisances:
    """Standard deviations and shares of images; all combine. Raises InvalidInput for values that cannot be.

    The four kinds of bad images (`*_share`) are disjoint: no image is of two kinds. Heights are in units of the
    ordinary noise's standard deviation.
    """

    rotation_error_deg: float = 0.0
    """Of the files' rotation about each of the image's three axes."""
    shift_error_pixels: float = 0.0
    """Of the files' shift along x and along y."""
    bad_pose_share: float = 0.0
    """Images whose pose in the files has nothing to do with them."""
    defocus_error_angstrom: float = 0.0
    """Of the files' defocus, u and v alike, for each image."""
    empty_share: float = 0.0
    """Images of noise alone: contrast 0. They keep a state and a pose in the files, which mean nothing."""
    carbon_edge_share: float = 0.0
    """Images crossed by a straight step of EDGE_HEIGHT at a random place and angle."""
    blob_share: float = 0.0
    """Images with one bright spot of BLOB_HEIGHT at a random place."""
    micrograph_noise_sd: float = 0.0
    """Of the logarithm of the noise's standard deviation, by micrograph."""
    kept_view_share: float = 1.0
    """Of the orientations outside the preferred views, how many are kept; the number of images stays."""
    scale_sd: float = 0.0
    """Of the logarithm of each image's grey scale, signal, noise and background alike."""
    gradient_height: float = 0.0
    """Of a linear background across one box length, in a random direction."""
    magnification_sd: float = 0.0
    """Of the logarithm of the magnification relative to the files' pixel size, by micrograph."""

    def __post_init__(self) -> None:
        shares = {field.name: getattr(self, field.name) for field in fields(self) if field.name.endswith("_share")}
        for name, value in shares.items():
            if not 0 <= value <= 1:
                raise InvalidInput(f"{_words(name)} of {value:g}", hint="a share of images lies between 0 and 1")
        bad = sum(value for name, value in shares.items() if name != "kept_view_share")
        if bad > 1 + 1e-9:
            raise InvalidInput(
                f"empty images, carbon edges, blobs and bad poses add up to {bad:g} of the images",
                hint="no image is of two kinds: give shares that add up to 1 at most",
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise InvalidInput(f"{_words(field.name)} of {value:g}", hint="give 0 (none) or a positive number")

    @property
    def any(self) -> bool:
        """Whether anything is spoiled at all."""
        return self != Nuisances()


def _words(name: str) -> str:
    return name.replace("_", " ")
