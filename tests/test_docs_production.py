"""Run the page on production."""

import pytest


def test_page(one_network, code_of, tmp_path, monkeypatch):
    for name in ("onnx", "onnxruntime"):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    printed = []
    names = {"print": lambda *values: printed.extend(values)}
    code = code_of("production.md")
    exec(compile(code, "production.md", "exec"), names)
    assert len(printed) == 7
    assert all(printed)
    assert names["scores"].shape == (500, 2)
