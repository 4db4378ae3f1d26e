"""Pretrain the course's own models into checkpoints/ (`make checkpoints`).

A tokenizer, a causal and a masked Transformer, an AWD-LSTM, and the pair of AWD-LSTMs of Lab 4a. MiniLM tuned on SQuAD
(Lab 4b) is made apart, because it needs SQuAD: `python -m tools.make_checkpoints squad`.

Every model sees fresh text of the course world, never the same document twice. Two processes share the work: the masked
model needs as long as the other two together. Interrupted trainings go on where they stopped, but
for an AWD-LSTM's, which begins anew: it takes 18 minutes at most.
"""

import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from utils import checkpoints, lstm, training
from utils.settings import root, seed_everything
from utils.world import Document, World, tasks

SEED = 0
FOLDER = root() / "checkpoints"
UNFINISHED = FOLDER / "unfinished"  # states of trainings, and markers of finished parts
FINISHED = FOLDER / "finished"  # the same, about to be removed
# Among whole texts the masked model finds no way from a cue ("sadly") to the opinion five words on: after the first
# part it is at chance. Its second part begins with single sentences that hold a cue, where there is little else to
# look at, and ends with whole texts again.
SENTENCES = "masked sentences"
FIRST_SENTENCES = 100_000
STEPS = {"causal": 4600, "masked": 8000, SENTENCES: 1800}
PEAK = {"causal": 2e-3, "masked": 2e-3, SENTENCES: 1.5e-3}
TOKENS = 3000  # of one batch
LSTM = {"emb_sz": 160, "n_hid": 320, "n_layers": 3, "drop_mult": 0.1, "rows": 32}
# Lab 1's AWD-LSTM starts from random embeddings, and after three million words it can't tell words that praise from
# words that blame: they stand in the same places. Vectors of the words that share a document can, so the pair that Lab
# 4a starts from, one reading forward, one backward, begins with such vectors as embeddings, and open forget gates.
RECURRENT: dict[str, dict[str, Any]] = {
    "awd_lstm": {"words": 3_000_000, "rate": 1e-2, "step": 1, "from_vectors": False},
    "ulmfit_forward": {"words": 6_000_000, "rate": 5e-3, "step": 1, "from_vectors": True},
    "ulmfit_backward": {"words": 6_000_000, "rate": 5e-3, "step": -1, "from_vectors": True},
}  # step: from word to word
SPREAD, OPEN = 0.3, 1.0  # standard deviation of the first embeddings, bias of the forget gates
# Lab 4b, all of its questions; the three tuned networks are averaged, and matrices of the change cut to a rank
SQUAD = {"questions": 4364, "epochs": 2, "rate": 2e-4, "batch": 8, "seeds": 3, "rank": 32}
SHAPE = {"layers": 4, "width": 192, "heads": 4}
HELD_OUT = "held out"


def causal_model(vocabulary: int) -> torch.nn.Module:
    """A GPT-2 with random weights."""
    return training.gpt(SHAPE["width"], SHAPE["layers"], vocabulary, SHAPE["heads"])


def held_out(world: World, words: int = 100_000) -> list[Document]:
    """Text that no model has seen."""
    return world.corpus(words, HELD_OUT)


def masked_model(vocabulary: int) -> torch.nn.Module:
    """A ModernBERT (pre-norm, rotary positions, gated units) with random weights."""
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    return ModernBertForMaskedLM(ModernBertConfig(
        vocab_size=vocabulary, num_hidden_layers=SHAPE["layers"], hidden_size=SHAPE["width"],
        num_attention_heads=SHAPE["heads"], intermediate_size=2 * SHAPE["width"], max_position_embeddings=160,
        initializer_range=0.06, pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
        attn_implementation="eager",
    ))  # fmt: skip


def agreement_masked(model, tokenizer, pairs) -> float:
    """Share of pairs whose good word is more probable at the masked place."""
    hits = 0
    for pair in pairs:
        choices = [pair.good[pair.position], pair.bad[pair.position]]
        good, bad = training.masked_choice(model, tokenizer, pair.good, pair.position, choices)
        hits += good > bad
    return hits / len(pairs)


def one_token(pairs: list[tasks.MinimalPair], tokenizer) -> list[tasks.MinimalPair]:
    """The pairs whose two words are one token each."""
    ids = tokenizer(
        [p.good[p.position] for p in pairs] + [p.bad[p.position] for p in pairs], add_special_tokens=False
    )
    lengths = [len(row) for row in ids["input_ids"]]
    return [p for p, a, b in zip(pairs, lengths, lengths[len(pairs) :], strict=False) if a == b == 1]


