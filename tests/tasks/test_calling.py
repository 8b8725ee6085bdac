"""``delay``, ``apply_async`` and their options, calling directly, signatures of a task."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from umbel import Queue, Task, result
from umbel.canvas import Signature
from umbel.exceptions import EncodeError


@pytest.fixture
def add(app):
    return app.task(name="t.add", shared=False)(lambda x, y=2: x + y)


@pytest.fixture
def sent(site, add):
    """Sends a call with options and returns its message."""

    def send(*queues, **options):
        add.apply_async((1,), **options)
        (message,) = [one for queue in queues or ("celery",) for one in site.waiting(queue)]
        site.broker.purge(message.queue)
        return message

    return send


# -- the three ways to call ----------------------------------------------------------------


def test_delay_sends_its_arguments(site, app, add):
    """``delay(*args, **kwargs)`` is ``apply_async(args, kwargs)``."""
    results = [add.delay(1), add.delay(1, y=5), add.apply_async((1,), {"y": 7})]
    site.drain(app)
    assert [one.get() for one in results] == [3, 6, 8]


def test_apply_async_takes_its_first_options_by_position(site, app, add):
    """args, kwargs, task_id, producer, link, link_error, shadow, as in Celery."""
    add.apply_async((1,), {}, "the-id", None, add.s(), add.si(0), "alias")
    (message,) = site.waiting()
    assert (message.id, message.headers["shadow"]) == ("the-id", "alias")
    (one, _) = site.drain(app)
    assert one.request.callbacks[0]["task"] == "t.add"
    assert one.request.errbacks[0]["immutable"] is True


def test_the_result_is_known_at_once(app, add):
    """Its id is made by the caller, and given ids are kept."""
    assert add.delay(1).id != add.delay(1).id
    assert add.apply_async((1,), task_id="mine").id == "mine"
    assert type(add.delay(1)) is app.AsyncResult


def test_result_cls_makes_the_result(add):
    """An option of Celery's ``send_task``."""

    class Mine(result.AsyncResult):
        pass

    assert type(add.apply_async((1,), result_cls=Mine)) is Mine


def test_coroutines_send_without_blocking(site, app, add):
    """``adelay`` and ``aapply_async``, many at once."""

    async def send():
        results = await asyncio.gather(
            *(add.adelay(n) for n in range(10)), add.aapply_async((1,), {"y": 9}, task_id="x")
        )
        await asyncio.to_thread(site.drain, app)
        return [await one for one in results]

    assert asyncio.run(send()) == [*range(2, 12), 10]


def test_calling_a_task_runs_it_here(site, add):
    """As the function it was made of; nothing is sent."""
    assert add(1) == 3
    assert add(1, y=5) == 6
    assert add.run(1, 5) == 6
    assert site.waiting() == []


def test_calling_an_asynchronous_task_gives_its_coroutine(app):
    """Within a request of its own, also while it waits."""

    @app.task(bind=True, shared=False)
    async def double(self, x):
        before = self.request
        await asyncio.sleep(0)
        assert self.request is before
        assert app.current_task is self
        return 2 * x

    async def outer():
        assert app.current_task is None
        return await double(4)

    assert asyncio.run(outer()) == 8


def test_the_current_task_is_the_innermost(site, app):
    """Called directly it counts too; ``current_worker_task`` is the one a message started."""
    seen = []

    @app.task(name="inner", shared=False)
    def inner():
        seen.append((app.current_task.name, app.current_worker_task.name))

    @app.task(name="outer", shared=False)
    def outer():
        inner()
        seen.append((app.current_task.name, app.current_worker_task.name))

    outer.delay()
    site.drain(app)
    assert seen == [("inner", "outer"), ("outer", "outer")]
    assert app.current_task is None
    assert app.current_worker_task is None


# -- the message ---------------------------------------------------------------------------


