"""A Dockerfile carried out on paper: the layers' members, and the image's config. Pure."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from deployer.adapters.direct.context_view import ContextView
from deployer.adapters.direct.copying import Copying
from deployer.adapters.direct.image_tree import ImageTree
from deployer.adapters.direct.instructions import Program
from deployer.adapters.direct.settings import Settings
from deployer.adapters.direct.values import Base, DiffId, Member

# Equal inputs are to give an equal image, whenever it is made.
EPOCH: Final = "1970-01-01T00:00:00Z"
_OF_THE_BASE: Final = ("architecture", "os", "os.version", "os.features", "variant")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembly:
    """An image whose layers have members, but no digests yet."""

    layers: tuple[tuple[Member, ...], ...]
    history: tuple[dict[str, Any], ...]
    config: dict[str, Any]
    author: str | None


def assembled(program: Program, base: Base, context: ContextView) -> Assembly:
    """Carry out `program`. Raises RefusedError with the line that needs an engine."""
    base_config = msgspec.json.decode(base.config)
    settings = Settings(base_config.get("config") or {}, program.global_args, program.escape)
    copying = Copying(base, context, ImageTree(base.tree))
    layers: list[tuple[Member, ...]] = []
    history: list[dict[str, Any]] = []
    for step in program.instructions:
        members: tuple[Member, ...] = ()
        if step.name == "COPY":
            members = copying.copy(step, settings)
        else:
            settings.apply(step)
        if step.name == "WORKDIR":
            members = copying.workdir(step, settings)
        history.append(_row(step.text, empty=not members))
        if members:
            layers.append(members)
    return Assembly(
        layers=tuple(layers),
        history=tuple(history),
        config=settings.config,
        author=settings.author,
    )


def image_config(base: Base, made: Assembly, diff_ids: Sequence[DiffId]) -> str:
    """The image's config: its digest is the image id."""
    below = msgspec.json.decode(base.config)
    author = made.author or below.get("author")
    return _json(
        {
            **{key: below[key] for key in _OF_THE_BASE if key in below},
            **({"author": author} if author else {}),
            "config": made.config,
            "created": EPOCH,
            "history": [*(below.get("history") or ()), *made.history],
            "rootfs": {"diff_ids": [*below["rootfs"]["diff_ids"], *diff_ids], "type": "layers"},
        }
    )


def _row(text: str, *, empty: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"created": EPOCH, "created_by": text, "comment": "deployer"}
    return {**row, "empty_layer": True} if empty else row


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
