"""Writes the sample project: four small crates, a web front end, services, profiles, git history."""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from deployer.sandbox.child import output
from deployer.sandbox.programs import ensure_on_system
from deployer.sandbox.refusal import Refused

if TYPE_CHECKING:
    from deployer.sandbox.up import Sandbox

SAMPLE: Final = Path(__file__).with_name("workspace")
VERSION_FILE: Final = Path("core/src/version.rs")
# The user's own name, hooks and signing keys have no business in a sample's history.
_GIT: Final = (
    *("git", "-c", "user.name=Sandbox", "-c", "user.email=sandbox@example.com"),
    *("-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null"),
)


async def write_workspace(
    target: Path, sandbox: "Sandbox | None", environ: Mapping[str, str]
) -> None:
    """Make the project in `target`, an empty or new folder, signed in to `sandbox`."""
    await anyio.to_thread.run_sync(_copy, target)
    if sandbox is not None:
        sign_in(target, sandbox.api_url, sandbox.api_token)
    await ensure_on_system("git", environ, lambda _line: None)
    await output([*_GIT, "init", "-q", "-b", "main", str(target)], what="git init", env=environ)
    await commit(target, "Start", environ)


def _copy(target: Path) -> None:
    if target.exists() and any(target.iterdir()):
        raise Refused(f"{target} is not empty: name a new folder for the sample project.")
    shutil.copytree(SAMPLE, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("target"))


def sign_in(project: Path, api_url: str, token: str) -> None:
    """Leave the credentials that a login at `api_url` leaves."""
    file = project / ".systemprompt" / "credentials.json"
    file.touch(mode=0o600)
    credentials = {
        "api_token": token,
        "api_url": api_url,
        "authenticated_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "user_email": "you@example.com",
    }
    file.write_text(json.dumps(credentials, indent=2) + "\n")


def set_version(project: Path, version: str) -> None:
    """Change the line of code that says which version answers."""
    (project / VERSION_FILE).write_text(f'pub const VERSION: &str = "{version}";\n')


async def commit(project: Path, subject: str, environ: Mapping[str, str]) -> None:
    """Commit all that is there."""
    git = [*_GIT, "-C", str(project)]
    await output([*git, "add", "-A"], what="git add", env=environ)
    await output([*git, "commit", "-q", "-m", subject], what="git commit", env=environ)
