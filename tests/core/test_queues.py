"""Queues, exchanges and the set of queues an application knows."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from celery_facts import FACTS
from umbel.exceptions import ImproperlyConfigured, QueueNotFound
from umbel.exchanges import Binding, Exchange, as_exchange, binding
from umbel.queues import Broadcast, Queue, QueueDefaults, Queues, as_queue, worker_direct

QUEUES = FACTS["queues"]
SETTINGS = {
    "task_default_queue": "queue",
    "task_default_exchange": "exchange",
    "task_default_exchange_type": "exchange_type",
    "task_default_routing_key": "routing_key",
    "task_default_queue_type": "queue_type",
    "task_queue_max_priority": "max_priority",
    "task_create_missing_queue_type": "missing_type",
    "task_create_missing_queue_exchange_type": "missing_exchange_type",
}


def described(queue):
    return {
        "name": queue.name,
        "exchange": queue.exchange.name,
        "type": queue.exchange.type,
        "routing_key": queue.routing_key,
        "arguments": queue.arguments,
    }


def consumed(queues):
    return list(queues.consume_from)


# ---------------------------------------------------------------------------------------- values


def test_a_queue_takes_the_arguments_that_users_write():
    """Name, exchange and key by position; everything else by name; an exchange may be a text."""
    queue = Queue("a", Exchange("x", type="topic"), "k.#", max_priority=5, durable=False)
    assert described(queue) == {
        "name": "a",
        "exchange": "x",
        "type": "topic",
        "routing_key": "k.#",
        "arguments": {"x-max-priority": 5},
    }
    assert Queue("a", exchange="x").exchange == Exchange("x")
    assert (Queue("a").durable, queue.durable) == (True, False)


def test_a_queue_refuses_an_option_it_does_not_know():
    """The error names the one that was probably meant."""
    with pytest.raises(TypeError, match=r"no option 'max_prio' \(did you mean 'max_priority'\?\)"):
        Queue("a", max_prio=1)


def test_values_are_equal_when_all_they_say_is():
    """They can be compared, hashed, copied and pickled."""
    queue = Queue("a", "x", "k", queue_arguments={"n": 1}, bindings=[Binding("y", "k2")])
    assert queue == Queue("a", "x", "k", queue_arguments={"n": 1}, bindings=[binding("y", "k2")])
    assert queue != replace(queue, alias="z")
    assert {queue, copy.deepcopy(queue), pickle.loads(pickle.dumps(queue))} == {queue}
    assert Exchange("a") != Exchange("a", "topic")


def test_values_do_not_change():
    """A setting that was read stays what it was."""
    with pytest.raises(FrozenInstanceError):
        Queue("a").name = "b"
    with pytest.raises(FrozenInstanceError):
        Exchange("a").type = "topic"


def test_limits_of_a_queue_become_arguments_in_milliseconds():
    """Seconds are what users write, x-… what RabbitMQ takes; the attribute wins."""
    queue = Queue(
        "a",
        queue_arguments={"x-max-priority": 2, "own": 1},
        expires=2.5,
        message_ttl=3,
        max_length=7,
        max_length_bytes=8,
        max_priority=9,
    )
    assert queue.arguments == {
        "own": 1,
        "x-expires": 2500,
        "x-message-ttl": 3000,
        "x-max-length": 7,
        "x-max-length-bytes": 8,
        "x-max-priority": 9,
    }


@pytest.mark.parametrize(
    ("given_", "mode"), [("transient", 1), ("persistent", 2), (1, 1), (2, 2), (None, None)]
)
def test_a_delivery_mode_has_a_name_or_a_number(given_, mode):
    """transient is 1, persistent 2."""
    assert Exchange("a", delivery_mode=given_).delivery_mode == mode


def test_an_unknown_delivery_mode_is_refused():
    """The error names the exchange and what is possible."""
    with pytest.raises(ImproperlyConfigured, match="'transient' or 'persistent'"):
        Exchange("a", delivery_mode="durable")


def test_queues_and_exchanges_are_readable():
    """str() is for banners and logs."""
    assert (str(Queue("a")), str(Exchange("x", "topic"))) == ("a", "x(topic)")


def test_a_broadcast_is_celerys():
    """A fanout exchange of that name, a queue that goes with its consumer, the name as alias."""
    queue = Broadcast("b", "own")
    assert {**described(queue), "alias": queue.alias} == QUEUES["broadcast"]
    assert queue.auto_delete
    assert isinstance(queue, Queue)


def test_a_broadcast_invents_a_queue_name_for_each_worker():
    """bcast.<id>, or the given name and an id with unique."""
    first, second = Broadcast("b"), Broadcast("b")
    assert first.name != second.name
    assert first.name.startswith("bcast.")
    assert Broadcast("b", "own", unique=True).name.startswith("own.")
    assert Broadcast("b", exchange="x").exchange == Exchange("x")
    assert Broadcast("b", alias="z", max_priority=3).alias == "z"


def test_a_broadcast_keeps_its_name_when_it_is_sent_elsewhere():
    """A copy is the same queue, not another one."""
    queue = Broadcast("b")
    assert pickle.loads(pickle.dumps(queue)) == copy.copy(queue) == queue
    assert Queues([queue])["b"].name == queue.name


def test_worker_direct_is_a_queue_of_one_worker():
    """<node>.dq2 on the exchange C.dq2, keyed by the node's name."""
    queue = worker_direct("w1@box")
    assert described(queue) == {
        "name": "w1@box.dq2",
        "exchange": "C.dq2",
        "type": "direct",
        "routing_key": "w1@box",
        "arguments": {},
    }
    assert worker_direct(queue) is queue


