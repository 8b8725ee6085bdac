"""Dead letters as text: what died, where, why, and what is known besides."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

from umbel.drivers.redis import envelopes
from umbel.exceptions import EncodeError
from umbel.message import DeadLetter, Malformed

if TYPE_CHECKING:
    from umbel.message import Message


def encode(letter: DeadLetter, now: float) -> bytes:
    """A letter whose message is kept as it would travel.

    Raises:
        EncodeError: message or evidence hold what JSON does not know.
    """
    message = letter.message
    if isinstance(message, Malformed):
        raw, malformed = message.raw, (message.reason, message.id, message.queue)
    else:
        raw, malformed = envelopes.encode(message, now), None
    about = {
        "queue": letter.queue,
        "reason": letter.reason,
        "detail": letter.detail,
        "at": letter.at,
        "evidence": dict(letter.evidence),
        "malformed": malformed,
        "in": message.queue,
        "raw": b64encode(raw).decode("ascii"),
    }
    try:
        return json.dumps(about, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodeError(str(error), f"the evidence about message {message.id}") from error


def decode(text: bytes) -> DeadLetter:
    """The letter in a text that `encode` made."""
    about = json.loads(text)
    raw = b64decode(about["raw"])
    message: Message | Malformed
    if about["malformed"] is not None:
        message = Malformed(raw, *about["malformed"])
    else:
        message = envelopes.decode(raw, about["in"])
    return DeadLetter(
        message,
        about["queue"],
        about["reason"],
        about["detail"],
        about["at"],
        about["evidence"],
    )
