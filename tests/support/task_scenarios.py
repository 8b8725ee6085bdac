"""Tasks that do everything a task can do, and a log of what happened around them.

The same definitions are run by the real Celery (record_celery_tasks.py writes what it did into
celery_tasks.json) and by Umbel (test_as_celery.py compares).
"""
# ruff: noqa: C901, PLR0915 - one function defines all tasks, for one application at a time
# ruff: noqa: FBT001, FBT002, B904, TRY301, N818 - tasks as people write them

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

SIGNALS = (
    "task_prerun",
    "task_postrun",
    "task_success",
    "task_failure",
    "task_retry",
    "task_internal_error",
    "task_rejected",
    "task_revoked",
)


class Boom(Exception):
    """A failure of the task's own."""


class Expected(Exception):
    """A failure the task declares in ``throws``."""


class Unencodable:
    """Nothing can write this."""

    def __repr__(self) -> str:
        return "<unencodable>"


def shown(value: Any) -> str:
    """A value as both libraries show it."""
    if isinstance(value, BaseException):
        worded = type(value).__name__ in WORDED
        arguments = "" if worded else ", ".join(shown(one) for one in value.args)
        return f"{type(value).__name__}({arguments})"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(shown(one) for one in value) + "]"
    return repr(value)


WORDED = frozenset({"MaxRetriesExceededError", "EncodeError", "TaskRevokedError", "Retry"})
"""Errors whose text each library words for itself."""


class Story:
    """What happened, in order."""

    def __init__(self, library: SimpleNamespace) -> None:
        self.library = library
        self.lines: list[str] = []
        self._receivers: list[Any] = []

    def tell(self, *words: Any) -> None:
        """Add a line."""
        self.lines.append(" ".join(str(word) for word in words))

    def listen(self) -> None:
        """Write down every signal about tasks."""
        for name in SIGNALS:
            self._listen_to(name)

    def _listen_to(self, name: str) -> None:
        def receiver(sender: Any = None, signal: Any = None, **named: Any) -> None:
            said = [name]
            keys = ("state", "retval", "result", "exception", "reason", "expired")
            said += [f"{key}={shown(named[key])}" for key in keys if key in named]
            self.tell(*said)

        signal = getattr(self.library.signals, name)
        signal.connect(receiver, weak=False)
        self._receivers.append((signal, receiver))

    def close(self) -> None:
        """Listen no more."""
        for signal, receiver in self._receivers:
            signal.disconnect(receiver)


def noisy_base(story: Story, base: Any) -> Any:
    """A task class that tells of every handler."""

    class Noisy(base):
        abstract = True

        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            story.tell("before_start", shown(args), kwargs)
            if kwargs.get("break_in") == "before_start":
                raise Boom("before_start")

        def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
            story.tell("on_success", shown(retval))
            if kwargs.get("break_in") == "on_success":
                raise Boom("on_success")

        def on_failure(
            self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
        ) -> None:
            story.tell("on_failure", shown(exc), bool(str(einfo)))
            if kwargs.get("break_in") == "on_failure":
                raise Boom("on_failure")

        def on_retry(
            self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any
        ) -> None:
            story.tell("on_retry", shown(exc), bool(str(einfo)))
            if kwargs.get("break_in") == "on_retry":
                raise Boom("on_retry")

        def after_return(
            self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
        ) -> None:
            story.tell("after_return", status, shown(retval), einfo is None)
            if kwargs.get("break_in") == "after_return":
                raise Boom("after_return")

    return Noisy


