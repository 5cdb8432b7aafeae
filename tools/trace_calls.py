"""List the files of the library that run behind a public call, and count them.

Run as ``python tools/trace_calls.py [--functions] [CALL ...]``. Each call runs on a
small log under a profile function, in all threads. The source files of all functions
that Python enters are counted: a reader has to open them to follow the call. Modules
are imported before, so that code at module level does not count.
"""

import argparse
import importlib
import pkgutil
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import sklearn_seqcrm  # noqa: E402  (this checkout's, whatever is installed)
from sklearn_seqcrm.datasets import make_customer_journeys  # noqa: E402
from sklearn_seqcrm.event_model import LSTMEventModel  # noqa: E402
from sklearn_seqcrm.events import EventLog  # noqa: E402
from sklearn_seqcrm.neural_network import LSTMClassifier  # noqa: E402
from sklearn_seqcrm.preprocessing import (  # noqa: E402
    HistoryEncoder,
    make_history_pipeline,
)
from sklearn_seqcrm.serving import StreamingScorer  # noqa: E402

PACKAGE = Path(sklearn_seqcrm.__file__).parent
CALLS = (
    "LSTMClassifier.fit",
    "make_history_pipeline(...).fit",
    "pipeline.predict",
    "LSTMEventModel.fit",
    "LSTMEventModel.predict_next",
    "StreamingScorer.update",
)
NETWORK = {"hidden_size": 8, "max_epochs": 2, "random_state": 0}
END = pd.Timestamp("2024-12-01")


def small_log():
    """Return a log with one field of each type (number, category, datetime)."""
    events = make_customer_journeys(30, random_state=0).events
    events["due"] = events["timestamp"] + pd.Timedelta("7D")
    events = events[events["timestamp"] < END]
    return EventLog(events, customer="customer_id", time="timestamp")


def small_table(log):
    """Return `X` with several cutoffs per customer and two statics, and labels."""
    X = log.snapshots(pd.date_range(end=END, periods=6, freq="60D"))
    X["age"] = X.index % 50 + 20.0
    X["region"] = pd.Series(X.index % 3).map({0: "north", 1: "south", 2: "west"})
    return X, X.index % 3 == 0


def prepare(call: str) -> Callable[[], object]:
    """Build what `call` needs, outside of the trace, and return the call itself."""
    log = small_log()
    X, y = small_table(log)
    pipeline = make_history_pipeline(LSTMClassifier(**NETWORK))
    if call == "LSTMClassifier.fit":
        encoded = HistoryEncoder().fit_transform(X[["history", "age"]])
        return lambda: LSTMClassifier(**NETWORK).fit(encoded, y)
    if call == "make_history_pipeline(...).fit":
        return lambda: pipeline.fit(X, y)
    if call == "pipeline.predict":
        pipeline.fit(X, y)
        return lambda: pipeline.predict(X)
    if call == "StreamingScorer.update":
        pipeline.fit(X[["history"]], y)
        scorer = StreamingScorer(pipeline, customer="customer_id", time="timestamp")
        scorer.update(log)
        arrivals = log.to_frame().tail(2).assign(timestamp=END)
        return lambda: scorer.update(arrivals)
    latest = log.snapshots([END])
    model = LSTMEventModel(**NETWORK)
    if call == "LSTMEventModel.fit":
        return lambda: model.fit(latest)
    model.fit(latest)
    return lambda: model.predict_next(latest, "event")


def trace(call: Callable[[], object]) -> dict[str, set[str]]:
    """Run `call`; return the functions entered, by file relative to the package."""
    seen: dict[str, set[str]] = {}

    def note(frame, event, _):
        code = frame.f_code
        if event != "call" or code.co_name == "<module>":
            return
        path = Path(code.co_filename)
        if path.is_relative_to(PACKAGE):
            functions = seen.setdefault(path.relative_to(PACKAGE).as_posix(), set())
            functions.add(code.co_qualname)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return seen


def main(arguments: list[str] | None = None) -> None:
    """Print the files behind the calls."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("calls", nargs="*", metavar="CALL", help=", ".join(CALLS))
    parser.add_argument(
        "--functions", action="store_true", help="print the functions of each file too"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.calls) - set(CALLS):
        parser.error(f"unknown calls {sorted(unknown)}; known are {list(CALLS)}")
    for module in pkgutil.walk_packages([str(PACKAGE)], "sklearn_seqcrm."):
        importlib.import_module(module.name)
    # Networks this small may warn about their data, which is not the question here.
    warnings.simplefilter("ignore")

    for call in options.calls or CALLS:
        seen = trace(prepare(call))
        print(f"{call}: {len(seen)} files")
        for path, functions in sorted(seen.items()):
            print(f"    {path}")
            if options.functions:
                print(*(f"        {name}" for name in sorted(functions)), sep="\n")


if __name__ == "__main__":
    main()
