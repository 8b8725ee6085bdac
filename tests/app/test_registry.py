"""The registry of tasks."""

from __future__ import annotations

import pytest

from umbel.exceptions import InvalidTaskError, NotRegistered
from umbel.registry import TaskRegistry
from umbel.task import Task


class Plain(Task):
    name = "proj.plain"

    def run(self):
        """Nothing."""


class Periodic(Task):
    name = "proj.periodic"
    type = "periodic"

    def run(self):
        """Nothing."""


@pytest.fixture
def registry():
    made = TaskRegistry()
    made.register(Plain)
    made.register(Periodic())
    return made


def test_a_registry_is_a_dict_of_tasks_by_name(registry):
    assert isinstance(registry, dict)
    assert set(registry) == {"proj.plain", "proj.periodic"}
    assert type(registry["proj.plain"]) is Plain
    assert registry.get("nothing") is None


def test_a_missing_task_is_not_registered_with_the_nearest_name(registry):
    with pytest.raises(NotRegistered, match=r"did you mean 'proj\.plain'") as raised:
        registry["proj.plian"]
    assert isinstance(raised.value, KeyError)


def test_a_class_is_instantiated_when_it_is_registered(registry):
    assert isinstance(registry["proj.plain"], Task)


def test_a_task_without_a_name_is_invalid():
    class Nameless(Task):
        pass

    with pytest.raises(InvalidTaskError, match="Nameless"):
        TaskRegistry().register(Nameless)


def test_a_task_is_unregistered_by_name_or_by_itself(registry):
    registry.unregister("proj.plain")
    registry.unregister(registry["proj.periodic"])
    assert registry == {}


def test_unregistering_what_is_not_there_is_an_error(registry):
    with pytest.raises(NotRegistered):
        registry.unregister("nothing")
    with pytest.raises(NotRegistered):
        TaskRegistry().unregister(Plain())


def test_tasks_are_listed_by_type(registry):
    assert list(registry.regular()) == ["proj.plain"]
    assert list(registry.periodic()) == ["proj.periodic"]
    assert registry.filter_types("other") == {}
