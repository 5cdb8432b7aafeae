"""What all targets have in common; `TARGETS` has each of them."""

import inspect
import typing

import pandas as pd
import pytest

from sklearn_seqcrm import targets
from sklearn_seqcrm._columns import stored_lengths
from tests.targets.small_logs import TARGETS, days, shop_log


def test_all_targets_are_tested():
    """Other tests run over the same table."""
    assert {*TARGETS, "stack_horizons"} == {*targets.__all__}


def rows(cutoff):
    return shop_log().attach(pd.DataFrame({"id": ["a", "b"]}), cutoff=days(cutoff)[0])


@pytest.mark.parametrize("name", TARGETS)
def test_targets_store_horizon_and_gap(name):
    """Forward validation and splits by cutoff read them."""
    target, arguments = TARGETS[name]
    stored = stored_lengths(target(rows(1), gap="1D", **arguments))
    assert (stored["horizon"], stored["gap"]) == (
        "4 days 00:00:00",
        "1 days 00:00:00",
    )


@pytest.mark.parametrize("name", TARGETS)
def test_customers_observed_too_short_are_censored(name):
    target, arguments = TARGETS[name]
    X, ends = rows(1), [days(13)[0], days(2)[0]]
    found = target(X, **arguments, observed_until=ends, censored="drop")
    assert found.index.tolist() == [0]
    # And so are all by the end of the record.
    assert len(target(rows(12), **arguments, censored="drop")) == 0


@pytest.mark.parametrize("name", TARGETS)
def test_only_events_of_chosen_kinds_count(name):
    target, arguments = TARGETS[name]
    found, all_kinds = (
        target(rows(1), **arguments, kinds=kinds) for kinds in ("return", None)
    )
    assert not found.equals(all_kinds)


@pytest.mark.parametrize("name", TARGETS)
def test_type_checkers_see_all_options(name):
    target, _ = TARGETS[name]
    options = [
        one.name
        for one in inspect.signature(target).parameters.values()
        if one.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    for one in typing.get_overloads(target):
        unpacked = typing.get_type_hints(one)["options"]
        [named] = typing.get_args(unpacked)
        assert sorted(typing.get_type_hints(named)) == sorted(options)
