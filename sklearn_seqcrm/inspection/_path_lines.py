"""Integrated gradients of a network, in the names that users know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sklearn_seqcrm._reading import Reading, Table
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._inside import network_of
from sklearn_seqcrm.inspection._lines import event_lines, row_lines, values_of
from sklearn_seqcrm.inspection._other_events import OwnEvents
from sklearn_seqcrm.inspection._question import Question


def path_lines(
    estimator: Any, table: Table, question: Question, by: str, n_steps: int
) -> tuple[list[pd.DataFrame], np.ndarray, np.ndarray]:
    """Attributions of a network at the end of a pipeline.

    Parameters
    ----------
    estimator : Pipeline
        Fitted, with a network at its end.
    table : Table of n rows
        Raw rows.
    question : Question
        What is explained of them.
    by : {"event", "field"}
        Whether the fields of an event are added up.
    n_steps : int
        Points on the path.

    Returns
    -------
    lines : list of DataFrame
        Of events, row features and statics.
    output, baseline : ndarray of shape (n,)
        Ends of the path.
    """
    network = network_of(
        estimator,
        "method='occlusion' is for any estimator; method='integrated_gradients'",
    )
    encoded = estimator[:-1].transform(table.frame)
    found = network._integrated_gradients(encoded, question.of_predicted, n_steps)
    seen = Table.of(encoded)
    lines: list[pd.DataFrame] = []
    statics = [name for name in seen.frame if name not in seen.histories]
    of_features, of_statics, of_sums = _split(found.static, seen, len(statics))
    for i, (name, array) in enumerate(seen.histories.items()):
        raw, layout, log = table.histories[name], array.log.layout, array.log
        lines += _of_events(name, raw, layout, found.events[i], by)
        columns = [(layout.row_features, log.row_features(array.rows), of_features[i])]
        if of_sums[i].shape[1]:
            _, sums = log.row_features_and_sums(array.rows)
            columns.append((layout.sums, sums, of_sums[i]))
        for names, values, numbers in columns:
            lines += [
                row_lines(name, raw, feature, values[:, j], numbers[:, j])
                for j, feature in enumerate(names)
            ]
    lines += _of_statics(table, statics, of_statics)
    return lines, found.output, found.baseline


def _split(
    static: np.ndarray, seen: Table, n_statics: int
) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """Row features of each history column, statics, and sums of each column.

    Sums are there if the network has a linear part.
    """
    layouts = [array.log.layout for array in seen.histories.values()]
    sizes = [len(layout.row_features) for layout in layouts]
    behind = [len(layout.sums) for layout in layouts]
    parts = np.split(static, np.cumsum([*sizes, n_statics, *behind])[:-1], axis=1)
    return parts[: len(sizes)], parts[len(sizes)], parts[len(sizes) + 1 :]


def _of_events(
    name: Any, array: HistoryArray, layout: Any, numbers: np.ndarray, by: str
) -> Iterator[pd.DataFrame]:
    """Lines of events: what channels and codes of a field add together."""
    events, log = OwnEvents.of(array), array.log
    if by == "event":
        yield event_lines(name, array, events, "event", None, numbers.sum(axis=1))
        return
    for field in [*log.fields, None]:
        own = [i for i, source in enumerate(layout.sources) if source == field]
        total = numbers[:, own].sum(axis=1)
        if field is None:  # the gap to the event before, and the calendar
            times = log.timeline.clock.as_index(events.times)
            yield event_lines(name, array, events, log.names[1], times, total)
        else:
            values = values_of(log.column(field), events.event)
            yield event_lines(name, array, events, field, values, total)


def _of_statics(
    table: Table, made: Sequence[Any], numbers: np.ndarray
) -> Iterator[pd.DataFrame]:
    """Lines of statics: what the columns made of each add together."""
    array = next(iter(table.histories.values()))
    statics = list(Reading.of(table).statics)
    sources = [_source_of(name, statics) for name in made]
    for name in dict.fromkeys(sources):
        own = [i for i, source in enumerate(sources) if source == name]
        total = numbers[:, own].sum(axis=1)
        yield row_lines(None, array, name, table.frame.get(name), total)


def _source_of(made: Any, statics: Sequence[Any]) -> Any:
    """The column of X that a column was made of, by its name; else that name itself.

    scikit-learn calls them ``"missingindicator_age"`` and ``"city_Rome"``.
    """
    if made in statics:
        return made
    text = str(made).removeprefix("missingindicator_")
    fitting = [name for name in statics if text == name or text.startswith(f"{name}_")]
    return max(fitting, key=lambda name: len(str(name)), default=made)
