"""How finetuning goes: what is left of energy, kernel and direction at some epochs of a run."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from taskhead.experiments import network_runs
from taskhead.experiments.inputs import Found, Inputs, Prerequisites, Row, Unit, load
from taskhead.experiments.measures import measure_probing
from taskhead.experiments.one_step import mode, one_view, refuse_smoothing, row_of
from taskhead.experiments.run import Run
from taskhead.method.adaptation import measure
from taskhead.method.energy import average_initial_energy
from taskhead.method.features import extract_features, set_mode
from taskhead.method.heads import last_layer
from taskhead.method.kernel import linearise, relative_change
from taskhead.method.learning_dynamics import steps_from
from taskhead.method.seeds import stream
from taskhead.method.views import extract_views

VECTORS = 8  # random ones, by whose products kernels are compared, to about 6 percent


def compute(inputs: Inputs, unit: Unit) -> Found:
    """Return a run with a row for epochs 0, 1, 2, 4, 8, ... and the last.

    `energy_left` is the mean energy of the training images in one view that stays the same, in the
    mode of finetuning. The first `batch_size` of them, in random order, are a fixed batch: on it
    `kernel_change` is ||K_t - K_0|| / ||K_0|| (Frobenius) and `kernel_cosine` the cosine of both
    kernels, estimated from products with random vectors, and what begins with `step` belongs to one
    step at the run's initial rate. `head_cosine` is the cosine of the last layer's weights with
    those before finetuning. Measures of features compare the epoch with z_0, in validation.

    A run that is not done has one row, without an epoch.

    Raises `ValueError` if finetuning is to smooth labels: the steps have hard ones.
    """
    (run,) = unit.runs
    refuse_smoothing(run)
    watch = _Watch(run, load(inputs, run))
    done = network_runs.finish(inputs, unit, after_epoch=watch)
    row = {"outcome": done.outcome, "reason": done.reason, "backbone_sha256": done.start.sha256}
    row |= measure_probing(done)
    return [(run, [row | each for each in watch.rows] if done.result else [row])]


class _Watch:
    """Record epochs of a run; the first is what the others are compared with."""

    def __init__(self, run: Run, start: Prerequisites) -> None:
        self.run, self.start, self.rows = run, start, list[Row]()
        self.images, self.labels = one_view(run, start.task.train.images), start.task.train.labels
        generator = torch.Generator().manual_seed(stream(run.seed, "energy"))
        order = torch.randperm(len(self.labels), generator=generator)
        self.batch = order[: run.batch_size].to(self.labels.device)
        shape = VECTORS, len(self.batch), start.z0.shape[1]
        self.vectors = torch.randn(shape, generator=generator).to(start.z0)

    def __call__(self, epoch: int, network: nn.Sequential) -> None:
        """Record this epoch if it is a power of two, 0 or the last."""
        if epoch & (epoch - 1) and epoch < self.run.ft_epochs:
            return
        backbone, head = copy.deepcopy(network)
        around = linearise(backbone, self.images[self.batch], **mode(self.run))
        products, weight = around.kernel(self.vectors), last_layer(head).weight.detach()
        if epoch == 0:
            self.products, self.weight = products, weight
        set_mode(head, self.run.bn_mode, dropout=self.run.dropout)
        (step,) = steps_from(around, head, self.labels[self.batch], lrs=[self.run.ft_lr])
        zT = extract_features(backbone, self.start.task.val.images)
        self.rows.append(
            {
                "epoch": epoch,
                "energy_left": self._energy(backbone, head),
                "kernel_change": relative_change(self.products, products),
                "kernel_cosine": _cosine(self.products, products),
                "head_cosine": _cosine(self.weight, weight),
                **row_of(step),
                **vars(measure(self.start.z0, zT)),
            }
        )

    @torch.no_grad()
    def _energy(self, backbone: nn.Module, head: nn.Module) -> float:
        options = {**mode(self.run), "batch_size": self.run.batch_size}
        (views,) = extract_views(backbone, self.images, None, count=1, **options)
        return average_initial_energy(head(views), self.labels)


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(cosine_similarity(one.flatten(), other.flatten(), dim=0))
