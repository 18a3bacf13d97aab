"""What an image is made of before it is one. Stored as JSON, so another process can go on."""

from dataclasses import dataclass, field
from typing import NewType

import msgspec

from deployer.adapters.context.project_tree import Node
from deployer.failures import Failure, Kind
from deployer.states.flow import State

DiffId = NewType("DiffId", str)  # sha256:<64 hex>, of a layer's plain tar


class RefusedError(Exception):
    """The direct builder cannot make this image as an engine would; becomes a Failure."""

    def __init__(self, line: int | None, reason: str) -> None:
        """Refuse because of `reason`, in the Dockerfile's line `line`."""
        super().__init__(reason if line is None else f"line {line}: {reason}")


def refusal(error: RefusedError) -> Failure:
    """The same as a row of the catalogue."""
    return Failure(phase=State.IMAGING, kind=Kind.NEEDS_ENGINE, cause=str(error))


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Member:
    """One entry of a layer's tar."""

    path: str  # in the image, without a leading slash
    node: Node  # a file, a directory or a link
    mode: int
    uid: int = 0
    gid: int = 0
    source: str = ""  # of a file: relative to the project root
    size: int = 0  # bytes, of a file
    target: str = ""  # of a link


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one instruction adds to the image."""

    members: tuple[Member, ...]
    diff_id: DiffId
    size: int  # bytes of the plain tar
    # The sources' fingerprint when they were read; "": it would not tell of each later change.
    mark: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Something that a registry keeps under its digest."""

    media_type: str
    digest: str
    size: int  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The image below ours, and what its files mean for a COPY."""

    registry: str  # where it was found: `host[:port]`
    repository: str
    digest: str  # of its manifest for linux/amd64
    oci: bool  # its media types are OCI's
    layers: tuple[Blob, ...]
    config: str  # JSON
    size: int  # bytes of its plain layers
    tree: dict[str, str]  # path -> "d", "l" (a link) or "f" (anything else)
    passwd: str = ""  # /etc/passwd
    group: str = ""  # /etc/group

    @property
    def diff_ids(self) -> tuple[DiffId, ...]:
        """Its layers, the lowest first."""
        return tuple(msgspec.json.decode(self.config)["rootfs"]["diff_ids"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that a push needs besides the sources themselves."""

    project_root: str
    base_registry: str
    base_repository: str
    oci: bool
    base_layers: tuple[Blob, ...]
    layers: tuple[Layer, ...]
    config: str  # JSON, byte for byte what the registry gets
