"""What a broker or result backend offers whose tables have versions."""

from __future__ import annotations

from typing import Protocol


class Migrating(Protocol):
    """One set of tables."""

    @property
    def place(self) -> str:
        """Where the tables are; no secret is in it."""
        ...

    def versions(self) -> tuple[int, int]:
        """The version of the tables that are there, 0 for none, and that of this code.

        Raises:
            OperationalError: the server cannot be reached.
        """
        ...

    def migrate(self) -> int:
        """Create the tables or bring them to this version; returns the version they had.

        Raises:
            OperationalError: the server cannot be reached.
            SchemaError: the tables are of a version this one cannot work beside.
            StoreError: another program has tables there.
            ImproperlyConfigured: the user lacks the right.
        """
        ...
