"""What the settings of a Dockerfile leave in an image's config, as engines do it. Pure."""

import posixpath
import re
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

from deployer.adapters.direct.instructions import Instruction, arguments, expanded
from deployer.adapters.direct.values import RefusedError

_NAME_VALUE: Final = 3  # ENV's and LABEL's words come as name, value, delimiter
_PORT: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_PORT_MAX: Final = 65535
_DURATION: Final = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS: Final = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_SIGNALS_MAX: Final = 64
_DEFAULT_SHELL: Final = ["/bin/sh", "-c"]


class Settings:
    """The config as the instructions change it, one after the other."""

    def __init__(
        self, config: Mapping[str, Any], global_args: Mapping[str, str], escape: str
    ) -> None:
        """Begin with the base image's `config`."""
        self.config: dict[str, Any] = dict(config)
        self.author: str | None = None
        self._global_args = global_args
        self._args: dict[str, str] = {}
        self._escape = escape
        self._cmd_set = False

    @property
    def workdir(self) -> str:
        """Where relative paths begin; absolute."""
        return str(self.config.get("WorkingDir") or "/")

    def word(self, text: str, line: int) -> str:
        """`text` with the variables that are set here. A later ENV wins over ARG."""
        return expanded(text, self._args | self._env, self._escape, line)

    def apply(self, step: Instruction) -> None:
        """Carry out `step`, which is neither FROM nor COPY. May raise RefusedError."""
        _APPLY[step.name](self, step)

    @property
    def _env(self) -> dict[str, str]:
        pairs = (str(each).partition("=") for each in self.config.get("Env") or ())
        return {name: value for name, _, value in pairs}

    def _arg(self, step: Instruction) -> None:
        given = arguments(step, lambda word: self.word(word, step.line))
        for name in (word.partition("=")[0] for word in step.words):
            value = given.get(name, self._global_args.get(name))
            if value is None:
                self._refuse_to_unset(name, step.line)
                continue
            if self._env.get(name, value) != value:
                # ENV's value goes on in the classic builder, ARG's in BuildKit.
                why = f"ARG {name} is an ENV already, and which one wins differs between builders"
                raise RefusedError(step.line, f"{why}: needs an engine")
            self._args[name] = value

    def _refuse_to_unset(self, name: str, line: int) -> None:
        if name in self._args and name not in self._env:
            # The classic builder forgets the value, BuildKit keeps it.
            why = f"ARG {name} had a value, and whether it still has it differs between builders"
            raise RefusedError(line, f"{why}: needs an engine")

    def _pairs(self, step: Instruction) -> dict[str, str]:
        # One line sees the variables as they were before it.
        words = step.words
        starts = range(0, len(words), _NAME_VALUE)
        found = {
            self.word(words[at], step.line): self.word(words[at + 1], step.line) for at in starts
        }
        if "" in found:
            raise RefusedError(step.line, f"{step.name} wants a name before each =")
        return found

    def _set_env(self, step: Instruction) -> None:
        merged = self._env | self._pairs(step)
        self.config["Env"] = [f"{name}={value}" for name, value in merged.items()]

    def _label(self, step: Instruction) -> None:
        self.config["Labels"] = {**(self.config.get("Labels") or {}), **self._pairs(step)}

    def _workdir(self, step: Instruction) -> None:
        written = self.word(_only(step), step.line)
        if not written:
            raise RefusedError(step.line, "WORKDIR without a path")
        self.config["WorkingDir"] = absolute(self.workdir, written)

    def _user(self, step: Instruction) -> None:
        self.config["User"] = self.word(_only(step), step.line)

    def _stop_signal(self, step: Instruction) -> None:
        named = self.word(_only(step), step.line)
        numbered = named.isdigit() and 0 < int(named) <= _SIGNALS_MAX
        full = named.upper() if named.upper().startswith("SIG") else f"SIG{named.upper()}"
        if not numbered and full not in signal.Signals.__members__:
            raise RefusedError(step.line, f"{named!r} is no signal")
        self.config["StopSignal"] = named

    def _shell(self, step: Instruction) -> None:
        if not step.json or not step.words:
            raise RefusedError(step.line, "SHELL wants a JSON array")
        self.config["Shell"] = list(step.words)

    def _command(self, step: Instruction) -> list[str]:
        if step.json:
            return list(step.words)
        return [*(self.config.get("Shell") or _DEFAULT_SHELL), *step.words]

    def _cmd(self, step: Instruction) -> None:
        self.config["Cmd"] = self._command(step) or None
        self._cmd_set = True

    def _entrypoint(self, step: Instruction) -> None:
        self.config["Entrypoint"] = self._command(step) or None
        if not self._cmd_set:
            # The base's CMD was meant for the base's ENTRYPOINT.
            self.config["Cmd"] = None

    def _expose(self, step: Instruction) -> None:
        if not step.words:
            raise RefusedError(step.line, "EXPOSE requires at least one port")
        ports = dict(self.config.get("ExposedPorts") or {})
        for word in step.words:
            for port in self.word(word, step.line).split():
                ports.update({key: {} for key in _ports(port, step.line)})
        self.config["ExposedPorts"] = ports

    def _volume(self, step: Instruction) -> None:
        paths = [self.word(word, step.line).strip() for word in step.words]
        if not paths or not all(paths):
            raise RefusedError(step.line, "VOLUME without a path")
        self.config["Volumes"] = {
            **(self.config.get("Volumes") or {}),
            **{key: {} for key in paths},
        }

    def _maintainer(self, step: Instruction) -> None:
        self.author = _only(step)

    def _healthcheck(self, step: Instruction) -> None:
        kind, *command = step.words or ("",)
        if kind.upper() == "NONE" and not command:
            self.config["Healthcheck"] = {"Test": ["NONE"]}
        elif kind.upper() == "CMD" and command:
            test = ["CMD", *command] if step.json else ["CMD-SHELL", *command]
            self.config["Healthcheck"] = {"Test": test, **_timing(step)}
        else:
            raise RefusedError(step.line, "HEALTHCHECK wants NONE, or CMD with a command")


