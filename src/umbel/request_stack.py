"""The requests one task is running for, innermost last; here for code that pushes its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel import current

if TYPE_CHECKING:
    from umbel.context import Context
    from umbel.task import Task


class RequestStack:
    """A view on the running tasks of this thread, or of this coroutine."""

    __slots__ = ("_task",)

    def __init__(self, task: Task[..., Any]) -> None:
        self._task = task

    @property
    def top(self) -> Context | None:
        """The innermost request; None when the task does not run."""
        return next((frame.request for frame in current.frames() if frame.task is self._task), None)

    def push(self, request: Context) -> None:
        """Make ``request`` the innermost one."""
        current.running.set(current.Frame(self._task, request, current.running.get()))

    def pop(self) -> Context | None:
        """Undo `push`; None if another task has been started since, or none was pushed."""
        frame = current.running.get()
        if frame is None or frame.task is not self._task:
            return None
        current.running.set(frame.below)
        return frame.request

    def __len__(self) -> int:
        return sum(frame.task is self._task for frame in current.frames())
