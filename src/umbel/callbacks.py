"""What follows a task: ``link`` callbacks, the next step of a chain, and error callbacks.

They travel as signatures in the message of the task they follow.  When it ends, each becomes a
`Call`; a worker makes messages of them, an eager run calls them on the spot.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from umbel.canvas import Signature, as_list, maybe_signature

if TYPE_CHECKING:
    from collections.abc import Mapping

    from umbel.app import Umbel
    from umbel.context import Context
    from umbel.message import Message
    from umbel.task import Task

logger = logging.getLogger("umbel.task")

_IN_FRONT_OF_CALLBACK = 1
"""A callback gets the result before its own arguments, or an error callback the task's id;"""
_IN_FRONT_OF_ERRBACK = 3
"""one that is called where the task failed gets request, exception and traceback."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that follows from the end of a task."""

    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]


def calls_on_success(app: Umbel, request: Context, value: Any) -> list[Call]:
    """The callbacks and the next step of the chain, the value put before their arguments."""
    calls = [_call(app, request, each, value) for each in request.callbacks or ()]
    if request.chain:
        *rest, step = request.chain
        calls.append(_call(app, request, step, value, chain=rest or None))
    return calls


def calls_on_failure(
    app: Umbel, request: Context, error: BaseException, traceback: str | None
) -> list[Call]:
    """The error callbacks, after those that are to be called on the spot have been called.

    An error callback that is registered here, unbound, and takes more than one argument besides
    its own is called at once with the request, the exception and the traceback; any other is sent
    with the id of the failed task before its arguments.
    """
    calls: list[Call] = []
    for each in request.errbacks or ():
        try:
            found = _signature(app, each)
            task = app.tasks.get(str(found["task"]))
            if task is not None and takes_the_error(task, found):
                _call_here(task, found, (request, error, traceback))
            else:
                calls.append(_call(app, request, found, request.id))
        except Exception:
            logger.exception("error callback %r of %s failed", each, request.id)
    return calls


def message_of(app: Umbel, call: Call) -> Message:
    """The message of a call.

    Raises:
        EncodeError: an argument cannot be encoded.
    """
    task = app.tasks.get(call.name)
    if task is None:
        client = app.client
        return client.message(call.name, call.args, call.kwargs, options=call.options, exact=False)
    message, _ = task.build(call.args, call.kwargs, call.options, follows=True)
    return message


def takes_the_error(task: Task[..., Any], found: Signature[Any]) -> bool:
    """Whether an error callback is called with request, exception and traceback."""
    arguments = task._arguments  # noqa: SLF001 - the task's own signature
    if arguments is None or getattr(task, "_decorated", None) is None or task.is_bound:
        return False
    own = () if found.immutable else tuple(found.args or ())
    return arguments.room_beside(own, found.kwargs or ()) > 1


def ready_to_travel(app: Umbel, value: Any, *, errback: bool = False) -> Any:
    """A signature as it goes into the message of the task it follows.

    Arguments whose types the task's annotations tell become plain data, as in a call of their own;
    so do those of the signatures that follow this one.
    """
    found = maybe_signature(value)
    if not isinstance(found, Signature):
        return found
    task = app.registered.get(str(found["task"]))
    arguments = task._arguments if task is not None else None  # noqa: SLF001 - as above
    if task is not None and arguments is not None and arguments.carriers:
        in_front = _IN_FRONT_OF_CALLBACK
        if errback and takes_the_error(task, found):
            in_front = _IN_FRONT_OF_ERRBACK
        args, kwargs, typed = arguments.send(
            found.args or (), found.kwargs or {}, after=0 if found.immutable else in_front
        )
        if typed:
            found = found.replace(args, kwargs)
            found.options["typed"] = sorted({*typed, *(found.options.get("typed") or ())})
    links = {key: found.options[key] for key in ("link", "link_error") if found.options.get(key)}
    for key, linked in links.items():
        ready = [ready_to_travel(app, e, errback=key == "link_error") for e in as_list(linked)]
        found = found.replace(options={**found.options, key: ready})
    return found


def _signature(app: Umbel, value: Any) -> Signature[Any]:
    return cast("Signature[Any]", maybe_signature(value, app=app))


def _call(app: Umbel, request: Context, callback: Any, first: Any, **extra: Any) -> Call:
    """A callback as a call; its lineage is the task that has just ended."""
    found = _signature(app, callback)
    options = {
        **found.options,
        "root_id": request.root_id or request.id,
        "parent_id": request.id,
        **{key: value for key, value in extra.items() if value is not None},
    }
    args = tuple(found.args or ())
    if not found.immutable:
        args = (first, *args)
    return Call(str(found["task"]), args, dict(found.kwargs or {}), options)


def _call_here(task: Task[..., Any], found: Signature[Any], leading: tuple[Any, ...]) -> None:
    args: Any = tuple(found.args or ())
    kwargs: Mapping[str, Any] = found.kwargs or {}
    if not found.immutable:
        args = (*leading, *args)
    typed = found.options.get("typed")
    if typed and task._arguments is not None:  # noqa: SLF001 - as above
        args, kwargs = task._arguments.receive(args, kwargs, typed)  # noqa: SLF001
    returned = task(*args, **kwargs)
    if task.is_async:
        from umbel.eager import run_coroutine

        run_coroutine(returned)
