"""Outputs of an estimator that changed, with the changed rows and the causes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from sklearn_seqcrm.model_selection._outputs import Output, changed_rows, typical_size

_N_ROWS_SHOWN = 3
EVENTS = "events are "  # how changes of events begin


class Findings:
    """Outputs that changed, with the changed rows and the causes.

    `name` is that of the estimator, `index` (n,) are the labels of all rows, `baseline`
    has their outputs, and `rtol` is as for `changed_rows`.
    """

    def __init__(
        self, name: str, index: pd.Index, baseline: dict[str, Output], rtol: float
    ) -> None:
        self.name = name
        self.index = index
        self.sizes = {key: typical_size(one) for key, one in baseline.items()}
        self.rtol = rtol
        self.compared: set[str] = set()
        self.rows: dict[str, np.ndarray] = {}
        self.changes: dict[str, dict[str, None]] = {}

    def compare(
        self,
        before: dict[str, Output],
        after: dict[str, Output],
        rows: np.ndarray,
        change: str,
    ) -> None:
        """Record which outputs of some rows differ before and after a change."""
        positions = np.flatnonzero(rows)
        for name in {**before, **after}:
            self.compared.add(name)
            # An output of one call only has changed in all rows.
            changed = np.ones(len(positions), bool)
            if name in before and name in after:
                both, size = (before[name], after[name]), self.sizes.get(name, 0.0)
                changed = changed_rows(*both, len(positions), self.rtol, size)
            if changed.any():
                self.rows.setdefault(name, np.zeros(len(rows), bool))
                self.rows[name][positions[changed]] = True
                self.changes.setdefault(name, {})[change] = None

    def raise_if_any(self, verdict: str, reason: str) -> None:
        """Raise an AssertionError if an output changed."""
        if not self.rows:
            return
        lines = [
            f"{self.name} {verdict}: {len(self.rows)} of {len(self.compared)} outputs "
            f"{reason}."
        ]
        for name, rows in self.rows.items():
            shown = ", ".join(map(repr, self.index[rows][:_N_ROWS_SHOWN].tolist()))
            more = ", ..." if rows.sum() > _N_ROWS_SHOWN else ""
            lines.append(
                f"- {name}: {rows.sum()} of {len(rows)} rows, where "
                f"{_listing(self.changes[name])}; rows {shown}{more}"
            )
        raise AssertionError("\n".join(lines))


def _listing(changes: Iterable[str]) -> str:
    """Join changes by "or": "x or events are deleted or added"."""
    others = [change for change in changes if not change.startswith(EVENTS)]
    of_events = [c.removeprefix(EVENTS) for c in changes if c.startswith(EVENTS)]
    return " or ".join(others + [EVENTS + " or ".join(of_events)] * bool(of_events))
