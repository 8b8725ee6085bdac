"""From a call to the worker that runs it, through queues and exchanges, on every broker."""

from __future__ import annotations

import re
from itertools import count

import pytest

import servers
from patience import wait_until
from umbel import Queue, Umbel
from umbel.exceptions import QueueNotFound, UnroutableError
from umbel.exchanges import Exchange
from umbel.queues import Broadcast
from umbel.worker.options import WorkerOptions
from umbel.worker.solo import SoloWorker

SERVERS = ("redis", "postgres", "amqp")
_numbers = count()


@pytest.fixture(scope="module", params=["memory", "sqlite", *SERVERS])
def broker(request, tmp_path_factory):
    """The URL of a broker of this module's own."""
    directory = tmp_path_factory.mktemp("broker")
    if request.param == "memory":
        yield "memory://routing"
    elif request.param == "sqlite":
        yield f"sqlite:///{directory / 'routing.db'}"
    else:
        with servers.private(request.param, directory) as server:
            yield server.url


@pytest.fixture
def own():
    """Makes names that no other test uses."""
    number = next(_numbers)
    return lambda name: f"{name}-{number}"


@pytest.fixture
def ran():
    """Which worker has run which task, as they note it."""
    return []


@pytest.fixture
def make(broker, ran, own):
    """Makes applications that know the tasks ``mail.send``, ``mail.list`` and ``feed.read``."""
    made = []

    def make(**settings):
        settings = {"task_default_queue": own("usual"), "publish_timeout": 10, **settings}
        app = Umbel("routing", broker=broker, set_as_current=False, **settings)
        for name in ("mail.send", "mail.list", "feed.read"):

            @app.task(name=name, bind=True, shared=False)
            def note(self, *_args):
                ran.append((self.request.hostname.partition("@")[0], self.name))

        @app.task(name="again", bind=True, shared=False, max_retries=1)
        def again(self):
            ran.append((self.request.hostname.partition("@")[0], self.request.retries))
            if not self.request.retries:
                raise self.retry(countdown=0.01)

        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


def worker(app, name, **options):
    return SoloWorker(app, WorkerOptions(pool="solo", hostname=f"{name}@here", **options))


def arrived(ran, *expected):
    """Wait until so much has run, and see that it is exactly this."""
    wait_until(lambda: len(ran) >= len(expected))
    assert sorted(ran) == sorted(expected)


@pytest.mark.parametrize("form", ["dict", "glob", "regex", "function", "list", "tuple of pairs"])
def test_a_route_leads_to_its_queue_in_every_form(make, own, ran, form):
    """The worker of that queue runs the task, that of the usual queue the others."""
    mail = own("mail")
    routes = {
        "dict": {"mail.send": mail, "mail.list": {"queue": mail}},
        "glob": {"mail.*": {"queue": mail}},
        "regex": {re.compile(r"mail\..+"): {"queue": mail}},
        "function": lambda name, *_, **__: mail if name.startswith("mail.") else None,
        "list": [{"other": "x"}, lambda *_, **__: None, {"mail.*": mail}],
        "tuple of pairs": ([("mail.send", mail), ("mail.*", {"queue": mail})],),
    }
    app = make(task_routes=routes[form])
    for name in ("mail.send", "mail.list", "feed.read"):
        app.send_task(name)
    with worker(make(), "postman", queues=(mail,)):
        arrived(ran, ("postman", "mail.list"), ("postman", "mail.send"))
    with worker(make(), "usual"):
        arrived(ran, ("postman", "mail.list"), ("postman", "mail.send"), ("usual", "feed.read"))


def test_excluded_queues_are_left_to_others(make, own, ran):
    """-X takes a queue from those that are configured."""
    queues = [own("a"), own("b")]
    app = make(task_queues=[Queue(name) for name in queues])
    for name, queue in zip(("mail.send", "feed.read"), queues, strict=True):
        app.send_task(name, queue=queue)
    with worker(app, "all but b", exclude_queues=(queues[1],)):
        arrived(ran, ("all but b", "mail.send"))


