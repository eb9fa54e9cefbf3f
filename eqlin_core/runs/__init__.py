"""Finished results as NumPy arrays and strings, in memory and in files; no torch."""
