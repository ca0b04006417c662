"""BatchNorm drift: what head probing in train mode does to the features of a frozen backbone."""

import copy
import time
from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from taskhead.adaptation import measure
from taskhead.backbones import extract_features, fingerprint
from taskhead.data import LabelledImages, shuffled_batches
from taskhead.energy import accuracy, average_initial_energy
from taskhead.heads import head_norm
from taskhead.presets import Probing
from taskhead.pretraining import pretrained_backbone
from taskhead.records import Row
from taskhead.runs import RUN_COLUMNS, plan_probing, prepare
from taskhead.settings import NetworkSetting

BATCHNORM_DRIFT_COLUMNS: dict[str, type] = {
    **RUN_COLUMNS,
    "aie": float,
    "head_norm": float,
    "probe_train_accuracy": float,
    "probe_val_accuracy": float,
    "euclidean": float,
    "cosine": float,
    "dot": float,
    "norm": float,
    "z0_norm": float,
    "backbone_sha256": str,
    "wall_s": float,
}


def plan_batchnorm_drift(setting: NetworkSetting, preset: str, scale: Probing) -> list[dict]:
    """Return the keys of all runs: every probed head, in eval mode and in train mode."""
    runs = plan_probing(setting, preset, scale)
    return [{**run, "bn_mode": bn_mode} for bn_mode in ("eval", "train") for run in runs]


def compute_batchnorm_drift(
    setting: NetworkSetting, runs: Sequence[Row], device: torch.device
) -> Iterator[list[Row]]:
    """Yield one row a run.

    No run changes a parameter of the backbone. All measures are taken in eval mode, as finetuning
    would find the network: the four feature measures compare z_0 of the untouched backbone with
    the features after probing, on the validation split; AIE and the probing accuracies are those
    of the probed head on the features after probing. `wall_s` is the seconds since probing began.
    """
    backbone = pretrained_backbone(runs[0]["backbone"], weights=setting.weights, device=device)
    sha256 = fingerprint(backbone)
    for _, group in groupby(runs, lambda run: {**run, "tau": None}):
        same_head = list(group)
        prepared = prepare(setting, backbone, same_head[0], device)
        task = prepared.task
        start = time.perf_counter()
        probed = probe_through_backbone(
            backbone,
            prepared.head,
            task.train,
            taus=[run["tau"] for run in same_head],
            lr=same_head[0]["hp_lr"],
            batch_size=same_head[0]["batch_size"],
            bn_mode=same_head[0]["bn_mode"],
            seed=same_head[0]["seed"],
        )
        for run, (drifted, head) in zip(same_head, probed, strict=True):
            train, val = (extract_features(drifted, p.images) for p in (task.train, task.val))
            with torch.no_grad():
                train_logits, val_logits = head(train), head(val)
            yield [
                {
                    **run,
                    "aie": average_initial_energy(train_logits, task.train.labels),
                    "head_norm": head_norm(head),
                    "probe_train_accuracy": accuracy(train_logits, task.train.labels),
                    "probe_val_accuracy": accuracy(val_logits, task.val.labels),
                    **vars(measure(prepared.z0_val, val)),
                    "backbone_sha256": sha256,
                    "wall_s": time.perf_counter() - start,
                }
            ]


def probe_through_backbone(
    backbone: nn.Module,
    head: nn.Module,
    data: LabelledImages,
    *,
    taus: Sequence[int],
    lr: float,
    batch_size: int,
    bn_mode: str,
    seed: int,
) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Probe with the backbone in the loop and yield copies of backbone and head at every tau.

    The head is trained as in `probing.probe_head`. In `bn_mode` "train", which is what the authors'
    code does, each batch is normalised by its own statistics and moves the running ones; in "eval"
    the backbone stays as it is, and the head is that of `probe_head` up to rounding.
    """
    backbone, head = copy.deepcopy(backbone).train(bn_mode == "train"), copy.deepcopy(head)
    optimiser = torch.optim.SGD(head.parameters(), lr, momentum=0.9, nesterov=True)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(taus[-1] + 1):
        if epoch in taus:
            yield copy.deepcopy(backbone), copy.deepcopy(head)
        if epoch == taus[-1]:
            return
        for batch in shuffled_batches(len(data), batch_size, generator, data.labels.device):
            with torch.no_grad():
                features = backbone(data.images[batch])
            loss = cross_entropy(head(features), data.labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
