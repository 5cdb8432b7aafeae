import numpy as np
import pandas as pd
import pytest

from sklearn_seqcrm.datasets import make_campaigns
from sklearn_seqcrm.metrics import get_scorer, policy_value

# Six rows, two arms.
Y = np.array([1.0, 0, 4, 2, 0, 3])
T = np.array([1, 1, 1, 0, 0, 0])
POLICY = np.array([1, 0, 1, 0, 0, 1])
E = np.array([0.5, 0.2, 0.8, 0.5, 0.25, 0.6])
M = np.column_stack([[1.0, 0, 2, 2, 1, 2], [2.0, 1, 3, 2, 1, 4]])


def by_hand(method, policy=POLICY):
    """Estimate the value by a loop over rows."""
    total, ratios = 0.0, 0.0
    for y, t, chosen, e, m in zip(Y, T, policy, E, M, strict=True):
        own = e if t else 1 - e
        ratio = (t == chosen) / own
        ratios += ratio
        if method == "dr":
            total += m[chosen] + ratio * (y - m[t])
        else:
            total += ratio * y
    return total / (ratios if method == "snipw" else len(Y))


@pytest.mark.parametrize("method", ["ipw", "snipw", "dr"])
def test_values_are_those_of_a_loop(method):
    options = {"propensity": E, "method": method}
    if method == "dr":
        options["outcomes"] = M
    found = policy_value(Y, POLICY, T, **options)
    assert found.value == pytest.approx(by_hand(method))
    wide = {**options, "propensity": np.column_stack([1 - E, E])}
    column = {**options, "propensity": E[:, None]}
    for same in (wide, column):
        assert policy_value(Y, POLICY, T, **same).value == pytest.approx(found.value)
    # The same policy as probabilities, and against itself.
    chances = np.eye(2)[POLICY]
    same = policy_value(Y, chances, T, baseline=POLICY, **options)
    assert (same.value, same.standard_error) == (0, 0)
    everybody = policy_value(Y, POLICY, T, baseline=1, **options)
    difference = by_hand(method) - by_hand(method, np.ones(6, int))
    assert everybody.value == pytest.approx(difference)
    assert everybody.lower < everybody.value < everybody.upper


@pytest.mark.parametrize("method", ["ipw", "snipw", "dr"])
def test_standard_errors_are_those_of_the_terms_of_a_loop(method):
    """The value is a mean of terms, or a ratio of means by "snipw"."""
    value, terms, ratios = by_hand(method), [], []
    for y, t, chosen, e, m in zip(Y, T, POLICY, E, M, strict=True):
        ratio = (t == chosen) / (e if t else 1 - e)
        ratios.append(ratio)
        if method == "dr":
            terms.append(m[chosen] + ratio * (y - m[t]))
        else:
            terms.append(ratio * (y - value if method == "snipw" else y))
    scale = np.mean(ratios) if method == "snipw" else 1
    options = {"outcomes": M} if method == "dr" else {}
    found = policy_value(Y, POLICY, T, propensity=E, method=method, **options)
    error = np.std(terms, ddof=1) / np.sqrt(6) / scale
    assert found.standard_error == pytest.approx(error)


def test_randomised_values_are_means_of_arms():
    found = policy_value(Y, 1, T)
    assert found.value == pytest.approx(Y[T == 1].mean())
    error = Y[T == 1].std() / np.sqrt(3) * np.sqrt(6 / 5)
    assert found.standard_error == pytest.approx(error)
    assert found.upper - found.value == pytest.approx(1.959964 * error)
    assert found.n_effective == pytest.approx(3)
    # A constant policy has the standard error of a mean, also by "ipw" and "dr".
    ipw = policy_value(Y, 1, T, method="ipw")
    constant = policy_value(Y, 1, T, outcomes=np.full((6, 2), 7.0))
    for one in (ipw, constant):
        assert one.value == pytest.approx(found.value)
        assert one.standard_error == pytest.approx(error)


def test_weights_are_repetitions_and_customers_are_clusters():
    weight = np.array([2, 1, 0, 1, 3, 1])
    kept = np.repeat(np.arange(6), weight)
    for method in ("ipw", "snipw", "dr"):
        given = {"outcomes": M, "propensity": E, "method": method}
        found = policy_value(Y, POLICY, T, sample_weight=weight, **given)
        copies = policy_value(
            Y[kept],
            POLICY[kept],
            T[kept],
            customers=kept,
            outcomes=M[kept],
            propensity=E[kept],
            method=method,
        )
        assert copies.value == pytest.approx(found.value)
        assert copies.standard_error == pytest.approx(found.standard_error)
    alone = policy_value(Y, POLICY, T, customers=["a"] * 6)
    assert np.isnan(alone.standard_error)
    # A single customer of the policy's arm has no variance either.
    one = policy_value(Y, 1, T, sample_weight=[1, 0, 0, 1, 1, 1])
    assert one.value == 1
    assert np.isnan([one.standard_error, one.lower, one.upper]).all()


