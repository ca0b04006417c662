"""Feature geometry: where each validation image's feature lies before and after finetuning."""

import torch

from taskhead.experiments import network_runs
from taskhead.experiments.inputs import Found, Inputs, Unit
from taskhead.experiments.measures import measure_adaptation


def compute(inputs: Inputs, unit: Unit) -> Found:
    """Return a run with one row for each validation image: its feature in two dimensions.

    Both z_0 and z_T are projected on the two main directions (PCA) of z_0. `sample` counts the
    images of the validation split; the measures of adaptation are those of the whole run, in all
    directions. A run that is not done has one row without an image.
    """
    done = network_runs.finish(inputs, unit)
    row = {"outcome": done.outcome, "reason": done.reason}
    if done.zT is None:
        return [(done.run, [row])]
    start = done.start
    centre = start.z0.mean(dim=0)
    _, _, directions = torch.linalg.svd(start.z0 - centre, full_matrices=False)
    z0, zT = (((z - centre) @ directions[:2].T).tolist() for z in (start.z0, done.zT))
    rows = [
        {
            **row,
            "sample": sample,
            "label": label,
            "aie": done.prepared.aie,
            "probed_epochs": done.prepared.tau,
            **measure_adaptation(done),
            "z0_x": z0[sample][0],
            "z0_y": z0[sample][1],
            "zT_x": zT[sample][0],
            "zT_y": zT[sample][1],
        }
        for sample, label in enumerate(start.task.val.labels.tolist())
    ]
    return [(done.run, rows)]
