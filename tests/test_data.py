"""Images and labels: real digits, seeded splits without overlap, and batches that visit all."""

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from taskhead.method.batches import (
    LabelledImages,
    as_labelled,
    forward_batches,
    shuffled_batches,
)
from taskhead.tasks.datasets import load_digits
from taskhead.tasks.task import Draw, Task, split

SIZES = {"image_size": 8, "train_per_class": 2, "val_per_class": 3}


def divide(data: LabelledImages, seed: int = 0, **changes) -> Task:
    own = {name: changes.pop(name) for name in ("test", "names", "n_classes") if name in changes}
    return split(data, Draw(**SIZES | {"seed": seed} | changes), **{"n_classes": 3} | own)


def numbered(per_class: int = 8, n_classes: int = 3) -> LabelledImages:
    """Return images that each hold their own number."""
    labels = torch.arange(per_class * n_classes) % n_classes
    return LabelledImages(torch.arange(len(labels)).float().reshape(-1, 1, 1, 1), labels)


def parts(task: Task) -> list[LabelledImages]:
    return [task.train, task.val, task.test]


def numbers(data: LabelledImages) -> list[int]:
    return data.images.flatten().int().tolist()


def test_digits_are_grey_images_relabelled_from_zero():
    digits = load_digits(range(5, 10))
    assert digits.images.shape == (len(digits), 1, 8, 8)
    assert (digits.images.min(), digits.images.max()) == (0, 1)
    assert digits.labels.unique().tolist() == [0, 1, 2, 3, 4]
    assert len(digits) + len(load_digits(range(5))) == 1797


@given(st.integers(0, 2**32))
def test_splits_share_nothing_and_balance_classes(seed: int):
    data = numbered()
    task = divide(data, seed)
    drawn = [*chain(*map(numbers, parts(task)))]
    assert len(set(drawn)) == len(drawn) == 21
    for part, per_class in zip(parts(task), (2, 3, 2), strict=True):
        assert torch.bincount(part.labels).tolist() == [per_class] * 3
        assert torch.equal(part.labels, data.labels[numbers(part)])


@given(st.integers(0, 2**32))
def test_test_images_are_the_same_for_every_seed_and_never_drawn_from(seed: int):
    first, other = (divide(numbered(), each, test_per_class=3) for each in (0, seed))
    assert torch.bincount(other.test.labels).tolist() == [3] * 3
    assert numbers(other.test) == numbers(first.test)
    assert not set(numbers(first.test)) & set(numbers(other.train) + numbers(other.val))


def test_test_split_of_the_datas_own_is_kept_and_all_images_may_be_drawn():
    own = numbered(per_class=1)
    task = divide(numbered(per_class=5), test=own)
    assert task.test is own
    assert sorted(numbers(task.train) + numbers(task.val)) == list(range(15))


def test_seed_decides_the_split():
    first, same, other = (divide(numbered(), seed).train for seed in (1, 1, 2))
    assert numbers(first) == numbers(same)
    assert numbers(first) != numbers(other)


def test_split_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    divide(numbered(), 1)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_per_class": 5}, r"class 0 .* 8 samples.* train_per_class=5 .*test"),
        ({"n_classes": 4}, r"class 3 .* 0 samples"),
        ({"n_classes": 2}, "from 0 to 2"),
        ({"val_per_class": 0}, "2, 0"),
        ({"test_per_class": 0}, "2, 3 and 0"),
        ({"train_per_class": 6, "names": ["cat", "dog", "elk"]}, "class cat"),
    ],
)
def test_splits_that_cannot_be_are_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        divide(numbered(), **change)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**32))
def test_batches_visit_every_sample_once(n: int, batch_size: int, seed: int):
    batches = shuffled_batches(n, batch_size, torch.Generator().manual_seed(seed), "cpu")
    assert sorted(torch.cat(batches).tolist()) == list(range(n))
    assert {len(batch) for batch in batches[:-1]} <= {batch_size}
    assert len(batches[-1]) <= batch_size


def test_moving_a_task_moves_all_its_data():
    task = divide(numbered())
    task.ood["sketch"] = numbered()
    moved = task.to("meta")
    assert list(moved.ood) == ["sketch"]
    for part in (*parts(moved), moved.ood["sketch"]):
        assert part.images.device.type == part.labels.device.type == "meta"
    for part, same in zip(parts(task), parts(task.to("cpu")), strict=True):
        assert torch.equal(part.images, same.images)


def test_images_and_labels_must_agree_in_number():
    with pytest.raises(ValueError, match="3 images but 2 labels"):
        LabelledImages(torch.zeros(3, 1, 8, 8), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(("size", "expected"), [(8, 1024), (32, 256), (96, 28), (1024, 1)])
def test_forward_batches_hold_the_images_in_order_and_fewer_large_ones(size: int, expected: int):
    images = torch.arange(3.0)[:, None, None, None].expand(3, 1, size, size)
    assert torch.equal(torch.cat(forward_batches(images)), images)
    many = images[:1].expand(1025, 1, size, size)
    assert len(forward_batches(many)[0]) == expected


def test_data_of_any_form_is_taken_for_labelled_images():
    data = numbered()
    for labels in (data.labels.short().numpy(), data.labels.to(torch.uint8)):
        taken = LabelledImages(data.images, labels)
        assert taken.labels.dtype == torch.int64
        assert torch.equal(taken.labels, data.labels)


def test_last_batch_of_one_is_merged_where_asked():
    sizes = [
        [
            len(batch)
            for batch in shuffled_batches(n, 4, torch.Generator(), "cpu", merge_single=True)
        ]
        for n in (1, 5, 9, 10)
    ]
    assert sizes == [[1], [5], [4, 5], [4, 4, 2]]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ([(torch.zeros(1, 2, 2), 0.5), (torch.zeros(1, 2, 2), 1.0)], "float"),
        ([(torch.zeros(1, 2, 2), 0), (torch.zeros(1, 3, 2), 1)], "one shape"),
        ([(torch.zeros(1, 2, 2), 0, 1)], "pairs"),
        ({"images": 1, "labels": 2}, "dict"),
        ("imgs", "str"),
        ([], "empty"),
        (3, "int"),
    ],
    ids=["labels", "shapes", "triples", "dict", "text", "empty", "number"],
)
def test_data_that_is_none_ends_in_one_line(given, named: str):
    with pytest.raises((TypeError, ValueError), match=named) as caught:
        as_labelled(given)
    assert "\n" not in str(caught.value)


def test_loader_gives_what_its_data_set_holds():
    images, labels = torch.arange(20.0).reshape(5, 1, 2, 2), torch.arange(5) % 2
    loader = DataLoader(TensorDataset(images, labels), batch_size=2)
    data = as_labelled(loader)
    assert torch.equal(data.images, images)
    assert torch.equal(data.labels, labels)
    named = DataLoader([{"image": image, "label": 0} for image in images], batch_size=2)
    with pytest.raises(TypeError, match="a batch of the loader"):
        as_labelled(named)


def test_data_set_may_give_labels_as_tensors():
    data = as_labelled([(torch.full((1, 2, 2), n), torch.tensor(n)) for n in range(3)])
    assert data.labels.tolist() == [0, 1, 2]
