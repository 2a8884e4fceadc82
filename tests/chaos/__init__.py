"""A load under random faults, and the proof that no usage was lost, invented or counted twice: `make chaos`."""
