"""Numbers as codes: the bits of float64 in integers, and ratios of two numbers.

Numbers are compared and copied as bits, which are exact on devices without float64,
too. A ratio p / q of two numbers, both multiples of a step, is in lowest terms and in
one integer: ``p * 2^32 + q``.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NO_NUMBER = int(np.array(np.nan).view("int64"))
NO_LEVEL = -1
NO_UNITS = -(2**31)  # of a number that is missing, zero, too large or no multiple

N_CODES = 2  # integers of 32 bits that a number takes
_LOW = 2**32 - 1


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


def ratios(units: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return ratios of numbers in units, shape (n,), int64; `NO_NUMBER` for none.

    `units` and `base`, of shape (n,), int64, are below 2^31 in size, or `NO_UNITS`.
    """
    exists = (units != NO_UNITS) & (base != NO_UNITS)
    over = np.where(exists, base, 1)
    divisor = np.gcd(units, over) * np.sign(over)
    return np.where(exists, (units // divisor << 32) + over // divisor, NO_NUMBER)


def times_base(ratio: Tensor, base: Tensor) -> Tensor:
    """Return ratios times numbers in units, both (n,), int64, in units.

    They are `NO_UNITS` if a ratio or a number is missing, and where the product is no
    whole number or 2^31 or larger in size.
    """
    exists = (ratio != NO_NUMBER) & (base != NO_UNITS)
    numerator = (ratio >> 32) * base
    denominator = (ratio & _LOW).clamp(min=1)
    units = torch.div(numerator, denominator, rounding_mode="floor")
    exists &= (units * denominator == numerator) & (units.abs() < -NO_UNITS)
    return torch.where(exists, units, NO_UNITS)
