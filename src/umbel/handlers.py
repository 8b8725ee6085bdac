"""What a task class may define to be told about its own attempts.

A handler that raises is logged and changes nothing: the attempt ends as it would have ended, and
the handlers after it are called.  Only a task that is run eagerly raises it to the caller.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.failure import ExceptionInfo

HANDLERS = ("before_start", "on_success", "on_retry", "on_failure", "after_return")


class Handlers:
    """Handlers that do nothing, for task classes to override."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called before the body runs; what it raises counts as raised by the body."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called when the body returned."""

    def on_retry(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: ExceptionInfo
    ) -> None:
        """Called when the task is to run again."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: ExceptionInfo
    ) -> None:
        """Called when the body raised."""

    def after_return(
        self,
        status: str,
        retval: Any,
        task_id: str,
        args: Any,
        kwargs: Any,
        einfo: ExceptionInfo | None,
    ) -> None:
        """Called after success and failure, not after a retry; ``einfo`` is always None."""

    def shadow_name(
        self,
        args: Any,  # noqa: ARG002 - what an override is given
        kwargs: Any,  # noqa: ARG002
        options: Mapping[str, Any],  # noqa: ARG002
    ) -> str | None:
        """A name for logs in place of the task's, worked out for each call; None keeps it."""
        return None
