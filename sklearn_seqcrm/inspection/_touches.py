"""Events as touches of customers by channels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._other_events import OwnEvents


class Touches(NamedTuple):
    """The channels of the events that n rows see.

    Parameters
    ----------
    channels : list of n_channels
        Levels of the field that a row sees, in ascending order.
    events : OwnEvents of n_events
        The events.
    channel : ndarray of shape (n_events,), int64
        Position of the channel of each event in `channels`, -1 without one.
    present : ndarray of shape (n, n_channels), bool
        Which channels each row was touched by.
    place : ndarray of shape (n_events,), int64
        Position of the channel of each event among those of its row, -1 without one.
    """

    channels: list[Any]
    events: OwnEvents
    channel: np.ndarray
    present: np.ndarray
    place: np.ndarray

    @classmethod
    def of(cls, array: HistoryArray, field: str) -> Touches:
        """Read the channels of the events of rows.

        Raises
        ------
        KeyError
            If the log has no such field.
        ValueError
            If the field is not categorical.
        """
        column = array.log.column(field)
        if column.categories is None:
            raise ValueError(
                f"field={field!r} is {column.kind}, and channels are levels of a "
                f"categorical field; build the log with categorical=[{field!r}, ...]."
            )
        events = OwnEvents.of(array)
        used, channel = np.unique(column.values[events.event], return_inverse=True)
        if len(used) and used[0] < 0:  # events without a channel
            used, channel = used[1:], channel - 1
        present = np.zeros((len(array), len(used)), dtype=bool)
        touched = channel >= 0
        present[events.row[touched], channel[touched]] = True
        rank = np.cumsum(present, axis=1) - 1
        place = np.full(len(channel), -1)
        place[touched] = rank[events.row[touched], channel[touched]]
        return cls(column.categories[used].tolist(), events, channel, present, place)
