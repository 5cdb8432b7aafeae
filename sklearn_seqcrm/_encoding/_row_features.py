"""What a row knows of its history at its cutoff."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sklearn_seqcrm._encoding._layout import Layout
from sklearn_seqcrm._ragged import Views, blocks

_WIDTH = 32  # row features in work, about


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
            age = cutoff[filled] - times[event[filled]]
            ages[filled, column] = np.log1p(age / layout.time_unit)
        count, totals = sums[some, :, 0], sums[some, :, 1:]
        # Over one event more than there is, of value 0: few or old events give a mean
        # near 0, the usual value, and none at all is no division of 0 by 0.
        means = totals / (count[:, :, None] + 1)
        yield np.column_stack(
            [
                ages,
                np.log1p(stop - start),
                np.log1p(count),
                means.reshape(len(filled), -1),
                layout.waves(cutoff),
            ]
        )


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
