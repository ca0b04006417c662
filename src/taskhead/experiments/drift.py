"""BatchNorm drift: what head probing in train mode does to the features of a frozen backbone."""

import time

import torch

from taskhead.experiments.inputs import Found, Inputs, Unit, load
from taskhead.experiments.run import part_of
from taskhead.method.adaptation import measure
from taskhead.method.energy import average_initial_energy
from taskhead.method.evaluation import accuracy
from taskhead.method.features import extract_features
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.heads import last_layer_norm
from taskhead.method.preparation import new_head
from taskhead.method.through_backbone import probe_through_backbone


def compute(inputs: Inputs, unit: Unit) -> Found:
    """Return the runs of one trajectory, each with its row.

    No run changes a parameter of the backbone. All measures are taken in eval mode, as finetuning
    would find the network: the four feature measures compare z_0 of the untouched backbone with
    the features after probing, on the validation split; AIE and the probing accuracies are those
    of the probed head on the features after probing. `wall_s` is the seconds since probing began.
    """
    first = unit.runs[0]
    start = load(inputs, first)
    task = start.task
    head = new_head(start.z0, task.n_classes, part_of(first, HeadPreparation), first.seed)
    began = time.perf_counter()
    probed = probe_through_backbone(
        start.backbone,
        head,
        task.train,
        taus=[run.tau for run in unit.runs],
        lr=first.hp_lr,
        eps=first.eps,
        batch_size=first.batch_size,
        bn_mode=first.bn_mode,
        seed=first.seed,
    )
    found = []
    for run, (_, drifted, standing) in zip(unit.runs, probed, strict=True):
        train, val = (extract_features(drifted, part.images) for part in (task.train, task.val))
        with torch.no_grad():
            train_logits, val_logits = standing(train), standing(val)
        row = {"outcome": "done", "reason": None, "backbone_sha256": start.sha256}
        if bool(train_logits.isfinite().all() and val_logits.isfinite().all()):
            row |= {
                "aie": average_initial_energy(train_logits, task.train.labels),
                "last_layer_norm": last_layer_norm(standing),
                "probe_train_accuracy": accuracy(train_logits, task.train.labels),
                "probe_val_accuracy": accuracy(val_logits, task.val.labels),
                **vars(measure(start.z0, val)),
            }
        else:
            row |= {"outcome": "diverged", "reason": "logits of the probed head are not finite"}
        found.append((run, [row | {"wall_s": time.perf_counter() - began}]))
    return found
