"""Run benchmarks one after the other, and write their output into the docs.

Runs all of them, or those named: ``run_all.py bench_memory``.
"""

import ast
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
RESULTS = DOCS / "benchmark_results"
SCRIPTS = {
    "bench_training": [],
    "bench_prefix_sharing": [],
    "bench_rows_per_event": ["--picture", str(DOCS / "images" / "rows_per_event.png")],
    "bench_scoring": [],
    "bench_streaming": [],
    "bench_onnx": [],
    "bench_memory": [],
    "bench_growth": ["--picture", str(DOCS / "images" / "growth.png")],
    "bench_event_log": [],
    "bench_cutoffs": [],
    "bench_aggregates": [],
    "bench_event_model": [],
}
PACKAGES = [
    "torch",
    "scikit-learn",
    "skorch",
    "numpy",
    "pandas",
    "polars",
    "keras",
    "onnxruntime",
]


def machine():
    """Describe processor, cores, memory, versions and date in a sentence."""
    name = platform.processor() or platform.machine()
    cpu = Path("/proc/cpuinfo")
    if cpu.exists():
        facts = [line.split(":") for line in cpu.read_text().splitlines()]
        name = next(fact[1].strip() for fact in facts if "model name" in fact[0])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    there = filter(installed, PACKAGES)
    versions = [f"{name} {importlib.metadata.version(name)}" for name in there]
    return (
        f"Run on {datetime.date.today()}, on {os.cpu_count()} cores of {name} with "
        f"{memory:.0f} GiB of memory; Python {platform.python_version()}, "
        f"{', '.join(versions)}."
    )


def installed(package):
    """Return whether a package is installed."""
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def run(name, options):
    """Run a script, show what it prints, and return it with its docstring."""
    path = HERE / f"{name}.py"
    print(f"== {name}", flush=True)
    process = subprocess.Popen(
        [sys.executable, path, *options], stdout=subprocess.PIPE, text=True
    )
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    if process.wait():
        raise SystemExit(f"{name} failed.")
    return ast.get_docstring(ast.parse(path.read_text())), "".join(lines)


def main():
    """Run the scripts, and write a section of the docs for each."""
    RESULTS.mkdir(exist_ok=True)
    for name in sys.argv[1:] or SCRIPTS:
        options = SCRIPTS[name]
        doc, output = run(name, options)
        title, _, text = doc.partition("\n\n")
        section = [f"### {title.rstrip('.')}", text, f"```text\n{output}```"]
        if "--picture" in options:
            picture = Path(options[-1]).relative_to(DOCS)
            section.append(f"![What this section measures, as a picture]({picture})")
        section.append(machine())
        path = RESULTS / f"{name}.md"
        path.write_text("\n\n".join(section) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
