"""The most likely next values of a field: `predict_next`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from sklearn_seqcrm._columns import Table
from sklearn_seqcrm._encoding import FIRST_LEVEL
from sklearn_seqcrm._ragged import ranges, segment_numbers
from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm._store import RawLog, Rows, as_list
from sklearn_seqcrm._typing import Duration
from sklearn_seqcrm.event_model._baskets import basket_probabilities
from sklearn_seqcrm.event_model._levels import LevelField
from sklearn_seqcrm.event_model._simulate import (
    OpenBaskets,
    SimulatedEvents,
    Simulator,
    row_keys,
    split_open_baskets,
)
from sklearn_seqcrm.event_model._simulations import (
    SimulatingEventModel,
    check_arguments,
    insert_customers,
)

# Default draws: contexts of the next event, next baskets, and futures within a time.
# Lists of ten from 4, 8, 16, 32 and 100 baskets had an NDCG of .395, .409, .420, .423
# and .424 on groceries, and .275, .274, .288, .286 and .291 on Online Retail II.
_DRAWS, _BASKETS, _FUTURES = 16, 32, 100
# Most probabilities and states of draws at once: 64 MiB.
_NUMBERS_AT_ONCE = 2**24


class RecommendingEventModel(SimulatingEventModel):
    """Predict the most likely next values by simulations."""

    def predict_next(
        self,
        X: pd.DataFrame,
        field: str,
        n: int = 10,
        *,
        within: Duration | None = None,
        basket: bool = False,
        open_basket: bool = False,
        at_cutoff: bool = True,
        exclude_seen: bool = False,
        candidates: object = None,
        exclude: object = None,
        n_draws: int | None = None,
    ) -> pd.DataFrame:
        """Return the most likely next values of a categorical field.

        Parameters
        ----------
        X : DataFrame of shape (n_rows, n_columns)
            Rows as in `fit`.
        field : str
            Name of the field.
        n : int, default=10
            Most values of a row.
        within : Timedelta, str, number or None, default=None
            None: the probability that the next event has the value. A duration: the
            probability that an event with the value comes within it after the cutoff,
            among simulated futures. Values that none of them has are left out.
        basket : bool, default=False
            Whether to predict all events at the time of the next one: the probability
            that one of them has the value.
        open_basket : bool, default=False
            Whether the next event belongs to a basket that is open at the cutoff: it is
            a further line of it, if the row sees events at its cutoff
            (``attach(..., allow_exact_matches=True)``), and otherwise its first line.
            With `basket`, all further lines.
        at_cutoff : bool, default=True
            Whether the next event is assumed to come at the cutoff, as for a list that
            is shown or sent then; one step of the recorded times later, if the row sees
            events at its cutoff. If times have hours, set the cutoff to that of the
            list: few events are at midnight. False: whenever it comes; probabilities
            are means over its time. Ignored with `within`.
        exclude_seen : bool, default=False
            Leave out values in the history of the row.
        candidates : value, list of values or None, default=None
            Values that may be returned; None: all values in training, and new ones that
            the customer has had since.
        exclude : value, list of values or None, default=None
            Values that are not returned, such as postage and other items that need no
            recommendation. Their probabilities are not given to others. They may be in
            the log but neither in training nor in the histories of `X`.
        n_draws : int or None, default=None
            Draws over which probabilities are averaged: of the fields of the next event
            before this one, and of its time unless `at_cutoff`; of the whole next
            basket; or of simulated futures, of which more than 1,000 may be needed.
            None: 16, 32 and 100.

        Returns
        -------
        DataFrame of shape (up to n_rows * n, 5)
            ``row``, the position in `X`; the customer, named as in `X`, or as in the
            log if `X` has no such column; ``rank``, from 1 on; ``value`` and
            ``probability``. If the customer column has one of these names, an
            underscore is appended. A row has the same probabilities in every call,
            whatever rows are beside it, except for the rounding of float32 (see
            `sample`).

        Raises
        ------
        TypeError
            If `within` does not fit the times of the log, or `candidates` or `exclude`
            are a table or hold lists.
        ValueError
            If there is no such categorical field, a value of `candidates` was neither
            in training nor in the histories of `X`, `within` is given together with
            `basket` or `open_basket` or ends after the last time that the log can hold,
            `open_basket` is given together with ``at_cutoff=False``, or an argument is
            out of range.

        Warns
        -----
        UserWarning
            If a value of `exclude` is neither in training nor in the log of `X`; as for
            `sample` if `within` is given.

        Notes
        -----
        Probabilities are means over draws, whose random numbers follow from the
        customer, the cutoff and the events of a row. The draws of a row are stratified
        (Latin hypercube sampling), and each adds the probabilities that the network
        gives at its events, which vary less than drawn values.

        In a log of several kinds, the next event may be of a kind without `field`, such
        as a newsletter: probabilities of a row add up to the probability that it has a
        value. Ask for all values, ``n=len(log.column(field).categories)``, and divide
        by ``found.groupby("row")["probability"].transform("sum")``: these are the
        probabilities given that the next event has a value, such as an order.

        Mean and largest absolute error of the ten most probable values of a row with
        the default number of draws, beside thousands of draws: of the next event at any
        time .0000 and .0007 in simulated baskets of 1 to 15 lines, and the same in
        Online Retail II (baskets of some 20 of thousands of stock codes); of the next
        basket .015 and .07, and .024 and .12. Errors fall with the square root of the
        number of draws or faster. Within a time, a probability ``p`` has the standard
        error ``sqrt(p * (1 - p) / n_draws)``, at most .05 with 100 futures.

        The softmax depends less on the state in lists, by a factor that is chosen by
        the NDCG of lists for validation customers. So probabilities of a first line
        differ from those of `score_events` and `sample`, and those of the first values
        of a list are somewhat too low (:doc:`/recommendations` has figures).

        Lists by the next event and by the next basket are equally good where baskets
        are of similar size; otherwise either can be better, as a line of a large basket
        is less likely to be the next event (:doc:`/recommendations` has figures).
        Predictions with `basket` take several times as long.
        """
        check_arguments(
            "predict_next",
            n=n,
            n_draws=n_draws,
            basket=basket,
            open_basket=open_basket,
            at_cutoff=at_cutoff,
            exclude_seen=exclude_seen,
        )
        _refuse_within_a_basket(within, basket=basket, open_basket=open_basket)
        if open_basket and not at_cutoff:
            raise ValueError(
                "open_basket=True is for an event at the cutoff, at_cutoff=False for "
                "one that comes at any time; give only one of them."
            )
        check_is_fitted(self, "nets_")
        learned, table, array = self._learned.read(X, self)
        rows = array.rows
        known = learned.level_field(field)
        allowed = _allowed_levels(known, candidates, exclude, field, rows)
        keys = row_keys(array, 0, count=False)
        baskets = None
        if open_basket:
            data, baskets = split_open_baskets(learned, table, rows)
        else:
            data = learned.encode(table, rows)
        if within is not None:
            n_paths = n_draws or _FUTURES
            events, _ = self._simulate(
                learned, data, keys, within, n_paths, name="within"
            )
            found = _probabilities_within(events, known, field, len(data), n_paths)
        else:
            # torch takes no integers of NumPy.
            n_draws = int(n_draws or (_BASKETS if basket else _DRAWS))
            simulator = Simulator(self.net_, learned)
            if at_cutoff and not basket and not simulator.number_of(field):
                n_draws = 1  # all draws would have the same context
            of_next = basket_probabilities if basket else Simulator.probabilities
            found = _next_probabilities(
                simulator, data, keys, field, n_draws, of_next, baskets, at_cutoff
            )
        seen = _seen_levels(rows, field, known) if exclude_seen else None
        with self.net_.evaluation():
            most_likely = _most_likely(
                found, known, n, allowed, seen, only_possible=within is not None
            )
        return insert_customers(most_likely, Table.of(X), learned)


def _refuse_within_a_basket(within: Any, **baskets: bool) -> None:
    """Raise a ValueError if `within` is given together with a basket."""
    for name, is_given in baskets.items():
        if is_given and within is not None:
            raise ValueError(
                f"{name}=True is for a single basket, within={within!r} for a period; "
                "give only one of them."
            )


# Probabilities -----------------------------------------------------------------------


def _next_probabilities(
    simulator: Simulator,
    data: RowData,
    keys: np.ndarray,
    name: str,
    n_draws: int,
    of_next: Callable[..., np.ndarray],
    baskets: OpenBaskets | None,
    at_cutoff: bool,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows, and the probability of each level in the next event of each.

    `of_next` is `Simulator.probabilities`, or `basket_probabilities` for the next
    basket. `baskets` are the events at the cutoffs, if the next event is there, too.
    """
    field = simulator.learned.level_field(name)
    n_units = len(simulator.module.initial_output)
    for rows in _portions_of(len(data), field.n_levels + n_draws * n_units):
        own = None if baskets is None else baskets.take(rows)
        begun = simulator.at_next(data.take(rows), keys[rows], n_draws, at_cutoff, own)
        shares = of_next(simulator, begun, name, n_draws)
        n_new = field.n_levels - shares.shape[1]  # without copies, they never come
        yield rows, np.pad(shares, ((0, 0), (0, n_new)))[:, FIRST_LEVEL:]


