"""Other systems: their messages into ours, our events into theirs. One small module each."""
