"""An image as an engine saves it: what its files mean for a COPY. Blocks.

The layout is the one of `docker save`, which each engine since 1.10 writes: `manifest.json` names
the config and the layers, the lowest first.
"""

import hashlib
import tarfile
from typing import IO, Final

import msgspec

from deployer.adapters.direct.listing import list_layers
from deployer.adapters.direct.values import Base, RefusedError
from deployer.names import ImageId

_TEXT_MAX: Final = 8 << 20  # bytes of a manifest or a config


class _Manifest(msgspec.Struct, frozen=True):
    config: str = msgspec.field(name="Config")
    layers: list[str] = msgspec.field(name="Layers")


class _Root(msgspec.Struct, frozen=True):
    diff_ids: list[str]


class _Config(msgspec.Struct, frozen=True):
    rootfs: _Root


def read_saved(file: IO[bytes], image_id: ImageId) -> Base:
    """The image in the tar `file`. Raises RefusedError unless its config has `image_id`'s bytes."""
    try:
        with tarfile.open(fileobj=file) as tar:
            [manifest] = msgspec.json.decode(_text(tar, "manifest.json"), type=list[_Manifest])
            config = _text(tar, manifest.config)
            if f"sha256:{hashlib.sha256(config).hexdigest()}" != image_id:
                raise RefusedError(None, f"the engine saved another image than {image_id}")
            diff_ids = msgspec.json.decode(config, type=_Config).rootfs.diff_ids
            listing = list_layers([_opened(tar, name) for name in manifest.layers], diff_ids)
    except (tarfile.TarError, OSError, ValueError, KeyError) as error:
        raise RefusedError(None, f"what the engine saved of {image_id} cannot be read") from error
    return Base(
        registry="",  # it was not looked for at one
        repository="",
        digest=image_id,
        oci=False,
        layers=(),
        config=config.decode(),
        size=listing.size,
        tree=listing.kinds,
        passwd=listing.passwd,
        group=listing.group,
    )


def _text(tar: tarfile.TarFile, name: str) -> bytes:
    return _opened(tar, name).read(_TEXT_MAX)


def _opened(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file
