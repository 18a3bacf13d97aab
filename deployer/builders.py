"""Which builder makes the image: what was asked for, and what there is. Pure."""

from dataclasses import dataclass, replace

from deployer.failures import Failure
from deployer.ports import EngineInfo
from deployer.run import Builder, BuilderWish


@dataclass(frozen=True, slots=True)
class Choice:
    """A builder, and why it is this one."""

    builder: Builder
    why: str

    @property
    def shown(self) -> str:
        """What a preflight shows."""
        return self.why if self.builder is Builder.ENGINE else f"not needed: {self.why}"


def chosen(
    wish: BuilderWish, engine: EngineInfo | Failure | None, refusal: Failure | None
) -> Choice | Failure:
    """The builder for `wish`; None for an engine that nobody asked.

    `refusal`: why the direct builder cannot make the image.
    """
    if wish is BuilderWish.DIRECT or engine is None:
        return refusal or Choice(Builder.DIRECT, "as asked for")
    if isinstance(engine, EngineInfo):
        served = wish is BuilderWish.AUTO and refusal is None
        note = "; --builder direct would serve as well" if served else ""
        return Choice(Builder.ENGINE, f"{engine.vendor} {engine.version}{note}")
    if wish is BuilderWish.ENGINE:
        return engine
    if refusal is None:
        return Choice(Builder.DIRECT, f"no engine answers ({engine.cause})")
    return replace(engine, details=(*engine.details, f"without an engine: {refusal.cause}"))
