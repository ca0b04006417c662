"""Small problems and shorthands for the tests, drawn from a seed."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from taskhead.experiments import table
from taskhead.method.batches import LabelledImages
from taskhead.method.probing import Stop, probe_head
from taskhead.tasks.dividing import draw_files
from taskhead.tasks.images import read_images
from taskhead.tasks.layout import read_layout

SESSION = {
    "id": "a",
    "preset": "smoke",
    "started": "2000-01-01",
    "taskhead": "0",
    "device": "none",
    "libraries": {},
}


def problem(seed: int, *, n: int, d: int, h: int) -> tuple[np.ndarray, ...]:
    """Return X (n, d) with orthonormal rows or columns, y of +1 and -1, B_0 (h, d) and v_0 (h,)."""
    rng = np.random.default_rng(seed)
    X, _ = np.linalg.qr(rng.normal(size=(max(n, d), min(n, d))))
    y = np.where(np.arange(n) % 2, -1.0, 1.0)
    B0 = rng.normal(size=(h, d)) / np.sqrt(h)
    return (X if n >= d else X.T), y, B0, rng.normal(size=h) / np.sqrt(h)


def probe_at_taus(
    features: Tensor, labels: Tensor, head: nn.Module, *, taus: Iterable[int], **options: Any
) -> list[nn.Module]:
    """Probe a head on features (N, h) without views, and return it at every tau."""
    stops, views = [Stop(tau) for tau in taus], features[None]
    probed = probe_head(views, labels, head, stops, fresh=views, **options)
    return [probed[stop].head for stop in stops]


def floor_of_smoothing(eps: float, n_classes: int) -> float:
    """Return the energy left once a head fits labels smoothed by `eps` exactly."""
    return eps * ((n_classes - 1) / n_classes) ** 0.5


def weights(module: nn.Module) -> Tensor:
    return torch.nn.utils.parameters_to_vector(module.parameters()).detach().clone()


def changed(network: nn.Module, before: dict[str, Tensor]) -> set[str]:
    """Return the names of the parameters and buffers that are no longer what they were."""
    state = network.state_dict()
    return {name for name in state if not torch.equal(state[name], before[name])}


def load_table(path: Path, kind: type) -> pd.DataFrame:
    return table.as_dataframe(table.read(path, kind), kind)


def load_image_folder(
    folder: Path, *, image_size: int, per_class: int | None = None
) -> tuple[LabelledImages, list[str]]:
    """Return the images of a tree `CLASS/*`, and the names of its classes."""
    files = draw_files(read_layout(folder).splits["train"], per_class, 0)
    return read_images(files, image_size=image_size), list(files)


def three_classes(n: int, seed: int) -> LabelledImages:
    """Return images (N, 3, 8, 8) of noise whose brightness is their class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    noise = torch.rand(n, 3, 8, 8, generator=generator)
    return LabelledImages(noise * (labels + 1)[:, None, None, None], labels)


class Then(nn.Module):
    """What a function makes of features."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.function(features)
