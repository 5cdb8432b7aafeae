"""Run the page on scale."""


def test_page(code_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = []
    names = {"print": lambda *values: printed.extend(values)}
    code = code_of("scale.md")
    exec(compile(code, "scale.md", "exec"), names)
    assert len(printed) == 3
    assert len(names["same"]) == len(names["log"])
    assert names["same"].n_customers == names["log"].n_customers
    assert names["scores"]["customer_id"].is_unique
    assert 250 < len(names["scores"]) <= 300
