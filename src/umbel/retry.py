"""How long to wait before trying again: a failed task, and a failed publish."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import count, islice
from random import randrange
from typing import TYPE_CHECKING, Any, Final

from umbel.exceptions import ImproperlyConfigured, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_MAX_EXPONENT: Final = 64  # beyond it every useful maximum is reached


def backoff(
    factor: float | bool,  # noqa: FBT001 - the value of the retry_backoff option itself
    retries: int,
    *,
    maximum: float = 600,
    full_jitter: bool = False,
    random: Callable[[int], int] = randrange,
) -> int:
    """Seconds until the next attempt: ``factor * 2 ** retries``, at most ``maximum``.

    Args:
        factor: What ``retry_backoff`` says; True is 1, and it is a whole number of at least 1.
        retries: How often the task was retried already.
        maximum: What ``retry_backoff_max`` says.
        full_jitter: Choose from all whole seconds between 0 and that, so that tasks that failed
            together do not come back together.
        random: Given ``n``, returns a whole number from 0 to ``n - 1``.
    """
    doubled = int(max(1.0, factor)) * 2 ** min(max(retries, 0), _MAX_EXPONENT)
    seconds = max(0, int(min(maximum, doubled)))
    return random(seconds + 1) if full_jitter else seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishRetry:
    """When to publish again after the broker could not be reached.

    Attributes:
        max_retries: How often; None is for ever.
        interval_start: Seconds before the first retry.
        interval_step: By how many seconds each wait is longer than the one before.
        interval_max: The longest wait is this much more than the first.
        retry_errors: Exception classes to retry on besides `OperationalError`.
        timeout: Seconds after which to give up altogether; None sets no end.
    """

    max_retries: int | None = 3
    interval_start: float = 0.0
    interval_step: float = 0.2
    interval_max: float = 1.0
    retry_errors: tuple[type[BaseException], ...] | None = None
    timeout: float | None = None

    @classmethod
    def of(cls, policy: Mapping[str, Any] | None) -> PublishRetry:
        """The policy that a ``retry_policy`` option or setting describes.

        Raises:
            ImproperlyConfigured: A key is unknown or a number makes no sense.
        """
        known = [field.name for field in fields(cls)]
        for key in policy or ():
            if key not in known:
                raise ImproperlyConfigured(
                    f"retry_policy has no key {key!r}{did_you_mean(key, known)}"
                )
        return cls(**policy or {})

    def __post_init__(self) -> None:
        for name in ("max_retries", "interval_start", "interval_step", "interval_max", "timeout"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, (int, float)) or not value >= 0):
                raise ImproperlyConfigured(f"retry_policy {name!r} cannot be {value!r}")

    def intervals(self) -> Iterator[float]:
        """The waits in seconds, one before each retry; it ends when there are to be no more."""
        longest = self.interval_start + self.interval_max
        waits = (min(self.interval_start + n * self.interval_step, longest) for n in count())
        return waits if self.max_retries is None else islice(waits, int(self.max_retries))


def publish_intervals(policy: Mapping[str, Any] | None) -> Iterator[float]:
    """The waits in seconds that a ``retry_policy`` describes, one before each retry.

    Raises:
        ImproperlyConfigured: A key is unknown or a number makes no sense.
    """
    return PublishRetry.of(policy).intervals()
