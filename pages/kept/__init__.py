"""What page Runs is made of."""
