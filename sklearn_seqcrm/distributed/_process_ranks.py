"""Collectives of `torch.distributed` behind a training of several ranks."""

from __future__ import annotations

import math
import pickle
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from numbers import Number
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
import torch.distributed as dist
from joblib import wrap_non_picklable_objects
from skorch.callbacks import Callback

from sklearn_seqcrm._columns import Table, customer_hashes
from sklearn_seqcrm._recurrent.data import (
    Batch,
    Inputs,
    Ranks,
    RowData,
    SharedRows,
    number_of_all,
    share_rows,
)
from sklearn_seqcrm.distributed._checkpoint import Checkpoint, EpochCheckpoint
from sklearn_seqcrm.events import HistoryArray

T = TypeVar("T")

# Events from which an event model learns levels, scales and densities before training.
# Estimates of more events differ from these by less than matters to the network.
_EVENTS_TO_LEARN = 2_000_000


def dumps(value: Any) -> bytes:
    """Pickle a value, with functions and classes of a notebook by their code."""
    return pickle.dumps(wrap_non_picklable_objects(value, keep_wrapper=False))


def picklable(error: Exception) -> Exception:
    """Return the exception, or its text in a RuntimeError if pickles lose it."""
    try:
        pickle.loads(dumps(error))
    except Exception:
        other = RuntimeError(repr(error))
        for note in getattr(error, "__notes__", []):
            other.add_note(note)
        return other
    return error


