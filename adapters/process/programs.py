"""Finds programs by PATH, but never in the project that is deployed."""

import shutil
from collections.abc import Mapping


def search_path(environment: Mapping[str, str]) -> str:
    """PATH without its relative entries: those would run programs that lie in the project."""
    entries = environment.get("PATH", "").split(":")
    return ":".join(entry for entry in entries if entry.startswith("/"))


def find_program(name: str, environment: Mapping[str, str]) -> str | None:
    """The absolute path of `name`, by the absolute entries of PATH; an absolute `name` as it is."""
    if "/" in name:
        return name if name.startswith("/") else None
    # Never resolved further: rustup's `cargo` is a link, and tells by its name what to be.
    return shutil.which(name, path=search_path(environment))
