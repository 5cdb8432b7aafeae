"""Operational time: against a loop over hours, and a shop closed on two weekdays."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal

from sklearn_seqcrm._store import Clock
from sklearn_seqcrm.event_model import LSTMEventModel
from sklearn_seqcrm.event_model._interarrival import InterarrivalGrid, TimeDensity
from sklearn_seqcrm.event_model._operational_time import OperationalTime
from sklearn_seqcrm.events import EventLog
from tests.event_model.draws import seeded_draws

DAY = pd.Timedelta(days=1)
US = 86_400_000_000
RATES = (1.5, 1.2, 0.8, 1.6, 1.75, 0.01, 0.14)
# Closed from midnight to 8, and busiest from 18 to 20.
HOURS = tuple([0.003] * 8 + [1.2] * 10 + [3.0] * 2 + [1.494] * 4)
N_DRAWS = 40_000
# Of a share of so many draws: five standard deviations.
SHARE = 5 * 0.5 / np.sqrt(N_DRAWS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Operational time ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "day"), [("s", 86_400), ("us", US), ("ns", 1000 * US)]
)
@pytest.mark.parametrize("hours", [(), HOURS])
def test_time_passes_as_in_a_loop_over_hours(unit, day, hours):
    time = OperationalTime(RATES, day, (), hours)
    rng = np.random.default_rng(0)
    days = rng.integers(-30_000, 30_000, 300)
    start = days * day + rng.integers(0, day, 300)
    start[:20] = days[:20] * day
    interarrival = rng.integers(0, 40 * day, 300)
    interarrival[:40] = rng.integers(0, 40, 40) * day
    interarrival[40:80] = rng.integers(0, 50, 40)  # a few ticks
    interarrival[80:120] = rng.integers(0, day // 12, 40)  # up to two hours
    expected = [
        warped_by_loop(*one, unit, day, hours)
        for one in zip(start, interarrival, strict=True)
    ]
    passed = time.warp(start, interarrival)
    assert_allclose(passed, expected, rtol=1e-14)
    # As many digits as a sum of days leaves on the slowest of them.
    slowest = 1e-9 if hours else 1e-12
    assert_allclose(
        time.unwarp(start, passed), interarrival, rtol=1e-12, atol=slowest * day
    )


def warped_by_loop(start, duration, unit, day, hours):
    total, end = 0.0, start + duration
    while start < end:
        hour = day // 24
        until = min(end, (start // hour + 1) * hour)
        time = pd.Timestamp(np.datetime64(int(start), unit))
        by_hour = hours[time.hour] if hours else 1.0
        total += (until - start) * RATES[time.day_of_week] * by_hour
        start = until
    return total


def moments(weekdays, n_weeks, n, seed=0):
    """Return days on some weekdays, equally likely."""
    rng = np.random.default_rng(seed)
    return US * (4 + 7 * rng.integers(0, n_weeks, n) + rng.choice(weekdays, n))


def test_rates_are_shares_of_moments():
    """Of days before 1970; two weekdays have no events."""
    times = moments([0, 1, 1, 2, 3, 4], 20, 6000)
    found = OperationalTime.of(times - 7 * US * 1000, Clock("int64", "us"))
    assert found.day == US
    assert_allclose(found.rates[:5], np.array([1, 2, 1, 1, 1]) * 7 / 6, rtol=0.1)
    assert_allclose(found.rates[5:], 0.5 * 7 / 6000, rtol=0.01)
    assert_allclose(np.mean(found.rates), 1)


FIRSTS = pd.date_range("2020-01-01", periods=24, freq="MS", unit="us")


@pytest.mark.parametrize(
    ("times", "clock"),
    [
        (moments(range(5), 20, 2000), Clock("int64")),
        (moments(range(5), 20, 400), Clock("int64", "us")),
        (moments(range(5), 8, 2000), Clock("int64", "us")),
        (moments(range(7), 20, 2000), Clock("int64", "us")),
        # Of 24 dates some weekdays have none, which says nothing of other dates.
        (np.repeat(FIRSTS.asi8, 50), Clock("int64", "us")),
    ],
    ids=["numbers", "few moments", "few weeks", "all alike", "first of month"],
)
def test_weekdays_without_evidence_are_not_used(times, clock):
    assert OperationalTime.of(times, clock) is None


def test_hours_are_shares_of_moments():
    """Of a shop that opens from 9 to 18 and closes earlier on Sundays."""
    rng = np.random.default_rng(0)
    times = moments(range(7), 10, 6000) + (9 * 60 + rng.integers(0, 540, 6000)) * (
        US // 1440
    )
    for aware in (False, True):
        found = OperationalTime.of(times, Clock("int64", "us", aware))
        assert_allclose(found.hours[9:18], 24 / 9, rtol=0.1)
        assert_allclose(
            np.delete(found.hours, range(9, 18)), 0.5 * 24 / 6000, rtol=0.01
        )
        assert not found.has_weekdays
    # Without evidence, they are all alike.
    week = OperationalTime.of(
        moments(range(5), 10, 6000) + US // 3, Clock("int64", "us")
    )
    assert week.hours == ()
    some = rng.integers(0, 60 * 1440, 6000) * (US // 1440)
    # A third are on a schedule, at nine o'clock.
    nine = np.where(np.arange(6000) % 3, some, some // US * US + 9 * US // 24)
    for alike in (some, nine, times[:400], times % (13 * US), times // US * US):
        assert OperationalTime.of(alike, Clock("int64", "us")) is None


# The grid -----------------------------------------------------------------------------


def grid_of(step, n=2000, **rates):
    """Return a grid learned from whole steps and ties, with rates of weekdays."""
    rng = np.random.default_rng(0)
    steps = np.ceil(np.exp(rng.normal(1, 1, n)) * (US // step)).astype("int64")
    steps[:300] = 0
    interarrival, starts = steps * step, rng.integers(0, 200, n) * US
    week, silence = OperationalTime(RATES, US, **rates), np.array([30, 90]) * US
    return InterarrivalGrid.of(
        interarrival, starts, silence, starts[:2], 3.0 * US, 3, week
    )


def start_on(weekday):
    """Return the midnight of a weekday after 5 January 1970, a Monday, in ticks."""
    return (4 + weekday) * US


@pytest.mark.parametrize("hours", [0, 15])
def test_steps_have_the_weekday_that_they_end_on(hours):
    grid = grid_of(US)
    steps = np.arange(1, 15)
    start = np.full(14, start_on(4) + hours * US // 24)  # a Friday
    upper, width = grid.cells(steps * US, start).T
    rates = np.array([RATES[(4 + step) % 7] for step in steps])
    assert_allclose(np.exp(upper) * 3, np.cumsum(rates), rtol=1e-6)
    lower = np.exp(upper[1:] - width[1:]) * 3
    assert_allclose(lower, np.cumsum(rates)[:-1], rtol=1e-5)
    assert np.isinf(width[0])
    # At the next event's own day, only the days before it are over.
    limits = np.exp(grid.log_censoring_time(steps[1:] * US - 1.0, start[1:])) * 3
    assert_allclose(limits, lower, rtol=1e-5)
    drawn = np.log(np.cumsum(rates) / 3)
    assert_array_equal(grid.ticks(drawn - 1e-6, 15.0 * US, start), steps * US)


@pytest.mark.parametrize(
    ("step", "n", "rates"),
    [(US, 400, {}), (US // 4, 1600, {}), (US // 96, 4000, {"hours": HOURS})],
)
def test_cells_tile_and_draws_follow_them(step, n, rates):
    grid = grid_of(step, **rates)
    density = TimeDensity(4, grid, generator())
    with torch.no_grad():
        density.output.weight.mul_(5)
    state = torch.randn(1, 4, generator=generator(1))
    ticks = np.arange(n) * step
    for weekday in (1, 4, 5):
        start = np.full(N_DRAWS, start_on(weekday))
        cells = grid.cells(ticks, start[:n])
        upper, lower = cells[2:, 0], cells[2:, 0] - cells[2:, 1]
        assert_allclose(lower, cells[1:-1, 0], atol=1e-5)
        assert (cells[1:, 1] > 0).all()
        # Those of a closed hour are too narrow for a difference in float32.
        assert rates or (upper > lower).all()
        censored = grid.log_censoring_time(np.array([n * step]), start[:1])
        after = grid.log_censoring_time(np.full(N_DRAWS, 10.0 * US), start)
        with torch.no_grad():
            shares = density.log_prob(state.expand(n, 4), torch.from_numpy(cells))
            shares = shares.exp().numpy()
            tail = density.log_survival(state, torch.from_numpy(censored).float())
            many = state.expand(N_DRAWS, 4)
            limits = torch.from_numpy(after).float()
            is_tie, logs = density.draw(many, seeded_draws(0, N_DRAWS))
            _, later = density.draw(many, seeded_draws(1, N_DRAWS), limits)
        assert_allclose(shares.sum() + tail.exp().item(), 1, atol=1e-4)
        steps = np.where(is_tie, 0, grid.ticks(logs.numpy(), 1e6 * US, start) / step)
        found = np.bincount(steps.astype(int).clip(max=n), minlength=n + 1)[:n]
        assert_allclose(found / N_DRAWS, shares, atol=SHARE)
        # Of the weekdays as well: steps of a day have small shares each.
        days = (ticks[1:] // US + weekday) % 7
        by_weekday = np.bincount(days, weights=shares[1:])
        drawn = np.bincount(days, weights=found[1:] / N_DRAWS)
        assert_allclose(drawn, by_weekday, atol=SHARE)
        assert by_weekday[5] < 0.02
        if rates:
            hours = ticks[1:] // (US // 24) % 24
            by_hour = np.bincount(hours[3:], weights=shares[4:])
            assert by_hour[:8].sum() < 0.01
        steps = grid.ticks(later.numpy(), 1e6 * US, start) / step
        first = 10 * US // step
        assert steps.min() >= first
        found = np.bincount(steps.astype(int).clip(max=n), minlength=n + 1)[:n]
        left = np.where(np.arange(n) >= first, shares, 0) / (1 - shares[:first].sum())
        assert_allclose(found / N_DRAWS, left, atol=SHARE)


def test_components_start_in_operational_time():
    week, starts = OperationalTime(RATES, US), start_on(np.array([0, 3, 4, 4]))
    interarrival, silence = np.array([1, 2, 3, 0]) * US, np.array([2 * US])
    found = InterarrivalGrid.of(
        interarrival, starts, silence, start_on(np.array([5])), US, 9, week
    )
    # Tuesday; Friday and Saturday; Saturday to Monday; Sunday to Wednesday.
    logs = np.log([1.2, 1.76, 0.01 + 0.14 + 1.5, 0.14 + 1.5 + 1.2 + 0.8])
    assert_allclose(found.quantiles, np.quantile(logs, (np.arange(9) + 0.5) / 9))
    assert_allclose(found.spread, logs.std())


def test_long_draws_are_cut():
    grid = grid_of(US)
    start = start_on(np.arange(7))
    most = 2.0 * US
    far = grid.ticks(np.full(7, 1e4), most, start)
    assert_array_equal(far, np.full(7, most))
    # More than two days pass on the clock on a Thursday and a Friday.
    inside = grid.ticks(np.log(np.full(7, 3.3 / 3)), most, start)
    assert inside[2] == 2 * US
    # More than ten hours pass within the two busiest hours of a Friday.
    hour = US // 24
    hourly = grid_of(hour, hours=HOURS)
    logs, friday = np.log([10.4 / 24 / 3]), start_on(np.array([4])) + 17 * hour
    assert_array_equal(hourly.ticks(logs, 2.0 * hour, friday), 2 * hour)
    # To the end of all times, as of a horizon without an end.
    ends = grid.ticks(np.full(7, 1e4), float(2**63), start)
    assert (ends >= 2.0**63).all()


def test_days_that_are_no_whole_steps_have_no_weekdays():
    week, steps = OperationalTime(RATES, US), np.array([1, 2, 3])
    for step in (2 * US, 7 * US // 24):
        found = InterarrivalGrid.of(
            steps * step, steps * step, steps[:0], steps[:0], US, 2, week
        )
        assert found.operational_time is None


@pytest.mark.parametrize("hour", [3, 7, 23])
def test_nanoseconds_of_quiet_hours_pass(hour):
    """Also the last one of an hour, and of the day."""
    quiet = tuple([1e-5 if one in (3, 7, 23) else 1.2 for one in range(24)])
    time = OperationalTime((1.0,) * 7, 1000 * US, hours=quiet)
    start = np.array([0, 1234, 3_600_000_000_000 - 1]) + hour * 3_600_000_000_000
    assert_allclose(time.warp(start, np.ones(3)), 1e-5, rtol=1e-9)


@pytest.mark.parametrize("step", [US // 1440, US // 12, US, 7 * US // 24])
def test_hours_need_days_of_several_steps(step):
    time, steps = OperationalTime(RATES, US, hours=HOURS), np.array([1, 2, 3])
    found = InterarrivalGrid.of(
        steps * step, steps * step, steps[:0], steps[:0], US, 2, time
    )
    expected = {US: OperationalTime(RATES, US), 7 * US // 24: None}.get(step, time)
    assert found.operational_time == expected


# A shop -------------------------------------------------------------------------------

# Closed on Tuesdays and Sundays, and busy on Saturdays.
OPEN = np.array([1, 0, 0.7, 1, 1.3, 2, 0])
SMALL = {"hidden_size": 8, "max_epochs": 6, "learning_rate": 0.01, "random_state": 0}
FIRST, N_DAYS = pd.Timestamp("2024-01-01"), 364


def visits(n=300, opened=OPEN, seed=0):
    """Return days of customers who come at random, at rates of their own."""
    rng = np.random.default_rng(seed)
    often = rng.gamma(2, 0.03, n)[:, None] * opened[np.arange(N_DAYS) % 7]
    who, day = np.nonzero(rng.random((n, N_DAYS)) < often)
    days = pd.DatetimeIndex(FIRST + day * DAY).as_unit("us")  # pandas 2 makes "ns"
    return pd.DataFrame({"who": who, "day": days})


def rows_of(events, n=300, at=FIRST + N_DAYS * DAY):
    rows = pd.DataFrame({"who": range(n)})
    return EventLog(events, "who", "day", observed_until=at).attach(rows, cutoff=at)


@pytest.fixture(scope="module", name="X")
def rows():
    return rows_of(visits())


@pytest.fixture(scope="module")
def model(X):
    return LSTMEventModel(**SMALL).fit(X)


def shares_of(days):
    return np.bincount(days.dt.day_of_week, minlength=7) / len(days)


def without_weekdays(monkeypatch, X):
    with monkeypatch.context() as patch:
        patch.setattr(OperationalTime, "of", lambda *args: None)
        model = LSTMEventModel(**SMALL).fit(X)
    assert model._learned.grid.operational_time is None
    return model


def test_no_event_is_simulated_on_closed_days(model, X):
    events = visits()
    assert len(events) > 4000
    futures = model.sample(X, "91D", n_paths=20, random_state=0)
    found, real = shares_of(futures["day"]), shares_of(events["day"])
    assert found[[1, 6]].max() < 0.01
    # Some 20,000 events, of which those of a path go together.
    assert_allclose(found, real, atol=0.02)
    assert_allclose(len(futures) / 20 / 91, len(events) / N_DAYS, rtol=0.15)


def test_weekdays_raise_the_likelihood_of_others(model, X, monkeypatch):
    held_out = rows_of(visits(seed=1))
    # Gain of known weekdays per event; first events of customers have none.
    shares = shares_of(visits()["day"]).clip(1e-9)
    weekday_gain = (shares * np.log(7 * shares)).sum()
    gain = model.score(held_out) - without_weekdays(monkeypatch, X).score(held_out)
    assert weekday_gain * 0.5 < gain < weekday_gain * 1.1


def test_first_events_follow_the_survival_function(model):
    """With cutoffs on several weekdays, on a closed one, and within a day."""
    events = visits()
    for n_days, hours in [(340, 0), (344, 0), (345, 0), (347, 13)]:
        at = FIRST + n_days * DAY + pd.Timedelta(hours=hours)
        rows = rows_of(events[events["day"] < at], 4, at)
        survival = model.predict_survival_function(rows, return_array=True)
        assert (np.diff(survival, axis=1) <= 1e-9).all()
        for place in (5, 25, 35):
            horizon = pd.Timedelta(days=model.unique_times_[place]).ceil("min")
            futures = model.sample(rows, horizon, 4000, random_state=0)
            some = futures.drop_duplicates(["row", "path"])["row"]
            active = np.bincount(some, minlength=4) / 4000
            error = 5 * np.sqrt(0.25 / 4000) + 1e-3
            assert_allclose(active, 1 - survival[:, place], atol=error)


@pytest.mark.parametrize("opened", [OPEN, np.ones(7)])
def test_curves_match_the_likelihood_of_later_cutoffs(opened):
    """Of the same events, and no further one until a later cutoff, on whole days."""
    events = visits(opened=opened)
    at = FIRST + 347 * DAY + pd.Timedelta(hours=13)
    seen = events[events["day"] < at]
    rows = rows_of(seen, 20, at)
    model = LSTMEventModel(**SMALL).fit(rows_of(seen, at=at))
    time = model._learned.grid.operational_time
    assert (time is None) == (opened.std() == 0)
    curves = model.predict_survival_function(rows)
    before = model.score_samples(rows)
    # Of the last one, the next times at which curves are computed may be days off.
    for n_days, error in [*((n, 2e-4) for n in (1, 2, 5, 7, 21, 28)), (70, 0.01)]:
        later = model.score_samples(rows_of(seen, 20, at + n_days * DAY))
        log_survival = [np.log(one(n_days)) for one in curves]
        # float32 of sums of some 100 nats.
        assert_allclose(log_survival, later - before, rtol=1e-4, atol=error)
    if time is None:
        times = model.unique_times_
        assert_array_equal(times, np.round(times))
        assert_array_equal(times[:12], np.arange(12))


def test_operational_time_is_kept(model, X):
    week = model._learned.grid.operational_time
    assert week is not None
    back = pickle.loads(pickle.dumps(model))
    assert back._learned.grid.operational_time == week
    futures = [one.sample(X[:9], "91D", 5, random_state=0) for one in (model, back)]
    assert_frame_equal(*futures)
    # Of weekdays that are all alike nothing would be learned by now.
    others = rows_of(visits(100, np.ones(7), seed=1), 100)
    assert back.partial_fit(others)._learned.grid.operational_time == week
    again = back.set_params(warm_start=True, max_epochs=1).fit(others)
    assert again._learned.grid.operational_time == week


@pytest.mark.parametrize("kind", ["alike", "numbers"])
def test_most_logs_keep_calendar_time(kind):
    if kind == "alike":
        X = rows_of(visits(opened=np.ones(7)))
    else:
        events = visits()
        events["day"] = (events["day"] - FIRST).dt.days
        X = rows_of(events, at=N_DAYS)
    found = LSTMEventModel(**{**SMALL, "max_epochs": 1}).fit(X)
    assert found._learned.grid.operational_time is None


def test_days_of_a_zone_with_summer_time():
    """March and October have days of 23 and 25 hours; logs store UTC."""
    local = visits()
    aware = local.assign(day=local["day"].dt.tz_localize("Europe/Berlin"))
    assert (aware["day"] == aware["day"].dt.normalize()).all()
    end = FIRST + N_DAYS * DAY
    X = rows_of(aware, at=end.tz_localize("Europe/Berlin"))
    one_epoch = {**SMALL, "max_epochs": 1}
    model = LSTMEventModel(**one_epoch).fit(X)
    # Days of UTC: closed on those before Tuesday and Sunday, whose evenings are theirs.
    assert model._learned.grid.operational_time.hours == ()
    futures = model.sample(X, "91D", 5, random_state=0)["day"]
    assert len(futures) > 1000
    assert shares_of(futures.dt.tz_convert("UTC"))[[0, 5]].max() < 0.01
    naive = aware.assign(day=aware["day"].dt.tz_localize(None))
    found = LSTMEventModel(**one_epoch).fit(rows_of(naive))
    assert_allclose(found._learned.grid.step, US, rtol=0)
    assert found._learned.grid.operational_time is not None


def test_seconds_and_several_events_a_day(monkeypatch):
    rng = np.random.default_rng(0)
    days = visits()
    events = days.loc[days.index.repeat(rng.integers(1, 4, len(days)))]
    opening = pd.to_timedelta(rng.integers(9 * 3600, 18 * 3600, len(events)), "s")
    opening = opening.as_unit("us")
    X = rows_of(events.assign(day=events["day"] + opening))
    model = LSTMEventModel(**SMALL).fit(X)
    assert model._learned.grid.step == 1e6
    assert np.isfinite(model.score_samples(X)).all()
    assert model.score(X) > without_weekdays(monkeypatch, X).score(X) + 0.1
    futures = model.sample(X, "91D", n_paths=4, random_state=0)
    assert shares_of(futures["day"])[[1, 6]].max() < 0.01
    assert futures["day"].dt.hour.between(9, 17).mean() > 0.98
    interarrival = futures.groupby(["row", "path"])["day"].diff()
    assert 0.2 < (interarrival < DAY).mean() < 0.8


@pytest.mark.parametrize("unit", [1 / 7, 1 / 365.25, 24.0])
def test_steps_of_one_day_are_found_in_any_unit(unit):
    days = np.sort(np.random.default_rng(0).integers(0, 300, 400)).astype("float64")
    events = pd.DataFrame({"who": np.arange(400) % 20, "time": days * unit})
    log = EventLog(events, "who", "time")
    X = log.snapshots([300 * unit])
    model = LSTMEventModel(**{**SMALL, "max_epochs": 1}).fit(X)
    assert_allclose(model.resolutions_["time"], unit, rtol=1e-9)
    drawn = model.sample(X, 30 * unit, n_paths=2, random_state=0)["time"] / unit
    assert_allclose(drawn, drawn.round(), rtol=1e-9)
