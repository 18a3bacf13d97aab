"""Which paths never enter a build context, and what a missing one means. Pure."""

import re
from typing import Final

from deployer.failures import Kind

BINARIES: Final = "target/release"
WEB_DIST: Final = "core/web/dist"
WEB_INDEX: Final = f"{WEB_DIST}/index.html"

# Kept out whatever the ignore file says: `COPY .systemprompt/profiles` once baked each profile's
# secrets.json into images on a shared registry. Matched against lower-case paths.
_SECRETS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"(^|/)\.systemprompt/(.*/)?(credentials|tenants|sessions?)\.json$",
        r"(^|/)\.systemprompt/(.*/)?sessions(/|$)",
        r"(^|/)\.systemprompt/(.*/)?[^/]*\.(pem|key)$",
        r"(^|/)secrets\.json$",
        r"(^|/)\.env[^/]*(/|$)",
        r"(^|/)\.git(/|$)",
        r"(^|/)id_(rsa|dsa|ecdsa|ed25519)(_sk)?$",
    )
)


def is_secret(path: str) -> bool:
    """Whether `path`, relative to the context, may hold a secret or lies in a place that does."""
    lowered = path.lower()
    return any(secret.search(lowered) for secret in _SECRETS)


def missing_kind(path: str) -> Kind:
    """What it means that the context has no `path`: the remedy depends on who makes it."""
    if _is_at_or_below(path, BINARIES) or path == "target":
        return Kind.BINARY_MISSING
    if _is_at_or_below(path, WEB_DIST):
        return Kind.WEB_DIST_MISSING
    return Kind.SOURCE_MISSING


def promises_web_index(path: str) -> bool:
    """Whether whoever copies `path` (it may be a pattern) expects the web index in it."""
    return path in (WEB_DIST, f"{WEB_DIST}/*")


def _is_at_or_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(f"{directory}/")
