"""The tenant's public URL: does the deployed application say that it is well?"""

from typing import Final

from deployer.adapters.http.answer import Answer, Trouble
from deployer.adapters.http.client import Http
from deployer.adapters.http.url import Url
from deployer.adapters.text import clean
from deployer.model import Health
from deployer.names import InvalidNameError

LOOK_SECONDS: Final = 5.0  # for each route
ROUTES: Final = ("/api/v1/health", "/health")
_OK: Final = 200
_NOT_FOUND: Final = 404
_WELL: Final = frozenset({"healthy", "degraded", "ok", "pass", "up", "ready"})
_WORD_MAX: Final = 40  # characters


class PublicUrl:
    """Fits `ports.HealthProbe`. Sends no login and follows no redirect."""

    def __init__(self, http: Http) -> None:
        self._http = http

    async def look(self, url: str) -> Health:
        """GET the health routes below `url`; the second one only where the first is a 404."""
        try:
            base = Url.parse(url)
        except InvalidNameError as error:
            return _no_answer(str(error))
        health = _no_answer("no route")
        for route in ROUTES:
            answer = await self._http.call("GET", base.base + route, deadline_seconds=LOOK_SECONDS)
            if isinstance(answer, Trouble):
                return _no_answer(answer.cause)
            health = _judge(answer)
            if answer.status != _NOT_FOUND:
                break
        return health


def _judge(answer: Answer) -> Health:
    if answer.status != _OK:
        return Health(healthy=False, word=str(answer.status))
    match answer.json():
        case {"status": str(status)}:
            word = clean(status, _WORD_MAX)
            return Health(healthy=word.lower() in _WELL, word=word)
    # An application of another make may answer "ok" in plain text.
    return Health(healthy=True, word=str(_OK))


def _no_answer(cause: str) -> Health:
    return Health(healthy=False, word=f"no answer: {cause}")