def behavior(world: World, choose, tokenizer, count: int = 400) -> dict[str, float]:
    """Accuracy on agreement with 0, 1 and 2 attractors, on nonce agreement, and on polarity cues."""
    sets = {f"agreement, {k} attractors": tasks.agreement(world, count, k, HELD_OUT) for k in (0, 1, 2)}
    sets["agreement, 1 attractor, nonce"] = tasks.agreement(world, count, 1, HELD_OUT, nonce=True)
    sets["polarity cues"] = tasks.polarity_cues(world, count, HELD_OUT)
    return {name: round(choose(one_token(pairs, tokenizer)), 4) for name, pairs in sets.items()}


def make_transformer(part: str) -> None:
    """Train, measure and save the causal model, the masked model, or the second part of the masked model's training."""
    torch.set_num_threads(1)
    seed_everything(SEED)
    name, plan = part.split()[0], STEPS[part]
    world, tokenizer = World(SEED), checkpoints.load_tokenizer()
    started, seen = time.time(), 0

    def watch(step: int, value: float) -> None:
        if (step + 1) % 500 == 0:
            minutes = (time.time() - started) / 60
            print(
                f"{part}: step {step + 1} of {plan}, {value / math.log(2):.3f} bits, {minutes:.1f} minutes",
                flush=True,
            )

    def counted() -> Iterator[torch.Tensor]:
        nonlocal seen
        for batch in training.batches(texts_of(world, part), tokenizer, TOKENS):
            seen += int((batch != tokenizer.pad_token_id).sum())
            yield batch

    model = {"causal": causal_model, "masked": masked_model}[name](len(tokenizer))
    if part == SENTENCES and not state_of(part).exists():
        checkpoints.load_into(model, name)
    loss = training.causal_loss if name == "causal" else training.masked_loss(0.3, tokenizer.mask_token_id)
    training.pretrain(model, counted(), loss, plan, PEAK[part], resume=state_of(part), watch=watch)
    minutes = round((time.time() - started) / 60, 1)
    recipe = {
        "steps": plan,
        "tokens": seen,
        "minutes": minutes,
        "seed": SEED,
        "precision": training.precision(),
    }
    if part == SENTENCES:
        old = checkpoints.recipe(name)
        first = old.get("parts", [old])[0]  # the second part may have been saved before a kill
        parts = [{key: each[key] for key in ("steps", "tokens", "minutes")} for each in (first, recipe)]
        recipe |= {"parts": parts} | {key: round(sum(p[key] for p in parts), 1) for key in parts[0]}
    recipe["made_by"] = "tools/make_checkpoints.py"
    checkpoints.save(name, model, model.config, recipe)
    model, _ = {"causal": checkpoints.load_causal, "masked": checkpoints.load_masked}[
        name
    ]()  # as float16 left it
    measure = measure_causal if name == "causal" else measure_masked
    checkpoints.save(name, model, model.config, recipe | measure(world, model, tokenizer))
    print(part, checkpoints.recipe(name), flush=True)


def texts_of(world: World, part: str) -> Iterator[str]:
    """Fresh text of all kinds; the second part of the masked training begins with sentences that hold a cue."""
    if part == SENTENCES:
        reviews = world.documents("train sentences", "review")
        cued = (s for review in reviews for s in review.sentences if "cue" in s.slots)
        yield from (" ".join(sentence.words) for sentence in islice(cued, FIRST_SENTENCES))
    stream = "train again" if part == SENTENCES else "train"
    yield from (document.text for document in world.documents(stream))


def measure_causal(world: World, model, tokenizer) -> dict:
    """Held-out bits per word beside the exact entropy, over all and by kind; behavior."""
    documents = held_out(world)
    bits = [sum(row) for row in training.token_bits(model, tokenizer, [d.text for d in documents])]
    words = [len(d.words) + 1 for d in documents]
    return {
        "held_out_bits_per_word": round(sum(bits) / sum(words), 4),
        "exact_bits_per_word": round(sum(d.bits for d in documents) / sum(words), 4),
        "behavior": behavior(world, lambda pairs: training.preferred(model, tokenizer, pairs), tokenizer),
    }


