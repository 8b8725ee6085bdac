"""The tree of errors: what each one is, keeps and says."""

from __future__ import annotations

import builtins
import copy
import inspect
import pickle
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from celery_facts import FACTS
from umbel import exceptions
from umbel.exceptions import (
    AlreadyRegistered,
    BackendGetMetaError,
    BackendStoreError,
    CeleryError,
    ContentDisallowed,
    DecodeError,
    EncodeError,
    Ignore,
    InvalidRate,
    LeaseLost,
    MaxRetriesExceededError,
    MissingExtra,
    NotRegistered,
    OperationalError,
    QueueNotFound,
    Reject,
    RemoteError,
    Retry,
    SchemaError,
    SerializerNotInstalled,
    SoftTimeLimitExceeded,
    StoreCorrupt,
    Terminated,
    TimeLimitExceeded,
    UmbelError,
    UmbelWarning,
    UnroutableError,
    WorkerLostError,
    WorkerShutdown,
    WorkerTerminate,
)

TimeoutError = exceptions.TimeoutError  # noqa: A001 - Celery's name

EXAMPLES = {
    "MissingExtra": MissingExtra("redis:// URLs", "redis"),
    "InvalidRate": InvalidRate("5/d", "the unit is s, m or h"),
    "Reject": Reject("why", requeue=True),
    "Retry": Retry("m", None, 3, is_eager=True, sig={"task": "t"}),
    "QueueNotFound": QueueNotFound("mial", ["mail"]),
    "NotRegistered": NotRegistered("mail.snd", ["mail.send"], aftermath="the message waits"),
    "AlreadyRegistered": AlreadyRegistered("t"),
    "TimeoutError": TimeoutError(task_id="i", timeout=2.5),
    "MaxRetriesExceededError": MaxRetriesExceededError(
        task="t", task_id="i", task_args=(1,), task_kwargs={"a": 2}
    ),
    "RemoteError": RemoteError("Boom", "lib.errors", exc_args=("a", 1)),
    "SoftTimeLimitExceeded": SoftTimeLimitExceeded(5),
    "TimeLimitExceeded": TimeLimitExceeded(7.5),
    "WorkerLostError": WorkerLostError(pid=1, exitcode=-9),
    "Terminated": Terminated(15),
    "LeaseLost": LeaseLost("w1"),
    "OperationalError": OperationalError("refused", "redis://h:6379/0"),
    "UnroutableError": UnroutableError("e", "k", reason="NO_ROUTE"),
    "BackendGetMetaError": BackendGetMetaError("gone", task_id="i"),
    "BackendStoreError": BackendStoreError("full", state="SUCCESS", task_id="i"),
    "SchemaError": SchemaError(9, 2, store="umbel.db"),
    "StoreCorrupt": StoreCorrupt("umbel.db", "malformed"),
    "EncodeError": EncodeError("no rule for it", "args[0]"),
    "DecodeError": DecodeError("truncated", "application/json"),
    "ContentDisallowed": ContentDisallowed("application/x-yaml", ["application/json"]),
    "SerializerNotInstalled": SerializerNotInstalled("jsno", ["json"]),
}
CLASSES = {
    name: found
    for name, found in vars(exceptions).items()
    if inspect.isclass(found)
    and issubclass(found, BaseException)
    and found.__module__ == exceptions.__name__
    and found.__name__ == name
}


def example(name: str) -> BaseException:
    return EXAMPLES[name] if name in EXAMPLES else CLASSES[name]("a text")


@pytest.mark.parametrize("name", FACTS["errors"]["names"])
def test_every_name_that_celery_exports_can_be_imported(name):
    """`from umbel.exceptions import X` works for each X of celery.exceptions."""
    assert hasattr(exceptions, name)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("CeleryError", "UmbelError"),
        ("CeleryWarning", "UmbelWarning"),
        ("RetryTaskError", "Retry"),
        ("SystemTerminate", "WorkerTerminate"),
        ("CDeprecationWarning", "UmbelDeprecationWarning"),
        ("CPendingDeprecationWarning", "UmbelPendingDeprecationWarning"),
    ],
)
def test_the_old_names_are_the_same_classes(alias, name):
    """Code written for Celery catches the same objects."""
    assert getattr(exceptions, alias) is getattr(exceptions, name)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_every_class_has_the_one_root_of_its_kind(name):
    """Errors are UmbelErrors, warnings UmbelWarnings or deprecations, exits SystemExits."""
    roots = (
        UmbelError,
        UmbelWarning,
        SystemExit,
        DeprecationWarning,
        PendingDeprecationWarning,
    )
    assert sum(issubclass(CLASSES[name], root) for root in roots) == 1


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_docstring_draws_the_class_below_its_base(name):
    """The tree at the top of the module is the tree of the code."""
    lines = (exceptions.__doc__ or "").splitlines()
    places = {
        line.replace("│", " ").replace("├──", "   ").replace("└──", "   ").split()[0]: (
            number,
            next(at for at, char in enumerate(line) if char.isalpha()),
        )
        for number, line in enumerate(lines)
        if "── " in line
    }
    number, depth = places[name]
    above = [other for other, (line, column) in places.items() if line < number and column < depth]
    base = CLASSES[name].__bases__[0].__name__
    if base in places:
        assert max(above, key=lambda other: places[other]) == base


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_error_is_pickled_with_all_its_fields(name, protocol):
    """What arrives has the class, arguments, fields and text of what was sent."""
    sent = example(name)
    arrived = pickle.loads(pickle.dumps(sent, protocol))
    assert type(arrived) is type(sent)
    assert arrived.args == sent.args
    assert vars(arrived) == vars(sent)
    assert str(arrived) == str(sent)
    assert repr(arrived) == repr(sent)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_an_error_can_be_made_again_from_its_arguments(name):
    """A stored result keeps class and args; calling one with the other gives the error back."""
    made = example(name)
    if name != "RemoteError":
        assert type(made)(*made.args).args == made.args


