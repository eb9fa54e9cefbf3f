"""What page Layers is made of."""
