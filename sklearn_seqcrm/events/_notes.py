"""The observation window of a log in the notes of its files."""

from __future__ import annotations

from typing import Any

import numpy as np

from sklearn_seqcrm._store import Clock, ObservationWindow, get_entry


def observation_to_json(observation: ObservationWindow) -> dict[str, Any]:
    """Return the entry "record" of a note."""
    until = np.asarray(observation.until).item()
    entry = {**observation._asdict(), "until": until}
    del entry["is_lower_bound"]  # whoever writes a log has it as a whole
    return entry


def observation_from_json(
    note: dict[str, Any], clock: Clock, path: Any
) -> ObservationWindow:
    """Read the entry "record" of a note."""
    entry = get_entry(note, "record", dict, path)
    return ObservationWindow(
        get_entry(entry, "until", clock.tick_type, path),
        get_entry(entry, "in_days", bool, path),
        get_entry(entry, "limited_by", str | None, path),
    )
