"""Attributes that are made on first use and then kept, whichever thread comes first.

`functools.cached_property` makes a value twice when two threads ask at once (from Python 3.12 on),
or holds a lock that all objects of the class share (before).  Here a value is kept by one atomic
step on the object's dictionary: a second one made meanwhile is dropped before anybody has seen
it.  What must not even be made twice, because making it has effects, is made under a lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

T = TypeVar("T")


class once(Generic[T]):  # noqa: N801 - used as a decorator, like `property`
    """A property whose value is made once and kept in the object's ``__dict__``.

    Reading it later is one dictionary hit. Deleting the key (see `forget`) makes it anew.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self.make = make
        self.__doc__ = make.__doc__
        self.name = make.__name__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, owner: None, kind: type | None = None) -> Self: ...
    @overload
    def __get__(self, owner: object, kind: type | None = None) -> T: ...
    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self
        return owner.__dict__.setdefault(self.name, self.make(owner))


class once_locked(once[T]):  # noqa: N801 - as `once`
    """As `once`, made under the object's ``lock``: for what has effects when it is made."""

    @overload
    def __get__(self, owner: None, kind: type | None = None) -> Self: ...
    @overload
    def __get__(self, owner: object, kind: type | None = None) -> T: ...
    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self
        with owner.lock:
            kept = owner.__dict__
            if self.name not in kept:
                kept[self.name] = self.make(owner)
            return kept[self.name]


def forget(owner: object, *names: str) -> None:
    """Drop kept values; they are made anew on next use."""
    for name in names:
        owner.__dict__.pop(name, None)
