"""What a run could have seen: which motions its images would show, were they there."""
