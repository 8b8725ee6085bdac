"""How states are stored: formats, expiry, exceptions as data, and where nothing is kept."""

from __future__ import annotations

import asyncio
import enum
import json
import sys
import zlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import ModuleType
from uuid import UUID

import pytest

from umbel import exceptions
from umbel.backend import NoBackend
from umbel.context import Context
from umbel.failure import exception_from_data, exception_to_data
from umbel.message import StoredResult
from umbel.meta import MetaCodec
from umbel.result import AsyncResult


def stored(app, task_id="id"):
    return app.backend.store.fetch([task_id])[task_id]


def payload(app, task_id="id"):
    return json.loads(stored(app, task_id).payload)


def raw(app, meta, content_type="application/json"):
    """Stores something as a foreign writer would."""
    data = meta if isinstance(meta, bytes) else json.dumps(meta).encode()
    app.backend.store.store([StoredResult("id", "X", data, True, None, content_type)])
    return app.AsyncResult("id")


def test_the_keys_are_those_of_celery_in_their_order(make):
    app = make(result_extended=True)
    request = Context(
        id="id",
        task="add",
        args=[1],
        kwargs={},
        hostname="w@host",
        retries=0,
        delivery_info={"routing_key": "q"},
        group="g",
        parent_id="p",
        stamped_headers=["colour"],
        stamps={"colour": "red"},
    )
    app.backend.put("id", 5, "SUCCESS", request=request, children=[])
    assert list(payload(app)) == [
        *("status", "result", "traceback", "children", "date_done", "group_id", "parent_id"),
        *("name", "args", "kwargs", "worker", "retries", "queue", "stamped_headers", "colour"),
        "task_id",
    ]
    app.backend.put("plain", 5, "SUCCESS")
    assert list(payload(app, "plain")) == [
        *("status", "result", "traceback", "children", "date_done", "task_id"),
    ]


def test_date_done_is_text_for_final_states_alone(app):
    app.backend.put("id", 5, "SUCCESS")
    assert datetime.fromisoformat(payload(app)["date_done"]).tzinfo is not None
    app.backend.put("other", 5, "STARTED")
    assert payload(app, "other")["date_done"] is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, 2.5, "ä", True, {"a": None}],
        datetime(2030, 1, 1, tzinfo=UTC),
        Decimal("1.10"),
        UUID(int=5),
        b"\xff\x00",
    ],
)
def test_values_come_back_as_what_they_were(kept, value):
    kept.backend.put("id", value, "SUCCESS")
    found = kept.AsyncResult("id").get()
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_the_serializer_is_that_of_the_settings(make, serializer):
    app = make(result_serializer=serializer, result_accept_content=[serializer])
    app.backend.put("id", {"a": [1]}, "SUCCESS")
    assert app.AsyncResult("id").get() == {"a": [1]}
    app.backend.put("failed", KeyError("k"), "FAILURE")
    with pytest.raises(KeyError):
        app.AsyncResult("failed").get()


def test_what_is_not_accepted_is_refused_before_it_is_decoded(make):
    """``result_accept_content`` is ``accept_content`` unless it is set."""
    app = make(result_serializer="pickle")
    app.backend.put("id", {"a"}, "SUCCESS")
    with pytest.raises(exceptions.ContentDisallowed, match="python-serialize"):
        app.AsyncResult("id").get()
    app.conf.accept_content = ["json", "pickle"]
    assert app.AsyncResult("id").get() == {"a"}
    app.conf.result_accept_content = ["json"]
    with pytest.raises(exceptions.ContentDisallowed):
        app.AsyncResult("id").get()


def test_a_value_that_cannot_be_stored_is_named_by_its_path(app):
    with pytest.raises(exceptions.EncodeError, match=r"^result\.a\[1\] cannot be encoded"):
        app.backend.put("id", {"a": [1, object()]}, "SUCCESS")
    assert app.AsyncResult("id").state == "PENDING"


@pytest.mark.parametrize("name", ["gzip", "bzip2", "lzma"])
def test_results_are_compressed_if_so_set_and_read_in_any_case(make, name):
    app = make(backend="memory://compressed", result_compression=name)
    app.backend.put("id", "x" * 1000, "SUCCESS")
    assert stored(app).payload.startswith(b"\x00celery-compressed\x00")
    assert len(stored(app).payload) < 500
    plain = make(backend="memory://compressed")
    assert plain.AsyncResult("id").get() == "x" * 1000
    app.AsyncResult("id").forget()


def test_what_unpacks_to_too_much_is_refused(make):
    app = make(message_max_decompressed_bytes=1000)
    bomb = b"\x00celery-compressed\x00application/x-gzip\x00" + zlib.compress(b"0" * 100_000)
    with pytest.raises(exceptions.BackendGetMetaError, match="id"):
        raw(app, bomb).state  # noqa: B018 - reading is the point


