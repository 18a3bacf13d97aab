"""The log of `-v`: JSON lines on stderr, scrubbed, without the locals of a traceback."""

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, cast

from deployer.cli.output import Out

if TYPE_CHECKING:
    from deployer.adapters.text import Scrubber
    from deployer.ports import Log

_LINE_MAX = 4000  # characters of one value


class _Sink:
    """What structlog writes its lines to."""

    def __init__(self, out: Out) -> None:
        self._out = out

    def msg(self, message: str) -> None:
        """Write a line; a closed stderr is no reason to fail."""
        self._out.line(message)

    debug = info = warning = error = critical = exception = msg


def quiet_libraries() -> None:
    """Keep the loggers of libraries to themselves: httpx logs whole URLs at INFO."""
    for name in ("httpx", "httpcore", "aiohttp", "aiodocker"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # transitions warns of each refused move; the driver says it better.
    logging.getLogger("transitions").setLevel(logging.CRITICAL)


def logger(out: Out, scrubber: "Scrubber", verbose: int) -> "Log | None":
    """A logger for `-v`; None without it. structlog's global configuration stays as it is."""
    if verbose == 0:
        return None
    import structlog  # noqa: PLC0415  # 0.1 s, and without -v nothing is logged
    from structlog.tracebacks import ExceptionDictTransformer  # noqa: PLC0415

    level = logging.DEBUG if verbose > 1 else logging.INFO

    def scrubbed(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        return {key: _scrubbed(value, scrubber) for key, value in event.items()}

    wrapped = structlog.wrap_logger(
        _Sink(out),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            scrubbed,  # last: what it has not seen is not written
            structlog.processors.JSONRenderer(default=repr),
        ],
    )
    return cast("Log", wrapped)


def _scrubbed(value: object, scrubber: "Scrubber") -> object:
    match value:
        case str():
            return scrubber.line(value, _LINE_MAX)
        case bool() | int() | float() | None:
            return value
        case dict():
            return {str(key): _scrubbed(item, scrubber) for key, item in value.items()}
        case list() | tuple():
            return [_scrubbed(item, scrubber) for item in value]
        case _:
            return scrubber.line(repr(value), _LINE_MAX)
