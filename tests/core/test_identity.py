"""Names for tasks and processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from celery_facts import FACTS
from umbel import identity
from umbel.identity import (
    anon_nodename,
    default_nodename,
    gethostname,
    host_format,
    node_format,
    nodename,
    nodesplit,
    origin,
    uuid7,
)


def outcome(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except ValueError as error:
        return {"raises": type(error).__name__}


def test_an_id_is_a_version_7_uuid_of_now():
    """The standard library parses it; its first 48 bits are the milliseconds of the epoch."""
    before = time.time_ns() // 1_000_000
    parsed = uuid.UUID(uuid7())
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    # several thousand ids within one millisecond borrow from the next ones
    assert before <= parsed.int >> 80 <= time.time_ns() // 1_000_000 + 1000


def test_an_id_is_canonical_text():
    """36 characters, lower case, as str(uuid.UUID) gives it."""
    made = uuid7()
    assert str(uuid.UUID(made)) == made


def test_ids_sort_in_the_order_they_were_made():
    """Also when more are made than a millisecond has counters."""
    made = [uuid7() for _ in range(20_000)]
    assert made == sorted(set(made))


def test_ids_sort_when_the_wall_clock_is_set_back(monkeypatch):
    """The last millisecond used is kept until the clock has passed it again."""
    first = uuid7()
    monkeypatch.setattr(identity.time, "time_ns", lambda: 1_000_000_000)
    assert uuid7() > first


def test_an_id_can_be_made_while_one_is_being_made(monkeypatch):
    """A signal handler that publishes does not wait for the code it interrupted."""
    read, within = time.time_ns, []

    def interrupted():
        if not within:
            within.append("now")
            within.append(uuid7())
        return read()

    monkeypatch.setattr(identity.time, "time_ns", interrupted)
    assert uuid7() not in within


def test_threads_never_make_the_same_id():
    """Each thread's own ids grow, and all are different."""
    with ThreadPoolExecutor(8) as pool:
        per_thread = list(pool.map(lambda _: [uuid7() for _ in range(2_000)], range(8)))
    assert all(made == sorted(made) for made in per_thread)
    assert len({each for made in per_thread for each in made}) == 16_000


FORKING = """
import os, sys
from umbel.identity import origin, uuid7
mine, before = uuid7(), origin()
read, write = os.pipe()
child = os.fork()
if not child:
    os.write(write, " ".join([origin(), *(uuid7() for _ in range(500))]).encode())
    os._exit(0)
os.waitpid(child, 0)
theirs, *ids = os.read(read, 1 << 16).decode().split()
own = [uuid7() for _ in range(500)]
assert not {each[14:] for each in ids} & {each[14:] for each in own}
assert ids[0][19:23] != own[0][19:23] or ids[0][24:] != own[0][24:]
assert min(ids) > mine and min(own) > mine
assert theirs != before and theirs.startswith(f"gen{child}@")
"""


def test_a_forked_child_makes_ids_of_its_own():
    """Random bits and origin are the child's; its ids still come after the parent's."""
    subprocess.run([sys.executable, "-c", FORKING], check=True)


def test_the_origin_names_process_and_host():
    """gen<pid>@<host>, as in the header of a message."""
    assert origin() == f"gen{os.getpid()}@{gethostname()}"
    assert anon_nodename() == origin()
    assert anon_nodename("box", prefix="celery") == f"celery{os.getpid()}@box"


@pytest.mark.parametrize(("name", "parts"), FACTS["names"]["nodesplit"])
def test_a_node_name_is_split_at_its_first_at(name, parts):
    """Without one, it is all host."""
    assert list(nodesplit(name)) == parts


@pytest.mark.parametrize(("given", "completed"), FACTS["names"]["default_nodename"])
def test_a_node_name_is_completed(given, completed):
    """A missing name is celery."""
    assert default_nodename(given) == completed


def test_a_missing_host_is_this_machine():
    """Nothing given is celery@<this machine>."""
    assert default_nodename(None) == nodename("celery", gethostname())
    assert default_nodename("w1@") == f"w1@{gethostname()}"


@pytest.mark.parametrize(("template", "name", "expected"), FACTS["names"]["node_format"])
def test_format_characters_of_a_node_name_are_celerys(template, name, expected):
    """%h %n %d %i %I %p %% are replaced; another one is an error."""
    assert outcome(node_format, template, name) == expected


@pytest.mark.parametrize(("template", "host", "name", "expected"), FACTS["names"]["host_format"])
def test_format_characters_of_a_host_are_celerys(template, host, name, expected):
    """The same without a node name; %p is unknown there."""
    assert outcome(host_format, template, host, name=name) == expected


def test_the_number_of_the_child_appears_with_and_without_a_dash():
    """%i is the number; %I is -number, and nothing in the parent."""
    assert node_format("%n%I.%i", "w@h", index=3) == "w-3.3"
    assert node_format("%n%I.%i", "w@h") == "w.0"


def test_further_format_characters_can_be_given():
    """Callers bring their own."""
    assert host_format("%h-%x", "box", x="y") == "box-y"


def test_an_unknown_format_character_is_named_with_those_that_are_known():
    """The error says which, where, and what could stand there."""
    with pytest.raises(ValueError, match=re.escape("%z in 'a%z' is not a format character")):
        node_format("a%z", "w@h")
