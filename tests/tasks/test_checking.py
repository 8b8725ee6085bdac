"""Arguments are checked where the call is made; ``pydantic=True`` checks them where it runs."""

from __future__ import annotations

from types import MappingProxyType
from typing import Optional

import pydantic
import pytest

from umbel import Task
from umbel.exceptions import EncodeError


def two(x, y):
    return x, y


def default(x, y=2):
    return x, y


def keyword(x, *, y):
    return x, y


def optional(x, *, y=2):
    return x, y


def many(*args, **kwargs):
    return args, kwargs


def positional(x, /, y):
    return x, y


FITTING = [
    (two, (1, 2), {}),
    (two, (1,), {"y": 2}),
    (two, (), {"x": 1, "y": 2}),
    (default, (1,), {}),
    (default, (1, 2), {}),
    (keyword, (1,), {"y": 2}),
    (optional, (1,), {}),
    (many, (), {}),
    (many, (1, 2, 3), {"a": 4}),
    (positional, (1,), {"y": 2}),
]

UNFITTING = [
    (two, (), {}, "missing a required argument: 'x'"),
    (two, (1,), {}, "missing a required argument: 'y'"),
    (two, (1, 2, 3), {}, "too many positional arguments: takes 2, was given 3"),
    (two, (1,), {"z": 2}, "'y'|'z'"),
    (two, (1, 2), {"x": 1}, "multiple values for argument 'x'"),
    (default, (1,), {"yy": 2}, r"unexpected keyword argument 'yy' \(did you mean 'y'\?\)"),
    (keyword, (1,), {}, "missing a required.* argument: 'y'"),
    (keyword, (1, 2), {}, "missing a required.* argument: 'y'|too many positional"),
    (optional, (1, 2), {}, "too many positional arguments: takes 1, was given 2"),
    (positional, (), {"x": 1, "y": 2}, "'x'"),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), FITTING)
def test_fitting_arguments_are_sent(site, app, function, args, kwargs):
    """Whatever the function takes."""
    app.task(shared=False)(function).apply_async(args, kwargs)
    assert len(site.waiting()) == 1


@pytest.mark.parametrize(("function", "args", "kwargs", "said"), UNFITTING)
def test_unfitting_arguments_are_a_type_error_that_names_the_parameter(
    site, app, function, args, kwargs, said
):
    """Nothing is sent, and the error says what is wrong and what would be right."""
    task = app.task(shared=False)(function)
    with pytest.raises(TypeError, match=said) as caught:
        task.apply_async(args, kwargs)
    assert str(caught.value).startswith(f"{function.__name__}() ")
    assert "its signature is (" in str(caught.value)
    with pytest.raises(TypeError):
        task.delay(*args, **kwargs)
    assert site.waiting() == []


@pytest.mark.parametrize(("function", "args", "kwargs", "_said"), UNFITTING)
def test_the_check_agrees_with_python(function, args, kwargs, _said):
    """What is refused here is what the function itself refuses."""
    with pytest.raises(TypeError):
        function(*args, **kwargs)


def test_self_of_a_bound_task_is_no_argument(site, app):
    """The task comes by itself."""
    task = app.task(bind=True, shared=False)(lambda self, x: x)
    task.delay(1)
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        task.delay()
    with pytest.raises(TypeError, match="too many positional arguments: takes 1, was given 2"):
        task.delay(1, 2)
    assert len(site.waiting()) == 1


def test_the_run_method_of_a_class_is_checked_too(app):
    """A class-based task is called as carefully."""

    class Add(Task):
        def run(self, x, y):
            return x + y

    task = app.register_task(Add())
    with pytest.raises(TypeError, match="missing a required argument: 'y'"):
        task.delay(1)


def test_a_coroutine_function_is_checked_too(app):
    """The same rules."""

    @app.task(shared=False)
    async def fetch(url):
        return url

    with pytest.raises(TypeError, match="missing a required argument: 'url'"):
        fetch.delay()


@pytest.mark.parametrize(
    ("settings", "options"),
    [({}, {"typing": False}), ({"strict_typing": False}, {})],
    ids=["of the task", "of the application"],
)
def test_typing_false_checks_nothing(site, settings, options):
    """Then the worker finds out."""
    task = site.app(**settings).task(shared=False, **options)(two)
    result = task.delay(1, 2, 3)
    site.drain(task.app)
    with pytest.raises(TypeError, match="positional arguments but 3 were given"):
        result.get()


def test_signatures_and_sending_by_name_check_nothing(site, app):
    """A signature may lack arguments; a name may stand for a task nobody knows here."""
    task = app.task(name="two", shared=False)(two)
    task.s(1)
    app.send_task("two", (1, 2, 3))
    assert task.apply((1,)).failed()
    assert len(site.waiting()) == 1


@pytest.mark.parametrize("args", [5, "ab", {1}, {"x": 1}, (n for n in "ab")])
def test_arguments_must_be_a_list_or_tuple(site, app, args):
    """Text and sets iterate too, and are never meant."""
    task = app.task(name="two", shared=False)(two)
    for call in (task.apply_async, task.apply):
        with pytest.raises(TypeError, match="args of two must be a list or tuple, not"):
            call(args)
    assert site.waiting() == []


@pytest.mark.parametrize("kwargs", [5, "ab", ["x"], {1}])
def test_keyword_arguments_must_be_a_mapping(site, app, kwargs):
    """Any mapping will do."""
    task = app.task(name="two", shared=False)(two)
    with pytest.raises(TypeError, match="kwargs of two must be a mapping, not"):
        task.apply_async((), kwargs)
    task.apply_async((), MappingProxyType({"x": 1, "y": 2}))
    assert len(site.waiting()) == 1