def _probabilities_within(
    events: SimulatedEvents, field: LevelField, name: str, n_rows: int, n_paths: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows, and the share of the `n_paths` paths of each that have each level."""
    codes, n_levels = events.columns[name].values, len(field.levels)
    known = codes >= 0
    # A path counts once for a level, however many of its events have it.
    hits = np.unique(events.path[known] * n_levels + codes[known])
    row = hits // n_levels // n_paths
    for rows in _portions_of(n_rows, n_levels):
        own = hits[slice(*np.searchsorted(row, [rows[0], rows[-1] + 1]))]
        place = (own // n_levels // n_paths - rows[0]) * n_levels + own % n_levels
        counts = np.bincount(place, minlength=len(rows) * n_levels)
        yield rows, counts.reshape(len(rows), n_levels) / n_paths


def _portions_of(n_rows: int, n_numbers: int) -> Iterator[np.ndarray]:
    """Yield rows, as many at a time as memory has room for `n_numbers` of each."""
    at_once = max(1, _NUMBERS_AT_ONCE // max(1, n_numbers))
    for first in range(0, n_rows, at_once):
        yield np.arange(first, min(first + at_once, n_rows))


# The table ---------------------------------------------------------------------------


def _most_likely(
    found: Iterator[tuple[np.ndarray, np.ndarray]],
    field: LevelField,
    n: int,
    allowed: np.ndarray,
    seen: tuple[np.ndarray, np.ndarray] | None,
    only_possible: bool,
) -> pd.DataFrame:
    """Return the table of the n most likely levels of each row.

    `found` yields rows and the probability of each level, some rows at a time.
    `allowed`, of shape (n_levels,), bool, are the levels that may be in the table, and
    `seen` are rows, ascending, and levels that may not be among theirs. Levels with a
    probability of 0 are left out if `only_possible`.
    """
    tables = []
    n = min(n, int(allowed.sum()))
    for rows, shares in found:
        # A probability of -1 marks values that are left out, such as new ones that only
        # other rows have had.
        new = shares[:, field.n_trained :]
        new[new == 0] = -1
        if not allowed.all():
            shares[:, ~allowed] = -1
        if seen is not None:
            some = slice(*np.searchsorted(seen[0], [rows[0], rows[-1] + 1]))
            shares[seen[0][some] - rows[0], seen[1][some]] = -1
        top = _top_levels(shares, n)
        of_top = np.take_along_axis(shares, top, axis=1)
        # By probability; equal ones in the order of levels.
        order = np.lexsort((top, -of_top), axis=1)
        top, of_top = (np.take_along_axis(a, order, axis=1) for a in (top, of_top))
        kept = of_top > 0 if only_possible else of_top >= 0
        place, rank = kept.nonzero()
        tables.append((rows[place], rank + 1, top[kept], of_top[kept]))
    row, rank, level, share = map(np.concatenate, zip(*tables, strict=True))
    return pd.DataFrame(
        {
            "row": row,
            "rank": rank,
            "value": field.levels[level],
            "probability": share.astype("float64"),
        }
    )


def _top_levels(shares: np.ndarray, n: int) -> np.ndarray:
    """Return the n levels of each row with the largest shares, (n_rows, n), unordered.

    Among levels that are as probable as the last one, the first levels are taken.
    """
    if not n:
        return np.zeros((len(shares), 0), dtype="int64")
    # A tenth of the time that a partition by NumPy takes. Which of several equal levels
    # it returns depends on the number of levels, and so on the new ones of other rows.
    found = torch.topk(torch.from_numpy(shares), n, dim=1)
    top, least = found.indices.numpy(), found.values.numpy()[:, -1:]
    in_top = (found.values.numpy() == least).sum(axis=1)
    tied = np.flatnonzero((shares == least).sum(axis=1) > in_top)
    if len(tied):
        own, least = shares[tied], least[tied]
        is_least = own == least
        is_taken = is_least & (is_least.cumsum(axis=1) <= in_top[tied, None])
        top[tied] = (is_taken | (own > least)).nonzero()[1].reshape(-1, n)
    return top


def _seen_levels(
    rows: Rows, name: str, field: LevelField
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows, ascending, and positions in ``field.levels`` of all their events.

    Events without a level of the field are left out.
    """
    assert isinstance(rows.log, RawLog)
    index, offsets = ranges(rows.start, rows.stop)
    level = field.level_numbers(rows.log.column(name).take(index)) - FIRST_LEVEL
    is_level = level >= 0
    return segment_numbers(offsets)[is_level], level[is_level]


def _allowed_levels(
    field: LevelField, candidates: Any, exclude: Any, name: str, rows: Rows
) -> np.ndarray:
    """Return which levels may be returned, shape (n_levels,), bool."""
    allowed = np.full(len(field.levels), candidates is None)
    if candidates is not None:
        place, unknown, n = _find_levels(field, candidates, name, "candidates")
        if len(unknown):
            raise ValueError(
                f"{len(unknown)} of {n} values of candidates are no values of {name!r} "
                f"in training or in X, such as {unknown[0]!r}. Check their spelling "
                "and type, or leave them out."
            )
        allowed[place] = True
    if exclude is not None:
        place, unknown, n = _find_levels(field, exclude, name, "exclude")
        allowed[place] = False
        # Values of the whole log may be newer than the rows of X.
        assert isinstance(rows.log, RawLog)
        of_log = rows.log.column(name).categories
        assert of_log is not None
        unknown = unknown[_positions(of_log, unknown) < 0].unique()
        if len(unknown):
            # No error: lists of items to exclude are often longer than one log.
            warn_user(
                f"{len(unknown)} of {n} values of exclude are no values of {name!r} in "
                f"training or in the log of X, such as {unknown[0]!r}: nothing is "
                "excluded for them. Check their spelling and type."
            )
    return allowed


def _find_levels(
    field: LevelField, values: Any, name: str, parameter: str
) -> tuple[np.ndarray, pd.Index, int]:
    """Return positions of known values in the levels of a field, and unknown values.

    `values` is one or a list of them, whose number is the third result.
    """
    # A tuple holds several values, unless levels are tuples and those in it are not.
    is_level = (
        isinstance(values, tuple)
        and values
        and not isinstance(values[0], tuple)
        and any(isinstance(level, tuple) for level in field.levels[:1])
    )
    found = [values] if is_level else as_list(values, parameter)
    # As objects, since a CategoricalIndex and a MultiIndex look values up differently.
    wanted = pd.Index(found, dtype=object, tupleize_cols=False)
    try:
        place = _positions(field.levels, wanted)
    except TypeError as error:
        raise TypeError(
            f"{parameter} must be values of {name!r}, one or a list of them; got "
            f"{values!r}."
        ) from error
    return place[place >= 0], wanted[place < 0], len(wanted)


def _positions(levels: pd.Index, wanted: pd.Index) -> np.ndarray:
    """Return the positions of objects in levels, -1 for others, shape (n,).

    pandas finds True at the level 1, which equals it, where a list has other values as
    well.
    """
    place = levels.get_indexer(wanted)
    known = np.flatnonzero(place >= 0)
    are_bool = [pd.api.types.is_bool(one) for one in wanted[known]]
    of_levels = [pd.api.types.is_bool(one) for one in levels[place[known]]]
    place[known[np.not_equal(are_bool, of_levels)]] = -1
    return place
