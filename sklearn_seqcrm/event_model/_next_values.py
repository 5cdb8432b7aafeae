"""The most likely next values of a field, as a tidy table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch

from sklearn_seqcrm._encoding import FIRST_LEVEL
from sklearn_seqcrm._ragged import look_up, ranges
from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._store import RawLog, Rows
from sklearn_seqcrm.event_model._learned import LearnedEvents
from sklearn_seqcrm.event_model._levels import LevelField
from sklearn_seqcrm.event_model._simulate import Paths, SimulatedEvents, Simulator, Told
from sklearn_seqcrm.event_model._time_density import index_at

# Probabilities at once: 2 MiB, which caches hold. 32 MiB took a quarter more time.
_PROBABILITIES_AT_ONCE = 2**19


class BasketSimulator(Simulator):
    """Draws the next event and those that follow without a gap.

    A level is not in a basket if event after event does not have it, where none before
    had. The chance that event k has it is a mean over the draws in which it has not
    come so far, and 0 where the basket is over. A product of such chances varies much
    less than the share of the draws that have the level, or than a sum of chances that
    ends where it is drawn.
    """

    def probabilities(
        self, data: RowData, keys: np.ndarray, name: str, n_draws: int
    ) -> np.ndarray:
        """Probability of each code of a field to be in the next basket.

        Parameters
        ----------
        data : RowData of n
            Rows, as many as memory has room for.
        keys : ndarray of shape (n,), uint64
            As for `run`.
        name : str
            A categorical field.
        n_draws : int
            Draws of the basket.

        Returns
        -------
        ndarray of shape (n, n_codes), float32
            Means over the draws.
        """
        key = self._key_of(name)
        chances = _Absence((len(data), self.module.n_codes(key)), n_draws, self.device)
        paths, gaps = self._at_next(data, keys, n_draws)
        # A basket goes on while the probability that it does, which every event lowers,
        # is above a number that was drawn once, for each of a row's draws from another
        # part of [0, 1): their lengths vary less than if each event drew anew.
        log_going_on = torch.zeros(len(gaps), dtype=torch.float64, device=self.device)
        log_least = paths.draws.uniform(log_going_on).log()
        # Of fields that some kinds have, events are drawn once more: with one of these
        # kinds, and weighed with its chance.
        is_of_all = self.learned.applies is None or key == "0"
        for _ in range(self.learned.most_events.bound(self.learned.gaps.step)):
            row = self._moved(paths.number // n_draws)

            def draw(
                told: Told, paths: Paths = paths, row: torch.Tensor = row
            ) -> torch.Tensor:
                """Add the chances of the codes to those of earlier events, and draw."""
                drawn = paths.draws.uniform(told.states)
                codes = torch.zeros_like(row)
                at_once = max(1, _PROBABILITIES_AT_ONCE // chances.shape[1])
                for there, found in self._portions(paths, told, key, at_once):
                    codes[there] = index_at(found, drawn[there])
                    chances.add(there, row[there], found)
                return codes

            if is_of_all:
                values, codes, *_ = self._draw_fields(paths, gaps, draw={name: draw})
            else:
                draw(self._draw_fields(paths, gaps, until=name)[-1])
                values, codes, *_ = self._draw_fields(paths, gaps)
            paths = self._read(paths, values, codes)
            chances.next_event(row, codes[:, self.module.codes[key]])
            log_going_on = log_going_on + self.module.time.log_tie(
                paths.output + paths.static
            )
            kept = (log_going_on > log_least).nonzero()[:, 0]
            if not len(kept):
                break
            gaps = np.zeros(len(kept))
            paths = paths.take(kept.cpu().numpy()).at_next(gaps)
            log_going_on, log_least = log_going_on[kept], log_least[kept]
            chances.keep(kept)
        return (1 - chances.log_absent.exp()).cpu().numpy()


class _Absence:
    """Probability that no event of a basket so far has each code.

    Parameters
    ----------
    shape : tuple of (int, int)
        Number of rows and of codes.
    n_draws : int
        Draws of each row.
    device : torch.device
        Where the numbers are.
    """

    def __init__(
        self, shape: tuple[int, int], n_draws: int, device: torch.device
    ) -> None:
        self.shape = shape
        self.log_absent = torch.zeros(shape, dtype=torch.float32, device=device)
        self._n_without = torch.full_like(self.log_absent, n_draws)
        self._sums = torch.zeros_like(self.log_absent)
        n_paths = shape[0] * n_draws
        self._drawn = torch.zeros((n_paths, 0), dtype=torch.int64, device=device)

    def add(
        self, there: torch.Tensor, row: torch.Tensor, chances: torch.Tensor
    ) -> None:
        """Add the chance of each code for the draws `there`, which may be changed."""
        chances = chances.scatter_(1, self._drawn[there], 0.0)
        self._sums.index_add_(0, row, chances)

    def next_event(self, row: torch.Tensor, codes: torch.Tensor) -> None:
        """Go on to the next event of each draw, after one of these codes."""
        # Where all draws have a code, there is none to learn more from.
        mean = (self._sums / self._n_without).nan_to_num(0.0).clamp(max=1 - 1e-6)
        self.log_absent += torch.log1p(-mean)
        self._sums.zero_()
        is_first = (self._drawn != codes[:, None]).all(dim=1).to(mean.dtype)
        self._n_without.index_put_((row, codes), -is_first, accumulate=True)
        self._drawn = torch.cat([self._drawn, codes[:, None]], dim=1)

    def keep(self, kept: torch.Tensor) -> None:
        """Go on with the draws whose basket does."""
        self._drawn = self._drawn[kept]


# Probabilities, and what they come from, at once: 64 MiB.
_NUMBERS_AT_ONCE = 2**24


def level_field(learned: LearnedEvents, name: str) -> LevelField:
    """The field of a name; a ValueError if there is none, or it has no levels."""
    own = [key for key, one in learned.fields.items() if isinstance(one, LevelField)]
    if name not in own:
        raise ValueError(
            f"field must be one of the categorical fields {own}; got {name!r}."
        )
    field = learned.fields[name]
    assert isinstance(field, LevelField)
    return field


def next_probabilities(
    simulator: Simulator, data: RowData, keys: np.ndarray, name: str, n_draws: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows, and the probability of each level in the next event of each.

    Parameters
    ----------
    simulator : Simulator
        Draws what is told before the field.
    data : RowData of n
        Rows.
    keys : ndarray of shape (n,), uint64
        Key of each row, as for `Simulator.run`.
    name : str
        A categorical field.
    n_draws : int
        Number of these draws.
    """
    field = level_field(simulator.learned, name)
    n_own = len(field.levels) - len(field.rare)
    module = simulator.module
    n_units = module.first.shape[0]
    for rows in portions_of(len(data), field.n_codes + n_draws * n_units):
        shares = simulator.probabilities(data.take(rows), keys[rows], name, n_draws)
        levels = shares[:, FIRST_LEVEL : FIRST_LEVEL + n_own]
        if len(field.rare):
            levels = np.concatenate([levels, shares[:, -1:] * field.rare], axis=1)
        yield rows, levels


