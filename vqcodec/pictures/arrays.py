"""The array that a picture is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: one picture (H, W, 3), or a batch of them (B, H, W, 3), uint8
Pixels = NDArray[np.uint8]
