"""The network: a recurrent reader for each history column, and a head over all."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sklearn_seqcrm.neural_network._batches import BatchPart, HistoryBatch

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
POOLINGS = ("last", "mean", "max", "attention", "decay")
PRECISIONS = ("float32", "bfloat16")


@functools.cache
def trains_in_bfloat16(device_type: str) -> bool:
    """Whether an LSTM can be trained in bfloat16 there.

    Parameters
    ----------
    device_type : str
        Type of a device of torch, such as ``"cpu"``.

    Returns
    -------
    bool
        Where it is False a GRU may train in bfloat16 all the same, but slower than in
        float32, as its numbers are converted to and fro.
    """
    with torch.inference_mode(False):  # which switches gradients on as well
        layer = without_drawing(nn.LSTM, 1, 1).to(device_type)
        numbers = torch.zeros(1, 1, 1, dtype=torch.float32, device=device_type)
        try:
            with torch.autocast(device_type, torch.bfloat16):
                layer(numbers)[0].sum().backward()
        except RuntimeError:  # as torch was built, or the processor is
            return False
    return True


@dataclass(frozen=True)
class HistorySpec:
    """What the network has to know of one history column.

    Parameters
    ----------
    n_channels : int
        Number of float channels, F.
    n_levels : tuple of int
        Number of codes of each of the C coded fields.
    half_lives : tuple of float
        Half-lives of the decayed poolings, in typical gaps between events.
    digest : str, default=""
        Stands for the encoder that made the numbers, if one did.
    """

    n_channels: int
    n_levels: tuple[int, ...]
    half_lives: tuple[float, ...]
    digest: str = ""


class HistoryReader(nn.Module):
    """Read the sequences of one history column, and pool what each row sees.

    Parameters
    ----------
    spec : HistorySpec
        Channels, codes and half-lives of the column.
    cell : {"lstm", "gru", "rnn"}
        Kind of recurrent cell.
    hidden_size : int
        Size of the state, H.
    num_layers : int
        Number of layers.
    bidirectional : bool
        Also read backwards. Needs one row per sequence.
    pooling : sequence of str
        How outputs up to a row's cutoff become one vector.
    dropout : float
        Share of outputs that training drops between layers.
    bptt_steps : int or None, default=None
        Longest stretch of events through which gradients flow.
    precision : {"float32", "bfloat16"}, default="float32"
        Arithmetic of the layers; float32 where the device lacks bfloat16.
    generator : torch.Generator or None, default=None
        What first weights are drawn from, on the processor; None is seeded with 0.
    """

    def __init__(
        self,
        spec: HistorySpec,
        cell: str,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        pooling: Sequence[str],
        dropout: float,
        bptt_steps: int | None = None,
        precision: str = "float32",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or new_generator(0)
        self.bptt_steps = bptt_steps
        self.precision = precision
        self.embeddings = nn.ModuleList(
            # Code 0 is a level that training did not know, and padding: it stays 0.
            draw_vectors(
                without_drawing(nn.Embedding, n, embedding_size(n), padding_idx=0),
                generator,
            )
            for n in spec.n_levels
        )
        size = spec.n_channels + sum(
            embedding.embedding_dim for embedding in self.embeddings
        )
        n_directions = 2 if bidirectional else 1
        self.layers = nn.ModuleList()
        for _ in range(num_layers):
            directions = [
                draw_weights(
                    without_drawing(
                        CELLS[cell], max(size, 1), hidden_size, batch_first=True
                    ),
                    hidden_size,
                    generator,
                )
                for _ in range(n_directions)
            ]
            self.layers.append(nn.ModuleList(directions))
            size = hidden_size * n_directions
        if cell == "lstm":
            for layer in self.layers:
                for direction in layer:
                    remember_at_first(direction)
        self.dropout = Dropout(dropout)
        self.pooling = tuple(pooling)
        self.attention = (
            new_linear(size, 1, generator) if "attention" in pooling else None
        )
        half_lives = torch.tensor(spec.half_lives, dtype=torch.float32)
        halvings = 1 / half_lives  # in a typical gap
        self.register_buffer("halvings", halvings)
        n_decays = len(halvings) if "decay" in pooling else 0
        n_pooled = len([name for name in pooling if name != "decay"]) + n_decays
        self.output_size = size * n_pooled

    def forward(self, batch: HistoryBatch) -> torch.Tensor:
        """Read a batch.

        Parameters
        ----------
        batch : HistoryBatch
            Padded sequences and their rows.

        Returns
        -------
        Tensor of shape (n, output_size)
            One vector per row, 0 for an empty history.
        """
        embedded = [
            embedding(batch.codes[:, :, i])
            for i, embedding in enumerate(self.embeddings)
        ]
        steps = torch.cat([batch.values, *embedded], dim=2)  # (B, T, D)
        if steps.shape[2] == 0:
            steps = steps.new_zeros(*steps.shape[:2], 1)
        arithmetic: AbstractContextManager[Any] = nullcontext()
        device_type = steps.device.type
        if self.precision == "bfloat16" and trains_in_bfloat16(device_type):
            arithmetic = torch.autocast(device_type, torch.bfloat16)
        with arithmetic:
            for depth, layer in enumerate(self.layers):
                if depth:
                    steps = self.dropout(steps)
                steps = read_both_ways(layer, steps, batch.lengths, self.bptt_steps)
        steps = steps.float()  # (B, T, H')
        pooled = self._pool(steps, batch)  # (B, R, P * H')
        pooled = pooled.flatten(0, 1)
        if len(pooled) == len(batch.place):  # then they are in order
            return pooled
        # Takes rows as index_select does. Its backward takes half the time where the
        # gradient is a part of a wider one, as it is beside row features.
        return nn.functional.embedding(batch.place, pooled)

    def _pool(self, steps: torch.Tensor, batch: HistoryBatch) -> torch.Tensor:
        n_visible = batch.visible[:, :, None]  # (B, R, 1)
        step = torch.arange(steps.shape[1], device=steps.device)
        seen = step < n_visible  # (B, R, T)
        both_ways = len(self.layers[0]) == 2
        weights = []  # each of (B, R, n, T)
        for name in self.pooling:
            if name == "last" and not both_ways:
                weights.append((step == n_visible - 1).to(steps)[:, :, None])
            elif name == "mean":
                mean = seen.to(steps) / n_visible.clamp(min=1)
                weights.append(mean[:, :, None])
            elif name == "attention":
                weights.append(self._attend(steps, seen)[:, :, None])
            elif name == "decay":
                # In powers of 2: torch's exp takes six times as long where the age of
                # an event is infinite.
                fade = torch.exp2(batch.ages[:, :, None] * -self.halvings[:, None])
                # Normed by the events of the most recent time constant at least, so
                # that the pool of a long silence fades out.
                weights.append(fade / fade.sum(3, keepdim=True).clamp(min=1))
        pooled = []
        if "last" in self.pooling and both_ways:
            pooled.append(last_both_ways(steps, n_visible))
        if weights:
            # One product for all poolings and rows of a sequence, instead of a copy of
            # the outputs for each row.
            weight = torch.cat(weights, dim=2)  # (B, R, P, T)
            n_rows, n_pools = weight.shape[1:3]
            product = torch.bmm(weight.flatten(1, 2), steps)  # (B, R * P, H')
            pooled.append(product.unflatten(1, (n_rows, n_pools)).flatten(2))
        if "max" in self.pooling:
            pooled.append(running_max(steps, n_visible))
        return torch.cat(pooled, dim=2)

    def _attend(self, steps: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        assert self.attention is not None
        scores = self.attention(steps).transpose(1, 2)  # (B, 1, T)
        scores = scores.masked_fill(~seen, -math.inf)  # (B, R, T)
        # Rows that see nothing would be 0 / 0.
        return torch.nan_to_num(torch.softmax(scores, dim=2)) * seen


class Dropout(nn.Module):
    """Dropout in about half the time that torch's takes on a CPU.

    Parameters
    ----------
    p : float
        Share of the numbers that training drops, less than 1.

    Attributes
    ----------
    generator : torch.Generator or None
        What a training draws from, on its device; it ends with the training. None is
        the global generator of torch, as usual in a module trained by hand.
    """

    generator: torch.Generator | None = None

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def __getstate__(self) -> dict[str, Any]:
        """All but the generator, which copies made in a training do without."""
        return {key: v for key, v in self.__dict__.items() if key != "generator"}

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Drop some in training, and scale the others up."""
        if not self.training or self.p == 0:
            return numbers
        # The random numbers of bfloat16 have 256 levels.
        drawn = torch.empty_like(numbers, dtype=torch.float32)
        kept = drawn.uniform_(generator=self.generator) >= self.p
        return numbers * kept.to(numbers.dtype).div_(1 - self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class HistoryNetwork(nn.Module):
    """All history columns, row features and statics, to outputs.

    Parameters
    ----------
    specs : sequence of HistorySpec
        One for each history column.
    n_static : int
        Number of row features and statics.
    n_outputs : int
        Number of outputs.
    cell, hidden_size, num_layers, bidirectional, pooling, dropout
        As in `HistoryReader`.
    head_sizes : sequence of int
        Sizes of the hidden layers of the head.
    bptt_steps, precision
        As in `HistoryReader`.
    seed : int, default=0
        Seed of the first weights, which are the same on any device.
    """

    def __init__(
        self,
        specs: Sequence[HistorySpec],
        n_static: int,
        n_outputs: int,
        cell: str,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        pooling: Sequence[str],
        dropout: float,
        head_sizes: Sequence[int],
        bptt_steps: int | None = None,
        precision: str = "float32",
        seed: int = 0,
    ) -> None:
        super().__init__()
        generator = new_generator(seed)
        self.readers = nn.ModuleList(
            HistoryReader(
                spec,
                cell,
                hidden_size,
                num_layers,
                bidirectional,
                pooling,
                dropout,
                bptt_steps,
                precision,
                generator,
            )
            for spec in specs
        )
        size = sum(reader.output_size for reader in self.readers) + n_static
        layers: list[nn.Module] = []
        for width in head_sizes:
            layers += [new_linear(size, width, generator), nn.ReLU(), Dropout(dropout)]
            size = width
        self.head = nn.Sequential(*layers, new_linear(size, n_outputs, generator))

    def forward(self, batch: BatchPart) -> torch.Tensor:
        """Return the outputs of some rows, shape (n, n_outputs)."""
        parts = [
            reader(history)
            for reader, history in zip(self.readers, batch.histories, strict=True)
        ]
        rows = torch.cat([*parts, batch.static], dim=1)
        if not self.readers and not self.training and has_float64(rows.device):
            # The order in which a product adds up depends on the number of rows. In
            # float64 that does not show: rows of statics alone are the same in any
            # batch. What is read of histories is float32, and not the same; a head in
            # float64 over it took up to 17 % more time for nothing.
            rows = rows.double()
        return self.head(rows)


class Linear(nn.Linear):
    """A linear layer that computes as precisely as its inputs are."""

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return the outputs in the dtype of the inputs."""
        if numbers.dtype != self.weight.dtype:
            weight, bias = self.weight.to(numbers.dtype), self.bias.to(numbers.dtype)
            return nn.functional.linear(numbers, weight, bias)
        return super().forward(numbers)


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64; the GPUs of Apple do not."""
    return device.type != "mps"


def new_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of our own: that of torch belongs to all threads."""
    return torch.Generator(device).manual_seed(seed)


def without_drawing(kind: type[nn.Module], *sizes: int, **options: Any) -> Any:
    """A layer whose weights are still to be set.

    torch draws them from its global generator, but not on the device "meta", where
    tensors have no numbers.
    """
    layer = kind(*sizes, **options, device="meta", dtype=torch.float32)
    return layer.to_empty(device="cpu")


@torch.no_grad()
def draw_weights(layer: Any, n_inputs: int, generator: torch.Generator) -> Any:
    """Set weights and biases as torch does, and return the layer.

    `n_inputs` is the number of inputs of a linear layer, and of units of a recurrent
    one.
    """
    bound = 1 / math.sqrt(max(n_inputs, 1))
    for parameter in layer.parameters():
        parameter.uniform_(-bound, bound, generator=generator)
    return layer


@torch.no_grad()
def draw_vectors(embedding: nn.Embedding, generator: torch.Generator) -> nn.Embedding:
    """Set the vectors of all levels but 0, and return the layer.

    They have a length of about 2: what happened is louder than a single channel,
    however many levels there are.
    """
    spread = 2 / math.sqrt(embedding.embedding_dim)
    embedding.weight.normal_(std=spread, generator=generator)
    embedding.weight[0] = 0
    return embedding


def new_linear(n_inputs: int, n_outputs: int, generator: torch.Generator) -> Linear:
    """A linear layer, drawn."""
    layer = without_drawing(Linear, n_inputs, n_outputs)
    return draw_weights(layer, n_inputs, generator)


def embedding_size(n_levels: int) -> int:
    """Size of the vector of a code: room for every level to stand alone, at most 16."""
    return min(16, n_levels)


def remember_at_first(lstm: nn.LSTM) -> None:
    """Start with forget gates open, so that gradients reach early events."""
    for name, bias in lstm.named_parameters():
        if name.startswith("bias_hh"):
            n_hidden = len(bias) // 4
            nn.init.zeros_(bias)
            nn.init.ones_(bias[n_hidden : 2 * n_hidden])


def read_both_ways(
    directions: Sequence[nn.Module],
    steps: torch.Tensor,
    lengths: torch.Tensor,
    bptt_steps: int | None = None,
) -> torch.Tensor:
    """Run one layer over padded sequences, backwards as well if it has two directions.

    Padding comes after the events, so that the forward direction never meets it. For
    the backward direction each sequence is turned around within its own length. That
    keeps both on the padded kernels of oneDNN, which are several times faster than
    those for packed sequences.
    """
    forward = read_one_way(directions[0], steps, bptt_steps)
    if len(directions) == 1:
        return forward
    step = torch.arange(steps.shape[1], device=steps.device)
    turned = lengths[:, None] - 1 - step  # (B, T)
    turned = torch.where(turned >= 0, turned, step)[:, :, None]
    backward = steps.gather(1, turned.expand_as(steps))
    backward = read_one_way(directions[1], backward, bptt_steps)
    return torch.cat([forward, backward.gather(1, turned.expand_as(backward))], dim=2)


def read_one_way(
    direction: nn.Module, steps: torch.Tensor, bptt_steps: int | None
) -> torch.Tensor:
    """Run one direction over padded sequences, in stretches if they are long.

    A stretch begins every `bptt_steps` events, so that it does not depend on what else
    is in the batch, and gradients end there. What a stretch needs for them is computed
    again when they arrive: memory holds outputs, and the inside of one stretch.
    """
    if (
        bptt_steps is None
        or steps.shape[1] <= bptt_steps
        or not torch.is_grad_enabled()
    ):
        return direction(steps)[0]
    state, outputs = None, []
    for stretch in steps.split(bptt_steps, dim=1):
        output, state = checkpoint(
            direction, stretch, state, use_reentrant=False, preserve_rng_state=False
        )
        # An LSTM has two tensors of state, other cells one.
        state = (
            state.detach()
            if isinstance(state, torch.Tensor)
            else tuple(tensor.detach() for tensor in state)
        )
        outputs.append(output)
    return torch.cat(outputs, dim=1)


def last_both_ways(steps: torch.Tensor, n_visible: torch.Tensor) -> torch.Tensor:
    """Output of both directions where each has read everything, shape (B, R, H').

    The backward direction has so at the first event.
    """
    half = steps.shape[2] // 2
    at = (n_visible - 1).clamp(min=0).expand(-1, -1, half)
    forward = torch.gather(steps[:, :, :half], 1, at)
    backward = steps[:, :1, half:].expand(-1, n_visible.shape[1], -1)
    return torch.cat([forward, backward], dim=2) * (n_visible > 0)


def running_max(steps: torch.Tensor, n_visible: torch.Tensor) -> torch.Tensor:
    """Largest output among the events that each row sees, shape (B, R, H')."""
    at = (n_visible - 1).clamp(min=0).expand(-1, -1, steps.shape[2])
    return torch.cummax(steps, dim=1).values.gather(1, at) * (n_visible > 0)
