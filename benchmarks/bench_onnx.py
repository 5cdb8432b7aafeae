"""ONNX: sizes of files, and seconds compared with torch.

Networks of 64 units on histories of 30 events on average, on one thread, in CPU time.
ONNX gets tensors that were padded before; torch pads ragged histories batch by batch. A
step is an event and a score of one customer, with the 99th percentile in parentheses.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from bench_streaming import CUTOFF, fitted
from measure import make_events, one_thread

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import HistoryPadder
from sklearn_seqcrm.serving import export_onnx

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
    """Open a session on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(path), options)


def ask(session, tensors):
    """Return the first output."""
    names = [one.name for one in session.get_inputs()]
    return session.run(None, {name: tensors[name] for name in names})[0]


def computed(function):
    """Return the CPU seconds of a call, and its result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def one_event(session):
    """Return zeros with the shapes of the inputs of a step."""
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
    print(f"{'':20s}{'kB':>21s}{f's for {options.rows:,} rows':>18s}")
    header = f"{'padded':>7s}{'step':>7s}{'JSON':>7s}{'torch':>9s}{'ONNX':>9s}"
    print(f"{'':20s}{header}{'step, ms':>16s}{'difference':>12s}")
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
            of_torch, wanted = computed(
                lambda m=model, e=encoded: m[-1].predict_proba(e)
            )
            of_onnx, found = computed(lambda s=session, p=padded: ask(s, p))
            step = "none"
            if len(files) == 3:
                one = session_of(files[1])
                event, took = one_event(one), []
                for _ in range(options.calls):
                    start = time.thread_time()
                    ask(one, event)
                    took.append(1000 * (time.thread_time() - start))
                half, most = np.quantile(took, [0.5, 0.99])
                step = f"{half:.3f} ({most:.3f})"
            else:
                kilobytes.insert(1, 0)
            sizes = "".join(f"{one:7.0f}" for one in kilobytes)
            difference = np.abs(found - wanted).max()
            times = f"{of_torch:9.2f}{of_onnx:9.2f}"
            print(f"{name:20s}{sizes}{times}{step:>16s}{difference:12.0e}")


if __name__ == "__main__":
    main()
