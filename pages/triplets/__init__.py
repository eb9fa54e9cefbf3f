"""What page Spectra is made of."""
