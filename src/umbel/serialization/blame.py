"""Says which of the arguments could not be encoded, and why.

Runs only after an encoder has failed, so it may be slow: it tries the children of the value that
failed, one by one, and follows the first that fails on its own, until none does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.exceptions import EncodeError, SoftTimeLimitExceeded
from umbel.serialization.tagged import NoForm, TypeLost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from umbel.serialization.registry import Codec

    Plain = Callable[[Any], Any]

_DEEPEST = 100
_LONGEST_PATH = 80


def find_culprit(
    value: Any, codec: Codec, where: str | Sequence[str], error: Exception
) -> EncodeError:
    """An error that names the smallest part of ``value`` that cannot be encoded.

    Args:
        value: what was to be encoded.
        codec: whose encoder failed.
        where: what the value is called, or what its elements are called.
        error: what the encoder raised for the whole.
    """
    path, names = (where, []) if isinstance(where, str) else ("", list(where))
    met: list[Any] = []
    while len(met) < _DEEPEST:
        if any(value is one for one in met):
            return EncodeError("it holds itself", path or None)
        met.append(value)
        failing = _first_failing(value, codec)
        if failing is None:
            return EncodeError(_reason(value, codec.name, error), path or None)
        step, value, error = failing
        path = names[step] if not path and _has(names, step) else path + _step(step)
    return EncodeError("it is nested too deeply", path[:_LONGEST_PATH] + "…")


def _first_failing(value: Any, codec: Codec) -> tuple[Any, Any, Exception] | None:
    for step, child in _children(value, codec.plain) if codec.structured else ():
        try:
            codec.encode(child)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:  # noqa: BLE001 - hooks of the value's own raise what they like
            return step, child, error
    return None


def _children(value: Any, plain: Plain | None) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)
    elif plain is not None and not isinstance(value, (str, int, float)):
        yield from _children_inside(value, plain)


def _children_inside(value: Any, plain: Plain) -> Iterator[tuple[Any, Any]]:
    try:
        inside = plain(value)
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # noqa: BLE001 - then the value itself is to blame
        return
    if isinstance(inside, (dict, list, tuple)):
        yield from _children(inside, plain)
    else:
        yield None, inside


def _has(names: Sequence[str], step: Any) -> bool:
    return type(step) is int and step < len(names)


def _step(step: Any) -> str:
    if step is None:
        return ""
    name = str.__str__(step) if isinstance(step, str) else None
    return f".{name}" if name is not None and name.isidentifier() else f"[{step!r}]"


def _reason(value: Any, form: str, error: Exception) -> str:
    match error:
        case EncodeError():
            return error.reason
        case TypeLost():
            return (
                f"the worker would get plain data in place of this {type(value)}; annotate the "
                "parameter of the task with the type, or pass plain data"
            )
        case NoForm():
            return f"{type(value)} has no {form} form (register_type() gives it one)"
        case UnicodeEncodeError():
            return "it is text with half of a surrogate pair"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return f"{form} of {type(value)} raises {type(error).__name__}: {error}"
