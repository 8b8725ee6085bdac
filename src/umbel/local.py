"""Stand-ins for objects that are looked up, or made, on first use.

`Proxy` forwards everything to whatever its function returns at that moment (``current_app``).
`Pending` calls its function once and stays with the result (a decorated task before the
application is finalized).
"""

from __future__ import annotations

import operator
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

_evaluating: AbstractContextManager[Any] = RLock()


class Proxy:
    """An object that behaves as the one its function returns, asked anew at each use."""

    __slots__ = ("__dict__", "__weakref__", "_find")

    _find: Callable[[], Any]

    def __init__(self, find: Callable[[], Any], name: str | None = None) -> None:
        object.__setattr__(self, "_find", find)
        if name is not None:
            self.__dict__["__name__"] = name

    def _get_current_object(self) -> Any:
        """The object this one stands for."""
        return object.__getattribute__(self, "_find")()

    @property
    def __class__(self) -> Any:
        """The class of the object."""
        return type(self._get_current_object())

    @__class__.setter
    def __class__(self, value: Any) -> None:
        self._get_current_object().__class__ = value

    @property
    def __doc__(self) -> Any:  # type: ignore[override]  # a class has one of its own
        return self._get_current_object().__doc__

    @property
    def __module__(self) -> Any:  # type: ignore[override]  # as above
        return self._get_current_object().__module__

    @property
    def __wrapped__(self) -> Any:
        """What is below the decorators of the object, for `inspect`."""
        return self._get_current_object().__wrapped__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._get_current_object(), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the object."""
        return self._get_current_object()(*args, **kwargs)

    def __repr__(self) -> str:
        return repr(self._get_current_object())

    def __str__(self) -> str:
        return str(self._get_current_object())

    def __bool__(self) -> bool:
        return bool(self._get_current_object())

    def __dir__(self) -> list[str]:
        return dir(self._get_current_object())

    def __eq__(self, other: object) -> bool:
        return bool(self._get_current_object() == other)

    def __ne__(self, other: object) -> bool:
        return bool(self._get_current_object() != other)

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __len__(self) -> int:
        return len(self._get_current_object())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._get_current_object())

    def __contains__(self, item: object) -> bool:
        return item in self._get_current_object()

    def __getitem__(self, key: Any) -> Any:
        return self._get_current_object()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._get_current_object()[key] = value

    def __delitem__(self, key: Any) -> None:
        del self._get_current_object()[key]

    def __or__(self, other: Any) -> Any:
        return operator.or_(self._get_current_object(), other)

    def __reduce__(self) -> Any:
        return self._get_current_object().__reduce__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._get_current_object().__reduce_ex__(protocol)


class Pending(Proxy):
    """A proxy that makes its object once, on first use, in whichever thread comes first.

    Args:
        make: makes the object.
        name: what the object is called, known before it is made.
        guard: entered while the object is made; two that may wait for each other need the same.
    """

    __slots__ = ("_guard", "_made", "_then")

    def __init__(
        self,
        make: Callable[[], Any],
        name: str | None = None,
        guard: AbstractContextManager[Any] | None = None,
    ) -> None:
        super().__init__(make, name)
        object.__setattr__(self, "_guard", guard)
        object.__setattr__(self, "_made", None)
        object.__setattr__(self, "_then", [])

    # Those of the class itself would hide the inherited properties.
    __doc__ = Proxy.__dict__["__doc__"]
    __module__ = Proxy.__dict__["__module__"]

    def _get_current_object(self) -> Any:
        made = object.__getattribute__(self, "_made")
        return made if made is not None else self._evaluate()

    def _evaluate(self) -> Any:
        with object.__getattribute__(self, "_guard") or _evaluating:
            made = object.__getattribute__(self, "_made")
            if made is not None:
                return made
            made = object.__getattribute__(self, "_find")()
            object.__setattr__(self, "_made", made)
            then: list[Callable[[Any], None]] = object.__getattribute__(self, "_then")
            while then:
                then.pop(0)(made)
            return made

    def __evaluated__(self) -> bool:
        """Whether the object has been made."""
        return object.__getattribute__(self, "_made") is not None

    def __then__(self, call: Callable[[Any], None]) -> None:
        """Call with the object once it is made: now, if it is."""
        made = object.__getattribute__(self, "_made")
        if made is None:
            object.__getattribute__(self, "_then").append(call)
        else:
            call(made)


def evaluated(value: Any) -> Any:
    """The object behind a proxy, or ``value`` itself."""
    if type(value) in (Proxy, Pending):
        return value._get_current_object()  # noqa: SLF001 - the proxy's own protocol
    return value


def renew_lock() -> None:
    """Have a lock that nobody holds; called in a process that was just forked."""
    global _evaluating  # noqa: PLW0603 - the lock of the module
    _evaluating = RLock()
