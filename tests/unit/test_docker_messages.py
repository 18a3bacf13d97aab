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
