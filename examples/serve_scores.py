"""A service, on the page "In production": serve_scores.py model.joblib folder 8000."""

import json
import os
import sqlite3
import sys
from datetime import datetime
from pathlib import Path

import joblib
import pandas as pd
import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from sklearn_seqcrm.neural_network import StreamingScorer

CUSTOMER, TIME = "customer_id", "timestamp"  # as the log of the training called them


class Event(BaseModel):
    id: str
    customer: str
    time: datetime
    fields: dict[str, bool | float | str | None] = {}

    def as_row(self):
        return {**self.fields, CUSTOMER: self.customer, TIME: self.time}


class Service:
    def __init__(self, model, folder, states_every=50_000):
        self.folder, self.states_every = folder, states_every
        pipeline = joblib.load(model)  # runs what is in it: load files of yours alone
        self.written, self.scorer = 0, StreamingScorer(pipeline, CUSTOMER, TIME)
        for file in sorted(folder.glob("states-*.parquet"))[-1:]:
            self.written = int(file.stem.split("-")[1])
            self.scorer = StreamingScorer.from_parquet(file, pipeline, CUSTOMER, TIME)
        self.base = sqlite3.connect(folder / "events.sqlite", check_same_thread=False)
        for rule in ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL"):
            self.base.execute(f"PRAGMA {rule}").fetchall()
        table = "events (number INTEGER PRIMARY KEY, id TEXT UNIQUE, body TEXT)"
        self.base.execute(f"CREATE TABLE IF NOT EXISTS {table}")
        query = "SELECT body FROM events WHERE number > ? ORDER BY number"
        missed = self.base.execute(query, [self.written])
        self.update([Event.model_validate_json(body) for (body,) in missed])

    def update(self, events):
        return {"new": self.scorer.update(pd.DataFrame(map(Event.as_row, events)))}

    def is_new(self, event):
        insert = "INSERT OR IGNORE INTO events (id, body) VALUES (?, ?)"
        return self.base.execute(insert, (event.id, event.model_dump_json())).rowcount

    def keep(self, events, use):
        """Write down the events that are new, if `use` takes them, and then answer."""
        try:
            with self.base:  # a transaction, which an error takes back
                answer = use([event for event in events if self.is_new(event)])
        except sqlite3.Error:  # a full disk, say: states must not be ahead of it
            os._exit(1)
        [last] = self.base.execute("SELECT max(number) FROM events").fetchone()
        if last is not None and last >= self.written + self.states_every:
            self.scorer.to_parquet(self.folder / f"states-{last:012}.parquet")
            self.written = last
        return answer


def make_app(service):
    app = FastAPI()

    @app.post("/events")
    async def read(events: list[Event]):
        return service.keep(events, service.update)

    @app.post("/score")
    async def judge(event: Event, cutoff: datetime, statics: str = "{}"):
        who, statics = event.customer, json.loads(statics)
        return service.keep([event], lambda new: score(who, new, statics, cutoff))

    @app.get("/score/{who}")
    async def look(who: str, cutoff: datetime, statics: str = "{}"):
        return score(who, [], json.loads(statics), cutoff)

    def score(who, new, statics, cutoff):
        event = new[0].as_row() if new else None
        return {"score": service.scorer.score_one(who, event, statics, cutoff).tolist()}

    async def refuse(request, error):
        return JSONResponse({"reason": str(error.args[0])}, status_code=422)

    for kind in (LookupError, TypeError, ValueError):
        app.exception_handler(kind)(refuse)
    return app


if __name__ == "__main__":
    app = make_app(Service(sys.argv[1], Path(sys.argv[2])))
    uvicorn.run(app, port=int(sys.argv[3]), log_level="warning")
