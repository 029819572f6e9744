"""The mean map, its noise and mask, and each image's contrast before there are components."""
