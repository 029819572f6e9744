"""An index of jobs, so that nobody walks through the filesystem for a list: rows, how they are kept, who used what."""
