"""Every figure of an output directory, drawn from the files that lie there: by the stages, and by `covaria plots`."""
