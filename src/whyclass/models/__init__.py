"""A model, cut at a layer, with what is known about it."""
