"""Files of states are read completely, or refused with the name of the file."""

import json
import re

import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal

from sklearn_seqcrm.events import EventLog
from sklearn_seqcrm.neural_network import LSTMClassifier
from sklearn_seqcrm.preprocessing import make_history_pipeline
from sklearn_seqcrm.serving import StreamingScorer
from sklearn_seqcrm.serving._streaming._parquet import read_states

KEY = b"sklearn_seqcrm.states"
EVENTS = pd.DataFrame(
    {"who": list("abcabcaab"), "when": range(9), "amount": np.arange(9.0)}
)


@pytest.fixture(scope="module")
def model():
    X = EventLog(EVENTS, "who", "when").snapshots([4, 9])
    net = LSTMClassifier(
        hidden_size=2, head_sizes=(), max_epochs=1, random_state=0, n_networks=1
    )
    return make_history_pipeline(net).fit(X, np.arange(len(X)) % 2)


@pytest.fixture(scope="module")
def scorer(model):
    scorer = StreamingScorer(model, "who", "when")
    scorer.update(EVENTS)
    return scorer


@pytest.fixture
def file(scorer, tmp_path):
    scorer.to_parquet(tmp_path / "states.parquet")
    return tmp_path / "states.parquet"


@pytest.fixture
def read(model, file):
    return lambda: StreamingScorer.from_parquet(file, model, "who", "when")


def states_of(scorer):
    return scorer._streams["history"].states.to_arrays()


def test_every_flipped_bit_is_found(file, read):
    good = file.read_bytes()
    n_bits = 8 * len(good)
    some = np.random.default_rng(0).choice(n_bits, 300, replace=False)
    for bit in [*some, *range(n_bits - 64, n_bits)]:
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        file.write_bytes(bad)
        with pytest.raises(ValueError, match=re.escape(f"{file} is damaged: ")) as info:
            read_states({}, [], file)
        assert "into a new scorer" in str(info.value)
    with pytest.raises(ValueError, match=re.escape(f"{file} is damaged: ")):
        read()


def test_files_that_were_cut_off_or_lengthened(file, read, scorer):
    good = file.read_bytes()
    for data in (b"", good[:4], good[:11], good[:-1], good[: len(good) // 2], good * 2):
        file.write_bytes(data)
        with pytest.raises(ValueError, match="is damaged"):
            read()
    file.write_bytes(good)
    for found, expected in zip(states_of(read()), states_of(scorer), strict=True):
        assert_array_equal(found, expected)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        read()


def test_other_parquet_readers_can_read_the_file(file):
    for frame in (pd.read_parquet(file), pl.read_parquet(file), pq.read_table(file)):
        assert len(frame) == 3
        assert "0_customer" in getattr(frame, "column_names", frame.columns)


def test_files_of_version_0_1_0_are_read(file, read, scorer):
    """Such files have no seal; a missing column is a ValueError, not a KeyError."""
    table = pq.read_table(file)
    note = {**json.loads(table.schema.metadata[KEY]), "format": 1}

    def write(table, **changed):
        text = json.dumps(note | changed)
        pq.write_table(table.replace_schema_metadata({KEY: text}), file)

    write(table)
    for found, expected in zip(states_of(read()), states_of(scorer), strict=True):
        assert_array_equal(found, expected)
    write(table.drop_columns("0_last"))
    with pytest.raises(ValueError, match=r"is damaged: KeyError.*0_last"):
        read()
    write(table, histories=[{"name": "history"}])
    with pytest.raises(ValueError, match=r"is damaged: KeyError\('n'\)"):
        read()
    write(table, format=2)
    with pytest.raises(ValueError, match="is damaged: its checksum is missing"):
        read()
    write(table, format=3)
    with pytest.raises(ValueError, match="has the format 3, and this version"):
        read()


def test_a_float16_file_is_refused_by_a_float32_scorer(model, tmp_path):
    scorer = StreamingScorer(model, "who", "when", dtype="float16")
    scorer.update(EVENTS)
    scorer.to_parquet(tmp_path / "states.parquet")
    with pytest.raises(ValueError, match="stored in halffloat"):
        StreamingScorer.from_parquet(tmp_path / "states.parquet", model, "who", "when")


def test_a_float32_file_is_refused_by_a_float16_scorer(file, model):
    with pytest.raises(ValueError, match="stored in float, and those of this scorer"):
        StreamingScorer.from_parquet(file, model, "who", "when", dtype="float16")


def test_a_file_rewritten_by_another_program_is_refused(file, read):
    pq.write_table(pq.read_table(file), file)
    with pytest.raises(ValueError, match="was rewritten by another program"):
        read()


def test_ids_that_a_file_would_not_give_back_are_not_written(model, tmp_path):
    """Tuples were written as lists, and the file was called damaged when read."""
    scorer = StreamingScorer(model, "who", "when")
    pairs = pd.Series([("shop", who) for who in EVENTS["who"]], dtype=object)
    scorer.update(EVENTS.assign(who=pairs))
    with pytest.raises(TypeError, match=r"cannot store .*make text of them before"):
        scorer.to_parquet(tmp_path / "states")
    assert not (tmp_path / "states").exists()