def test_a_copy_keeps_the_fields():
    """copy.copy goes through the same door as pickle."""
    assert vars(copy.copy(EXAMPLES["BackendStoreError"])) == {"state": "SUCCESS", "task_id": "i"}


def test_an_exit_keeps_its_code_through_pickle():
    """WorkerShutdown and WorkerTerminate carry the exit status."""
    for exit_ in (WorkerShutdown(0), WorkerTerminate(1)):
        assert pickle.loads(pickle.dumps(exit_)).code == exit_.code


def test_a_subclass_of_the_user_is_pickled_whatever_its_constructor_demands():
    """The constructor is not called again, so required arguments are no obstacle."""
    arrived = pickle.loads(pickle.dumps(DemandingError(1, extra=2)))
    assert (arrived.args, arrived.extra) == (("1",), 2)


class DemandingError(UmbelError):
    def __init__(self, number, *, extra):
        super().__init__(str(number))
        self.extra = extra


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (QueueNotFound("q"), KeyError),
        (NotRegistered("t"), KeyError),
        (TimeoutError("late"), builtins.TimeoutError),
        (InvalidRate("x"), ValueError),
        (InvalidRate("x"), KeyError),
        (Ignore(), CeleryError),
    ],
)
def test_an_error_is_also_the_built_in_one(error, builtin):
    """`except KeyError` and `except TimeoutError` go on working."""
    assert isinstance(error, builtin)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            NotRegistered("mail.snd", ["mail.send", "tidy"]),
            "no task named 'mail.snd' is registered here (did you mean 'mail.send'?)",
        ),
        (
            NotRegistered("x", aftermath="the message went to the dead letters"),
            "no task named 'x' is registered here; the message went to the dead letters",
        ),
        (NotRegistered(None), "no task named None is registered here"),
        (
            QueueNotFound("mial", ["mail"]),
            (
                "no queue named 'mial' is configured (did you mean 'mail'?); "
                "add it to task_queues or let task_create_missing_queues create it"
            ),
        ),
        (
            AlreadyRegistered("t"),
            ("a task named 't' is already registered; give one of them another name="),
        ),
        (TimeoutError("late"), "late"),
        (TimeoutError(), ""),
        (TimeoutError(task_id="i"), "no result of i in time; the task itself goes on"),
        (TimeoutError(timeout=2), "no result of the task within 2s; the task itself goes on"),
        (
            MaxRetriesExceededError(task="t", task_id="i", task_args=(1,), task_kwargs={"a": 2}),
            "t[i] has used up its retries: args (1,) kwargs {'a': 2}",
        ),
        (MaxRetriesExceededError("own text"), "own text"),
        (SoftTimeLimitExceeded(), "the soft time limit is over"),
        (SoftTimeLimitExceeded(5), "the soft time limit of 5s is over"),
        (
            TimeLimitExceeded(7),
            "the time limit of 7s is over; the process that ran the task was killed",
        ),
        (WorkerLostError("own text"), "own text"),
        (WorkerLostError(), ""),
        (
            WorkerLostError(pid=7, exitcode=-9),
            "worker process 7 ended with signal 9 (SIGKILL) while it ran the task",
        ),
        (
            WorkerLostError(exitcode=3),
            "a worker process ended with exit code 3 while it ran the task",
        ),
        (WorkerLostError(pid=7), "worker process 7 disappeared while it ran the task"),
        (Terminated(15), "terminated by signal 15 (SIGTERM)"),
        (Terminated("SIGUSR1"), "terminated by signal SIGUSR1"),
        (Terminated(4000), "terminated by signal 4000"),
        (Terminated(), "terminated"),
        (OperationalError("refused", "redis://h"), "cannot reach redis://h: refused"),
        (OperationalError("refused"), "refused"),
        (
            MissingExtra("redis:// URLs", "redis"),
            'redis:// URLs need an optional package: pip install "umbel[redis]"',
        ),
        (
            SchemaError(9, 2, store="umbel.db"),
            "umbel.db has schema version 9, this version of umbel works with 2: upgrade umbel here",
        ),
        (
            SchemaError(1, 2),
            "the store has schema version 1, this version of umbel works with 2: migrate the store",
        ),
        (StoreCorrupt("umbel.db"), "umbel.db is damaged; restore it from a backup or move it away"),
        (EncodeError("no rule for it", "args[0]"), "args[0] cannot be encoded: no rule for it"),
        (EncodeError("plain"), "plain"),
        (DecodeError("cut", "text/x"), "this text/x body cannot be decoded: cut"),
        (DecodeError("cut"), "cut"),
        (
            ContentDisallowed("a/b", ["d/e", "c/d"]),
            (
                "content of type a/b is refused (accepted: c/d, d/e); "
                "list it in accept_content only if you trust every sender"
            ),
        ),
        (
            SerializerNotInstalled("jsno", ["json"]),
            "'jsno' is not a registered codec (did you mean 'json'?)",
        ),
        (
            SerializerNotInstalled("yaml", extra="yaml"),
            "'yaml' is not installed: pip install \"umbel[yaml]\"",
        ),
        (
            UnroutableError("e", "k", reason="NO_ROUTE"),
            "no queue is bound to exchange 'e' with key 'k' (NO_ROUTE); the message was not queued",
        ),
        (
            LeaseLost("w1"),
            (
                "w1 holds no lease: it has ended, or was never taken; what was claimed under it "
                "may run elsewhere by now"
            ),
        ),
        (
            InvalidRate("5/d", "the unit is s, m or h"),
            (
                "'5/d' is not a rate limit (the unit is s, m or h); "
                "write it as 5, '5/s', '100/m' or '10/h'"
            ),
        ),
        (Reject("why", requeue=True), "reject requeue=True: why"),
    ],
)
def test_the_text_says_what_happened_to_which_thing_and_what_to_do(error, text):
    """Each class builds its own sentence from its fields."""
    assert str(error) == text


