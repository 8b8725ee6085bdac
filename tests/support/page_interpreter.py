"""The interpreter that runs the Python blocks of one page, block after block.

A program of its own, because a page imports modules that it has just written.  It reads one
request per line and answers each with one line of JSON: null, or what went wrong.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import inspect
import io
import json
import os
import sys
import traceback
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


class Page:
    """The names and the event loop that the blocks of a page share."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.loop = asyncio.Runner()

    def execute(self, source: str, file: str, line: int, mode: str = "exec") -> None:
        """Run source text whose first line is ``line`` of ``file``."""
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile("\n" * (line - 1) + source, file, mode, flags=flags, dont_inherit=True)
        outcome = eval(code, self.names)
        if inspect.iscoroutine(outcome):
            self.loop.run(outcome)

    def converse(self, text: str, file: str, line: int) -> str | None:
        """Run a block of ``>>>`` lines; what differs from the page, or None."""
        for example in doctest.DocTestParser().get_examples(text):
            printed = io.StringIO()
            with redirect_stdout(printed):
                try:
                    self.execute(example.source, file, line + example.lineno, "single")
                except Exception as error:
                    if example.exc_msg is None:
                        raise
                    printed.write("".join(traceback.format_exception_only(error)))
            wanted = example.want if example.exc_msg is None else example.exc_msg
            options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            if not doctest.OutputChecker().check_output(wanted, printed.getvalue(), options):
                return (
                    f"line {line + example.lineno}: {example.source.strip()}\n"
                    f"printed:\n{printed.getvalue()}\ninstead of:\n{wanted}"
                )
        return None


def main() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a block prints is for people, not for the protocol
    sys.path[0] = str(Path.cwd())
    page = Page()
    for request in map(json.loads, sys.stdin):
        where = (request["text"], request["file"], request["line"])
        try:
            trouble = page.converse(*where) if request["session"] else page.execute(*where)
        except BaseException:  # noqa: BLE001 - whatever a block raises is its answer
            trouble = traceback.format_exc()
        answers.write(json.dumps(trouble) + "\n")
    page.loop.close()
    answers.close()


if __name__ == "__main__":
    main()
