"""The table: each border of the product, what its network does there, and what may come of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from deployer.failures import BACKOFF
from deployer.run import BuilderWish
from deployer.sandbox.options import Contract
from deployer.states.flow import State
from tests.crash.borders import CARGO_SECONDS, DONE, SETTLE, Case
from tests.servers.faulty import (
    Answer,
    Blackhole,
    Corrupt,
    Cut,
    Fault,
    Garble,
    Hangup,
    Lane,
    Late,
    Redirect,
    Refuse,
    Slow,
    Stall,
)
from tests.servers.raw_http import Flood, Request, Reset, Step, answer

STATUSES: Final = (400, 401, 403, 404, 405, 409, 413, 416, 422, 429, 500, 502, 503, 504)
UP: Final[Lane] = "up"
DOWN: Final[Lane] = "down"
DIRECT: Final = BuilderWish.DIRECT
HUGE: Final = 6 << 20  # bytes: more than the largest that is read
_FRAMING: Final = (b"content-length", b"transfer-encoding")
HOSTILE: Final = "\x1b]0;pwned\x07\x1b[2J\u202eevil\r\n"


@dataclass(frozen=True, slots=True)
class Spot:
    """A request at a border."""

    label: str
    border: str
    at: State | None
    route: str = ""
    builder: BuilderWish = BuilderWish.ENGINE
    waits: float = 30.0  # seconds until an answer that does not come is given up
    forgets_base: bool = False
    large: bool = False

    def case(self, name: str, fault: Fault, ends: str, **more: object) -> Case:
        """One row; `ends`: ids, separated by blanks."""
        made = Case(
            name=f"{self.label}: {name}",
            border=self.border,
            fault=fault,
            ends=tuple(ends.split()),
            route=self.route,
            at=self.at,
            builder=self.builder,
            forgets_base=self.forgets_base,
            large=self.large,
        )
        return replace(made, **more)  # type: ignore[arg-type]


# -- What TCP does.


def connections(spot: Spot, refused: str, cut: str, **more: object) -> Iterator[Case]:
    """No connection, or one that is worth nothing. It cannot be aimed at single requests."""
    whole = replace(spot, route="")
    yield whole.case("refused", Refuse(), refused, **more)
    yield whole.case("reset when accepted", Hangup(), cut, **more)
    if spot.border != "engine":
        yield whole.case("never accepted", Blackhole(), refused, **{"attempt": 10.0, **more})


def broken(spot: Spot, cut: str, slow: str, **more: object) -> Iterator[Case]:
    """An exchange that ends in the middle, or not at all."""
    for by_reset in (False, True):
        how = "reset" if by_reset else "cut"
        yield spot.case(f"{how} before the request", Cut("up", 0, by_reset), cut, **more)
        yield spot.case(f"{how} before the answer", Cut("down", 0, by_reset), cut, **more)
        yield spot.case(f"{how} in the answer", Cut("down", 60, by_reset), cut, **more)
    yield spot.case("answer changed at once", Corrupt("down", 0), cut, **more)
    patient = {"attempt": spot.waits, **more}
    yield spot.case("stalled before the request", Stall("up", 0), slow, **patient)
    yield spot.case("stalled before the answer", Stall("down", 0), slow, **patient)
    yield spot.case("stalled in the answer", Stall("down", 60), slow, **patient)


def mild(spot: Spot) -> Iterator[Case]:
    """What must not matter."""
    yield spot.case("late", Late(0.7), DONE)
    yield spot.case("slow, but not too slow", Slow("down", 400), DONE)


# -- What HTTP does.


def status(number: int, body: Mapping[str, object], **headers: str) -> Fault:
    """An answer of this status."""

    def respond(request: Request) -> list[Step]:
        whole = answer(number, dict(body), **headers)
        return [
            whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.method == "HEAD" else whole
        ]

    return Answer(respond)


def statuses(
    spot: Spot, body: Mapping[str, object], ends: Mapping[int, str], else_: str, **more: object
) -> Iterator[Case]:
    """Each status; an empty end leaves one out."""
    for number in STATUSES:
        if ends.get(number) != "":
            yield spot.case(str(number), status(number, body), ends.get(number, else_), **more)


def limits(spot: Spot, body: Mapping[str, object], ends: str) -> Iterator[Case]:
    """429, and how long to wait, as servers say it."""
    tries = 4  # after the first
    dated = {"date": "Sat, 28 Nov 2026 10:00:00 GMT"}
    for name, said, headers, pauses in (
        ("in seconds", "7", {}, tries * 7.0),
        ("in no time", "0", {}, 0.0),
        ("by date", "Sat, 28 Nov 2026 10:00:09 GMT", dated, tries * 9.0),
        ("by a date that has passed", "Sat, 28 Nov 2026 09:00:00 GMT", dated, 0.0),
        ("tomorrow", "86400", {}, 0.0),
        ("some day", "999999999999999999", {}, None),
        ("at a bad moment", "Sat, 99 Nov 2026 99:00:00 GMT", dated, None),
        ("in words", "soon\tish", {}, None),
    ):
        fault = status(429, body, retry_after=said, **headers)
        yield spot.case(f"429, again {name}", fault, ends, pauses=pauses)


def parts(raw: bytes) -> tuple[bytes, bytes]:
    """Head, without its end, and body of an answer."""
    head, _, body = raw.partition(b"\r\n\r\n")
    return head, body


def _as(body: bytes, kind: str = "application/json", number: int = 200) -> list[Step]:
    return [answer(number, body, content_type=kind)]


def truncated(raw: bytes) -> Sequence[Step]:
    body = parts(raw)[1]
    return _as(body[: len(body) // 2])


def short(raw: bytes) -> Sequence[Step]:
    head, body = parts(raw)
    return [head + b"\r\n\r\n" + body[: len(body) // 2]]


def garbled(
    spot: Spot,
    *,
    unreadable: str,
    cut: str,
    slow: str,
    large: str,
    none: str | None = None,
    **more: Any,
) -> Iterator[Case]:
    """The work is done, and its answer is not what it was; `none`: one that says nothing."""
    none = unreadable if none is None else none
    page = b"<html><body>Please sign in</body></html>"
    yield spot.case("half an answer", Garble(truncated), unreadable, **more)
    yield spot.case("shorter than it says", Garble(short), cut, **more)
    yield spot.case("empty", Garble(lambda _: _as(b"")), none, **more)
    yield spot.case("a web page", Garble(lambda _: _as(page, "text/html")), unreadable, **more)
    yield spot.case("another value", Garble(lambda _: _as(b'["x"]')), none, **more)
    deep = b"[" * 100_000
    yield spot.case("nested too deep", Garble(lambda _: _as(deep)), unreadable, **more)
    yield spot.case("lost", Garble(lambda _: [Reset()]), cut, **more)
    yield spot.case("slow", Slow("down", 1), slow, **{"attempt": spot.waits, **more})
    yield spot.case("huge", Garble(_huge), large, **more)


def _huge(raw: bytes) -> list[Step]:
    """The same value, with more blanks behind it than anybody should read."""
    head, body = parts(raw)
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(_FRAMING)]
    length = f"content-length: {len(body) + HUGE}".encode()
    return [b"\r\n".join([*kept, length, b"", b""]) + body, Flood(HUGE)]


def escapes(spot: Spot, body: Mapping[str, object], ends: str, **more: object) -> Case:
    """A refusal that writes to the terminal."""
    return spot.case("terminal escapes", status(400, body), ends, **more)


def echoes(spot: Spot, ends: str) -> Case:
    """A refusal that repeats the login that it was sent."""

    def respond(request: Request) -> list[Step]:
        login = request.headers["authorization"]
        error = {"code": "refused", "message": login}
        return [answer(400, {"error": error, "errors": [error]})]

    return spot.case("the login repeated", Answer(respond), ends)


def redirects(spot: Spot, ends: str, **more: object) -> Iterator[Case]:
    """The answer of somebody who is not who was asked."""
    for number in (302, 307):
        yield spot.case(f"redirect {number}", Redirect(number), ends, **more)


def hiccups(spot: Spot, **more: object) -> Iterator[Case]:
    """What is over at once must not end a run."""
    once = {"strikes": 1, "attempt": 2 * spot.waits, **more}
    for name, fault in (
        ("cut before the request", Cut("up", 0)),
        ("reset before the answer", Cut("down", 0, by_reset=True)),
        ("stalled before the answer", Stall("down", 0)),
        ("503", status(503, {})),
        ("lost", Garble(lambda _: [Reset()])),
    ):
        yield spot.case(f"once {name}", fault, DONE, **once)


# -- The Management API.

API_ERROR: Final = {"error": {"code": "refused", "message": "no"}}
API_HOSTILE: Final = {"error": {"code": "refused", "message": HOSTILE}}
UNAVAILABLE: Final = (500, 502, 503, 504)
TOKEN: Final = Spot("token", "api", State.AUTHENTICATING, r"GET \S*/registry-token")
EARLY_TOKEN: Final = replace(TOKEN, label="token, preflight", at=None)
POST: Final = Spot("POST", "api", State.DEPLOYING, r"POST \S*/deploy", waits=120.0)
STATUS: Final = Spot("status", "api", State.DEPLOYING, r"GET \S*/status", DIRECT)
TOKEN_ENDS: Final = {401: "A01", 403: "A02", 404: "A03", 429: "A04"} | dict.fromkeys(
    UNAVAILABLE, "A05"
)
POST_ENDS: Final = {401: "D02", 403: "D02b", 404: "D04", 409: "D05", 429: "D07"} | dict.fromkeys(
    UNAVAILABLE, ""
)
IGNORES_KEYS: Final = ("ignore-keys",)
TELLS_NOTHING: Final = (*IGNORES_KEYS, "bare-status")


def token(spot: Spot) -> Iterator[Case]:
    """GET registry-token."""
    yield from connections(spot, "A06", "A05")
    yield from broken(spot, "A05", "A05")
    yield from mild(spot)
    yield from statuses(spot, API_ERROR, TOKEN_ENDS, "A00")
    yield from limits(spot, API_ERROR, "A04")
    yield from garbled(spot, unreadable="A08", cut="A05", slow="A05", large="A08")
    yield from redirects(spot, "A08")
    yield from hiccups(spot)
    yield escapes(spot, API_HOSTILE, "A00")
    yield echoes(spot, "A00")


def post() -> Iterator[Case]:
    """POST deploy."""
    yield from connections(POST, "D01", "D10", attempt=SETTLE + 20)
    yield from _post_broken()
    yield from mild(POST)
    yield from statuses(POST, API_ERROR, POST_ENDS, "D06")
    for number in UNAVAILABLE:
        fault = status(number, API_ERROR)
        yield POST.case(f"always {number}", fault, "D09", attempt=SETTLE + 20)
    yield from limits(POST, API_ERROR, "D07")
    # The status tells that it was done.
    yield from garbled(POST, unreadable=DONE, cut=DONE, slow=DONE, large=DONE)
    yield from redirects(POST, "D12")
    yield from hiccups(POST)
    yield escapes(POST, API_HOSTILE, "D06")
    yield echoes(POST, "D06")
    for number in (409, 429, 503):
        yield POST.case(f"twice {number}", status(number, API_ERROR), DONE, strikes=2)


def _post_broken() -> Iterator[Case]:
    for case in broken(POST, "D10", DONE, attempt=BACKOFF.tries * POST.waits + SETTLE + 30):
        done = "answer" in case.name
        yield replace(case, ends=(DONE if done else "D10",))


def post_without_keys() -> Iterator[Case]:
    """The same at servers that promise less."""
    for name, sandbox in (("no keys", IGNORES_KEYS), ("no word", TELLS_NOTHING)):
        told = sandbox is IGNORES_KEYS
        spot = replace(POST, label=f"POST, {name}")
        yield from garbled(
            spot,
            unreadable=DONE if told else "D11",
            cut=DONE if told else "D10",
            slow=DONE if told else "D10",
            large=DONE if told else "D11",
            sandbox=sandbox,
            by_hand=not told,
        )
        for case in hiccups(spot, sandbox=sandbox):
            # Where nothing was ever deployed, the status has no image to tell of either.
            if told and case.name.endswith(("answer", "lost")):
                yield case
            else:
                ends = ("D09" if "503" in case.name else "D10",)
                yield replace(case, ends=ends, by_hand=True)


def tenant_status() -> Iterator[Case]:
    """GET status, before the POST and after it."""
    patience: dict[str, Any] = {"attempt": 300 + 3 * STATUS.waits}
    yield from broken(STATUS, "D15", "D15", **patience)
    yield from mild(STATUS)
    yield from statuses(STATUS, API_ERROR, {404: DONE}, "D15", **patience)
    yield from garbled(STATUS, unreadable="D15", cut="D15", slow="D15", large="D15", **patience)
    yield from redirects(STATUS, "D15", **patience)
    yield from hiccups(STATUS)
    yield escapes(STATUS, API_HOSTILE, "D15", **patience)
    yield replace(echoes(STATUS, "D15"), attempt=400.0)


# -- The registry, looked at.

REGISTRY_ERROR: Final = {"errors": [{"code": "UNSUPPORTED", "message": "no"}]}
REGISTRY_HOSTILE: Final = {"errors": [{"code": HOSTILE, "message": HOSTILE}]}
REGISTRY_ENDS: Final = {401: "P01", 403: "P02", 404: "P05", 429: "P06"} | dict.fromkeys(
    UNAVAILABLE, "P05"
)
PROBE: Final = Spot("registry", "registry", State.PUSHING, r"GET /v2/$")
EARLY_PROBE: Final = replace(PROBE, label="registry, preflight", at=None)
MAY_PUSH: Final = Spot("upload, preflight", "registry", None, r"POST \S*/blobs/uploads/")
CONFIRM: Final = Spot("manifest", "registry", State.PUSHING, r"HEAD \S*/manifests/")
VERIFY: Final = replace(CONFIRM, label="manifest, later", at=State.DEPLOYING)


def probe(spot: Spot) -> Iterator[Case]:
    """GET /v2/."""
    yield from connections(spot, "P04", "P05")
    yield from broken(spot, "P05", "P05")
    yield from mild(spot)
    yield from statuses(spot, REGISTRY_ERROR, REGISTRY_ENDS, "P00")
    yield from limits(spot, REGISTRY_ERROR, "P06")
    yield from garbled(spot, unreadable="P14", cut="P05", slow="P05", large="P14")
    yield from redirects(spot, "P05")
    yield from hiccups(spot)
    yield escapes(spot, REGISTRY_HOSTILE, "P00")
    yield echoes(spot, "P00")


def may_push() -> Iterator[Case]:
    """An upload session for nothing: what it certainly tells ends a deploy, its whims do not."""
    for case in statuses(MAY_PUSH, REGISTRY_ERROR, REGISTRY_ENDS, DONE):
        # Later it is the engine that asks.
        yield replace(case, strikes=1 if case.ends == (DONE,) else None)
    yield from broken(MAY_PUSH, "P05", "P05")
    yield from redirects(MAY_PUSH, "P05")
    yield escapes(MAY_PUSH, REGISTRY_HOSTILE, DONE, strikes=1)


def manifest(spot: Spot) -> Iterator[Case]:
    """HEAD manifest. One that may not be read is not checked."""
    ends = REGISTRY_ENDS | {401: DONE, 403: DONE, 404: "P15"}
    yield from statuses(spot, {}, ends, "P14", attempt=65.0)
    yield from limits(spot, {}, "P06")
    yield from broken(spot, "P05", "P05")
    yield from mild(spot)
    yield from redirects(spot, "P05")
    yield from hiccups(spot)


# -- The registry, written to by ourselves.

BEGIN: Final = Spot("upload", "registry", State.PUSHING, r"POST \S*/blobs/uploads/", DIRECT)
PATCH: Final = replace(BEGIN, label="blob", route="PATCH ", waits=60.0)
CLOSE: Final = replace(BEGIN, label="blob's end", route=r"PUT \S*/blobs/uploads/")
LOOK: Final = replace(BEGIN, label="look for a blob", route=r"HEAD \S*/blobs/")
NAME: Final = replace(BEGIN, label="manifest, own", route=r"PUT \S*/manifests/")
EXPIRIES: Final = range(1, 13)  # requests that a login is good for


def writing() -> Iterator[Case]:
    """Each request of a push."""
    yield from statuses(BEGIN, REGISTRY_ERROR, REGISTRY_ENDS, "P00")
    yield from statuses(PATCH, REGISTRY_ERROR, REGISTRY_ENDS | {405: DONE}, "P00")
    yield from statuses(CLOSE, REGISTRY_ERROR, REGISTRY_ENDS, "P00")
    yield from statuses(LOOK, {}, REGISTRY_ENDS | {404: DONE}, "P14")
    yield from statuses(NAME, REGISTRY_ERROR, REGISTRY_ENDS, "P00")
    for spot in (BEGIN, PATCH, CLOSE, LOOK, NAME):
        yield from hiccups(spot)
    for spot in (BEGIN, PATCH, CLOSE, NAME):
        yield from redirects(spot, "P05")
    yield LOOK.case("redirect 302", Redirect(302), "P05")
    # As if it had the blob; the manifest then says that it has not.
    yield LOOK.case("redirect 307", Redirect(307), "P00")
    for spot in (BEGIN, PATCH, CLOSE, NAME):
        yield escapes(spot, REGISTRY_HOSTILE, "P00")
        yield echoes(spot, "P00")
        page = Garble(lambda _: _as(b"<html></html>", "text/html"))
        yield spot.case("a web page", page, "P14")
    for spot in (BEGIN, LOOK, NAME):
        yield from broken(spot, "P05", "P05", attempt=2 * spot.waits)
    yield NAME.case("lost", Garble(lambda _: [Reset()]), "P05")
    yield NAME.case("changed on the way", Corrupt("up", 700), "P09")
    yield NAME.case("once changed on the way", Corrupt("up", 700), DONE, strikes=1)
    yield CLOSE.case("lost", Garble(lambda _: [Reset()]), DONE)


def blob(spot: Spot) -> Iterator[Case]:
    """The bytes of a layer."""
    for after, ends in ((0, "P07"), (1_000, "P07"), (100_000, "P07"), (1_000_000, DONE)):
        for by_reset in (False, True):
            fault = Cut("up", after, by_reset)
            name = f"{'reset' if by_reset else 'cut'} after {after}"
            yield spot.case(name, fault, ends)
            yield spot.case(f"once {name}", fault, DONE, strikes=1)
        stalled = Stall("up", after)
        end, attempt = ends.replace("P07", "P08"), 7 * spot.waits
        yield spot.case(f"stalled after {after}", stalled, end, attempt=attempt)
        yield spot.case(f"once stalled after {after}", stalled, DONE, strikes=1, attempt=attempt)
    yield spot.case("changed on the way", Corrupt("up", 50_000), "P09")
    yield spot.case("once changed on the way", Corrupt("up", 50_000), DONE, strikes=1)
    yield spot.case("slow", Slow("up", 50_000), DONE, attempt=300.0)
    yield spot.case("late", Late(0.2), DONE, attempt=300.0)


def expiring() -> Iterator[Case]:
    """A login that is good for so many requests."""
    for count in EXPIRIES:
        for builder in (BuilderWish.ENGINE, DIRECT):
            yield Case(
                name=f"login, {builder}: good for {count} requests",
                border="registry",
                expires_after=count,
                ends=(DONE,),
                at=State.AUTHENTICATING,
                builder=builder,
            )


# -- Where base images come from.

BASE: Final = Spot(
    "base", "base", State.IMAGING, r"HEAD \S*/manifests/1", DIRECT, waits=30.0, forgets_base=True
)
BASE_MANIFEST: Final = replace(BASE, label="base's manifest", route=r"GET \S*/manifests/")
BASE_BLOB: Final = replace(BASE, label="base's blob", route=r"GET \S*/blobs/", waits=60.0)
EARLY_BASE: Final = replace(BASE, label="base, preflight", at=None)
BASE_COPY: Final = replace(
    BASE_BLOB, label="base's layer, copied", at=State.PUSHING, forgets_base=False
)


def base() -> Iterator[Case]:
    """The pull of a base image."""
    ends = {401: "I10", 403: "I10"}
    for spot in (BASE, EARLY_BASE):
        yield from connections(spot, "I09", "I09")
        yield from broken(spot, "I09", "I09", attempt=2 * spot.waits)
        yield from mild(spot)
        yield from statuses(spot, {}, ends | {404: "I10"}, "I09")
        yield from limits(spot, {}, "I09")
        yield from redirects(spot, "I09")
        yield from hiccups(spot)
    for spot in (BASE_MANIFEST, BASE_BLOB):
        yield from statuses(spot, REGISTRY_ERROR, ends, "I09")
        yield from redirects(spot, "I09")
        yield from hiccups(spot)
        yield from garbled(
            spot, unreadable="I09", cut="I09", slow="I09", large="I09 I24", attempt=10 * spot.waits
        )
        yield spot.case("changed on the way", Corrupt("down", 400), "I09")
        yield escapes(spot, REGISTRY_HOSTILE, "I09")
    yield from pulled(BASE_BLOB, "I09", "I09")


def pulled(spot: Spot, ends: str, changed: str, **more: object) -> Iterator[Case]:
    """The bytes of a base image's layer."""
    spot = replace(spot, large=True)
    for after in (0, 1_000, 100_000, 1_000_000):
        yield spot.case(f"cut after {after}", Cut("down", after), ends, **more)
        yield spot.case(f"reset after {after}", Cut("down", after, by_reset=True), ends, **more)
        patient = {"attempt": 2 * spot.waits, **more}
        yield spot.case(f"stalled after {after}", Stall("down", after), ends, **patient)
        yield spot.case(f"once cut after {after}", Cut("down", after), DONE, strikes=1)
    yield spot.case("changed in the middle", Corrupt("down", 500_000), changed, **more)
    yield spot.case("once changed in the middle", Corrupt("down", 500_000), DONE, strikes=1)
    yield spot.case("not too slow", Slow("down", 50_000), DONE, attempt=120.0)


