"""BatchNorm drift: what head probing in train mode does to the features of a frozen backbone."""

import math
import time

from taskhead.experiments.inputs import Found, Inputs, Unit, load
from taskhead.experiments.measures import Finished, measure_probing
from taskhead.experiments.run import part_of
from taskhead.method.adaptation import measure
from taskhead.method.augmentation import as_augmentation
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.preparation import new_head
from taskhead.method.prepared import score, see
from taskhead.method.probing import Probed
from taskhead.method.seeds import stream
from taskhead.method.through_backbone import probe_through_backbone


def compute(inputs: Inputs, unit: Unit) -> Found:
    """Return the runs of one trajectory, each with its row.

    No run changes a parameter of the backbone. All measures are taken in eval mode, as finetuning
    would find the network: the feature measures compare z_0 of the untouched backbone with the
    features after probing, on the validation split; energies and probing accuracies are those of
    the probed head on the features after probing. `wall_s` is the seconds since probing began.

    Raises `ValueError` if the probing rate is "auto", which is for features that stay.
    """
    first = unit.runs[0]
    start = load(inputs, first)
    parts, augment = [start.task.train, start.task.val], as_augmentation(first.augment)
    if first.hp_lr == "auto":
        raise ValueError(f"a study of drift needs a probing rate, got hp_lr {first.hp_lr!r}")
    preparation = part_of(first, HeadPreparation)
    began = time.perf_counter()
    probed = probe_through_backbone(
        start.backbone,
        new_head(start.z0, start.task.n_classes, preparation, first.seed),
        start.task.train,
        taus=[run.tau for run in unit.runs],
        lr=first.hp_lr,
        augment=augment,
        eps=first.eps,
        batch_size=first.batch_size,
        bn_mode=first.bn_mode,
        seed=stream(first.seed, "probing"),
    )
    found = []
    for run, (tau, drifted, head) in zip(unit.runs, probed, strict=True):
        steps = tau * math.ceil(len(parts[0]) / run.batch_size)
        seen = see(drifted, parts, views=0, augment=augment, seed=run.seed)
        standing = Probed(head, tau, steps, run.hp_lr)
        prepared = score(part_of(run, HeadPreparation), drifted, standing, seen, parts)
        row = {
            "outcome": prepared.outcome,
            "reason": prepared.reason,
            "backbone_sha256": start.sha256,
            **measure_probing(Finished(run, start, prepared)),
            **vars(measure(start.z0, seen.clean[1])),
            "wall_s": time.perf_counter() - began,
        }
        found.append((run, [row]))
    return found
