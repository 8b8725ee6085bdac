"""From a call to a message: protocol 2, field by field."""

from __future__ import annotations

import json
import logging
import os
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from umbel import serialization
from umbel.exceptions import EncodeError, QueueNotFound, UnroutableError
from umbel.identity import gethostname
from umbel.queues import Queue
from umbel.representation import Secret

HEADERS = [
    "lang",
    "task",
    "id",
    "shadow",
    "eta",
    "expires",
    "group",
    "group_index",
    "retries",
    "timelimit",
    "root_id",
    "parent_id",
    "argsrepr",
    "kwargsrepr",
    "origin",
    "ignore_result",
    "replaced_task_nesting",
    "stamped_headers",
    "stamps",
]


def message(app, name="a", args=(), kwargs=None, **options):
    return app.client.message(name, args, kwargs or {}, options=options)


def test_the_headers_are_those_of_protocol_2_in_their_order(app):
    made = message(app, "add", (2, 3), {"z": 4}, task_id="id-1")
    assert list(made.headers) == HEADERS
    assert made.headers == {
        "lang": "py",
        "task": "add",
        "id": "id-1",
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": "id-1",
        "parent_id": None,
        "argsrepr": "(2, 3)",
        "kwargsrepr": "{'z': 4}",
        "origin": f"gen{os.getpid()}@{gethostname()}",
        "ignore_result": None,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }


def test_the_properties_are_those_of_protocol_2(app):
    made = message(app, task_id="id-1")
    assert made.properties == {
        "correlation_id": "id-1",
        "reply_to": app.thread_oid,
        "delivery_mode": 2,
    }
    assert (made.content_type, made.content_encoding) == ("application/json", "utf-8")


def test_the_body_is_args_kwargs_and_what_follows(app):
    made = message(app, args=(1,), kwargs={"b": 2})
    follows = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert json.loads(made.body) == [[1], {"b": 2}, follows]


def test_the_message_goes_to_the_default_queue(app):
    made = message(app)
    assert (made.queue, made.exchange, made.routing_key) == ("celery", "", "celery")


def test_every_message_has_an_id_of_its_own(app):
    made = [message(app) for _ in range(3)]
    assert len({each.id for each in made}) == 3
    assert [each.headers["id"] for each in made] == [each.id for each in made]
    assert [each.headers["root_id"] for each in made] == [each.id for each in made]


def test_messages_of_one_template_do_not_share_what_differs(app):
    """What calls have in common is worked out once; what they do not is each one's own."""
    first = message(app, args=(1,))
    second = message(app, args=(2,), kwargs={"k": 1})
    first.headers["mine"] = first.properties["mine"] = True
    third = message(app, args=(3,))
    assert [each.headers["argsrepr"] for each in (first, second, third)] == ["(1,)", "(2,)", "(3,)"]
    assert [each.headers["kwargsrepr"] for each in (first, second, third)] == [
        "{}",
        "{'k': 1}",
        "{}",
    ]
    assert "mine" not in {**third.headers, **third.properties}


def test_options_of_one_call_do_not_reach_the_next(app):
    given = {
        "task_id": "id-1",
        "countdown": 60,
        "expires": 120,
        "queue": "q",
        "priority": 5,
        "serializer": "pickle",
        "compression": "gzip",
        "headers": {"own": 1},
        "shadow": "dark",
        "time_limit": 9,
        "soft_time_limit": 8,
        "ignore_result": True,
        "delivery_mode": "transient",
        "link": app.signature("b"),
        "retries": 2,
        "reply_to": "me",
        "group_id": "g",
        "group_index": 3,
    }
    plain = message(app)
    message(app, **given)
    again = message(app)
    for each in (plain, again):
        each.id = each.headers["id"] = each.headers["root_id"] = "id"
        each.properties["correlation_id"] = "id"
    assert plain == again


def test_options_become_headers(app):
    made = message(
        app,
        shadow="dark",
        time_limit=9,
        soft_time_limit=8,
        ignore_result=True,
        retries=2,
        group_id="g",
        group_index=3,
        root_id="r",
        parent_id="p",
        replaced_task_nesting=1,
        origin="me@here",
        argsrepr="<args>",
        kwargsrepr="<kwargs>",
        stamped_headers=["colour"],
        colour="red",
    )
    headers = made.headers
    assert (headers["shadow"], headers["timelimit"]) == ("dark", [9, 8])
    assert (headers["ignore_result"], headers["retries"]) == (True, 2)
    assert (headers["group"], headers["group_index"]) == ("g", 3)
    assert (headers["root_id"], headers["parent_id"]) == ("r", "p")
    assert (headers["replaced_task_nesting"], headers["origin"]) == (1, "me@here")
    assert (headers["argsrepr"], headers["kwargsrepr"]) == ("<args>", "<kwargs>")
    assert (headers["stamped_headers"], headers["stamps"]) == (["colour"], {"colour": "red"})
    assert "colour" not in made.properties


