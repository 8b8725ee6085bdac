"""Which queue a call goes to."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from celery_facts import FACTS
from umbel.exceptions import ImproperlyConfigured, QueueNotFound
from umbel.exchanges import Exchange
from umbel.queues import Queue, QueueDefaults, Queues
from umbel.routing import MapRoute, Router, router_for

TASK = "feed.tasks.x"


def nowhere(path):
    raise ImportError(path)


def router(routes=None, queues=None, resolve=nowhere, **defaults):
    return Router(routes, Queues(queues, QueueDefaults(**defaults)), resolve)


def queue_of(routes, name=TASK, **options):
    return router(routes).route(options, name)["queue"].name


def from_facts(routes):
    if isinstance(routes, list):
        return tuple(
            [tuple(pair) for pair in entry] if isinstance(entry, list) else entry
            for entry in routes
        )
    if isinstance(routes, dict):
        return {
            re.compile(key[3:]) if key.startswith("re:") else key: route
            for key, route in routes.items()
        }
    return routes


@pytest.mark.parametrize(("routes", "options", "expected"), FACTS["routes"])
def test_routes_lead_where_they_lead_in_celery(routes, options, expected):
    """Exact names, globs, regular expressions, pairs, several routers, precedence."""
    merged = router(from_facts(routes)).route(options, TASK, (), {})
    if "queue" in merged:
        merged["queue"] = merged["queue"].name
    assert merged == expected


@pytest.mark.parametrize(("options", "exchange", "routing_key"), FACTS["destinations"])
def test_a_message_is_published_where_celery_publishes_it(options, exchange, routing_key):
    """A direct exchange is bypassed by the queue's name, unless exchange and key are given."""
    declared = [
        Queue("t", Exchange("tex", "topic"), "tk.#"),
        Queue("celery"),
        Queue("d", Exchange("dex"), "dk"),
    ]
    route = router(queues=declared).resolve("n", options, (), {})
    assert (route.exchange, route.routing_key) == (exchange, routing_key)


# ------------------------------------------------------------------------------ forms of routers


def test_exact_names_come_before_patterns():
    """Wherever they stand."""
    assert queue_of({"feed.*": "pattern", TASK: "exact"}) == "exact"


def test_patterns_are_tried_in_the_order_of_declaration():
    """Not by how specific they are."""
    assert queue_of({"feed.*": "first", "feed.tasks.*": "second"}) == "first"


def test_only_a_star_makes_a_name_a_pattern():
    """? and [] alone are part of a name; together with a star they work."""
    assert MapRoute({"a?c": "q"})("abc") is None
    assert MapRoute({"a?c": "q"})("a?c") == {"queue": "q"}
    assert MapRoute({"a?c*": "q"})("abc") == {"queue": "q"}


def test_regular_expressions_match_from_the_start():
    """re.match, not re.search nor re.fullmatch."""
    assert MapRoute({re.compile("feed"): "q"})(TASK) == {"queue": "q"}
    assert MapRoute({re.compile("tasks"): "q"})(TASK) is None


def test_pairs_keep_their_order_and_names():
    """A list of pairs within the list of routers is a mapping."""
    assert queue_of(([("feed.*", "a"), (re.compile(".*"), "b")],)) == "a"
    assert queue_of(([("other", "a"), (re.compile(".*"), {"queue": "b"})],)) == "b"


@pytest.mark.parametrize("routes", [[("feed.*", "a")], (("feed.*", "a"), ("b.*", "c"))])
def test_pairs_at_the_top_say_how_to_wrap_them(routes):
    """A list is a list of routers; the error shows the form that was meant."""
    with pytest.raises(ImproperlyConfigured, match=r"put the pairs into a list of their own"):
        router(routes)


def test_a_callable_is_asked_with_everything_about_the_call():
    """(name, args, kwargs, options, task=…), and answers a queue, options or None."""
    calls = []

    def ask(name, args, kwargs, options, task=None, **rest):
        calls.append((name, args, kwargs, options, task, rest))
        return "q"

    task = object()
    assert router(ask).route({"a": 1}, TASK, (1,), {"b": 2}, task)["queue"].name == "q"
    assert calls == [(TASK, (1,), {"b": 2}, {"a": 1}, task, {})]
    assert queue_of(lambda *_args, **_kwargs: {"queue": "dict"}) == "dict"


