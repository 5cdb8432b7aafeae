"""Curves of effects, with figures of scikit-uplift 0.5.1 and causalml 0.18.0."""

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.exceptions import UndefinedMetricWarning

from sklearn_seqcrm.metrics import (
    bootstrap_interval,
    policy_value,
    qini_auc_score,
    qini_curve,
    uplift_at_k,
    uplift_auc_score,
    uplift_curve,
)
from sklearn_seqcrm.metrics._uplift_curves import reference_uplift_order

Y = np.array([1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0])
T = np.array([1, 0, 1, 1, 0, 0, 1, 0, 0, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0])
TIED = np.array(
    [18, 16, 15, 14, 14, 12, 11, 10, 9, 8, 8, 8, 6, 5, 4, 2, 1, -2, -4, -6],
    dtype=float,
)
DISTINCT = TIED + 1e-4 * np.arange(20)[::-1]
SCORES = [qini_auc_score, uplift_auc_score, uplift_at_k]
CURVES = [qini_curve, uplift_curve]


def test_tied_curves_are_those_of_scikit_uplift():
    fraction, gain, thresholds = qini_curve(Y, TIED, T)
    ends = [0, 1, 2, 3, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20]
    assert_allclose(fraction * 20, ends)
    expected = [0, 1, 1, 2, 3, 2, 5 / 3, 2, 1.4, 2, 5 / 3, 1, 4 / 7, 1, 1.625, 2]
    assert_allclose(gain, [*expected, 5 / 3, 2])
    assert thresholds[0] == np.inf
    assert_allclose(thresholds[1:], np.unique(TIED)[::-1])
    fraction, gain, _ = uplift_curve(Y, TIED, T)
    assert_allclose(fraction * 20, ends)
    expected = [0, 1, 2, 3, 5, 4, 2.916667, 4, 3.15, 4, 3.095238, 2, 1.071429, 2]
    assert_allclose(gain, [*expected, 3.069444, 4, 3.166667, 4], rtol=1e-6)


def test_curves_of_amounts_are_those_of_causalml():
    amount = Y * np.arange(1, 21) * 1.5
    # While an arm has no rows, causalml interpolates from 0: the first point is left.
    gain = qini_curve(amount, DISTINCT, T)[1][2:]
    expected = [1.5, 6, 12, 12, 3, 0, 3, -6, -10.5, 1.5, 6, 2.25, -15, -21.2142857, -15]
    assert_allclose(gain, [*expected, 5.0625, 10.5, 5.6666667, 10.5], atol=1e-6)
    gain = uplift_curve(amount, DISTINCT, T)[1][2:]
    expected = [
        3,
        9,
        16,
        20,
        6,
        0,
        6,
        -13.5,
        -21,
        2.75,
        12,
        4.1785714,
        -30,
        -39.7767857,
    ]
    assert_allclose(gain, [*expected, -30, 9.5625, 21, 10.7666667, 21], atol=1e-6)


SECOND = {
    "y": [0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 0, 1, 1, 1, 1],
    "treatment": [0, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1],
    "effect": [12, 18, 11, 0, 19, 14, 3, 16, 13, 10, 8, 15, 2, 7, 4, 17, 9, 5, 1, 6],
}


def test_scores_are_those_of_scikit_uplift():
    assert qini_auc_score(Y, TIED, T) == pytest.approx(0.19835600907029483)
    assert uplift_auc_score(Y, TIED, T) == pytest.approx(0.20215141612200438)
    assert qini_auc_score(Y, DISTINCT, T) == pytest.approx(0.19359410430839)
    assert uplift_auc_score(Y, DISTINCT, T) == pytest.approx(0.18041938997821358)
    # More responders in control than customers of the treatment without response.
    given = SECOND["y"], SECOND["effect"], SECOND["treatment"]
    assert qini_auc_score(*given) == pytest.approx(-0.07490096440182495)
    assert uplift_auc_score(*given) == pytest.approx(-0.17733632988078948)
    assert uplift_at_k(Y, DISTINCT, T) == pytest.approx(2 / 3)
    assert uplift_at_k(Y, DISTINCT, T, k=0.5) == pytest.approx(0.2)
    by_group = uplift_at_k(Y, DISTINCT, T, k=0.5, strategy="by_group")
    assert by_group == pytest.approx(0.2)


