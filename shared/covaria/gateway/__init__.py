"""`covaria gateway`: jobs over HTTP, and the clerk who hears events and carries out orders that come over the bus."""
