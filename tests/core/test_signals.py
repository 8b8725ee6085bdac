"""Signals: who is called, with what, and what never reaches the sender."""

from __future__ import annotations

import functools
import gc
import logging
import threading
import weakref

import pytest

from celery_facts import FACTS
from umbel import signals
from umbel.exceptions import UmbelDeprecationWarning
from umbel.local import Pending, Proxy
from umbel.signals import Signal


class Sender:
    """Something that can be sent with a signal."""


def receiver(**named):
    return named


def other(**_):
    return "other"


@pytest.fixture
def signal():
    return Signal({"x"}, name="sig")


def answers(signal, sender=None, **named):
    return [response for _, response in signal.send(sender=sender, **named)]


# ---------------------------------------------------------------------------------- connecting


def test_connect_is_called_with_a_receiver(signal):
    """It returns the receiver."""
    assert signal.connect(receiver) is receiver
    assert answers(signal, "s", x=1) == [{"signal": signal, "sender": "s", "x": 1}]


def test_connect_is_a_decorator(signal):
    """Without parentheses."""

    @signal.connect
    def decorated(**_):
        return 1

    assert answers(signal) == [1]
    assert callable(decorated)


def test_connect_is_a_decorator_with_options(signal):
    """@signal.connect(sender=…)."""

    @signal.connect(sender="a")
    def decorated(**_):
        return 1

    assert answers(signal, "a") == [1]
    assert answers(signal, "b") == []
    assert callable(decorated)


def test_receivers_are_called_in_the_order_of_connecting(signal):
    """And each answer stands beside its receiver."""
    signal.connect(other)
    signal.connect(receiver)
    assert [each for each, _ in signal.send("s")] == [other, receiver]


def test_the_same_receiver_and_sender_connect_once(signal):
    """Connecting again changes nothing; another sender is another connection."""
    signal.connect(receiver)
    signal.connect(receiver)
    assert len(signal.receivers) == 1
    signal.connect(receiver, sender="a")
    assert len(signal.receivers) == 2


def test_a_dispatch_uid_connects_once_whatever_the_receiver(signal):
    """A module that is imported twice connects once."""
    signal.connect(receiver, dispatch_uid="u")
    signal.connect(other, dispatch_uid="u")
    assert [each for each, _ in signal.send("s")] == [receiver]


@pytest.mark.parametrize(
    "fixed",
    [lambda: None, lambda sender: None, lambda *args: None, functools.partial(lambda x: x), len],
)
def test_a_receiver_must_accept_keyword_arguments(signal, fixed):
    """One that does not is a ValueError when it is connected, not when something happens."""
    with pytest.raises(ValueError, match=r"must accept \*\*kwargs"):
        signal.connect(fixed)


def test_a_receiver_may_name_what_it_needs(signal):
    """Besides **kwargs; callables of every kind will do."""

    class Callable:
        def __call__(self, sender, x, **_):
            return (sender, x)

    made = Callable()
    partial = functools.partial(lambda y, x=None, **_: (y, x), 5)
    signal.connect(made)
    signal.connect(partial)
    assert answers(signal, "s", x=1) == [("s", 1), (5, 1)]


@pytest.mark.parametrize("value", [5, "text", object()])
def test_a_receiver_must_be_callable(signal, value):
    """A TypeError shows what was given."""
    with pytest.raises(TypeError, match="must be callable"):
        signal.connect(value)


# ------------------------------------------------------------------------------ weak and strong


def test_a_receiver_is_held_weakly(signal):
    """When it goes, its connection goes, and the signal is empty again."""

    def short_lived(**_):
        return 1

    signal.connect(short_lived)
    assert answers(signal) == [1]
    del short_lived
    gc.collect()
    assert signal.receivers == ()
    assert answers(signal) == []


def test_a_strong_receiver_stays(signal):
    """weak=False keeps lambdas and nested functions."""
    signal.connect(lambda **_: 1, weak=False)
    gc.collect()
    assert answers(signal) == [1]


def test_a_bound_method_lives_as_long_as_its_object(signal):
    """A fresh method object at each access does not matter."""

    class Listener:
        def hear(self, **_):
            return 1

    listener = Listener()
    signal.connect(listener.hear)
    signal.connect(listener.hear)
    gc.collect()
    assert answers(signal) == [1]
    assert signal.disconnect(listener.hear)
    signal.connect(listener.hear)
    del listener
    gc.collect()
    assert answers(signal) == []


