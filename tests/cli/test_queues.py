"""``umbel status`` and ``umbel purge``: what waits, and how it is thrown away."""

from __future__ import annotations

import pytest

from commands import at_terminal, end_of, program, umbel


def fill(**counts):
    """Send so many calls to each queue, and one that is delayed to the first."""
    lines = [
        f"for _ in range({count}): silent.apply_async(queue={name!r})"
        for name, count in counts.items()
    ]
    first = next(iter(counts))
    lines.append(f"silent.apply_async(queue={first!r}, countdown=600)")
    ended = umbel("-A", "shop", "shell", "-c", "\n".join(lines))
    assert ended.code == 0, ended.err


def claim(queue):
    """Have a message held by somebody."""
    script = (
        "app.broker.enroll('somebody', 60)\n"
        f"assert app.broker.reserve('somebody', [{queue!r}], limit=1, wait=0)"
    )
    ended = umbel("-A", "shop", "shell", "-c", script)
    assert ended.code == 0, ended.err


def counts(*words):
    """Ready, delayed and claimed messages of each queue."""
    queues = umbel("-A", "shop", "status", "--json", *words).data["queues"]
    return {each["name"]: (each["ready"], each["delayed"], each["claimed"]) for each in queues}


def test_status_counts_the_messages_of_every_queue(shop):
    """The application's own queues, also when empty, and all others that hold something."""
    assert counts() == {"celery": (0, 0, 0)}
    fill(mail=2, slow=1)
    claim("slow")
    assert counts() == {"celery": (0, 0, 0), "mail": (2, 1, 0), "slow": (0, 0, 1)}
    assert counts("-Q", "mail,none") == {"mail": (2, 1, 0), "none": (0, 0, 0)}


def test_status_tells_how_long_the_oldest_has_waited(shop):
    """In seconds; null where nothing is ready."""
    fill(mail=1)
    queues = umbel("-A", "shop", "status", "--json").data["queues"]
    ages = {each["name"]: each["oldest_age"] for each in queues}
    assert ages["celery"] is None
    assert 0 <= ages["mail"] < 60


def test_status_is_a_table_at_a_terminal_and_tabs_in_a_pipe(shop):
    """Headings for people, fields for programs."""
    fill(mail=2)
    with at_terminal("-A", "shop", "-C", "status") as child:
        child.expect(r"QUEUE +READY +DELAYED +CLAIMED +OLDEST")
        child.expect(r"mail +2 +1 +0 +\d")
        assert end_of(child) == 0
    rows = [line.split("\t") for line in umbel("-A", "shop", "status").out.splitlines()]
    assert [row[:4] for row in rows] == [["celery", "0", "0", "0"], ["mail", "2", "1", "0"]]


def test_status_lists_workers_with_what_they_hold(shop):
    """For people on the side, for programs in the document."""
    fill(mail=2)
    claim("mail")
    ended = umbel("-A", "shop", "status")
    assert "worker somebody: 1 process, 1 message held, lease " in ended.err
    (worker,) = umbel("-A", "shop", "status", "--json").data["workers"]
    assert (worker["name"], worker["processes"], worker["holds"]) == ("somebody", 1, 1)
    assert 0 < worker["lease_left"] <= 60


def test_status_mentions_dead_letters_and_that_there_are_no_workers(shop):
    """Dead letters are counted, and so are workers."""
    umbel("-A", "shop", "call", "shop.nope", "--unchecked")
    program("-A", "shop", "worker", "--until-empty", "-c", "1")
    ended = umbel("-A", "shop", "status")
    assert "1 dead letter: see umbel dead list" in ended.err
    assert "workers: none" in ended.err
    document = umbel("-A", "shop", "status", "--json").data
    assert document["dead_letters"] == {"count": 1, "counted_up_to": None}


def test_status_masks_the_password_of_the_broker(shop):
    """Whoever pastes it into a ticket gives nothing away."""
    ended = umbel("-A", "shop", "-b", "memory://me:hunter2@here", "status")
    assert ended.code == 0
    assert "hunter2" not in ended.err + ended.out


def test_purge_without_a_terminal_needs_yes(shop):
    """It says how much there is, deletes nothing, and ends with exit code 2."""
    fill(celery=2)
    ended = program("-A", "shop", "purge")
    assert ended.code == 2
    assert "celery: 3 messages (1 of them delayed)" in ended.err
    assert "there is no terminal to ask whether to delete 3 messages: add --yes" in ended.err
    assert counts() == {"celery": (2, 1, 0)}


@pytest.mark.parametrize("option", ["--yes", "-y", "-f", "--force"])
def test_purge_with_yes_does_not_ask(shop, option):
    """Also under the name that Celery gives it."""
    fill(celery=2)
    ended = umbel("-A", "shop", "purge", option)
    assert (ended.code, ended.out) == (0, "deleted 3 messages\n")
    assert counts() == {"celery": (0, 0, 0)}


def test_purge_of_empty_queues_has_nothing_to_ask(shop):
    """Scripts may run it at any time."""
    ended = umbel("-A", "shop", "purge")
    assert (ended.code, ended.out) == (0, "deleted 0 messages\n")


def test_purge_leaves_other_queues_and_claimed_messages_alone(shop):
    """Only what a worker of this application would take, or -Q, less -X."""
    fill(celery=2, mail=1)
    claim("celery")
    ended = umbel("-A", "shop", "purge", "--yes", "--json")
    assert ended.data == {"deleted": 2, "queues": {"celery": 2}}
    assert "1 more claimed by workers stay" in ended.err
    assert counts() == {"celery": (0, 0, 1), "mail": (1, 0, 0)}
    assert umbel("-A", "shop", "purge", "-Q", "mail,slow", "-X", "mail", "--yes").out == (
        "deleted 0 messages\n"
    )
    assert umbel("-A", "shop", "purge", "-Q", "mail", "--yes").out == "deleted 1 message\n"


def test_purge_dry_run_counts_and_deletes_nothing(shop):
    """No question either."""
    fill(celery=1)
    ended = umbel("-A", "shop", "purge", "--dry-run")
    assert (ended.code, ended.out) == (0, "would delete 2 messages\n")
    assert umbel("-A", "shop", "purge", "--dry-run", "--json").data["would_delete"] == 2
    assert counts() == {"celery": (1, 1, 0)}


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("y", 0, (0, 0, 0)), ("n", 1, (1, 1, 0)), ("", 1, (1, 1, 0))]
)
def test_purge_asks_at_a_terminal(shop, answer, code, left):
    """No is the answer unless somebody says yes."""
    fill(celery=1)
    with at_terminal("-A", "shop", "purge") as child:
        child.expect("celery: 2 messages")
        child.expect(r"Delete 2 messages\? \[y/N\]: ")
        child.sendline(answer)
        assert end_of(child) == code
    assert counts() == {"celery": left}