def measure_masked(world: World, model, tokenizer) -> dict:
    """Share of masked tokens filled in rightly on held-out text, 15 % masked; their loss in bits; behavior."""
    texts = [d.text for d in held_out(world, 30_000)]
    generator = torch.Generator().manual_seed(SEED)
    right = total = 0
    loss = 0.0
    for batch in training.batches(texts, tokenizer, TOKENS):
        corrupted, chosen = training.mask_tokens(
            batch, 0.15, tokenizer.mask_token_id, 5, len(tokenizer), generator
        )
        with torch.no_grad():
            logits = (
                model(corrupted, attention_mask=(batch != tokenizer.pad_token_id).long())
                .logits[chosen]
                .float()
            )
        right += int((logits.argmax(-1) == batch[chosen]).sum())
        loss += torch.nn.functional.cross_entropy(logits, batch[chosen], reduction="sum").item() / math.log(2)
        total += int(chosen.sum())
    return {
        "held_out_masked_accuracy": round(right / total, 4),
        "held_out_masked_bits": round(loss / total, 4),
        "behavior": behavior(world, lambda pairs: agreement_masked(model, tokenizer, pairs), tokenizer),
    }


def lstm_vocabulary(documents: list[Document]) -> list[str]:
    """fastai's special tokens, then every word of the world."""
    from fastai.text.all import defaults

    return [*defaults.text_spec_tok, *sorted({word for d in documents for word in d.words})]


def make_lstm(name: str) -> None:
    """Train an AWD-LSTM with fastai and save it in the names of fastai's own pretrained models."""
    torch.set_num_threads(1)
    seed_everything(SEED)
    plan = RECURRENT[name]
    world, step = World(SEED), plan["step"]
    documents, heldout = world.corpus(plan["words"]), held_out(world)
    vocabulary = lstm_vocabulary(documents)
    shape = LSTM | {"rate": plan["rate"]}
    learner = lstm.learner([d.words[::step] for d in documents], vocabulary, shape)
    if plan["from_vectors"]:
        start_from_vectors(learner.model[0], document_vectors(documents[:40_000], vocabulary, LSTM["emb_sz"]))
    started = time.time()
    with learner.no_logging():
        learner.fit_one_cycle(1, plan["rate"])
    minutes = round((time.time() - started) / 60, 1)
    shape |= {"vocabulary": vocabulary}
    checkpoints.save(name, learner.model, shape, {})
    model = learner.model.eval()
    checkpoints.load_into(model, name)  # as float16 left it
    words = [len(d.words) + 1 for d in heldout]
    bits = lstm.bits(model, vocabulary, [d.words[::step] for d in heldout])
    cues = lstm.preferred(model, vocabulary, tasks.polarity_cues(world, 400, HELD_OUT), step)
    recipe = {
        "seed": SEED, "words": sum(len(d.words) + 1 for d in documents), "precision": "no", "minutes": minutes,
        "made_by": "tools/make_checkpoints.py",
        "held_out_bits_per_word": round(sum(bits) / sum(words), 4),
        "exact_bits_per_word": round(sum(d.bits for d in heldout) / sum(words), 4),
        "behavior": {"polarity cues": round(cues, 4)},
    }  # fmt: skip
    checkpoints.save(name, model, shape, recipe)
    print(name, recipe, flush=True)


