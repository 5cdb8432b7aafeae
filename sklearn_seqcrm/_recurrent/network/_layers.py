"""Layers with their own generators for initial weights and dropout.

torch's global generator belongs to all threads: nothing here draws from it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn


class RandomInTraining(nn.Module):
    """A module that draws random numbers in training, and none otherwise."""

    # Generator of one training, on its device; None afterwards. None draws from torch's
    # global generator, as usual for a module that a user trains by hand.
    generator: torch.Generator | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return all attributes but the generator, which copies and pickles lack."""
        return {key: v for key, v in self.__dict__.items() if key != "generator"}


class Dropout(RandomInTraining):
    """Dropout in about half the time of torch's on a CPU.

    Training sets the share `p`, less than 1, of the numbers to 0, or of the vectors in
    the last axis (`whole_vectors`).
    """

    def __init__(self, p: float, whole_vectors: bool = False) -> None:
        super().__init__()
        self.p, self.whole_vectors = p, whole_vectors

    def forward(self, numbers: Tensor) -> Tensor:
        """Set some numbers to 0 in training, and scale the others up."""
        if not self.training or self.p == 0:
            return numbers
        each = numbers[..., :1] if self.whole_vectors else numbers
        # In float32: the random numbers of bfloat16 have 256 levels only.
        drawn = torch.empty_like(each, dtype=torch.float32)
        kept = drawn.uniform_(generator=self.generator).ge_(self.p)
        return numbers * kept.to(numbers.dtype).div_(1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Linear(nn.Linear):
    """A linear layer that computes in the dtype of its inputs."""

    def forward(self, numbers: Tensor) -> Tensor:
        """Return the outputs in the dtype of the inputs."""
        if numbers.dtype != self.weight.dtype:
            weight, bias = self.weight.to(numbers.dtype), self.bias
            bias = None if bias is None else bias.to(numbers.dtype)
            return nn.functional.linear(numbers, weight, bias)
        return super().forward(numbers)


class _SparseProduct(torch.autograd.Function):
    """Product of a sparse matrix and a matrix with a gradient, on a CPU."""

    @staticmethod
    def forward(ctx: Any, matrix: csr_matrix, dense: Tensor) -> Tensor:
        ctx.matrix = matrix
        return torch.from_numpy(matrix @ dense.detach().numpy())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        gradient = gradients[0].contiguous().numpy()
        return None, torch.from_numpy(ctx.matrix.T @ gradient)


def multiply_sparse(
    offsets: Tensor, columns: Tensor, weights: Tensor, dense: Tensor
) -> Tensor:
    """Multiply a sparse matrix, given by rows, by a matrix that has a gradient.

    On a CPU this is SciPy's product: for sums of embedding vectors it takes a tenth of
    the time of ``embedding_bag``, and a twentieth with the backward pass.

    Row ``i`` has the entries ``offsets[i]:offsets[i + 1]`` of `columns` and `weights`.
    `dense` has the shape (n_columns, D), and the product (n_rows, D).
    """
    shape = len(offsets) - 1, len(dense)
    if dense.device.type == "cpu":
        parts = weights.numpy(), columns.numpy(), offsets.numpy()
        return _SparseProduct.apply(csr_matrix(parts, shape), dense)
    return nn.functional.embedding_bag(
        columns.to(offsets),
        dense,
        offsets,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=True,
    )


def float32_tensor(values: Any) -> Tensor:
    """Return numbers as a tensor of float32 on the CPU, whatever torch's defaults."""
    return torch.tensor(values, dtype=torch.float32, device="cpu")


def new_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new generator on a device."""
    return torch.Generator(device).manual_seed(seed)


def without_drawing(layer: type[nn.Module], *sizes: int, **options: Any) -> Any:
    """Make a layer with weights that are not set yet.

    A layer made as usual draws its weights from torch's global generator. On the device
    "meta", where tensors have no numbers, it draws none.
    """
    made = layer(*sizes, **options, device="meta", dtype=torch.float32)
    return made.to_empty(device="cpu")


@torch.no_grad()
def draw_weights(layer: Any, n_inputs: int, generator: torch.Generator) -> Any:
    """Draw weights and biases, uniform within ``1 / sqrt(n_inputs)`` as in torch.

    `n_inputs` is the number of inputs of a linear layer, and the hidden size of a
    recurrent one. Returns the layer.
    """
    bound = 1 / math.sqrt(max(n_inputs, 1))
    for parameter in layer.parameters():
        parameter.uniform_(-bound, bound, generator=generator)
    return layer


@torch.no_grad()
def new_embedding(
    n_levels: int, size: int, generator: torch.Generator, largest: float = math.inf
) -> nn.Embedding:
    """Make an embedding with drawn vectors; that of level 0 is 0.

    Level 0 is one that training did not see, and padding. For the others the standard
    deviation is ``2 / sqrt(n_levels)``, and `largest` at most. With up to 16 levels,
    which have a dimension each, a vector has a length of about 2: what happened counts
    for more than a single channel. With a thousand levels the length is about 0.25:
    training sees each of them rarely, so that its vector would mostly stay the random
    one. With a length of 2 for all, networks on invoice lines had an AUC that was .003
    lower, and differed more between seeds.
    """
    embedding = without_drawing(nn.Embedding, n_levels, size, padding_idx=0)
    deviation = min(2 / math.sqrt(n_levels), largest)
    embedding.weight.normal_(std=deviation, generator=generator)
    embedding.weight[0] = 0
    return embedding


def new_linear(
    n_inputs: int, n_outputs: int, generator: torch.Generator, bias: bool = True
) -> Linear:
    """Make a linear layer with drawn weights."""
    layer = without_drawing(Linear, n_inputs, n_outputs, bias=bias)
    return draw_weights(layer, n_inputs, generator)


def open_forget_gates(lstm: nn.LSTM) -> None:
    """Set the bias of forget gates to 1, so that gradients reach early events.

    After Gers et al. (2000) and Jozefowicz et al. (2015).
    """
    # Gates are stacked as input, forget, candidate, output.
    bias = lstm.bias_hh_l0
    n_hidden = len(bias) // 4
    nn.init.zeros_(bias)
    nn.init.ones_(bias[n_hidden : 2 * n_hidden])
