"""What lies in Redis is Celery's: lists, envelopes, bindings and results; and nothing stays."""

from __future__ import annotations

import base64
import json
import time
import uuid

import pytest
from redis.crc import key_slot

import servers
from patience import Background, wait_until
from posts import Worker, buried, ended, ids, post, posts, succeeded
from redis_keys import client, forget, keys, new_prefix
from umbel.drivers import connect
from umbel.exchanges import Exchange
from umbel.message import Malformed, Settlement, StoredResult
from umbel.queues import Queue

LONG = 60.0
SEPARATOR = "\x06\x16"
KEPT = {"umbel:queues", "umbel:served", "umbel:numbers"}


@pytest.fixture
def prefix():
    """Keys of a test's own."""
    prefix = new_prefix()
    yield prefix
    forget(prefix)


@pytest.fixture
def server(prefix):
    """A server under that prefix, everything else as it is by itself."""
    server = connect(servers.url("redis"), {"global_keyprefix": prefix, "poll_interval": 3600})
    yield server
    server.broker.close()
    server.backend.close()


@pytest.fixture
def broker(server):
    return server.broker


@pytest.fixture
def worker(broker):
    return Worker(broker)


def by_celery(task_id="c1", *, body=b"[[], {}, {}]", headers=None, **properties):
    """An envelope as Celery writes it."""
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"task": "mail.send", "id": task_id, "eta": None, "expires": None}
            | (headers or {}),
            "properties": {
                "correlation_id": task_id,
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "tasks"},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            }
            | properties,
        }
    )


def test_an_envelope_has_what_celery_reads(broker, prefix):
    """Body, types, headers and properties under its names; a tag that nobody else has."""
    broker.publish([post("t", body=b"\xff", exchange="x", routing_key="k", properties={"a": 1})])
    (raw,) = client().lrange(f"{prefix}tasks", 0, -1)
    envelope = json.loads(raw)
    properties = envelope["properties"]
    assert base64.b64decode(envelope["body"]) == b"\xff"
    assert envelope["content-type"] == "application/json"
    assert envelope["content-encoding"] == "utf-8"
    assert envelope["headers"]["id"] == "t"
    assert properties.pop("delivery_tag")
    assert properties == {
        "a": 1,
        "delivery_info": {"exchange": "x", "routing_key": "k"},
        "priority": 0,
        "body_encoding": "base64",
    }


def test_priorities_are_lists_of_celerys_steps(broker, prefix):
    """The number is written as it is, in the list of the step below it."""
    broker.publish([post(priority=priority) for priority in (None, 0, 2, 3, 5, 9)])
    lengths = {
        step: client().llen(f"{prefix}tasks{SEPARATOR}{step}" if step else f"{prefix}tasks")
        for step in (0, 3, 6, 9)
    }
    assert lengths == {0: 3, 3: 2, 6: 0, 9: 1}


def test_lists_of_higher_steps_are_served_first(broker, worker, prefix):
    """Whoever filled them."""
    for step in ("", f"{SEPARATOR}9", f"{SEPARATOR}3"):
        client().lpush(f"{prefix}tasks{step}", by_celery(f"c{step[-1:]}"))
    assert ids(worker.take()) == ["c9", "c3", "c"]


def test_a_message_of_celerys_is_taken_and_goes_back_unchanged(broker, worker, prefix):
    """Byte by byte, at the end that is consumed."""
    raws = [by_celery(f"c{n}").encode() for n in range(3)]
    client().lpush(f"{prefix}tasks", *raws)
    held = worker.take(2)
    assert ids(held) == ["c0", "c1"]
    broker.release(held)
    assert client().lrange(f"{prefix}tasks", 0, -1) == raws[::-1]


def test_a_push_by_others_wakes_a_waiting_reserve(worker, prefix):
    """Who only pushes rings no bell of ours, and is heard at once."""
    with Background(worker.take, 1, "a", "b", wait=LONG) as waiting:
        waiting.blocks()
        client().lpush(f"{prefix}b{SEPARATOR}6", by_celery())
        assert ids(waiting.result()) == ["c1"]


def test_a_moment_of_celerys_is_waited_for_in_the_broker(broker, worker, prefix):
    """Its workers would hold the message until then."""
    eta = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(time.time() + 3600))
    client().lpush(f"{prefix}tasks", by_celery(headers={"eta": eta}), by_celery("now"))
    assert ids(worker.take()) == ["now"]
    (stats,) = broker.stats(["tasks"])
    assert (stats.ready, stats.delayed, stats.claimed) == (0, 1, 1)


