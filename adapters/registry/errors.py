"""Why a registry, or its token server, did not do what it was asked. No I/O."""

from typing import Final

from deployer.adapters.http.answer import Answer, Fault, Trouble
from deployer.adapters.registry.auth import bearer_challenge
from deployer.adapters.text import clean, decode
from deployer.failures import Failure, Kind
from deployer.states.flow import State

_FAULT_KINDS: Final = {
    Fault.URL: Kind.NOT_A_REGISTRY,
    Fault.HEADER: Kind.NOT_A_REGISTRY,
    Fault.UNREACHABLE: Kind.REGISTRY_UNREACHABLE,
    Fault.TLS: Kind.REGISTRY_TLS,
    Fault.CUT: Kind.REGISTRY_UNAVAILABLE,
    Fault.SLOW: Kind.REGISTRY_UNAVAILABLE,
    Fault.UNREADABLE: Kind.NOT_A_REGISTRY,
}
_STATUS_KINDS: Final = {
    401: Kind.REGISTRY_AUTH,
    403: Kind.REPOSITORY_DENIED,
    404: Kind.REGISTRY_UNAVAILABLE,
    408: Kind.REGISTRY_UNAVAILABLE,
    429: Kind.REGISTRY_RATE_LIMIT,
}
# The registry's own error codes; they say more than the status.
_CODE_KINDS: Final = {
    "DENIED": Kind.REPOSITORY_DENIED,
    "NAME_UNKNOWN": Kind.REPOSITORY_DENIED,
    "TOOMANYREQUESTS": Kind.REGISTRY_RATE_LIMIT,
}


def registry_trouble(trouble: Trouble) -> Failure:
    """The failure of a request without an answer."""
    return registry_failure(_FAULT_KINDS[trouble.fault], trouble.cause)


def registry_refusal(answer: Answer) -> Failure:
    """The failure of a request that was answered with another status than it should."""
    code, message = _error(answer)
    said = ": ".join(part for part in (code, message) if part)
    return registry_failure(_refusal_kind(answer, code), said or f"HTTP {answer.status}", answer)


def _refusal_kind(answer: Answer, code: str) -> Kind:
    if answer.is_refusal and code in _CODE_KINDS:
        return _CODE_KINDS[code]
    challenge = bearer_challenge(answer)
    if challenge is not None and challenge.error == "insufficient_scope":
        return Kind.REPOSITORY_DENIED
    if answer.status in _STATUS_KINDS:
        return _STATUS_KINDS[answer.status]
    # A redirect and a 5xx are a proxy's word, or a registry's that is down.
    if not answer.is_refusal:
        return Kind.NOT_A_REGISTRY if answer.is_success else Kind.REGISTRY_UNAVAILABLE
    return Kind.PUSH_FAILED if code else Kind.NOT_A_REGISTRY


def _error(answer: Answer) -> tuple[str, str]:
    """Code and message of the first error in the specification's envelope; the body otherwise."""
    match answer.json():
        case {"errors": [{"code": str(code), **rest}, *_]}:
            message = rest.get("message")
            return clean(code), clean(message) if isinstance(message, str) else ""
    return "", clean(decode(answer.body))


def registry_failure(kind: Kind, cause: str, answer: Answer | None = None) -> Failure:
    """A failure in the caller's words; `answer` adds its status."""
    return Failure(
        phase=State.PUSHING,
        kind=kind,
        cause=clean(cause),
        retry_after=answer.retry_after if answer else None,
        http_status=answer.status if answer else None,
    )
