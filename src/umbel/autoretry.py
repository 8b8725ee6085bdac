"""``autoretry_for``: retry by itself on the exceptions a task names."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NoReturn

from umbel.attributes import classes
from umbel.exceptions import TaskPredicate
from umbel.retry import backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from umbel.task import Task


def add_autoretry(task: Task[..., Any]) -> None:
    """Wrap the body of ``task`` so that it retries on ``autoretry_for``; once per task."""
    reasons = classes(task.autoretry_for)
    if not reasons or hasattr(task, "_orig_run"):
        return
    inner: Callable[..., Any] = task.run
    wrapped: Callable[..., Any]
    if task.is_async:

        @functools.wraps(inner)
        async def arun(*args: Any, **kwargs: Any) -> Any:
            try:
                return await inner(*args, **kwargs)
            except reasons as error:
                _retry(task, error)

        wrapped = arun
    else:

        @functools.wraps(inner)
        def run(*args: Any, **kwargs: Any) -> Any:
            try:
                return inner(*args, **kwargs)
            except reasons as error:
                _retry(task, error)

        wrapped = run
    vars(task).update(_orig_run=inner, run=wrapped)


def _retry(task: Task[..., Any], error: BaseException) -> NoReturn:
    """Retry, unless the task has said by its exception how it is to end."""
    if isinstance(error, (TaskPredicate, *classes(task.dont_autoretry_for))):
        raise error
    request = task.request
    options = dict(task.retry_kwargs or {})
    if task.retry_backoff:
        options["countdown"] = backoff(
            task.retry_backoff,
            request.retries,
            maximum=task.retry_backoff_max,
            full_jitter=task.retry_jitter,
        )
    if request.retry_limit is not None:
        options["max_retries"] = request.retry_limit
    ret = task.retry(exc=error, throw=False, **options)
    raise ret from error
