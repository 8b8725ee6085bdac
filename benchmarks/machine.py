"""What a reader has to know about the machine to judge the figures."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

SYNCS = 200
VERSIONS = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"


def machine_facts(scratch: Path) -> dict[str, Any]:
    """Processor, kernel, Python, and the disk under the scratch folder."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "filesystem": _filesystem(scratch),
        "syncs_per_second": round(_syncs_per_second(scratch)),
        "load_before": round(os.getloadavg()[0], 2),
    }


def package_versions(python: Path, packages: tuple[str, ...]) -> dict[str, str]:
    """The installed versions of these distributions for one interpreter."""
    if not packages:
        return {}
    command = [str(python), "-c", VERSIONS, *packages]
    words = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    return dict(zip(packages, words.stdout.split(), strict=True))


def commit() -> str:
    """The commit of this checkout, marked if files under version control differ from it."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    return done.stdout.strip() or "unknown"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model"}:
            return value.strip()
    return platform.machine()


def _filesystem(folder: Path) -> str:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    around = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    return max(around, key=lambda mount: len(mount[1]))[2]


def _syncs_per_second(folder: Path) -> float:
    path = folder / "sync-speed"
    with path.open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(SYNCS):
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
        took = time.perf_counter() - began
    path.unlink()
    return SYNCS / took
