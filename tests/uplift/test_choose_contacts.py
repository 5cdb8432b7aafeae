from itertools import product

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm.uplift import _knapsack, choose_contacts


def best_profit(profit, limits):
    """Try all choices; limits are pairs of what contacts use and what there is."""
    n, k = profit.shape
    best = 0.0
    for choice in product(range(-1, k), repeat=n):
        pairs = [(i, j) for i, j in enumerate(choice) if j >= 0]
        if all(sum(used[i, j] for i, j in pairs) <= most for used, most in limits):
            best = max(best, sum(profit[i, j] for i, j in pairs))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_small_problems_have_the_best_choice(seed):
    rng = np.random.default_rng(seed)
    effect, cost = rng.normal(0.03, 0.05, (6, 2)), rng.uniform(0, 3, (6, 2))
    cost[rng.random((6, 2)) < 0.2] = 0
    value = rng.uniform(20, 80, 6)
    profit = value[:, None] * effect - cost
    one, first = np.ones((6, 2)), np.tile([1.0, 0.0], (6, 1))
    for options, limits in [
        ({}, []),
        ({"budget": 3.0}, [(cost, 3.0)]),
        ({"budget": 0.0}, [(cost, 0.0)]),
        ({"capacity": 2}, [(one, 2)]),
        ({"budget": 3.0, "capacity": 3}, [(cost, 3.0), (one, 3)]),
        ({"budget": 4.0, "capacity": {1: 1}}, [(cost, 4.0), (first, 1)]),
        ({"capacity": {1: 1, 2: 1}}, [(first, 1), (1 - first, 1)]),
    ]:
        result = choose_contacts(effect, value=value, cost=cost, **options)
        assert result.profit == pytest.approx(best_profit(profit, limits))
        assert result.optimality_gap == 0
        for used, most in limits:
            rows, chosen = np.flatnonzero(result.treatment), result.treatment
            assert used[rows, chosen[rows] - 1].sum() <= most + 1e-9
        contacts = result.contacts
        assert_allclose(
            contacts["profit"],
            profit[contacts["row"], contacts["treatment"].astype(int) - 1],
        )
        assert contacts["profit"].is_monotonic_decreasing
        assert contacts["row"].is_unique
        assert contacts.index.tolist() == list(range(len(contacts)))
        assert result.cost == pytest.approx(contacts["cost"].sum())


@pytest.mark.parametrize("capacity", [None, {1: 300, 2: 100}])
def test_many_customers(capacity):
    rng = np.random.default_rng(0)
    effect, cost = rng.normal(0.02, 0.05, (4000, 3)), rng.uniform(0.2, 5, (4000, 3))
    result = choose_contacts(effect, value=50, cost=cost, budget=800, capacity=capacity)
    assert result.cost <= 800 * (1 + 1e-9)
    assert 0 <= result.optimality_gap < 1e-4 * result.profit
    counts = np.bincount(result.treatment)
    if capacity:
        assert counts[1] <= 300
        assert counts[2] <= 100
    # Weak duality: at any price of the budget, no choice earns more than this.
    for price in (2, 4, 8):
        most = (50 * effect - (1 + price) * cost).max(axis=1).clip(0).sum()
        assert result.profit <= most + price * 800
    simple = choose_contacts(effect.max(axis=1), value=50, cost=2.6, budget=800)
    assert result.profit > simple.profit


def test_equal_costs_take_the_highest_effects():
    effect = np.array([0.3, 0.1, 0.3, 0.2, 0.3, -0.1])
    for limit in ({"budget": 4.5}, {"capacity": 2}):
        result = choose_contacts(effect, value=10, cost=2, **limit)
        # Of equal effects, the first rows.
        assert_array_equal(result.treatment, [1, 0, 1, 0, 0, 0])
        assert result.profit == pytest.approx(2)
        assert result.optimality_gap == 0
    everybody = choose_contacts(effect, value=10, cost=2)
    assert everybody.treatment.sum() == 3  # the profit of .2 * 10 - 2 is not above 0
    assert choose_contacts(effect, capacity=0).contacts.empty
    assert choose_contacts(-effect[:4]).profit == 0


def test_budgets_are_spent_to_the_cent():
    # In floats, ten times .1 is less than 1, and three times .1 more than .3.
    assert len(choose_contacts(np.ones(20), cost=0.1, budget=1.0).contacts) == 10
    assert len(choose_contacts(np.ones(20), cost=0.1, budget=0.3).contacts) == 3


