"""Names that come from outside, each parsed by its grammar before it goes anywhere."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NewType, Self, TypeVar

T = TypeVar("T")

RunId = NewType("RunId", str)
Digest = NewType("Digest", str)  # sha256:<64 hex>, of a manifest at the registry
ImageId = NewType("ImageId", str)  # sha256:<64 hex>, of a config at the engine

# The grammar of the distribution specification. A name that a server chose reaches the engine's
# and the registry's URLs: one with `..` in it called another endpoint of the engine (measured).
_REGISTRY: Final = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[::1\])(?::[0-9]{1,5})?"
)
_REPOSITORY: Final = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
REPOSITORY_MAX: Final = 255
QUOTED_MAX: Final = 140


class InvalidNameError(ValueError):
    """A name from outside that its grammar refuses; the message says which and why."""


def is_utf8(text: str) -> bool:
    """Whether `text` can be written down: names of files and words of a command line may not be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def quoted(text: str) -> str:
    """A foreign name for a message, in quotes; cut at QUOTED_MAX characters."""
    # The mark shows a scrubber where the head of a secret may stand.
    return repr(text if len(text) <= QUOTED_MAX else f"{text[: QUOTED_MAX - 1]}…")


def _parsed(text: str, grammar: re.Pattern[str], what: str) -> str:
    if not grammar.fullmatch(text):
        raise InvalidNameError(f"{quoted(text)} is not a valid {what}")
    return text


def parse_tag(text: str) -> str:
    """Return `text` if it is an image tag, else raise InvalidNameError."""
    return _parsed(text, _TAG, "image tag (letters, digits, '_', '.', '-'; at most 128)")


def parse_tenant(text: str) -> str:
    """Return `text` if it can be a tenant id in a URL path, else raise InvalidNameError."""
    return _parsed(text, _TENANT, "tenant id")


def parse_registry(text: str) -> str:
    """Return `text` if it is a registry's `host[:port]`, else raise InvalidNameError."""
    return _parsed(text, _REGISTRY, "registry")


def parse_repository(text: str) -> str:
    """Return `text` if it can be a repository, else raise InvalidNameError."""
    _parsed(text, _REPOSITORY, "repository")
    if len(text) > REPOSITORY_MAX:
        raise InvalidNameError(f"repository is longer than {REPOSITORY_MAX} characters")
    return text


def parse_digest(text: str) -> Digest:
    """Return `text` as a digest (`sha256:` and 64 hex digits), else raise InvalidNameError."""
    return Digest(_parsed(text, _DIGEST, "sha256 digest"))


def parse_image_id(text: str) -> ImageId:
    """Return `text` as an image id (`sha256:` and 64 hex digits), else raise InvalidNameError."""
    return ImageId(_parsed(text, _DIGEST, "image id"))


def or_none(parse: Callable[[str], T], text: str) -> T | None:
    """What `parse` makes of `text`; None where it raises InvalidNameError."""
    try:
        return parse(text)
    except InvalidNameError:
        return None


@dataclass(frozen=True, slots=True)
class ImageRef:
    """`registry/repository:tag`, each part checked by its grammar."""

    registry: str
    repository: str
    tag: str

    def __post_init__(self) -> None:
        """Raise InvalidNameError for a part that its grammar refuses."""
        _parsed(self.registry, _REGISTRY, "registry host")
        parse_repository(self.repository)
        parse_tag(self.tag)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `registry/repository:tag`; raise InvalidNameError for anything else."""
        registry, slash, rest = text.partition("/")
        repository, colon, tag = rest.rpartition(":")
        if not (slash and colon):
            raise InvalidNameError(f"{quoted(text)} is not registry/repository:tag")
        return cls(registry, repository, tag)

    @property
    def name(self) -> str:
        """The reference without its tag."""
        return f"{self.registry}/{self.repository}"

    def __str__(self) -> str:
        """The reference as engines and the Management API write it."""
        return f"{self.name}:{self.tag}"
