"""A small project for the command line to work on."""

from __future__ import annotations

import pytest

from commands import SHOP


@pytest.fixture
def shop(own_directory):
    """The directory of a test, with the module ``shop`` in it."""
    (own_directory / "shop.py").write_text(SHOP)
    return own_directory
