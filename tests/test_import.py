import ast
import re
import subprocess
import sys
from pathlib import Path

from packaging.version import Version

import sklearn_seqcrm

LIGHT = [
    "calibration",
    "datasets",
    "events",
    "feature_extraction",
    "inspection",
    "metrics",
    "model_selection",
    "partitions",
    "preprocessing",
    "targets",
]
HEAVY = ["matplotlib", "skorch", "torch"]


def test_import_is_light():
    # In a new interpreter: this one has loaded everything already.
    code = "\n".join(
        [
            "import sys",
            "import sklearn_seqcrm",
            *[f"import sklearn_seqcrm.{package}" for package in LIGHT],
            f"print([name for name in {HEAVY} if name in sys.modules])",
        ]
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


def test_private_names_of_scikit_learn_are_in_one_file():
    """A new version of scikit-learn may change them, and break this file only."""
    root = Path(sklearn_seqcrm.__file__).parent
    found = {
        f"{path.relative_to(root)}: {node.module}.{name.name}"
        for path in root.rglob("*.py")
        if path.name != "_sklearn_compat.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module
        for name in node.names
        if node.module.split(".")[0] == "sklearn"
        and "._" in f"{node.module}.{name.name}"
    }
    assert found == set()


def test_the_version_is_later_than_the_last_release():
    """Pages say which files of the last release can be read: this is not the one."""
    changelog = Path(__file__).parents[1].joinpath("CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## ([\d.]+) ", changelog, re.MULTILINE)
    ours = Version(sklearn_seqcrm.__version__)
    if "\n## Unreleased" in changelog:
        assert ours > Version(released[0])
        assert ours.is_devrelease
    else:
        assert ours == Version(released[0])
