"""How the sandbox gives up, and how it says what it does meanwhile."""

from collections.abc import Callable

# One friendly line a call; it never blocks.
Say = Callable[[str], None]


class Refused(Exception):  # noqa: N818  # it is an answer to the user, not an error of the program
    """The sandbox cannot go on. The message says what, why, and what to do.

    Raised on the way up only, where it must unwind what is already running; the command line
    shows it and exits with 3.
    """
