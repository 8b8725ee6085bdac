"""Classes that belong to one application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.current import get_current_app
from umbel.result import AsyncResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from umbel.app import Umbel


def subclass_with_self(cls: Any, name: str | None, members: Mapping[str, Any]) -> Any:
    """A subclass of ``cls`` that looks like it, with further members."""
    body = {"__module__": cls.__module__, "__doc__": cls.__doc__, **members}
    return type(name or cls.__name__, (cls,), body)


def from_current_app(path: str) -> Callable[[Any], Any]:
    """A ``__reduce__`` for instances that are made again by the current application."""

    def __reduce__(self: Any) -> Any:  # noqa: N807 - becomes a method of that name
        arguments = getattr(self, "__reduce_args__", tuple)
        return _made_by_current_app, (path, tuple(arguments()))

    return __reduce__


def _made_by_current_app(path: str, arguments: tuple[Any, ...]) -> Any:
    found: Any = get_current_app()
    for part in path.split("."):
        found = getattr(found, part)
    return found(*arguments)


def bound_result(app: Umbel) -> type[AsyncResult[Any]]:
    """A subclass of `AsyncResult` that asks ``app`` unless told otherwise."""

    class Bound(AsyncResult[Any]):
        def __init__(
            self,
            id: str,  # noqa: A002 - the public name
            backend: Any = None,
            task_name: str | None = None,
            app: Umbel | None = app,
            parent: Any = None,
        ) -> None:
            super().__init__(id, backend, task_name, app, parent)

        def __reduce__(self) -> Any:
            return AsyncResult, (self.id, None, None, None, self.parent)

    Bound.__name__ = Bound.__qualname__ = "AsyncResult"
    Bound.__module__ = AsyncResult.__module__
    return Bound
