"""What page Answer is made of."""
