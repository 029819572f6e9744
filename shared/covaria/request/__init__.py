"""What is asked for: the one model of a run's options, its paths, its identity, the stages it goes through."""
