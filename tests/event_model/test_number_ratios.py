"""Ratios of two numbers: exact, chosen, drawn, and the same in all readings."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm._ragged import ranges, segment_numbers
from sklearn_seqcrm._store import Column
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._fields import TrainingEvents
from sklearn_seqcrm.event_model._number_codes import (
    NO_NUMBER,
    NO_UNITS,
    bits_of_numbers,
    ratios,
    times_base,
)
from sklearn_seqcrm.event_model._number_sources import choose_sources
from sklearn_seqcrm.event_model._simulate import Simulator, row_keys, split_open_baskets
from sklearn_seqcrm.event_model._source_columns import SourceColumns
from sklearn_seqcrm.events import EventLog

SMALL = {"hidden_size": 8, "max_epochs": 4, "random_state": 0}

# Ratios -------------------------------------------------------------------------------


def test_ratios_are_in_lowest_terms():
    units = np.array([875, 125, -30, -30, 30, 2**31 - 1, NO_UNITS, 5])
    base = np.array([7, 1, 4, -4, -4, 2**31 - 2, 3, NO_UNITS])
    found = ratios(units, base)
    assert found[0] == found[1]
    assert found[2] == found[4]  # -30 / 4 = 30 / -4
    assert found[3] == (15 << 32) + 2  # 30 / 4
    assert (found[6:] == NO_NUMBER).all()
    assert NO_NUMBER not in found[:6]
    assert_array_equal(product(found[:6], base[:6]), units[:6])
    assert_array_equal(product(found[:4], [10, 10, 8, 8]), [1250, 1250, -60, 60])


def product(ratio, base):
    return times_base(torch.from_numpy(np.asarray(ratio)), torch.tensor(base)).numpy()


def test_products_are_whole_numbers():
    """4.00 for 3 pieces is no price of 1, but one of 6; products end at 2^31."""
    third = ratios(np.array([400] * 4), np.array([3] * 4))
    found = product(third, [1, 6, NO_UNITS, 2**31 - 1])
    assert_array_equal(found, [NO_UNITS, 800, NO_UNITS, NO_UNITS])
    assert_array_equal(product([NO_NUMBER], [6]), [NO_UNITS])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_units_are_multiples_of_the_step(dtype):
    events = shop(n=30).astype({"spend": dtype})
    model = LSTMEventModel(**SMALL).fit(log_of(events).snapshots([300]))
    field = model._learned.number_fields["spend"]
    values = [8.75, -0.1, 0, np.nan, np.inf, 1e9, 8.755]
    units = field.units(Column(np.array(values, dtype)), np.zeros(7, "int64"))
    assert_array_equal(units, [875, -10, *[NO_UNITS] * 5])


def test_dates_have_no_ratios():
    events = shop(n=30)
    day = pd.Timestamp("2024-01-01") + pd.to_timedelta(events["day"], unit="D")
    events["day"], events["due"] = day, day + pd.to_timedelta(14 * events["n"], "D")
    log = EventLog(events, "who", "day", fields=["item", "n", "due"])
    field = LSTMEventModel(**SMALL).fit(log.snapshots([day.max()]))._learned
    assert field.number_fields["due"].base is None


# Models -------------------------------------------------------------------------------


def shop(n=120, n_orders=8, n_items=60, seed=0):
    """Customers order some pieces of an item, each at its price."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(n), n_orders)
    item = rng.integers(0, n_items, len(who))
    price = np.round(np.exp(np.random.default_rng(9).normal(3, 1, n_items)), 2)
    day = rng.integers(0, 60, (n, n_orders)).cumsum(axis=1).ravel()
    pieces = rng.integers(1, 30, len(who)).astype("float64")
    spend = np.round(pieces * price[item], 2)
    return pd.DataFrame(
        {"who": who, "day": day, "item": item, "n": pieces, "spend": spend}
    )


def price_of(events):
    first = events.groupby("item")[["n", "spend"]].first()
    return first["spend"] / first["n"]


def log_of(events, fields=("item", "n", "spend")):
    return EventLog(
        events,
        "who",
        "day",
        fields=list(fields),
        categorical=["item"],
        observed_until=600,
    )


