"""What was found in a user's images, and which serve for what."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path

from taskhead.tasks.dividing import Limits, divide, draw_files
from taskhead.tasks.images import side_by_side, why_unreadable
from taskhead.tasks.layout import Files, read_labels, read_layout
from taskhead.tasks.names import few
from taskhead.tasks.storage import file_sha256


@dataclass(frozen=True)
class Found:
    """The images of a source, and which serve for what.

    `splits` holds the image files of each class, in alphabetical order, for "train", "val" and
    "test". `called` is what the source calls the splits that it has; the others were split off
    those for training. `ood` holds the images of other domains, to test on. `n_images` can be read;
    limits may leave some of them out of the splits.

    `passed_over` are files and folders of which nothing is taken: no images, in no class, or left
    by a system. `unreadable` are images that are left out, with the reason. `copies` says for two
    splits of the source how many images of the second are copies, byte for byte, of some of the
    first, and `ambiguous` how many images lie in more than one class.
    """

    root: Path
    splits: dict[str, Files]
    called: dict[str, str]
    ood: dict[str, Files]
    n_images: int
    passed_over: tuple[Path, ...]
    unreadable: dict[Path, str]
    copies: dict[tuple[str, str], int]
    ambiguous: int

    @property
    def classes(self) -> list[str]:
        """Return the names of the classes; labels are their numbers in this order."""
        return list(self.splits["train"])


def find_images(
    folder: Path,
    *,
    labels: Path | None = None,
    domain: str | None = None,
    limits: Limits | None = None,
    seed: int = 0,
    examine: bool = True,
    skip_unreadable: bool = False,
) -> Found:
    """Find the images of a folder and divide them into splits.

    Parameters
    ----------
    folder
        A tree that `read_layout` reads.
    labels
        A CSV file that says what the images in the folder are, for `read_labels`.
    domain
        The domain to learn where the tree has domains.
    limits, seed
        As for `divide`.
    examine
        Decode every image to see whether it can be read, and keep copies in one split. Without it
        images are divided as by `folder_task`.
    skip_unreadable
        Leave out the images that cannot be read.

    Raises
    ------
    ValueError
        If the tree or the file does not say what its images are, some cannot be read, or a class
        has too few.
    """
    if labels and domain:
        raise ValueError(f"the labels of {labels} know no domains, got domain {domain!r}")
    layout = read_labels(labels, folder) if labels else read_layout(folder, domain)
    paths = layout.images
    reasons = zip(paths, side_by_side(why_unreadable, paths), strict=True) if examine else ()
    unreadable = {path: reason for path, reason in reasons if reason}
    if unreadable and not skip_unreadable:
        named = few(f"{path} ({reason})" for path, reason in unreadable.items())
        raise ValueError(
            f"{len(unreadable)} of {len(paths)} images cannot be read; repair or remove them, or "
            f"skip them (skip_unreadable): {named}"
        )
    splits, ood = (
        {place: _readable(place, files, unreadable) for place, files in source.items()}
        for source in (layout.splits, layout.ood)
    )
    readable = [path for path in paths if path not in unreadable]
    contents = dict(zip(readable, side_by_side(_content, readable), strict=True))
    most = dict(limits or {})
    divided = divide(splits, most, seed=seed, contents=contents if examine else None)
    return Found(
        layout.root,
        divided,
        layout.called,
        {name: draw_files(files, most.get("test"), 0) for name, files in ood.items()},
        sum(len(files) for own in splits.values() for files in own.values()),
        layout.passed_over,
        unreadable,
        _copies(splits, contents),
        _ambiguous(splits, contents),
    )


def _readable(place: str, files: Files, unreadable: Mapping[Path, str]) -> Files:
    left = {name: [path for path in own if path not in unreadable] for name, own in files.items()}
    for name, own in left.items():
        if not own:
            raise ValueError(
                f"no image of the class {name} in {place} can be read; remove the class"
            )
    return left


def _content(path: Path) -> str:
    return file_sha256(path) if path.is_file() else f"none at {path}"


def _copies(
    splits: Mapping[str, Files], contents: Mapping[Path, str]
) -> dict[tuple[str, str], int]:
    """Return how many images of one split are copies of some in an earlier one."""
    inside = {split: [contents[p] for p in chain(*own.values())] for split, own in splits.items()}
    counts = {
        (one, other): sum(map(set(inside[one]).__contains__, inside[other]))
        for one, other in combinations(inside, 2)
    }
    return {pair: count for pair, count in counts.items() if count}


def _ambiguous(splits: Mapping[str, Files], contents: Mapping[Path, str]) -> int:
    classes: dict[str, set[str]] = {}
    for files in splits.values():
        for name, paths in files.items():
            for path in paths:
                classes.setdefault(contents[path], set()).add(name)
    return sum(len(names) > 1 for names in classes.values())
