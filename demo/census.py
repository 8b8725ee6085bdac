"""The tasks of the demonstration: a census of Python source files.

Nothing here is special to a demonstration but the note of every start, which the proof needs.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

from umbel import Umbel

app = Umbel("census")  # the broker is taken from $UMBEL_BROKER_URL


@app.task(bind=True)
def count(self: Any, path: str) -> dict[str, Any]:
    """What one source file holds, and which process found it out."""
    note_start(path, self.request.id)
    source = Path(path).read_bytes()
    return {
        "path": path,
        "pid": os.getpid(),
        "lines": len(source.splitlines()),
        "sha256": hashlib.sha256(source).hexdigest(),
        **parsed(source),
    }


def parsed(source: bytes) -> dict[str, Any]:
    """Number of functions and classes; ``valid`` is False for what is no Python at all.

    A standard library holds a few such files on purpose, to test the compiler with.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return {"functions": 0, "classes": 0, "valid": False}
    functions = sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes)
    classes = sum(isinstance(node, ast.ClassDef) for node in nodes)
    return {"functions": functions, "classes": classes, "valid": True}


def note_start(path: str, task_id: str) -> None:
    """Add a line to the journal of starts, in one write that cannot mix with another's."""
    line = json.dumps({"path": path, "task_id": task_id, "pid": os.getpid(), "at": time.time()})
    journal = os.open(os.environ["CENSUS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(journal, line.encode() + b"\n")
    finally:
        os.close(journal)