def test_headers_of_the_callers_own_stand_beside_the_others(app):
    made = message(app, headers={"tenant": "t"})
    assert list(made.headers) == [*HEADERS, "tenant"]
    assert made.headers["tenant"] == "t"


def test_unknown_options_become_properties(app):
    made = message(app, app_id="shop", user_id=None, timestamp=5)
    assert (made.properties["app_id"], made.properties["timestamp"]) == ("shop", 5)
    assert "user_id" not in made.properties


def test_a_countdown_is_a_moment_in_the_zone_of_the_application(make):
    app = make(timezone="Asia/Tokyo")
    before = time.time()
    made = message(app, countdown=60)
    assert before + 60 <= made.due_at <= time.time() + 60
    eta = datetime.fromisoformat(made.headers["eta"])
    assert eta.utcoffset() == timedelta(hours=9)
    assert eta.timestamp() == pytest.approx(made.due_at, abs=1e-5)


def test_a_countdown_of_zero_is_none_and_goes_before_an_eta(app):
    assert message(app, countdown=0).due_at is None
    assert message(app, countdown=0).headers["eta"] is None
    eta = datetime(2040, 1, 1, tzinfo=UTC)
    assert message(app, countdown=5, eta=eta).due_at < eta.timestamp()


@pytest.mark.parametrize(
    "eta",
    [
        datetime(2040, 1, 1, 12, tzinfo=UTC),
        datetime(2040, 1, 1, 12),  # noqa: DTZ001 - naive is UTC
        datetime(2040, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))),
        "2040-01-01T12:00:00+00:00",
        "2040-01-01T12:00:00",
    ],
)
def test_an_eta_is_a_moment_in_any_zone_or_a_text(app, eta):
    made = message(app, eta=eta)
    assert made.due_at == datetime(2040, 1, 1, 12, tzinfo=UTC).timestamp()
    assert made.headers["eta"] == "2040-01-01T12:00:00+00:00"


def test_expires_is_a_header_and_a_property_in_milliseconds(app):
    before = time.time()
    made = message(app, expires=30)
    assert before + 30 <= made.expires_at <= time.time() + 30
    assert datetime.fromisoformat(made.headers["expires"]).timestamp() == pytest.approx(
        made.expires_at, abs=1e-5
    )
    assert made.properties["expiration"] in ("30000", "29999")


@pytest.mark.parametrize("expires", [datetime(2040, 1, 1, tzinfo=UTC), "2040-01-01T00:00:00+00:00"])
def test_expires_may_be_a_moment(app, expires):
    made = message(app, expires=expires)
    assert made.expires_at == datetime(2040, 1, 1, tzinfo=UTC).timestamp()
    assert int(made.properties["expiration"]) > 1000


def test_what_has_expired_is_sent_nevertheless_and_mentioned(app, waiting, caplog):
    with caplog.at_level(logging.WARNING, "umbel.client"):
        app.send_task("a", expires=-5)
    assert "has expired already" in caplog.text
    made = message(app, expires=datetime(2001, 1, 1, tzinfo=UTC))
    assert made.properties["expiration"] == "0"


@pytest.mark.parametrize("wrong", [float("inf"), -1e12, 1e12])
def test_moments_out_of_range_are_refused(app, wrong):
    with pytest.raises(ValueError, match="countdown is out of range"):
        message(app, countdown=wrong)
    with pytest.raises(ValueError, match="expires is out of range"):
        message(app, expires=wrong)


def test_priority_is_that_of_the_call_the_route_or_the_settings(make):
    app = make(task_default_priority=2, task_routes={"routed": {"priority": 4}})
    assert message(app).priority == 2
    assert message(app, "routed").priority == 4
    assert message(app, "routed", priority=6).priority == 6
    assert message(make()).priority is None


def test_a_child_inherits_the_priority_of_its_parent_if_so_set(make):
    from umbel.context import Context
    from umbel.current import Frame, running

    app = make(task_inherit_parent_priority=True)
    request = Context(id="p", called_directly=False, delivery_info={"priority": 7})
    token = running.set(Frame(app.task(name="parent")(len), request, None))
    try:
        inherited, own = message(app), message(app, priority=1)
    finally:
        running.reset(token)
    assert (inherited.priority, own.priority) == (7, 1)
    assert message(app).priority is None


