"""The judge itself: what it must see in places where no run ever leaves anything."""

from pathlib import Path

import pytest

from tests.crash.bench import Bench
from tests.crash.check import check
from tests.crash.real import shelved
from tests.crash.site import stand_in_site

pytestmark = [pytest.mark.anyio, pytest.mark.real]


async def test_a_secret_in_a_layer_at_the_registry_is_seen(tmp_path: Path) -> None:
    async with stand_in_site(tmp_path / "site") as site:
        bench = Bench(tmp_path / "bench", site)
        await bench.furnish()
        (bench.project / "login.txt").write_text("FlyV1-not-one-that-the-tool-knows")
        dockerfile = bench.project / ".systemprompt/Dockerfile"
        dockerfile.write_text(f"{dockerfile.read_text()}COPY login.txt /app/\n")

        ended = await bench.run("deploy")

        assert [each.partition(", in sha256:")[0] for each in check(bench, ended)] == [
            "V8 a secret is at the registry"
        ]


def test_a_layer_is_searched_as_it_lies_in_a_real_registry(tmp_path: Path) -> None:
    for place in ("blobs/sha256/ab/abcd", "repositories/app/_uploads/1"):
        (tmp_path / "docker/registry/v2" / place).mkdir(parents=True)
        (tmp_path / "docker/registry/v2" / place / "data").write_bytes(place.encode())

    assert [content() for _, content in shelved(tmp_path)] == [
        b"blobs/sha256/ab/abcd",
        b"repositories/app/_uploads/1",
    ]
