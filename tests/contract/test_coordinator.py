"""Locks, rate tokens, slots and unique keys hold for everybody who shares the server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

pytestmark = pytest.mark.needs("coordinator")


def race(number, call):
    """What ``number`` threads get that call at the same time, each with its own number."""
    start = Barrier(number)

    def run(n):
        start.wait()
        return call(n)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


class TestLease:
    def test_one_holder_at_a_time(self, coordinator):
        """Another gets None while it lasts."""
        lease = coordinator.acquire("leader", "a", 1e6)
        assert (lease.name, lease.holder) == ("leader", "a")
        assert coordinator.acquire("leader", "b", 1e6) is None

    def test_names_are_apart(self, coordinator):
        """Each name is a lock of its own."""
        assert coordinator.acquire("x", "a", 1e6)
        assert coordinator.acquire("y", "b", 1e6)

    def test_the_holder_renews_it_under_the_same_token(self, site):
        """As often as it likes; it never changes hands meanwhile."""
        lease = site.coordinator.acquire("leader", "a", site.unit)
        for _ in range(4):
            site.advance(0.6 * site.unit)
            assert site.coordinator.acquire("leader", "a", site.unit) == lease
            assert site.coordinator.acquire("leader", "b", site.unit) is None

    def test_the_token_grows_with_every_grant(self, site):
        """Also for the same holder, if it had lost the lease in between."""
        tokens = []
        for holder in ("a", "b", "b", "a"):
            tokens.append(site.coordinator.acquire("leader", holder, site.unit).token)
            site.advance(2 * site.unit)
        assert tokens == sorted(set(tokens))

    def test_releasing_it_lets_the_next_one_in(self, coordinator):
        """At once, with a higher token."""
        lease = coordinator.acquire("leader", "a", 1e6)
        assert coordinator.release_lease(lease)
        assert coordinator.acquire("leader", "b", 1e6).token > lease.token

    def test_a_lost_lease_cannot_be_released(self, site):
        """It would be the next holder's."""
        lost = site.coordinator.acquire("leader", "a", site.unit)
        site.advance(2 * site.unit)
        assert not site.coordinator.release_lease(lost)
        fresh = site.coordinator.acquire("leader", "b", site.unit)
        assert not site.coordinator.release_lease(lost)
        assert site.coordinator.release_lease(fresh)
        assert not site.coordinator.release_lease(fresh)

    def test_of_many_who_ask_at_once_one_gets_it(self, coordinator):
        """Never none, never two."""
        granted = race(8, lambda n: coordinator.acquire("leader", f"h{n}", 1e6))
        assert len([lease for lease in granted if lease is not None]) == 1


class TestTake:
    def test_a_burst_is_there_at_once_and_then_no_more(self, site):
        """The answer is the time until the next token."""
        take = site.coordinator.take
        rate = 1 / site.unit
        assert [take("mail", rate=rate, burst=3) for _ in range(3)] == [0.0, 0.0, 0.0]
        seconds = take("mail", rate=rate, burst=3)
        assert 0.9 * site.unit < seconds <= site.unit

    def test_tokens_come_back_at_the_rate(self, site):
        """One per interval, whoever asks how often in between."""
        rate = 1 / site.unit
        granted = 0
        for _ in range(40):
            granted += site.coordinator.take("mail", rate=rate) == 0.0
            site.advance(0.25 * site.unit)
        assert 10 <= granted <= 11

    def test_a_refusal_takes_nothing(self, site):
        """Asking in vain does not push the next token away."""
        rate = 1 / site.unit
        site.coordinator.take("mail", rate=rate)
        for _ in range(5):
            assert site.coordinator.take("mail", rate=rate) > 0
        site.advance(site.unit)
        assert site.coordinator.take("mail", rate=rate) == 0.0

    def test_the_promised_time_is_enough(self, site):
        """After the wait the tokens are there."""
        rate = 2 / site.unit
        site.coordinator.take("mail", rate=rate, burst=2, cost=2)
        seconds = site.coordinator.take("mail", rate=rate, burst=2, cost=1.5)
        assert seconds > 0
        site.advance(seconds)
        assert site.coordinator.take("mail", rate=rate, burst=2, cost=1.5) == 0.0

    def test_a_bucket_holds_no_more_than_its_burst(self, site):
        """A quiet day is no credit for the next."""
        rate = 1 / site.unit
        site.advance(100 * site.unit)
        granted = [site.coordinator.take("mail", rate=rate, burst=2) == 0.0 for _ in range(5)]
        assert granted == [True, True, False, False, False]

    def test_names_are_apart(self, site):
        """Each name is a bucket of its own."""
        rate = 1 / site.unit
        assert site.coordinator.take("x", rate=rate) == 0.0
        assert site.coordinator.take("y", rate=rate) == 0.0

    def test_of_many_who_ask_at_once_as_many_get_one_as_there_are(self, site):
        """No token is given twice."""
        answers = race(8, lambda _: site.coordinator.take("m", rate=1 / site.unit, burst=3))
        assert answers.count(0.0) == 3

    @pytest.mark.parametrize(
        "wrong", [{"rate": 0}, {"rate": -1}, {"burst": 0}, {"cost": 3}, {"cost": -1}]
    )
    def test_a_rule_that_can_never_be_met_is_refused(self, coordinator, wrong):
        """Rather than to promise a time that never comes."""
        with pytest.raises(ValueError, match="bucket 'mail'"):
            coordinator.take("mail", **{"rate": 1.0, "burst": 2, **wrong})


