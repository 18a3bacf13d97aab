"""The small files that may be lost: half-written ones go, and so do too many."""

import os
from pathlib import Path

from deployer.adapters.docker.known_images import KnownImages
from deployer.names import ImageId
from tests.fakes.neighbours import sha

IMAGE = ImageId(sha("image"))


def aged(path: Path, seconds: float) -> Path:
    path.touch()
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))
    return path


def test_what_a_killed_writer_has_left_goes_with_the_next_fact(tmp_path: Path) -> None:
    known = KnownImages(tmp_path)
    known.keep_loaded(Path("/a"), IMAGE)
    left = aged(tmp_path / "loaded" / "tmpdead.part", 3600)
    written_now = aged(tmp_path / "loaded" / "tmplive.part", 0)

    known.keep_loaded(Path("/b"), IMAGE)

    assert (left.exists(), written_now.exists()) == (False, True)
    assert known.loaded(Path("/a")) == known.loaded(Path("/b")) == IMAGE


def test_of_too_many_the_ones_that_nobody_used_go(tmp_path: Path) -> None:
    known = KnownImages(tmp_path)
    known.keep_loaded(Path("/a"), IMAGE)
    old = [aged(tmp_path / "loaded" / f"old{number}.json", 3600) for number in range(500)]

    known.keep_loaded(Path("/b"), IMAGE)

    assert sum(path.exists() for path in old) == 248
    assert known.loaded(Path("/a")) == known.loaded(Path("/b")) == IMAGE


def test_nothing_is_kept_where_no_deploy_has_made_the_state_directory(tmp_path: Path) -> None:
    known = KnownImages(tmp_path / "state" / "images")

    known.keep_loaded(Path("/a"), IMAGE)
    left = list(tmp_path.iterdir())
    (tmp_path / "state").mkdir()
    known.keep_loaded(Path("/a"), IMAGE)

    assert left == []
    assert known.loaded(Path("/a")) == IMAGE
