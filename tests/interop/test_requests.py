"""What a task knows about its message"""

from __future__ import annotations

import datetime as dt
import time

import pytest


@pytest.mark.case("id, name, language and origin")
def test_the_request_names_the_message(lane):
    task_id = lane.send("facts", 1, kwargs={"a": "b"})
    found = lane.end(task_id)["value"]
    assert found["id"] == found["correlation_id"] == found["root_id"] == task_id
    assert (found["parent_id"], found["lang"], found["task"]) == (None, "py", "parcels.facts")
    assert found["origin"].startswith("gen")
    assert "@" in found["origin"]
    assert (found["retries"], found["is_eager"], found["called_directly"]) == (0, False, False)
    assert found["side"] == lane.worker.name


@pytest.mark.case("an id chosen by the sender")
def test_the_sender_may_choose_the_id(lane):
    task_id = f"chosen by {lane.key} of {lane.fleet.name}"
    assert lane.send("facts", task_id=task_id) == task_id
    assert lane.end(task_id)["value"]["id"] == task_id


@pytest.mark.case("argsrepr and kwargsrepr for logs")
def test_arguments_are_shown_as_text(lane):
    found = lane.run("facts", 1, "two", kwargs={"three": [4]})
    assert (found["argsrepr"], found["kwargsrepr"]) == ("(1, 'two')", "{'three': [4]}")


@pytest.mark.case("argsrepr and kwargsrepr given by the sender")
def test_the_shown_text_can_be_given(lane):
    found = lane.run("facts", "secret", argsrepr="(***)", kwargsrepr="{***}")
    assert (found["argsrepr"], found["kwargsrepr"]) == ("(***)", "{***}")


@pytest.mark.case("headers of the user's own")
def test_custom_headers_arrive(lane):
    headers = {"tenant": "acme", "nested": {"list": [1, None, "ä"]}, "number": 7}
    assert lane.run("facts", headers=headers)["headers"] == headers


@pytest.mark.case("shadow, the name shown in logs")
def test_shadow_arrives(lane):
    assert lane.run("facts", shadow="parcels.shadow")["shadow"] == "parcels.shadow"


@pytest.mark.case("time limits, the hard one first")
def test_limits_arrive(lane):
    assert lane.run("facts", time_limit=30, soft_time_limit=20)["timelimit"] == [30, 20]


@pytest.mark.case("root and parent given by the sender")
def test_lineage_arrives(lane):
    found = lane.run("facts", root_id="the-root", parent_id="the-parent")
    assert (found["root_id"], found["parent_id"]) == ("the-root", "the-parent")


@pytest.mark.case("root and parent of a task that a task of the other side has sent")
def test_lineage_is_kept_across_sides(lane):
    first = lane.send("send_on", "parcels.replaced_id", [], lane.sender.queue)
    second = lane.end(first)["value"]
    assert lane.end(second)["value"] == [second, first, first]


@pytest.mark.case("children of a task are known to the sender")
def test_children_are_listed(lane):
    task_id = lane.send("send_on", "parcels.echo", [1], lane.sender.queue)
    child = lane.end(task_id)["value"]
    assert lane.sender.desk.children(task_id) == [child]


@pytest.mark.case("group and group index")
def test_group_arrives(lane):
    found = lane.run("facts", group_id="the-group", group_index=3)
    assert (found["group"], found["group_index"]) == ("the-group", 3)


@pytest.mark.case("reply_to names the sender")
def test_reply_to_arrives(lane):
    assert lane.run("facts", reply_to="somebody")["reply_to"] == "somebody"
    assert lane.run("facts")["reply_to"]


@pytest.mark.case("exchange and routing key it came with")
def test_delivery_info_arrives(lane):
    info = lane.run("facts")["delivery_info"]
    assert (info["exchange"], info["routing_key"]) == ("", lane.worker.queue)
    assert not info["redelivered"]


@pytest.mark.case("ignore_result said by the sender")
def test_ignoring_results_is_the_senders_choice(lane):
    task_id = lane.send("sign", kwargs={"key": lane.key}, ignore_result=True)
    lane.wait_lines(1)
    lane.settled()
    assert lane.sender.desk.state(task_id) == ("PENDING", None)


@pytest.mark.case("eta as an aware moment, kept to the microsecond")
def test_eta_arrives(lane):
    zone = dt.timezone(dt.timedelta(hours=-3))
    eta = (dt.datetime.now(zone) + dt.timedelta(seconds=0.2)).replace(microsecond=123456)
    found = lane.run("facts", eta=eta)
    assert dt.datetime.fromisoformat(found["eta"]) == eta
    assert found["now"] >= eta.timestamp()


@pytest.mark.case("expires as a moment")
def test_expires_arrives(lane):
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    found = lane.run("facts", expires=expires)
    assert dt.datetime.fromisoformat(found["expires"]) == expires


@pytest.mark.case("expires in seconds from now")
def test_expires_in_seconds_arrives(lane):
    found = lane.run("facts", expires=3600)
    moment = dt.datetime.fromisoformat(found["expires"]).timestamp()
    assert 3500 < moment - time.time() < 3700


@pytest.mark.case("stamps and the names of the stamped headers")
def test_stamps_arrive(lane):
    found = lane.run("facts", stamped_headers=["tenant"], tenant="acme")
    assert found["stamped_headers"] == ["tenant"]
    assert found["stamps"] == {"tenant": "acme"}


@pytest.mark.case("a priority given by the sender")
def test_priority_arrives(lane):
    assert lane.run("facts", priority=3)["delivery_info"]["priority"] == 3


@pytest.mark.case("a topic exchange, and the key it was sent with")
def test_messages_are_routed_by_topic(lane):
    queue, key = lane.fleet.topic(lane.worker.name), f"{lane.worker.name}.letters.air"
    found = lane.run("facts", queue=queue, routing_key=key)
    assert found["side"] == lane.worker.name
    info = found["delivery_info"]
    assert (info["exchange"], info["routing_key"]) == (f"{lane.fleet.name}-topic", key)
