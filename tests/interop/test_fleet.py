"""One fleet of both"""

from __future__ import annotations

import signal
from collections import Counter

import pytest

ONE = ["to_umbel"]
MANY = 100
SHORT_LEASE = {"broker_transport_options": {"visibility_timeout": 3}}


@pytest.mark.case("both workers on one queue: every task runs once, and both take part")
def test_a_mixed_fleet_shares_a_queue(lane):
    both, run = lane.fleet.both, {"key": f"{lane.key}-run"}
    meeting = [lane.send("meet", lane.key, queue=both) for _ in range(6)]
    ids = [lane.send("sign", number, kwargs=run, queue=both) for number in range(MANY)]
    assert {lane.end(task_id)["value"] for task_id in meeting} == {"celery", "umbel"}
    assert {lane.end(task_id)["state"] for task_id in ids} == {"SUCCESS"}
    assert {line["side"] for line in lane.page()} == {"celery", "umbel"}
    ran = Counter(line["id"] for line in lane.page(f"{lane.key}-run"))
    assert ran == Counter(ids)


@pytest.mark.case("a task is handed to and fro as its own retry, which both sides count")
def test_retries_are_counted_across_sides(lane):
    here, there = lane.sender.queue, lane.worker.queue
    task_id = lane.send("wander", lane.key, [here, there, here])
    # Not the stored end: Celery stores RETRY after it has sent the next attempt, which may have
    # ended by then.
    lines = lane.wait_lines(4)
    assert [line["retries"] for line in lines] == [0, 1, 2, 3]
    assert {line["id"] for line in lines} == {task_id}
    sender, worker = lane.sender.name, lane.worker.name
    assert [line["side"] for line in lines] == [worker, sender, worker, sender]


@pytest.mark.case("retries said by the sender count towards the limit")
def test_retries_of_the_sender_count(lane):
    ended = lane.end(lane.send("again", 9, retries=5))
    assert (ended["state"], ended["error"]["type"]) == ("FAILURE", "ValueError")


@pytest.mark.case("what a killed Umbel worker held is run by Celery", flows=ONE)
def test_celery_runs_what_a_killed_umbel_worker_held(lane):
    queue, umbel = lane.fresh_queue(), lane.fleet.sides["umbel"]
    dying = umbel.start_worker(
        queue, name="dying", settings={"broker_transport_options": {"visibility_timeout": 3}}
    )
    try:
        dying.wait_for(" ready.")
        held = lane.send("hold", lane.key, queue=queue)
        lane.wait_lines(1)
        waiting = [lane.send("echo", number, queue=queue) for number in range(5)]
    finally:
        dying.kill()
    lane.go()
    heir = lane.fleet.sides["celery"].start_worker(queue, name="heir")
    try:
        assert [lane.end(task_id)["value"] for task_id in waiting] == list(range(5))
        assert lane.end(held)["value"] == "celery"
    finally:
        heir.kill()


@pytest.mark.case("what a stopped Umbel worker had not started is run by Celery", flows=ONE)
def test_celery_runs_what_a_stopped_umbel_worker_gave_back(lane):
    queue, umbel = lane.fresh_queue(), lane.fleet.sides["umbel"]
    leaving = umbel.start_worker(queue, name="leaving")
    try:
        leaving.wait_for(" ready.")
        held = lane.send("hold", lane.key, queue=queue)
        lane.wait_lines(1)
        waiting = [lane.send("echo", number, queue=queue) for number in range(5)]
        leaving.popen.send_signal(signal.SIGTERM)
        taken = lane.sender.desk.take(queue, 5)  # all the while the other one runs
        lane.go()
        assert leaving.popen.wait(30) == 0
    finally:
        leaving.kill()
    assert lane.end(held)["value"] == "umbel"
    assert sorted(message["id"] for message in taken) == sorted(waiting)


@pytest.mark.case(
    "what a killed Celery worker had not acknowledged is run by Umbel", flows=ONE, brokers=["amqp"]
)
def test_umbel_runs_what_a_killed_celery_worker_held(lane):
    queue, celery = lane.fresh_queue(), lane.fleet.sides["celery"]
    dying = celery.start_worker(queue, name="dying", settings={"task_acks_late": True})
    try:
        dying.wait_for(" ready.")
        held = lane.send("hold", lane.key, queue=queue)
        lane.wait_lines(1)
    finally:
        dying.kill()
    lane.go()
    heir = lane.fleet.sides["umbel"].start_worker(queue, name="heir")
    try:
        assert lane.end(held)["value"] == "umbel"
    finally:
        assert heir.end() == 0
