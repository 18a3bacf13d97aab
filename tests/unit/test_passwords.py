"""The passwords in a URL, good or bad."""

import pytest

from deployer.adapters.passwords import is_open, names_in, passwords_in


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("postgres://app:pw@db/x", ["pw"]),
        ("postgres://app:p%40w@db:5432/x?sslmode=require", ["p%40w"]),
        ("postgres://app:p[w@db/x", ["p[w"]),
        ("postgres://app:p]w@[::1]:5432/x", ["p]w"]),
        ("postgres://app:p@w:x@db/x", ["p@w:x"]),
        ("postgres://db/x?user=app&password=p+w", ["p+w", "p w"]),
        ("postgres://app:one@db/x?password=two#three", ["one", "two"]),
        ("jdbc:postgresql://db/x?password=pw", ["pw"]),
        ("postgres://app:@db/x?password=", []),
        ("postgres://app@db/x", []),
        ("no url: at all, password=pw", []),
    ],
)
def test_the_passwords_of_a_url_are_found(url: str, written: list[str]) -> None:
    assert [password.written for password in passwords_in(url)] == written


@pytest.mark.parametrize(
    "url",
    [
        "postgres://localhost/a-long-name",
        "postgres://app@localhost:5432/x",
        "postgres://app:@localhost",
        "postgres:///x?host=/run/postgresql&user=app@project.iam",
        "postgres://one:5432,[::1]:5433/x",
        "sqlite://x.db",
    ],
)
def test_a_url_without_a_password_is_open(url: str) -> None:
    assert is_open(url)


@pytest.mark.parametrize(
    "value",
    [
        "postgres://app:p/w@db/x",
        "postgres://app:p?w@db/x",
        "postgres://app:p#w@db/x",
        "postgres://[app/x",
        "postgres://app:pw@db/x",
        "postgres://db/x?password=pw",
        "a token",
    ],
)
def test_what_may_hold_a_password_is_not_open(value: str) -> None:
    assert not is_open(value)


def test_a_url_names_its_user_host_and_database() -> None:
    assert names_in("postgres://app:pw@DB:5432/x?user=other") == {"app", "db", "x", "other"}
    assert names_in("no url") == frozenset()


def test_a_password_does_not_show_itself() -> None:
    assert "s3cret" not in repr(passwords_in("postgres://app:s3cret@db/x"))
