"""The data folder and its lock, files written whole, and folders that cannot take any."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from taskhead.tasks.storage import check_writable, data_root, one_process, write_whole


def fail(*_: object) -> None:
    raise OSError("the disk is full")


def test_data_root_is_the_one_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("TASKHEAD_DATA")
    assert data_root().name == "taskhead"


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that cannot be written to, by root neither."""
    if os.geteuid() == 0:
        yield Path("/sys") if Path("/sys").is_dir() else pytest.skip("root may write everywhere")
    else:
        tmp_path.chmod(0o555)
        yield tmp_path
        tmp_path.chmod(0o755)


def test_folder_that_can_be_written_to_is_made_and_left_empty(tmp_path: Path):
    check_writable(tmp_path / "new" / "folder", 10)
    assert not list((tmp_path / "new" / "folder").iterdir())


def test_read_only_folder_is_named(read_only: Path):
    for folder in (read_only, read_only / "new"):
        with pytest.raises(ValueError, match=str(folder)):
            check_writable(folder)
    assert not (read_only / "new").exists()


def test_disk_that_fills_up_is_named_and_the_folder_not_made(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ValueError, match=str(tmp_path / "new" / "folder")):
        check_writable(tmp_path / "new" / "folder")
    assert not list(tmp_path.iterdir())


def test_folder_with_too_little_space_is_named_with_what_is_needed(tmp_path: Path):
    with pytest.raises(ValueError, match=rf"{tmp_path / 'new'}.*{2**80:,}"):
        check_writable(tmp_path / "new", 2**80)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("below", ["", "folder", "some/folder"])
def test_file_in_the_way_of_a_folder_is_named(tmp_path: Path, below: str):
    file = tmp_path / "notes"
    file.write_text("notes")
    with pytest.raises(ValueError, match=f"{file} "):
        check_writable(file / below)
    assert file.read_text() == "notes"


def test_failure_keeps_a_folder_that_was_there(tmp_path: Path, monkeypatch):
    (tmp_path / "old").mkdir()
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ValueError, match="old"):
        check_writable(tmp_path / "old" / "new")
    assert list(tmp_path.iterdir()) == [tmp_path / "old"]


def test_data_folder_is_named_with_the_variable_that_sets_it(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path / "file"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file.*TASKHEAD_DATA"):
        check_writable(data_root() / "weights")
    with pytest.raises(ValueError, match=r"file.*TASKHEAD_DATA"), one_process("cifar10"):
        pass


def test_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch):
    path = tmp_path / "a.txt"
    write_whole(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="full"):
            write_whole(path, b"new")
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == {path: b"old"}
    write_whole(path, b"new")
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == {path: b"new"}


def test_read_only_data_folder_is_taken_to_be_complete(read_only: Path, monkeypatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(read_only))
    with one_process("cifar10"):
        assert not (read_only / "cifar10.lock").exists()


def test_folder_without_room_for_a_lock_is_taken_to_be_complete(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    (tmp_path / "cifar10.lock").mkdir()
    entered = False
    with one_process("cifar10"):
        entered = True
    assert entered


def test_errors_inside_the_lock_come_through(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    with pytest.raises(OSError, match="full"), one_process("cifar10"):
        fail()


def test_one_waits_for_the_other(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path))
    order = []

    def second() -> None:
        with one_process("cifar10"):
            order.append("second")

    thread = Thread(target=second)
    with one_process("cifar10"):
        thread.start()
        thread.join(timeout=0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
