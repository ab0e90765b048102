"""Asking the model again: stitched crops, interventions, and the statistics of both."""