def define(app: Any, story: Story) -> SimpleNamespace:
    """The tasks, all of one application and shared with no other."""
    library = story.library
    noisy = noisy_base(story, library.Task)

    def task(*args: Any, **options: Any) -> Any:
        options = {"shared": False, "base": noisy, **options}
        return app.task(*args, **options)

    made = SimpleNamespace()

    def keep(function: Any) -> Any:
        setattr(made, function.__name__, function)
        return function

    @keep
    @task(name="t.add")
    def add(x: Any, y: Any, break_in: Any = None) -> Any:
        story.tell("body", shown(x), shown(y))
        return x + y

    @keep
    @task(name="t.fail")
    def fail(*args: Any, break_in: Any = None) -> Any:
        story.tell("body", *args)
        raise Boom(*args)

    @keep
    @task(name="t.expected", throws=(Expected,))
    def expected() -> Any:
        raise Expected("as declared")

    @keep
    @task(name="t.return_value")
    def return_value(value: Any) -> Any:
        return {"set": {1}, "object": Unencodable()}[value]

    @keep
    @task(name="t.retry", bind=True, max_retries=2)
    def retry(self: Any, *args: Any, succeed_at: int = 99, **options: Any) -> Any:
        request = self.request
        story.tell("body", shown(args), "retries", request.retries)
        if request.retries == succeed_at:
            return "done"
        options.pop("break_in", None)
        exc = options.pop("exc", None)
        throw = options.pop("throw", True)
        asked = self.retry(exc=Boom(exc) if exc else None, throw=throw, countdown=0, **options)
        story.tell("asked", type(asked).__name__)
        return "went on"

    @keep
    @task(name="t.retry_in_except", bind=True, max_retries=1)
    def retry_in_except(self: Any, give: bool = True) -> Any:
        story.tell("body", "retries", self.request.retries)
        try:
            raise Boom("cause")
        except Boom as error:
            raise self.retry(exc=error if give else None, countdown=0)

    @keep
    @task(name="t.retry_anew", bind=True)
    def retry_anew(self: Any, a: Any, b: Any = 2, c: Any = 3, *, again: Any = None) -> Any:
        story.tell("body", f"a={a} b={b} c={c} again={again}")
        if again and not self.request.retries:
            raise self.retry(countdown=0, **again)
        return [a, b, c]

    @keep
    @task(name="t.bare_retry")
    def bare_retry() -> Any:
        raise library.Retry("by hand")

    @keep
    @task(name="t.ignored")
    def ignored() -> Any:
        raise library.Ignore

    @keep
    @task(name="t.reject", acks_late=True)
    def reject() -> Any:
        raise library.Reject("no", requeue=False)

    @keep
    @task(name="t.reject_early", acks_late=False)
    def reject_early(requeue: bool) -> Any:
        story.tell("body")
        raise library.Reject("too late", requeue=requeue)

    @keep
    @task(name="t.reject_once", acks_late=True)
    def reject_once() -> Any:
        story.tell("body")
        if story.lines.count("body") == 1:
            raise library.Reject("again", requeue=True)
        return "second time"

    @keep
    @task(
        name="t.auto",
        bind=True,
        autoretry_for=(Boom,),
        retry_kwargs={"max_retries": 2, "countdown": 0},
    )
    def auto(self: Any, *args: Any, succeed_at: int = 99) -> Any:
        story.tell("body", "retries", self.request.retries)
        if self.request.retries == succeed_at:
            return "done"
        raise Boom("auto")

    @keep
    @task(
        name="t.auto_not",
        autoretry_for=(Exception,),
        dont_autoretry_for=(Boom,),
        retry_kwargs={"countdown": 0},
        max_retries=1,
    )
    def auto_not(what: str) -> Any:
        story.tell("body", what)
        raise {
            "boom": Boom("not again"),
            "ignore": library.Ignore(),
            "reject": library.Reject("no"),
            "other": ValueError("again"),
        }[what]

    @keep
    @task(name="t.state", bind=True)
    def state(self: Any) -> Any:
        self.update_state(state="PROGRESS", meta={"done": 1})
        story.tell("state", self.AsyncResult(self.request.id).state)
        story.tell("info", self.AsyncResult(self.request.id).info)
        return "done"

    class Calling(noisy):
        abstract = True

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            story.tell("call", "direct", self.request.called_directly)
            return super().__call__(*args, **kwargs)

    @keep
    @task(name="t.calling", base=Calling, bind=True)
    def calling(self: Any, x: Any) -> Any:
        request = self.request
        story.tell("body", x, "direct", request.called_directly, "id", request.id is not None)
        return x

    @keep
    @task(name="t.plain_errback")
    def errback_three(request: Any, exc: Any, traceback: Any) -> Any:
        story.tell(
            "errback_three",
            type(request).__name__,
            request.id == "fixed-id",
            shown(exc),
            type(traceback).__name__,
        )

    @keep
    @task(name="t.errback_id")
    def errback_id(task_id: Any) -> Any:
        story.tell("errback_id", task_id)

    @keep
    @task(name="t.errback_bound", bind=True)
    def errback_bound(self: Any, request: Any, exc: Any = None, traceback: Any = None) -> Any:
        story.tell("errback_bound", shown(request), shown(exc), self.request.parent_id)

    @keep
    @task(name="t.errback_any")
    def errback_any(*args: Any) -> Any:
        story.tell("errback_any", len(args))

    @keep
    @task(name="t.errback_none")
    def errback_none() -> Any:
        story.tell("errback_none")

    @keep
    @task(name="t.errback_broken")
    def errback_broken(request: Any, exc: Any, traceback: Any) -> Any:
        story.tell("errback_broken")
        raise ValueError("errback")

    @keep
    @task(name="t.errback_extra")
    def errback_extra(request: Any, exc: Any, traceback: Any, extra: Any = None) -> Any:
        story.tell("errback_extra", extra)

    @keep
    @task(name="t.lineage", bind=True)
    def lineage(self: Any, given: Any = None) -> Any:
        request = self.request
        story.tell("lineage", given, "root", request.root_id, "parent", request.parent_id)
        return given

    @keep
    @task(name="t.silent", ignore_result=True)
    def silent(value: Any = 1) -> Any:
        if value == "fail":
            raise Boom("silent")
        return value

    @keep
    @task(name="t.silent_errors", ignore_result=True, store_errors_even_if_ignored=True)
    def silent_errors(value: Any = 1) -> Any:
        raise Boom("silent")

    return made


