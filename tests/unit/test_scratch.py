"""Temporary files without a name."""

import tempfile
from pathlib import Path

import pytest

from deployer.adapters.scratch import scratch_file


def test_nothing_is_seen_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = tmp_path.stat().st_mtime_ns

    with scratch_file() as file:
        file.write(b"content")
        file.seek(0)

        assert file.read() == b"content"
        assert list(tmp_path.iterdir()) == []
    assert tmp_path.stat().st_mtime_ns == before


def test_no_folder_is_tried_by_writing_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # as in a new process

    scratch_file().close()

    assert tempfile.tempdir is None


def test_it_lies_where_the_first_variable_that_names_a_folder_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    monkeypatch.setenv("TEMP", "")
    monkeypatch.setenv("TMP", str(tmp_path))

    with scratch_file() as file:
        assert Path(f"/proc/self/fd/{file.fileno()}").readlink().parent == tmp_path
