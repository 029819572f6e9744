"""The conformational density: what was observed, deconvolved from the errors of the coordinates."""
