"""What a FROM line names, and where that is. Pure."""

import re
from dataclasses import dataclass
from typing import Final

DOCKER_HUB: Final = "registry-1.docker.io"
_NAME: Final = re.compile(
    r"(?:(?P<host>[A-Za-z0-9.-]+(?::\d{1,5})?)/)?"
    r"(?P<path>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a base image is asked for."""

    registry: str
    repository: str
    version: str  # a tag or a digest

    @property
    def shown(self) -> str:
        """The reference as a person writes it."""
        mark = "@" if ":" in self.version else ":"
        return f"{self.registry}/{self.repository}{mark}{self.version}"


def parse_reference(name: str, mirror: str | None = None) -> Reference | None:
    """`name` as in FROM; `mirror` (`host[:port]`) stands in for docker.io. None: no name."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    host, path = found["host"], found["path"]
    if host and not ("." in host or ":" in host or host == "localhost"):
        host, path = None, f"{host}/{path}"
    version = found["digest"] or found["tag"] or "latest"
    if host in (None, "docker.io", "index.docker.io"):
        path = path if "/" in path else f"library/{path}"
        return Reference(mirror or DOCKER_HUB, path, version)
    return Reference(host or "", path, version)
