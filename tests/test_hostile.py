"""The hostile server does what its behaviours promise: a raw socket looks at what comes over the wire."""

from __future__ import annotations

import gzip
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Iterator

import pytest
from gevent import socket, ssl

from tests.hostile import (
    BEHAVIOURS,
    DOORS,
    Certificate,
    HostileProcess,
    HostileServer,
    Limits,
    http_date,
    make_certificates,
    refusing_port,
    silent_port,
)
from tests.waiting import wait_until

BODY = b'{"visitors": []}'


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def connect(port: int, host: str = "127.0.0.1") -> Any:
    return socket.create_connection((host, port), timeout=10)


def request(path: str, *headers: str, body: bytes = BODY) -> bytes:
    lines = [f"POST /{path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def read_all(connected: Any) -> bytes:
    """Everything up to the FIN; a RST is a ConnectionResetError."""
    return b"".join(iter(lambda: connected.recv(65536), b""))


def talk(server: HostileServer, path: str, *headers: str) -> bytes:
    with closing(connect(server.port)) as connected:
        connected.sendall(request(path, *headers))
        return read_all(connected)


@pytest.mark.parametrize("code", [200, 204, 301, 404, 413, 429, 500, 503, 599])
def test_status(server: HostileServer, code: int) -> None:
    answer = talk(server, f"status/{code}", "Connection: close")

    assert answer.startswith(f"HTTP/1.1 {code} ".encode())
    assert answer.endswith(b"\r\n\r\n" if code == 204 else b"\r\n\r\nhostile")


def test_a_request_is_recorded_whole(server: HostileServer) -> None:
    talk(server, "status/503?x=1", "X-Twice: a", "X-Twice: b", "Connection: close")

    (received,) = server.received
    assert (received.behaviour, received.verb, received.target) == ("status/503", "POST", "/status/503?x=1")
    assert [value for name, value in received.headers if name == "X-Twice"] == ["a", "b"]
    assert received.header("content-length") == str(len(BODY))
    assert server.bodies("status/503") == [BODY]
    assert server.bodies("status/200") == []


def test_a_chunked_request_is_recorded_whole(server: HostileServer) -> None:
    with closing(connect(server.port)) as connected:
        connected.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        connected.sendall(b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n")
        read_all(connected)

    assert server.bodies() == [b"hello world"]


def test_the_script_goes_before_the_path_and_the_default_behind_it() -> None:
    with HostileServer(["status/500", "status/501"], default="status/202") as server:
        with closing(connect(server.port)) as connected:
            connected.sendall(
                request("status/204") * 2 + request("status/299") + request("v1/events", "Connection: close")
            )
            answer = read_all(connected)

        assert [part.split(b" ", 1)[0] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"500", b"501", b"299", b"202"]
        assert server.connections == 1


def test_a_misspelt_behaviour_is_refused() -> None:
    with pytest.raises(ValueError, match="'statsu/500' names no behaviour; there are: status,"):
        HostileServer(["statsu/500"])


@pytest.mark.parametrize("value", ["120", "-5", "soon", "9" * 30, http_date(60)])
def test_retry_after(server: HostileServer, value: str) -> None:
    path = server.url(f"retry_after/{value}/429").split("/", 3)[3]

    answer = talk(server, path, "Connection: close")

    assert answer.startswith(b"HTTP/1.1 429 ")
    assert f"\r\nRetry-After: {value}\r\n".encode() in answer
    assert server.received[0].behaviour == f"retry_after/{value}/429"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("close_before", b""),
        ("close_after", b"HTTP/1.1 204 Hostile\r\nConnection: close\r\n\r\n"),
        ("stale", b"HTTP/1.1 204 Hostile\r\nConnection: keep-alive\r\n\r\n"),
        ("half_head", b"HTTP/1.1 200 OK\r\nContent-Le"),
        ("length_too_big", b"HTTP/1.1 200 Hostile\r\nContent-Length: 1000\r\n\r\nshort"),
        ("chunked_cut", b"HTTP/1.1 200 Hostile\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nhost"),
        ("half_status", b"HTTP/1.1 2"),
        ("http09", b"<html><body>hostile</body></html>\r\n"),
        ("http10", b"HTTP/1.0 200 OK\r\n\r\n{}"),
    ],
)
def test_the_end_of_the_connection(server: HostileServer, path: str, expected: bytes) -> None:
    assert talk(server, path) == expected


@pytest.mark.parametrize("path", ["reset_before", "reset_head", "reset_within", "reset_after"])
def test_a_reset_is_a_reset(server: HostileServer, path: str) -> None:
    with pytest.raises(ConnectionResetError):
        talk(server, path)


