"""What each number that a network reads adds to its output, along a straight path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from sklearn_seqcrm._ragged import ranges
from sklearn_seqcrm._recurrent.data import BatchPart, RowData
from sklearn_seqcrm._recurrent.explain._inside import (
    Explained,
    as_float64,
    full_precision_copy,
    n_visible,
    numeric_slopes,
    parts_of_single_rows,
    scatter_events,
)
from sklearn_seqcrm._recurrent.network import HistoryNetwork, HistoryReader
from sklearn_seqcrm._recurrent.training import HistoryNet, isolated_torch_settings


class PathAttributions(NamedTuple):
    """What each number adds, of n rows.

    Parameters
    ----------
    events : list of ndarray of shape (n_visible, F + C), float64
        Of each history column, for the events that each row sees, row by row: what
        each channel and each code adds.
    output, baseline : ndarray of shape (n,), float64
        What is explained, at the rows and at the start of the path.
    beside : dict of str to ndarray of n rows, float64
        What each number beside the histories adds, by the field of `RowData` that
        holds it and in its shape: ``"static"``, ``"sums"``, ``"offset"``.
    """

    events: list[np.ndarray]
    output: np.ndarray
    baseline: np.ndarray
    beside: dict[str, np.ndarray]

    @property
    def static(self) -> np.ndarray:
        """Attributions to row features, statics and sums, in this order, (n, ...)."""
        found = [
            self.beside[name] for name in ("static", "sums") if name in self.beside
        ]
        return np.concatenate(found, axis=1)


class Start(NamedTuple):
    """Where paths start, if not from nothing.

    Parameters
    ----------
    moved : list of ndarray of shape (F + C,), bool
        Of each history column: which channels and codes are on the path. The others,
        and row features and statics, are as they are all the way.
    n_drawn : int, default=0
        Paths start from the values of so many other events, drawn from those that rows
        see, one after the other; 0: once, from zeros.
    seed : int, default=0
        What draws them.
    """

    moved: list[np.ndarray]
    n_drawn: int = 0
    seed: int = 0


def integrated_gradients(
    nets: Sequence[HistoryNet],
    data: RowData,
    explained: Explained,
    n_steps: int,
    start: Start | None = None,
) -> PathAttributions:
    """Integrate gradients from nothing to the events and features of each row.

    Parameters
    ----------
    nets : sequence of HistoryNet
        Trained nets, which go along their paths side by side: what they say together
        is explained, and an event adds what it adds by way of each of them.
    data : RowData
        Rows.
    explained : callable
        What is made of the outputs, such as log odds.
    n_steps : int
        Points on the path, those of Gauss and Legendre.
    start : Start or None, default=None
        Where paths start; None: everything from zeros.

    Returns
    -------
    PathAttributions
        Of each row they sum to ``output - baseline``, but for the error of so many
        points.
    """
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    points, weights = (points + 1) / 2, weights / 2
    n_rows = len(data)
    widths = [
        source.channels.shape[1] + source.codes.shape[1] for source in data.sources
    ]
    found = PathAttributions(
        [
            np.zeros((n_visible(source), width))
            for source, width in zip(data.sources, widths, strict=True)
        ],
        np.zeros(n_rows),
        np.zeros(n_rows),
        {name: np.zeros(column.shape) for name, column in _beside(data).items()},
    )
    device = nets[0].device
    rng = np.random.RandomState(0 if start is None else start.seed)
    n_paths = 1 if start is None else max(1, start.n_drawn)
    with isolated_torch_settings(device), torch.enable_grad():
        modules = [_differentiable_copy(net.module_) for net in nets]
        for rows, part in parts_of_single_rows(data, device):
            path = _Path(modules, part, partial(explained, rows=rows), start)
            found.output[rows] = path.at(1.0)
            totals: list[Any] = [0.0] * (len(data.sources) + len(found.beside))
            for _ in range(n_paths):
                if start is not None and start.n_drawn:
                    path.start_from_others(data, rng)
                found.baseline[rows] += path.at(0.0) / n_paths
                added = path.integral(points, weights)
                totals = [a + b / n_paths for a, b in zip(totals, added, strict=True)]
            for i, source in enumerate(data.sources):
                scatter_events(found.events[i], totals[i], source, rows)
            columns = found.beside.values()
            for column, numbers in zip(
                columns, totals[len(data.sources) :], strict=True
            ):
                column[rows] = numbers
    return found


def event_blanking(
    nets: Sequence[HistoryNet], data: RowData, explained: Explained, start: Start
) -> tuple[list[np.ndarray], np.ndarray]:
    """What is explained, less that with each event where its path would start.

    Parameters
    ----------
    nets, data, explained : object
        As in `integrated_gradients`.
    start : Start
        Which channels and codes become 0 in one event at a time.

    Returns
    -------
    events : list of ndarray of shape (n_visible,), float64
        Of each history column, row by row.
    output : ndarray of shape (n,), float64
        What is explained.
    """
    found = [np.zeros(n_visible(source)) for source in data.sources]
    output = np.zeros(len(data))
    device = nets[0].device
    with isolated_torch_settings(device), torch.no_grad():
        modules = [full_precision_copy(net.module_).eval() for net in nets]
        for rows, part in parts_of_single_rows(data, device):
            path = _Path(modules, part, partial(explained, rows=rows), start)
            output[rows] = path.at(1.0)
            for i, source in enumerate(data.sources):
                falls = output[rows, None] - path.without_each(i)
                scatter_events(found[i], falls, source, rows)
    return found, output


def _differentiable_copy(module: HistoryNetwork) -> HistoryNetwork:
    """A copy whose bends have their mean slope."""
    module = full_precision_copy(module)
    module.head = nn.Sequential(
        *(_MeanSlope(one) if isinstance(one, nn.ReLU) else one for one in module.head)
    )
    if module.linear is not None:
        module.linear.within = _MeanSlope(module.linear.within)
    return module


class _MeanSlope(nn.Module):
    """A function with bends whose gradient is its mean slope over a stretch of path.

    At a point of the path its slope is 0 or 1, and it is a matter of chance on which
    side of the bend the point is: with 50 points, sums of attributions were off by up
    to .03 of log odds. Where its input goes from `low` to `high`, the mean slope is
    the rise of the output over that of the input.

    Parameters
    ----------
    bent : Module
        Returns its input, or one constant beyond a bend: ReLU, or Hardtanh.

    Attributes
    ----------
    low, high : Tensor or None
        Inputs at the ends of the stretch, the later of which was seen last.
    """

    low: torch.Tensor | None = None
    high: torch.Tensor | None = None

    def __init__(self, bent: nn.Module) -> None:
        super().__init__()
        self.bent = bent

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return what `bent` does; without gradients, go on to the next stretch."""
        if not torch.is_grad_enabled():
            self.low, self.high = self.high, numbers
            return self.bent(numbers)
        assert self.low is not None
        assert self.high is not None
        run = self.high - self.low
        rise = self.bent(self.high) - self.bent(self.low)
        # Of hardly any run the quotient is rounding.
        steady = run.abs() <= 1e-5 * (self.high.abs() + self.low.abs())
        at = numbers.detach()
        outputs = self.bent(at)
        slope = torch.where(steady, (outputs == at).to(run), rise / run)
        return outputs + slope * (numbers - at)


