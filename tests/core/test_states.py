"""States and their order."""

from __future__ import annotations

import pickle

import pytest

from celery_facts import FACTS
from umbel import states


@pytest.mark.parametrize(("name", "members"), FACTS["states"]["sets"].items())
def test_the_sets_of_states_are_those_of_celery(name, members):
    """READY, UNREADY, EXCEPTION, PROPAGATE and ALL hold the same states."""
    assert sorted(getattr(states, name)) == members


@pytest.mark.parametrize(("name", "place"), FACTS["states"]["precedence"].items())
def test_precedence_is_that_of_celery(name, place):
    """SUCCESS is 0 and PENDING last; any state of the user's own has the place of None."""
    assert states.precedence(name) == place


@pytest.mark.parametrize(("a", "b", "greater", "at_least", "less"), FACTS["states"]["compared"])
def test_states_compare_by_precedence(a, b, greater, at_least, less):
    """state(a) < b asks whether a comes earlier, whatever the alphabet says."""
    first = states.state(a)
    assert (first > b, first >= b, first < b) == (greater, at_least, less)
    assert (first <= b) is (states.state(b) >= a)


def test_a_state_equals_its_text():
    """It can be a key, be pickled and be compared with plain text."""
    started = states.state("STARTED")
    assert started == "STARTED"
    assert {started: 1}["STARTED"] == 1
    assert pickle.loads(pickle.dumps(started)) > "RECEIVED"


def test_a_state_of_the_users_own_is_later_than_started_and_earlier_than_the_end():
    """PROGRESS lies between STARTED and SUCCESS."""
    assert states.state("PROGRESS") > states.STARTED
    assert states.state("PROGRESS") < states.SUCCESS
    assert "PROGRESS" not in states.READY_STATES
