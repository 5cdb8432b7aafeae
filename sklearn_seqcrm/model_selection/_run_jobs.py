"""Run models on folds: in several processes, with files of runs that are done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd

import sklearn_seqcrm
from sklearn_seqcrm._stacklevel import warn_user
from sklearn_seqcrm.model_selection._metrics import Data, Metric
from sklearn_seqcrm.model_selection._runs import Job, Run, read_run, run_in_worker


def run_jobs(
    jobs: Sequence[Job],
    data: Data,
    metrics: Sequence[Metric],
    n_jobs: int | None,
    cache: str | PathLike[str] | None,
    verbose: int,
) -> tuple[list[Run], KeyboardInterrupt | None]:
    """Run all jobs; return the finished runs, and the interruption if there was one."""
    runs: list[Run] = []

    def add(run: Run, source: str) -> None:
        runs.append(run)
        if verbose:
            print(
                f"[{len(runs):>{len(str(len(jobs)))}}/{len(jobs)}] {run.model}, "
                f"fold {run.fold + 1} {source}: fit {run.fit_seconds:.1f} s, "
                f"predict {run.predict_seconds:.1f} s",
                flush=True,
            )

    paths: list[Path | None] = [None] * len(jobs)
    if cache is not None:
        digest = _digest(data)
        paths = [job.path(Path(cache), digest) for job in jobs]
    to_do = []
    try:
        # Runs are read here and not in workers, to which only the others are sent.
        for job, path in zip(jobs, paths, strict=True):
            run = None
            if path is not None:
                run = read_run(job, path, metrics, data.take(job.test))
            if run is None:
                args = os.getpid(), job, data, metrics, path
                to_do.append(joblib.delayed(run_in_worker)(*args))
            else:
                add(run, "read from cache")
        # A generator: each run is reported and kept as soon as it is done.
        done = joblib.Parallel(n_jobs=n_jobs, return_as="generator")(to_do)
        for run, own in done:
            for text, category in own:
                warn_user(text, category)
            add(run, "done")
    except KeyboardInterrupt as interrupt:
        return runs, interrupt
    return runs, None


def _digest(data: Data) -> str:
    """Return a hash of rows, targets, metadata and the version of this library."""
    tables = [data.X, data.y, *data.params, *data.params.values()]
    contents = [part for table in tables for part in _contents(table)]
    return joblib.hash((sklearn_seqcrm.__version__, *contents))


def _contents(table: Any) -> list[Any]:
    """Return the parts of X or y that the key of a run depends on.

    A DataFrame is taken column by column: pandas pickles a whole one differently once
    rows have been taken of it, and text once it was copied. The key depends on
    the attrs, because models may depend on the horizon that those of a target hold.
    """
    if isinstance(table, pd.Series):
        return [np.asarray(table), dict(table.attrs)]
    if not isinstance(table, pd.DataFrame):
        return [table]
    columns = [_plain(table.iloc[:, place]) for place in range(table.shape[1])]
    return [table.index, list(table.columns), dict(table.attrs), *columns]


def _plain(column: pd.Series) -> Any:
    """Return a column of NumPy's dtypes or text as a NumPy array."""
    if isinstance(column.dtype, np.dtype | pd.StringDtype):
        return np.ascontiguousarray(column.to_numpy())
    return column.array
