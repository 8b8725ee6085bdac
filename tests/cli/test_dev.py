"""``umbel dev``: the code is loaded again when it changes, and broken code changes nothing."""

from __future__ import annotations

import signal
from pathlib import Path
from threading import Event

import pytest

from commands import SHOP, Running, at_terminal, end_of, program, umbel
from patience import Background, wait_until
from umbel.cli.changes import notified, polled, times
from umbel.cli.dev import outermost, words_for
from umbel.cli.worker_options import WORK_OPTIONS

NEW = SHOP + "\n@app.task\ndef version():\n    return {}\n"


def answer(number):
    """What the workers answer to ``shop.version`` must be ``number``."""
    words = ["call", "shop.version", "--unchecked", "--wait", "--timeout", "20"]
    assert umbel("-A", "shop", *words).out == f"{number}\n"


def test_a_change_is_taken_over_by_a_new_worker(shop):
    """The new code answers; the worker before it has ended."""
    (shop / "shop.py").write_text(NEW.format(1))
    with Running("-A", "shop", "dev", "-c", "1", cwd=shop) as dev:
        dev.expect("ready.")
        answer(1)
        (shop / "shop.py").write_text(NEW.format(2))  # of the same size, perhaps the same second
        dev.expect("shop.py changed", "the new code runs; the old worker finishes")
        answer(2)
        assert dev.stop() == 0


def test_broken_code_leaves_the_old_worker_running(shop):
    """Its traceback is shown once; the next good version is taken over."""
    (shop / "shop.py").write_text(NEW.format(1))
    with Running("-A", "shop", "dev", "-c", "1", cwd=shop) as dev:
        dev.expect("ready.")
        (shop / "shop.py").write_text("import not_installed\n")
        text = dev.expect("the new code does not load: the old worker goes on")
        assert text.count("No module named 'not_installed'") == 1
        words = ["call", "shop.version", "--unchecked", "--wait", "--timeout", "20"]
        assert umbel("-b", "sqlite:///umbel.db", *words).out == "1\n"
        (shop / "shop.py").write_text(NEW.format(333))
        dev.expect("the new code runs")
        answer(333)
        assert dev.stop() == 0


def test_code_that_is_broken_from_the_start_waits_for_the_fix(shop):
    """No crash loop: one attempt for each change."""
    (shop / "shop.py").write_text("import not_installed\n")
    with Running("-A", "shop", "dev", "-c", "1", cwd=shop) as dev:
        dev.expect("the code does not load; waiting for a change")
        (shop / "shop.py").write_text(SHOP)
        text = dev.expect("ready.")
        assert text.count("not_installed") == 2
        assert dev.stop() == 0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["-A", "nope", "dev"], 2),
        (["dev", "shop.py", "-c", "x"], 2),
        (["dev", "shop.py", "-b", "sqlite:////nowhere/x.db"], 69),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_no_change_of_the_code_can_mend_ends_it(shop, words, code):
    """A wrong name, a wrong option, no broker: the worker's own exit code."""
    assert program(*words).code == code


def test_ctrl_c_ends_it_with_its_worker(shop):
    """Exit code 0, nothing left behind; the module may be a file name."""
    with at_terminal("dev", "shop.py", "-c", "1") as child:
        child.expect("ready.")
        child.sendintr()
        assert end_of(child) == 0


def test_its_worker_does_not_outlive_it(shop):
    """Killed at once, it takes its worker with it."""
    (shop / "shop.py").write_text(SHOP + "\nimport os\nprint(f'<{os.getppid()}>', flush=True)\n")
    with Running("-A", "shop", "dev", "-c", "1", cwd=shop) as dev:
        text = dev.expect("ready.", ">")
        supervisor = int(text.partition("<")[2].partition(">")[0])
        assert dev.stop(signal.SIGKILL) == -signal.SIGKILL
        wait_until(lambda: not Path(f"/proc/{supervisor}").exists())


@pytest.mark.parametrize("watch", [polled, notified])
def test_watching_tells_which_sources_changed(own_directory, watch):
    """New, changed and deleted files, with watchfiles and without; other files do not count."""
    (own_directory / "deep").mkdir()
    (own_directory / "deep" / "old.py").write_text("1")
    (own_directory / "gone.py").write_text("1")
    stop = Event()
    found = watch([own_directory], stop)
    with Background(next, found) as first:
        first.blocks()
        (own_directory / "notes.txt").write_text("2")
        (own_directory / ".hidden.py").write_text("2")
        (own_directory / "deep" / "old.py").write_text("22")
        (own_directory / "new.py").write_text("1")
        (own_directory / "gone.py").unlink()
        changed = {path.name for path in first.result()}
    stop.set()
    assert changed <= {"old.py", "new.py", "gone.py"}
    assert "new.py" in changed
    assert list(found) == []


def test_watching_skips_what_is_nobodys_source(own_directory):
    """Caches, hidden directories and virtual environments."""
    for name in ("pkg", "__pycache__", ".git", "env", "node_modules"):
        (own_directory / name).mkdir()
        (own_directory / name / "module.py").touch()
    (own_directory / "env" / "pyvenv.cfg").touch()
    found = times([own_directory])
    assert [str(path.relative_to(own_directory)) for path in found] == ["pkg/module.py"]


def test_directories_inside_others_are_watched_once(own_directory):
    """The outermost are enough."""
    below, beside = own_directory / "a" / "b", own_directory.parent / "beside"
    assert outermost([own_directory, below, beside, own_directory]) == sorted(
        path.resolve() for path in (own_directory, beside)
    )


def test_options_are_handed_on_as_they_were_given():
    """The worker gets what ``umbel dev`` was told."""
    given = {option.name: () if option.multiple else None for option in WORK_OPTIONS}
    given |= {"queues": (("a", "b"), ("c",)), "concurrency": 3, "pool": "threads"}
    words = words_for(WORK_OPTIONS, given)
    assert words == ["--queues", "a,b", "--queues", "c", "--concurrency", "3", "--pool", "threads"]
