"""The script that lists the files behind a public call."""

import runpy
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "tools" / "trace_calls.py"


def test_a_call_is_traced_without_its_preparation(capsys):
    """`predict` encodes, computes outputs, and does not train; nothing is left on."""
    main = runpy.run_path(str(SCRIPT))["main"]
    main(["pipeline.predict", "--functions"])
    lines = capsys.readouterr().out.split()
    assert "neural_network/_base.py" in lines
    assert "LSTMClassifier.predict" in lines
    assert "HistoryEncoder.transform" in lines
    assert "HistoryEncoder.fit" not in lines
    assert sys.getprofile() is None
