"""What an engine's words mean. Engines explain themselves only in prose: first match wins. Pure.

Texts of dockerd 20.10 (classic builder, BuildKit), of newer engines and of podman; the recorded
ones lie in tests/recorded.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from deployer.adapters.context.rules import missing_kind
from deployer.adapters.text import clean
from deployer.failures import Failure, Kind
from deployer.states.flow import State

_Rules = Sequence[tuple[re.Pattern[str], Kind]]


def _rules(*rows: tuple[str, Kind]) -> _Rules:
    return tuple((re.compile(pattern, re.IGNORECASE), kind) for pattern, kind in rows)


# A step's own command may hold any other text, so this one is asked first.
_STEP_EXIT: Final = re.compile(
    r"(?:returned a non-zero code:|exit code:|exit status) (\d+)\W*$", re.IGNORECASE
)
# SIGKILL and SIGTERM: the memory ran out, or the engine was being stopped (measured: a stopping
# dockerd ends the step with 137).
_KILLED: Final = frozenset({137, 143})
_DISK_FULL: Final = re.compile(r"no space left on device", re.IGNORECASE)

# Each group is the path that was not found.
_NO_SOURCE: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"excluded by \.dockerignore: stat ([^:]+): file does not exist",
        r"(?:cache key|checksum of ref \S+): \"/([^\"]+)\"\s*:? not found",
        r"lstat \S*/buildkit-mount\d+/(\S+): no such file",
        r"copier: stat: \"/([^\"]+)\": no such file",
        r"(?:copy|add) failed: stat \S*/docker-builder\d+/(\S+): no such file",
        r"no items matching glob \"[^\"]*?/((?:target|core)/[^\"]+)\" copied",
    )
)

_BUILD: Final = _rules(
    (r"no space left on device|disk quota exceeded", Kind.ENGINE_DISK_FULL),
    (r"exec format error", Kind.WRONG_PLATFORM),
    (r"signal: killed|oomkilled", Kind.RUN_STEP_KILLED),
    (
        r"cannot locate specified dockerfile|failed to read dockerfile"
        r"|open \S*dockerfile: no such file",
        Kind.DOCKERFILE_MISSING,
    ),
    (
        r"parse error|unknown instruction|cannot be empty|no build stage in current context"
        r"|unknown flag|requires buildkit|requires (?:at least|exactly)",
        Kind.DOCKERFILE_SYNTAX,
    ),
    (r"forbidden path outside the build context", Kind.SOURCE_OUTSIDE),
    (r"no source files were specified|no items matching glob", Kind.SOURCE_MISSING),
    (
        r"failed to create (?:shim )?task|unable to start container process|oci runtime",
        Kind.RUN_STEP_FAILED,
    ),
    (r"invalid tar header|unexpected eof", Kind.CONTEXT_CHANGED),
    (
        r"does not match the (?:specified|expected) platform|no match for platform"
        r"|no matching manifest for",
        Kind.WRONG_PLATFORM,
    ),
    (r"toomanyrequests|pull rate limit", Kind.BASE_UNREACHABLE),
    (
        r"pull access denied|manifest unknown|manifest for \S+ not found|repository does not exist"
        r"|name unknown|failed to resolve source metadata for \S+: \S+: not found"
        r"|requested access to the resource is denied|unauthorized",
        Kind.BASE_NOT_FOUND,
    ),
    (
        r"dial tcp|no such host|connection refused|connection reset|i/o timeout|tls handshake"
        r"|request canceled|x509:|network is unreachable|unexpected http status: 5"
        r"|context deadline exceeded|client\.timeout|proxyconnect|temporary failure in name",
        Kind.BASE_UNREACHABLE,
    ),
)

_PUSH: Final = _rules(
    (
        r"does not exist locally|tag does not exist|no such image|image not known",
        Kind.IMAGE_NOT_LOCAL,
    ),
    (r"x509:|certificate|http response to https client|tls: ", Kind.REGISTRY_TLS),
    (r"toomanyrequests|429 too many requests", Kind.REGISTRY_RATE_LIMIT),
    (r"digest invalid|did not match uploaded content|digest mismatch", Kind.DIGEST_MISMATCH),
    (
        r"no space left on device|insufficient storage|quota (?:has been )?exceeded|over quota",
        Kind.REGISTRY_DISK_FULL,
    ),
    (r"insufficient_scope|requested access to the resource is denied", Kind.REPOSITORY_DENIED),
    (
        r"unauthorized|no basic auth credentials|authentication required|authorization failed"
        r"|failed to authorize|incorrect username or password"
        r"|token (?:has |is )?expired|reauthenticate",
        Kind.REGISTRY_AUTH,
    ),
    (
        r"\bdenied\b|name unknown|403 forbidden|repository not found|could not find repository",
        Kind.REPOSITORY_DENIED,
    ),
    (r"awaiting headers|tls handshake timeout|context deadline exceeded", Kind.PUSH_STALLED),
    (
        r"no such host|connection refused|no route to host|network is unreachable|i/o timeout"
        r"|dial tcp|proxyconnect|temporary failure in name",
        Kind.REGISTRY_UNREACHABLE,
    ),
    (
        r"\b5\d\d (?:internal|bad|service|gateway)|http status: 5|parsing http 5\d\d",
        Kind.REGISTRY_UNAVAILABLE,
    ),
    (
        r"parsing http \d+ response body|unexpected http status|unexpected status from"
        r"|request entity too large|invalid character '<'",
        Kind.NOT_A_REGISTRY,
    ),
    (
        r"broken pipe|connection reset|\beof\b|closed network connection|goaway|stream error"
        r"|blob (?:upload )?(?:unknown|invalid)",
        Kind.PUSH_CUT,
    ),
)

_BAD_REFERENCE: Final = re.compile(r"invalid reference format|invalid tag|page not found")
# A repository inside a URL may be called `eof` or `denied`.
_URL: Final = re.compile(r"https?://[^\s\"]+")


def build_failure(message: str, http_status: int, *, output: Iterable[str] = ()) -> Failure:
    """The failure behind the engine's `message` about a build, after the lines of `output`.

    `http_status` is 0 for a message inside a stream.
    """
    lines = tuple(output)
    return Failure(
        phase=State.IMAGING,
        kind=_build_kind(message, lines, in_stream=not http_status),
        cause=clean(message),
        details=lines,
        http_status=http_status or None,
    )


def _build_kind(message: str, output: Sequence[str], *, in_stream: bool) -> Kind:
    if step := _STEP_EXIT.search(message):
        return _step_kind(int(step[1]), output)
    for pattern in _NO_SOURCE:
        if source := pattern.search(message):
            return missing_kind(source[1].rstrip("/"))
    if _BAD_REFERENCE.search(message):
        # Our own tag is refused before the stream begins, the name in FROM inside it.
        return Kind.BASE_NOT_FOUND if in_stream else Kind.BAD_REFERENCE
    return _first(_BUILD, message, Kind.IMAGE_FAILED)


def _step_kind(code: int, output: Sequence[str]) -> Kind:
    if code in _KILLED:
        return Kind.RUN_STEP_KILLED
    # The engine says only that the step failed (measured): why stands in the step's own output.
    if any(_DISK_FULL.search(line) for line in output):
        return Kind.ENGINE_DISK_FULL
    if any("exec format error" in line for line in output):
        return Kind.WRONG_PLATFORM
    return Kind.RUN_STEP_FAILED


def push_failure(message: str, http_status: int, *, moved: bool) -> Failure:
    """The failure behind the engine's `message` about a push.

    `moved` says that the registry had taken something already: a login refused after that expired.
    """
    kind = Kind.BAD_REFERENCE
    if not _BAD_REFERENCE.search(message):
        kind = _first(_PUSH, message, Kind.PUSH_FAILED)
    if kind is Kind.REGISTRY_AUTH and moved:
        kind = Kind.LOGIN_EXPIRED
    return Failure(
        phase=State.PUSHING, kind=kind, cause=clean(message), http_status=http_status or None
    )


def _first(rules: _Rules, message: str, otherwise: Kind) -> Kind:
    text = _URL.sub("URL", message)
    return next((kind for pattern, kind in rules if pattern.search(text)), otherwise)
