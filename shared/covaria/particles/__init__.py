"""What was measured: STAR, .cs, pickles and MRC stacks become one `Particles` value."""

from covaria.particles.assemble import read_particles
from covaria.particles.model import ContrastTransfer, ImageStack, Particles
from covaria.particles.stacks.images import StackImages, read_ahead
from covaria.particles.store import load, save

__all__ = [
    "ContrastTransfer",
    "ImageStack",
    "Particles",
    "StackImages",
    "load",
    "read_ahead",
    "read_particles",
    "save",
]