def test_a_connection_breaks_when_it_is_used_again(server: HostileServer) -> None:
    with closing(connect(server.port)) as connected:
        connected.sendall(request("stale_on_reuse"))
        assert connected.recv(65536).startswith(b"HTTP/1.1 204 ")
        connected.sendall(request("status/204"))
        with pytest.raises(ConnectionResetError):
            read_all(connected)

    assert len(server.received) == 1


def test_an_answer_before_the_body_ends_in_a_reset(server: HostileServer) -> None:
    with closing(connect(server.port)) as connected:
        connected.sendall(request("answer_unread/413"))
        with pytest.raises(ConnectionResetError):
            read_all(connected)

    assert server.bodies() == [b""]


def test_interim_answers(server: HostileServer) -> None:
    answer = talk(server, "interim", "Connection: close")

    codes = [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert codes == [b"102", b"103", b"200"]


def test_redirect(server: HostileServer) -> None:
    path = server.url("redirect/307/http://other.example.com/a?b=c").split("/", 3)[3]

    assert b"\r\nLocation: http://other.example.com/a?b=c\r\n" in talk(server, path, "Connection: close")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("lengths/-5", b"HTTP/1.1 200 Hostile\r\nContent-Length: -5\r\n\r\n{}"),
        ("lengths/2/7", b"HTTP/1.1 200 Hostile\r\nContent-Length: 2\r\nContent-Length: 7\r\n\r\n{}"),
        ("http10_kept", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"),
        ("lower_case", b"HTTP/1.1 200 ok\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n{}"),
        ("bare_lf", b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}"),
        ("no_reason", b"HTTP/1.1 204\r\n\r\n"),
        ("no_colon", b"HTTP/1.1 200 OK\r\nthis is no header\r\nContent-Length: 2\r\n\r\n{}"),
        ("nul_header", b"HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\nContent-Length: 2\r\n\r\n{}"),
        ("obs_fold", b"HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}"),
        ("slow_read/7/0.001", b"HTTP/1.1 204 Hostile\r\n\r\n"),
    ],
)
def test_an_answer_on_a_connection_that_is_kept(server: HostileServer, path: str, expected: bytes) -> None:
    assert talk(server, path, "Connection: close") == expected


def test_a_bomb_is_small_until_it_is_decoded(server: HostileServer) -> None:
    body = talk(server, "gzip_bomb", "Connection: close").partition(b"\r\n\r\n")[2]
    assert len(body) < 65_536
    assert len(gzip.decompress(body)) == 10_000_000


def test_the_first_requests_of_a_target_may_be_misbehaved_to(server: HostileServer) -> None:
    targets = ["first/2/status/500?a", "first/2/status/500?b", "first/2/status/500?a", "first/2/status/500?a"]
    statuses = [talk(server, target, "Connection: close")[9:12] for target in targets]
    assert statuses == [b"500", b"500", b"500", b"204"]


def test_a_doomed_connection_breaks_when_it_is_used_again(server: HostileServer) -> None:
    with closing(connect(server.port)) as connected:
        connected.sendall(request("status/204"))
        assert connected.recv(65536)
        assert server.open_connections == 1
        server.doom()
        connected.sendall(request("status/204"))
        assert read_all_or_reset(connected) == b""
        wait_until(lambda: server.open_connections == 0)


def test_a_tunnel_carries_what_is_said(server: HostileServer) -> None:
    with HostileServer(default="tunnel") as proxy, closing(connect(proxy.port)) as connected:
        connected.sendall(f"CONNECT 127.0.0.1:{server.port} HTTP/1.1\r\n\r\n".encode())
        assert connected.recv(65536).startswith(b"HTTP/1.1 200 ")
        connected.sendall(request("status/299", "Connection: close"))
        assert read_all(connected).startswith(b"HTTP/1.1 299 ")


def test_a_host_that_is_asked_for_may_name_a_proxys_behaviour() -> None:
    with HostileServer(default="tunnel") as proxy, closing(connect(proxy.port)) as connected:
        connected.sendall(b"CONNECT half_head:443 HTTP/1.1\r\n\r\n")
        assert read_all(connected) == b"HTTP/1.1 200 OK\r\nContent-Le"


@pytest.mark.parametrize(
    ("door", "expected"),
    [("shut", b""), ("shut_upon_hello", b""), ("plain", b"HTTP/1.1 400 "), ("tls_garbage", b"\x16\x03\x03\x00\x20")],
)
def test_a_door(door: str, expected: bytes) -> None:
    with HostileServer(doors=[door]) as server:
        with closing(connect(server.port)) as connected:
            if door != "shut":
                connected.sendall(b"hello")
            assert read_all(connected)[: len(expected)] == expected
        assert talk(server, "status/204", "Connection: close").startswith(b"HTTP/1.1 204 ")


