"""What engines' words mean, where tests/recorded does not say it."""

import pytest

from deployer.adapters.docker.messages import build_failure, push_failure
from deployer.failures import Kind


@pytest.mark.parametrize("name", ["denied", "eof", "unauthorized", "x509", "toomanyrequests"])
def test_a_repository_may_be_called_like_a_failure(name: str) -> None:
    for url in (f'Put "https://r.test/v2/{name}/x"', f"PUT request to https://r.test/v2/{name}"):
        failure = push_failure(f"{url}: received unexpected HTTP status: 503", 0, moved=False)

        assert failure.kind is Kind.REGISTRY_UNAVAILABLE


def test_a_port_is_no_http_status() -> None:
    failure = push_failure("dial tcp 10.0.0.1:403: connect: connection refused", 0, moved=False)

    assert failure.kind is Kind.REGISTRY_UNREACHABLE


def test_a_build_failure_carries_what_the_engine_printed_before() -> None:
    output = ("Step 1/1 : RUN make", "make: *** no rule")

    failure = build_failure("returned a non-zero code: 2", 0, output=output)

    assert failure.kind is Kind.RUN_STEP_FAILED
    assert failure.details == output
    assert failure.http_status is None


def test_an_http_status_is_kept() -> None:
    assert build_failure("anything", 500).http_status == 500
    assert push_failure("anything", 404, moved=False).http_status == 404


def test_foreign_text_is_made_safe() -> None:
    assert push_failure("manifest \x1b]0;pwned\x07bad\n", 0, moved=False).cause == "manifest bad"
    assert build_failure("\x1b[91mbad\x1b[0m", 0).cause == "bad"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("unknown: app repository not found", Kind.REPOSITORY_DENIED),
        ("denied: Your authorization token has expired. Reauthenticate.", Kind.REGISTRY_AUTH),
        ("received unexpected HTTP status: 507 Insufficient Storage", Kind.REGISTRY_DISK_FULL),
        ("denied: project quota exceeded", Kind.REGISTRY_DISK_FULL),
        ("blob upload unknown", Kind.PUSH_CUT),
        ("stream error: stream ID 7; INTERNAL_ERROR; received from peer", Kind.PUSH_CUT),
        ("Put URL: context deadline exceeded", Kind.PUSH_STALLED),
        ("proxyconnect tcp: lookup proxy: no such host", Kind.REGISTRY_UNREACHABLE),
        ("something that nobody foresaw", Kind.PUSH_FAILED),
    ],
)
def test_what_other_registries_say_of_a_push(words: str, kind: Kind) -> None:
    assert push_failure(words, 0, moved=False).kind is kind


@pytest.mark.parametrize(
    ("words", "output", "kind"),
    [
        (
            "COPY failed: stat /var/lib/docker/tmp/docker-builder9/target/release/x: no such file",
            (),
            Kind.BINARY_MISSING,
        ),
        ("write /var/lib/docker/x: disk quota exceeded", (), Kind.ENGINE_DISK_FULL),
        ("exec /bin/sh: exec format error", (), Kind.WRONG_PLATFORM),
        (
            "The command '/bin/sh -c true' returned a non-zero code: 1",
            ("exec /bin/sh: exec format error",),
            Kind.WRONG_PLATFORM,
        ),
        ("process did not complete: signal: killed", (), Kind.RUN_STEP_KILLED),
        ("failed to resolve: context deadline exceeded", (), Kind.BASE_UNREACHABLE),
        ("something that nobody foresaw", (), Kind.IMAGE_FAILED),
    ],
)
def test_what_other_engines_say_of_a_build(words: str, output: tuple[str, ...], kind: Kind) -> None:
    assert build_failure(words, 0, output=output).kind is kind
