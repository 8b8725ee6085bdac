"""Results in the memory of one process."""

from __future__ import annotations

import os

import pytest

from posts import succeeded
from sites import MovingClock
from umbel import Umbel, drivers
from umbel.drivers import cache
from umbel.exceptions import ImproperlyConfigured

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")


@pytest.mark.parametrize(
    "conf",
    [
        {"result_backend": "cache+memory://"},
        {"result_backend": "cache+memory:///"},
        {"result_backend": "cache+memory"},
        {"result_backend": "cache", "cache_backend": "memory"},
        {"result_backend": "cache", "cache_backend": "memory://"},
        {"result_backend": "cache", "cache_backend": "cache+memory://"},
    ],
)
def test_all_ways_to_name_it_are_the_same_memory(conf):
    """Applications of one process share it."""
    names = [Umbel("app", broker="memory://cache", set_as_current=False) for _ in range(2)]
    names[0].conf.update(conf)
    names[1].conf.update(result_backend="cache+memory://")
    names[0].backend.put("shared", 5, "SUCCESS")
    try:
        assert names[1].AsyncResult("shared").get(timeout=0) == 5
    finally:
        names[1].backend.forget(["shared"])
        for app in names:
            app.close()


@pytest.mark.parametrize(
    ("url", "options", "sentence"),
    [
        ("cache+memory://name", {}, "there is one memory"),
        ("cache+memory://", {"x": 1}, "knows no options"),
        ("cache+memcached://host", {}, "no driver for cache"),
    ],
)
def test_what_it_cannot_be_is_refused(url, options, sentence):
    """Memcached among it."""
    with pytest.raises(ImproperlyConfigured, match=sentence):
        drivers.connect(url, options)


def test_what_has_expired_does_not_pile_up():
    """Nobody has to prune: storing does."""
    clock = MovingClock()
    backend = cache.serve(clock).backend
    for number in range(1000):
        backend.store([succeeded(f"{number}", expires=10.0)])
        clock.advance(1.0)
    assert len(backend._results) < 20
    assert len(backend._ends) < 20


def test_a_forked_process_begins_with_nothing():
    """And what it stores stays its own."""
    backend = cache.serve(MovingClock()).backend
    backend.store([succeeded("id")])
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            found = backend.fetch(["id"])
            backend.store([succeeded("other")])
            status = 0 if not found and backend.wait(["other"], 1.0) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert backend.fetch(["id", "other"]).keys() == {"id"}
