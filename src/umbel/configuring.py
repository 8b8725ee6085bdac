"""The part of an application that concerns its settings, and what is worked out from them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from umbel import serialization
from umbel.annotations import Annotations
from umbel.connections import SERVERS
from umbel.meta import MetaCodec
from umbel.moments import zone
from umbel.once import forget, once
from umbel.settings import Hooks, Settings
from umbel.signals import Signal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import tzinfo

    from umbel.amqp import AMQP
    from umbel.connections import Connections
    from umbel.loading import Loader

_mentioned: set[str] = set()
"""Settings without effect that were warned of already, by any application of the process."""

_WORKED_OUT = ("timezone", "annotations", "decode_limits", "meta_codec")


class Configuring:
    """What an application does with its configuration; see `umbel.app.Umbel`."""

    on_configure: Any = None
    on_after_configure: Signal

    if TYPE_CHECKING:
        amqp: AMQP
        connections: Connections
        loader: Loader
        namespace: str | None

        def disconnect(self) -> None:
            """Give back connections."""

    def _begin_settings(
        self,
        changes: Mapping[str, Any] | None,
        source: Any,
        *,
        silent: bool,
        module: str | None,
        given: Mapping[str, Any],
    ) -> None:
        """Have settings that are read later; ``given`` are those of the constructor."""
        self._reads_source = source is not None
        self._conf = Settings(
            changes,
            source,
            silent=silent,
            namespace=self.namespace,
            mentioned=_mentioned,
            hooks=Hooks(
                before=self._configuring,
                prepare=self._prepared,
                after=self._configured,
                module=module,
            ),
        )
        self._conf.preset(**given)
        self._conf.observe("", self._changed)

    @property
    def conf(self) -> Settings:
        """The settings, read from wherever they are declared when one is first asked for."""
        return self._conf

    @conf.setter
    def conf(self, value: Settings | Mapping[str, Any]) -> None:
        if isinstance(value, Settings):
            self._conf = value
        else:
            self._conf = Settings(value, mentioned=_mentioned)
        self._conf.observe("", self._changed)
        self._changed(frozenset(self._conf))
        forget(self, "client")

    @property
    def configured(self) -> bool:
        """Whether the configuration has been read."""
        return self._conf.loaded

    def _configuring(self) -> None:
        if isinstance(self.on_configure, Signal):
            self.on_configure.send(sender=self)
        else:
            self.on_configure()
        if not self._reads_source:
            found = self.loader.read_configuration()
            if found is not None:
                self._conf.read_from(found)

    def _prepared(self, settings: dict[str, Any]) -> Mapping[str, Any]:
        return self.prepare_config(settings)

    def _configured(self) -> None:
        if not self._reads_source:
            self.loader.on_no_source()
        self.on_after_configure.send(sender=self, source=self._conf)

    def prepare_config(self, c: dict[str, Any]) -> Mapping[str, Any]:
        """For subclasses: given what the configuration source says, return what is to be used."""
        return c

    def _changed(self, names: frozenset[str]) -> None:
        """Forget what was worked out from settings that have other values now.

        Names are those that may have changed. The first reading of the configuration names all
        of them, when another thread may be at work with it already; so what is in use is
        compared, and left alone where it is the same.
        """
        forget(self, *_WORKED_OUT)
        if any(name.startswith(SERVERS) for name in names) and self.connections.are_outdated():
            self.disconnect()
        if "amqp" in self.__dict__:
            self.amqp.refresh()

    def config_from_object(
        self,
        obj: Any,
        silent: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
        force: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
        namespace: str | None = None,
    ) -> Settings | None:
        """Read settings from a module, class, instance, mapping or the name of one.

        It is read on first use, or at once with ``force``, which returns the settings.

        Raises:
            ImportError: there is no such module (on first use), unless ``silent``.
            ImproperlyConfigured: something in it is wrong (on first use).
        """
        if namespace is not None:
            self.namespace = namespace
        self._reads_source = True
        return self._conf.read_from(obj, silent=silent, force=force, namespace=namespace)

    def config_from_envvar(
        self,
        variable_name: str,
        silent: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
        force: bool = False,  # noqa: FBT001, FBT002 - positional in Celery
    ) -> Settings | bool | None:
        """As `config_from_object` with the name that an environment variable holds.

        Raises:
            ImproperlyConfigured: the variable is missing or empty; False if ``silent``.
        """
        found = self._conf.read_from_variable(variable_name, silent=silent, force=force)
        self._reads_source = self._reads_source or found is not False
        return found

    def config_from_cmdline(self, argv: Sequence[str], namespace: str = "celery") -> None:
        """Assign settings from words like ``worker.concurrency=4``.

        Raises:
            KeyError, ValueError, TypeError: a word is no setting, or its value none for it.
        """
        self._conf.read_from_words(argv, namespace)

    def add_defaults(self, defaults: Any) -> None:
        """Add a layer below what is assigned; a callable is called when settings are read.

        It is not carried along when the application is pickled.
        """
        self._conf.add_defaults(defaults)

    def either(self, default_key: str, *defaults: Any) -> Any:
        """The first of ``defaults`` that is not None, else the setting."""
        given = next((value for value in defaults if value is not None), None)
        return self._conf.get(default_key) if given is None else given

    # -- worked out from settings ----------------------------------------------------------

    @once
    def timezone(self) -> tzinfo:
        """The zone of naive times and of times in messages."""
        return zone(self._conf.timezone, enable_utc=self._conf.enable_utc)

    def uses_utc_timezone(self) -> bool:
        """Whether the zone is UTC itself, and not one that agrees with it for some time."""
        return self.timezone == UTC or str(self.timezone) in ("UTC", "Etc/UTC")

    def now(self) -> datetime:
        """The current time, aware, in the application's zone."""
        return datetime.now(self.timezone)

    @once
    def annotations(self) -> Annotations:
        """What ``task_annotations`` declares."""
        return Annotations(self._conf.task_annotations)

    @once
    def decode_limits(self) -> serialization.Limits:
        """The bounds on what is decoded here."""
        conf = self._conf
        return serialization.Limits(
            body=conf.message_max_bytes,
            decompressed=conf.message_max_decompressed_bytes,
            depth=conf.message_max_depth,
            items=conf.message_max_items,
            int_digits=conf.message_max_digits,
            string=conf.message_max_string,
        )

    @once
    def meta_codec(self) -> MetaCodec:
        """Encodes and decodes stored results."""
        conf = self._conf
        accept = conf.result_accept_content
        return MetaCodec(
            serializer=conf.result_serializer,
            accept=conf.accept_content if accept is None else accept,
            compression=conf.result_compression,
            extended=conf.result_extended,
            expires=conf.result_expires,
            failure_expires=conf.result_failure_expires,
            limits=self.decode_limits,
            zone=self.timezone,
        )
