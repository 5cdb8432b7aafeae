"""Open baskets: further lines are those that the likelihood expects."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._simulate import Simulator
from tests.logs import log_of_table

ITEMS = [*"abcdefghijkl"]
OPEN = {"open_basket": True}


def baskets(n_customers, seed):
    """Return lines of baskets of one to three different items, in random order."""
    rng = np.random.default_rng(seed)
    n_lines = rng.integers(1, 4, 6 * n_customers)
    table = pd.DataFrame({"who": np.arange(6 * n_customers) // 6})
    table["day"] = np.tile([1, 3, 4, 8, 9, 15], n_customers)
    table["shop"] = rng.choice([*"xy"], len(table))
    lines = table.loc[table.index.repeat(n_lines)].reset_index(drop=True)
    chosen = rng.permuted(np.tile(ITEMS, (len(table), 1)), axis=1)
    lines["item"] = chosen[np.arange(len(ITEMS)) < n_lines[:, None]]
    return lines


@pytest.fixture(scope="module")
def model():
    X = log_of_table(baskets(60, 0)).snapshots([20])
    params = {"hidden_size": 6, "max_epochs": 3, "learning_rate": 0.02}
    model = LSTMEventModel(**params, random_state=0).fit(X)
    for density in model.net_.module_.fields:  # as in the likelihood
        density.list_shrinkage.copy_(density.shrinkage[0, 0])
    return model


def rows_of(lines, **options):
    who = pd.DataFrame({"who": sorted(lines["who"].unique())})
    return log_of_table(lines).attach(who, cutoff=15, **options)


@pytest.fixture(scope="module", name="lines")
def lines_until_cutoff():
    """Rows with none to three lines at the cutoff, and one without earlier events."""
    lines = baskets(8, 1)
    n_open = lines.groupby(["who", "day"]).cumcount()
    lines = lines[(lines["day"] < 15) | (n_open < lines["who"] % 4)]
    return lines[(lines["who"] != 7) | (lines["day"] == 15)]


def test_further_lines_are_as_probable_as_in_the_likelihood(model, lines):
    X = rows_of(lines, allow_exact_matches=True)
    shop = model.predict_next(X, "shop", n=2, open_basket=True)
    for row, who in enumerate(X["who"]):
        expected = {}
        for value in "xy":
            new = {"who": who, "day": 15, "shop": value, "item": "a"}
            more = pd.concat([lines[lines["who"] == who], pd.DataFrame([new])])
            scores = model.score_events(rows_of(more, allow_exact_matches=True))
            expected[value] = np.exp(scores["log_prob_shop"].iloc[-1])
        own = shop[shop["row"] == row].set_index("value")["probability"]
        expected = pd.Series(expected)
        assert_allclose(own[[*"xy"]], expected / expected.sum(), rtol=1e-3)


def test_a_new_moment_begins_at_the_cutoff_or_right_after_it(model, lines):
    """A day after the lines of the cutoff, if the row sees some."""
    X = rows_of(lines, allow_exact_matches=True)
    before = rows_of(lines[lines["day"] < 15])
    for rows, day in ((X, 16), (before, 15)):
        found = model.predict_next(rows, "shop", n=2)
        known = lines if day == 16 else lines[lines["day"] < 15]
        for row, who in enumerate(rows["who"]):
            own = known[known["who"] == who]
            at = day if (own["day"] == 15).any() else 15
            expected = {}
            for value in "xy":
                new = {"who": who, "day": at, "shop": value, "item": "a"}
                more = log_of_table(pd.concat([own, pd.DataFrame([new])]))
                scores = model.score_events(more.snapshots([17]))
                expected[value] = np.exp(scores["log_prob_shop"].iloc[-1])
            of_row = found[found["row"] == row].set_index("value")["probability"]
            expected = pd.Series(expected)
            assert_allclose(of_row[[*"xy"]], expected / expected.sum(), rtol=1e-3)


def test_open_baskets_do_not_get_their_items_again(model, lines):
    X = rows_of(lines, allow_exact_matches=True)
    for basket in (False, True):
        found = model.predict_next(X, "item", n=12, open_basket=True, basket=basket)
        today = lines[lines["day"] == 15]
        both = found.merge(today, left_on=["who", "value"], right_on=["who", "item"])
        assert_array_equal(both["probability"], 0)
        assert len(both) == len(today)
        assert (found.groupby("row")["probability"].sum() > 1 - 1e-4).all()


def test_a_row_alone_has_the_lines_that_it_has_among_others(model, lines):
    X = rows_of(lines, allow_exact_matches=True)
    whole = model.predict_next(X, "item", open_basket=True)
    for row in range(len(X)):
        alone = model.predict_next(X[row : row + 1], "item", open_basket=True)
        own = whole[whole["row"] == row]
        assert_allclose(alone["probability"], own["probability"], rtol=1e-4, atol=1e-6)


def test_without_events_at_the_cutoff_the_first_line_is_predicted(model, lines):
    """What the customer has today is unknown, and changes nothing."""
    X = rows_of(lines[lines["who"] < 7])
    found = model.predict_next(X, "item", open_basket=True)
    before = rows_of(lines[(lines["who"] < 7) & (lines["day"] < 15)])
    other = model.predict_next(before, "item", open_basket=True)
    assert_allclose(found["probability"], other["probability"], rtol=1e-4)
    assert_allclose(
        model.predict_next(X, "item")["probability"], found["probability"], rtol=1e-4
    )
    with pytest.raises(ValueError, match=r"open_basket=True is .* within='3D'"):
        model.predict_next(X, "item", open_basket=True, within="3D")


def test_events_before_a_lookback_do_not_matter(model, lines):
    """Rows beside others see the same events as alone, though others see earlier ones.

    The lookback hides the events until day 12, which others see.
    """
    who = pd.DataFrame({"who": range(7), "day": 15})
    rows = pd.concat([who, who.assign(day=10)])
    log, options = log_of_table(lines), {"allow_exact_matches": True, "lookback": 3}
    both, alone = (
        model.predict_next(log.attach(X, cutoff="day", **options), "shop", n=2, **OPEN)
        for X in (rows, who)
    )
    own = both[both["row"] < 7]["probability"]
    assert_allclose(own, alone["probability"], atol=1e-6)


def test_the_next_line_is_at_the_cutoff_to_the_nanosecond(monkeypatch):
    """A year of them has more digits than float64."""
    days = pd.to_datetime(["2020-01-01", "2020-03-01", "2021-06-07"])
    table = pd.DataFrame({"who": 0, "time": days.as_unit("ns"), "item": [*"aba"]})
    table.loc[:1, "time"] += pd.Timedelta(3, "ns")
    log = log_of_table(table)
    X = log.attach(pd.DataFrame({"who": [0]}), cutoff=days[2])
    model = LSTMEventModel(hidden_size=2, max_epochs=1, random_state=0).fit(X)
    draw_fields, found = Simulator.draw_fields, []

    def spy(self, paths, *args, **kwargs):
        found.append(paths.times.tolist())
        return draw_fields(self, paths, *args, **kwargs)

    monkeypatch.setattr(Simulator, "draw_fields", spy)
    model.predict_next(X, "item", **OPEN)
    assert found == [[table["time"].astype("int64")[2]]]
