"""One request, one answer or one trouble, byte for byte."""

import gzip
import math
import ssl
import time
from pathlib import Path

import anyio
import httpx
import pytest

from deployer.adapters.http.answer import Answer, Fault, Trouble
from deployer.adapters.http.client import Http
from tests.servers.raw_http import (
    CA_FILE,
    Drip,
    Flood,
    Pause,
    Request,
    Reset,
    Step,
    answer,
    raw_server,
    server_tls,
)

pytestmark = pytest.mark.anyio

OK = answer(200, {"data": {"status": "deployed"}})
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
FOR_EVER = Pause(math.inf)


async def test_a_whole_answer_arrives_with_its_headers_in_small_letters() -> None:
    async with raw_server(answer(418, b"tea", X_Pot="Brown")) as server, Http() as http:
        got = await http.call("GET", server.url + "/pot")

    assert isinstance(got, Answer)
    assert (got.status, got.body, got.headers["x-pot"]) == (418, b"tea", "Brown")
    assert "tea" not in repr(got)


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([Reset()], Fault.CUT),
        ([b""], Fault.CUT),
        ([FOR_EVER], Fault.SLOW),
        ([HEAD, FOR_EVER], Fault.SLOW),
        ([HEAD + b"content-length: 84\r\n\r\n", Drip(b"{" * 84, 0.05)], Fault.SLOW),
        ([HEAD + b"content-length: 84\r\n\r\n{", Reset()], Fault.CUT),
        ([HEAD + b"content-length: 84\r\n\r\n{}"], Fault.CUT),
        ([HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\n{"], Fault.CUT),
        ([HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n"], Fault.CUT),
        ([HEAD + b"content-length: 4, 5\r\n\r\n1234"], Fault.CUT),
        ([b"\x16\x03\x01 is no HTTP\r\n\r\n"], Fault.CUT),
        ([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 30_000], Fault.CUT),
        ([HEAD + b"\r\n", Flood(2_000_000)], Fault.UNREADABLE),
        ([HEAD + b"content-length: 300000000\r\n\r\n", Flood(2_000_000)], Fault.UNREADABLE),
        (
            [answer(200, gzip.compress(b" " * 50_000_000), content_encoding="gzip")],
            Fault.UNREADABLE,
        ),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_broken_answer_may_have_been_executed(steps: list[Step], fault: Fault) -> None:
    deadline = 0.2 if fault is Fault.SLOW else 30  # only what must run out is short
    async with raw_server(lambda _: steps) as server, Http() as http:
        got = await http.call("POST", server.url, content=b"{}", deadline_seconds=deadline)

    assert isinstance(got, Trouble)
    assert (got.fault, got.maybe_executed) == (fault, True)
    assert got.cause
    assert len(server.requests) == 1


@pytest.mark.parametrize("rest", [Reset(), FOR_EVER, Flood(2_000_000)])
async def test_a_refusal_whose_body_is_lost_is_still_a_refusal(rest: Step) -> None:
    head = b"HTTP/1.1 401 X\r\ncontent-length: 300000000\r\n\r\n"
    async with raw_server(lambda _: [head, rest]) as server, Http() as http:
        got = await http.call("POST", server.url, content=b"{}", deadline_seconds=0.3)

    assert isinstance(got, Answer)
    assert (got.status, got.body) == (401, b"")


async def test_a_refused_connection_was_certainly_not_sent() -> None:
    async with raw_server(OK) as server:
        url = server.url
    async with Http() as http:
        got = await http.call("POST", url)

    assert isinstance(got, Trouble)
    assert (got.fault, got.maybe_executed) == (Fault.UNREACHABLE, False)
    assert got.cause == "127.0.0.1: Connection refused"


async def test_a_name_without_an_address_was_certainly_not_sent() -> None:
    async with Http() as http:
        got = await http.call("POST", "https://no-such-host.invalid")

    assert isinstance(got, Trouble)
    assert got.fault is Fault.UNREACHABLE
    assert got.cause.startswith("no-such-host.invalid: ")


@pytest.mark.parametrize("raised", [httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError])
async def test_no_connection_means_not_sent(raised: type[httpx.TransportError]) -> None:
    got = await _call_that_raises(raised("x"))

    assert isinstance(got, Trouble)
    assert (got.fault, got.maybe_executed) == (Fault.UNREACHABLE, False)


@pytest.mark.parametrize(
    ("raised", "fault"),
    [
        (httpx.ReadTimeout("x"), Fault.SLOW),
        (httpx.WriteTimeout("x"), Fault.SLOW),
        (httpx.WriteError("x"), Fault.CUT),
        (httpx.CloseError("x"), Fault.CUT),
        (httpx.LocalProtocolError("x"), Fault.CUT),
        (httpx.DecodingError("x"), Fault.CUT),
        (httpx.StreamClosed(), Fault.CUT),
        (httpx.TooManyRedirects("x"), Fault.CUT),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_break_after_the_connection_may_have_been_executed(
    raised: httpx.HTTPError | httpx.StreamError, fault: Fault
) -> None:
    got = await _call_that_raises(raised)

    assert isinstance(got, Trouble)
    assert (got.fault, got.maybe_executed) == (fault, True)


async def _call_that_raises(error: Exception) -> Answer | Trouble:
    def broken(request: httpx.Request) -> httpx.Response:
        raise error

    async with Http(transport=httpx.MockTransport(broken)) as http:
        return await http.call("POST", "http://127.0.0.1:1")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_its_target_hears_nothing(status: int) -> None:
    def elsewhere(request: Request) -> list[Step]:
        return [answer(status, location=target.url + "/x")]

    async with raw_server(OK) as target, raw_server(elsewhere) as server, Http() as http:
        got = await http.call("POST", server.url, headers={"authorization": "Bearer t"})

    assert isinstance(got, Answer)
    assert got.status == status
    assert (target.connections, target.requests) == (0, [])


async def test_a_self_signed_certificate_is_refused_before_anything_is_sent() -> None:
    async with raw_server(OK, tls=server_tls()) as server, Http() as http:
        got = await http.call("POST", server.url, headers={"authorization": "Bearer t"})

    assert isinstance(got, Trouble)
    assert (got.fault, got.maybe_executed) == (Fault.TLS, False)
    assert "self-signed" in got.cause
    assert server.requests == []


async def test_a_ca_file_makes_its_certificates_good() -> None:
    async with raw_server(OK, tls=server_tls()) as server, Http(ca_file=CA_FILE) as http:
        got = await http.call("GET", server.url)

    assert isinstance(got, Answer)
    assert got.status == 200


async def test_a_client_that_keeps_connections_has_the_same_trust() -> None:
    tls = server_tls()
    async with (
        raw_server(answer(200, {}), keep=True, tls=tls) as server,
        Http(ca_file=CA_FILE) as http,
        http.keeping(2) as keeping,
    ):
        for client in (http, keeping, keeping, keeping):
            got = await client.call("GET", server.url)
            assert isinstance(got, Answer)

    assert server.connections == 2
    assert keeping._trust.context is http._trust.context


async def test_a_certificate_for_another_host_is_refused() -> None:
    async with raw_server(OK, tls=server_tls()) as server, Http(ca_file=CA_FILE) as http:
        got = await http.call("GET", f"https://localhost:{server.port}")

    assert isinstance(got, Trouble)
    assert got.fault is Fault.TLS
    assert "localhost" in got.cause
    assert server.requests == []


async def test_https_to_a_server_without_tls_is_a_tls_trouble() -> None:
    async with raw_server(OK, blurt=b"HTTP/1.1 400 X\r\n\r\n") as server, Http() as http:
        got = await http.call("POST", f"https://{server.authority}")

    assert isinstance(got, Trouble)
    assert (got.fault, got.maybe_executed) == (Fault.TLS, False)


@pytest.mark.parametrize("content", [b"no certificate", None])
async def test_a_bad_ca_file_is_named(content: bytes | None, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)
    async with Http(ca_file=ca_file) as http:
        got = await http.call("GET", "https://127.0.0.1:1")

    assert isinstance(got, Trouble)
    assert got.fault is Fault.TLS
    assert str(ca_file) in got.cause


async def test_what_was_prepared_is_used() -> None:
    async with raw_server(OK) as server, Http() as http:
        await http.prepare("http")
        prepared = dict(http._clients)

        assert isinstance(await http.call("GET", server.url), Answer)
        assert http._clients == prepared


async def test_a_bad_ca_file_is_told_by_the_call_that_needs_it(tmp_path: Path) -> None:
    async with Http(ca_file=tmp_path / "none.pem") as http:
        await http.prepare("https")

        assert isinstance(await http.call("GET", "https://127.0.0.1:1"), Trouble)


async def test_a_netrc_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login thief password canary\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    async with raw_server(OK) as server, Http() as http:
        await http.call("GET", server.url)
        await http.call("GET", server.url, headers={"authorization": "Bearer ours"})

    sent = [request.headers.get("authorization") for request in server.requests]
    assert sent == [None, "Bearer ours"]


async def test_the_environment_chooses_neither_proxy_nor_certificates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CA_FILE))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with raw_server(OK) as plain, raw_server(OK, tls=server_tls()) as secure, Http() as http:
        got = [await http.call("GET", plain.url), await http.call("GET", secure.url)]

    assert isinstance(got[0], Answer)
    assert isinstance(got[1], Trouble)
    assert got[1].fault is Fault.TLS


@pytest.mark.parametrize(
    "token", ["", "two\nlines", "two\r\nX: y", "nul\x00", "ümlaut", " lead", "x "]
)
async def test_a_token_that_no_header_can_carry_is_not_sent_and_not_shown(token: str) -> None:
    async with raw_server(OK) as server, Http() as http:
        got = await http.call("GET", server.url, headers={"authorization": token})

    assert got == Trouble(Fault.HEADER, "authorization has characters that no HTTP header may have")
    assert server.connections == 0


async def test_a_login_is_not_sent_in_the_clear_to_another_machine() -> None:
    async with Http() as http:
        got = await http.call("GET", "http://10.0.0.1", headers={"authorization": "Bearer t"})

    assert isinstance(got, Trouble)
    assert (got.fault, got.maybe_executed) == (Fault.URL, False)


async def test_a_url_with_a_password_is_not_sent_and_not_shown() -> None:
    async with Http() as http:
        got = await http.call("GET", "https://me:PASSWORD@127.0.0.1")

    assert isinstance(got, Trouble)
    assert got.fault is Fault.URL
    assert "PASSWORD" not in got.cause


@pytest.mark.parametrize("host", ["xn--a.invalid", "xn--zzz0091b", "999.1.1.1"])
async def test_a_host_that_httpx_chokes_on_is_not_sent(host: str) -> None:
    async with Http() as http:
        got = await http.call("GET", f"https://{host}/")

    assert got == Trouble(Fault.URL, "the URL names no host that can exist")


async def test_each_call_has_a_connection_of_its_own_and_no_cookie() -> None:
    reply = answer(200, {}, set_cookie="session=1; Path=/")
    async with raw_server(reply, keep=True) as server, Http() as http:
        for _ in range(3):
            await http.call("GET", server.url)

    assert server.connections == 3
    assert all("cookie" not in request.headers for request in server.requests)
    assert {request.headers["accept-encoding"] for request in server.requests} == {"identity"}


async def test_the_deadline_counts_the_whole_call() -> None:
    begun = time.monotonic()
    body = HEAD + b"content-length: 1000\r\n\r\n"
    async with raw_server(lambda _: [body, Drip(b" " * 1000, 0.02)]) as server, Http() as http:
        got = await http.call("GET", server.url, deadline_seconds=0.2)

    assert isinstance(got, Trouble)
    assert time.monotonic() - begun < 10.0  # the drip alone takes 20 s


async def test_a_server_may_think_for_as_long_as_the_deadline() -> None:
    async with raw_server(lambda _: [Pause(0.2), OK]) as server, Http() as http:
        got = await http.call("GET", server.url, deadline_seconds=30)

    assert isinstance(got, Answer)


async def test_the_client_works_on_after_a_cancelled_call() -> None:
    def once(request: Request) -> list[Step]:
        return [FOR_EVER] if request.path == "/slow" else [OK]

    async with raw_server(once) as server, Http() as http:
        with anyio.move_on_after(0.05) as scope:
            await http.call("GET", server.url + "/slow")
        got = await http.call("GET", server.url + "/fast")

    assert scope.cancelled_caught
    assert isinstance(got, Answer)


async def test_plain_http_reads_no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> ssl.SSLContext:
        raise AssertionError("16 ms for nothing")

    monkeypatch.setattr(httpx, "create_ssl_context", refuse)
    async with raw_server(OK) as server, Http() as http:
        got = await http.call("GET", server.url)

    assert isinstance(got, Answer)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 0 "}, 0.0),
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "soon"}, None),
        (
            {
                "retry-after": "Wed, 25 Nov 2026 10:00:30 GMT",
                "date": "Wed, 25 Nov 2026 10:00:00 GMT",
            },
            30.0,
        ),
        (
            {
                "retry-after": "Wed, 25 Nov 2026 09:00:00 GMT",
                "date": "Wed, 25 Nov 2026 10:00:00 GMT",
            },
            0.0,
        ),
        ({"retry-after": "Wed, 25 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "Wed, 99 Nov 99999 10:00:30 GMT", "date": "x GMT"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert Answer(429, headers, b"").retry_after == seconds


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"a":', b'"\xff"', b"[" * 100_000, b'{"a":' * 100_000, b"NaN", b"{} {}"],
    ids=lambda body: repr(body[:12]),
)
def test_what_is_no_json_is_none(body: bytes) -> None:
    assert Answer(200, {}, body).json() is None
