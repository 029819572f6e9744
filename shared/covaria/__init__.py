"""Covaria: from cryo-EM particle images to the ensemble of conformations they show."""

import os

__version__ = "0.1.0"

# Threads that wait must sleep, not spin: with more threads than cores (several workers on a node), spinning
# barriers take a pass over the images from seconds to minutes. Read by the OpenMP runtimes when torch and numba load.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")
