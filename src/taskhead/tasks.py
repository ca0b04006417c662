"""Downstream tasks: seeded splits of a data set or a folder, and other domains to test on."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from taskhead.checks import check_choice
from taskhead.data import LabelledImages, Task, load_digits, split
from taskhead.images import check_same_classes, class_folders, load_dataset, load_image_folder

NO_DOMAIN = "-"


@dataclass(frozen=True)
class Draw:
    """Which images a task takes.

    `seed` draws `train_per_class` and `val_per_class` images of every class, and the test images
    where the data has no test split of its own. `test_per_class` limits the test images, and those
    of other domains; 0 takes all. `domain` is the target domain, "-" where there are none.
    """

    seed: int
    image_size: int
    train_per_class: int
    val_per_class: int
    test_per_class: int = 0
    domain: str = NO_DOMAIN


def digits_task(draw: Draw, *, classes: range) -> Task:
    """Return the task of telling the given handwritten digits apart, 8 x 8 pixels.

    Raises
    ------
    ValueError
        If another image size is asked for or a class has too few images.
    """
    if draw.image_size != 8:
        raise ValueError(f"image_size of the handwritten digits must be 8, got {draw.image_size}")
    return split(
        load_digits(classes),
        n_classes=len(classes),
        train_per_class=draw.train_per_class,
        val_per_class=draw.val_per_class,
        test_per_class=draw.test_per_class,
        seed=draw.seed,
    )


def dataset_task(name: str, draw: Draw) -> Task:
    """Return a task from a data set of `images.DATASETS`: its training split is drawn from.

    Raises
    ------
    ValueError
        If the data cannot be read or a class has too few images.
    """
    per_class = draw.train_per_class + draw.val_per_class
    pool, names = load_dataset(
        name, train=True, image_size=draw.image_size, per_class=per_class, seed=draw.seed
    )
    test, _ = load_dataset(
        name, train=False, image_size=draw.image_size, per_class=draw.test_per_class or None
    )
    return split(
        pool,
        n_classes=len(names),
        names=names,
        train_per_class=draw.train_per_class,
        val_per_class=draw.val_per_class,
        test=test,
        seed=draw.seed,
    )


def folder_task(folder: Path, draw: Draw) -> Task:
    """Return a task from a tree of images.

    The tree is `CLASS/*`, or `train/CLASS/*` with or without `test/CLASS/*`; in front of it may
    stand a level of domains, whose classes must agree. Without a folder `test` the test images are
    split off by the seed. Validation images are always drawn from the training images. The other
    domains become the task's out-of-distribution test sets.

    Raises
    ------
    ValueError
        If the tree has domains and none is chosen, the chosen one is not there, classes differ, an
        image cannot be read, or a class has too few images.
    """
    if not folder.is_dir():
        raise ValueError(f"image folder {folder} does not exist; give a folder of class folders")
    domains = domain_names(folder)
    check_choice(f"domain of {folder}", draw.domain, domains)
    own = folder if draw.domain == NO_DOMAIN else folder / draw.domain
    train_folder, test_folder = _train_folder(own), _test_folder(own)
    n_drawn = draw.train_per_class + draw.val_per_class
    if test_folder == train_folder:
        test = None
        n_drawn = n_drawn + draw.test_per_class if draw.test_per_class else None
    else:
        check_same_classes(train_folder, test_folder)
        test = _read_test(test_folder, draw)
    pool, names = load_image_folder(
        train_folder, image_size=draw.image_size, per_class=n_drawn, seed=draw.seed
    )
    others = [_test_folder(folder / name) for name in domains if name != draw.domain]
    for other in others:
        check_same_classes(train_folder, other)
    task = split(
        pool,
        n_classes=len(names),
        names=names,
        train_per_class=draw.train_per_class,
        val_per_class=draw.val_per_class,
        test_per_class=draw.test_per_class,
        test=test,
        seed=draw.seed,
    )
    for name, other in zip([d for d in domains if d != draw.domain], others, strict=True):
        task.ood[name] = _read_test(other, draw)
    return task


def domain_names(folder: Path) -> list[str]:
    """Return the names of the domain folders in a tree of images; ["-"] if it has no domains.

    Folders are domains if each holds two folders or more, and all share the name of one at least.
    """
    children = class_folders(folder)
    inside = [{grandchild.name for grandchild in class_folders(child)} for child in children]
    alike = len(inside) > 1 and set.intersection(*inside) and min(map(len, inside)) > 1
    if not alike or {"train", "test"} & {child.name for child in children}:
        return [NO_DOMAIN]
    return [child.name for child in children]


def folder_label(folder: Path) -> str:
    """Return a name for a folder's content: its own name, and a hash of its files.

    The hash covers each file's name, its size and its first 4,096 bytes.

    Raises
    ------
    ValueError
        If the folder does not exist.
    """
    if not folder.is_dir():
        raise ValueError(f"data folder {folder} does not exist")
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(4096))
    return f"{folder.resolve().name}-{digest.hexdigest()[:8]}"


def _train_folder(folder: Path) -> Path:
    return folder / "train" if (folder / "train").is_dir() else folder


def _test_folder(folder: Path) -> Path:
    return folder / "test" if (folder / "test").is_dir() else _train_folder(folder)


def _read_test(folder: Path, draw: Draw) -> LabelledImages:
    per_class = draw.test_per_class or None
    return load_image_folder(folder, image_size=draw.image_size, per_class=per_class)[0]
