"""Array types by their dtype."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
PixelArray = NDArray[np.uint8]
