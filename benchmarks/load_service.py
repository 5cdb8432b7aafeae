"""The example service under load.

The default network of 64 units. Each client posts events of one customer, one after the
other over a persistent connection, and each event is scored at once. In the end, scores
must be those of a log. benchmarks/break_service.py kills and damages the service.
"""

import argparse
import json
import multiprocessing
import os
import socket
import sqlite3
import tempfile
import threading
import time
from pathlib import Path

import httpx
import joblib
import numpy as np
import pandas as pd
from measure import make_events

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline

EXAMPLES = Path(__file__).parents[1] / "examples"
# Services are forked from a process with all imports, which take seconds.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["load_service", "serve_scores"])
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(EXAMPLES), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
)
START, CUTOFF = pd.Timestamp("2024-01-01"), "2030-01-01T00:00:00"


class NotStartedError(Exception):
    """The service refused to start, with its reason."""


def train(folder, n_customers, rng):
    """Write a model trained for a moment, and return it."""
    events = make_events(30 * n_customers, n_customers, rng)
    events = events.rename(columns={"customer": "customer_id", "time": "timestamp"})
    log = EventLog(events, "customer_id", "timestamp")
    X = log.attach(pd.DataFrame({"customer_id": log.customers[:500]}))
    X["age"] = 30.0 + np.arange(len(X)) % 40
    model = make_history_pipeline(
        LSTMClassifier(n_networks=1, max_epochs=1, random_state=0)
    )
    joblib.dump(model.fit(X, np.arange(len(X)) % 2), folder / "model.joblib")
    return model


def serve(folder, states_every, port, sender):
    """Run the service, or send the reason if it does not start."""
    from serve_scores import Service, StartError, make_app, uvicorn

    try:
        service = Service(folder / "model.joblib", folder, states_every)
    except StartError as error:
        sender.send(str(error))
        return
    sender.send("")
    uvicorn.run(make_app(service), port=port, log_level="critical")


class Server:
    """The service in a separate process.

    Parameters
    ----------
    folder : Path
        Folder of the model, the journal and the states.
    states_every : int, default=50_000
        Events between two files of states.
    """

    def __init__(self, folder, states_every=50_000):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        receiver, sender = FORKS.Pipe(duplex=False)
        begin = time.perf_counter()
        arguments = folder, states_every, port, sender
        self.process = FORKS.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        sender.close()
        if reason := receiver.recv():
            raise NotStartedError(reason)
        while self.process.is_alive():
            try:
                httpx.get(f"{self.url}/health", timeout=60)
                break
            except httpx.TransportError:
                time.sleep(0.02)
        self.seconds = time.perf_counter() - begin

    def processor_time(self):
        """CPU seconds so far; Linux only."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2]
        of_user, of_system = fields.split()[11:13]
        return (int(of_user) + int(of_system)) / os.sysconf("SC_CLK_TCK")

    def kill(self):
        """Kill it without a warning."""
        self.process.kill()
        self.process.join()


class Client(threading.Thread):
    """Posts events of its own customers until it is stopped."""

    def __init__(self, number, url, n_customers, begin):
        super().__init__(daemon=True)
        self.number, self.url, self.n_customers = number, url, n_customers
        self.next, self.acknowledged, self.took, self.failed = begin, [], [], []
        self.rng, self.done = np.random.default_rng([number, begin]), False

    def run(self):
        statics = json.dumps({"age": 40})
        with httpx.Client(base_url=self.url, timeout=60) as web:
            while not self.done:
                event = self.event()
                params = {"cutoff": CUTOFF, "statics": statics}
                begin = time.perf_counter()
                try:
                    answer = web.post("/score", params=params, json=event)
                except httpx.TransportError:
                    break  # killed
                if answer.status_code != 200:
                    self.failed.append(answer.text)
                    continue
                self.took.append(time.perf_counter() - begin)
                self.acknowledged.append(event)

    def event(self):
        self.next += 1
        customer = self.rng.integers(self.n_customers)
        moment = START + pd.Timedelta(self.next, "s")
        return {
            "id": f"{self.number}-{self.next}",
            "customer": f"{self.number}-{customer}",
            "time": moment.isoformat(),
            "fields": {
                "amount": float(self.rng.gamma(1, 10)),
                "category": f"K{self.rng.integers(50)}",
            },
        }


def begin_to_post(server, n_clients, n_customers, begin=0):
    """Let clients post until they are joined, and return them."""
    clients = [Client(i, server.url, n_customers, begin) for i in range(n_clients)]
    for client in clients:
        client.start()
    return clients


def join(clients):
    """Stop the clients, and return the acknowledged events."""
    for client in clients:
        client.done = True
    for client in clients:
        client.join()
    return [event for client in clients for event in client.acknowledged]


def under_load(server, options):
    """Print requests per second and their latency; return the events."""
    before = server.processor_time()
    clients = begin_to_post(server, options.clients, options.customers)
    time.sleep(options.seconds)
    events = join(clients)
    took = 1000 * np.concatenate([client.took for client in clients])
    n_failed = sum(len(client.failed) for client in clients)
    computed = 1000 * (server.processor_time() - before) / len(took)
    half, most = np.quantile(took, [0.5, 0.99])
    print(f"{options.clients} clients for {options.seconds:g} s:")
    print(f"  {len(took) / options.seconds:,.0f} requests/s, {n_failed} errors")
    print(f"  p50 {half:.1f} ms, p99 {most:.1f} ms")
    print(f"  the service computes for {computed:.2f} ms a request")
    return events


def stored(folder):
    """Return all events on the disk, in order."""
    base = sqlite3.connect(folder / "journal.sqlite")
    found = base.execute("SELECT body FROM events ORDER BY number").fetchall()
    base.close()
    return [json.loads(body) for (body,) in found]


def score(web, customer):
    """Return the score of a customer; None if it is refused."""
    params = {"customer": customer, "cutoff": CUTOFF, "statics": '{"age": 40}'}
    return web.get("/score", params=params).json().get("score")


def compare_scores(model, server, events):
    """Return the largest difference between scores and those of a log."""
    rows = [
        {"customer_id": e["customer"], "timestamp": e["time"], **e["fields"]}
        for e in events
    ]
    table = pd.DataFrame(rows)
    table["timestamp"] = pd.to_datetime(table["timestamp"]).astype("M8[us]")
    log = EventLog(table, "customer_id", "timestamp", observed_until=CUTOFF)
    people = pd.DataFrame({"customer_id": log.customers[:200], "age": 40.0})
    expected = model.predict_proba(log.attach(people, cutoff=CUTOFF))
    with httpx.Client(base_url=server.url, timeout=60) as web:
        found = [score(web, who) for who in people["customer_id"]]
    return np.abs(found - expected).max()


def main():
    """Train, post and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--customers", type=int, default=1_000, help="of a client")
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = train(folder, 1_000, np.random.default_rng(0))
        server = Server(folder)
        events = under_load(server, options)
        difference = compare_scores(model, server, events)
        server.kill()
    print(f"  largest difference from scores of a log: {difference:.0e}")
    if difference > 1e-5:
        raise SystemExit("Scores are not those of a log.")


if __name__ == "__main__":
    main()
