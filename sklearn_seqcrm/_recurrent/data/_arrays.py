"""Functions for formulas that torch, NumPy and graphs of ONNX share."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

Array: TypeAlias = Any


def array_namespace(array: Array) -> Any:
    """Return the module with the functions of an array: torch or numpy.

    Formulas use the names that both have: ``concatenate``, ``exp``, ``exp2``,
    ``maximum``, ``tanh`` and ``where``.
    """
    return torch if isinstance(array, Tensor) else np


def sigmoid(array: Array) -> Array:
    """Return the logistic function; SciPy's is a ufunc, which graphs of ONNX take."""
    return array.sigmoid() if isinstance(array, Tensor) else expit(array)
