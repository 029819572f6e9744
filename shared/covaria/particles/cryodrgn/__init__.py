"""cryoDRGN's pickles: poses, CTF, rows; read without running anything, and written."""
