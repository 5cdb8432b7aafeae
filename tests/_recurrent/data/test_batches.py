import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from sklearn_seqcrm._recurrent.data import _batches
from sklearn_seqcrm._recurrent.data._batches import BatchIterator
from sklearn_seqcrm._recurrent.data._rows import RowData
from sklearn_seqcrm._recurrent.data._sources import HistorySource


def make_data(n_customers=12, most_rows=6, n_sources=1, seed=0, weight=False):
    """Rows that see prefixes of their customer's events, in no order."""
    rng = np.random.default_rng(seed)
    sources, customer = [], None
    n_rows = rng.integers(1, most_rows + 1, n_customers)
    customer = rng.permutation(np.repeat(np.arange(n_customers), n_rows))
    for _ in range(n_sources):
        lengths = rng.integers(0, 9, n_customers)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        n_events = offsets[-1]
        seen = rng.integers(0, lengths[customer] + 1)
        start = offsets[customer]
        sources.append(
            HistorySource(
                channels=rng.normal(size=(n_events, 3)).astype("float32"),
                codes=rng.integers(0, 5, (n_events, 2)).astype("int32"),
                times=np.sort(rng.random(n_events)),
                start=start,
                stop=start + seen,
                cutoff=rng.random(len(customer)) + 1,
                time_unit=2.5,
            )
        )
    n = len(customer)
    return RowData(
        tuple(sources),
        rng.normal(size=(n, 2)).astype("float32"),
        rng.integers(0, 2, n),
        rng.random(n).astype("float32") if weight else None,
    )


def gathered(iterator):
    """Rows, part and targets of each part of each batch."""
    for batch, target in iterator:
        assert_array_equal(batch.rows, np.concatenate(batch.parts))
        targets = target.split([len(rows) for rows in batch.parts])
        yield from zip(batch.parts, batch, targets, strict=True)


def plans(data, batch_size, n_epochs=1, **options):
    iterator = BatchIterator(data, batch_size, **options)
    return [[batch.rows for batch, _ in iterator] for _ in range(n_epochs)]


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 16, 10_000])
@pytest.mark.parametrize("n_sources", [0, 1, 2])
def test_each_row_is_in_one_batch(batch_size, shuffle, share, n_sources):
    data = make_data(n_sources=n_sources)
    for plan in plans(data, batch_size, 2, shuffle=shuffle, share=share):
        assert_array_equal(np.sort(np.concatenate(plan)), np.arange(len(data)))
        assert max(map(len, plan)) <= batch_size


@pytest.mark.parametrize("share", [True, False])
def test_batches_are_about_full(share):
    data = make_data(n_customers=200)
    sizes = [len(rows) for [plan] in [plans(data, 32, share=share)] for rows in plan]
    # Rows of one customer stay together, so that a batch may be smaller.
    least = 32 - 6 if share else 32
    assert min(sizes[:-1]) > least - 1
    assert len(sizes) <= np.ceil(len(data) / least)


def test_rows_that_share_a_sequence_are_in_one_batch():
    data = make_data(n_customers=100)
    starts = data.sources[0].start
    [plan] = plans(data, 32, shuffle=True)
    places = [np.unique(starts[rows]) for rows in plan]
    assert len(np.concatenate(places)) == len(np.unique(starts))


def test_more_rows_of_a_customer_than_a_batch_are_cut_by_length():
    data = make_data(n_customers=1, most_rows=200, seed=3)
    [plan] = plans(data, 8)
    assert len(data) > 20
    assert [len(rows) for rows in plan[:-1]] == [8] * (len(plan) - 1)
    lengths = data.sources[0].stop - data.sources[0].start
    ordered = [length for rows in plan for length in sorted(lengths[rows])]
    assert ordered == sorted(lengths)


def test_rows_of_similar_length_are_together():
    data = make_data(n_customers=500, most_rows=1)
    lengths = data.sources[0].stop - data.sources[0].start
    for shuffle in (True, False):
        [plan] = plans(data, 16, shuffle=shuffle)
        padded = sum(len(rows) * lengths[rows].max() for rows in plan)
        assert padded < 1.15 * lengths.sum()


def test_shuffling_follows_its_seed():
    data = make_data(n_customers=60)

    def flat(plan):
        return [rows.tolist() for rows in plan]

    first, second = plans(data, 8, 2, shuffle=True, seed=1)
    again = plans(data, 8, 2, shuffle=True, seed=1)
    [other] = plans(data, 8, shuffle=True, seed=2)
    assert flat(first) == flat(again[0])
    assert flat(second) == flat(again[1])
    assert flat(first) != flat(second)
    assert flat(first) != flat(other)
    steady = plans(data, 8, 2)
    assert flat(steady[0]) == flat(steady[1])


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("most", [1, 20, 50, 1000])
def test_long_histories_are_gathered_a_few_at_a_time(most, share):
    data = make_data(n_customers=40, most_rows=1)
    iterator = BatchIterator(
        data, 32, share=share, shuffle=True, steps_at_once=20, most_steps=most
    )
    n_steps = []
    for _, part, _ in gathered(iterator):
        lengths = part.histories[0].lengths
        n_steps.append(len(lengths) * lengths.max().item())
        # Eight at least, if they are not too long together.
        assert n_steps[-1] <= max(20, 8 * lengths.max())
        assert n_steps[-1] <= most or len(lengths) == 1
    assert max(n_steps) <= most or most == 1
    batches = [batch.rows for batch, _ in iterator]
    assert sorted(map(len, batches)) == [8, 32]
    assert_array_equal(np.sort(np.concatenate(batches)), np.arange(40))


