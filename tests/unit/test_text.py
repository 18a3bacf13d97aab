"""Foreign text made safe."""

import base64
from collections.abc import Callable
from urllib.parse import quote

import pytest

from deployer.adapters.text import Scrubber, clean, clean_output
from deployer.model import Secret
from deployer.names import InvalidNameError, parse_tag

URL = "postgres://app:s3cret%2Fpw@db/x"


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;pwned\x07title", "title"),
        ("\x9b2Jgone", "gone"),
        ("two\nlines\tand tab", "two lines and tab"),
        ("nul\x00 bell\x07 del\x7f", "nul bell del"),
        ("evil\u202etxt.exe", "eviltxt.exe"),
    ],
)
def test_control_characters_never_reach_the_terminal(foreign: str, shown: str) -> None:
    assert clean(foreign) == shown


def test_a_compiler_s_carets_stay_below_what_they_point_at() -> None:
    assert clean_output("   |     ^^^^ expected `u32`\x1b[0m  ") == "   |     ^^^^ expected `u32`"


def test_a_hostile_line_is_cut() -> None:
    assert len(clean("x" * 1_000_000)) == 500


@pytest.mark.parametrize(
    "text",
    [
        f"error in {URL}",
        "password is s3cret%2Fpw",
        "header " + base64.b64encode(URL.encode()).decode(),
        "split s3cr\x1b[0met%2Fpw here",
    ],
)
def test_a_known_secret_is_taken_out_however_it_is_encoded(text: str) -> None:
    scrubber = Scrubber([Secret(URL)])

    line = scrubber.line(text)

    assert "s3cret" not in line
    assert base64.b64encode(URL.encode()).decode() not in line
    assert "***" in line


@pytest.mark.parametrize(
    "spelled",
    [
        r"p\"w\\d/\u00e9&secret",
        r"p\"w\\d\/\u00e9&secret",
        r"p\"w\\d/é&secret",
        r"p\"w\\d\/é&secret",
        r"p\"w\\d/é\u0026secret",
        "p%22w%5Cd%2F%C3%A9%26secret",
        "p%22w%5cd%2f%c3%a9%26secret",
        "p%22w%5Cd/%C3%A9%26secret",
        "p%22w%5cd/%c3%a9%26secret",
    ],
)
def test_a_secret_is_taken_out_as_json_and_urls_spell_it(spelled: str) -> None:
    scrubber = Scrubber([Secret('p"w\\d/é&secret')])

    assert scrubber.line(f"sent {spelled} to it") == "sent *** to it"


@pytest.mark.parametrize("user", ["x", "xy", "xyz"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_a_secret_is_taken_out_of_a_login_that_is_repeated(
    user: str, encode: Callable[[bytes], bytes]
) -> None:
    password = "FlyV1-~~~???secret"
    login = encode(f"{user}:{password}/and more".encode()).decode()

    line = Scrubber([Secret(password)]).line(f"you sent Basic {login}")

    assert "***" in line
    # Whoever decodes what is left, from whichever place, finds nothing of it.
    for part in line.removeprefix("you sent Basic ").split("***"):
        for begin in range(4):
            text = part[begin:]
            text = text[: len(text) // 4 * 4]
            assert b"Fly" not in base64.urlsafe_b64decode(text)
            assert b"secret" not in base64.b64decode(text)


def test_a_password_that_is_also_a_plain_word_is_starred_in_its_place_only() -> None:
    scrubber = Scrubber([Secret("postgres://postgres:postgres@db/app")])

    line = scrubber.line("postgres is up at postgres://postgres:postgres@db:5432/other")

    assert line == "postgres is up at postgres://postgres***db:5432/other"


@pytest.mark.parametrize(
    "url",
    [
        "postgres://app:s3cret[pw@db/x",
        "postgres://db/x?user=app&password=s3cret[pw",
        "postgres://db/x?user=app&password=s3cret%5bpw",
    ],
)
def test_the_password_of_a_url_is_taken_out_wherever_it_stands(url: str) -> None:
    line = Scrubber([Secret(url)]).line("login with s3cret[pw refused")

    assert line == "login with *** refused"


def test_a_password_in_a_query_that_is_also_a_plain_word_is_starred_in_its_place_only() -> None:
    scrubber = Scrubber([Secret("postgres://db/app?user=postgres&password=postgres")])

    line = scrubber.line("postgres is up at postgres://db2/x?user=postgres&password=postgres")

    assert line == "postgres is up at postgres://db2/x?user=postgres***"


def test_short_values_are_left_alone_because_they_occur_in_innocent_text() -> None:
    assert Scrubber([Secret("x")]).line("exit x") == "exit x"


@pytest.mark.parametrize("before", range(470, 500))
@pytest.mark.parametrize(
    ("secret", "head"), [(URL, "s3cr"), ("FlyV1-a-long/registry-password", "FlyV")]
)
def test_the_head_of_a_secret_that_was_cut_is_taken_out(
    secret: str, head: str, before: int
) -> None:
    line = Scrubber([Secret(secret)]).line(clean("x" * before + secret + " and more"))

    assert head not in line
    assert line.endswith("…")


def test_the_head_of_a_cut_secret_is_taken_out_of_a_text_that_goes_on() -> None:
    quoted = clean("it is s3cret-and-long", limit=12)

    line = Scrubber([Secret("s3cret-and-long")]).line(f"error: {quoted} (src/main.rs:3); 2 more")

    assert line == "error: it is ***… (src/main.rs:3); 2 more"


@pytest.mark.parametrize("encode", [quote, lambda text: base64.b64encode(text.encode()).decode()])
def test_the_head_of_an_encoded_secret_is_taken_out(encode: Callable[[str], str]) -> None:
    encoded = encode("FlyV1/registry:password")

    line = Scrubber([Secret("FlyV1/registry:password")]).line(f"sent {encoded[:12]}…")

    assert line == "sent ***…"


def test_the_head_of_a_secret_in_a_bad_name_is_taken_out() -> None:
    with pytest.raises(InvalidNameError) as refusal:
        parse_tag("/" * 130 + "s3cret-and-long")

    line = Scrubber([Secret("s3cret-and-long")]).line(str(refusal.value))

    assert line.startswith("'" + "/" * 130 + "***…' is not a valid image tag")


def test_three_dots_behind_innocent_words_change_nothing() -> None:
    text = "waiting… at the postgre… postman…"

    assert Scrubber([Secret("postscript-and-long")]).line(text) == text


def test_a_cut_shows_even_where_escapes_filled_what_was_cut_off() -> None:
    text = "\x1b[31m" * 399 + "ends in s3cret-and-long"

    cut = clean(text)

    assert cut == "ends…"
    assert len(text[:2000]) == 2000


def test_a_secret_shows_itself_to_nobody() -> None:
    secret = Secret("hunter22")

    assert "hunter22" not in f"{secret} {secret!r} {secret!s} {[secret]}"
