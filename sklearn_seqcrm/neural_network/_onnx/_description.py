"""What a consumer of the graphs has to do to events and statics, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sklearn_seqcrm._encoding import (
    CALENDAR_WEIGHT,
    EventEncoder,
    NumericField,
    Vocabulary,
)
from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.neural_network._lstm_survival import LSTMSurvival
from sklearn_seqcrm.neural_network._onnx._networks import Sizes, StateStart
from sklearn_seqcrm.neural_network._streaming import OneRow, Parts

FORMAT = 1


def describe(
    parts: Parts, sizes: Sizes, starts: Sequence[StateStart] | None
) -> dict[str, Any]:
    """All that was learned but the networks, in types that JSON has.

    Parameters
    ----------
    parts : Parts
        What was learned.
    sizes : Sizes
        Inputs of the graphs.
    starts : sequence of StateStart or None
        States before the first event; None: there is no graph of a step.

    Raises
    ------
    TypeError
        If levels or classes are of a type that JSON does not have.
    """
    histories = []
    for i, (name, encoder) in enumerate(parts.encoders.items()):
        start = None if starts is None else starts[i]._asdict()
        one = {"name": plain(name, "names of history columns")}
        one |= {"prefix": sizes.prefixes[i], "start": start}
        histories.append({**one, **_history(encoder)})
    row = OneRow.of(parts)
    statics = {"columns": [plain(c, "names") for c in parts.reading.statics]}
    names = [plain(c, "names") for c in parts.estimator._reading.statics]
    return {
        "format": FORMAT,
        "histories": histories,
        "statics": {
            **statics,
            **({"parts": None} if row is None else row.learned()),
            "names": names,
        },
        "n_sums": sizes.n_sums,
        "answers": _answers(parts),
    }


def plain(value: Any, what: str) -> Any:
    """A value as JSON has it, or a TypeError."""
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, str | int | float):
        raise TypeError(
            f"JSON has no {type(value).__name__}, such as {value!r} of the {what}. "
            "Make text or numbers of them before fit."
        )
    return value


def _history(encoder: EventEncoder) -> dict[str, Any]:
    layout = encoder.layout
    center, scale = encoder.row_scale.tolist()
    local = layout.local_clock
    return {
        "clock": _clock(encoder.clock),
        "fields": [_field(encoder, name) for name in encoder.fields],
        "channels": list(layout.channels),
        "codes": list(layout.codes),
        "n_codes": list(layout.n_levels),
        "n_facts": layout.n_decayed,
        "origins": list(layout.origins),
        "time_unit": layout.time_unit,
        "gap_center": encoder.gap_scale[0],
        "gap_scale": encoder.gap_scale[1],
        "calendar": [list(cycle) for cycle in layout.calendar],
        "calendar_weight": CALENDAR_WEIGHT,
        "time_zone": None if local is None else local.zone,
        "half_lives": list(layout.half_lives),
        "row_features": layout.row_features,
        "row_center": center,
        "row_scale": scale,
    }


def _clock(clock: Clock) -> dict[str, Any]:
    per_day = clock.ticks_per_day()
    return {
        "ticks_per_day": None if per_day is None else int(per_day),
        "aware": clock.aware,
        "whole": clock.dtype == "int64",
    }


def _field(encoder: EventEncoder, name: str) -> dict[str, Any]:
    field = encoder.fields[name]
    if isinstance(field, Vocabulary):
        what = f"levels of the field {name!r}"
        levels = [[plain(one, what), code] for one, code in field.code_of_each()]
        return {"name": name, "kind": "levels", "levels": levels}
    if not isinstance(field, NumericField):
        raise ValueError(
            f"Events have vectors in the field {name!r}, which export_onnx does not "
            "write. Leave it out, EventLog(..., fields=[...]), and fit again; or score "
            "by StreamingScorer, which reads vectors."
        )
    kind = "numbers" if encoder.kinds[name] == "numeric" else "days after the event"
    return {"name": name, "kind": kind, **field.scale._asdict()}


def _answers(parts: Parts) -> dict[str, Any]:
    """What else the outputs of the graphs mean."""
    estimator: Any = parts.estimator
    objective = estimator._objective
    found: dict[str, Any] = {"loss": objective.name}
    if hasattr(objective, "classes"):
        several = objective.n_targets > 1
        classes = range(objective.n_targets) if several else objective.classes.tolist()
        found["classes"] = [plain(one, "classes") for one in classes]
        found["several_labels"] = several
    if hasattr(objective, "levels"):
        found["quantiles"] = objective.levels.tolist()
    if isinstance(estimator, LSTMSurvival):
        found["edges"] = objective.edges.tolist()
        found["kinds"] = objective.kinds.tolist()
        found["in_days"] = objective.in_days
    return found