# -- What is sent while cargo runs.

AHEAD: Final = Spot("ahead", "registry", State.BUILDING, "", DIRECT, waits=60.0, large=True)
AHEAD_BASE: Final = replace(AHEAD, label="base, ahead", border="base", forgets_base=True)


def ahead() -> Iterator[Case]:
    """It is a gift: whatever happens to it, the run never hears of it."""
    for spot, lane in ((AHEAD, UP), (AHEAD_BASE, DOWN)):
        rows = [
            *connections(spot, DONE, DONE),
            *broken(spot, DONE, DONE),
            *statuses(spot, REGISTRY_ERROR, {}, DONE),
            *redirects(spot, DONE),
        ]
        for after in (1_000, 100_000, 1_000_000):
            rows += [
                spot.case(f"cut after {after}", Cut(lane, after), DONE),
                spot.case(f"stalled after {after}", Stall(lane, after), DONE),
                spot.case(f"changed after {after}", Corrupt(lane, after), DONE),
            ]
        yield from (replace(case, while_building=True, attempt=CARGO_SECONDS) for case in rows)


# -- The engine's socket.

ENGINE_ERROR: Final = {"message": "no"}
ENGINE_HOSTILE: Final = {"message": HOSTILE}
BUILD: Final = Spot("build", "engine", State.IMAGING, r"POST \S*/build", waits=900.0)
# Before the build and behind it.
INSPECT: Final = Spot("inspect", "engine", State.IMAGING, r"GET \S*/images/\S*/json", waits=60.0)
EARLY_ENGINE: Final = Spot("engine, preflight", "engine", None, r"GET \S*/version", waits=5.0)
LATER: Final = Spot("inspect, later", "engine", State.PUSHING, r"GET \S*/images/\S*/json")
TAG: Final = Spot("tag", "engine", State.PUSHING, r"POST \S*/tag")
PUSH: Final = Spot("push", "engine", State.PUSHING, r"POST \S*/push", waits=60.0)


