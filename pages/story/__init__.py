"""What page Start is made of: the story in four steps, told with the parts of the pages that it leads to."""
