"""Calls while the broker is out of reach: an error in time, whatever is wrong with it.

Deadlines are generous: what is proved is that every call ends, not how soon.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import servers
from proxy import Proxy
from umbel import Umbel
from umbel.exceptions import OperationalError

KINDS = ("redis", "postgres", "amqp")
TIMEOUT = 1.0
MUCH_LATER = 15.0


@pytest.fixture(scope="module", params=KINDS)
def server(request, tmp_path_factory):
    """A server of our own, that can be paused."""
    with servers.private(request.param, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def proxy(server):
    with Proxy(server.url) as proxy:
        yield proxy


@pytest.fixture
def make():
    made = []

    def make(url):
        app = Umbel("calls", broker=url, publish_timeout=TIMEOUT, set_as_current=False)
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


def fails_in_time(app):
    """Every way to call raises, and none takes for ever."""
    started = time.monotonic()
    with pytest.raises(OperationalError):
        app.send_task("one")
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(app.send_task, "threaded") for _ in range(4)]
        for call in calls:
            assert isinstance(call.exception(), OperationalError)

    async def many():
        calls = (app.asend_task("awaited") for _ in range(10))
        return await asyncio.gather(*calls, return_exceptions=True)

    assert all(isinstance(each, OperationalError) for each in asyncio.run(many()))
    assert time.monotonic() - started < MUCH_LATER


def works(app):
    """One call is stored, by a broker that is there."""
    app.send_task("works", timeout=20)


def test_nobody_listens(server, make):
    """The connection is refused."""
    scheme, _, rest = server.url.partition("://")
    login, at, place = rest.rpartition("@")
    path = place.partition("/")[2]
    fails_in_time(make(f"{scheme}://{login}{at}127.0.0.1:{servers.free_port()}/{path}"))


def test_connections_are_taken_and_never_answered(proxy, make):
    """As behind a firewall that swallows what it should refuse."""
    proxy.swallow()
    fails_in_time(make(proxy.url))


def test_an_open_connection_falls_silent(proxy, make):
    """What worked a moment ago is answered no more; when it is again, calls go through."""
    app = make(proxy.url)
    works(app)
    proxy.swallow()
    fails_in_time(app)
    proxy.pass_on()
    works(app)


def test_every_connection_is_cut(proxy, make):
    """And new ones are cut as well, until they are not."""
    app = make(proxy.url)
    works(app)
    proxy.refuse()
    fails_in_time(app)
    proxy.pass_on()
    works(app)


def test_one_cut_connection_costs_no_call(proxy, make):
    """A new one is made in time."""
    app = make(proxy.url)
    works(app)
    proxy.cut()
    works(app)


def test_the_server_stalls(server, make):
    """Its processes are stopped; connections stay open."""
    app = make(server.url)
    works(app)
    server.pause()
    try:
        fails_in_time(app)
    finally:
        server.resume()
    works(app)
