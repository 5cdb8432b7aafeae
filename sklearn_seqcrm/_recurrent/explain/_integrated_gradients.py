"""Integrated gradients of networks (Sundararajan, Taly and Yan, 2017).

The attribution of an input ``x[i]`` with the baseline ``b[i]`` is::

    (x[i] - b[i]) * integral from 0 to 1 of df/dx[i] (b + a * (x - b)) da

Attributions add up to ``f(x) - f(b)`` (completeness).
https://proceedings.mlr.press/v70/sundararajan17a.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._recurrent.data import (
    BatchPart,
    HistorySource,
    MomentChannels,
    RowData,
    pad,
)
from sklearn_seqcrm._recurrent.explain._inside import (
    Explained,
    as_float64,
    full_precision_copy,
    n_visible,
    output_gradients,
    parts_of_single_rows,
    scatter_events,
)
from sklearn_seqcrm._recurrent.network import (
    HistoryNetwork,
    HistoryReader,
    OpenMoment,
    isolated_torch_settings,
)
from sklearn_seqcrm._recurrent.training import HistoryNet


class PathAttributions(NamedTuple):
    """Attributions to all inputs of n rows."""

    # (n_visible, F + C), float64, for each history column: attributions to the channels
    # and codes of the events that each row sees, row by row.
    events: list[np.ndarray]
    # (n,), float64: explained quantity at the rows and at the start of the path.
    output: np.ndarray
    baseline: np.ndarray
    # Attributions to inputs beside the histories, by the field of `RowData` that holds
    # them and in its shape: ``"static"``, ``"sums"``, ``"offset"``.
    beside: dict[str, np.ndarray]

    @property
    def static(self) -> np.ndarray:
        """Attributions to row features, statics and sums, in this order, (n, ...)."""
        found = [
            self.beside[name] for name in ("static", "sums") if name in self.beside
        ]
        return np.concatenate(found, axis=1)


class Start(NamedTuple):
    """Baselines of paths."""

    # (F + C,), bool, for each history column: which channels and codes vary along the
    # path. All other inputs keep their values. None: all inputs start from 0.
    moved: list[np.ndarray] | None
    # Number of baselines per event, drawn from the events that rows see; attributions
    # are their mean. 0: one baseline of zeros.
    n_drawn: int = 0
    seed: int = 0  # of the draws


def integrated_gradients(
    nets: Sequence[HistoryNet],
    data: RowData,
    explained: Explained,
    n_steps: int,
    start: Start,
) -> PathAttributions:
    """Integrate gradients from the baseline to the inputs of each row.

    `nets` are those of an ensemble. The explained quantity, such as log odds, depends
    on all of them, and the attribution of an event adds up its effects through each
    net. The Gauss-Legendre quadrature has `n_steps` points. For each row, attributions
    sum to ``output - baseline``, up to the error of the quadrature.
    """
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    points, weights = (points + 1) / 2, weights / 2  # from [-1, 1] to [0, 1]
    # Channels and codes of each history, F + C.
    widths = [
        source.events.channels.shape[1] + source.codes.shape[1]
        for source in data.sources
    ]
    sizes = zip(map(n_visible, data.sources), widths, strict=True)
    beside = {name: np.zeros(column.shape) for name, column in _beside(data).items()}
    output, baseline = np.zeros((2, len(data)))
    found = PathAttributions(list(map(np.zeros, sizes)), output, baseline, beside)
    device, hidden_size = nets[0].device, nets[0].module__hidden_size
    rng = np.random.RandomState(start.seed)
    n_paths = max(1, start.n_drawn)
    with isolated_torch_settings(device, hidden_size), torch.enable_grad():
        modules = [_differentiable_copy(net.module_) for net in nets]
        for rows, path in _paths(modules, data, explained, start, device):
            output[rows] = path.at(1.0)
            totals: list[Any] = [0.0] * (len(data.sources) + len(beside))
            for _ in range(n_paths):
                if start.n_drawn:
                    path.start_from_others(rng)
                baseline[rows] += path.at(0.0) / n_paths
                added = path.integral(points, weights)
                totals = [a + b / n_paths for a, b in zip(totals, added, strict=True)]
            for i, source in enumerate(data.sources):
                scatter_events(found.events[i], totals.pop(0), source.events, rows)
            for column, numbers in zip(beside.values(), totals, strict=True):
                column[rows] = numbers
    return found


def event_blanking(
    nets: Sequence[HistoryNet], data: RowData, explained: Explained, start: Start
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the fall of the explained quantity if single events are blanked.

    The channels and codes that `start` moves are set to 0 in one event at a time.
    Returns for each history column an array (n_visible,), float64, row by row, and the
    explained quantity, (n,).
    """
    found = [np.zeros(n_visible(source)) for source in data.sources]
    output = np.zeros(len(data))
    device, hidden_size = nets[0].device, nets[0].module__hidden_size
    with isolated_torch_settings(device, hidden_size), torch.no_grad():
        modules = [full_precision_copy(net.module_).eval() for net in nets]
        for rows, path in _paths(modules, data, explained, start, device):
            output[rows] = path.at(1.0)
            for i, source in enumerate(data.sources):
                falls = output[rows, None] - path.without_each(i)
                scatter_events(found[i], falls, source.events, rows)
    return found, output