def engine() -> Iterator[Case]:
    """The engine's socket."""
    yield from connections(EARLY_ENGINE, "I01", "I12")
    yield from broken(EARLY_ENGINE, "I12", "I02b")
    yield from connections(BUILD, "I01", "I12")
    yield from connections(PUSH, "I01", "P13")
    for spot, died, failed, silent in (
        (BUILD, "I12", "I00", "I02b"),
        (INSPECT, "I12", "I00", "I02b"),
        (LATER, "P13", "P00", "I02b"),
        (TAG, "P13", "P00", "I02b"),
        (PUSH, "P13", "P00", "P08"),
    ):
        ends = {404: "I12"} if spot in (INSPECT, LATER) else {}
        yield from statuses(spot, ENGINE_ERROR, ends, failed)
        yield from broken(spot, died, silent)
        yield from mild(spot)
        yield from redirects(spot, "I02c")
        yield from hiccups(spot)
        yield escapes(spot, ENGINE_HOSTILE, failed)
    for spot, died, slow in ((BUILD, "I12", DONE), (PUSH, "P13", "P08")):
        yield from garbled(spot, unreadable="I19", cut=died, slow=slow, large="I19", none=died)
    for spot, died in ((INSPECT, "I12"), (LATER, "P13")):
        # The engine may do as root what it likes: how much it says is not limited.
        yield from garbled(spot, unreadable="I19", cut=died, slow="I02b", large=DONE)
    large = replace(BUILD, large=True)
    for after in (1_000, 100_000, 1_000_000):
        yield large.case(f"cut after {after}", Cut("up", after), "I12")
        yield large.case(f"reset after {after}", Cut("up", after, by_reset=True), "I12")
        yield large.case(f"stalled after {after}", Stall("up", after), "I02b", attempt=BUILD.waits)


