"""What must never be shown: the secrets that an invocation has been given."""

from typing import Final

from deployer.adapters.text import Scrubber
from deployer.cli.program import Program
from deployer.model import Secret

_VARIABLES: Final = ("SYSTEMPROMPT_API_TOKEN", "DATABASE_URL")


def scrubber(program: Program) -> Scrubber:
    """Takes out of a text each secret that is known by now."""
    given = (program.environ.get(name) for name in _VARIABLES)
    return Scrubber((*program.secrets, *(Secret(value) for value in given if value)))