def _by_column(reader: HistoryReader, numbers: np.ndarray) -> np.ndarray:
    """Add up what the numbers of the vector of a code add, shape (B, T, F + C)."""
    sizes = [embedding.embedding_dim for embedding in reader.embeddings]
    n_channels = numbers.shape[2] - sum(sizes)
    columns = [numbers[:, :, j] for j in range(n_channels)]
    at = n_channels
    for size in sizes:
        columns.append(numbers[:, :, at : at + size].sum(axis=2))
        at += size
    return np.stack(columns, axis=2) if columns else numbers[:, :, :0]


def _by_number(reader: HistoryReader, moved: np.ndarray) -> torch.Tensor:
    """Which numbers of embedded events belong to some channels and codes."""
    sizes = [embedding.embedding_dim for embedding in reader.embeddings]
    n_channels = len(moved) - len(sizes)
    return torch.from_numpy(np.repeat(moved, [*[1] * n_channels, *sizes]))


def _beside(rows: Any) -> dict[str, Any]:
    """Return the inputs beside the histories, of `RowData` or a `BatchPart`."""
    found = {name: getattr(rows, name) for name in ("static", "sums", "offset")}
    return {name: column for name, column in found.items() if column is not None}


class _Path:
    """The straight path to the inputs of some rows, from zeros or others.

    Parameters
    ----------
    modules : sequence of HistoryNetwork
        The networks.
    part : BatchPart
        The rows.
    explained : callable
        What is made of their outputs, those of each network.
    start : Start or None
        Where it starts; None: everything from zeros.
    """

    def __init__(
        self,
        modules: Sequence[HistoryNetwork],
        part: BatchPart,
        explained: Callable[[Sequence[np.ndarray]], np.ndarray],
        start: Start | None,
    ) -> None:
        self.modules, self.part, self.explained = modules, part, explained
        self.readers = [reader for module in modules for reader in module.readers]
        histories = [*part.histories] * len(modules)
        with torch.no_grad():
            events = [
                reader.embed(history.values, history.codes)
                for reader, history in zip(self.readers, histories, strict=True)
            ]
        self.inputs = [*events, *_beside(part).values()]
        self.start = start
        self.starts = [torch.zeros_like(one) for one in self.inputs]
        if start is not None:
            self._start_from(self._split(self.starts)[0])

    def start_from_others(self, data: RowData, rng: np.random.RandomState) -> None:
        """Start from the values of other events, drawn from those that rows see."""
        drawn = []
        for source, history in zip(data.sources, self.part.histories, strict=True):
            seen = ranges(source.start, source.stop)[0]
            if not len(seen):  # padding alone
                drawn.append((history.values, history.codes))
                continue
            which = seen[rng.randint(len(seen), size=history.values.shape[:2])]
            channels = torch.from_numpy(source.channels[which]).to(history.values)
            codes = torch.from_numpy(source.codes[which]).to(history.codes)
            drawn.append((channels, codes))
        with torch.no_grad():
            events = [
                reader.embed(*numbers)
                for reader, numbers in zip(
                    self.readers, drawn * len(self.modules), strict=True
                )
            ]
        self._start_from(events)

    def _start_from(self, events_at_start: list[torch.Tensor]) -> None:
        """Let what is moved start from these events, and the rest stay."""
        assert self.start is not None
        events, beside = self._split(self.inputs)
        moved = [*self.start.moved] * len(self.modules)
        self.starts = [
            torch.where(_by_number(reader, one).to(inputs.device), start, inputs)
            for reader, one, start, inputs in zip(
                self.readers, moved, events_at_start, events, strict=True
            )
        ]
        self.starts += beside

    def _split(self, inputs: list[Any]) -> tuple[list[Any], list[Any]]:
        """Events of each reader, and what stands beside the histories."""
        return inputs[: len(self.readers)], inputs[len(self.readers) :]

    def without_each(self, i: int) -> np.ndarray:
        """What is explained with each event of a history at its start, shape (n, T)."""
        n_histories = len(self.part.histories)
        own = range(i, len(self.readers), n_histories)
        found = []
        for step in range(self.inputs[i].shape[1]):
            inputs = [*self.inputs]
            for k in own:
                inputs[k] = inputs[k].clone()
                inputs[k][:, step] = self.starts[k][:, step]
            found.append(self._explain(as_float64(self._outputs(inputs))))
        return np.stack(found, axis=1)

    def at(self, point: float) -> np.ndarray:
        """What is explained, at a share of the path, shape (n,)."""
        with torch.no_grad():
            outputs = self._outputs(self._inputs_at(point))
        return self._explain(as_float64(outputs))

    def _inputs_at(self, point: float) -> list[torch.Tensor]:
        return [
            start + (numbers - start) * point
            for numbers, start in zip(self.inputs, self.starts, strict=True)
        ]

    def integral(self, points: np.ndarray, weights: np.ndarray) -> list[np.ndarray]:
        """What channels and codes of each history add, and what is beside them."""
        total = [torch.zeros_like(numbers) for numbers in self.inputs]
        ends = np.cumsum(weights).tolist()  # of the stretch around each point
        self.at(0.0)
        for point, weight, end in zip(
            points.tolist(), weights.tolist(), ends, strict=True
        ):
            self.at(end)
            inputs = [one.requires_grad_() for one in self._inputs_at(point)]
            outputs = self._outputs(inputs)
            # A statics-only network has no events, a constant one no gradient.
            gradients = torch.autograd.grad(
                outputs,
                inputs,
                numeric_slopes(self._explain, outputs) * weight,
                allow_unused=True,
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

    def _outputs(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Outputs of all networks side by side, shape (n, n_networks * n_outputs)."""
        events, beside = self._split(inputs)
        part = replace(self.part, **dict(zip(_beside(self.part), beside, strict=True)))
        size = len(self.part.histories)
        outputs = [
            module(part, events[i * size : (i + 1) * size])
            for i, module in enumerate(self.modules)
        ]
        return torch.cat(outputs, dim=1)

    def _explain(self, outputs: np.ndarray) -> np.ndarray:
        return self.explained(np.split(outputs, len(self.modules), axis=1))
