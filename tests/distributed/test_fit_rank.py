"""Two ranks against one process on the same rows, and errors on all ranks."""

import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.distributed.cases import (
    automatic_batches,
    automatic_networks,
    cases,
    continue_training,
    fit_case,
    fit_half,
    sampled_customers,
    scores_of_levels,
)
from tests.distributed.ranks import JOURNEYS, group_of_one, on_two_ranks

NAMES = list(cases())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Return what two ranks do: one start of processes for all tests."""
    names = NAMES

    def fit_all(rank):
        from tests.distributed.cases import (
            automatic_batches,
            automatic_networks,
            continue_training,
            fit_case,
            fit_half,
            fit_with_noise,
            refusals,
            sampled_customers,
            scores_of_levels,
        )

        return {name: fit_case(name, rank) for name in names} | {
            "automatic": automatic_batches(rank),
            "continued": continue_training(rank),
            "networks": automatic_networks(rank),
            "sample": sampled_customers(rank),
            "refusals": refusals(rank),
            "noise": fit_with_noise(rank),
            "half": fit_half(rank),
            "levels": scores_of_levels(rank),
        }

    return on_two_ranks(fit_all, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_equal_one_process(two, name):
    alone = fit_case(name)
    first, second = (each[name] for each in two)
    assert len(alone["losses"]) >= 4
    # float32 sums in another order.
    assert_allclose(first["losses"], alone["losses"], rtol=0, atol=1e-5)
    assert_array_equal(first["losses"], second["losses"])
    for net, other in zip(first["valid"], alone["valid"], strict=True):
        assert_allclose(net, other, rtol=1e-5)
    assert_allclose(first["output"], alone["output"], rtol=1e-4, atol=5e-5)
    assert_array_equal(first["output"], second["output"])
    assert first["left_behind"] == []


def test_levels_are_tested_on_all_rows(two):
    alone, left_out = scores_of_levels()
    assert left_out == {"history": ["store"]}
    for each in two:
        found, same = each["levels"]
        assert_allclose(found, alone, rtol=1e-4)
        assert same == left_out


def test_forward_validation_is_that_of_all_rows(two):
    alone, first = fit_case("forward")["validation"], two[0]["forward"]["validation"]
    assert alone["by"] == first["by"] == "forward"
    for key in ("since", "n_epochs", "n_train", "n_valid", "n_dropped"):
        assert first[key] == alone[key]


def test_ranks_leave_out_the_same_fields(two):
    (first, left_out), (second, same) = (each["noise"] for each in two)
    assert_array_equal(first, second)
    assert left_out == same
    assert {"noise_0", "noise_1", "noise_2", "noise_3"} & set(left_out["history"])


def test_ranks_train_as_many_networks_without_fields_as_one_process(two):
    (first, left_out, sizes), (second, *others) = (each["half"] for each in two)
    expected, of_one, sizes_of_one = fit_half()
    assert_array_equal(first, second)
    assert_allclose(first, expected, atol=1e-5)
    assert others == [left_out, sizes]
    assert left_out == of_one
    assert left_out
    assert_allclose(sizes, sizes_of_one, rtol=1e-4)


def test_ranks_start_from_the_weights_of_rank_0(two):
    first, second = (each["continued"] for each in two)
    assert_array_equal(first, second)
    assert_allclose(first, continue_training(), atol=1e-5)


def test_automatic_batches_of_two_ranks_are_twice_as_large(two):
    size, losses = automatic_batches()
    assert [each["automatic"][0] for each in two] == [size, size]
    assert len(losses) == 65
    assert_allclose(two[0]["automatic"][1], losses, rtol=0, atol=1e-5)


def test_automatic_networks_follow_from_the_rows_of_all_ranks(two):
    assert [each["networks"] for each in two] == [2, 2]
    assert automatic_networks() == 4


def test_sample_of_customers_does_not_depend_on_the_number_of_ranks(two, tmp_path):
    with group_of_one(tmp_path):
        alone = sampled_customers()
    first, second = (each["sample"] for each in two)
    assert first == second == alone
    assert 40 < len(alone) < 150


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("customers", "1 customers of 'history' have rows on several ranks, such as"),
        ("parameters", "Ranks [1] of 2 have another estimator or other parameters"),
        ("encoders", "Ranks [1] of 2 have other fitted steps before the network"),
        ("weights", "Ranks [1] of 2 have y, treatment or sample_weight where others"),
        ("tables", "Ranks [1] of 2 have other columns of histories in X"),
        ("types", "y, treatment or sample_weight have different types on ranks: text"),
        ("missing", "Input y contains NaN"),
        ("continued", "Ranks [1] of 2 continue from other numbers of networks"),
        ("horizons", "Ranks [1] of 2 have y with other attrs or without attrs"),
        ("one class", "A classifier needs at least 2 classes"),
        ("treatments", "treatment is missing in 180 of 180 rows"),
        ("exposures", "Exposures must be larger than 0; 180 of 180 in 0 are not"),
        ("exposure column", "exposure=2 is no position of a column; X has 2"),
    ],
)
def test_differences_are_errors_on_all_ranks(two, name, message):
    assert [each["refusals"][name].startswith(message) for each in two] == [True, True]


def test_repeated_customer_is_named(two):
    [name] = JOURNEYS.rows["customer_id"].iloc[[7]]
    assert f"[{name!r}]" in two[0]["refusals"]["customers"]
