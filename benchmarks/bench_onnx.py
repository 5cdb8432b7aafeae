"""ONNX: sizes of files, and seconds beside torch.

Networks of 64 units on histories of 30 events on average, on one thread. Padded tensors
are made before the clock starts; torch reads ragged histories, and pads them batch by
batch. A step is one event and one score, of one customer.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from bench_streaming import CUTOFF, fitted
from measure import make_events, one_thread, seconds

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder, export_onnx

OPTIONS = {
    "lstm, default": {},
    "gru": {"cell": "gru"},
    "rnn": {"cell": "rnn"},
    "lstm, 2 layers": {"num_layers": 2},
    "lstm, bidirectional": {"bidirectional": True},
    "lstm, last": {"pooling": "last"},
    "lstm, max": {"pooling": "max"},
    "lstm, attention": {"pooling": "attention"},
    "lstm, 5 networks": {"n_networks": 5},
}


def session_of(path):
    """A session on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options)


def ask(session, tensors):
    """The first answer."""
    names = [one.name for one in session.get_inputs()]
    return session.run(None, {name: tensors[name] for name in names})[0]


def one_event(session):
    """Zeros of the shapes of a step's inputs, for one customer."""
    kinds = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(bool)": bool}
    return {
        one.name: np.ones([1, *one.shape[1:]], kinds[one.type])
        for one in session.get_inputs()
    }


def main():
    """Export each network, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--calls", type=int, default=2_000)
    options = parser.parse_args()
    one_thread()
    rng = np.random.default_rng(0)
    events = make_events(30 * options.rows, options.rows, rng)
    log = EventLog(events, "customer", "time", observed_until=CUTOFF)
    print(f"{'':22s}{'kB':>18s}{'s for ' + str(options.rows) + ' rows':>20s}")
    header = f"{'padded':>8s}{'step':>5s}{'JSON':>5s}{'torch':>10s}{'ONNX':>10s}"
    print(f"{'':22s}{header}{'step, ms (p99)':>18s}{'difference':>12s}")
    with tempfile.TemporaryDirectory() as folder:
        for name, chosen in OPTIONS.items():
            model, people = fitted(log, options.rows, **chosen)
            X = log.attach(people, cutoff=CUTOFF)
            encoded = model[:-1].transform(X)
            files = export_onnx(model, Path(folder) / "model.onnx")
            kilobytes = [one.stat().st_size / 1000 for one in files]
            padded = dict(HistoryPadder().fit_transform(encoded))
            session = session_of(files[0])
            ask(session, padded), model[-1].predict_proba(encoded)
            of_torch, wanted = seconds(
                lambda m=model, e=encoded: m[-1].predict_proba(e)
            )
            of_onnx, found = seconds(lambda s=session, p=padded: ask(s, p))
            step = f"{'none':>18s}"
            if len(files) == 3:
                one = session_of(files[1])
                event, took = one_event(one), []
                for _ in range(options.calls):
                    start = time.perf_counter()
                    ask(one, event)
                    took.append(1000 * (time.perf_counter() - start))
                half, most = np.quantile(took, [0.5, 0.99])
                step = f"{half:9.3f} ({most:.3f})"
            else:
                kilobytes.insert(1, 0)
            sizes = "".join(f"{one:6.0f}" for one in kilobytes)
            difference = np.abs(found - wanted).max()
            times = f"{of_torch:10.2f}{of_onnx:10.2f}"
            print(f"{name:22s}{sizes}{times}{step:>18s}{difference:12.0e}")


if __name__ == "__main__":
    main()
