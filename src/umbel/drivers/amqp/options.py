"""The options of this driver, checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from umbel.exceptions import ImproperlyConfigured, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = ("visibility_timeout", "consumer_timeout", "operation_timeout", "flush_timeout")
_CHOICES = {"confirm": ("wait", "written"), "delay_queue_type": ("quorum", "classic")}

# Options of Celery's that say here what is the case anyway, or that have no meaning here.
_IGNORED = frozenset(
    {
        *("confirm_publish", "confirm_timeout", "max_retries", "interval_start", "interval_step"),
        *("interval_max", "client_properties", "login_method", "read_timeout", "write_timeout"),
        *("socket_settings", "queue_order_strategy"),
    }
)


@dataclass(frozen=True, slots=True)
class Options:
    """What ``broker_transport_options`` may say about RabbitMQ.

    Attributes:
        confirm: ``wait``: what was published is confirmed by the server when the call returns;
            ``written``: the call returns when it is written, and what the server has not confirmed
            is kept, sent again after a reconnection, and waited for at exit.
        flush_timeout: with ``written``: seconds that closing waits for the last confirms.
        consumer_timeout: the server's setting of this name, in seconds: what a worker holds for
            longer than a third of it is claimed anew, so that tasks may run for any time.
        operation_timeout: seconds after which a call without a deadline of its own gives up.
        visibility_timeout: the lease in seconds, as on every broker; without a meaning here,
            because claims end with their connection.
        dead_letter_queue: the queue that keeps the dead letters.
        delay_queue_type: the type of the queues that delayed messages wait in; the setting
            ``broker_native_delayed_delivery_queue_type`` unless given.
    """

    confirm: str = "wait"
    flush_timeout: float = 10.0
    consumer_timeout: float = 1800.0
    operation_timeout: float = 10.0
    visibility_timeout: float = 30.0
    dead_letter_queue: str = "umbel.dead"
    delay_queue_type: str = "quorum"

    def __post_init__(self) -> None:
        for name in _SECONDS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ImproperlyConfigured(
                    f"RabbitMQ option {name} must be a number of seconds above 0, not {value!r}"
                )
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                known = " or ".join(map(repr, choices))
                raise ImproperlyConfigured(f"RabbitMQ option {name} must be {known}, not {value!r}")
        queue: object = self.dead_letter_queue
        if not isinstance(queue, str) or not queue:
            raise ImproperlyConfigured(
                f"RabbitMQ option dead_letter_queue must be a name, not {queue!r}"
            )


def checked(given: Mapping[str, Any], conf: Mapping[str, Any]) -> Options:
    """The options as given, the others as the settings say, else at their defaults.

    Raises:
        ImproperlyConfigured: one is unknown or out of range.
    """
    known = [field.name for field in fields(Options)]
    for name in sorted(set(given) - set(known) - _IGNORED):
        raise ImproperlyConfigured(
            f"RabbitMQ does not know the option {name!r}{did_you_mean(name, known)} "
            f"(known: {', '.join(known)})"
        )
    options = Options(**{name: value for name, value in given.items() if name in known})
    kind = conf.get("broker_native_delayed_delivery_queue_type")
    if kind is not None and "delay_queue_type" not in given:
        options = replace(options, delay_queue_type=kind)
    return options
