"""Concurrent fits are independent of each other and of other random draws."""

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from joblib import Parallel, cpu_count, delayed, parallel_config
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from skorch.callbacks import Callback

from sklearn_seqcrm._recurrent.data._sources import HistorySpec
from sklearn_seqcrm._recurrent.network._layers import Dropout
from sklearn_seqcrm._recurrent.network._module import HistoryNetwork
from sklearn_seqcrm._recurrent.network._reader import trains_in_bfloat16
from sklearn_seqcrm._recurrent.training import _net
from sklearn_seqcrm.neural_network import LSTMClassifier, LSTMRegressor
from sklearn_seqcrm.preprocessing import HistoryEncoder, make_history_pipeline
from sklearn_seqcrm.testing._small_data import make_table, make_y

RAW = make_table()
X = HistoryEncoder().fit_transform(RAW)[["history"]]
Y = make_y(X)
# Everything that is drawn: weights of all kinds, batches, dropout, rows set aside.
DRAWS = {
    "hidden_size": 4,
    "num_layers": 2,
    "pooling": ("last", "attention"),
    "head_sizes": (4,),
    "dropout": 0.5,
    "batch_size": 7,
    "max_epochs": 3,
    "early_stopping": True,
    "n_networks": 1,
}


def probabilities(seed):
    return LSTMClassifier(**DRAWS, random_state=seed).fit(X, Y).predict_proba(X)


class Drawing:
    """Another thread that draws from torch's and NumPy's global generators."""

    def __enter__(self):
        self.found, self.stop = [], threading.Event()
        torch.manual_seed(5)
        np.random.seed(5)  # noqa: NPY002
        self.thread = threading.Thread(target=self.draw)
        self.thread.start()
        return self

    def draw(self):
        while not self.stop.is_set() and len(self.found) < 200_000:
            both = torch.rand(1).item(), np.random.rand()  # noqa: NPY002
            self.found.append(both)

    def __exit__(self, *error):
        self.stop.set()
        self.thread.join()


@pytest.fixture
def global_generators():
    """Restore the global generators after a test that seeds them."""
    states = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    yield
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002


def test_fits_in_threads_equal_sequential_fits():
    expected = [probabilities(seed) for seed in range(4)]
    threads = Parallel(n_jobs=4, backend="threading")
    for _ in range(3):
        found = threads(delayed(probabilities)(seed) for seed in range(4))
        assert_array_equal(found, expected)


def test_predictions_in_threads_equal_sequential_ones():
    model = LSTMClassifier(**DRAWS, random_state=0).fit(X, Y)
    expected = model.predict_proba(X)
    threads = Parallel(n_jobs=4, backend="threading")
    for _ in range(3):
        found = threads(delayed(model.predict_proba)(X) for _ in range(8))
        assert_array_equal(found, [expected] * 8)