def test_a_message_sent_by_a_task_names_its_parent_and_the_root(app):
    from umbel.context import Context
    from umbel.current import Frame, running

    task = app.task(name="parent")(len)
    seen = []
    for request in (
        Context(id="p", called_directly=False),
        Context(id="p", root_id="r", called_directly=False),
        Context(id="p", called_directly=True),
    ):
        token = running.set(Frame(task, request, None))
        seen.append(message(app, task_id="c"))
        running.reset(token)
    assert [(each.headers["root_id"], each.headers["parent_id"]) for each in seen] == [
        ("p", "p"),
        ("r", "p"),
        ("c", None),
    ]


def test_callbacks_travel_in_the_body(app):
    made = message(
        app, link=app.signature("b"), link_error=[app.signature("c"), app.signature("d")]
    )
    follows = json.loads(made.body)[2]
    assert [each["task"] for each in follows["callbacks"]] == ["b"]
    assert [each["task"] for each in follows["errbacks"]] == ["c", "d"]
    assert (follows["chain"], follows["chord"]) == (None, None)


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_the_serializer_is_that_of_the_call_or_the_settings(make, serializer):
    for made in (message(make(), serializer=serializer), message(make(task_serializer=serializer))):
        body = serialization.loads(
            made.body, made.content_type, made.content_encoding, accept=[serializer]
        )
        assert list(body[:2]) == [[], {}] or list(body[:2]) == [(), {}]


def test_the_compression_is_named_in_the_headers(make):
    for made in (message(make(), compression="gzip"), message(make(task_compression="gzip"))):
        assert made.headers["compression"] == "application/x-gzip"
        plain = serialization.decompress(made.body, "application/x-gzip", limit=None)
        assert json.loads(plain)[0] == []


@pytest.mark.parametrize(
    ("mode", "expected"), [(1, 1), ("transient", 1), (2, 2), ("persistent", 2), (None, 2)]
)
def test_the_delivery_mode_is_that_of_the_call_or_the_settings(make, mode, expected):
    assert message(make(), delivery_mode=mode).properties["delivery_mode"] == expected
    if mode is not None:
        app = make(task_default_delivery_mode=mode)
        assert message(app).properties["delivery_mode"] == expected


def test_arguments_are_shown_short_and_safely(make):
    app = make()
    deep = [[[[[1]]]]]
    assert message(app, args=(deep,)).headers["argsrepr"] == "([[[...]]],)"
    assert message(make(task_repr_maxlevels=9), args=(deep,)).headers["argsrepr"] == (
        "([[[[[1]]]]],)"
    )
    assert len(message(app, args=("x" * 9999,)).headers["argsrepr"]) <= 1024
    made = message(app, args=(Secret("hush"),))
    assert "hush" not in made.headers["argsrepr"]
    assert b"hush" in made.body


def test_args_are_shown_as_a_tuple_whatever_they_came_in(app):
    assert message(app, args=[1, 2]).headers["argsrepr"] == "(1, 2)"


@pytest.mark.parametrize("args", ["text", 5, {"a": 1}, {1, 2}])
def test_args_that_are_no_list_are_refused_each_time(app, args):
    for _ in range(2):
        with pytest.raises(TypeError, match="args of a must be a list or tuple"):
            message(app, args=args)
        message(app)


@pytest.mark.parametrize("kwargs", ["text", 5, [1]])
def test_kwargs_that_are_no_mapping_are_refused_each_time(app, kwargs):
    for _ in range(2):
        with pytest.raises(TypeError, match="kwargs of a must be a mapping"):
            message(app, kwargs=kwargs)
        message(app)


def test_what_cannot_be_encoded_is_named_by_its_path(app):
    with pytest.raises(EncodeError, match=r"args\[1\]\.owner cannot be encoded"):
        message(app, args=(1, {"owner": object()}))
    with pytest.raises(EncodeError, match=r"kwargs\.b cannot be encoded"):
        message(app, kwargs={"b": object()})


def test_what_receivers_would_refuse_is_refused_here(make):
    app = make(message_max_bytes=1000)
    with pytest.raises(EncodeError, match="receivers would refuse"):
        message(app, args=("x" * 2000,))
    assert message(make(message_max_bytes=None), args=("x" * 2000,)).body


# -- routes --------------------------------------------------------------------------------


