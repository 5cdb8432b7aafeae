"""The yearly season: against a loop over days, and against a simulated truth."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from sklearn.base import clone

from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._interarrival import InterarrivalGrid
from sklearn_seqcrm.event_model._operational_time import OperationalTime, fourier_terms
from sklearn_seqcrm.event_model._yearly_season import (
    HistoryDays,
    WeeklyEvents,
    yearly_season,
)
from sklearn_seqcrm.events import EventLog

US = 86_400_000_000
CLOCK = Clock("int64", "us")
# Numbers of months, December is 0.
WINTER, SUMMER = (11, 0, 1, 2), (5, 6, 7, 8)
RATES = (1.5, 1.2, 0.8, 1.6, 1.75, 0.01, 0.14)
SEASON = (0.1, -0.05, 0.4, 0.2)


def rates_by_day(days, rates=RATES):
    """Return unnormalized rates of days since 1970."""
    log_season = fourier_terms(days + 0.5, 2) @ np.array(SEASON)
    return np.array(rates)[(days + 3) % 7] * np.exp(log_season)


# Operational time ---------------------------------------------------------------------


def test_time_passes_by_weekday_and_season_as_in_a_loop_over_days():
    time = OperationalTime(RATES, US, SEASON)
    scale = 1 / rates_by_day(np.arange(28 * 365 + 7)).mean()
    rng = np.random.default_rng(0)
    start = rng.integers(-20_000 * US, 20_000 * US, 60)
    gaps = rng.integers(0, 900 * US, 60)
    gaps[:20] = rng.integers(0, US, 20)
    expected = []
    for first, gap in zip(start, gaps, strict=True):
        days = np.arange(first // US, (first + gap) // US + 1)
        ends = np.minimum((days + 1) * US, first + gap)
        parts = ends - np.maximum(days * US, first)
        expected.append((parts * rates_by_day(days)).sum() * scale)
    passed = time.warp(start, gaps)
    assert_allclose(passed, expected, rtol=1e-12)
    assert_allclose(time.unwarp(start, passed), gaps, rtol=1e-9, atol=1e-9 * US)


def test_a_cycle_of_28_years_keeps_its_length():
    time = OperationalTime(RATES, US, SEASON)
    cycle = np.array([(28 * 365 + 7) * US])
    assert_allclose(time.warp(np.array([123 * US + 5]), cycle), cycle, rtol=1e-12)
    assert_allclose(time.unwarp(np.array([5]), 3.0 * cycle), 3.0 * cycle, rtol=1e-12)


def test_the_fastest_rate_is_the_largest():
    days = np.arange(28 * 365 + 7)
    rates = rates_by_day(days)
    found = OperationalTime(RATES, US, SEASON).fastest
    assert_allclose(found, rates.max() / rates.mean(), rtol=1e-12)
    assert OperationalTime(RATES, US).fastest == 1.75


# Learn --------------------------------------------------------------------------------


def test_weekly_events_are_those_of_a_loop_over_days():
    rng = np.random.default_rng(0)
    histories, last_days = [], np.array([400, 395, 340, 400])
    for last in last_days:
        histories.append(np.sort(rng.choice(np.arange(300, last + 1), 9, False)))
    histories[1] = histories[1][:1]
    offsets = np.cumsum([0, *map(len, histories)])
    found = WeeklyEvents.of(HistoryDays(np.concatenate(histories), offsets, last_days))
    exposure, n_events = np.zeros((2, *found.exposure.shape))
    for own, last in zip(histories, last_days, strict=True):
        for day in range(own[0] + 1, last + 1):
            before = own[own < day]
            waited = max(day // 7 + 0.5 - before[-1] / 7, 0)
            age = min(int(np.log2(waited + 1)), 6)
            count = min(int(np.log2(len(before))), 5)
            cell = age * 6 + count, day // 7 - found.first
            exposure[cell] += 1 / 7
            n_events[cell] += day in own
    assert_allclose(found.exposure, exposure, atol=1e-12)
    assert_allclose(found.n_events, n_events)


def test_days_of_a_wrong_date_are_no_part_of_the_record():
    days = np.concatenate([[-9000], np.tile(np.arange(700, 800, 9), 60)])
    offsets = np.append(0, np.arange(1, 62) * 12 - 11)
    last_days = np.full(61, 800)
    found = WeeklyEvents.of(HistoryDays(days, offsets, last_days))
    # One of 61 customers is known all the time: a share of more than .01.
    assert found.exposure.shape[1] > 1000
    more = HistoryDays(
        np.concatenate([days, np.tile(days[1:], 2)]),
        np.append(offsets, offsets[-1] + 12 * np.arange(1, 121)),
        np.full(181, 800),
    )
    many = WeeklyEvents.of(more)
    assert many.first == 100
    assert many.exposure.shape[1] == 800 // 7 - 99


def histories(n_years, n=600, seed=0, season=SEASON):
    """Simulate customers who join, buy by season and leave: days and offsets."""
    rng, n_days = np.random.default_rng(seed), round(n_years * 365.25)
    rates = np.exp(fourier_terms(np.arange(n_days) + 0.5, 2) @ np.array(season))
    found = []
    for own in rng.gamma(1.0, 1 / 20, n):
        first = rng.integers(0, n_days - 30)
        days = np.arange(first + 1, min(n_days, first + 1 + int(rng.exponential(300))))
        came = days[rng.random(len(days)) < own * rates[days]]
        found.append(np.append(first, came))
    return np.concatenate(found), np.cumsum([0, *map(len, found)]), n_days


def season_of(n_years, yearly_seasonality="auto", clock=CLOCK, **changed):
    """Return the season that is learned from simulated histories."""
    days, offsets, n_days = histories(n_years, **changed)
    cutoff = np.full(len(offsets) - 1, n_days * US)
    return yearly_season(days * US, offsets, cutoff, clock, yearly_seasonality)


@pytest.mark.parametrize(("n_years", "tolerance"), [(1.4, 0.15), (3, 0.1)])
def test_the_season_of_a_simulation_is_found(n_years, tolerance):
    """Beside leaving customers, whose counts fall after each first purchase."""
    found = season_of(n_years)
    assert_allclose(found, SEASON, atol=tolerance)


def test_no_season_is_found_where_there_is_none():
    """By an F test, at about a twentieth of all sets."""
    none = (0.0,) * 4
    found = [season_of(2, season=none, seed=seed) for seed in range(12)]
    assert sum(map(bool, found)) <= 2
    # On request, what is noise is shrunk.
    wanted = [season_of(2, True, season=none, seed=seed) for seed in range(12)]
    assert np.sqrt(np.mean([np.square(one).sum() for one in wanted])) < 0.1


def test_short_records_few_events_and_numbers_have_no_season():
    assert season_of(1.1) == ()
    with pytest.raises(ValueError, match=r"record of 65 weeks .* in 57 weeks: with"):
        season_of(1.1, True)
    assert season_of(2, n=20) == ()
    with pytest.raises(ValueError, match=r"with 500 events .* have \d{2,3} in 10\d w"):
        season_of(2, True, n=20)
    assert season_of(3, clock=Clock("int64")) == ()
    with pytest.raises(ValueError, match="yearly_seasonality=True needs datetimes"):
        season_of(3, True, clock=Clock("int64"))
    assert season_of(3, False) == ()


def test_an_event_at_the_end_of_its_record_has_no_exposure_after_it():
    one_each = HistoryDays(np.array([10, 14]), np.arange(3), np.array([20, 13]))
    found = WeeklyEvents.of(one_each)
    assert_allclose(found.exposure.sum(), 10 / 7)
    assert found.n_events.sum() == 0


# The model ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop():
    """A log of three years, and a model of it."""
    days, offsets, _ = histories(3, n=400, season=(0.0, 0.0, 0.8, 0.0))
    events = pd.DataFrame(
        {
            "customer": np.repeat(np.arange(400), np.diff(offsets)),
            "time": pd.to_datetime(days * US, unit="us"),
        }
    )
    log = EventLog(events, "customer", "time", observed_until="1972-12-31 12:00")
    X = log.snapshots(["1973-01-01"])
    model = LSTMEventModel(hidden_size=8, max_epochs=2, random_state=0)
    return X, model.fit(X)


def test_simulations_and_curves_move_along_the_season(shop):
    X, model = shop
    futures = model.sample(X, "730D", n_paths=5, random_state=0)
    month = futures["time"].dt.month
    # The rates of January and July are in the ratio exp(1.6), about 5.
    for year in (1973, 1974):
        of_year = month[futures["time"].dt.year == year]
        winter, summer = ((of_year % 12).isin(some).sum() for some in (WINTER, SUMMER))
        assert 2.5 < winter / summer < 8
    hazard = -np.log(
        np.mean(
            [
                one([30, 150, 210, 330, 390])
                for one in model.predict_survival_function(X)
            ],
            axis=0,
        )
    )
    assert hazard[0] > 1.5 * (hazard[2] - hazard[1])
    assert hazard[4] - hazard[3] > 1.2 * (hazard[2] - hazard[1])


def test_without_a_season_simulations_have_none(shop):
    X, model = shop
    flat = clone(model).set_params(yearly_seasonality=False).fit(X)
    futures = flat.sample(X, "365D", n_paths=5, random_state=0)
    month = futures["time"].dt.month % 12
    winter, summer = (month.isin(some).sum() for some in (WINTER, SUMMER))
    assert winter / summer < 2.5
    assert model.score(X) > flat.score(X)


def test_the_learned_season_is_public(shop):
    X, model = shop
    season = model.yearly_season_
    assert season.shape == (365,)
    assert_allclose(season.mean(), 1)
    assert_allclose(np.log(season[0] / season[182]), 1.6, atol=0.35)
    restored = pickle.loads(pickle.dumps(model))
    assert_allclose(restored.yearly_season_, season)
    assert_frame_equal(
        restored.sample(X[:9], "30D", 3, 0), model.sample(X[:9], "30D", 3, 0)
    )
    flat = clone(model).set_params(yearly_seasonality=False, max_epochs=1).fit(X)
    assert flat.yearly_season_ is None


def test_a_wrong_value_is_refused(shop):
    X, _ = shop
    with pytest.raises(ValueError, match="'yearly_seasonality' parameter"):
        LSTMEventModel(yearly_seasonality="yes").fit(X)


def test_weeks_as_steps_keep_the_season_without_weekdays():
    steps = np.arange(1, 120)
    starts, week = np.full(119, 20 * US), 7 * US
    time = OperationalTime(RATES, US, SEASON)
    args = steps * week, starts, np.array([30 * week]), starts[:1], 3.0 * week, 3
    grid = InterarrivalGrid.of(*args, time)
    assert grid.operational_time == OperationalTime((1.0,) * 7, US, SEASON)
    flat = InterarrivalGrid.of(*args, OperationalTime(RATES, US))
    assert flat.operational_time is None
    upper, width = grid.cells(steps * week, starts).T
    assert_allclose((upper - width)[1:], upper[:-1], atol=1e-5)
    drawn = grid.ticks(upper.astype("float64") - 1e-5, 200.0 * week, starts)
    assert_allclose(drawn, steps * week)
