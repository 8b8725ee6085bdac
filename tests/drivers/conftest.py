"""One file per test, and what a second program does to it."""

from __future__ import annotations

import pytest

from files import File


@pytest.fixture
def file(tmp_path):
    """A fresh SQLite server in a file of its own."""
    file = File(tmp_path / "queue.db")
    yield file
    file.close()