def test_a_queue_that_is_asked_for_wins_over_routes(make):
    app = make(task_routes={"a": "routed"})
    assert message(app).queue == "routed"
    assert message(app, queue="asked").queue == "asked"
    assert message(app, queue=Queue("object")).queue == "object"


def test_a_route_may_depend_on_the_arguments(make):
    def by_argument(name, args, kwargs, options, task=None, **_):
        return f"shard-{args[0] % 2}"

    app = make(task_routes=by_argument)
    assert [message(app, args=(n,)).queue for n in range(4)] == [
        "shard-0",
        "shard-1",
        "shard-0",
        "shard-1",
    ]


def test_a_route_name_is_routed_in_place_of_the_tasks(make):
    app = make(task_routes={"other": "routed"})
    assert message(app, route_name="other").queue == "routed"
    assert message(app).queue == "celery"


def test_a_router_may_be_given_with_the_call(make):
    other = make(task_routes={"a": "theirs"})
    assert message(make(), router=other.amqp.router).queue == "theirs"


def test_an_unknown_queue_is_an_error_if_none_are_to_be_made(make):
    app = make(task_queues=["known"], task_create_missing_queues=False, task_default_queue="known")
    assert message(app, queue="known").queue == "known"
    with pytest.raises(QueueNotFound):
        message(app, queue="unknown")


def test_a_queue_that_replaces_another_counts_from_the_next_call(app):
    assert message(app).exchange == ""
    app.amqp.queues.add("celery", exchange="logs", exchange_type="topic", routing_key="a.b")
    made = message(app)
    assert (made.queue, made.exchange, made.routing_key) == ("celery", "logs", "a.b")


def test_every_queue_of_a_fanout_exchange_gets_a_copy(make, waiting):
    app = make(
        task_queues={
            "one": {"exchange": "news", "exchange_type": "fanout"},
            "two": {"exchange": "news", "exchange_type": "fanout"},
            "three": {"exchange": "other", "exchange_type": "fanout"},
        }
    )
    result = app.send_task("a", queue="one")
    app.send_task("b", exchange="news", routing_key="any")
    assert [each.task for each in waiting("one", app)] == ["a", "b"]
    assert [each.task for each in waiting("two", app)] == ["a", "b"]
    assert waiting("two", app)[0].id == result.id
    assert waiting("three", app) == []


def test_a_topic_exchange_matches_keys(make, waiting):
    app = make(
        task_queues={
            "all": {"exchange": "log", "exchange_type": "topic", "routing_key": "#"},
            "errors": {"exchange": "log", "exchange_type": "topic", "routing_key": "*.error"},
            "celery": {},
        }
    )
    app.send_task("a", exchange="log", routing_key="shop.error")
    app.send_task("b", exchange="log", routing_key="shop.info")
    assert [each.task for each in waiting("all", app)] == ["a", "b"]
    assert [each.task for each in waiting("errors", app)] == ["a"]


def test_an_exchange_that_no_queue_is_bound_to_is_an_error(make):
    app = make(
        task_queues={"errors": {"exchange": "log", "exchange_type": "topic", "routing_key": "e"}}
    )
    with pytest.raises(UnroutableError, match=r"'log'.*'nothing'"):
        app.send_task("a", exchange="log", routing_key="nothing")


def test_options_of_a_task_that_is_known_here_count_for_calls_by_name(app, waiting):
    app.task(name="a", queue="own", priority=3, ignore_result=True, lazy=False)(lambda: None)
    by_name = app.send_task("a")
    assert by_name.ignored
    [made] = waiting("own")
    assert (made.priority, made.headers["ignore_result"]) == (3, True)
    assert not app.finalized
    app.send_task("a", queue="other", ignore_result=False)
    assert waiting("other")[0].headers["ignore_result"] is False


def test_many_calls_are_sent_in_one_step_or_not_at_all(app, waiting):
    results = app.publish_many([app.signature("a", (n,)) for n in range(5)], queue="q")
    assert [each.id for each in waiting("q")] == [each.id for each in results]
    with pytest.raises(EncodeError):
        app.publish_many([app.signature("a", (1,)), app.signature("a", (object(),))], queue="r")
    assert waiting("r") == []


def test_options_of_many_calls_yield_to_those_of_each(app, waiting):
    app.publish_many([app.signature("a"), app.signature("b", queue="own")], queue="q")
    assert [each.task for each in waiting("q")] == ["a"]
    assert [each.task for each in waiting("own")] == ["b"]


def test_a_class_for_results_may_be_given(app):
    class Own(app.AsyncResult):
        pass

    assert type(app.send_task("a", result_cls=Own)) is Own
