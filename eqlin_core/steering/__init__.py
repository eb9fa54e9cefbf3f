"""The map of one prompt pushes the text that follows another."""
