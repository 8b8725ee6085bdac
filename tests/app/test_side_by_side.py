"""Several applications in one process, and one application in several threads."""

from __future__ import annotations

import asyncio
import threading

from umbel import current
from umbel.canvas import Signature


def in_threads(call, count=8):
    """What ``call(number)`` returns in ``count`` threads that start together."""
    start = threading.Barrier(count)
    seen, errors = {}, []

    def run(number):
        start.wait()
        try:
            seen[number] = call(number)
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [seen[number] for number in range(count)]


def test_applications_have_settings_tasks_and_queues_of_their_own(make):
    first = make("first", task_default_queue="one")
    second = make("second", task_default_queue="two")

    @first.task(name="add", shared=False)
    def add(x, y):
        return x + y

    @second.task(name="add", shared=False)
    def multiply(x, y):
        return x * y

    add.delay(1, 2)
    multiply.delay(1, 2)
    assert [each.message.queue for each in first.broker.browse("one")] == ["one"]
    assert [each.message.queue for each in second.broker.browse("two")] == ["two"]
    assert (first.tasks["add"](2, 3), second.tasks["add"](2, 3)) == (5, 6)


def test_each_thread_works_with_an_application_of_its_own(make):
    apps = [make(f"app-{number}") for number in range(8)]

    def work(number):
        app = apps[number]
        app.set_current()
        task = app.task(name="which", shared=False)(lambda: current.get_current_app().main)
        task.delay(number) if task.typing is False else task.delay()
        return task(), app.tasks["which"].app.main, app.control.purge()

    assert in_threads(work) == [(f"app-{n}", f"app-{n}", 1) for n in range(8)]


def test_threads_that_start_at_once_share_every_part(make):
    """A part is made once, and all see the same one."""
    for attempt in range(5):
        app = make(broker=f"sqlite:///shared-{attempt}.db")
        app.task(name="a", shared=False)(lambda: None)

        def parts(_, app=app):
            return (
                app.broker,
                app.backend,
                app.coordinator,
                app.client,
                app.client.publisher,
                app.amqp,
                app.queues,
                app.router,
                app.loader,
                app.Task,
                app.AsyncResult,
                app.oid,
                app.tasks["a"],
            )

        seen = in_threads(parts)
        assert len({tuple(map(id, each)) for each in seen}) == 1


def test_threads_publish_through_one_application(make):
    app = make(broker="sqlite:///threads.db")
    task = app.task(name="a", typing=False)(lambda number: number)

    def publish(number):
        return [task.delay((number, each)).id for each in range(10)]

    ids = {each for some in in_threads(publish) for each in some}
    assert {each.message.id for each in app.broker.browse("celery")} == ids
    assert len(ids) == 80


def test_threads_wait_for_results_of_one_application(make):
    app = make(broker="sqlite:///threads.db")
    results = [app.AsyncResult(f"id-{number}") for number in range(8)]

    def work(number):
        if number == 7:
            for other in range(8):
                app.backend.put(f"id-{other}", other, "SUCCESS")
        return results[number].get(timeout=20)

    assert in_threads(work) == list(range(8))


def test_event_loops_of_several_threads_use_one_application(make):
    app = make(broker="sqlite:///threads.db")

    async def work(number):
        result = await app.asend_task("a", (number,))
        await asyncio.to_thread(app.backend.put, result.id, number, "SUCCESS")
        return await result

    assert in_threads(lambda number: asyncio.run(work(number))) == list(range(8))


def test_signatures_of_several_applications_go_where_they_belong(make):
    first, second = make("first"), make("second")
    second.set_current()
    first.signature("a").delay()
    Signature("b").delay()
    assert [each.message.task for each in first.broker.browse("celery")] == ["a"]
    assert [each.message.task for each in second.broker.browse("celery")] == ["b"]


def test_closing_one_application_does_not_disturb_another_on_the_same_file(make):
    first, second = make(broker="sqlite:///same.db"), make(broker="sqlite:///same.db")
    first.send_task("a")
    second.send_task("b")
    first.close()
    second.send_task("c")
    assert [each.message.task for each in second.broker.browse("celery")] == ["a", "b", "c"]
