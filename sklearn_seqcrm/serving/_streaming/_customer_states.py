"""The states of all customers: one array of records, and where each customer's is.

A float16 has 11 bits: a sum of 2,048 no longer changes when 0.4 is added. So sums over
all events stay in float32. Rounding takes less than a thousandth of what is bounded or
fades. The fields of a record, for M networks with N vectors each, W of which add up::

    dtype      vectors                      totals
    float32    (M, N, H) float32            none
    float16    (M, N - W, H) float16        (M, W, H) float32

Version 0.1.0 stored all vectors in float16, (M, N, H), and had no totals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


class StoredVectors:
    """Reads and writes the vectors of records.

    Parameters
    ----------
    dtype : {"float32", "float16"}
        Type of all vectors that do not add up.
    adds_up : sequence of N bool
        Which vectors are sums over all events.
    """

    def __init__(self, dtype: str, adds_up: Sequence[bool]) -> None:
        self._dtype = dtype
        wide = np.array(adds_up, dtype=bool) & (dtype == "float16")
        self._wide, self._narrow = np.flatnonzero(wide), np.flatnonzero(~wide)

    def fields(self, n_networks: int, size: int) -> list[Any]:
        """Fields of the type of a record."""
        shape = n_networks, len(self._narrow), size
        fields: list[Any] = [("vectors", self._dtype, shape)]
        if len(self._wide):
            shape = n_networks, len(self._wide), size
            fields.append(("totals", "float32", shape))
        return fields

    def load(self, records: Any, number: int) -> np.ndarray:
        """Vectors of a network, shape (..., N, H), float32.

        Parameters
        ----------
        records : structured array, or one record
            Records.
        number : int
            Which network.
        """
        narrow = records["vectors"][..., number, :, :]
        if not len(self._wide):
            return narrow.astype("float32", copy=False)
        wide = records["totals"][..., number, :, :]
        n_vectors = len(self._narrow) + len(self._wide)
        vectors = np.empty((*wide.shape[:-2], n_vectors, wide.shape[-1]), "float32")
        vectors[..., self._narrow, :] = narrow
        vectors[..., self._wide, :] = wide
        return vectors

    def store_narrow(self, records: np.ndarray, vectors: np.ndarray) -> None:
        """Write vectors that were all stored in float16, as version 0.1.0 did.

        Parameters
        ----------
        records : structured array of shape (B,)
            The records.
        vectors : ndarray of shape (B, M, N, H), float16
            The vectors.
        """
        for number in range(vectors.shape[1]):
            self.store(records, slice(None), number, vectors[:, number])

    def narrow_like(self, records: np.ndarray) -> np.ndarray:
        """Zeros of the shape and type that `store_narrow` takes."""
        n_records, n_networks, _, size = records["vectors"].shape
        shape = n_records, n_networks, len(self._narrow) + len(self._wide), size
        return np.zeros(shape, self._dtype)

    def store(
        self, records: np.ndarray, slots: Any, number: int, vectors: np.ndarray
    ) -> None:
        """Write vectors of a network.

        Parameters
        ----------
        records : structured array
            All records.
        slots : int, slice or ndarray of shape (B,)
            Which of them.
        number : int
            Which network.
        vectors : ndarray of shape (N, H) or (B, N, H)
            The vectors.
        """
        if not len(self._wide):
            records["vectors"][slots, number] = vectors
            return
        records["vectors"][slots, number] = vectors[..., self._narrow, :]
        records["totals"][slots, number] = vectors[..., self._wide, :]


# How much larger than needed an array becomes: each time it is full, it is copied.
_ROOM = 1.25
_FEWEST = 64
# Where customers are forgotten because they are too many, a few more go at once:
# to look for the oldest takes as long for one as for all.
_AT_ONCE = 64


class CustomerStateTable:
    """A record for each customer, in slots of one array that grows.

    Parameters
    ----------
    start : ndarray of shape (1,), structured
        Record of a customer without events. It has the field ``"last"``, the time of
        the last event.

    Attributes
    ----------
    records : ndarray of shape (n_slots,), structured
        Records; those of slots that no customer has mean nothing.
    """

    def __init__(self, start: np.ndarray) -> None:
        self._start = start
        self._slots: dict[Any, int] = {}
        self._free: list[int] = []
        self.records = np.repeat(start, 0)

    def __len__(self) -> int:
        """Number of customers."""
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        """Bytes of the array, with what it has in reserve."""
        return self.records.nbytes

    @property
    def customers(self) -> list[Any]:
        """All customers, in the order in which they came."""
        return list(self._slots)

    @property
    def any_customer(self) -> Any:
        """One of the customers, to tell of which type they are; None without any."""
        return next(iter(self._slots), None)

    def find(self, customers: Sequence[Any]) -> np.ndarray:
        """Slot of each customer, -1 for an unknown one; shape (n,), int64."""
        get = self._slots.get
        return np.fromiter(
            (get(one, -1) for one in customers), "int64", count=len(customers)
        )

    def find_one(self, customer: Any) -> int:
        """Slot of a customer, -1 for an unknown one."""
        return self._slots.get(customer, -1)

    def at(self, slots: np.ndarray) -> np.ndarray:
        """Copies of the records in some slots; -1 has that without events."""
        if not len(self.records):
            return np.repeat(self._start, len(slots))
        records = self.records[slots]
        records[slots < 0] = self._start[0]
        return records

    def at_one(self, slot: int) -> np.ndarray:
        """The record in a slot, no copy, shape (1,); -1 has that without events."""
        return self._start if slot < 0 else self.records[slot : slot + 1]

    def add(self, customers: Sequence[Any]) -> np.ndarray:
        """Slot of each customer; unknown ones get one.

        Parameters
        ----------
        customers : sequence of n different hashables
            The customers.

        Returns
        -------
        ndarray of shape (n,), int64
            Their slots.
        """
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
        """Free the slots of customers, unknown ones left alone; return how many."""
        gone = [self._slots.pop(one, -1) for one in customers]
        gone = [slot for slot in gone if slot >= 0]
        self._free += gone
        return len(gone)

    def silent_since(self, moment: Any) -> list[Any]:
        """Customers whose last event lies before a moment."""
        slots = np.fromiter(self._slots.values(), "int64", count=len(self))
        old = self.records["last"][slots] < moment
        return [one for one, is_old in zip(self._slots, old, strict=True) if is_old]

    def keep_latest(self, most: int, slot: int = -1) -> None:
        """Forget those who have been silent for longest, if there are more.

        Parameters
        ----------
        most : int
            Customers that may stay. If there are more, a 64th of them goes as well, so
            that the next ones find room.
        slot : int, default=-1
            Slot of a customer that stays, however silent; -1: there is none.
        """
        if len(self) <= most:
            return
        slots = np.fromiter(self._slots.values(), "int64", count=len(self))
        n_gone = len(self) - most + most // _AT_ONCE
        by_last = np.argsort(self.records["last"][slots], kind="stable")
        by_last = by_last[slots[by_last] != slot]
        oldest = np.zeros(len(self), dtype=bool)
        oldest[by_last[:n_gone]] = True
        self.forget([c for c, gone in zip(self._slots, oldest, strict=True) if gone])

    def to_arrays(self) -> tuple[list[Any], np.ndarray]:
        """All customers, and their records in the same order."""
        slots = np.fromiter(self._slots.values(), "int64", count=len(self))
        return list(self._slots), self.records[slots]

    def restore(self, customers: Sequence[Any], records: np.ndarray) -> None:
        """Take over what `to_arrays` returned, in place of all that is here."""
        self._slots = dict(zip(customers, range(len(customers)), strict=True))
        self._free = []
        self.records = records

    def _take_slots(self, n: int) -> list[int]:
        """Slots that nobody has."""
        reused = [self._free.pop() for _ in range(min(n, len(self._free)))]
        # Before, all slots that are not free belong to a customer.
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
