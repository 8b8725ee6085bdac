"""Results of a workflow as a tree: what came before a result, and what it started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.exceptions import IncompleteStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class ResultBase:
    """What all results have in common."""

    parent: ResultBase | None = None


class Lineage(ResultBase):
    """A result of one task, seen as a part of its workflow; see `umbel.result.AsyncResult`."""

    id: str

    if TYPE_CHECKING:

        def ready(self) -> bool:
            """Whether the state is final."""
            raise NotImplementedError

        @property
        def get(self) -> Callable[..., Any]:
            """Waits for the value."""
            raise NotImplementedError

        @property
        def children(self) -> list[ResultBase] | None:
            """Results of the tasks this one started."""
            raise NotImplementedError

    def _parents(self) -> list[Any]:
        """The results before this one in its chain, the first of them first."""
        found: list[Any] = []
        node = self.parent
        while node is not None:
            if isinstance(node, Lineage):
                found.insert(0, node)
            node = node.parent
        return found

    def iterdeps(
        self,
        intermediate: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
    ) -> Iterator[tuple[ResultBase | None, ResultBase]]:
        """Every result below this one, with the one it stands under.

        Raises:
            IncompleteStream: one of them is not ready, unless ``intermediate``.
        """
        stack: list[tuple[ResultBase | None, ResultBase]] = [(None, self)]
        while stack:
            parent, node = stack.pop(0)
            yield parent, node
            if not isinstance(node, Lineage):
                continue
            if node.ready():
                stack.extend((node, child) for child in node.children or ())
            elif not intermediate:
                raise IncompleteStream

    def collect(
        self,
        intermediate: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
        **kwargs: Any,
    ) -> Iterator[tuple[ResultBase, Any]]:
        """Every result below this one with its value, waiting for each."""
        for _, node in self.iterdeps(intermediate=intermediate):
            if isinstance(node, Lineage):
                yield node, node.get(**kwargs)

    def get_leaf(self) -> Any:
        """The value of the last result below this one."""
        leaf = None
        for _, value in self.collect():
            leaf = value
        return leaf

    def as_tuple(self) -> tuple[tuple[str, Any], None]:
        """Plain data from which `result_from_tuple` makes the same result."""
        parent = self.parent
        above = parent.as_tuple() if isinstance(parent, Lineage) else None
        return (self.id, above), None

    def as_list(self) -> list[str]:
        """The id, and those of the results before it in the chain."""
        ids = [self.id]
        if isinstance(self.parent, Lineage):
            ids.extend(self.parent.as_list())
        return ids
