"""Signatures: a call to a task as plain data, to be sent later or by somebody else.

A signature is a dictionary of ``task``, ``args``, ``kwargs``, ``options``, ``subtask_type`` and
``immutable``, so that it travels in messages and arguments as it is.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from umbel.current import app_or_default
from umbel.exceptions import NotRegistered
from umbel.identity import uuid7
from umbel.local import evaluated
from umbel.stamping import StampingVisitor, stamps_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from umbel.app import Umbel
    from umbel.result import AsyncResult, EagerResult
    from umbel.task import Task

R = TypeVar("R")

_KEPT_OPTIONS = frozenset({"group_id", "stamped_headers"})
"""Options that a merge never overrides."""


class Signature(dict[str, Any], Generic[R]):
    """A call that has not happened yet.

    Args given when it is sent are put before its own, keyword arguments and options given then
    win over its own; an immutable signature takes neither args nor keyword arguments.
    """

    TYPES: ClassVar[dict[str, type[Signature[Any]]]] = {}

    _app: Umbel | None = None
    _type: Any = None

    def __init__(
        self,
        task: Any = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,  # noqa: A002 - the public name
        subtask_type: str | None = None,
        immutable: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
        app: Umbel | None = None,
        **extra: Any,
    ) -> None:
        self._app = app
        self._type = type
        if isinstance(task, dict):
            super().__init__(task)
            return
        task = evaluated(task)
        if isinstance(task, str) or task is None:
            name = task
        else:
            name = task.name
            self._type = task
        super().__init__(
            task=name,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **extra},
            subtask_type=subtask_type,
            immutable=immutable,
        )

    @classmethod
    def register_type(cls, name: str | None = None) -> Any:
        """Class decorator: signatures of this ``subtask_type`` are made by the class."""

        def register(subclass: type[Signature[Any]]) -> type[Signature[Any]]:
            cls.TYPES[name or subclass.__name__] = subclass
            return subclass

        return register

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], app: Umbel | None = None) -> Signature[Any]:
        """The signature that ``data`` describes, of the class its type was registered for."""
        kind = data.get("subtask_type")
        subclass = cls.TYPES.get(kind) if kind else None
        if subclass is not None and subclass is not cls:
            return subclass.from_dict(data, app=app)
        return Signature(dict(data), app=app)

    @property
    def task(self) -> str | None:
        """The task's name."""
        return cast("str | None", self.get("task"))

    @property
    def args(self) -> Any:
        """Positional arguments."""
        return self["args"]

    @args.setter
    def args(self, value: Any) -> None:
        self["args"] = value

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments."""
        return cast("dict[str, Any]", self["kwargs"])

    @kwargs.setter
    def kwargs(self, value: dict[str, Any]) -> None:
        self["kwargs"] = value

    @property
    def options(self) -> dict[str, Any]:
        """What ``apply_async`` will be given."""
        return cast("dict[str, Any]", self["options"])

    @options.setter
    def options(self, value: dict[str, Any]) -> None:
        self["options"] = value

    @property
    def subtask_type(self) -> str | None:
        """Which kind of signature: None for a plain one."""
        return self.get("subtask_type")

    @property
    def immutable(self) -> bool:
        """Whether arguments given on sending are dropped."""
        return bool(self.get("immutable"))

    @immutable.setter
    def immutable(self, value: bool) -> None:
        self["immutable"] = value

    @property
    def app(self) -> Umbel:
        """The application it is sent by."""
        return self._app or app_or_default()

    @property
    def type(self) -> Task[..., R]:
        """The task.

        Raises:
            NotRegistered: the application has none of this name.
        """
        return self._type or self.app.tasks[self["task"]]

    @property
    def name(self) -> str | None:
        """The task's name."""
        return self.task

    @property
    def id(self) -> str | None:
        """The task id it will have, once frozen."""
        return self.options.get("task_id")

    @property
    def parent_id(self) -> str | None:
        """The id of the task that sends it, once frozen."""
        return self.options.get("parent_id")

    @property
    def root_id(self) -> str | None:
        """The id of the first task of its workflow, once frozen."""
        return self.options.get("root_id")

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R]:
        """Send it, with further arguments."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> AsyncResult[R]:
        """Send it; see `Task.apply_async` for options, errors and blocking."""
        options = {key: value for key, value in options.items() if value is not None}
        merged_args, merged_kwargs, merged = self._merge(args, kwargs, options)
        if route_name:
            merged["route_name"] = route_name
        try:
            task = self.type
        except NotRegistered:
            return cast(
                "AsyncResult[R]",
                self.app.send_task(str(self["task"]), merged_args, merged_kwargs, **merged),
            )
        return task.apply_async(merged_args, merged_kwargs, **merged)

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> EagerResult[R]:
        """Run it here and now."""
        merged_args, merged_kwargs, merged = self._merge(args, kwargs, options)
        return self.type.apply(merged_args, merged_kwargs, **merged)

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Call the task's function here, without a message or a request."""
        merged_args, merged_kwargs, _ = self._merge(args, kwargs, {})
        return self.type(*merged_args, **merged_kwargs)

    def _merge(
        self,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any] | None,
        *,
        force: bool = False,
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        merged = self._merge_options(options or {})
        if self.immutable and not force:
            return tuple(self.args), dict(self.kwargs), merged
        return (
            tuple(args or ()) + tuple(self.args or ()),
            {**(self.kwargs or {}), **(kwargs or {})},
            merged,
        )

    def _merge_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        kept = set(_KEPT_OPTIONS)
        kept.update(self.options.get("stamped_headers") or ())
        merged = dict(self.options)
        for key, value in options.items():
            if key not in kept or key not in merged:
                merged[key] = value
        stamped = [*(self.options.get("stamped_headers") or ())]
        stamped += [key for key in options.get("stamped_headers") or () if key not in stamped]
        if stamped:
            merged["stamped_headers"] = stamped
        return merged

    def clone(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Signature[R]:
        """A copy, merged with further arguments and options."""
        if args or kwargs or options:
            merged_args, merged_kwargs, merged = self._merge(args, kwargs, options)
        else:
            merged_args, merged_kwargs, merged = tuple(self.args), dict(self.kwargs), self.options
        copy = self.from_dict(
            {
                "task": self["task"],
                "args": merged_args,
                "kwargs": merged_kwargs,
                "options": deepcopy(merged),
                "subtask_type": self.subtask_type,
                "immutable": self.immutable,
            },
            app=self._app,
        )
        copy._type = self._type  # noqa: SLF001 - its own class
        return copy

    partial = clone

    def replace(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Signature[R]:
        """A copy with the given parts in place of its own."""
        copy = self.clone()
        if args is not None:
            copy.args = args
        if kwargs is not None:
            copy.kwargs = dict(kwargs)
        if options is not None:
            copy.options = dict(options)
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Signature[R]:  # noqa: FBT001
        """Change options in place; returns itself."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:  # noqa: FBT001 - positional in Celery
        """Say whether arguments given on sending are dropped."""
        self.immutable = immutable

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> AsyncResult[R]:
        """Fix the task id, so that the result is known before it is sent."""
        options = self.options
        task_id = options.get("task_id")
        if task_id is None:
            task_id = options["task_id"] = _id or uuid7()
        if "reply_to" not in options:
            options["reply_to"] = self.app.thread_oid
        given = {
            "root_id": root_id,
            "parent_id": parent_id,
            "group_id": group_id,
            "chord": chord,
            "group_index": group_index,
        }
        options.update({key: value for key, value in given.items() if value is not None})
        return self.AsyncResult(task_id)

    def AsyncResult(self, task_id: str) -> AsyncResult[R]:  # noqa: N802 - the public name
        """The result of ``task_id``, read through the task's backend if the task is known."""
        try:
            return self.type.AsyncResult(task_id)
        except NotRegistered:
            return cast("AsyncResult[R]", self.app.AsyncResult(task_id))

    def link(self, callback: Signature[Any]) -> Signature[Any]:
        """Have ``callback`` sent with the result when the task succeeds; returns it."""
        return cast("Signature[Any]", self.append_to_list_option("link", callback))

    def link_error(self, errback: Signature[Any]) -> Signature[Any]:
        """Have ``errback`` called when the task fails; returns it."""
        return cast("Signature[Any]", self.append_to_list_option("link_error", errback))

    def on_error(self, errback: Signature[Any]) -> Signature[R]:
        """As `link_error`, but returns itself."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: Any) -> Any:
        """Append to an option that holds a list, unless it is in it; returns the value."""
        entries = as_list(self.options.get(key))
        if value not in entries:
            entries.append(value)
        self.options[key] = entries
        return value

    def extend_list_option(self, key: str, values: Any) -> None:
        """Append several to an option that holds a list."""
        self.options[key] = [*as_list(self.options.get(key)), *as_list(values)]

    def stamp(
        self,
        visitor: StampingVisitor | None = None,
        append_stamps: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
        **headers: Any,
    ) -> Signature[R]:
        """Stamp it and its callbacks with ``headers``, and with what ``visitor`` says.

        A stamp it has already is replaced, or with ``append_stamps`` made a list with the newest
        first. Returns itself.
        """
        self.stamp_links(visitor, append_stamps, **headers)
        visited = visitor.on_signature(self, **headers) if visitor is not None else None
        return self.set(**stamps_of(self.options, visited, headers, append=append_stamps))

    def stamp_links(
        self,
        visitor: StampingVisitor | None = None,
        append_stamps: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
        **headers: Any,
    ) -> None:
        """Stamp its callbacks and error callbacks alone."""
        for key in ("link", "link_error"):
            links = [maybe_signature(each) for each in as_list(self.options.get(key))]
            for link in links:
                visited = None
                if visitor is not None:
                    visit = visitor.on_callback if key == "link" else visitor.on_errback
                    visited = visit(link, **headers)
                link.stamp(visitor, append_stamps, **stamps_of({}, visited, headers, append=False))
            if links:
                self.options[key] = links

    def flatten_links(self) -> list[Signature[Any]]:
        """Itself and every callback below it."""
        found: list[Signature[Any]] = [self]
        for callback in self.options.get("link") or ():
            found.extend(signature(callback, app=self._app).flatten_links())
        return found

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """The call as a person would write it, with further arguments."""
        merged_args, merged_kwargs, _ = self._merge(args, kwargs, {}, force=True)
        shown = [repr(value) for value in merged_args]
        shown += [f"{key}={value!r}" for key, value in merged_kwargs.items()]
        return f"{self['task']}({', '.join(shown)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def __invert__(self) -> R:
        return self.apply_async().get()

    def __deepcopy__(self, memo: Any) -> dict[str, Any]:
        return deepcopy(dict(self), memo)

    def __json__(self) -> dict[str, Any]:
        """Plain data for serializers."""
        return dict(self)

    def __reduce__(self) -> Any:
        return (signature, (dict(self),))


def as_list(value: Any) -> list[Any]:
    """A list of what was given: nothing, one, or several in a list, tuple or set."""
    if value is None:
        return []
    if isinstance(value, (list, tuple, set)):
        return list(value)
    return [value]


def signature(varies: Any, *args: Any, **kwargs: Any) -> Signature[Any]:
    """A signature from a task, a name, a dictionary or another signature (then a copy)."""
    app = kwargs.get("app")
    if isinstance(varies, dict):
        if isinstance(varies, Signature):
            return varies.clone()
        return Signature.from_dict(varies, app=app)
    return Signature(varies, *args, **kwargs)


def maybe_signature(
    value: Any,
    app: Umbel | None = None,
    clone: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
) -> Any:
    """``value`` as a signature bound to ``app`` if it is one or describes one, else unchanged."""
    if value is None:
        return None
    if isinstance(value, Signature):
        value = value.clone() if clone else value
    elif isinstance(value, dict):
        if "task" not in value:
            return value
        value = signature(dict(value), app=app)
    else:
        return value
    if app is not None:
        value._app = app  # noqa: SLF001 - its own class
    return value


subtask = signature
maybe_subtask = maybe_signature

__all__ = [
    "Signature",
    "StampingVisitor",
    "maybe_signature",
    "maybe_subtask",
    "signature",
    "subtask",
]