def test_workers_use_at_most_one_thread_per_core(monkeypatch):
    """torch reads the limit when it is loaded; joblib sets it in its workers."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with parallel_config("loky", n_jobs=2):
        found = Parallel()(delayed(torch.get_num_threads)() for _ in range(2))
    assert sum(found) <= max(cpu_count(), 2)


@pytest.mark.usefixtures("global_generators")
def test_a_fit_is_independent_of_a_thread_that_draws():
    expected = probabilities(0)
    with Drawing() as drawing:
        found = [probabilities(0) for _ in range(3)]
    assert_array_equal(found, [expected] * 3)
    assert len(drawing.found) > 10
    torch.manual_seed(5)
    numbers = np.random.RandomState(5)
    stream = [(torch.rand(1).item(), numbers.rand()) for _ in drawing.found]
    assert drawing.found == stream


@pytest.mark.usefixtures("global_generators")
def test_a_search_in_threads_equals_a_sequential_one():
    model = make_history_pipeline(LSTMClassifier(**DRAWS, random_state=0))
    grid = {"estimator__hidden_size": [3, 5], "estimator__cell": ["lstm", "gru"]}
    search = GridSearchCV(model, grid, cv=2, scoring="neg_log_loss")
    expected = clone(search).fit(RAW, Y).cv_results_["mean_test_score"]
    with Drawing(), parallel_config("threading", n_jobs=3):
        found = clone(search).fit(RAW, Y)
    assert_array_equal(found.cv_results_["mean_test_score"], expected)


class Look(Callback):
    """Looks at the global generators, and copies the net, all through the training."""

    def __init__(self, seen):
        self.seen = seen

    def __deepcopy__(self, memo):
        return type(self)(self.seen)

    def __getstate__(self):
        return {"seen": []}

    def look(self, net, **kwargs):
        self.compare(net)
        self.make_copies(net)

    def look_at_some(self, net, **kwargs):
        self.compare(net)
        if len(self.seen) % 10 == 0:  # copies take most of the time
            self.make_copies(net)

    def compare(self, net):
        [_, keys, *rest] = np.random.get_state()  # noqa: NPY002
        state = torch.get_rng_state().tolist(), keys.tolist(), rest
        self.seen.append(str((torch.initial_seed(), state)))
        assert [m for m in net.module_.modules() if isinstance(m, Dropout)]

    def make_copies(self, net):
        for made in (copy.copy(net), copy.deepcopy(net.module_)):
            assert not pickle.dumps(made).count(b"Generator")

    on_train_begin = on_epoch_end = on_train_end = look
    on_batch_begin = on_batch_end = look_at_some


@pytest.mark.parametrize("kind", [LSTMClassifier, LSTMRegressor])
def test_global_generators_do_not_change(kind):
    seen = []
    before = torch.initial_seed(), torch.get_rng_state()
    model = kind(**DRAWS, random_state=0, warm_start=True, callbacks=[Look(seen)])
    for _ in range(2):
        model.fit(X, Y).predict(X)
    model.partial_fit(X, Y).predict(X)
    assert len(seen) > 50
    assert len(set(seen)) == 1
    assert torch.initial_seed() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_dropout_holds_no_generator_after_fit():
    """Older versions of torch can neither copy nor pickle one."""
    model = LSTMClassifier(**DRAWS, random_state=0).fit(X, Y)
    dropouts = [m for m in model.net_.module_.modules() if isinstance(m, Dropout)]
    assert len(dropouts) == 3  # of levels, of layers and of the head
    assert all(dropout.generator is None for dropout in dropouts)
    one = Dropout(0.5)
    one.generator = torch.Generator()
    for made in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert made.generator is None
        assert made.p == 0.5
    assert one.generator is not None


def test_dropout_holds_no_generator_after_a_failed_fit(monkeypatch):
    model = LSTMClassifier(**DRAWS, random_state=0, warm_start=True).fit(X, Y)
    step = ZeroDivisionError("in the middle of it")

    def fail(*args, **kwargs):
        raise step

    monkeypatch.setattr(_net.HistoryNet, "train_step_single", fail)
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y)
    dropouts = [m for m in model.net_.module_.modules() if isinstance(m, Dropout)]
    assert all(dropout.generator is None for dropout in dropouts)


def test_detection_of_bfloat16_draws_no_numbers():
    before = torch.get_rng_state()
    trains_in_bfloat16.__wrapped__("cpu")
    assert torch.equal(torch.get_rng_state(), before)


# First weights ------------------------------------------------------------------------


def make_network(seed, cell="lstm"):
    return HistoryNetwork(
        [HistorySpec(3, (5, 9), (1.0,))],
        30,
        2,
        [40],
        0.5,
        seed,
        cell=cell,
        hidden_size=50,
        num_layers=2,
        bidirectional=True,
        pooling=("attention",),
    )


@pytest.mark.usefixtures("global_generators")
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_initial_weights_are_distributed_as_those_of_torch(cell):
    torch.manual_seed(0)
    network = make_network(0, cell)
    [reader] = network.readers
    torch_layer = reader.layers[1][1].__class__(100, 50)
    pairs = [(reader.layers[1][1], torch_layer), (reader.layers[0][0], None)]
    pairs += [(network.head[0], torch.nn.Linear(130, 40))]
    pairs += [(reader.poolings["attention"].score, None)]
    for ours, torchs in pairs:
        for name, parameter in ours.named_parameters():
            if cell == "lstm" and name.startswith("bias_hh"):
                continue  # forget gates start open
            n_inputs = getattr(ours, "hidden_size", None) or ours.in_features
            bound = 1 / np.sqrt(n_inputs)
            assert parameter.abs().max() < bound * (1 + 1e-6)
            if parameter.numel() < 1000:
                continue
            # The spread of an even spread; its error is 1 / sqrt(5 n) of it.
            even, error = bound / np.sqrt(3), 4 / np.sqrt(5 * parameter.numel())
            assert parameter.std().item() == pytest.approx(even, rel=error)
            if torchs is not None:
                of_torch = torchs.get_parameter(name)
                assert of_torch.abs().max() < bound * (1 + 1e-6)
                assert of_torch.std().item() == pytest.approx(even, rel=error)
    for embedding in reader.embeddings:
        assert 1 < embedding.weight[1:].norm(dim=1).mean() < 3
        assert not embedding.weight[0].any()


def test_equal_seeds_give_equal_weights():
    first, again, other = (
        torch.cat([p.flatten() for p in make_network(seed).parameters()])
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    # All are drawn, each on its own, but for the zeros and ones of the LSTM.
    assert (first == other).sum() == 4 * 4 * 50 + sum(
        e.weight.shape[1] for e in make_network(0).readers[0].embeddings
    )
    drawn = first[(first != 0) & (first != 1)]
    assert len(torch.unique(drawn)) > 0.99 * len(drawn)
