"""Check that a log has the fields that an encoder was fitted on."""

from __future__ import annotations

from collections.abc import Mapping

from sklearn_seqcrm._encoding._event_encoder import EventEncoder
from sklearn_seqcrm._store import Column, FieldSchema, Kinds, RawLog, Rows


def rows_as_in_fit(encoder: EventEncoder, rows: Rows, column: str) -> Rows:
    """Return the rows with fields of the types of training; see `columns_as_in_fit`.

    The parameters are those of `encode_rows`.
    """
    log = rows.log
    assert isinstance(log, RawLog)
    columns = log.columns
    fitting = columns_as_in_fit(columns, encoder.schema, column, encoder.merged_from)
    if fitting is columns:
        return rows
    return rows._replace(log=log.with_events(log.timeline, dict(fitting)))


def columns_as_in_fit(
    columns: Mapping[str, Column],
    expected: Mapping[str, FieldSchema],
    history: str,
    kinds: Kinds | None = None,
) -> Mapping[str, Column]:
    """Return columns of the types of training; an empty column gets the type.

    A table of few events may lack all values of a field, and a column of nothing but
    None does not have the type that the field had in training. A log that was merged
    without a kind of events lacks the fields that only this kind has: they are missing.

    Parameters
    ----------
    columns : mapping of str to Column
        Fields of a log.
    expected : mapping of str to FieldSchema
        Schemas of the fields of training.
    history : str
        Name of the history column, for errors.
    kinds : Kinds or None, default=None
        Kinds of events in training, if their log was merged.

    Returns
    -------
    mapping of str to Column
        `columns` themselves, if all of them fit.

    Raises
    ------
    ValueError
        If the fields are not those of training.
    """
    fitting = {
        name: expected[name].without_values(len(column.values))
        for name, column in columns.items()
        if name in expected
        and FieldSchema.of(column, expected[name]) != expected[name]
        and column.is_empty()
    }
    for name in expected:
        if kinds and name not in columns and kinds.all_lack(columns, name):
            n_events = len(columns[kinds.field].values)
            fitting[name] = expected[name].without_values(n_events)
    fitted = {**columns, **fitting} if fitting else columns
    _refuse_other_fields(fitted, expected, history, kinds)
    # In the order of training, which the hashes of rows depend on.
    return {name: fitted[name] for name in expected} if fitting else columns


def _refuse_other_fields(
    columns: Mapping[str, Column],
    expected: Mapping[str, FieldSchema],
    history: str,
    kinds: Kinds | None,
) -> None:
    """Raise a ValueError if the fields of a log are not those of training."""
    found = {
        name: FieldSchema.of(column, expected.get(name))
        for name, column in columns.items()
    }
    if found == expected:
        return
    lost = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    changed = [
        f"{name!r} is {found[name]} and was {expected[name]}"
        for name in expected
        if name in found and found[name] != expected[name]
    ]
    parts = [f"lacks the fields {lost}"] if lost else []
    parts += [f"has the unknown fields {extra}"] if extra else []
    parts += [f"has other types: {', '.join(changed)}"] if changed else []
    way = f"Build it from the same columns (EventLog(..., fields={list(expected)}))."
    if kinds is not None:
        own = {name: list(fields) for name, fields in kinds.fields.items()}
        way = (
            "Merge it by EventLog.concat from logs of the same kinds with the same "
            f"fields, {own}; only a kind without events may be left out."
        )
    raise ValueError(
        f"The log behind {history!r} does not fit the one seen in fit: it "
        f"{'; it '.join(parts)}. {way}"
    )
