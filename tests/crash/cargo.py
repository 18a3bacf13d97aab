"""A stand-in for cargo: writes a tiny program, says what cargo says, and takes a little time.

Runs alone, as an executable, the standard library only. It notes each build in the file that
CARGO_CRASH_LOG names, and works in a child process, as cargo does in rustc.
"""

import json
import os
import sys
import time
from pathlib import Path

WORK_SECONDS = 0.03


def main(arguments: list[str]) -> int:
    """Answer `--version`, `build` and `clean`."""
    if arguments == ["--version"]:
        os.write(1, b"cargo 1.95.0 (stand-in)\n")
        return 0
    options = dict(each.partition("=")[::2] for each in arguments)
    program = Path(options["--target-dir"], "release", "systemprompt")
    if arguments[0] == "clean":
        program.unlink(missing_ok=True)
        return 0
    note(arguments)
    os.write(2, f"connecting to {os.environ.get('DATABASE_URL')}\n".encode())
    child = os.fork()
    if child == 0:
        compile_to(program)
        os._exit(0)
    os.waitpid(child, 0)
    package = f"path+file://{Path.cwd()}/core#systemprompt@0.1.0"
    target = {"name": "systemprompt", "kind": ["bin"]}
    say(reason="compiler-artifact", package_id=package, target=target, executable=str(program))
    say(reason="build-finished", success=True)
    return 0


def note(arguments: list[str]) -> None:
    handle = os.open(os.environ["CARGO_CRASH_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, f"{os.getpid()} {' '.join(arguments)}\n".encode())
    os.close(handle)


def compile_to(program: Path) -> None:
    time.sleep(float(os.environ.get("CARGO_CRASH_SECONDS", WORK_SECONDS)))
    program.parent.mkdir(parents=True, exist_ok=True)
    # Never half of a program under its name: that is another test's subject.
    fresh = program.with_suffix(".new")
    fresh.write_bytes(b"\x7fELF" + Path("core/src/main.rs").read_bytes())
    fresh.chmod(0o755)
    fresh.rename(program)


def say(**message: object) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
