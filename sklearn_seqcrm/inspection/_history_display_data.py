"""What a `HistoryDisplay` shows of a row: lanes and sizes of events, bars and title."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from sklearn_seqcrm._plotting import plain_text
from sklearn_seqcrm.events import History, HistoryArray
from sklearn_seqcrm.inspection._row_inputs import format_number

_MAX_LANES = 8  # fields with more levels are ids, or do not fit
_MAX_BARS = 6  # the others are summed


def refuse_other_events(
    events: pd.DataFrame, one: History, row: int, last_row: float
) -> None:
    """Raise a ValueError if attributions are not of the events of a history.

    `events` are the lines of a row, the last event among them, whatever `last_events`
    was, and `last_row` is the last row that has attributions; NaN if there are none.
    """
    if not row <= last_row and len(one):  # NaN: there are none at all
        raise ValueError(
            f"There are no attributions of row {row} of X. Pass the X that they were "
            "computed for."
        )
    if not len(events):
        return
    position = events["position"].to_numpy("int64")
    is_last = position.max() == len(one) - 1
    is_same = is_last and (events["customer"] == one.customer).all()
    if is_same:
        # A table that was read from a file has times as text.
        is_same = (events["time"].astype(one.times.dtype) == one.times[position]).all()
    if not is_same:
        raise ValueError(
            f"The attributions of row {row} are not of the events of customer "
            f"{one.customer!r} before {one.cutoff}. Pass the X that they were computed "
            "for, with its rows in the same order."
        )


def plotted_events(
    array: HistoryArray,
    row: int,
    lines: pd.DataFrame,
    kind_field: str | None,
    size_field: str | None,
) -> tuple[pd.DataFrame, tuple[str, float] | None]:
    """Return `HistoryDisplay.events` and `HistoryDisplay.sizes` of one row.

    `lines` are the attributions of its events, `kind_field` and `size_field` the fields
    that the user chose.
    """
    one = array[row]
    fields = one.to_frame().iloc[:, 2:]
    sizes, largest = _sizes(fields, size_field)
    # By field, the attributions of an event add up. Events without a line are NaN.
    attribution = lines.groupby("position")["attribution"].sum()
    events = pd.DataFrame(
        {
            "time": one.times,
            "lane": _lanes(fields, array.log.kind_field, kind_field),
            "size": sizes,
            "attribution": attribution.reindex(range(len(one))).to_numpy("float64"),
        }
    )
    return events, largest


def _lanes(fields: pd.DataFrame, of_log: str | None, chosen: str | None) -> Any:
    """Return the lane of each event: the level of a field, or one lane for all."""
    name: Any = _check_field(fields, chosen) or of_log
    if name is None:
        few = (
            one
            for one, column in fields.items()
            if isinstance(column.dtype, pd.CategoricalDtype)
            and len(column.dtype.categories) <= _MAX_LANES
        )
        name = next(few, None)
    if name is None:
        return np.full(len(fields), "events", dtype=object)
    levels = fields[name].astype(object)
    return levels.where(levels.notna(), "(missing)").to_numpy()


def _sizes(
    fields: pd.DataFrame, chosen: str | None
) -> tuple[np.ndarray, tuple[str, float] | None]:
    """Return the absolute values of a field over the largest, shape (n_events,).

    Beside them, the field and the largest value, if there is one above 0.
    """
    numeric = (name for name, column in fields.items() if column.dtype.kind == "f")
    name: Any = _check_field(fields, chosen) or next(numeric, None)
    if name is None:
        return np.full(len(fields), 0.3), None
    sizes = np.abs(fields[name].to_numpy("float64"))
    # An infinite amount would shrink all other dots.
    sizes = np.where(np.isfinite(sizes), sizes, np.nan)
    largest = float(np.nanmax(sizes, initial=0))
    return sizes / (largest or 1.0), (str(name), largest) if largest > 0 else None


def _check_field(fields: pd.DataFrame, chosen: str | None) -> str | None:
    if chosen is not None and chosen not in fields:
        raise KeyError(f"The log has no field {chosen!r}; it has {list(fields)}.")
    return chosen


def title_of(customer: Any, output: pd.Series | None, unit: str) -> str:
    """Return the customer and, if it is known, the explained quantity of the row."""
    title = "Unknown customer" if customer is None else f"Customer {customer}"
    title = plain_text(title)
    if output is None:
        return title
    # An effect has the name of its treatment, a prediction the position of a target.
    what = {"effect": "", "prediction": "target "}.get(unit, "class ")
    of = f" of {what}{format_value(output['target'])}" if "target" in output else ""
    title += f"\n{unit}{plain_text(of)} = {format_number(output['output'])}"
    if unit == "log odds":
        title += f" (probability {expit(float(output['output'])):.0%})"
    if pd.notna(output["baseline"]):
        title += f", baseline = {format_number(output['baseline'])}"
    return title


def bars_beside(
    lines: pd.DataFrame, name: Any, events: pd.DataFrame | None
) -> pd.Series:
    """Return attributions of what is not an event of a history, by label.

    `lines` are row features, statics, and events of other histories than `name`. With
    the lines of its own `events`, their sum comes first; None where sums have no
    meaning, as attributions do not add up to the prediction. Small ones are summed at
    the end.
    """
    is_event = lines["position"].notna()
    inputs = lines[~is_event]  # not summed by label: a static may be called as an input
    labels = [_label(line, name, inputs) for line in inputs.itertuples(index=False)]
    found = pd.Series(inputs["attribution"].to_numpy("float64"), labels)
    of_events = lines[is_event].groupby("history", sort=False)["attribution"].sum()
    found = pd.concat([found, of_events.astype("float64").add_prefix("events of ")])
    order = np.argsort(-found.abs().to_numpy(), kind="stable")
    n_top = len(order) if len(order) == _MAX_BARS + 1 else _MAX_BARS
    top, rest = found.iloc[order[:n_top]], found.iloc[order[n_top:]]
    parts = [top]
    if len(rest):
        parts.append(pd.Series({f"sum of {len(rest)} others": rest.sum()}))
    if events is not None and len(events) and len(found):
        parts.insert(0, pd.Series({"sum of all events": events["attribution"].sum()}))
    return pd.concat(parts)


def _label(line: Any, name: Any, inputs: pd.DataFrame) -> str:
    """Return the label of an input: its name, its history unless clear, its value."""
    same = inputs["field"] == line.field
    is_clear = line.history == name and same.sum() == 1
    of = "" if pd.isna(line.history) or is_clear else f" ({line.history})"
    value = "" if line.value is None else f": {format_value(line.value)}"
    return f"{line.field}{of}{value}"


def format_value(value: Any) -> str:
    """Return a value as briefly as a label needs it."""
    if pd.isna(value):
        return "missing"
    if isinstance(value, pd.Timedelta):
        return f"{format_number(value / pd.Timedelta('1D'))} days"
    if isinstance(value, pd.Timestamp):
        return str(value.date() if value == value.normalize() else value)
    is_number = isinstance(value, Real) and not isinstance(value, bool | np.bool_)
    return format_number(value) if is_number else str(value)[:20]