def _paths(
    modules: Sequence[HistoryNetwork],
    data: RowData,
    explained: Explained,
    start: Start,
    device: str,
) -> Iterator[tuple[np.ndarray, _Path]]:
    """Yield rows, shape (B,), and their path."""
    for rows, part in parts_of_single_rows(data, device):
        events = [
            _Events(source, rows, device, reader.spec.moments)
            for source, reader in zip(data.sources, modules[0].readers, strict=True)
        ]
        yield rows, _Path(modules, part, events, partial(explained, rows=rows), start)


def _differentiable_copy(module: HistoryNetwork) -> HistoryNetwork:
    """Return a copy whose kinks have their mean slope over a stretch of the path."""
    module = full_precision_copy(module)
    module.head = nn.Sequential(
        *(_MeanSlope(one) if isinstance(one, nn.ReLU) else one for one in module.head)
    )
    if module.pieces is not None:
        module.pieces.within = _MeanSlope(module.pieces.within)
    if module.linear is not None:
        module.linear.scaled = _MeanSlope(module.linear.scaled)
    return module


class _MeanSlope(nn.Module):
    """A function of each number, with its mean slope over a stretch of the path.

    At a point of the path the slope of a ReLU is 0 or 1, and the side of the kink on
    which the point lies is arbitrary: with 50 points, sums of attributions were off by
    up to .03 of log odds. Logarithms are curved within a stretch. If the input runs
    from `low` to `high` over a stretch, the mean slope is
    ``(f(high) - f(low)) / (high - low)``.
    """

    # Inputs at the ends of the stretch; `high` is the latest.
    low: Tensor | None = None
    high: Tensor | None = None

    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, numbers: Tensor) -> Tensor:
        """Return values of the function; without gradients, begin the next stretch."""
        if not torch.is_grad_enabled():
            self.low, self.high = self.high, numbers
            return self.function(numbers)
        assert self.low is not None
        assert self.high is not None
        run = self.high - self.low
        rise = self.function(self.high) - self.function(self.low)
        # For a tiny run the quotient is rounding error.
        steady = run.abs() <= 1e-5 * (self.high.abs() + self.low.abs())
        outputs = self.function(numbers)
        slope = torch.where(steady, 0.0, rise / run)
        # Where the run is tiny, the gradient is that of the function.
        outputs = torch.where(steady, outputs, outputs.detach())
        return outputs + slope * (numbers - numbers.detach())


def _by_column(reader: HistoryReader, numbers: np.ndarray) -> np.ndarray:
    """Add up attributions to each embedding vector, to shape (B, T, F + C)."""
    sizes = [embedding.embedding_dim for embedding in reader.embeddings]
    sizes = [1] * (numbers.shape[2] - sum(sizes)) + sizes  # channels first
    parts = np.split(numbers, np.cumsum(sizes)[:-1], axis=2)
    return np.stack([part.sum(axis=2) for part in parts], axis=2)


def _by_number(reader: HistoryReader, moved: np.ndarray) -> Tensor:
    """Expand a mask of channels and codes to the numbers of embedded events."""
    sizes = [embedding.embedding_dim for embedding in reader.embeddings]
    n_channels = len(moved) - len(sizes)
    return torch.from_numpy(np.repeat(moved, [*[1] * n_channels, *sizes]))


def _beside(rows: Any) -> dict[str, Any]:
    """Return the inputs beside the histories, of `RowData` or a `BatchPart`."""
    found = {name: getattr(rows, name) for name in ("static", "sums", "offset")}
    return {name: column for name, column in found.items() if column is not None}


