"""A process of one side that does what the tests ask it to, so that no case starts processes.

Requests and answers are pickles of plain values, on standard input and output.  The same source
runs under both sides; what only one of them can do raises on the other.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import time
import traceback
from typing import Any

import parcels
import redis
from parcels import LIBRARY, app


def signature(spec: Any) -> Any:
    """A signature from (name, args, kwargs, options, immutable); a task's own where it is known."""
    name, args, kwargs, options, immutable = spec
    options = with_signatures(options)
    return app.signature(name, args=args, kwargs=kwargs, options=options, immutable=immutable)


def with_signatures(options: dict[str, Any]) -> dict[str, Any]:
    made = dict(options)
    for key in ("link", "link_error", "chain"):
        if key in made:
            made[key] = [signature(spec) for spec in made[key]]
    return made


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as plain values."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - some have none
        text = "<no text>"
    return {
        "type": type(error).__name__,
        "module": type(error).__module__,
        "args": [plain(each) for each in error.args],
        "text": text,
        "bases": [cls.__name__ for cls in type(error).__mro__],
    }


class Plain(pickle.Unpickler):
    """Refuses what the other side may not be able to build."""

    def find_class(self, module: str, name: str) -> Any:
        if module not in {"builtins", "datetime", "decimal", "uuid"}:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module, name)


def plain(value: Any) -> Any:
    """The value, or its representation where the other side could not build it."""
    if isinstance(value, BaseException):
        return describe(value)
    try:
        return Plain(io.BytesIO(pickle.dumps(value))).load()
    except Exception:  # noqa: BLE001 - whatever a value does
        return repr(value)


