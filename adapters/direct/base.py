"""The base image: found at its registry, checked by its digests, its paths listed."""

import hashlib
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import IO, Any, Final

from anyio import CapacityLimiter, to_thread

from deployer.adapters.direct.cupboard import Cupboard
from deployer.adapters.direct.listing import Listing, list_layers
from deployer.adapters.direct.reference import Reference, parse_reference
from deployer.adapters.direct.repository import Repository
from deployer.adapters.direct.values import Base, Blob, RefusedError, refusal
from deployer.adapters.http.answer import Answer
from deployer.adapters.http.client import Http
from deployer.adapters.registry.client import MANIFEST_MAX, MANIFEST_TYPES
from deployer.adapters.registry.errors import registry_refusal
from deployer.adapters.scratch import scratch_file
from deployer.adapters.text import clean
from deployer.events import Waiting, Warned
from deployer.failures import Failure, Kind
from deployer.names import InvalidNameError, parse_digest
from deployer.ports import Emit
from deployer.states.flow import State

_HUB_REALM: Final = "auth.docker.io"
_INDEXES: Final = frozenset(kind for kind in MANIFEST_TYPES if "index" in kind or "list" in kind)
_PLATFORM: Final = ("linux", "amd64")
_ABSENT: Final = frozenset({Kind.REPOSITORY_DENIED, Kind.REGISTRY_AUTH})
_ACCEPT: Final = {"accept": ", ".join(MANIFEST_TYPES)}


class Bases:
    """Resolves base images. Nobody's login is used: a base that wants one needs an engine."""

    def __init__(
        self,
        http: Http,
        cupboard: Cupboard,
        *,
        mirror: str | None = None,
        realms: Collection[str] = (),
    ) -> None:
        self._http = http
        self._cupboard = cupboard
        self._mirror = mirror
        self._realms = frozenset({_HUB_REALM, *realms})

    async def find(self, name: str, line: int, emit: Emit) -> Base | Failure:
        """The image that `name`, in the Dockerfile's line `line`, means now."""
        wanted = parse_reference(name, self._mirror)
        if wanted is None:
            return _failure(Kind.BASE_NOT_FOUND, f"line {line}: {name} is no image name")
        repository = Repository(self._http, wanted.registry, wanted.repository, realms=self._realms)
        digest = await self._digest(repository, wanted)
        if isinstance(digest, Failure):
            return self._remembered(wanted, digest, emit)
        self._cupboard.keep_reference(wanted.shown, digest)
        known = self._cupboard.base(digest)
        if known is not None:
            return replace(known, registry=wanted.registry, repository=wanted.repository)
        emit(Waiting(what=f"the base image {name}"))
        try:
            found = await _Fetch(repository).base(digest)
        except RefusedError as error:
            return refusal(RefusedError(line, f"{name}: {error}"))
        except OSError as error:
            cause = f"the layers of {name} cannot be written: {error.strerror or error}"
            return _failure(Kind.STATE_IO, cause)
        if isinstance(found, Base):
            self._cupboard.keep_base(digest, found)
        return found

    async def _digest(self, repository: Repository, wanted: Reference) -> str | Failure:
        # A HEAD does not count against Docker Hub's limit, a GET does.
        head = await repository.ask("HEAD", f"manifests/{wanted.version}", headers=_ACCEPT)
        if isinstance(head, Failure):
            return _relabelled(head, wanted.shown)
        if not head.is_success:
            return _relabelled(registry_refusal(head), wanted.shown, absent=head.status == 404)  # noqa: PLR2004
        try:
            return parse_digest(head.headers.get("docker-content-digest", ""))
        except InvalidNameError as error:
            return _failure(Kind.BASE_UNREACHABLE, f"{wanted.shown}: {error}")

    def _remembered(self, wanted: Reference, failure: Failure, emit: Emit) -> Base | Failure:
        """An engine that has a base image asks nobody either."""
        digest = self._cupboard.reference(wanted.shown)
        known = self._cupboard.base(digest) if digest else None
        if known is None or failure.kind is not Kind.BASE_UNREACHABLE:
            return failure
        emit(Warned(text=f"{failure.cause}; {wanted.shown} is taken as it was the last time"))
        return known


