"""Results: stored, fetched, and waited for without asking."""

from __future__ import annotations

import threading

import pytest

from patience import DEADLINE, Background, wait_until
from posts import post, succeeded
from result_sites import seen
from umbel.message import Settlement, StoredResult

pytestmark = pytest.mark.results

LONG = 60.0


def failed(task_id, **fields):
    payload = b'{"status": "FAILURE", "result": {"exc_type": "ValueError"}}'
    return StoredResult(task_id, "FAILURE", payload, final=True, **fields)


def started(task_id, **fields):
    payload = b'{"status": "STARTED", "result": {"pid": 1}}'
    return StoredResult(task_id, "STARTED", payload, final=False, **fields)


@pytest.mark.needs("any_bytes")
def test_a_stored_state_is_fetched_as_it_is(backend):
    """Every field comes back."""
    result = StoredResult(
        "id", "PROGRESS", b"\x00\xffbytes", final=False, expires=60.0, content_type="application/x"
    )
    backend.store([result])
    assert backend.fetch(["id"]) == {"id": result}


def test_what_is_not_stored_is_absent(backend):
    """There is no made-up PENDING."""
    backend.store([succeeded("known")])
    assert backend.fetch(["known", "unknown"]).keys() == {"known"}
    assert backend.fetch([]) == {}


def test_storing_nothing_does_nothing(backend):
    """An empty list is no error."""
    backend.store([])


def test_a_later_state_replaces_an_earlier_one(site, backend):
    """STARTED, then FAILURE of one attempt, then STARTED of the next, and so on."""
    states = [started("id"), failed("id"), started("id"), succeeded("id")]
    for state in states:
        backend.store([state])
        assert seen(site, backend.fetch(["id"])) == seen(site, {"id": state})


def test_the_last_of_several_states_in_one_call_counts(site, backend):
    """A call keeps its order."""
    backend.store([started("id"), failed("id", expires=5.0)])
    assert seen(site, backend.fetch(["id"])) == seen(site, {"id": failed("id", expires=5.0)})


@pytest.mark.parametrize("late", [started, failed, succeeded])
def test_a_success_is_never_replaced(site, backend, late):
    """Neither by a late attempt's failure nor by a second success."""
    first = succeeded("id", payload=b'{"status": "SUCCESS", "result": "first"}')
    backend.store([first])
    backend.store([late("id")])
    assert seen(site, backend.fetch(["id"])) == seen(site, {"id": first})


def test_a_forgotten_success_can_be_replaced(site, backend):
    """The task may be run anew."""
    backend.store([succeeded("id")])
    assert backend.forget(["id", "unknown"]) == 1
    assert backend.fetch(["id"]) == {}
    backend.store([failed("id")])
    assert seen(site, backend.fetch(["id"])) == seen(site, {"id": failed("id")})


@pytest.mark.needs("own_expiry")
def test_an_expired_state_is_absent(site):
    """Whether or not it was pruned."""
    site.backend.store([succeeded("short", expires=site.unit), succeeded("kept")])
    site.advance(2 * site.unit)
    assert site.backend.fetch(["short", "kept"]).keys() == {"kept"}


@pytest.mark.needs("own_expiry")
def test_an_expired_success_can_be_replaced(site):
    """It is as if it were not there."""
    site.backend.store([succeeded("id", expires=site.unit)])
    site.advance(2 * site.unit)
    site.backend.store([failed("id")])
    assert site.backend.fetch(["id"]) == {"id": failed("id")}


@pytest.mark.needs("own_expiry")
def test_a_new_state_has_its_own_expiry(site):
    """The old one's does not end it."""
    site.backend.store([started("id", expires=site.unit)])
    site.backend.store([succeeded("id", expires=10 * site.unit)])
    site.advance(2 * site.unit)
    assert site.backend.fetch(["id"])


