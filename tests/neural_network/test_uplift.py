"""Networks with a head for each treatment."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import t as student_t
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from sklearn_seqcrm.datasets import make_campaigns
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.inspection import event_attributions
from sklearn_seqcrm.metrics import get_scorer, qini_auc_score
from sklearn_seqcrm.neural_network import (
    HistoryPadder,
    LSTMUpliftClassifier,
    LSTMUpliftRegressor,
)
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table
from tests.logs import log_of
from tests.neural_network.small_fits import COUNTS, X, Y, make_frame
from tests.small_networks import SMALL

N = len(X)
TWO = np.arange(N) % 2
THREE = np.array(["none", "mail", "call"])[np.arange(N) % 3]
BOTH = [(LSTMUpliftClassifier, Y), (LSTMUpliftRegressor, COUNTS)]


def fit(kind=LSTMUpliftClassifier, y=Y, treatment=TWO, X=X, weight=None, **params):
    model = kind(**{**SMALL, **params})
    return model.fit(X, y, treatment=treatment, sample_weight=weight)


# Predictions --------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_effects_are_differences_to_the_control(kind, y):
    two = fit(kind, y)
    outcomes = two.predict_outcomes(X)
    assert_array_equal(two.treatments_, [0, 1])
    assert outcomes.shape == (N, 2)
    assert_allclose(two.predict(X), outcomes[:, 1] - outcomes[:, 0], atol=1e-12)

    three = fit(kind, y, THREE, control="none", n_networks=2)
    outcomes = three.predict_outcomes(X)
    assert_array_equal(three.treatments_, ["none", "call", "mail"])
    assert outcomes.shape == (N, 3)
    assert_allclose(three.predict(X), outcomes[:, 1:] - outcomes[:, :1], atol=1e-12)


def test_known_effects_are_found():
    """Statics alone; treatment adds 2 to customers of one group, none to others."""
    rng = np.random.default_rng(0)
    group, arm = rng.integers(0, 2, (2, 2000))
    y = group + 2.0 * group * arm + rng.normal(0, 0.5, 2000)
    Z = np.column_stack([group, rng.normal(size=2000)])
    model = LSTMUpliftRegressor(max_epochs=15, random_state=0, n_networks=1)
    effect = model.fit(Z, y, treatment=arm).predict(Z)
    assert_allclose(effect[group == 1].mean(), 2, atol=0.2)
    assert_allclose(effect[group == 0].mean(), 0, atol=0.2)

    model = LSTMUpliftClassifier(max_epochs=15, random_state=0, n_networks=1)
    effect = model.fit(Z, y > 1.5, treatment=arm == 1).predict(Z)
    for one in (0, 1):
        rows = group == one
        shares = [(y > 1.5)[rows & (arm == a)].mean() for a in (0, 1)]
        assert_allclose(effect[rows].mean(), shares[1] - shares[0], atol=0.1)


def test_order_of_events_is_found():
    """Effects of a campaign, which only the order of events determines."""
    data = make_campaigns(2000, order_strength=1.0, random_state=0)
    log = EventLog(data.events, customer="customer_id", time="timestamp")
    Z = log.attach(data.rows, cutoff="cutoff")
    network = LSTMUpliftClassifier(
        hidden_size=16,
        max_epochs=12,
        early_stopping=False,
        random_state=0,
        n_networks=1,
    )
    model = make_history_pipeline(network)
    model.fit(Z, data.target, estimator__treatment=data.treatment)
    assert np.corrcoef(model.predict(Z), data.effect)[0, 1] > 0.2


@pytest.mark.parametrize("kind", [LSTMUpliftClassifier, LSTMUpliftRegressor])
@pytest.mark.parametrize("of_weight", [1.0, 0.0])
def test_the_decision_in_the_history_is_an_error(kind, of_weight):
    """An event at the cutoff of treated customers, or a static, is the treatment."""
    data = make_campaigns(100, random_state=0)
    mailed = data.rows[np.asarray(data.treatment) == 1]
    contacts = mailed[["customer_id", "cutoff"]].rename(columns={"cutoff": "timestamp"})
    events = pd.concat([data.events, contacts])
    log = EventLog(events, customer="customer_id", time="timestamp")
    model = make_history_pipeline(kind(**SMALL))
    others = data.rows[np.asarray(data.treatment) == 0]
    # A row of each arm as if it were of the other one: there the event shows nothing.
    rows = pd.concat([data.rows, mailed.iloc[:1], others.iloc[:1]])
    given = {"estimator__treatment": np.append(data.treatment, [0, 1])}
    given["estimator__sample_weight"] = np.append(np.ones(100), [of_weight] * 2)
    y = np.append(data.target, [0, 0])
    seen = log.attach(rows, cutoff="cutoff", allow_exact_matches=True)
    if of_weight:
        model.fit(seen, y, **given)
        return
    with pytest.raises(ValueError, match=r"an event at the cutoff .True"):
        model.fit(seen, y, **given)
    hidden = log.attach(rows, cutoff="cutoff")
    model.fit(hidden, y, **given)
    with pytest.raises(ValueError, match="'mailed' of X shows the treatment"):
        model.fit(hidden.assign(mailed=given["estimator__treatment"]), y, **given)


@pytest.mark.parametrize("kind", [LSTMUpliftClassifier, LSTMUpliftRegressor])
def test_rows_of_one_treatment_do_not_show_it(kind):
    """Any column of two levels has each of them in the only arm."""
    Z = make_frame()
    y = (np.arange(len(Z)) // 2 % 2).astype("float64")
    Z = Z.assign(flag=np.arange(len(Z)) // 4 % 2)
    treatment = np.arange(len(Z)) % 2
    model = kind(**SMALL).fit(Z, y, treatment=treatment)
    treated = treatment == 1
    model.partial_fit(Z[treated], y[treated], treatment=treatment[treated])
    with pytest.raises(ValueError, match="treatment must have two labels or more"):
        model.fit(Z, y, treatment=np.ones(len(Z)))


@pytest.mark.parametrize("kind", [LSTMUpliftClassifier, LSTMUpliftRegressor])
def test_effects_in_place_of_treatments_are_an_error(kind):
    """Each row has its own label, as it has its own level of a static."""
    Z = make_frame()
    y = (np.arange(len(Z)) // 2 % 2).astype("float64")
    Z = Z.assign(number=np.arange(len(Z)) * 0.7)
    with pytest.raises(ValueError, match="are treatment and effect swapped"):
        kind(**SMALL).fit(Z, y, treatment=np.arange(len(Z)) * 1.0)


def test_intervals_come_from_the_networks():
    model = fit(n_networks=3, treatment=THREE, control="none", confidence_level=0.8)
    single = copy.copy(model)
    each = []
    for net in model.nets_:
        single.nets_ = [net]
        each.append(single.predict(X))
    mean, spread = np.mean(each, axis=0), np.std(each, axis=0, ddof=1)
    q = student_t.ppf(0.9, 2)
    expected = np.stack([mean - q * spread, mean + q * spread], axis=-1)
    assert_allclose(model.predict_interval(X), expected, atol=1e-9)
    assert_allclose(model.predict_samples(X), each, atol=1e-9)
    assert fit(n_networks=2).predict_interval(X).shape == (N, 2)
    with pytest.raises(ValueError, match="n_networks=5"):
        fit().predict_interval(X)


def test_labels_of_any_type_and_index():
    expected = fit().predict(X)
    for treatment in (
        TWO.tolist(),
        TWO == 1,
        TWO[:, None],
        pd.Series(TWO, index=2 * N - np.arange(N)),
        pd.Series(TWO, dtype="Int64"),
    ):
        assert_array_equal(fit(treatment=treatment).predict(X), expected)
    text = pd.Series(np.where(TWO, "mail", "none"), dtype="category")
    found = fit(treatment=text, control="none")
    assert_array_equal(found.treatments_, ["none", "mail"])
    assert_array_equal(found.predict(X), expected)
    # The control is the first, whatever the order of the labels.
    assert_array_equal(fit(treatment=text, control="mail").treatments_[0], "mail")


def test_labels_of_classes_are_kept():
    model = fit(y=np.where(Y, "yes", "no"))
    assert_array_equal(model.classes_, ["no", "yes"])
    assert_array_equal(model.predict_outcomes(X), fit().predict_outcomes(X))


# The forms of X, and scikit-learn's tools ---------------------------------------------


def test_padded_tensors_have_the_same_predictions():
    table = make_table()
    for kind, y in BOTH:
        encoder = HistoryEncoder().fit(table)
        encoded = encoder.transform(table)[["history"]]
        model = fit(kind, y, X=encoded)
        tensors = HistoryPadder().fit_transform(encoded)
        assert_allclose(model.predict(tensors), model.predict(encoded), atol=1e-5)
        again = fit(kind, y, X=tensors)
        assert again.predict(tensors).shape == (N,)


@pytest.mark.parametrize("kind", [LSTMUpliftClassifier, LSTMUpliftRegressor])
def test_pipelines_without_routing(kind):
    table = make_table()
    model = make_history_pipeline(kind(**SMALL))
    model.fit(table, Y, estimator__treatment=TWO)
    assert model.predict(table).shape == (N,)
    named = make_pipeline(HistoryEncoder(), kind(**SMALL))
    step = kind.__name__.lower()
    named.fit(table[["history"]], Y, **{f"{step}__treatment": TWO})
    assert named.predict(table[["history"]]).shape == (N,)


def test_routing_needs_no_request():
    """fit and score need treatments, so that both request them by default."""
    table = make_table(20)
    y, treatment = np.arange(len(table)) // 2 % 2, np.arange(len(table)) % 2
    params = {"treatment": treatment}
    model = make_history_pipeline(LSTMUpliftClassifier(**SMALL))
    rows = model[:-1].fit_transform(table)
    with sklearn.config_context(enable_metadata_routing=True):
        # The score of a pipeline gets no metadata in searches of scikit-learn 1.6.
        qini = get_scorer("qini_auc").set_score_request(treatment=True)
        expected = clone(model).fit(table, y, **params).predict(table)
        scores = cross_validate(model[-1], rows, y, cv=2, params=params)
        same = cross_validate(model[-1], rows, y, cv=2, params=params, scoring=qini)
        grid = {"estimator__hidden_size": [3, 4]}
        search = GridSearchCV(model, grid, cv=2, scoring=qini)
        search.fit(table, y, **params)
    assert np.isfinite(scores["test_score"]).all()
    assert_array_equal(scores["test_score"], same["test_score"])
    assert search.predict(table).shape == (len(table),)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    model.fit(table, y, estimator__treatment=treatment)
    assert_array_equal(model.predict(table), expected)


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_copies_predict_alike(kind, y):
    model = fit(kind, y, THREE, control="none")
    expected = model.predict(X)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_array_equal(again.predict(X), expected)
        assert_array_equal(again.treatments_, model.treatments_)
    fresh = clone(model).fit(X, y, treatment=THREE)
    assert_array_equal(fresh.predict(X), expected)


def test_effects_are_explained():
    table = make_table()
    model = make_history_pipeline(LSTMUpliftClassifier(**SMALL))
    model.fit(table, Y, estimator__treatment=TWO)
    for method in ("occlusion", "integrated_gradients"):
        found = event_attributions(model, table.iloc[:4], method=method)
        assert len(found)
    model.set_params(estimator__control="none")
    model.fit(table, Y, estimator__treatment=THREE)
    for target in (None, 1, "none"):
        with pytest.raises(ValueError, match=r"its treatment, \['call', 'mail'\]; got"):
            event_attributions(model, table.iloc[:4], target=target)
    _, found = event_attributions(
        model, table.iloc[:4], target="mail", return_outputs=True
    )
    assert set(found["target"]) == {"mail"}
    assert_allclose(found["output"], model.predict(table.iloc[:4])[:, 1], atol=1e-5)


# Weights, and further training --------------------------------------------------------


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_rows_of_weight_zero_have_no_effect(kind, y):
    kept = np.arange(N) % 5 > 0
    strange = np.where(kept, THREE, "unknown")
    exact = {"dropout": 0.0, "early_stopping": False, "control": "none"}
    weighted = fit(kind, y, strange, weight=kept * 1.0, **exact)
    expected = fit(kind, y[kept], THREE[kept], X=X[kept], **exact)
    assert_array_equal(weighted.treatments_, expected.treatments_)
    assert_allclose(weighted.predict(X), expected.predict(X), atol=1e-5)


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_training_continues(kind, y):
    model = fit(kind, y, warm_start=True, early_stopping=False)
    before = model.predict(X)
    model.fit(X, y, treatment=TWO)
    assert len(model.net_.history) == 4
    assert (model.predict(X) != before).any()
    with pytest.raises(ValueError, match="none of"):
        model.fit(X, y, treatment=np.zeros(N))
    with pytest.raises(ValueError, match="control"):
        model.set_params(control=1).fit(X, y, treatment=TWO)


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_labels_of_weight_zero_do_not_count(kind, y):
    kept = np.arange(N) % 5 > 0
    strange = np.where(kept, THREE, "unknown")
    model = kind(**SMALL, control="none", warm_start=True, early_stopping=False)
    for _ in range(2):
        model.fit(X, y, treatment=strange, sample_weight=kept * 1.0)
    assert len(model.net_.history) == 4
    with pytest.raises(ValueError, match="none of"):
        model.fit(X, y, treatment=THREE, sample_weight=(THREE != "mail") * 1.0)
    with pytest.raises(ValueError, match=r"all rows with the labels \['none'\]"):
        fit(kind, y, THREE, control="none", weight=(THREE != "none") * 1.0)


def test_labels_of_text_and_numbers():
    mixed = [["none", 1][code] for code in TWO]
    found = fit(treatment=mixed, control="none")
    assert found.treatments_.tolist() == ["none", 1]
    assert_array_equal(found.predict(X), fit().predict(X))


@pytest.mark.parametrize(("kind", "y"), BOTH)
def test_parts_of_the_rows(kind, y):
    model = kind(**SMALL, control="none")
    arms = ["none", "mail", "call"]
    half = N // 2
    known = {}
    if kind is LSTMUpliftClassifier:  # one of its classes comes later
        known = {"classes": ["yes", "no"]}
        y = np.where(y & (np.arange(N) >= half), "yes", "no")
    one_arm = np.repeat("mail", half)
    model.partial_fit(X[:half], y[:half], treatment=one_arm, treatments=arms, **known)
    model.partial_fit(X[half:], y[half:], treatment=THREE[half:])
    assert_array_equal(model.treatments_, ["none", "call", "mail"])
    assert model.predict(X).shape == (N, 2)
    if kind is LSTMUpliftClassifier:
        assert_array_equal(model.classes_, ["no", "yes"])
        without = kind(**SMALL).partial_fit(X, y, treatment=TWO)
        assert_array_equal(without.classes_, ["no", "yes"])
    with pytest.raises(ValueError, match="fax"):
        model.partial_fit(X[:1], y[:1], treatment=["fax"])
    with pytest.raises(ValueError, match="partial_fit needs treatment="):
        model.partial_fit(X, y)


def test_pretrained_networks():
    table = make_table()
    events = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(table)
    model = make_history_pipeline(LSTMUpliftClassifier(**SMALL, pretrained=events))
    model.fit(table, Y, estimator__treatment=TWO)
    assert model.predict(table).shape == (N,)


# Validation ---------------------------------------------------------------------------


def test_validation_customers_have_all_treatments():
    """Two of 60 customers have a rare treatment: one is set aside, and one not."""
    frame = make_frame(60, n_cutoffs=1)
    treatment = np.array(["none", "mail"])[np.arange(len(frame)) % 2].astype(object)
    treatment[[3, 40]] = "call"
    y = np.arange(len(frame)) // 2 % 2
    for seed in range(5):
        model = LSTMUpliftClassifier(**{**SMALL, "random_state": seed}, control="none")
        for target in targets_of_both_sides(model, frame, y, treatment):
            assert_array_equal(np.unique(target[:, 1]), [0, 1, 2])


def targets_of_both_sides(model, frame, y, treatment):
    """Return the targets of the training and of the validation rows."""
    seen = []

    class Sides(Callback):
        def __deepcopy__(self, memo):
            return self

        def on_train_begin(self, net, X=None, y=None, **kwargs):
            seen.extend(one.target for one in X)

    model.set_params(callbacks=[Sides()], early_stopping=True)
    model.fit(frame, y, treatment=treatment)
    return seen


def rows_at_several_cutoffs():
    """Rows of 60 customers at five cutoffs, whose events are at whole days."""
    days = np.random.default_rng(0).integers(0, 100, (60, 8))
    log = log_of(days.ravel(), np.repeat(np.arange(60), 8))
    raw = log.snapshots([20, 30, 40, 50, 60], min_events=0)
    return HistoryEncoder().fit_transform(raw)[["history"]], raw["cutoff"].to_numpy()


def test_validation_forward_in_time():
    rows, cutoff = rows_at_several_cutoffs()
    y, treatment = np.arange(len(rows)) % 2, np.arange(len(rows)) // 2 % 2
    model = fit(X=rows, y=y, treatment=treatment, horizon=10, n_networks=2)
    assert model.validation_["by"] == "forward"
    assert len(model.nets_) == 2
    weight = (np.arange(len(rows)) % 9 > 0) * 1.0
    some = fit(X=rows, y=y, treatment=treatment, weight=weight, horizon=10)
    counts = [some.validation_[f"n_{part}"] for part in ("train", "valid", "dropped")]
    assert some.validation_["by"] == "forward"
    assert sum(counts) == weight.sum()

    # Before the last cutoffs, or at them, all rows have one treatment.
    for arms, which in (
        (np.where(cutoff < 60, 0, treatment), "rows whose label was known at 60"),
        (np.where(cutoff < 60, treatment, 0), "validation rows from 60"),
    ):
        case = {"X": rows, "y": y, "treatment": arms, "horizon": 10}
        reason = f"{which}, the first of the latest cutoffs, lack the treatments"
        model = fit(**case)
        assert model.validation_["by"] == "customers"
        assert reason in model.validation_["reason"]
        with pytest.raises(ValueError, match=reason):
            fit(**case, validation="forward")


# Errors -------------------------------------------------------------------------------


def missing(value):
    labels = TWO.astype(object)
    labels[3] = value
    return labels


@pytest.mark.parametrize(
    ("treatment", "params", "error", "message"),
    [
        (None, {}, ValueError, "LSTMUpliftClassifier.fit needs treatment=.*step"),
        (missing(None), {}, ValueError, f"missing in 1 of {N} rows"),
        (missing(np.nan), {}, ValueError, f"missing in 1 of {N} rows"),
        (missing("mail"), {}, ValueError, "control"),
        (TWO[:-1], {}, ValueError, f"one label for each of the {N} rows"),
        ("mail", {}, ValueError, "one label for each"),
        (np.zeros((N, 2)), {}, ValueError, "one label for each"),
        (TWO + 1, {}, ValueError, "control must name"),
        (THREE, {}, ValueError, "control.*'none'"),
        (THREE, {"control": "nothing"}, ValueError, "control='nothing' is none of"),
        (THREE, {"control": ["none"]}, ValueError, "is none of the labels of"),
        (THREE, {"control": pd.NA}, ValueError, "is none of the labels of"),
        (np.zeros(N), {}, ValueError, "two labels or more"),
        (np.ones(N), {}, ValueError, "two labels or more"),
    ],
)
def test_wrong_treatments(treatment, params, error, message):
    with pytest.raises(error, match=message):
        fit(treatment=treatment, **params)


def test_wrong_outcomes():
    with pytest.raises(ValueError, match="two classes"):
        fit(y=np.arange(N) % 3)
    with pytest.raises(ValueError, match="1 class"):
        fit(y=np.zeros(N))
    with pytest.raises(ValueError, match="on one outcome"):
        fit(LSTMUpliftRegressor, np.zeros((N, 2)))
    with pytest.raises(ValueError, match="requires y"):
        fit(y=None)
    with pytest.raises(ValueError, match="'loss' parameter"):
        fit(LSTMUpliftRegressor, COUNTS, loss="quantile")
    with pytest.raises(ValueError, match="'loss' parameter"):
        LSTMUpliftRegressor(loss="quantile").partial_fit(X, COUNTS, treatment=TWO)
    with pytest.raises(ValueError, match="negative"):
        fit(LSTMUpliftRegressor, -COUNTS, loss="poisson")


@pytest.mark.parametrize("loss", ["poisson", "gamma", "zero_inflated_lognormal"])
def test_losses_of_means(loss):
    y = COUNTS + 1
    model = fit(LSTMUpliftRegressor, y, loss=loss)
    if loss == "poisson":  # calibrated in each treatment
        outcomes = model.predict_outcomes(X)
        for arm in (0, 1):
            rows = arm == TWO
            assert_allclose(outcomes[rows, arm].sum(), y[rows].sum(), rtol=1e-5)
    assert np.isfinite(model.predict(X)).all()


def test_score():
    model = fit(LSTMUpliftRegressor, COUNTS)
    weight = np.arange(len(X)) % 3
    copies = np.repeat(np.arange(len(X)), weight)
    found = model.score(X, COUNTS, treatment=TWO, sample_weight=weight)
    # Predictions of copies may differ in the last digit, which would break ties.
    effects = model.predict(X)[copies]
    assert_allclose(found, qini_auc_score(COUNTS[copies], effects, TWO[copies]))
    assert abs(found - model.score(X, COUNTS, treatment=TWO)) > 1e-3
    with pytest.raises(ValueError, match="missing"):
        model.score(X, COUNTS, treatment=missing(None))
    with pytest.raises(ValueError, match="are not among the known ones"):
        model.score(X, COUNTS, treatment=TWO * 2)
    text = fit(y=np.where(Y, "yes", "no"))
    expected = fit().score(X, Y, treatment=TWO)
    assert_allclose(text.score(X, np.where(Y, "yes", "no"), treatment=TWO), expected)
