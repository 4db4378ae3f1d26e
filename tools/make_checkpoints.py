"""Pretrain the course's own models into checkpoints/ (`make checkpoints`).

A tokenizer, a causal and a masked Transformer, an AWD-LSTM.

Every model sees fresh text of the course world, never the same document twice. Two processes share the work: the masked
model needs as long as the other two together. Interrupted Transformer trainings go on where they stopped.
"""

import math
import subprocess
import sys
import time
from itertools import islice

import torch

from utils import checkpoints, training
from utils.settings import root, seed_everything
from utils.world import Document, World, tasks

SEED = 0
FOLDER = root() / "checkpoints"
STEPS = {"causal": 4600, "masked": 8000}
TOKENS = 3000  # of one batch
LSTM_WORDS = 3_000_000
LSTM = {"emb_sz": 160, "n_hid": 320, "n_layers": 3, "drop_mult": 0.1, "rate": 1e-2, "rows": 32}
SHAPE = {"layers": 4, "width": 192, "heads": 4}
HELD_OUT = "held out"


def causal_model(vocabulary: int) -> torch.nn.Module:
    """A GPT-2 with random weights."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(
        vocab_size=vocabulary, n_layer=SHAPE["layers"], n_embd=SHAPE["width"], n_head=SHAPE["heads"],
        n_positions=160, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.06,
        activation_function="gelu_pytorch_tanh",
        bos_token_id=2, eos_token_id=3, pad_token_id=0, attn_implementation="eager",
    ))  # fmt: skip


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


def agreement_causal(model, tokenizer, pairs) -> float:
    """Share of pairs whose good sentence gets the higher probability."""
    bits = training.token_bits(
        model, tokenizer, [" ".join(words) for pair in pairs for words in (pair.good, pair.bad)]
    )
    totals = [sum(row) for row in bits]
    return sum(good < bad for good, bad in zip(totals[::2], totals[1::2], strict=True)) / len(pairs)


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


def make_transformer(name: str) -> None:
    """Train, measure and save the causal or the masked model."""
    torch.set_num_threads(1)
    seed_everything(SEED)
    world, tokenizer = World(SEED), checkpoints.load_tokenizer()
    model = {"causal": causal_model, "masked": masked_model}[name](len(tokenizer))
    loss = training.causal_loss if name == "causal" else training.masked_loss(0.3, tokenizer.mask_token_id)
    texts = (document.text for document in world.documents("train"))
    started, seen = time.time(), 0
    last = started

    def watch(step: int, value: float) -> None:
        nonlocal last
        if (step + 1) % 500 == 0:
            now = time.time()
            print(f"{name}: step {step + 1} of {STEPS[name]}, {value / math.log(2):.3f} bits a token, "
                  f"{500 * TOKENS / (now - last):,.0f} tokens a second", flush=True)  # fmt: skip
            last = now

    def counted():
        nonlocal seen
        for batch in training.batches(texts, tokenizer, TOKENS):
            seen += int((batch != tokenizer.pad_token_id).sum())
            yield batch

    resume = FOLDER / f"{name}.interrupted"
    training.pretrain(model, counted(), loss, STEPS[name], resume=resume, watch=watch)
    recipe = {"seed": SEED, "steps": STEPS[name], "tokens": seen, "minutes": round((time.time() - started) / 60, 1),
              "precision": training.precision(), "made_by": "tools/make_checkpoints.py"}  # fmt: skip
    checkpoints.save(name, model, model.config, recipe)
    model, _ = {"causal": checkpoints.load_causal, "masked": checkpoints.load_masked}[
        name
    ]()  # as float16 left it
    recipe |= (
        measure_causal(world, model, tokenizer)
        if name == "causal"
        else measure_masked(world, model, tokenizer)
    )
    checkpoints.save(name, model, model.config, recipe)
    print(name, recipe, flush=True)


def measure_causal(world: World, model, tokenizer) -> dict:
    """Held-out bits per word beside the exact entropy, over all and by kind; behavior."""
    documents = held_out(world)
    bits = [sum(row) for row in training.token_bits(model, tokenizer, [d.text for d in documents])]
    words = [len(d.words) + 1 for d in documents]
    return {
        "held_out_bits_per_word": round(sum(bits) / sum(words), 4),
        "exact_bits_per_word": round(sum(d.bits for d in documents) / sum(words), 4),
        "behavior": behavior(world, lambda pairs: agreement_causal(model, tokenizer, pairs), tokenizer),
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


def make_lstm() -> None:
    """Train an AWD-LSTM with fastai and save it in the names of fastai's own pretrained models."""
    from fastai.text.all import (
        AWD_LSTM,
        DataLoaders,
        LMDataLoader,
        LMTensorText,
        awd_lstm_lm_config,
        language_model_learner,
    )

    torch.set_num_threads(1)
    seed_everything(SEED)
    world = World(SEED)
    documents, heldout = world.corpus(LSTM_WORDS), held_out(world)
    vocabulary = lstm_vocabulary(documents)
    index = {word: i for i, word in enumerate(vocabulary)}

    def loader(some: list[Document], rows: int, shuffle: bool) -> LMDataLoader:
        rows_of_ids = [LMTensorText([index["xxbos"], *(index[word] for word in d.words)]) for d in some]
        return LMDataLoader(rows_of_ids, bs=rows, seq_len=48, shuffle=shuffle)

    loaders = DataLoaders(loader(documents, LSTM["rows"], True), loader(heldout, 32, False), device="cpu")
    loaders.vocab = vocabulary
    config = awd_lstm_lm_config | {key: LSTM[key] for key in ("emb_sz", "n_hid", "n_layers")}
    learner = language_model_learner(
        loaders, AWD_LSTM, config=config, pretrained=False, drop_mult=LSTM["drop_mult"]
    )
    started = time.time()
    with learner.no_bar():
        learner.fit_one_cycle(1, LSTM["rate"])
    words = sum(len(d.words) + 1 for d in heldout)
    recipe = {
        "seed": SEED, "words": sum(len(d.words) + 1 for d in documents), "precision": "no",
        "minutes": round((time.time() - started) / 60, 1), "made_by": "tools/make_checkpoints.py",
        "held_out_bits_per_word": round(float(learner.validate()[0]) / math.log(2), 4),
        "exact_bits_per_word": round(sum(d.bits for d in heldout) / words, 4),
    }  # fmt: skip
    checkpoints.save("awd_lstm", learner.model, {**LSTM, "vocabulary": vocabulary}, recipe)
    print("awd_lstm", recipe, flush=True)


def main(parts: list[str]) -> None:
    """Without arguments: the tokenizer, then two processes. With arguments: these parts, one after the other."""
    if parts:
        for part in parts:
            make_lstm() if part == "awd_lstm" else make_transformer(part)
        return
    print("Pretraining three models, about 40 minutes on two cores.", flush=True)
    FOLDER.mkdir(exist_ok=True)
    texts = [document.text for document in islice(World(SEED).documents("tokenizer"), 30_000)]
    training.train_tokenizer(texts, 2048).backend_tokenizer.save(str(FOLDER / "tokenizer.json"))
    command = [sys.executable, "-m", "tools.make_checkpoints"]
    running = [
        subprocess.Popen([*command, *group], cwd=root()) for group in (["masked"], ["causal", "awd_lstm"])
    ]
    failed = [process.wait() for process in running]
    if any(failed):
        sys.exit("A training stopped early: run `make checkpoints` again, it goes on where it stopped.")


if __name__ == "__main__":
    main(sys.argv[1:])