def by_products(data):
    """The rows again, with a second column in which nearly each has its own events."""
    n_events = 40 * len(data)
    second = HistorySource(
        np.zeros((n_events, 3), "float32"),
        np.zeros((n_events, 2), "int32"),
        np.zeros(n_events),
        start=40 * np.arange(len(data)),
        stop=40 * np.arange(len(data)) + 30,
        cutoff=np.ones(len(data)),
    )
    return RowData((data.sources[0], second), data.static, data.target)


def by_shops(data):
    """The rows again, with a second column: the events of one of three shops."""
    rng = np.random.default_rng(0)
    start = 8 * rng.integers(0, 3, len(data))
    shops = HistorySource(
        rng.normal(size=(24, 3)).astype("float32"),
        rng.integers(0, 5, (24, 2)).astype("int32"),
        rng.random(24),
        start=start,
        stop=start + rng.integers(0, 9, len(data)),
        cutoff=rng.random(len(data)) + 1,
        time_unit=2.5,
    )
    return RowData((data.sources[0], shops), data.static, data.target, data.weight)


def test_limits_hold_for_all_history_columns(monkeypatch):
    data = by_products(make_data(n_customers=3, most_rows=40, seed=1))
    iterator = BatchIterator(data, 1000, steps_at_once=300, most_steps=300)
    for _, part, _ in gathered(iterator):
        lengths = part.histories[1].lengths
        assert len(lengths) * lengths.max() <= 300
    assert_array_equal(
        np.sort(np.concatenate([batch.rows for batch, _ in iterator])),
        np.arange(len(data)),
    )
    # The other way round: many rows for one sequence of the second column.
    swapped = RowData(data.sources[::-1], data.static, data.target)
    monkeypatch.setattr(_batches, "_MOST_WEIGHTS", 2000)
    n_parts = 0
    for _, part, _ in gathered(BatchIterator(swapped, 1000)):
        n_parts += 1
        for history in part.histories:
            assert history.ages.numel() <= 2000 or len(part) == 1
    assert n_parts > 1


def test_the_size_of_pooling_weights_is_limited(monkeypatch):
    monkeypatch.setattr(_batches, "_MOST_WEIGHTS", 200)
    data = make_data(n_customers=60)
    seen = []
    for rows, part, _ in gathered(BatchIterator(data, 1000)):
        lengths, visible = part.histories[0].lengths, part.histories[0].visible
        assert len(lengths) == 1 or visible.numel() * lengths.max() <= 200
        seen.append(rows)
    assert len(seen) > 3
    assert_array_equal(np.sort(np.concatenate(seen)), np.arange(len(data)))


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("n_sources", [1, 2, "shops"])
def test_each_row_sees_a_slice_of_the_events(share, n_sources):
    if n_sources == "shops":
        data = by_shops(make_data(weight=True))
    else:
        data = make_data(n_sources=n_sources, weight=True)
    n_steps_of_real = 0
    iterator = BatchIterator(data, 17, share=share, shuffle=True, steps_at_once=20)
    for batch, target in iterator:
        assert len(batch) == len(batch.rows) <= 17
        assert_array_equal(batch.weight, data.weight[batch.rows])
        assert_array_equal(target, data.target[batch.rows])
    for rows, part, target in gathered(iterator):
        assert len(part) == len(rows)
        assert_array_equal(part.static, data.static[rows])
        assert_array_equal(part.weight, data.weight[rows])
        assert_array_equal(target, data.target[rows])
        for source, history in zip(data.sources, part.histories, strict=True):
            n_slots = history.visible.shape[1]
            for row, place in zip(rows, history.place.tolist(), strict=True):
                sequence, slot = divmod(place, n_slots)
                events = slice(source.start[row], source.stop[row])
                n_seen = source.stop[row] - source.start[row]
                n_steps_of_real += n_seen
                assert history.visible[sequence, slot] == n_seen
                assert history.lengths[sequence] >= n_seen
                assert_array_equal(
                    history.values[sequence, :n_seen], source.channels[events]
                )
                assert_array_equal(
                    history.codes[sequence, :n_seen], source.codes[events]
                )
                ages = (source.cutoff[row] - source.times[events]) / 2.5
                assert_array_equal(
                    history.ages[sequence, slot, :n_seen], ages.astype("float32")
                )
                assert torch.isposinf(history.ages[sequence, slot, n_seen:]).all()
            # Padding is zeros, up to the longest sequence of the part.
            step = torch.arange(history.values.shape[1])
            padding = step >= history.lengths[:, None]
            assert not history.values[padding].any()
            assert not history.codes[padding].any()
            assert history.values.shape[1] == max(1, history.lengths.max())
            assert len(torch.unique(history.place)) == len(rows)
            if not share:
                assert history.visible.shape == (len(rows), 1)
    assert n_steps_of_real == sum(
        (source.stop - source.start).sum() for source in data.sources
    )


