"""Enums, dataclasses and models as arguments: the same type in the worker, or an error here."""
# ruff: noqa: FBT001, FBT002 - tasks as people write them

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence  # noqa: TC003 - annotations are read
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Optional, Union
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel import Task, serialization
from umbel.arguments import Arguments
from umbel.exceptions import EncodeError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Kind(enum.StrEnum):
    A = "a"
    B = "b"


class Point(enum.Enum):
    ORIGIN = (0, 0)
    EAST = (1, 0)


class Right(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@dataclass(frozen=True)
class Size:
    width: int
    height: Decimal = Decimal(1)


@dataclass
class Box:
    size: Size
    colour: Colour | None = None
    parts: list[Box] = field(default_factory=list)
    made: datetime | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    volume: Decimal = field(init=False, default=Decimal(0))

    def __post_init__(self):
        self.volume = self.size.width * self.size.height


@dataclass
class BigBox(Box):
    handles: int = 2


class User(pydantic.BaseModel):
    name: str
    born: date | None = None


class Admin(User):
    rights: int = 0


class Aliased(pydantic.BaseModel):
    own: int = pydantic.Field(alias="Own-Name")


BOX = Box(Size(2, Decimal("1.5")), Colour.RED, [Box(Size(1))], datetime(2030, 1, 2, tzinfo=UTC))


def one(value: Any) -> None: ...
def colour(value: Colour): ...
def level(value: Level): ...
def kind(value: Kind): ...
def point(value: Point): ...
def right(value: Right): ...
def size(value: Size): ...
def box(value: Box): ...
def user(value: User): ...
def aliased(value: Aliased): ...
def optional(value: Optional[Colour] = None): ...  # noqa: UP045
def union(value: Union[Colour, str]): ...  # noqa: UP007
def new_union(value: Size | int | None): ...
def listed(value: list[Colour]): ...
def sequence(value: Sequence[Size]): ...
def tuple_of(value: tuple[Colour, ...]): ...
def pair(value: tuple[Colour, int]): ...
def set_of(value: set[Colour]): ...
def frozen(value: frozenset[Kind]): ...
def mapping(value: dict[str, Size]): ...
def keyed(value: Mapping[Colour, int]): ...
def deep(value: dict[str, list[User | None]]): ...
def annotated(value: Annotated[Colour, "for the docs"]): ...
def moments(value: tuple[datetime, UUID, Decimal, bytes]): ...


CARRIED = [
    (colour, Colour.RED),
    (level, Level.HIGH),
    (kind, Kind.B),
    (point, Point.EAST),
    (right, Right.READ | Right.WRITE),
    (size, Size(1, Decimal("2.50"))),
    (box, BOX),
    (user, User(name="x", born=date(2000, 1, 1))),
    (aliased, Aliased(**{"Own-Name": 3})),
    (optional, Colour.BLUE),
    (optional, None),
    (union, Colour.BLUE),
    (union, "blue"),
    (new_union, Size(3)),
    (new_union, 3),
    (new_union, None),
    (listed, [Colour.RED, Colour.BLUE]),
    (listed, []),
    (sequence, [Size(1), Size(2)]),
    (tuple_of, (Colour.RED,)),
    (pair, (Colour.RED, 5)),
    (set_of, {Colour.RED, Colour.BLUE}),
    (set_of, set()),
    (frozen, frozenset({Kind.A})),
    (mapping, {"a": Size(1), "b": Size(2)}),
    (keyed, {Colour.RED: 1}),
    (deep, {"x": [User(name="a"), None]}),
    (annotated, Colour.RED),
]


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml", "pickle"])
@pytest.mark.parametrize(("function", "value"), CARRIED)
def test_an_annotated_type_comes_back(site, function, value, serializer):
    """By position and by name, in every format, the body gets what the caller gave."""
    app = site.app(task_serializer=serializer, accept_content=[serializer])
    got = []
    task = app.task(shared=False)(recording(function, got))
    task.delay(value)
    task.delay(value=value)
    site.drain(app)
    assert got == [value, value]
    assert [type(each) for each in got] == [type(value)] * 2


def recording(function, got):
    """A function of the same signature that keeps its argument."""

    def record(value):
        got.append(value)

    record.__annotations__ = function.__annotations__
    record.__name__ = function.__name__
    return record


REFUSED = [
    (one, Colour.RED, "args[0]"),
    (one, Size(1), "args[0]"),
    (one, User(name="x"), "args[0]"),
    (one, [1, {"a": Colour.RED}], "args[0][1].a"),
    (colour, Point.EAST, "args[0]"),
    (colour, [Colour.RED], "args[0][0]"),
    (user, Admin(name="x", rights=1), "args[0]"),
    (box, BigBox(Size(1)), "args[0]"),
    (listed, {"a": Colour.RED}, "args[0].a"),
    (pair, (Colour.RED, 5, Colour.BLUE), "args[0][0]"),
]


@pytest.mark.parametrize("serializer", ["json", "msgpack", "yaml"])
@pytest.mark.parametrize(("function", "value", "path"), REFUSED)
def test_a_type_that_no_annotation_tells_is_an_encode_error(
    site, function, value, path, serializer
):
    """The error names the argument and what to do; nothing is sent."""
    app = site.app(task_serializer=serializer)
    task = app.task(shared=False)(function)
    with pytest.raises(EncodeError, match="annotate the parameter") as caught:
        task.delay(value)
    assert caught.value.path == path
    with pytest.raises(EncodeError) as caught:
        task.delay(value=value)
    assert caught.value.path == path.replace("args[0]", "kwargs.value")
    assert site.waiting() == []


def test_a_value_nothing_can_write_is_an_encode_error(app):
    """Whatever the annotation says."""
    task = app.task(shared=False)(colour)
    with pytest.raises(EncodeError, match=r"args\[0\] cannot be encoded") as caught:
        task.delay(object())
    assert "object" in str(caught.value)


def test_eager_calls_refuse_the_same(site):
    """``task_always_eager`` finds in tests what would fail in production."""
    app = site.app(task_always_eager=True)
    with pytest.raises(EncodeError) as caught:
        app.task(shared=False)(one).delay(Colour.RED)
    assert caught.value.path == "args[0]"
    got = []
    app.task(shared=False)(recording(colour, got)).delay(Colour.RED)
    assert got == [Colour.RED]


def test_sending_by_name_refuses_what_it_cannot_know(site, app):
    """Nobody knows the annotations of a task that is not here."""
    with pytest.raises(EncodeError) as caught:
        app.send_task("elsewhere", (Size(1),))
    assert caught.value.path == "args[0]"


def test_members_that_are_text_or_numbers_pass_without_annotation(site, app):
    """As in Celery, ``StrEnum`` and ``IntEnum`` arrive as the text or number they are."""
    got = []

    @app.task(shared=False)
    def take(value):
        got.append(value)

    take.delay(Kind.A)
    take.delay([Level.HIGH])
    site.drain(app)
    assert got == ["a", [2]]


def test_what_is_sent_as_plain_data_stays_plain(site, app):
    """Only what was converted is built again: text for an enum parameter stays text."""
    got = []
    task = app.task(shared=False)(recording(colour, got))
    task.delay("red")
    task.delay("green")
    site.drain(app)
    assert got == ["red", "green"]


def test_types_with_a_form_of_their_own_need_no_annotation(site, app):
    """Moments, decimals, ids and bytes come back by themselves."""
    values = (datetime(2030, 1, 1, tzinfo=UTC), UUID(int=5), Decimal("1.10"), b"\xff")
    got = []

    @app.task(shared=False)
    def take(*args):
        got.extend(args)

    take.delay(*values)
    site.drain(app)
    assert tuple(got) == values


class Weight:
    def __init__(self, grams):
        self.grams = grams


def test_a_registered_type_needs_no_annotation(site, app):
    """``register_type`` says how to write and read it."""
    serialization.register_type(Weight, "weight", lambda w: w.grams, Weight)
    try:
        got = []
        app.task(shared=False)(recording(one, got)).delay(Weight(5))
        site.drain(app)
        assert got[0].grams == 5
    finally:
        serialization.unregister_type(Weight)


def test_variadic_arguments_are_carried_by_their_annotation(site, app):
    """``*args`` and ``**kwargs`` say what each of theirs is."""
    got = []

    @app.task(shared=False)
    def take(first: int, *rest: Colour, last: Size, **more: Level):
        got.append((first, rest, last, more))

    take.delay(1, Colour.RED, Colour.BLUE, last=Size(1), a=Level.LOW, b=Level.HIGH)
    site.drain(app)
    assert got == [(1, (Colour.RED, Colour.BLUE), Size(1), {"a": Level.LOW, "b": Level.HIGH})]
    assert type(got[0][3]["a"]) is Level


def test_self_of_a_bound_task_shifts_nothing(site, app):
    """Positions count from the first argument after the task."""
    got = []

    @app.task(bind=True, shared=False)
    def take(self, first: int, value: Colour):
        got.append((first, value))

    take.delay(1, Colour.RED)
    site.drain(app)
    assert got == [(1, Colour.RED)]


def test_a_class_based_task_carries_types_too(site, app):
    """By the annotations of its ``run``."""

    class Take(Task):
        name = "take"

        def run(self, value: Colour) -> str:
            return type(value).__name__

    result = app.register_task(Take()).delay(Colour.RED)
    site.drain(app)
    assert result.get() == "Colour"


def test_a_coroutine_function_carries_types_too(site, app):
    """On the loop as well."""

    @app.task(shared=False)
    async def take(value: Size) -> str:
        return type(value).__name__

    result = take.delay(Size(1))
    site.drain(app)
    assert result.get() == "Size"


def test_a_retry_carries_the_types_again(site, app):
    """The next attempt gets what this one got."""
    got = []

    @app.task(bind=True, shared=False)
    def take(self, value: Colour, size: Size | None = None):
        got.append((value, size))
        if not self.request.retries:
            raise self.retry(countdown=0, kwargs={"size": Size(2)})

    take.delay(Colour.RED)
    site.drain(app)
    assert got == [(Colour.RED, None), (Colour.RED, Size(2))]


def test_arguments_of_callbacks_carry_their_types(site, app):
    """In ``link``, nested links, ``link_error`` and chains, by position after what comes first."""
    got = []

    @app.task(shared=False)
    def start(fail: bool = False):
        if fail:
            raise ValueError("x")
        return 1

    @app.task(shared=False)
    def follow(result, value: Colour, *, size: Size | None = None):
        got.append((result, value, size))

    @app.task(shared=False)
    def failed(request, exc, traceback, value: Colour):
        got.append((type(exc), value))

    @app.task(shared=False)
    def failed_id(task_id, value: Colour):
        got.append((task_id, value))

    link = follow.s(Colour.RED, size=Size(1))
    link.link(follow.s(Colour.BLUE))
    start.apply_async(link=link)
    start.apply_async(
        (True,), task_id="x", link_error=[failed.s(Colour.RED), failed_id.s(Colour.BLUE)]
    )
    start.apply_async(link=follow.si(5, Colour.BLUE))
    site.drain(app)
    assert got == [
        (ValueError, Colour.RED),
        (1, Colour.RED, Size(1)),
        ("x", Colour.BLUE),
        (5, Colour.BLUE, None),
        (None, Colour.BLUE, None),
    ]


def test_an_argument_of_a_callback_without_annotation_is_refused_at_the_call(app):
    """With its path through the callbacks."""
    start = app.task(shared=False, name="start")(lambda: 1)
    follow = app.task(shared=False, name="follow")(lambda result, value: None)
    with pytest.raises(EncodeError) as caught:
        start.apply_async(link=follow.s(Colour.RED))
    assert caught.value.path == "embed.callbacks[0].args[0]"


def test_a_result_becomes_plain_data(site, app):
    """What a task returns is not the caller's to annotate; models arrive as data."""

    @app.task(shared=False)
    def give():
        return {"box": Size(1), "colour": Colour.RED, "user": User(name="x")}

    result = give.delay()
    site.drain(app)
    assert result.get() == {
        "box": {"width": 1, "height": Decimal(1)},
        "colour": "red",
        "user": {"name": "x", "born": None},
    }


def test_a_result_that_a_callback_annotates_comes_back_in_its_type(site, app):
    """The callback's own annotation tells; without one it gets plain data."""
    got = []

    @app.task(shared=False)
    def give():
        return Size(3)

    @app.task(shared=False)
    def typed(value: Size):
        got.append(value)

    @app.task(shared=False)
    def untyped(value):
        got.append(value)

    give.apply_async(link=[typed.s(), untyped.s()])
    site.drain(app)
    assert got == [Size(3), {"width": 3, "height": Decimal(1)}]


@pytest.mark.parametrize("header", [5, "value", ["nothing"], [["x"]], {"value": 1}, [None], None])
def test_the_header_of_carried_parameters_is_only_looked_up(site, app, header):
    """Whatever a message says, nothing but the task's own annotations decides about types."""
    got = []
    task = app.task(shared=False)(recording(colour, got))
    task.apply_async(("red",), headers={"umbel_typed": header})
    site.drain(app)
    assert got == ["red"]


def test_data_that_does_not_fit_the_annotation_fails_the_task(site, app):
    """As an error of its own, not of the worker."""
    task = app.task(shared=False)(recording(colour, []))
    result = task.apply_async(("green",), headers={"umbel_typed": ["value"]})
    site.drain(app)
    assert result.failed()
    assert "'green' is not a valid Colour" in result.traceback


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
colours = st.sampled_from(Colour)
sizes = st.builds(Size, st.integers(0, 9), st.decimals(0, 9, places=2))
boxes = st.recursive(
    st.builds(
        Box,
        sizes,
        colours | st.none(),
        st.just([]),
        st.none(),
        st.dictionaries(st.text(max_size=3), plain, max_size=2),
    ),
    lambda inner: st.builds(Box, sizes, colours | st.none(), st.lists(inner, max_size=3)),
    max_leaves=5,
)


def mixed(a: Colour, b: list[Box], *c: Size, d: dict[str, Colour | None], **e: Any): ...


@given(
    colours,
    st.lists(boxes, max_size=2),
    st.lists(sizes, max_size=2),
    st.dictionaries(st.text(max_size=3), colours | st.none(), max_size=2),
    plain,
)
def test_whatever_is_sent_is_received(a, b, c, d, e):
    """Sending, encoding, decoding and receiving are together the identity."""
    arguments = Arguments(mixed, "mixed")
    args, kwargs, typed = arguments.send((a, b, *c), {"d": d, "e": e})
    encoded = serialization.dumps([args, kwargs], exact=True)
    args, kwargs = serialization.loads(encoded.body, encoded.content_type, accept=["json"])
    args, kwargs = arguments.receive(args, kwargs, typed)
    assert (list(args), kwargs) == ([a, b, *c], {"d": d, "e": e})
