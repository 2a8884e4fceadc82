"""Long journeys with foreign clients: `make journeys`."""
