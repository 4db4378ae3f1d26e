"""Classifiers on top of a language model: features, a linear probe, fine-tuning (labs 1, 3 and 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from utils.adaptation import adamw, linear_warmup, rate_groups
from utils.errors import CourseError
from utils.training import encode, pad, precision

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from utils.world.tasks import Labeled


def pool(states: Tensor, real: Tensor) -> Tensor:
    """Mean over the real tokens beside the state of the last one: [rows, width, d] -> [rows, 2 d]."""
    mean = (states * real[..., None]).sum(1) / real.sum(1, keepdim=True)
    last = states[torch.arange(len(states), device=states.device), real.sum(1) - 1]
    return torch.cat([mean, last], dim=-1)


class Classifier(torch.nn.Module):
    """A language model without its head, pooling, and one linear layer (Howard & Ruder 2018 pool alike)."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, classes: int):
        super().__init__()
        self.encoder, self.tokenizer = model.base_model, tokenizer
        self.head = torch.nn.Linear(2 * model.config.hidden_size, classes, device=model.device)

    def forward(self, batch: Tensor) -> Tensor:
        """Logits [rows, classes] of a padded batch of ids [rows, width]."""
        real = (batch != self.tokenizer.pad_token_id).long()
        states = self.encoder(batch, attention_mask=real).last_hidden_state
        return self.head(pool(states, real).float())


def fine_tune(
    classifier: Classifier,
    texts: Sequence[str],
    labels: Sequence[int] | np.ndarray,
    updates: int,
    rate: float,
    seed: int,
    rows: int = 16,
    *,
    schedule: Callable[[int, int], float] = linear_warmup,
    scales: Mapping[str, float] | None = None,
    extra: Callable[[Tensor], Tensor] | None = None,
    before: Callable[[int], None] | None = None,
    watch: Callable[[int], None] | None = None,
    loss: Callable[[Tensor, list[int]], Tensor] | None = None,
    optimizer: Callable[[list[dict], float], torch.optim.Optimizer] = adamw,
) -> None:
    """Train `classifier` in place: `updates` batches of `rows` texts, AdamW with a peak of `rate`.

    Weights with requires_grad off stay as they are. `labels` are class numbers, or rows of class probabilities [texts,
    classes] (soft targets). `schedule(update, updates)` gives the factor of the rate, `scales` multiples of it by name
    pattern (see `adaptation.rate_groups`). `extra(batch)` is added to the loss of each batch of ids [rows, width];
    `before(update)` is called before an update, to freeze or thaw, and `watch(update)` after it. `loss(logits, some)`
    takes the place of the cross-entropy with the labels, given a batch's logits [rows, classes] and the numbers of its
    texts; `optimizer(groups, rate)` takes that of `adaptation.adamw`.

    Raises CourseError when there is no text, when texts and labels differ in number, when a label is out of range, and
    when all labels are the same.
    """
    targets = _targets(labels, len(texts), classifier.head.out_features)
    ids, device = encode(classifier.tokenizer, texts), classifier.head.weight.device
    order = np.random.default_rng(seed)
    queue: list[int] = []
    groups = rate_groups(classifier, scales or {"*": 1.0})
    steps = optimizer(groups, rate)
    classifier.train()
    for update in range(updates):
        if before:
            before(update)
        while len(queue) < rows:
            queue += order.permutation(len(ids)).tolist()
        some, queue = queue[:rows], queue[rows:]
        batch = pad([ids[i] for i in some], max(len(ids[i]) for i in some), classifier.tokenizer.pad_token_id)
        for group in steps.param_groups:
            group["lr"] = rate * group["scale"] * schedule(update, updates)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision() == "bf16"):
            logits = classifier(batch.to(device))
            more = extra(batch.to(device)) if extra else 0.0
        logits = logits.float()
        own = loss(logits, some) if loss else cross_entropy(logits, targets[some].to(device))
        (own + more).backward()
        torch.nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        steps.step()
        steps.zero_grad()
        if watch:
            watch(update)
    classifier.eval()