def test_the_message_has_celerys_headers_in_celerys_order(sent):
    """Protocol 2, field by field."""
    message = sent(task_id="x", argsrepr="(...)")
    headers = dict(message.headers)
    assert list(headers) == [
        *("lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries"),
        *("timelimit", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin"),
        *("ignore_result", "replaced_task_nesting", "stamped_headers", "stamps"),
    ]
    origin = headers.pop("origin")
    assert origin.startswith(f"gen{os.getpid()}@")
    assert headers == {
        "lang": "py",
        "task": "t.add",
        "id": "x",
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": "x",
        "parent_id": None,
        "argsrepr": "(...)",
        "kwargsrepr": "{}",
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    assert message.properties["correlation_id"] == "x"
    assert message.properties["delivery_mode"] == 2


def test_arguments_are_shown_in_the_headers(site, app):
    """Cut to what people read; ``argsrepr`` and ``kwargsrepr`` hide what nobody should."""
    task = app.task(shared=False)(lambda *args, **kwargs: None)
    task.delay("x" * 5000, a=[[[[1]]]])
    task.apply_async(("secret",), {"a": 1}, argsrepr="<hidden>", kwargsrepr="<too>")
    first, second = site.waiting()
    assert len(first.headers["argsrepr"]) <= 1024
    assert first.headers["kwargsrepr"] == "{'a': [[[...]]]}"
    assert (second.headers["argsrepr"], second.headers["kwargsrepr"]) == ("<hidden>", "<too>")


# -- when ----------------------------------------------------------------------------------


@pytest.mark.parametrize("countdown", [30, 30.0, timedelta(seconds=30)])
def test_countdown_is_in_seconds_from_now(sent, countdown):
    """The broker holds the message meanwhile."""
    message = sent(countdown=countdown)
    assert message.due_at - time.time() == pytest.approx(30, abs=5)
    assert datetime.fromisoformat(message.headers["eta"]).timestamp() == pytest.approx(
        message.due_at, abs=0.001
    )


def test_countdown_of_zero_is_none(sent):
    """As in Celery."""
    assert sent(countdown=0).due_at is None


ETA = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "eta",
    [
        ETA,
        ETA.astimezone(ZoneInfo("America/New_York")),
        ETA.astimezone(timezone(timedelta(hours=5, minutes=30))),
        ETA.replace(tzinfo=None),
        ETA.isoformat(),
        "2040-01-02T03:04:05Z",
        "2040-01-02T08:34:05+05:30",
    ],
)
def test_eta_is_a_moment_in_any_zone(sent, eta):
    """Without a zone it is UTC; text is ISO 8601."""
    message = sent(eta=eta)
    assert message.due_at == ETA.timestamp()


def test_the_eta_header_is_in_the_applications_zone(site):
    """The moment is the same."""
    app = site.app(timezone="Asia/Tokyo")
    app.task(shared=False)(lambda: None).apply_async(eta=ETA)
    assert site.waiting()[0].headers["eta"] == "2040-01-02T12:04:05+09:00"


def test_countdown_wins_over_eta(sent):
    """Where both are given."""
    assert sent(countdown=30, eta=ETA).due_at - time.time() < 60


def test_a_delayed_task_runs_when_it_is_due(site, app, add):
    """Not before."""
    later = add.apply_async((1,), countdown=100)
    assert site.drain(app) == []
    site.pass_time(101)
    site.drain(app)
    assert later.get() == 3


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"countdown": -(2**33)}, ValueError, "countdown is out of range"),
        ({"countdown": 2**70}, ValueError, "countdown is out of range"),
        ({"countdown": "5"}, TypeError, "countdown takes seconds"),
        ({"eta": "soon"}, ValueError, "not a date and time in ISO 8601"),
        ({"eta": 5}, TypeError, "expected a datetime"),
        ({"expires": "soon"}, ValueError, "not a date and time in ISO 8601"),
        ({"expires": float("nan")}, ValueError, "expires is out of range"),
    ],
)
def test_a_senseless_moment_is_an_error_at_the_call(site, add, options, error, said):
    """And nothing is sent."""
    with pytest.raises(error, match=said):
        add.apply_async((1,), **options)
    assert site.waiting() == []


@pytest.mark.parametrize("expires", [60, 60.0, timedelta(seconds=60)])
def test_expires_in_seconds(sent, expires):
    """From now on; header and property say the same."""
    message = sent(expires=expires)
    assert message.expires_at - time.time() == pytest.approx(60, abs=5)
    assert datetime.fromisoformat(message.headers["expires"]).timestamp() == pytest.approx(
        message.expires_at, abs=0.001
    )
    assert int(message.properties["expiration"]) == pytest.approx(60_000, abs=5000)


@pytest.mark.parametrize("expires", [ETA, ETA.isoformat()])
def test_expires_at_a_moment(sent, expires):
    """As a datetime or text."""
    assert sent(expires=expires).expires_at == ETA.timestamp()


def test_what_has_expired_is_sent_nevertheless(sent, caplog):
    """With a warning, to end as revoked."""
    assert sent(expires=-5).properties["expiration"] == "0"
    assert "expired already" in caplog.text


