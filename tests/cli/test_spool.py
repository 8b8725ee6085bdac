"""``umbel spool``: what was kept while the broker was away."""

from __future__ import annotations

from commands import umbel
from umbel import Umbel


def keep(directory, count, broker="redis://127.0.0.1:1/0"):
    """Have so many calls kept, by an application whose broker is away."""
    spool = directory / "kept.db"
    app = Umbel(
        "shop", broker=broker, publish_spool=spool, publish_timeout=0.2, set_as_current=False
    )
    for number in range(count):
        app.send_task("shop.silent", task_id=f"kept-{number}")
    app.close()
    return spool


def test_kept_calls_are_counted_and_handed_on(shop):
    """In the order in which they were made; then there are none left."""
    spool = keep(shop, 3)
    (shop / "spooling.py").write_text(
        f"from umbel import Umbel\napp = Umbel('spooling', publish_spool={str(spool)!r})\n"
    )
    assert umbel("-A", "spooling", "spool", "status").out == "3\n"
    assert umbel("-A", "spooling", "spool", "status", "--json").data["waiting"] == 3
    assert umbel("-A", "spooling", "spool", "relay").out == "3\n"
    assert umbel("-A", "spooling", "spool", "status", "--json").data["waiting"] == 0
    queues = umbel("-A", "spooling", "status", "--json").data["queues"]
    assert [each["ready"] for each in queues if each["name"] == "celery"] == [3]


def test_calls_stay_where_they_are_while_the_broker_is_away(shop):
    """Exit code 69, and a sentence that says how many."""
    spool = keep(shop, 2)
    (shop / "spooling.py").write_text(
        "from umbel import Umbel\n"
        f"app = Umbel('spooling', broker='redis://127.0.0.1:1/0', publish_spool={str(spool)!r})\n"
    )
    ended = umbel("-A", "spooling", "spool", "relay")
    assert ended.code == 69
    assert f"2 calls still in {spool}" in ended.err
    assert umbel("-A", "spooling", "spool", "status").out == "2\n"


def test_without_a_spool_it_is_said(shop):
    """Which setting to set."""
    ended = umbel("-A", "shop", "spool", "status")
    assert ended.code == 2
    assert "publish_spool" in ended.err