class TestSlots:
    def test_no_more_than_the_size_get_in(self, coordinator):
        """The others wait outside."""
        entered = [coordinator.enter("db", f"h{n}", size=2, ttl=1e6) for n in range(4)]
        assert entered == [True, True, False, False]

    def test_who_leaves_makes_room(self, coordinator):
        """For one."""
        coordinator.enter("db", "a", size=1, ttl=1e6)
        assert coordinator.leave("db", "a")
        assert coordinator.enter("db", "b", size=1, ttl=1e6)
        assert not coordinator.leave("db", "a")

    def test_who_is_in_renews_its_slot(self, site):
        """Without taking another, and even if the size was made smaller meanwhile."""
        assert site.coordinator.enter("db", "a", size=2, ttl=site.unit)
        assert site.coordinator.enter("db", "b", size=2, ttl=9 * site.unit)
        for _ in range(3):
            site.advance(0.6 * site.unit)
            assert site.coordinator.enter("db", "a", size=1, ttl=site.unit)

    def test_the_slots_of_the_dead_are_free_again(self, site):
        """After their span, and not for ever."""
        site.coordinator.enter("db", "dead", size=1, ttl=site.unit)
        assert not site.coordinator.enter("db", "next", size=1, ttl=site.unit)
        site.advance(2 * site.unit)
        assert site.coordinator.enter("db", "next", size=1, ttl=site.unit)
        assert not site.coordinator.leave("db", "dead")

    def test_of_many_who_come_at_once_the_size_gets_in(self, coordinator):
        """Never more, never fewer."""
        entered = race(8, lambda n: coordinator.enter("db", f"h{n}", size=3, ttl=1e6))
        assert entered.count(True) == 3


class TestUniqueKeys:
    def test_the_first_has_it_and_the_others_learn_who(self, coordinator):
        """So that they can return the task that is there."""
        assert coordinator.claim("report", "task-1", 1e6) is None
        assert coordinator.claim("report", "task-2", 1e6) == "task-1"
        assert coordinator.claim("report", "task-1", 1e6) is None

    def test_it_is_free_after_its_span(self, site):
        """A holder that died does not block it for ever."""
        site.coordinator.claim("report", "task-1", site.unit)
        site.advance(2 * site.unit)
        assert site.coordinator.claim("report", "task-2", site.unit) is None

    def test_its_holder_can_free_it(self, coordinator):
        """Nobody else can."""
        coordinator.claim("report", "task-1", 1e6)
        assert not coordinator.unclaim("report", "task-2")
        assert coordinator.unclaim("report", "task-1")
        assert not coordinator.unclaim("report", "task-1")
        assert coordinator.claim("report", "task-2", 1e6) is None

    def test_of_many_who_ask_at_once_one_gets_it(self, coordinator):
        """And all the others are told the same name."""
        answers = race(8, lambda n: coordinator.claim("report", f"task-{n}", 1e6))
        assert answers.count(None) == 1
        assert set(answers) - {None} == {f"task-{answers.index(None)}"}
