"""Who owns an output folder and what happened in it: the lease, the services' books, ownership."""
