"""Which row of the catalogue a refusal or a trouble of the Management API is. No I/O."""

from http import HTTPStatus
from typing import Final

from deployer.adapters.http.answer import Answer, Fault, Trouble
from deployer.adapters.text import clean, decode
from deployer.failures import Failure, Kind
from deployer.states.flow import State

_GET_KINDS: Final = {
    401: Kind.API_LOGIN_REFUSED,
    403: Kind.TENANT_FORBIDDEN,
    404: Kind.TENANT_UNKNOWN,
    408: Kind.API_UNAVAILABLE,
    429: Kind.API_RATE_LIMIT,
}
_GET_FAULTS: Final = {
    Fault.URL: Kind.API_URL_INVALID,
    Fault.HEADER: Kind.API_LOGIN_REFUSED,
    Fault.UNREACHABLE: Kind.API_UNREACHABLE,
    Fault.TLS: Kind.API_TLS,
    Fault.CUT: Kind.API_UNAVAILABLE,
    Fault.SLOW: Kind.API_UNAVAILABLE,
    Fault.UNREADABLE: Kind.NOT_THE_API,
}
_DEPLOY_FAULTS: Final = {
    Fault.URL: Kind.API_URL_INVALID,
    Fault.HEADER: Kind.DEPLOY_LOGIN_REFUSED,
    Fault.UNREACHABLE: Kind.NOT_SENT,
    Fault.TLS: Kind.NOT_SENT,
    Fault.CUT: Kind.OUTCOME_UNKNOWN,
    Fault.SLOW: Kind.OUTCOME_UNKNOWN,
    Fault.UNREADABLE: Kind.ANSWER_UNREADABLE,
}
_DEPLOY_KINDS: Final = {
    401: Kind.DEPLOY_LOGIN_REFUSED,
    403: Kind.DEPLOY_FORBIDDEN,
    408: Kind.SERVER_ERROR,
    409: Kind.DEPLOY_RUNNING,
    429: Kind.DEPLOY_RATE_LIMIT,
}
NO_TENANT: Final = "tenant_not_found"
# `error.code` of a 4xx; it says more than the status.
_DEPLOY_CODES: Final = {
    "image_not_found": Kind.IMAGE_NOT_FOUND,
    NO_TENANT: Kind.DEPLOY_NO_TENANT,
    "idempotency_mismatch": Kind.DEPLOY_INVALID,
    "idempotency_in_progress": Kind.KEY_IN_PROGRESS,
}
UPDATE_FAILED: Final = "machine_update_failed"


def deploy_kind(answer: Answer) -> Kind | None:
    """The row for an answer to POST deploy that is no 2xx.

    None: a 404 that does not say whether the image or the tenant is missing.
    """
    code = error_code(answer)
    if code == UPDATE_FAILED:
        return Kind.UPDATE_FAILED
    if answer.is_redirect:
        return Kind.DEPLOY_REDIRECTED
    # A 5xx may come from a proxy in between, after the work was done.
    if not answer.is_refusal:
        return Kind.SERVER_ERROR
    if code in _DEPLOY_CODES:
        return _DEPLOY_CODES[code]
    if answer.status == HTTPStatus.NOT_FOUND:
        return None
    if _lacks_infrastructure(answer):
        return Kind.TENANT_NOT_READY
    return _DEPLOY_KINDS.get(answer.status, Kind.DEPLOY_INVALID)


def deploy_failure(kind: Kind, answer: Answer) -> Failure:
    """The failure of a POST deploy that was answered."""
    return answer_failure(State.DEPLOYING, kind, answer)


def get_failure(phase: State, answer: Answer) -> Failure | None:
    """Why `answer` is no 2xx; None for a 2xx."""
    if answer.is_success:
        return None
    return answer_failure(phase, _get_kind(answer), answer)


def get_trouble(phase: State, trouble: Trouble) -> Failure:
    """The failure of a GET without a usable answer."""
    return Failure(phase=phase, kind=_GET_FAULTS[trouble.fault], cause=trouble.cause)


def deploy_trouble(trouble: Trouble) -> Failure:
    """The failure of a POST deploy without a usable answer."""
    return Failure(phase=State.DEPLOYING, kind=_DEPLOY_FAULTS[trouble.fault], cause=trouble.cause)


def error_code(answer: Answer) -> str | None:
    """`error.code` of the API's error envelope."""
    return _error(answer)[0]


def lacks_route(answer: Answer) -> bool:
    """Whether the API itself says that it has no such route; a proxy's 404 says nothing of it."""
    is_own = not answer.body.strip() or isinstance(answer.json(), dict)
    return answer.status == HTTPStatus.NOT_FOUND and is_own and error_code(answer) != NO_TENANT


def _get_kind(answer: Answer) -> Kind:
    if answer.status == HTTPStatus.NOT_FOUND and answer.is_html:
        return Kind.NOT_THE_API  # the API's own 404 is JSON
    if _lacks_infrastructure(answer):
        return Kind.TENANT_NOT_READY
    if answer.status in _GET_KINDS:
        return _GET_KINDS[answer.status]
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Kind.API_UNAVAILABLE
    return Kind.API_REFUSED if answer.is_refusal else Kind.NOT_THE_API


def _lacks_infrastructure(answer: Answer) -> bool:
    """Whether a 400 says that the tenant was never provisioned, in its code or its prose."""
    words = " ".join(part or "" for part in _error(answer)).lower()
    return answer.status == HTTPStatus.BAD_REQUEST and "infrastructure" in words


def answer_failure(phase: State, kind: Kind, answer: Answer, cause: str | None = None) -> Failure:
    """A failure with what the answer says of itself; `cause` replaces the server's words."""
    return Failure(
        phase=phase,
        kind=kind,
        cause=clean(cause or _cause(answer)),
        retry_after=answer.retry_after,
        http_status=answer.status,
        request_id=_request_id(answer),
    )


def _cause(answer: Answer) -> str:
    code, message = _error(answer)
    said = ": ".join(part for part in (code, message) if part)
    return said or f"HTTP {answer.status}: {decode(answer.body) or 'no text'}"


def _error(answer: Answer) -> tuple[str | None, str | None]:
    match answer.json():
        case {"error": {} as error}:
            return text(error.get("code")), text(error.get("message"))
    return None, None


def _request_id(answer: Answer) -> str | None:
    match answer.json():
        case {"meta": {"request_id": request_id}}:
            return text(request_id)
    return None


def text(value: object) -> str | None:
    """`value` as one clean line; None for what is no text, or an empty one."""
    return (clean(value) or None) if isinstance(value, str) else None
