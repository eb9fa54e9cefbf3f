"""What page Tokens is made of."""
