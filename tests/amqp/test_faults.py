"""What a server of our own can do to us: alarms, restarts, death, stalls, TLS."""

from __future__ import annotations

import subprocess
import threading

import pytest

import servers
from patience import Background, wait_until
from umbel.drivers.amqp.connection import Connection
from umbel.drivers.amqp.errors import ConnectionLost, Unsent
from umbel.drivers.amqp.messages import Outgoing
from umbel.drivers.amqp.urls import AMQPUrl, parse
from umbel.exceptions import ImproperlyConfigured, OperationalError

START = 90


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority of our own, and certificates it signed for a server and a client."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    def key(name):
        return ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-subj", f"/CN={name}")

    openssl("req", "-x509", *key("authority"), "-out", "authority.pem", "-days", "2")
    for name in ("server", "client"):
        (directory / f"{name}.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl("req", "-new", *key(name), "-out", f"{name}.csr")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "authority.pem", "-CAkey",
            "authority.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext",
            "-out", f"{name}.pem",
        )  # fmt: skip
        (directory / f"{name}.key").chmod(0o644)
    return directory


@pytest.fixture(scope="module")
def tls_ports():
    return servers.free_port(), servers.free_port()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory, certificates, tls_ports):
    options = (
        f"listeners.ssl.default = 127.0.0.1:{tls_ports[0]}",
        f"ssl_options.cacertfile = {certificates}/authority.pem",
        f"ssl_options.certfile = {certificates}/server.pem",
        f"ssl_options.keyfile = {certificates}/server.key",
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = false",
    )
    server = servers.private("amqp", tmp_path_factory.mktemp("rabbit"), *options)
    with server:
        yield server


@pytest.fixture
def own(own_server):
    """A connection to it."""
    connection = Connection([parse(own_server.url)], connect_timeout=20)
    yield connection
    connection.close()


def publish(channel, queue, *bodies):
    channel.select_confirms()
    messages = [Outgoing("", queue, {"delivery_mode": 2}, body, True) for body in bodies]
    channel.wait_confirmed(channel.publish(messages, timeout=20), 20)


# ----------------------------------------------------------------------------------------- alarms


@pytest.fixture
def alarm(own_server):
    """Has the server run out of memory, as it believes."""

    def ring():
        own_server.ctl("set_vm_memory_high_watermark", "absolute", "1MB")

    yield ring
    own_server.ctl("set_vm_memory_high_watermark", "0.6")


def test_a_blocked_server_is_known_and_publishing_ends_within_the_deadline(own, own_server, alarm):
    channel = own.channel()
    channel.declare_queue("alarmed")
    publish(channel, "alarmed", b"before")
    alarm()
    message = Outgoing("", "alarmed", {}, b"during")
    channel.publish([message], timeout=20)  # the server blocks who publishes
    assert "memory" in wait_until(lambda: own.blocked)
    with pytest.raises(Unsent, match=r"takes no messages at the moment: .*memory"):
        channel.publish([message], timeout=0.2)
    assert channel.unconfirmed() == [message]
    with Background(channel.publish, [message], timeout=60) as publishing:
        publishing.blocks()
        own_server.ctl("set_vm_memory_high_watermark", "0.6")
        last = publishing.result()
    channel.wait_confirmed(last, 20)
    assert own.blocked is None
    assert channel.declare_queue("alarmed", passive=True).messages == 3
    channel.delete_queue("alarmed")


def test_consumers_go_on_while_publishers_are_blocked(own, own_server, alarm):
    publisher = Connection([parse(own_server.url)], connect_timeout=20)
    channel, sender = own.channel(), publisher.channel()
    channel.declare_queue("drained")
    publish(sender, "drained", b"1", b"2")
    alarm()
    sender.publish([Outgoing("", "drained")], timeout=20)
    wait_until(lambda: publisher.blocked)
    channel.consume("drained")
    got = []
    while len(got) < 2:
        got += channel.receive(10, 20)
    channel.ack_many([message.delivery_tag for message in got])
    channel.delete_queue("drained")
    publisher.close()


# ------------------------------------------------------------------------------- death and stalls


def test_a_killed_server_is_noticed_and_its_successor_has_what_was_confirmed(tmp_path):
    with servers.private("amqp", tmp_path) as server:
        here = Connection([parse(server.url)], connect_timeout=20)
        idle = Connection([parse(server.url)], connect_timeout=20)
        idle.open()
        channel = here.channel()
        channel.declare_queue("survives")
        publish(channel, "survives", *[b"x"] * 100)
        channel.consume("survives")
        with Background(drain, channel) as receiving:
            server.kill()
            with pytest.raises(OperationalError):
                receiving.result()
        wait_until(lambda: not idle.is_open)
        with pytest.raises(OperationalError):
            channel.declare_queue("survives")
        with pytest.raises(OperationalError, match=r"cannot reach"):
            here.open()
        server.start()
        wait_until(lambda: opens(here), deadline=START)
        assert here.channel().declare_queue("survives").messages == 100
        here.close()
        idle.close()


def drain(channel):
    while True:
        channel.receive(10, 60)


def opens(connection):
    try:
        connection.open()
    except OperationalError:
        return False
    return True


