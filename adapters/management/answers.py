"""What the Management API's answers mean: our values, or a row of the catalogue. No I/O."""

from collections.abc import Collection
from typing import Final, TypeVar

import msgspec

from deployer.adapters.http.answer import Answer
from deployer.adapters.http.url import Url, is_loopback
from deployer.adapters.management.errors import (
    UPDATE_FAILED,
    answer_failure,
    deploy_failure,
    error_code,
    get_failure,
    text,
)
from deployer.adapters.text import clean
from deployer.failures import Failure, Kind
from deployer.model import Deployment, Login, Secret, TenantStatus
from deployer.names import ImageRef, InvalidNameError
from deployer.ports import Account
from deployer.states.flow import State

FLY_REGISTRY: Final = "registry.fly.io"

_FAILED_WORDS: Final = frozenset({"failed", "error"})


class _Token(msgspec.Struct):
    """The body of registry-token, all generations: the password is called `token` since one."""

    registry: str
    username: str
    password: str | None = None
    token: str | None = None
    repository: str | None = None
    tag: str | None = None
    capabilities: object = None

    def __repr__(self) -> str:
        """Nothing: it holds the password."""
        return "_Token(…)"


class _Status(msgspec.Struct):
    """The body of deploy and of status. What is not needed to go on may have any type."""

    status: str
    message: object = None
    app_url: object = None
    url: object = None
    image: object = msgspec.UNSET  # null where nothing runs, absent where it is never told
    deploy_id: object = None
    capabilities: object = None


class _User(msgspec.Struct):
    email: object = None


class _Me(msgspec.Struct):
    """The part of auth/me that is shown."""

    user: _User


_Shape = TypeVar("_Shape", _Token, _Status, _Me)


def read_account(answer: Answer) -> Account | Failure:
    """Whom an answer of `GET auth/me` names, and when it was given by the server's clock."""
    failure = get_failure(State.AUTHENTICATING, answer)
    if failure is not None:
        return failure
    me = _payload(answer, _Me)
    if me is None:
        return answer_failure(State.AUTHENTICATING, Kind.NOT_THE_API, answer, "no user in it")
    return Account(user=text(me.user.email) or "a user without a name", server_time=answer.date)


def read_login(answer: Answer, registries: Collection[str], *, loopback: bool) -> Login | Failure:
    """The login in a registry-token answer.

    Its registry must be Fly's or one of `registries`, or lie on this machine if `loopback`.
    """
    failure = get_failure(State.AUTHENTICATING, answer)
    if failure is not None:
        return failure
    token = _payload(answer, _Token)
    if token is None:
        return answer_failure(
            State.AUTHENTICATING, Kind.NOT_THE_API, answer, "no registry login in it"
        )
    flaw = _login_flaw(token, registries, loopback=loopback)
    if flaw is not None:
        return answer_failure(State.AUTHENTICATING, Kind.LOGIN_UNUSABLE, answer, flaw)
    return Login(
        registry=token.registry,
        username=token.username,
        password=Secret(token.password or token.token or ""),
        repository=token.repository or None,
        tag=token.tag or None,
        capabilities=_capabilities(token.capabilities),
    )


def read_status(answer: Answer) -> TenantStatus | Failure:
    """The tenant's status in an answer of `GET …/status`."""
    failure = get_failure(State.DEPLOYING, answer)
    if failure is not None:
        return failure
    status = _payload(answer, _Status)
    if status is None:
        return answer_failure(State.DEPLOYING, Kind.NOT_THE_API, answer, "no status in it")
    return TenantStatus(
        deploy_status=_word(status),
        message=text(status.message),
        url=_url(status),
        image=_image(text(status.image)),
        deploy_id=_id(status.deploy_id),
        names_images=status.image is not msgspec.UNSET,
        capabilities=_capabilities(status.capabilities),
    )


def read_deployment(answer: Answer) -> Deployment | Failure:
    """The deployment in a 2xx answer of POST deploy; unreadable means that nobody knows."""
    status = _payload(answer, _Status)
    if status is None:
        failed = error_code(answer) == UPDATE_FAILED
        kind = Kind.UPDATE_FAILED if failed else Kind.ANSWER_UNREADABLE
        return deploy_failure(kind, answer)
    word = _word(status)
    if word.lower() in _FAILED_WORDS:
        message = text(status.message)
        cause = f"{word}: {message}" if message else f"the server says {word!r}"
        return answer_failure(State.DEPLOYING, Kind.UPDATE_FAILED, answer, cause)
    replayed = answer.headers.get("idempotent-replayed", "").strip().lower() == "true"
    return Deployment(
        deploy_status=word,
        url=_url(status),
        deploy_id=_id(status.deploy_id),
        how="replayed" if replayed else "posted",
    )


def _image(named: str | None) -> str | None:
    """The image as POST deploy named it: without a digest behind the tag."""
    name, _, _ = (named or "").partition("@")
    has_tag = ":" in name.rpartition("/")[2]
    return name if has_tag else named


def _payload(answer: Answer, shape: type[_Shape]) -> _Shape | None:
    """The body as `shape`, in its envelope or bare; None when it is neither."""
    body = answer.json()
    if isinstance(body, dict) and "data" in body:
        body = body["data"]
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError:
        return None


def _login_flaw(token: _Token, registries: Collection[str], *, loopback: bool) -> str | None:
    """Why the engine may not get this login; what the server names reaches URLs."""
    try:
        ImageRef(token.registry, token.repository or "x", token.tag or "x")
        host = Url.parse(f"https://{token.registry}").host
    except InvalidNameError as error:
        return str(error)
    if not (token.password or token.token):
        return "the password is empty"
    if not token.username or ":" in token.username:  # it separates name and password
        return "the user name is empty or has a colon"
    known = token.registry == FLY_REGISTRY or token.registry in registries
    if known or (loopback and is_loopback(host)):
        return None
    return f"the registry {token.registry!r} is not one that this deployer may send a login to"


def _word(status: _Status) -> str:
    # A word of control characters alone is still an answer, and no failure.
    return clean(status.status) or "unknown"


def _id(value: object) -> str | None:
    return str(value) if type(value) is int else text(value)


def _url(status: _Status) -> str | None:
    """The first URL that may be asked and shown; `javascript:x` came once (measured)."""
    for value in (status.app_url, status.url):
        try:
            if isinstance(value, str) and Url.parse(value).is_private_to_us:
                return value
        except InvalidNameError:
            continue
    return None


def _capabilities(value: object) -> frozenset[str]:
    words = value if isinstance(value, list) else []
    return frozenset(word for word in words if isinstance(word, str))
