"""The likelihood of events and of silence, row by row and event by event."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from sklearn_seqcrm.neural_network._batches import BatchIterator, BatchPart
from sklearn_seqcrm.neural_network._event_model._event_net import EventNet
from sklearn_seqcrm.neural_network._event_model._gaps import GapScale
from sklearn_seqcrm.neural_network._event_model._learned import (
    last_times,
    silence,
)
from sklearn_seqcrm.neural_network._event_model._states import read_to_ends
from sklearn_seqcrm.neural_network._rows import RowData
from sklearn_seqcrm.neural_network._settings import own_settings

_ROWS_AT_ONCE = 1024


def parts_of(
    net: EventNet, data: RowData, share: bool = False
) -> Iterator[tuple[np.ndarray, BatchPart]]:
    """Yield rows, and these rows as the network reads them, on its device.

    Parameters
    ----------
    net : EventNet
        The trained net.
    data : RowData
        Rows.
    share : bool, default=False
        Let rows that start at the same event share a sequence.
    """
    steps = net.steps_at_once()
    batches = BatchIterator(
        data,
        _ROWS_AT_ONCE,
        share=share,
        steps_at_once=steps["steps_at_once"],
        most_steps=steps["most_steps"],
    )
    for batch, _ in batches:
        for rows, part in zip(batch.parts, batch, strict=True):
            yield rows, part.to(net.device)


def states_at_cutoffs(net: EventNet, data: RowData) -> np.ndarray:
    """Output of the reader after the last event of each row, shape (n, H), float32.

    It is 0 for an empty history.
    """
    module = net.module_.eval()
    found = np.zeros((len(data), module.first.shape[0]), "float32")
    with own_settings(net.device), torch.no_grad():
        for rows, part in parts_of(net, data, share=True):
            found[rows] = module.pooled(part).cpu().numpy()
    return found


def event_log_probs(
    net: EventNet, data: RowData
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log probability of the time and of each field of every event.

    Returns
    -------
    row : ndarray of shape (n_events,), int64
        Row of each event, ascending; those of a row are in their order.
    log_prob : ndarray of shape (n_events, 1 + n_fields), float64
        Of the gap before it, then of each field as they are told.
    silence : ndarray of shape (n,), float64
        Of no further event before each row's cutoff.
    """
    module = net.module_.eval()
    [source] = data.sources
    counts = source.stop - source.start
    offsets = np.concatenate([[0], np.cumsum(counts)])
    found = np.zeros((offsets[-1], 1 + len(module.fields)))
    quiet = np.zeros(len(data))
    with own_settings(net.device), torch.no_grad():
        for rows, part in parts_of(net, data):
            terms = module.terms(part)
            own = [np.arange(offsets[row], offsets[row + 1]) for row in rows]
            columns = torch.stack([terms.time, *terms.fields], dim=1)
            found[np.concatenate(own)] = columns.cpu().numpy()
            quiet[rows] = terms.silence.cpu().numpy()
    return np.repeat(np.arange(len(data)), counts), found, quiet


def cumulative_hazards(
    net: EventNet, data: RowData, gaps: GapScale, ticks: np.ndarray
) -> np.ndarray:
    """Cumulative hazard of the next event, from the cutoff on.

    Parameters
    ----------
    net : EventNet
        The trained net.
    data : RowData of n
        Rows.
    gaps : GapScale
        Resolution of times.
    ticks : ndarray of shape (n_times,)
        Times after the cutoff.

    Returns
    -------
    ndarray of shape (n, n_times), float64
        Negative logarithm of the chance of no event, given that none came before the
        cutoff. It is 0 for an empty history, after which nothing is known to come.
    """
    module = net.module_.eval()
    [source] = data.sources
    elapsed, last = silence(source), last_times(source)
    found = np.zeros((len(data), len(ticks)))
    with own_settings(net.device), torch.no_grad():
        for rows, part in parts_of(net, data):
            states = read_to_ends(module, part)
            read = module.top_of(states) + module.of_statics(part.static)
            known = module.time.log_survival(read, part.static[:, -1])
            for column, tick in enumerate(ticks):
                until = gaps.log_silence(elapsed[rows] + tick, last[rows])
                until_there = torch.from_numpy(until.astype("float32")).to(read.device)
                survival = module.time.log_survival(read, until_there)
                found[rows, column] = (known - survival).cpu().numpy()
    found[source.stop == source.start] = 0
    return np.maximum(found, 0)