def test_a_receiver_at_a_reused_address_is_connected(signal):
    """Identity is that of living objects, not of their addresses."""
    for _ in range(10):

        def short_lived(**_):
            return 1

        signal.connect(short_lived)
        assert answers(signal) == [1]
        del short_lived
        gc.collect()


def test_a_connection_does_not_keep_its_sender_alive(signal):
    """It goes with the sender, and does not answer for whoever takes its address."""
    sender = Sender()
    gone = weakref.ref(sender)
    signal.connect(receiver, sender=sender)
    del sender
    gc.collect()
    assert gone() is None
    assert signal.receivers == ()


# ------------------------------------------------------------------------------------- senders


def test_a_text_is_compared_by_value(signal):
    """The name of a task, however it was put together."""
    signal.connect(other, sender="proj.add")
    assert answers(signal, "proj." + str(b"add", "ascii")) == ["other"]
    signal.connect(receiver, sender=b"raw")
    assert len(answers(signal, bytes([114, 97, 119]))) == 1


def test_everything_else_is_compared_by_identity(signal):
    """Equal is not enough, and unhashable things are senders too."""
    sender = [1]
    signal.connect(other, sender=sender)
    assert answers(signal, sender) == ["other"]
    assert answers(signal, [1]) == []


def test_the_name_of_a_task_does_not_match_the_task(signal):
    """Only the publish signals are sent with names."""
    task = Sender()
    task.name = "proj.add"
    signal.connect(other, sender="proj.add")
    assert answers(signal, task) == []


def test_no_sender_hears_all(signal):
    """And is told who it was."""
    signal.connect(lambda sender, **_: sender, weak=False)
    sender = Sender()
    assert answers(signal, sender) == [sender]
    assert answers(signal, None) == [None]


def test_a_lazy_task_counts_as_what_it_turns_into(signal):
    """Connecting does not evaluate it; once it is made its connection is there."""
    task = Sender()
    made = []

    def make():
        made.append(task)
        return task

    lazy = Pending(make)
    signal.connect(other, sender=lazy)
    assert made == []
    assert signal.receivers == ()
    lazy._get_current_object()
    assert answers(signal, task) == ["other"]
    assert answers(signal, lazy) == ["other"]


def test_a_lazy_task_can_be_disconnected_before_it_is_made(signal):
    """Disconnecting evaluates it."""
    task = Sender()
    lazy = Pending(lambda: task)
    signal.connect(other, sender=lazy)
    assert signal.disconnect(other, sender=lazy)
    assert answers(signal, task) == []


def test_a_proxy_counts_as_the_object_behind_it(signal):
    """current_app is the app."""
    app = Sender()
    signal.connect(other, sender=Proxy(lambda: app))
    assert answers(signal, app) == ["other"]
    assert answers(signal, Proxy(lambda: app)) == ["other"]


# ------------------------------------------------------------------------------- disconnecting


def test_disconnect_says_whether_there_was_a_connection(signal):
    """True once, then False."""
    signal.connect(receiver)
    assert signal.disconnect(receiver) is True
    assert signal.disconnect(receiver) is False
    assert signal.receivers == ()


def test_disconnect_takes_the_same_sender_and_uid(signal):
    """Other connections of the receiver stay."""
    signal.connect(receiver, sender="a", dispatch_uid="u")
    signal.connect(receiver)
    assert not signal.disconnect(receiver, sender="a")
    assert not signal.disconnect(dispatch_uid="u")
    assert signal.disconnect(dispatch_uid="u", sender="a")
    assert signal.disconnect(receiver)


def test_the_weak_argument_of_disconnect_only_warns(signal):
    """It never had an effect."""
    signal.connect(receiver)
    with pytest.warns(UmbelDeprecationWarning, match="no effect"):
        assert signal.disconnect(receiver, weak=True)


def test_a_receiver_may_disconnect_itself_while_it_is_called(signal):
    """Those after it are still called."""

    def once(**_):
        signal.disconnect(once)
        return "once"

    signal.connect(once)
    signal.connect(other)
    assert answers(signal) == ["once", "other"]
    assert answers(signal) == ["other"]


