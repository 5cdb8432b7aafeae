"""The layers on the page on architecture are those of import-linter's contracts."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
LAYERS = re.findall(r"\w+", " ".join(CONTRACTS["contracts"][0]["layers"]))


def test_table_and_picture_have_the_layers():
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = re.findall(r"(?m)^\| `(\w+)` \| .* \| .* \|$", page)
    picture = ROOT / "docs" / "images" / "layers.svg"
    drawn = re.findall(r'class="n">(\w+)<', picture.read_text())
    assert sorted(table) == sorted(drawn) == sorted(LAYERS)
