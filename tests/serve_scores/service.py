"""The service in this process, its events, and the scores that it should give."""

import asyncio
from pathlib import Path

import numpy as np
import pandas as pd

from tests.logs import log_of_table

EXAMPLES = Path(__file__).parents[2] / "examples"
CUTOFF = "2025-01-01T00:00:00"
N_EVENTS = 40
PEOPLE = pd.DataFrame({"customer_id": [f"c{i}" for i in range(5)], "age": 30.0})
COLUMNS = {"customer": "customer_id", "time": "timestamp"}
STATICS = {"cutoff": CUTOFF, "statics": '{"age": 30}'}


def event(number, **others):
    """Return the event of a number; numbers are in order of time."""
    return {
        "id": str(number),
        "customer": f"c{number % 5}",
        "time": str(pd.Timestamp("2024-01-01") + pd.Timedelta(number, "h")),
        "fields": {"amount": number % 7, "kind": "ab"[number % 2]},
        **others,
    }


def log_of_events(events):
    rows = [
        {"customer": e["customer"], "time": pd.Timestamp(e["time"]), **e["fields"]}
        for e in events
    ]
    table = pd.DataFrame(rows).astype({"time": "M8[us]"})
    return log_of_table(table.rename(columns=COLUMNS), observed_until=CUTOFF)


class Web:
    """A service in this process, and requests to it."""

    def __init__(self, example, *args, **options):
        self.service = example.Service(*args, **options)
        self._app = example.make_app(self.service)

    def __call__(self, method, url, **options):
        # The fixture `example` skips a test if this package is missing.
        import httpx

        async def ask():
            transport = httpx.ASGITransport(app=self._app)
            client = httpx.AsyncClient(transport=transport, base_url="http://here")
            async with client:
                return await client.request(method, url, **options)

        return asyncio.run(ask())

    def post(self, events):
        return self("POST", "/events", json=events)

    def post_by(self, size, events):
        """Post events in portions."""
        for first in range(0, len(events), size):
            self.post(events[first : first + size])

    def score(self, customer):
        found = self("GET", "/score", params={**STATICS, "customer": customer})
        return found.json()["score"]


def scores_of(fitted, events):
    return fitted.predict_proba(log_of_events(events).attach(PEOPLE, cutoff=CUTOFF))


def assert_has_read(web, fitted, events):
    """Compare all scores with those of a log of the events."""
    for i, wanted in enumerate(scores_of(fitted, events)):
        np.testing.assert_allclose(web.score(f"c{i}"), wanted, atol=1e-5)


def states_in(folder):
    """Return the number of the last event of each file of states."""
    return [int(f.name.split("-")[1]) for f in sorted(folder.glob("states-*"))]


def fail_on_a_full_disk(*args):
    raise OSError(28, "No space left on device")
