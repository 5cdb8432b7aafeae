"""The folder of serve_scores.py: a journal of events, and files of states.

The journal is a SQLite file. A file of states has the states after all events up to the
number in its name; the newest few are kept. A start needs one of them and the events
since then, so older events are removed from the journal.
"""

import shutil
import sqlite3
import uuid
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

STATES_KEPT = 3  # newest files of states
EVENTS_KEPT = 1_000_000  # newest events, which stay in the journal in any case

TABLES = """
CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT UNIQUE, customer TEXT, body TEXT);
CREATE TABLE IF NOT EXISTS states (file TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS removed (up_to INTEGER);
CREATE TABLE IF NOT EXISTS forgotten (customer TEXT, number INTEGER);
"""


class Event(BaseModel, extra="forbid"):
    """An event, without bounds: tighter ones must not make the journal unreadable."""

    id: str
    customer: str
    time: datetime
    fields: dict[str, Any] = {}


class StartError(Exception):
    """The service cannot start with this folder."""


class OtherEventError(Exception):
    """An id in the journal was sent again with another event."""


class Journal:
    """Events in order, and the names of the files of states.

    A file of states has to be in the table of names. If it is not, the journal is older
    than the file, for example from a backup, and lacks events that the states have.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise StartError(f"There is no folder {folder}.")
        options = {"isolation_level": None, "check_same_thread": False}
        self.lock = sqlite3.connect(self.folder / "lock.sqlite", timeout=0, **options)
        self.base = sqlite3.connect(self.folder / "journal.sqlite", **options)
        try:
            self.lock.execute("BEGIN EXCLUSIVE")  # until the process ends
        except sqlite3.OperationalError as error:
            self.close()
            raise StartError(f"Another process uses {folder}: {error}.") from error
        try:
            for rule in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
                self.base.execute(f"PRAGMA {rule}")
            if (found := self.one("PRAGMA quick_check(1)")) != "ok":
                raise sqlite3.DatabaseError(found)
            self.base.executescript(TABLES)
        except sqlite3.Error as error:
            self.close()
            raise StartError(
                f"The journal in {folder} cannot be opened: {error}. If it is damaged, "
                "restore the folder from a backup."
            ) from error

    def close(self):
        self.base.close()
        self.lock.close()

    @contextmanager
    def transaction(self):
        """Roll back at the end if nothing was committed."""
        self.base.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            if self.base.in_transaction:
                self.base.execute("ROLLBACK")

    def commit(self):
        self.base.execute("COMMIT")

    def one(self, query):
        [[value]] = self.base.execute(query)
        return value

    @property
    def last(self):
        """Number of the last event, even if it was removed later."""
        return self.one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence")

    @property
    def removed(self):
        """Number of the last removed event; None if the journal has all events."""
        return self.one("SELECT max(up_to) FROM removed")

    def add(self, event):
        """Add an event, and return whether it is new."""
        query = "SELECT body FROM events WHERE id = ?"
        for (body,) in self.base.execute(query, [event.id]):
            if Event.model_validate_json(body).model_dump() != event.model_dump():
                raise OtherEventError(f"Another event has the id {event.id!r}.")
            return False
        row = event.id, event.customer, event.model_dump_json()
        insert = "INSERT INTO events (id, customer, body) VALUES (?, ?, ?)"
        self.base.execute(insert, row)
        return True

    def after(self, number, n=10_000):
        """Yield lists of the events after a number, in order."""
        query = f"SELECT * FROM events WHERE number > ? ORDER BY number LIMIT {n}"
        while rows := self.base.execute(query, [number]).fetchall():
            number = rows[-1][0]
            yield [Event.model_validate_json(row[-1]) for row in rows]

    def forget(self, customer):
        """Remove the events of a customer; states from before must not be used."""
        with self.transaction():
            delete = "DELETE FROM events WHERE customer = ?"
            n_events = self.base.execute(delete, [customer]).rowcount
            row = customer, self.last
            self.base.execute("INSERT INTO forgotten VALUES (?, ?)", row)
            self.commit()
        return n_events

    def forgotten_since(self, number):
        """Customers whose states after that many events must not be used."""
        query = "SELECT customer FROM forgotten WHERE number >= ?"
        return [customer for (customer,) in self.base.execute(query, [number])]

    def states(self):
        """Number of the last event by file of states, newest first."""
        files = sorted(self.folder.glob("states-*.parquet"), reverse=True)
        return {file: int(file.stem.split("-")[1]) for file in files}

    def known_states(self):
        """Names of the files of states that were written for this journal."""
        return {name for (name,) in self.base.execute("SELECT file FROM states")}

    def write_states(self, scorer, number):
        """Write the states after that many events, then remove what is too old."""
        new = self.folder / f"states-{number:012}-{uuid.uuid4().hex[:8]}.parquet"
        self.base.execute("INSERT INTO states VALUES (?)", [new.name])
        scorer.to_parquet(new)
        older = [file for file in self.states() if file != new]
        # Remove states from before a customer was forgotten, however few are left.
        n_older = 0 if self.forgotten_since(0) else STATES_KEPT - 1
        for file in older[n_older:]:
            file.unlink()
        kept = self.states()
        gone = self.known_states() - {file.name for file in kept}
        with self.transaction():
            self.base.execute("DELETE FROM forgotten")
            delete = "DELETE FROM states WHERE file = ?"
            self.base.executemany(delete, [[name] for name in gone])
            up_to = min(*kept.values(), self.last - EVENTS_KEPT)
            if len(kept) == STATES_KEPT and up_to > (self.removed or 0):
                self.base.execute("DELETE FROM events WHERE number <= ?", [up_to])
                self.base.execute("INSERT INTO removed VALUES (?)", [up_to])
            self.commit()
        self.base.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def put_states(folder, scorer, number=0):
    """Write the states for the first start, with all events up to a number."""
    with closing(Journal(folder)) as journal:
        first, last = journal.removed or 0, journal.last
        if not first <= number <= last:
            raise ValueError(
                f"number must be from {first} to {last}, as the journal has the events "
                f"after number {first} only; got {number}."
            )
        newest = max(journal.states().values(), default=-1)
        if newest >= number:  # a start may load these instead
            raise ValueError(
                f"{folder} has states up to event {newest} already, and number is "
                f"{number}. Move its states-*.parquet away, and call put_states again."
            )
        # The log may have events from before the journal, so states are needed.
        journal.base.execute("INSERT INTO removed VALUES (0)")
        journal.write_states(scorer, number)


def back_up(folder, copy):
    """Copy the folder of a service, which may be running, into a new one."""
    folder, copy = Path(folder), Path(copy)
    copy.mkdir(parents=True)
    for file in folder.glob("states-*.parquet"):  # before the journal that names them
        with suppress(FileNotFoundError):  # a running service replaces old ones
            shutil.copy(file, copy)
    with closing(sqlite3.connect(folder / "journal.sqlite")) as base:
        base.execute("VACUUM INTO ?", [str(copy / "journal.sqlite")])
    with closing(Journal(copy)) as journal:
        for file in journal.states():
            if file.name not in journal.known_states():  # replaced after it was copied
                file.unlink()
        if journal.removed is not None and not journal.states():
            raise StartError(
                f"All states were replaced while they were copied to {copy}. Delete "
                "this copy, and back up again."
            )
