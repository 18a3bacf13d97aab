"""Reading the small local files of a project: bytes to typed values, or a refusal that names the key."""

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from deployer.settings.values import Refusal

T = TypeVar("T")
Decode = Callable[[type, Any], Any]  # (type, raw value) -> value; ValueError: it is none

SIZE_MAX: Final = 1 << 20  # bytes; these files are a few KB, and are read whole

# msgspec ends its messages with the place: "Expected `str`, got `bool` - at `$.cloud.tenant_id`".
_PLACE: Final = re.compile(r"^(?P<why>.*?)(?: - at `\$\.?(?P<key>[^`]*)`)?$", re.DOTALL)
_UNQUOTED: Final = "write it in quotes: YAML reads no, on, null and numbers as something else"


def read_bytes(path: Path) -> bytes | Refusal | None:
    """The file's content; None when there is no such file."""
    try:
        found = path.stat()
        # A FIFO would be waited for without end.
        if not stat.S_ISREG(found.st_mode):
            return Refusal(what="not a regular file", where=str(path), remedy="put a file there")
        if found.st_size > SIZE_MAX:
            return Refusal(
                what=f"larger than {SIZE_MAX >> 20} MiB", where=str(path), remedy="check what it is"
            )
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        return Refusal(
            what="not readable", where=str(path), remedy="fix the file's owner and mode (0600)"
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = error.strerror if isinstance(error, OSError) else str(error)
        return Refusal(what=f"not readable: {why}", where=str(path), remedy="check the path")


def is_directory(path: Path) -> bool:
    """Whether `path` is a directory that can be looked at."""
    try:
        return path.is_dir()
    except OSError:  # is_dir itself passes PermissionError on
        return False


def read_json(path: Path, shape: type[T], remedy: str) -> T | Refusal | None:
    """A JSON file as `shape`; unknown keys are left out."""
    return _read(path, shape, msgspec.json.decode, remedy)


def read_yaml(path: Path, shape: type[T], remedy: str) -> T | Refusal | None:
    """A YAML file as `shape`; unknown keys are left out."""
    return _read(path, shape, _parse_yaml, remedy)


def read_toml(path: Path, shape: type[T], remedy: str, decode: Decode) -> T | Refusal | None:
    """A TOML file as `shape`; `decode` makes the types that only the caller knows."""
    return _read(path, shape, _parse_toml, remedy, decode)


def _read(
    path: Path,
    shape: type[T],
    parse: Callable[[bytes], Any],
    remedy: str,
    decode: Decode | None = None,
) -> T | Refusal | None:
    raw = read_bytes(path)
    if raw is None or isinstance(raw, Refusal):
        return raw
    try:
        return msgspec.convert(parse(raw), shape, dec_hook=decode)
    except msgspec.ValidationError as error:
        wants_text = parse is _parse_yaml and str(error).startswith("Expected `str")
        return _wrong_value(path, str(error), _UNQUOTED if wants_text else remedy)
    # A ValueError is what PyYAML and tomllib raise for an impossible date, text or number.
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        return Refusal(what=f"cannot be parsed: {error}", where=str(path), remedy=remedy)


def _wrong_value(path: Path, message: str, remedy: str) -> Refusal:
    """A refusal out of msgspec's message, that tells types and keys, never values."""
    place = _PLACE.match(message)
    why, key = (place["why"], place["key"]) if place else (message, None)
    where = f"{path}, key {key}" if key else str(path)
    return Refusal(what=why.replace("`", ""), where=where, remedy=remedy)


def _parse_yaml(raw: bytes) -> Any:
    # Late: only profiles are YAML, and commands that read none start without it.
    import yaml  # noqa: PLC0415

    try:
        parsed = yaml.safe_load(raw)
    except yaml.MarkedYAMLError as error:
        # str(error) quotes the line, and the line may hold a secret.
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"{error.problem}{line}") from None
    except yaml.YAMLError as error:
        raise ValueError(type(error).__name__) from None
    if not isinstance(parsed, dict):
        return {} if parsed is None else parsed
    return {key: _with_text_keys(item) for key, item in _with_text_keys(parsed).items()}


def _with_text_keys(value: Any) -> Any:
    """`value` without the keys that YAML reads as booleans or numbers: none of ours is one."""
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if isinstance(key, str)}
    return value


def _parse_toml(raw: bytes) -> Any:
    import tomllib  # noqa: PLC0415  # late, as YAML

    return tomllib.loads(raw.decode())
