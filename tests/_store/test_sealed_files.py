"""Files of this version, read by a later one that writes another format."""

import json

import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

from sklearn_seqcrm._store import _sealed_files
from sklearn_seqcrm.events import EventLog
from tests.logs import log_of

LOG = log_of([1, 3, 2], ["a", "a", "b"], fields={"x": [0.5, 1.5, 2.5]})


def without_seal(path):
    """Remove the seal of a file, as a program that drops unknown entries would."""
    if path.suffix == ".json":
        note = json.loads(path.read_text())
        del note["seal"]
        path.write_text(json.dumps(note))
        return
    table = pq.read_table(path)
    kept = {k: v for k, v in table.schema.metadata.items() if not k.endswith(b".seal")}
    pq.write_table(table.replace_schema_metadata(kept), path)


@pytest.mark.parametrize("is_old", [False, True])
def test_a_later_version_reads_and_compares_earlier_files(
    is_old, tmp_path, monkeypatch
):
    newer = _sealed_files.FORMAT + 1
    if not is_old:
        monkeypatch.setattr(_sealed_files, "FORMAT", newer)
    LOG.to_disk(tmp_path / "log")
    LOG.to_parquet(tmp_path / "log.parquet")
    monkeypatch.setattr(_sealed_files, "FORMAT", newer)
    for log in (
        EventLog.open(tmp_path / "log", verify=True),
        EventLog.from_parquet(tmp_path / "log.parquet"),
    ):
        assert_frame_equal(log.to_frame(), LOG.to_frame())
    without_seal(tmp_path / "log" / "log.json")
    without_seal(tmp_path / "log.parquet")
    with pytest.raises(ValueError, match="its checksum is missing"):
        EventLog.open(tmp_path / "log")
    with pytest.raises(ValueError, match="its checksum is missing"):
        EventLog.from_parquet(tmp_path / "log.parquet")