# -- The tenant's public URL.

HEALTH: Final = Spot("health", "url", State.DEPLOYING, "GET ", DIRECT, waits=5.0)


def health() -> Iterator[Case]:
    """GET the health routes."""
    patience: dict[str, Any] = {"attempt": 310.0}
    yield from connections(HEALTH, "D15", "D15", **patience)
    yield from broken(HEALTH, "D15", "D15", **patience)
    yield from mild(HEALTH)
    yield from statuses(HEALTH, {"status": "healthy"}, {}, "D15", **patience)
    yield from redirects(HEALTH, "D15", **patience)
    yield from hiccups(HEALTH)
    # Whatever an application says with 200, it says that it runs.
    yield from garbled(HEALTH, unreadable=DONE, cut="D15", slow="D15", large="D15", **patience)
    for word, ends in (("starting", "D15"), (HOSTILE, "D15"), ("degraded", DONE)):
        fault = Garble(lambda _, word=word: [answer(200, {"status": word})])  # type: ignore[misc]
        yield HEALTH.case(f"says {word!r}", fault, ends, **patience)
    old = replace(HEALTH, route="GET /api")
    yield old.case("404 at the first route", status(404, {}), DONE)


def table() -> list[Case]:
    """Every row; what the server has a part in, under both contracts."""
    rows = _rows()
    return [*rows, *(_with_server_tag(each) for each in rows if each.border in ("api", "url"))]


def _with_server_tag(case: Case) -> Case:
    return replace(case, name=f"server-tag, {case.name}", contract=Contract.SERVER_TAG)


def _rows() -> list[Case]:
    return [
        *token(TOKEN),
        *token(EARLY_TOKEN),
        *post(),
        *post_without_keys(),
        *tenant_status(),
        *probe(PROBE),
        *probe(EARLY_PROBE),
        *may_push(),
        *manifest(CONFIRM),
        *manifest(VERIFY),
        *writing(),
        *blob(replace(PATCH, large=True)),
        *expiring(),
        *base(),
        # A stall is the upload's as well; changed bytes are noticed by who receives them.
        *pulled(BASE_COPY, "I09 P08", "P09"),
        *statuses(BASE_COPY, REGISTRY_ERROR, {401: "I10", 403: "I10"}, "I09"),
        *ahead(),
        *engine(),
        *health(),
    ]
