import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier

from sklearn_seqcrm._columns import CustomerTargetEncoder, static_parts, store_horizon
from sklearn_seqcrm._columns._target_encoder import level_means
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import (
    LSTMClassifier,
    LSTMRegressor,
    LSTMSurvival,
    LSTMUpliftClassifier,
)
from sklearn_seqcrm.preprocessing import make_history_pipeline
from tests.small_networks import SMALL


def rows_of(n_customers=60, n_rows=3, n_levels=8, seed=0):
    """Return a history column, a shop per row, and targets that shops differ in."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n_customers), n_rows)
    log = EventLog(pd.DataFrame({"who": who, "day": 0.0}), "who", "day")
    shop = rng.integers(0, n_levels, len(who))
    rows = pd.DataFrame({"who": who, "shop": [f"s{i}" for i in shop]})
    X = log.attach(rows, cutoff=1.0)[["history", "shop"]]
    return X, shop / n_levels + 0.3 * rng.normal(size=len(who))


def rows_at(cutoffs, n_customers=60):
    """Return rows of each customer at some cutoffs, and the cutoff of each."""
    who = np.tile(np.arange(n_customers), len(cutoffs))
    log = EventLog(pd.DataFrame({"who": who, "day": 6.0}), "who", "day")
    rows = pd.DataFrame({"who": who, "at": np.repeat(cutoffs, n_customers) * 1.0})
    rows["shop"] = [f"s{i}" for i in np.arange(len(rows)) * 7 % 60 % 8]
    return log.attach(rows, cutoff="at")[["history", "shop"]], rows["at"].to_numpy()


def with_horizon(y, horizon):
    """Return targets with a horizon in their attrs."""
    store_horizon(y, {"horizon": horizon, "gap": 0})
    return y


def slow_means(levels, customers, y, prior):
    """Return the formula of the Notes by loops over customers and levels."""
    of_level = {}
    for level in sorted(set(levels)):
        own = [
            np.mean(y[(levels == level) & (customers == c)])
            for c in sorted(set(customers[levels == level]))
        ]
        of_level[level] = own
    everyone = np.concatenate(list(of_level.values()))
    n, n_levels = len(everyone), len(of_level)
    within = sum(((np.array(v) - np.mean(v)) ** 2).sum() for v in of_level.values())
    within /= n - n_levels
    grand = everyone.mean()
    squares = sum(len(v) * (np.mean(v) - grand) ** 2 for v in of_level.values())
    sizes = np.array([len(v) for v in of_level.values()])
    between = (squares - (n_levels - 1) * within) / (n - (sizes**2).sum() / n)
    m = within / between
    return {level: (sum(v) + m * prior) / (len(v) + m) for level, v in of_level.items()}


def test_means_are_those_of_the_formula():
    X, y = rows_of()
    who = X["history"].array.customers
    model = CustomerTargetEncoder().fit(X, y)
    prior = np.mean([y[who == one].mean() for one in np.unique(who)])
    assert_allclose(model.prior_, prior)
    expected = slow_means(X["shop"].to_numpy(), np.asarray(who), y, prior)
    found = dict(zip(model.categories_[0], model.encodings_[0][:, 0], strict=True))
    assert found.keys() == expected.keys()
    assert_allclose([found[one] for one in expected], list(expected.values()))
    assert_allclose(
        model.transform(X)["shop"], X["shop"].map(expected).to_numpy(), rtol=1e-12
    )


def test_two_levels():
    """The variance is 2 within levels, and (100 - 2) / 2 between them."""
    targets = np.array([[0.0], [2], [10], [12]])
    found = level_means(np.array([0, 0, 1, 1]), 2, np.arange(4), targets, np.array([5]))
    m = 2 / 49
    expected = [[(2 + m * 5) / (2 + m)], [(22 + m * 5) / (2 + m)]]
    assert_allclose(found, expected)


def test_rows_are_encoded_by_other_customers():
    """Whatever the targets of the rows of a customer are, these rows do not change."""
    X, y = rows_of()
    who = np.asarray(X["history"].array.customers)
    before = CustomerTargetEncoder().fit_transform(X, y)
    for one in np.unique(who)[:10]:
        own = who == one
        after = CustomerTargetEncoder().fit_transform(X, np.where(own, 1e3, y))
        assert_allclose(after[own], before[own], rtol=1e-12)
        assert not np.allclose(after[~own], before[~own])


def test_folds_do_not_depend_on_the_order_of_rows():
    X, y = rows_of()
    order = np.random.default_rng(1).permutation(len(X))
    expected = CustomerTargetEncoder().fit_transform(X, y).iloc[order]
    found = CustomerTargetEncoder().fit_transform(X.iloc[order], y[order])
    assert_allclose(found, expected, rtol=1e-9)


def test_levels_that_are_assigned_in_turn():
    """Each level has customers in several folds, so that others encode it."""
    who = np.arange(600)
    log = EventLog(pd.DataFrame({"who": who, "day": 0.0}), "who", "day")
    rows = pd.DataFrame({"who": who, "shop": [f"s{i % 60}" for i in who]})
    X = log.attach(rows, cutoff=1.0)[["history", "shop"]]
    effect = who % 60 / 60
    y = effect + np.random.default_rng(0).normal(0, 0.1, 600)
    found = CustomerTargetEncoder().fit_transform(X, y)["shop"]
    assert np.corrcoef(found, effect)[0, 1] > 0.95


def test_customers_of_any_history_column():
    """The rows of a customer do not depend on own targets, whatever comes first."""
    X, y = rows_of(n_levels=60)
    # The first history is that of the visit, of which each row has another one.
    visits = pd.DataFrame({"visit": np.arange(len(X)), "day": 0.0})
    log = EventLog(visits, "visit", "day")
    X.insert(0, "visits", log.attach(visits[["visit"]], cutoff=1.0)["history"])
    *_, (_, encoder, columns) = static_parts(encoder=CustomerTargetEncoder())

    def encoded(y):
        return clone(encoder)[:-1].fit_transform(X[columns(X)], y)["shop"]

    who, before = np.asarray(X["history"].array.customers), encoded(y)
    for one in np.unique(who)[:5]:
        own = who == one
        after = encoded(np.where(own, 1e3, y))
        assert_allclose(after[own], before[own], rtol=1e-12)


@pytest.mark.parametrize("horizon", [2, None])
def test_validation_rows_are_encoded_by_labels_known_then(horizon):
    """Labels at cutoffs from 5 on were unknown at 6, the last cutoff."""
    X, cutoff = rows_at(np.arange(1, 7))
    y = pd.Series(np.random.default_rng(0).normal(size=len(X)), name="spent")
    if horizon is None:
        y = with_horizon(y, 2)
    encoder = CustomerTargetEncoder(horizon=horizon)
    before, last = encoder.fit_transform(X, y), cutoff == 6
    y[cutoff >= 5] += 100
    after = encoder.fit_transform(X, y)
    assert_allclose(after[last], before[last], rtol=1e-12)
    assert not np.isclose(after[~last], before[~last]).any()
    y[cutoff == 4] += 100
    assert not np.isclose(encoder.fit_transform(X, y)[last], before[last]).any()
    # Rows to be scored are encoded by all labels.
    assert encoder.transform(X)["shop"].min() > 10


def test_validation_rows_of_survival_have_complete_windows():
    """The record ends after 6: those at 5 are validation rows."""
    X, cutoff = rows_at(np.arange(1, 7))
    y = pd.DataFrame({"event": np.arange(len(X)) % 2 == 0, "time": 1.0 + cutoff})
    encoder = CustomerTargetEncoder("survival", horizon=2)
    before = encoder.fit_transform(X, y)
    y.loc[cutoff >= 4, "time"] += 100
    equal = np.isclose(encoder.fit_transform(X, y)["shop_1"], before["shop_1"])
    assert set(cutoff[equal]) == {5}


@pytest.mark.parametrize("horizon", [None, 1])
def test_times_without_a_horizon_are_encoded_as_they_were_known(horizon):
    """Rows at 6 are for validation, when an event 1 after 5 was not known."""
    X, cutoff = rows_at(np.arange(1, 7))
    event = np.arange(len(X)) % 2 == 0
    # Others are censored at the end of the record, 6.5.
    y = pd.DataFrame({"event": event, "time": np.where(event, 1.0, 6.5 - cutoff)})
    store_horizon(y, {"horizon": None, "gap": 0})
    encoder = CustomerTargetEncoder("survival", horizon=horizon)
    before, last = encoder.fit_transform(X, y), cutoff == 6
    y.loc[cutoff == 5, "time"] = 1.5
    y.loc[cutoff == 5, "event"] = ~y.loc[cutoff == 5, "event"]
    after = encoder.fit_transform(X, y)
    assert_allclose(after[last], before[last], rtol=1e-12)
    assert not np.isclose(after[~last], before[~last]).all(axis=1).any()
    y.loc[cutoff == 4, ["event", "time"]] = True, 1.0
    assert not np.isclose(encoder.fit_transform(X, y)[last], before[last]).all()


def test_targets_are_read_once():
    X, _ = rows_at(np.arange(1, 7))
    y = pd.Series(np.arange(len(X)) % 2)
    store_horizon(y, {"horizon": None, "gap": 0})
    with pytest.warns(UserWarning, match="0 and 1 alone") as found:
        CustomerTargetEncoder("survival").fit_transform(X, y)
    assert len(found) == 1


@pytest.mark.parametrize("horizon", ["2 days", -1, None])
def test_horizons_that_do_not_fit_are_left_to_the_estimator(horizon):
    X, cutoff = rows_at(np.arange(1, 7))
    found = CustomerTargetEncoder(horizon=horizon).fit_transform(X, cutoff)
    assert_allclose(found, CustomerTargetEncoder().fit_transform(X, cutoff))


def test_levels_of_noise_are_worth_nothing():
    """With a level per customer nothing is learned; with many levels very little."""
    X, y = rows_of(100, 2)
    own = X.assign(shop=[f"c{one}" for one in X["history"].array.customers])
    model = CustomerTargetEncoder()
    assert_allclose(model.fit_transform(own, y)["shop"], y.mean(), atol=0.1)
    assert_allclose(model.transform(own)["shop"], model.prior_[0])
    spread, unshrunken = [], []
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=len(X))
        encoded = CustomerTargetEncoder().fit(X, noise).transform(X)["shop"]
        spread.append(encoded.std())
        unshrunken.append(pd.Series(noise).groupby(X["shop"]).transform("mean").std())
    assert np.mean(spread) < 0.4 * np.mean(unshrunken)


def test_a_row_counts_by_its_customer():
    """A customer with a hundred rows is one customer."""
    codes = np.array([0] * 100 + [0, 0, 1, 1, 1])
    customers = np.array([0] * 100 + [1, 2, 3, 4, 5])
    y = np.array([1.0] * 100 + [0, 0, 5, 6, 7])[:, None]
    once = np.r_[0, 100:105]
    many = level_means(codes, 2, customers, y, np.array([2.0]))
    assert_allclose(many, level_means(codes[once], 2, customers[once], y[once], [2.0]))


def test_new_and_missing_levels():
    X, y = rows_of()
    missing = X.assign(shop=X["shop"].where(X["shop"] != "s7", None))
    model = CustomerTargetEncoder().fit(missing, y)
    row = X.iloc[:3].assign(shop=["new", None, "s0"])
    found = model.transform(row)["shop"].to_numpy()
    assert found[0] == model.prior_[0]
    assert found[1] > found[2]  # missing levels are the last shop, s0 the first one
    none = CustomerTargetEncoder().fit(X, y).transform(row)["shop"].to_numpy()
    assert none[1] == model.prior_[0]


@pytest.mark.parametrize(
    ("task", "y", "n_targets"),
    [
        ("classification", np.array(["no", "yes"])[np.arange(180) % 2], 1),
        ("classification", np.arange(180) % 3, 3),
        ("classification", np.column_stack([np.arange(180) % 2] * 4), 4),
        ("regression", np.arange(180), 1),
        ("regression", np.ones((180, 2)), 2),
        (
            "survival",
            pd.DataFrame({"event": np.arange(180) % 2 == 0, "time": np.arange(180.0)}),
            2,
        ),
    ],
)
def test_targets_of_each_task(task, y, n_targets):
    X, _ = rows_of()
    model = CustomerTargetEncoder(task)
    found = model.fit_transform(X, y)
    names = ["shop"] if n_targets == 1 else [f"shop_{i}" for i in range(n_targets)]
    assert list(found) == names == model.get_feature_names_out().tolist()
    assert np.isfinite(found.to_numpy()).all()
    # By position, whatever the index of y is.
    y = pd.Series(y, index=np.arange(180)[::-1]) if np.ndim(y) == 1 else y
    again = clone(model).fit_transform(X.set_axis(np.arange(180) + 7), y)
    assert_allclose(again, found)
    if task == "classification":
        assert found.to_numpy().min() >= 0
        assert found.to_numpy().max() <= 1


def test_one_customer_one_row():
    X, y = rows_of(1, 3)
    found = CustomerTargetEncoder().fit_transform(X, y)
    assert_allclose(found["shop"], y.mean())
    assert CustomerTargetEncoder().fit_transform(X[:1], y[:1]).shape == (1, 1)


def test_it_is_named_by_its_options():
    names = [name for name, *_ in static_parts(encoder=CustomerTargetEncoder())]
    assert names == ["numeric", "datetime", "category", "level"]
    few, many = static_parts(encoder=CustomerTargetEncoder())[2:]
    assert repr(few[2]) == "ColumnsOfKind('category', many=False)"
    assert repr(many[2]) == "ColumnsOfKind('category', many=True)"


# In pipelines -------------------------------------------------------------------------


def many_shops(n=300):
    """Return rows of customers with a shop of sixty, a region, and an age."""
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"who": np.arange(n), "day": rng.uniform(0, 9, n)})
    shop = rng.integers(0, 60, n)
    rows = {"who": np.arange(n), "shop": [f"s{i}" for i in shop], "age": 1.0 * shop}
    rows = pd.DataFrame(rows).assign(region=np.where(shop % 2, "north", "south"))
    X = EventLog(events, "who", "day").attach(rows, cutoff=10.0)
    return X, rng.binomial(1, np.where(shop < 30, 0.2, 0.8))


def test_columns_of_many_levels_are_encoded_by_targets():
    X, y = many_shops()
    network = LSTMClassifier(**SMALL)
    model = make_history_pipeline(network, many_levels="target").fit(X, y)
    made = model[:-1].transform(X)
    assert list(made) == ["history", "age", "region_north", "region_south", "shop"]
    assert np.corrcoef(made["shop"], X["age"] < 30)[0, 1] < -0.8
    one_hot = make_history_pipeline(clone(network)).fit(X, y)[:-1].transform(X)
    assert one_hot.shape[1] > 50
    # In any order, and with new levels and missing ones.
    other = X.iloc[:2, ::-1].assign(shop=["new", None])
    assert np.isfinite(model.predict_proba(other)).all()
    [first, second] = model[:-1].transform(other)["shop"]
    assert first == second


@pytest.mark.parametrize(
    ("network", "y"),
    [
        (LSTMRegressor(**SMALL, loss="poisson"), np.arange(300) % 4),
        (LSTMClassifier(**SMALL), np.array(list("abc"))[np.arange(300) % 3]),
        (LSTMClassifier(**SMALL), np.column_stack([np.arange(300) % 2] * 2)),
        (
            LSTMSurvival(**SMALL),
            pd.DataFrame({"event": np.arange(300) % 2 == 0, "time": np.arange(300.0)}),
        ),
    ],
)
def test_pipelines_of_every_task(network, y):
    X, _ = many_shops()
    model = make_history_pipeline(network, many_levels="target").fit(X, y)
    assert len(model.predict(X[:5])) == 5
    assert model[:-1].transform(X).filter(like="shop").notna().all(axis=None)


@pytest.mark.parametrize(
    ("estimator", "task"),
    [
        (LSTMUpliftClassifier(), "classification"),
        (GridSearchCV(LSTMUpliftClassifier(), {}), "classification"),
        (OneVsRestClassifier(LSTMRegressor()), "classification"),
        (GridSearchCV(LSTMSurvival(), {}), "survival"),
        (
            make_history_pipeline(GridSearchCV(LSTMSurvival(), {})),
            "survival",
        ),
        (GridSearchCV(LSTMRegressor(), {}), "regression"),
    ],
)
def test_the_task_is_that_of_the_innermost_estimator(estimator, task):
    model = make_history_pipeline(estimator, many_levels="target")
    parts = {name: part for name, part, _ in model["statics"].transformers}
    assert parts["level"]["customertargetencoder"].task == task


def test_options_of_the_validation_are_those_of_the_network():
    network = LSTMRegressor(horizon=3, validation_fraction=0.4, n_networks=1)
    model = make_history_pipeline(GridSearchCV(network, {}), many_levels="target")
    parts = {name: part for name, part, _ in model["statics"].transformers}
    encoder = parts["level"]["customertargetencoder"]
    assert (encoder.horizon, encoder.validation_fraction) == (3, 0.4)


def test_the_encoder_follows_the_parameters_of_the_network():
    model = make_history_pipeline(LSTMClassifier(), many_levels="target")
    encoder = "statics__level__customertargetencoder__"
    model.set_params(estimator__horizon="30D", estimator__validation_fraction=0.2)
    assert model.get_params()[encoder + "horizon"] == "30D"
    assert model.get_params()[encoder + "validation_fraction"] == 0.2
    search = make_history_pipeline(
        GridSearchCV(LSTMClassifier(), {}), many_levels="target"
    ).set_params(estimator__estimator__horizon="7D")
    assert search.get_params()[encoder + "horizon"] == "7D"
    # An explicit value of the encoder is kept, and other parameters change nothing.
    model.set_params(**{"estimator__horizon": "60D", encoder + "horizon": "90D"})
    model.set_params(estimator__hidden_size=4)
    assert model.get_params()[encoder + "horizon"] == "90D"
    make_history_pipeline(LSTMClassifier()).set_params(estimator__horizon="30D")
    model = make_history_pipeline(LSTMClassifier(), many_levels="target")
    model.set_params(estimator=LSTMRegressor(horizon="7D"))
    found = model["statics"].transformers[-1][1]["customertargetencoder"]
    assert (found.task, found.horizon) == ("regression", "7D")
    assert model.set_params(estimator="passthrough")[-1] == "passthrough"
    model.set_params(estimator=LSTMClassifier(horizon="9D"))
    assert (found.task, found.horizon) == ("classification", "9D")
    model[-1].horizon = "10D"
    assert model.set_params(estimator__horizon="20D")[-1].horizon == "20D"
    assert found.horizon == "20D"


def test_rows_of_weight_zero_have_no_effect():
    """Their labels may be unknown, so that no level is encoded by them."""
    X, y = many_shops()
    used = np.arange(300) % 3 > 0
    weight = {"estimator__sample_weight": np.where(used, 1.0 + y, 0)}
    network = LSTMClassifier(**SMALL)
    wrong = pd.Series(np.where(used, y, 1), name="bought")
    model = make_history_pipeline(network, many_levels="target")
    model.fit(X, wrong, **weight)
    others = clone(model).fit(X[used], y[used], estimator__sample_weight=1.0 + y[used])
    assert_allclose(model.predict_proba(X), others.predict_proba(X), rtol=1e-9)
    # Other arguments stay beside their rows.
    effects = make_history_pipeline(LSTMUpliftClassifier(**SMALL), many_levels="target")
    arms = np.arange(300) // 2 % 2
    effects.fit(X, wrong, estimator__treatment=arms, **weight)
    with pytest.raises(ValueError, match=r"zero for all rows|at least one non-zero"):
        model.fit(X, wrong, estimator__sample_weight=np.zeros(300))
    # Metadata routing may pass weights by another name.
    for name in ("visits", "of__visits"):
        with config_context(enable_metadata_routing=True):
            named = LSTMClassifier(**SMALL).set_fit_request(sample_weight=name)
            routed = make_history_pipeline(named, many_levels="target")
            routed.fit(X, wrong, **{name: weight["estimator__sample_weight"]})
        assert_allclose(routed.predict_proba(X), others.predict_proba(X), rtol=1e-9)


def test_rows_of_weight_zero_of_a_meta_estimator_have_no_effect():
    X, y = many_shops()
    used = np.arange(300) % 3 > 0
    with config_context(enable_metadata_routing=True):
        network = LSTMClassifier(**SMALL).set_fit_request(sample_weight=True)
        model = CalibratedClassifierCV(network, cv=2)
        model.set_fit_request(sample_weight="visits")
        model = make_history_pipeline(model, many_levels="target")
        of_used = clone(model).fit(X[used], y[used], visits=np.ones(used.sum()))
        model.fit(X, np.where(used, y, 1), visits=used.astype(float))
    assert_allclose(model.predict_proba(X), of_used.predict_proba(X), rtol=1e-9)


def test_several_labels_may_be_sparse():
    X, y = many_shops()
    labels = np.column_stack([y, 1 - y])
    model = make_history_pipeline(LSTMClassifier(**SMALL), many_levels="target")
    weight = {"estimator__sample_weight": np.arange(300) % 3}
    expected = clone(model).fit(X, labels, **weight).predict_proba(X)
    model.fit(X, csr_array(labels), **weight)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-9)


def test_effects_on_labels_of_text():
    X, y = many_shops()
    network = LSTMUpliftClassifier(**SMALL)
    model = make_history_pipeline(network, many_levels="target")
    given = {"estimator__treatment": np.arange(len(X)) // 2 % 2}
    model.fit(X, np.where(y, "yes", "no"), **given)
    assert model.predict(X[:3]).shape == (3,)


def test_encodings_and_columns_have_different_names():
    X, _ = many_shops()
    X["shop_0"] = 2.0 * np.arange(300)
    y = np.array(list("abc"))[np.arange(300) % 3]
    model = make_history_pipeline(LSTMClassifier(**SMALL), many_levels="target")
    made = model.fit(X, y)[:-1].transform(X)
    assert list(made)[-3:] == ["shop_0_", "shop_1", "shop_2"]
    assert made["shop_0"].is_monotonic_increasing
    assert model.predict_proba(X.iloc[:, ::-1]).shape == (300, 3)


def test_without_many_levels_nothing_changes():
    X, y = many_shops()
    X = X.drop(columns="shop")
    network = LSTMClassifier(**SMALL)
    found = make_history_pipeline(network, many_levels="target").fit(X, y)
    expected = make_history_pipeline(clone(network)).fit(X, y)
    assert_allclose(found.predict_proba(X), expected.predict_proba(X), rtol=1e-12)


TEXTS = np.where(np.arange(300) % 2, "yes", "no").astype(object)
NUMBERS = np.arange(300.0)


@pytest.mark.parametrize(
    ("network", "y"),
    [
        (LSTMClassifier(**SMALL), np.where(NUMBERS == 3, None, TEXTS)),
        (LSTMClassifier(**SMALL), np.where(NUMBERS == 3, np.nan, TEXTS)),
        (LSTMClassifier(**SMALL), np.where(NUMBERS == 3, 1, TEXTS)),
        (LSTMRegressor(**SMALL), np.where(NUMBERS == 3, np.nan, NUMBERS)),
        (LSTMRegressor(**SMALL), np.where(NUMBERS == 3, np.inf, NUMBERS)),
        (LSTMRegressor(**SMALL), [*NUMBERS[1:], None]),
        (LSTMRegressor(**SMALL), TEXTS.tolist()),
        (LSTMRegressor(**SMALL), np.column_stack([NUMBERS, [np.nan] * 300])),
    ],
)
def test_errors_of_wrong_targets_are_those_of_the_estimator(network, y):
    X, _ = many_shops()
    errors = []
    for many_levels in ("one-hot", "target"):
        with pytest.raises((TypeError, ValueError)) as caught:
            make_history_pipeline(network, many_levels=many_levels).fit(X, y)
        errors.append((caught.type, str(caught.value)))
    assert errors[0] == errors[1]


def test_other_encodings_are_refused():
    with pytest.raises(ValueError, match="many_levels must be 'one-hot' or 'target'"):
        make_history_pipeline(LSTMClassifier(), many_levels="hash")


def test_lists_are_refused_by_the_usual_error():
    X, y = many_shops()
    X = X.assign(region=[["a"]] * len(X))
    with pytest.raises(TypeError, match="'region' holds values of the type list"):
        make_history_pipeline(LSTMClassifier(), many_levels="target").fit(X, y)
