"""How far to trust each image: its noise by band and level, outlying bands, empty images."""