@pytest.mark.parametrize(
    ("args", "kwargs", "expected"),
    [
        (args, kwargs, expected)
        for (args, kwargs), expected in zip(
            [
                ((), {}),
                ((), {"exc": KeyError("x"), "when": 180}),
                (("m",), {"when": 3}),
                ((), {"exc": "boom", "when": 1.5}),
                ((), {"when": datetime(2030, 1, 1, tzinfo=UTC).replace(tzinfo=None)}),
            ],
            FACTS["errors"]["retry"],
            strict=True,
        )
    ],
)
def test_retry_says_when_and_why_as_celery_does(args, kwargs, expected):
    """humanize() and str() are Celery's."""
    retry = Retry(*args, **kwargs)
    assert [retry.humanize(), str(retry)] == expected


def test_retry_keeps_the_exception_and_its_text():
    """exc is the exception, excs what it looks like."""
    cause = KeyError("x")
    assert (Retry(exc=cause).exc, Retry(exc=cause).excs) == (cause, "KeyError('x')")
    assert (Retry(exc="boom").exc, Retry(exc="boom").excs) == (None, "boom")


def test_retry_is_readable_when_its_cause_is_not():
    """An exception whose repr raises does not hide the retry."""

    class UnprintableError(Exception):
        def __repr__(self):
            raise ValueError

    assert "its repr raised ValueError" in str(Retry(exc=UnprintableError(), when=1))


def test_reject_keeps_reason_and_requeue():
    """Reject(reason, requeue) is positional as in Celery."""
    assert (Reject("a", True).reason, Reject("a", True).requeue) == ("a", True)
    assert (Reject().reason, Reject().requeue) == (None, False)


def test_a_remote_error_looks_like_the_original():
    """str() and repr() of the stand-in are those of the exception it stands for."""
    for original in (ValueError("a", 1), ValueError("a"), ValueError()):
        stand_in = RemoteError("ValueError", "builtins", exc_args=original.args)
        assert (str(stand_in), repr(stand_in)) == (str(original), repr(original))
        assert stand_in.args == original.args


def test_max_retries_exceeded_keeps_the_arguments_of_the_task():
    """task_args and task_kwargs are there also when a text is given."""
    error = MaxRetriesExceededError("own", task_args=[1], task_kwargs={"a": 1})
    assert (error.task_args, error.task_kwargs) == ([1], {"a": 1})
    assert MaxRetriesExceededError().task_kwargs == {}


def test_reraise_raises_with_the_given_traceback():
    """What was raised keeps its place when it is raised again elsewhere."""
    try:
        raise KeyError(1)  # noqa: TRY301 - a traceback is wanted
    except KeyError as error:
        caught, place = error, error.__traceback__
    caught.__traceback__ = None
    with pytest.raises(KeyError) as again:
        exceptions.reraise(KeyError, caught, place)
    assert again.value is caught
    assert place in [entry._rawentry for entry in again.traceback]


def test_importing_the_errors_imports_nothing_heavy():
    """Everybody imports them, so they cost what the standard library's core costs."""
    code = (
        "import sys, umbel.exceptions as e; print('difflib' in sys.modules, 'click' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
