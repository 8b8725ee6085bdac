"""Reaching a Redis server: URLs, options, credentials, encryption; and sentences that help."""

from __future__ import annotations

import socket
import subprocess
import time
from threading import Thread

import pytest

import servers
from posts import Worker, ids, post
from redis_keys import forget, new_prefix
from umbel.drivers import connect
from umbel.exceptions import ImproperlyConfigured, OperationalError, UmbelWarning

SECRET = "hush-hush"
UNKNOWN = b"*-1\r\n"


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """A server with a password, a user of its own, encryption and a socket."""
    directory = tmp_path_factory.mktemp("locked")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        cwd=directory, check=True, capture_output=True,
    )  # fmt: skip
    port = servers.free_port()
    server = servers.private(
        "redis", directory, "--requirepass", SECRET, "--tls-port", str(port),
        "--tls-cert-file", str(directory / "cert.pem"),
        "--tls-key-file", str(directory / "key.pem"),
        "--tls-auth-clients", "no", "--unixsocket", str(directory / "redis.sock"),
        "--user", "ann", "on", f">{SECRET}", "~*", "&*", "+@all",
    )  # fmt: skip
    server.tls_port, server.certificate = port, directory / "cert.pem"
    server.socket = directory / "redis.sock"
    with server:
        yield server


class Provider:
    """Knows the credentials."""

    def get_credentials(self):
        return "ann", SECRET


def works(url, options=None, conf=None):
    """Whether a message makes its way there and back."""
    server = connect(url, options or {}, conf or {})
    server.broker.setup()
    server.broker.publish([post("t")])
    taken = Worker(server.broker).take(1)
    server.broker.purge("tasks")
    server.broker.retire("worker")
    server.broker.close()
    return ids(taken) == ["t"]


def refusal(url, options=None, conf=None, kind=ImproperlyConfigured):
    """What is said about a server that cannot be used."""
    with pytest.raises(kind) as caught:
        works(url, options, conf)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_a_password_opens_the_door(locked):
    """With a name or without, percent-encoded or not."""
    assert works(f"redis://:{SECRET}@127.0.0.1:{locked.port}/0")
    assert works(f"redis://ann:{SECRET.replace('-', '%2D')}@127.0.0.1:{locked.port}")
    assert works(f"valkey://127.0.0.1:{locked.port}/0", {}, {"redis_password": SECRET})


def test_credentials_can_come_from_a_provider(locked):
    """Which is asked for each connection."""

    url = f"redis://127.0.0.1:{locked.port}"
    assert works(url, {"credential_provider": Provider()})
    assert works(url, {}, {"redis_backend_credential_provider": Provider()})
    refusal(url, {}, {"redis_backend_credential_provider": "no.such:Provider"})


def test_a_socket_is_an_address(locked):
    """With the database in the query."""
    assert works(f"redis+socket://:{SECRET}@{locked.socket}?virtual_host=3")


def test_encrypted_connections_are_verified(locked):
    """Against the authority that was named; unless one says not to."""
    url = f"rediss://:{SECRET}@localhost:{locked.tls_port}/0"
    assert works(f"{url}?ssl_ca_certs={locked.certificate}")
    assert works(url, {}, {"broker_use_ssl": {"ssl_ca_certs": str(locked.certificate)}})
    assert works(f"{url}?ssl_cert_reqs=CERT_NONE")
    assert "is not trusted" in refusal(url)
    other = url.replace("localhost", "127.0.0.1")
    assert "or the host as the certificate does" in refusal(
        f"{other}?ssl_ca_certs={locked.certificate}"
    )


def test_files_of_certificates_that_are_not_there_are_named(locked):
    """In the sentence."""
    url = f"rediss://localhost:{locked.tls_port}?ssl_ca_certs=/no/such.pem"
    assert "/no/such.pem" in refusal(url)


def test_encryption_where_there_is_none_is_noticed(locked):
    """In one direction by the silence; in the other the server just hangs up."""
    url = f"rediss://127.0.0.1:{locked.port}"
    options = {"socket_connect_timeout": 0.5}
    assert "is it redis:// rather than" in refusal(url, options, kind=OperationalError)
    refusal(f"redis://127.0.0.1:{locked.tls_port}", kind=OperationalError)


@pytest.mark.parametrize("user", ["", ":wrong", "ann:wrong", "nobody:wrong"])
def test_wrong_credentials_are_no_reason_to_try_again(locked, user):
    """The sentence says where to put the right ones."""
    at = f"{user}@" if user else ""
    assert "user name and password in the URL" in refusal(f"redis://{at}127.0.0.1:{locked.port}/0")


