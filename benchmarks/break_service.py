"""Kill and damage the example service in all the ways that it must survive.

Prints a table: the number of starts and of acknowledged events, and how many of them
were lost or counted twice. Scores must be those of a log of the events in the journal,
or those from before the damage. If a start would lose events, the service must refuse
to start and say what to do, which is then done. All of it takes about ten minutes.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from load_service import (
    EXAMPLES,
    NotStartedError,
    Server,
    begin_to_post,
    compare_scores,
    join,
    score,
    stored,
    train,
)

sys.path.insert(0, str(EXAMPLES))
from event_journal import back_up

PARAMS = {"cutoff": "2030-01-01T00:00:00", "statics": '{"age": 40}'}
ALLOWED = 1e-5


class Trial:
    """A folder with a service, and its acknowledged events.

    Parameters
    ----------
    folder : Path
        A folder with a model.
    n_clients : int
        Clients that post at the same time.
    """

    def __init__(self, folder, n_clients):
        self.folder, self.n_clients = folder, n_clients
        self.starts, self.refused, self.acknowledged, self.seconds = 0, 0, [], []
        self.begin = 0
        self.start()

    def start(self):
        """Start the service again; an unexpected error ends the trial."""
        self.server = Server(self.folder, states_every=50)
        self.starts += 1
        self.seconds.append(self.server.seconds)

    def start_or_refuse(self):
        """Start the service; return the reason if it refuses its states."""
        try:
            self.start()
        except NotStartedError as error:
            if "do not belong to the journal" not in str(error):
                raise
            self.refused += 1
            return str(error)
        return ""

    def begin_to_post(self):
        """Let clients post events later than all before."""
        return begin_to_post(self.server, self.n_clients, 50, self.begin)

    def post(self, n_events, kill=False):
        """Let clients post until some events are acknowledged, or one is refused."""
        clients, end = self.begin_to_post(), time.monotonic() + 60
        while time.monotonic() < end and not any(client.failed for client in clients):
            if sum(len(client.acknowledged) for client in clients) >= n_events:
                break
            time.sleep(0.01)
        if kill:
            self.server.kill()
        return self.join(clients)

    def join(self, clients):
        """Stop the clients, and return the reasons of refused events."""
        self.acknowledged += join(clients)
        self.begin = max(client.next for client in clients)
        return [reason for client in clients for reason in client.failed]

    def send_again(self):
        """Send all acknowledged events again, and return the number of new ones."""
        n_new = 0
        with httpx.Client(base_url=self.server.url, timeout=60) as web:
            for first in range(0, len(self.acknowledged), 1000):
                some = self.acknowledged[first : first + 1000]
                n_new += web.post("/events", json=some).raise_for_status().json()["new"]
        return n_new

    def row(self, name, model):
        """Compare the journal and scores with the acknowledged events."""
        events = stored(self.folder)
        ids = [event["id"] for event in events]
        lost = {event["id"] for event in self.acknowledged} - set(ids)
        difference = compare_scores(model, self.server, events)
        self.server.kill()
        twice = len(ids) - len(set(ids))
        return self.as_row(name, len(lost), twice, difference)

    def as_row(self, name, n_lost, n_twice, difference):
        """Return a row of the table."""
        median = np.median(self.seconds)
        good = not n_lost and not n_twice and difference < ALLOWED
        return (
            f"{name:18s} {self.starts:6d} {median:7.1f} {self.refused:8d} "
            f"{len(self.acknowledged):13,d} {n_lost:5d} {n_twice:6d} "
            f"{difference:11.0e}  {'good' if good else 'BAD'}"
        )


HEADER = (
    f"{'trial':18s} {'starts':>6s} {'seconds':>7s} {'refusals':>8s} "
    f"{'acknowledged':>13s} {'lost':>5s} {'twice':>6s} {'difference':>11s}"
)


def kills(folder, model, options):
    """Kill the service repeatedly (SIGKILL) while clients post."""
    trial, rng = Trial(folder, options.clients), random.Random(0)
    for _ in range(options.kills):
        trial.post(rng.randrange(10, 200), kill=True)
        trial.start()
    return trial.row(f"{options.kills} kills", model)


def random_json(rng, depth=3):
    """Draw a JSON value as text, including some that Python cannot write."""
    kind = rng.randrange(9 if depth else 7)
    if kind == 0:
        return rng.choice(["null", "true", "false", "NaN", "Infinity", '"\\ud800"'])
    if kind <= 2:
        return rng.choice(["0", "1", "-1", "1.0", "2.5", "1e400", "-1e308", "1" * 30])
    if kind <= 4:
        return json.dumps(rng.choice(["", "K1", "K2", "true", "1", "\0", "é" * 2000]))
    if kind <= 6:
        return repr(rng.choice([rng.gauss(0, 1e6), rng.randrange(-(2**63), 2**63)]))
    parts = [random_json(rng, depth - 1) for _ in range(rng.randrange(3))]
    if kind == 7:
        return f"[{', '.join(parts)}]"
    return "{" + ", ".join(f'"{i}": {part}' for i, part in enumerate(parts)) + "}"


def random_event(rng, number):
    """Draw an event with one random value, which may be accepted."""
    when = np.datetime64("2024-01-01", "s") + np.timedelta64(number, "s")
    parts = {
        "id": f'"{number}"',
        "customer": f'"{number % 20}/{chr(97 + number % 7)}"',
        "time": f'"{when}"',
        "amount": rng.choice(["null", "true", "1", "2.5", "-1e300", "0"]),
        "category": rng.choice(["null", '"K1"', '"new"', '""', '"1"']),
    }
    for name in rng.choices([*parts, "none"], k=rng.randrange(2)):
        parts[name] = random_json(rng)
    fields = f'{{"amount": {parts["amount"]}, "category": {parts["category"]}}}'
    if rng.random() < 0.05:
        fields = random_json(rng)
    keys = ", ".join(f'"{key}": {parts[key]}' for key in ("id", "customer", "time"))
    return f'{{{keys}, "fields": {fields}}}'


def any_json(folder, model, options):
    """Post random events; all acknowledged ones must replay."""
    trial, rng = Trial(folder, options.clients), random.Random(0)
    statuses, worst = {}, 0.0
    customers = [f"{i % 20}/{chr(97 + i % 7)}" for i in range(140)]
    for first in range(0, options.events, 500):
        with httpx.Client(base_url=trial.server.url, timeout=60) as web:
            for number in range(first, min(first + 500, options.events)):
                event, url = (
                    random_event(rng, number),
                    rng.choice(["/events", "/score"]),
                )
                text = event if url == "/score" else f"[{event}]"
                body = text.encode("utf-8", "surrogatepass")
                answer = web.post(url, params=PARAMS, content=body)
                status = answer.status_code
                statuses[status] = statuses.get(status, 0) + 1
                if status == 200:
                    trial.acknowledged.append(json.loads(event))
                elif status not in (409, 413, 422):
                    raise AssertionError((status, answer.text, event))
            before = [score(web, customer) for customer in customers]
        trial.server.kill()
        trial.start()
        with httpx.Client(base_url=trial.server.url, timeout=60) as web:
            after = [score(web, customer) for customer in customers]
        worst = max(worst, np.abs(np.subtract(before, after)).max())
    n_lost = trial.send_again()
    ids = [event["id"] for event in stored(folder)]
    trial.server.kill()
    row = trial.as_row("any JSON", n_lost, len(ids) - len(set(ids)), worst)
    return f"{row}  answers {dict(sorted(statuses.items()))}"


def full_disk(folder, model, options):
    """Fill a small disk, and empty it again; needs root."""
    if os.geteuid():
        return f"{'full disk':18s} left out: to mount a small disk needs root"
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
    try:
        shutil.copy(folder / "model.joblib", disk)
        return _fill_up(Trial(disk, options.clients), model)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def _fill_up(trial, model):
    ballast = trial.folder / "ballast"
    for _ in range(3):
        trial.post(100)
        with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        reasons = trial.post(1_000_000)  # until SQLite has no room
        assert all("Nothing can be written" in reason for reason in reasons), reasons
        with httpx.Client(base_url=trial.server.url, timeout=60) as web:
            assert "journal" in web.get("/health").json()["problems"]
            assert score(web, "0-1") is not None
        trial.server.kill()
        trial.start()  # on the full disk
        with httpx.Client(base_url=trial.server.url, timeout=60) as web:
            assert score(web, "0-1") is not None
        ballast.unlink()
        assert not trial.post(100)
        with httpx.Client(base_url=trial.server.url, timeout=60) as web:
            assert web.get("/health").json()["ok"]
    return trial.row("full disk", model)


def torn_log(folder, model, options):
    """Append garbage to the log of the journal, or cut off a part."""
    trial, rng = Trial(folder, options.clients), random.Random(0)
    wal = folder / "journal.sqlite-wal"
    for garbage in (True, False) * 4:
        trial.post(70, kill=True)
        if garbage:  # an unfinished write: nothing may be lost
            with wal.open("ab") as file:
                file.write(rng.randbytes(rng.randrange(1, 10_000)))
            trial.start()
            assert trial.send_again() == 0
            continue
        # Acknowledged events are gone: the rest is used, or the start refused.
        os.truncate(wal, rng.randrange(wal.stat().st_size))
        if reason := trial.start_or_refuse():
            _move_away(folder, reason)
            trial.start()
        trial.send_again()
    return trial.row("torn log", model)


def restored_backup(folder, model, options):
    """Restore a journal older than its states, and then a whole backup."""
    trial, copy = Trial(folder, options.clients), folder / "copy"
    for _ in range(3):
        trial.post(70)
        shutil.rmtree(copy, ignore_errors=True)
        clients = trial.begin_to_post()
        back_up(folder, copy)  # while events come in
        trial.join(clients)
        trial.post(100, kill=True)
        (folder / "journal.sqlite-wal").unlink()
        shutil.copy(copy / "journal.sqlite", folder)
        assert trial.start_or_refuse(), "a journal older than the states"
        for file in folder.glob("states-*"):
            file.unlink()
        for file in copy.glob("states-*"):
            shutil.copy(file, folder)
        trial.start()
        assert 0 < trial.send_again() < len(trial.acknowledged)
    return trial.row("restored backup", model)


def damaged_states(folder, model, options):
    """Change a byte of the newest states, or truncate them."""
    trial, rng = Trial(folder, options.clients), random.Random(0)
    for cut in (True, False) * 3:
        trial.post(70, kill=True)
        newest = max(folder.glob("states-*"))
        data = bytearray(newest.read_bytes())
        at = rng.randrange(len(data))
        data[at] ^= 1 << rng.randrange(8)
        newest.write_bytes(data[:at] if cut else data)
        trial.start()
        assert trial.send_again() == 0
    return trial.row("damaged states", model)


def _move_away(folder, reason):
    """Follow the instructions of a refusal."""
    for file in folder.glob("states-*"):
        if file.name in reason:
            file.unlink()


TRIALS = kills, any_json, full_disk, torn_log, restored_backup, damaged_states


def main():
    """Run all trials, each in a separate folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--events", type=int, default=2_000, help="of any JSON")
    parser.add_argument("--only", nargs="*", help="names of functions")
    options = parser.parse_args()
    print(HEADER, flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        first = Path(name) / "first"
        first.mkdir()
        model = train(first, 1_000, np.random.default_rng(0))
        for trial in TRIALS:
            if options.only and trial.__name__ not in options.only:
                continue
            folder = Path(name) / trial.__name__
            folder.mkdir()
            shutil.copy(first / "model.joblib", folder)
            rows.append(trial(folder, model, options))
            print(rows[-1], flush=True)
    if any("BAD" in row for row in rows):
        raise SystemExit("Events were lost or counted twice.")


if __name__ == "__main__":
    main()
