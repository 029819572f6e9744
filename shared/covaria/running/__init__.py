"""How a stage runs here: its context, checkpoints, device and memory, passes over the images, its bookkeeping."""
