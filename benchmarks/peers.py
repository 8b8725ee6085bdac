"""The virtual environment of the peers: made once, made anew when its list changes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PLACE = HERE / ".venv-peers"
WANTED = HERE / "peers.txt"
INSTALL_SECONDS = 600


def peers_python() -> Path:
    """The interpreter of the peers' environment, of the same Python that runs the harness."""
    python = PLACE / "bin" / "python"
    stamp = PLACE / "made-from"
    made_from = hashlib.sha256(WANTED.read_bytes() + sys.version.encode()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == made_from:
        return python
    print("installing the peers ...", file=sys.stderr, flush=True)
    shutil.rmtree(PLACE, ignore_errors=True)
    base = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    _run([str(base), "-m", "venv", str(PLACE)])
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "--requirement", str(WANTED)])
    stamp.write_text(made_from)
    return python


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