def test_delayed_messages_for_celerys_workers_alone_are_sent_as_celery_does(broker, prefix):
    """None of ours would let them out; its worker waits with them."""
    client().sadd(f"{prefix}_kombu.binding.celery", f"tasks{SEPARATOR}{SEPARATOR}tasks")
    broker.publish([post("later", due_at=time.time() + 3600)])
    assert client().llen(f"{prefix}tasks") == 1
    worker = Worker(broker)
    assert worker.take() == []
    assert broker.stats(["tasks"])[0].delayed == 1
    broker.publish([post("later", due_at=time.time() + 3600)])
    assert broker.stats(["tasks"])[0].delayed == 2


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00garbage\xff",
        b"",
        b"[]",
        b"{}",
        b'"text"',
        b'{"body": "!", "properties": {"body_encoding": "base64"}, "headers": {}}',
        b'{"body": 1, "properties": {}, "headers": {}}',
        b'{"body": "", "properties": [], "headers": {}}',
        b'{"body": "", "properties": {}, "headers": 5}',
        b'{"umbel":{"at":1},"body":"","properties":{"body_encoding":"base64"}}',
        b"[" * 100_000,
    ],
    ids=range(11),
)
def test_bytes_that_are_no_message_arrive_whole(broker, worker, prefix, raw):
    """For the dead letters; what stands behind them is delivered."""
    client().lpush(f"{prefix}tasks", raw, by_celery("good"))
    first, second = worker.take()
    assert second.message.id == "good"
    if isinstance(first.message, Malformed):
        assert (first.message.raw, first.message.queue) == (raw, "tasks")
        assert first.message.reason
    assert [w.message.id for w in broker.browse("tasks")][1:] == ["good"]
    assert broker.release([first]) == 1
    assert worker.take_one().deliveries == 1


def test_equal_bytes_are_told_apart_while_they_are_held(broker, worker, prefix):
    """Rubbish may come twice."""
    client().lpush(f"{prefix}tasks", b"x", b"x")
    first, second = worker.take()
    assert broker.release([first]) == 1
    assert broker.settle([Settlement(second), Settlement(first)]) == [True, False]
    assert len(worker.take()) == 1


def test_bindings_stand_in_celerys_table(broker, prefix):
    """Key, pattern and queue; topics with the pattern that its publishers match."""
    topic = Exchange("news", "topic")
    broker.declare([Queue("a", Exchange("x"), "k"), Queue("b", topic, "feed.*.#")])
    assert client().smembers(f"{prefix}_kombu.binding.x") == {b"k\x06\x16\x06\x16a"}
    assert client().smembers(f"{prefix}_kombu.binding.news") == {
        rb"feed.*.#" + b"\x06\x16" + rb"^feed\.[^\.]+\..*?$" + b"\x06\x16b"
    }


def test_bindings_of_celerys_are_followed(broker, prefix):
    """Its table has no types; a pattern makes a topic."""
    client().sadd(f"{prefix}_kombu.binding.x", "k\x06\x16\x06\x16direct", "broken")
    client().sadd(f"{prefix}_kombu.binding.y", "a.*\x06\x16^a\\.[^\\.]+$\x06\x16topic")
    assert broker.route("x", "k") == ["direct"]
    assert broker.route("x", "other") == []
    assert broker.route("y", "a.b") == ["topic"]


def test_a_result_is_celerys_key_and_announced_on_its_channel(server, prefix):
    """The value and nothing else, with its expiry; the channel is called like the key."""
    payload = b'{"status": "SUCCESS", "result": 3, "traceback": null, "task_id": "t"}'
    with client().pubsub() as heard:
        heard.subscribe(f"{prefix}celery-task-meta-t")
        assert heard.get_message(timeout=LONG)["type"] == "subscribe"
        server.backend.store([succeeded("t", payload=payload, expires=86_400.0)])
        assert heard.get_message(timeout=LONG)["data"] == payload
    assert client().get(f"{prefix}celery-task-meta-t") == payload
    assert 86_000 < client().ttl(f"{prefix}celery-task-meta-t") <= 86_400
    assert not client().exists(f"{prefix}umbel:result:t")


