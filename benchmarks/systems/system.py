"""What the harness has to know about a system; everything else is the same for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from benchmarks.peers import peers_python

if TYPE_CHECKING:
    import re

    from benchmarks.servers import Servers

APPS = Path(__file__).parent.parent / "apps"
TWINS = str(APPS / "twins.py")


class System(ABC):
    """Facts about one system on one broker, in one configuration.

    Attributes:
        name: how it is called on the command line and in the JSON file.
        title: how it is called in tables.
        broker: the kind of server it stands on; systems of one kind share a table.
        app: the module of ``apps/`` that holds its tasks and its producer's side.
        statement: the import that its users write; empty if there is none.
        packages: the distributions whose versions matter.
        ready_line: matches the line with which the worker says that it is ready.
        lacks: figures that mean nothing for it.
        extra: left out unless it is asked for by name.
        share: the share of a drain's tasks that it is given, so that one takes some seconds.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    broker: ClassVar[str]
    app: ClassVar[str]
    statement: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()
    ready_line: ClassVar[re.Pattern[str] | None] = None
    lacks: ClassVar[frozenset[str]] = frozenset()
    extra: ClassVar[bool] = False
    share: ClassVar[float] = 1.0

    def python(self) -> Path:
        """The interpreter that has its packages."""
        return peers_python()

    @abstractmethod
    def worker(self, python: Path, *, children: int, talkative: bool) -> list[str]:
        """The command of a worker; ``talkative`` logs enough to say when it is ready."""

    @abstractmethod
    def environment(self, folder: Path, servers: Servers) -> dict[str, str]:
        """What its app module reads: where the broker is, and the configuration."""
