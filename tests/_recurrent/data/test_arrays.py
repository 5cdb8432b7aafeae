"""Functions that torch and NumPy share."""

import numpy as np
import torch
from numpy.testing import assert_array_equal

from sklearn_seqcrm._recurrent.data import at_least_one


def test_at_least_one():
    numbers, expected = np.array([-2.0, 0.5, 1.0, 3.0]), [1.0, 1.0, 1.0, 3.0]
    assert_array_equal(at_least_one(numbers), expected)
    tensor = torch.tensor(numbers, requires_grad=True)
    found = at_least_one(tensor)
    found.sum().backward()
    assert_array_equal(found.detach(), expected)
    # Weights of one event add up to 1, and their gradient must not be lost.
    assert_array_equal(tensor.grad, [0.0, 0.0, 1.0, 1.0])
