"""The API URL rules, and what Settings show."""

from pathlib import Path

import pytest

from deployer.failures import ExitCode, Kind, exit_code
from deployer.model import Secret
from deployer.settings.values import Refusal, Settings, api_url_problem


@pytest.mark.parametrize(
    "url",
    [
        "https://api.systemprompt.io",
        "https://api.systemprompt.io:8443/base",
        "http://localhost:8080",
        "http://127.9.9.9:1",
        "http://[::1]:8080",
    ],
)
def test_https_anywhere_and_http_on_loopback_are_taken(url: str) -> None:
    assert api_url_problem(url) is None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://api.systemprompt.io", "unencrypted"),
        ("http://127.0.0.1.evil.example", "unencrypted"),
        ("http://localhost.evil.example", "unencrypted"),
        ("http://0.0.0.0", "unencrypted"),
        ("http://2130706433", "unencrypted"),
        ("https://user:pw@api.example", "a user or a password"),
        ("https://@api.example", "a user or a password"),
        ("https://api.example?token=x", "a query"),
        ("https://api.example#x", "a fragment"),
        ("https://api.example\n.evil", "control character"),
        ("https://api example", "space"),
        ("https://", "not an https"),
        ("ftp://api.example", "not an https"),
        ("api.example", "not an https"),
        ("", "not an https"),
        ("https://api.example:port", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https://a..b", "is malformed"),
        (f"https://{'a' * 300}.example", "is malformed"),
        ("https://ä.invalid", "has letters outside ASCII"),
        ("https://api.example/../x", "'.' or '..' in its path"),
        ("https://api.example:0", "has a port outside"),
    ],
)
def test_any_other_api_url_is_refused_with_its_reason(url: str, why: str) -> None:
    assert why in (api_url_problem(url) or "")


def test_settings_show_neither_the_secrets_nor_the_environment() -> None:
    settings = Settings(
        api_url="https://api.example",
        api_token=Secret("canary-token"),
        state_dir=Path("state"),
        environment={"X": "canary-variable"},
        database_url=Secret("postgres://u:canary-password@h/d"),
    )

    assert "canary" not in repr(settings)
    assert [secret.reveal() for secret in settings.secrets()] == [
        "canary-token",
        "postgres://u:canary-password@h/d",
    ]


def test_a_refusal_is_one_line_and_exits_3() -> None:
    refusal = Refusal(what="wrong\n\x1b[2Jvalue", where="file, key a", remedy="correct it")

    assert str(refusal) == "wrong value (file, key a): correct it"
    assert refusal.failure.kind is Kind.CONFIGURATION
    assert exit_code(refusal.failure) == ExitCode.REFUSED
