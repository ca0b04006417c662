"""Links in image folders: followed where they lead out, refused where they mix classes."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from conftest import CLASS_COLOURS, write_tree

from taskhead.tasks.folders import folder_label, folder_task
from taskhead.tasks.images import load_image_folder
from taskhead.tasks.task import Draw

DRAW = Draw(seed=0, image_size=16, train_per_class=2, val_per_class=2)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "plain", per_class=7)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("dog/loop", ""),
        ("dog/loop", ".."),
        ("dog/loop", "dog"),
        ("dog/deep/loop", "dog/deep"),
        ("dog/more", "cat"),
        ("dog/more", "elk"),
        ("fox", "dog"),
        ("ant", "dog/deep"),
        ("ant", ".."),
    ],
)
def test_link_to_a_folder_of_the_tree_is_refused_by_name(plain: Path, link: str, target: str):
    (plain / "dog" / "deep").mkdir()
    shutil.copy(plain / "dog" / "0.png", plain / "dog" / "deep" / "more.png")
    (plain / link).symlink_to(plain / target)
    named = f"{re.escape(str(plain / link))} .*{re.escape(str((plain / target).resolve()))}"
    for use in (lambda: load_image_folder(plain, image_size=16), lambda: folder_label(plain)):
        with pytest.raises(ValueError, match=named):
            use()


def test_folder_outside_that_leads_back_into_the_tree_is_refused_by_name(
    plain: Path, tmp_path: Path
):
    outside = write_tree(tmp_path / "outside", per_class=1) / "cat"
    (outside / "back").symlink_to(plain)
    (plain / "fox").symlink_to(outside)
    for use in (lambda: load_image_folder(plain, image_size=16), lambda: folder_label(plain)):
        with pytest.raises(ValueError, match=re.escape(str(plain / "fox" / "back"))):
            use()


def test_link_to_an_image_of_another_class_is_refused_by_name(plain: Path, tmp_path: Path):
    elsewhere = (plain / "cat" / "1.png").rename(tmp_path / "1.png")
    (plain / "cat" / "1.png").symlink_to(elsewhere)
    for image in ("0.png", "1.png"):
        link = plain / "dog" / "link.png"
        link.symlink_to(plain / "cat" / image)
        named = f"{re.escape(str(link))} .*{re.escape(str(plain / 'cat' / image))}"
        with pytest.raises(ValueError, match=named):
            folder_task(plain, DRAW)
        link.unlink()


def test_links_to_one_image_elsewhere_are_followed_in_every_class(plain: Path, tmp_path: Path):
    shutil.copy(plain / "dog" / "0.png", tmp_path / "both.png")
    for name in ("cat", "dog"):
        (plain / name / "both.png").symlink_to(tmp_path / "both.png")
    counts = torch.bincount(load_image_folder(plain, image_size=16)[0].labels)
    assert counts.tolist() == [8, 8, 7]


def test_links_that_lead_nowhere_and_are_no_images_are_passed_over(plain: Path):
    before = folder_label(plain)
    (plain / "dog" / "notes").symlink_to("notes")
    assert folder_label(plain) == before
    assert len(load_image_folder(plain, image_size=16)[0]) == 21


def test_links_to_images_and_classes_elsewhere_are_followed(plain: Path, tmp_path: Path):
    linked = tmp_path / "linked"
    for name in CLASS_COLOURS:
        (linked / name).mkdir(parents=True)
        for image in (plain / name).iterdir():
            (linked / name / image.name).symlink_to(image)
    ours, theirs = (load_image_folder(folder, image_size=16)[0] for folder in (linked, plain))
    assert torch.equal(ours.images, theirs.images)
