"""The last layer of a distribution, which starts where the training events are."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sklearn_seqcrm.neural_network._layers import Linear, new_linear

# A network begins near the distribution that all events have together, and learns from
# there in what they differ.
_START = 0.1


@torch.no_grad()
def new_output(
    n_inputs: int, bias: Sequence[float], generator: torch.Generator
) -> Linear:
    """A linear layer whose outputs are about `bias` at first."""
    layer = new_linear(n_inputs, len(bias), generator)
    layer.weight.mul_(_START)
    layer.bias.copy_(torch.tensor(bias, dtype=torch.float32, device="cpu"))
    return layer
