"""What all checks of one look share: the plan, the adapters, and answers that several need."""

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import anyio

from deployer.builders import Choice, chosen
from deployer.failures import Failure
from deployer.model import Crate, Login, products
from deployer.names import ImageRef
from deployer.ports import Adapters, ContextSummary, EngineInfo, ImageOrder
from deployer.run import BuilderWish, Plan
from deployer.states.authenticating import target_of

T = TypeVar("T")
# The name only has to be legal: nothing is built under it.
_NO_TAG: Final = "deployer-run:preflight"
TRIES: Final = 3
PATIENCE_SECONDS: Final = 5.0  # for what may be over in a moment; a run has more of it
LONGEST_PAUSE: Final = PATIENCE_SECONDS / (TRIES - 1)


class Once(Generic[T]):
    """The answer to one question, for all who ask it."""

    def __init__(self, ask: Callable[[], Awaitable[T]]) -> None:
        """Ask by `ask`, when the first one wants to know."""
        self._ask = ask
        self._lock = anyio.Lock()
        self._answers: list[T] = []

    async def __call__(self) -> T:
        """The answer; the first caller's wait is everybody's."""
        async with self._lock:
            if not self._answers:
                self._answers.append(await self._ask())
        return self._answers[0]


class Exam:
    """One look at everything that `plan` needs."""

    def __init__(self, plan: Plan, adapters: Adapters) -> None:
        """Look by `adapters`."""
        self.plan = plan
        self.adapters = adapters
        self.login: Once[Login | Failure] = Once(self._login)
        self.engine: Once[EngineInfo | Failure] = Once(adapters.engine.ping)
        self.choice: Once[Choice | Failure] = Once(self._choice)
        self.survey: Once[ContextSummary | Failure] = Once(self._survey)

    @property
    def order(self) -> ImageOrder:
        """What would be built."""
        request = self.plan.request
        return ImageOrder(
            project_root=request.project_root, dockerfile=request.dockerfile, local_tag=_NO_TAG
        )

    def crates(self) -> tuple[Crate, ...]:
        """What would be compiled; nothing where the manifests do not say."""
        found = self.adapters.toolchain.crates(self.plan.request.project_root)
        return found if isinstance(found, tuple) else ()

    def pending(self) -> frozenset[str]:
        """The paths that Building will make."""
        return products(self.crates())

    async def target(self) -> ImageRef | Failure | None:
        """Where the image would go; None without a login."""
        login = await self.login()
        return target_of(self.plan, login) if isinstance(login, Login) else None

    async def patiently(self, ask: Callable[[], Awaitable[T | Failure]]) -> T | Failure:
        """Ask up to three times, if the catalogue says that it may help and not much is waited for.

        A hiccup of a server must not refuse a deploy that would not even have noticed it.
        """
        clock, paused = self.adapters.clock, 0.0
        for tries in range(1, TRIES):
            answer = await ask()
            if not isinstance(answer, Failure) or not answer.retriable:
                return answer
            pause = answer.retry_after
            if pause is None:
                # The catalogue's pause may be meant for a push; a question may be put sooner.
                pause = min(answer.kind.retry.pause(tries, 0.5), LONGEST_PAUSE)
            if paused + pause > PATIENCE_SECONDS:
                return answer
            paused += pause
            await clock.sleep(pause)
        return await ask()

    async def _login(self) -> Login | Failure:
        api, tenant = self.adapters.api, self.plan.request.tenant
        login = await self.patiently(lambda: api.registry_login(tenant))
        if isinstance(login, Login):
            self.adapters.learn(login.password)
        return login

    async def _choice(self) -> Choice | Failure:
        """Who can make the image; a builder that need not is asked for its opinion only."""
        wish, direct = self.plan.request.builder, self.adapters.direct
        engine = None if wish is BuilderWish.DIRECT else await self.engine()
        refusal = None
        if isinstance(engine, EngineInfo):
            refusal = await direct.qualifies(self.order)
        elif wish is not BuilderWish.ENGINE:
            refusal = await self.patiently(
                lambda: direct.foresee(self.order, self.pending(), lambda _: None)
            )
        return chosen(wish, engine, refusal)

    async def _survey(self) -> ContextSummary | Failure:
        return await self.adapters.context.survey(self.order, self.pending())
