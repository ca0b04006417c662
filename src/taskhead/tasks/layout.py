"""Which images a tree of folders holds, by split and class."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taskhead.tasks.levels import (
    HERE,
    SPLITS,
    choose_domain,
    domains_in,
    without_splits,
    wrapper,
)
from taskhead.tasks.rows import read_rows
from taskhead.tasks.tree import EXTENSIONS, Parts, check_links, in_order, walk

Files = dict[str, list[Path]]  # the image files of each class


@dataclass(frozen=True)
class Layout:
    """The images of a source by split and class, before any are set aside.

    `splits` holds "train", and "val" and "test" where the source has them; `called` is what it
    calls each. `ood` holds the test images of other domains, or all of theirs. `root` is the
    folder, or the only one in it. Of `passed_over` nothing is taken.
    """

    root: Path
    splits: dict[str, Files]
    called: dict[str, str]
    ood: dict[str, Files] = field(default_factory=dict)
    passed_over: tuple[Path, ...] = ()

    @property
    def images(self) -> list[Path]:
        """Return all image files."""
        every = (*self.splits.values(), *self.ood.values())
        return [path for files in every for paths in files.values() for path in paths]


def read_layout(folder: Path, domain: str | None = None) -> Layout:
    """Return what a tree of images holds.

    The tree is `CLASS/*`, with any folders below a class. A level of splits may stand above the
    classes or in each of them: train or training; val, valid, validation or dev; test or testing.
    A level of domains may stand above the classes; `domain` is the one to learn, and "." says that
    folders which look like domains are the classes. A folder that is alone in the given one is
    taken in its place.

    Raises `ValueError` if there is no such folder, it can be read in two ways, the domain is not
    there, classes are fewer than two, empty, or not the same in all splits and domains, or a folder
    or link cannot be followed.
    """
    tree = walk(folder)
    top = wrapper(tree.folders)
    root, depth = folder.joinpath(*top), len(top)
    folders = {p[depth:]: images for p, images in tree.folders.items() if p[:depth] == top}
    places, called = without_splits(root, folders)
    learnt = choose_domain(root, domain, domains_in(folders, places))
    above = int(learnt != HERE)  # levels above the classes
    grouped: dict[tuple[str, str], dict[str, list[Parts]]] = {}
    for parts, place in places.items():
        if len(place.parts) > above:
            owner, name = place.parts[0] if above else HERE, place.parts[above]
            grouped.setdefault((owner, place.split), {}).setdefault(name, []).append(parts)
    classes = {p: name for own in grouped.values() for name, parts in own.items() for p in parts}
    check_links(tree, {(*top, *parts): name for parts, name in classes.items()})
    files = {
        key: {name: in_order(f for p in own[name] for f in folders[p]) for name in sorted(own)}
        for key, own in grouped.items()
    }
    named = {key: root / key[0] / called.get(key[1], HERE) for key in [(learnt, "train"), *files]}
    check_classes({str(named[key]): files.get(key, {}) for key in named})
    ood = {
        other: next(files[other, s] for s in reversed(SPLITS) if (other, s) in files)
        for other in sorted({owner for owner, _ in files} - {learnt})
    }
    aside = [root.joinpath(*p) for p in folders if p and folders[p] and p not in classes]
    return Layout(
        root,
        {split: files[learnt, split] for split in SPLITS if (learnt, split) in files},
        called,
        ood,
        (*tree.passed_over, *aside, *folders[()]),
    )


def read_labels(file: Path, folder: Path) -> Layout:
    """Return the images that a CSV file names, with the columns path and label, perhaps split.

    Paths lead from `folder`. All labels are text, and a split is called as a folder may be.

    Raises `ValueError` if the file cannot be read or lacks a column, a value is empty, an image is
    named twice, or classes are fewer than two or not the same in all splits.
    """
    splits: dict[str, Files] = {}
    seen: dict[Path, str] = {}
    for row in read_rows(file, "path", SPLITS):
        path, label = folder / row["path"], row["label"]
        if path in seen:
            raise ValueError(f"{file} names {row['path']} twice, as {seen[path]!r} and {label!r}")
        seen[path] = label
        splits.setdefault(row["split"], {}).setdefault(label, []).append(path)
    splits = {s: dict(sorted(splits[s].items())) for s in SPLITS if s in splits}
    check_classes({f"{file}, split {s}": splits.get(s, {}) for s in ["train", *splits]})
    return Layout(folder, splits, {s: s for s in splits if len(splits) > 1})


def check_classes(found: Mapping[str, Files]) -> None:
    """Raise `ValueError` unless all hold the same classes, two or more, and none is empty.

    The keys say where the classes were found.
    """
    first, *_ = found
    if len(found[first]) < 2:
        names = ", ".join(found[first]) or "none"
        raise ValueError(
            f"{first} has fewer than two classes: {names}; put the images of each class into a "
            "folder there, or give a CSV file of labels"
        )
    for where, files in found.items():
        if files.keys() != found[first].keys():
            raise ValueError(
                f"classes differ: only in {first}: {sorted(found[first].keys() - files)}, "
                f"only in {where}: {sorted(files.keys() - found[first])}"
            )
    for where, files in found.items():
        for name in files:
            if not files[name]:
                raise ValueError(
                    f"class folder {name} in {where} holds no image ({' '.join(EXTENSIONS)})"
                )
