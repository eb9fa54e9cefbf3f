"""What runs are made of: arrays, and rows of tokens with their scores."""

from __future__ import annotations

import numpy as np

Array = np.ndarray
# Tokens with their scores, best first.
Row = list[tuple[str, float]]
