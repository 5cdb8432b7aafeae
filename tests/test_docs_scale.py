"""The page on scale, run as it is."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "scale.md"


def test_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    printed = []
    names = {"print": lambda *values: printed.extend(values)}
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    exec(compile(code, "scale.md", "exec"), names)
    assert len(printed) == 3
    assert len(names["same"]) == len(names["log"])
    assert names["same"].n_customers == names["log"].n_customers
    assert names["scores"]["customer_id"].is_unique
    assert 250 < len(names["scores"]) <= 300
