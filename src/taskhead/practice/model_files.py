"""A finetuned network on the disk: weights, a program that runs without this library, and facts."""

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from taskhead.practice import example
from taskhead.tasks.images import read_images, side_by_side, why_unreadable
from taskhead.tasks.names import printable
from taskhead.tasks.storage import file_sha256
from taskhead.tasks.tree import walk

WEIGHTS, PROGRAM, ONNX, FACTS = "model.pt", "model.pt2", "model.onnx", "model.json"
SAFE, EXAMPLE = "model.safetensors", "example.py"


def save_model(folder: Path, network: nn.Sequential, facts: dict[str, Any], images: Tensor) -> None:
    """Write a network of backbone and head, and what is to be known of it, into a folder.

    `model.pt` holds the state dicts of `backbone` and `head`; `model.pt2` is the whole network as
    an exported program, which PyTorch loads and runs alone; `model.safetensors` and `model.onnx`
    are written if the packages safetensors and onnxscript are installed. `model.json` holds the
    `facts` and the hashes of the files; `example.py` uses the program. `images` (N, C, S, S) are a
    few images of the kind that the network takes, N at least 2; programs take any number of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    network = copy.deepcopy(network).cpu().eval()
    parts = {name: part.state_dict() for name, part in network.named_children()}
    torch.save(parts, folder / WEIGHTS)
    program = torch.export.export(
        network, (images.cpu(),), dynamic_shapes=({0: torch.export.Dim("images")},)
    )
    torch.export.save(program, folder / PROGRAM)
    written = [WEIGHTS, PROGRAM]
    if find_spec("safetensors"):
        from safetensors.torch import save_file

        state = {name: each.contiguous() for name, each in network.state_dict().items()}
        save_file(state, folder / SAFE)
        written.append(SAFE)
    if find_spec("onnxscript"):
        torch.onnx.export(program, f=str(folder / ONNX), external_data=False, verbose=False)
        written.append(ONNX)
    facts = facts | {"sha256": {name: file_sha256(folder / name) for name in written}}
    text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
    (folder / FACTS).write_text(text, encoding="utf-8")
    shutil.copyfile(example.__file__, folder / EXAMPLE)


def load_model(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a folder, which maps uint8 images (N, 3, S, S) to logits, and facts.

    Raises `ValueError` if the folder holds no model, or its files are not those that were written.
    """
    if not (folder / FACTS).is_file():
        raise ValueError(
            f"{folder} holds no {FACTS}; give the folder that `taskhead prepare` wrote"
        )
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        expected = facts["sha256"][PROGRAM]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{folder / FACTS} is not the file that was written; prepare the model again"
        ) from None
    file = folder / PROGRAM
    if not file.is_file() or file_sha256(file) != expected:
        raise ValueError(f"{file} is not the file that was written; prepare the model again")
    return torch.export.load(file).module(), facts


@torch.no_grad()
def predict(
    folder: Path, paths: Sequence[Path], *, say: Callable[[str], None] | None = None
) -> pd.DataFrame:
    """Return the class of each image and the probabilities of all classes.

    `paths` are image files, and folders of which all images are taken. One row per image: `file`,
    `class`, `probability`, then a column for each class. `say` is called with a line on each path
    that cannot be read, which has no row; without it that is an error.

    Raises `ValueError` if the folder holds no model, or a path cannot be read.
    """
    network, facts = load_model(folder)
    classes = facts["classes"]
    how = {"image_size": facts["image_size"], "interpolation": facts["interpolation"]}
    columns = [f"p({name})" for name in classes]
    files = _readable(paths, say)
    if not files:
        return pd.DataFrame(columns=["file", "class", "probability", *columns])
    images = read_images({"all": files}, **how).images
    shares = torch.cat([network(part).softmax(dim=1) for part in images.split(64)])
    highest = shares.max(dim=1)
    named = {"file": [printable(str(file)) for file in files]}
    named["class"] = [classes[i] for i in highest.indices]
    table = pd.DataFrame({**named, "probability": highest.values})
    return table.join(pd.DataFrame(shares.numpy(), columns=columns))


def _readable(paths: Sequence[Path], say: Callable[[str], None] | None) -> list[Path]:
    """Return the image files at these paths; with `say`, those that can be read."""
    inside = {path: walk(path).images if path.is_dir() else [path] for path in paths}
    files = [file for found in inside.values() for file in found]
    if say is None:
        return files
    for path, found in inside.items():
        if not found:
            say(f"folder {printable(str(path))} holds no image")
    reasons = dict(zip(files, side_by_side(why_unreadable, files), strict=True))
    for file, reason in reasons.items():
        if reason:
            say(f"image {printable(str(file))} cannot be read: {reason}; repair it or leave it out")
    return [file for file in files if not reasons[file]]
