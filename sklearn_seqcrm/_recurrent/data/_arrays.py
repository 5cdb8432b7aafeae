"""Functions for formulas that torch, NumPy and graphs of ONNX share.

Formulas use these functions, and those that torch and NumPy have by the same names:
``xp.exp`` with ``xp = array_namespace(x)``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor, nn

Array: TypeAlias = Any


def array_namespace(array: Array) -> Any:
    """Return the module with the functions of an array: torch or numpy."""
    return torch if isinstance(array, Tensor) else np


def at_least_one(array: Array) -> Array:
    """Return the maximum of an array and 1.

    Its gradient at 1 is 1, where those of torch's `clamp` and `maximum` are 0 (from
    version 2.14 on) and one half: softmax weights of one event add up to 1 exactly.
    """
    if isinstance(array, Tensor):
        return torch.where(array < 1, 1.0, array)
    return np.maximum(array, 1)


def sigmoid(array: Array) -> Array:
    """Return the logistic function; SciPy's is a ufunc, which graphs of ONNX take."""
    return array.sigmoid() if isinstance(array, Tensor) else expit(array)


def softplus(array: Array) -> Array:
    """Return ``log(1 + exp(x))``."""
    if isinstance(array, Tensor):
        return nn.functional.softplus(array)
    return np.logaddexp(0, array)


def softmax(array: Array) -> Array:
    """Return ``exp(x)`` over its sum along axis 1."""
    if hasattr(array, "softmax"):  # tensors, and graphs, where it is one node
        return array.softmax(1)
    odds = np.exp(array - array.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
