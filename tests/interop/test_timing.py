"""Time and order"""

from __future__ import annotations

import datetime as dt
import time

import pytest

STEPS = (3, 9, 0, 6)


@pytest.mark.case("countdown")
def test_a_countdown_is_waited_for(lane):
    started = time.time()
    assert lane.run("facts", countdown=0.5)["now"] >= started + 0.5


@pytest.mark.case("a task that waits holds up no other")
def test_a_task_that_waits_holds_up_no_other(lane):
    # Nobody waits for them: they run, or go with their queue, when other tests are at work.
    waiting = [lane.send("echo", number, countdown=40) for number in range(8)]
    assert lane.run("echo", "now") == "now"
    assert {lane.sender.desk.state(task_id)[0] for task_id in waiting} == {"PENDING"}


@pytest.mark.case("an eta in the past runs at once")
def test_an_eta_in_the_past_runs_at_once(lane):
    eta = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    assert lane.run("facts", eta=eta)["side"] == lane.worker.name


@pytest.mark.case("an eta without zone is in UTC")
def test_a_naive_eta_is_in_utc(lane):
    eta = dt.datetime.now(dt.UTC).replace(tzinfo=None) + dt.timedelta(seconds=0.3)
    assert lane.run("facts", eta=eta)["now"] >= eta.replace(tzinfo=dt.UTC).timestamp()


@pytest.mark.case("a task that has expired is revoked and does not run")
def test_an_expired_task_is_revoked(lane):
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)
    task_id = lane.send("sign", kwargs={"key": lane.key}, expires=past)
    if lane.broker == "redis":
        ended = lane.end(task_id)
        assert (ended["state"], ended["error"]["type"]) == ("REVOKED", "TaskRevokedError")
        assert not ended["failed"]
    lane.settled()  # RabbitMQ itself may have thrown it away: nobody tells then
    assert lane.page() == []


@pytest.mark.case("a task that expires while it waits is not run")
def test_a_task_that_expires_while_it_waits_is_not_run(lane):
    holding = lane.send("hold", lane.key)
    lane.wait_lines(1)
    expiring = lane.send("sign", kwargs={"key": f"{lane.key}-late"}, expires=0.2)
    sent = time.monotonic()
    while time.monotonic() < sent + 0.3:
        lane.sender.desk.state(expiring)
    lane.go()
    assert lane.end(holding)["value"] == lane.worker.name
    lane.settled()
    assert lane.page(f"{lane.key}-late") == []


@pytest.mark.case("messages without priority keep their order")
def test_messages_keep_their_order(lane):
    queue = lane.fresh_queue()
    lane.fleet.sides["celery"].desk.declare(queue)
    sent = [lane.send("echo", number, queue=queue) for number in range(5)]
    assert [each["id"] for each in lane.worker.desk.take(queue, 5)] == sent


@pytest.mark.case("priorities: the higher number goes first, but for Celery on Redis the lower one")
def test_priorities_order_messages(lane):
    queue = lane.fleet.ranked
    sent = {lane.send("echo", number, queue=queue, priority=number): number for number in STEPS}
    taken = [sent[each["id"]] for each in lane.worker.desk.take(queue, len(sent))]
    lowest_first = (lane.broker, lane.worker.name) == ("redis", "celery")
    assert taken == sorted(STEPS, reverse=not lowest_first)