def test_results_expire_after_a_day_unless_set(make):
    assert stored_expiry(make()) == 86400
    assert stored_expiry(make(result_expires=60)) == 60
    assert stored_expiry(make(result_expires=timedelta(minutes=2))) == 120


def stored_expiry(app, state="SUCCESS"):
    app.backend.put("expiring", KeyError("k") if state == "FAILURE" else 5, state)
    return stored(app, "expiring").expires


@pytest.mark.parametrize("never", [None, 0])
def test_results_may_be_kept_for_ever(make, never):
    app = make()
    app.conf.result_expires = never
    assert stored_expiry(app) is None


def test_failures_may_expire_at_another_time(make):
    app = make(result_expires=100, result_failure_expires=200)
    assert stored_expiry(app) == 100
    app.AsyncResult("expiring").forget()
    assert stored_expiry(app, "FAILURE") == 200
    app = make(result_expires=100)
    assert stored_expiry(app, "FAILURE") == 100


def test_expired_results_are_pending_and_cleaned_up(make):
    app = make(result_expires=0.001)
    app.backend.put("id", 5, "SUCCESS")
    from patience import wait_until

    wait_until(lambda: app.AsyncResult("id").state == "PENDING")
    assert app.backend.cleanup() == 1
    assert app.backend.cleanup() == 0


def test_results_are_kept_in_memory_if_so_set(make):
    app = make(result_cache_max=2)
    for name in ("a", "b", "c"):
        app.backend.put(name, name, "SUCCESS")
        assert app.AsyncResult(name).get() == name
    app.backend.store.forget(["a", "b", "c"])
    assert [app.AsyncResult(name).state for name in ("a", "b", "c")] == [
        "PENDING",
        "SUCCESS",
        "SUCCESS",
    ]
    app.AsyncResult("c").forget()
    assert app.AsyncResult("c").state == "PENDING"


def test_a_result_that_is_a_result_is_stored_as_its_form(app):
    app.backend.put("id", app.AsyncResult("other"), "SUCCESS")
    assert app.AsyncResult("id").get() == [["other", None], None]


# -- what cannot be read -------------------------------------------------------------------


@pytest.mark.parametrize(
    "garbage", [b"{", b"\xff\xfe", b"[]", b"5", b"{}", b'{"status": 5}', b'{"result": 1}']
)
def test_garbage_is_an_error_that_names_the_task(app, garbage):
    result = raw(app, garbage)
    with pytest.raises(exceptions.BackendGetMetaError, match="task id cannot be read") as raised:
        result.get(timeout=1)
    assert raised.value.task_id == "id"


def test_garbage_is_an_error_in_an_event_loop_too(app):
    async def main():
        await raw(app, b"{").aget(timeout=1)

    with pytest.raises(exceptions.BackendGetMetaError):
        asyncio.run(main())


def test_a_state_without_a_value_has_none(app):
    assert raw(app, {"status": "SUCCESS"}).get(timeout=1) is None


# -- exceptions as data --------------------------------------------------------------------


class Outer:
    class InnerError(Exception):
        """An exception inside a class."""