def test_labels_customers_and_channels():
    effect = pd.DataFrame(
        [[0.3, 0.3, 0.1], [0.2, 0.2, 0.5], [0.1, 0.1, 0.0]],
        index=["ann", "bob", "cid"],
    )
    result = choose_contacts(
        effect,
        treatments=["none", "mail_mon", "mail_tue", "call"],
        channels=["mail", "mail", "phone"],
        capacity={"mail": 1, "phone": 1},
    )
    assert_array_equal(result.treatment, ["mail_mon", "call", "none"])
    assert result.contacts["customer"].tolist() == ["bob", "ann"]
    named = choose_contacts(effect, customers=["x", "y", "z"], capacity=1)
    assert named.contacts["customer"].tolist() == ["y"]
    assert named.contacts["treatment"].tolist() == [3]


def test_names_of_treatments_find_their_columns():
    labels = ["none", "mail", "call"]
    effect = pd.DataFrame({"mail": [0.3, 0.1, 0.2], "call": [0.4, 0.6, 0.2]})
    cost = pd.DataFrame({"mail": [1.0, 2.0, 1.5], "call": [4.0, 5.0, 6.0]})
    options = {"value": 20, "treatments": labels}
    channels = pd.Series(["post", "phone"], ["mail", "call"])
    for costs in (cost, cost.iloc[0]):
        plain = choose_contacts(effect.to_numpy(), cost=costs.to_numpy(), **options)
        for named in (costs, costs.iloc[..., [1, 0]]):
            result = choose_contacts(effect[["call", "mail"]], cost=named, **options)
            pd.testing.assert_frame_equal(result.contacts, plain.contacts)
    tables = {"effect": effect[["call", "mail"]], "cost": cost[["call", "mail"]]}
    result = choose_contacts(
        **{k: pl.from_pandas(v) for k, v in tables.items()}, **options
    )
    expected = choose_contacts(effect, cost=cost, **options)
    pd.testing.assert_frame_equal(result.contacts, expected.contacts)
    unnamed = pl.DataFrame(effect.to_numpy())  # column_0, column_1
    result = choose_contacts(unnamed, cost=cost, **options)
    pd.testing.assert_frame_equal(result.contacts, expected.contacts)
    swapped = choose_contacts(
        effect, channels=channels.iloc[::-1], capacity={"phone": 1}, **options
    )
    assert_array_equal(swapped.treatment, ["mail", "call", "mail"])
    for bad in ({"effect": effect}, {"cost": cost}, {"cost": cost.iloc[0]}):
        wrong = {
            name: table.rename({"call": "phone"}, axis=-1 + table.ndim)
            for name, table in bad.items()
        }
        with pytest.raises(
            ValueError, match=r"\['mail', 'phone'\], which are not .* arms"
        ):
            choose_contacts(**{"effect": effect, **options, **wrong})


def test_costs_and_values_of_customers():
    effect = np.full((4, 2), 0.1)
    by_customer = choose_contacts(effect, value=[10, 20, 30, 0], cost=[0.5, 3, 0, 1])
    assert_array_equal(by_customer.treatment > 0, [True, False, True, False])
    by_treatment = choose_contacts(effect, value=10, cost=[0.9, 0.5])
    assert_array_equal(by_treatment.treatment, [2, 2, 2, 2])
    assert_allclose(by_treatment.profit, 4 * 0.5)


def test_intervals_are_quantiles_of_the_profit_over_samples():
    rng = np.random.default_rng(0)
    effect = rng.normal(0.05, 0.1, 200)
    samples = effect + rng.normal(scale=0.05, size=(2000, 200))
    result = choose_contacts(
        effect, value=10, cost=0.2, capacity=50, effect_samples=samples
    )
    # The sum of 50 independent errors of .5.
    assert result.upper - result.lower == pytest.approx(
        2 * 1.96 * 0.5 * 50**0.5, rel=0.1
    )
    assert result.lower < result.profit < result.upper
    half = choose_contacts(
        effect,
        value=10,
        cost=0.2,
        capacity=50,
        effect_samples=samples[:, :, None],
        confidence_level=0.5,
    )
    assert half.upper - half.lower < 0.5 * (result.upper - result.lower)
    without = choose_contacts(effect)
    assert np.isnan([without.lower, without.upper]).all()