def loop_gains(y, score, treated, weight):
    """Compute both gains at each distinct score, by loops over rows."""
    qini, uplift = [0.0], [0.0]
    for threshold in sorted(set(score), reverse=True):
        n, total = [0.0, 0.0], [0.0, 0.0]
        for row in range(len(y)):
            if score[row] >= threshold:
                n[treated[row]] += weight[row]
                total[treated[row]] += weight[row] * y[row]
        mean = [total[arm] / n[arm] if n[arm] else 0 for arm in (0, 1)]
        qini.append(total[1] - mean[0] * n[1])
        uplift.append((mean[1] - mean[0]) * sum(n))
    return qini, uplift


def test_weighted_curves_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    y, score = rng.normal(size=60), rng.integers(0, 12, 60) / 10
    treated, weight = rng.integers(0, 2, 60), rng.integers(0, 4, 60) * 0.7
    qini, uplift = loop_gains(y, score, treated, weight)
    kept = {"sample_weight": weight}
    assert_allclose(qini_curve(y, score, treated, **kept)[1], qini, atol=1e-12)
    assert_allclose(uplift_curve(y, score, treated, **kept)[1], uplift, atol=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_weights_are_repetitions_and_row_order_does_not_matter(score):
    weight = np.arange(20) % 3
    repeated = [np.repeat(one, weight) for one in (Y, TIED, T)]
    expected = score(Y, TIED, T, sample_weight=weight)
    assert score(*repeated) == pytest.approx(expected)
    shuffled = np.random.default_rng(0).permutation(20)
    again = score(Y[shuffled], TIED[shuffled], T[shuffled])
    assert again == pytest.approx(score(Y, TIED, T), abs=1e-12)
    # A row without weight has no influence, even where its arm is unknown to others.
    more = np.append(weight, 0)
    assert score(
        np.append(Y, 1), np.append(TIED, 9), np.append(T, 0), sample_weight=more
    ) == pytest.approx(expected)


def test_ties_are_the_mean_over_orders_where_arms_are_balanced():
    # Whatever the order within a tie, the gain at its end is the same.
    assert qini_auc_score(Y, np.zeros(20), T) == pytest.approx(0, abs=1e-12)
    assert uplift_auc_score(Y, np.zeros(20), T) == pytest.approx(0, abs=1e-12)
    difference = Y[T == 1].mean() - Y[T == 0].mean()
    for k in (0.1, 0.5, 1):
        assert uplift_at_k(Y, np.zeros(20), T, k=k) == pytest.approx(difference)
    # Half of the second tie, of 2 rows, counts.
    tied = uplift_at_k([1, 0, 1, 0], [2, 2, 1, 1], [1, 0, 1, 0], k=0.75)
    assert tied == pytest.approx(1.0)


def test_not_normalized_is_in_outcomes_per_customer():
    cases = [
        (qini_curve, qini_auc_score, T.sum()),
        (uplift_curve, uplift_auc_score, 20),
    ]
    for curve, score, customers in cases:
        fraction, gain, _ = curve(Y * 10.0, TIED, T)
        above = gain - fraction * gain[-1]
        area = np.diff(fraction) @ (above[1:] + above[:-1]) / 2
        found = score(Y * 10.0, TIED, T, normalize=False)
        assert found == pytest.approx(area / customers)
        twice = [np.tile(one, 2) for one in (Y * 10.0, TIED, T)]
        assert score(*twice, normalize=False) == pytest.approx(found)


def test_the_reference_order_scores_1_and_others_can_exceed_it():
    rng = np.random.default_rng(0)
    y, treated = rng.normal(size=200), rng.integers(0, 2, 200)
    best = np.where(treated == 1, y, -y)
    assert qini_auc_score(y, best, treated) == pytest.approx(1)
    assert uplift_auc_score(y, best, treated) == pytest.approx(1)
    for _ in range(20):
        assert qini_auc_score(y, rng.normal(size=200), treated) < 1
    treated = np.repeat([1, 0], [100, 900])
    y = np.concatenate([np.arange(100) < 5, np.arange(900) < 810]).astype(float)
    responders_in_treatment_then_control = np.where(treated, 3 * y, 2 - y)
    assert qini_auc_score(
        y, responders_in_treatment_then_control, treated
    ) == pytest.approx(3.73, abs=0.01)


def test_true_effects_beat_response_and_random_order():
    rng = np.random.default_rng(0)
    base, effect = rng.uniform(0.2, 0.5, 20_000), rng.uniform(-0.2, 0.3, 20_000)
    treated = rng.integers(0, 2, 20_000)
    y = rng.random(20_000) < base + effect * treated
    for score in SCORES:
        assert score(y, effect, treated) > score(y, base, treated) + 0.05
    assert uplift_at_k(y, effect, treated, k=0.2) == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize(
    ("labels", "control"),
    [((0, 1), None), ((False, True), None), (("none", "mail"), "none"), ((1, 2), 1)],
)
@pytest.mark.parametrize("container", [np.asarray, list, pd.Series, pd.Categorical])
def test_labels_of_any_type(labels, control, container):
    treatment = container([labels[i] for i in T])
    y = pd.Series(np.where(Y, "yes", "no"), index=range(5, 25))
    found = qini_auc_score(y, TIED, treatment, control=control, pos_label="yes")
    assert found == qini_auc_score(Y, TIED, T)


def several():
    rng = np.random.default_rng(0)
    arms = np.array(["call", "mail", "none"])[rng.integers(0, 3, 300)]
    return rng.random(300) < 0.4, rng.normal(size=(300, 2)), arms


@pytest.mark.parametrize("container", [list, pd.Series, lambda x: np.array(x, object)])
def test_labels_of_two_types_stay_what_they_are(container):
    treatment = container([[0, "mail"][i] for i in T])
    found = qini_auc_score(Y, TIED, treatment, treatments=[0, "mail"])
    assert found == qini_auc_score(Y, TIED, T)
    assert found == qini_auc_score(Y, TIED, treatment, control=0)


def test_columns_of_effects_are_found_by_the_labels():
    rng = np.random.default_rng(0)
    arm = np.tile([2, 0, 1], 50)
    y, effect = rng.random(150), rng.normal(size=(150, 2))
    expected = [uplift_at_k(y, effect, arm, control=0, arm=one) for one in (1, 2)]
    for table in (pd.DataFrame(effect), pd.DataFrame(effect, columns=[1, 2])[[2, 1]]):
        found = [uplift_at_k(y, table, arm, control=0, arm=one) for one in (1, 2)]
        assert found == expected
    with pytest.raises(ValueError, match=r"effect has the names \['a', 'b'\]"):
        uplift_at_k(y, pd.DataFrame(effect, columns=["a", "b"]), arm, control=0)


def test_several_treatments():
    y, effect, arms = several()
    for score in SCORES:
        expected = []
        for column, name in enumerate(["call", "mail"]):
            rows = np.isin(arms, [name, "none"])
            one = score(y[rows], effect[rows, column], arms[rows] == name)
            assert score(y, effect, arms, control="none", arm=name) == one
            expected.append(one)
        assert score(y, effect, arms, control="none") == np.mean(expected)
        # In the order of treatments, also as a DataFrame.
        frame = pd.DataFrame(effect[:, ::-1])
        again = score(y, frame, arms, treatments=["none", "mail", "call"])
        assert again == pytest.approx(np.mean(expected))
    for curve in CURVES:
        with pytest.raises(
            ValueError, match=r"2 treatments beside control; choose one"
        ):
            curve(y, effect, arms, control="none")
        rows = np.isin(arms, ["mail", "none"])
        one = curve(y[rows], effect[rows, 1], arms[rows] == "mail")
        for a, b in zip(
            curve(y, effect, arms, control="none", arm="mail"), one, strict=1
        ):
            assert_allclose(a, b)


def missing(values, position, value=None):
    changed = pd.Series(values, dtype=object)
    changed[position] = value
    return changed


@pytest.mark.parametrize("metric", [*SCORES, *CURVES])
def test_bad_input(metric):
    cases = [
        ({"treatment": missing(T, [2, 3])}, "treatment is missing in 2 of 20 rows"),
        ({"treatment": T[1:]}, "treatment has 19 rows, but y_true has 20"),
        (
            {"treatment": T + 1},
            r"control must name .* pass control=..., one of \[2, 1\]",
        ),
        (
            {"treatment": np.arange(20) / 20},
            r"one of 20 such as \[0.0, 0.05, 0.1\] \(are treatment and effect swapped",
        ),
        ({"treatment": np.zeros(20)}, r"treated and of untreated rows; all 20"),
        ({"treatment": np.ones(20)}, r"treated and of untreated rows; all 20"),
        ({"control": "none"}, r"control='none' is none of the labels of treatment"),
        ({"arm": 2}, r"arm=2 is none of the treatments, \[1\]"),
        ({"effect": missing(TIED, 0, np.nan)}, "effect has 1 missing or infinite"),
        ({"effect": TIED[1:]}, "effect has 19 rows, but y_true has 20"),
        ({"effect": np.ones((20, 2))}, "effect has 2 columns, but there are 1 treat"),
        ({"y_true": missing(Y, 0, np.nan)}, "y_true has 1 missing or infinite"),
        ({"sample_weight": -np.ones(20)}, "sample_weight has 20 negative values"),
        ({"sample_weight": T}, r"No row with weight has the treatment \[0\]"),
    ]
    for changed, message in cases:
        with pytest.raises(ValueError, match=message):
            metric(**{"y_true": Y, "effect": TIED, "treatment": T, **changed})
    with pytest.raises(ValueError, match="treatment has no labels"):
        metric([], [], [])
    with pytest.raises(TypeError, match="label for each row; got"):
        metric(Y, TIED, "mail")
    with pytest.raises(TypeError, match="labels of several types"):
        metric(
            Y,
            np.ones((20, 3)),
            missing(["a"] * 9 + [1] * 10 + ["b"], 0, "c"),
            control="c",
        )


@pytest.mark.parametrize("score", SCORES)
def test_bad_treatments(score):
    given = Y, TIED, T
    with pytest.raises(TypeError, match="treatments must be a list"):
        score(*given, treatments="none")
    with pytest.raises(ValueError, match=r"rows with the labels \[1\], which are not"):
        score(*given, treatments=[0, 2])
    with pytest.raises(ValueError, match="labels more than once"):
        score(*given, treatments=[0, 1, 1])
    with pytest.raises(ValueError, match="first of treatments must be control=1"):
        score(*given, treatments=[0, 1], control=1)
    with pytest.raises(ValueError, match=r"No row with weight has the treatment \[2\]"):
        score(Y, np.ones((20, 2)), T, treatments=[0, 1, 2])
    with pytest.raises(ValueError, match="effect has no column; there must be one for"):
        score(Y, np.ones((20, 0)), np.zeros(20), treatments=[0])


def test_undefined_scores():
    with pytest.warns(UndefinedMetricWarning, match="The reference order has no area"):
        assert np.isnan(qini_auc_score(np.zeros(20), TIED, T))
    with pytest.warns(UndefinedMetricWarning, match="no row among the top 5%"):
        assert np.isnan(uplift_at_k(Y, TIED, T, k=0.05))
    with pytest.warns(UndefinedMetricWarning, match=r"no row among the top 0\.1% of"):
        assert np.isnan(uplift_at_k(Y, TIED, T, k=0.001))
    with pytest.raises(ValueError, match=r"'k' .* float in the range"):
        uplift_at_k(Y, TIED, T, k=0)
    with pytest.raises(ValueError, match="'strategy'"):
        uplift_at_k(Y, TIED, T, strategy="all")


def test_the_top_rows_of_each_arm():
    """All rows of the upper half are treated."""
    y, treated = [1, 1, 0, 0, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0, 0, 0]
    effect = np.arange(8.0)[::-1]
    assert uplift_at_k(y, effect, treated, k=0.5, strategy="by_group") == 1 - 1 / 2
    assert uplift_at_k(y, effect, treated, k=0.75) == 2 / 4 - 1 / 2


class Rows(NamedTuple):
    y: np.ndarray
    treated: np.ndarray
    weight: np.ndarray


@pytest.mark.parametrize(
    ("n_control_bought", "n_treated_not", "last"),
    [(2, 1, [1, 0]), (1, 2, [0, 1]), (1, 1, [0, 1])],
)
def test_the_reference_of_uplift_is_that_of_scikit_uplift(
    n_control_bought, n_treated_not, last
):
    """Of those whose outcome does not agree, the larger group comes first."""
    numbers = [1, 1, n_control_bought, n_treated_not]
    treated = np.repeat([True, False, False, True], numbers)
    y = np.repeat([1.0, 0, 1, 0], numbers)
    found = reference_uplift_order(Rows(y, treated, np.ones(len(y))))
    assert_allclose(found, np.repeat([3, 2, *last], numbers))


def test_bootstrap_intervals_are_over_customers():
    rng = np.random.default_rng(0)
    effect, treated = rng.normal(size=400), rng.integers(0, 2, 400)
    y = rng.random(400) < 0.5
    rows = bootstrap_interval(qini_auc_score, y, effect, treated, random_state=0)
    assert rows.lower < rows.score < rows.upper
    assert rows.score == qini_auc_score(y, effect, treated)
    assert rows.samples.shape == (500,)
    again = bootstrap_interval(qini_auc_score, y, effect, treated, random_state=0)
    assert_allclose(again.samples, rows.samples)
    # Four identical rows of each customer carry no more information than one.
    copies = [np.repeat(one, 4) for one in (y, effect, treated)]
    names = np.repeat([f"c{i}" for i in range(400)], 4)
    clustered = bootstrap_interval(
        qini_auc_score, *copies, customers=names, random_state=0
    )
    assert_allclose([clustered.lower, clustered.upper], [rows.lower, rows.upper])
    naive = bootstrap_interval(qini_auc_score, *copies, random_state=0)
    assert naive.standard_error < 0.6 * clustered.standard_error


def test_bootstrap_of_a_mean_has_its_standard_error():
    values = np.random.default_rng(0).normal(size=200)

    def mean(values, sample_weight):
        return np.average(values, weights=sample_weight)

    found = bootstrap_interval(mean, values, n_resamples=2000, random_state=0)
    error = values.std() / np.sqrt(200)
    assert found.standard_error == pytest.approx(error, rel=0.06)
    assert found.upper - found.score == pytest.approx(1.97 * error, rel=0.1)


def test_bootstrap_weights_are_repetitions():
    def mean(values, sample_weight):
        return np.average(values, weights=sample_weight)

    found = bootstrap_interval(
        mean, [1.0, 2, 9], sample_weight=[3, 1, 1], random_state=0
    )
    copies = bootstrap_interval(
        mean, [1.0, 1, 1, 2, 9], customers=list("aaabc"), random_state=0
    )
    assert found.score == pytest.approx(2.8)
    assert_allclose(found.samples, copies.samples)
    assert found.standard_error == pytest.approx(np.std(found.samples, ddof=1))
    one = bootstrap_interval(mean, [1.0, 2, 9], n_resamples=1, random_state=0)
    assert np.isnan(one.standard_error)


def test_bootstrap_samples_do_not_repeat_warnings():
    """A warning of few buyers has another number in each sample."""
    y, treated = (np.arange(400) % 80 == 1).astype(float), np.arange(400) % 2

    def value(y, treated, sample_weight):
        return policy_value(y, 1, treated, sample_weight=sample_weight).value

    with pytest.warns(UserWarning, match="200 rows .* only 5 have") as found:
        bootstrap_interval(value, y, treated, n_resamples=20, random_state=0)
    assert len(found) == 1


def test_bootstrap_intervals_have_students_quantiles():
    """With eight customers, the normal quantile is 17% smaller."""
    values = np.random.default_rng(0).normal(size=8)
    found = bootstrap_interval(
        lambda values, sample_weight: np.average(values, weights=sample_weight),
        values,
        n_resamples=400,
        random_state=0,
    )
    tail = stats.norm.cdf(stats.t.ppf(0.025, 7) * np.sqrt(8 / 7))
    expected = np.quantile(found.samples, [tail, 1 - tail])
    assert_allclose([found.lower, found.upper], expected, rtol=1e-9)


def test_bootstrap_of_a_metric_that_returns_no_number():
    for metric in (policy_value, partial(policy_value, method="ipw")):
        with pytest.raises(TypeError, match="returned a Bunch; policy_value computes"):
            bootstrap_interval(metric, Y, T, T)


def test_bootstrap_samples_without_an_arm_are_left_out():
    found = bootstrap_interval(
        qini_auc_score, [1, 0, 1], [0.3, 0.2, 0.1], [1, 0, 1], random_state=0
    )
    assert np.isnan(found.samples).any()
    assert np.isfinite([found.lower, found.upper]).all()
    one = bootstrap_interval(
        qini_auc_score, Y, TIED, T, customers=["a"] * 20, n_resamples=5
    )
    assert np.isnan([one.lower, one.upper]).all()
    with pytest.raises(ValueError, match="There is no array"):
        bootstrap_interval(qini_auc_score)
    with pytest.raises(ValueError, match="customers has 2 missing values among 20"):
        bootstrap_interval(
            qini_auc_score, Y, TIED, T, customers=missing(range(20), [0, 1])
        )


def test_the_samples_of_an_interval_are_not_printed():
    result = bootstrap_interval(
        lambda y, sample_weight: float(np.average(y, weights=sample_weight)),
        np.arange(10.0),
        n_resamples=200,
        random_state=0,
    )
    assert repr(result).startswith("Bunch(score=4.5, standard_error=")
    assert repr(result).endswith(", samples=<200 values>)")
    assert len(result.samples) == 200


@pytest.mark.parametrize(
    "id_of",
    [
        lambda i: i // 2 if i % 2 else str(i // 2),
        lambda i: 2**63 + i if i else 0,  # in an array of NumPy, all would be floats
        lambda i: (i // 2, i % 2),
    ],
    ids=["numbers and text", "beyond int64", "tuples"],
)
def test_customers_in_a_list_keep_their_ids(id_of):
    customers = np.arange(20) // 2
    listed = [id_of(i) for i in customers.tolist()]
    options = {"n_resamples": 5, "random_state": 0}
    found, expected = (
        bootstrap_interval(qini_auc_score, Y, TIED, T, customers=one, **options)
        for one in (listed, customers)
    )
    assert_allclose(found.samples, expected.samples)
