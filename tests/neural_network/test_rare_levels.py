"""Fields of many levels with few events, which networks see if their levels matter."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from sklearn_seqcrm._recurrent.training import _rare_levels
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import (
    HistoryPadder,
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
    LSTMUpliftClassifier,
    _ensemble_training,
)
from sklearn_seqcrm.preprocessing import make_history_pipeline
from tests.small_networks import SMALL

TINY = {**SMALL, "max_epochs": 1}
FORWARD = {"early_stopping": True, "validation": "forward", "horizon": 5}
N_CUSTOMERS = 200
N_EVENTS = 4  # of each customer


def make_events(n_levels=30, seed=0):
    """Simulate events with levels that are drawn at random."""
    rng = np.random.default_rng(seed)
    n = N_CUSTOMERS * N_EVENTS
    return pd.DataFrame(
        {
            "who": np.repeat(np.arange(N_CUSTOMERS), N_EVENTS),
            "day": np.tile(np.arange(N_EVENTS, dtype=float), N_CUSTOMERS),
            "amount": rng.exponential(size=n),
            "level": rng.integers(0, n_levels, n).astype(str),
        }
    )


EVENTS = make_events()
ROWS = pd.DataFrame({"who": np.arange(N_CUSTOMERS), "until": 9.0})


def rows_of(events=EVENTS, rows=ROWS):
    return EventLog(events, "who", "day").attach(rows, cutoff="until")


def of_levels(events=EVENTS):
    """Return the share of events with an even level, and whether the last one is."""
    is_even = events["level"].astype(int).to_numpy().reshape(-1, N_EVENTS) % 2 == 0
    return is_even.mean(axis=1), is_even[:, -1]


SHARE, IS_EVEN = of_levels()
NOISE = np.random.default_rng(1).random(N_CUSTOMERS)
CLASSES = {"matters": IS_EVEN, "noise": NOISE > 0.5}


def small(kind=LSTMClassifier, **params):
    return make_history_pipeline(kind(**{**TINY, **params}))


def left_out(model):
    return model[-1].validation_["left_out"]


def times(event):
    return pd.DataFrame({"time": 1 + 9 * event, "event": True})


@pytest.mark.parametrize(
    ("model", "targets"),
    [
        (LSTMClassifier(), CLASSES),
        (LSTMClassifier(), {k: np.c_[y, y] for k, y in CLASSES.items()}),
        (LSTMRegressor(), {"matters": SHARE, "noise": NOISE}),
        (LSTMRegressor(loss="poisson"), {"matters": 9 * SHARE, "noise": 9 * NOISE}),
        (LSTMRegressor(loss="quantile"), {"matters": SHARE, "noise": NOISE}),
        (LSTMSurvival(bins=3), {"matters": times(SHARE), "noise": times(NOISE)}),
    ],
    ids=["classes", "labels", "numbers", "counts", "quantiles", "times"],
)
def test_only_levels_that_matter_are_seen(model, targets):
    X = rows_of()
    model = make_history_pipeline(model.set_params(**TINY))
    model.fit(X, targets["matters"])
    assert left_out(model) == {}
    model.fit(X, targets["noise"])
    assert left_out(model) == {"history": ["level"]}


def test_levels_that_matter_for_one_treatment_are_seen():
    treatment = np.random.default_rng(2).integers(0, 2, N_CUSTOMERS)
    y = np.where(treatment == 1, IS_EVEN, NOISE > 0.5).astype(int)
    model = small(LSTMUpliftClassifier)
    encoded = model[:-1].fit_transform(rows_of(), y)
    model[-1].fit(encoded, y, treatment=treatment)
    assert model[-1].validation_["left_out"] == {}
    y = (NOISE > 0.5).astype(int)
    model[-1].fit(encoded, y, treatment=treatment)
    assert model[-1].validation_["left_out"] == {"history": ["level"]}


def test_predictions_do_not_depend_on_levels_that_are_left_out():
    other = EVENTS.assign(level=EVENTS["level"].to_numpy()[::-1])
    X, same = rows_of(), rows_of(other)
    for select_fields, is_equal in (("auto", True), (False, False)):
        model = small(select_fields=select_fields).fit(X, CLASSES["noise"])
        assert np.array_equal(model.predict_proba(X), model.predict_proba(same)) == (
            is_equal
        )


def test_levels_with_many_events_and_few_levels_are_always_seen(monkeypatch):
    assert left_out(small().fit(rows_of(make_events(16)), CLASSES["noise"])) == {}
    assert left_out(small().fit(rows_of(make_events(17)), CLASSES["noise"])) != {}
    # 800 events of 30 levels, and 200 customers, each in a block of its own.
    monkeypatch.setattr(_rare_levels, "_WIDTH", 2**30)
    for few, expected in ((26, {}), (27, {"history": ["level"]})):
        monkeypatch.setattr(_rare_levels, "_FEW_EVENTS", few)
        assert left_out(small().fit(rows_of(), CLASSES["noise"])) == expected
    monkeypatch.setattr(_rare_levels, "_FEW_EVENTS", 201)
    busy = pd.concat([EVENTS.assign(day=EVENTS["day"] + 4 * i) for i in range(9)])
    X = rows_of(busy, ROWS.assign(until=36.0))
    assert left_out(small().fit(X, CLASSES["noise"])) == {"history": ["level"]}
    monkeypatch.setattr(_rare_levels, "_FEW_EVENTS", 200)
    assert left_out(small().fit(X, CLASSES["noise"])) == {}


def test_only_events_that_training_rows_see_count(monkeypatch):
    """Before the early cutoffs are 400 of the 800 events."""
    monkeypatch.setattr(_rare_levels, "_FEW_EVENTS", 14)
    log = EventLog(EVENTS, "who", "day", observed_until=40.0)
    rows = pd.concat([ROWS.assign(until=2.0), ROWS.assign(until=30.0)])
    y = np.tile(CLASSES["noise"], 2)
    model = small(**FORWARD).fit(log.attach(rows, cutoff="until"), y)
    assert left_out(model) == {"history": ["level"]}
    assert left_out(small().fit(log.attach(rows, cutoff="until"), y)) == {}


def test_events_without_a_level_do_not_count(monkeypatch):
    monkeypatch.setattr(_rare_levels, "_FEW_EVENTS", 14)
    events = EVENTS.assign(level=EVENTS["level"].where(EVENTS["day"] < 2))
    model = small().fit(rows_of(events), CLASSES["noise"])
    assert left_out(model) == {"history": ["level"]}


def test_a_field_stays_if_it_matters_whether_it_is_missing():
    events = EVENTS.assign(level=EVENTS["level"].where(EVENTS["amount"] > 0.5))
    last = events["level"].to_numpy().reshape(-1, N_EVENTS)[:, -1]
    assert left_out(small().fit(rows_of(events), pd.isna(last))) == {}


def test_labels_of_rows_set_aside_forward_in_time_are_not_used():
    """Levels matter in the latest rows only."""
    rows = pd.concat([ROWS, ROWS.assign(until=30.0)])
    log = EventLog(EVENTS, "who", "day", observed_until=40.0)
    X = log.attach(rows, cutoff="until")
    y = np.r_[CLASSES["noise"], IS_EVEN]
    model = small(**FORWARD).fit(X, y)
    assert left_out(model) == {"history": ["level"]}
    model = small().fit(X, y)
    assert left_out(model) == {}


def test_the_order_of_lines_in_a_moment_does_not_matter(monkeypatch):
    """All events are at one time, so that each is a last one."""
    found = []

    def score(shares, *args):
        found.append(shares.toarray())
        return 3.0

    monkeypatch.setattr(_rare_levels, "_score", score)
    joined = EVENTS.assign(day=1.0)
    for events in (joined, joined[::-1]):
        small().fit(rows_of(events), CLASSES["noise"])
    np.testing.assert_array_equal(*found)
    of_all, of_last = np.split(found[0], 2, axis=1)
    np.testing.assert_array_equal(of_all, of_last)
    np.testing.assert_allclose(of_all.sum(axis=1), 1)


def test_weights_decide_which_rows_count():
    y = np.where(NOISE < 0.5, IS_EVEN, NOISE > 0.75)
    for weight, expected in ((NOISE < 0.5, {}), (NOISE >= 0.5, {"history": ["level"]})):
        weight = np.where(weight, 1.0, 1e-6)
        model = small()
        encoded = model[:-1].fit_transform(rows_of(), y)
        model[-1].fit(encoded, y, sample_weight=weight)
        assert model[-1].validation_["left_out"] == expected


def test_rows_of_a_customer_are_judged_together():
    """Repeated rows are no further evidence, and a row of weight 2 is two rows."""
    rng = np.random.default_rng(0)
    shares = csr_matrix(rng.dirichlet(np.ones(20), 100))
    gradients = rng.normal(size=(100, 2)) + 5 * shares[:, :2].toarray()
    customers = np.repeat(np.arange(50), 2)
    once = _rare_levels._score(shares, gradients, None, customers)
    again = np.tile(np.arange(100), 3)
    args = shares[again], gradients[again], None, customers[again]
    assert _rare_levels._score(*args) == pytest.approx(once, rel=1e-3)
    weight = np.tile([1.0, 3.0], 50)  # folds have equal numbers of rows
    weighted = _rare_levels._score(shares, gradients, weight, customers)
    again = np.repeat(np.arange(100), weight.astype(int))
    args = shares[again], gradients[again], None, customers[again]
    assert _rare_levels._score(*args) == pytest.approx(weighted, rel=1e-3)
    assert weighted != pytest.approx(once, rel=1e-2)


def test_an_exposure_is_no_effect():
    """Rates do not depend on the levels, but how long rows are observed does."""
    X = rows_of().assign(years=np.where(IS_EVEN, 10.0, 1.0))
    y = X["years"].to_numpy() * np.random.default_rng(3).poisson(3, N_CUSTOMERS)
    options = {"loss": "poisson", "exposure": "years"}
    assert left_out(small(LSTMRegressor, **options).fit(X, y)) == {"history": ["level"]}
    X = X.drop(columns="years")
    assert left_out(small(LSTMRegressor, loss="poisson").fit(X, y)) == {}


def test_where_nothing_is_tested(monkeypatch):
    X, y = rows_of(), CLASSES["noise"]
    with monkeypatch.context() as patch:
        patch.setattr(_rare_levels, "_score", lambda *args: -1.0)
        for n, expected in ((9, {}), (10, {"history": ["level"]})):
            assert left_out(small().fit(X.iloc[:n], np.arange(n) % 2)) == expected
    assert left_out(small(LSTMRegressor).fit(X, np.ones(len(X)))) == {}
    assert left_out(small(select_fields=False).fit(X, y)) == {}
    events = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X)
    assert left_out(small(pretrained=events).fit(X, y)) == {}
    # Rows beyond the number that is tested are drawn.
    monkeypatch.setattr(_rare_levels, "_MOST_ROWS", 150)
    assert left_out(small().fit(X, y)) == {"history": ["level"]}
    assert left_out(small().fit(X, IS_EVEN)) == {}


def test_a_warm_start_keeps_what_is_left_out():
    X, y = rows_of(), CLASSES["noise"]
    other = rows_of(EVENTS.assign(level=EVENTS["level"].to_numpy()[::-1]))
    for targets, expected in (
        ((y, IS_EVEN), {"history": ["level"]}),
        ((IS_EVEN, y), {}),
    ):
        model = small(warm_start=True)
        for target in targets:
            model.fit(X, target)
        assert left_out(model) == expected
        assert len(model[-1].net_.history) == 2
        same = np.array_equal(model.predict_proba(X), model.predict_proba(other))
        assert same == bool(expected)


@pytest.mark.parametrize("found", [[], ["level"], ["amount"]])
def test_a_search_for_fields_begins_without_the_field(found, monkeypatch):
    trained = []
    train = _ensemble_training.train

    def counted(model, training, epochs=None):
        trained.append(training.net.left_out)
        train(model, training, epochs)

    monkeypatch.setattr(_ensemble_training, "train", counted)
    monkeypatch.setattr(_ensemble_training, "useless_fields", lambda *args: [found])
    monkeypatch.setattr(
        _ensemble_training, "_least_loss", lambda net: -len(net.left_out[0])
    )
    log = EventLog(EVENTS, "who", "day", observed_until=40.0)
    rows = pd.concat([ROWS, ROWS.assign(until=30.0)])
    model = small(**FORWARD, select_fields=True)
    model.fit(log.attach(rows, cutoff="until"), np.tile(CLASSES["noise"], 2))
    both = ["level", "amount"] if found == ["amount"] else ["level"]
    searches = [["level"], both] if len(both) == 2 else [["level"]]
    assert [[*own] for [own] in trained] == [*searches, both]
    assert left_out(model) == {"history": both}


def test_hazards_of_all_bins_are_tested_together():
    """In each of twenty bins there are ten customers, too few to find an effect."""
    rng = np.random.default_rng(4)
    effect = 0.7 * rng.normal(size=30)
    levels = EVENTS["level"].astype(int).to_numpy().reshape(-1, N_EVENTS)
    y = times(rng.exponential(np.exp(effect[levels].mean(axis=1) * 2)))
    assert left_out(small(LSTMSurvival).fit(rows_of(), y)) == {}


def test_one_target_of_many_decides():
    noise = np.random.default_rng(5).random((N_CUSTOMERS, 20)) > 0.5
    X = rows_of()
    assert left_out(small().fit(X, noise)) == {"history": ["level"]}
    noise[:, 7] = IS_EVEN
    assert left_out(small().fit(X, noise)) == {}


def test_all_events_count_where_rows_are_drawn(monkeypatch):
    monkeypatch.setattr(_rare_levels, "_FEW_EVENTS", 26)
    monkeypatch.setattr(_rare_levels, "_MOST_ROWS", 150)
    assert left_out(small().fit(rows_of(), CLASSES["noise"])) == {}
    monkeypatch.setattr(_rare_levels, "_FEW_EVENTS", 27)
    drawn = []

    def score(shares, gradients, weight, customers):
        drawn.append((shares.shape[0], len(gradients), len(customers)))
        return 0.0

    monkeypatch.setattr(_rare_levels, "_score", score)
    assert left_out(small().fit(rows_of(), CLASSES["noise"])) != {}
    monkeypatch.setattr(_rare_levels, "_MOST_EVENTS", 100)  # of 25 rows
    assert left_out(small().fit(rows_of(), CLASSES["noise"])) != {}
    assert drawn == [(150, 150, 150), (25, 25, 25)]
    monkeypatch.setattr(_rare_levels, "_MOST_EVENTS", 36)  # of nine customers
    assert left_out(small().fit(rows_of(), CLASSES["noise"])) == {}


@pytest.mark.parametrize("few", [26, 27])
@pytest.mark.parametrize("form", ["disk", "padded"])
def test_forms_of_histories_agree(form, few, monkeypatch, tmp_path):
    """Rows of padded tensors do not share the events of their customer."""
    monkeypatch.setattr(_rare_levels, "_FEW_EVENTS", few)
    rows = pd.concat([ROWS.assign(until=t) for t in (2.0, 3.0, 9.0)])
    log = EventLog(EVENTS, "who", "day", observed_until=9.0)
    y = np.tile(CLASSES["noise"], 3)
    model = small()
    expected = {} if few == 26 else {"history": ["level"]}
    assert left_out(model.fit(log.attach(rows, cutoff="until"), y)) == expected
    if form == "disk":
        log.to_disk(tmp_path / "log")
        X = EventLog.open(tmp_path / "log").attach(rows, cutoff="until")
        assert left_out(small().fit(X, y)) == expected
    else:
        encoded = model[:-1].transform(log.attach(rows, cutoff="until"))
        padded = HistoryPadder().fit_transform(encoded)
        network = model[-1].fit(padded, y)
        assert [*network.validation_["left_out"].values()] == [*expected.values()]


def test_false_may_be_one_of_numpy():
    model = small(select_fields=np.False_).fit(rows_of(), CLASSES["noise"])
    assert left_out(model) == {}
