"""Names that people know: of series and of backbones."""

import re

_PLACES = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "imagenet": "ImageNet",
    "pacs": "PACS",
    "minilm": "MiniLM",
    "trec": "TREC",
    "subj": "Subj",
    "solar-cells": "solar cells",
}
BACKBONES = {
    "small_convnet": "small network",
    "resnet20": "ResNet-20",
    "squeezenet1_1": "SqueezeNet",
    "efficientnet_lite0": "EfficientNet-Lite0",
    "minilm": "transformer",
}


def titled(series: str) -> str:
    """Return the name of a series as people write it: "ImageNet → PACS (photo)"."""
    setting = re.split(r"[ ,:]", series, maxsplit=1)[0]
    places = [_PLACES.get(place, place) for place in setting.split("-to-")]
    return " → ".join(places) + series[len(setting) :]
