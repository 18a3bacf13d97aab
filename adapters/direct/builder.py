"""The builder that needs no engine: fits `ports.Engine`, and names its images by their recipes."""

from collections.abc import Collection, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path

from deployer.adapters.context.plan import context_failure
from deployer.adapters.direct.ahead import Ahead
from deployer.adapters.direct.assembly import Assembly, image_config
from deployer.adapters.direct.base import Bases
from deployer.adapters.direct.blueprint import drawn, read_program
from deployer.adapters.direct.cupboard import Cupboard
from deployer.adapters.direct.delivery import Delivery
from deployer.adapters.direct.layers import Layers
from deployer.adapters.direct.repository import Repository
from deployer.adapters.direct.sender import Sender
from deployer.adapters.direct.values import (
    Base,
    Layer,
    Recipe,
)
from deployer.adapters.http.client import Http
from deployer.adapters.leaks import Leaks
from deployer.adapters.registry.errors import registry_failure
from deployer.adapters.text import clean
from deployer.adapters.threads import in_thread
from deployer.events import Warned
from deployer.failures import Failure, Kind
from deployer.model import Image, Login
from deployer.names import Digest, ImageId, ImageRef, parse_image_id
from deployer.ports import Clock, Destination, Emit, EngineInfo, ImageOrder
from deployer.states.flow import State


class DirectBuilder:
    """Makes images out of FROM, COPY and settings, and writes them to the registry itself."""

    def __init__(
        self,
        http: Http,
        *,
        cupboard: Cupboard,
        clock: Clock,
        base_registry: str | None = None,
        leaks: Leaks | None = None,
        realms: Collection[str] = (),
    ) -> None:
        """`base_registry` (`host[:port]`) stands in for docker.io.

        `leaks`: what no image may hold. `realms`: token servers that may get the login besides the registry's own site.
        """
        self._http = http
        self._cupboard = cupboard
        self._realms = frozenset(realms)
        self._bases = Bases(http, cupboard, mirror=base_registry, realms=realms)
        self._leaks = leaks or Leaks()
        self._layers = Layers(cupboard, clock, self._leaks)

    async def ping(self) -> EngineInfo | Failure:
        """It is always there."""
        return EngineInfo(endpoint="none", version="", vendor="direct builder")

    async def qualifies(self, order: ImageOrder) -> Failure | None:
        """Why the Dockerfile needs an engine, as far as it tells by itself; None: it does not."""
        found = await in_thread(lambda: read_program(order))
        return found if isinstance(found, Failure) else None

    async def foresee(
        self, order: ImageOrder, pending: frozenset[str], emit: Emit
    ) -> Failure | None:
        """Why an engine is needed, with the base image and the sources looked at."""
        program = await in_thread(lambda: read_program(order))
        if isinstance(program, Failure):
            return program
        base = await self._bases.find(program.base, program.base_line, emit)
        if isinstance(base, Failure):
            return base
        made = await in_thread(lambda: drawn(order, program, base, pending))
        # A source that is missing is the survey's to report.
        if isinstance(made, Failure) and made.kind is Kind.NEEDS_ENGINE:
            return made
        return None

    async def build(self, order: ImageOrder, emit: Emit) -> Image | Failure:
        """Resolve the base, hash the layers, write the config. Success is the config's digest."""
        program = await in_thread(lambda: read_program(order))
        if isinstance(program, Failure):
            return program
        base = await self._bases.find(program.base, program.base_line, emit)
        if isinstance(base, Failure):
            return base
        made = await in_thread(lambda: drawn(order, program, base))
        if isinstance(made, Failure):
            return made
        assembly, warnings = made
        for warning in warnings:
            emit(Warned(text=warning))
        layers = await self._layers.all(order.project_root, assembly.layers)
        if isinstance(layers, Failure):
            return layers
        return await self._written(order, base, assembly, layers)

    def ahead(
        self, order: ImageOrder, pending: frozenset[str], destination: Destination, emit: Emit
    ) -> Ahead:
        """Who makes and sends layers while cargo runs."""

        async def opened(base: Base, tell: Emit) -> Sender | None:
            found = await destination()
            if found is None:
                return None
            below = self._repository(base.registry, base.repository, None)
            return self._sender(order.project_root, *found, below, tell)

        return Ahead(
            order, pending, bases=self._bases, layers=self._layers, opened=opened, emit=emit
        )

    async def image_id(self, name: str) -> ImageId | Failure | None:
        """The id of the image that `name`'s recipe still gives; None where its sources changed."""
        recipe = await in_thread(lambda: self._cupboard.recipe(name))
        if recipe is None:
            return None
        members = tuple(layer.members for layer in recipe.layers)
        layers = await self._layers.all(Path(recipe.project_root), members)
        if layers != recipe.layers:
            return None
        return _image_id(recipe.config)

    async def push(
        self, local: str, target: ImageRef, login: Login, emit: Emit
    ) -> Digest | Failure:
        """Send what the registry lacks. Success is the digest that the registry names."""
        if target.registry != login.registry:
            cause = f"the login is for {login.registry}, not for {target.registry}"
            return registry_failure(Kind.REGISTRY_AUTH, cause)
        recipe = await in_thread(lambda: self._cupboard.recipe(local))
        if recipe is None:
            return registry_failure(Kind.IMAGE_NOT_LOCAL, f"there is no recipe for {local}")
        base = self._repository(recipe.base_registry, recipe.base_repository, None)
        sender = self._sender(Path(recipe.project_root), target, login, base, emit)
        return await Delivery(recipe=recipe, sender=sender).deliver(target.tag)

    async def data_root(self) -> Path | Failure | None:
        """None: it keeps no images, only their recipes."""
        return None

    async def retain(self, name: str, kept: str) -> None:
        """Nothing: what speeds up the next image is kept by content, not by name."""

    async def forget(self, names: Sequence[str]) -> None:
        """Remove these recipes; what the registry has stays."""
        for name in names:
            await in_thread(partial(self._cupboard.forget_recipe, name))

    def _sender(
        self, root: Path, target: ImageRef, login: Login, base: Repository, emit: Emit
    ) -> Sender:
        repository = self._repository(target.registry, target.repository, login)
        return Sender(
            root=root, repository=repository, base=base, cupboard=self._cupboard, emit=emit
        )

    def _repository(self, registry: str, name: str, login: Login | None) -> Repository:
        return Repository(self._http, registry, name, login=login, realms=self._realms)

    async def _written(
        self, order: ImageOrder, base: Base, assembly: Assembly, layers: tuple[Layer, ...]
    ) -> Image | Failure:
        config = image_config(base, assembly, [layer.diff_id for layer in layers])
        if self._leaks.in_bytes(config.encode()):
            cause = "the image's history or configuration holds a password that this deploy knows"
            return context_failure(Kind.SECRET_IN_IMAGE, cause)
        recipe = Recipe(
            project_root=str(order.project_root),
            base_registry=base.registry,
            base_repository=base.repository,
            oci=base.oci,
            base_layers=base.layers,
            layers=layers,
            config=config,
        )
        try:
            await in_thread(lambda: self._cupboard.keep_recipe(order.local_tag, recipe))
        except OSError as error:
            cause = clean(f"the image's recipe cannot be written: {error}")
            return Failure(phase=State.IMAGING, kind=Kind.STATE_IO, cause=cause)
        return Image(
            image_id=_image_id(config),
            local_tag=order.local_tag,
            os="linux",
            architecture="amd64",
            size=base.size + sum(layer.size for layer in layers),
        )


def _image_id(config: str) -> ImageId:
    return parse_image_id(f"sha256:{sha256(config.encode()).hexdigest()}")
