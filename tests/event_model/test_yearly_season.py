"""The yearly season: against a loop over days, and against a simulated truth."""

import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pandas.testing import assert_frame_equal
from sklearn.base import clone

from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.event_model import LSTMEventModel, _yearly_season
from sklearn_seqcrm.event_model._interarrival import InterarrivalGrid
from sklearn_seqcrm.event_model._operational_time import (
    OperationalTime,
    _cycle_of,
    fourier_terms,
)
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
    durations = rng.integers(0, 900 * US, 60)
    durations[:20] = rng.integers(0, US, 20)
    expected = []
    for first, duration in zip(start, durations, strict=True):
        days = np.arange(first // US, (first + duration) // US + 1)
        ends = np.minimum((days + 1) * US, first + duration)
        parts = ends - np.maximum(days * US, first)
        expected.append((parts * rates_by_day(days)).sum() * scale)
    passed = time.warp(start, durations)
    assert_allclose(passed, expected, rtol=1e-12)
    assert_allclose(time.unwarp(start, passed), durations, rtol=1e-9, atol=1e-9 * US)


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


# The log rates of a shop that is open in winter alone, if they had no bound.
STEEP = (-13.3, 5.5, 16.5, 0.2)


def test_the_rates_of_a_season_are_bounded_alike_everywhere():
    time = OperationalTime((1.0,) * 7, US, STEEP)
    of_year = time.days_of_year()
    assert_allclose(of_year.max() / of_year.min(), np.exp(6), rtol=1e-9)
    passed = time.warp(np.arange(365) * US, np.full(365, US))
    assert_allclose(passed / passed.mean(), of_year, rtol=1e-9)
    assert_allclose(time.fastest, passed.max() / US, rtol=0.01)


@pytest.mark.parametrize(
    "time",
    [
        OperationalTime((1.0,) * 7, US, STEEP),
        OperationalTime((7 - 6e-16,) + (1e-16,) * 6, US, SEASON),
    ],
)
def test_cells_are_numbers_where_time_hardly_passes(time):
    grid = InterarrivalGrid(10.0 * US, float(US), 0.1, False, (0.0,), 1, 0.1, time)
    steps, starts = (one.ravel() for one in np.mgrid[1:40, 19_300:19_700])
    assert not np.isnan(grid.cells(steps * US, starts * US)).any()


def test_many_models_keep_their_cycles():
    _cycle_of.cache_clear()
    for _ in range(2):
        for number in range(20):
            OperationalTime(RATES, US, (number / 100, 0.0, 0.0, 0.0)).warp(
                np.array([0]), np.array([US])
            )
    assert _cycle_of.cache_info().misses == 20


# Learn --------------------------------------------------------------------------------


def test_weekly_events_are_those_of_a_loop_over_days():
    rng = np.random.default_rng(0)
    histories, last_days = [], np.array([400, 395, 340, 400])
    for last in last_days:
        histories.append(np.sort(rng.choice(np.arange(300, last + 1), 9, False)))
    histories[1] = histories[1][:1]
    offsets = np.cumsum([0, *map(len, histories)])
    found = WeeklyEvents.of(HistoryDays(np.concatenate(histories), offsets, last_days))
    later = np.concatenate([one[1:] for one in histories])
    record = 7 * (later.min() // 7), later.max()
    assert found.first == record[0] // 7
    exposure, n_events = np.zeros((2, *found.exposure.shape))
    for own, last in zip(histories, last_days, strict=True):
        for day in range(max(own[0] + 1, record[0]), min(last, record[1]) + 1):
            before = own[own < day]
            waited = max(day // 7 + 0.5 - before[-1] / 7, 0)
            age = min(int(np.log2(waited + 1)), 6)
            count = min(int(np.log2(len(before))), 5)
            cell = age * 6 + count, day // 7 - found.first
            exposure[cell] += 1 / 7
            n_events[cell] += day in own
    assert_allclose(found.exposure, exposure, atol=1e-12)
    assert_allclose(found.n_events, n_events)


def test_weeks_of_wrong_dates_are_no_part_of_the_record():
    """A first date has no exposure before it; others are few."""
    own = np.append(-9000, np.arange(700, 800, 9))
    offsets, last_days = np.arange(0, 201 * 13, 13), np.full(200, 800)
    days = np.tile(own, 200)
    days[1] = -8000
    found = WeeklyEvents.of(HistoryDays(days, offsets, last_days))
    assert found.first == 100
    assert found.exposure.shape[1] == 799 // 7 - 99


def test_memory_does_not_grow_with_the_time_before_the_record():
    rng, n = np.random.default_rng(0), 500
    days = np.sort(rng.integers(18_000, 18_700, (n, 9)), axis=1)
    days[:, 0] = 0
    peaks = []
    for late in (0, 30_000):
        tracemalloc.start()
        args = days.ravel(), np.arange(0, 9 * n + 1, 9), np.full(n, 18_701 + late)
        WeeklyEvents.of(HistoryDays(*args))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A line for each week since 1970 would be 1.3 million, of a dozen arrays.
    assert max(peaks) < 2e7


def histories(n_years, n=600, seed=0, season=SEASON, level=None):
    """Simulate customers who join, buy by season and leave: days and offsets."""
    rng, n_days = np.random.default_rng(seed), round(n_years * 365.25)
    rates = np.exp(fourier_terms(np.arange(n_days) + 0.5, 2) @ np.array(season))
    if level is not None:
        rates *= level(np.arange(n_days) / n_days)
    found = []
    for own in rng.gamma(1.0, 1 / 20, n):
        first = rng.integers(0, n_days - 30)
        days = np.arange(first + 1, min(n_days, first + 1 + int(rng.exponential(300))))
        came = days[rng.random(len(days)) < own * rates[days]]
        found.append(np.append(first, came))
    return np.concatenate(found), np.cumsum([0, *map(len, found)]), n_days


def season_of(n_years, yearly_seasonality="auto", clock=CLOCK, late=0, **changed):
    """Return the season that is learned from simulated histories."""
    days, offsets, n_days = histories(n_years, **changed)
    cutoff = np.full(len(offsets) - 1, (n_days + late) * US)
    return yearly_season(days * US, offsets, cutoff, clock, yearly_seasonality)


@pytest.mark.parametrize(
    ("n_years", "way", "tolerance"), [(1.4, True, 0.2), (3, "auto", 0.1)]
)
def test_the_season_of_a_simulation_is_found(n_years, way, tolerance):
    """Beside leaving customers, whose counts fall after each first purchase."""
    found = season_of(n_years, way)
    assert_allclose(found, SEASON, atol=tolerance)


NONE = (0.0,) * 4


def test_no_season_is_found_where_there_is_none():
    """By an F test, at less than a twentieth of all sets."""
    found = [season_of(2.1, season=NONE, seed=seed) for seed in range(12)]
    assert sum(map(bool, found)) <= 1


def test_a_season_that_is_wanted_is_shrunk_and_none_has_a_warning():
    with pytest.warns(UserWarning, match="is not larger than chance") as warned:
        found = [season_of(2, True, season=NONE, seed=seed) for seed in range(12)]
    assert 0 < len(warned) < 12
    assert sum(map(bool, found)) == 12 - len(warned)
    assert np.sqrt(np.mean([np.square(one).sum() for one in found if one])) < 0.1


@pytest.mark.parametrize("size", [0.6, 1.6])
def test_a_change_of_level_is_not_taken_for_a_season(size):
    """By a quadratic trend, in two thirds of all sets and more."""

    def step(part):
        return np.where(part > 0.5, size, 1.0)

    found = [season_of(2.1, season=NONE, seed=seed, level=step) for seed in range(8)]
    assert sum(map(bool, found)) <= 1


def test_short_records_few_events_and_numbers_have_no_season():
    assert season_of(1.9) == ()
    assert season_of(1.9, True) != ()
    with pytest.raises(ValueError, match=r"record of 65 weeks .* in 58 weeks: with"):
        season_of(1.1, True)
    assert season_of(2.1, n=20) == ()
    with pytest.raises(ValueError, match=r"with 500 events .* have \d{2,3} in \d+ w"):
        season_of(2.1, True, n=20)
    assert season_of(3, clock=Clock("int64")) == ()
    with pytest.raises(ValueError, match="yearly_seasonality=True needs datetimes"):
        season_of(3, True, clock=Clock("int64"))
    assert season_of(3, False) == ()


def test_bools_of_numpy_are_bools():
    assert season_of(3, np.False_) == ()
    with pytest.raises(ValueError, match="record of 65 weeks"):
        season_of(1.1, np.True_)


@pytest.mark.parametrize("late", [400, 76 * 365])
def test_silence_after_the_last_events_is_no_season(late):
    assert_allclose(season_of(3, late=late), season_of(3), atol=0.01)
    with pytest.raises(ValueError, match="in 58 weeks: with"):
        season_of(1.1, True, late=late)


def winters():
    """Return days of 300 customers of a shop that opens 50 days each winter."""
    rng = np.random.default_rng(0)
    opened = np.concatenate([np.arange(320, 370) + year for year in (0, 365, 731)])
    return np.sort(rng.choice(opened, (300, 9)), axis=1)


def test_a_shop_that_is_closed_has_a_season_only_on_request():
    days = winters().ravel() * US
    args = days, np.arange(0, 2701, 9), np.full(300, 1300 * US), CLOCK
    assert yearly_season(*args, "auto") == ()
    found = yearly_season(*args, True)
    assert 0.5 < np.abs(found).max() < 5
    rates = OperationalTime((1.0,) * 7, US, found).days_of_year()
    assert rates[340] > 10 * rates[180]


def test_a_fit_that_does_not_converge_has_no_season(monkeypatch):
    assert season_of(3) != ()
    monkeypatch.setattr(_yearly_season, "_N_STEPS", 2)
    assert season_of(3) == ()


def test_alternating_windows_of_customers_are_sampled_at_random(monkeypatch):
    rng, found, cutoff = np.random.default_rng(0), [], []
    for start in 300 * [18_000, 18_400]:
        days = np.arange(start, start + 300)
        rates = 0.05 * np.exp(0.6 * np.cos(2 * np.pi * days / 365.25))
        own = days[rng.random(300) < rates]
        found.append(own if len(own) else days[:1])
        cutoff.append((start + 300) * US)
    offsets = np.cumsum([0, *map(len, found)])
    monkeypatch.setattr(_yearly_season, "_MOST_ROWS", 400)
    season = yearly_season(
        np.concatenate(found) * US, offsets, np.array(cutoff), CLOCK, True
    )
    assert_allclose(season, [0, 0, 0.6, 0], atol=0.2)


def test_an_event_at_the_end_of_its_record_has_no_exposure_after_it():
    few = HistoryDays(
        np.array([10, 14, 9, 20]), np.array([0, 1, 2, 4]), np.array([20, 13, 20])
    )
    found = WeeklyEvents.of(few)
    # The record is the week from day 14 to day 20, with one event after a first one.
    assert_allclose(found.exposure.sum(), 2.0)
    assert found.n_events.sum() == 1


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
    # In the ratio .29 without a season, as customers differ.
    assert hazard[4] - hazard[3] > 0.6 * (hazard[2] - hazard[1])


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


def test_the_season_cannot_change_when_training_continues(shop):
    X, model = shop
    more = pickle.loads(pickle.dumps(model))
    more.set_params(warm_start=True, yearly_seasonality=False)
    with pytest.raises(ValueError, match="continues with yearly_seasonality='auto'"):
        more.fit(X)


def test_times_of_curves_are_at_most_a_month_apart_with_a_season(shop):
    X, model = shop
    assert np.diff(model.unique_times_).max() <= 30
    curves = model.predict_survival_function(X[:3], return_array=True)
    assert curves.shape == (3, len(model.unique_times_))
    flat = clone(model).set_params(yearly_seasonality=False, max_epochs=1).fit(X)
    assert len(flat.unique_times_) <= 64
    assert np.diff(flat.unique_times_).max() > 30


@pytest.mark.filterwarnings("ignore:observed_until is")
def test_events_of_six_weeks_in_four_years_can_be_learned():
    """Weeks without events separated the terms, and training diverged."""
    came = np.random.default_rng(0).random((600, 40)) < 0.98
    customer, day = np.nonzero(came)
    time = pd.to_datetime(18_262 + day, unit="D")
    events = pd.DataFrame({"customer": customer, "time": time})
    log = EventLog(events, "customer", "time", observed_until="2024-06-01")
    X = log.snapshots(["2023-12-31"])
    model = LSTMEventModel(hidden_size=4, max_epochs=1, random_state=0).fit(X)
    assert model.yearly_season_ is None
    assert np.isfinite(model.score(X))


def test_events_in_the_closed_season_have_a_likelihood():
    def rows(days):
        events = pd.DataFrame(
            {
                "customer": np.repeat(np.arange(len(days)), days.shape[1]),
                "time": pd.to_datetime(days.ravel(), unit="D"),
            }
        )
        log = EventLog(events, "customer", "time", observed_until="1973-09-01")
        return log.snapshots(["1973-09-01"])

    model = LSTMEventModel(
        hidden_size=4, max_epochs=1, random_state=0, yearly_seasonality=True
    ).fit(rows(winters()))
    summer = np.sort(np.random.default_rng(1).integers(1250, 1310, (20, 9)), axis=1)
    assert np.isfinite(model.score_samples(rows(summer))).all()


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