def test_a_door_may_reset() -> None:
    with HostileServer(doors=["reset"]) as server:
        connected = connect(server.port)
        with closing(connected), pytest.raises(ConnectionResetError):
            read_all(connected)


def test_a_silent_port_does_not_accept() -> None:
    with silent_port() as port, pytest.raises(socket.timeout):
        socket.create_connection(("127.0.0.1", port), timeout=0.2)


@pytest.mark.parametrize("path", ["blackhole", "promised_body", "trickle", "delay/60", "unread_body", "switching"])
def test_silence_ends_with_the_limit(path: str) -> None:
    with HostileServer(limits=Limits(seconds=0.3)) as server:
        started = time.monotonic()
        with closing(connect(server.port)) as connected:
            connected.sendall(request(path))
            answer = read_all_or_reset(connected)

        assert time.monotonic() - started >= 0.2
        assert b" 204 " not in answer


def read_all_or_reset(connected: Any) -> bytes:
    # A server that has left the request's body unread ends with a RST.
    try:
        return read_all(connected)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("path", [name for name in BEHAVIOURS if name.startswith("endless_")])
def test_an_endless_answer_ends_with_the_limit(path: str) -> None:
    with HostileServer(limits=Limits(sent=1_000_000)) as server:
        assert 900_000 < len(talk(server, path)) <= 1_000_000


@pytest.mark.parametrize("path", ["blackhole", "trickle", "delay/60"])
def test_every_behaviour_ends_with_the_server(path: str) -> None:
    with HostileServer() as server:
        connected = connect(server.port)
        connected.sendall(request(path))
        wait_until(lambda: server.received)
    with closing(connected):
        assert not read_all(connected).endswith(b"\r\n\r\n")


def test_garbage_from_a_client_is_taken_calmly(server: HostileServer) -> None:
    with closing(connect(server.port)) as connected:
        connected.sendall(b"\x16\x03\x01\x02\x00\r\n\r\n")
        assert read_all(connected) == b""


def test_nothing_listens_at_a_refusing_port() -> None:
    with refusing_port() as port, pytest.raises(ConnectionRefusedError):
        connect(port)


def test_ipv6() -> None:
    with HostileServer(host="::1") as server:
        assert server.url("status/200") == f"http://[::1]:{server.port}/status/200"
        with closing(connect(server.port, "::1")) as connected:
            connected.sendall(request("status/200", "Connection: close"))
            assert read_all(connected).endswith(b"hostile")


def shake_hands(server: HostileServer, trust: Path) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(trust))
    connected = context.wrap_socket(connect(server.port), server_hostname="localhost")
    with closing(connected):
        connected.sendall(request("status/200", "Connection: close"))
        return bytes(connected.recv(65536))


def test_a_good_certificate(certificates: dict[str, Certificate]) -> None:
    good = certificates["good"]
    with HostileServer(certificate=good) as server:
        assert server.url().startswith("https://")
        assert shake_hands(server, good.trust).startswith(b"HTTP/1.1 200 ")


def test_a_self_signed_certificate_is_good_for_who_trusts_it(certificates: dict[str, Certificate]) -> None:
    with HostileServer(certificate=certificates["self_signed"]) as server:
        assert shake_hands(server, certificates["self_signed"].trust).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("wrong_host", "mismatch"), ("expired", "expired"), ("self_signed", "self.signed certificate")],
)
def test_a_bad_certificate(certificates: dict[str, Certificate], name: str, reason: str) -> None:
    with HostileServer(certificate=certificates[name]) as server:
        with pytest.raises(ssl.SSLCertVerificationError, match=reason):
            shake_hands(server, certificates["good"].trust)

        assert server.received == []


def test_in_a_process_of_its_own() -> None:
    with HostileProcess(["status/500"]) as server:
        with closing(connect(server.port)) as connected:
            connected.sendall(request("status/204") + request("status/204", "Connection: close"))
            answer = read_all(connected)

        assert [part[:3] for part in answer.split(b"HTTP/1.1 ")[1:]] == [b"500", b"204"]
        assert [each.behaviour for each in server.received] == ["status/500", "status/204"]
        assert server.bodies() == [BODY, BODY]


def test_tls_in_a_process_of_its_own(certificates: dict[str, Certificate]) -> None:
    with HostileProcess(certificate=certificates["expired"]) as server:
        assert server.received == []


def test_every_behaviour_says_what_it_does() -> None:
    assert all(function.__doc__ for function in [*BEHAVIOURS.values(), *DOORS.values()])