def test_the_tasks_own_expiry_is_the_default(site, app):
    """The attribute ``expires``."""
    app.task(shared=False, expires=30)(lambda: None).delay()
    assert site.waiting()[0].expires_at - time.time() == pytest.approx(30, abs=5)


# -- where ---------------------------------------------------------------------------------


def test_queue_takes_a_name_or_a_queue(sent):
    """Made if it is missing."""
    assert sent("fast", queue="fast").queue == "fast"
    assert sent("slow", queue=Queue("slow")).queue == "slow"


@pytest.mark.parametrize(("priority", "kept"), [(0, 0), (9, 9), (None, None)])
def test_priority_is_kept(sent, priority, kept):
    """0 to 9, higher first."""
    assert sent(priority=priority).priority == kept


def test_higher_priorities_run_first(site, app, add):
    """Whatever was sent first."""
    for priority in (1, 9, None, 5):
        add.apply_async((priority or 0,), priority=priority)
    values = [one.request.args[0] for one in site.drain(app)]
    assert values == [9, 5, 1, 0]


def test_a_parents_priority_is_inherited_where_asked(site):
    """``task_inherit_parent_priority``; a priority of the call wins."""
    app = site.app(task_inherit_parent_priority=True)
    child = app.task(name="child", shared=False)(lambda: None)

    @app.task(shared=False)
    def parent():
        child.delay()
        child.apply_async(priority=1)

    parent.apply_async(priority=7)
    attempts = site.drain(app)
    assert [one.job.message.priority for one in attempts] == [7, 7, 1]


# -- how -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("serializer", "content_type"),
    [
        ("json", "application/json"),
        ("yaml", "application/x-yaml"),
        ("msgpack", "application/x-msgpack"),
    ],
)
def test_serializer_of_the_call(sent, serializer, content_type):
    """By name."""
    assert sent(serializer=serializer).content_type == content_type


def test_compression_of_the_call(site, app, add):
    """By name; the worker reads the header."""
    answer = add.apply_async((1,), compression="zlib")
    assert site.waiting()[0].headers["compression"] == "application/x-gzip"
    site.drain(app)
    assert answer.get() == 3


def test_headers_of_ones_own_are_merged(sent):
    """At the top level of the message's headers."""
    assert sent(headers={"trace": "abc"}).headers["trace"] == "abc"


def test_shadow_is_a_name_for_logs(sent):
    """The task's name stays."""
    message = sent(shadow="alias")
    assert (message.headers["shadow"], message.task) == ("alias", "t.add")


def test_shadow_name_works_it_out_for_each_call(site, app):
    """As a method of the class, or as an option of the decorator."""

    class Base(Task):
        def shadow_name(self, args, kwargs, options):
            return f"{self.name}({args[0]})"

    def option(task, args, kwargs, options):
        return f"option {args[0]} {options['queue']}"

    app.task(base=Base, name="one", shared=False)(lambda x: x).delay(5)
    app.task(shadow_name=option, name="two", queue="celery", shared=False)(lambda x: x).delay(6)
    app.task(base=Base, name="three", shared=False)(lambda x: x).apply_async((7,), shadow="said")
    shadows = [message.headers["shadow"] for message in site.waiting()]
    assert shadows == ["one(5)", "option 6 celery", "said"]


def test_time_limits_travel_hard_first(sent):
    """In the header ``timelimit``."""
    assert sent(time_limit=30, soft_time_limit=20).headers["timelimit"] == [30, 20]


@pytest.mark.parametrize("where", ["task", "call", "both"])
def test_a_soft_limit_above_the_hard_one_is_an_error(app, where):
    """It would never be reached."""
    options = {"soft_time_limit": 5, "time_limit": 3}
    if where == "both":
        task = app.task(shared=False, soft_time_limit=5)(lambda: None)
        call = {"time_limit": 3}
    else:
        task = app.task(shared=False, **(options if where == "task" else {}))(lambda: None)
        call = options if where == "call" else {}
    with pytest.raises(ValueError, match=r"soft_time_limit \(5\) must not be longer"):
        task.apply_async(**call)


def test_delivery_mode_and_unknown_options_become_properties(sent):
    """As of an AMQP message."""
    properties = sent(delivery_mode="transient", message_id="m").properties
    assert (properties["delivery_mode"], properties["message_id"]) == (1, "m")


def test_group_and_lineage_options_are_headers(sent):
    """For those who send parts of a workflow themselves."""
    headers = sent(
        root_id="r", parent_id="p", group_id="g", group_index=2, replaced_task_nesting=1, retries=3
    ).headers
    names = ("root_id", "parent_id", "group", "group_index", "replaced_task_nesting", "retries")
    assert [headers[name] for name in names] == ["r", "p", "g", 2, 1, 3]


