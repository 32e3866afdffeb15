"""Connections: half-open, idle, stalled, pipelined, malformed and too many; hosts and web pages."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading

import pytest

from mrpack.digest import BytesSource, Digest
from mrpack.distribution import Limits, RegistryServer, Rules, serving
from mrpack.distribution.lease import Lease
from mrpack.distribution.uploads import BusyError, Uploads
from mrpack.errors import HostRefused, NotFound, UsageError
from mrpack.store.layout import OciLayout
from tests.fakes.api_client import ApiClient, describe
from tests.waiting import until

GET = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSE = b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def is_closed_by_peer(sock: socket.socket) -> bool:
    readable, _, _ = select.select([sock], [], [], 0)
    if not readable:
        return False
    try:
        return sock.recv(1, socket.MSG_PEEK) == b""
    except ConnectionError:
        return True


def test_a_connection_is_used_again_and_requests_may_come_together(api: ApiClient) -> None:
    answer = api.raw(GET + b"\r\n" + GET + GET + CLOSE)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 4
    assert answer.count(b"Connection: close") == 1


def test_a_request_may_come_byte_by_byte(api: ApiClient) -> None:
    with socket.create_connection(api.endpoint, timeout=30) as sock:
        for byte in GET:
            sock.sendall(bytes([byte]))
        assert sock.recv(100).startswith(b"HTTP/1.1 200 ")


def test_half_open_connections_do_not_stop_a_request(layout: OciLayout) -> None:
    with serving(layout, limits=Limits(connections=300)) as address, contextlib.ExitStack() as opened:
        api = ApiClient(address)
        for number in range(400):
            sock = opened.enter_context(socket.create_connection(api.endpoint))
            sock.sendall(GET[: number % len(GET)])
            if number % 100 == 99:
                assert api("GET", "/v2/").status == 200


POST = b"POST /v2/m/blobs/uploads/?digest=sha256:" + b"a" * 64 + b" HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("limits", "content"),
    [
        pytest.param(Limits(head_s=0.2), b"", id="silent"),
        pytest.param(Limits(head_s=0.2), GET[:20], id="half open"),
        pytest.param(Limits(head_s=0.2), b"\r\n\r\n", id="empty lines"),
        pytest.param(Limits(stall_s=0.2), POST + b"Content-Length: 10\r\n\r\nx", id="stalled"),
        pytest.param(
            Limits(stall_s=0.2), POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", id="stalled chunk"
        ),
    ],
)
def test_half_open_and_stalled_connections_are_closed(
    layout: OciLayout, limits: Limits, content: bytes
) -> None:
    with (
        serving(layout, writable=True, limits=limits) as address,
        socket.create_connection(ApiClient(address).endpoint) as sock,
        contextlib.suppress(ConnectionError),  # closed before all was sent
    ):
        sock.sendall(content)
        until(lambda: is_closed_by_peer(sock))


def test_an_idle_connection_is_closed_after_its_answer(layout: OciLayout) -> None:
    with (
        serving(layout, limits=Limits(idle_s=0.2)) as address,
        socket.create_connection(ApiClient(address).endpoint) as sock,
    ):
        sock.sendall(GET)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
        until(lambda: is_closed_by_peer(sock))


def test_a_client_that_stops_reading_is_given_up(layout: OciLayout) -> None:
    content = bytes(32 * 1024 * 1024)
    blob = describe(content)
    layout.push(blob, lambda offset: BytesSource(content[offset:]))
    with serving(layout, limits=Limits(stall_s=0.2)) as address:
        api = ApiClient(address)
        with socket.create_connection(api.endpoint) as sock:
            sock.sendall(f"GET /v2/m/blobs/{blob.digest} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            poll = select.poll()
            poll.register(sock, select.POLLHUP | select.POLLERR)
            assert poll.poll(60_000), "the connection stays open"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"POST /v2/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET /v2/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000, 431),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_closed(
    api: ApiClient, content: bytes, status: int
) -> None:
    assert api.raw(content).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\nab\r\n",
        b"-1\r\nab\r\n",
        b"0x2\r\nab\r\n",
        b"\r\n",
        b"2\r\nabc\r\n0\r\n\r\n",
        b"f" * 16 + b"\r\n",
        b"1" * 2000,
        b"0\r\n" + b"X: y\r\n" * 200,
    ],
)
def test_malformed_chunks_are_refused(api: ApiClient, chunks: bytes) -> None:
    head = f"PATCH {api.start('m')} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert api.raw(head.encode() + chunks).startswith(b"HTTP/1.1 4")


def test_chunks_may_have_extensions_and_trailers(api: ApiClient) -> None:
    digest = Digest.of(b"abcdef")
    head = f"POST /v2/m/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    body = b"3;name=value\r\nabc\r\n03 \r\ndef\r\n0\r\nX: y\r\n\r\n"
    answer = api.raw(head.encode() + b"Transfer-Encoding: Chunked\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 201 ")


def test_who_asks_first_is_told_to_send_or_not_to(api: ApiClient) -> None:
    digest = Digest.of(b"abc")
    rest = "Host: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(api.endpoint, timeout=30) as sock:
        sock.sendall(f"POST /v2/m/blobs/uploads/?digest={digest} HTTP/1.1\r\n{rest}".encode())
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        assert sock.recv(100).startswith(b"HTTP/1.1 201 ")
    answer = api.raw(f"POST /v2/m/blobs/uploads/?digest=bad HTTP/1.1\r\n{rest}".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_refused_upload_is_read_by_a_client_that_still_sends(api: ApiClient) -> None:
    # Without care the client would see a reset instead of the reason.
    answer = api("POST", "/v2/BAD/blobs/uploads/?digest=x", bytes(8 * 1024 * 1024))
    assert (answer.status, answer.code) == (400, "NAME_INVALID")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:5000", 200),
        ("LocalHost", 200),
        ("127.0.0.1:1", 200),
        ("127.8.8.8", 200),
        ("[::1]:5000", 200),
        ("friend.example.com", 200),
        ("evil.example.com", 403),
        ("localhost.evil.example.com", 403),
        ("10.0.0.1", 403),
        ("0.0.0.0", 403),
        ("[fe80::1]", 403),
        ("2130706433", 403),
    ],
)
def test_a_name_that_leads_to_loopback_is_not_enough(layout: OciLayout, host: str, status: int) -> None:
    rules = Rules(hosts=frozenset({"friend.example.com"}))
    with serving(layout, rules=rules) as address:
        assert ApiClient(address)("GET", "/v2/", headers={"Host": host}).status == status


def test_other_machines_may_use_any_name(layout: OciLayout) -> None:
    with serving(layout, host="0.0.0.0") as address:
        api = ApiClient(address.replace("0.0.0.0", "127.0.0.1"))
        assert api("GET", "/v2/", headers={"Host": "registry.lan"}).status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_web_pages_are_refused(api: ApiClient, method: str) -> None:
    answer = api(method, "/v2/m/blobs/uploads/", headers={"Origin": "https://example.com"})
    assert (answer.status, answer.code) == (403, "DENIED")


def test_a_server_on_ipv6(layout: OciLayout) -> None:
    try:
        with serving(layout, host="::1") as address:
            assert address.startswith("[::1]:")
            assert ApiClient(address)("GET", "/v2/").status == 200
    except HostRefused:
        pytest.skip("no IPv6 here")


def test_a_port_that_is_taken_is_refused_in_one_line(layout: OciLayout, api: ApiClient) -> None:
    with pytest.raises(HostRefused, match="in use"):
        RegistryServer(layout, port=api.endpoint[1])
    with pytest.raises(UsageError, match="no address"):
        RegistryServer(layout, host="no such host")


def test_a_server_that_never_ran_leaves_nothing(layout: OciLayout) -> None:
    server = RegistryServer(layout)
    server.close()
    server.close()
    assert [thread for thread in threading.enumerate() if thread.name.startswith("registry")] == []


def test_requests_are_logged_without_control_characters(
    api: ApiClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mrpack.distribution"):
        api("GET", "/v2/a%1b%5b31m/tags/list")
        until(lambda: bool(caplog.messages))
    assert " 400 " in caplog.text
    assert caplog.text.replace("\n", "").isprintable()


def test_a_full_disk_is_said_without_local_paths(layout: OciLayout, api: ApiClient) -> None:
    api.push_blob("m", b"first")
    head = "POST /v2/m/blobs/uploads/?digest=sha256:" + "a" * 64 + " HTTP/1.1\r\nHost: localhost\r\n"
    answer = api.raw(f"{head}Content-Length: {10**17}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 507 ")
    assert str(layout.root).encode() not in answer


# What keeps time, with a clock in the test's hand.


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_uploads_that_are_left_alone_expire(layout: OciLayout) -> None:
    clock = Clock()
    uploads = Uploads(layout.blobs, clock)
    old, used, busy = (uploads.open("m") for _ in range(3))
    clock.now += 800
    uploads.find("m", used.id)
    with uploads.writing(busy):
        clock.now += 800
        uploads.expire()
    assert uploads.find("m", used.id) is used
    assert uploads.find("m", busy.id) is busy
    with pytest.raises(NotFound):
        uploads.find("m", old.id)
    with pytest.raises(NotFound), uploads.writing(old):
        pass
    uploads.close()
    assert list(layout.blobs.ingest_folder.iterdir()) == []


def test_uploads_are_bounded_and_the_eldest_idle_one_makes_room(layout: OciLayout) -> None:
    clock = Clock()
    uploads = Uploads(layout.blobs, clock)
    first = uploads.open("m")
    with contextlib.suppress(BusyError):
        for _ in range(10_000):
            uploads.open("m")
    assert 100 < len(list(layout.blobs.ingest_folder.iterdir())) < 1000
    clock.now += 61
    uploads.open("m")
    with pytest.raises(NotFound):
        uploads.find("m", first.id)
    uploads.close()


def test_a_lease_keeps_gc_away_for_a_while(layout: OciLayout) -> None:
    clock = Clock()
    lease = Lease(layout, clock)
    with lease.writing(), pytest.raises(HostRefused), lease.alone():
        pass
    lease.expire()
    with pytest.raises(HostRefused), layout.collecting():
        pass
    clock.now += 61
    lease.expire()
    with layout.collecting():
        pass
    with lease.writing():
        pass
    with lease.alone():
        pass
    lease.close()
