"""Asking the model again: stitched crops, interventions, and random directions."""
