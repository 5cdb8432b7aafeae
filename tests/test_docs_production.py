"""The page on production, run as it is."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "production.md"


def test_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    printed = []
    names = {"print": lambda *values: printed.extend(values)}
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    exec(compile(code, "production.md", "exec"), names)
    assert len(printed) == 2
    assert all(printed)
    assert names["scores"].shape == (500, 2)
