"""What travels on the bus: the envelope, the work it carries, the ticket beside it, the events that answer."""
