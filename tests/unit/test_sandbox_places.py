import os
from pathlib import Path

import anyio
import pytest

from deployer.sandbox.making import making
from deployer.sandbox.places import SOCKET_PATH_MAX, cache_root, owned, socket_folder
from deployer.sandbox.refusal import Refused


def test_a_folder_has_one_sandbox_at_a_time(tmp_path: Path) -> None:
    with (
        owned(tmp_path / "up"),
        pytest.raises(Refused, match="Another sandbox"),
        owned(tmp_path / "up"),
    ):
        pass

    with owned(tmp_path / "up"):
        pass  # it is free again


def test_the_refusal_names_the_process_that_has_the_folder(tmp_path: Path) -> None:
    with owned(tmp_path), pytest.raises(Refused, match=r"process \d+"), owned(tmp_path):
        pass


def test_sockets_lie_in_the_folder_if_its_path_is_short(tmp_path: Path) -> None:
    with socket_folder(Path("/tmp/up")) as place:
        assert place == Path("/tmp/up")


def test_sockets_of_a_deep_folder_lie_in_a_short_one_which_goes_away() -> None:
    with socket_folder(Path("/deep" * 30)) as place:
        assert len(bytes(place / "engine.sock")) < SOCKET_PATH_MAX
    assert not place.exists()


@pytest.mark.anyio
async def test_one_maker_at_a_time_and_the_others_find_it_made(tmp_path: Path) -> None:
    target, made = tmp_path / "thing", []

    async def make() -> None:
        async with making(target) as folder:
            if folder is not None:
                await anyio.sleep(0.05)
                (folder / "new").touch()
                (folder / "new").rename(target)
            made.append(folder is not None)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(make)

    assert sorted(made) == [False, False, True]


@pytest.mark.anyio
async def test_what_a_killed_maker_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "thing.new").mkdir()
    (tmp_path / "thing.new" / "half").touch()

    async with making(tmp_path / "thing") as folder:
        assert folder is not None
        assert os.listdir(folder) == []  # noqa: PTH208

    assert not folder.exists()


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/deployer/sandbox"),
        ({"HOME": "/h"}, "/h/.cache/deployer/sandbox"),
    ],
)
def test_downloads_go_where_the_user_keeps_caches(environ: dict[str, str], root: str) -> None:
    assert cache_root(environ) == Path(root)
