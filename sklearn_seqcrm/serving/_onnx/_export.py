"""Write a fitted pipeline as ONNX graphs, and the encoding of their inputs as JSON.

::

    model.onnx         padded histories + statics -> predictions
    model.step.onnx    state + one event + statics -> state, predictions
    model.json         how events and statics become the numbers of these inputs
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline

from sklearn_seqcrm._encoding import (
    CALENDAR_WEIGHT,
    EventEncoder,
    NumericField,
    Vocabulary,
)
from sklearn_seqcrm._recurrent.network import isolated_torch_settings
from sklearn_seqcrm._recurrent.objectives import OPSET, Graph
from sklearn_seqcrm._store import Clock, ScalarType, replace_atomically
from sklearn_seqcrm._typing import FilePath
from sklearn_seqcrm.serving._onnx._networks import (
    Sizes,
    outputs_of_padded,
    outputs_of_step,
)
from sklearn_seqcrm.serving._streaming import FittedPipeline, StaticsRowEncoder

FORMAT = 1


def _describe(
    parts: FittedPipeline, sizes: Sizes, starts: Sequence[dict[str, Any]] | None
) -> dict[str, Any]:
    """Return everything learned except the networks, in types of JSON.

    Without a step graph, there are no initial states (`starts`). Levels or classes of
    types that JSON lacks raise a TypeError.
    """
    # The file; `examples/read_exported.py` is a reader of it:
    #
    # digest       the same as in the metadata of the graphs
    # format       version of this layout
    # histories    for each history column: its name, the prefix of its inputs, the
    #              packed state before the first event, and its encoding (`_history`)
    # statics      columns of X, and how they become numbers: for each part its columns
    #              and parameters, then the order of the statics among all numbers
    # n_sums       number of sums of the histories that the linear part reads
    # answers      loss, classes, quantile levels or edges of bins
    # opset        version of the ONNX operators
    histories = []
    for i, (name, encoder) in enumerate(parts.encoders.items()):
        own = {
            "name": _plain(name, "names of history columns"),
            "prefix": sizes.prefixes[i],
            "start": None if starts is None else starts[i],
        }
        histories.append(own | _history(encoder))
    row = StaticsRowEncoder.of(parts)
    return {
        "format": FORMAT,
        "histories": histories,
        "statics": {
            "columns": [_plain(c, "names") for c in parts.roles.statics],
            **({"parts": None} if row is None else row.learned()),
            "names": [_plain(c, "names") for c in parts.estimator._roles.statics],
        },
        "n_sums": sizes.n_sums,
        "answers": {
            key: [_plain(one, key) for one in value] if type(value) is list else value
            for key, value in parts.estimator._objective.describe().items()
        },
    }


def _plain(value: Any, what: str) -> Any:
    """Return a value as text or number of JSON, or raise a TypeError."""
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, str | int | float):
        raise TypeError(
            f"JSON has no {type(value).__name__}, such as {value!r} of the {what}. "
            "Make text or numbers of them before fit."
        )
    return value


def _history(encoder: EventEncoder) -> dict[str, Any]:
    layout = encoder.layout
    # Keys as `examples/read_exported.py` reads them; a change of one is a new FORMAT.
    center, scale = encoder.row_scale.tolist()
    local, visits = layout.local_clock, layout.counted_visits
    return {
        "clock": _clock(encoder.clock),
        "fields": [_field(encoder, name) for name in encoder.fields],
        # In this order: facts, marks of missing values, vectors of levels, the
        # interarrival time, and sines and cosines of the calendar.
        "channels": list(layout.channels),
        "codes": list(layout.codes),
        "n_codes": list(layout.n_levels),
        # The first channels: symlog values, of which decayed sums are kept.
        "n_facts": layout.n_decayed,
        "origins": list(layout.origins),
        # Ticks of a typical interarrival time.
        "time_unit": layout.time_unit,
        # Of the channel of interarrival times: (log(1 + x) - center) / scale.
        "interarrival_center": encoder.interarrival_scale[0],
        "interarrival_scale": encoder.interarrival_scale[1],
        "calendar": [list(cycle) for cycle in layout.calendar],
        "calendar_weight": CALENDAR_WEIGHT,
        "time_zone": None if local is None else local.zone,
        # Ticks of the period whose events are one step, 0 for those at the same time;
        # null if each event is a step.
        "moments": layout.moments,
        # Ticks between events up to which they are one visit; null if visits are not
        # counted.
        "pause": None if visits is None else visits.pause,
        "half_lives": list(layout.half_lives),
        # Row features before they are centered and scaled, as in `row_features_of`.
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
    field, its_type = encoder.fields[name], encoder.schema[name].type
    if isinstance(field, Vocabulary):
        what = f"levels of the field {name!r}"
        levels = [[_plain(one, what), code] for one, code in field.code_of_each()]
        found = {"name": name, "kind": "levels", "levels": levels}
        if (vectors := encoder.level_vectors.get(name)) is not None:
            # Channels of the field, beside its code; zeros for other levels.
            pairs = zip(vectors.levels, vectors.vectors.tolist(), strict=True)
            found["vectors"] = [[_plain(one, what), vector] for one, vector in pairs]
        return found
    if not isinstance(its_type, ScalarType):
        raise ValueError(
            f"Events have {its_type}s in the field {name!r}, which export_onnx does "
            "not write. Leave it out, EventLog(..., fields=[...]), and fit again; or "
            "score by StreamingScorer, which reads vectors."
        )
    assert isinstance(field, NumericField)
    return {"name": name, "kind": its_type.numbers_are, **field.scale._asdict()}


def export_onnx(pipeline: Pipeline, path: FilePath) -> list[Path]:
    """Write a fitted pipeline for services without torch, or without Python.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted, as `make_history_pipeline` makes it: a `HistoryEncoder`, steps for the
        statics if any, and an `LSTMClassifier`, `LSTMRegressor`, `LSTMSurvival`,
        `LSTMUpliftClassifier` or `LSTMUpliftRegressor`.
    path : str or path-like
        File to write; its name ends with ``.onnx``. The other files are written beside
        it.

    Returns
    -------
    list of Path
        The files: the graph for padded histories, ``model.onnx``; the graph for a
        single event, ``model.step.onnx``, unless the pipeline cannot be streamed; and
        ``model.json``, the encoding of events and statics as inputs of the graphs.

    Raises
    ------
    ImportError
        If onnx is not installed; ``pip install 'onnx>=1.17'``.
    TypeError
        If `pipeline` has other steps; or levels of a field, classes or names are
        neither text nor numbers, the types that JSON has.
    ValueError
        If the name of the file does not end with ``.onnx``, events have a field of
        vectors, or targets exceed the range of float32.

    See Also
    --------
    StreamingScorer : Compute the same scores in Python.

    Notes
    -----
    The graphs have opset 17, compute in float32 and take any number of rows, ``n``. One
    graph has all networks (`n_networks`) and returns ensemble means, as `predict` does.

    **Padded histories.** Inputs are the tensors of `HistoryPadder` with
    ``padding="post"``: ``values`` (n, steps, F + 1), ``codes`` (n, steps, C) int64,
    ``lengths`` (n,) int64, each with the prefix ``<name>_`` if there are several
    history columns, and ``static`` (n, S). At least one step is needed. Values in
    padding are ignored, but must be finite. If `HistoryEncoder` joins the events of a
    moment (its parameter `moments`), there is one more input for each such history,
    ``moments`` (n, steps) int64: the number of the moment of each event in its row,
    equal for the events of a moment, and another one for the next moment. Get it as
    ``tensors["moments"]`` or, with several histories, ``tensors["orders_moments"]``.
    With the loss ``"squared_error"``, and with ``"poisson"`` or ``"gamma"`` if there
    are several networks, there is one more input, ``sums``, which is
    ``tensors["sums"]``. An exposure is one of the statics, before its logarithm is
    taken. Inputs without columns are left out, such as ``codes`` if no field is
    categorical.

    **A step.** Inputs are an event of each of n customers and the state before it:

    - ``values`` (n, F) and ``codes`` (n, C): the encoded event;
    - ``interarrival_time`` (n,): in typical ones, 0 for a first event;
    - ``begins`` (n,) bool, only if events are joined to moments: whether the event
      begins a moment, as a first one does; if not, it joins that of the event before;
    - ``event`` (n,) bool: whether there is an event. If not, the state stays as it is,
      and the inputs above are ignored;
    - ``vectors`` (n, V, H) and ``weights`` (n, W): the state before the event;
    - ``age`` (n,): time from the last event to the cutoff in typical interarrival
      times, 0 without any event;
    - ``static`` and ``sums`` as above.

    Outputs are ``vectors_after``, ``weights_after``, and the predictions at the cutoff.
    Bidirectional networks and histories with a lookback have no step graph.

    **Predictions.** Classifiers return ``probabilities`` (n, n_classes), or (n, k) for
    several labels. Regressors return ``prediction`` (n,) or (n, k); with
    ``"quantile"`` also ``quantiles`` (n, q) or (n, k, q), and with
    ``"zero_inflated_lognormal"`` also ``proba_zero``, but no quantiles, which need the
    quantile function of the normal distribution; ONNX has no operator for it.
    `LSTMSurvival` returns ``prediction`` (n,), the risk; ``cumulative_hazard`` (n,
    n_bins + 1) at the edges, piecewise linear between them; and with several kinds of
    events ``incidence`` (n, 1 + n_kinds, n_bins + 1). Networks of effects return
    ``effect`` (n,) or (n, n_arms - 1) and ``outcomes`` (n, n_arms), the control first.

    **The JSON** has the fitted encoding of events and statics, classes, treatments,
    quantiles and edges. ``examples/read_exported.py`` reads it with NumPy only: a
    reference for a reader in another language. It lacks steps for the statics other
    than those of `make_history_pipeline` (``parts`` is null): compute the columns
    ``names`` that these steps return. All files have the same ``digest``, the graphs in
    their metadata; it differs between exports.

    Files are replaced only after all new ones are complete. Weights trained in bfloat16
    are written in float32, in which the graphs compute.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMClassifier
    >>> from sklearn_seqcrm.serving import export_onnx
    >>> from sklearn_seqcrm.preprocessing import make_history_pipeline
    >>> orders = pd.DataFrame(
    ...     {"who": list("aabbbc"), "day": range(6), "amount": [5.0, 7, 6, 1, 2, 4]}
    ... )
    >>> X = EventLog(orders, "who", "day").attach(pd.DataFrame({"who": list("abc")}))
    >>> model = make_history_pipeline(LSTMClassifier(max_epochs=2, random_state=0))
    >>> files = export_onnx(model.fit(X, [0, 1, 1]), "churn.onnx")  # doctest: +SKIP
    >>> [file.name for file in files]  # doctest: +SKIP
    ['churn.onnx', 'churn.step.onnx', 'churn.json']
    """
    path = Path(os.fspath(path))
    if path.suffix != ".onnx":
        raise ValueError(
            f"The name of the file must end with .onnx; got {path.name!r}."
        )
    parts = FittedPipeline.of(pipeline, "export_onnx")
    # The graphs hold the weights as constants.
    with isolated_torch_settings("cpu"), torch.no_grad():
        texts = _graphs_and_text(parts)
    names = [path, path.with_suffix(".step.onnx"), path.with_suffix(".json")]
    files = [(name, text) for name, text in zip(names, texts, strict=True) if text]
    # All files are written beside their names before the first one is replaced.
    with ExitStack() as stack:
        for name, text in files:
            stack.enter_context(replace_atomically(name)).write_bytes(text)
    if texts[1] is None:
        # An earlier export may have had a step graph, which belongs to its own digest.
        names[1].unlink(missing_ok=True)
    return [name for name, _ in files]


def _graphs_and_text(parts: FittedPipeline) -> list[bytes | None]:
    """Return the two graphs, the second of them None if impossible, and the JSON."""
    sizes = _sizes_of(parts)
    padded = Graph("padded")
    _add_predictions(padded, outputs_of_padded(padded, parts.networks, sizes), parts)
    step = starts = None
    if parts.streaming_obstacle() is None:
        step = Graph("step")
        outputs, starts = outputs_of_step(step, parts.networks, sizes)
        _add_predictions(step, outputs, parts)
    note = _describe(parts, sizes, starts)
    note["opset"] = OPSET
    # The batch graph has all weights, and the JSON the encoding: a hash of both
    # identifies the export.
    found = hashlib.sha256(padded.to_bytes({}))
    found.update(json.dumps(note).encode())
    digest = found.hexdigest()
    note = {"digest": digest, **note}
    text = json.dumps(note, ensure_ascii=False, allow_nan=False, indent=1)
    graphs = [
        None if g is None else g.to_bytes({"digest": digest}) for g in (padded, step)
    ]
    return [*graphs, text.encode()]


def _sizes_of(parts: FittedPipeline) -> Sizes:
    names = [str(name) for name in parts.encoders]
    several = len(names) > 1
    layouts = [one.layout for one in parts.encoders.values()]
    n_static = sum(len(layout.row_features) for layout in layouts)
    estimator = parts.estimator
    return Sizes(
        tuple(f"{name}_" if several else "" for name in names),
        n_static + len(estimator._roles.statics),
        sum(len(layout.sums) for layout in layouts) if estimator._uses_sums else 0,
        getattr(estimator, "_exposure", None),
    )


def _add_predictions(
    graph: Graph, outputs: Sequence[str], parts: FittedPipeline
) -> None:
    found = parts.estimator._objective.onnx_outputs(graph, outputs)
    for name, tensor in found.items():
        graph.output(name, tensor.name, ["n", *tensor.shape])
