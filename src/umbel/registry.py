"""The tasks an application knows, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.exceptions import InvalidTaskError, NotRegistered

if TYPE_CHECKING:
    from umbel.task import Task


class TaskRegistry(dict[str, "Task[..., Any]"]):
    """Name to task; an unknown name raises `NotRegistered` with the nearest known ones."""

    def __missing__(self, name: str) -> Task[..., Any]:
        raise NotRegistered(name, known=self)

    def register(self, task: Task[..., Any] | type[Task[..., Any]]) -> None:
        """Add a task under its name; a class is instantiated first.

        Raises:
            InvalidTaskError: the task has no name.
        """
        found: Task[..., Any] = task() if isinstance(task, type) else task
        if not found.name:
            msg = f"task {type(found).__name__!r} has no name"
            raise InvalidTaskError(msg)
        self[found.name] = found

    def unregister(self, name: str | Task[..., Any]) -> None:
        """Remove a task by name or by itself.

        Raises:
            NotRegistered: there is none.
        """
        key: Any = getattr(name, "name", name)
        try:
            self.pop(key)
        except KeyError:
            raise NotRegistered(key, known=self) from None

    def regular(self) -> dict[str, Task[..., Any]]:
        """The tasks that are not of type ``periodic``."""
        return self.filter_types("regular")

    def periodic(self) -> dict[str, Task[..., Any]]:
        """The tasks of type ``periodic``."""
        return self.filter_types("periodic")

    def filter_types(self, kind: str) -> dict[str, Task[..., Any]]:
        """The tasks whose ``type`` is ``kind`` (``regular`` unless they say otherwise)."""
        return {
            name: task for name, task in self.items() if getattr(task, "type", "regular") == kind
        }
