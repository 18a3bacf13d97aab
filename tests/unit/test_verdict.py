"""The server's word for a deploy."""

import pytest

from deployer.verdict import Verdict, judge


@pytest.mark.parametrize("word", ["ready", "running", "started", "deployed", "active", " Ready\n"])
def test_a_word_of_success_is_ready(word: str) -> None:
    assert judge(word) is Verdict.READY


@pytest.mark.parametrize("word", ["failed", "error", "suspended", "deleted", "stopped", "FAILED"])
def test_a_word_of_failure_is_failed(word: str) -> None:
    assert judge(word) is Verdict.FAILED


@pytest.mark.parametrize(
    "word",
    ["provisioning", "deploying", "pending", "starting", "awaiting_deploy", "unknown", "", "done!"],
)
def test_any_other_word_means_wait(word: str) -> None:
    assert judge(word) is Verdict.PENDING
