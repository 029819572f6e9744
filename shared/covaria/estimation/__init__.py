"""The estimators: arrays in, arrays out. They know no file, no device choice, no progress bar."""