class Desk:
    """What can be asked for."""

    def send(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> str:
        """Send by name; the id."""
        return str(app.send_task(name, args, kwargs, **with_signatures(options)).id)

    def call(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> str:
        """Send by the task, with the options of its own."""
        return str(app.tasks[name].apply_async(args, kwargs, **with_signatures(options)).id)

    def chain(self, specs: list[Any], options: dict[str, Any]) -> list[str]:
        """Send a chain; the ids of its steps, the last one first."""
        from celery import chain

        result = chain(*map(signature, specs)).apply_async(**with_signatures(options))
        return list(result.as_list())

    def outcome(self, task_id: str, timeout: float = 40.0) -> dict[str, Any]:
        """How a task ended, as an AsyncResult of this side tells it."""
        result = app.AsyncResult(task_id)
        found: dict[str, Any] = {"value": None, "error": None}
        try:
            found["value"] = plain(result.get(timeout=timeout))
        except Exception as error:  # noqa: BLE001 - that is what is asked for
            found["error"] = describe(error)
        found.update(
            state=result.state,
            ready=result.ready(),
            successful=result.successful(),
            failed=result.failed(),
            traceback=result.traceback,
            date_done=result.date_done and result.date_done.isoformat(),
            name=result.name,
            args=plain(result.args),
            kwargs=plain(result.kwargs),
            worker=result.worker,
            retries=result.retries,
            queue=result.queue,
        )
        return found

    def children(self, task_id: str) -> list[str]:
        """The tasks that a task has started."""
        return [str(child) for child in app.AsyncResult(task_id).children]

    def state(self, task_id: str) -> tuple[str, Any]:
        """State and information stored now."""
        result = app.AsyncResult(task_id)
        return result.state, plain(result.info)

    def wait_state(self, task_id: str, state: str) -> Any:
        """The information that comes with a state that is not final, once it is stored."""
        end = time.monotonic() + parcels.PATIENCE
        result = app.AsyncResult(task_id)
        while result.state != state:
            if time.monotonic() > end:
                raise TimeoutError(f"{task_id} is {result.state}, not {state}")
            time.sleep(0.005)
        return plain(result.info)

    def forget(self, task_id: str) -> None:
        """Delete a result."""
        app.AsyncResult(task_id).forget()

    def raw(self, queue: str, body: bytes, properties: dict[str, Any]) -> None:
        """Publish bytes as they are, through the messaging library of Celery."""
        with app.connection_for_write() as connection:
            connection.Producer().publish(body, exchange="", routing_key=queue, **properties)

    def push(self, queue: str, envelope: bytes) -> None:
        """Put bytes into a list of Redis, past every library."""
        with redis.Redis.from_url(os.environ["INTEROP_BROKER"]) as client:
            client.lpush(queue, envelope)

    def stored(self, task_id: str) -> bytes | None:
        """What Redis keeps for a result."""
        with redis.Redis.from_url(os.environ["INTEROP_RESULTS"]) as client:
            return client.get(f"celery-task-meta-{task_id}")

    def time_to_live(self, task_id: str) -> int:
        """The seconds for which Redis keeps a result."""
        with redis.Redis.from_url(os.environ["INTEROP_RESULTS"]) as client:
            return client.ttl(f"celery-task-meta-{task_id}")

    def send_old(self, name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> str:
        """Send in protocol 1; the id."""
        app.conf.task_protocol = 1
        del app.amqp
        try:
            return self.send(name, args, kwargs, options)
        finally:
            app.conf.task_protocol = 2
            del app.amqp

    def take(self, queue: str, limit: int = 1) -> list[dict[str, Any]]:
        """Messages of a queue in the order of delivery, as they are on the wire."""
        end = time.monotonic() + parcels.PATIENCE
        taken: list[dict[str, Any]] = []
        while len(taken) < limit:
            if time.monotonic() > end:
                raise TimeoutError(f"{len(taken)} of {limit} messages on {queue}")
            taken += TAKE[LIBRARY](queue)
        return taken

    def declare(self, queue: str) -> None:
        """Declare a queue as Celery's clients do."""
        with app.connection_for_write() as connection:
            app.amqp.queues[queue](connection.default_channel).declare()

    def delete(self, queues: list[str]) -> None:
        """Remove queues and the exchanges of their names."""
        with app.connection_for_write() as connection:
            for name in queues:
                channel = connection.default_channel
                channel.queue_delete(name)
                channel.exchange_delete(name)

    def dead(self, queue: str) -> list[dict[str, Any]]:
        """The dead letters that came from a queue."""
        letters = [each.letter for each in app.connections.broker.dead(limit=1000)]
        return [
            {
                "reason": letter.reason,
                "detail": letter.detail,
                "raw": getattr(letter.message, "raw", None),
                "body": getattr(letter.message, "body", None),
                "id": letter.message.id,
            }
            for letter in letters
            if letter.queue == queue
        ]

    def purge_dead(self, prefix: str) -> None:
        """Delete the dead letters that came from queues with such names."""
        if LIBRARY == "umbel":
            broker = app.connections.broker
            found = broker.dead(limit=10_000)
            broker.purge_dead(
                [each.number for each in found if each.letter.queue.startswith(prefix)]
            )

    def close(self) -> None:
        """Give back connections, so that nothing is lost when this process ends."""
        app.close()


def take_as_celery(queue: str) -> list[dict[str, Any]]:
    from kombu import Queue

    with app.connection_for_read() as connection:
        waiting = Queue(queue, channel=connection.default_channel)
        message = waiting.get(no_ack=True, accept=parcels.FORMATS)
        if message is None:
            return []
        body = message.body
        return [
            {
                "headers": dict(message.headers or {}),
                "properties": dict(message.properties or {}),
                "body": body if isinstance(body, bytes) else str(body).encode(),
                "content_type": message.content_type,
                "content_encoding": message.content_encoding,
                "id": (message.headers or {}).get("id"),
            }
        ]


def take_as_umbel(queue: str) -> list[dict[str, Any]]:
    from umbel.message import Settlement

    broker = app.connections.broker
    owner = f"desk-{os.getpid()}"
    broker.enroll(owner, 60)
    taken = broker.reserve(owner, [queue], limit=1, wait=0.5)
    broker.settle([Settlement(delivery) for delivery in taken])
    broker.retire(owner)
    return [
        {
            "headers": dict(delivery.message.headers),
            "properties": dict(delivery.message.properties),
            "body": delivery.message.body,
            "content_type": delivery.message.content_type,
            "content_encoding": delivery.message.content_encoding,
            "priority": delivery.message.priority,
            "id": delivery.message.id,
        }
        for delivery in taken
    ]


TAKE = {"celery": take_as_celery, "umbel": take_as_umbel}


def main() -> None:
    # What anybody prints goes to the log, not between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    desk = Desk()
    while True:
        try:
            name, args, kwargs = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = True, getattr(desk, name)(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the test is told
            answer = False, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
