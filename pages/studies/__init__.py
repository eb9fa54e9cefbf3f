"""What page Study is made of."""
