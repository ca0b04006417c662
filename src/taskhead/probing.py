"""Head probing (HP): train task heads on cached features, the backbone being frozen."""

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
from taskhead.heads import StackedHeads, head_norm, last_layer


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

    `head` maps features (N, h) to logits (N, K); `eps` and `seed` are its label smoothing and the
    seed of its batch order. The other parameters and the errors are those of `probe_heads`.

    Raises
    ------
    FloatingPointError
        If the loss becomes NaN or infinite.
    """
    (snapshots,) = probe_heads(
        features,
        targets,
        [head],
        taus=taus,
        lr=lr,
        eps=[eps],
        seeds=[seed],
        momentum=momentum,
        weight_decay=weight_decay,
        batch_size=batch_size,
        val=val,
    )
    if len(snapshots) < len(taus):
        raise FloatingPointError(f"probing diverged before tau = {taus[len(snapshots)]}; lower lr")
    return snapshots


def probe_heads(
    features: Tensor,
    targets: Tensor,
    heads: Sequence[nn.Module],
    *,
    taus: Sequence[int],
    lr: float,
    eps: Sequence[float],
    seeds: Sequence[int],
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    val: tuple[Tensor, Tensor] | None = None,
) -> list[list[Snapshot]]:
    """Probe copies of many heads side by side on the same features, in one trajectory.

    SGD with Nesterov momentum at a constant rate, so the snapshot at tau equals a run stopped at
    tau; on CPU it does so bit for bit. Every head has its own label smoothing and batch order. A
    head comes out as if it had been probed alone, up to rounding.

    Parameters
    ----------
    features, targets
        Cached features z_0, shape (N, h), and integer classes, shape (N,), on one device.
    heads
        H heads of one shape, as `make_head` returns them; a single one may be any module that maps
        features (N, h) to logits (N, K). They are not changed.
    taus
        Strictly increasing numbers of epochs, at least 0.
    lr, momentum, weight_decay, batch_size
        Of the optimiser. Without momentum there is no Nesterov step either.
    eps
        Label smoothing of each head, in [0, 1).
    seeds
        Seed of each head's batch order; heads of the same seed see the same batches.
    val
        Features and targets on which only accuracy is measured.

    Returns
    -------
    list of list of Snapshot
        For every head one snapshot at every tau, up to the one before which its loss became NaN
        or infinite.

    Raises
    ------
    ValueError, TypeError
        If taus, eps, lr or the batch size is out of range, features hold NaN, labels are out of
        range, the data is empty, only one class is present, there is not one eps and one seed for
        each head, or the heads are not alike.
    """
    check_taus(taus)
    for each in eps:
        check_eps(each)
    if not 0 < lr < float("inf"):
        raise ValueError(f"lr must be positive and finite, got {lr}")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if not len(heads) == len(eps) == len(seeds) > 0:
        raise ValueError(
            f"give one eps and one seed for each head, got {len(heads)} heads, {len(eps)} eps and "
            f"{len(seeds)} seeds"
        )
    n_classes = last_layer(heads[0]).out_features
    check_training_set(features, targets, n_classes)
    if val is not None:
        check_samples(*val, n_classes)
    alone, device = len(heads) == 1, features.device
    model = (copy.deepcopy(heads[0]) if alone else StackedHeads(heads)).to(device)
    smoothing = torch.tensor(eps, dtype=features.dtype, device=device).reshape(
        () if alone else (-1, 1, 1)
    )
    optimiser = torch.optim.SGD(
        model.parameters(), lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0
    )
    generators = {seed: torch.Generator().manual_seed(seed) for seed in seeds}
    snapshots: list[list[Snapshot]] = [[] for _ in heads]
    for epoch in range(taus[-1] + 1):
        if epoch in taus:
            standing = model.unstack() if isinstance(model, StackedHeads) else [model]
            for head, taken in zip(standing, snapshots, strict=True):
                if len(taken) == taus.index(epoch):  # else it has diverged before
                    taken += _snapshots(epoch, head, features, targets, val)
        if epoch == taus[-1]:
            break
        batches = {
            seed: shuffled_batches(len(targets), batch_size, generator, device)
            for seed, generator in generators.items()
        }
        for rows in zip(*(batches[seed] for seed in seeds), strict=True):
            batch = rows[0] if alone else torch.stack(rows)
            logits = model(features[batch])
            optimiser.zero_grad()
            logits.backward(_loss_gradient(logits.detach(), targets[batch], smoothing))
            optimiser.step()
    return snapshots


def _loss_gradient(logits: Tensor, targets: Tensor, eps: Tensor) -> Tensor:
    """Return the gradient of the mean cross-entropy by the logits: p - e_y over the batch size.

    Logits (..., B, K), targets (..., B); `eps`, which broadcasts with the logits, smooths e_y.
    """
    gradient = logits.softmax(dim=-1) - eps / logits.shape[-1]
    gradient.scatter_add_(-1, targets.unsqueeze(-1), (eps - 1).expand(*targets.shape, 1))
    return gradient / targets.shape[-1]


@torch.no_grad()
def _snapshots(
    tau: int,
    head: nn.Module,
    features: Tensor,
    targets: Tensor,
    val: tuple[Tensor, Tensor] | None,
) -> list[Snapshot]:
    """Return the snapshot of a head at tau, or none if it has diverged."""
    logits = head(features)
    loss = float(cross_entropy(logits, targets))
    if not (math.isfinite(loss) and bool(logits.isfinite().all())):
        return []
    return [
        Snapshot(
            tau=tau,
            head=copy.deepcopy(head),
            aie=average_initial_energy(logits, targets),
            head_norm=head_norm(head),
            train_accuracy=accuracy(logits, targets),
            train_loss=loss,
            val_accuracy=None if val is None else accuracy(head(val[0]), val[1]),
        )
    ]
