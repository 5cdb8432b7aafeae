"""Who did something when: customers, offsets into sorted times, and the search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import narwhals.stable.v1 as nw
import numpy as np
import pandas as pd

from sklearn_seqcrm._ragged import first_at_or_after, ranges
from sklearn_seqcrm._store._clock import Clock
from sklearn_seqcrm._store._ids import (
    exact_ids,
    find_ids,
    hashed_ids,
    refuse_other_kind,
)
from sklearn_seqcrm._store._record import Record
from sklearn_seqcrm._store._series import ids_of


@dataclass(frozen=True, eq=False, repr=False)
class Timeline:
    """The times of all events, sorted by customer and time; never changed in place.

    Parameters
    ----------
    customers : Index of shape (n_customers,)
        One id per segment. A timeline that was stacked from several may repeat one.
    offsets : ndarray of shape (n_customers + 1,), int64
        The events of customer ``i`` are ``offsets[i]:offsets[i + 1]``.
    times : ndarray of shape (n_events,)
        Times on the axis of `clock`, ascending within a customer.
    clock : Clock
        What the numbers in `times` mean.
    record : Record
        How far the log has recorded.
    """

    customers: pd.Index
    offsets: np.ndarray
    times: np.ndarray
    clock: Clock
    record: Record

    def __post_init__(self) -> None:
        """Make the arrays as unwritable as the attributes are."""
        # Rows of many tables view one log, and a change would reach all of them.
        object.__setattr__(self, "offsets", frozen(self.offsets))
        object.__setattr__(self, "times", frozen(self.times))

    def __reduce__(self) -> tuple[Any, ...]:
        """Arrays come writeable out of a pickle; built anew, they are not."""
        return type(self), (
            self.customers,
            self.offsets,
            self.times,
            self.clock,
            self.record,
        )

    @cached_property
    def span(self) -> tuple[Any, Any]:
        """First and last moment of all events and of the record, as Python numbers.

        A timeline without events spans its record alone.
        """
        number = int if self.clock.dtype == "int64" else float
        # Differences of Python's integers do not overflow, those of NumPy's do.
        until = number(self.record.until)
        first, last = self.times.min(initial=until), self.times.max(initial=until)
        return number(first), number(last)

    @property
    def observed_until(self) -> Any:
        """The last moment that the log has recorded, on the axis of `clock`."""
        return self.record.until

    @property
    def end(self) -> Any:
        """The first moment that the log has not recorded, on the axis of `clock`."""
        return self.record.end(self.clock)

    @property
    def counts(self) -> np.ndarray:
        """Number of events of each customer, shape (n_customers,)."""
        return np.diff(self.offsets)

    def identities_of(self, ids: pd.Series, what: str) -> np.ndarray:
        """Numbers that identify customers: their positions, where they are known.

        Parameters
        ----------
        ids : Series of shape (n,)
            Customer ids, without missing values.
        what : str
            How an error names them.

        Returns
        -------
        ndarray of shape (n,), int64
            Positions in `customers`, and `hashed_ids` of unknown ones.
        """
        if not self.customers.is_unique:
            raise ValueError(
                "This log was stacked from several logs and cannot look customers up; "
                "build one with EventLog.append."
            )
        if isinstance(ids.dtype, pd.ArrowDtype):
            ids = ids_of(nw.from_native(ids, series_only=True))
        if isinstance(ids.dtype, pd.CategoricalDtype):
            # Each category once, however many rows have it.
            of_category = self.identities_of(pd.Series(ids.cat.categories), what)
            return of_category[ids.cat.codes.to_numpy()]
        exact = exact_ids(pd.Index(ids, dtype=ids.dtype), what)
        refuse_other_kind(exact, self.customers, what, "the customers of the log are")
        found = find_ids(exact, self.customers)
        unknown = found < 0
        if unknown.any():
            found[unknown] = hashed_ids(exact[unknown])
        return found

    def positions(
        self, codes: np.ndarray, times: np.ndarray, *, after: bool = False
    ) -> np.ndarray:
        """First event of each customer at or after a time.

        Parameters
        ----------
        codes : ndarray of shape (n,), int64
            Customer codes; -1 finds position 0.
        times : ndarray of shape (n,)
            Times on the axis of the clock.
        after : bool, default=False
            Find the first event strictly after the time instead.

        Returns
        -------
        ndarray of shape (n,), int64
            Positions in `times` of the log, within the segment of the customer or at
            its end.
        """
        known = codes >= 0
        # Of nobody the stretch is 0:0; that -1 reads the last offsets does no harm.
        low = np.where(known, self.offsets[codes], 0)
        high = np.where(known, self.offsets[codes + 1], 0)
        return first_at_or_after(self.times, low, high, times, after=after)

    def on(self, clock: Clock, what: str) -> Timeline:
        """Return the same times on another clock of the same kind.

        Parameters
        ----------
        clock : Clock
            Another unit, not coarser than the times need.
        what : str
            How an error names the times.

        Returns
        -------
        Timeline
            The timeline itself if it is on `clock` already.
        """
        if clock == self.clock:
            return self
        # There and back: what is not the same again was rounded.
        times = clock.read(self.clock.as_index(self.times), what)
        wrong = self.clock.read(clock.as_index(times), what) != self.times
        if wrong.any() and clock.dtype == "float64":
            raise ValueError(
                f"{what} hold {int(wrong.sum())} whole numbers beyond 2**53, which "
                "would be rounded among times that are floats; build the log from "
                "integers to begin with."
            )
        if wrong.any():
            raise ValueError(
                f"{what} are finer than the unit {clock.unit or 'integer'} of the log, "
                "so that they would be rounded; build a new log from all tables."
            )
        record = self.record.on(self.clock, clock)
        return Timeline(self.customers, self.offsets, times, clock, record)

    def with_record(self, record: Record) -> Timeline:
        """Return the same times of a log that has recorded to another moment."""
        return Timeline(self.customers, self.offsets, self.times, self.clock, record)

    def at(self, index: np.ndarray) -> Timeline:
        """Keep some events, and the customers who have one of them.

        Parameters
        ----------
        index : ndarray of shape (n,), int64
            Positions of events, ascending.
        """
        # Customers without events share an offset with the next one, who has them: the
        # last of equal offsets is the right one.
        of_customer = np.searchsorted(self.offsets, index, side="right") - 1
        codes, counts = np.unique(of_customer, return_counts=True)
        return Timeline(
            self.customers[codes],
            np.concatenate([[0], np.cumsum(counts)]),
            self.times[index],
            self.clock,
            self.record,
        )

    def subset(self, codes: np.ndarray) -> tuple[Timeline, np.ndarray]:
        """Keep some customers with all their events.

        Parameters
        ----------
        codes : ndarray of shape (n,), int64
            Distinct customer codes, in the order they shall have.

        Returns
        -------
        timeline : Timeline
            The customers at `codes`.
        index : ndarray of shape (n_events_kept,), int64
            Where their events were.
        """
        index, offsets = ranges(self.offsets[codes], self.offsets[codes + 1])
        kept = Timeline(
            self.customers[codes],
            offsets,
            self.times[index],
            self.clock,
            self.record,
        )
        return kept, index


def frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view of an array."""
    view = array.view()
    view.flags.writeable = False
    return view
