"""The spool: calls go on while the broker is away, and reach it when it is back."""

from __future__ import annotations

import logging
import subprocess
import sys
import time

import pytest

import servers
from patience import wait_until
from umbel import Umbel
from umbel.exceptions import OperationalError
from umbel.spool import FILE, Spool

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def redis(tmp_path):
    """A server of our own, that can be killed."""
    with servers.private("redis", tmp_path) as server:
        yield server


@pytest.fixture
def make(tmp_path, redis):
    """Makes applications on that server, with a spool."""
    made = []

    def make(**settings):
        settings = {"publish_timeout": 1, "publish_spool": tmp_path / FILE, **settings}
        app = Umbel("spooling", broker=redis.url, set_as_current=False, **settings)
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


def sent(app):
    """The tasks that wait in the broker, in the order in which workers get them.

    One may be there twice: the broker had it, and its answer came too late.
    """
    waiting = app.broker.browse("celery", limit=1000)
    return list(dict.fromkeys(each.message.headers["task"] for each in waiting))


def arrived(app, count):
    wait_until(lambda: len(sent(app)) >= count)
    return sent(app)


def test_calls_made_while_the_broker_is_dead_reach_it_in_order_when_it_is_back(make, redis):
    """Also those that are made when it is back already: nothing overtakes."""
    app = make()
    app.send_task("before")
    redis.kill()
    results = [app.send_task(f"during-{number}") for number in range(5)]
    redis.start()
    late = app.send_task("after")
    assert arrived(app, 7) == ["before", *(f"during-{number}" for number in range(5)), "after"]
    ids = list(dict.fromkeys(each.message.id for each in app.broker.browse("celery")))
    assert ids[1:] == [result.id for result in (*results, late)]


def test_only_the_first_call_waits_for_the_broker(make, redis):
    """While messages wait in the file, further ones are put behind them at once."""
    app = make(publish_timeout=2)
    redis.kill()
    app.send_task("first")
    started = time.monotonic()
    for _ in range(20):
        app.send_task("next")
    assert time.monotonic() - started < 20 * 2
    assert app.client.spool.standing.waiting == 21


def test_what_a_process_left_behind_is_sent_by_the_next(make, redis, tmp_path):
    """The file outlives whoever wrote it, however that ended."""
    redis.kill()
    code = (
        "import os, sys; from umbel import Umbel\n"
        "app = Umbel('dying', broker=sys.argv[1], publish_spool=sys.argv[2], publish_timeout=0.3)\n"
        "app.send_task('left.behind', ('ö', 1), task_id='known', countdown=0.01, priority=7)\n"
        "os._exit(9)\n"
    )
    command = [sys.executable, "-c", code, redis.url, str(tmp_path / FILE)]
    assert subprocess.run(command, check=False, timeout=60).returncode == 9
    redis.start()
    app = make()
    app.send_task("own")
    assert sorted(arrived(app, 2)) == ["left.behind", "own"]
    (message,) = (e.message for e in app.broker.browse("celery") if e.message.id == "known")
    assert message.priority == 7


def test_a_full_file_refuses_further_calls(make, redis):
    """With both reasons in the error; what is in it stays."""
    app = make(publish_spool_limit=3)
    redis.kill()
    for _ in range(3):
        app.send_task("kept")
    with pytest.raises(OperationalError, match="is full"):
        app.send_task("too much")
    assert app.client.spool.standing.waiting == 3


def test_many_at_once_are_kept_all_or_none(make, redis):
    """`publish_many` keeps its promise."""
    app = make(publish_spool_limit=3)
    redis.kill()
    with pytest.raises(OperationalError):
        app.publish_many([app.signature("a") for _ in range(4)])
    assert app.client.spool.standing.waiting == 0


def test_asynchronous_calls_are_kept_too(make, redis):
    """In the same file."""
    import asyncio

    app = make()
    redis.kill()
    asyncio.run(app.asend_task("awaited"))
    redis.start()
    assert arrived(app, 1) == ["awaited"]


def test_a_message_that_no_broker_takes_does_not_hold_up_the_others(tmp_path, caplog):
    """It is put aside with the reason."""
    taken = []

    def publish(messages):
        if any(message.task == "bad" for message in messages):
            raise ValueError("too odd")
        taken.extend(message.task for message in messages)

    spool = Spool(str(tmp_path / FILE), 10, publish)
    app = Umbel("any", broker="memory://any", set_as_current=False)
    messages = [app.client.message(name, (), {}, options={}) for name in ("good", "bad", "fine")]
    spool.add(messages)
    with caplog.at_level(logging.CRITICAL, logger="umbel.client"):
        wait_until(lambda: not spool.is_in_use)
    assert taken == ["good", "fine"]
    assert spool.standing == (0, 1)
    spool.close()


def test_without_a_spool_nothing_is_made(make, redis, tmp_path):
    """The call raises, as ever."""
    app = make(publish_spool=None)
    redis.kill()
    with pytest.raises(OperationalError):
        app.send_task("lost")
    assert not (tmp_path / FILE).exists()