def make_squad() -> None:
    """Tune MiniLM on questions of SQuAD with three seeds, as Lab 4b does, and save what changed in the mean."""
    from utils import bert_tf, minilm, span_tf, squad

    source, began = minilm.folder(), time.time()
    # the lab's recorded trainings, from which the shipped difference comes, multiply matrices in bfloat16
    bert_tf.tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": True})
    sizes = replace(
        bert_tf.Config.read(source / "config.json"),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    examples = squad.load("train", repair=True)
    tuned: list[list[np.ndarray]] = []
    for seed in range(SQUAD["seeds"]):
        seed_everything(seed)
        bert = bert_tf.Bert(sizes, seed)
        bert_tf.load_safetensors(bert.named, source / "model.safetensors")
        start = {name: weight.numpy() for name, weight in bert.named.items()}
        model = span_tf.SpanModel(bert, seed)
        chosen = squad.windows(Random(seed).sample(examples, SQUAD["questions"]), minilm.tokenizer())
        state = state_of(f"squad {seed}")
        span_tf.train(model, chosen, SQUAD["epochs"], SQUAD["rate"], SQUAD["batch"], seed=seed, resume=state)
        tuned.append(model.get_weights())
    model.set_weights([np.mean(weights, axis=0) for weights in zip(*tuned, strict=True)])
    save_squad(span_tf.difference(model, start, SQUAD["rank"]), round((time.time() - began) / 60, 1))


def save_squad(change: dict[str, np.ndarray], minutes: float) -> None:
    """Save the difference to MiniLM, and the scores on SQuAD's dev questions that float16 has left."""
    from utils import minilm, span_tf, squad

    tensors = {name: torch.tensor(value) for name, value in change.items()}
    origin = {"model": "sentence-transformers/all-MiniLM-L6-v2"}
    recipe = SQUAD | {
        "minutes": minutes,
        "seed": SEED,
        "made_by": "tools/make_checkpoints.py",
        "data": "SQuAD 1.1 (CC BY-SA 4.0)",
    }
    checkpoints.save("squad", tensors, origin, recipe)
    test = squad.load("dev", repair=True)
    windows = squad.windows(test, minilm.tokenizer())
    found = squad.predict(test, windows, *span_tf.logits(span_tf.load_tuned(), windows))
    scores = squad.evaluate(test, {e.id: p.best.text for e, p in zip(test, found, strict=True)})
    recipe |= {"test": {name: round(value, 2) for name, value in scores.items()}}
    checkpoints.save("squad", tensors, origin, recipe)
    print("squad", recipe, flush=True)


def start_from_vectors(encoder: torch.nn.Module, vectors: torch.Tensor) -> None:
    """Give an untrained AWD-LSTM vectors of words [words, size] as its embeddings, and open its forget gates."""
    with torch.no_grad():
        encoder.encoder.weight.copy_(SPREAD * vectors)
        for layer in encoder.rnns:
            size = layer.module.hidden_size
            layer.module.bias_ih_l0[size : 2 * size] = OPEN


def document_vectors(documents: list[Document], vocabulary: list[str], size: int) -> torch.Tensor:
    """Latent semantic vectors [words, size]: whitened singular vectors of the positive mutual information of two words
    in one document (Deerwester et al. 1990; Levy & Goldberg 2014). Words of no document have zeros, up to rounding."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.utils.extmath import randomized_svd

    counter = CountVectorizer(analyzer=set, vocabulary=vocabulary)
    counts = counter.transform([d.words for d in documents])
    together = (counts.T @ counts).toarray().astype(float)
    np.fill_diagonal(together, 0)
    alone = together.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(together * together.sum() / np.outer(alone, alone))
    vectors, _, _ = randomized_svd(
        np.where(np.isfinite(information), information, 0).clip(0), size, random_state=SEED
    )
    return torch.tensor(vectors / vectors.std(), dtype=torch.float32)


def state_of(part: str) -> Path:
    """The file of the state of a training, from which it goes on."""
    return UNFINISHED / f"{part.replace(' ', '-')}.state"


def marker(part: str) -> Path:
    """The file that says that this part is finished, while others are not."""
    return state_of(part).with_suffix(".finished")


def finish() -> None:
    """Remove states and markers, all at once: a part without its marker would be made again from what is there."""
    shutil.rmtree(UNFINISHED.rename(FINISHED))


def main(parts: list[str]) -> None:
    """Without arguments: the tokenizer, then two processes. With arguments: these parts, one after the other."""
    shutil.rmtree(FINISHED, ignore_errors=True)
    UNFINISHED.mkdir(parents=True, exist_ok=True)
    if parts == ["squad"]:
        make_squad()
        for seed in range(SQUAD["seeds"]):
            state_of(f"squad {seed}").unlink()
        return
    if parts:
        for part in parts:
            if not marker(part).exists():
                make_lstm(part) if part in RECURRENT else make_transformer(part)
                marker(part).touch()
        return
    print("Pretraining five models, about 50 minutes on two cores.", flush=True)
    texts = [document.text for document in islice(World(SEED).documents("tokenizer"), 30_000)]
    training.train_tokenizer(texts, 2048).backend_tokenizer.save(str(FOLDER / "tokenizer.json"))
    command = [sys.executable, "-m", "tools.make_checkpoints"]
    running = [
        subprocess.Popen([*command, *group], cwd=root())
        for group in (["masked", SENTENCES, "ulmfit_backward"], ["causal", "awd_lstm", "ulmfit_forward"])
    ]
    failed = [process.wait() for process in running]
    if any(failed):
        sys.exit("A training stopped early: run `make checkpoints` again, it goes on where it stopped.")
    finish()


if __name__ == "__main__":
    main(sys.argv[1:])
