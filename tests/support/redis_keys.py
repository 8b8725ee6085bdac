"""The keys of a Redis server that tests share: looked at and deleted by their prefix."""

from __future__ import annotations

import uuid
from functools import cache

import redis

import servers


@cache
def client() -> redis.Redis:
    """A client of the library's own."""
    return redis.Redis.from_url(servers.url("redis"))


def new_prefix() -> str:
    """A prefix that nobody else has."""
    return f"umbel-test-{uuid.uuid4().hex}:"


def keys(prefix: str) -> set[str]:
    """The names of all keys with this prefix, without it."""
    found = client().scan_iter(match=f"{prefix}*", count=1000)
    return {key.decode("utf-8", "replace").removeprefix(prefix) for key in found}


def forget(prefix: str) -> None:
    """Delete all keys with this prefix."""
    for key in client().scan_iter(match=f"{prefix}*", count=1000):
        client().unlink(key)
