"""What page Matrix is made of."""