class ProcessRanks(Ranks):
    """The processes of a group of `torch.distributed`.

    The state after each epoch is kept in the `checkpoint`.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.checkpoint = checkpoint
        # NCCL sends tensors of a GPU only.
        self._device = "cuda" if dist.get_backend() == "nccl" else "cpu"

    # Values and arrays --------------------------------------------------------------

    def gather(self, value: Any) -> list[Any]:
        """Return a value of each rank; values are pickled, and should be small."""
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value)
        return found

    def agree(self, value: Any) -> Any:
        """Return the value of rank 0: in a restarted training, that of its start."""
        return self.gather(self.checkpoint.first_value(value))[0]

    def attempt(self, function: Callable[[], T]) -> T:
        """Return the result of a function; all ranks raise an error of one of them.

        Otherwise the others would only learn that they have lost that one. The error
        gets a note with the number of the rank and its traceback.
        """
        found, own, report = None, None, None
        try:
            found = function()
        except Exception as error:
            own = error
            own.add_note(f"Raised on rank {self.rank}:\n{traceback.format_exc()}")
            report = dumps(picklable(own))
        reports = [one for one in self.gather(report) if one is not None]
        if own is not None:
            raise own
        if reports:
            raise pickle.loads(reports[0])
        return found  # type: ignore[return-value]

    def concatenate(self, array: np.ndarray) -> np.ndarray:
        """Return the arrays of all ranks, shape (n, ...), one after the other.

        A dataclass of arrays, such as outcomes and treatments, is followed.
        """
        if is_dataclass(array):
            own = [getattr(array, one.name) for one in fields(array)]
            return type(array)(*map(self.concatenate, own))
        array = np.ascontiguousarray(array)
        forms = self.gather((array.dtype, array.shape, _type_of(array)))
        types = [own_type for *_, own_type in forms]
        if len(set(types) - {None}) > 1:
            raise ValueError(
                "y, treatment or sample_weight have different types on ranks: "
                f"{', '.join(f'{one} on rank {i}' for i, one in enumerate(types))}. "
                "Convert them to one type, such as text."
            )
        one_form = len({(dtype, shape[1:]) for dtype, shape, _ in forms}) == 1
        if not one_form or array.dtype == "O":
            return np.concatenate(self.gather(array))
        return self._concatenate_bytes(array, [shape[0] for _, shape, _ in forms])

    def _concatenate_bytes(self, array: np.ndarray, counts: list[int]) -> np.ndarray:
        """Return arrays that differ in their numbers of rows, one after the other."""
        row = array.dtype.itemsize * int(np.prod(array.shape[1:], dtype="int64"))
        most = max(counts) * row
        if not most:
            return array
        flat = torch.zeros(most, dtype=torch.uint8, device="cpu")
        own = array.reshape(-1).view("uint8")
        flat[: len(own)] = torch.from_numpy(own.copy())
        flat = flat.to(self._device)
        found = [torch.empty_like(flat) for _ in counts]
        dist.all_gather(found, flat)
        parts = [
            one[: n * row].cpu().numpy() for one, n in zip(found, counts, strict=True)
        ]
        return np.concatenate(parts).view(array.dtype).reshape(-1, *array.shape[1:])

    def sum(self, array: np.ndarray) -> np.ndarray:
        """Return the sum of the arrays of all ranks, which have one shape, float64."""
        total = torch.tensor(np.asarray(array, "float64"), device=self._device)
        dist.all_reduce(total)
        return total.cpu().numpy()

    def refuse_differences(self, value: Any, what: str) -> None:
        """Raise a ValueError on all ranks if a value is not the same on all."""
        first, *others = self.gather(value)
        different = [i for i, one in enumerate(others, 1) if one != first]
        if different:
            raise ValueError(
                f"Ranks {different} of {self.size} {what}. Rank 0 is what they differ "
                "from."
            )

    # Rows ---------------------------------------------------------------------------

    def join_levels(self, inputs: Inputs) -> Inputs:
        """Return inputs with the numbers of levels of all ranks, for plain tensors.

        Without an encoder, the number of levels is the largest code of the rows.
        """
        levels = [[spec.n_levels for spec in inputs.specs]]
        of_ranks = self.gather((inputs.encoded, [*map(len, *levels)], *levels))
        if any(form[:2] != (False, of_ranks[0][1]) for form in of_ranks):
            return inputs
        most = [
            tuple(map(max, zip(*of_column, strict=True)))
            for of_column in zip(*(one[2] for one in of_ranks), strict=True)
        ]
        specs = zip(inputs.specs, most, strict=True)
        return inputs._replace(
            specs=tuple(replace(spec, n_levels=n) for spec, n in specs)
        )

    def share(self, inputs: Inputs) -> Inputs:
        """Return the rows of all ranks; those of others without steps."""
        data = inputs.data
        self.refuse_differences(
            (inputs.specs, inputs.names, inputs.clocks, data.static.shape[1]),
            "have other columns, clocks or encoders; load one fitted pipeline on all",
        )
        customers = number_of_all(inputs.customers(), self)
        ends = [
            None if None in column else min(column)
            for column in zip(*self.gather(inputs.ends), strict=True)
        ]
        return inputs._replace(
            data=share_rows(data, self), customers=lambda: customers, ends=tuple(ends)
        )

    def share_events(
        self, data: RowData, customers: np.ndarray
    ) -> tuple[RowData, np.ndarray]:
        """Return the rows and customers of all ranks, for an event model."""
        return share_rows(data, self), number_of_all(customers, self)

    def sample(self, table: Table) -> Table:
        """Return rows of all ranks from which an event model learns its fields.

        All rows, if they see two million events in total, or else as many customers as
        see about that many.
        """
        # Drawn by the hashes of customers: neither the number of ranks nor random_state
        # changes it, so that all networks have the same levels and scales.
        [array] = table.histories.values()
        n_events = int(self.sum(np.array(array.lengths.sum())))
        keep = np.arange(len(array))
        if n_events > _EVENTS_TO_LEARN:
            own = _mixed(customer_hashes(array))
            every = np.unique(self.concatenate(np.unique(own)))
            n_kept = math.ceil(len(every) * _EVENTS_TO_LEARN / n_events)
            keep = np.flatnonzero(own <= every[n_kept - 1])
        frame = table.frame.iloc[keep]
        for name, one in table.histories.items():
            frame = frame.assign(**{name: in_memory(one[keep])})
        parts = self.gather(frame)
        return Table.of(pd.concat(parts, ignore_index=True))

    def own_rows(self, data: RowData) -> RowData:
        """Return the rows that this rank has, in their order."""
        assert isinstance(data, SharedRows)
        return data.own_rows

    def own_batch(self, batch: Batch) -> Batch:
        """Return the rows of a batch that this rank has, perhaps none."""
        data = batch.data
        assert isinstance(data, SharedRows)
        numbers = [data.number[rows] for rows in batch.parts]
        own = [part[part >= 0] for part in numbers]
        parts = [part for part in own if len(part)]
        return type(batch)(data.own_rows, parts, batch.share)

    def join_outputs(
        self, outputs: list[torch.Tensor], batch: Batch, n_outputs: int
    ) -> torch.Tensor:
        """Return the outputs of all rows of a batch, shape (n, n_outputs)."""
        data = batch.data
        assert isinstance(data, SharedRows)
        dtype = torch.float32 if data.sources else torch.float64
        # Each row has one term that is not 0: the sum is exact.
        joined = torch.zeros(len(batch), n_outputs, dtype=dtype, device=self._device)
        at = torch.from_numpy(np.flatnonzero(data.place[batch.rows] >= 0))
        if outputs:
            joined[at] = torch.cat(outputs).to(joined)
        dist.all_reduce(joined)
        return joined if not outputs else joined.to(outputs[0].device)

    # Training -----------------------------------------------------------------------

    def sum_gradients(
        self, parameters: Sequence[torch.nn.Parameter], losses: list[torch.Tensor]
    ) -> torch.Tensor:
        """Add up the gradients of all ranks in place, and return the sum of losses.

        One call for all: the message is::

            | gradient of each parameter | loss | 1 for each that has a gradient |
        """
        device, sizes = parameters[0].device, [one.numel() for one in parameters]
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        has_gradient = [float(one.grad is not None) for one in parameters]
        loss = torch.stack(losses).sum() if losses else torch.zeros((), device=device)
        tail = torch.tensor(has_gradient, dtype=torch.float32, device=device)
        parts = [*(one.flatten() for one in own), loss.reshape(1).float(), tail]
        message = torch.cat(parts).to(self._device)
        dist.all_reduce(message)
        sums = message.to(device).split([*sizes, 1, len(parameters)])
        *gradients, total, counts = sums
        together = zip(parameters, gradients, counts.tolist(), strict=True)
        for one, gradient, count in together:
            # Without a row that uses it, a parameter has no gradient and does not
            # change.
            if count:
                one.grad = gradient.reshape(one.shape)
        return total[0]

    def dropout_seed(self, seed: int) -> int:
        """Return the seed of the dropout masks of this rank, on rank 0 the same."""
        if self.rank == 0:
            return seed
        return int(np.random.SeedSequence([seed, self.rank]).generate_state(1)[0])

    def resume(self, net: Any) -> bool:
        """Restore a net from a checkpoint; return whether its training has ended.

        Without one, all ranks start from the net of rank 0: pretrained or earlier
        weights may differ, and so may the last bits of a regression.
        """
        self._send_weights(net)
        state = [(net.optimizer_.state_dict(), net.last_step)]
        # In the memory of the processor: ranks may have different GPUs.
        dist.broadcast_object_list(state, 0, device=torch.device(self._device))
        if self.rank:
            optimizer, net.last_step = state[0]
            net.optimizer_.load_state_dict(optimizer)
        return self.checkpoint.resume(net)

    def _send_weights(self, net: Any) -> None:
        """Give all ranks the weights of rank 0."""
        for tensor in net.module_.state_dict().values():
            own = tensor.to(self._device)
            dist.broadcast(own, 0)
            tensor.copy_(own)

    def begin_epoch(self, net: Any, batches: Any) -> None:
        """Keep the iterator of training batches of an epoch, which begins now."""
        self.checkpoint.begin_epoch(net, batches, self)

    def callbacks(self) -> tuple[list[Any], list[Any]]:
        """Return callbacks of skorch before and after the others of a training."""
        return [AgreedEpochs(self)], [EpochCheckpoint(self.checkpoint, self)]

    def join_largest(self, net: Any) -> None:
        """Give all ranks the largest totals that any of them has trained on.

        In training a rank needs its own only, see `CopyMechanism.gate_logits`.
        """
        for name, buffer in net.module_.named_buffers():
            if name.endswith("most_total"):
                own = buffer.to(self._device)
                dist.all_reduce(own, dist.ReduceOp.MAX)
                buffer.copy_(own)

    def finish(self, net: Any) -> None:
        """Give all ranks the weights of rank 0, and store them."""
        self._send_weights(net)
        self.checkpoint.finish(net, self)


class AgreedEpochs(Callback):
    """Let all ranks validate one network, and see the validation loss of rank 0.

    So all stop together: each rank computes the loss from the same outputs, and
    processors may differ in the last bit.
    """

    def __init__(self, ranks: ProcessRanks) -> None:
        self.ranks = ranks

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Begin with training."""
        self._is_training = True

    def on_batch_begin(self, net: Any, training: bool = False, **kwargs: Any) -> None:
        """Join the largest totals before the first batch of validation."""
        if self._is_training and not training:
            self.ranks.join_largest(net)
        self._is_training = training

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Replace the loss of this epoch."""
        self.ranks.join_largest(net)
        if "valid_loss" in net.history[-1]:
            own = net.history[-1]["valid_loss"]
            net.history[-1]["valid_loss"] = self.ranks.gather(own)[0]


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """Return hashes whose order is unrelated to remainders of the given ones.

    Users may have divided the customers by these (Fibonacci hashing: Knuth, The Art of
    Computer Programming 3, section 6.4).
    """
    return hashes.astype("uint64") * np.uint64(0x9E3779B97F4A7C15)


def _type_of(array: np.ndarray) -> str | None:
    """Return "numbers", "text" or another type of values; None without values."""
    if not array.size:
        return None
    if array.dtype == "O":
        first = array.flat[0]
        return "numbers" if isinstance(first, Number) else "text"
    names = {**dict.fromkeys("biuf", "numbers"), **dict.fromkeys("UST", "text")}
    return names.get(array.dtype.kind, str(array.dtype))


def in_memory(array: HistoryArray) -> HistoryArray:
    """Return the same histories with a log in memory that has their customers only.

    Of a log on a disk, a pickle would have the path only.
    """
    rows = array.rows
    kept = np.unique(rows.codes[rows.codes >= 0])
    return HistoryArray.of(rows.within(rows.log.subset(kept), kept), array.dtype)
