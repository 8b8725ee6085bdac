"""What type checkers must say about code that uses Umbel; lines marked ``# E`` must be refused.

Never run: `test_golden.py` hands it to mypy and pyright, and compares the lines they refuse with
the marked ones.
"""

# ruff: noqa: ASYNC109, B018, DTZ001, DTZ006, F841 - lines for type checkers, never run

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_type

from umbel import Signature, Task, Umbel, shared_task
from umbel.result import AsyncResult, EagerResult
from umbel.task import AsyncTask

app = Umbel("golden")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="greet", max_retries=5)
def greet(name: str, *, loud: bool = False) -> str:
    return name.upper() if loud else name


@app.task
async def fetch(url: str, timeout: float = 1.0) -> bytes:
    return url.encode()


@app.task(queue="slow")
async def slow(number: int) -> list[int]:
    return [number]


@app.task(bind=True)
def bound(self: Task[..., Any], x: int) -> str:
    return f"{self.name}{x}"


@app.task(bind=True, max_retries=3)
async def abound(self: Task[..., Any], x: int) -> dict[str, int]:
    return {str(self.name): x}


@app.task
def nothing() -> None:
    return None


@app.task
def many(*numbers: float, **names: str) -> tuple[int, int]:
    return len(numbers), len(names)


@app.task
def optional(a: int, b: str | None = None) -> int | None:
    return a if b is None else None


@shared_task
def shared(x: int) -> float:
    return float(x)


@shared_task(bind=True)
def shared_bound(self: Task[..., Any], x: int) -> float:
    return float(x)


@shared_task
async def ashared(x: int) -> bytes:
    return bytes(x)


@shared_task(bind=True, name="n")
async def ashared_bound(self: Task[..., Any], x: int) -> bytes:
    return bytes(x)


@app.task(pydantic=True)
def dumped(x: int) -> datetime:
    return datetime.fromtimestamp(x)


@app.task(pydantic=True)
async def adumped(x: int) -> datetime:
    return datetime.fromtimestamp(x)


@app.task(bind=True)
def retrying(self: Task[..., Any], x: int, *, y: str = "") -> None:
    assert_type(self.request.id, str | None)
    assert_type(self.request.retries, int)
    raise self.retry(exc=ValueError(y), countdown=5, max_retries=2)


# -- what a decorated function is ----------------------------------------------------------
assert_type(nothing, Task[[], None])
plain: Task[[int, int], int] = add
awaited: AsyncTask[[int], list[int]] = slow
selfless: Task[[int], str] = bound
other: Task[[str], int] = add  # E
wrong_result: Task[[int, int], str] = add  # E
still_self: Task[[Any, int], str] = bound  # E

# -- direct calls --------------------------------------------------------------------------
assert_type(add(1, 2), int)
assert_type(add(x=1, y=2), int)
assert_type(greet("a", loud=True), str)
assert_type(bound(1), str)
assert_type(nothing(), None)
assert_type(many(1.0, 2.0, a="x"), tuple[int, int])
assert_type(optional(1), int | None)
assert_type(shared(1), float)
add("1", 2)  # E
add(1)  # E
add(1, 2, 3)  # E
add(1, z=2)  # E
greet("a", True)  # E
greet(1)  # E
bound("1")  # E
bound(None, 1)  # E
nothing(1)  # E
many("1")  # E
many(a=1)  # E
shared("1")  # E

# -- delay ---------------------------------------------------------------------------------
assert_type(add.delay(1, 2), AsyncResult[int])
assert_type(add.delay(x=1, y=2), AsyncResult[int])
assert_type(greet.delay("a"), AsyncResult[str])
assert_type(greet.delay("a", loud=True), AsyncResult[str])
assert_type(fetch.delay("u"), AsyncResult[bytes])
assert_type(fetch.delay("u", timeout=2), AsyncResult[bytes])
assert_type(slow.delay(1), AsyncResult[list[int]])
assert_type(bound.delay(1), AsyncResult[str])
assert_type(abound.delay(1), AsyncResult[dict[str, int]])
assert_type(nothing.delay(), AsyncResult[None])
assert_type(many.delay(1.0), AsyncResult[tuple[int, int]])
assert_type(optional.delay(1, "b"), AsyncResult[int | None])
assert_type(shared.delay(1), AsyncResult[float])
assert_type(shared_bound.delay(1), AsyncResult[float])
add.delay("1", 2)  # E
add.delay(1)  # E
add.delay(1, 2, 3)  # E
add.delay(1, y="2")  # E
greet.delay()  # E
greet.delay("a", True)  # E
greet.delay("a", quiet=True)  # E
fetch.delay(b"u")  # E
fetch.delay("u", timeout="2")  # E
slow.delay("1")  # E
bound.delay("1")  # E
bound.delay()  # E
abound.delay(1, 2)  # E
nothing.delay(1)  # E
many.delay("1")  # E
optional.delay(None)  # E
shared.delay("1")  # E
shared_bound.delay("1")  # E
assert_type(ashared.delay(1), AsyncResult[bytes])
assert_type(ashared_bound.delay(1), AsyncResult[bytes])
assert_type(retrying.delay(1, y="a"), AsyncResult[None])
ashared.delay("1")  # E
ashared_bound.delay(None, 1)  # E
retrying.delay(1, "a")  # E

