"""What page Steering is made of."""
