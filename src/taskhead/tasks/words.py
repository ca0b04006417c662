"""What was found in a user's images, in plain lines."""

from collections import Counter
from collections.abc import Iterator

from taskhead.tasks.found import Found
from taskhead.tasks.layout import Files
from taskhead.tasks.levels import SPLITS
from taskhead.tasks.names import few, printable

_MANY = 20  # classes, of which only the smallest are listed
_SMALLEST = 5
_PURPOSES = dict(zip(SPLITS, ("training", "validation", "testing"), strict=True))


def describe(found: Found) -> Iterator[str]:
    """Yield in lines which images serve for what, the classes, and what a user should know."""
    root = printable(str(found.root))
    counts = {split: _count(files) for split, files in found.splits.items()}
    used = sum(counts.values())
    said = ", ".join(
        f"{counts[split]} for {purpose}{_whence(found, split)}"
        for split, purpose in _PURPOSES.items()
    )
    of = "" if used == found.n_images else f" of {found.n_images}"
    yield f"{used}{of} images of {len(found.classes)} classes in {root}: {said}"
    yield _classes(found)
    if found.ood:
        domains = (f"{printable(name)} ({_count(files)})" for name, files in found.ood.items())
        yield f"other domains, to test on: {', '.join(domains)}"
    if found.passed_over:
        names = Counter(printable(path.name) for path in found.passed_over)
        said = (name if count == 1 else f"{count} x {name}" for name, count in names.items())
        yield f"passed over: {few(said)}"
    if found.unreadable:
        each = (f"{printable(str(p))} ({reason})" for p, reason in found.unreadable.items())
        yield f"left out, as they cannot be read, {len(found.unreadable)}: {few(each)}"
    for (one, other), count in found.copies.items():
        yield (
            f"warning: {count} of the images for {_PURPOSES[other]} are copies of images for "
            f"{_PURPOSES[one]}; accuracy on them says little"
        )
    if found.ambiguous:
        yield f"warning: {found.ambiguous} images lie in more than one class, as copies"


def _whence(found: Found, split: str) -> str:
    if split in found.called:
        return f" ({printable(found.called[split])})"
    train = printable(found.called.get("train", ""))
    return "" if split == "train" else f" (split off {train})" if train else " (split off)"


def _classes(found: Found) -> str:
    """Return the counts of each class, or of the smallest and the largest if there are many."""
    counts = {
        printable(name): [len(found.splits[split][name]) for split in SPLITS]
        for name in found.classes
    }
    listed = "classes (training + validation + testing)"
    if len(counts) > _MANY:
        by_size = sorted(counts, key=lambda name: sum(counts[name]))
        counts = {name: counts[name] for name in (*by_size[:_SMALLEST], by_size[-1])}
        listed = f"smallest and largest {listed}"
    return f"{listed}: " + ", ".join(
        f"{name} {' + '.join(map(str, each))}" for name, each in counts.items()
    )


def _count(files: Files) -> int:
    return sum(map(len, files.values()))
