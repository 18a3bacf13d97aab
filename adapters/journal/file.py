"""The journal's database: which file it is, whether it can be trusted, and what its errors mean."""

import errno
import fcntl
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deployer.errors import JournalError
from deployer.failures import Failure, Kind
from deployer.states.flow import State

NAME: Final = "journal.sqlite"
MAKING: Final = "journal.making"
MAKING_LOCK: Final = "journal.lock"
_FRAMES, _MOVED = slice(16, 20), slice(96, 100)  # mxFrame and nBackfill in the log's index
_BESIDE: Final = ("-wal", "-shm", "-journal")  # what SQLite puts beside a database
APPLICATION_ID: Final = 0x64706C79  # "dply"
VERSION: Final = 1
BUSY_SECONDS: Final = 5.0
SPACE_MIN: Final = 64 * 1024  # bytes; less than one step of the log's index and one page of the log

_SCHEMA: Final = """
create table run (
    id text primary key,
    api text not null,
    tenant text not null,
    state text not null,
    fence integer not null,
    seq integer not null,
    resumes integer not null default 0,
    furthest text not null,
    stalled integer not null default 0,
    acknowledged integer not null default 0,
    abandoned integer not null default 0,
    opened_at real not null,
    updated_at real not null,
    plan text not null,
    facts text not null,
    intent text,
    failure text
) strict;
create unique index one_open_run on run (api, tenant)
    where state not in ('done', 'failed') and not abandoned;
create index newest on run (api, tenant);
create table event (
    run text not null references run (id),
    seq integer not null,
    at real not null,
    kind text not null,
    state text not null,
    data text not null,
    primary key (run, seq)
) strict, without rowid;
"""
_MAKE: Final = f"""
begin immediate;
pragma application_id = {APPLICATION_ID};
pragma user_version = {VERSION};
{_SCHEMA}
commit;
"""

# SQLite's primary result codes, and what each means for a deploy.
_MEANING: Final = {
    sqlite3.SQLITE_FULL: Kind.STATE_DISK_FULL,
    sqlite3.SQLITE_NOTADB: Kind.STATE_CORRUPT,
    sqlite3.SQLITE_CORRUPT: Kind.STATE_CORRUPT,
    sqlite3.SQLITE_READONLY: Kind.STATE_FORBIDDEN,
    sqlite3.SQLITE_CANTOPEN: Kind.STATE_FORBIDDEN,
    sqlite3.SQLITE_PERM: Kind.STATE_FORBIDDEN,
}

_OS_MEANING: Final = {
    errno.ENOSPC: Kind.STATE_DISK_FULL,
    errno.EDQUOT: Kind.STATE_DISK_FULL,
    errno.EACCES: Kind.STATE_FORBIDDEN,
    errno.EPERM: Kind.STATE_FORBIDDEN,
    errno.EROFS: Kind.STATE_FORBIDDEN,
}


def opened(state_dir: Path, *, create: bool) -> sqlite3.Connection | None:
    """A connection to the journal in `state_dir`; None if there is none and it is not wanted.

    Raises JournalError for a journal that is damaged, foreign, newer, or not ours to write.
    """
    path = state_dir / NAME
    with translated(path):
        if create:
            _make(state_dir, path)
        elif not _is_there(path):
            return None
        _check_owner(path)
        connection = sqlite3.connect(
            path, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
        )
        try:
            _check_content(connection, path)
            connection.execute("pragma synchronous = full")
            connection.execute("pragma foreign_keys = on")
            connection.execute("pragma secure_delete = on")
        except BaseException:
            connection.close()
            raise
        return connection


def check_place(state_dir: Path) -> None:
    """Raise JournalError if a journal in `state_dir` could not be written; nothing is made."""
    folder = next(each for each in (state_dir, *state_dir.parents) if os.path.lexists(each))
    for place in (folder, state_dir / NAME):
        if os.path.lexists(place) and not os.access(place, os.W_OK, effective_ids=True):
            raise problem(Kind.STATE_FORBIDDEN, f"{place} may not be written")


