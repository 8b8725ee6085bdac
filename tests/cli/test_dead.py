"""``umbel dead``: what could not be worked on is listed, shown, put back and deleted."""

from __future__ import annotations

import sys

import pytest

from commands import SHOP, at_terminal, bury, end_of, garbage, program, umbel
from umbel.app import Umbel
from umbel.exceptions import NotRegistered
from umbel.message import DeadLetter


@pytest.fixture
def dead(shop):
    """Dead letters 1 and 2: an unknown task and a rejected one; and the shop."""
    with Umbel("undertaker", broker="memory://", set_as_current=False) as app:
        nope = app.client.message("shop.nope", [7], {}, options={})
        refuse = app.client.message("shop.refuse", [], {}, options={})
    unknown = NotRegistered("shop.nope", known=["shop.boom"])
    bury(
        shop,
        DeadLetter(nope, "celery", "unknown-task", str(unknown), 1e9),
        DeadLetter(refuse, "celery", "rejected", "no such order", 1e9, {"child": 1}),
    )
    return shop


def numbers(*words):
    """The numbers of the dead letters that are listed."""
    found = umbel("-A", "shop", "dead", "list", "--json", *words).data
    return [each["number"] for each in found]


def test_list_shows_number_reason_queue_task_and_detail(dead):
    """Newest first, as tabs in a pipe."""
    rows = [line.split("\t") for line in umbel("-A", "shop", "dead", "list").out.splitlines()]
    assert [(row[0], row[2], row[3], row[4]) for row in rows] == [
        ("2", "rejected", "celery", "shop.refuse"),
        ("1", "unknown-task", "celery", "shop.nope"),
    ]
    assert "no such order" in rows[0][5]


def test_list_is_cut_to_the_width_of_a_terminal(dead):
    """One line for each letter."""
    with at_terminal("-A", "shop", "-C", "dead", "list") as child:
        text = child.read()
    lines = text.rstrip().splitlines()
    assert lines[0].split() == ["NUMBER", "BURIED", "REASON", "QUEUE", "TASK", "DETAIL"]
    assert len(lines) == 3
    assert max(map(len, lines)) <= 120


def test_list_takes_filters_and_a_limit(dead):
    """By task, reason (as it is stored or as one says it) and queue."""
    assert numbers() == [2, 1]
    assert numbers("--task", "shop.refuse") == [2]
    assert numbers("--reason", "Unknown task") == [1]
    assert numbers("--queue", "mail") == []
    ended = umbel("-A", "shop", "dead", "list", "-n", "1")
    assert len(ended.out.splitlines()) == 1
    assert "there are more than these 1: raise --limit" in ended.err


def test_an_empty_list_is_said(shop):
    """Silence could mean anything."""
    ended = umbel("-A", "shop", "dead", "list")
    assert (ended.code, ended.out, ended.err) == (0, "", "no dead letters\n")


def test_show_tells_everything(dead):
    """Message, reason and evidence."""
    text = umbel("-A", "shop", "dead", "show", "1").out
    for part in ("unknown-task", "shop.nope", "(7,)", "no task named 'shop.nope' is registered"):
        assert part in text
    data = umbel("-A", "shop", "dead", "show", "1", "--json").data
    assert data["headers"]["task"] == "shop.nope"
    assert data["body"].startswith("[[7]")


def test_show_tells_of_bytes_that_are_no_message(shop):
    """What cannot be decoded is shown as bytes, without harm to the terminal."""
    bury(shop, garbage(raw=b"\x1b[2J\xff"))
    ended = umbel("-A", "shop", "dead", "show", "1")
    assert r"raw        b'\x1b[2J\xff'" in ended.out
    assert "host       h" in ended.out
    assert umbel("-A", "shop", "dead", "list", "--json").data[0]["task"] is None
    assert umbel("-A", "shop", "dead", "show", "1", "--json").data["raw"] == "G1sySv8="


@pytest.mark.parametrize("words", [["show", "9"], ["replay", "9"], ["purge", "9", "--yes"]])
def test_a_number_that_is_not_there_is_exit_code_1(dead, words):
    """And it is named."""
    ended = umbel("-A", "shop", "dead", *words)
    assert ended.code == 1
    assert "there is no dead letter 9" in ended.err
    assert numbers() == [2, 1]


def test_replay_puts_a_numbered_letter_back_without_asking(dead):
    """With the fix deployed, it runs as if nothing had been."""
    assert umbel("-A", "shop", "dead", "replay", "1").out == "put back 1 dead letter\n"
    assert numbers() == [2]
    (dead / "shop.py").write_text(SHOP + "\n@app.task\ndef nope(x):\n    return x * 6\n")
    program("-A", "shop", "worker", "--until-empty", "-c", "1", "-q")
    assert numbers() == [2]
    queues = umbel("-A", "shop", "status", "--json").data["queues"]
    assert [each["ready"] for each in queues] == [0]


def test_replay_of_several_kinds_asks(dead):
    """Without a terminal it needs --yes."""
    refused = umbel("-A", "shop", "dead", "replay", "--all")
    assert refused.code == 2
    assert "whether to put back 2 dead letters: add --yes" in refused.err
    assert umbel("-A", "shop", "dead", "replay", "--all", "--dry-run").out == (
        "would put back 2 dead letters\n"
    )
    assert numbers() == [2, 1]
    ended = umbel("-A", "shop", "dead", "replay", "--task", "shop.nope", "--yes", "--json")
    assert ended.data == {"put_back": 1}
    assert numbers() == [2]


@pytest.mark.parametrize("words", [[], ["--all", "--task", "x"], ["1", "--all"]], ids=" ".join)
def test_replay_must_be_told_exactly_what(shop, words):
    """Neither nothing nor two things."""
    ended = umbel("-A", "shop", "dead", "replay", *words)
    assert ended.code == 2
    assert "give NUMBERS, filters, or --all" in ended.err


def test_what_cannot_be_put_back_stays_and_is_said(shop):
    """Bytes that are no message have no queue to go to."""
    bury(shop, garbage())
    ended = umbel("-A", "shop", "dead", "replay", "1")
    assert ended.code == 1
    assert "1 dead letter could not be put back" in ended.err
    assert numbers() == [1]


def test_purge_counts_and_asks(dead):
    """All of them, unless filters or numbers say which."""
    refused = umbel("-A", "shop", "dead", "purge")
    assert refused.code == 2
    assert "whether to delete 2 dead letters: add --yes" in refused.err
    with at_terminal("-A", "shop", "dead", "purge", "--reason", "rejected") as child:
        child.expect(r"Delete 1 dead letter\? \[y/N\]: ")
        child.sendline("y")
        assert end_of(child) == 0
    assert numbers() == [1]
    assert umbel("-A", "shop", "dead", "purge", "--yes", "--json").data == {"deleted": 1}
    assert numbers() == []


def test_purge_dry_run_deletes_nothing(dead):
    """It counts."""
    ended = umbel("-A", "shop", "dead", "purge", "1", "--dry-run", "--json")
    assert ended.data == {"deleted": 0, "would_delete": 1}
    assert numbers() == [2, 1]


def test_more_letters_than_a_page_are_all_found(shop):
    """Pages are the program's business."""
    bury(shop, *(garbage(number, queue=f"q{number % 2}") for number in range(450)))
    ended = umbel("-A", "shop", "dead", "purge", "--queue", "q1", "--yes")
    assert ended.out == "deleted 225 dead letters\n"
    assert len(numbers("--limit", str(sys.maxsize))) == 225
