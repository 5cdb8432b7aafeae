"""One model fitted and evaluated on one fold: outputs, times and memory."""

from __future__ import annotations

import ctypes
import os
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import joblib
import numpy as np
from sklearn import config_context
from sklearn.base import clone
from sklearn.utils.metadata_routing import MetadataRouter, get_routing_for_object

from sklearn_seqcrm._meta_estimators import route_fits
from sklearn_seqcrm._stacklevel import call_and_record
from sklearn_seqcrm._store import replace_atomically
from sklearn_seqcrm._stored_outputs import StoredOutputs
from sklearn_seqcrm.model_selection._metrics import Data, Metric

_STATM = Path("/proc/self/statm")
_SECONDS = 0.01


class Run(NamedTuple):
    """Result of a model on a fold."""

    model: str  # name of the model
    fold: int  # number of the fold, from 0
    outputs: StoredOutputs  # for the test rows
    n_train: int
    n_test: int
    fit_seconds: float  # wall-clock time, as `predict_seconds`
    predict_seconds: float
    peak_memory: float  # see `PeakMemory`


class Job(NamedTuple):
    """A model to fit and evaluate on a fold."""

    model: str  # name of the model
    fold: int  # number of the fold, from 0
    estimator: Any
    train: np.ndarray  # positions of the training rows
    test: np.ndarray  # positions of the test rows

    def run(
        self, data: Data, metrics: Sequence[Metric], path: Path | None = None
    ) -> Run:
        """Fit the model, and compute all outputs that the metrics need.

        Returns outputs, times and memory, which are written to a file at `path`.
        """
        train, test = data.take(self.train), data.take(self.test)
        try:
            with PeakMemory() as memory:
                start = time.perf_counter()
                model = StoredOutputs(self._fitted(train, metrics))
                seconds = time.perf_counter() - start
                for metric in metrics:
                    metric.check(model, test)
        except Exception as error:
            error.add_note(f"compare_models: {self.model!r}, fold {self.fold + 1}.")
            raise
        run = Run(
            self.model,
            self.fold,
            model.without_model(),
            len(self.train),
            len(self.test),
            seconds,
            model.seconds,
            memory.peak,
        )
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replace_atomically(path) as part:
                joblib.dump(run, part)
        return run

    def _routed(
        self, params: Mapping[str, Any], metrics: Sequence[Metric]
    ) -> dict[str, Any]:
        """Return the metadata to route to `fit`.

        scikit-learn refuses metadata that a model could take and does not request, such
        as a propensity that is meant for a metric. They are left out, unless the model
        requests nothing: then a request was forgotten, and the error names it.
        """
        requested = requested_params(self.estimator, params)
        return {
            name: values
            for name, values in params.items()
            if not requested
            or name in requested
            or name == "sample_weight"
            or not any(metric.takes(name) for metric in metrics)
        }

    def _fitted(self, train: Data, metrics: Sequence[Metric]) -> Any:
        """Return a fitted clone, to whose `fit` the metadata are routed."""
        params = self._routed(train.params, metrics)
        model = clone(self.estimator)
        if not params:
            return model.fit(train.X, train.y)
        with config_context(enable_metadata_routing=True):
            router = MetadataRouter(owner="compare_models")
            router = route_fits(router, {"model": model})
            routed = router.route_params(caller="fit", params=params)
            return model.fit(train.X, train.y, **routed["model"]["fit"])

    def path(self, folder: Path, data: str) -> Path:
        """Return the file of this run; its name is a hash of all that a run depends on.

        These are the parameters of the model, the positions of the rows, and `data`, a
        hash of their contents and of the version of this library. Names of models and
        scores are not among them: a renamed model and a new score find the file.
        """
        key = joblib.hash((data, clone(self.estimator), self.train, self.test))
        return folder / f"{key}.run"


def requested_params(model: Any, params: Mapping[str, Any]) -> set[str]:
    """Return the names of the metadata that the `fit` of a model requests."""
    with config_context(enable_metadata_routing=True):
        return get_routing_for_object(model).consumes(method="fit", params=params)


def run_in_worker(
    caller: int, job: Job, *args: Any
) -> tuple[Run, list[tuple[str, type[Warning]]]]:
    """Run a job; return the warnings of a process that is not the caller's."""
    if os.getpid() == caller:
        return job.run(*args), []
    return call_and_record(job.run, *args)


# A file of a run is a pickle of the Run by joblib. It holds the outputs of the test
# rows by method, with classes and tags, and no model and no rows of X.


def read_run(job: Job, path: Path, metrics: Sequence[Metric], test: Data) -> Run | None:
    """Read the run of a job, or return None if it lacks outputs that metrics need."""
    if not path.exists():
        return None
    try:
        run = joblib.load(path)
    except Exception:  # half a file, or another version: pickle raises anything
        return None
    try:
        for metric in metrics:
            metric.check(run.outputs, test)
    except AttributeError:  # a method that no metric needed when it was written
        return None
    return run._replace(model=job.model, fold=job.fold)


class PeakMemory:
    """Measure the peak memory of the process while a block runs.

    Notes
    -----
    A thread reads the memory every 10 ms, so that shorter peaks are missed. Free memory
    of the process is returned to the system before, if the allocator is glibc's; other
    allocators use it again, unmeasured. Threads that run at a time are measured
    together.
    """

    # Largest resident memory above that at the start, in MiB; NaN where there is no
    # ``/proc``, as on macOS and Windows.
    peak: float

    def __init__(self) -> None:
        self.peak = np.nan
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        # Memory that the allocator kept of an earlier run would be used again, unseen.
        libc: Any = ctypes.CDLL(None) if _STATM.exists() else None
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)
        self._start = _resident()
        self._highest = self._start
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()
        self._measure()
        self.peak = self._highest - self._start

    def _watch(self) -> None:
        while not self._end.wait(_SECONDS):
            self._measure()

    def _measure(self) -> None:
        self._highest = max(self._highest, _resident())


def _resident() -> float:
    """Return the resident memory of the process in MiB, NaN where it is unknown."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return np.nan
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def each_warning_once() -> Iterator[None]:
    """Show each warning of this process once, although every fit raises it."""
    seen = set()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_new(message: Any, category: Any, *args: Any, **kwargs: Any) -> None:
            key = (category, str(message))
            if key not in seen:
                seen.add(key)
                show(message, category, *args, **kwargs)

        warnings.showwarning = show_new
        yield
