"""The linear maps of a frozen decoder."""
