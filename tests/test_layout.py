"""What a tree of folders means: splits, domains, classes, and what is passed over."""

from pathlib import Path

import pytest
from PIL import Image

from taskhead.tasks.layout import Layout, read_labels, read_layout

A, B = "cat", "dog"


def tree(root: Path, *folders: str, count: int = 2) -> Path:
    """Write some images into each folder."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.new("L", (8, 8)).save(root / folder / f"{number}.png")
    return root


def held(layout: Layout) -> dict[str, dict[str, list[str]]]:
    """Return the images of each split and class, as paths below the root."""
    return {
        split: {
            name: [path.relative_to(layout.root).as_posix() for path in paths]
            for name, paths in files.items()
        }
        for split, files in layout.splits.items()
    }


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("val", ["val", "valid", "Validation", "DEV"])
@pytest.mark.parametrize("test", ["test", "Testing"])
def test_splits_are_known_by_their_names_in_any_case(tmp_path: Path, train, val, test):
    tree(tmp_path, *(f"{split}/{name}" for split in (train, val, test) for name in (A, B)), count=1)
    layout = read_layout(tmp_path)
    assert held(layout) == {
        split: {name: [f"{own}/{name}/0.png"] for name in (A, B)}
        for split, own in (("train", train), ("val", val), ("test", test))
    }
    assert layout.called == {"train": train, "val": val, "test": test}


@pytest.mark.parametrize("split", ["val", "dev", "test"])
def test_split_beside_the_classes_is_no_class(tmp_path: Path, split: str):
    layout = read_layout(tree(tmp_path, A, B, f"{split}/{A}", f"{split}/{B}"))
    assert len(layout.splits) == 2
    assert all(list(files) == [A, B] for files in layout.splits.values())


def test_splits_inside_the_classes(tmp_path: Path):
    layout = read_layout(tree(tmp_path, "cat/train", "cat/val", "dog/train", "dog/val", count=1))
    assert held(layout)["val"] == {A: ["cat/val/0.png"], B: ["dog/val/0.png"]}
    assert list(layout.splits) == ["train", "val"]


@pytest.mark.parametrize("order", ["{domain}/{split}/{name}", "{split}/{domain}/{name}"])
def test_splits_below_and_above_domains(tmp_path: Path, order: str):
    names = [
        order.format(domain=domain, split=split, name=name)
        for domain in ("ink", "oil")
        for split in ("train", "test")
        for name in (A, B)
    ]
    layout = read_layout(tree(tmp_path, *names, count=1), "oil")
    assert list(layout.splits) == ["train", "test"]
    assert all(list(files) == [A, B] for files in layout.splits.values())
    tested = [order.format(domain="ink", split="test", name=name) + "/0.png" for name in (A, B)]
    assert [path.relative_to(tmp_path).as_posix() for path in layout.images[-2:]] == tested


def test_split_names_win_over_domains(tmp_path: Path):
    layout = read_layout(tree(tmp_path, "training/cat", "training/dog", "dev/cat", "dev/dog"))
    assert list(layout.splits) == ["train", "val"]


def test_two_readings_are_shown_and_one_is_chosen(tmp_path: Path):
    tree(tmp_path, *(f"{name}/video{number}" for name in (A, B) for number in (1, 2)), count=1)
    with pytest.raises(ValueError, match=r"two ways.*cat, dog.*video1, video2.*'\.'") as caught:
        read_layout(tmp_path)
    assert "\n" not in str(caught.value)
    as_classes = held(read_layout(tmp_path, "."))
    assert as_classes["train"] == {
        name: [f"{name}/video{number}/0.png" for number in (1, 2)] for name in (A, B)
    }
    as_domain = read_layout(tmp_path, "dog")
    assert list(as_domain.splits["train"]) == ["video1", "video2"]
    assert list(as_domain.ood) == ["cat"]


@pytest.mark.parametrize(
    ("folders", "decided"),
    [
        (["cat/images", "dog/images"], True),
        (["cat/a", "cat/b", "dog/c", "dog/d"], True),
        (["cat/a", "cat/b", "dog/a"], False),
        (["cat/a", "cat/b", "dog/a", "dog/b", "dog"], False),
    ],
)
def test_folders_in_classes_are_domains_only_where_names_agree(tmp_path: Path, folders, decided):
    tree(tmp_path, *folders)
    assert list(read_layout(tmp_path, ".").splits["train"]) == [A, B]
    if decided:
        assert held(read_layout(tmp_path)) == held(read_layout(tmp_path, "."))
    else:
        with pytest.raises(ValueError, match="two ways"):
            read_layout(tmp_path)


def test_folders_beside_images_of_every_class_are_no_domains(tmp_path: Path):
    tree(tmp_path, A, B, "cat/front", "cat/back", "dog/front", "dog/back")
    assert {k: len(v) for k, v in read_layout(tmp_path).splits["train"].items()} == {A: 6, B: 6}


def test_one_folder_around_all_is_opened(tmp_path: Path):
    tree(tmp_path, "pets/all/cat", "pets/all/dog", "__MACOSX/pets")
    layout = read_layout(tmp_path)
    assert layout.root == tmp_path / "pets" / "all"
    assert list(layout.splits["train"]) == [A, B]
    assert layout.passed_over == (tmp_path / "__MACOSX",)


@pytest.mark.parametrize(
    "left",
    [
        "__MACOSX/cat/._0.png",
        "cat/@eaDir/0.png/SYNOPHOTO_THUMB_M.png",
        "cat/.@__thumb/0.png",
        "#recycle/0.png",
        "$RECYCLE.BIN/0.png",
        "System Volume Information/0.png",
        "lost+found/0.png",
        ".ipynb_checkpoints/0.png",
        "cat/._0.png",
        "cat/Thumbs.db",
        ".DS_Store",
        "cat/desktop.ini",
    ],
)
def test_what_systems_leave_is_passed_over(tmp_path: Path, left: str):
    tree(tmp_path, A, B)
    (tmp_path / left).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / left).write_bytes(b"\0\5\x16\7")
    layout = read_layout(tmp_path)
    assert [len(files) for files in layout.splits["train"].values()] == [2, 2]
    (passed,) = layout.passed_over
    assert (tmp_path / left).is_relative_to(passed)


def test_what_is_in_no_class_is_passed_over_by_name(tmp_path: Path):
    tree(tmp_path, "train/cat", "train/dog", "extra/cat", "test", "train", count=1)
    (tmp_path / "read.me").write_text("")
    layout = read_layout(tmp_path)
    assert list(layout.splits) == ["train"]
    assert {path.relative_to(tmp_path).as_posix() for path in layout.passed_over} == {
        "extra/cat",
        "test",
        "train",
        "read.me",
    }


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["val/cat", "val/dog"], r"fewer than two classes"),
        (["train/cat", "train/dog", "val/cat", "val/dog", "dev/cat", "dev/dog"], "dev and val"),
        (["Train/cat", "Train/dog", "train/cat", "train/dog"], "Train and train"),
        (["train", "test"], "no class folders"),
        (["cat"], "fewer than two classes: cat"),
        (["train/cat", "train/dog", "test/cat"], r"classes differ.*\['dog'\]"),
    ],
)
def test_tree_that_does_not_say_what_it_is_ends_in_one_line(tmp_path: Path, folders, message):
    tree(tmp_path, *folders)
    with pytest.raises(ValueError, match=message) as caught:
        read_layout(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [("007", "1e3"), ("NA", "null"), ("a b", "on"), ("ä", "ß ")])
def test_class_names_stay_text(tmp_path: Path, names: tuple[str, str]):
    assert list(read_layout(tree(tmp_path, *names)).splits["train"]) == sorted(names)
    rows = [f"{name}/0.png,{name}" for name in names]
    file = tmp_path / "labels.csv"
    file.write_text("\n".join(["path,label", *rows]))
    assert list(read_labels(file, tmp_path).splits["train"]) == sorted(names)


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_labels_of_a_file_stand_in_place_of_folders(tmp_path: Path, mark: str):
    tree(tmp_path, "all", count=6)
    rows = [
        ("path", "label", "split"),
        *((f"all/{n}.png", "1" if n % 2 == 0 else "01", "" if n > 1 else "Dev") for n in range(6)),
    ]
    (tmp_path / "labels.csv").write_text("\n".join(mark.join(row) for row in rows))
    layout = read_labels(tmp_path / "labels.csv", tmp_path)
    assert held(layout) == {
        "train": {"01": ["all/3.png", "all/5.png"], "1": ["all/2.png", "all/4.png"]},
        "val": {"01": ["all/1.png"], "1": ["all/0.png"]},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,x", "no column 'path'"),
        ("path,label\na.png,x\na.png,y", "a.png twice"),
        ("path,label\na.png,x\nb.png,", "row 2 has the label ''"),
        ("path,label\na.png,x\nb.png,x", "fewer than two classes"),
        ("path,label,split\na.png,x,holdout\nb.png,y,", "split 'holdout'"),
        ("path,label,split\na.png,x,\nb.png,y,\nc.png,x,test", r"classes differ.*\['y'\]"),
    ],
)
def test_labels_that_do_not_fit_are_named(tmp_path: Path, text: str, message: str):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_labels(tmp_path / "labels.csv", tmp_path)
    assert "labels.csv" in str(caught.value)
