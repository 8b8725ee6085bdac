"""Calls that are part of the caller's own transaction: ``with app.using(connection): …``.

Within the block whatever the application publishes goes through the caller's connection, and so
is seen by workers exactly when the caller commits, and never if the transaction is rolled back.
Which block is in force is kept in a context variable: threads and asynchronous tasks that were
started elsewhere do not see it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from umbel.exceptions import ImproperlyConfigured
from umbel.settings import mask_url

if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType
    from typing import Self

    from umbel.app import Umbel
    from umbel.ports.enlisting import Enlisted, Enlisting


class Using:
    """A block within which an application publishes through one connection.

    It can be entered once.

    Raises:
        ImproperlyConfigured: the broker does not live in a database, or ``connection`` is none.
    """

    def __init__(self, app: Umbel, connection: Any) -> None:
        broker = app.connections.write_broker
        if not hasattr(broker, "enlist"):
            shown = mask_url(app.connections.write_url)
            raise ImproperlyConfigured(
                f"using(connection) needs a broker that lives in the connection's database "
                f"(postgresql://…); this application's is {shown}"
            )
        self.app = app
        self.enlisted: Enlisted = cast("Enlisting", broker).enlist(connection)
        self.outer: Using | None = None
        self.is_open = False
        self._token: Token[Using | None] | None = None

    def __enter__(self) -> Self:
        self.outer = _innermost.get()
        self.is_open = True
        self._token = _innermost.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Asynchronous tasks that were started within the block may outlive it.
        self.is_open = False
        if self._token is not None:
            _innermost.reset(self._token)


_innermost: ContextVar[Using | None] = ContextVar("umbel-using", default=None)


def enlisted_by(app: Umbel) -> Enlisted | None:
    """The connection through which ``app`` publishes here and now; None if that is its own."""
    block = _innermost.get()
    while block is not None and not (block.is_open and block.app is app):
        block = block.outer
    return block.enlisted if block is not None else None
