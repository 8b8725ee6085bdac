"""The virtual environments of the peers: made once, made anew when their lists change."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
INSTALL_SECONDS = 600


@cache
def peers_python(wanted: str = "peers.txt") -> Path:
    """The interpreter of one environment, of the same Python that runs the harness.

    Args:
        wanted: the file beside this one that lists what the environment holds.
    """
    requirements = HERE / wanted
    place = HERE / f".venv-{requirements.stem}"
    python = place / "bin" / "python"
    stamp = place / "made-from"
    made_from = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == made_from:
        return python
    print(f"installing {wanted} ...", file=sys.stderr, flush=True)
    shutil.rmtree(place, ignore_errors=True)
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    _run([str(base), "-m", "venv", str(place)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--requirement", str(requirements)])
    stamp.write_text(made_from)
    return python


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
