"""Integrated gradients and blanking: attributions that need a network.

The network attributes its output to encoded inputs: channels and codes of events, row
features, statics, decayed sums. Here these are summed by the field, event or column of
`X` that they were made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from sklearn_seqcrm._columns import ColumnRoles, LevelEncoder, StaticsTransformer, Table
from sklearn_seqcrm._encoding import NumericField
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._attribution_table import (
    WHOLE_EVENT,
    event_lines,
    row_lines,
)
from sklearn_seqcrm.inspection._explained_quantity import ExplainedQuantity
from sklearn_seqcrm.inspection._network_signals import network_of
from sklearn_seqcrm.inspection._perturbations import RowEvents
from sklearn_seqcrm.inspection._row_inputs import row_features, sums_of_amounts


def integrated_gradients(
    table: Table,
    quantity: ExplainedQuantity,
    by: str,
    fields: list[str] | None,
    n_steps: int,
    n_baselines: int,
    seed: int,
) -> tuple[list[pd.DataFrame], np.ndarray, np.ndarray]:
    """Compute integrated gradients of a network at the end of a pipeline.

    The attribution of input ``i`` is ``(x_i - b_i) * mean_a df/dx_i(b + a (x - b))``
    over ``a`` in [0, 1], with the baseline ``b`` (Sundararajan et al., 2017, eq. 1).
    `by` is "event" to sum over the fields of an event, and "field" otherwise. `fields`
    are explained, while all other inputs stay as they are; None: all inputs. A path has
    `n_steps` points. The baselines of `n_baselines` paths are values of other events,
    drawn with a `seed` (expected gradients); 0: one path, from a baseline of zeros.

    Returns lines of attributions, and the quantity at the end and the start of the
    path, (n,).
    """
    network, encoded = _encode(quantity.estimator, table, "integrated_gradients")
    # Inputs that move along the path; all others stay at their values.
    moved = None if fields is None else _made_of(encoded, fields)
    found = network._integrated_gradients(
        encoded.frame, quantity.of_outputs, n_steps, moved, n_baselines, seed
    )
    lines: list[pd.DataFrame] = []
    # Not all other columns: one that is called like a key is none of the network.
    statics = list(network._roles.statics)
    of_features, of_statics, of_sums = _split(found.static, encoded, len(statics))
    # found.events[i]: (events of all rows, channels + codes) of history column i.
    for i, (name, array) in enumerate(encoded.histories.items()):
        raw, layout = table.histories[name], array.log.layout
        lines += _event_lines(name, raw, layout, found.events[i], by, fields)
        if fields is not None:
            continue  # row features did not move, and have attributions of 0
        scales = _scales(quantity.estimator, name)
        inputs = [(one, of_features[i]) for one in row_features(array, scales)]
        if of_sums[i].shape[1]:
            inputs += [(one, of_sums[i]) for one in sums_of_amounts(array, scales)]
        for one, numbers in inputs:
            total = numbers[:, one.columns].sum(axis=1)
            lines.append(row_lines(name, raw, one.name, one.values, total))
    if fields is None:
        lines += _static_lines(quantity.estimator, table, statics, of_statics)
    return lines, found.output, found.baseline


def blanking(
    table: Table, quantity: ExplainedQuantity, by: str, fields: list[Any] | None
) -> tuple[list[pd.DataFrame], np.ndarray]:
    """Compute the quantity less that with one event, or a field of it, at the baseline.

    Without `fields`, all inputs of an event are blanked. Returns lines of attributions,
    and the quantity for the rows as they are, (n,).
    """
    network, encoded = _encode(quantity.estimator, table, "blanking")
    if fields is None:
        # With None, the interarrival time and the calendar, which are of no field.
        logs = [array.log for array in table.histories.values()]
        fields = list(dict.fromkeys(f for log in logs for f in [*log.fields, None]))
    lines: list[pd.DataFrame] = []
    # One pass of the network for each group of fields that are blanked together.
    for group in [fields] if by == "event" else [[field] for field in fields]:
        found, output = network._blanked_events(
            encoded.frame, quantity.of_outputs, _made_of(encoded, group)
        )
        for (name, array), numbers in zip(table.histories.items(), found, strict=True):
            events = RowEvents.of(array)
            source = WHOLE_EVENT if by == "event" else group[0]
            # A field of another history's log has no line here.
            if source in (WHOLE_EVENT, None) or source in array.log.fields:
                lines.append(event_lines(name, array, events, source, numbers))
    return lines, output


def _encode(estimator: Any, table: Table, method: str) -> tuple[Any, Table]:
    """Return the network at the end of a pipeline, and the rows encoded for it."""
    network = network_of(
        estimator, f"method='occlusion' is for any estimator; method={method!r}"
    )
    return network, Table.of(estimator[:-1].transform(table.frame))


def _scales(estimator: Any, name: Any) -> dict[Any, float]:
    """Return the scale of each numeric field of a history column, as it was learned."""
    encoders = (getattr(step, "_encoders", {}) for _, step in estimator.steps)
    encoder = next((one[name] for one in encoders if name in one), None)
    if encoder is None:
        return {}
    return {
        field: one.scale.scale
        for field, one in encoder.fields.items()
        if isinstance(one, NumericField)
    }


def _made_of(encoded: Table, fields: Sequence[Any]) -> list[np.ndarray]:
    """Mark the channels and codes of each history that encode one of some fields."""
    return [
        np.array([source in fields for source in array.log.layout.sources], dtype=bool)
        for array in encoded.histories.values()
    ]


def _split(
    static: np.ndarray, encoded: Table, n_statics: int
) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """Split attributions to inputs of rows by their origin.

    With two history columns, the columns of `static` are::

        | features 1 | features 2 | statics | sums 1 | sums 2 |

    Sums are there only if the network has a linear part.
    """
    layouts = [array.log.layout for array in encoded.histories.values()]
    n_features = [len(layout.row_features) for layout in layouts]
    n_sums = [len(layout.sums) for layout in layouts]
    ends = np.cumsum([*n_features, n_statics, *n_sums])
    parts = np.split(static, ends[:-1], axis=1)
    k = len(layouts)
    return parts[:k], parts[k], parts[k + 1 :]


def _event_lines(
    name: Any,
    array: HistoryArray,
    layout: Any,
    numbers: np.ndarray,
    by: str,
    fields: list[str] | None,
) -> Iterator[pd.DataFrame]:
    """Yield lines of events; `numbers` are attributions to their channels and codes.

    Those of one field add up to its attribution, since integrated gradients of all
    inputs add up to the output less the baseline (completeness).
    """
    events = RowEvents.of(array)
    if by == "event":
        yield event_lines(name, array, events, WHOLE_EVENT, numbers.sum(axis=1))
        return
    for field in [*array.log.fields, None]:
        if fields is None or field in fields:
            own = [i for i, source in enumerate(layout.sources) if source == field]
            total = numbers[:, own].sum(axis=1)
            yield event_lines(name, array, events, field, total)


def _static_lines(
    estimator: Any, table: Table, encoded_names: Sequence[Any], numbers: np.ndarray
) -> Iterator[pd.DataFrame]:
    """Yield lines of statics: the sum over the columns that each was encoded by."""
    array = next(iter(table.histories.values()))
    known = _sources_of_parts(estimator[-2])
    statics = list(ColumnRoles.of(table).statics)
    sources = [
        known[name] if name in known else _source_of(name, statics)
        for name in encoded_names
    ]
    for name in dict.fromkeys(sources):
        own = [i for i, source in enumerate(sources) if source == name]
        total = numbers[:, own].sum(axis=1)
        yield row_lines(None, array, name, table.frame.get(name), total)


def _sources_of_parts(transformer: Any) -> dict[Any, Any]:
    """Return the column of X of each output of `make_history_pipeline`'s statics.

    Names alone do not show it: "city_zone_A" is the level "zone_A" of a column "city",
    or "A" of "city_zone".
    """
    found: dict[Any, Any] = {}
    if not isinstance(transformer, StaticsTransformer):
        return found
    outputs = transformer.get_feature_names_out()
    for part, encoder, columns in transformer.transformers_:
        own = outputs[transformer.output_indices_[part]]
        if not len(own):  # no column is of this type: its encoder is not fitted
            continue
        last = encoder[-1] if isinstance(encoder, Pipeline) else encoder
        if isinstance(last, LevelEncoder):
            sources = [columns[i] for i in last.columns_out()]
        else:
            sources = [_source_of(name, columns) for name in own]
        found |= zip(own, sources, strict=True)
    return found


def _source_of(encoded: Any, statics: Sequence[Any]) -> Any:
    """Return the column of X that an encoded column encodes, judged by its name.

    scikit-learn names them ``"missingindicator_age"`` and ``"city_Rome"``. The longest
    match wins: ``"city_zone_A"`` belongs to ``"city_zone"`` rather than to ``"city"``.
    """
    if encoded in statics:
        return encoded
    text = str(encoded).removeprefix("missingindicator_")
    fitting = [name for name in statics if text == name or text.startswith(f"{name}_")]
    return max(fitting, key=lambda name: len(str(name)), default=encoded)
