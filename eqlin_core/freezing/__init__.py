"""A decoder with its coefficients held: recorded once, replayed, audited."""
