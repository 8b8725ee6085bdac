"""``self.retry()``: the next attempt at a task, worked out while this one still runs.

The message of the next attempt is built at once, so that arguments that cannot travel are noticed
here, and stored when this attempt ends, in the same step: there is never none of the two, nor both.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from umbel.exceptions import MaxRetriesExceededError, Reject, Retry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from umbel.canvas import Signature
    from umbel.context import Context
    from umbel.message import Message
    from umbel.task import Task

_MOVING = frozenset({"queue", "exchange", "routing_key"})
"""Options with which a task says itself where its next attempt is to wait."""


def retry(
    task: Task[..., Any],
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    *,
    exc: BaseException | None,
    max_retries: int | None,
    options: dict[str, Any],
) -> Retry:
    """The exception that ends this attempt; the next one is noted in the request.

    Raises:
        Retry, Exception: no message started the task, so there is nothing to retry.
        MaxRetriesExceededError: no retries are left and there is no ``exc``.
        Reject: the next attempt could not be encoded or routed.
    """
    request = task.request
    if request.called_directly:
        _raise_from_current(exc or Retry("the task can be retried", None))
    if max_retries is not None:
        request.retry_limit = max_retries
    else:
        max_retries = task.max_retries
    if options.get("countdown") is None and options.get("eta") is None:
        options["countdown"] = task.default_retry_delay
    again = _next_attempt(task, request, args, kwargs, options)
    if max_retries is not None and request.retries >= max_retries:
        if exc is not None:
            _raise_from_current(exc)
        raise MaxRetriesExceededError(
            task=task.name, task_id=request.id, task_args=again.args, task_kwargs=again.kwargs
        )
    if not request.is_eager:
        try:
            built, _ = task.build(again.args, again.kwargs, again.options)
            request.again = built if _MOVING & options.keys() else _to_its_queue(built, request)
        except Exception as error:
            raise Reject(error, requeue=False) from error
    when = options.get("eta") or options.get("countdown")
    return Retry(exc=exc, when=when, is_eager=request.is_eager, sig=again)


def _next_attempt(
    task: Task[..., Any],
    request: Context,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Signature[Any]:
    """The signature of the next attempt; where only half of the arguments is new, they are merged.

    New positional arguments stand for what was given by keyword before; new keyword arguments
    replace positional ones of the same name.
    """
    arguments = task._arguments  # noqa: SLF001 - the task's own signature
    if arguments is not None and args is not None and kwargs is None:
        kwargs = arguments.left_over(args, request.kwargs or {})
    elif arguments is not None and kwargs is not None and args is None:
        args, kwargs = arguments.put_in(request.args or (), kwargs)
    return task.signature_from_request(
        request, args, kwargs, retries=request.retries + 1, **options
    )


def _to_its_queue(message: Message, request: Context) -> Message:
    """The next attempt of what came through an exchange waits in the queue this one came from.

    Through the exchange it would reach every queue bound there once more.
    """
    delivery = request._delivery  # noqa: SLF001 - of the attempt that is retried
    if not message.exchange or delivery is None:
        return message
    return replace(message, queue=delivery.queue, exchange="", routing_key=delivery.queue)


def _raise_from_current(error: BaseException) -> NoReturn:
    """Raise ``error`` with what is being handled as its cause."""
    active = sys.exc_info()[1]
    if active is error:
        raise error
    raise error from active
