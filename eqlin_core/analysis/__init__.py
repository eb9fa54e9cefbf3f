"""From a map to a run: the only place where tensors become the plain numbers that others show."""
