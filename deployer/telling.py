"""Who is told what happens in a run, and in which words."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, get_args

from deployer import events
from deployer.ports import Clock, Log
from deployer.run import Run
from deployer.states.flow import State

OnEvent = Callable[[events.Event], None]
_DURABLE: Final = get_args(events.Durable)


class Teller:
    """Turns bodies into events and hands them to each subscriber."""

    def __init__(self, clock: Clock, subscribers: tuple[OnEvent, ...]) -> None:
        self._clock = clock
        self._subscribers = list(subscribers)
        self._warned: set[str] = set()

    def __call__(self, run: Run, body: events.Body) -> None:
        """Tell of `body`; never blocks, never raises. A warning is told once."""
        if isinstance(body, events.Warned):
            if body.text in self._warned:
                return
            self._warned.add(body.text)
        self._deliver(
            events.Event(
                run=run.id,
                tenant=run.plan.request.tenant,
                at=self._clock.wall(),
                state=run.state,
                seq=run.seq if isinstance(body, _DURABLE) else None,
                body=body,
            )
        )

    def before_a_run(self, tenant: str, body: events.Waiting) -> None:
        """Tell why no run is open yet."""
        self._deliver(
            events.Event(
                run=None,
                tenant=tenant,
                at=self._clock.wall(),
                state=State.BUILDING,
                seq=None,
                body=body,
            )
        )

    def _deliver(self, event: events.Event) -> None:
        # One that raises is not asked again.
        self._subscribers = [told for told in self._subscribers if _delivered(told, event)]


def logging_to(logger: Log) -> OnEvent:
    """A subscriber that logs the durable events: a name in the past tense, and keys."""

    def log(event: events.Event) -> None:
        if event.seq is not None:
            name = type(event.body).__name__
            logger.info(name, run=event.run, tenant=event.tenant, state=str(event.state))

    return log


def cleaned(body: events.Transient, scrub: Callable[[str], str]) -> events.Transient:
    """`body` with its foreign words made safe."""
    match body:
        case events.OutputLine() | events.Warned():
            return replace(body, text=scrub(body.text))
        case events.Waiting() | events.Progress():
            return replace(body, what=scrub(body.what))
        case events.BuilderChosen():
            return replace(body, why=scrub(body.why))
        case events.Retrying():
            return replace(body, cause=scrub(body.cause))


def _delivered(subscriber: OnEvent, event: events.Event) -> bool:
    try:
        subscriber(event)
    except Exception:  # noqa: BLE001  # told after the commit: a host's bug must not stop a deploy
        return False
    return True
