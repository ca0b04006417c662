"""A Lightning callback: probe the head down to an energy, then train everything."""

from typing import Any

import lightning
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from taskhead import HeadPreparation, prepare_heads
from taskhead.tasks.datasets import load_digits


class ProbeHead(lightning.Callback):
    """Prepare the head of a module when its training starts.

    The module has a `backbone`, which maps a batch of images to features (N, h), and a linear
    `head` on them. Probing takes the map-style data set of the training loader, and needs no
    frozen epochs: the backbone only computes features. A run that is resumed keeps its head.

    `options` go to `prepare_heads`; give the `augment` and `bn_mode` of the training step, as
    energy is energy as finetuning receives it. Lightning trains in train mode, so `bn_mode` is
    "train" and dropout acts unless they say otherwise.
    """

    def __init__(self, preparation: HeadPreparation, **options: Any) -> None:
        """Take what to prepare."""
        self.preparation = preparation
        self.options = {"bn_mode": "train", "dropout": True} | options

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Put the weights of a prepared head into the module's own."""
        if trainer.global_step:
            return
        data = trainer.train_dataloader.dataset
        where = {"device": pl_module.device}
        (prepared,) = prepare_heads(
            pl_module.backbone, data, [self.preparation], **where, **self.options
        )
        with torch.no_grad():
            for own, probed in zip(
                pl_module.head.parameters(), prepared.head.parameters(), strict=True
            ):
                own.copy_(probed)
        pl_module.log("energy", prepared.aie)


class Classifier(lightning.LightningModule):
    """A module of your own."""

    def __init__(self) -> None:
        """Make backbone and head; the backbone stands in for your pretrained network."""
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(128, 5)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        return cross_entropy(self.head(self.backbone(images)), labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser of backbone and head."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def main() -> None:
    """Train a module whose head is probed first."""
    lightning.seed_everything(0, verbose=False)
    digits = load_digits(range(5))
    train = DataLoader(TensorDataset(digits.images, digits.labels), batch_size=128, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=3,
        callbacks=[ProbeHead(HeadPreparation(energy=0.6))],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Classifier(), train)
    print(f"energy {float(trainer.callback_metrics['energy']):.2f} when training started")


if __name__ == "__main__":
    main()
