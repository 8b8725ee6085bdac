"""Writes celery_facts.json: what the real Celery answers in cases where Umbel is to agree.

Run it with the Python of an environment that has Celery installed; the tests only read the file.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import celery
from celery import Celery, exceptions, signals, states
from celery.app.amqp import Queues
from celery.utils.nodenames import default_nodename, host_format, node_format, nodesplit
from celery.utils.saferepr import saferepr
from celery.utils.time import get_exponential_backoff_interval, maybe_iso8601, rate
from celery.worker.request import Request
from kombu import Exchange, Queue
from kombu.common import Broadcast
from kombu.utils.functional import fxrange

TEMPLATES = ["w@%h", "%n-x", "%n@%d", "w%i", "w%I", "%p", "%%h", "%h%I", "a%z", "%", "%n%", "x%%%n"]
NODES = ["w1@box.example.com", "w1@box", "celery@h.d.e"]
SPLIT = ["a@b", "a", "a@b@c", "@b", "a@", ""]
RATES = [None, 0, "", 5, 1.5, "5", "5/s", "100/m", "10/h", "1.5/m", "0/s", "5/", "1e2/m"]
BAD_RATES = ["5/d", "x", "/s", "5/M", "5/s/m", "x/d"]
BACKOFFS = [(1, 0, 600), (1, 3, 600), (2, 4, 600), (1, 20, 600), (5, 2, 3), (7, 200, 600)]
POLICIES = [(0, 0.2, 1), (1, 0.5, 1), (2, 2, 28), (0.5, 0, 1)]
ISO = [
    "2020-01-01",
    "2020-01-01T00:00:00",
    "2020-01-01T00:00:00Z",
    "2020-01-01T00:00:00+02:00",
    "2020-01-01T00:00:00.123456+0230",
    "20200101T000000Z",
    "2020-01-01 00:00:00",
    "2020-01-01T00:00",
    "2020-01-01T00:00:00.1Z",
    "x",
    "2020-1-1T1:1:1",
    "2020-01-01T25:00:00Z",
]
VALUES = [
    [],
    [1, "a", None, True, 1.5],
    [[1, [2, [3]]]],
    [[[[1]]]],
    [[[[[1]]]]],
    {"a": {"b": {"c": {"d": 1}}}},
    {"a": [1, 2], "b": {"c": "d"}},
]
TASK = "feed.tasks.x"
ROUTES = [
    (None, {}),
    ({"feed.*": "q1"}, {}),
    ({"feed.*": {"queue": "q1", "priority": 3}}, {}),
    ({"feed.*": {"queue": "q1"}}, {"queue": "explicit"}),
    ({"feed.*": {"queue": "q1", "priority": 3}}, {"queue": None, "priority": None, "x": None}),
    ({"feed.*": "a", "feed.tasks.x": "b"}, {}),
    ({"feed.*": "a", "feed.tasks.*": "b"}, {}),
    ({"feed.t?sks.x": "a"}, {}),
    ({"feed.[t]asks.x": "a"}, {}),
    ({"feed.[t]asks.*": "a"}, {}),
    ({"Feed.*": "a"}, {}),
    ({"feed*x": "a"}, {}),
    ({"eed.*": "a"}, {}),
    ({"re:.*tasks": "a"}, {}),
    ({"re:tasks": "a"}, {}),
    ([[["feed.*", "a"], ["feed.tasks.*", "b"]]], {}),
    ([{"other.*": "1"}, {"feed.tasks.x": "2"}], {}),
    ({"feed.*": {"exchange": "e", "routing_key": "k"}}, {}),
    ({"feed.*": {}}, {}),
    ({"feed.*": {"queue": "q1", "exchange": "rex"}}, {"exchange": "oex"}),
    ({"feed.*": {"queue": "q", "delivery_mode": 1, "priority": None}}, {}),
    (None, {"queue": "q", "exchange": "e", "routing_key": "k"}),
    (None, {"exchange": "e"}),
    (None, {"routing_key": "rk"}),
]
DESTINATIONS = [
    {},
    {"queue": "t"},
    {"queue": "d"},
    {"queue": "t", "routing_key": "tk.9"},
    {"queue": "d", "routing_key": "zz"},
    {"exchange": "foo"},
    {"exchange": "foo", "routing_key": "bar"},
    {"routing_key": "rk"},
    {"queue": "nn"},
    {"queue": "d", "exchange": "dex", "routing_key": "dk"},
]
DECLARED = [
    ["options", "foo", {}],
    ["options", "foo", {"exchange": "fe", "exchange_type": "topic", "routing_key": "fk"}],
    ["options", "foo", {"exchange": "fe", "exchange_type": "topic", "binding_key": "fk"}],
    ["queue", "bare", {}],
    ["queue", "keyed", {"routing_key": "rk"}],
    ["queue", "exchanged", {"exchange": "ex"}],
    ["queue", "wide", {"max_priority": 3}],
]
DEFAULTS = [
    {},
    {"task_default_queue": "dq"},
    {"task_default_queue": "dq", "task_default_exchange": "de"},
    {"task_default_queue": "dq", "task_default_routing_key": "r"},
    {"task_default_exchange_type": "topic"},
    {"task_default_queue_type": "quorum"},
    {"task_queue_max_priority": 4},
    {"task_create_missing_queue_type": "quorum"},
    {"task_create_missing_queue_exchange_type": "topic"},
]


def answer(function, *args, **kwargs):
    """What a call returns, or the name of what it raises."""
    try:
        return function(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - the class is the fact
        return {"raises": type(error).__name__}


def application(**conf) -> Celery:
    app = Celery("facts", set_as_current=False, broker="memory://")
    app.conf.update(conf)
    return app


def described(queue: Queue) -> dict:
    return {
        "name": queue.name,
        "exchange": queue.exchange.name,
        "type": queue.exchange.type,
        "routing_key": queue.routing_key,
        "arguments": {
            **(queue.queue_arguments or {}),
            **({"x-max-priority": queue.max_priority} if queue.max_priority else {}),
        },
    }


def names() -> dict:
    return {
        "node_format": [[t, n, answer(node_format, t, n)] for t in TEMPLATES for n in NODES],
        "host_format": [
            [t, h, n, answer(host_format, t, host=h, name=n)]
            for t in TEMPLATES
            for h, n in (("box.example.com", None), ("box", "foo"))
        ],
        "nodesplit": [[name, list(nodesplit(name))] for name in SPLIT],
        "default_nodename": [[name, default_nodename(name)] for name in ("x@y", "@y")],
    }


def numbers() -> dict:
    return {
        "rates": [[limit, rate(limit)] for limit in RATES],
        "bad_rates": [[limit, answer(rate, limit)["raises"]] for limit in BAD_RATES],
        "backoffs": [[*case, get_exponential_backoff_interval(*case)] for case in BACKOFFS],
        "intervals": [[*case, intervals(*case)] for case in POLICIES],
    }


def intervals(start: float, step: float, longest: float) -> list[float]:
    waits = fxrange(start, start + longest, step, repeatlast=True)
    return [round(next(waits), 6) for _ in range(6)]


def iso_seconds(text: str) -> float:
    parsed = maybe_iso8601(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)).timestamp()  # noqa: UP017


def moments() -> dict:
    """The instants that a worker waits for when a message carries a datetime without a zone."""
    naive = []
    for conf in (
        {},
        {"timezone": "Asia/Tokyo"},
        {"enable_utc": False},
        {"enable_utc": False, "timezone": "Asia/Tokyo"},
    ):
        app = application(**conf)

        @app.task(name="t")
        def t():
            pass

        app.finalize()
        headers = app.amqp.as_task_v2("id", "t", eta=datetime(2030, 1, 1, 12)).headers  # noqa: DTZ001

        class Message:
            body, content_type, content_encoding, payload = (
                b"",
                "application/json",
                "utf-8",
                [(), {}, {}],
            )
            delivery_info, properties = {}, {}

        Message.headers = headers
        request = Request(Message(), app=app, task=app.tasks["t"], body=[(), {}, {}], decoded=True)
        naive.append([conf, request.eta.timestamp()])
    app = application()
    now = datetime(2030, 1, 1, tzinfo=timezone.utc)  # noqa: UP017
    message = app.amqp.as_task_v2("id", "t", countdown=10, expires=60, now=now)
    zoned = datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=9)))
    return {
        "iso": [[text, answer(iso_seconds, text)] for text in ISO],
        "naive_eta": naive,
        "header_eta": message.headers["eta"],
        "header_expires": message.headers["expires"],
        "zoned_eta": app.amqp.as_task_v2("id", "t", eta=zoned).headers["eta"],
        "bad_countdown": answer(app.amqp.as_task_v2, "id", "t", countdown=-(2**31) - 1),
    }


def routes() -> list:
    found = []
    for given, options in ROUTES:
        value = given
        if isinstance(value, dict):
            value = {
                re.compile(key[3:]) if key.startswith("re:") else key: route
                for key, route in value.items()
            }
        elif value and isinstance(value[0], list):
            value = tuple([tuple(pair) for pair in entry] for entry in value)
        app = application(task_routes=value)
        merged = app.amqp.router.route(dict(options), TASK, (), {})
        if "queue" in merged:
            merged["queue"] = merged["queue"].name
        found.append([given, options, merged])
    return found


def destinations() -> list:
    app = application(
        task_queues=[
            Queue("t", Exchange("tex", "topic"), "tk.#"),
            Queue("celery"),
            Queue("d", Exchange("dex"), "dk"),
        ]
    )
    seen = []

    @signals.before_task_publish.connect
    def see(exchange=None, routing_key=None, **_):
        seen.append([exchange, routing_key])

    for options in DESTINATIONS:
        app.send_task("n", (), **options)
    return [[options, *where] for options, where in zip(DESTINATIONS, seen, strict=True)]


def queues() -> dict:
    declared = []
    for how, name, options in DECLARED:
        known = Queues([], default_exchange=Exchange("dx"), default_routing_key="drk")
        known.add(name, **options) if how == "options" else known.add(Queue(name, **options))
        declared.append([how, name, options, described(known[name])])
    defaults = []
    for conf in DEFAULTS:
        known = application(**conf).amqp.queues
        own = [described(queue) for queue in known.values()]
        defaults.append([conf, own, described(known["new"])])
    broadcast = Broadcast("b", "own")
    return {
        "declared": declared,
        "defaults": defaults,
        "broadcast": {**described(broadcast), "alias": broadcast.alias},
    }


def errors() -> dict:
    cases = [
        ((), {}),
        ((), {"exc": KeyError("x"), "when": 180}),
        (("m",), {"when": 3}),
        ((), {"exc": "boom", "when": 1.5}),
        ((), {"when": datetime(2030, 1, 1)}),  # noqa: DTZ001
    ]
    retries = [exceptions.Retry(*args, **kwargs) for args, kwargs in cases]
    return {
        "names": [name for name in exceptions.__all__ if name != "CeleryCommandException"],
        "retry": [[retry.humanize(), str(retry)] for retry in retries],
        "reject": [str(exceptions.Reject("a", True)), str(exceptions.Reject())],
    }


def state_facts() -> dict:
    everything = [*sorted(states.ALL_STATES), "REJECTED", "IGNORED", "PROGRESS"]
    return {
        "sets": {
            name: sorted(getattr(states, name))
            for name in (
                "READY_STATES",
                "UNREADY_STATES",
                "EXCEPTION_STATES",
                "PROPAGATE_STATES",
                "ALL_STATES",
            )
        },
        "precedence": {name: states.precedence(name) for name in everything},
        "compared": [
            [a, b, states.state(a) > b, states.state(a) >= b, states.state(a) < b]
            for a in everything
            for b in everything
        ],
    }


def main() -> None:
    facts = {
        "celery": celery.__version__,
        "states": state_facts(),
        "names": names(),
        "numbers": numbers(),
        "moments": moments(),
        "routes": routes(),
        "destinations": destinations(),
        "queues": queues(),
        "errors": errors(),
        "representations": [[value, saferepr(value, 1024)] for value in VALUES],
        "signals": {
            name: sorted(value.providing_args)
            for name, value in vars(signals).items()
            if isinstance(value, type(signals.task_prerun))
        },
    }
    target = Path(__file__).with_name("celery_facts.json")
    target.write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")
    sys.stdout.write(f"{target.name} written from Celery {celery.__version__}\n")


if __name__ == "__main__":
    main()
