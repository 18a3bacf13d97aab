"""The registries that a caller or a project names, each as `host[:port]`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from deployer.names import or_none, parse_registry
from deployer.settings import config_file
from deployer.settings.target import Inputs
from deployer.settings.values import Refusal

BASE_VARIABLE: Final = "DEPLOYER_BASE_REGISTRY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registries:
    """Where may be pushed to, and where base images come from."""

    hosts: frozenset[str] = frozenset()  # besides registry.fly.io
    base: str | None = None  # stands in for docker.io


def find_registries(inputs: Inputs) -> Registries | Refusal:
    """All that are named; a refusal of the first that is none."""
    hosts, base = tuple(_hosts(inputs)), _base(inputs)
    for host, where in (*hosts, *((base,) if base else ())):
        if or_none(parse_registry, host) is None:
            return Refusal(
                what=f"{host[:140]!r} is not a registry",
                where=where,
                remedy="write it as host or host:port, in small letters",
            )
    return Registries(hosts=frozenset(host for host, _ in hosts), base=base[0] if base else None)


def _hosts(inputs: Inputs) -> Iterator[tuple[str, str]]:
    """Each host, and where it is named."""
    yield from ((host, "--registry-host") for host in inputs.flags.registry_hosts)
    where = f"{inputs.root / config_file.NAME}, key registry.hosts"
    yield from ((host, where) for host in inputs.config.registry.hosts)


def _base(inputs: Inputs) -> tuple[str, str] | None:
    by_variable, by_file = inputs.environ.get(BASE_VARIABLE), inputs.config.image.base_registry
    if by_variable:
        return by_variable, BASE_VARIABLE
    where = f"{inputs.root / config_file.NAME}, key image.base_registry"
    return None if by_file is None else (by_file, where)