# ------------------------------------------------------------------------------------- bindings


@pytest.mark.parametrize(
    ("pattern", "key", "accepted"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("#", "", True),
        ("#", "x.y", True),
        ("#.c", "a.b.c", True),
        ("#.c", "a.b", False),
        ("*.#.z", "a.z", True),
        ("*.#.z", "z", False),
        ("a.#.#", "a", True),
    ],
)
def test_a_topic_matches_words(pattern, key, accepted):
    """* is one word, # any number of them."""
    assert Queue("q", Exchange("t", "topic"), pattern).accepts("t", key) is accepted


@given(st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=6))
def test_a_key_matches_itself_and_the_wildcards(words):
    """For any key."""
    key = ".".join(words)
    for pattern in (key, "#", ".".join("*" for _ in words), f"#.{words[-1]}", f"{words[0]}.#"):
        assert Queue("q", Exchange("t", "topic"), pattern).accepts("t", key)


def test_a_topic_of_many_wildcards_is_matched_in_time():
    """No pattern makes matching exponential."""
    queue = Queue("q", Exchange("t", "topic"), ".".join(["#", "a"] * 30))
    assert not queue.accepts("t", ".".join(["a"] * 200) + ".b")


def test_a_direct_exchange_compares_keys_and_fanout_does_not():
    """And the default exchange knows every queue by its name."""
    direct = Queue("q", "d", "k")
    assert direct.accepts("d", "k")
    assert not direct.accepts("d", "other")
    assert not direct.accepts("elsewhere", "k")
    assert direct.accepts("", "q")
    assert Queue("q", Exchange("f", "fanout")).accepts("f", "anything")


def test_a_queue_may_be_bound_several_times():
    """bindings add to its own exchange, or stand alone if it has none."""
    both = Queue("q", "x", "k", bindings=[Binding("y", "k2")])
    alone = Queue("q", bindings=[Binding("y", "k2")])
    assert both.accepts("x", "k")
    assert both.accepts("y", "k2")
    assert alone.all_bindings == (Binding(Exchange("y"), "k2"),)
    assert not alone.accepts("x", "k")


def test_the_queues_bound_to_an_exchange_are_found():
    """In the order they were declared."""
    topic = Exchange("t", "topic")
    queues = Queues([Queue("a", topic, "x.*"), Queue("b", topic, "#"), Queue("c", "t2", "x.y")])
    assert [queue.name for queue in queues.bound_to("t", "x.y")] == ["a", "b"]
    assert [queue.name for queue in queues.bound_to("t", "z")] == ["b"]
    assert queues.bound_to("nowhere", "z") == []


# --------------------------------------------------------------------------------------- Queues