def test_intervals_of_few_buyers_have_a_warning():
    """Without a buyer, an arm seems to have no variance."""
    mailed = np.repeat([1, 0], [960, 40])
    y = np.zeros(1000)
    y[:30] = 1
    found = r"40 rows with the treatment 0 that baseline chooses .* only 0 have another"
    with pytest.warns(UserWarning, match=found):
        gain = policy_value(y, 1, mailed, baseline=0)
    assert gain.lower > 0
    scorer = get_scorer("policy_value")  # has no interval
    assert scorer._score_func(y, np.ones(1000), mailed) == gain.value
    policy_value(y, 1, mailed)  # the arm does not count
    y[-40:-30] = 1
    policy_value(y, 1, mailed, baseline=0)
    # Nearly half of an arm are not few.
    policy_value(np.arange(42) % 20 < 9, 1, np.arange(42) < 20, baseline=0)


def test_labels_of_several_treatments():
    rng = np.random.default_rng(0)
    names = np.array(["call", "mail", "none"])
    arms = names[rng.integers(0, 3, 3000)]
    y = rng.normal(np.where(arms == "mail", 2.0, 1.0))
    frame = pd.Series(arms, index=rng.permutation(3000)).astype("category")
    for name, mean in [("call", 1), ("mail", 2), ("none", 1)]:
        found = policy_value(y, name, frame, control="none")
        assert found.value == pytest.approx(mean, abs=0.15)
    half = np.tile([0.5, 0, 0.5], (3000, 1))  # control first, then sorted
    found = policy_value(y, half, arms, control="none", baseline="none")
    assert found.value == pytest.approx(0.5, abs=0.15)
    other = np.tile([0.5, 0.5, 0], (3000, 1))
    labels = ["none", "mail", "call"]
    again = policy_value(y, other, arms, treatments=labels, baseline="none")
    assert again.value == pytest.approx(found.value)


def simulated(seed, n_customers=1500):
    """Return a confounded campaign and a policy: contact where the effect is high."""
    data = make_campaigns(n_customers, confounded=True, random_state=seed)
    policy = (data.effect > 0.04).astype(int)
    return data, policy, data.probability[np.arange(n_customers), policy].mean()


@pytest.fixture(scope="module")
def population_value():
    return simulated(1000, 100_000)[2]


@pytest.fixture(scope="module")
def campaigns():
    return [simulated(seed, 400) for seed in range(100)]


@pytest.mark.parametrize("method", ["ipw", "snipw", "dr"])
def test_intervals_hold_the_true_value(method, campaigns, population_value):
    """Of 100 intervals about 95 do; 88 or fewer in less than one of 400 such tests."""
    covered, wide = 0, 0.0
    rng = np.random.default_rng(0)
    for data, policy, _ in campaigns:
        noisy = data.probability + rng.normal(scale=0.05, size=data.probability.shape)
        found = policy_value(
            data.target,
            policy,
            data.treatment,
            propensity=data.propensity,
            outcomes=noisy,
            method=method,
        )
        covered += found.lower < population_value < found.upper
        wide += found.upper - found.lower
    assert 89 <= covered <= 100
    assert wide / 100 < 0.3


def test_doubly_robust_estimates_need_one_of_both_to_be_right():
    data, policy, truth = simulated(0, 20_000)
    wrong = np.full((20_000, 2), 0.5)
    right = {"propensity": data.propensity, "outcomes": data.probability}
    for changed in ({"propensity": wrong}, {"outcomes": wrong}):
        given = {**right, **changed}
        found = policy_value(data.target, policy, data.treatment, **given)
        assert found.value == pytest.approx(truth, abs=4 * found.standard_error)
        assert found.standard_error < 0.0065
    # Without either, the customers who are contacted because they buy mislead.
    naive = policy_value(data.target, 1, data.treatment)
    assert naive.value > data.probability[:, 1].mean() + 4 * naive.standard_error


