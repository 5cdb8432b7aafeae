"""Numbers as codes: the bits of float64 in integers.

Numbers are compared and copied as bits, which are exact on devices without float64,
too.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NO_NUMBER = int(np.array(np.nan).view("int64"))
NO_LEVEL = -1

N_CODES = 2  # integers of 32 bits that a number takes
_LOW = 2**32 - 1


def codes_of_numbers(numbers: np.ndarray) -> np.ndarray:
    """Return the bits of float64 numbers, shape (n, 2), int32; not finite: missing."""
    return codes_of_bits(bits_of_numbers(numbers))


def bits_of_numbers(numbers: np.ndarray) -> np.ndarray:
    """Return the bits of float64 numbers, shape (n,), int64; not finite: missing."""
    # -0.0 is equal to 0.0.
    return np.where(np.isfinite(numbers), numbers + 0.0, np.nan).view("int64")


def codes_of_bits(bits: np.ndarray) -> np.ndarray:
    """Return integers of 64 bits as codes, shape (n, 2), int32."""
    return np.column_stack([bits >> 32, bits & _LOW]).astype("int32")


def bits_of_codes(codes: Tensor) -> Tensor:
    """Return codes, (..., 2), as one integer each, int64."""
    high, low = codes.to(torch.int64).unbind(-1)
    return (high << 32) | (low & _LOW)
