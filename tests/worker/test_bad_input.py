"""Messages and applications that are broken: a clear word in the right place, and on it goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from umbel.exceptions import NotRegistered
from umbel.message import Message
from workers import wait_until


def bury(errands, reason):
    """The only dead letter, which must have this reason."""
    (buried,) = wait_until(errands.app.broker.dead, "a dead letter")
    assert buried.letter.reason == reason
    return buried.letter


def still_works(errands):
    assert errands.add.delay(1, 1).get(timeout=10) == 2


def test_an_unknown_task_goes_to_the_dead_letters_and_its_caller_is_told(errands, start):
    """With the nearest name that is known."""
    start()
    result = errands.app.send_task("errands.ad", (1, 2))
    with pytest.raises(NotRegistered):
        result.get(timeout=10)
    still_works(errands)
    assert "did you mean 'errands.add'" in bury(errands, "unknown-task").detail


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe", b"[1, 2", b'"text"', b"[[], {}]", b"[1, {}, {}]", b"[[], [], {}]", b"NaN"],
)
def test_a_body_that_cannot_be_read_goes_to_the_dead_letters(errands, start, body):
    """With the raw bytes, and a failure for whoever waits."""
    start()
    message, _ = errands.add.build((1, 2), {}, {})
    errands.app.broker.publish([replace(message, body=body)])
    result = errands.app.AsyncResult(message.id)
    with pytest.raises(Exception, match=r"."):
        result.get(timeout=10)
    assert result.failed()
    still_works(errands)
    assert bury(errands, "undecodable").message.body == body


def test_pickle_is_refused_before_it_is_decoded(errands, start, own_directory):
    """The file that decoding would make does not exist."""
    start()
    marker = own_directory / "pwned"
    body = b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR."
    message, _ = errands.add.build((1, 2), {}, {})
    evil = replace(
        message,
        body=body,
        content_type="application/x-python-serialize",
        content_encoding="binary",
    )
    errands.app.broker.publish([evil])
    assert errands.app.AsyncResult(message.id).get(timeout=10, propagate=False)
    still_works(errands)
    assert bury(errands, "refused-content")
    assert not marker.exists()


def test_a_settlement_that_no_store_takes_does_not_stop_the_others(errands, start):
    """A task name that is no text, a lone surrogate: whatever a header may hold."""
    start()
    message, _ = errands.add.build((1, 2), {}, {})
    odd = {**message.headers, "id": 7, "root_id": ["x"], "shadow": "\ud800", "argsrepr": 5}
    errands.app.broker.publish([replace(message, headers=odd)])
    still_works(errands)
    assert errands.app.AsyncResult(message.id).get(timeout=10) == 3


def test_a_message_without_a_task_name_goes_to_the_dead_letters(errands, start):
    """Nothing to run, nothing lost."""
    start()
    errands.app.broker.publish([Message("nameless", {}, b"[[], {}, {}]", queue="celery")])
    still_works(errands)
    assert bury(errands, "malformed").message.id == "nameless"


def test_a_dead_letter_can_be_sent_again(errands, start):
    """Replayed, it is delivered as new."""
    message, _ = errands.add.build((20, 22), {}, {})
    unknown = replace(message, headers={**message.headers, "task": "errands.gone"})
    errands.app.broker.publish([unknown])
    worker = start()
    (buried,) = wait_until(errands.app.broker.dead, "a dead letter")
    assert worker.stop() == 0
    assert errands.app.broker.replay([buried.number]) == 1
    assert errands.app.broker.dead() == []
    assert errands.app.broker.stats(["celery"])[0].ready == 1


def test_wrong_argument_types_in_a_message_fail_the_task(errands, start):
    """The function's own TypeError."""
    start()
    result = errands.app.send_task("errands.add", (1, 2, 3))
    with pytest.raises(TypeError):
        result.get(timeout=10)
    still_works(errands)


def test_a_module_that_cannot_be_imported_ends_the_start_with_its_traceback(
    own_directory, start, errands
):
    """The user's own frames, none of ours, exit code 1."""
    (own_directory / "errands.py").write_text("import nonsense_that_is_missing\n")
    worker = start(ready=False)
    assert worker.wait() != 0
    assert "nonsense_that_is_missing" in worker.text
    assert "umbel/worker" not in worker.text
