"""Tell the class of an image with the model in this folder: python example.py IMAGE."""

import json
import sys
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torchvision.transforms.functional import InterpolationMode, center_crop, pil_to_tensor, resize


def tell(image_file: Path, folder: Path) -> dict[str, float]:
    """Return the probability of each class for an image of 8 bits without transparent parts."""
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    network = torch.export.load(folder / "model.pt2").module()
    size, how = facts["image_size"], InterpolationMode(facts["interpolation"])
    image = ImageOps.exif_transpose(Image.open(image_file)).convert("RGB")
    pixels = pil_to_tensor(center_crop(resize(image, [size], how), [size, size]))
    with torch.no_grad():
        shares = network(pixels[None]).softmax(dim=1)[0]  # it takes uint8 (N, 3, S, S)
    return dict(zip(facts["classes"], shares.tolist(), strict=True))


if __name__ == "__main__":
    print(tell(Path(sys.argv[1]), Path(__file__).parent))
