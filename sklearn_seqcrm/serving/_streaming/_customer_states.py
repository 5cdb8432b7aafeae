"""The state of every customer: an array of records, and the slot of each customer.

Fields of a record, for M networks whose packed states have V vectors (see
`RecurrentState`), W of them sums over all events::

    dtype      vectors                      totals
    float32    (M, V, H) float32            none
    float16    (M, V - W, H) float16        (M, W, H) float32

A float16 has 11 significant bits: adding 0.4 to a sum of 2,048 does not change it. So
sums over all events stay in float32. Everything else is bounded or decays, and rounding
costs less than a thousandth of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class StoredVectors:
    """Read and write access to the vectors of records.

    `adds_up` is which of the V vectors are sums over all events, and `dtype`, float32
    or float16, the type of all others.
    """

    def __init__(self, dtype: str, adds_up: Sequence[bool]) -> None:
        self._dtype = dtype
        wide = np.array(adds_up, dtype=bool) & (dtype == "float16")
        self._wide, self._narrow = np.flatnonzero(wide), np.flatnonzero(~wide)

    def fields(self, n_networks: int, size: int) -> list[Any]:
        """Return the fields of the dtype of a record."""
        shape = n_networks, len(self._narrow), size
        fields: list[Any] = [("vectors", self._dtype, shape)]
        if len(self._wide):
            shape = n_networks, len(self._wide), size
            fields.append(("totals", "float32", shape))
        return fields

    def load(self, records: Any, number: int) -> np.ndarray:
        """Return the vectors of a network, shape (..., V, H), float32."""
        narrow = records["vectors"][..., number, :, :]  # (..., V - W, H)
        if not len(self._wide):
            return narrow.astype("float32", copy=False)
        wide = records["totals"][..., number, :, :]  # (..., W, H)
        n_vectors = len(self._narrow) + len(self._wide)
        vectors = np.empty((*wide.shape[:-2], n_vectors, wide.shape[-1]), "float32")
        vectors[..., self._narrow, :] = narrow
        vectors[..., self._wide, :] = wide
        return vectors

    def store(
        self, records: np.ndarray, slots: Any, number: int, vectors: np.ndarray
    ) -> None:
        """Write the vectors of a network, (V, H) or (B, V, H), into slots."""
        if not len(self._wide):
            records["vectors"][slots, number] = vectors
            return
        records["vectors"][slots, number] = vectors[..., self._narrow, :]
        records["totals"][slots, number] = vectors[..., self._wide, :]


# A full array grows by this factor. Growing copies it, so that a customer is copied
# about four times in all.
_ROOM = 1.25
_FEWEST = 64
# If there are more customers than may be remembered, one in 64 is forgotten at once:
# sorting by the last event takes as long for one as for many.
_AT_ONCE = 64


class CustomerStateTable:
    """A record for each customer, in slots of one array that grows.

    `start`, (1,), is the record of a customer without events. It has the field
    ``"last"``, the time of the last event.
    """

    # (n_slots,), structured; those of free slots have no meaning.
    records: np.ndarray

    def __init__(self, start: np.ndarray) -> None:
        self._start = start
        self._slots: dict[Any, int] = {}
        self._free: list[int] = []
        self.records = np.repeat(start, 0)

    def __len__(self) -> int:
        """Number of customers."""
        return len(self._slots)

    @property
    def any_customer(self) -> Any:
        """One of the customers, whose type all others have; None without any."""
        return next(iter(self._slots), None)

    @property
    def _used_slots(self) -> np.ndarray:
        """Slots of all customers, shape (n,), int64."""
        return np.fromiter(self._slots.values(), "int64", count=len(self))

    def find(self, customers: Sequence[Any]) -> np.ndarray:
        """Return the slot of each customer, -1 for unknown ones; shape (n,), int64."""
        get = self._slots.get
        return np.fromiter(
            (get(one, -1) for one in customers), "int64", count=len(customers)
        )

    def find_one(self, customer: Any) -> int:
        """Return the slot of a customer, -1 for an unknown one."""
        return self._slots.get(customer, -1)

    def at(self, slots: np.ndarray) -> np.ndarray:
        """Return copies of records; slot -1 is a customer without events."""
        if not len(self.records):
            return np.repeat(self._start, len(slots))
        records = self.records[slots]
        records[slots < 0] = self._start[0]
        return records

    def at_one(self, slot: int) -> np.ndarray:
        """Return a view of the record in a slot, shape (1,); -1 as in `at`."""
        return self._start if slot < 0 else self.records[slot : slot + 1]

    def add(self, customers: Sequence[Any]) -> np.ndarray:
        """Return the slots (n,) of different customers, new ones for unknown ones."""
        # joblib maps the arrays of a scorer into its workers, where they are read-only.
        if not self.records.flags.writeable:
            self.records = np.array(self.records)
        slots = self.find(customers)
        new = np.flatnonzero(slots < 0).tolist()
        if new:
            own = self._take_slots(len(new))
            self.records[own] = self._start[0]
            slots[new] = own
            self._slots.update(
                (customers[i], slot) for i, slot in zip(new, own, strict=True)
            )
        return slots

    def forget(self, customers: Iterable[Any]) -> int:
        """Free the slots of customers; unknown ones are ignored. Return how many."""
        freed = [self._slots.pop(one, -1) for one in customers]
        freed = [slot for slot in freed if slot >= 0]
        self._free += freed
        return len(freed)

    def last_seen_before(self, tick: Any) -> list[Any]:
        """Return the customers whose last event is before a time in ticks."""
        old = self.records["last"][self._used_slots] < tick
        return [one for one, is_old in zip(self._slots, old, strict=True) if is_old]

    def keep_latest(self, most: int, slot: int) -> None:
        """Forget the customers with the oldest last events, if more than `most`.

        A 64th of this number is forgotten as well, to make room for the next ones. The
        customer in `slot` stays in any case; -1: there is none.
        """
        if len(self) <= most:
            return
        slots = self._used_slots
        n_freed = len(self) - most + most // _AT_ONCE
        # Stable: of equal times, customers who arrived first are forgotten first.
        by_last = np.argsort(self.records["last"][slots], kind="stable")
        by_last = by_last[slots[by_last] != slot]
        oldest = np.zeros(len(self), dtype=bool)
        oldest[by_last[:n_freed]] = True
        self.forget([one for one, old in zip(self._slots, oldest, strict=True) if old])

    def to_arrays(self) -> tuple[list[Any], np.ndarray]:
        """Return all customers, and their records in the same order."""
        return list(self._slots), self.records[self._used_slots]

    def restore(self, customers: Sequence[Any], records: np.ndarray) -> None:
        """Replace all customers by those that `to_arrays` returned."""
        self._slots = dict(zip(customers, range(len(customers)), strict=True))
        self._free = []
        self.records = records

    def _take_slots(self, n: int) -> list[int]:
        """Return n free slots: those of forgotten customers first."""
        reused = [self._free.pop() for _ in range(min(n, len(self._free)))]
        # Slots in use and free ones fill the array up to `first`, without holes.
        first = len(self._slots) + len(reused) + len(self._free)
        last = first + n - len(reused)
        if last > len(self.records):
            self._grow(last)
        return [*reused, *range(first, last)]

    def _grow(self, least: int) -> None:
        if len(self.records):
            least = max(least, int(_ROOM * len(self.records)))
        grown = np.empty(max(least, _FEWEST), self.records.dtype)
        grown[: len(self.records)] = self.records
        self.records = grown
