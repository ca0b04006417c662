"""Head probing (HP): train a task head on cached features, the backbone being frozen."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from taskhead.checks import check_eps, check_samples, check_taus, check_training_set
from taskhead.data import shuffled_batches
from taskhead.energy import accuracy, average_initial_energy
from taskhead.heads import head_norm, last_layer


@dataclass(frozen=True)
class Snapshot:
    """A head after tau epochs of probing, with its measures.

    `aie`, `train_accuracy` and `train_loss` are taken on the training features with hard labels;
    `val_accuracy` is None where no validation features were given. Accuracies lie in [0, 1].
    """

    tau: int
    head: nn.Module
    aie: float
    head_norm: float
    train_accuracy: float
    train_loss: float
    val_accuracy: float | None


def probe_head(
    features: Tensor,
    targets: Tensor,
    head: nn.Module,
    *,
    taus: Sequence[int],
    lr: float,
    eps: float = 0.0,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    val: tuple[Tensor, Tensor] | None = None,
    seed: int = 0,
) -> list[Snapshot]:
    """Probe a copy of `head` once and return a snapshot at every tau.

    SGD with Nesterov momentum at a constant rate, so the snapshot at tau equals a run stopped at
    tau; on CPU it does so bit for bit.

    Parameters
    ----------
    features, targets
        Cached features z_0, shape (N, h), and integer classes, shape (N,), on one device.
    head
        Maps features (N, h) to logits (N, K). It is not changed.
    taus
        Strictly increasing numbers of epochs, at least 0.
    lr, momentum, weight_decay, batch_size
        Of the optimiser. Without momentum there is no Nesterov step either.
    eps
        Label smoothing in [0, 1).
    val
        Features and targets on which only accuracy is measured.
    seed
        Seed of the batch order.

    Raises
    ------
    ValueError, TypeError
        If taus, eps, lr or the batch size is out of range, features hold NaN, labels are out of
        range, the data is empty, or only one class is present.
    FloatingPointError
        If the loss becomes NaN or infinite.
    """
    check_taus(taus)
    check_eps(eps)
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr must be positive and finite, got {lr}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    n_classes = last_layer(head).out_features
    check_training_set(features, targets, n_classes)
    if val is not None:
        check_samples(*val, n_classes)
    head = copy.deepcopy(head).to(features.device)
    optimiser = torch.optim.SGD(
        head.parameters(), lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0
    )
    generator = torch.Generator().manual_seed(seed)
    snapshots = []
    for epoch in range(taus[-1] + 1):
        if epoch in taus:
            snapshots.append(_snapshot(epoch, head, features, targets, val))
        if epoch == taus[-1]:
            break
        for batch in shuffled_batches(len(targets), batch_size, generator):
            loss = cross_entropy(head(features[batch]), targets[batch], label_smoothing=eps)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return snapshots


@torch.no_grad()
def _snapshot(
    tau: int,
    head: nn.Module,
    features: Tensor,
    targets: Tensor,
    val: tuple[Tensor, Tensor] | None,
) -> Snapshot:
    logits = head(features)
    loss = float(cross_entropy(logits, targets))
    if not (math.isfinite(loss) and bool(logits.isfinite().all())):
        raise FloatingPointError(f"probing diverged before tau = {tau} (loss {loss}); lower lr")
    return Snapshot(
        tau=tau,
        head=copy.deepcopy(head),
        aie=average_initial_energy(logits, targets),
        head_norm=head_norm(head),
        train_accuracy=accuracy(logits, targets),
        train_loss=loss,
        val_accuracy=None if val is None else accuracy(head(val[0]), val[1]),
    )
