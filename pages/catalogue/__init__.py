"""What page Models is made of."""
