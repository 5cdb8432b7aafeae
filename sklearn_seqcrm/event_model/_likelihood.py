"""How much a network is trusted about levels, which other customers tell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from sklearn_seqcrm._recurrent.data import BatchIterator, BatchPart, RowData
from sklearn_seqcrm._recurrent.training import isolated_torch_settings
from sklearn_seqcrm.event_model._event_net import EventNet, read_to_ends
from sklearn_seqcrm.event_model._interarrival import InterarrivalGrid
from sklearn_seqcrm.event_model._learned import last_times, silence
from sklearn_seqcrm.event_model._network import EventNetwork, ReadEvents

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
    with isolated_torch_settings(net.device), torch.no_grad():
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
    with isolated_torch_settings(net.device), torch.no_grad():
        for rows, part in parts_of(net, data):
            terms = module.terms(part)
            own = [np.arange(offsets[row], offsets[row + 1]) for row in rows]
            columns = torch.stack([terms.time, *terms.fields], dim=1)
            found[np.concatenate(own)] = columns.cpu().numpy()
            quiet[rows] = terms.silence.cpu().numpy()
    return np.repeat(np.arange(len(data)), counts), found, quiet


def cumulative_hazards(
    net: EventNet, data: RowData, gaps: InterarrivalGrid, ticks: np.ndarray
) -> np.ndarray:
    """Cumulative hazard of the next event, from the cutoff on.

    Parameters
    ----------
    net : EventNet
        The trained net.
    data : RowData of n
        Rows.
    gaps : InterarrivalGrid
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
    with isolated_torch_settings(net.device), torch.no_grad():
        for rows, part in parts_of(net, data):
            states = read_to_ends(module, part)
            read = module.top_of(states) + module.of_statics(part.static)
            known = module.time.log_survival(read, part.static[:, -1])
            for column, tick in enumerate(ticks):
                until = gaps.log_censoring_time(elapsed[rows] + tick, last[rows])
                until_there = torch.from_numpy(until.astype("float32")).to(read.device)
                survival = module.time.log_survival(read, until_there)
                found[rows, column] = (known - survival).cpu().numpy()
    found[source.stop == source.start] = 0
    return np.maximum(found, 0)


# What is tried, until neither new moments nor later events gain.
_TRUSTS = (0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.0)
# Events that are enough to choose among them.
_MOST_EVENTS = 2**15


def trust_fully(net: EventNet) -> None:
    """Believe all that the network knows of levels, as training does."""
    for key in net.module_.codes:
        net.module_.fields[key].trust.fill_(1.0)


def calibrate_state_shrinkage(net: EventNet, valid: RowData) -> None:
    """Choose how much of what the network knows is believed of levels.

    What comes at a new moment is a small part of all events where many are at one, as
    in baskets, and says less of the next ones than those at the same moment do. There
    a network learns its training events by heart, while all others still gain. So the
    states that softmax and gates of a field are told are shrunk, at new moments and for
    later events of a moment, as far as it makes what other customers did more likely.

    Parameters
    ----------
    net : EventNet
        The trained net.
    valid : RowData
        Rows of customers who are not in training.
    """
    module = net.module_.eval()
    if not module.codes:
        return
    trust_fully(net)
    [source] = valid.sources
    n_events = int((source.stop - source.start).sum())
    valid = valid.take(np.arange(0, len(valid), 1 + n_events // _MOST_EVENTS))
    with isolated_torch_settings(net.device), torch.no_grad():
        parts = [module.read(part) for _, part in parts_of(net, valid)]
        told: dict[str, list[torch.Tensor]] = {key: [] for key in module.codes}
        for events in parts:
            for key, states in module.told_fields(events):
                if key in told:
                    told[key].append(states)
        for key in module.codes:
            _choose(module, key, told.pop(key), parts)


def _choose(
    module: EventNetwork, key: str, told: list[torch.Tensor], parts: list[ReadEvents]
) -> None:
    """Choose for a field, first how its softmax is trusted and then its gates."""
    density = module.fields[key]

    def of_rows() -> np.ndarray:
        """Log likelihoods of rows, shape (n, 2): at new moments, and later in them."""
        found = []
        for events, states in zip(parts, told, strict=True):
            log_prob = module.log_prob_of(key, states, events).cpu().numpy()
            place = (2 * events.row + events.is_tie).cpu().numpy()
            sums = np.bincount(place, log_prob, minlength=2 * len(events.last))
            found.append(sums.reshape(-1, 2))
        return np.concatenate(found)

    start = of_rows()
    for part in range(2 if module.copies else 1):
        best, most, of_best = np.ones(2), np.zeros(2), start.copy()
        try:
            for trust in _TRUSTS:
                density.trust[part] = trust
                now = of_rows()
                gain = now - start
                total, error = gain.sum(axis=0), np.sqrt(np.square(gain).sum(axis=0))
                better = (total > most) & (total > error)
                if not better.any():
                    break
                best[better], most[better] = trust, total[better]
                of_best[:, better] = now[:, better]
        finally:
            # If somebody interrupts, nothing stays that was only tried.
            density.trust[part] = torch.from_numpy(best.astype("float32"))
        start = of_best
