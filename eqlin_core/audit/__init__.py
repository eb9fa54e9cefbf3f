"""The proof for any model: how each module was frozen, how exact the map is, what leaks."""
