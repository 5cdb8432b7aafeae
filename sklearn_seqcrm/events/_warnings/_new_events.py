"""What is checked in tables of new events: those of a new log, or appended ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import narwhals.stable.v1 as nw

from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.events._read import Events
from sklearn_seqcrm.events._warnings._field_values import (
    count_infinite,
    fields_of_other_zone,
    warn_infinite,
    warn_other_zone,
)
from sklearn_seqcrm.events._warnings._look_like_ids import warn_id_like_fields
from sklearn_seqcrm.events._warnings._numbers_as_text import warn_numbers_as_text
from sklearn_seqcrm.events._warnings._repeated_events import (
    count_copied_events,
    warn_copied_events,
)
from sklearn_seqcrm.events._warnings._wrong_dates import (
    warn_date_like_times,
    warn_wrong_dates,
)


class NewEventChecks:
    """Warnings about a table of new events, or once about all parts of one.

    Parts are read one by one, and only their tables know time zones and dtypes: `add`
    looks at each of them, and the other methods warn after the last one.

    `categorical` are the fields that the user declared categorical; None: nothing was
    declared, so that numbers may be ids.
    """

    def __init__(self, categorical: Sequence[str] | None) -> None:
        self._declared = () if categorical is None else categorical
        self._may_hold_ids = categorical is None
        self._zones: dict[str, None] = {}
        self._infinite: Counter[str] = Counter()

    def add(self, table: nw.DataFrame, events: Events) -> None:
        """Look at a table and its events; warn of ids in the first table."""
        if self._may_hold_ids:
            warn_id_like_fields(events.columns, table)
        self._may_hold_ids = False
        self._zones |= dict.fromkeys(fields_of_other_zone(table, events))
        self._infinite += Counter(count_infinite(events.columns))

    def warn_about_fields(self, clock: Clock) -> None:
        """Warn of what was seen in the tables."""
        warn_other_zone(list(self._zones), clock)
        warn_infinite(self._infinite)

    def warn_about_log(self, events: Events, time: str, observed_until: Any) -> None:
        """Warn of what was seen in the tables, and of all events of a new log.

        `time` is the name of the column of times, and `observed_until` what the user
        gave; None: nothing, so that nothing confirms late events.
        """
        self.warn_about_fields(events.timeline.clock)
        warn_numbers_as_text(events.columns, self._declared)
        warn_date_like_times(events.timeline, f"times in column {time!r}")
        warn_wrong_dates(events.timeline, time, observed_until)
        warn_copied_events(count_copied_events(events))