def test_reply_to_is_a_property(sent):
    """By default the caller's own id."""
    assert sent(reply_to="me").properties["reply_to"] == "me"
    assert sent().properties["reply_to"]


def test_stamps_are_headers_of_the_message(sent):
    """``stamped_headers`` names them, ``stamps`` holds them; they are no properties."""
    message = sent(stamped_headers=["customer", "tier"], customer=5, tier="gold")
    assert message.headers["stamped_headers"] == ["customer", "tier"]
    assert message.headers["stamps"] == {"customer": 5, "tier": "gold"}
    assert "customer" not in message.properties


def test_stamps_are_carried_to_the_task_and_by_its_retry(site, app):
    """The request knows them, the next attempt too, and stored results where they are extended."""
    app.conf.result_extended = True
    seen = []

    @app.task(bind=True, shared=False)
    def body(self):
        seen.append((self.request.stamped_headers, self.request.stamps))
        if not self.request.retries:
            raise self.retry(countdown=0)

    answer = body.apply_async(stamped_headers=["tier"], tier="gold")
    site.drain(app)
    assert seen == [(["tier"], {"tier": "gold"})] * 2
    assert app.backend.get(answer.id)["tier"] == "gold"


def test_ignore_result_of_the_call(add, sent):
    """A header, and the result knows."""
    assert sent(ignore_result=True).headers["ignore_result"] is True
    assert add.apply_async((1,), ignore_result=True).get() is None


def test_link_takes_a_signature_or_several(site, app, add):
    """Each gets the value first."""
    add.apply_async((1,), link=add.s(10))
    add.apply_async((1,), link=[add.s(20), add.s(30)])
    values = [one.outcome.value for one in site.drain(app)]
    assert sorted(values) == [3, 3, 13, 23, 33]


def test_a_chain_runs_its_last_step_first(site, app, add):
    """The option ``chain`` holds the steps in reverse, as in the message."""
    add.apply_async((1,), chain=[add.s(100), add.s(10)])
    assert [one.outcome.value for one in site.drain(app)] == [3, 13, 113]


def test_what_cannot_be_encoded_is_told_by_its_path(site, add):
    """In arguments and keyword arguments, at any depth."""
    for args, kwargs, path in (
        ((object(),), {}, "args[0]"),
        (([{"a": {1}}],), {}, "args[0][0].a"),
        ((1,), {"y": object()}, "kwargs.y"),
    ):
        with pytest.raises(EncodeError) as caught:
            add.apply_async(args, kwargs)
        assert caught.value.path == path
    assert site.waiting() == []


# -- signatures ----------------------------------------------------------------------------


def test_s_and_si_make_signatures(add):
    """``si`` takes no further arguments."""
    plain, immutable = add.s(1, y=2), add.si(1)
    assert isinstance(plain, Signature)
    assert dict(plain) == {
        "task": "t.add",
        "args": (1,),
        "kwargs": {"y": 2},
        "options": {},
        "subtask_type": None,
        "immutable": False,
    }
    assert immutable.immutable


def test_signature_takes_sequences_and_options(add):
    """``signature(args, kwargs, options, …)`` and keyword options; ``subtask`` is the same."""
    made = add.signature((1,), {"y": 2}, countdown=5, immutable=True)
    assert (made.args, made.kwargs, made.options) == ((1,), {"y": 2}, {"countdown": 5})
    assert made.immutable
    assert add.subtask((1,)) == add.signature((1,))


def test_a_signature_of_the_request_has_the_same_id(site, app):
    """``signature_from_request`` sends this very task again."""

    @app.task(bind=True, shared=False)
    def body(self, x):
        if x < 3:
            again = self.signature_from_request(args=(x + 1,), queue="celery")
            assert again.id == self.request.id
            assert again == self.subtask_from_request(args=(x + 1,), queue="celery")
            again.apply_async(add_to_parent=False)
        return x

    body.apply_async((0,), task_id="x")
    assert [(one.request.id, one.outcome.value) for one in site.drain(app)] == [
        ("x", n) for n in range(4)
    ]


def test_async_result_of_a_task(site, app, add):
    """By id."""
    add.apply_async((1,), task_id="x")
    site.drain(app)
    assert add.AsyncResult("x").get() == 3


def test_add_trail_returns_the_result(app, add):
    """So that it can be used in passing."""
    assert add.add_trail("anything") == "anything"