class Old:
    calls = ()

    def route_for_task(self, *call):
        self.calls = (*self.calls, call)
        return {"queue": "old"}


def test_an_object_with_route_for_task_is_a_router():
    """The older form is asked with (task, args, kwargs); a class is instantiated."""
    old = Old()
    assert router(old).route({}, TASK, (1,), {"b": 2})["queue"].name == "old"
    assert old.calls == ((TASK, (1,), {"b": 2}),)
    assert queue_of([Old]) == "old"


def test_a_dotted_path_is_looked_up_at_first_use_and_once():
    """Whatever is found there: a callable, a class, a mapping."""
    asked = []

    def resolve(path):
        asked.append(path)
        return {"proj.Old": Old, "proj.routes": {"feed.*": "mapped"}}[path]

    lazy = router(["proj.routes"], resolve=resolve)
    assert asked == []
    assert lazy.route({}, TASK)["queue"].name == "mapped"
    assert lazy.route({}, "other")["queue"].name == "celery"
    assert asked == ["proj.routes"]
    assert router("proj.Old", resolve=resolve).route({}, TASK)["queue"].name == "old"


def test_a_dotted_path_that_leads_nowhere_is_named():
    """The configuration is at fault, and the cause is kept."""
    with pytest.raises(ImproperlyConfigured, match=r"'proj\.nope' cannot be imported") as caught:
        router("proj.nope").route({}, TASK)
    assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.parametrize("value", [5, [5], {5: "q"}, {"a": 5}, {"a": None}, ([("a",)],)])
def test_what_is_no_router_or_route_is_refused_at_once(value):
    """When the settings are read, not at the first publish."""
    with pytest.raises(ImproperlyConfigured, match=r"task_routes|the route of"):
        router(value)


def test_a_router_that_answers_nonsense_is_named():
    """Its answer must be a queue or options."""
    with pytest.raises(ImproperlyConfigured, match=r"the route of 'feed\.tasks\.x' is 5"):
        router(lambda *_args, **_kwargs: 5).route({}, TASK)


def test_what_a_router_raises_reaches_the_caller():
    """A routing mistake is not hidden."""

    def ask(*_args, **_kwargs):
        raise LookupError

    with pytest.raises(LookupError):
        router(ask).route({}, TASK)


def test_a_map_can_be_asked_for_any_number_of_names():
    """What it remembers stays bounded, and answers are copies."""
    lookup = MapRoute({"a.*": {"queue": "q", "priority": 1}})
    for number in range(3_000):
        assert lookup(f"a.{number}") == {"queue": "q", "priority": 1}
        assert lookup(f"b.{number}") is None
    assert len(lookup._seen) <= 1024
    lookup("a.1")["queue"] = "changed"
    assert lookup("a.1")["queue"] == "q"


# ---------------------------------------------------------------------------------- precedence


def test_the_first_router_that_answers_wins():
    """None passes on; an empty answer ends the search with the default queue."""
    silent = lambda *_args, **_kwargs: None  # noqa: E731 - a router in one line
    assert queue_of([silent, {"feed.*": "z"}]) == "z"
    assert queue_of([lambda *_args, **_kwargs: {}, {"*": "z"}]) == "celery"
    assert queue_of([lambda *_args, **_kwargs: "", {"*": "z"}]) == "celery"


def test_what_the_caller_asks_for_wins_over_routes():
    """Option by option; None counts as not asked."""
    routes = {"feed.*": {"queue": "q", "priority": 3}}
    merged = router(routes).route({"queue": "mine", "priority": None}, TASK)
    assert (merged["queue"].name, merged["priority"]) == ("mine", 3)


def test_a_task_without_a_route_goes_to_the_default_queue():
    """task_default_queue."""
    assert router(queue="dq").route({}, TASK)["queue"].name == "dq"


def test_the_options_given_are_not_changed():
    """The caller's dict stays what it was."""
    options = {"queue": "q", "x": None}
    router().route(options, TASK)
    assert options == {"queue": "q", "x": None}