class _Fetch:
    """Reads one image of a repository. May raise RefusedError."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def base(self, digest: str) -> Base | Failure:
        manifest = await self._manifest(digest)
        if isinstance(manifest, Failure):
            return manifest
        kind, content = manifest
        if kind in _INDEXES:
            digest = _for_platform(content)
            manifest = await self._manifest(digest)
            if isinstance(manifest, Failure):
                return manifest
            kind, content = manifest
        layers = tuple(_blob(each) for each in content.get("layers") or ())
        config = await self._config(_blob(content.get("config")))
        if isinstance(config, Failure):
            return config
        text, diff_ids = config
        listing = await self._listing(layers, diff_ids)
        if isinstance(listing, Failure):
            return listing
        return Base(
            registry=self._repository.registry,
            repository=self._repository.name,
            digest=digest,
            oci="oci" in kind,
            layers=layers,
            config=text,
            size=listing.size,
            tree=listing.kinds,
            passwd=listing.passwd,
            group=listing.group,
        )

    async def _manifest(self, digest: str) -> tuple[str, dict[str, Any]] | Failure:
        answer = await self._content(f"manifests/{digest}", digest)
        if isinstance(answer, Failure):
            return answer
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        content = answer.json()
        if kind not in MANIFEST_TYPES or not isinstance(content, dict):
            raise RefusedError(None, f"its manifest is of the type {clean(kind)!r}")
        return kind, content

    async def _config(self, blob: Blob) -> tuple[str, list[str]] | Failure:
        answer = await self._content(f"blobs/{blob.digest}", blob.digest)
        if isinstance(answer, Failure):
            return answer
        match answer.json():
            case {"os": str(system), "architecture": str(machine)} if (
                system,
                machine,
            ) != _PLATFORM:
                cause = f"the base image is for {system}/{machine}, not for linux/amd64"
                return _failure(Kind.WRONG_PLATFORM, cause)
            case {"config": {"OnBuild": [_, *_]}}:
                raise RefusedError(None, "it has ONBUILD instructions: needs an engine")
            case {"rootfs": {"diff_ids": [*diff_ids]}}:
                return answer.body.decode(), [str(each) for each in diff_ids]
        raise RefusedError(None, "its config cannot be read")

    async def _content(self, path: str, digest: str) -> Answer | Failure:
        """Something small, checked against its digest."""
        name = f"{self._repository.name}/{path}"
        async with self._repository.download(path, _ACCEPT) as found:
            if isinstance(found, Failure):
                return _relabelled(found, name)
            body = bytearray()
            async for piece in found.pieces():
                body += piece
                if len(body) > MANIFEST_MAX:
                    raise RefusedError(None, f"{name} has more than {MANIFEST_MAX} bytes")
        if found.trouble is not None:
            return _failure(Kind.BASE_UNREACHABLE, f"{name}: {found.trouble.cause}")
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            return _failure(Kind.BASE_UNREACHABLE, f"{name} came with other bytes")
        return replace(found.head, body=bytes(body))

    async def _listing(self, layers: tuple[Blob, ...], diff_ids: list[str]) -> Listing | Failure:
        if len(layers) != len(diff_ids):
            raise RefusedError(None, "its config and its manifest differ in their layers")
        with ExitStack() as stack:
            files = []
            for layer in layers:
                file = stack.enter_context(scratch_file())
                failure = await self._fetch(layer, file)
                if failure is not None:
                    return failure
                files.append(file)
            return await to_thread.run_sync(
                list_layers, files, diff_ids, limiter=CapacityLimiter(1)
            )

    async def _fetch(self, layer: Blob, file: IO[bytes]) -> Failure | None:
        if not layer.media_type.endswith(("tar.gzip", "tar+gzip")):
            raise RefusedError(None, f"its layers are of the type {clean(layer.media_type)!r}")
        name, digest = f"{self._repository.name}/blobs/{layer.digest}", hashlib.sha256()
        async with self._repository.download(f"blobs/{layer.digest}", {}) as found:
            if isinstance(found, Failure):
                return _relabelled(found, name)
            size = 0
            async for piece in found.pieces():
                digest.update(piece)
                file.write(piece)
                size += len(piece)
                if size > layer.size:
                    cause = f"{name} has more than the {layer.size} bytes that its manifest names"
                    return _failure(Kind.BASE_UNREACHABLE, cause)
        if found.trouble is not None:
            return _failure(Kind.BASE_UNREACHABLE, f"{name}: {found.trouble.cause}")
        if f"sha256:{digest.hexdigest()}" != layer.digest:
            return _failure(Kind.BASE_UNREACHABLE, f"{name} came with other bytes")
        file.seek(0)
        return None


def _for_platform(index: Mapping[str, Any]) -> str:
    """The digest of an index's image for linux/amd64. Raises RefusedError."""
    for each in index.get("manifests") or ():
        match each:
            case {"digest": str(digest), "platform": {"os": "linux", "architecture": "amd64"}}:
                return _digest(digest)
    raise RefusedError(None, "it has no image for linux/amd64")


def _blob(found: object) -> Blob:
    match found:
        case {"mediaType": str(kind), "digest": str(digest), "size": int(size), **rest} if (
            "urls" not in rest
        ):
            return Blob(media_type=kind, digest=_digest(digest), size=size)
    raise RefusedError(None, "its manifest names a layer that is kept elsewhere")


def _digest(text: str) -> str:
    try:
        return parse_digest(text)
    except InvalidNameError as error:
        raise RefusedError(None, clean(str(error))) from error


def _relabelled(failure: Failure, name: str, *, absent: bool = False) -> Failure:
    """A failure of the base image's registry, as Imaging names it."""
    gone = absent or failure.kind in _ABSENT
    kind = Kind.BASE_NOT_FOUND if gone else Kind.BASE_UNREACHABLE
    return replace(failure, phase=State.IMAGING, kind=kind, cause=clean(f"{name}: {failure.cause}"))


def not_copied(failure: Failure, name: str) -> Failure:
    """The same for a layer that a push wanted to copy: it says nothing of the push's own login."""
    return replace(_relabelled(failure, name), phase=State.PUSHING)


def _failure(kind: Kind, cause: str) -> Failure:
    return Failure(phase=State.IMAGING, kind=kind, cause=clean(cause))
