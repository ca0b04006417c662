"""Tasks from a folder of images: splits of its own, and other domains to test on."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from taskhead.method.batches import LabelledImages
from taskhead.method.seeds import stream
from taskhead.tasks.images import class_folders, find_images, image_files, read_images
from taskhead.tasks.storage import file_sha256
from taskhead.tasks.task import Draw, Task, check_enough, set_aside, split


def folder_task(folder: Path, draw: Draw) -> Task:
    """Return a task from a tree of images.

    The tree is `CLASS/*`, or `train/CLASS/*` with or without `test/CLASS/*`; in front of it may
    stand a level of domains, whose classes must agree. Without a folder `test` the test images are
    set aside, the same for every seed. Validation images are always drawn from the training images.
    The other domains become the task's out-of-distribution test sets.

    Raises `ValueError` if the tree has domains and none is chosen, the chosen one is not there,
    classes differ, an image cannot be read, or a class has too few images.
    """
    if not folder.is_dir():
        raise ValueError(f"image folder {folder} does not exist; give a folder of class folders")
    domains = domain_names(folder)
    check_domain(str(folder), draw.domain, domains)
    own = folder if draw.domain is None else folder / draw.domain
    train_folder, test_folder = _part(own, "train") or own, _part(own, "test")
    others = {name: folder / name for name in domains if name != draw.domain}
    tested = [test_folder] if test_folder else []
    tested += [_part(o, "test") or _part(o, "train") or o for o in others.values()]
    pool, *tests = find_images(train_folder, *tested)
    task = task_of_files(pool, draw, test=tests.pop(0) if test_folder else None)
    ood = {name: _read_test(files, draw) for name, files in zip(others, tests, strict=True)}
    return replace(task, ood=ood)


def task_of_files(
    pool: dict[str, list[Path]], draw: Draw, *, test: dict[str, list[Path]] | None = None
) -> Task:
    """Return a task from the image files of each class.

    Without `test` files the test images are set aside, the same for every seed.

    Raises `ValueError` if an image cannot be read, or a class has too few.
    """
    how = {"image_size": draw.image_size, "interpolation": draw.interpolation}
    if test is None:
        for name, files in pool.items():
            check_enough(name, len(files), draw, own_test=False)
        parts = {name: set_aside(len(files), draw) for name, files in pool.items()}
        aside = {name: [pool[name][i] for i in part] for name, (part, _) in parts.items()}
        pool = {name: [pool[name][i] for i in sorted(rest)] for name, (_, rest) in parts.items()}
        tested = read_images(aside, **how)
    else:
        tested = _read_test(test, draw)
    asked, seed = draw.train_per_class + draw.val_per_class, stream(draw.seed, "images")
    data = read_images(pool, per_class=asked, seed=seed, **how)
    return split(data, draw, n_classes=len(pool), names=list(pool), test=tested)


def domain_names(folder: Path) -> list[str]:
    """Return the names of the domain folders in a tree of images; none if it has no domains.

    Folders are domains if each holds two folders or more, and all share the name of one at least.
    """
    children = class_folders(folder)
    inside = [{grandchild.name for grandchild in class_folders(child)} for child in children]
    alike = len(inside) > 1 and set.intersection(*inside) and min(map(len, inside)) > 1
    if not alike or _part(folder, "train") or _part(folder, "test"):
        return []
    return [child.name for child in children]


def check_domain(owner: str, domain: str | None, domains: Sequence[str]) -> None:
    """Raise `ValueError` unless `domain` is one of those of its owner, a setting or a folder.

    It must be None where the owner has no domains.
    """
    if domain is None and not domains:
        return
    if not domains:
        raise ValueError(
            f"{owner} has no domains, got domain {domain!r}; domains are folders of two classes or "
            "more that share a class"
        )
    if domain not in domains:
        given = "none was given" if domain is None else f"got {domain!r}"
        raise ValueError(
            f"{owner} has domains, choose one with domain: {', '.join(domains)}; {given}"
        )


def folder_label(folder: Path) -> str:
    """Return a name for a folder's content: its own name, and a hash of its images.

    The hash covers each image's path below the folder and its content.

    Raises `ValueError` if the folder does not exist, is none, or holds no image.
    """
    if not folder.is_dir():
        raise ValueError(f"data folder {folder} does not exist or is no folder")
    files = image_files(folder)
    if not files:
        raise ValueError(f"data folder {folder} holds no images")
    digest = hashlib.sha256()
    for path in files:
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name} {file_sha256(path) if path.is_file() else ''}\n".encode())
    return f"{folder.resolve().name}-{digest.hexdigest()[:8]}"


def _part(folder: Path, name: str) -> Path | None:
    """Return the folder of a split if there is one; a class may bear the same name."""
    part = folder / name
    return part if part.is_dir() and class_folders(part) else None


def _read_test(files: dict[str, list[Path]], draw: Draw) -> LabelledImages:
    return read_images(
        files,
        image_size=draw.image_size,
        per_class=draw.test_per_class,
        interpolation=draw.interpolation,
    )
