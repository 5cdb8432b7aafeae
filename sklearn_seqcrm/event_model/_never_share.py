"""Calibration of the share that never comes back, on landmarks within the record.

The likelihood hardly depends on small shares of customers who never come back: most
interarrival times end soon. The probability of a purchase long after the last one
depends on them very much. So the share is calibrated on this probability, as if the
record had ended at earlier landmarks::

    record     |---e--e--------e------------------|  cutoff
    landmarks                   |<- came back? -->|  half of the record before its end
                                        |<------->|  a quarter
                                            |<--->|  an eighth

(landmarking: van Houwelingen, "Dynamic Prediction by Landmarking in Event History
Analysis", Scandinavian Journal of Statistics 34(1), 2007).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sklearn_seqcrm._columns import Table
from sklearn_seqcrm._ragged import first_at_or_after
from sklearn_seqcrm._recurrent.data import RowData
from sklearn_seqcrm._store import Rows
from sklearn_seqcrm.event_model._event_net import EventNet
from sklearn_seqcrm.event_model._interarrival import NEVER
from sklearn_seqcrm.event_model._learn import join_views
from sklearn_seqcrm.event_model._learned import LearnedEvents

# Horizons as shares of the length of the record.
_HORIZONS = (1 / 2, 1 / 4, 1 / 8)
# The length of the record is the largest one that this share of the rows reach, or this
# many rows. The longest may be due to a wrong date: from a first event in 1970, all
# horizons would begin before the first event of every other customer.
_LEAST_SHARE, _LEAST_ROWS = 0.1, 100
# Offsets of the log odds, descending; the last one makes the share 0.
_OFFSETS = np.append(np.arange(2.0, -8.1, -0.25), -20.0)
# Number of customers from whom the offset is chosen, at most.
_MOST_ROWS = 2**14


def calibrate_never_share(net: EventNet, learned: LearnedEvents, table: Table) -> None:
    """Choose an offset of the log odds that no further event ever comes.

    With the probability ``p`` of no further event, the survival function ``S`` of the
    other interarrival times, and times ``c`` and ``c + h`` from the last event before a
    landmark to the landmark and to the cutoff::

        P(no event within h | none until c) = (p exp(d) + S(c + h)) / (p exp(d) + S(c))

    The trained share is kept (``d = 0``) if the log likelihood of these probabilities
    is within a standard error of the best one. Otherwise ``d`` is the smallest offset
    within a standard error: customers are taken to come back unless the record shows
    the contrary. (In simulations without churn, a share initialised at .02 and trained
    raised the log loss of "any event" by a tenth. A higher learning rate and more
    epochs did not change that: the likelihood is flat there.)

    `table` are the training rows, as `select_raw` returns them.
    """
    density = net.module_.eval().time
    density.offset_never(0.0)
    rows, row = join_views(learned.histories_of(table).rows)
    ranks = net.ranks
    n_rows = int(ranks.sum(np.asarray(len(row))))
    every = slice(None, None, 1 + n_rows // _MOST_ROWS)
    rows, row = rows.take(every), row[every]
    loss = np.zeros((len(row), len(_OFFSETS)))
    first = rows.log.timeline.times[rows.start]
    # Lengths are in ticks of the network; the log of X may have another unit.
    per_tick = learned.encoder.clock.ticks_of(rows.log.timeline.clock)
    length = _record_length(ranks.concatenate((rows.cutoff - first) * per_tick))
    horizons = np.multiply(_HORIZONS, length / per_tick).astype(first.dtype)[:, None]
    # All landmarks at once: rows of a customer share a pass over the events.
    landmark, kept = np.nonzero((horizons > 0) & (first < rows.cutoff - horizons))
    if len(kept):
        at_cutoff = rows.take(kept)
        horizon = horizons[landmark, 0]
        before = _at_landmarks(at_cutoff, horizon)
        data = learned.encode(table, before, row[kept])
        log_never, until_landmark, until_cutoff = _log_survival(
            net, data, horizon * per_tick
        )
        came = before.stop < at_cutoff.stop
        found = _losses(log_never, until_landmark, until_cutoff, came)
        np.add.at(loss, kept, found)
    density.offset_never(_choose_offset(ranks.concatenate(loss)))


def _record_length(lengths: np.ndarray) -> Any:
    """Return the largest length that a tenth of the rows have, or 100 rows."""
    n_rows = min(int(np.ceil(_LEAST_SHARE * len(lengths))), _LEAST_ROWS)
    return np.sort(lengths)[-n_rows]


def _at_landmarks(rows: Rows, horizon: np.ndarray) -> Rows:
    """Return the rows at landmarks: each cutoff less the horizon of the row."""
    cutoff, times = rows.cutoff - horizon, rows.log.timeline.times
    stop = first_at_or_after(times, rows.start, rows.stop, cutoff)
    return rows._replace(stop=stop, cutoff=cutoff)


def _log_survival(net: EventNet, data: RowData, horizon: np.ndarray) -> np.ndarray:
    """Return log p, log S(c) and log S(c + h) of rows, shape (3, n), float64.

    `horizon`, of shape (n,), is in ticks of the network, float64.
    """
    found = np.empty((3, len(data)))
    with net.evaluation():
        for own, mixture, limits in net.mixtures_at_cutoffs(data, horizon[None]):
            later = [mixture.log_survival(one) for one in limits]
            parts = torch.stack([mixture.log_atoms[:, NEVER], *later])
            found[:, own] = parts.cpu().numpy()
    return found


def _losses(
    log_never: np.ndarray,
    until_landmark: np.ndarray,
    until_cutoff: np.ndarray,
    came: np.ndarray,
) -> np.ndarray:
    """Return losses with each offset, up to a constant of the row, (n, n_offsets).

    Given are log p, log S(c), log S(c + h) and whether an event came within the
    horizon, each of shape (n,).
    """
    shifted = log_never[:, None] + _OFFSETS
    # log(S(c) - S(c + h)), the numerator where an event came, does not depend on them.
    stayed = np.logaddexp(shifted, until_cutoff[:, None])
    numerator = np.where(came[:, None], 0.0, stayed)
    return np.logaddexp(shifted, until_landmark[:, None]) - numerator


def _choose_offset(loss: np.ndarray) -> float:
    """Return 0 or else the smallest offset, if within a standard error of the best."""
    best = int(loss.sum(axis=0).argmin())
    excess = loss - loss[:, best, None]
    error = np.sqrt(np.square(excess).sum(axis=0))
    within = _OFFSETS[excess.sum(axis=0) <= error]
    return 0.0 if 0.0 in within else float(within.min())