class _Events:
    """The events of one history column that some rows (B,) see, as inputs.

    `places` are positions of their channels if steps are moments, and otherwise None.
    """

    def __init__(
        self,
        source: HistorySource,
        rows: np.ndarray,
        device: str,
        places: MomentChannels | None,
    ) -> None:
        self._source, self._places = source.events, places
        padded = pad(self._source, rows, share=False)
        if places is not None:
            # Padding belongs to a step of its own, behind all others.
            n_steps = max(1, int(source.lengths[rows].max()))
            step = np.full(padded.values.shape[:2], n_steps)  # (B, T)
            lengths = self._source.lengths[rows]
            step[np.arange(step.shape[1]) < lengths[:, None]] = source.visible_events(
                rows
            )[1]
            # All events of a moment have the times of its first one, whose place is the
            # largest so far at which a step begins.
            is_begin = np.diff(step, axis=1, prepend=-1) > 0
            first = np.where(is_begin, np.arange(step.shape[1]), 0)
            first = np.maximum.accumulate(first, axis=1)  # (B, T)
            times = padded.values[:, :, places.times :]
            times.copy_(times[np.arange(len(step))[:, None], first])
            self._step = torch.from_numpy(step).to(device)  # of each event
            self._n_steps = n_steps
        self.values, self.codes = padded.values.to(device), padded.codes.to(device)

    def draw(self, rng: np.random.RandomState) -> tuple[Tensor, Tensor]:
        """Return channels and codes of events drawn from all that rows see."""
        source = self._source
        seen = ranges(source.start, source.stop)[0]
        if not len(seen):  # padding only
            return self.values, self.codes
        which = seen[rng.randint(len(seen), size=self.values.shape[:2])]
        channels = torch.from_numpy(source.channels[which]).to(self.values)
        return channels, torch.from_numpy(source.codes[which]).to(self.codes)

    def join(self, events: Tensor) -> Tensor:
        """Return the inputs of the first layer, (B, S, D), given events (B, T, E)."""
        if (places := self._places) is None:
            return events
        ones = events.new_ones(*self._step.shape, 1)
        counts = self._sum(ones)  # (B, S, 1)
        # Times are equal within a moment: the mean shares them out equally.
        shares = 1 / counts.clamp(min=1)
        sums = self._sum(events)  # (B, S, E)
        return OpenMoment(
            counts,
            counts,  # in a batch no pooling uses the interarrival time
            sums[:, :, places.times : places.n_channels] * shares,
            sums[:, :, : places.times],
            sums[:, :, places.n_channels :],
        ).join(places)

    def _sum(self, numbers: Tensor) -> Tensor:
        """Sum numbers of events, shape (B, T, K), over each moment, to (B, S, K)."""
        # The last step is that of padding.
        sums = numbers.new_zeros(len(numbers), self._n_steps + 1, numbers.shape[2])
        place = self._step[:, :, None].expand_as(numbers)
        return sums.scatter_add(1, place, numbers)[:, :-1]


