"""Tasks from texts in a CSV file. A text is its UTF-8 bytes, padded with zeros."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from taskhead.method.batches import LabelledImages
from taskhead.method.seeds import stream
from taskhead.tasks.images import draw_per_class
from taskhead.tasks.names import printable
from taskhead.tasks.rows import read_rows
from taskhead.tasks.storage import file_sha256
from taskhead.tasks.task import Draw, Task, check_enough, set_aside, split

_SPLITS = ("train", "test")


def text_task(file: Path, draw: Draw) -> Task:
    """Return a task from a CSV file with the columns `text` and `label`, and perhaps `split`.

    Classes are the labels in alphabetical order. Rows whose split is "test" are the test texts;
    without the column they are set aside, the same for every seed. Training and validation texts
    are drawn from the other rows. Texts are encoded as by `encode`; the image size means nothing.

    Raises `ValueError` if the file cannot be read, a column is missing, a text or label is empty, a
    split is unknown, there are fewer than two classes, or a class has too few texts.
    """
    rows = read_rows(file, "text", _SPLITS)
    names = sorted({row["label"] for row in rows})
    if len(names) < 2:
        raise ValueError(f"{file} has {len(names)} classes; a task needs at least two")
    own_test = any(row["split"] == "test" for row in rows)
    pool, test = (
        {
            name: [r["text"] for r in rows if r["label"] == name and r["split"] == part]
            for name in names
        }
        for part in _SPLITS
    )
    for name, texts in pool.items():
        check_enough(name, len(texts), draw, own_test=own_test)
        if not own_test:
            aside, rest = set_aside(len(texts), draw)
            test[name], pool[name] = [texts[i] for i in aside], [texts[i] for i in sorted(rest)]
    asked, seed = draw.train_per_class + draw.val_per_class, stream(draw.seed, "images")
    data = _labelled(pool, asked, seed)
    tested = _labelled(test, draw.test_per_class, 0)
    return split(data, draw, n_classes=len(names), names=names, test=tested)


def encode(texts: Sequence[str]) -> Tensor:
    """Return texts as uint8 (N, L): their UTF-8 bytes, zeros up to the longest."""
    coded = [torch.frombuffer(bytearray(text, "utf-8"), dtype=torch.uint8) for text in texts]
    return torch.nn.utils.rnn.pad_sequence(coded, batch_first=True)


def decode(codes: Tensor) -> list[str]:
    """Return the texts of which `encode` made uint8 (N, L)."""
    return [bytes(row).rstrip(b"\0").decode() for row in codes.cpu().numpy()]


def text_label(file: Path) -> str:
    """Return a name for a file of texts: its own name, and a hash of its content.

    Raises `ValueError` if there is no such file.
    """
    if not file.is_file():
        raise ValueError(f"data file {file} does not exist; give a CSV file of texts")
    return f"{printable(file.name)}-{file_sha256(file)[:8]}"


def _labelled(texts: dict[str, list[str]], per_class: int | None, seed: int) -> LabelledImages:
    labels = torch.repeat_interleave(torch.tensor([len(each) for each in texts.values()]))
    chosen = draw_per_class(labels.numpy(), per_class, seed)
    every = [text for each in texts.values() for text in each]
    return LabelledImages(encode([every[i] for i in chosen]), labels[torch.from_numpy(chosen)])