def test_a_topic_exchange_reaches_queues_that_only_the_worker_knows(make, own, ran):
    """The caller names exchange and key, and need not know who listens."""
    exchange = Exchange(own("feeds"), "topic")
    queues = [
        Queue(own("rss"), exchange, "feed.rss.#"),
        Queue(own("all"), exchange, "feed.#"),
        Queue(own("news"), exchange, "news.*"),
    ]
    caller = make()
    with (
        worker(make(task_queues=queues[:1]), "rss"),
        worker(make(task_queues=queues[1:2]), "all"),
        worker(make(task_queues=queues[2:]), "news"),
    ):
        caller.send_task("feed.read", exchange=exchange.name, routing_key="feed.rss.daily")
        arrived(ran, ("rss", "feed.read"), ("all", "feed.read"))
        caller.send_task("feed.read", exchange=exchange.name, routing_key="news.now")
        wait_until(lambda: len(ran) == 3)
        assert ran[-1] == ("news", "feed.read")


def test_a_broadcast_reaches_every_worker_once(make, own, ran):
    """Each has a queue of its own that goes with it."""
    name = own("everybody")

    def listening():
        return make(task_queues=[Broadcast(name)], task_routes={"mail.*": {"queue": name}})

    with worker(listening(), "ann"), worker(listening(), "bob"):
        make(task_routes={"mail.*": {"exchange": name, "routing_key": ""}}).send_task("mail.send")
        arrived(ran, ("ann", "mail.send"), ("bob", "mail.send"))


def test_a_broadcast_that_is_tried_again_stays_with_its_worker(make, own, ran):
    """Else every retry would reach every worker once more."""
    name = own("everybody")
    with (
        worker(make(task_queues=[Broadcast(name)]), "ann"),
        worker(make(task_queues=[Broadcast(name)]), "bob"),
    ):
        make().send_task("again", exchange=name, routing_key="any")
        arrived(ran, ("ann", 0), ("ann", 1), ("bob", 0), ("bob", 1))


def test_what_follows_a_task_takes_its_route_too(make, own, ran):
    """A callback on a fanout exchange reaches all of its queues."""
    exchange = Exchange(own("copies"), "fanout")
    queues = [Queue(own("one"), exchange), Queue(own("two"), exchange)]
    app = make(task_queues=[Queue(own("usual")), *queues])
    call = app.signature("feed.read", immutable=True).set(exchange=exchange.name, routing_key="any")
    with worker(app, "w"):
        app.send_task("mail.send", queue=own("usual"), link=call)
        arrived(ran, ("w", "mail.send"), ("w", "feed.read"), ("w", "feed.read"))


def test_a_call_that_nobody_could_get_is_an_error(make, own):
    """The exchange is there, but nothing is bound with this key."""
    exchange = Exchange(own("x"), "topic")
    app = make(task_queues=[Queue(own("a"), exchange, "known.*")])
    app.send_task("feed.read", exchange=exchange.name, routing_key="known.key")
    with pytest.raises(UnroutableError):
        app.send_task("feed.read", exchange=exchange.name, routing_key="unknown")


def test_an_unknown_queue_is_an_error_where_none_are_made(make, own):
    """task_create_missing_queues=False."""
    app = make(task_queues=[Queue(own("known"))], task_create_missing_queues=False)
    with pytest.raises(QueueNotFound):
        app.send_task("feed.read", queue=own("unknwon"))


def test_a_worker_can_have_a_queue_for_itself(make, own, ran):
    """worker_direct."""
    with worker(make(worker_direct=True), own("ann")), worker(make(), own("bob")):
        make().send_task("feed.read", exchange="C.dq2", routing_key=f"{own('ann')}@here")
        arrived(ran, (own("ann"), "feed.read"))


def test_higher_priorities_come_first(make, own, ran):
    """Whichever way the server itself counts."""
    queue = Queue(own("urgent"), max_priority=9)
    app = make(task_queues=[queue], worker_prefetch_multiplier=1)
    for name, priority in (("feed.read", 0), ("mail.list", 4), ("mail.send", 9)):
        app.send_task(name, queue=queue.name, priority=priority)
    with worker(app, "w"):
        wait_until(lambda: len(ran) == 3)
    assert [name for _, name in ran] == ["mail.send", "mail.list", "feed.read"]