@pytest.mark.parametrize("fields", [["item", "n", "spend"], ["item", "spend", "n"]])
def test_spend_is_price_times_pieces(fields):
    """Of customers who are new; the number that comes later has the ratio."""
    model = LSTMEventModel(**SMALL).fit(log_of(shop(), fields).snapshots([600]))
    number_fields = model._learned.number_fields
    first, later = fields[1:]
    assert number_fields[first].base is None
    assert number_fields[later].base == first
    kinds = {(one.field, one.is_usual) for one in number_fields[later].sources}
    assert ("item", True) in kinds
    new = shop(seed=1).assign(who=lambda one: one["who"] + 1000)
    scores = model.score_events(log_of(new, fields).snapshots([600]))
    assert scores[f"log_prob_{later}"].mean() > -0.7
    X = log_of(new[new["day"] < 150], fields).snapshots([150])
    futures = model.sample(X, 200, n_paths=5, random_state=0)
    assert len(futures) > 300
    price = price_of(shop())[futures["item"].astype(int)].to_numpy()
    off = np.abs(futures["spend"] - futures["n"] * price)
    # A spend that is drawn before the pieces is mostly no multiple of the price.
    assert (off < 0.005).mean() > 0.8 or later == "n"
    assert futures["n"].between(1, 29).all()
    assert abs(futures["n"].mean() - 15) < 2


def test_all_ratios_are_to_one_field():
    """Half of the items are sold by the piece, the others by weight."""
    events = shop(n=300)
    rng = np.random.default_rng(0)
    customer, item = events["who"].to_numpy(), events["item"].to_numpy()
    units = rng.integers(1, 1000, (2, len(events)))
    price = 1 + 7 * item
    spend = np.where(item < 40, units[0], units[1]) * price
    numbers = {None: bits_of_numbers(spend.astype("float64"))}
    bases = dict(zip("ab", units, strict=True))
    numbers |= {name: ratios(spend, one) for name, one in bases.items()}
    rows = TrainingEvents(customer, customer, customer, customer)
    sources = choose_sources(numbers, spend, bases, rows, {"item": item})
    assert {source.base for source in sources} == {"a"}


def test_single_pieces_need_no_ratio():
    """Spend is the price, which is a plainer source."""
    events = shop().assign(n=1.0)
    events["spend"] = price_of(shop())[events["item"]].to_numpy().round(2)
    model = LSTMEventModel(**SMALL).fit(log_of(events).snapshots([600]))
    sources = model._learned.number_fields["spend"].sources
    assert {source.base for source in sources} == {None}


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_pieces_do_not_follow_from_prices(share):
    """Most orders are of one piece, whatever the price."""
    events = shop(n=400)
    rng = np.random.default_rng(0)
    events["price"] = price_of(events)[events["item"]].to_numpy().round(2)
    events["n"] = events["n"].clip(upper=5).where(rng.random(len(events)) > share, 1.0)
    X = log_of(events, ["item", "price", "n"]).snapshots([600])
    model = LSTMEventModel(**SMALL).fit(X)
    assert model._learned.number_fields["n"].base is None


def test_wider_numbers_have_the_ratios_of_training():
    """A model of float32 scores the same numbers in float64 alike."""
    events = shop(n=60).astype({"spend": "float32"})
    X = log_of(events).snapshots([600])
    model = LSTMEventModel(**SMALL).fit(X)
    assert model._learned.number_fields["spend"].base == "n"
    wider = log_of(events.astype({"spend": "float64"})).snapshots([600])
    assert_allclose(model.score_samples(wider), model.score_samples(X), rtol=1e-4)
    events.loc[::7, "spend"] = np.float32(3e38)
    assert np.isfinite(model.score_samples(log_of(events).snapshots([600]))).all()
    wider = events.astype({"spend": "float64"})
    wider.loc[::7, "spend"] = 1e308
    assert np.isfinite(model.score_samples(log_of(wider).snapshots([600]))).all()


def with_gaps(seed, n=60):
    """Return orders with missing items, pieces and spends, and free ones."""
    rng = np.random.default_rng(seed)
    events = shop(n=n, n_items=8, seed=seed)
    habit = 1 + (7 * events["who"] + events["item"]) % 29
    events["n"] = events["n"].where(rng.random(len(events)) < 0.5, habit)
    discount = np.array([1.0, 0.8, 0.5])[events["who"] % 3]  # of the customer
    price = (price_of(events)[events["item"]].to_numpy() * discount).round(2)
    events["spend"] = (events["n"] * price).round(2)
    events["item"] = events["item"].astype(object)
    for name, value in [("item", None), ("n", np.nan), ("n", 0), ("spend", np.nan)]:
        events.loc[rng.random(len(events)) < 0.1, name] = value
    events["day"] = events["day"] // 30 * 30  # baskets
    return events


