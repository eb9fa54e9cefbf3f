"""Singular values and vectors of the maps, and what is left of a prediction when they are cut."""
