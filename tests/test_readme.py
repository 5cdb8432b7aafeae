"""The README's quickstart is short, runs, and prints the figures of the text."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_quickstart_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(code.strip().splitlines()) <= 25
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    scores = {name: float(auc) for name, auc in (x.rsplit(" ", 1) for x in lines[:2])}
    # The text has two figures; networks differ slightly between processors.
    lstm, boosting = re.search(
        r"AUC of (\d\.\d+) .* and (\d\.\d+) for RFM", README
    ).groups()
    assert abs(scores["RFM + boosting"] - float(boosting)) < 0.01
    assert abs(scores["LSTM"] - float(lstm)) < 0.03
    assert "estimator__pooling" in lines[2]
    shown = [
        line for line in README.splitlines() if re.match(r"\d  +C000.* events ", line)
    ]
    printed = names["X"].head().to_string().splitlines()[1:]
    assert [line.split() for line in shown] == [line.split() for line in printed]
