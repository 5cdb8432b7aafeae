"""What is learned of events: times, numbers, joined rows, and busy customers."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from sklearn_seqcrm._encoding import NumericField
from sklearn_seqcrm._encoding._training import Training
from sklearn_seqcrm._ragged import learn_from
from sklearn_seqcrm._recurrent.data import HistorySource, RowData
from sklearn_seqcrm._store import Clock, Column, Rows
from sklearn_seqcrm.event_model._busiest_windows import BusiestWindows
from sklearn_seqcrm.event_model._earlier_numbers import NO_NUMBER
from sklearn_seqcrm.event_model._event_batches import EventBatches, mixed_batch_size
from sklearn_seqcrm.event_model._fields import TrainingEvents
from sklearn_seqcrm.event_model._interarrival import InterarrivalGrid
from sklearn_seqcrm.event_model._learn import join_views
from sklearn_seqcrm.event_model._numbers import NumberField, symexp, symlog

DAY = 86_400_000_000


@pytest.mark.parametrize(
    ("interarrival", "step"),
    [
        (np.array([2, 4, 0, 10]) * DAY, 2 * DAY),
        (np.array([3 * DAY, 60_000_000]), 60_000_000),
        (np.array([3.0, 9.0, 0.0]), 3.0),
        (np.array([0.25, 1.5, 3.0]), 0.25),
        (np.array([0.25, 1.5, np.pi]), 1.5e-6),
    ],
    ids=["days", "minutes", "whole floats", "quarters", "floats"],
)
def test_resolution_of_times(interarrival, step):
    unit = float(np.median(interarrival[interarrival > 0]))
    none, starts = np.zeros(0), np.zeros(len(interarrival))
    found = InterarrivalGrid.of(interarrival, starts, none, none, unit, 2, None)
    assert_allclose(found.step, step)


@pytest.mark.parametrize(
    ("interarrival", "starts", "last", "step"),
    [
        ([], [], [10, 13, 10], 3),
        ([], [], [10, 10, 10], 8),  # to the cutoffs
        ([0, 0], [2, 8], [8, 14, 2], 6),
        ([14], [1], [15, 3, 7], 2),
        ([14] * 9, [1] * 9, [15, 3, 7], 2),
        ([14] * 10, [1] * 10, [15, 3, 7], 14),
    ],
    ids=["one event each", "one moment", "ties", "one repeats", "nine", "ten"],
)
def test_resolution_where_few_come_back(interarrival, starts, last, step):
    interarrival, starts, last = (
        np.array(one, "int64") for one in (interarrival, starts, last)
    )
    since = np.array([8, 16, 24])
    found = InterarrivalGrid.of(interarrival, starts, since, last, 1.0, 2, None)
    assert found.step == step


def test_cells_of_interarrival_times():
    none, start = np.zeros(0), np.zeros(4)
    grid = InterarrivalGrid.of(np.array([2, 4]), start[:2], none, none, 4.0, 1, None)
    upper, width = grid.cells(np.array([0.0, 2, 4, 12]), start).T
    assert_allclose(upper[1:], np.log([0.5, 1, 3]), rtol=1e-6)
    assert_allclose(width, [-1, np.inf, np.log(2), np.log(6 / 5)], rtol=1e-6)
    # With 5 ticks since the last event, steps 2 and 4 are over; the step that ends at
    # the cutoff, 6, is not.
    assert_allclose(
        grid.log_censoring_time(np.array([5.0, 6.0]), start[:2]), np.log([1, 1])
    )
    assert (grid.log_censoring_time(np.array([0.0, 2.0]), start[:2]) < -40).all()
    drawn = grid.ticks(np.log([0.01, 0.5, 0.6, 1e9]), 20, start)
    assert_array_equal(drawn, [2, 2, 4, 20])


@pytest.mark.parametrize(
    ("values", "step", "decimals"),
    [
        ([1.0, 5.0, 3.0], 1.0, 0),
        ([100.0, 300.0], 100.0, 0),
        ([9.99, 0.5, 12.0], 0.01, 2),
        (np.array([9.99, 0.5, 12.0], "float32"), 0.01, 2),
        ([np.pi, np.e, 1.0], None, None),
        ([1e200, 3.0], None, None),
        ([np.nan, np.inf], 1.0, 0),
    ],
    ids=["whole", "hundreds", "cents", "float32", "any", "huge", "missing"],
)
def test_resolution_of_numbers(values, step, decimals):
    field = number_field(Column(np.asarray(values)))
    assert field.decimals == decimals
    assert_allclose(field.step, 1e-6 * field.scale if step is None else step)


def number_field(column, times=None, clock=None):
    clock = clock or Clock("int64")
    times = np.zeros(len(column.values), "int64") if times is None else times
    training = Training(times, clock, columns={"amount": column})
    encoder = learn_from(NumericField.learning("amount", clock), training)
    events = TrainingEvents(*[times] * 4)
    return NumberField.learn(encoder, column, events, 2)


def column_of(field, atom, scaled, times):
    """Values of drawn atoms and numbers, of events that all have the field."""
    drawn = torch.from_numpy(atom), torch.from_numpy(scaled)
    nothing = torch.full((len(atom),), NO_NUMBER)
    return field.column((*drawn, nothing, nothing), np.ones(len(atom), bool), times)


def test_numbers_there_and_back():
    rng = np.random.default_rng(0)
    values = np.round(np.exp(rng.normal(3, 2, 500)), 2)
    field = number_field(Column(values))
    scaled = symlog(values, field.center, field.scale)
    assert_allclose(symexp(scaled, field.center, field.scale), values, rtol=1e-12)
    back = column_of(field, np.full(500, -1), scaled, np.zeros(500, "int64")).values
    assert_allclose(back, values, rtol=1e-12, atol=1e-9)
    upper, width, atom = field.targets(Column(values), np.zeros(500, "int64")).T
    high, low = (symlog(values + x, field.center, field.scale) for x in (0.005, -0.005))
    assert_allclose(upper, high, rtol=1e-6, atol=1e-6)
    assert_allclose(width, high - low, rtol=1e-3)
    assert (atom == -1).all()


@pytest.mark.parametrize("in_days", [True, False])
def test_datetimes_there_and_back(in_days):
    rng = np.random.default_rng(0)
    clock = Clock("int64", "us")
    times = rng.integers(0, 1000, 200) * DAY + (0 if in_days else 3_600_000_000)
    due = times + rng.integers(-5, 30, 200) * DAY
    due = due // DAY * DAY if in_days else due
    column = Column(due.astype("M8[us]"))
    column.values[3] = np.datetime64("NaT", "us")
    field = number_field(column, times, clock)
    assert field.in_days == in_days
    targets = field.targets(column, times)
    days = column.as_numbers(times, clock)
    scaled = symlog(np.nan_to_num(days), field.center, field.scale)
    back = column_of(field, targets[:, 2].astype("int64"), scaled, times)
    assert back.values.dtype == column.values.dtype
    assert_array_equal(back.values, column.values)


def test_rows_that_overlap_are_joined():
    #        customer, start, stop, cutoff
    rows = [
        (0, 0, 2, 10),  # two rows that overlap,
        (0, 0, 4, 20),
        (0, 6, 7, 30),  # a lookback hides events 4 and 5,
        (2, 7, 7, 99),  # nothing,
        (2, 7, 9, 50),  # one after the other's end
        (-1, 0, 0, 5),
        (2, 9, 11, 40),  # goes on where another row stops
        (0, 1, 3, 15),
    ]
    codes, start, stop, cutoff = np.array(rows).T
    order = np.random.default_rng(0).permutation(len(rows))
    joined, first = join_views(
        Rows(None, codes[order], start[order], stop[order], cutoff[order])
    )
    assert_array_equal(joined.start, [0, 6, 7])
    assert_array_equal(joined.stop, [4, 7, 11])
    assert_array_equal(joined.codes, [0, 0, 2])
    assert_array_equal(joined.cutoff, [20, 30, 50])
    assert_array_equal(order[first], [0, 2, 6])


def test_busiest_windows_against_a_loop():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 9, 20)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    times = np.concatenate([np.sort(rng.integers(0, 500, n)) for n in counts])
    found = BusiestWindows.of(times, offsets, np.full(20, 10_000))
    assert found.lengths[-1] == max(map(np.ptp, np.split(times, offsets[1:-1])))
    for length, count in zip(found.lengths, found.counts, strict=True):
        most = max(
            np.sum((own >= time) & (own <= time + length))
            for own in np.split(times, offsets[1:-1])
            for time in own
        )
        assert count == most
    assert found.bound(found.lengths[-1]) == max(20, 2 * counts.max())
    # For longer than anyone was seen, at the same pace.
    assert found.bound(10 * found.lengths[-1]) == 20 * found.counts[-1]
    assert found.bound(1.7e308) == 2**62


def test_busiest_windows_of_single_baskets_end_at_cutoffs():
    times, offsets = np.array([7, 7, 7, 2, 5, 5]), np.array([0, 3, 4, 6])
    found = BusiestWindows.of(times, offsets, np.array([9, 10, 9]))
    assert found.lengths[-1] == 8
    assert found.bound(800.0) == 2 * 300


def test_batches_are_mixed_and_parts_alike():
    """Rows of any length share batches; parts are as large as memory allows."""
    rng = np.random.default_rng(0)
    lengths = np.where(rng.random(2000) < 0.1, 400, rng.integers(1, 4, 2000))
    stop = np.cumsum(lengths)
    none = np.zeros((stop[-1], 0), "float32")
    source = HistorySource(
        none, none.astype("int32"), np.arange(stop[-1]), stop - lengths, stop, stop
    )
    data = RowData((source,), np.zeros((2000, 0), "float32"))
    plan = EventBatches(
        data, 200, shuffle=True, share=False, steps_at_once=5000, most_steps=20_000
    ).plan()
    assert_array_equal(
        np.sort(np.concatenate([np.concatenate(b) for b in plan])), range(2000)
    )
    share_long = [np.mean(lengths[np.concatenate(batch)] == 400) for batch in plan]
    assert max(share_long) < 0.2
    parts = [part for batch in plan for part in batch]
    assert max(lengths[part].sum() for part in parts) <= 5000
    assert max(lengths[part].max() * len(part) for part in parts) <= 20_000
    assert len(parts) < 4 * len(plan)
    of_few_events = [mixed_batch_size(n, 3 * n) for n in (10, 20_000, 10**6)]
    assert of_few_events == [64, 312, 512]
    assert [mixed_batch_size(400, 400 * n) for n in (16, 100, 5000)] == [64, 11, 8]
    assert mixed_batch_size(2400, 2400 * 100) == 37
    assert [mixed_batch_size(n, 3 * n, 4) for n in (10, 10**5, 10**6)] == [
        64,
        1562,
        2048,
    ]


def test_batches_have_at_most_an_eighth_of_few_histories_if_training_stops_early():
    rows = (10, 100, 300, 512, 1000, 20_000)
    found = [mixed_batch_size(n, 3 * n, stops_early=True) for n in rows]
    assert found == [8, 12, 37, 64, 64, 312]
    assert [mixed_batch_size(n, 3 * n) for n in rows] == [64] * 5 + [312]
    long = [mixed_batch_size(n, 100 * n, stops_early=True) for n in (50, 100, 2400)]
    assert long == [8, 11, 37]
