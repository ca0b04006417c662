"""A training loop of your own, from a head that was probed down to an energy first."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from taskhead import HeadPreparation, prepare_heads
from taskhead.tasks.datasets import load_digits


def main() -> None:
    """Prepare a head, then finetune backbone and head in a plain loop."""
    torch.manual_seed(0)
    digits = load_digits(range(5))
    train = TensorDataset(digits.images, digits.labels)
    backbone = nn.Sequential(  # stands in for your pretrained network; it returns features (N, h)
        nn.Conv2d(1, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    )

    # The loop below trains with `network.train()`: BatchNorm normalises by the batch.
    (prepared,) = prepare_heads(backbone, train, [HeadPreparation(energy=0.6)], bn_mode="train")
    network = nn.Sequential(prepared.backbone, prepared.head)
    print(f"energy {prepared.aie:.2f} after {prepared.tau:.1f} epochs of probing")

    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    network.train()
    for epoch in range(1, 4):
        total = 0.0
        for images, labels in DataLoader(train, batch_size=128, shuffle=True):
            loss = cross_entropy(network(images), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(labels)
        print(f"epoch {epoch}: training loss {total / len(train):.3f}")


if __name__ == "__main__":
    main()
