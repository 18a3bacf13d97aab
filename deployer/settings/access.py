"""Who we are to the Management API: its URL, and a token that was issued for it."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from deployer.model import Secret
from deployer.settings import project
from deployer.settings.values import PRODUCTION_API, Refusal, api_url_problem

TOKEN_VARIABLE: Final = "SYSTEMPROMPT_API_TOKEN"  # noqa: S105  # a name
URL_VARIABLE: Final = "SYSTEMPROMPT_API_URL"
WARN_SECONDS: Final = 600.0  # a deploy may well take as long
# Header, claims, signature. The whole is checked: it becomes an HTTP header.
_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.(?P<claims>[A-Za-z0-9_-]+)\.[A-Za-z0-9_-]*")


class _Claims(msgspec.Struct):
    exp: float | None = None


class UndecodableTokenError(ValueError):
    """Not a JWT; the message never quotes it."""


def expires_at(token: str) -> float | None:
    """The token's `exp` in seconds since the epoch; None when it names no end.

    Raises UndecodableTokenError for anything that is not a JWT.
    """
    parts = _JWT.fullmatch(token)
    if parts is None:
        raise UndecodableTokenError("it does not have the three parts of a JWT")
    padded = parts["claims"] + "=" * (-len(parts["claims"]) % 4)
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Claims).exp
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError):
        raise UndecodableTokenError("its claims cannot be read") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A URL and the token for it, both usable as far as can be told from here."""

    url: str
    token: Secret
    expires_at: float | None
    warnings: tuple[str, ...]


def find_access(root: Path, environ: Mapping[str, str], now: float) -> Access | Refusal:
    """The login in the environment, else the stored one. `now` is in seconds since the epoch."""
    token = environ.get(TOKEN_VARIABLE, "").strip()
    url = _checked_url(environ.get(URL_VARIABLE, ""), URL_VARIABLE)
    if isinstance(url, Refusal):
        return url
    if token and url:
        return _with_expiry(url, token, TOKEN_VARIABLE, now)
    stored = project.read_credentials(root)
    if isinstance(stored, Refusal):
        return stored
    file = project.credentials_path(root)
    issuer = _checked_url(stored.api_url if stored else "", f"{file}, key api_url")
    if isinstance(issuer, Refusal):
        return issuer
    if token:
        return _with_expiry(issuer or PRODUCTION_API, token, TOKEN_VARIABLE, now)
    if stored is None or issuer is None:
        remedy = f"{project.LOGIN}, or set {TOKEN_VARIABLE}"
        return Refusal(what="no login", where=str(file), remedy=remedy)
    # A variable must not send the login of one server to another.
    if url not in (None, issuer):
        return Refusal(
            what=f"the login was issued by {issuer}, not by {url}",
            where=f"{file}, key api_url, and {URL_VARIABLE}",
            remedy=f"log in there, or set {TOKEN_VARIABLE} too",
        )
    return _with_expiry(issuer, stored.api_token.strip(), f"{file}, key api_token", now)


def _checked_url(text: str, where: str) -> str | Refusal | None:
    url = text.strip().rstrip("/")
    problem = api_url_problem(url) if url else None
    # The URL itself is not shown: what is wrong with it may be a password.
    return (
        Refusal(what=f"the API URL {problem}", where=where, remedy="correct it")
        if problem
        else url or None
    )


def _with_expiry(url: str, token: str, where: str, now: float) -> Access | Refusal:
    try:
        end = expires_at(token)
    except UndecodableTokenError as error:
        return Refusal(what=f"not an API token: {error}", where=where, remedy=project.LOGIN)
    left = None if end is None else end - now
    if left is not None and left <= 0:
        return Refusal(what="the login has expired", where=where, remedy=project.LOGIN)
    warnings = (
        (f"the login expires in {left / 60:.0f} min",)
        if left is not None and left < WARN_SECONDS
        else ()
    )
    return Access(url=url, token=Secret(token), expires_at=end, warnings=warnings)
