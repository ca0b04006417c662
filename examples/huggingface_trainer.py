"""The Trainer of Hugging Face, from a classifier that was probed down to an energy first."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments, ViTConfig, ViTForImageClassification

from taskhead import HeadPreparation, LabelledImages, prepare_heads
from taskhead.tasks.datasets import load_digits


class Features(nn.Module):
    """What the classifier of a transformer is given, for a batch of images."""

    def __init__(self, model: ViTForImageClassification) -> None:
        """Take a model; it stays as it is."""
        super().__init__()
        self.model = copy.deepcopy(model)
        self.model.classifier = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, h)."""
        return self.model(pixel_values=images).logits


class Inputs(Dataset):
    """Labelled images as the Trainer wants them."""

    def __init__(self, data: LabelledImages) -> None:
        """Take the images."""
        self.data = data

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one of them."""
        return {"pixel_values": self.data.images[index], "labels": self.data.labels[index]}


def make_model() -> ViTForImageClassification:
    """Return a tiny transformer with random weights, which stands in for your pretrained one."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "image_size": 8,
        "patch_size": 2,
        "num_channels": 1,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_labels": 5,
        "initializer_range": 0.3,  # random features that tell the images apart
    }
    return ViTForImageClassification(ViTConfig(**sizes))


def main(folder: str = "runs/huggingface") -> None:
    """Prepare the classifier of a model, then train the model."""
    model, train = make_model(), load_digits(range(5))

    # The Trainer trains in train mode: dropout acts, if the model has any.
    (prepared,) = prepare_heads(
        Features(model), train, [HeadPreparation(energy=0.6, init="normal")], dropout=True
    )
    model.classifier.load_state_dict(prepared.head[-1].state_dict())
    print(f"energy {prepared.aie:.2f} after {prepared.tau:.1f} epochs of probing")

    arguments = TrainingArguments(
        folder, num_train_epochs=3, learning_rate=1e-3, report_to="none", save_strategy="no"
    )
    Trainer(model, arguments, train_dataset=Inputs(train)).train()


if __name__ == "__main__":
    main()
