"""How much a network is trusted about levels, which other customers tell."""

from __future__ import annotations

import numpy as np
import torch

from sklearn_seqcrm.neural_network._event_model._event_net import EventNet
from sklearn_seqcrm.neural_network._event_model._likelihood import parts_of
from sklearn_seqcrm.neural_network._event_model._network import EventNetwork, ReadEvents
from sklearn_seqcrm.neural_network._rows import RowData
from sklearn_seqcrm.neural_network._settings import own_settings

# What is tried, until neither new moments nor later events gain.
_TRUSTS = (0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.0)
# Events that are enough to choose among them.
_MOST_EVENTS = 2**15


def trust_fully(net: EventNet) -> None:
    """Believe all that the network knows of levels, as training does."""
    for key in net.module_.codes:
        net.module_.fields[key].trust.fill_(1.0)


def learn_trust(net: EventNet, valid: RowData) -> None:
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
    with own_settings(net.device), torch.no_grad():
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
