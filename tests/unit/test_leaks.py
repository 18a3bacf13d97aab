"""Known secrets in files, however they are spelled; and nothing found where nothing is."""

import base64
import os
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from deployer.adapters.leaks import CHUNK, CLEAN_MAX, Leaks, Searched
from deployer.adapters.stamp import TICK_SECONDS, Stamp
from deployer.model import Secret

URL = "postgres://app:s3cret%2Fword@db.example/app"
LEAKS = Leaks([Secret(URL), Secret("api-token-0123456789")])


@pytest.mark.parametrize(
    "spelled",
    [
        URL,
        quote(URL, safe=""),
        base64.b64encode(URL.encode()).decode(),
        "s3cret%2Fword",
        "s3cret/word",
        "api-token-0123456789",
        base64.b64encode(b"api-token-0123456789").decode(),
    ],
)
def test_a_secret_is_found_as_it_may_be_spelled(tmp_path: Path, spelled: str) -> None:
    file = tmp_path / "program"
    file.write_bytes(b"\x7fELF" + os.urandom(100_000) + spelled.encode() + os.urandom(1000))

    assert LEAKS.in_file(file)


@pytest.mark.parametrize("before", [CHUNK - 5, CHUNK, CHUNK + 5, 2 * CHUNK - 1])
def test_a_secret_across_two_pieces_is_found(tmp_path: Path, before: int) -> None:
    file = tmp_path / "program"
    file.write_bytes(bytes(before) + URL.encode())

    assert LEAKS.in_file(file)


def test_what_holds_none_is_not_suspected(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("postgres://app:***@db.example/app and s3cret")
    (tmp_path / "empty").touch()

    assert not LEAKS.in_file(tmp_path / "a")
    assert not LEAKS.in_file(tmp_path / "empty")


def test_a_short_password_is_only_found_in_its_url() -> None:
    leaks = Leaks([Secret("postgres://postgres:postgres@localhost/dev")])

    assert leaks.in_bytes(b"=postgres://postgres:postgres@localhost/dev")
    assert leaks.in_bytes(b"user:postgres@elsewhere")
    assert not leaks.in_bytes(b"a driver for postgres: postgres@14")


def test_what_another_needle_finds_is_not_looked_for() -> None:
    needles = LEAKS._needles

    assert b"s3cret%2Fword" in needles
    assert not [each for each in needles for other in needles if other in each and other != each]


def test_a_url_without_a_password_is_no_secret() -> None:
    assert not Leaks([Secret("postgres://localhost/a-long-database-name")])


@pytest.mark.parametrize(
    "url",
    [
        "postgres://app:s3cret[word@db.example/app",
        "postgres://app:s3cret]word@db.example/app",
        "postgres://app:s3cret%5Bword@db.example/app",
        "postgres://db.example/app?user=app&password=s3cret%5Bword",
        "postgres://db.example/app?password=s3cret[word&user=app",
    ],
)
def test_a_password_is_found_wherever_and_however_its_url_gives_it(url: str) -> None:
    leaks = Leaks([Secret(url)])
    written = "s3cret]word" if "]" in url else "s3cret[word"

    assert leaks.in_bytes(b"=" + url.encode())
    assert leaks.in_bytes(b"\0" + written.encode())


def test_a_url_that_nobody_can_read_is_looked_for_as_a_whole() -> None:
    url = "postgres://app:s3/cret@db.example/app"

    assert Leaks([Secret(url)]).in_bytes(b"=" + url.encode())


def test_a_pipe_in_a_file_s_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert not LEAKS.in_file(tmp_path / "pipe")


def test_the_secrets_do_not_show() -> None:
    assert "s3cret" not in repr(LEAKS)


def test_a_file_that_was_clean_is_read_again_once_it_changed(tmp_path: Path) -> None:
    file, leaks = tmp_path / "program", Leaks([Secret(URL)])
    file.write_bytes(bytes(2 * CHUNK))
    time.sleep(2 * TICK_SECONDS)
    assert not leaks.in_file(file)
    assert leaks._clean
    status = file.stat()
    file.write_bytes(URL.encode() + bytes(2 * CHUNK - len(URL)))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert leaks.in_file(file)


def test_only_so_many_clean_files_are_remembered(tmp_path: Path) -> None:
    leaks = Leaks([Secret(URL)])
    leaks._clean.update({Stamp(1, number, 0, 0, 0, 0): None for number in range(CLEAN_MAX)})
    file = tmp_path / "program"
    file.write_bytes(bytes(2 * CHUNK))
    time.sleep(2 * TICK_SECONDS)

    assert not leaks.in_file(file)
    assert len(leaks._clean) == CLEAN_MAX


@pytest.fixture
def searched_before(tmp_path: Path) -> Path:
    """A large file through which an earlier process looked, for another secret than it holds."""
    file = tmp_path / "program"
    file.write_bytes(bytes(2 * CHUNK) + b"api-token-0123456789")
    time.sleep(2 * TICK_SECONDS)
    assert not Leaks([Secret(URL)], Searched(tmp_path / "known")).in_file(file)
    return file


def test_the_next_process_does_not_search_the_same_file_for_the_same(
    tmp_path: Path, searched_before: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaks = Leaks([Secret(URL)], Searched(tmp_path / "known"))
    monkeypatch.setattr(leaks, "in_bytes", lambda _data: pytest.fail("it was read"))

    assert not leaks.in_file(searched_before)


def test_a_secret_that_is_known_since_then_is_searched_for(
    tmp_path: Path, searched_before: Path
) -> None:
    secrets = [Secret(URL), Secret("api-token-0123456789")]

    assert Leaks(secrets, Searched(tmp_path / "known")).in_file(searched_before)


def test_a_file_that_changed_since_then_is_searched(tmp_path: Path, searched_before: Path) -> None:
    status = searched_before.stat()
    content = URL.encode()
    searched_before.write_bytes(content + bytes(status.st_size - len(content)))
    os.utime(searched_before, ns=(status.st_atime_ns, status.st_mtime_ns))

    assert Leaks([Secret(URL)], Searched(tmp_path / "known")).in_file(searched_before)


def test_what_is_remembered_of_the_secrets_is_too_short_to_find_them_by(
    tmp_path: Path, searched_before: Path
) -> None:
    kept = [path for path in (tmp_path / "known").rglob("*") if path.is_file()]

    assert [path.read_text() for path in kept] == ["true"]
    assert len(Leaks([Secret(URL)])._mark) == 4
