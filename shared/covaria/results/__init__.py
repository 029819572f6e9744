"""What a finished run holds: each value with its writer and its reader."""