def test_rows_share_one_sequence():
    data = make_data(n_customers=5)
    [(_, part, _)] = gathered(BatchIterator(data, 1000))
    history = part.histories[0]
    assert len(history.values) == len(np.unique(data.sources[0].start))
    most = np.unique(data.sources[0].start, return_counts=True)[1].max()
    assert history.visible.shape[1] == most


def numbers_of_rows(rows, history):
    """Put the number of each row into its slot, and take them out again."""
    slots = torch.zeros(history.visible.numel(), 1)
    slots[history.place] = torch.from_numpy(rows)[:, None].to(slots)
    return history.take_rows(slots)[:, 0]


def test_rows_share_the_sequences_of_each_column():
    """Rows are sorted by customers; those of a shop are among those of others."""
    data = by_shops(make_data(n_customers=12))
    [(rows, part, _)] = gathered(BatchIterator(data, 1000))
    assert len(part.histories[1].values) == 3
    assert_array_equal(numbers_of_rows(rows, part.histories[1]), rows)
    # With as many slots as rows, these are in another order.
    start = data.sources[1].start
    two_of_each = np.concatenate([np.flatnonzero(start == at)[:2] for at in (0, 8, 16)])
    [(rows, part, _)] = gathered(BatchIterator(data.take(two_of_each), 1000))
    assert part.histories[1].visible.shape == (3, 2)
    assert not part.histories[1].adjoin
    assert_array_equal(numbers_of_rows(rows, part.histories[1]), rows)


def test_parts_count_each_sequence_once():
    """Three shops of eight events are 24 steps, whatever the order of their rows."""
    data = by_shops(make_data(n_customers=1, most_rows=60))
    assert len(data) > 20
    iterator = BatchIterator(data, 100, steps_at_once=24, most_steps=24)
    assert [len(rows) for rows, *_ in gathered(iterator)] == [len(data)]


def test_a_long_sequence_of_few_rows_cuts_no_batch():
    """Steps are counted in each column: 300 customers of 2 events, a shop of 500."""
    n = 300
    sources = [
        HistorySource(
            np.zeros((n_events, 1), "float32"),
            np.zeros((n_events, 0), "int32"),
            np.zeros(n_events),
            start=start,
            stop=start + length,
            cutoff=np.ones(n),
        )
        for n_events, start, length in (
            (2 * n, 2 * np.arange(n), 2),
            (500, np.zeros(n, "int64"), 500),
        )
    ]
    data = RowData(tuple(sources), np.zeros((n, 1), "float32"))
    [(rows, *_)] = gathered(BatchIterator(data, n, steps_at_once=600, most_steps=600))
    assert len(rows) == n


def test_no_events_at_all():
    data = make_data()
    source = data.sources[0]
    none = np.zeros(len(data), dtype="int64")
    empty = HistorySource(
        source.channels[:0], source.codes[:0], source.times[:0], none, none, none
    )
    [(_, part, _)] = gathered(BatchIterator(RowData((empty,), data.static), 1000))
    history = part.histories[0]
    assert history.values.shape == (1, 1, 3)
    assert not history.visible.any()


def test_without_targets():
    data = make_data()
    [(_, target)] = BatchIterator(RowData(data.sources, data.static), 1000)
    assert_array_equal(target, np.zeros(len(data)))


def test_taking_rows():
    data = make_data(weight=True)
    rows = np.array([5, 0, 3])
    few = data.take(rows)
    assert len(few) == 3
    assert_array_equal(few.static, data.static[rows])
    assert_array_equal(few.target, data.target[rows])
    assert_array_equal(few.weight, data.weight[rows])
    assert_array_equal(few.sources[0].stop, data.sources[0].stop[rows])
    assert few.sources[0].channels is data.sources[0].channels


def test_to_a_device_keeps_everything():
    data = make_data(weight=True)
    [(_, part, _)] = gathered(BatchIterator(data, 1000))
    moved = part.to("cpu")
    assert torch.equal(moved.static, part.static)
    assert torch.equal(moved.weight, part.weight)
    for name, tensor in vars(part.histories[0]).items():
        there = getattr(moved.histories[0], name)
        if isinstance(tensor, torch.Tensor):
            assert torch.equal(there, tensor)
        else:
            assert there is tensor