def readings_of_sources(patch):
    """Keep the earlier numbers that densities read, one list for each density."""
    found, original = {}, SourceColumns.with_usual

    def kept(self, earlier, codes):
        both = original(self, earlier, codes)
        found.setdefault(self.bits.start, []).append([one.numpy() for one in both])
        return both

    patch.setattr(SourceColumns, "with_usual", kept)
    return found


@pytest.mark.parametrize("moments", [False, True])
def test_simulations_read_the_numbers_of_a_new_reading(moments):
    """Each simulated event, and the same one as a part of the history."""
    events = with_gaps(0)
    model = LSTMEventModel(**SMALL, moments=moments).fit(
        log_of(events).snapshots([600])
    )
    sources = model._learned.number_fields["spend"].sources
    assert {(one.is_usual, one.base) for one in sources} >= {(True, "n"), (False, "n")}
    known = with_gaps(1, n=250).query("day < 200")
    known["item"] = known["item"].mask(known["item"] == 7, 70)  # a new item
    X = log_of(known).snapshots([200])
    number, draw_fields = [], Simulator.draw_fields

    def noted(self, paths, *args, **kwargs):
        number.append(paths.number)
        return draw_fields(self, paths, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        in_simulation = readings_of_sources(patch)
        patch.setattr(Simulator, "draw_fields", noted)
        futures = model.sample(X, 200, n_paths=1, random_state=0)
    both = pd.concat([known, futures[list(known)]])
    learned, table, array = model._learned.read(log_of(both).snapshots([400]), model)
    source = learned.encode(table, array.rows).sources[0].events
    index, offsets = ranges(source.start, source.stop)
    codes, row = torch.from_numpy(source.codes[index]), segment_numbers(offsets)
    n_known = known.groupby("who").size().to_numpy()
    later = np.arange(len(row)) - offsets[row] >= n_known[row]
    assert later.sum() == len(futures) > 200
    order = np.argsort(np.concatenate(number), kind="stable")
    assert len(in_simulation) == 2
    for density in model.net_.module_.fields[1:]:
        read, *_ = density.candidates(codes, None, torch.from_numpy(row))
        columns = density.columns.copied
        parts = in_simulation[columns.bits.start]
        for one, steps in zip(read, zip(*parts, strict=True), strict=True):
            assert_array_equal(np.concatenate(steps)[order], one[later])
        if columns.base.stop > columns.base.start:  # 0 or missing pieces have no ratio
            has_none = codes[:, columns.base][:, 0] == NO_UNITS
            is_ratio = [source.is_ratio for source in columns.sources]
            assert 0.1 < has_none.float().mean() < 0.3
            assert (read.bits[has_none][:, is_ratio] == NO_NUMBER).all()
            assert not (read.bits[~has_none][:, is_ratio] == NO_NUMBER).all()


@torch.no_grad()
def test_open_baskets_are_in_the_state():
    """The state after an open basket is that of a history which it is a part of."""
    model = LSTMEventModel(**SMALL).fit(log_of(with_gaps(0)).snapshots([600]))
    events = with_gaps(1)
    last = events.groupby("who")["day"].max().rename("at").reset_index()
    X = log_of(events).attach(
        last, customer="who", cutoff="at", allow_exact_matches=True
    )
    learned, table, array = model._learned.read(X, model)
    before, baskets = split_open_baskets(learned, table, array.rows)
    assert len(baskets.values) > 60
    simulator = Simulator(model.net_, learned)
    keys = row_keys(array, 0, count=False)
    opened = simulator.at_next(before, keys, 1, False, baskets)
    whole = learned.encode(table, array.rows)
    rows = np.arange(len(whole))
    whole, _ = simulator.at_cutoffs(whole, rows, simulator.observed(whole))
    field = simulator.number_of("spend")
    n_sources = len(simulator.module.fields[field].columns.copied.own_sources)
    for level in range(8):
        levels = torch.full((len(rows), n_sources), level)
        found = [one.copies[field].before(levels) for one in (opened, whole)]
        for one, other in zip(*found, strict=True):
            assert_array_equal(one, other)
