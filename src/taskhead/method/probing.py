"""Head probing (HP): train a task head on the features of a backbone that stays as it is."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, nn

from taskhead.method.batches import shuffled_batches
from taskhead.method.checks import check_optimiser, check_positive, check_share, check_whole
from taskhead.method.energy import mean_energy

TOLERANCE = 1e-4  # of an energy that probing goes down to
RISE = 0.05  # of the energy above its least, at which a rate counts as too large
PATIENCE = 64  # epochs after which, and after each doubling, a level may be given up:
MAX_EPOCHS = 2**14  # if the energy will not be there by then, at the same fall in each doubling


@dataclass(frozen=True)
class Stop:
    """Where probing stops: after `tau` epochs, at least 0, or on the way down at an `energy`.

    Raises `ValueError` or `TypeError` unless just one is given, and in range.
    """

    tau: int | None = None
    energy: float | None = None

    def __post_init__(self) -> None:
        """Cast integers of NumPy and check the ranges."""
        if (self.tau is None) == (self.energy is None):
            raise ValueError(f"give tau or energy, and not both, got {self.tau} and {self.energy}")
        if self.energy is not None:
            check_positive("energy", self.energy)
            if self.energy >= math.sqrt(2):
                raise ValueError(f"energy must be below sqrt(2), got {self.energy}")
        if self.tau is not None:
            object.__setattr__(self, "tau", check_whole("tau", self.tau))


@dataclass(frozen=True)
class Probed:
    """A head, in eval mode, where probing stopped, after `steps` steps at the rate `lr`.

    `epochs` are passes over the training images, the last in part. `reason` says why an energy was
    not reached; the head is then the last of its trajectory.
    """

    head: nn.Module
    epochs: float
    steps: int
    lr: float
    reason: str | None = None


class _EnergyRises(Exception):
    """The rate of a trajectory is too large."""


def probe_head(
    views: Tensor,
    labels: Tensor,
    head: nn.Module,
    stops: Sequence[Stop],
    *,
    fresh: Tensor,
    lr: float,
    halve: bool = False,
    eps: float = 0.0,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    batch_size: int = 128,
    seed: int = 0,
) -> dict[Stop, Probed]:
    """Probe a copy of a head along one trajectory, and return it at every stop.

    SGD with Nesterov momentum at a constant rate, so the head at tau equals that of a run stopped
    at tau; on CPU it does so bit for bit. With `halve` it does unless only one of them begins anew,
    as energies are measured up to the last of all stops. An epoch takes one view of each image,
    drawn at random. The energy is measured after every step as long as an energy is to be reached,
    and with `halve` after every epoch. The head at an energy lies on the line between the
    heads before and after the first step down to it, where it has this energy up to 1e-4.

    Parameters
    ----------
    views, fresh
        Features (V, N, h) of views of the training images to probe on, and (E, N, h) of other
        views, on which the energy is measured.
    labels
        Their int64 classes (N,), on the same device.
    head
        Any module that maps features (N, h) to logits (N, K). It is not changed.
    lr, momentum, weight_decay, batch_size
        Of the optimiser. Without momentum there is no Nesterov step either.
    halve
        Begin anew at half the rate when the energy has risen by 0.05 above its least.
    eps
        Label smoothing, in [0, 1).
    seed
        Seed of the batch order and of the draw of views.

    Returns
    -------
    dict of Stop to Probed
        An energy above where the head starts, or below what probing leaves, has a reason. Once
        probing has diverged, the parameters are not finite.

    Raises
    ------
    ValueError
        If a hyper-parameter is out of range.
    """
    check_share("eps", eps)
    check_positive("lr", lr)
    check_optimiser(momentum, weight_decay, batch_size)

    def energy_of(standing: nn.Module) -> float:
        return mean_energy(standing, fresh, labels)

    while True:
        model = copy.deepcopy(head).eval()
        optimiser = sgd(model, lr, momentum, weight_decay)
        trajectory = _trajectory(model, optimiser, views, labels, eps, batch_size, seed)
        try:
            return dict(_find(stops, model, trajectory, energy_of, lr, halve))
        except _EnergyRises:
            lr /= 2


def sgd(module: nn.Module, lr: float, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """Return the optimiser of head probing; without momentum there is no Nesterov step either."""
    options = {"momentum": momentum, "weight_decay": weight_decay, "nesterov": momentum > 0}
    return torch.optim.SGD(module.parameters(), lr, **options)


def _trajectory(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    views: Tensor,
    labels: Tensor,
    eps: float,
    batch_size: int,
    seed: int,
) -> Iterator[float]:
    """Train without end, and yield before the first and after every step the epochs so far."""
    generator, n = torch.Generator().manual_seed(seed), len(labels)
    yield 0.0
    for epoch in count():
        view = torch.zeros(n, dtype=torch.int64)
        if len(views) > 1:
            view = torch.randint(len(views), (n,), generator=generator)
        features = views[view.to(views.device), torch.arange(n, device=views.device)]
        batches = shuffled_batches(n, batch_size, generator, views.device)
        for index, batch in enumerate(batches, start=1):
            with torch.enable_grad():
                logits = model(features[batch])
                optimiser.zero_grad()
                logits.backward(_loss_gradient(logits.detach(), labels[batch], eps))
            optimiser.step()
            yield epoch + index / len(batches)


def _find(
    stops: Sequence[Stop],
    model: nn.Module,
    trajectory: Iterator[float],
    energy_of: Callable[[nn.Module], float],
    lr: float,
    halve: bool,
) -> Iterator[tuple[Stop, Probed]]:
    """Yield each stop with its head as the trajectory of the model comes to it."""
    taus = {stop.tau for stop in stops if stop.tau is not None}
    levels = sorted({e for stop in stops if (e := stop.energy) is not None}, reverse=True)
    start = least = checked = energy = energy_of(model)
    before, epochs, steps = model, 0.0, 0

    def here(head: nn.Module, reason: str | None = None) -> Probed:
        return Probed(copy.deepcopy(head), epochs, steps, lr, reason)

    while levels and levels[0] > start + TOLERANCE:
        level = levels.pop(0)
        reason = f"energy {level} is above {start:.4f}, where the head starts"
        yield Stop(energy=level), here(model, reason)
    for steps, epochs in enumerate(trajectory):
        if epochs in taus:
            taus.remove(int(epochs))
            yield Stop(tau=int(epochs)), here(model)
        if steps and (levels or (halve and epochs.is_integer())):
            energy = energy_of(model)
        while levels and energy <= levels[0]:
            level = levels.pop(0)
            yield Stop(energy=level), here(_between(before, model, level, energy_of))
        if halve and math.isfinite(start) and not energy <= least + RISE:
            raise _EnergyRises
        least = min(least, energy)
        if levels and epochs >= PATIENCE and math.log2(epochs).is_integer():
            reach = least - (checked - least) * math.log2(MAX_EPOCHS / epochs)
            fall = f"from {start:.4f} to {least:.4f} in {epochs:g} epochs at the rate {lr:.3g}"
            while levels and not reach < levels[-1]:
                level = levels.pop()
                reason = f"energy {level} is not reached: probing takes it {fall}"
                yield Stop(energy=level), here(model, reason)
            checked = least
        if not taus and not levels:
            return
        before = copy.deepcopy(model) if levels else model


def _between(
    before: nn.Module, after: nn.Module, level: float, energy_of: Callable[[nn.Module], float]
) -> nn.Module:
    """Return the head of this energy on the line between two heads, by bisection."""
    head, share, width = copy.deepcopy(after), 1.0, 0.5
    while abs(energy := energy_of(head) - level) > TOLERANCE and width > 2**-40:
        share += width if energy > 0 else -width
        width /= 2
        for part, old, new in zip(
            head.parameters(), before.parameters(), after.parameters(), strict=True
        ):
            part.data.copy_(old + share * (new - old))
    return head


def _loss_gradient(logits: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Return the gradient of the mean cross-entropy by the logits: p - e_y over the batch size.

    Logits (B, K), labels (B,); `eps` smooths e_y.
    """
    gradient = logits.softmax(dim=1) - eps / logits.shape[1]
    gradient.scatter_add_(1, labels[:, None], gradient.new_full((len(labels), 1), eps - 1))
    return gradient / len(labels)
