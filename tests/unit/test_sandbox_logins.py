import anyio
import pytest

from deployer.sandbox.faults import Faults
from deployer.sandbox.logins import Logins, Verdict

pytestmark = pytest.mark.anyio


def logins(seconds: float = 60.0, **on: int | None) -> Logins:
    return Logins(Faults({name.replace("_", "-"): count for name, count in on.items()}), seconds)


async def test_a_minted_login_is_good_for_its_repository_only() -> None:
    them = logins()

    verdict, grant = them.judge("x", them.mint("sp-a", None))

    assert verdict is Verdict.GOOD
    assert (grant.covers("sp-a"), grant.covers("sp-b")) == (True, False)


async def test_a_login_of_a_server_tag_writes_that_tag_and_digests_only() -> None:
    them = logins()

    _, grant = them.judge("x", them.mint("images", "tenant-a"))

    assert grant.may_write("tenant-a")
    assert grant.may_write("sha256:" + "0" * 64)
    assert not grant.may_write("tenant-b")


@pytest.mark.parametrize(("user", "password"), [("x", "guess"), ("x", ""), ("", "")])
async def test_a_login_that_was_never_minted_is_unknown(user: str, password: str) -> None:
    assert logins().judge(user, password)[0] is Verdict.UNKNOWN


async def test_the_right_password_under_another_name_is_unknown() -> None:
    them = logins()

    assert them.judge("root", them.mint("sp-a", None))[0] is Verdict.UNKNOWN
    assert them.judge("root", them.machine)[0] is Verdict.UNKNOWN


async def test_a_login_ends_with_its_time() -> None:
    them = logins(seconds=0.01)
    password = them.mint("sp-a", None)

    await anyio.sleep(0.03)

    assert them.judge("x", password)[0] is Verdict.EXPIRED


async def test_push_expire_ends_one_login_after_so_many_requests() -> None:
    them = logins(push_expire=2)
    first, second = them.mint("sp-a", None), them.mint("sp-a", None)

    verdicts = [them.judge("x", first)[0] for _ in range(3)]

    assert verdicts == [Verdict.GOOD, Verdict.GOOD, Verdict.EXPIRED]
    assert them.judge("x", second)[0] is Verdict.GOOD


async def test_a_wrong_password_is_minted_but_never_known() -> None:
    them = logins(registry_wrong_password=1)

    assert them.judge("x", them.mint("sp-a", None))[0] is Verdict.UNKNOWN
    assert them.judge("x", them.mint("sp-a", None))[0] is Verdict.GOOD


async def test_an_empty_password_is_handed_out_once() -> None:
    them = logins(token_empty_password=1)

    assert them.mint("sp-a", None) == ""
    assert them.mint("sp-a", None) != ""