@contextmanager
def unhurried(connection: sqlite3.Connection) -> Iterator[None]:
    """A write meanwhile reaches the disk with the next one that is waited for.

    Only a power cut can lose it: what a killed process wrote, the system has.
    """
    connection.execute("pragma synchronous = normal")
    try:
        yield
    finally:
        connection.execute("pragma synchronous = full")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into JournalError."""
    try:
        yield
    except sqlite3.Error as error:
        raise problem(_sqlite_kind(error, path), f"{path}: {error}") from error
    except OSError as error:
        kind = _OS_MEANING.get(error.errno or 0, Kind.STATE_IO)
        raise problem(kind, f"{path}: {error.strerror or error}") from error


def _sqlite_kind(error: sqlite3.Error, path: Path) -> Kind:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return Kind.STATE_CORRUPT
    # Where the log or its index cannot grow, a full disk reads as an I/O error (measured).
    if code & 0xFF == sqlite3.SQLITE_IOERR and _is_full(path):
        return Kind.STATE_DISK_FULL
    return _MEANING.get(code & 0xFF, Kind.STATE_IO)


def _is_full(path: Path) -> bool:
    try:
        disk = os.statvfs(path if path.is_dir() else path.parent)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < SPACE_MIN


def problem(kind: Kind, cause: str) -> JournalError:
    """A JournalError; the phase of a journal's failure carries no meaning."""
    return JournalError(Failure(phase=State.BUILDING, kind=kind, cause=cause))


def _is_there(path: Path) -> bool:
    """Whether there is such a file; raises OSError where nobody can tell."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _make(state_dir: Path, path: Path) -> None:
    """Create the journal whole or not at all: an empty one later is damage, never a beginning."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.path.lexists(path):
        return
    # One maker at a time, and one name: what a killed maker left is what the next one replaces.
    with _making(state_dir / MAKING_LOCK):
        if os.path.lexists(path):
            return
        fresh = state_dir / MAKING
        beside = [fresh.with_name(MAKING + suffix) for suffix in _BESIDE]
        _remove(fresh, *beside)
        _fill(fresh)
        _remove(*beside)  # nothing is in them; SQLite overlooks it when it cannot remove them
        fresh.rename(path)
    _sync_directory(state_dir)


@contextmanager
def _making(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove(*paths: Path) -> None:
    for each in paths:
        each.unlink(missing_ok=True)


def _fill(path: Path) -> None:
    # Made with mode 0600; write-ahead log and shared memory inherit it.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    fresh = sqlite3.connect(path, isolation_level=None)
    try:
        fresh.execute("pragma synchronous = full")
        fresh.executescript(_MAKE)
        # Last: a close that cannot move the write-ahead log into the file says nothing (measured).
        fresh.execute("pragma journal_mode = wal")
        _check_content(fresh, path)
    finally:
        fresh.close()


def _sync_directory(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _check_owner(path: Path) -> None:
    status = path.lstat()
    if not path.is_file() or path.is_symlink():
        raise problem(Kind.STATE_FORBIDDEN, f"{path} is not a regular file")
    if status.st_uid != os.geteuid():
        raise problem(Kind.STATE_FORBIDDEN, f"{path} belongs to user {status.st_uid}")
    if status.st_mode & 0o077:
        path.chmod(0o600)
    if status.st_size == 0:
        raise problem(Kind.STATE_CORRUPT, f"{path} is empty: its history is lost")
    if _log_is_lost(path):
        cause = f"{path.name}-wal is gone: the newest part of the history is lost with it"
        raise problem(Kind.STATE_CORRUPT, cause)


def _log_is_lost(path: Path) -> bool:
    """Whether somebody deleted a write-ahead log of which not all had been moved into the file.

    Where SQLite cannot remove the index at its close, it removes the log all the same (measured);
    but then all was moved. https://sqlite.org/walformat.html, "WAL-Index File Format".
    """
    log, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    if log.exists() or not index.exists():
        return False
    with index.open("rb") as file:
        head = file.read(_MOVED.stop)
    frames, moved = (int.from_bytes(head[part], sys.byteorder) for part in (_FRAMES, _MOVED))
    return moved < frames


def _check_content(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("pragma application_id").fetchone()[0]
    version = connection.execute("pragma user_version").fetchone()[0]
    if found != APPLICATION_ID:
        raise problem(Kind.STATE_CORRUPT, f"{path} is not a journal of deployer")
    if version > VERSION:
        cause = f"{path} has version {version}, this deployer knows {VERSION}"
        raise problem(Kind.STATE_NEWER, cause)
    verdict = connection.execute("pragma quick_check(1)").fetchone()[0]
    if verdict != "ok":
        raise problem(Kind.STATE_CORRUPT, f"{path}: {verdict}")
