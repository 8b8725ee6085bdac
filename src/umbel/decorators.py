"""What type checkers are told about ``@app.task(…)``: which kind of task comes out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from umbel.task import AsyncTask, Task

P = ParamSpec("P")
R = TypeVar("R")


class Decorator(Protocol):
    """Takes a function, or a coroutine function, and returns its task."""

    @overload
    def __call__(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[P, R], /) -> Task[P, R]: ...


class BoundDecorator(Protocol):
    """As `Decorator`, for functions whose first parameter is the task."""

    @overload
    def __call__(
        self, fun: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


class ModelDecorator(Protocol):
    """As `Decorator`, for functions whose models are returned as plain data."""

    @overload
    def __call__(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, Any]: ...
    @overload
    def __call__(self, fun: Callable[P, R], /) -> Task[P, Any]: ...
