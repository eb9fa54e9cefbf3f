"""What page Compare is made of."""