def test_an_interval_leaves_equal_tails():
    samples = np.linspace(0, 1, 101)[:, None]  # of one customer
    result = choose_contacts(
        [0.5], value=10, effect_samples=samples, confidence_level=0.9
    )
    assert_allclose([result.lower, result.profit, result.upper], [0.5, 5, 9.5])


def test_bad_input():
    good = {"effect": np.full((3, 2), 0.1), "value": 10, "cost": 0.5}
    cases = [
        ({"effect": [[0.1, np.nan]]}, ValueError, "effect has 1 missing or infinite"),
        ({"effect": ["a", "b"]}, TypeError, "effect must hold numbers"),
        ({"effect": np.ones((3, 2, 1))}, ValueError, r"got the shape \(3, 2, 1\)"),
        ({"value": [1, 2]}, ValueError, "value must be a number, or have one for each"),
        ({"cost": -1}, ValueError, "cost has 1 negative values"),
        ({"cost": np.ones((2, 2))}, ValueError, r"3 customers, or both; got the shape"),
        ({"budget": -1}, ValueError, "'budget'"),
        ({"capacity": -1}, ValueError, "'capacity'"),
        ({"capacity": {1: 2.5}}, ValueError, "capacity of 1 must be an integer"),
        ({"capacity": {"mail": 2}}, ValueError, r"names 'mail', .* none of \[1, 2\]"),
        ({"capacity": {1: 1}, "channels": ["a"]}, ValueError, "each of 2 treatments"),
        ({"channels": "mail"}, ValueError, r"each of 2 treatments; got \['mail'\]"),
        ({"treatments": "none"}, TypeError, "treatments must be a list of labels"),
        ({"treatments": [0, 1]}, ValueError, "treatments must have 3 different labels"),
        ({"treatments": [0, 1, 1]}, ValueError, "must have 3 different labels"),
        ({"treatments": [0, 1]}, ValueError, "as predict .* not the outcomes of all"),
        ({"cost": np.ones(4)}, ValueError, r"got the shape \(4,\). No contact costs"),
        (
            {"customers": np.array([7.0, 7.0, 8.0])},
            ValueError,
            r"such as 7\.0; keep one row",
        ),
        (
            {"customers": ["a", "b", "a"]},
            ValueError,
            "customers has 1 rows of .* 'a'",
        ),
        (
            {"effect": pd.Series([0.1, 0.2, 0.3], index=["a", "a", "b"])},
            ValueError,
            "The index of effect has 1 rows of .* 'a'; .* pass customers=",
        ),
        ({"customers": ["a", None, "b"]}, ValueError, "customers has 1 missing values"),
        ({"customers": ["a"]}, ValueError, "customers has 1 rows, but effect has 3"),
        ({"effect_samples": np.ones((5, 3))}, ValueError, r"\(n_samples, 3, 2\)"),
    ]
    for changed, error, message in cases:
        with pytest.raises(error, match=message):
            choose_contacts(**{**good, **changed})


def test_no_customers():
    result = choose_contacts(np.empty((0, 2)), budget=1)
    assert result.contacts.empty
    assert result.treatment.shape == (0,)


def test_contacts_without_cost_are_all_taken():
    cost = np.tile([0.0, 1.0], 3000)
    result = choose_contacts(np.full(6000, 0.1), value=20, cost=cost, budget=10)
    assert result.treatment[::2].all()
    assert result.treatment[1::2].sum() == 10
    assert result.optimality_gap == 0


