"""The kinds of fields: who encodes each, and whether a log has those of training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from sklearn_seqcrm._encoding._field_encoder import FieldEncoder
from sklearn_seqcrm._encoding._number_field import NumericField
from sklearn_seqcrm._encoding._vector_field import VectorField
from sklearn_seqcrm._encoding._vocabulary import Vocabulary
from sklearn_seqcrm._store import Column, kind_of_ids

# By `Column.kind`. A kind of field is a class and an entry here.
FIELD_ENCODERS: dict[str, type[FieldEncoder]] = {
    "categorical": Vocabulary,
    "datetime": NumericField,
    "numeric": NumericField,
    "vector": VectorField,
}
_VECTORS = "vectors of "
_OF_LEVELS = "categorical"


def kind_of_field(column: Column, expected: str | None = None) -> str:
    """Kind of a field; levels of one kind never equal levels of another.

    Levels are of the kinds that ids have: text, numbers, booleans, ... Vectors are of
    one kind if they are of one length. A field without any level is of the kind that
    is expected, if that has levels.
    """
    if column.kind == "vector":
        return f"{_VECTORS}{column.values.shape[1]}"
    if column.categories is None:
        return column.kind
    if not len(column.categories):
        return expected if expected and _has_levels(expected) else _OF_LEVELS
    kind = kind_of_ids(column.categories)
    return _OF_LEVELS if kind == "text" else f"{_OF_LEVELS} ({kind}s)"


def _has_levels(kind: str) -> bool:
    """Tell whether a kind of field, as `kind_of_field` returns it, is of levels."""
    return kind.startswith(_OF_LEVELS)


def fitting_columns(
    columns: Mapping[str, Column], expected: Mapping[str, str], history: str
) -> Mapping[str, Column]:
    """Columns of the kinds of training; what has no value at all is of any kind.

    A table of few events may lack all values of a field, and a column of nothing but
    None does not say what it would have held.

    Parameters
    ----------
    columns : mapping of str to Column
        Fields of the log.
    expected : mapping of str to str
        Kinds of the fields of training.
    history : str
        Name of the history column, for errors.

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
        name: _column_of_nothing(expected[name], len(column.values))
        for name, column in columns.items()
        if name in expected
        and kind_of_field(column, expected[name]) != expected[name]
        and column.is_empty()
    }
    fitted = {**columns, **fitting} if fitting else columns
    _refuse_other_fields(fitted, expected, history)
    return fitted


def _column_of_nothing(kind: str, n_events: int) -> Column:
    """A column of some kind without any value."""
    if _has_levels(kind):
        return Column(np.full(n_events, -1, "int32"), pd.Index([], dtype=object))
    if kind.startswith(_VECTORS):
        size = int(kind.removeprefix(_VECTORS))
        return Column(np.full((n_events, size), np.nan, "float32"))
    missing = np.nan if kind == "numeric" else np.datetime64("NaT", "us")
    return Column(np.full(n_events, missing))


def _refuse_other_fields(
    columns: Mapping[str, Column], expected: Mapping[str, str], history: str
) -> None:
    """Raise a ValueError if the fields of a log are not those of training."""
    kinds = {
        name: kind_of_field(column, expected.get(name))
        for name, column in columns.items()
    }
    if kinds == expected:
        return
    lost = [name for name in expected if name not in kinds]
    extra = [name for name in kinds if name not in expected]
    changed = [
        f"{name!r} is {kinds[name]} and was {expected[name]}"
        for name in expected
        if name in kinds and kinds[name] != expected[name]
    ]
    parts = [f"lacks the fields {lost}"] if lost else []
    parts += [f"has the unknown fields {extra}"] if extra else []
    parts += [f"has other types: {', '.join(changed)}"] if changed else []
    raise ValueError(
        f"The log behind {history!r} does not fit the one seen in fit: it "
        f"{'; it '.join(parts)}. Build it from the same columns "
        f"(EventLog(..., fields={list(expected)}))."
    )
