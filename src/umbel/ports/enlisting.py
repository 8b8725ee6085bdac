"""What a broker offers that can take messages within somebody else's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from umbel.message import Message


class Enlisted(Protocol):
    """A connection of the caller's, through which messages are published."""

    def publish(self, messages: Sequence[Message], /) -> None:
        """Add messages to the caller's transaction: seen when it commits, gone if it does not.

        Raises:
            ImproperlyConfigured: the connection is asynchronous, or leads to another database
                than the broker's.
            OperationalError: the server refused.
        """
        ...

    async def apublish(self, messages: Sequence[Message], /) -> None:
        """As `publish`, for a connection of either kind."""
        ...


class Enlisting(Protocol):
    """A broker that lives in a database its users work with as well."""

    def enlist(self, connection: Any, /) -> Enlisted:
        """Prepare to publish through ``connection``; nothing is sent yet.

        Raises:
            ImproperlyConfigured: it is no connection of a kind that is known here.
        """
        ...
