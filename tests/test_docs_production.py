"""The page on production, run as it is."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "production.md"


def test_page(tmp_path, monkeypatch):
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    printed = []
    names = {"print": lambda *values: printed.extend(values)}
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    exec(compile(code, "production.md", "exec"), names)
    assert len(printed) == 6
    assert all(printed)
    assert names["scores"].shape == (500, 2)
