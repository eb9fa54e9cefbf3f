"""Decompositions of matrices and of functions that act like matrices; no model."""
