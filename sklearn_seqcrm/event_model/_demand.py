"""Demand of simulated customers: totals by group, period and level, over paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.event_model._futures import summary_of_paths
from sklearn_seqcrm.event_model._learned import LearnedEvents
from sklearn_seqcrm.event_model._simulate import (
    SimulatedEvents,
    SimulationPlan,
    Simulator,
)

# Fewest simulated events that are added to the totals at once: 6 MiB.
_FEWEST_WAITING = 2**18
# More rows of the table are a mistake. As many take 1 GB and half a minute.
_MOST_CELLS = 10_000_000
# Totals of cells on all paths whose quantiles are computed at once, 32 MiB.
_TOTALS_AT_ONCE = 2**22


@dataclass(frozen=True, eq=False)
class Periods:
    """Periods of equal length after each cutoff."""

    starts: np.ndarray  # (n_periods,): their starts after the cutoff, in ticks
    # (n_periods,): the same as Timedeltas, or as numbers if times are numbers.
    labels: pd.Index

    @classmethod
    def of(
        cls,
        clock: Clock,
        horizon: Any,
        every: Any,
        n_groups: int = 1,
        n_levels: int = 1,
    ) -> Periods:
        """Cut a horizon into periods of length `every`; None: into one period.

        Raises a ValueError if there are too many for the numbers of groups and levels.
        """
        total = clock.duration(horizon, "horizon", positive=True)
        one = total
        if every is not None:
            one = clock.duration(every, "every", positive=True)
        ratio = total / one
        n_cells = n_groups * max(n_levels, 1) * ratio
        if n_cells > _MOST_CELLS:
            raise ValueError(
                f"every={every!r} in horizon={horizon!r} makes {ratio:,.0f} periods, "
                f"so that the table would have {n_cells:,.0f} rows (periods x groups x "
                f"levels), but at most {_MOST_CELLS:,} are possible. Choose longer "
                "periods, a shorter horizon or fewer groups."
            )
        n = round(ratio)
        if not n or abs(ratio - n) > 1e-9 * n:
            raise ValueError(
                f"horizon must be a multiple of every, so that all periods are of one "
                f"length; got horizon={horizon!r} and every={every!r}."
            )
        length = horizon if every is None else every
        starts = clock.multiples(length, "every", n)
        if clock.unit is not None:
            return cls(starts, pd.Index(np.arange(n) * pd.Timedelta(length)))
        return cls(starts, pd.Index([k * length for k in range(n)]))

    def find(self, times: np.ndarray, cutoff: np.ndarray) -> np.ndarray:
        """Return the number of the period of each event, shape (n,), int64.

        `times` and `cutoff`, of shape (n,), are those of events and of their rows; no
        cutoff is later than its event.
        """
        last = len(self.starts) - 1
        found = np.searchsorted(self.starts, times - cutoff, side="right") - 1
        # A difference of floats may be rounded across the start of a period. Windows of
        # `targets` begin at cutoff + start, so that this sum decides.
        found = np.clip(found, 0, last)
        following = np.minimum(found + 1, last)
        is_later = times >= cutoff + self.starts[following]
        found = np.where(is_later, following, found)
        return found - (times < cutoff + self.starts[found])


@dataclass(frozen=True, eq=False)
class DemandCells:
    """The cells of a table of demand: each group with each period and each level."""

    groups: pd.Index | None  # groups of rows; None: all rows are one
    group: np.ndarray  # (n,), int64: group of each row
    periods: Periods  # periods after the cutoffs
    field: str | None  # field by whose levels demand is split; None: it is not split
    levels: pd.Index | None  # its levels
    value: str | None  # numeric field that is summed; None: events are counted

    @classmethod
    def of(
        cls,
        learned: LearnedEvents,
        X: pd.DataFrame,
        field: str | None,
        horizon: Any,
        every: Any,
        value: str | None,
        by: Any,
    ) -> DemandCells:
        """Return the cells for the arguments of `demand`, or raise a ValueError."""
        levels = None if field is None else learned.level_field(field).levels
        if value is not None:
            _refuse_no_numbers(learned, value)
        group, groups = np.zeros(len(X), dtype="int64"), None
        if by is not None:
            group, groups = _groups_of(X, by)
        sizes = [1 if one is None else len(one) for one in (groups, levels)]
        periods = Periods.of(learned.encoder.clock, horizon, every, *sizes)
        return cls(groups, group, periods, field, levels, value)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of groups, of periods and of levels."""
        n_groups = 1 if self.groups is None else len(self.groups)
        n_levels = 1 if self.levels is None else len(self.levels)
        return n_groups, len(self.periods.starts), n_levels

    def add_up(self, simulator: Simulator, plan: SimulationPlan) -> PathTotals:
        """Simulate, and return the total of each cell on each path."""
        totals = PathTotals(plan.n_paths, int(np.prod(self.shape)))
        cutoff = plan.data.sources[0].cutoff
        for step in simulator.steps(plan):
            row, path = np.divmod(step.path, plan.n_paths)
            cell, amount = self._find(step, row, cutoff)
            counts = cell >= 0
            totals.add(path[counts], cell[counts], amount[counts])
            totals.n_cut += step.n_cut
        return totals

    def _find(
        self, events: SimulatedEvents, row: np.ndarray, cutoff: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the cell of each event, -1 without a level, and its amount."""
        period = self.periods.find(events.times, cutoff[row])
        level = np.zeros(len(row), dtype="int64")
        if self.field is not None:
            level = events.columns[self.field].values
        _, n_periods, n_levels = self.shape
        cell = (self.group[row] * n_periods + period) * n_levels + level
        amount = np.ones(len(row))
        if self.value is not None:
            values = events.columns[self.value].values
            amount = np.nan_to_num(values.astype("float64"))
        return np.where(level < 0, -1, cell), amount

    def table(self, totals: PathTotals, interval: float) -> pd.DataFrame:
        """Return the summary of each cell, by group, period and level."""
        n_groups, n_periods, n_levels = self.shape
        columns: dict[str, Any] = {}
        if self.groups is not None:
            columns["group"] = self.groups.repeat(n_periods * n_levels)
        starts = self.periods.labels.repeat(n_levels)
        columns["start"] = starts.take(np.tile(np.arange(len(starts)), n_groups))
        if self.levels is not None:
            place = np.tile(np.arange(n_levels), n_groups * n_periods)
            columns["level"] = self.levels.take(place)
        columns |= totals.summary(interval)
        return pd.DataFrame(columns)


class PathTotals:
    """Totals of cells on each simulated path, in a sparse matrix (paths, cells).

    `n_cut` paths were ended because they had too many events.
    """

    def __init__(self, n_paths: int, n_cells: int) -> None:
        self.n_cut = 0
        self._totals = sparse.csr_array((n_paths, n_cells), dtype="float64")
        self._waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._n_waiting = 0

    def add(self, path: np.ndarray, cell: np.ndarray, amount: np.ndarray) -> None:
        """Add amounts to cells of paths, all of shape (n,)."""
        self._waiting.append((path, cell, amount))
        self._n_waiting += len(path)
        # Adding copies all totals. It is delayed until as many amounts wait as there
        # are totals, so that the copies take no longer than the amounts.
        if self._n_waiting > max(_FEWEST_WAITING, self._totals.nnz):
            self._add_waiting()

    def summary(self, interval: float) -> dict[str, np.ndarray]:
        """Return `summary_of_paths` of the cells, of shape (n_cells,) each."""
        self._add_waiting()
        by_cell = self._totals.tocsc()
        n_paths, n_cells = by_cell.shape
        at_once = max(1, _TOTALS_AT_ONCE // n_paths)
        parts = [
            summary_of_paths(by_cell[:, first : first + at_once].toarray().T, interval)
            for first in range(0, max(1, n_cells), at_once)
        ]
        return {name: np.concatenate([one[name] for one in parts]) for name in parts[0]}

    def _add_waiting(self) -> None:
        if self._waiting:
            path, cell, amount = map(np.concatenate, zip(*self._waiting, strict=True))
            shape = self._totals.shape
            more = sparse.coo_array((amount, (path, cell)), shape=shape).tocsr()
            self._totals = self._totals + more
        self._waiting, self._n_waiting = [], 0


def _refuse_no_numbers(learned: LearnedEvents, value: Any) -> None:
    """Raise a ValueError unless `value` is a numeric field."""
    fields = learned.number_fields.items()
    numeric = [name for name, one in fields if one.scalar_type.adds_up]
    if not pd.api.types.is_hashable(value) or value not in numeric:
        raise ValueError(
            f"value must be one of the numeric fields {numeric}; got {value!r}."
        )


def _groups_of(X: pd.DataFrame, by: Any) -> tuple[np.ndarray, pd.Index]:
    """Return the group of each row by a column, and the groups; NaN is a group."""
    if not pd.api.types.is_hashable(by) or by not in X.columns:
        raise ValueError(
            f"by must be one of the columns of X, {list(X.columns)}; got {by!r}."
        )
    try:
        codes, groups = pd.factorize(X[by], sort=True, use_na_sentinel=False)
    except TypeError as error:
        raise TypeError(
            f"The values of column {by!r} cannot be groups; choose a column of text, "
            "numbers or dates."
        ) from error
    return codes.astype("int64"), pd.Index(groups)
