"""The only place that sees both sides: settings in, adapters out."""

from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from deployer.adapters.cargo.hashing import Programs
from deployer.adapters.cargo.toolchain import Cargo
from deployer.adapters.clock import SystemClock
from deployer.adapters.context.build_context import BuildContext
from deployer.adapters.database import DatabaseHost
from deployer.adapters.direct.builder import DirectBuilder
from deployer.adapters.direct.cupboard import Cupboard
from deployer.adapters.direct.layers import Layers
from deployer.adapters.docker.known_images import KnownImages
from deployer.adapters.docker.late import LateEngine
from deployer.adapters.git import Git
from deployer.adapters.http.client import Http
from deployer.adapters.http.health import PublicUrl
from deployer.adapters.http.url import Url, parse_api_url
from deployer.adapters.journal.journal import Journal
from deployer.adapters.leaks import Leaks, Searched
from deployer.adapters.management.api import Management
from deployer.adapters.registry.client import Registry
from deployer.adapters.text import Scrubber
from deployer.errors import DeployError
from deployer.failures import Failure
from deployer.model import Secret
from deployer.ports import Adapters, Engine, Surroundings
from deployer.settings.access import UndecodableTokenError, expires_at
from deployer.settings.values import Settings

BLOB_CONNECTIONS: Final = 8
KNOWN: Final = "images"  # below the state directory: what is known of them and their files


def wired(settings: Settings) -> Adapters:
    """The real adapters. Nothing is opened yet; raises DeployError for a bad API URL."""
    api_url = parse_api_url(settings.api_url)
    if isinstance(api_url, Failure):
        raise DeployError(api_url)
    known, trusts = settings.state_dir / KNOWN, settings.trust_fingerprints
    leaks = Leaks(settings.secrets(), Searched(known) if trusts else None)
    clock, context = SystemClock(), BuildContext(leaks=leaks)
    scrubber = Scrubber(settings.secrets())
    http = Http(ca_file=settings.ca_file)
    # Blobs and manifests may be sent twice, so their connections may be kept.
    blobs = http.keeping(BLOB_CONNECTIONS)
    registry = Registry(http, realm_hosts=settings.registry_hosts)
    journal = Journal(settings.state_dir, api_url, clock)
    return Adapters(
        toolchain=Cargo(
            environment=settings.environment,
            database_url=settings.database_url,
            sqlx_offline=settings.sqlx_offline,
            leaks=leaks,
            programs=Programs(known) if trusts else None,
        ),
        context=context,
        engine=LateEngine(
            settings.docker_host, lambda: _docker(settings, context, leaks, registry)
        ),
        direct=DirectBuilder(
            blobs,
            cupboard=Cupboard(known, trust_fingerprints=trusts),
            clock=clock,
            leaks=leaks,
            base_registry=settings.base_registry,
            realms=settings.registry_hosts,
        ),
        api=Management(
            http,
            api_url=api_url,
            token=settings.api_token,
            registry_hosts=settings.registry_hosts,
        ),
        registry=registry,
        health=PublicUrl(http),
        source=Git(settings.environment),
        journal=journal,
        clock=clock,
        scrub=scrubber.line,
        learn=scrubber.learn,
        aclose=partial(_close, journal, http, blobs),
        database=DatabaseHost(settings.database_url),
        prepare=partial(http.prepare, Url.parse(api_url).scheme),
        surroundings=Surroundings(
            state_dir=settings.state_dir,
            login_ends=_end_of(settings.api_token),
            environment=settings.environment,
        ),
    )


async def _close(journal: Journal, *clients: Http) -> None:
    """Close what was opened since the last time; one that fails does not keep the others open."""
    async with AsyncExitStack() as closing:
        closing.push_async_callback(journal.aclose)
        for client in clients:
            closing.push_async_exit(client)


def _docker(settings: Settings, context: BuildContext, leaks: Leaks, registry: Registry) -> Engine:
    # aiodocker takes 0.2 s.
    from deployer.adapters.docker.again import Before  # noqa: PLC0415
    from deployer.adapters.docker.engine import Docker  # noqa: PLC0415
    from deployer.adapters.docker.loading import Workshop  # noqa: PLC0415

    known, trusts = settings.state_dir / KNOWN, settings.trust_fingerprints
    images = KnownImages(known, trust_fingerprints=trusts)
    cupboard = Cupboard(known, trust_fingerprints=trusts)
    return Docker(
        context=context,
        endpoint=settings.docker_host,
        leaks=leaks,
        before=Before(images, registry),
        workshop=Workshop(
            cupboard=cupboard,
            layers=Layers(cupboard, SystemClock(), leaks),
            images=images,
            leaks=leaks,
        ),
    )


def _end_of(token: Secret) -> float | None:
    """When the API token ends, if it says so."""
    try:
        return expires_at(token.reveal())
    except UndecodableTokenError:
        return None