# ------------------------------------------------------------------------------------- sending


def test_sending_to_nobody_answers_nothing(signal):
    """And receivers is false, so that senders need not even build the arguments."""
    assert signal.send("s", x=1) == []
    assert not signal.receivers
    signal.connect(receiver)
    assert signal.receivers


def test_the_sender_is_given_by_position_or_by_name(signal):
    """As in Celery."""
    signal.connect(lambda sender, **_: sender, weak=False)
    assert signal.send("s")[0][1] == signal.send(sender="s")[0][1] == "s"


def test_what_a_receiver_raises_is_its_answer_and_is_logged(signal, caplog):
    """The sender goes on, and so do the other receivers."""

    def broken(**_):
        raise ValueError(1)

    signal.connect(broken)
    signal.connect(other)
    with caplog.at_level(logging.ERROR, logger="umbel.signals"):
        (_, error), (_, answer) = signal.send("s")
    assert (type(error), error.args, answer) == (ValueError, (1,), "other")
    [record] = caplog.records
    assert "broken" in record.getMessage()
    assert "of signal sig raised ValueError(1)" in record.getMessage()
    assert record.exc_info[1] is error


@pytest.mark.parametrize("exit_", [SystemExit, KeyboardInterrupt])
def test_an_exit_is_not_swallowed(signal, exit_):
    """A receiver may ask the process to end."""

    @signal.connect
    def leaving(**_):
        raise exit_

    with pytest.raises(exit_):
        signal.send("s")
    assert callable(leaving)


def test_send_robust_is_send(signal):
    """There is no other way to send."""
    signal.connect(receiver)
    assert signal.send_robust("s", x=1) == signal.send("s", x=1)


def test_has_listeners_says_whether_anybody_would_be_called(signal):
    """For a sender, or for none in particular."""
    signal.connect(receiver, sender="a")
    assert signal.has_listeners("a")
    assert not signal.has_listeners("b")
    assert not signal.has_listeners()
    signal.connect(receiver)
    assert signal.has_listeners("b")
    assert signal.has_listeners()


def test_a_receiver_with_retry_is_called_until_it_succeeds(caplog):
    """After 2, 4, 6 … and at most 30 seconds; each failure is logged."""
    pauses, calls = [], []
    signal = Signal(name="sig", sleep=pauses.append)

    def flaky(**_):
        calls.append(1)
        if len(calls) < 20:
            raise OSError
        return "done"

    signal.connect(flaky, retry=True)
    assert signal.send("s") == [(flaky, "done")]
    assert pauses == [*range(2, 30, 2), 30, 30, 30, 30, 30]
    assert len(caplog.records) == 19
    assert signal.disconnect(flaky)


def test_connecting_and_sending_in_many_threads_loses_no_connection(signal):
    """Each connection is there afterwards, and no send fails meanwhile."""
    listeners = [[lambda **_: 1 for _ in range(50)] for _ in range(4)]
    failures = []

    def work(own):
        for each in own:
            signal.connect(each)
            failures.extend(answer for _, answer in signal.send("s") if answer != 1)

    threads = [threading.Thread(target=work, args=(own,)) for own in listeners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(signal.receivers) == 200
    assert failures == []


def test_a_signal_says_its_name_and_arguments(signal):
    """As Celery shows it."""
    assert repr(signal) == str(signal) == "<Signal: sig providing_args={'x'}>"
    assert repr(Signal()) == "<Signal: None providing_args=set()>"


# ----------------------------------------------------------------------- the signals there are


@pytest.mark.parametrize(("name", "arguments"), FACTS["signals"].items())
def test_every_signal_of_celery_is_there(name, arguments):
    """With its name, and at least the arguments that Celery documents for it."""
    there = getattr(signals, name)
    assert there.name == name
    assert set(arguments) <= there.providing_args


def test_signals_are_named_as_they_are_imported():
    """Logs say the name under which a receiver was connected."""
    for name, value in vars(signals).items():
        if isinstance(value, Signal):
            assert value.name == name


def test_nobody_listens_before_somebody_connects():
    """Umbel connects nothing to its own signals when it is imported."""
    connected = [
        name
        for name, value in vars(signals).items()
        if isinstance(value, Signal) and value.receivers
    ]
    assert connected == []
