"""Maps to every layer, and what each head writes."""
