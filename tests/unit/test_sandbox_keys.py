from deployer.sandbox.keys import Keys, Reserved


def test_a_new_key_is_reserved_before_the_work() -> None:
    keys = Keys()

    assert keys.reserve("t", "k", b"body") is Reserved.NEW
    assert keys.reserve("t", "k", b"body") is Reserved.IN_PROGRESS


def test_a_stored_answer_is_given_again() -> None:
    keys = Keys()
    keys.reserve("t", "k", b"body")

    keys.store("t", "k", {"status": "deployed"})

    assert keys.reserve("t", "k", b"body") == {"status": "deployed"}


def test_a_key_with_another_body_is_refused() -> None:
    keys = Keys()
    keys.reserve("t", "k", b"body")
    keys.store("t", "k", {})

    assert keys.reserve("t", "k", b"other") is Reserved.OTHER_BODY


def test_a_released_key_may_try_again() -> None:
    keys = Keys()
    keys.reserve("t", "k", b"body")

    keys.release("t", "k")

    assert keys.reserve("t", "k", b"body") is Reserved.NEW


def test_tenants_do_not_share_keys() -> None:
    keys = Keys()
    keys.reserve("t", "k", b"body")

    assert keys.reserve("u", "k", b"body") is Reserved.NEW
