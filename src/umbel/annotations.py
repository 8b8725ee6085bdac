"""``task_annotations``: attributes of tasks set from the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.symbols import symbol_by_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Annotations:
    """All annotations of one application, in the order in which they apply."""

    def __init__(self, declared: Any) -> None:
        self._sources = [_source(item) for item in _listed(declared)]

    def of(self, task: Any) -> Iterator[tuple[str, Any]]:
        """The attributes for one task: what applies to any first, its own after."""
        for source in self._sources:
            for found in (source.annotate_any(), source.annotate(task)):
                yield from (found or {}).items()


class _Mapped:
    """A mapping of names of tasks, or ``*``, to attributes."""

    def __init__(self, mapping: Mapping[str, Mapping[str, Any]]) -> None:
        self._mapping = mapping

    def annotate_any(self) -> Mapping[str, Any] | None:
        return self._mapping.get("*")

    def annotate(self, task: Any) -> Mapping[str, Any] | None:
        return self._mapping.get(task.name)


class _Custom:
    """An object with ``annotate(task)`` or ``annotate_any()``, as users write them."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def annotate_any(self) -> Any:
        ask = getattr(self._inner, "annotate_any", None)
        return None if ask is None else ask()

    def annotate(self, task: Any) -> Any:
        ask = getattr(self._inner, "annotate", None)
        return None if ask is None else ask(task)


def _listed(declared: Any) -> list[Any]:
    if not declared:
        return []
    return list(declared) if isinstance(declared, (list, tuple)) else [declared]


def _source(item: Any) -> Any:
    if isinstance(item, str):
        item = symbol_by_name(item)
    if isinstance(item, type):
        item = item()
    return _Mapped(item) if isinstance(item, dict) else _Custom(item)
