"""Language models: found, fetched, read, and their places, tokens and read-outs."""
