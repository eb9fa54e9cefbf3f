"""Who may come in, and what a visitor of a public server may ask for."""