def test_a_result_of_celerys_is_read_and_ends_a_wait(server, prefix):
    """Whatever order its keys have, and whichever way it was encoded."""
    backend = server.backend
    key = f"{prefix}celery-task-meta-"
    with Background(backend.wait, ["t"], LONG) as waiting:
        waiting.blocks()
        client().set(f"{key}t", b'{"status": "FAILURE", "result": null}')
        client().publish(f"{key}t", b"whatever")
        assert waiting.result()["t"].status == "FAILURE"
    client().set(f"{key}u", b'{"result": 1, "status": "SUCCESS"}', ex=100)
    client().set(f"{key}v", b"\x80\x04\x95\x00\x8c\x06status\x94\x8c\x07SUCCESS\x94")
    found = backend.fetch("uv")
    assert (found["u"].status, found["u"].final, found["u"].expires) == ("SUCCESS", True, 86_400.0)
    assert (found["v"].status, found["v"].content_type) == (
        "SUCCESS",
        "application/x-python-serialize",
    )
    backend.store([StoredResult(name, "FAILURE", b"{}", final=True) for name in "uv"])
    assert {result.status for result in backend.fetch("uv").values()} == {"SUCCESS"}


def test_an_announcement_that_is_lost_costs_a_poll(prefix):
    """A value that nobody announced is found all the same."""
    server = connect(servers.url("redis"), {"global_keyprefix": prefix, "poll_interval": 0.05})
    with Background(server.backend.wait, ["t"], LONG) as waiting:
        waiting.blocks()
        client().set(f"{prefix}celery-task-meta-t", b'{"status": "SUCCESS"}')
        assert waiting.result()
    server.backend.close()


def test_when_all_work_is_done_no_key_is_left(server, worker, prefix):
    """But for the names of queues, which go after a day, a number that goes after an hour, and
    results, which go when they expire."""
    broker, backend = server.broker, server.backend
    broker.publish([*posts(3), post(priority=9), post("d", due_at=time.time() + 0.05)])
    broker.release(worker.take(2))
    broker.settle([Settlement(worker.take_one(), requeue=True)])
    broker.begin(worker.take_one())
    held = Worker(broker, name="other").take()
    broker.takeover("other", "worker")
    broker.settle([Settlement(delivery) for delivery in held])
    broker.retire("worker")
    broker.enroll("worker", 1e6)
    wait_until(lambda: broker.promote() is None)
    broker.settle([buried(worker.take_one()), *[ended(each) for each in worker.take()]])
    assert "umbel:dead" in keys(prefix)
    broker.purge_dead()
    results = [key for key in keys(prefix) if "celery-task-meta-" in key]
    backend.forget([key.removeprefix("celery-task-meta-") for key in results])
    broker.retire("worker")
    assert keys(prefix) == KEPT
    assert client().ttl(f"{prefix}umbel:numbers") > 0


def test_what_the_fleet_agrees_on_goes_by_itself(server, prefix):
    """Leases, buckets, slots, unique keys and broadcasts have an expiry."""
    server.coordinator.acquire("leader", "a", 100)
    server.coordinator.take("mail", rate=0.1)
    server.coordinator.enter("db", "a", size=1, ttl=100)
    server.coordinator.claim("report", "t", 100)
    server.broker.broadcast("control", b"x")
    server.backend.store([StoredResult("t", "ODD", b"x", final=True, expires=100.0)])
    found = keys(prefix)
    assert len(found - KEPT) == 7
    assert all(0 < client().ttl(prefix + key) <= 101 for key in found - KEPT)


def test_names_of_queues_that_are_empty_are_forgotten_after_a_day(broker, prefix):
    """Those that still have something are kept."""
    broker.publish([post(queue="full")])
    day_ago = time.time() - 90_000
    client().zadd(f"{prefix}umbel:queues", {"empty": day_ago, "full": day_ago})
    broker.reap()
    assert client().zrange(f"{prefix}umbel:queues", 0, -1) == [b"full"]


def test_keys_beside_a_queue_are_in_the_slot_of_its_list(broker, worker, prefix):
    """Also if its name brings a tag of its own."""
    for queue in ("plain", "{tag}ged"):
        broker.publish([post(queue=queue), post(queue=queue, due_at=time.time() + 100)])
        worker.take(1, queue)
        beside = [key for key in keys(prefix) if queue in key and key.endswith(("ed", "ms"))]
        assert len(beside) == 2
        assert {key_slot(key.encode()) for key in beside} == {key_slot(queue.encode())}