def probabilities_within(
    events: SimulatedEvents, field: LevelField, name: str, n_rows: int, n_paths: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows, and the share of the paths of each that have each level.

    Parameters
    ----------
    events : SimulatedEvents
        Paths of the rows.
    field : LevelField
        What was learned of the field.
    name : str
        Its name.
    n_rows, n_paths : int
        Number of rows, and of paths of each.
    """
    codes, n_levels = events.columns[name].values, len(field.levels)
    known = codes >= 0
    # Of each path each level once.
    hits = np.unique(events.path[known] * n_levels + codes[known])
    row = hits // n_levels // n_paths
    for rows in portions_of(n_rows, n_levels):
        own = hits[slice(*np.searchsorted(row, [rows[0], rows[-1] + 1]))]
        place = (own // n_levels // n_paths - rows[0]) * n_levels + own % n_levels
        counts = np.bincount(place, minlength=len(rows) * n_levels)
        yield rows, counts.reshape(len(rows), n_levels) / n_paths


def best_values(
    found: Iterator[tuple[np.ndarray, np.ndarray]],
    field: LevelField,
    n: int,
    allowed: np.ndarray,
    seen: tuple[np.ndarray, np.ndarray] | None,
) -> pd.DataFrame:
    """The n most likely levels of each row.

    Parameters
    ----------
    found : iterator of (rows, probabilities)
        Probability of each level, some rows at a time.
    field : LevelField
        What was learned of the field.
    n : int
        Most values of a row.
    allowed : ndarray of shape (n_levels,), bool
        Levels that may be among them.
    seen : tuple of (ndarray, ndarray) or None
        Rows, ascending, and levels that may not be among theirs.

    Returns
    -------
    DataFrame
        Columns ``row``, ``rank``, ``value`` and ``probability``.
    """
    tables = []
    n = min(n, int(allowed.sum()))
    for rows, shares in found:
        if not allowed.all():
            shares[:, ~allowed] = -1
        if seen is not None:
            some = slice(*np.searchsorted(seen[0], [rows[0], rows[-1] + 1]))
            shares[seen[0][some] - rows[0], seen[1][some]] = -1
        # A tenth of the time that a partition by NumPy takes.
        top = torch.topk(torch.from_numpy(shares), n, dim=1).indices.numpy()
        # By probability, then as levels are sorted.
        top = np.sort(top, axis=1)
        of_top = np.take_along_axis(shares, top, axis=1)
        order = np.argsort(-of_top, axis=1, kind="stable")
        top = np.take_along_axis(top, order, axis=1)
        of_top = np.take_along_axis(of_top, order, axis=1)
        kept = of_top >= 0
        place, rank = kept.nonzero()
        tables.append((rows[place], rank + 1, top[kept], of_top[kept]))
    columns = [np.concatenate(parts) for parts in zip(*tables, strict=True)]
    row, rank, level, share = columns
    return pd.DataFrame(
        {
            "row": row,
            "rank": rank,
            "value": field.levels[level],
            "probability": share.astype("float64"),
        }
    )


def levels_seen(
    rows: Rows, name: str, field: LevelField
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and levels of all their events, for `best_values`.

    Parameters
    ----------
    rows : Rows of n
        Views of a raw log: codes of the encoder do not tell rare levels apart.
    name : str
        The field.
    field : LevelField
        What was learned of the field.

    Returns
    -------
    row, level : ndarray of int64
        Row, ascending, and position in ``field.levels``, of each event that has one.
    """
    assert isinstance(rows.log, RawLog)
    column = rows.log.column(name)
    assert column.categories is not None
    index, offsets = ranges(rows.start, rows.stop)
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    place = field.levels.get_indexer(column.categories)
    level = look_up(place, column.values[index], -1)
    is_level = level >= 0
    return row[is_level], level[is_level]


def allowed_levels(field: LevelField, candidates: Any, name: str) -> np.ndarray:
    """Which levels are candidates, shape (n_levels,), bool."""
    if candidates is None:
        return np.ones(len(field.levels), dtype=bool)
    if not pd.api.types.is_list_like(candidates):
        candidates = [candidates]
    # As objects, since a CategoricalIndex and a MultiIndex look values up differently.
    wanted = pd.Index(list(candidates), dtype=object, tupleize_cols=False)
    try:
        place = field.levels.get_indexer(wanted)
    except TypeError as error:
        raise TypeError(
            f"candidates must be values of {name!r}, one or a list of them; got "
            f"{candidates!r}."
        ) from error
    unknown = wanted[place < 0].tolist()
    if unknown:
        raise ValueError(
            f"{len(unknown)} of {len(wanted)} candidates are no values of {name!r} in "
            f"training, such as {unknown[0]!r}; leave them out."
        )
    allowed = np.zeros(len(field.levels), dtype=bool)
    allowed[place] = True
    return allowed


def portions_of(n_rows: int, n_numbers: int) -> Iterator[np.ndarray]:
    """Yield rows, as many at a time as memory has room for `n_numbers` of each."""
    at_once = max(1, _NUMBERS_AT_ONCE // n_numbers)
    for first in range(0, n_rows, at_once):
        yield np.arange(first, min(first + at_once, n_rows))