def test_a_server_that_closes_connections_says_why(own, own_server):
    channel = own.channel()
    channel.declare_queue("stops", auto_delete=True)
    channel.consume("stops")
    with Background(drain, channel) as receiving:
        receiving.blocks()
        own_server.ctl("close_all_connections", "back in a minute")
        with pytest.raises(ConnectionLost, match=r"closed the connection: .*back in a minute"):
            receiving.result()
    own.open()
    assert own.is_open


@pytest.fixture
def stall(own_server):
    """Has the server do nothing until the test ends, or until `resume`."""
    yield own_server.pause
    own_server.resume()


def test_a_server_that_stalls_is_noticed_by_its_heartbeats(own_server, stall):
    connection = Connection([parse(own_server.url)], connect_timeout=20, heartbeat=1)
    channel = connection.channel()
    channel.declare_queue("stalls", auto_delete=True)
    channel.consume("stalls")
    stall()
    with pytest.raises(OperationalError, match=r"heartbeats of 1 s are missing"):
        channel.receive(1, 60)
    own_server.resume()
    wait_until(lambda: opens(connection))
    connection.close()


def test_a_server_that_stalls_while_we_connect_ends_within_the_deadline(own_server, stall):
    connection = Connection([parse(own_server.url)], connect_timeout=0.3)
    stall()
    with pytest.raises(OperationalError, match=r"in time"):
        connection.open()
    own_server.resume()
    wait_until(lambda: opens(connection))
    connection.close()


# --------------------------------------------------------------------------------------------- TLS


@pytest.fixture
def secret(own_server, tls_ports):
    """Opens a connection with TLS, which is closed when the test ends."""
    made = []

    def connect(host="localhost", port=tls_ports[0], *, tls=True, **ssl):
        connection = Connection([AMQPUrl(host, port, tls=tls)], connect_timeout=20, ssl=ssl or None)
        made.append(connection)
        connection.open()
        return connection

    yield connect
    for connection in made:
        connection.close()


def test_an_encrypted_connection_carries_messages(secret, certificates):
    connection = secret(ca_certs=str(certificates / "authority.pem"))
    channel = connection.channel()
    channel.declare_queue("secret", exclusive=True)
    body = bytes(range(256)) * 4_000
    publish(channel, "secret", body, *[b"x"] * 500)
    channel.consume("secret")
    got = []
    while len(got) < 501:
        batch = channel.receive(100, 20)
        channel.ack_many([message.delivery_tag for message in batch])
        got += batch
    assert got[0].body == body


def test_an_encrypted_connection_serves_several_threads(secret, certificates):
    connection = secret(ca_certs=str(certificates / "authority.pem"))
    connection.channel().declare_queue("busy", exclusive=True)
    receiver = connection.channel()
    receiver.consume("busy", no_ack=True)

    def work():
        channel = connection.channel()
        for _ in range(20):
            publish(channel, "busy", *[b"x" * 2_000] * 20)

    def take():
        got = 0
        while got < 4 * 400:
            got += len(receiver.receive(100, 20))
        return got

    taking = Background(take).start()
    workers = [Background(work).start() for _ in range(4)]
    assert [worker.result() for worker in workers] == [None] * 4
    assert taking.result() == 1_600


def test_closing_an_encrypted_connection_wakes_who_waits(secret, certificates):
    connection = secret(ca_certs=str(certificates / "authority.pem"))
    channel = connection.channel()
    with Background(drain, channel) as receiving:
        receiving.blocks()
        connection.close()
        with pytest.raises(OperationalError):
            receiving.result()
    assert not [t for t in threading.enumerate() if t.name == "umbel-amqp"]


def test_a_certificate_of_an_unknown_authority_is_refused(secret):
    with pytest.raises(ImproperlyConfigured, match=r"not trusted: .*ca_certs of broker_use_ssl"):
        secret()


def test_a_certificate_for_another_host_is_refused(secret, certificates):
    authority = str(certificates / "authority.pem")
    with pytest.raises(ImproperlyConfigured, match=r"not valid for 'elsewhere'"):
        secret(ca_certs=authority, server_hostname="elsewhere")


def test_verification_can_be_switched_off_by_name(secret):
    assert secret(cert_reqs="none").is_open


def test_a_client_may_prove_itself(secret, certificates):
    files = {
        "ca_certs": str(certificates / "authority.pem"),
        "certfile": str(certificates / "client.pem"),
        "keyfile": str(certificates / "client.key"),
    }
    assert secret(**files).is_open


def test_a_plain_port_is_not_taken_for_an_encrypted_one(secret, own_server):
    with pytest.raises(ImproperlyConfigured, match=r"does not speak TLS on this port; use amqp://"):
        secret(port=own_server.port)


def test_an_encrypted_port_is_not_taken_for_a_plain_one(secret):
    with pytest.raises(
        (ImproperlyConfigured, OperationalError), match=r"TLS|closed the connection"
    ):
        secret(tls=False)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"certfle": "x"}, r"no option 'certfle' \(did you mean 'certfile'"),
        ({"cert_reqs": "maybe"}, "cert_reqs='maybe' is none of"),
        ({"ca_certs": "missing.pem"}, r"cannot be used \(missing.pem\)"),
        ({"certfile": "missing.pem"}, r"cannot be used \(missing.pem\)"),
        ({"ciphers": "none-such"}, "cannot be used"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(options, says):
    with pytest.raises(ImproperlyConfigured, match=says):
        Connection([AMQPUrl()], ssl=options)