def _targets(labels: Sequence[int] | np.ndarray, texts: int, classes: int) -> Tensor:
    """Labels as a tensor, after a look at all that people get wrong about them."""
    if not texts:
        raise CourseError("There is no text to learn from: give at least one with its label.")
    if len(labels) != texts:
        raise CourseError(f"There are {texts} texts and {len(labels)} labels: give one label for each text.")
    values = np.asarray(labels)
    if values.ndim == 2:
        if values.shape[1] != classes:
            raise CourseError(
                f"Soft labels have {values.shape[1]} columns and the classifier {classes} classes."
            )
        return torch.tensor(values, dtype=torch.float32)
    wrong = next((i for i, label in enumerate(values.tolist()) if label not in range(classes)), None)
    if wrong is not None:
        raise CourseError(
            f"Label {values[wrong]} of text {wrong} is none of the {classes} classes: use 0 to {classes - 1}."
        )
    if (values == values[0]).all():
        raise CourseError(
            f"All {texts} labels are {values[0]}: a classifier needs texts of two classes at least."
        )
    return torch.tensor(values, dtype=torch.long)


def texts_and_labels(items: Sequence[Labeled]) -> tuple[list[str], list[int]]:
    """The texts of labeled items, words joined by spaces, and their labels."""
    return [" ".join(item.words) for item in items], [item.label for item in items]


def accuracy(classifier: Classifier, items: Sequence[Labeled]) -> float:
    """Share of `items` that the classifier labels rightly."""
    texts, labels = texts_and_labels(items)
    return float(np.mean(predict(classifier, texts) == labels))


def predict(classifier: Classifier, texts: Sequence[str]) -> np.ndarray:
    """The class of each text: int [texts]."""
    return predict_logits(classifier, texts).argmax(-1)


def predict_logits(classifier: Classifier, texts: Sequence[str]) -> np.ndarray:
    """The logits of each text: float32 [texts, classes]."""
    device = classifier.head.weight.device
    with torch.autocast(device.type, torch.bfloat16, enabled=precision() == "bf16"):
        return _in_batches(classifier, classifier.tokenizer, texts, device)


def features(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> np.ndarray:
    """Pooled states of a frozen model: float32 [texts, 2 d]."""

    def pooled(batch: Tensor) -> Tensor:
        real = (batch != tokenizer.pad_token_id).long()
        return pool(model.base_model(batch, attention_mask=real).last_hidden_state, real)

    return _in_batches(pooled, tokenizer, texts, model.device)


@torch.no_grad()
def _in_batches(
    function: Callable[[Tensor], Tensor],
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    device: torch.device,
    rows: int = 64,
) -> np.ndarray:
    """`function` of padded batches of texts of like length, put back into the order of the texts."""
    ids = encode(tokenizer, texts)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found: list[np.ndarray] = [np.empty(0)] * len(ids)
    for start in range(0, len(order), rows):
        some = order[start : start + rows]
        batch = pad([ids[i] for i in some], max(len(ids[i]) for i in some), tokenizer.pad_token_id)
        for i, row in zip(some, function(batch.to(device)).float().cpu().numpy(), strict=True):
            found[i] = row
    return np.stack(found)


def tuned_accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    train: Sequence[Labeled],
    tests: Sequence[Sequence[Labeled]],
    updates: int,
    rate: float,
    seed: int,
) -> list[float]:
    """Fine-tune a classifier on `model` with labeled texts (see `fine_tune`); its accuracy on each test set."""
    torch.manual_seed(seed)
    classifier = Classifier(model, tokenizer, 1 + max((item.label for item in train), default=0))
    fine_tune(classifier, *texts_and_labels(train), updates, rate, seed)
    return [accuracy(classifier, items) for items in tests]


def probe_accuracy(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    train: Sequence[Labeled],
    tests: Sequence[Sequence[Labeled]],
) -> list[float]:
    """Logistic regression on the pooled states of a frozen model; its accuracy on each test set."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    texts, labels = texts_and_labels(train)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    probe.fit(features(model, tokenizer, texts), labels)
    return [float(probe.score(features(model, tokenizer, x), y)) for x, y in map(texts_and_labels, tests)]


def counted_accuracy(train: Sequence[Labeled], tests: Sequence[Sequence[Labeled]]) -> list[float]:
    """Logistic regression on word counts, the bag of words; its accuracy on each test set."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    texts, labels = texts_and_labels(train)
    counts = CountVectorizer(token_pattern=r"\S+")
    model = LogisticRegression(max_iter=1000).fit(counts.fit_transform(texts), labels)
    return [float(model.score(counts.transform(x), y)) for x, y in map(texts_and_labels, tests)]
