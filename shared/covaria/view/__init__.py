"""`covaria view`: a run's cloud and maps in the browser. The page lies in page/ (TypeScript), as built in static/."""
