"""Types of tasks, calls and results, as both type checkers see them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
GOLDEN = HERE / "golden.py"
LEAST = 80


def marked() -> set[int]:
    """The numbers of the lines that must be refused."""
    lines = GOLDEN.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.rstrip().endswith("# E")}


def mypy(cache: Path) -> dict[int, str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--output=json"]
    command += ["--cache-dir", str(cache), "--config-file", str(HERE / "mypy.ini"), str(GOLDEN)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=HERE, check=False)
    found = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert found, run.stdout + run.stderr
    return {
        entry["line"]: entry["message"] for entry in found if entry["file"].endswith("golden.py")
    }


def pyright(_: Path) -> dict[int, str]:
    program = shutil.which("pyright", path=str(Path(sys.executable).parent)) or "pyright"
    command = [program, "--outputjson", "--pythonpath", sys.executable, str(GOLDEN)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=HERE, check=False)
    found = json.loads(run.stdout)["generalDiagnostics"]
    return {
        entry["range"]["start"]["line"] + 1: entry["message"]
        for entry in found
        if entry["severity"] == "error"
    }


def test_the_golden_file_is_long_enough():
    """Positive and negative lines together."""
    positive = GOLDEN.read_text().count("assert_type(") - 1
    assert positive + len(marked()) >= LEAST


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_type_checker_refuses_the_marked_lines_and_no_others(checker, tmp_path):
    """Wrong arguments and wrong results are refused where they stand, right ones pass."""
    refused = checker(tmp_path)
    wanted = marked()
    wrongly = {line: refused[line] for line in refused.keys() - wanted}
    assert not wrongly
    assert not wanted - refused.keys()