# -- models are returned as plain data -----------------------------------------------------
assert_type(dumped.delay(1), AsyncResult[Any])
assert_type(adumped.delay(1).get(), Any)
dumped.delay("1")  # E

# -- apply_async, apply, signatures --------------------------------------------------------
assert_type(add.apply_async((1, 2)), AsyncResult[int])
assert_type(add.apply_async((1, 2), countdown=1, queue="q"), AsyncResult[int])
assert_type(fetch.apply_async(("u",), eta=datetime(2030, 1, 1)), AsyncResult[bytes])
assert_type(bound.apply_async(kwargs={"x": 1}), AsyncResult[str])
assert_type(add.apply((1, 2)), EagerResult[int])
assert_type(fetch.apply(("u",)), EagerResult[bytes])
assert_type(add.s(1, 2), Signature[int])
assert_type(add.si(1, 2), Signature[int])
assert_type(fetch.s("u"), Signature[bytes])
assert_type(add.signature((1, 2)), Signature[int])
assert_type(add.s(1, 2).delay(), AsyncResult[int])
assert_type(add.s(1).set(queue="q"), Signature[int])
assert_type(add.s(1).clone((2,)), Signature[int])
assert_type(add.s(1, 2).apply_async(), AsyncResult[int])
assert_type(add.s(1, 2)(), int)
assert_type(shared.s(1), Signature[float])
assert_type(ashared_bound.si(1), Signature[bytes])
assert_type(~add.s(1, 2), int)
assert_type(add.s(1).freeze(), AsyncResult[int])
assert_type(add.s(1).apply((2,)), EagerResult[int])
partial: Signature[int] = add.s(1)
add.si(1)  # E
add.si("1", 2)  # E
add.si(1, 2, z=3)  # E
bound.si()  # E
misread: Signature[str] = add.s(1, 2)  # E
add.apply_async(1)  # E
add.apply_async((1, 2), kwargs=3)  # E
add.apply_async((1, 2), task_id=5)  # E

# -- results -------------------------------------------------------------------------------
assert_type(add.delay(1, 2).get(), int)
assert_type(add.delay(1, 2).get(timeout=3), int)
assert_type(fetch.delay("u").get(), bytes)
assert_type(nothing.delay().get(), None)
assert_type(add.apply((1, 2)).get(), int)
assert_type(add.delay(1, 2).id, str)
assert_type(add.delay(1, 2).ready(), bool)
assert_type(add.delay(1, 2).state, str)
assert_type(add.AsyncResult("id"), AsyncResult[int])
wrong: AsyncResult[str] = add.delay(1, 2)  # E
text: str = add.delay(1, 2).get()  # E
number: int = fetch.delay("u").get()  # E
add.delay(1, 2).get(timeout="3")  # E
add.delay(1, 2).nonsense  # E
wide: AsyncResult[object] = add.delay(1, 2)

# -- many at once --------------------------------------------------------------------------
assert_type(app.publish_many([add.s(1, 2), add.s(3, 4)]), list[AsyncResult[int]])
app.publish_many([1, 2])  # E


async def asynchronous() -> None:
    assert_type(await fetch("u"), bytes)
    assert_type(await slow(1), list[int])
    assert_type(await abound(1), dict[str, int])
    assert_type(await add.adelay(1, 2), AsyncResult[int])
    assert_type(await fetch.adelay("u"), AsyncResult[bytes])
    assert_type(await bound.adelay(1), AsyncResult[str])
    assert_type(await add.aapply_async((1, 2)), AsyncResult[int])
    assert_type(await (await add.adelay(1, 2)), int)
    assert_type(await add.delay(1, 2), int)
    assert_type(await add.delay(1, 2).aget(timeout=1), int)
    assert_type(await app.apublish_many([add.s(1, 2)]), list[AsyncResult[int]])
    assert_type(await ashared(1), bytes)
    assert_type(await (await ashared_bound.adelay(1)), bytes)
    assert_type(await app.asend_task("name"), AsyncResult[Any])
    assert_type(await add.apply((1, 2)), int)
    await ashared("1")  # E
    await add.adelay("1", 2)  # E
    await add.adelay(1)  # E
    await fetch.adelay(1)  # E
    await fetch(1)  # E
    await bound.adelay("1")  # E
    await add(1, 2)  # E
    number: str = await add.delay(1, 2)  # E


# -- class-based tasks ---------------------------------------------------------------------
class Base(Task[[int], str]):
    retries_seen: int = 0

    def run(self, x: int) -> str:
        return str(x)


class ABase(AsyncTask[[int], str]):
    async def run(self, x: int) -> str:
        return str(x)


assert_type(app.register_task(Base()), Base)
assert_type(app.register_task(Base), Base)
assert_type(app.register_task(Base, name="n").delay(1), AsyncResult[str])
assert_type(app.register_task(ABase()).delay(1).get(), str)
app.register_task(5)  # E
Base()("1")  # E
assert_type(Base().delay(1), AsyncResult[str])
Base().delay("1")  # E


# -- the application -----------------------------------------------------------------------
unknown: AsyncResult[Any] = app.AsyncResult("id")
assert_type(app.send_task("name", (1,)), AsyncResult[Any])
app.task(1)  # E
app.send_task(5)  # E
Umbel("x", set_as_current="no")  # E