def test_annotations_that_cannot_be_evaluated_spoil_no_check(app):
    """A name that only type checkers know is no error at run time."""

    def hinted(x: NotImportedHere, y: int) -> AlsoNot:  # noqa: F821 - that is the point
        return x

    task = app.task(shared=False)(hinted)
    with pytest.raises(TypeError, match="missing a required argument: 'y'"):
        task.delay(1)


# -- pydantic ------------------------------------------------------------------------------


class Address(pydantic.BaseModel):
    street: str
    number: int


class Letter(pydantic.BaseModel):
    to: Address
    pages: int = 1


class Picky(pydantic.BaseModel):
    """A model that cannot be made of what it is dumped as."""

    value: int

    @pydantic.field_serializer("value")
    def spell(self, value):
        return "no number"


def deliver(letter: Letter, copies: int = 1) -> Letter:
    assert isinstance(letter, Letter)
    return Letter(to=letter.to, pages=letter.pages * copies)


def maybe(letter: Optional[Letter] = None, other: Letter | None = None) -> Letter | None:  # noqa: UP045
    assert letter is None or isinstance(letter, Letter)
    assert other is None or isinstance(other, Letter)
    return letter or other


LETTER = {"to": {"street": "Main", "number": 1}, "pages": 2}


def test_models_are_made_of_the_data_that_arrives(site, app):
    """``pydantic=True``: the body gets models, and returns plain data."""
    task = app.task(pydantic=True, shared=False)(deliver)
    results = [
        task.delay(LETTER),
        task.delay(letter=LETTER, copies=2),
        task.delay(Letter(**LETTER)),
    ]
    site.drain(app)
    assert [result.get()["pages"] for result in results] == [2, 4, 2]
    assert results[0].get()["to"] == LETTER["to"]


def test_optional_models_are_models_too(site, app):
    """None stays None."""
    task = app.task(pydantic=True, shared=False)(maybe)
    results = [task.delay(), task.delay(LETTER), task.delay(None, LETTER)]
    site.drain(app)
    assert [result.get() for result in results] == [None, LETTER, LETTER]


def test_data_that_does_not_fit_fails_the_task(site, app):
    """With the error of pydantic, which names the field."""
    result = app.task(pydantic=True, shared=False)(deliver).delay({"to": {"street": "Main"}})
    site.drain(app)
    assert result.failed()
    assert "to.number" in result.traceback


def test_a_coroutine_function_validates_too(site, app):
    """The same on the loop."""

    @app.task(pydantic=True, shared=False)
    async def double(letter: Letter) -> Letter:
        return Letter(to=letter.to, pages=2 * letter.pages)

    result = double.delay(Letter(**LETTER))
    site.drain(app)
    assert result.get()["pages"] == 4


def test_a_bound_task_validates_too(site, app):
    """The task itself is no argument."""

    @app.task(pydantic=True, bind=True, shared=False)
    def count(self, letter: Letter) -> int:
        assert self.request.id
        return letter.pages

    result = count.delay(Letter(**LETTER))
    site.drain(app)
    assert result.get() == 2


def test_pydantic_strict_refuses_what_would_have_to_be_converted(site, app):
    """``pydantic_strict``; by default text that is a number will do."""
    lax = app.task(pydantic=True, name="lax", shared=False)(deliver)
    strict = app.task(pydantic=True, pydantic_strict=True, name="strict", shared=False)(deliver)
    data = {"to": {"street": "Main", "number": "1"}}
    accepted, refused = lax.delay(data), strict.delay(data)
    site.drain(app)
    assert accepted.get()["to"]["number"] == 1
    assert refused.failed()


def test_validators_see_the_task_and_a_context_of_ones_own(site, app):
    """``pydantic_context`` beside the application and the task's name."""
    seen = {}

    class Seeing(pydantic.BaseModel):
        x: int

        @pydantic.model_validator(mode="after")
        def see(self, info: pydantic.ValidationInfo):
            seen.update(info.context)
            return self

    @app.task(pydantic=True, name="see", pydantic_context={"mine": 1}, shared=False)
    def look(given: Seeing) -> None:
        pass

    # The annotation names a local class, which only this can resolve.
    look._models._models["given"] = Seeing
    look.delay({"x": 1})
    site.drain(app)
    assert seen == {"celery_app": app, "celery_task_name": "see", "mine": 1}


def test_pydantic_dump_kwargs_say_how_results_are_dumped(site, app):
    """Passed to ``model_dump``; the mode is ``json`` unless they say otherwise."""
    task = app.task(pydantic=True, pydantic_dump_kwargs={"exclude": {"to"}}, shared=False)(deliver)
    result = task.delay(LETTER)
    site.drain(app)
    assert result.get() == {"pages": 2}


def test_a_direct_call_validates_and_dumps_too(app):
    """The task behaves the same wherever it runs."""
    task = app.task(pydantic=True, shared=False)(deliver)
    assert task(LETTER)["pages"] == 2


def test_a_model_that_cannot_be_made_again_is_an_encode_error(app):
    """Rather than a surprise in the worker."""

    def take(value: Picky) -> None:
        pass

    task = app.task(pydantic=True, shared=False)(take)
    with pytest.raises(EncodeError, match=r"args\[0\] cannot be encoded"):
        task.delay(Picky(value=1))


def test_pickled_calls_carry_models_as_they_are(site):
    """With the serializer ``pickle`` there is nothing to dump."""
    app = site.app(task_serializer="pickle", accept_content=["pickle", "json"])
    task = app.task(pydantic=True, shared=False)(deliver)
    task.delay(Letter(**LETTER))
    (attempt,) = site.drain(app)
    assert isinstance(attempt.request.args[0], Letter)
