"""Tell levels of folders apart by their names: a wrapper, splits, domains."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from taskhead.tasks.tree import Folders, Parts

SPLITS: tuple[str, ...] = ("train", "val", "test")
_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
HERE = "."  # the domain of a tree whose own folders are the classes


@dataclass(frozen=True)
class Place:
    """The split that a folder belongs to, and its path without the level of splits."""

    split: str
    parts: Parts


def split_called(name: str) -> str | None:
    """Return which of train, val and test a name stands for, in any case; None if for none."""
    return next((split for split, names in _NAMES.items() if name.lower() in names), None)


def wrapper(folders: Folders) -> Parts:
    """Return the root (), or the folder that lies alone in it and holds folders itself."""
    top: Parts = ()
    while not folders[top]:
        inside = [parts for parts in folders if parts and parts[:-1] == top]
        holding = {parts[:-1] for parts in folders if parts}
        if len(inside) != 1 or inside[0] not in holding or split_called(inside[0][-1]):
            break
        (top,) = inside
    return top


def without_splits(root: Path, folders: Folders) -> tuple[dict[Parts, Place], dict[str, str]]:
    """Return the places of folders, and what the splits are called.

    Splits stand at the first level if a folder there is called so and holds folders, or at the
    second if all of it is called so. Without one for training all other folders serve for that;
    beside one they have no place.

    Raises `ValueError` if two folders are the same split, or splits hold no folders.
    """
    level = _level_of_splits(root, folders)
    if level is None:
        return {parts: Place("train", parts) for parts in folders}, {}
    said: dict[Parts, Place] = {}
    called: dict[tuple[Parts, str], str] = {}
    for parts in folders:
        if len(parts) > level and (split := split_called(parts[level])):
            above, name = parts[:level], parts[level]
            said[parts] = Place(split, (*above, *parts[level + 1 :]))
            if called.setdefault((above, split), name) != name:
                raise ValueError(
                    f"{root.joinpath(*above)} holds {called[above, split]} and {name}, which are "
                    f"both the {split} split; put their images together"
                )
    names = {split: name for (_, split), name in called.items()}
    if "train" in names:
        return said, names
    return {parts: said.get(parts, Place("train", parts)) for parts in folders}, names


def _level_of_splits(root: Path, folders: Folders) -> int | None:
    first = {parts[0]: len(parts) > 1 for parts in folders if parts}  # the deepest come last
    second = {parts[1] for parts in folders if len(parts) > 1}
    if any(split_called(name) for name, holds in first.items() if holds):
        return 0
    if second and all(map(split_called, second)):
        return 1
    if first and all(map(split_called, first)):
        raise ValueError(
            f"the splits {', '.join(first)} of {root} hold no class folders; put the images of "
            "each class into a folder there, or give a CSV file of labels"
        )
    return None


def domains_in(folders: Folders, places: Mapping[Parts, Place]) -> dict[str, set[str]]:
    """Return the classes in each folder of the first level if these look like domains.

    They do if all share the name of a folder, one holds two or more, and not every one has images
    beside its folders.
    """
    inside: dict[str, set[str]] = {}
    with_images = set()
    for parts, place in places.items():
        if place.parts:
            inside.setdefault(place.parts[0], set()).update(place.parts[1:2])
        if len(place.parts) == 1 and folders[parts]:
            with_images.add(place.parts[0])
    alike = (
        len(inside) > 1
        and max(map(len, inside.values())) > 1
        and set.intersection(*inside.values())
        and len(with_images) < len(inside)
    )
    return inside if alike else {}


def choose_domain(root: Path, domain: str | None, inside: Mapping[str, set[str]]) -> str:
    """Return the domain to learn, "." if folders are no domains.

    Raises `ValueError` unless `domain` says one of those that are there, or "."; it may be left
    out where no folders look like domains.
    """
    if domain == HERE or (domain is None and not inside):
        return HERE
    if not inside:
        raise ValueError(
            f"{root} has no domains, got domain {domain!r}; domains are folders of classes "
            "that share a class"
        )
    names = ", ".join(inside)
    if domain is None:
        classes = ", ".join(sorted(set.union(*inside.values())))
        raise ValueError(
            f"{root} can be read in two ways: as domains {names}, each with the classes "
            f"{classes}; or as classes {names}, with folders inside. Give the domain to learn "
            f"(domain), or {HERE!r} for classes; splits are known by the names train, val and test"
        )
    if domain not in inside:
        raise ValueError(f"{root} has the domains {names}; got {domain!r}")
    return domain
