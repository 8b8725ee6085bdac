"""One row of the table of settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from umbel.exceptions import ImproperlyConfigured
from umbel.representation import saferepr
from umbel.settings.masking import STARS, holds_url, mask_url

if TYPE_CHECKING:
    from umbel.settings.kinds import Kind

SAME: Final = object()

Origin = Literal["celery", "undeclared", "umbel"]


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting: what it is called, holds and means.

    Attributes:
        name: The lower-case name.
        kind: What it can hold.
        default: Its value when nobody sets it.
        meaning: What it does, for the reference page.
        secret: True when the value is hidden wherever settings are shown. (URLs are shown with
            their passwords masked.)
        inert: Why it does nothing here, or None for a setting that is honoured.
        celery_default: Celery's default where it is a different one.
        origin: ``celery``; ``undeclared`` for one that Celery reads without declaring it;
            ``umbel`` for one that Celery does not have.
        old: The upper-case name of earlier days, or None.
        at_least: The smallest number that is accepted, or None.
        choices: The only values that are accepted; empty when the kind alone decides.
    """

    name: str
    kind: Kind
    default: Any
    meaning: str
    secret: bool = False
    inert: str | None = None
    celery_default: Any = SAME
    origin: Origin = "celery"
    old: str | None = ""
    at_least: float | None = None
    choices: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        if self.old == "":
            old = old_name(self.name) if self.origin == "celery" else None
            object.__setattr__(self, "old", old)

    @property
    def type(self) -> str:
        """Celery's word for the type of the value (``int``, ``string``, ``any``, ...)."""
        return self.kind.word

    @property
    def takes(self) -> str:
        """What can be written, as it follows "it takes"."""
        if self.choices:
            return " or ".join(map(repr, self.choices))
        if self.at_least is None:
            return self.kind.takes
        return f"{self.kind.takes}, {self.at_least} or more"

    def checked(self, value: Any, *, written: str | None = None) -> Any:
        """The value to keep for ``value``.

        Text is converted where a number or a flag is wanted, and a timedelta where seconds are.
        An inert setting takes everything, because nothing reads it.

        Args:
            value: What the user gave.
            written: The name under which it was given, for the message.

        Raises:
            ImproperlyConfigured: the value is of no use to this setting.
        """
        if value is None or self.inert is not None:
            return value
        try:
            kept = self.kind.convert(value)
        except (TypeError, ValueError, OverflowError):
            raise self._refusal(value, written) from None
        if self.choices and kept not in self.choices:
            raise self._refusal(value, written)
        if self.at_least is not None and isinstance(kept, (int, float)) and kept < self.at_least:
            raise self._refusal(value, written)
        return kept

    def _refusal(self, value: Any, written: str | None) -> ImproperlyConfigured:
        shown = "*" * STARS if self.secret else _shown(value)
        return ImproperlyConfigured(f"{written or self.name} is {shown}; it takes {self.takes}")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return saferepr(mask_url(value, STARS))
    text = saferepr(value)
    return mask_url(text, STARS) if holds_url(text) else text


def old_name(name: str) -> str:
    """The upper-case name that Celery gave this setting before version 4."""
    if name in _OLD_EXCEPTIONS:
        return _OLD_EXCEPTIONS[name]
    family, _, rest = name.partition("_")
    if family in _OLD_FAMILIES:
        return _OLD_FAMILIES[family] + rest.upper()
    if family in _OLD_PREFIXED:
        return f"CELERY_{name.upper()}"
    return name.upper()


_OLD_FAMILIES = {"worker": "CELERYD_", "beat": "CELERYBEAT_", "task": "CELERY_"}
_OLD_PREFIXED = {"event", "result", "security", "cache", "redis", "elasticsearch"}
_OLD_EXCEPTIONS = {
    "accept_content": "CELERY_ACCEPT_CONTENT",
    "arangodb_backend_settings": "CELERY_ARANGODB_BACKEND_SETTINGS",
    "couchbase_backend_settings": "CELERY_COUCHBASE_BACKEND_SETTINGS",
    "database_engine_options": "CELERY_RESULT_ENGINE_OPTIONS",
    "database_short_lived_sessions": "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS",
    "database_table_names": "CELERY_RESULT_DB_TABLENAMES",
    "database_url": "CELERY_RESULT_DBURI",
    "imports": "CELERY_IMPORTS",
    "include": "CELERY_INCLUDE",
    "mongodb_backend_settings": "CELERY_MONGODB_BACKEND_SETTINGS",
    "result_accept_content": "RESULT_ACCEPT_CONTENT",
    "result_cache_max": "CELERY_MAX_CACHED_RESULTS",
    "result_expires": "CELERY_TASK_RESULT_EXPIRES",
    "task_compression": "CELERY_MESSAGE_COMPRESSION",
    "task_eager_propagates": "CELERY_EAGER_PROPAGATES_EXCEPTIONS",
    "task_protocol": "CELERY_TASK_PROTOCOL",
    "task_publish_retry": "CELERY_TASK_PUBLISH_RETRY",
    "task_publish_retry_policy": "CELERY_TASK_PUBLISH_RETRY_POLICY",
    "task_send_sent_event": "CELERY_SEND_TASK_SENT_EVENT",
    "task_serializer": "CELERY_TASK_SERIALIZER",
    "task_soft_time_limit": "CELERYD_TASK_SOFT_TIME_LIMIT",
    "task_time_limit": "CELERYD_TASK_TIME_LIMIT",
    "timezone": "CELERY_TIMEZONE",
    "worker_direct": "CELERY_WORKER_DIRECT",
    "worker_disable_rate_limits": "CELERY_DISABLE_RATE_LIMITS",
    "worker_enable_remote_control": "CELERY_ENABLE_REMOTE_CONTROL",
    "worker_lost_wait": "CELERYD_WORKER_LOST_WAIT",
    "worker_redirect_stdouts": "CELERY_REDIRECT_STDOUTS",
    "worker_redirect_stdouts_level": "CELERY_REDIRECT_STDOUTS_LEVEL",
    "worker_send_task_events": "CELERY_SEND_EVENTS",
}
