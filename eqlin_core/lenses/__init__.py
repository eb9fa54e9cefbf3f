"""Lenses: averages over a corpus of the maps from the residual stream after each block to the last, and read-outs."""
