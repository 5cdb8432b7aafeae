"""Runs of compare_models: time, memory, cache, interruptions, warnings."""

import subprocess
import sys
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import RFMFeatures
from sklearn_seqcrm.model_selection import compare_models
from sklearn_seqcrm.model_selection._runs import PeakMemory
from sklearn_seqcrm.testing._small_data import make_table, make_y
from tests.model_selection.offset import Offset, X, Y


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_each_warning_of_a_fit_is_shown_once(n_jobs, capfd):
    kinds = {"visit": pd.DataFrame({"who": list("abcd"), "time": 0})}
    kinds["order"] = kinds["visit"].assign(time=1)
    logs = {name: EventLog(table, "who", "time") for name, table in kinds.items()}
    X, y = EventLog.concat(logs).snapshots([2]), np.array([0, 1, 0, 1])
    groups = np.array([0, 0, 1, 1])
    one = make_pipeline(RFMFeatures(), DummyClassifier())
    models, few = {"a": one, "b": clone(one)}, {"scoring": "accuracy", "n_resamples": 5}
    with pytest.warns(UserWarning, match="RFMFeatures counts in") as caught:
        compare_models(models, X, y, cv=2, groups=groups, n_jobs=n_jobs, **few)
    assert [one.filename for one in caught] == [__file__]
    assert "RFMFeatures" not in capfd.readouterr().err  # of a worker


class OddWarning(UserWarning):
    """A warning that is not made of one text."""

    def __init__(self, *, size):
        super().__init__(f"of size {size}")


class Warner(Offset):
    """Warns in `fit`."""

    def fit(self, X, y):
        warnings.warn(OddWarning(size=3), stacklevel=1)
        return self


def test_a_warning_that_is_not_made_of_text():
    """Those of a worker are made again."""
    with pytest.warns(UserWarning, match="of size 3") as caught:
        compare_models(
            {"a": Warner(), "b": Warner(1.0)},
            X,
            Y,
            cv=2,
            n_jobs=2,
            scoring="neg_mean_squared_error",
            n_resamples=5,
        )
    assert [one.category for one in caught] == [UserWarning]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_peak_memory():
    with PeakMemory() as memory:
        before = memory._highest
        held = np.ones(2**24)  # 128 MiB
        # On a busy machine the thread may not run for longer than this takes.
        for _ in range(1000):
            if memory._highest > before + 100:
                break
            time.sleep(0.01)
        del held
    # What the process had freed before may be used again, if it was that much at all.
    assert 100 < memory.peak < 160


def test_verbose(capsys):
    compare_models(
        {"one": Offset(), "other": Offset(1.0)},
        X,
        Y,
        cv=2,
        scoring="r2",
        verbose=1,
        n_resamples=2,
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("[3/4] one, fold 2 done: fit 0.0 s")
    compare_models({"one": Offset()}, X, Y, cv=2, scoring="r2", n_resamples=2)
    assert not capsys.readouterr().out


def test_runs_are_read_from_the_cache(tmp_path):
    def compare(models, y=Y, scoring="r2"):
        before = getattr(Offset, "n_fits", 0)
        found = compare_models(
            models, X, y, cv=3, scoring=scoring, cache=tmp_path / "runs", n_resamples=9
        )
        return found, Offset.n_fits - before

    models = {"one": Offset(), "other": Offset(1.0)}
    first, n_fits = compare(models)
    assert n_fits == 6
    again, n_fits = compare(models)
    assert n_fits == 0
    for name in ("differences", "scores", "runs"):
        assert_frame_equal(getattr(again, name), getattr(first, name))
    # Other metrics of the same predictions, and other names of the same models.
    renamed = {"a": Offset(1.0), "b": Offset()}
    other, n_fits = compare(renamed, scoring="neg_mean_absolute_error")
    assert n_fits == 0
    assert other.runs["model"].unique().tolist() == ["a", "b"]
    assert compare({**models, "new": Offset(2.0)})[1] == 3
    assert compare(models, y=1 - Y)[1] == 6
    assert {path.suffix for path in (tmp_path / "runs").iterdir()} == {".run"}


def test_new_score_that_needs_other_outputs_is_a_new_run(tmp_path):
    args = {"cv": 2, "cache": tmp_path, "n_resamples": 2}
    models = {"one": LogisticRegression()}
    compare_models(models, X, Y, scoring="accuracy", **args)
    found = compare_models(models, X, Y, scoring="neg_log_loss", **args)
    assert np.isfinite(found.scores["score"]).all()


def test_keys_do_not_depend_on_earlier_use(tmp_path):
    """pandas pickles a table differently after rows were taken of it, and copies."""
    table = make_table()
    args = {"cv": 2, "scoring": "accuracy", "n_resamples": 2, "cache": tmp_path}
    for same in (table, table, table.copy()):
        compare_models({"a": DummyClassifier()}, same, make_y(same), **args)
        assert len(list(tmp_path.iterdir())) == 2
    # And what a model was fitted on before is no parameter of it.
    fitted = {"a": DummyClassifier().fit(table, make_y(table))}
    compare_models(fitted, table, make_y(table), **args)
    assert len(list(tmp_path.iterdir())) == 2
    other = table.assign(age=table["age"] + 1)
    compare_models({"a": DummyClassifier()}, other, make_y(table), **args)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("content", [b"", b"no pickle", None])
def test_unreadable_runs_are_repeated(content, tmp_path):
    args = {"cv": 2, "scoring": "r2", "cache": tmp_path, "n_resamples": 2}
    first = compare_models({"one": Offset()}, X, Y, **args)
    [path, _] = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    again = compare_models({"one": Offset()}, X, Y, **args)
    assert_frame_equal(again.scores, first.scores)
    assert len(path.read_bytes()) > len(whole) / 2


def test_keys_of_the_cache_are_equal_in_another_process():
    """The keys of rows with histories, too."""
    code = (
        "import joblib\n"
        "from sklearn_seqcrm.feature_extraction import RFMFeatures\n"
        "from sklearn_seqcrm.testing._small_data import make_table\n"
        "print(joblib.hash((make_table().iloc[3:], RFMFeatures())))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == joblib.hash((make_table().iloc[3:], RFMFeatures()))


def test_interruption_keeps_complete_folds(tmp_path):
    Offset.n_fits = 0
    models = {"one": Offset(), "other": Offset(1.0, fails=5)}
    args = {"cv": 4, "scoring": "r2", "n_resamples": 9}
    with pytest.warns(UserWarning, match="after 5 of 8 runs: compared are the 2 folds"):
        found = compare_models(models, X, Y, cache=tmp_path, **args)
    assert found.unfinished == [("other", 3), ("one", 4), ("other", 4)]
    assert sorted(found.scores["fold"].unique()) == [1, 2]
    Offset.n_fits = -100
    whole = compare_models(models, X, Y, cache=tmp_path, **args)
    assert Offset.n_fits == -97
    assert_frame_equal(
        whole.scores[whole.scores["fold"] <= 2].reset_index(drop=True), found.scores
    )
    Offset.n_fits = 0
    with pytest.raises(KeyboardInterrupt):
        compare_models({"one": Offset(fails=0)}, X, Y, **args)
