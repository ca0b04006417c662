"""BatchNorm drift: what head probing in train mode does to the features of a frozen backbone."""

import time
from itertools import product

from taskhead.experiments.inputs import Found, Inputs, Unit, load
from taskhead.experiments.measures import Finished, measure_probing
from taskhead.experiments.run import part_of
from taskhead.method.adaptation import measure
from taskhead.method.augmentation import as_augmentation
from taskhead.method.head_preparation import HeadPreparation
from taskhead.method.preparation import new_head
from taskhead.method.prepared import score, see
from taskhead.method.seeds import stream
from taskhead.method.through_backbone import probe_through_backbone


def compute(inputs: Inputs, unit: Unit) -> Found:
    """Return the runs of one trajectory, each with its row.

    No run changes a parameter of the backbone. All measures are taken in eval mode, as finetuning
    would find the network: the feature measures compare z_0 of the untouched backbone with the
    features after probing, on the validation split; energies and probing accuracies are those of
    the probed head on the features after probing. `wall_s` is the seconds since probing began.

    Raises `ValueError` if the probing rate is "auto", which is for features that stay, or if a run
    asks for dropout, new blocks or an energy, which this probing has not.
    """
    first = unit.runs[0]
    for key, run in product(("dropout", "reinitialised_blocks", "energy"), unit.runs):
        if value := getattr(run, key):
            raise ValueError(f"a study of drift takes no {key}, got {value!r}")
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
    for run, (drifted, standing) in zip(unit.runs, probed, strict=True):
        seen = see(drifted, parts, views=0, augment=augment, seed=run.seed)
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
