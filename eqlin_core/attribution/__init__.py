"""What a split of a prediction is worth: tokens deleted in the model itself, and how far the terms foretell it."""
