"""Write a fitted pipeline as graphs of ONNX, with what they are to be fed in JSON."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from sklearn_seqcrm._store import replacing
from sklearn_seqcrm.neural_network._lstm_classifier import LSTMClassifier
from sklearn_seqcrm.neural_network._lstm_regressor import LSTMRegressor
from sklearn_seqcrm.neural_network._lstm_survival import LSTMSurvival
from sklearn_seqcrm.neural_network._onnx._description import describe
from sklearn_seqcrm.neural_network._onnx._networks import (
    Sizes,
    outputs_of_padded,
    outputs_of_step,
)
from sklearn_seqcrm.neural_network._onnx_graph import OPSET, Graph
from sklearn_seqcrm.neural_network._settings import own_settings
from sklearn_seqcrm.neural_network._streaming import Parts


def export_onnx(pipeline: Any, path: Any) -> list[Path]:
    """Write a fitted pipeline for services without torch, or without Python.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted, as `make_history_pipeline` makes it: a `HistoryEncoder`, steps for the
        statics if any, and an `LSTMClassifier`, `LSTMRegressor` or `LSTMSurvival`.
    path : str or path-like
        File to write, whose name ends with ``.onnx``. Others are written beside it.

    Returns
    -------
    list of Path
        The files: the graph of padded histories, ``model.onnx``; that of a single
        event, ``model.step.onnx``, unless histories cannot be read event by event; and
        ``model.json``, which says how events and statics become their inputs.

    Raises
    ------
    ImportError
        If onnx is not installed; ``pip install 'sklearn-seqcrm[onnx]'``.
    TypeError
        If it is no such pipeline; or levels of a field, classes or names are neither
        text nor numbers, which JSON has no form for.
    ValueError
        If the name of the file does not end with ``.onnx``, or targets are as large as
        float32 cannot tell.

    See Also
    --------
    StreamingScorer : The same scores in Python, with less to write.

    Notes
    -----
    The graphs are of opset 17, in float32, and have any number of rows, ``n``. Those of
    all `n_networks` are one, whose answers are means, as those of `predict` are.

    **Padded histories.** Inputs are the tensors of `HistoryPadder` with
    ``padding="post"``: ``values`` (n, steps, F + 1), ``codes`` (n, steps, C) int64,
    ``lengths`` (n,) int64, each with ``<name>_`` before it if there are several history
    columns, and ``static`` (n, S). There must be one step at least; what stands in
    padding is of no matter, as long as it is finite. Where the loss is
    ``"squared_error"``, ``sums`` is one more, the attribute of that name of the
    tensors. An exposure is one of the statics, as it is. Inputs without any column,
    such as codes if no field has levels, are left out.

    **A step.** Inputs are an event of each of n customers, ``values`` (n, F) and
    ``codes`` (n, C); ``gap`` (n,), the time since the event before, in typical gaps, 0
    for a first one; ``event`` (n,) bool, whether there is one: where not, the state
    stays, and the other numbers of the event are of no matter; the state before it,
    ``vectors`` (n, V, H) and ``weights`` (n, W); ``age`` (n,), the time from the last
    event to the cutoff in typical gaps, 0 if there was none; and ``static`` and
    ``sums`` as above. Outputs are ``vectors_after``, ``weights_after``, and the answers
    at the cutoff. Bidirectional networks and histories that a lookback has cut off have
    no such graph.

    **Answers.** Of classifiers ``probabilities`` (n, n_classes), or (n, k) of several
    labels. Of regressors ``prediction`` (n,) or (n, k); with ``"quantile"`` also
    ``quantiles`` (n, q) or (n, k, q), and with ``"zero_inflated_lognormal"``
    ``proba_zero``. Its quantiles are not there, as they take the inverse of the normal
    distribution, which ONNX has not. Of `LSTMSurvival` ``prediction`` (n,), the risk;
    ``cumulative_hazard`` (n, n_bins + 1) at the edges, straight between them, and
    ``incidence`` (n, 1 + n_kinds, n_bins + 1) with several kinds of events.

    **The JSON** has what was learned of events and statics, classes, quantiles and
    edges. ``examples/read_exported.py`` reads it with nothing but NumPy: a reference
    for a reader in another language. Steps for the statics other than those of
    `make_history_pipeline` are not in it (``parts`` is null): compute what they return,
    columns ``names``. All files have one ``digest``, in the metadata of the graphs, so
    that those of two exports are told apart.

    Each file is replaced when all are whole. Weights that trained in bfloat16 are
    written, and compute, in float32.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn_seqcrm.events import EventLog
    >>> from sklearn_seqcrm.neural_network import LSTMClassifier, export_onnx
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
    kinds = LSTMClassifier, LSTMRegressor, LSTMSurvival
    parts = Parts.of(pipeline, "export_onnx", kinds)
    with own_settings("cpu"), torch.no_grad():
        texts = _graphs_and_text(parts)
    names = [path, path.with_suffix(".step.onnx"), path.with_suffix(".json")]
    files = [name for name, text in zip(names, texts, strict=True) if text is not None]
    with ExitStack() as stack:
        beside = [stack.enter_context(replacing(file)) for file in files]
        found = [text for text in texts if text is not None]
        for file, text in zip(beside, found, strict=True):
            file.write_bytes(text)
    if texts[1] is None:
        names[1].unlink(missing_ok=True)  # of an export before
    return files


def _graphs_and_text(parts: Parts) -> list[bytes | None]:
    """The two graphs, the second of which may be missing, and the JSON."""
    sizes = _sizes_of(parts)
    padded = Graph("padded")
    _add_answers(padded, outputs_of_padded(padded, parts.networks, sizes), parts)
    step = starts = None
    if parts.why_no_states() is None:
        step = Graph("step")
        outputs, starts = outputs_of_step(step, parts.networks, sizes)
        _add_answers(step, outputs, parts)
    note = describe(parts, sizes, starts)
    note["opset"] = OPSET
    found = hashlib.sha256(padded.to_bytes({}))
    found.update(json.dumps(note).encode())
    digest = found.hexdigest()
    note = {"digest": digest, **note}
    text = json.dumps(note, ensure_ascii=False, allow_nan=False, indent=1)
    graphs = [
        None if g is None else g.to_bytes({"digest": digest}) for g in (padded, step)
    ]
    return [*graphs, text.encode()]


def _sizes_of(parts: Parts) -> Sizes:
    names = [str(name) for name in parts.encoders]
    several = len(names) > 1
    layouts = [one.layout for one in parts.encoders.values()]
    n_static = sum(len(layout.row_features) for layout in layouts)
    estimator = parts.estimator
    is_linear = estimator._objective.is_linear
    return Sizes(
        tuple(f"{name}_" if several else "" for name in names),
        n_static + len(estimator._reading.statics),
        sum(len(layout.sums) for layout in layouts) if is_linear else 0,
        estimator._exposure,
    )


def _add_answers(graph: Graph, outputs: Sequence[str], parts: Parts) -> None:
    answers = parts.estimator._objective.answers(graph, outputs)
    for name, (tensor, shape) in answers.items():
        graph.output(name, tensor, ["n", *shape])