class TwoArgumentsError(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class Colour(enum.Enum):
    RED = 1


def failed(app, error):
    app.backend.put("id", error, "FAILURE")
    found = app.AsyncResult("id").result
    app.AsyncResult("id").forget()
    return found


def test_an_exception_is_stored_as_type_message_and_module(app):
    app.backend.put("id", KeyError("k", 1), "FAILURE")
    assert payload(app)["result"] == {
        "exc_type": "KeyError",
        "exc_message": ["k", 1],
        "exc_module": "builtins",
    }


@pytest.mark.parametrize(
    "error",
    [
        KeyError("k"),
        ValueError("a", 2, None),
        OSError(2, "No such file"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        exceptions.MaxRetriesExceededError("used up"),
        Outer.InnerError("deep"),
        exceptions.TaskRevokedError("revoked"),
    ],
)
def test_an_exception_that_is_known_here_comes_back(kept, error):
    found = failed(kept, error)
    assert (type(found), found.args) == (type(error), error.args)


def test_arguments_that_have_a_form_come_back_as_what_they_were(app):
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    assert failed(app, ValueError(moment, Decimal("1.1"), UUID(int=1))).args == (
        moment,
        Decimal("1.1"),
        UUID(int=1),
    )


def test_arguments_that_have_none_are_represented(app):
    args = failed(app, ValueError(object(), [1, object()], {"a": {1}})).args
    assert args[0].startswith("<object object at")
    assert args[1][0] == 1
    assert args[1][1].startswith("<object object at")
    assert args[2] == {"a": "{1}"}


def test_an_exception_that_cannot_be_built_again_is_stood_in_for(app):
    """Its constructor wants other arguments than it kept."""
    found = failed(app, TwoArgumentsError("a", "b"))
    assert type(found) is exceptions.RemoteError
    assert (found.exc_type, found.args, str(found)) == ("TwoArgumentsError", ("a b",), "a b")


def test_an_exception_of_a_class_nobody_knows_here_is_stood_in_for(app):
    class LocalError(Exception):
        pass

    found = failed(app, LocalError("here"))
    assert type(found) is exceptions.RemoteError
    assert found.exc_type.endswith("LocalError")
    app.backend.put("id", LocalError("here"), "FAILURE")
    with pytest.raises(exceptions.RemoteError, match="here"):
        app.AsyncResult("id").get()


def test_an_exception_that_cannot_be_printed_is_stored_nevertheless(app):
    assert failed(app, UnprintableError("x")).args == ("x",)
    assert type(failed(app, ValueError(UnprintableError("x")))) is ValueError


def test_an_exception_whose_arguments_are_broken_is_stored_nevertheless(app):
    class BrokenError(Exception):
        @property
        def args(self):
            raise RuntimeError("no arguments")

    assert isinstance(failed(app, BrokenError()), exceptions.RemoteError)


def test_arguments_that_hold_themselves_are_stored_nevertheless(app):
    endless = []
    endless.append(endless)
    assert isinstance(failed(app, ValueError(endless)), ValueError)


def test_no_module_is_imported_because_a_result_names_it(app, write):
    write("never_imported.py", "raise SystemExit('imported')\nclass Error(Exception): pass\n")
    result = raw(
        app,
        {
            "status": "FAILURE",
            "result": {"exc_type": "Error", "exc_message": [], "exc_module": "never_imported"},
        },
    )
    with pytest.raises(exceptions.RemoteError):
        result.get(timeout=1)
    assert "never_imported" not in sys.modules


def test_a_module_is_not_even_asked_for_names_that_it_makes_on_demand(monkeypatch):
    module = ModuleType("lazy_module")
    asked = []
    module.__getattr__ = lambda name: asked.append(name) or ValueError
    monkeypatch.setitem(sys.modules, "lazy_module", module)
    data = {"exc_type": "Lazy", "exc_message": [], "exc_module": "lazy_module"}
    assert type(exception_from_data(data)) is exceptions.RemoteError
    assert asked == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "int"),
        ("subprocess", "Popen"),
        ("builtins", "BaseException.with_traceback"),
    ],
)
def test_what_is_no_exception_is_a_security_error(app, module, name):
    """Nothing is called because a result names it."""
    import subprocess  # noqa: F401 - so that it is there to be found

    result = raw(
        app,
        {
            "status": "FAILURE",
            "result": {"exc_type": name, "exc_message": ["echo"], "exc_module": module},
        },
    )
    with pytest.raises(exceptions.SecurityError, match="not an exception class"):
        result.get(timeout=1)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "SystemExit"),
        ("builtins", "KeyboardInterrupt"),
        ("builtins", "GeneratorExit"),
        ("asyncio.exceptions", "CancelledError"),
    ],
)
def test_what_would_end_the_caller_is_stood_in_for(module, name):
    """A stored result must not end a process or cancel a coroutine."""
    data = {"exc_type": name, "exc_message": [1], "exc_module": module}
    found = exception_from_data(data)
    assert type(found) is exceptions.RemoteError
    assert (found.exc_type, found.args) == (name, (1,))


@pytest.mark.parametrize(
    "data", [{}, {"exc_type": None}, {"exc_type": ""}, {"exc_type": 5, "exc_message": []}]
)
def test_an_exception_without_a_type_is_an_error(app, data):
    with pytest.raises(ValueError, match="no type name"):
        exception_from_data(data)
    with pytest.raises(exceptions.BackendGetMetaError, match="no type name"):
        raw(app, {"status": "FAILURE", "result": data}).get(timeout=1)


@pytest.mark.parametrize(
    ("message", "args"), [("text", ("text",)), (None, ()), (["a", 1], ("a", 1))]
)
def test_older_forms_of_messages_are_understood(message, args):
    data = {"exc_type": "ValueError", "exc_message": message}
    assert exception_from_data(data).args == args


def test_a_text_in_place_of_an_exception_is_understood():
    found = exception_from_data("went wrong")
    assert isinstance(found, Exception)
    assert found.args == ("went wrong",)


def test_an_exception_passes_through():
    error = KeyError("k")
    assert exception_from_data(error) is error