def test_a_queue_object_is_kept():
    """In options and in routes, and without becoming known."""
    queue = Queue("own")
    lookup = router({"feed.*": {"queue": queue}})
    assert lookup.route({}, TASK)["queue"] is queue
    assert router().route({"queue": queue}, TASK)["queue"] is queue
    assert "own" not in lookup.queues
    assert router({"feed.*": queue}).route({}, TASK)["queue"] is queue


def test_an_unknown_queue_is_an_error_when_none_are_made():
    """task_create_missing_queues=False; a queue that is overridden is not looked up."""
    strict = router({"feed.*": "q"}, [Queue("mail"), Queue("celery")], create_missing=False)
    with pytest.raises(QueueNotFound):
        strict.route({}, TASK)
    with pytest.raises(QueueNotFound, match="did you mean 'mail'"):
        strict.route({"queue": "mial"}, "other")
    assert strict.route({"queue": "mail"}, TASK)["queue"].name == "mail"


# -------------------------------------------------------------------------------- destinations


def test_a_route_says_where_the_message_waits():
    """Queue, exchange, key and priority, and all options merged."""
    route = router({"feed.*": {"queue": "q", "priority": 4, "serializer": "yaml"}}).resolve(
        TASK, {"headers": {}}, (), {}
    )
    assert (route.queue, route.exchange, route.routing_key) == ("q", "", "q")
    assert route.priority == 4
    assert route.options["serializer"] == "yaml"
    assert route.options["headers"] == {}


def test_a_topic_leads_to_every_queue_bound_to_it():
    """The first bound queue, and the others as copies."""
    topic = Exchange("t", "topic")
    lookup = router(
        queues=[Queue("a", topic, "x.*"), Queue("b", topic, "#"), Queue("c", topic, "y")]
    )
    route = lookup.resolve("n", {"exchange": "t", "routing_key": "x.1"}, (), {})
    assert (route.queue, route.copies) == ("a", ("b",))
    route = lookup.resolve("n", {"queue": "c"}, (), {})
    assert (route.queue, route.exchange, route.routing_key, route.copies) == ("b", "t", "y", ("c",))


def test_a_queue_object_on_an_exchange_of_its_own_is_found():
    """Though the application does not know it."""
    queue = Queue("own", Exchange("t2", "topic"), "p.q")
    route = router().resolve("n", {"queue": queue}, (), {})
    assert (route.queue, route.exchange, route.routing_key) == ("own", "t2", "p.q")


def test_an_exchange_that_no_known_queue_is_bound_to_leaves_the_queue_empty():
    """The broker may know more; whoever publishes decides."""
    route = router({"feed.*": {"exchange": "e", "routing_key": "k"}}).resolve(TASK, {}, (), {})
    assert (route.queue, route.exchange, route.routing_key) == ("", "e", "k")


def test_an_exchange_may_be_an_object():
    """Its name counts."""
    route = router().resolve("n", {"exchange": Exchange("fx", "topic"), "routing_key": "k"}, (), {})
    assert (route.exchange, route.routing_key) == ("fx", "k")


# ------------------------------------------------------------------------------------- settings


def test_a_router_is_made_from_the_settings():
    """Every setting about queues and routes is read."""
    conf = SimpleNamespace(
        task_default_queue="dq",
        task_default_exchange="de",
        task_default_exchange_type="topic",
        task_default_routing_key="dk",
        task_default_queue_type="quorum",
        task_queue_max_priority=5,
        task_create_missing_queues=True,
        task_create_missing_queue_type="quorum",
        task_create_missing_queue_exchange_type="fanout",
        task_routes={"feed.*": "made"},
        task_queues=None,
    )
    made = router_for(conf, nowhere)
    default = made.queues.default
    assert (default.name, str(default.exchange), default.routing_key) == ("dq", "de(topic)", "dk")
    assert default.arguments == {"x-queue-type": "quorum", "x-max-priority": 5}
    missing = made.route({}, TASK)["queue"]
    assert (missing.name, missing.exchange.type) == ("made", "fanout")
    assert missing.arguments == default.arguments
