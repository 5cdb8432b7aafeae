"""What a row knows of its history at its cutoff."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._ragged import Views, blocks

_WIDTH = 32  # row features in work, about
_HUGE = 1e38  # a sum that float32 holds


def raw_row_features(
    rows: Views, times: np.ndarray, sums: np.ndarray, layout: Layout
) -> Iterator[np.ndarray]:
    """Row features before they are scaled; NaN where an empty history has none.

    Parameters
    ----------
    rows : Views of n
        Rows.
    times : ndarray of shape (n_events,)
        Times of the events.
    sums : ndarray of shape (n, n_half_lives, 1 + n_decayed)
        Decayed counts, and sums of the channels whose decayed means are features.
    layout : Layout
        Units and half-lives.

    Yields
    ------
    ndarray of shape (up to 8,192, n_row_features)
        Of some rows, in order: ``log1p`` of durations in typical gaps and of counts;
        decayed means of the channels, ``sum / (count + 1)``; sines and cosines of the
        cutoff.
    """
    for some in blocks(len(sums), _WIDTH):
        start, stop, cutoff = rows.start[some], rows.stop[some], rows.cutoff[some]
        filled = stop > start
        ages = np.full((len(filled), 2), np.nan)
        # Only where there are some: `stop - 1` of an empty history is another's event.
        for column, event in enumerate((stop - 1, start)):
            ages[filled, column] = cutoff[filled] - times[event[filled]]
        yield row_features_of(ages, stop - start, sums[some], cutoff, layout)


def row_features_of(
    ages: np.ndarray,
    n_events: np.ndarray,
    sums: np.ndarray,
    cutoff: np.ndarray,
    layout: Layout,
) -> np.ndarray:
    """Row features before they are scaled, of what is known of each row's events.

    Parameters
    ----------
    ages : ndarray of shape (n, 2)
        Ticks since the last and the first event; NaN where there is none.
    n_events : ndarray of shape (n,)
        Number of events.
    sums : ndarray of shape (n, n_half_lives, 1 + n_decayed)
        Decayed counts and sums, faded to the cutoff.
    cutoff : ndarray of shape (n,)
        Cutoffs.
    layout : Layout
        Units.

    Returns
    -------
    ndarray of shape (n, n_row_features)
        As `raw_row_features` says.
    """
    count, totals = sums[:, :, 0], sums[:, :, 1:]
    # Over one event more than there is, of value 0: few or old events give a mean
    # near 0, the usual value, and none at all is no division of 0 by 0.
    means = totals / (count[:, :, None] + 1)
    return np.column_stack(
        [
            np.log1p(ages / layout.time_unit),
            np.log1p(n_events),
            np.log1p(count),
            means.reshape(len(ages), -1),
            layout.waves(cutoff),
        ]
    )


def scale_row_features(raw: np.ndarray, row_scale: np.ndarray) -> np.ndarray:
    """Scale row features as among the training rows.

    Parameters
    ----------
    raw : ndarray of shape (n, n_row_features)
        Features as `row_features_of` returns them.
    row_scale : ndarray of shape (2, n_row_features)
        Center and scale.

    Returns
    -------
    ndarray of shape (n, n_row_features)
        0, the mean, for what an empty history does not have.
    """
    center, scale = row_scale
    # A far future or a new kind of customer must not blow a network up.
    return np.nan_to_num(np.clip((raw - center) / scale, -10, 10))


def unfolded(facts: np.ndarray, layout: Layout) -> np.ndarray:
    """Numbers as they were before `NumericScale.fold`, but for their unit.

    Parameters
    ----------
    facts : ndarray of shape (n_events, n_decayed), float32
        Numbers with their tails folded in.
    layout : Layout
        Where the numbers have their 0.

    Returns
    -------
    ndarray of shape (n_events, n_decayed), float32
        In units of the spread of each number. A missing one counts as the usual one.
    """
    amounts = np.empty_like(facts)
    origins = np.array(layout.origins, dtype="float32")
    for some in blocks(len(facts), max(1, facts.shape[1])):
        folded = facts[some]
        amounts[some] = np.copysign(np.expm1(np.abs(folded)), folded) + origins
    return amounts


def sums_of_amounts(decayed: np.ndarray) -> np.ndarray:
    """Decayed sums of `unfolded` numbers as a network reads them.

    Parameters
    ----------
    decayed : ndarray of shape (n, n_half_lives, n_amounts)
        Sums.

    Returns
    -------
    ndarray of shape (n, n_half_lives * n_amounts), float32
        Columns named by `Layout.sums`.
    """
    sums = decayed.reshape(len(decayed), decayed.shape[1] * decayed.shape[2])
    return sums.clip(-_HUGE, _HUGE).astype("float32")
