"""A service that scores customers as their events come in.

``python serve_scores.py model.joblib folder 8000``; see the page "A scoring service".

An event is checked, written to the journal, added to the state of its customer, and
then acknowledged. From time to time all states are written to a file. A start loads the
newest states and adds the events since then. Journal and files: event_journal.py.
"""

import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import joblib
import uvicorn
from event_journal import Event, Journal, OtherEventError, StartError
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, Field, Strict, TypeAdapter, ValidationError

from sklearn_seqcrm.serving import StreamingScorer

CUSTOMER, TIME = "customer_id", "timestamp"  # their names in the log of the training
STATES_EVERY = 50_000  # events between two files of states
MAX_BODY = 2**20  # bytes of a request
MAX_LENGTH = 1_000  # characters of a text, numbers of a vector
MAX_WHOLE = 2**53  # beyond it, floats skip whole numbers
EARLIEST, MAX_AHEAD = datetime(2000, 1, 1, tzinfo=UTC), timedelta(days=1)


# Bounds of the input ------------------------------------------------------------------


def is_number(value):
    """Return whether a value is a boolean or a number that a float can represent."""
    if isinstance(value, int):
        return abs(value) <= MAX_WHOLE
    return isinstance(value, float) and abs(value) < float("inf")


def check_value(value):
    """Refuse values that are too large, or nested deeper than a vector."""
    is_short = isinstance(value, str | list) and len(value) <= MAX_LENGTH
    if is_short and (isinstance(value, str) or all(map(is_number, value))):
        return value
    if value is None or is_number(value):
        return value
    raise ValueError(
        f"must be a finite number (a whole one up to {MAX_WHOLE}), true, false, null, "
        f"or a text or list of numbers of a length up to {MAX_LENGTH}"
    )


def in_utc(time):
    """Return a time that can be compared; without a zone it is UTC."""
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def check_time(time):
    """Refuse times out of bounds; after one of next year, all others would be late."""
    if not EARLIEST <= in_utc(time) <= datetime.now(UTC) + MAX_AHEAD:
        span = f"from {EARLIEST:%Y-%m-%d} to {MAX_AHEAD.days} day from now"
        raise ValueError(f"must be {span}")
    return time.astimezone(UTC) if time.tzinfo else time


Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\P{C}+$")]
Value = Annotated[Any, AfterValidator(check_value)]
Fields = Annotated[dict[Name, Value], Field(max_length=100)]


class NewEvent(Event):
    """An event in a request."""

    id: Name
    customer: Name
    time: Annotated[datetime, Strict(), AfterValidator(check_time)]
    fields: Fields = {}


ONE, MANY = TypeAdapter(NewEvent), TypeAdapter(list[NewEvent])
STATICS = TypeAdapter(Fields)


