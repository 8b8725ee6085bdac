"""What holds for every test: its own directory, a clean environment, and nothing left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

from leaks import Repository, Watch
from umbel import current, signals

ROOT = Path(__file__).resolve().parent.parent
CI = bool(os.environ.get("CI"))
SIGNALS = [value for value in vars(signals).values() if isinstance(value, signals.Signal)]

# Whoever starts the tests in the background may have them ignore Ctrl-C, and so would everything
# they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Time limits on single examples fail on busy machines, not on wrong code. In CI the examples are
# derived from the test alone, so that one commit has one verdict; elsewhere they are random, and
# a failure is kept and tried first next time. `--hypothesis-profile=deep` is for a long look.
_examples = DirectoryBasedExampleDatabase(ROOT / ".hypothesis" / "examples")
settings.register_profile("default", deadline=None, database=_examples)
settings.register_profile("ci", deadline=None, database=None, derandomize=True)
settings.register_profile("deep", deadline=None, database=_examples, max_examples=5_000)
settings.load_profile("ci" if CI else "default")


@pytest.fixture(scope="session", autouse=True)
def nothing_left_by_the_session():
    """What fixtures of modules and of the session started is gone when they end."""
    repository = Repository(ROOT, every_file=CI)
    watch = Watch(repository, "session")
    yield repository
    if left := watch.left():
        pytest.fail("the session left behind: " + ", ".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def nothing_left_behind(request, nothing_left_by_the_session):
    """A test that leaves a thread, a process or a file fails, and its error names them."""
    watch = Watch(nothing_left_by_the_session, request.node.nodeid)
    yield
    if left := watch.left():
        pytest.fail("left behind: " + ", ".join(left), pytrace=False)


@pytest.fixture(autouse=True)
def own_directory(nothing_left_behind, tmp_path, monkeypatch):
    """Each test runs in its temporary directory, without settings of the machine it runs on."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith(("UMBEL_", "CELERY_")):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture(autouse=True)
def own_applications(nothing_left_behind):
    """No test sees the applications, the shared tasks or the receivers of another."""
    finalizers, default, mine = current._on_finalize[:], current._default, current._apps.current
    before = set(current.all_apps())
    receivers = {signal: signal.receivers for signal in SIGNALS}
    yield
    for app in current.all_apps():
        if app not in before:
            current.deregister_app(app)
    for each, connected in receivers.items():
        each.receivers = connected
    current._on_finalize[:] = finalizers
    current.set_default_app(default)
    current.set_current_app(mine)