class _Path:
    """The straight path from baselines to the inputs of some rows.

    `histories` has the events of each history column of `part`, and `explained` takes
    the outputs of each network of the ensemble.
    """

    def __init__(
        self,
        modules: Sequence[HistoryNetwork],
        part: BatchPart,
        histories: Sequence[_Events],
        explained: Callable[[Sequence[np.ndarray]], np.ndarray],
        start: Start,
    ) -> None:
        self.modules, self.part, self.explained = modules, part, explained
        # All networks on one path: inputs are the embedded events of each reader,
        # network by network, and then the shared inputs beside the histories.
        self.readers = [reader for module in modules for reader in module.readers]
        self.histories = [*histories] * len(modules)
        events = self._embed([(one.values, one.codes) for one in self.histories])
        self.inputs = [*events, *_beside(part).values()]
        self.moved = start.moved
        self.starts = [torch.zeros_like(one) for one in self.inputs]
        if start.moved is not None:
            self._start_from(self._split(self.starts)[0])

    def start_from_others(self, rng: np.random.RandomState) -> None:
        """Draw baselines from the events that rows see."""
        histories = self.histories[: len(self.part.histories)]
        drawn = [history.draw(rng) for history in histories]
        self._start_from(self._embed(drawn * len(self.modules)))

    @torch.no_grad()
    def _embed(self, events: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Return embedded events of each reader, from channels and codes."""
        return [
            reader.embed(*one) for reader, one in zip(self.readers, events, strict=True)
        ]

    def _start_from(self, events_at_start: list[Tensor]) -> None:
        """Set baselines of moved inputs to these events, and keep the others."""
        assert self.moved is not None
        events, beside = self._split(self.inputs)
        moved = self.moved * len(self.modules)
        self.starts = [
            torch.where(_by_number(reader, one).to(inputs.device), start, inputs)
            for reader, one, start, inputs in zip(
                self.readers, moved, events_at_start, events, strict=True
            )
        ]
        self.starts += beside

    def _split(self, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        """Split inputs into events of each reader and inputs beside the histories."""
        return inputs[: len(self.readers)], inputs[len(self.readers) :]

    def without_each(self, i: int) -> np.ndarray:
        """Return the quantity with each event at its baseline, shape (n, T)."""
        n_histories = len(self.part.histories)
        own = range(i, len(self.readers), n_histories)
        found = []
        # The event at one step of all rows at once, in all networks.
        for step in range(self.inputs[i].shape[1]):
            inputs = [*self.inputs]
            for k in own:
                inputs[k] = inputs[k].clone()
                inputs[k][:, step] = self.starts[k][:, step]
            found.append(self._explain(as_float64(self._outputs(inputs))))
        return np.stack(found, axis=1)

    def at(self, point: float) -> np.ndarray:
        """Return the quantity at a share of the path, shape (n,)."""
        return self._explain(self._outputs_at(point))

    @torch.no_grad()
    def _outputs_at(self, point: float) -> np.ndarray:
        return as_float64(self._outputs(self._inputs_at(point)))

    def _inputs_at(self, point: float) -> list[Tensor]:
        return [
            start + (numbers - start) * point
            for numbers, start in zip(self.inputs, self.starts, strict=True)
        ]

    def integral(self, points: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
        """Return attributions to the events of each history, and to other inputs."""
        total = [torch.zeros_like(numbers) for numbers in self.inputs]
        # Each point represents a stretch of the path of the length of its weight.
        ends = np.cumsum(weights).tolist()
        low = self._outputs_at(0.0)
        for point, weight, end in zip(
            points.tolist(), weights.tolist(), ends, strict=True
        ):
            high = self._outputs_at(end)
            inputs = [one.requires_grad_() for one in self._inputs_at(point)]
            outputs = self._outputs(inputs)
            slopes = self._slopes(outputs, low, high)
            low = high
            # Unused inputs, as of a constant network, have no gradient.
            gradients = torch.autograd.grad(
                outputs, inputs, slopes * weight, allow_unused=True
            )
            for one, gradient in zip(total, gradients, strict=True):
                if gradient is not None:
                    one += gradient
        added = [
            as_float64(one * (numbers - start))
            for one, numbers, start in zip(total, self.inputs, self.starts, strict=True)
        ]
        events, beside = self._split(added)
        of_readers = list(map(_by_column, self.readers, events))
        n_histories = len(self.part.histories)
        of_histories = [
            np.sum(of_readers[i::n_histories], axis=0) for i in range(n_histories)
        ]
        return [*of_histories, *beside]

    def _slopes(self, outputs: Tensor, low: np.ndarray, high: np.ndarray) -> Tensor:
        """Return gradients of the quantity over the outputs, for a stretch of the path.

        Along the line between the outputs at its ends they are corrected to the mean
        slope. Where a static passes through a piece, outputs change so much within a
        stretch that sums of attributions were off by .05 of the logarithm of a mean.
        """
        slopes = output_gradients(self._explain, outputs)
        run = high - low  # (n, n_networks * n_outputs)
        rise = self._explain(high) - self._explain(low)
        missing = rise - (as_float64(slopes) * run).sum(axis=1)
        squares = np.square(run).sum(axis=1)
        share = np.divide(missing, squares, np.zeros(len(run)), where=squares > 0)
        return slopes + torch.from_numpy(share[:, None] * run).to(slopes)

    def _outputs(self, inputs: list[Tensor]) -> Tensor:
        """Return outputs side by side, shape (n, n_networks * n_outputs)."""
        events, beside = self._split(inputs)
        part = replace(self.part, **dict(zip(_beside(self.part), beside, strict=True)))
        size = len(self.part.histories)
        events = [
            history.join(one)
            for history, one in zip(self.histories, events, strict=True)
        ]
        outputs = [
            module(part, events[i * size : (i + 1) * size])
            for i, module in enumerate(self.modules)
        ]
        return torch.cat(outputs, dim=1)

    def _explain(self, outputs: np.ndarray) -> np.ndarray:
        return self.explained(np.split(outputs, len(self.modules), axis=1))
