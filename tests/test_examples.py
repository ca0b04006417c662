"""Examples in other training loops: each runs, and finetuning starts at the energy asked for."""

import json
import re
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY
from torch.utils.data import DataLoader, TensorDataset

from taskhead import HeadPreparation, average_initial_energy
from taskhead.tasks.datasets import load_digits

pytestmark = pytest.mark.filterwarnings("ignore")  # of other libraries
ASKED = 0.6


def test_page_quotes_the_examples_as_they_are():
    notebook = json.loads((REPOSITORY / "notebooks" / "your-own-data.ipynb").read_text())
    text = "".join("".join(cell["source"]) for cell in notebook["cells"])
    for path in (REPOSITORY / "examples").glob("*.py"):
        quoted = text.split(f"`examples/{path.name}`")[1].split("```")[1].removeprefix("python\n")
        lines = {line.strip() for line in path.read_text().splitlines()}
        assert {line.strip() for line in quoted.splitlines()} <= lines, path.name


def test_plain_loop_goes_on_from_the_prepared_head(capsys: pytest.CaptureFixture[str]):
    from examples import plain_pytorch

    plain_pytorch.main()
    printed = capsys.readouterr().out
    assert f"energy {ASKED:.2f}" in printed
    losses = [float(loss) for loss in re.findall(r"loss (\S+)", printed)]
    assert len(losses) == 3
    assert losses == sorted(losses, reverse=True)


def test_trainer_of_hugging_face_starts_at_the_energy(tmp_path: Path, monkeypatch):
    pytest.importorskip("accelerate", reason="needs taskhead[examples]")
    pytest.importorskip("transformers", reason="needs taskhead[examples]")
    from examples import huggingface_trainer

    data, energies = load_digits(range(5)), []

    class Watched(huggingface_trainer.Trainer):
        def train(self):
            with torch.no_grad():
                logits = self.model(pixel_values=data.images).logits
            energies.append(average_initial_energy(logits, data.labels))
            return super().train()

    monkeypatch.setattr(huggingface_trainer, "Trainer", Watched)
    huggingface_trainer.main(str(tmp_path))
    assert energies == [pytest.approx(ASKED, abs=0.02)]


def test_callback_of_lightning_probes_when_training_starts_and_not_when_it_goes_on(
    tmp_path: Path, monkeypatch
):
    lightning = pytest.importorskip("lightning", reason="needs taskhead[examples]")
    from examples import lightning_callback as example

    digits, energies = load_digits(range(5)), []
    data = TensorDataset(digits.images, digits.labels)
    loader = DataLoader(data, batch_size=len(data))
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    probing = example.ProbeHead(HeadPreparation(energy=ASKED), batch_size=len(data))

    class Watch(lightning.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            logits = pl_module.head(pl_module.backbone(batch[0]))
            energies.append(average_initial_energy(logits, batch[1]))

    def fit(epochs: int, checkpoint: Path | None = None) -> "lightning.Trainer":
        trainer = lightning.Trainer(
            max_epochs=epochs,
            callbacks=[probing, Watch()],
            accelerator="cpu",
            default_root_dir=tmp_path,
            enable_checkpointing=False,
            **quiet,
        )
        trainer.fit(example.Classifier(), loader, ckpt_path=checkpoint)
        return trainer

    first = fit(1)
    assert energies == [pytest.approx(ASKED, abs=0.02)]
    assert float(first.callback_metrics["energy"]) == pytest.approx(ASKED, abs=0.001)
    first.save_checkpoint(tmp_path / "first.ckpt")

    def refused(*_, **__):
        raise AssertionError("a run that is resumed probes again")

    monkeypatch.setattr(example, "prepare_heads", refused)
    fit(2, tmp_path / "first.ckpt")
    assert len(energies) == 2


def test_whole_example_of_lightning_runs(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("lightning", reason="needs taskhead[examples]")
    from examples import lightning_callback

    lightning_callback.main()
    assert f"energy {ASKED:.2f}" in capsys.readouterr().out