@pytest.mark.parametrize(("how", "name", "options", "expected"), QUEUES["declared"])
def test_what_a_queue_leaves_open_is_filled_in_as_celery_does(how, name, options, expected):
    """No exchange: the default one; no key: the default one, or the name for bare options."""
    queues = Queues([Queue("x")], QueueDefaults(exchange="dx", routing_key="drk"))
    added = queues.add(name, **options) if how == "options" else queues.add(Queue(name, **options))
    assert described(added) == expected


@pytest.mark.parametrize(("conf", "declared", "missing"), QUEUES["defaults"])
def test_without_queues_there_is_the_default_one(conf, declared, missing):
    """Each task_default_… and task_create_missing_… setting does what it does in Celery."""
    queues = Queues(None, QueueDefaults(**{SETTINGS[key]: value for key, value in conf.items()}))
    assert [described(queue) for queue in queues.values()] == declared
    assert described(queues["new"]) == missing


def test_queues_can_be_declared_as_a_mapping():
    """Names with the options of a queue, of its exchange, and binding_key for the key."""
    queues = Queues(
        {
            "a": {"exchange": "e", "exchange_type": "topic", "binding_key": "k.#"},
            "b": {"exchange": "e", "exchange_durable": False, "delivery_mode": "transient"},
            "c": {"queue_arguments": {"n": 1}, "durable": False},
            "d": Queue("d", "e"),
        }
    )
    assert described(queues["a"])["type"] == "topic"
    assert queues["a"].routing_key == "k.#"
    assert (queues["b"].exchange.durable, queues["b"].exchange.delivery_mode) == (False, 1)
    assert (queues["b"].durable, queues["c"].durable) == (True, False)
    assert list(queues) == ["a", "b", "c", "d"]


def test_an_unknown_option_of_a_declared_queue_is_refused():
    """Not silently ignored."""
    with pytest.raises(TypeError, match="no option 'routing'"):
        Queues({"a": {"routing": "k"}})


@pytest.mark.parametrize("value", [5, None, {"name": "a"}])
def test_what_is_no_queue_is_refused(value):
    """The error shows it."""
    with pytest.raises(ImproperlyConfigured, match="is not a queue"):
        Queues([value])


def test_a_missing_queue_is_made_once():
    """Asking for its name makes it; asking again gives the same."""
    queues = Queues()
    assert queues["new"] is queues["new"]
    assert "new" in queues


def test_a_missing_queue_is_an_error_when_none_are_made():
    """QueueNotFound is a KeyError and suggests the name that was meant."""
    queues = Queues([Queue("mail")], QueueDefaults(create_missing=False))
    with pytest.raises(QueueNotFound, match="did you mean 'mail'"):
        queues["mial"]
    with pytest.raises(KeyError):
        queues.select(["mial"])


def test_autoexchange_makes_the_exchange_of_a_missing_queue():
    """Given the queue's name."""
    defaults = QueueDefaults(autoexchange=lambda name: Exchange(f"auto-{name}", "fanout"))
    assert Queues(None, defaults)["m"].exchange == Exchange("auto-m", "fanout")


@pytest.mark.parametrize("option", ["queue_type", "missing_type"])
def test_an_unknown_type_of_queue_is_a_value_error(option):
    """It can be classic or quorum."""
    with pytest.raises(ValueError, match="classic or quorum"):
        QueueDefaults(**{option: "stream"})


def test_the_priority_of_all_queues_does_not_replace_a_queues_own():
    """task_queue_max_priority fills in where nothing is said."""
    queues = Queues(
        [
            Queue("a"),
            Queue("b", max_priority=3),
            Queue("c", queue_arguments={"x-max-priority": 2}),
        ],
        QueueDefaults(max_priority=9),
    )
    assert [queue.arguments["x-max-priority"] for queue in queues.values()] == [9, 3, 2]


def test_an_alias_finds_its_queue():
    """-Q takes it too."""
    queues = Queues([Queue("long-name", alias="short"), Queue("b")])
    assert queues["short"] is queues["long-name"]
    queues.select(["short"])
    assert consumed(queues) == ["long-name"]
    queues.deselect("short")
    assert consumed(queues) == []


def test_only_declared_queues_are_consumed_by_default():
    """Queues that are added or made later are known, not consumed."""
    queues = Queues([Queue("a"), Queue("b")])
    queues.add("c")
    assert queues["made"]
    assert consumed(queues) == ["a", "b"]
    assert list(queues) == ["a", "b", "c", "made"]


