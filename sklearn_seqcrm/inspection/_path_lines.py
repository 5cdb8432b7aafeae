"""Integrated gradients of a network, in the names that users know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sklearn_seqcrm._columns import ColumnRoles, Table
from sklearn_seqcrm.events import HistoryArray
from sklearn_seqcrm.inspection._lines import event_lines, row_lines, values_of
from sklearn_seqcrm.inspection._network_signals import network_of
from sklearn_seqcrm.inspection._other_events import OwnEvents
from sklearn_seqcrm.inspection._question import Question


class Path(NamedTuple):
    """How to look into a network.

    Parameters
    ----------
    by : {"event", "field"}
        Whether the fields of an event are looked at together.
    fields : list of str or None
        Fields that are explained, the others stay as they are; None: all, and what is
        of no event.
    n_steps : int, default=1
        Points on the path.
    n_baselines : int, default=0
        Paths from the values of other events; 0: one path from nothing.
    seed : int, default=0
        What draws these.
    """

    by: str
    fields: list[str] | None
    n_steps: int = 1
    n_baselines: int = 0
    seed: int = 0


def path_lines(
    estimator: Any, table: Table, question: Question, path: Path
) -> tuple[list[pd.DataFrame], np.ndarray, np.ndarray]:
    """Integrated gradients of a network at the end of a pipeline.

    Parameters
    ----------
    estimator : Pipeline
        Fitted, with a network at its end.
    table : Table of n rows
        Raw rows.
    question : Question
        What is explained of them.
    path : Path
        From where, and of what.

    Returns
    -------
    lines : list of DataFrame
        Of events, row features and statics.
    output, baseline : ndarray of shape (n,)
        Ends of the path.
    """
    network, encoded, seen = _look_into(estimator, table, "integrated_gradients")
    moved = None if path.fields is None else _moved(seen, path.fields)
    found = network._integrated_gradients(
        encoded,
        question.of_predicted,
        path.n_steps,
        moved,
        path.n_baselines,
        path.seed,
    )
    lines: list[pd.DataFrame] = []
    statics = [name for name in seen.frame if name not in seen.histories]
    of_features, of_statics, of_sums = _split(found.static, seen, len(statics))
    for i, (name, array) in enumerate(seen.histories.items()):
        raw, layout, log = table.histories[name], array.log.layout, array.log
        lines += _of_events(name, raw, layout, found.events[i], path)
        if path.fields is not None:
            continue
        columns = [(layout.row_features, log.row_features(array.rows), of_features[i])]
        if of_sums[i].shape[1]:
            _, sums = log.row_features_and_sums(array.rows)
            columns.append((layout.sums, sums, of_sums[i]))
        for names, values, numbers in columns:
            lines += [
                row_lines(name, raw, feature, values[:, j], numbers[:, j])
                for j, feature in enumerate(names)
            ]
    if path.fields is None:
        lines += _of_statics(table, statics, of_statics)
    return lines, found.output, found.baseline


def blanked_lines(
    estimator: Any, table: Table, question: Question, path: Path
) -> tuple[list[pd.DataFrame], np.ndarray]:
    """What goes with what a network knows of each event, or of each field of it.

    Parameters
    ----------
    estimator, table, question, path : object
        As in `path_lines`.

    Returns
    -------
    lines : list of DataFrame
        Of events.
    output : ndarray of shape (n,)
        What is explained.
    """
    network, encoded, seen = _look_into(estimator, table, "blanking")
    names = path.fields
    if names is None:  # the time as well, which is that of no field
        logs = [array.log for array in table.histories.values()]
        names = list(dict.fromkeys(f for log in logs for f in [*log.fields, None]))
    lines: list[pd.DataFrame] = []
    for some in [names] if path.by == "event" else [[name] for name in names]:
        moved = _moved(seen, some)
        found, output = network._blanked_events(encoded, question.of_predicted, moved)
        for (name, array), numbers in zip(table.histories.items(), found, strict=True):
            events = OwnEvents.of(array)
            if path.by == "event":
                lines.append(event_lines(name, array, events, "event", None, numbers))
            elif some[0] is None or some[0] in array.log.fields:
                lines.append(_of_field(name, array, events, some[0], numbers))
    return lines, output


def _look_into(
    estimator: Any, table: Table, method: str
) -> tuple[Any, pd.DataFrame, Table]:
    """The network, and what it reads."""
    network = network_of(
        estimator, f"method='occlusion' is for any estimator; method={method!r}"
    )
    encoded = estimator[:-1].transform(table.frame)
    return network, encoded, Table.of(encoded)


def _moved(seen: Table, fields: Sequence[Any]) -> list[np.ndarray]:
    """Which channels and codes of each history are made of some fields."""
    return [
        np.array([source in fields for source in array.log.layout.sources], dtype=bool)
        for array in seen.histories.values()
    ]


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
    name: Any, array: HistoryArray, layout: Any, numbers: np.ndarray, path: Path
) -> Iterator[pd.DataFrame]:
    """Lines of events: what channels and codes of a field add together."""
    events, log = OwnEvents.of(array), array.log
    if path.by == "event":
        yield event_lines(name, array, events, "event", None, numbers.sum(axis=1))
        return
    for field in [*log.fields, None]:
        if path.fields is None or field in path.fields:
            own = [i for i, source in enumerate(layout.sources) if source == field]
            yield _of_field(name, array, events, field, numbers[:, own].sum(axis=1))


def _of_field(
    name: Any, array: HistoryArray, events: OwnEvents, field: Any, total: np.ndarray
) -> pd.DataFrame:
    """Lines of one field; None: the gap to the event before, and the calendar."""
    log = array.log
    if field is None:
        times = log.timeline.clock.as_index(events.times)
        return event_lines(name, array, events, log.names[1], times, total)
    values = values_of(log.column(field), events.event)
    return event_lines(name, array, events, field, values, total)


def _of_statics(
    table: Table, made: Sequence[Any], numbers: np.ndarray
) -> Iterator[pd.DataFrame]:
    """Lines of statics: what the columns made of each add together."""
    array = next(iter(table.histories.values()))
    statics = list(ColumnRoles.of(table).statics)
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
