"""An image as an engine loads it: its config, and those of its layers that the engine lacks."""

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from deployer.adapters.direct.layer_tar import layer_pieces
from deployer.adapters.direct.values import DiffId, Layer
from deployer.names import ImageId, parse_image_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What `docker load` takes (manifest.json, config, layers), made piece by piece.

    An engine looks for each layer by what lies below it, and opens the file of one that it lacks
    only: those that it has are named, and left out (moby, image/tarexport/load.go).
    """

    root: Path  # the layers' sources lie below it
    tag: str
    config: str  # JSON
    below: tuple[DiffId, ...]  # of the base image
    layers: tuple[Layer, ...]
    there: int  # so many of `layers`, from the lowest up, the engine has already

    @property
    def image_id(self) -> ImageId:
        """The image's id, once an engine has it."""
        return parse_image_id(f"sha256:{self._config_hex}")

    @property
    def sent(self) -> tuple[Layer, ...]:
        """The layers that the archive holds, each once."""
        return tuple({layer.diff_id: layer for layer in self.layers[self.there :]}.values())

    @property
    def size(self) -> int:
        """Bytes of the layers that it holds."""
        return sum(layer.size for layer in self.sent)

    def pieces(self, checkpoint: Callable[[], None]) -> Iterator[bytes]:
        """The tar. Blocks, and raises, as `layer_pieces` does."""
        yield _file(f"{self._config_hex}.json", self.config.encode())
        for layer in self.sent:
            yield _header(_path(layer.diff_id), layer.size)
            yield from layer_pieces(self.root, layer.members, checkpoint)
        yield _file("manifest.json", self._manifest()) + bytes(2 * tarfile.BLOCKSIZE)

    @property
    def _config_hex(self) -> str:
        return sha256(self.config.encode()).hexdigest()

    def _manifest(self) -> bytes:
        diff_ids = [*self.below, *(layer.diff_id for layer in self.layers)]
        image = {
            "Config": f"{self._config_hex}.json",
            "RepoTags": [self.tag],
            "Layers": [_path(diff_id) for diff_id in diff_ids],
        }
        return json.dumps([image]).encode()


def _path(diff_id: DiffId) -> str:
    return f"{diff_id.removeprefix('sha256:')}/layer.tar"


def _file(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.PAX_FORMAT)