def signature_of(tasks: SimpleNamespace, call: Any) -> Any:
    """The signature that a ``link`` or ``link_error`` of `CALLS` describes."""
    name, args, kwargs, immutable = call
    return getattr(tasks, name).signature(args, kwargs, immutable=immutable)


def options_of(tasks: SimpleNamespace, options: dict[str, Any]) -> dict[str, Any]:
    """The options of one of `CALLS`, its links as signatures."""
    links = {
        key: signature_of(tasks, options[key]) for key in ("link", "link_error") if key in options
    }
    return {**options, **links, "task_id": "fixed-id"}


# name, task, args, kwargs, options
CALLS: list[tuple[str, str, tuple[Any, ...], dict[str, Any], Any]] = [
    ("success", "add", (1, 2), {}, {}),
    ("failure", "fail", (1,), {}, {}),
    ("failure that is declared", "expected", (), {}, {}),
    ("result that cannot be encoded", "return_value", ("object",), {}, {}),
    ("wrong number of arguments", "add", (1,), {}, {"typing": False}),
    ("retries used up", "retry", ("a",), {}, {}),
    ("retries used up with exc", "retry", ("a",), {"exc": "last"}, {}),
    ("retry that succeeds", "retry", ("a",), {"succeed_at": 1}, {}),
    ("retry without throwing", "retry", ("a",), {"throw": False, "succeed_at": 1}, {}),
    ("retry limit of the call", "retry", ("a",), {"max_retries": 1}, {}),
    ("retry limit of the call above", "retry", ("a",), {"max_retries": 3}, {}),
    ("retry in except", "retry_in_except", (), {}, {}),
    ("retry in except without exc", "retry_in_except", (False,), {}, {}),
    ("retry raised by hand", "bare_retry", (), {}, {}),
    ("retry with args", "retry_anew", (1,), {"again": {"args": [9]}}, {}),
    ("retry with more args", "retry_anew", (1,), {"b": 5, "again": {"args": [9, 8]}}, {}),
    ("retry with kwargs", "retry_anew", (1, 5), {"again": {"kwargs": {"c": 7}}}, {}),
    ("retry with kwargs over args", "retry_anew", (1, 5), {"again": {"kwargs": {"b": 7}}}, {}),
    ("retry with both", "retry_anew", (1, 5), {"again": {"args": [3], "kwargs": {"b": 7}}}, {}),
    ("ignore", "ignored", (), {}, {}),
    ("reject", "reject", (), {}, {}),
    ("reject after early acknowledgement", "reject_early", (False,), {}, {}),
    ("reject and requeue after early acknowledgement", "reject_early", (True,), {}, {}),
    ("reject and requeue", "reject_once", (), {}, {}),
    ("autoretry used up", "auto", (), {}, {}),
    ("autoretry that succeeds", "auto", (), {"succeed_at": 1}, {}),
    ("autoretry not for this", "auto_not", ("boom",), {}, {}),
    ("autoretry lets Ignore pass", "auto_not", ("ignore",), {}, {}),
    ("autoretry meets Reject", "auto_not", ("reject",), {}, {}),
    ("autoretry for others", "auto_not", ("other",), {}, {}),
    ("before_start breaks", "add", (1, 2), {"break_in": "before_start"}, {}),
    ("on_success breaks", "add", (1, 2), {"break_in": "on_success"}, {}),
    ("after_return breaks", "add", (1, 2), {"break_in": "after_return"}, {}),
    ("on_failure breaks", "fail", (1,), {"break_in": "on_failure"}, {}),
    ("after_return breaks after failure", "fail", (1,), {"break_in": "after_return"}, {}),
    ("on_retry breaks", "retry", ("a",), {"succeed_at": 1, "break_in": "on_retry"}, {}),
    ("custom state", "state", (), {}, {}),
    ("custom call", "calling", (1,), {}, {}),
    ("link", "add", (1, 2), {}, {"link": ("lineage", (), {}, False)}),
    ("link with own argument", "add", (1, 2), {}, {"link": ("add", (10,), {}, False)}),
    ("link that takes nothing", "add", (1, 2), {}, {"link": ("lineage", (5,), {}, True)}),
    ("link that cannot be called", "add", (1, 2), {}, {"link": ("errback_none", (), {}, False)}),
    ("link after failure", "fail", (1,), {}, {"link": ("lineage", (), {}, False)}),
    *[
        (f"link_error {name}", "fail", (1,), {}, {"link_error": (name, (), {}, False)})
        for name in (
            "errback_three",
            "errback_id",
            "errback_bound",
            "errback_any",
            "errback_none",
            "errback_broken",
        )
    ],
    (
        "link_error with an argument",
        "fail",
        (1,),
        {},
        {"link_error": ("errback_extra", (), {"extra": 5}, False)},
    ),
    ("immutable link_error", "fail", (1,), {}, {"link_error": ("errback_none", (), {}, True)}),
    (
        "immutable link_error of many",
        "fail",
        (1,),
        {},
        {"link_error": ("errback_any", (1, 2), {}, True)},
    ),
    (
        "link_error and retry",
        "retry",
        ("a",),
        {"succeed_at": 1},
        {"link_error": ("errback_id", (), {}, False)},
    ),
    ("link_error and ignore", "ignored", (), {}, {"link_error": ("errback_id", (), {}, False)}),
    ("link_error and reject", "reject", (), {}, {"link_error": ("errback_id", (), {}, False)}),
    ("lineage of a retry", "retry", (), {"succeed_at": 1}, {"link": ("lineage", (), {}, False)}),
    ("result ignored by the task", "silent", (), {}, {}),
    ("result ignored by the task, wanted by the call", "silent", (), {}, {"ignore_result": False}),
    ("result wanted by the task, ignored by the call", "add", (1, 2), {}, {"ignore_result": True}),
    ("failure of a task whose result is ignored", "silent", ("fail",), {}, {}),
    ("failure stored though ignored", "silent_errors", (), {}, {}),
    ("failure stored though ignored by the call", "silent_errors", (), {}, {"ignore_result": True}),
    ("expired", "add", (1, 2), {}, {"expires": -10}),
]
