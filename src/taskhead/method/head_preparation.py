"""Head preparation: all that is done to a task head before finetuning."""

from collections.abc import Sequence
from dataclasses import dataclass

from taskhead.method.checks import check_choice, check_positive, check_share, check_whole
from taskhead.method.heads import INITS, Init
from taskhead.method.probing import Stop


@dataclass(frozen=True)
class HeadPreparation:
    """How a head is prepared.

    Parameters
    ----------
    tau
        Epochs of head probing, at least 0.
    energy
        In place of tau: the average energy to probe down to, on the images as finetuning sees
        them, in (0, sqrt(2)).
    eps
        Label smoothing in probing, in [0, 1); it leaves an energy of eps * sqrt((K - 1) / K).
    hidden
        Units of the hidden layers, as (512,); empty for a linear head.
    init
        How weights start: "uniform" as in PyTorch, or "normal" as in Hugging Face's transformers.
    init_scale
        Factor on the initial weights of the last layer, at least 0; 0 starts at uniform
        predictions.
    reinitialised_blocks
        Last blocks of the backbone's last stage that are drawn anew and probed with the head.

    Raises
    ------
    ValueError, TypeError
        If a value is out of range, or tau and energy are both given or none is.
    """

    tau: int | None = None
    energy: float | None = None
    eps: float = 0.0
    hidden: tuple[int, ...] = ()
    init: Init = "uniform"
    init_scale: float = 1.0
    reinitialised_blocks: int = 0

    def __post_init__(self) -> None:
        """Cast integers of NumPy and check the ranges."""
        object.__setattr__(self, "tau", Stop(self.tau, self.energy).tau)
        if isinstance(self.hidden, str) or not isinstance(self.hidden, Sequence):
            raise TypeError(f"hidden must be a sequence of integers, got {self.hidden!r}")
        hidden = tuple(check_whole("hidden", units, least=1) for units in self.hidden)
        object.__setattr__(self, "hidden", hidden)
        blocks = check_whole("reinitialised_blocks", self.reinitialised_blocks)
        object.__setattr__(self, "reinitialised_blocks", blocks)
        if blocks and self.energy is not None:
            raise ValueError("with reinitialised_blocks the backbone changes; give tau, no energy")
        check_share("eps", self.eps)
        check_choice("init", self.init, INITS)
        check_positive("init_scale", self.init_scale, zero=True)

    @property
    def stop(self) -> Stop:
        """Return where probing stops."""
        return Stop(self.tau, self.energy)
