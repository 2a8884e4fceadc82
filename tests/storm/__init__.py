"""The delivery storm: many events, a Zion that fails in every way it knows, workers that are killed."""
