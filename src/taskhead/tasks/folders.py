"""Tasks from a folder of images: splits of its own, and other domains to test on."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from taskhead.tasks.dividing import divide, draw_files
from taskhead.tasks.images import read_images
from taskhead.tasks.layout import Files, read_layout
from taskhead.tasks.names import printable
from taskhead.tasks.storage import file_sha256
from taskhead.tasks.task import Draw, Task
from taskhead.tasks.tree import walk


def folder_task(folder: Path, draw: Draw) -> Task:
    """Return a task from images drawn from a tree, which is read as by `read_layout`.

    The other domains become the task's out-of-distribution test sets.

    Raises `ValueError` if the tree does not say what its images are, an image cannot be read, or a
    class has too few.
    """
    layout = read_layout(folder, draw.domain)
    return task_of_files(layout.splits, draw, ood=layout.ood)


def task_of_files(
    splits: Mapping[str, Files], draw: Draw, *, ood: Mapping[str, Files] | None = None
) -> Task:
    """Return a task from images drawn from those of each split, as by `divide`.

    `ood` are those of other domains.

    Raises `ValueError` if an image cannot be read, or a class has too few.
    """
    return load_task(
        divide(splits, draw.limits, seed=draw.seed),
        {name: draw_files(files, draw.test_per_class, 0) for name, files in (ood or {}).items()},
        image_size=draw.image_size,
        interpolation=draw.interpolation,
    )


def load_task(
    splits: Mapping[str, Files],
    ood: Mapping[str, Files],
    *,
    image_size: int | None,
    interpolation: str = "bilinear",
    memory: int | None = None,
) -> Task:
    """Read the images of the splits train, val and test, and those of other domains.

    They stay on disk if they take more than `memory` bytes; None takes half of what is free. For
    the other parameters and the errors see `read_images`.
    """
    every = [*splits.values(), *ood.values()]
    count = sum(len(paths) for files in every for paths in files.values())
    on_disk = None if memory is None else count * 3 * (image_size or 0) ** 2 > memory
    read = partial(read_images, image_size=image_size, interpolation=interpolation, on_disk=on_disk)
    train, val, test = (read(splits[split]) for split in ("train", "val", "test"))
    others = {name: read(files) for name, files in ood.items()}
    return Task(train, val, test, len(splits["train"]), others)


def check_domain(owner: str, domain: str | None, domains: Sequence[str]) -> None:
    """Raise `ValueError` unless `domain` is one of those of its owner, a setting.

    It must be None where the owner has no domains.
    """
    if domain is None and not domains:
        return
    if not domains:
        raise ValueError(f"{owner} has no domains, got domain {domain!r}; leave it out")
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
    images = walk(folder).images
    if not images:
        raise ValueError(f"data folder {folder} holds no images")
    digest = hashlib.sha256()
    for path in images:
        name = os.fsencode(path.relative_to(folder).as_posix())
        digest.update(name + f" {file_sha256(path) if path.is_file() else ''}\n".encode())
    return f"{printable(folder.resolve().name)}-{digest.hexdigest()[:8]}"
