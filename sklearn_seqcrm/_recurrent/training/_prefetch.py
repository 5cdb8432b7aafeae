"""Batches that are gathered and copied to a GPU while the last one is computed.

A thread gathers the parts of a batch into pinned memory and copies them on a stream of
its own, up to one part ahead::

    thread    gather p0 | gather p1 | wait      | gather p2 | ...
    copies               p0 ->       p1 ->                   p2 ->
    network                 compute p0          | compute p1 | ...

On a CPU the thread and the network would share the cores: batches are left as they are.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from sklearn_seqcrm._recurrent.data import Batch, BatchPart, change_all
from sklearn_seqcrm._recurrent.network import isolated_torch_settings

_Pair = tuple[Batch, Tensor]


class Transfer(Protocol):
    """Copies parts and targets to a device, in two halves."""

    def send(self, tensors: Any) -> Any:
        """Begin to copy a `BatchPart` or a tensor; called in the thread."""

    def receive(self, sent: Any) -> Any:
        """Return the tensors of `send` on the device; called by the consumer."""


class CudaTransfer:
    """Copies from pinned memory to a device of CUDA, on a stream of its own."""

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self._stream = torch.cuda.Stream(self.device)

    def send(self, tensors: Any) -> tuple[Any, Any]:
        """Begin to copy, and return the copies and the event of their end."""
        # The current stream belongs to a thread: that of the consumer stays as it is.
        with torch.cuda.stream(self._stream):
            copies = change_all(
                tensors, lambda one: one.pin_memory().to(self.device, non_blocking=True)
            )
            return copies, self._stream.record_event()

    def receive(self, sent: tuple[Any, Any]) -> Any:
        """Let the computation wait for the copies, and return these."""
        copies, end = sent
        computing = torch.cuda.current_stream(self.device)
        computing.wait_event(end)

        def keep(one: Tensor) -> Tensor:
            # The memory belongs to the stream of copies, which must not use it again
            # before the computation is done.
            one.record_stream(computing)
            return one

        return change_all(copies, keep)


class PrefetchedBatch(Batch):
    """A `Batch` whose parts arrive on the device.

    `arriving` yields them for the first iteration. Further ones gather them again.
    """

    def __init__(self, batch: Batch, arriving: Iterator[BatchPart]) -> None:
        super().__init__(batch.data, batch.parts, batch.share)
        self._batch = batch
        self._arriving = arriving
        self._is_read = False

    def __iter__(self) -> Iterator[BatchPart]:
        """Yield the parts in the order of `rows`."""
        is_first, self._is_read = not self._is_read, True
        return self._arriving if is_first else iter(self._batch)

    def skip_rest(self) -> None:
        """Receive the parts that have not been read."""
        self._is_read = True
        for _ in self._arriving:
            pass


@contextmanager
def prefetched(
    batches: Iterable[_Pair], device: torch.device | str
) -> Iterator[Iterable[Any]]:
    """Prefetch batches within a ``with`` block if the device is one of CUDA.

    On any other device it yields `batches` themselves. At the end of the block no
    thread is left, whatever ended it.
    """
    if torch.device(device).type != "cuda":
        yield batches
        return
    with closing(prefetch(batches, CudaTransfer(device))) as found:
        yield found


def prefetch(
    batches: Iterable[_Pair], transfer: Transfer
) -> Generator[tuple[PrefetchedBatch, Tensor], None, None]:
    """Yield batches, whose parts are gathered and sent by a thread, and their targets.

    Parts that the consumer leaves out are skipped. What gathering raises in the thread
    is raised in its place among the batches.
    """
    gathered = _gather(batches, transfer)
    with ThreadPoolExecutor(1) as thread:
        # One part hides the gathering behind the computation; each further one would
        # take as much memory of the device.
        ahead: list[Future[Any]] = [thread.submit(next, gathered, None)]

        def parts(n: int) -> Iterator[BatchPart]:
            for _ in range(n):
                # `pop` avoids a cycle: list, future, its error, the traceback, list.
                part = transfer.receive(ahead.pop().result()[2])
                ahead.append(thread.submit(next, gathered, None))
                yield part

        try:
            while ahead[0].result() is not None:
                batch, target = ahead[0].result()[:2]
                found = PrefetchedBatch(batch, parts(len(batch.parts)))
                yield found, transfer.receive(target)
                found.skip_rest()
        finally:
            thread.submit(gathered.close)


def _gather(
    batches: Iterable[_Pair], transfer: Transfer
) -> Generator[tuple[Batch, Any, Any], None, None]:
    """Yield a batch, its targets and a part of it, both as they were sent.

    Runs in one thread, whose settings of torch it changes.
    """
    with isolated_torch_settings("cpu"):
        for batch, target in batches:
            sent = transfer.send(target)
            for part in batch:
                yield batch, sent, transfer.send(part)
