"""Passwords reach the servers and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest
from fleet import descendants

import servers

SECRET = "kept-from-all-eyes"


@pytest.fixture
def broker_url(tmp_path):
    """A server that wants a password, which the URL does not name."""
    with servers.private("redis", tmp_path, "--requirepass", SECRET) as server:
        yield server.url


@pytest.fixture
def settings(own_directory):
    return {
        "redis_password": SECRET,
        "result_backend": f"sqlite:///{own_directory / 'results.db'}",
    }


def test_a_password_in_the_settings_reaches_every_process(errands, start):
    """The supervisor, which does not import the application, as well; no log or title shows it."""
    worker = start("-c", "2")
    assert errands.add.delay(1, 1).get(timeout=30) == 2
    family = [worker.process.pid, *descendants(worker.process.pid)]
    titles = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in family]
    assert not [title for title in titles if SECRET.encode() in title]
    assert worker.stop() == 0
    assert SECRET not in worker.text


def test_a_password_in_the_url_is_shown_to_nobody(errands, start, monkeypatch, broker_url):
    """The banner and the log show stars."""
    url = broker_url.replace("redis://", f"redis://:{SECRET}@")
    worker = start("-c", "1", ERRANDS_BROKER=url)
    assert errands.add.delay(1, 1).get(timeout=30) == 2
    assert worker.stop() == 0
    assert SECRET not in worker.text


def test_a_wrong_password_ends_the_start_with_a_sentence(errands, start, broker_url):
    """At once: trying again would change nothing."""
    url = broker_url.replace("redis://", "redis://:wrong@")
    worker = start(ready=False, ERRANDS_BROKER=url, ERRANDS_SETTINGS="{}")
    assert worker.wait() != 0
    assert "password" in worker.text
    assert "Traceback" not in worker.text
    assert "wrong" not in worker.text