def absolute(workdir: str, written: str) -> str:
    """`written` as an absolute path without dots and without a slash at the end."""
    path = posixpath.normpath(posixpath.join("/", workdir, written))
    return "/" + path.lstrip("/")  # two leading slashes mean something to POSIX


def _only(step: Instruction) -> str:
    if len(step.words) != 1:
        raise RefusedError(step.line, f"{step.name} requires exactly one argument")
    return step.words[0]


def _ports(text: str, line: int) -> list[str]:
    found = _PORT.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if found is None or not 0 < first <= last <= _PORT_MAX:
        raise RefusedError(line, f"EXPOSE {text} needs an engine")
    protocol = (found[3] or "tcp").lower()
    return [f"{port}/{protocol}" for port in range(first, last + 1)]


def _timing(step: Instruction) -> dict[str, int]:
    names = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod"}
    found = {
        names[key]: _duration(step, value) for key, value in step.flags.items() if key in names
    }
    retries = step.flags.get("retries")
    if retries is not None:
        if not retries.isdigit() or int(retries) < 1:
            raise RefusedError(step.line, f"HEALTHCHECK --retries={retries} is not at least 1")
        found["Retries"] = int(retries)
    return {name: value for name, value in found.items() if value}


def _duration(step: Instruction, text: str) -> int:
    """Go's durations, in nanoseconds."""
    if not _DURATION.fullmatch(text):
        raise RefusedError(step.line, f"{text!r} is no duration such as 30s")
    parts = _DURATION_PART.findall(text)
    found = round(sum(float(number) * _NANOSECONDS[unit] for number, unit in parts))
    if 0 < found < _NANOSECONDS["ms"]:
        raise RefusedError(step.line, f"{text!r} is less than 1ms")
    return found


# The methods of one class, in one place.
_APPLY: Final[Mapping[str, Callable[[Settings, Instruction], None]]] = {
    "ARG": Settings._arg,  # noqa: SLF001
    "CMD": Settings._cmd,  # noqa: SLF001
    "ENTRYPOINT": Settings._entrypoint,  # noqa: SLF001
    "ENV": Settings._set_env,  # noqa: SLF001
    "EXPOSE": Settings._expose,  # noqa: SLF001
    "HEALTHCHECK": Settings._healthcheck,  # noqa: SLF001
    "LABEL": Settings._label,  # noqa: SLF001
    "MAINTAINER": Settings._maintainer,  # noqa: SLF001
    "SHELL": Settings._shell,  # noqa: SLF001
    "STOPSIGNAL": Settings._stop_signal,  # noqa: SLF001
    "USER": Settings._user,  # noqa: SLF001
    "VOLUME": Settings._volume,  # noqa: SLF001
    "WORKDIR": Settings._workdir,  # noqa: SLF001
}
