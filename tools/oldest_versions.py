"""Print the oldest versions that pyproject.toml allows, as constraints for pip.

`make test-oldest` installs these, and runs the tests.
"""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def oldest_versions(project):
    """Turn ``name>=version`` into ``name==version``; of extras those of tests."""
    extras = project["optional-dependencies"]
    for requirement in [
        *project["dependencies"],
        *extras["onnx"],
        *extras["plotting"],
        *extras["service"],
        *extras["tests"],
    ]:
        if found := re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement):
            yield "==".join(found.groups())


if __name__ == "__main__":
    print(*oldest_versions(tomllib.loads(PYPROJECT.read_text())["project"]), sep="\n")