@pytest.mark.needs("own_expiry")
def test_prune_deletes_what_has_expired_and_nothing_else(site):
    """As many as it is told, and it returns how many."""
    site.backend.store([succeeded(f"{n}", expires=site.unit) for n in range(5)])
    site.backend.store([succeeded("later", expires=9 * site.unit), succeeded("ever")])
    assert site.backend.prune() == 0
    site.advance(2 * site.unit)
    assert [site.backend.prune(limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert site.backend.fetch(["later", "ever"]).keys() == {"later", "ever"}


def test_waiting_for_what_is_there_returns_at_once(backend):
    """All that was asked for, also if an id is named twice."""
    backend.store([succeeded("a"), failed("b")])
    assert backend.wait(["a", "b", "a"], LONG).keys() == {"a", "b"}
    assert backend.wait([], LONG) == {}
    assert backend.wait([], LONG, any_of=True) == {}


def test_a_wait_ends_with_the_result_and_not_with_a_poll(site, backend):
    """The polling interval is longer than this test."""
    with Background(backend.wait, ["id"], LONG) as waiting:
        waiting.blocks()
        backend.store([succeeded("id")])
        assert seen(site, waiting.result()) == seen(site, {"id": succeeded("id")})


@pytest.mark.needs("shared")
def test_a_wait_is_ended_by_another_connection(site):
    """The result comes from another process as a rule."""
    with Background(site.backend.wait, ["id"], LONG) as waiting:
        waiting.blocks()
        site.another().backend.store([succeeded("id")])
        assert waiting.result().keys() == {"id"}


@pytest.mark.needs("atomic_results")
def test_a_wait_is_ended_by_a_settlement(site, worker):
    """Settling wakes who waits for the result."""
    site.broker.publish([post("id")])
    delivery = worker.take_one()
    with Background(site.backend.wait, ["id"], LONG) as waiting:
        waiting.blocks()
        site.broker.settle([Settlement(delivery, result=succeeded("id"))])
        assert waiting.result().keys() == {"id"}


def test_a_state_that_is_not_final_ends_no_wait(site, backend):
    """STARTED is news, but not the end."""
    with Background(backend.wait, ["id"], LONG) as waiting:
        waiting.blocks()
        backend.store([started("id")])
        waiting.blocks()
        backend.store([failed("id")])
        assert seen(site, waiting.result()) == seen(site, {"id": failed("id")})


def test_a_wait_for_all_lasts_until_the_last(backend):
    """One after the other may come."""
    with Background(backend.wait, ["a", "b", "c"], LONG) as waiting:
        for name in "abc":
            waiting.blocks()
            backend.store([succeeded(name)])
        assert waiting.result().keys() == {"a", "b", "c"}


def test_a_wait_for_any_ends_with_the_first(backend):
    """The others may never come."""
    with Background(backend.wait, ["a", "b", "c"], LONG, any_of=True) as waiting:
        waiting.blocks()
        backend.store([succeeded("b")])
        assert waiting.result().keys() == {"b"}


def test_a_wait_that_times_out_returns_what_there_is(backend):
    """Some are missing; nothing is raised."""
    backend.store([succeeded("a"), started("c")])
    assert backend.wait(["a", "b", "c"], 0.05).keys() == {"a"}
    assert backend.wait(["b"], 0) == {}


def test_many_threads_wait_for_their_own_results(backend):
    """Each is woken by its own, all are served by one subscription."""
    jobs = {f"{n}": Background(backend.wait, [f"{n}"], LONG).start() for n in range(12)}
    for job in jobs.values():
        job.blocks()
    for name in reversed(jobs):
        backend.store([succeeded(name)])
        assert jobs[name].result().keys() == {name}


def test_several_threads_can_wait_for_the_same_result(backend):
    """All of them get it."""
    jobs = [Background(backend.wait, ["id"], LONG).start() for _ in range(3)]
    for job in jobs:
        job.blocks()
    backend.store([succeeded("id")])
    assert [job.result().keys() for job in jobs] == [{"id"}] * 3


def test_ten_thousand_results_can_be_waited_for_at_once(backend):
    """However they arrive."""
    names = [f"task-{n}" for n in range(10_000)]
    with Background(backend.wait, names, LONG) as waiting:
        waiting.blocks()
        for at in range(0, 10_000, 500):
            backend.store([succeeded(name) for name in names[at : at + 500]])
        assert len(waiting.result()) == 10_000


def test_a_watcher_is_called_once_for_each(backend):
    """For those that are final already, and for those that become so."""
    backend.store([succeeded("there")])
    calls: list[str] = []
    cancel = backend.watch(["there", "later"], lambda result: calls.append(result.id))
    assert calls == ["there"]
    backend.store([started("later")])
    backend.store([succeeded("later")])
    wait_until(lambda: len(calls) == 2)
    backend.store([failed("later")])
    cancel()
    assert calls == ["there", "later"]


def test_a_cancelled_watcher_is_not_called(backend):
    """Others that watch the same are."""
    calls: list[str] = []
    other = threading.Event()
    cancel = backend.watch(["id"], lambda result: calls.append(result.id))
    backend.watch(["id"], lambda _: other.set())
    cancel()
    backend.store([succeeded("id")])
    assert other.wait(DEADLINE)
    assert calls == []


@pytest.mark.needs("own_expiry")
def test_a_state_that_expires_between_is_no_result(site):
    """Expired is absent for those who wait as well."""
    site.backend.store([succeeded("id", expires=site.unit)])
    site.advance(2 * site.unit)
    assert site.backend.wait(["id"], 0.05) == {}


@pytest.mark.needs("any_bytes")
@pytest.mark.parametrize("size", [0, 1, 2_000_000])
def test_a_result_can_be_short_or_long(backend, size):
    """Bytes are bytes."""
    backend.store([succeeded("id", payload=b"x" * size)])
    assert len(backend.fetch(["id"])["id"].payload) == size