def test_propensities_in_a_column():
    column = policy_value(Y, POLICY, T, propensity=E[:, None])
    assert column.value == policy_value(Y, POLICY, T, propensity=E).value
    arm = [0, 1, 2, 0, 1, 2]
    with pytest.raises(ValueError, match=r"each of the arms .* got the shape \(6, 1\)"):
        policy_value(Y, 0, arm, control=0, propensity=E[:, None])


@pytest.mark.parametrize("name", ["policy", "baseline", "propensity", "outcomes"])
def test_columns_are_found_by_the_labels_of_the_arms(name):
    rng = np.random.default_rng(0)
    labels, n = ["none", "call", "mail"], 90
    arm = np.tile(labels, 30)
    y, table = rng.random(n), rng.uniform(0.1, 1, (n, 3))
    if name != "outcomes":
        table /= table.sum(axis=1, keepdims=True)
    options = {"y_true": y, "policy": "mail", "treatment": arm, "control": "none"}
    expected = policy_value(**{**options, name: table}).value
    counted = policy_value(**{**options, name: pd.DataFrame(table)}).value
    named = pd.DataFrame(table, columns=labels)[["mail", "none", "call"]]
    found = policy_value(**{**options, name: named}).value
    assert found == counted == expected
    with pytest.raises(
        ValueError, match=rf"{name} has the names \['mail', 'none', 'x'"
    ):
        policy_value(**{**options, name: named.set_axis(["mail", "none", "x"], axis=1)})


def test_an_arm_that_was_impossible_for_a_row():
    """Of three arms, without a certain one."""
    arms = np.array([0, 1, 0, 1, 2, 1])
    chances = np.repeat([[0.2, 0.4, 0.4], [0.5, 0.5, 0.0]], [4, 2], axis=0)
    with pytest.raises(ValueError, match="propensity is 0 or 1 in 2 of 6 rows"):
        policy_value(Y, 1, arms, control=0, propensity=chances)


def test_bad_input():
    holed = np.array([1, 0, 1, 0, 0, np.nan])
    cases = [
        ({"policy": POLICY + 1}, r"policy chooses \[2\] in 3 rows, which are none"),
        ({"policy": "mail"}, r"policy='mail' is none of the arms \[0, 1\]"),
        ({"policy": POLICY[1:]}, "policy has 5 rows, but treatment has 6"),
        (
            {"policy": np.eye(2)[POLICY] * 2},
            "policy must be probabilities .* in 6 of 6",
        ),
        ({"baseline": POLICY * 3}, r"baseline chooses \[3\] in 3 rows"),
        ({"treatment": holed}, "treatment is missing in 1 of 6 rows"),
        ({"treatment": [1] * 6}, r"No row with weight has the treatment \[0\]|all 6"),
        ({"y_true": holed}, "y_true has 1 missing or infinite"),
        ({"y_true": Y[1:]}, "treatment has 6 rows, but y_true has 5"),
        ({"propensity": T}, "propensity is 0 or 1 in 6 of 6 rows"),
        ({"propensity": holed}, "propensity has 1 missing or infinite"),
        ({"propensity": E[1:]}, "propensity has 5 rows, but treatment has 6"),
        ({"propensity": M}, "propensity must be probabilities of the arms"),
        ({"method": "dr"}, "needs outcomes"),
        ({"outcomes": M[:, :1]}, "outcomes has 1 columns; there must be one for each"),
        ({"outcomes": M[1:]}, "outcomes has 5 rows, but treatment has 6"),
        ({"customers": holed}, "customers has 1 missing values among 6"),
        ({"method": "best"}, "'method'"),
        ({"confidence_level": 1}, "'confidence_level'"),
        ({"policy": 1 - T}, "No row with weight had the treatment that the policy"),
    ]
    for changed, message in cases:
        with pytest.raises(ValueError, match=message):
            policy_value(**{"y_true": Y, "policy": POLICY, "treatment": T, **changed})


def test_one_propensity_or_outcome_for_all_rows_is_refused():
    with pytest.raises(TypeError, match=r"propensity .* got 0\.5.*np\.full\(6, p\)"):
        policy_value(Y, POLICY, T, propensity=0.5)
    with pytest.raises(TypeError, match=r"outcomes must be an array .* got 0\.5"):
        policy_value(Y, POLICY, T, outcomes=0.5)


def test_rows_of_weight_zero_have_any_propensity():
    weight = np.array([0, 1, 1, 1, 1, 2])
    options = {"sample_weight": weight, "method": "ipw"}
    expected = policy_value(Y, POLICY, T, propensity=E, **options).value
    certain = np.r_[1.0, E[1:]]
    assert policy_value(Y, POLICY, T, propensity=certain, **options).value == expected