@st.composite
def proportional_problems(draw):
    """Treatments of equal profit per cost, which tie at the price of a budget."""
    k = draw(st.integers(2, 3))
    cost = draw(st.lists(st.integers(1, 9), min_size=k, max_size=k, unique=True))
    slopes = draw(st.lists(st.sampled_from([1.7, 2.54, 3.3]), min_size=1, max_size=5))
    slopes = np.repeat(slopes, draw(st.sampled_from([1, 10, 40])))
    unit = draw(st.sampled_from([0.1, 1.0, 5.0]))
    costs = np.tile(np.array(cost) * unit, (len(slopes), 1))
    budget = unit * draw(st.integers(0, 12) | st.integers(0, 5 * len(slopes)))
    numbers = st.sampled_from([0, 1, len(slopes) // 2, len(slopes) - 1])
    each = st.dictionaries(st.integers(1, k), numbers, min_size=1)
    return slopes[:, None] * costs, costs, budget, draw(numbers | each)


@given(proportional_problems())
@settings(max_examples=100)
def test_equal_profit_per_cost_keeps_all_limits(problem):
    effect, costs, budget, capacity = problem
    n, k = costs.shape
    result = choose_contacts(effect, cost=costs, budget=budget, capacity=capacity)
    columns = np.arange(1, k + 1)
    limits = [(costs, budget * (1 + 1e-9))]
    if isinstance(capacity, int):
        limits.append((np.ones((n, k)), capacity))
    else:
        for label, most in capacity.items():
            limits.append((np.tile(1.0 * (columns == label), (n, 1)), most))
    taken = result.treatment[:, None] == columns
    for used, most in limits:
        assert used[taken].sum() <= most
    assert result.bound >= result.profit
    if n <= 5:
        best = best_profit(effect - costs, limits)
        assert result.profit == pytest.approx(best)
        assert result.bound >= best - 1e-9


@pytest.mark.parametrize(
    ("effect", "cost", "budget"),
    [([12.7, 25.4, 50.8], [5, 10, 20], 5), ([0.33, 0.66], [0.1, 0.2], 0.4)],
)
@pytest.mark.parametrize("n", [10, 30, 300])
def test_customers_who_are_alike_keep_budget_and_capacity(effect, cost, budget, n):
    result = choose_contacts([effect] * n, cost=cost, budget=budget, capacity=n - 1)
    assert result.cost == pytest.approx(budget)  # all profits are in proportion to it
    assert result.profit == pytest.approx(budget * (effect[0] - cost[0]) / cost[0])
    assert result.optimality_gap == 0


def test_many_customers_who_tie_use_the_whole_budget():
    slope = np.array([0.7, 1.1, 1.9, 2.54])[np.arange(20_000) % 4]
    cost = np.array([5.0, 10.0, 20.0])
    effect = slope[:, None] * cost
    result = choose_contacts(effect, cost=cost, budget=20_000, capacity=1800)
    assert len(result.contacts) <= 1800
    assert result.cost <= 20_000
    assert result.profit == pytest.approx(20_000 * 1.54, rel=1e-3)


def test_a_plan_beyond_its_limits_or_its_bound_is_an_error(monkeypatch):
    monkeypatch.setattr(_knapsack, "_within_limits", lambda _, choice, prices: choice)
    with pytest.raises(RuntimeError, match="exceed a limit, or their bound: used"):
        choose_contacts([[12.7, 25.4]] * 30, cost=[5, 10], budget=5, capacity=29)


def test_costs_of_a_mapping_are_found_by_the_labels():
    effect = [[0.5, 0.9], [0.4, 0.1]]
    labels = ["none", "mail", "call"]
    by_place = choose_contacts(effect, value=10, cost=[1, 8], treatments=labels)
    by_label = choose_contacts(
        effect, value=10, cost={"call": 8, "mail": 1}, treatments=labels
    )
    assert by_label.treatment.tolist() == by_place.treatment.tolist()
    assert by_label.profit == by_place.profit
    with pytest.raises(ValueError, match=r"cost names \['call'\], and the treatments"):
        choose_contacts(effect, cost={"call": 8}, treatments=labels)
    with_none = choose_contacts(
        effect, value=10, cost={"none": 0, "call": 8, "mail": 1}, treatments=labels
    )
    assert with_none.profit == by_place.profit
    with pytest.raises(ValueError, match=r"cost of 'none', .* must be 0, .*; got 2"):
        choose_contacts(
            effect, cost={"none": 2, "call": 8, "mail": 1}, treatments=labels
        )
    with pytest.raises(ValueError, match=r"beside 0 are \[1, 2\]; .* treatments="):
        choose_contacts(effect, cost={"mail": 1, "call": 8})
    with pytest.raises(ValueError, match=r"cost names \['sms'\]"):
        choose_contacts([0.1], cost={"sms": 8}, treatments=["none", "mail"])


def test_costs_with_labels_may_name_no_contact():
    labels = ["none", "mail", "call"]
    effect = [[0.5, 0.9], [0.4, 0.1]]
    costs = pd.DataFrame({"call": [8, 7], "none": [0, 0], "mail": [1, 2]})
    expected = choose_contacts(
        effect, value=10, cost=[[1, 8], [2, 7]], treatments=labels
    )
    found = choose_contacts(effect, value=10, cost=costs, treatments=labels)
    pd.testing.assert_frame_equal(found.contacts, expected.contacts)
    expected = choose_contacts(effect, value=10, cost=[1, 8], treatments=labels)
    for cost in (costs.iloc[0], costs.iloc[0].to_dict()):
        found = choose_contacts(effect, value=10, cost=cost, treatments=labels)
        pd.testing.assert_frame_equal(found.contacts, expected.contacts)
    costs.loc[1, "none"] = 3
    for cost in (costs, costs.iloc[1]):
        with pytest.raises(ValueError, match=r"cost of 'none', .*; got 3\. Subtract"):
            choose_contacts(effect, cost=cost, treatments=labels)
    # Three customers, whose index looks like the labels: each has a cost of their own.
    by_customer = pd.Series([5.0, 6.0, 7.0], index=[2, 0, 1])
    found = choose_contacts([[9, 8]] * 3, cost=by_customer)
    assert found.contacts.sort_values("row")["cost"].tolist() == [5, 6, 7]
    arms = pd.Series([1.0, 0.0], index=[True, False])
    found = choose_contacts([3, 3, 3], cost=arms, treatments=[False, True])
    assert found.cost == 3


def test_a_budget_without_costs_limits_nothing():
    with pytest.warns(
        UserWarning, match="budget=2 limits nothing, .* by capacity="
    ) as caught:
        result = choose_contacts([0.1, 0.2, 0.3], budget=2)
    assert caught[0].filename == __file__
    assert len(result.contacts) == 3
    assert len(choose_contacts([0.1, 0.2, 0.3], capacity=2).contacts) == 2


def test_capacities_of_a_series_are_found_by_its_index():
    effect = np.random.default_rng(0).random((6, 2))
    labels = ["none", "mail", "call"]
    most = {"call": 2, "mail": 1}
    one, two = (
        choose_contacts(effect, capacity=capacity, treatments=labels)
        for capacity in (most, pd.Series(most))
    )
    pd.testing.assert_frame_equal(one.contacts, two.contacts)
    twice = pd.Series([1, 2], index=["mail", "mail"])
    with pytest.raises(ValueError, match="capacity names 'mail' more than once"):
        choose_contacts(effect, capacity=twice, treatments=labels)


def test_an_infinite_budget_is_no_limit():
    """Profits are compared over budgets up to infinity."""
    effect = [0.1, 0.2, 0.3]
    profits = [
        choose_contacts(effect, value=10, cost=0.5, budget=budget).profit
        for budget in (0, 0.5, np.inf, None)
    ]
    np.testing.assert_allclose(profits, [0, 2.5, 4.5, 4.5])
    choose_contacts(effect, budget=np.inf)  # no warning that it limits nothing


@pytest.mark.parametrize(
    "ids",
    [["1", 1, 2], [2**63, 2**53, 2**53 + 1], [("a", 1), ("a", 2), ("b", 1)]],
    ids=["numbers and text", "beyond int64", "tuples"],
)
def test_customers_in_a_list_keep_their_ids(ids):
    result = choose_contacts([0.1, 0.3, 0.2], customers=ids)
    assert result.contacts["customer"].tolist() == [ids[1], ids[2], ids[0]]


def test_text_is_one_customer_and_not_its_letters():
    with pytest.raises(ValueError, match="customers has 1 rows, but effect has 4"):
        choose_contacts([0.1, 0.3, -0.2, 0.5], customers="abcd")


def test_effects_values_and_costs_are_numbers():
    durations = pd.to_timedelta([1, 2], unit="D")
    for options in (
        {"effect": durations},
        {"effect": [0.1, 0.2], "value": durations},
        {"effect": [0.1, 0.2], "cost": pd.Series(durations)},
        {"effect": ["0.1", "0.2"]},
        {"effect": pd.to_datetime(["2024-01-01", "2024-01-02"])},
    ):
        name = list(options)[-1]
        with pytest.raises(TypeError, match=f"^{name} must hold numbers; got "):
            choose_contacts(**options)