def test_pickle_keeps_real_exceptions_and_stands_in_for_those_it_cannot(make):
    app = make(result_serializer="pickle", accept_content=["pickle"])
    error = OSError(2, "No such file")
    error.note = "kept"
    assert failed(app, error).note == "kept"
    found = failed(app, TwoArgumentsError("a", "b"))
    assert type(found) is exceptions.RemoteError
    assert found.exc_type == "TwoArgumentsError"


def test_enumerations_in_arguments_do_not_break_anything(app):
    assert failed(app, ValueError(Colour.RED)).args[0] in (1, "<Colour.RED: 1>", "Colour.RED")


def test_what_data_an_exception_becomes():
    data = exception_to_data(Outer.InnerError(1, "two", (3, [4])))
    assert data["exc_type"] == "Outer.InnerError"
    assert data["exc_message"] == [1, "two", [3, [4]]]
    assert sys.modules[data["exc_module"]].Outer is Outer


# -- no result backend ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["disabled", "disabled://"])
def test_a_disabled_backend_keeps_nothing_and_says_so(make, name):
    app = make(backend=name)
    assert isinstance(app.backend, NoBackend)
    app.backend.put("id", 5, "SUCCESS")
    result = app.AsyncResult("id")
    for ask in (
        result.get,
        result.ready,
        result.exists,
        lambda: result.state,
        lambda: result.result,
        lambda: asyncio.run(result.aget()),
        lambda: app.backend.get("id"),
        lambda: app.backend.get_many(["id"]),
        lambda: result.then(print),
    ):
        with pytest.raises(NotImplementedError, match="no result backend is configured"):
            ask()
    result.forget()
    assert app.backend.cleanup() == 0
    assert (app.result_store, app.result_codec, app.backend_shown) == (None, None, "disabled")


def test_an_embedded_broker_keeps_results_unless_told_otherwise(make):
    app = make(broker="sqlite:///both.db")
    assert app.backend.store is app.connections.server.backend
    assert app.settles_together
    other = make(broker="sqlite:///both.db", backend="memory://elsewhere")
    assert not other.settles_together


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "sqlite:///one.db"])
def test_one_server_under_one_url_settles_messages_and_results_in_one_step(make, url):
    """Whatever the server: a result is never stored without the end of its message."""
    assert make(broker=url, backend=url).settles_together
    assert not make(broker=url, backend="memory://elsewhere").settles_together


def test_states_of_a_task_go_through_the_application(app):
    app.put_state("id", {"done": 1}, "PROGRESS")
    assert app.AsyncResult("id").info == {"done": 1}
    app.conf.result_backend = "disabled"
    app.put_state("id", {"done": 2}, "PROGRESS")


def test_a_codec_stands_alone():
    codec = MetaCodec()
    made = codec.encode("id", "SUCCESS", 5)
    assert (made.id, made.status, made.final, made.expires) == ("id", "SUCCESS", True, None)
    assert made.content_type == "application/json"
    assert codec.decode(made)["result"] == 5


def test_a_class_may_keep_results(make):
    """A backend of the user's own is given by its class or path, and made once."""
    kept = {}

    class Own:
        def __init__(self, app, url):
            self.made_for = app

        def setup(self):
            kept["set up"] = True

        def close(self):
            kept["closed"] = True

        def store(self, results):
            kept.update({result.id: result for result in results})

        def fetch(self, ids):
            return {task_id: kept[task_id] for task_id in ids if task_id in kept}

    app = make(backend=Own)
    app.backend.put("id", 5, "SUCCESS")
    assert kept["set up"]
    assert app.backend.store.made_for is app
    assert AsyncResult("id", app=app).get(timeout=0) == 5
    assert app.backend_shown.endswith("Own")
    app.close()
    assert kept["closed"]


@pytest.mark.parametrize(
    ("error", "module"),
    [
        (exceptions.TaskRevokedError("expired"), "celery.exceptions"),
        (exceptions.OperationalError("gone"), "kombu.exceptions"),
        (exceptions.TimeLimitExceeded(30), "billiard.exceptions"),
    ],
)
def test_exceptions_that_celery_has_are_stored_under_its_names(error, module):
    """Its readers build their own of them, and so do we of what it stored."""
    data = exception_to_data(error)
    assert (data["exc_type"], data["exc_module"]) == (type(error).__name__, module)
    again = exception_from_data(data)
    assert (type(again), again.args) == (type(error), error.args)


def test_other_names_in_the_modules_of_celery_are_not_ours():
    """Only exceptions that both have stand for each other."""
    data = {"exc_type": "UmbelError", "exc_message": ["x"], "exc_module": "celery.exceptions"}
    assert type(exception_from_data(data)) is exceptions.RemoteError


def test_text_that_utf_8_does_not_know_is_escaped():
    """Odd file names must not hide why a task failed."""
    data = exception_to_data(FileNotFoundError("odd\udce4name"))
    assert data["exc_message"] == ["odd\\udce4name"]
