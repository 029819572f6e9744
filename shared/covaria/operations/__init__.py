"""What operators and triggers do: submit, watch for arrivals, look after jobs and parked messages, monitor."""
