"""The command line among in-memory neighbours: the real library, a real journal, kept streams."""

import base64
import io
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from deployer.adapters.text import Scrubber
from deployer.cli.main import invoke
from deployer.cli.options import wants_json
from deployer.cli.output import Out
from deployer.cli.program import Deploys, Program
from deployer.model import Secret
from deployer.ports import Log
from deployer.settings.values import Settings
from tests.fakes.deployers import API, deployer
from tests.fakes.neighbours import Clock, Neighbours

TENANT = "ten_1"
TOKEN_END = 4_000_000_000.0


def jwt(end: float = TOKEN_END) -> str:
    """A token that ends at `end`, with nobody's signature."""
    claims = base64.urlsafe_b64encode(json.dumps({"exp": end}).encode()).decode().rstrip("=")
    return f"eyJhbGciOiJub25lIn0.{claims}.canarysignature"


@dataclass(frozen=True)
class Answer:
    """What one command line came to."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


@dataclass
class CommandLine:
    """A project on disk, and a terminal to type in."""

    root: Path
    neighbours: Neighbours = field(default_factory=Neighbours)
    clock: Clock = field(default_factory=Clock)
    interactive: bool = False
    settings: Settings | None = None  # those that the library was opened with

    def __post_init__(self) -> None:
        home = self.root / ".systemprompt"
        home.mkdir()
        (home / "credentials.json").write_text(json.dumps({"api_token": jwt(), "api_url": API}))
        tenants = [{"id": TENANT, "name": "Acme", "app_id": "sp-ten-1"}]
        (home / "tenants.json").write_text(json.dumps({"tenants": tenants}))

    @property
    def state_dir(self) -> Path:
        """Where this project's journal is."""
        return self.root / "state"

    async def open(
        self, settings: Settings, logger: Log | None
    ) -> AbstractAsyncContextManager[Deploys]:
        """A Deployer of the real library."""
        self.settings = settings
        return deployer(settings.state_dir, self.neighbours, self.clock)

    def run(
        self,
        *args: str,
        environ: Mapping[str, str] | None = None,
        out: TextIO | None = None,
        err: TextIO | None = None,
        knows_place: bool = True,
    ) -> Answer:
        """Type `deployer ARGS`; `knows_place`: it is said where the journal is."""
        place = ("--state-dir", str(self.state_dir)) if knows_place else ()
        argv = ["-C", str(self.root), *place, *args]
        out, err = out or io.StringIO(), err or io.StringIO()
        program = Program(
            environ=environ or {},
            out=Out(out),
            err=Out(err),
            json=wants_json(argv, environ or {}),
            interactive=self.interactive,
            wall=self.clock.wall,
            open_deployer=self.open,
            leave=_stay,
        )
        code = invoke(argv, program)
        return Answer(code, _written(out), _written(err))


def _stay(code: int) -> None:
    """The tests' process goes on."""


def _written(stream: TextIO) -> str:
    if not isinstance(stream, io.StringIO) or stream.closed:
        return ""
    return stream.getvalue()


def scrubbed(text: str) -> bool:
    """Whether the login does not show in `text`, in any encoding."""
    return Scrubber((Secret(jwt()),)).scrub(text) == text
