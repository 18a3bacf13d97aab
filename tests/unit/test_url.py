"""URLs that may be asked, and the ones that may not."""

import pytest

from deployer.adapters.http.url import Url, parse_api_url
from deployer.failures import Failure, Kind
from deployer.names import InvalidNameError

HOSTILE = [
    "",
    " ",
    "api.systemprompt.io",
    "//api.systemprompt.io",
    "htp://api.systemprompt.io",
    "ftp://api.systemprompt.io",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "data:text/html,x",
    "unix:///var/run/docker.sock",
    "https:api.systemprompt.io",
    "https:/api.systemprompt.io",
    "https:///api.systemprompt.io",
    "https://",
    "https://:443",
    "https://user@api.systemprompt.io",
    "https://user:PASSWORD@api.systemprompt.io",
    "https://:PASSWORD@api.systemprompt.io",
    "https://api.systemprompt.io@evil.example",
    "https://api.systemprompt.io%40evil.example",
    "https://api.systemprompt.io\\@evil.example",
    "https://api.systemprompt.io\\.evil.example",
    "https://evil.example#@api.systemprompt.io",
    "https://api.systemprompt.io#fragment",
    "https://api.systemprompt.io?token=PASSWORD",
    "https://api.systemprompt.io/?",
    "https://api.systemprompt.io/a?b",
    "https://api.systemprompt.io/../admin",
    "https://api.systemprompt.io/%2e%2e/admin",
    "https://api.systemprompt.io/a/.",
    "https://api.systemprompt.io//evil.example/x",
    "https://api.systemprompt.io/%zz",
    "https://api.systemprompt.io/a b",
    "https://api.systemprompt.io ",
    " https://api.systemprompt.io",
    "https://api.systemprompt.io\n",
    "https://api.systemprompt.io\r\nHost: evil.example",
    "https://api.systemprompt.io\x00.evil.example",
    "https://api.systemprompt.io\t",
    "https://api.systempr\u043empt.io",
    "https://api\u3002systemprompt.io",
    "https://api..systemprompt.io",
    "https://.systemprompt.io",
    "https://-api.systemprompt.io",
    "https://" + "a" * 64 + ".systemprompt.io",
    "https://api.systemprompt.io:",
    "https://api.systemprompt.io:0",
    "https://api.systemprompt.io:65536",
    "https://api.systemprompt.io:443:443",
    "https://api.systemprompt.io:+443",
    "https://[::1",
    "https://[::g]",
    "https://[fe80::1%25eth0]",
    "https://api.systemprompt.io/" + "a" * 2000,
    "http://api.systemprompt.io",
    "http://10.0.0.1",
    "http://128.0.0.1",
    "http://0.0.0.0",
    "http://2130706433",
    "http://0x7f.1",
    "http://127.1",
    "http://127.0.0.1.evil.example",
    "http://localhost.evil.example",
    "http://localhost.",
    "http://[::2]",
    "http://[::ffff:10.0.0.1]",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_api_url_is_refused_and_never_repeated(text: str) -> None:
    refused = parse_api_url(text)

    assert isinstance(refused, Failure)
    assert refused.kind is Kind.API_URL_INVALID
    assert "PASSWORD" not in refused.cause
    assert refused.cause.isprintable()


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://api.systemprompt.io", "https://api.systemprompt.io"),
        ("https://api.systemprompt.io/", "https://api.systemprompt.io"),
        ("https://api.systemprompt.io//", "https://api.systemprompt.io"),
        ("HTTPS://API.systemprompt.io", "https://api.systemprompt.io"),
        ("https://api.systemprompt.io:8443/control/", "https://api.systemprompt.io:8443/control"),
        ("https://10.0.0.1", "https://10.0.0.1"),
        ("http://127.0.0.1:18531", "http://127.0.0.1:18531"),
        ("http://127.255.0.9", "http://127.255.0.9"),
        ("http://localhost:1", "http://localhost:1"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"),
    ],
)
def test_an_api_url_loses_its_last_slash(text: str, base: str) -> None:
    assert parse_api_url(text) == base


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("https://me:PASSWORD@api.systemprompt.io", "holds a user name or password"),
        ("https://api.systemprompt.io#x", "has a fragment"),
        ("api.systemprompt.io", "does not begin with https://"),
        ("https://api.systemprompt.io ", "has blanks"),
        ("https://api.systempr\u043empt.io", "xn--"),
        ("http://api.systemprompt.io", "must begin with https://"),
    ],
)
def test_a_refusal_says_what_to_change(text: str, why: str) -> None:
    refused = parse_api_url(text)

    assert isinstance(refused, Failure)
    assert why in refused.cause


def test_a_url_keeps_its_query_apart() -> None:
    url = Url.parse("https://t1.systemprompt.io/a%20b?x=1&y=%2F")

    assert (url.base, url.query) == ("https://t1.systemprompt.io/a%20b", "x=1&y=%2F")


def test_the_message_of_a_refused_url_holds_no_part_of_it() -> None:
    with pytest.raises(InvalidNameError) as refused:
        Url.parse("https://me:PASSWORD@h/x")

    assert "PASSWORD" not in str(refused.value)
    assert refused.value.__cause__ is None
