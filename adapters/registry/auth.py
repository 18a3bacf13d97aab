"""Where a registry wants its login sent, and whether that place may have it."""

import base64
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from deployer.adapters.http.answer import Answer
from deployer.adapters.http.url import Url
from deployer.model import Login
from deployer.names import InvalidNameError

_CHALLENGE: Final = re.compile(r"(?:^|[\s,])Bearer\s+(.+)", re.IGNORECASE)
_PARAMETER: Final = re.compile(r'([a-z_]+)=(?:"([^"]*)"|([^\s",]+))', re.IGNORECASE)
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]+")


@dataclass(frozen=True, slots=True)
class Bearer:
    """A challenge for a token, as the registry worded it."""

    realm: str
    service: str
    error: str  # "insufficient_scope", "invalid_token"; "" without one


def bearer_challenge(answer: Answer) -> Bearer | None:
    """The Bearer challenge in a 401; None where Basic is the only way."""
    found = _CHALLENGE.search(answer.headers.get("www-authenticate", "")[:4000])
    if found is None:
        return None
    parameters: dict[str, str] = {}
    for name, quoted, bare in _PARAMETER.findall(found[1]):
        parameters.setdefault(name.lower(), quoted or bare)  # a second realm is another scheme's
    return Bearer(*(parameters.get(name, "") for name in ("realm", "service", "error")))


def token_url(
    challenge: Bearer, *, registry: str, scope: str | None, realms: Collection[str]
) -> str | None:
    """The URL to ask for a token; None when the login must not go there.

    dockerd sends it to whatever host the registry names (measured).
    """
    try:
        realm = Url.parse(challenge.realm)
        home = Url.parse(f"https://{registry}")
    except InvalidNameError:
        return None
    trusted = realm.host in realms or _same_site(realm.host, home.host)
    if not (trusted and realm.is_private_to_us):
        return None
    wanted = {"service": challenge.service, "scope": scope or ""}
    query = urlencode({name: value for name, value in wanted.items() if value})
    queries = "&".join(part for part in (realm.query, query) if part)
    return f"{realm.place}?{queries}" if queries else realm.place


def _same_site(realm: str, registry: str) -> bool:
    """Whether the registry's owner owns the realm's host, too.

    The same host, one below it, or one above it. Not a sibling: a.fly.dev and b.fly.dev belong
    to strangers, and only a list of public suffixes could tell.
    """
    if realm == registry:
        return True
    named = not realm.replace(".", "").isdigit() and "." in realm
    return named and (realm.endswith(f".{registry}") or registry.endswith(f".{realm}"))


def basic(login: Login) -> str:
    """The Authorization header's value; it is the password, only spelled otherwise."""
    pair = f"{login.username}:{login.password.reveal()}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def bearer(answer: Answer) -> str | None:
    """The Authorization header's value from a token server's answer; None without a token."""
    match answer.json():
        case {"token": str(token)} if _TOKEN.fullmatch(token):
            return f"Bearer {token}"
        case {"access_token": str(token)} if _TOKEN.fullmatch(token):
            return f"Bearer {token}"
    return None