def test_a_password_that_nobody_asked_for_is_a_mistake(tmp_path):
    """It was meant for another server."""
    with servers.private("redis", tmp_path) as server:
        assert "in the URL" in refusal(f"redis://:{SECRET}@127.0.0.1:{server.port}/0")
        assert "no database of this number" in refusal(f"redis://127.0.0.1:{server.port}/99")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"redis://:{SECRET}@host:port/0", "malformed"),
        (f"redis://:{SECRET}/x@host/0", "malformed"),
        (f"redis://:{SECRET}@host/queue", "no database"),
        ("redis://host:99999", "malformed"),
        ("redis+socket://", "names no server"),
        ("redis://a,b/0", "separate several servers"),
        ("redis://a/0;redis://b/1", "of one kind and one database"),
        (" ; ", "no driver"),
        ("redis://host?ssl_ca_certs=x", "write rediss://"),
        ("rediss://host?ssl_cert_reqs=maybe", "ssl_cert_reqs must be"),
    ],
)
def test_a_malformed_url_is_refused_at_once(url, said):
    """With its password hidden."""
    with pytest.raises(ImproperlyConfigured, match=said) as caught:
        connect(url)
    assert SECRET not in str(caught.value)


def test_options_of_celerys_are_taken_and_others_are_not():
    """The error lists what there is."""
    given = {"visibility_timeout": 60, "fanout_prefix": True, "sep": ":", "socket_timeout": None}
    connect("redis://host", given)
    with pytest.raises(ImproperlyConfigured, match=r"'nonsense' \(known: .*global_keyprefix"):
        connect("redis://host", {"nonsense": 1})


@pytest.mark.parametrize(
    "wrong",
    [
        {"socket_timeout": 0},
        {"poll_interval": "soon"},
        {"priority_steps": [3, 6]},
        {"priority_steps": [0, 6, 3]},
        {"priority_steps": "0,x"},
    ],
)
def test_options_out_of_range_are_refused(wrong):
    """Before anything is opened."""
    with pytest.raises(ImproperlyConfigured, match=next(iter(wrong))):
        connect("redis://host", wrong)


def test_a_server_is_the_same_under_all_its_urls():
    """The database counts, credentials and spelling do not."""
    one = connect("redis://:a@host/0").location
    assert one == connect("valkey://host:6379").location == connect("redis://host/0").location
    assert one != connect("redis://host/1").location


def test_the_next_address_is_tried_where_one_does_not_answer():
    """For every connection anew."""
    prefix, away = new_prefix(), servers.free_port()
    there = servers.url("redis")
    url = f"redis://127.0.0.1:{away}/{there.rpartition('/')[2]};{there}"
    assert works(url, {"global_keyprefix": prefix})
    forget(prefix)


def test_a_server_that_is_away_is_said_within_the_deadline():
    """By all three roles."""
    server = connect(f"redis://127.0.0.1:{servers.free_port()}")
    with pytest.raises(OperationalError, match="cannot reach redis://"):
        server.broker.publish([post()], timeout=1)
    with pytest.raises(OperationalError):
        server.broker.reserve("w", ["q"], limit=1, wait=60)
    with pytest.raises(OperationalError):
        server.coordinator.acquire("a", "b", 1)


def test_a_server_that_never_answers_is_given_up_at_the_deadline():
    """Whether it takes the connection or not."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = connect(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(OperationalError, match="no answer in time"):
            server.broker.publish([post()], timeout=0.1)
        assert time.monotonic() - start < 10


def sentinel(answers):
    """A sentinel that gives these answers, one connection each; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with listener:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(answer)

    Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def test_a_sentinel_tells_where_the_master_is(tmp_path):
    """One that knows none is asked again by the next who connects."""
    with servers.private("redis", tmp_path) as server:
        port = str(server.port).encode()
        found = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n" % (len(port), port)
        url = f"sentinel://127.0.0.1:{sentinel([UNKNOWN])}/0"
        said = refusal(url, {"master_name": "main"}, kind=OperationalError)
        assert "knows no master 'main'" in said
        assert works(f"sentinel://127.0.0.1:{sentinel([found] * 3)}/0", {"master_name": "main"})


def test_an_evicting_server_is_warned_of(tmp_path):
    """It would throw tasks away."""
    options = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with servers.private("redis", tmp_path, *options) as server:
        broker = connect(server.url).broker
        with pytest.warns(UmbelWarning, match="maxmemory-policy noeviction"):
            broker.setup()
        broker.close()
