"""One model fitted and asked on one fold: what came out, and what it took."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.utils import get_tags

from sklearn_seqcrm._sklearn_compat import safe_indexing
from sklearn_seqcrm.model_selection._weighted_scores import Metric, Score

_METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")
_STATM = Path("/proc/self/statm")
_SECONDS = 0.01


class Replay:
    """What a fitted model said of the rows of a fold, in the place of that model.

    It has the methods that were asked, and answers whatever rows it is given.

    Parameters
    ----------
    outputs : dict of str to ndarray of shape (n, ...)
        What each method returned.
    classes : ndarray of shape (n_classes,) or None
        Its classes, if it has some.
    tags : sklearn.utils.Tags
        What kind of model it is.
    """

    def __init__(self, outputs: dict[str, Any], classes: Any, tags: Any) -> None:
        self.outputs = outputs
        self.tags = tags
        if classes is not None:
            self.classes_ = classes

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS or name not in self.outputs:
            raise AttributeError(f"No {name!r} was asked of the model.")

        def ask(X: Any) -> Any:
            return self.outputs[name]

        return _named(ask, name)

    def __sklearn_tags__(self) -> Any:
        return self.tags


class _Recorder:
    """A fitted model that notes what it says, and how long that takes."""

    def __init__(self, fitted: Any) -> None:
        self.fitted = fitted
        self.outputs: dict[str, Any] = {}
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.fitted, name)
        if name not in _METHODS:
            return found

        def ask(X: Any) -> Any:
            if name not in self.outputs:
                start = time.perf_counter()
                output = found(X)  # a list of arrays, of several labels
                is_list = isinstance(output, list)
                self.outputs[name] = output if is_list else np.asarray(output)
                self.seconds += time.perf_counter() - start
            return self.outputs[name]

        return _named(ask, name)

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.fitted)


def _named(ask: Any, name: str) -> Any:
    """A method of this name, which scikit-learn reads to know what it returns."""
    ask.__name__ = name
    return ask


class Run(NamedTuple):
    """A model on a fold.

    Parameters
    ----------
    model : str
        Name of the model.
    fold : int
        Number of the fold, from 0.
    replay : Replay
        What it said of the test rows.
    n_train, n_test : int
        Rows.
    fit_seconds, predict_seconds : float
        Seconds.
    peak_memory : float
        See `PeakMemory`.
    """

    model: str
    fold: int
    replay: Replay
    n_train: int
    n_test: int
    fit_seconds: float
    predict_seconds: float
    peak_memory: float

    def scores(self, metrics: Sequence[Metric], X: Any, y: Any) -> list[Score]:
        """How to score it under any weights; `X` and `y` are the test rows."""
        return [metric.on(self.replay, X, y) for metric in metrics]


class Job(NamedTuple):
    """A run to be done.

    Parameters
    ----------
    model : str
        Name of the model.
    fold : int
        Number of the fold, from 0.
    estimator : estimator
        The model.
    train, test : ndarray of int
        Rows.
    """

    model: str
    fold: int
    estimator: Any
    train: np.ndarray
    test: np.ndarray

    def run(
        self, X: Any, y: Any, metrics: Sequence[Metric], path: Path | None = None
    ) -> Run:
        """Fit the model, and ask it all that metrics want to know.

        Parameters
        ----------
        X, y : n rows
            All rows.
        metrics : sequence of Metric
            Scores.
        path : Path or None, default=None
            File to write the run to.

        Returns
        -------
        Run
            What came out.
        """
        rows = [
            safe_indexing(one, part)
            for part in (self.train, self.test)
            for one in (X, y)
        ]
        try:
            with PeakMemory() as memory:
                start = time.perf_counter()
                fitted = clone(self.estimator).fit(*rows[:2])
                seconds = time.perf_counter() - start
                recorder = _Recorder(fitted)
                for metric in metrics:
                    metric.check(recorder, *rows[2:])
        except Exception as error:
            error.add_note(f"compare_models: {self.model!r}, fold {self.fold + 1}.")
            raise
        classes = getattr(fitted, "classes_", None)
        replay = Replay(recorder.outputs, classes, get_tags(fitted))
        run = Run(
            self.model,
            self.fold,
            replay,
            len(self.train),
            len(self.test),
            seconds,
            recorder.seconds,
            memory.peak,
        )
        if path is not None:
            write(run, path)
        return run

    def path(self, folder: Path, data: str) -> Path:
        """The file of this run of a model with these parameters on these rows."""
        key = joblib.hash((data, clone(self.estimator), self.train, self.test))
        return folder / f"{key}.run"


def write(run: Run, path: Path) -> None:
    """Write a run beside its file, and move it there when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        joblib.dump(run, beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def read(job: Job, path: Path, metrics: Sequence[Metric], X: Any, y: Any) -> Run | None:
    """Read the run of a job, if it was done and knows what metrics ask."""
    if not path.exists():
        return None
    try:
        run = joblib.load(path)
    except Exception:  # of half a file, or of other versions, pickle raises anything
        return None
    try:
        for metric in metrics:
            metric.check(run.replay, X, y)
    except AttributeError:  # a method that nobody had asked then
        return None
    return run._replace(model=job.model, fold=job.fold)


class PeakMemory:
    """Watch how much memory the process takes while something runs.

    Attributes
    ----------
    peak : float
        MiB of resident memory at most, above what there was at the start; NaN where
        there is no ``/proc``, as on macOS and Windows.

    Notes
    -----
    A thread looks every 10 ms, so that shorter peaks are missed. Free memory that the
    process holds is given back before, where the allocator is glibc's; what others
    hold is used again and not seen. What runs at once in threads is counted together.
    """

    def __init__(self) -> None:
        self.peak = np.nan
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        _give_back()
        self._start = _resident()
        self._highest = self._start
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()
        self._look()
        self.peak = self._highest - self._start

    def _watch(self) -> None:
        while not self._end.wait(_SECONDS):
            self._look()

    def _look(self) -> None:
        self._highest = max(self._highest, _resident())


def _give_back() -> None:
    """Let the allocator return what is free, where it is glibc's.

    What it kept of an earlier run would be used again, and not be seen.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if _STATM.exists() else None
    if trim is not None:
        trim(0)


def _resident() -> float:
    """MiB of memory that the process takes now, NaN if nobody says."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return np.nan
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
