"""Walk a tree of folders: links are followed, loops refused, what is no image passed over."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

EXTENSIONS = (
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
_RUBBISH = (  # folders that archivers, disks and systems leave; hidden ones are left out, too
    *("__macosx", "__pycache__", "@eadir", "@recently-snapshot", "@recycle", "@tmp", "#recycle"),
    *("#snapshot", "$recycle.bin", "lost+found", "system volume information"),
)

Parts = tuple[str, ...]
Folders = dict[Parts, list[Path]]


@dataclass(frozen=True)
class Tree:
    """What lies below a folder, in the order of names.

    `folders` holds the images of each folder, by its path below the root in parts; that of the root
    itself is (). `passed_over` are files that are no images, and what systems leave; `links` are
    the images that are links.
    """

    root: Path
    folders: Folders = field(default_factory=dict)
    passed_over: list[Path] = field(default_factory=list)
    links: list[Path] = field(default_factory=list)

    @property
    def images(self) -> list[Path]:
        """Return all images, files and folders being sorted by name alike."""
        return in_order(path for images in self.folders.values() for path in images)


def walk(root: Path) -> Tree:
    """Return what lies below a folder.

    Raises `ValueError` if it does not exist, a folder cannot be read, or a link leads to a folder
    that holds it or is found otherwise, too.
    """
    if not root.is_dir():
        raise ValueError(
            f"image folder {root} does not exist or is no folder; give one of class folders"
        )
    tree = Tree(root)
    _walk(root, (), tree, {})
    return tree


def _walk(
    folder: Path,
    parts: Parts,
    tree: Tree,
    seen: dict[str, Path | None],
    link: Path | None = None,
) -> None:
    """Add what lies in a folder, which was reached through `link` if any.

    `seen` holds the link of each folder found so far, by its real path.
    """
    real = os.path.realpath(folder)
    if folder.is_symlink():
        link = folder
        if Path(os.path.realpath(folder.parent)).is_relative_to(real):
            raise _counts_already(link)
    if real in seen:
        raise _counts_already(link or seen[real] or folder)
    seen[real] = link
    images = tree.folders.setdefault(parts, [])
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"image folder {folder} cannot be read: {error.strerror}") from None
    for entry in entries:
        name, path = entry.name, folder / entry.name
        if name.startswith(".") or name.lower() in _RUBBISH:
            tree.passed_over.append(path)
        elif path.suffix.lower() in EXTENSIONS:
            images.append(path)
            if entry.is_symlink():
                tree.links.append(path)
        elif path.is_dir():
            _walk(path, (*parts, name), tree, seen, link)
        else:
            tree.passed_over.append(path)


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Return paths as a walk meets them, files and folders sorted by name alike."""
    return sorted(paths, key=lambda path: path.parts)


def check_links(tree: Tree, classes: Mapping[Parts, str]) -> None:
    """Raise `ValueError` if an image is a link to one in a folder of another class."""
    owners = {os.path.realpath(tree.root.joinpath(*p)): name for p, name in classes.items()}
    for link in tree.links:
        own = owners.get(os.path.realpath(link.parent))
        for target in (link.parent / os.readlink(link), Path(os.path.realpath(link))):
            holder = os.path.realpath(target.parent)
            if own is not None and owners.get(holder, own) != own:
                raise ValueError(
                    f"link {link} leads to {Path(holder, target.name)}, an image of another "
                    "class; remove the link"
                )


def _counts_already(link: Path) -> ValueError:
    target = os.path.realpath(link)
    return ValueError(f"link {link} leads to {target}, whose images count already; remove the link")
