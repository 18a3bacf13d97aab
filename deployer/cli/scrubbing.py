"""What must never be shown: the secrets that an invocation has been given."""

from typing import Final

from deployer.adapters.text import Scrubber
from deployer.cli.program import Program
from deployer.model import Secret
from deployer.names import is_utf8

_VARIABLES: Final = ("SYSTEMPROMPT_API_TOKEN", "DATABASE_URL")


def scrubber(program: Program) -> Scrubber:
    """Takes out of a text each secret that is known by now."""
    given = (program.environ.get(name, "") for name in _VARIABLES)
    # What is no UTF-8 is refused, not used, and nobody quotes it.
    used = (Secret(value) for value in given if value and is_utf8(value))
    return Scrubber((*program.secrets, *used))
