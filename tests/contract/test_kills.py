"""Processes are killed in the middle of whatever they do, and nothing is lost or made up."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from posts import Worker, post

pytestmark = pytest.mark.needs("shared", "leases", "atomic_results")

MOVER = Path(__file__).parent.parent / "support" / "mover.py"
TOKENS = 60
# More than can be done in the time, so that every victim has work.
HOPS = 5_000
KILLS = 8


class Victim:
    """A process that will be killed."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(MOVER), *args], stdout=subprocess.PIPE, text=True
        )

    def kill_amid_work(self, chance: random.Random) -> None:
        """SIGKILL at some moment after it has begun."""
        with self.process:
            self.process.stdout.readline()
            time.sleep(chance.uniform(0, 0.03))
            self.process.kill()
        assert self.process.returncode == -signal.SIGKILL


def test_tokens_survive_the_death_of_those_who_move_them(site):
    """A settlement and its follow-up are one step: killed before or after, never between."""
    chance = random.Random(20)
    names = [f"token-{n}" for n in range(TOKENS)]
    site.broker.publish([post(name, headers={"hops": HOPS}) for name in names])
    Worker(site.broker, name="survivor")
    for n in range(KILLS):
        Victim("move", site.url, f"victim-{n}").kill_amid_work(chance)
        moved = site.broker.takeover(f"victim-{n}", "survivor")
        chance.shuffle(moved)
        site.broker.release(moved[::2], crashed=True)
        site.broker.release(moved[1::2])
        waiting = site.broker.browse("tasks", limit=10 * TOKENS)
        assert Counter(w.message.id for w in waiting) == Counter(names)
    hops = [w.message.headers["hops"] for w in waiting]
    assert min(hops) < HOPS


def test_what_a_killed_publisher_was_told_is_stored_is_there(site, tmp_path):
    """All of a batch or nothing of it, and everything that was confirmed, in order."""
    chance = random.Random(30)
    logs = [tmp_path / f"log-{n}" for n in range(KILLS)]
    for n, log in enumerate(logs):
        Victim("publish", site.url, f"p{n}", str(log)).kill_amid_work(chance)
    found = Worker(site.broker).drain("log")
    assert len(found) == len(set(found))
    for n, log in enumerate(logs):
        confirmed = log.read_text().split()
        of_this = [name for name in found if name.startswith(f"p{n}-")]
        assert of_this[: len(confirmed)] == confirmed
        # At most one batch was stored without having been confirmed, and that one completely.
        rest = of_this[len(confirmed) :]
        size = int(rest[0].split("-")[1]) % 3 + 1 if rest else 0
        assert len(rest) == size
