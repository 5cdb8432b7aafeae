"""Types as in a user's code; `make lint` runs type checkers on this file.

No code is run. A line that must be an error ends with a `type: ignore` of that error,
which is itself an error if the line becomes correct.
"""

import datetime
from pathlib import Path
from typing import assert_type

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupKFold

from sklearn_seqcrm.calibration import ConformalClassifier, ConformalRegressor
from sklearn_seqcrm.ensemble import (
    HybridClassifier,
    HybridRegressor,
    HybridSurvival,
    make_hybrid,
)
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.feature_extraction import HistoryAggregator, RFMFeatures
from sklearn_seqcrm.inspection import history_importance
from sklearn_seqcrm.metrics import bootstrap_interval, uplift_at_k
from sklearn_seqcrm.model_selection import CutoffSplit, compare_models
from sklearn_seqcrm.neural_network import (
    HistoryPadder,
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.serving import predict_partition
from sklearn_seqcrm.targets import (
    churned,
    future_count,
    future_sum,
    next_value,
    time_to_next,
)


def read(orders: pd.DataFrame) -> pd.DataFrame:
    """Make rows of a table of orders."""
    log = EventLog(orders, customer="customer_id", time="timestamp")
    assert_type(log, EventLog)
    assert_type(log.append(orders, duplicates="drop"), EventLog)
    log.append(orders, duplicates="once")  # type: ignore[arg-type]
    return log.snapshots(["2024-01-01"])


def look_ahead(X: pd.DataFrame) -> pd.Series:
    """One horizon is a Series, several are a DataFrame."""
    several = ["30D", "90D"]
    assert_type(churned(X, several), pd.DataFrame)
    assert_type(future_count(X, pd.to_timedelta(several)), pd.DataFrame)
    assert_type(future_sum(X, "price", np.array([30, 90])), pd.DataFrame)
    assert_type(future_sum(X, "price", ("30D", "90D")), pd.DataFrame)
    for horizon in ("30D", 30, 30.5, pd.Timedelta("30D"), np.timedelta64(30, "D")):
        churned(X, horizon, gap=horizon).sum()
    future_count(X, 30, censored="keep")  # type: ignore[call-overload]
    time_to_next(X, "30D", censored="keep").join(X)
    next_value(X, "price", pd.Timedelta("30D"), kinds=["order", "return"]).sum()
    return churned(X, "30D", kinds="order").rename("gone")


def prepare(X: pd.DataFrame) -> pd.DataFrame:
    """Transformers return DataFrames."""
    assert_type(HistoryEncoder().fit_transform(X), pd.DataFrame)
    assert_type(HistoryEncoder().fit(X).transform(X), pd.DataFrame)
    assert_type(RFMFeatures(dialect="btyd").fit_transform(X), pd.DataFrame)
    assert_type(LSTMEventModel(cell="gru").fit_transform(X), pd.DataFrame)
    HistoryPadder(padding="pre").fit_transform(X)["lengths"]
    RFMFeatures(dialect="retail")  # type: ignore[arg-type]
    HistoryAggregator(remainder="keep")  # type: ignore[arg-type]
    return HistoryAggregator(remainder="drop").fit_transform(X)


def learn(X: pd.DataFrame, y: pd.Series) -> np.ndarray:
    """Estimators return themselves from fit, and arrays from predict."""
    classifier = LSTMClassifier(cell="gru", pooling=["last", "max"], batch_size="auto")
    assert_type(classifier.fit(X, y), LSTMClassifier)
    LSTMRegressor(loss="poisson", max_epochs=3, early_stopping=False).fit(X, y)
    LSTMSurvival(precision="bfloat16", validation_fraction=0.2)
    LSTMClassifier(class_weight={0: 1, 1: 2.5})
    LSTMClassifier(cell="transformer")  # type: ignore[arg-type]
    LSTMClassifier(pooling="first")  # type: ignore[arg-type]
    LSTMClassifier(max_epochs="many")  # type: ignore[arg-type]
    LSTMRegressor(loss="huber")  # type: ignore[arg-type]
    ConformalClassifier(conformity_score="cqr")  # type: ignore[arg-type]
    assert_type(ConformalRegressor().fit(X, y), ConformalRegressor)
    return classifier.predict_proba(X)


def blend(X: pd.DataFrame, y: pd.Series) -> HybridClassifier:
    """The task decides which hybrid it is."""
    assert_type(make_hybrid(task="regression"), HybridRegressor)
    assert_type(
        make_hybrid(LSTMClassifier()),
        HybridClassifier | HybridRegressor | HybridSurvival,
    )
    make_hybrid(task="ranking")  # type: ignore[call-overload]
    scores = predict_partition(
        X, model=LSTMClassifier(), customer="who", time="day", cutoff="2024-01-01"
    )
    assert_type(scores, pd.DataFrame)
    return make_hybrid(task="classification").fit(X, y)


def pass_all_types(X: pd.DataFrame, y: pd.Series, orders: pd.DataFrame) -> None:
    """Arguments may be of all types that the docstrings name."""
    log = EventLog(orders, "who", "day", observed_until=pd.Timestamp("2024-02-01"))
    log.append({"order": orders}, observed_until="2024-02-01").to_parquet(Path("x"))
    log.snapshots(pd.date_range("2024-01-01", "2024-03-01", freq="MS"))
    log.snapshots([pd.Timestamp("2024-01-01"), datetime.date(2024, 2, 1)])
    log.attach(orders, cutoff=np.datetime64("2024-01-01"), lookback=pd.Timedelta("9D"))
    log.attach(orders, cutoff=None, lookback=30)
    log.snapshots(["2024-01-01"], active_within=["30D"])  # type: ignore[arg-type]
    classifier = LSTMClassifier(random_state=np.random.RandomState(0))
    weights: tuple[list[float], np.ndarray, pd.Series, None]
    weights = [1.0, 2.0], np.ones(2), y, None
    for one in weights:
        classifier.fit(X, y, sample_weight=one)
    classifier.fit(X.to_numpy(), y.tolist())
    classifier.fit({"values": np.ones((2, 3, 1))}, ["stays", "leaves"])
    LSTMClassifier(random_state="0")  # type: ignore[arg-type]
    pipeline = make_history_pipeline(classifier)
    for cv in (5, CutoffSplit(3, horizon="30D"), GroupKFold(3), [([0, 1], [2, 3])]):
        compare_models({"a": pipeline}, X, y, cv=cv, scoring=["roc_auc"])
    compare_models({"a": "LSTM"}, X, y, cv=3, scoring="roc_auc")  # type: ignore[dict-item]
    history_importance(pipeline, X, y, "roc_auc", random_state=0)
    bootstrap_interval(uplift_at_k, y, y.to_numpy(), y.tolist(), customers=X["who"])