async def body_of(request):
    """Return the body of a request, unless it is too long."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"The body has more than {MAX_BODY} bytes.")
    return bytes(body)


def as_row(event):
    """Convert an event for the scorer, which uses the fields of its model only."""
    return {**event.fields, CUSTOMER: event.customer, TIME: event.time}


# The service --------------------------------------------------------------------------


class Service:
    """A scorer with the events of a journal in its states."""

    def __init__(self, model, folder, states_every=STATES_EVERY):
        self.pipeline = joblib.load(model)  # a pickle runs code: load only your own
        self.states_every, self.problems = states_every, {}
        self.journal = Journal(folder)
        try:
            self.load()
        except BaseException:
            self.journal.close()
            raise

    def load(self):
        """Load the newest intact states, and add the events since then."""
        journal = self.journal
        found = {file.name for file in journal.states()}
        if unknown := sorted(found - journal.known_states()):
            raise StartError(
                f"The states {unknown} do not belong to the journal in "
                f"{journal.folder}, which is older than they are, or another one, and "
                "lacks events that were acknowledged. Put the right journal back, with "
                "its -wal file. If it is lost, move these states away: the service "
                "goes on from the events of this journal. Send later ones again."
            )
        for part in journal.folder.glob(".*.part"):  # left by a process that was killed
            part.unlink()
        self.scorer, number = self.newest_states()
        self.written, self.next_states = number, number + self.states_every
        try:
            # No customer has the id "". An error here: ids in the states are not text.
            self.scorer.forget(["", *journal.forgotten_since(number)])
            for events in journal.after(number):
                self.scorer.update([as_row(event) for event in events])
        except (LookupError, TypeError, ValueError) as error:
            raise StartError(
                f"The model cannot go on from event {number}: {error} A model with "
                "other fields needs states from a log: put_states."
            ) from error

    def newest_states(self):
        """Return a scorer, and the number of the last event in its states."""
        keys = self.pipeline, CUSTOMER, TIME
        removed, unusable = self.journal.removed, {}
        for file, number in self.journal.states().items():
            try:
                if number < (removed or 0):
                    raise ValueError(f"the journal begins after event {removed}")
                return StreamingScorer.from_parquet(file, *keys), number
            except (LookupError, OSError, ValueError) as error:
                unusable[file.name] = self.problems["states"] = str(error)
        if removed is None:
            return StreamingScorer(*keys), 0
        raise StartError(
            f"The journal in {self.journal.folder} has no events up to number "
            f"{removed}, so that it needs states, and none can be used: {unusable}. "
            "Restore them from a backup, or make them from a log: put_states."
        )

    def keep(self, events, read):
        """Add events to the journal; `read` commits the new ones and updates states."""
        # In order of time, so that no block of the journal has late events.
        events = sorted(events, key=lambda event: in_utc(event.time))
        before = self.journal.last
        try:
            with self.journal.transaction():
                answer = read([event for event in events if self.journal.add(event)])
        except sqlite3.Error as error:
            self.problems["journal"] = str(error)
            raise
        except Exception:
            if self.journal.last > before:  # committed, but perhaps not in the states
                self.load()
            raise
        self.problems.pop("journal", None)
        if self.journal.last >= self.next_states:
            self.write_states()
        return answer

    def update(self, new):
        rows, commit = [as_row(event) for event in new], self.journal.commit
        return {"new": self.scorer.update(rows, on_accept=commit)}

    def score(self, new, customer, cutoff, statics):
        event, commit = as_row(new[0]) if new else None, self.journal.commit
        score = self.scorer.score_one(
            customer, event, statics, cutoff, on_accept=commit
        )
        return {"score": score.tolist()}

    def write_states(self):
        """Write the states. If that fails, no event is lost; a start takes longer."""
        number = self.journal.last
        try:
            self.journal.write_states(self.scorer, number)
        except (OSError, sqlite3.Error) as error:
            self.problems["states"] = str(error)
            self.next_states = number + self.states_every // 10
        else:
            self.problems.pop("states", None)
            self.written, self.next_states = number, number + self.states_every

    def forget(self, customer):
        """Remove a customer from the journal and all states."""
        n_events = self.journal.forget(customer)
        self.scorer.forget([customer])
        self.write_states()
        return {"events": n_events, **self.health()}

    def health(self):
        """Return the last event, the last one in saved states, and failures."""
        numbers = {"last event": self.journal.last, "states up to": self.written}
        return {**numbers, "problems": self.problems, "ok": not self.problems}


def make_app(service):
    app = FastAPI()

    @app.post("/events")
    async def read(request: Request):
        return service.keep(MANY.validate_json(await body_of(request)), service.update)

    @app.post("/score")
    async def judge(request: Request, cutoff: datetime, statics: str = "{}"):
        event = ONE.validate_json(await body_of(request))
        about = event.customer, cutoff, STATICS.validate_json(statics)
        return service.keep([event], lambda new: service.score(new, *about))

    @app.get("/score")
    async def look(customer: Name, cutoff: datetime, statics: str = "{}"):
        return service.score([], customer, cutoff, STATICS.validate_json(statics))

    @app.delete("/customer")
    async def forget(customer: Name):
        return service.forget(customer)

    @app.get("/health")
    async def health():
        return service.health()

    async def refuse(request, error):
        status, reason = 422, str(error.args[0] if error.args else error)
        if isinstance(error, HTTPException):
            status, reason = error.status_code, error.detail
        elif isinstance(error, OtherEventError):
            status = 409
        elif isinstance(error, sqlite3.Error):
            status, reason = 503, f"Nothing can be written, and nothing was: {reason}."
        elif isinstance(error, RequestValidationError | ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")
        return JSONResponse({"reason": reason[:1000]}, status_code=status)

    refused = ArithmeticError, LookupError, TypeError, ValueError, OtherEventError
    for kind in (*refused, HTTPException, RequestValidationError, sqlite3.Error):
        app.exception_handler(kind)(refuse)
    return app


if __name__ == "__main__":
    try:
        service = Service(sys.argv[1], sys.argv[2])
    except StartError as error:
        sys.exit(str(error))
    uvicorn.run(make_app(service), port=int(sys.argv[3]), log_level="warning")
