"""Moments as people write them, and as the epoch seconds everything here works with.

Users give ``eta`` and ``expires`` as datetimes, ISO 8601 texts, seconds or timedeltas; messages
carry ISO 8601 with an offset; brokers and workers compare epoch seconds. A datetime without a
time zone means UTC, whichever zone the application is set to. That is Celery's rule, and the
only one under which a moment means the same in the process that sends it and the one that waits.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final

from umbel.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from typing import Self

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEAST_SECONDS: Final = -(2**31)
_LATEST: Final = datetime.max.replace(tzinfo=UTC).timestamp() - 86400  # fits into every zone


class LocalZone(tzinfo):
    """The machine's own time zone, with its changes between summer and winter."""

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        """The offset of this local time."""
        return None if dt is None else _as_local(dt).utcoffset()

    def dst(self, dt: datetime | None) -> timedelta | None:
        """An hour, or what the zone uses, in summer."""
        if dt is None:
            return None
        in_summer = time.localtime(_as_local(dt).timestamp()).tm_isdst > 0
        return timedelta(hours=1) if in_summer else timedelta(0)

    def tzname(self, dt: datetime | None) -> str | None:
        """The zone's abbreviation at this local time."""
        return None if dt is None else _as_local(dt).tzname()

    def fromutc(self, dt: datetime) -> datetime:
        """The local time of a moment."""
        # Only this call marks the second pass of an hour that the end of summer repeats.
        local = datetime.fromtimestamp((dt.replace(tzinfo=UTC) - _EPOCH).total_seconds())  # noqa: DTZ006
        return local.replace(tzinfo=self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalZone)

    def __hash__(self) -> int:
        return hash(LocalZone)

    def __repr__(self) -> str:
        return "LocalZone()"

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()


def _as_local(dt: datetime) -> datetime:
    return dt.replace(tzinfo=None).astimezone()


def zone(timezone: str | tzinfo | None, *, enable_utc: bool = True) -> tzinfo:
    """The application's time zone, from its two settings.

    Args:
        timezone: A name of the IANA data base ("Europe/London"), a tzinfo, or None.
        enable_utc: What None means: UTC, or the machine's own zone.

    Raises:
        ImproperlyConfigured: No zone of that name is known on this machine.
    """
    if isinstance(timezone, tzinfo):
        return timezone
    if not timezone:
        return UTC if enable_utc else LocalZone()
    if timezone.upper() == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as error:
        raise ImproperlyConfigured(
            f"timezone {timezone!r} is not known on this machine; use an IANA name such as "
            "'Europe/London' (and install the tzdata package if the system has no time zones)"
        ) from error


def maybe_iso8601(value: datetime | str | None) -> datetime | None:
    """A datetime from ISO 8601 text; datetimes and None pass through, empty text is None.

    Raises:
        ValueError: The text is not ISO 8601.
    """
    if not value:
        return None
    if isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            f"{value!r} is not a date and time in ISO 8601, as in '2030-01-31T12:00:00+00:00'"
        ) from None


def to_timestamp(moment: datetime | str) -> float:
    """Epoch seconds of a datetime or ISO 8601 text; without a time zone it is UTC.

    Raises:
        TypeError: It is neither.
        ValueError: The text is not ISO 8601.
    """
    if not isinstance(moment, (datetime, str)):
        raise TypeError(
            f"expected a datetime or ISO 8601 text, not {type(moment).__name__} "
            "(seconds from now are a countdown)"
        )
    parsed = maybe_iso8601(moment)
    if parsed is None:
        raise ValueError("an empty text is not a moment")
    if parsed.utcoffset() is None:
        parsed = parsed.replace(tzinfo=UTC)
    return (parsed - _EPOCH).total_seconds()


def isoformat(at: float, zone: tzinfo = UTC) -> str:
    """Epoch seconds as message headers carry them: ISO 8601 in ``zone``, with its offset."""
    return datetime.fromtimestamp(at, zone).isoformat()


def due_at(
    countdown: float | timedelta | None, eta: datetime | str | None, *, now: float
) -> float | None:
    """When a task may start, in epoch seconds; None is at once.

    Args:
        countdown: Seconds from ``now``; wins over ``eta``. 0 is no countdown, a negative one
            has passed already.
        eta: The moment itself.
        now: Epoch seconds.

    Raises:
        TypeError: ``countdown`` is not a span or ``eta`` not a moment.
        ValueError: ``countdown`` is out of range or ``eta`` is not ISO 8601.
    """
    if countdown:
        return _after(now, countdown, "countdown")
    if eta is None or eta == "":
        return None
    return to_timestamp(eta)


def expires_at(expires: float | timedelta | datetime | str | None, *, now: float) -> float | None:
    """After which moment a task is not to be started any more, in epoch seconds.

    Args:
        expires: Seconds or a timedelta from ``now``, or the moment itself. It may have passed:
            the message is sent nevertheless, and ends as revoked.
        now: Epoch seconds.

    Raises:
        TypeError: ``expires`` is neither a span nor a moment.
        ValueError: It is out of range or not ISO 8601.
    """
    if expires is None or expires == "":
        return None
    if isinstance(expires, (int, float, timedelta)):
        return _after(now, expires, "expires")
    return to_timestamp(expires)


def _after(now: float, span: float | timedelta, what: str) -> float:
    if isinstance(span, timedelta):
        seconds = span.total_seconds()
    elif isinstance(span, (int, float)):
        seconds = float(span)
    else:
        raise TypeError(f"{what} takes seconds or a timedelta, not {type(span).__name__}")
    at = now + seconds
    if not math.isfinite(at) or seconds < _LEAST_SECONDS or at > _LATEST:
        raise ValueError(f"{what} is out of range: {span!r}")
    return at