def test_selecting_replaces_what_is_consumed():
    """-Q: exactly these, each once; an unknown one is made."""
    queues = Queues([Queue("a"), Queue("b")])
    queues.select(["b", "z", "b"])
    assert consumed(queues) == ["b", "z"]
    queues.select("a")
    assert consumed(queues) == ["a"]


@pytest.mark.parametrize("nothing", [None, [], ""])
def test_selecting_nothing_changes_nothing(nothing):
    """An absent -Q."""
    queues = Queues([Queue("a"), Queue("b")])
    queues.select(nothing)
    assert consumed(queues) == ["a", "b"]


def test_deselecting_takes_queues_away():
    """-X: one name or several; an unknown one does not matter."""
    queues = Queues([Queue("a"), Queue("b"), Queue("c")], QueueDefaults(create_missing=False))
    queues.deselect("b")
    queues.deselect(["c", "unknown"])
    assert consumed(queues) == ["a"]
    assert list(queues) == ["a", "b", "c"]


def test_select_add_consumes_from_one_more():
    """A known name, a new one, one with options, a queue."""
    queues = Queues([Queue("a", "own"), Queue("b")])
    queues.select("b")
    assert queues.select_add("a").exchange.name == "own"
    queues.select_add("a")
    queues.select_add("n", exchange="e", routing_key="k")
    queues.select_add(Queue("q"))
    assert consumed(queues) == ["b", "a", "n", "q"]
    assert queues["n"].exchange.name == "e"


def test_a_queue_of_the_same_name_takes_the_others_place():
    """The last declaration counts."""
    queues = Queues([Queue("a", "old")])
    queues.add(Queue("a", "new"))
    assert queues["a"].exchange.name == "new"
    assert consumed(queues) == ["a"]


def test_the_default_queue_is_made_if_it_is_not_declared():
    """It can be published to, and is not consumed."""
    queues = Queues([Queue("a")])
    assert queues.default.name == "celery"
    assert consumed(queues) == ["a"]
    with pytest.raises(QueueNotFound):
        _ = Queues([Queue("a")], QueueDefaults(create_missing=False)).default


def test_format_lists_the_consumed_queues_for_the_banner():
    """One on each line, indented as asked."""
    queues = Queues([Queue("a"), Queue("b", Exchange("t", "topic"), "k.#")])
    queues["unlisted"]
    assert queues.format(indent=2) == (
        "  .> a                exchange=celery(direct) key=celery\n"
        "  .> b                exchange=t(topic) key=k.#"
    )
    assert queues.format(indent=2, indent_first=False).startswith(".> a")
    queues.deselect(["a", "b"])
    assert queues.format(indent=2) == ""


# ----------------------------------------------------------------------------- queues of kombu


class Foreign(SimpleNamespace):
    def as_dict(self, recurse=False):  # noqa: FBT002 - the shape of kombu's method
        return dict(vars(self))


def test_queues_of_kombu_are_adopted():
    """What has as_dict(), exchange and bindings as kombu's objects have is taken over."""
    exchange = Foreign(name="e", type="topic", arguments=None, durable=True, delivery_mode=1)
    bound = SimpleNamespace(exchange=exchange, routing_key="k2", arguments=None)
    queue = Foreign(
        name="a",
        exchange=exchange,
        routing_key="k",
        queue_arguments={"n": 1},
        bindings=[bound],
        max_priority=3,
        channel=object(),
        alias=None,
        no_declare=None,
    )
    adopted = as_queue(queue)
    assert adopted == Queue(
        "a",
        Exchange("e", "topic", delivery_mode=1),
        "k",
        queue_arguments={"n": 1},
        bindings=[Binding(Exchange("e", "topic", delivery_mode=1), "k2")],
        max_priority=3,
    )
    assert as_exchange(exchange) == adopted.exchange
    assert as_queue(Foreign(name="b", exchange=None, routing_key=None, bindings=())) == Queue("b")


def test_a_name_is_a_queue_with_an_exchange_of_its_own():
    """as_queue() of a text is what a missing queue would be."""
    assert as_queue("a") == Queue("a", "a", "a")
