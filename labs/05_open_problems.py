# %% [markdown]
# # Lab 5: Open problems
#
# <!-- colab badge -->
#
# In 2019 the tutorial closed with a list of what nobody could do yet: train a model twice and get the same result,
# say which of its parts are needed, keep it from learning the wrong thing, tell which tasks are related, let it learn
# one thing after another, find out what it knows, and what it should not have learned. Some items have been solved
# since, some were renamed, some are as open as they were. This lab turns each of them into an experiment that a
# laptop can run.
#
# **You will be able to** tell a bad recipe from bad luck; make a network smaller in four ways and compare them
# fairly; plant a shortcut and catch a model using it; say which objective wins where; write tasks as prompts and test
# what the prompt contributes; measure transfer between tasks, forgetting, knowledge, and a planted prejudice, and
# doubt each of these measurements in the right place.
#
# **You should know** what fine-tuning is and what a seed changes (Lab 3). The sections can be read in any order.
#
# | what | two CPU cores | one GPU |
# |---|---|---|
# | time | about 5 minutes | not measured |
# | memory | 3 GiB | not measured |
# | download | nothing | nothing (`mini`); 2 MB (`full`: word lists, WinoBias) |
#
# Measured numbers here differ a little from machine to machine. Behind each figure stand many recorded runs; the lab
# repeats some of them live and checks that they fall where the recorded ones say.

# %%
# course setup

# %%
import math
import tempfile
from copy import deepcopy
from functools import lru_cache
from itertools import islice
from pathlib import Path

from utils import settings

settings.seed_everything(0)

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

# %%
from utils import adaptation, checkpoints, classification, training
from utils.errors import CourseError, refused
from utils.evidence import Lab
from utils.intervals import mean_ci, paired_ci
from utils.plots import COLORS, band, show, style
from utils.world import World, tasks

# %%
style()
settings.threads(1)
lab = Lab("05_open_problems")
world = World(0)
folder = Path(tempfile.mkdtemp())
causal, tokenizer = checkpoints.load_causal()

# %% [markdown]
# Most sections use the course's causal Transformer (Lab 1), a GPT-2 of four layers that has read ten million words of
# the course world, and most tune it to tell positive reviews from negative ones. As in Lab 3 there are two tests:
# with opinion words that labeled reviews use (*known*), and with words that no label ever shows (*new*).


# %%
@lru_cache(maxsize=128)
def reviews(split, count, seed=0):
    """The first `count` labeled reviews of a split of the world; the seed draws others."""
    return tasks.sentiment(world, count, split, seed)


# %%
for review in reviews("train", 16)[:2] + reviews("test new words", 16)[:2]:
    print("+" if review.label else "-", " ".join(review.words))

# %% [markdown]
# ## Instability
#
# Devlin et al. (2019) tuned BERT-base on one small task again and again with the same settings, and got between 84 and
# 88 %. A larger BERT sometimes learned nothing at all on a small data set, so they started it several times and kept
# the run that was best on validation data. Fine-tuning had something of a lottery. Which part of it was luck, and
# which part was the recipe?
#
# Our recipe: 64 labeled reviews, always the same ones, in batches of 16. An epoch is then four updates, and BERT's
# usual three epochs are twelve. Nothing will change between two runs but the random numbers. There are two kinds of
# them, and we give each a seed of its own: one for the initial values of the new layer on top, one for the order of
# the reviews.

# %%
from utils import minilm, sentences, stability
from utils.intervals import Interval, rank_correlation_ci

RERUN_TESTS = {"known": "test", "new": "test new words"}


# %%
def rerun(weights, order, labeled, updates, rate, look=None, **options):
    """A classifier tuned on a copy of the causal model: one seed for its new weights, one for the order of reviews."""
    torch.manual_seed(weights)
    classifier = classification.Classifier(deepcopy(causal), tokenizer, 2)
    if look:  # see it after each update
        options["watch"] = lambda update: look(classifier, update)
    texts, labels = classification.texts_and_labels(labeled)
    classification.fine_tune(classifier, texts, labels, updates, rate, order, **options)
    return classifier


# %%
rerun_heads = {}
for rerun_seeds in ((0, 0), (0, 1), (1, 0)):
    tried = rerun(*rerun_seeds, reviews("train", 64), 2, 1e-5)
    again = stability.tuned(causal, tokenizer, reviews("train", 64), 2, 1e-5, *rerun_seeds)
    assert torch.equal(tried.head.weight, again.head.weight)
    rerun_heads[rerun_seeds] = tried.head.weight.detach()
for a, b, what in (((0, 0), (0, 1), "another order"), ((0, 0), (1, 0), "other weights")):
    print(f"{what}: the heads differ by up to {(rerun_heads[a] - rerun_heads[b]).abs().max():.0e}")

# %% [markdown]
# `stability.tuned` of the course does the same, to the last bit, and leaves the caller's random numbers alone. After
# two tiny updates another order has hardly moved anything, while other initial weights are other weights from the
# start: the two seeds are apart.

# %% [markdown]
# ### The first steps
#
# BERT was tuned with an optimizer of its own, and people who reran it took it over. It is Adam with one line left out.
# Adam divides a running mean of the gradients, $m$, by the root of a running mean of their squares, $v$. Both means
# begin at zero, so both are too small at first: after $t$ steps with a constant gradient $g$, the first is
# $(1 - 0.9^t) g$ and the second $(1 - 0.999^t) g^2$. The published Adam (Kingma and Ba 2015) divides by these
# factors. BERT's did not. Here is AdamW with the correction as a switch.


# %%
def adam_step(weight, gradient, state, rate, correct=True, betas=(0.9, 0.999), decay=0.01):
    """One step of AdamW, with or without the correction of its averages; `state` keeps them."""
    state["t"] = t = state.get("t", 0) + 1
    state["m"] = m = betas[0] * state.get("m", 0) + (1 - betas[0]) * gradient
    state["v"] = v = betas[1] * state.get("v", 0) + (1 - betas[1]) * gradient**2
    if correct:
        m, v = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return weight - rate * (m / (v.sqrt() + 1e-8) + decay * weight)


# %% [markdown]
# PyTorch's AdamW has no such switch. `adaptation.adamw` reaches the same by a trick: without the correction it tells
# the optimizer that a million steps have passed, where both factors are 1. The same, over thirty random gradients?


# %%
def uncorrected(groups, rate):
    """AdamW as it stood in BERT's published code, without the correction."""
    return adaptation.adamw(groups, rate, correct_bias=False)


# %%
RERUN_OPTIMIZERS = {"yes": adaptation.adamw, "no": uncorrected}
for correction, optimizer in RERUN_OPTIMIZERS.items():
    rerun_dice = torch.Generator().manual_seed(0)
    theirs = torch.ones(5, requires_grad=True)
    ours, state, stepper = torch.ones(5), {}, optimizer([{"params": [theirs]}], 1e-2)
    for _ in range(30):
        theirs.grad = torch.randn(5, generator=rerun_dice)
        stepper.step()
        ours = adam_step(ours, theirs.grad, state, 1e-2, correct=correction == "yes")
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-4, atol=1e-6)
    print(f"correction: {correction:3}, weights after 30 steps {ours[:3].numpy().round(3)}")

# %% [markdown]
# **Predict**: without the correction, are the first steps shorter or longer? The mean in the numerator is too small,
# the root in the denominator too. At the first step one is a tenth of what it should be, the other the root of a
# thousandth.


# %%
def overshoot(step):
    """How many times as long the uncorrected step is, counted from 1, whatever the gradients are."""
    return (1 - 0.9**step) / np.sqrt(1 - 0.999**step)


# %% mystnb={"image": {"alt": "Left: how many times as long Adam's steps are without the correction, over the number of the step on a log scale: it begins at three, rises to more than six around step twelve and comes down to one after thousands of steps. Right: the learning rate of each of twelve updates with warm-up and decay, and above it, several times as high, what the uncorrected steps amount to."}}
fig, (ax, low) = plt.subplots(1, 2, figsize=(6, 3.3))
counted = np.arange(1, 10_001)
ax.plot(counted, overshoot(counted), color=COLORS["masked"])
ax.axhline(1, color=COLORS["causal"], ls="--")
ax.set(xscale="log", xlabel="step", ylabel="times as long", ylim=(0, 7), xticks=(1, 10, 100, 1000, 10_000))
twelve = np.arange(1, 13)
planned = np.array([adaptation.linear_warmup(step, 12) for step in range(12)])
low.plot(twelve, planned, "o-", color=COLORS["causal"], label="as planned")
low.plot(twelve, planned * overshoot(twelve), "s-", color=COLORS["masked"], label="uncorrected")
low.set(xlabel="update", ylabel="rate (peak = 1)", ylim=(0, 7), xticks=(1, 4, 8, 12))
low.legend(loc="upper right")
fig.tight_layout()
show(fig)
longest = overshoot(counted)
print(f"first step {longest[0]:.2f} times as long, step {longest.argmax() + 1}: {longest.max():.2f}")
for updates in (12, 80):
    planned = np.array([adaptation.linear_warmup(step, updates) for step in range(updates)])
    walked = planned * overshoot(np.arange(1, updates + 1))
    print(f"{updates} updates: all steps together {walked.sum() / planned.sum():.1f} times as long")

# %% [markdown]
# Longer, by a factor that has nothing to do with the data. It comes down to 1 only after some thousand steps, so in
# pretraining nobody notices; a short fine-tuning lives entirely under the hump. With warm-up, decay and all, what the
# settings call a rate of 0.001 is one of about 0.005.
#
# **Break it.** Nothing in a log shows this. A training script is moved from one library to another, both have an
# optimizer by the name of Adam with a rate, both losses fall. What tells them apart is one weight and one step: under
# any gradient Adam's first step has the length of the rate.


# %%
def first_adam_step(optimizer):
    """The first step of a weight, in units of the rate."""
    weight = torch.zeros(1, requires_grad=True)
    weight.grad = torch.full((1,), 7.0)
    optimizer([{"params": [weight]}], 1e-3).step()
    return weight.abs().item() / 1e-3


# %%
for correction, optimizer in RERUN_OPTIMIZERS.items():
    found = first_adam_step(optimizer)
    verdict = "passes" if found < 1.01 else "fails"
    print(
        f"correction: {correction:3}, first step {found:.2f} rates: `assert first_adam_step(...) < 1.01` {verdict}"
    )

# %% [markdown]
# ### Fifty runs
#
# Now the runs: twelve updates, with and without the correction, at two rates, fifty seeds each (one seed serves for
# weights and order together). A third of the lower rate gets fifteen. As in Lab 3, a run has *failed* when it ends at
# 0.6 or less on known words, about where a network without pretraining ends. All runs meet the same 500 test reviews
# of each kind, so what differs between them comes from the two seeds and nothing else.
#
# **Predict** the share of failed runs for the four, and whether those fail that read the training reviews wrongly or
# those that know them by heart.

# %%
RERUN_RATES, RERUN_FAILED = (3e-4, 1e-3, 3e-3), 0.6


# %%
def rerun_scores(classifier, labeled):
    """Accuracy on the training reviews, on 200 for validation, and on 500 with known and with new words."""
    found = {"train": labeled, "validation": reviews("validation", 200)}
    found |= {name: reviews(split, 500) for name, split in RERUN_TESTS.items()}
    return {name: classification.accuracy(classifier, items) for name, items in found.items()}


# %%
def rerun_run(seed, updates, rate, correction):
    """One run on the 64 reviews; its scores, and its validation accuracy halfway."""
    half, labeled, optimizer = [], reviews("train", 64), RERUN_OPTIMIZERS[correction]

    def look(classifier, update):
        if 2 * (update + 1) == updates:
            half.append(classification.accuracy(classifier, reviews("validation", 200)))

    classifier = rerun(seed, seed, labeled, updates, rate, look, optimizer=optimizer)
    return rerun_scores(classifier, labeled) | {"halfway": half[0]}


# %%
reruns = lab.sweep(
    "reruns",
    rerun_run,
    [
        {"updates": u, "rate": r, "correction": c, "seed": s}
        for u in (12, 80)
        for r in RERUN_RATES
        for c in ("yes", "no")
        for s in range(50 if u == 12 and r > 3e-4 else 15)
    ],
    live=lambda s: s["seed"] == 0 and s["updates"] == 12 and s["rate"] == 1e-3,
)


# %%
def rerun_values(metric, updates, rate, correction, seeds=50):
    """A metric of the recorded runs of one recipe, in the order of their seeds: float [runs]."""
    runs = reruns.recorded
    chosen = (runs["updates"] == updates) & (runs["rate"] == rate) & (runs["correction"] == correction)
    return runs[chosen & (runs["seed"] < seeds)].sort_values("seed")[metric].to_numpy()


# %%
def rerun_failed(updates, rate, correction, seeds=50):
    """1.0 for each run that failed, 0.0 for the others: float [runs]."""
    return (rerun_values("known", updates, rate, correction, seeds) <= RERUN_FAILED).astype(float)


# %%
def side_by_side(values, height=0.75):
    """Places for dots across a row, such that equal ones stand beside each other: float [values]."""
    bins = np.round(np.asarray(values) / 0.012)
    ranks = np.array([(bins[:i] == b).sum() for i, b in enumerate(bins)])
    return np.ceil(ranks / 2) * (-1.0) ** ranks * min(0.07, height / (ranks.max() + 1))


# %%
def draw_reruns(ax, updates):
    """A row of dots for each rate and side, one dot per run, and the share of failed runs beside it."""
    for row, (rate, correction) in enumerate((r, c) for r in RERUN_RATES for c in ("yes", "no")):
        known = rerun_values("known", updates, rate, correction)
        role, marker = ("causal", "o") if correction == "yes" else ("masked", "s")
        ax.plot(known, -row + side_by_side(known), marker, color=COLORS[role], ms=4, alpha=0.6, mew=0)
        failed = rerun_failed(updates, rate, correction)
        ax.text(1.03, -row, f"{failed.sum():.0f}/{len(failed)}", va="center", ha="right", fontsize=12)
    ax.text(1.03, 0.75, "failed", ha="right", fontsize=12)
    ax.axvline(RERUN_FAILED, color=COLORS["exact"], ls=":", lw=1.5)
    ax.set(title=f"{updates} updates", xlim=(0.46, 1.04), xticks=(0.5, 0.6, 0.7, 0.8, 0.9))
    ax.set(yticks=[-0.5, -2.5, -4.5], yticklabels=[f"{r:g}" for r in RERUN_RATES], ylim=(-5.6, 1.3))


# %% mystnb={"image": {"alt": "Two panels, 12 and 80 updates, with six rows each: three learning rates, with Adam's correction (blue circles) and without (red squares), one dot per run, accuracy on known words across. After 12 updates all runs without the correction at the highest rate stand at one half, left of the dotted line of failure, and the blue clouds are wide. After 80 updates no run is left of the line."}}
fig, axes = plt.subplots(1, 2, figsize=(6, 4.6), sharey=True)
for ax, updates in zip(axes, (12, 80), strict=True):
    draw_reruns(ax, updates)
    ax.grid(axis="y", visible=False)
axes[0].set_ylabel("rate")
fig.supxlabel("accuracy on known words", y=0.13, fontsize=13)
for label, role, marker in (("with the correction", "causal", "o"), ("without", "masked", "s")):
    axes[0].plot([], [], marker, color=COLORS[role], label=label)
fig.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=2, handletextpad=0.1)
fig.subplots_adjust(bottom=0.25, wspace=0.08)
show(fig)
print(f"always the commonest label: {stability.majority(reviews('test', 500)):.3f}")
for rate in (1e-3, 3e-3):
    for correction in ("yes", "no"):
        share = stability.failure_rate(rerun_values("known", 12, rate, correction), RERUN_FAILED)
        print(f"12 updates, rate {rate:g}, correction {correction:3}: failed {share}")

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for metric in ("known", "new"):
    lab.check(reruns, metric, by=["updates", "rate", "correction"], slack=0.004)
print("                             known words           new words     training reviews")
for rate in RERUN_RATES:
    for correction in ("yes", "no"):
        shown = [mean_ci(rerun_values(m, 12, rate, correction)) for m in ("known", "new", "train")]
        print(f"rate {rate:6g}, correction {correction:3}" + "".join(f"{str(one):>21}" for one in shown))


# %%
def rerun_best_rate(updates, correction):
    """The rate with the best mean on validation over the fifteen seeds that all rates have."""
    return max(RERUN_RATES, key=lambda r: rerun_values("validation", updates, r, correction, 15).mean())


# %%
def each_at_its_best(updates):
    """Known words, with minus without the correction, each side at its own rate, over fifteen seeds."""
    rates = {c: rerun_best_rate(updates, c) for c in ("yes", "no")}
    print(f"{updates} updates, best rates: {rates['yes']:g} with, {rates['no']:g} without the correction")
    return paired_ci(*(rerun_values("known", updates, rates[c], c, 15) for c in ("yes", "no")))


# %% tags=["hide-input"]
unstable = {m: rerun_values(m, 12, 1e-3, "no") for m in ("known", "halfway")}
lab.conclude("runs-fail", stability.failure_rate(unstable["known"], RERUN_FAILED), 50)
lab.conclude("runs-correction", paired_ci(rerun_failed(12, 1e-3, "no"), rerun_failed(12, 1e-3, "yes")), 50)
lab.conclude("runs-correction-rate-short", each_at_its_best(12), 15)
wrecked = rerun_failed(12, 3e-3, "no") == 1
lab.conclude("runs-underfit", mean_ci(rerun_values("train", 12, 3e-3, "no")[wrecked]), int(wrecked.sum()))
lab.conclude("runs-halfway", rank_correlation_ci(unstable["halfway"], unstable["known"]), 50)

# %% [markdown]
# This is not what we had expected. At the middle rate the correction was to make the difference, and there is none in
# failures: one run of fifty fails without it and two fail with it, too few for any verdict. What decides is the rate.
# At the highest one all fifty uncorrected runs end at a guess, and not one of the corrected runs fails. At the lowest
# the uncorrected runs are ahead: there, longer steps were what was wanted. That is what a hidden factor of five does.
# It moves a recipe along the axis of rates, and at the upper end of the axis is a cliff. With each side at the best
# of its three rates, the side without the correction is even two points better after three epochs, against the row's
# prediction.
#
# Over the cliff nothing was learned at all: those runs read half of their own training reviews wrongly. To that extent
# Mosbach et al. (2021) are right that failure is a matter of optimization and has nothing to do with too few examples.
#
# Now look at the widest blue cloud. Fifty runs, nothing wrong with the recipe, the same reviews, and they reach from
# below the line of failure to almost nine tenths. *This* is what Devlin et al. saw, and no correction takes it away.
# Whoever compares two methods by one run each compares two seeds.
#
# Can one stop the bad runs early? Our row asked it of the uncorrected runs, and of those one can hardly tell after half
# of the updates: their order still changes. We look at the corrected ones, too, which the row does not cover. They have
# nearly settled by then:

# %% tags=["nbval-ignore-output"] reason="depends on trained numbers"
for correction in ("yes", "no"):
    pair = [rerun_values(m, 12, 1e-3, correction) for m in ("halfway", "known")]
    print(f"correction {correction:3}: rank correlation of halfway and end {rank_correlation_ci(*pair)}")

# %% [markdown]
# ### Three epochs or twenty
#
# Mosbach et al. (2021) had a simple recipe against failures: a low rate, the correction, and twenty epochs in place of
# three. Is it the time that helps? The right half of the figure has 80 updates, twenty epochs. **Predict** for the
# highest rate without the correction: will the failed runs recover, and will those that read their training reviews
# wrongly still do so?

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
print("80 updates                   known words           new words     training reviews")
for rate in RERUN_RATES:
    for correction in ("yes", "no"):
        shown = [mean_ci(rerun_values(m, 80, rate, correction)) for m in ("known", "new", "train")]
        print(f"rate {rate:6g}, correction {correction:3}" + "".join(f"{str(one):>21}" for one in shown))

# %% tags=["hide-input"]
lab.conclude("runs-longer", paired_ci(rerun_failed(12, 3e-3, "no", 15), rerun_failed(80, 3e-3, "no")), 15)
long = {c: {m: rerun_values(m, 80, 1e-3, c) for m in RERUN_TESTS} for c in ("yes", "no")}
lab.conclude("runs-correction-long", paired_ci(long["yes"]["known"], long["no"]["known"]), 15)
lab.conclude("runs-correction-rate", each_at_its_best(80), 15)
hot = {m: rerun_values(m, 80, 3e-3, "no") for m in ("train", "known")}
lab.conclude("runs-damaged", paired_ci(hot["train"], hot["known"]), 15)
lost = {m: long["yes"][m] - long["no"][m] for m in RERUN_TESTS}
lab.conclude("runs-forgetting", paired_ci(lost["new"], lost["known"]), 15)
off = {m: np.abs(long["yes"][m] - np.median(long["yes"][m])) for m in RERUN_TESTS}
lab.conclude("runs-new-words", paired_ci(off["new"], off["known"]), 15)

# %% [markdown]
# Time heals the failures: after twenty epochs no run of any recipe is under the line. It does not heal the runs. At the
# highest rate the uncorrected ones now know their training reviews by heart and still read a third of the others
# wrongly. What is it that they lack? Words that no label ever showed are worst, here and at the middle rate, where
# leaving out the correction costs half as much again on new words as on known ones. What these words mean is in the
# network from pretraining only. So in this small world forgetting has its part in why uncorrected runs stay bad, though
# it does not explain why they fail at first.
#
# And the correction itself? After twenty epochs it is worth almost ten points at the middle rate. With each side at
# its own best rate about two are left, and the interval touches zero. (The uncorrected side is best at the lowest
# rate we gave it, so a lower one might have served it better still.) Corrected runs, for their part, differ no more
# on new words than on known ones. What McCoy et al. (2020) saw, reruns alike on the test and far apart on sentences
# built to defeat a heuristic, is not here, nor was it in Lab 3.

# %% [markdown]
# ### Starting again
#
# The remedy of 2019 was to start several times and keep the run that is best on validation reviews. What is it worth?
# One could draw five of the fifty runs, again and again. The mean over all such draws has a formula, since the best of
# $k$ is the run of rank $r$ with a chance of $(r/n)^k - ((r-1)/n)^k$ (Dodge et al. 2019). Ties share theirs.


# %%
def best_restart(validation, test, restarts):
    """The expected test score of the run that is best on validation among `restarts` drawn ones; no ties."""
    ranks = np.arange(1, len(validation) + 1) / len(validation)
    chances = ranks**restarts - (ranks - 1 / len(validation)) ** restarts
    return float(chances @ np.asarray(test)[np.argsort(validation)])


# %%
rerun_dice = np.random.default_rng(0)
untied = rerun_dice.permutation(50) / 50, rerun_dice.random(50)
assert math.isclose(best_restart(*untied, 5), stability.best_of(*untied, 5))
picks = rerun_dice.integers(50, size=(100_000, 5))
tried = untied[1][picks[np.arange(100_000), untied[0][picks].argmax(1)]].mean()
print(f"formula {best_restart(*untied, 5):.3f}, a hundred thousand draws {tried:.3f}")


# %%
def rerun_over_seeds(statistic, runs, resamples=1000):
    """A statistic of the runs with these numbers, and its percentile bootstrap interval over them."""
    rerun_dice = np.random.default_rng(0)
    drawn = [statistic(rerun_dice.integers(runs, size=runs)) for _ in range(resamples)]
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return Interval(statistic(np.arange(runs)), low, high, "percentile bootstrap over seeds", runs)


# %%
def restarted(correction, restarts, rate=1e-3):
    """The best of some short runs, as a function of which runs there are."""
    pair = [rerun_values(m, 12, rate, correction) for m in ("validation", "known")]
    return lambda some: stability.best_of(pair[0][some], pair[1][some], restarts)


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
print("12 updates, rate 0.001       with the correction            without")
for restarts in (1, 2, 5, 7, 10):
    shown = [rerun_over_seeds(restarted(c, restarts), 50) for c in ("yes", "no")]
    print(f"best of {restarts:2}            " + "".join(f"{str(one):>24}" for one in shown))
for correction in ("yes", "no"):
    print(f"one run of 80 updates, correction {correction:3}: {mean_ci(long[correction]['known'])}")

# %% tags=["hide-input"]
steady, mended = restarted("yes", 1), restarted("no", 5)
lab.conclude("runs-restarts", rerun_over_seeds(lambda some: steady(some) - mended(some), 50), 50)
seven = restarted("yes", 7)
one_long = rerun_over_seeds(lambda some: long["yes"]["known"][some].mean() - seven(some), 15)
lab.conclude("runs-restarts-budget", one_long, 15)

# %% [markdown]
# Restarts are worth a lot, and most where one would not have looked for them. Five starts lift the uncorrected recipe
# to just about the mean of the corrected one (the interval is a little wider than the two points we allowed). The
# corrected one, whose runs differ more, gains twice as much from five starts of its own. Seven of its short runs cost
# as many updates as one long run. The best of them is not behind it; the estimate even favors the restarts, and the
# interval leaves it open.
#
# Nothing of this is free. A choice among runs needs labels: our 200 validation reviews are three times as many as the
# 64 that the runs learn from. Whoever has 264 labels should ask first what tuning on most of them would give. (And
# whoever reports the best of five as "our method" beside one run of another has measured the number of restarts.)
#
# **Break it.** A restart has to start from the same place. In the next cell somebody has put the copy of the model
# outside the function, where it is made once. Each run has a head of its own, drawn from its own seed, and an order of
# its own.


# %%
def careless(seed):
    """A rerun whose encoder is not its own."""
    torch.manual_seed(seed)
    classifier = classification.Classifier(shared, tokenizer, 2)
    texts, labels = classification.texts_and_labels(reviews("train", 64))
    classification.fine_tune(classifier, texts, labels, 12, 1e-3, seed)
    return classification.accuracy(classifier, reviews("validation", 200))


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
shared = deepcopy(causal)
honest = rerun_values("validation", 12, 1e-3, "yes")
for seed in range(4):
    print(f"run {seed}: careless {careless(seed):.3f}, from the checkpoint {honest[seed]:.3f}")


# %%
def unmoved(model):
    """Does a model still have the weights of the checkpoint?"""
    mine, theirs = model.state_dict(), checkpoints.load_causal()[0].state_dict()
    return all(torch.equal(mine[name], theirs[name]) for name in theirs)


# %%
assert unmoved(causal), "the model that all runs start from has moved"
print("the model that the careless runs start from: as it was", unmoved(shared))

# %% [markdown]
# The careless runs look well behaved: after the first they agree with each other far better than real reruns do. None
# of them is a rerun, since each goes on where the last has ended. One would report a stable recipe. Nothing raises an
# error. The assertion on the model that all runs start from would have: put one behind every loop over seeds.

# %% [markdown]
# ### Which seed
#
# Two seeds, and one looks for the guilty one. Dodge et al. (2020) crossed them, each initialization with each order,
# and found (we quote it second-hand) that they contribute about equally to the variance. In Lab 3 ten small tables were
# not enough to say. Here are five larger ones, each with its own sample of 64 labels, four seeds for the weights and
# four for the order, twenty epochs with the correction.

# %%
RERUN_SEEDS = range(4)  # seeds of either kind


# %%
def rerun_crossed_run(seed, weights, order):
    """One sample of labels, one seed for the new weights, one for the order; accuracy on both tests."""
    labeled, first = reviews("train", 64, seed), 1000 * seed
    classifier = stability.tuned(causal, tokenizer, labeled, 80, 1e-3, first + weights, first + order)
    return {
        name: classification.accuracy(classifier, reviews(split, 500)) for name, split in RERUN_TESTS.items()
    }


# %%
rerun_crossed = lab.sweep(
    "crossed",
    rerun_crossed_run,
    [{"seed": s, "weights": w, "order": o} for s in range(5) for w in RERUN_SEEDS for o in RERUN_SEEDS],
    live=lambda s: s == {"seed": 0, "weights": 0, "order": 0},
)


# %% [markdown]
# A table of scores is a grand mean, plus what its row adds, plus what its column adds, plus a rest that belongs to the
# cell alone. The analysis of variance estimates how large the variance of each of the three is *in the population of
# seeds*: the mean square of the rows also holds a share of the rest, which has to come off.


# %%
def rerun_components(table):
    """Variance due to rows, to columns and to the rest, from a table [n, m] with one run in each cell."""
    (n, m), rows, columns = table.shape, table.mean(1), table.mean(0)
    rest = ((table - rows[:, None] - columns + table.mean()) ** 2).sum() / ((n - 1) * (m - 1))
    return rows.var(ddof=1) - rest / m, columns.var(ddof=1) - rest / n, rest


# %%
rerun_sorted = rerun_crossed.recorded.sort_values(["seed", "weights", "order"])
rerun_tables = rerun_sorted["known"].to_numpy().reshape(-1, 4, 4)
parts = np.array([rerun_components(100 * table) for table in rerun_tables])
assert np.allclose(parts, [stability.variance_components(100 * table) for table in rerun_tables])

# %% mystnb={"image": {"alt": "Above, five tables of four by four cells, colored by accuracy: weights down, order across; bright and dark cells are mixed, no row or column stands out. Below, the shares of the variance that belong to the weights alone, to the order alone and to the pair, as dots with intervals and a diamond for each table: the pair has most of it."}}
fig = plt.figure(figsize=(6, 4.2))
top = fig.subplots(1, 5, gridspec_kw={"bottom": 0.62, "top": 0.95, "right": 0.86, "wspace": 0.12})
for sample, (ax, table) in enumerate(zip(top, rerun_tables, strict=True)):
    image = ax.imshow(
        100 * table, cmap="cividis", vmin=100 * rerun_tables.min(), vmax=100 * rerun_tables.max()
    )
    ax.set(xticks=[], yticks=[], xlabel="order")
    ax.set_title(f"labels {sample}", fontsize=12)
top[0].set_ylabel("weights")
fig.colorbar(image, cax=fig.add_axes((0.88, 0.69, 0.02, 0.19)), label="% right")
low = fig.add_axes((0.36, 0.14, 0.5, 0.4))
shares = 100 * parts / parts.sum(1, keepdims=True)
for row, values in enumerate(shares.T):
    found = mean_ci(values)
    low.plot([found.low, found.high], [-row, -row], color=COLORS["causal"], lw=2)
    low.plot(found.estimate, -row, "o", color=COLORS["causal"], ms=9)
    low.plot(values, [-row - 0.28] * len(values), "d", color=COLORS["baseline"], ms=5)
low.axvline(0, color=COLORS["exact"], lw=1)
low.set(yticks=[0, -1, -2], yticklabels=["weights alone", "order alone", "this pair"], ylim=(-2.6, 0.4))
low.set(xlabel="% of the variance between runs")
show(fig)
for name, values in zip(("weights", "order", "rest"), shares.T, strict=True):
    print(f"{name:7} {mean_ci(values)} % of the variance; by sample {values.round().astype(int).tolist()}")

# %% tags=["hide-input"]
for metric in RERUN_TESTS:
    lab.check(rerun_crossed, metric, by=[], slack=0.004)
lab.conclude("runs-crossed", paired_ci(shares[:, 0] / 100, shares[:, 1] / 100), 5)
lab.conclude("runs-no-lucky-seed", mean_ci(shares[:, :2].sum(1) / 100), 5)

# %% [markdown]
# Look at the tables before the bars. Hardly a row or a column stands out: a cell is bright or dark for itself. Most
# of the variance, about three quarters, belongs to the pair. The order by itself explains next to nothing; the
# weights by themselves explain perhaps a fifth, with an interval that includes zero. Are their shares equal? Five
# tables cannot say, no more than the ten small ones of Lab 3: variances are hard to estimate, and their differences
# harder.
#
# What these tables suggest is that a good seed is not a thing one can find and keep. Weights that end well with one
# order end badly with the next. (We had asked for less than half of the variance from both seeds by themselves. The
# estimate is near a fifth, and the interval just reaches over the half.) A likely reason: training magnifies small
# differences, wherever they come from, and which of two sources of noise came first is soon forgotten.

# %% [markdown]
# ### Sixteen labels
#
# "Most of all on small data sets", it was said from the beginning. Sixteen labels, 64 and 256, twenty seeds each, 80
# updates with the correction.


# %%
def rerun_labels_run(seed, labels):
    """One run with the first `labels` of the training reviews."""
    labeled = reviews("train", 256)[:labels]
    return rerun_scores(stability.tuned(causal, tokenizer, labeled, 80, 1e-3, seed, seed), labeled)


# %%
rerun_labels = lab.sweep(
    "labels",
    rerun_labels_run,
    [{"labels": n, "seed": s} for n in (16, 256) for s in range(20)],
    live=lambda s: False,
)


# %%
by_labels = {
    n: runs.sort_values("seed")["known"].to_numpy() for n, runs in rerun_labels.recorded.groupby("labels")
}
by_labels[64] = long["yes"]["known"]
for n in (16, 64, 256):
    values = by_labels[n]
    print(f"{n:3} labels: mean {values.mean():.3f}, from {values.min():.3f} to {values.max():.3f}, ", end="")
    print(f"standard deviation {100 * values.std(ddof=1):.1f} points")

# %% tags=["hide-input"]
off = {n: np.abs(values - values.mean()) for n, values in by_labels.items()}
lab.conclude("runs-fewer-labels", paired_ci(off[16], off[256]), 20)

# %% [markdown]
# Sixteen labels against 256, it is true: the runs spread about twice as far. In between it is not a law. The widest
# spread is that of the 64 reviews that all runs above have learned from, and each number of labels has one sample
# here. All of these runs know their training reviews by heart; what the mean gains from more labels is larger than
# any of the spreads.

# %% [markdown]
# ### Twenty runs in English
#
# All this happened in one small network and one made-up world. Does MiniLM, on sentences of SST-2, do the same? 64
# labels, twelve updates, twenty seeds, at the two best rates of Lab 3's search. (Its sentences don't come with the
# course: see Lab 3. MiniLM has dropout, so the seed of the weights also draws what is dropped.)


# %%
@lru_cache(maxsize=4)
def rerun_english(part, count):
    """The same `count` sentences of a part of SST-2 for all runs."""
    pool = sentences.sst2(part)
    return [pool[i] for i in np.random.default_rng(0).permutation(len(pool))[:count]]


# %%
def rerun_english_run(seed, rate, correction):
    """One run of MiniLM on 64 labeled sentences: accuracy on them, on validation and test sentences."""
    network, pieces = minilm.load()
    labeled, optimizer = rerun_english("train", 64), RERUN_OPTIMIZERS[correction]
    classifier = stability.tuned(network, pieces, labeled, 12, rate, seed, seed, optimizer=optimizer)
    found = {
        "train": labeled, "validation": rerun_english("dev", 200), "accuracy": rerun_english("test", 300),
    }  # fmt: skip
    return {name: classification.accuracy(classifier, items) for name, items in found.items()}


# %%
rerun_in_english = lab.sweep(
    "English reruns",
    rerun_english_run,
    [{"rate": r, "correction": c, "seed": s} for r in (1e-4, 3e-4) for c in ("yes", "no") for s in range(20)],
    live=lambda s: False,
)


# %%
def english_values_of(metric, rate, correction):
    """A metric of the twenty runs of one recipe, in the order of their seeds: float [20]."""
    runs = rerun_in_english.recorded
    chosen = runs[(runs["rate"] == rate) & (runs["correction"] == correction)]
    return chosen.sort_values("seed")[metric].to_numpy()


# %%
for rate in (1e-4, 3e-4):
    for correction in ("yes", "no"):
        values = english_values_of("accuracy", rate, correction)
        print(f"rate {rate:g}, correction {correction:3}: mean {values.mean():.3f}, ", end="")
        print(
            f"from {values.min():.3f} to {values.max():.3f}, failed {stability.failure_rate(values, RERUN_FAILED)}"
        )

# %% tags=["hide-input"]
english_test = {(r, c): english_values_of("accuracy", r, c) for r in (1e-4, 3e-4) for c in ("yes", "no")}
failed = {c: (english_test[3e-4, c] <= RERUN_FAILED).astype(float) for c in ("yes", "no")}
lab.conclude("runs-english-fail", paired_ci(failed["no"], failed["yes"]), 20)
off = {c: np.abs(english_test[1e-4, c] - english_test[1e-4, c].mean()) for c in ("yes", "no")}
lab.conclude("runs-english-spread", paired_ci(off["no"], off["yes"]), 20)
chosen = {
    c: max((1e-4, 3e-4), key=lambda r: english_values_of("validation", r, c).mean()) for c in ("yes", "no")
}
print(f"best rates: {chosen['yes']:g} with, {chosen['no']:g} without the correction")
lab.conclude("runs-english-rate", paired_ci(*(english_test[chosen[c], c] for c in ("yes", "no"))), 20)

# %% [markdown]
# At the higher rate the picture is that of the world: without the correction every single run ends at a guess, with it
# half of them end above the line. (The line is a harsh one here. Three epochs on these 64 sentences do not teach much,
# and even good runs are not far from it.) At the lower rate the sides have changed places. There the uncorrected runs
# are the better ones, if anything, as they were in the world at the lowest rate; whether they also differ more among
# themselves stays open. And with each side at its own better rate, nothing is left of the difference.
#
# So here the correction is worth what it is worth to know one's learning rate. That is not little: a paper says 0.0003,
# its code has walked five times as far, and whoever repeats the experiment with another library has another experiment.
# What this section cannot show is depth. The runs that collapsed in 2019 were those of a BERT with 24 layers
# (Phang et al. 2018); our networks have four and six.

# %% [markdown]
# ### Mistakes
#
# What the tools of this section say to runs that cannot be compared:

# %%
refused(lambda: stability.failure_rate([], RERUN_FAILED), folder)
refused(lambda: stability.failure_rate([0.81, float("nan")], RERUN_FAILED), folder)
refused(lambda: stability.best_of([0.8, 0.7, 0.9], [0.8, 0.7], 5), folder)
refused(lambda: stability.best_of([0.8, 0.7], [0.8, 0.7], 0), folder)
refused(lambda: stability.variance_components(np.zeros((1, 4))), folder)
refused(lambda: stability.majority([]), folder)
refused(
    lambda: stability.tuned(
        causal, tokenizer, [one for one in reviews("train", 64) if one.label], 4, 1e-3, 0, 0
    ),
    folder,
)

# %% [markdown]
# ## Size
#
# The models of 2019 were called very large, with a hundred to three hundred million weights, and pruning and
# distillation suggested that not all of them are needed once the task is known. There are four ways to take something
# away: fewer attention heads, fewer weights, fewer layers, fewer bits for each weight. They are praised in different
# papers, on different tasks, against different baselines. Here all four start from one network and one task, so that
# they can be put into one picture: accuracy against bytes, and against time.
#
# The network is the causal Transformer, tuned on 256 labeled reviews. A seed draws the labels, the new head and the
# order, and each experiment has ten of them.

# %%
from torch.nn.functional import cross_entropy

from utils import compress, pruning
from utils.intervals import ratio_ci

SIZE_SEEDS = range(10)
SIZE_RATES = {"whole": 1e-3}


# %%
def size_labels(seed):
    """Texts and labels of 256 training reviews."""
    return classification.texts_and_labels(reviews("train", 256, seed))


def size_new(seed):
    """A classifier before any tuning: the pretrained network, and a head drawn from the seed."""
    torch.manual_seed(seed)
    return classification.Classifier(deepcopy(causal), tokenizer, 2)


# %%
@lru_cache(maxsize=12)
def size_whole(seed):
    """The same after tuning on its 256 labels: what this section takes apart."""
    classifier = size_new(seed)
    classification.fine_tune(classifier, *size_labels(seed), 96, SIZE_RATES["whole"], seed)
    return classifier


# %%
def size_score(classifier, seed):
    """Accuracy on test reviews; seeds from 100 on serve the search and see validation reviews alone."""
    if seed >= 100:
        return {"validation": classification.accuracy(classifier, reviews("validation", 300, seed))}
    splits = {"known": "test", "new": "test new words"}
    return {n: classification.accuracy(classifier, reviews(s, 300, seed)) for n, s in splits.items()}


# %% [markdown]
# First the books. Which part of such a network holds the bytes? **Predict**: embeddings or layers, and by how much? The
# answer is a limit for everything that follows, since what we shrink are the matrices of the layers.

# %%
size_matrices = set(pruning.layer_weights(size_new(0)))


def size_part(name):
    """The part of a classifier to which a parameter belongs."""
    if name in size_matrices:
        return "matrices of the layers"
    return "embeddings" if ".wte." in name or ".wpe." in name else "all the rest"


# %%
size_books = {}
for size_name, size_parameter in size_new(0).named_parameters():
    size_books[size_part(size_name)] = size_books.get(size_part(size_name), 0) + size_parameter.numel()
print(
    *(f"{part:22} {numbers:9,} numbers {4 * numbers / 1e6:5.2f} MB" for part, numbers in size_books.items()),
    sep="\n",
)

# %% [markdown]
# Four fifths are in the layers. In a BERT-base it would be about the same; in a small model with a large vocabulary,
# such as the MiniLM of the last part of this section, half of the bytes are embeddings, and no pruning of layers gets
# at them.
#
# ### Fewer heads
#
# A layer of attention ends with one matrix that reads what all heads say, side by side. To silence a head means to put
# zeros where that matrix would read it. By hand: the rows that belong to the head become zero.


# %%
def size_silenced_by_hand(classifier, layer, head):
    """A copy whose layer no longer reads one head."""
    changed, config = deepcopy(classifier), classifier.encoder.config
    width = config.n_embd // config.n_head
    with torch.no_grad():
        changed.encoder.h[layer].attn.c_proj.weight[head * width : (head + 1) * width] = 0
    return changed


# %% [markdown]
# `pruning.head_gates` of the course multiplies what each head says by a gate instead, so that it can be opened again.
# The same output?

# %%
size_shape = pruning.head_shape(causal)
size_example, (size_texts, size_truth) = size_new(0).eval(), size_labels(0)
size_ids = training.encode(tokenizer, size_texts[:16])
size_batch = training.pad(size_ids, max(map(len, size_ids)), tokenizer.pad_token_id)
with torch.no_grad(), pruning.head_gates(size_example.encoder, pruning.without([(1, 2)], size_shape)):
    size_gated = size_example(size_batch)
torch.testing.assert_close(size_gated, size_silenced_by_hand(size_example, 1, 2)(size_batch).detach())
print(f"{size_shape[0]} layers of {size_shape[1]} heads; a closed gate and zeros in the next matrix agree")

# %% [markdown]
# Voita et al. (2019) took 38 of the 48 heads out of the encoder of a translation model, which cost 0.15 BLEU; they
# trained the gates to close. Michel et al. (2019) took heads out of a trained BERT and a trained translation model
# without any further training.
#
# Which head is needed least? One could silence each in turn and measure, which needs one pass over the data for every
# head. Michel and his colleagues need one pass in all. They ask how fast the loss changes as a gate begins to close:
# the derivative of the loss by the gate, at gate 1. Its size is averaged over texts, text by text, since for half of
# them the sign may be the other one.


# %%
def size_gate_slopes(classifier, batch, labels, layer):
    """|d loss / d gate| of the heads of a layer, the mean over texts: [heads]."""
    heads = classifier.encoder.config.n_head
    gates = torch.ones(len(batch), heads, requires_grad=True)

    def speak(_, inputs):
        width = inputs[0].shape[-1] // heads
        return (inputs[0] * gates.repeat_interleave(width, 1)[:, None],)

    hook = classifier.encoder.h[layer].attn.c_proj.register_forward_pre_hook(speak)
    loss = cross_entropy(classifier(batch), labels, reduction="sum")
    hook.remove()
    return torch.autograd.grad(loss, gates)[0].abs().mean(0)


# %%
size_losses = pruning.classifier_losses(size_example, size_texts[:16], size_truth[:16])
size_by_utils = pruning.head_importance(size_example.encoder, size_losses, by_layer=False)
for size_layer in range(size_shape[0]):
    size_slopes = size_gate_slopes(size_example, size_batch, torch.tensor(size_truth[:16]), size_layer)
    torch.testing.assert_close(size_slopes, size_by_utils[size_layer])
print("slopes by hand and by utils agree in every layer")

# %% [markdown]
# Two decisions remain, and many programs make them without a word. Slopes of a low layer are of another size than
# those of a high one; the paper divides the scores of each layer by their Euclidean length before it compares heads of
# different layers (the other choice is called *raw* below). And after some heads are gone, the slopes of the others
# change: one can score once, or anew after each removal. We try both choices of both, against two controls: a random
# order, and the most important heads first. (A third decision hides in `length`, which says whose scores make up the
# length of a layer: those of *all* its heads, or those of the *living*. It comes up below.)


# %%
def size_importance(seed, gates=None, length="all"):
    """Importance of each head of the tuned network, [layers, heads], from 128 of its labels."""
    classifier, (texts, labels) = size_whole(seed), size_labels(seed)
    losses = pruning.classifier_losses(classifier, texts[:128], labels[:128])
    scores = pruning.head_importance(classifier.encoder, losses, gates, by_layer=False)
    if length == "raw":
        return scores
    counted = scores if gates is None or length == "all" else scores * gates
    return scores / counted.norm(dim=1, keepdim=True).clamp(min=1e-20)


# %%
def size_order(seed, order):
    """All heads of the tuned network in the order in which they are to be silenced."""
    if order == "random":
        return pruning.random_order(size_shape, seed)
    if order == "most first":
        return pruning.pruning_order(-size_importance(seed))
    way, _, length = order.partition(", ")
    if way == "scored anew":
        return pruning.rescored_order(lambda g: size_importance(seed, g, length or "all"), size_shape)
    return pruning.pruning_order(size_importance(seed, length=length or "all"))


# %% [markdown]
# **Predict**: how many of the 16 heads can be silenced, with no further training, before two points of accuracy are
# lost? And how much does the order matter?

# %%
SIZE_COUNTS = range(0, 17, 2)
SIZE_ORDERS = (
    "least first",
    "scored anew",
    "least first, raw",
    "scored anew, raw",
    "scored anew, living",
    "random",
    "most first",
)


# %%
def size_heads_run(seed, order):
    """Accuracy on known words with 0, 2, ... 16 heads silenced, and which 8 are left half-way."""
    classifier, heads, items = size_whole(seed), size_order(seed, order), reviews("test", 300, seed)

    def measure():
        return classification.accuracy(classifier, items)

    scores = pruning.pruned_scores(measure, classifier.encoder, heads, SIZE_COUNTS)
    found = {f"known_{k}": score for k, score in zip(SIZE_COUNTS, scores, strict=True)}
    stays = pruning.without(heads[:8], size_shape).flatten().tolist()
    return found | {f"h{i:02}": gate for i, gate in enumerate(stays)}


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
size_heads = lab.sweep(
    "size heads",
    size_heads_run,
    [{"order": o, "seed": s} for o in SIZE_ORDERS for s in SIZE_SEEDS],
    live=lambda s: s["seed"] == 0 and s["order"] == "least first",
)
lab.check(size_heads, "known_8", by=["order"], slack=2 / 300)

# %% [markdown]
# Is a classifier a fair judge of what heads are for? To tell good reviews from bad ones may need few of them. So we
# also ask the pretrained network itself, before any tuning: heads are scored by its own loss on scenes, and what is
# measured is number agreement across a noun of the other number, and the bits it needs for a token.


# %%
def size_scenes(name, count):
    """Texts of scenes of the world."""
    return [document.text for document in islice(world.documents(f"size {name}", "scene"), count)]


# %%
def size_language_losses(texts):
    """Losses of the language model for `head_importance`: nats of each text."""
    for start in range(0, len(texts), 32):
        ids = training.encode(tokenizer, texts[start : start + 32])
        batch = training.pad(ids, max(map(len, ids)), tokenizer.pad_token_id).to(causal.device)

        def losses(batch=batch):
            logits, aims = causal(input_ids=batch[:, :-1]).logits, batch[:, 1:]
            each = cross_entropy(logits.transpose(1, 2), aims, reduction="none")
            return (each * (aims != tokenizer.pad_token_id)).sum(1)

        yield losses


# %%
SIZE_LANGUAGE_COUNTS = range(0, 17, 4)


# %%
def size_language_run(seed, order):
    """Agreement and bits a token of the language model with heads silenced."""
    heads = pruning.random_order(size_shape, seed)
    if order == "least first":
        losses = size_language_losses(size_scenes(f"importance {seed}", 64))
        heads = pruning.pruning_order(pruning.head_importance(causal, losses))
    pairs, scenes = tasks.agreement(world, 200, 1, f"size {seed}"), size_scenes(f"test {seed}", 64)
    measures = {
        "agreement": lambda: training.preferred(causal, tokenizer, pairs),
        "bits": lambda: float(np.mean(sum(training.token_bits(causal, tokenizer, scenes), []))),
    }
    found = {}
    for name, measure in measures.items():
        scores = pruning.pruned_scores(measure, causal, heads, SIZE_LANGUAGE_COUNTS)
        found |= {f"{name}_{k}": score for k, score in zip(SIZE_LANGUAGE_COUNTS, scores, strict=True)}
    return found


# %% tags=["nbval-ignore-output"] reason="measured numbers differ between processors"
size_language = lab.sweep(
    "size language",
    size_language_run,
    [{"order": o, "seed": s} for o in ("least first", "random") for s in SIZE_SEEDS],
    live=lambda s: False,
)


# %%
def size_curve(sweep, order, metric, counts):
    """Intervals over seeds of a metric with 0, ... heads silenced."""
    runs = sweep.recorded[sweep.recorded.order == order]
    return [mean_ci(runs[f"{metric}_{k}"]) for k in counts]


# %%
SIZE_LINES = {
    "least first, raw": "pretrained",
    "scored anew, raw": "supervised",
    "least first": "frozen",
    "scored anew": "distant",
    "random": "baseline",
    "most first": "scratch",
}

# %% mystnb={"image": {"alt": "Two panels of accuracy against the number of 16 heads silenced. Sentiment: by raw scores the curve stays level up to ten heads and falls little up to fourteen; by scores divided by layer it falls after twelve; scored anew and divided by layer it falls from six on; random order falls steadily, the most important first fastest. Agreement of the language model: nearly level up to eight heads by importance, falling at once in random order, below chance with none left."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, axes = plt.subplots(1, 2, figsize=(6, 3.6), sharey=True, width_ratios=(3, 2))
for size_name, size_color in SIZE_LINES.items():
    size_points = size_curve(size_heads, size_name, "known", SIZE_COUNTS)
    band(axes[0], SIZE_COUNTS, size_points, size_name, COLORS[size_color])
    print(f"{size_name:17}", *(f"{point.estimate:.2f}" for point in size_points))
for size_name in ("least first", "random"):
    size_points = size_curve(size_language, size_name, "agreement", SIZE_LANGUAGE_COUNTS)
    band(axes[1], SIZE_LANGUAGE_COUNTS, size_points, size_name, COLORS[SIZE_LINES[size_name]])
    print(f"agreement, {size_name:11}", *(f"{point.estimate:.2f}" for point in size_points))
axes[0].set(title="sentiment", ylabel="accuracy", xlabel="heads silenced", xticks=range(0, 17, 4))
axes[1].set(title="agreement", xlabel="heads silenced", xticks=SIZE_LANGUAGE_COUNTS)
fig.legend(*axes[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3)
fig.tight_layout()
show(fig)

# %% tags=["nbval-ignore-output"] reason="measured numbers differ between processors"
for size_name in ("least first", "random"):
    size_points = size_curve(size_language, size_name, "bits", SIZE_LANGUAGE_COUNTS)
    print(f"bits a token, {size_name:11}", *(f"{point.estimate:.2f}" for point in size_points))

# %%
size_by_order = {o: size_heads.recorded[size_heads.recorded.order == o].reset_index() for o in SIZE_ORDERS}
size_least, size_raw = (size_by_order[o] for o in ("least first", "least first, raw"))


def size_middle(order):
    """Mean accuracy with 4, 8 and 12 heads silenced, by seed."""
    return size_by_order[order][["known_4", "known_8", "known_12"]].mean(axis=1)


# %% tags=["hide-input"]
lab.conclude("size-half-heads", paired_ci(size_least.known_0, size_least.known_8), 10)
lab.conclude("size-head-order", paired_ci(size_middle("least first"), size_middle("random")), 10)
lab.conclude("size-by-layer", paired_ci(size_raw.known_12, size_least.known_12), 10)
lab.conclude("size-rescored", paired_ci(size_by_order["scored anew"].known_12, size_least.known_12), 10)
lab.conclude(
    "size-living",
    paired_ci(size_by_order["scored anew, living"].known_12, size_by_order["scored anew"].known_12),
    10,
)
lab.conclude(
    "size-rescored-raw", paired_ci(size_by_order["scored anew, raw"].known_12, size_raw.known_12), 10
)

# %%
size_lm = size_language.recorded[size_language.recorded.order == "least first"]
size_lost_agreement = (size_lm.agreement_0 - size_lm.agreement_8) / (size_lm.agreement_0 - 0.5)
size_lost_sentiment = (size_least.known_0 - size_least.known_8) / (size_least.known_0 - 0.5)

# %% tags=["hide-input"]
lab.conclude("size-lm-heads", paired_ci(size_lost_agreement, size_lost_sentiment), 10)

# %% [markdown]
# The order is nearly everything. Silence eight heads at random and the network loses more than ten points; silence
# the eight that Michel's score calls the least important, and it loses about two; take the raw scores, and it loses
# nothing that we can measure, and less than two points even when three quarters of the heads are gone. The half that
# the score holds dear, on the other hand, is needed: without it more than twenty points are gone. *A large share of
# the heads can be removed* is a statement about heads and order together. (Our own rule, less than two points for
# half of the heads with scores divided by layer, stays undecided. The estimate is below two, the interval reaches
# above.)
#
# Dividing by layer did harm here. It forces each layer to have an important head, and for sentiment this network
# could do without most of what its upper layers attend to; only raw scores may say so. Scoring anew, the more careful
# way, was not the better one: with raw scores it ends a point below scoring once, and divided by layer it ruins the
# network, for a reason that comes next. A slope at an open gate says what the first step towards silence costs; a
# greedy search trusts it all the way.
#
# And the language model? With half of its heads silent it still gets nearly every agreement right, so our prediction
# that it would lose more than the classifier is not borne out. Its text gets dearer all the same, by about a quarter
# of a bit a token, and at three quarters, where the classifier still has most of its accuracy, agreement breaks down
# and a token costs twice as many bits as before. How many heads are needed depends on what one asks of them.
#
# **Break it.** Why is "scored anew", as most of us would write it, the worst but one? The bug sits in one word,
# *length*. Three heads of layer 0 are silent now, and only the third one speaks, which every run above would keep.
# Its score is divided by the length of the layer: over all four heads, or over those that still speak. **Predict**
# what comes out.

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
size_open = pruning.without([(0, 0), (0, 1), (0, 3)], size_shape)
for size_length in ("all", "living"):
    size_scores = size_importance(0, size_open, size_length)[0]
    print(f"{size_length:6} heads of layer 0:", *(f"{score:.2f}" for score in size_scores))
for size_name in ("least first", "scored anew", "scored anew, living"):
    print(f"12 heads silent, {size_name:20} {mean_ci(size_by_order[size_name].known_12)}")

# %% [markdown]
# A silent head has a slope, too: what its return would change. The more a layer has lost, the larger such slopes
# become, and counted into the length they make the heads that remain look small. So the layer that is damaged most is
# the next to be damaged. The assertion says what a length is for: the heads that speak have length 1 in every layer.

# %%
size_living = (size_importance(0, size_open, "living") * size_open).norm(dim=1)
torch.testing.assert_close(size_living, torch.ones(size_shape[0]))
size_losses = pruning.classifier_losses(size_whole(0), size_texts[:128], size_truth[:128])
size_by_utils = pruning.head_importance(size_whole(0).encoder, size_losses, size_open)
torch.testing.assert_close(size_by_utils, size_importance(0, size_open, "living"))
assert (size_importance(0, size_open, "all") * size_open).norm(dim=1)[0] < 0.99, (
    "the bug would have been seen"
)

# %% [markdown]
# ### Which heads
#
# If half of the heads are enough, are they the same half each time? Ten runs share the pretrained network and differ in
# labels, head and order. The table counts how many of the ten keep a head among their better eight. **Predict** what it
# would look like if the choice were the network's, and what if it were noise.

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
size_kept, size_kept_raw = (
    runs[[f"h{i:02}" for i in range(16)]].to_numpy(dtype=bool) for runs in (size_least, size_raw)
)
print("layer   divided by layer        raw")
for size_layer in range(size_shape[0]):
    size_rows = (kept.sum(0).reshape(size_shape)[size_layer] for kept in (size_kept, size_kept_raw))
    print(f"{size_layer:5}", *("".join(f"{count:5}" for count in row) + "  " for row in size_rows))


# %% [markdown]
# Two choices of eight of sixteen heads overlap by chance, too, and the measure has to be held against that. The
# Jaccard overlap is what both keep over what either keeps. There are 45 pairs of ten runs, but they are no 45
# measurements: each run is in nine pairs. So the interval draws *runs* with replacement, and leaves out the pairs of
# a run with itself.


# %%
def size_overlap_interval(kept):
    """Mean overlap of pairs of runs minus chance, with a bootstrap over runs; `kept` is [runs, heads]."""
    table = np.array([[pruning.overlap(torch.tensor(a), torch.tensor(b)) for b in kept] for a in kept])
    np.fill_diagonal(table, np.nan)
    draws = np.random.default_rng(0).integers(len(kept), size=(4000, len(kept)))
    means = [np.nanmean(table[np.ix_(runs, runs)]) for runs in draws]
    chance = pruning.chance_overlap(8, 8, 16)
    print(f"overlap {np.nanmean(table):.2f}, by chance {chance:.2f}")
    ends = np.quantile(means, (0.025, 0.975)) - chance
    return Interval(float(np.nanmean(table) - chance), *map(float, ends), "bootstrap over runs", len(kept))


# %% [markdown]
# The other question is what a bad half is worth. Prasanna et al. (2020) took the heads and layers that pruning would
# throw away, went back to the pretrained weights, and tuned what they had. We do the same: eight heads are silent from
# the start, and the classifier is tuned on its 256 labels without them.


# %%
def size_retrained_run(seed, kept):
    """Accuracy of the pretrained network, tuned while all heads but 8 are silent."""
    order = size_order(seed, "random" if kept == "random" else "least first")
    classifier = size_new(seed)
    gates = pruning.without(order[8:] if kept == "worst" else order[:8], size_shape)
    with pruning.head_gates(classifier.encoder, gates):
        classification.fine_tune(classifier, *size_labels(seed), 96, SIZE_RATES["whole"], seed)
        return size_score(classifier, seed)


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
size_retrained = lab.sweep(
    "size retrained",
    size_retrained_run,
    [{"kept": k, "seed": s} for k in ("best", "worst", "random") for s in SIZE_SEEDS],
    live=lambda s: False,
).recorded
size_halves = {k: size_retrained[size_retrained.kept == k].reset_index() for k in ("best", "worst", "random")}
for size_name, size_runs in size_halves.items():
    print(f"{size_name:6} half  known {mean_ci(size_runs.known)}  new {mean_ci(size_runs.new)}")

# %% tags=["hide-input", "nbval-ignore-output"] reason="the first line depends on the recording machine"
lab.conclude("size-heads-overlap", size_overlap_interval(size_kept), 10)
lab.conclude("size-bad-heads", paired_ci(size_halves["best"].known, size_halves["worst"].known), 10)
lab.conclude("size-retrained-heads", paired_ci(size_least.known_0, size_halves["random"].known), 10)

# %% [markdown]
# The two scores give two answers. Raw, nearly every run keeps layer 0 as a whole and the same two heads of layer 1;
# only the last one or two places go to this or that head of the upper layers. Divided by layer, every layer has to
# send somebody: each has one head that most runs keep, and the other choices scatter. Even so the runs agree more
# than chance, by about a tenth. They share the pretrained network, so some of what they agree on was there before any
# label.
#
# Tuned anew, the better half alone does as well as the whole network. The worse half and a random half end about four
# points lower, so *a bad half comes within two points* is contradicted here, and the random half is no better than the
# worst. The surprise of Prasanna et al. (2020) is there all the same. After tuning, silencing the better half left the
# network far below; tuned without that half, the worse heads get most of it back. Tuning works with what it is given.
#
# ### Fewer weights
#
# A single weight has no gate that anybody would look at, and there are too many to try. The simplest rule is the size:
# what is next to zero goes. All matrices of the layers compete, so one threshold serves them all.


# %%
def size_masks_by_hand(classifier, sparsity):
    """True where a weight of the layers stays: the larger ones, by one threshold for all."""
    weights = {name: p.detach().abs() for name, p in classifier.named_parameters() if name in size_matrices}
    everything = torch.cat([w.flatten() for w in weights.values()])
    threshold = everything.kthvalue(round(sparsity * len(everything))).values
    return {name: w > threshold for name, w in weights.items()}


# %%
size_by_hand = size_masks_by_hand(size_example, 0.5)
size_half_out = pruning.magnitude_masks(size_example, 0.5)
size_ties = sum(int((mask != size_half_out[name]).sum()) for name, mask in size_by_hand.items())
assert size_ties / size_books["matrices of the layers"] < 0.001
print(f"{len(size_half_out)} matrices, by hand {pruning.sparsity(size_by_hand):.5f} of their weights out")
print(f"and by utils {pruning.sparsity(size_half_out):.5f}; {size_ties} weights tie with the threshold")

# %% [markdown]
# After the cut one can stop, or go on. Frankle and Carbin (2019) went *back*: the weights that stayed took the values
# again that they had before any training, and the sparse network was trained anew. It did as well as the whole, and
# one with the same places and freshly drawn values did worse, so they called it a winning ticket in the lottery of
# initial values. For a pretrained network "before any training" means before tuning (Chen et al. 2020), and the
# ticket is: masks from the tuned network, values from the pretrained one, tuned on the same labels.


# %%
def size_masks(seed, kind, sparsity):
    """Which weights stay: the largest of the tuned network, of the pretrained one, or some at random."""
    masks = pruning.magnitude_masks(
        size_new(seed) if kind == "pretrained masks" else size_whole(seed), sparsity
    )
    return pruning.random_masks(masks, seed) if kind == "random places" else masks


# %%
def size_ticket(seed, kind, sparsity, rate):
    """A tuned network goes back to the values of a beginning, loses weights, and is tuned anew."""
    masks, start = size_masks(seed, kind, sparsity), size_new(seed).state_dict()
    ticket = deepcopy(size_whole(seed))
    if kind == "new weights":
        fresh = type(causal)(causal.config).transformer.state_dict()
        start |= {name: fresh[name.removeprefix("encoder.")] for name in masks}
    pruning.rewind(ticket, start, masks)
    with pruning.kept_masks(ticket, masks):
        classification.fine_tune(ticket, *size_labels(seed), 96, rate, seed)
    return ticket


# %% [markdown]
# Three controls say what the ticket owes to what. *Random places*: as many pretrained weights in each matrix, anywhere.
# *New weights*: the ticket's places, the layers' values drawn as before pretraining (embeddings and norms stay, so the
# loss is that of the layers alone). *Pretrained masks*: the largest weights of the network before it saw the task. A
# sparse network may want another learning rate, so each way to tune gets the same search, on validation reviews. Two of
# them were best at the highest of three rates, and got two more on that side.

# %%
SIZE_TRIED = (3e-4, 1e-3, 3e-3)
SIZE_MORE = {"random places": (1e-2, 3e-2), "new weights": (1e-2, 3e-2)}


# %%
def size_weights_search_run(seed, kind, rate):
    """Validation accuracy of a way to tune, at 80 % sparsity, with a learning rate."""
    seed += 100
    if kind == "whole":
        classifier = size_new(seed)
        classification.fine_tune(classifier, *size_labels(seed), 96, rate, seed)
        return size_score(classifier, seed)
    return size_score(size_ticket(seed, kind, 0.8, rate), seed)


# %%
size_weights_search = lab.sweep(
    "search size weights",
    size_weights_search_run,
    [
        {"kind": k, "rate": r, "seed": s}
        for k in ("whole", "ticket", "random places", "new weights")
        for r in (*SIZE_TRIED, *SIZE_MORE.get(k, ()))
        for s in range(2)
    ],
    live=lambda s: False,
).recorded


# %%
def size_best_rates(search):
    """The rate with the best validation accuracy of each kind; the table is printed."""
    found = search.groupby(["kind", "rate"])["validation"].mean()
    print(found.unstack().round(3).to_string())
    return {kind: float(found[kind].idxmax()) for kind in found.index.levels[0]}


size_found_rates = size_best_rates(size_weights_search)
assert size_found_rates["whole"] == SIZE_RATES["whole"]
SIZE_RATES |= size_found_rates


# %%
def size_weights_run(seed, kind, sparsity):
    """Accuracy with a share of the layers' weights out: at once after tuning ("cut"), or tuned anew."""
    if kind == "cut":
        classifier = deepcopy(size_whole(seed))
        pruning.apply_masks(classifier, size_masks(seed, kind, sparsity))
        return size_score(classifier, seed)
    rate = SIZE_RATES["ticket" if kind == "pretrained masks" else kind]
    found = size_score(size_ticket(seed, kind, sparsity, rate), seed)
    if kind == "pretrained masks":
        masks = [size_masks(seed, name, sparsity) for name in ("ticket", kind)]
        found["overlap"] = pruning.overlap(*masks)
    return found


# %% [markdown]
# **Predict** four curves over the share of weights that is gone: the cut without further training, the ticket, the
# random places, the new values. Where do they leave the line of the whole network?

# %%
SIZE_CUTS = {
    "cut": (0.0, 0.3, 0.5, 0.7, 0.8, 0.9),
    "ticket": (0.5, 0.8, 0.9),
    "random places": (0.5, 0.8, 0.9),
    "new weights": (0.5, 0.8),
    "pretrained masks": (0.5, 0.8),
}

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
size_weights = lab.sweep(
    "size weights",
    size_weights_run,
    [
        {"kind": k, "seed": s, "sparsity": cut}
        for k, cuts in SIZE_CUTS.items()
        for cut in cuts
        for s in SIZE_SEEDS
    ],
    live=lambda s: s["seed"] == 0 and s["sparsity"] == 0.5 and s["kind"] in ("cut", "ticket"),
)
lab.check(size_weights, "known", by=["kind", "sparsity"], slack=2 / 300)


# %%
def size_sparse(kind, sparsity):
    """The recorded runs of a kind at a sparsity, by seed."""
    runs = size_weights.recorded
    return runs[(runs.kind == kind) & (runs.sparsity == sparsity)].reset_index()


# %% mystnb={"image": {"alt": "Accuracy on known words against the share of the layers' weights taken out. The cut without further training stays level up to a half and falls to chance at nine tenths. Tickets stand above the whole network at a half and fall slowly after it. Random places and new weights lie far below from the start, and stay nearly level."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, ax = plt.subplots(figsize=(6, 3.9))
for size_name, size_color in zip(
    SIZE_CUTS, ("distant", "pretrained", "baseline", "scratch", "frozen"), strict=True
):
    size_points = [mean_ci(size_sparse(size_name, cut).known) for cut in SIZE_CUTS[size_name]]
    print(
        f"{size_name:17}",
        *(f"{c}: {p.estimate:.3f} " for c, p in zip(SIZE_CUTS[size_name], size_points, strict=True)),
    )
    if size_name != "pretrained masks":
        band(ax, SIZE_CUTS[size_name], size_points, size_name, COLORS[size_color])
ax.axhline(size_sparse("cut", 0.0).known.mean(), color="black", linestyle="--", linewidth=1)
ax.text(0, size_sparse("cut", 0.0).known.mean() - 0.015, "whole network", va="top")
ax.set(xlabel="share of the layers' weights taken out", ylabel="accuracy, known words", ylim=(0.45, 1))
ax.legend(loc="lower left")
show(fig)

# %% tags=["hide-input"]
size_all = size_sparse("cut", 0.0).known
lab.conclude("size-prune-once", paired_ci(size_all, size_sparse("cut", 0.5).known), 10)
lab.conclude("size-ticket", paired_ci(size_all, size_sparse("ticket", 0.5).known), 10)
lab.conclude(
    "size-ticket-random",
    paired_ci(size_sparse("ticket", 0.8).known, size_sparse("random places", 0.8).known),
    10,
)

# %% tags=["hide-input"]
lab.conclude(
    "size-ticket-start",
    paired_ci(size_sparse("ticket", 0.5).known, size_sparse("new weights", 0.5).known),
    10,
)
lab.conclude(
    "size-ticket-tuned",
    paired_ci(size_sparse("ticket", 0.8).known, size_sparse("pretrained masks", 0.8).known),
    10,
)
print("overlap of the two masks at 80 %:", mean_ci(size_sparse("pretrained masks", 0.8).overlap))

# %% [markdown]
# Half of the weights can be cut with hardly a loss, at 70 % several points are gone, and at 90 % the network guesses.
# Going back and tuning anew changes the picture: the ticket with half of the weights is a point *better* than the
# whole network, and with a fifth of them it is about five points below, where the cut alone had lost more than twenty
# points. So the matching tickets of Chen et al. (2020) are here, too, at the low end of their range.
#
# The controls say what it lives on. Pretrained weights at random places are far worse, and with four fifths of them
# gone they are worth no more than weights drawn anew. On new words both lose more than on known ones: without what
# pretraining left in the layers, a network falls back on the words of its 256 labels.
#
# The last control is the interesting one. We had predicted that masks of the pretrained network would serve as well,
# since nine of ten places are the same. They don't: the few places that tuning moved across the threshold are worth
# several points. A mask that was chosen after training on the labels has learned from the labels. So a ticket has
# been trained twice, and that it beats a network that was trained once is no proof that small is better.
#
# **Break it.** Someone prunes a network to 80 %, finds the accuracy too low, tunes for a few updates, and reports
# "four fifths sparse, and good as new". The program ran, the accuracy came back. **Predict** what is wrong.

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
size_revived = deepcopy(size_whole(0))
size_few = pruning.magnitude_masks(size_revived, 0.8)
pruning.apply_masks(size_revived, size_few)
classification.fine_tune(size_revived, *size_labels(0), 16, 1e-3, 0)


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
def size_zeros(classifier):
    """The share of the layers' weights that is exactly zero."""
    parameters = dict(classifier.named_parameters())
    return pruning.sparsity({name: parameters[name] != 0 for name in size_few})


print(f"{size_zeros(size_revived):.2f} of the weights are zero")

# %% [markdown]
# An optimizer knows nothing of masks. The first update moved every zero, and the network is as full as before; its
# small weights are new, no more. The assertion belongs behind every training of a sparse network, and
# `pruning.kept_masks` makes it hold: it takes the gradient away from what is gone.

# %%
size_faithful = deepcopy(size_whole(0))
with pruning.kept_masks(size_faithful, size_few):
    classification.fine_tune(size_faithful, *size_labels(0), 16, 1e-3, 0)
assert size_zeros(size_revived) < 0.01
assert abs(size_zeros(size_faithful) - 0.8) < 0.001
print("sparse before and after")

# %% [markdown]
# ### Fewer bits
#
# A weight of 32 bits can tell four billion values apart. Which of them does a tuned network need? With eight bits
# there are 255, from -127 to 127 times a scale. Each row of a matrix, that is, each number that it computes, gets its
# own scale, so that its largest weight becomes 127.

# %%
size_matrix = size_example.encoder.h[0].mlp.c_fc.weight.detach().T  # [out, in]
size_scale = size_matrix.abs().amax(1, keepdim=True) / 127
size_codes = (size_matrix / size_scale).round().to(torch.int8)
size_error = (size_codes * size_scale - size_matrix).abs()
assert (size_error <= size_scale / 2 + 1e-7).all()
print(
    size_codes[:2, :8].tolist(),
    f"largest error {size_error.max():.5f}, largest weight {size_matrix.abs().max():.2f}",
)

# %% [markdown]
# To gain time as well as bytes, the product itself must be done in integers, and for that the inputs have to become
# codes, too. They are not known before they come, so each input vector gets its scale on the way ("dynamic"
# quantization). The sum of products of codes, times both scales, is the answer; `compress.Int8Linear` of the course
# does this with the integer product of PyTorch.

# %%
size_input = torch.randn(4, size_matrix.shape[1], generator=torch.Generator().manual_seed(0))
size_input_scale = size_input.abs().amax(1, keepdim=True) / 127
size_input_codes = (size_input / size_input_scale).round()
size_product = (size_input_codes @ size_codes.T.float()) * size_input_scale * size_scale.T
torch.testing.assert_close(compress.Int8Linear(size_matrix, None)(size_input), size_product)
size_exact = size_input @ size_matrix.T
print(f"error of the product, relative: {(size_product - size_exact).norm() / size_exact.norm():.4f}")

# %% [markdown]
# **Break it.** One scale for the whole matrix would save a few bytes more. Most of the time nobody notices. Here is a
# matrix with one large weight, such as large language models do have in their activations (Dettmers et al. 2022).

# %%
size_outlier = size_matrix.clone()
size_outlier[3, 5] = 30.0
size_restored = {
    "one scale": (size_outlier / (30 / 127)).round() * 30 / 127,
    "a scale for each row": torch.mul(*compress.to_int8(size_outlier)),
}
for size_name, size_copy in size_restored.items():
    size_share = (size_copy - size_outlier).norm(dim=1) / size_outlier.norm(dim=1)
    print(
        f"{size_name:20} rows that lost a tenth of their length: {(size_share > 0.1).sum()} of {len(size_share)}"
    )

# %% [markdown]
# With one scale the outlier takes the 255 values for itself, and all other weights round to zero or next to it. With
# a scale for each row the damage stays in its row. The assertion must compare each row with itself; the one above, an
# error of at most half a scale, is met by both, each with its own scale.

# %%
size_worst = {
    name: ((copy - size_outlier).norm(dim=1) / size_outlier.norm(dim=1)).max()
    for name, copy in size_restored.items()
}
assert size_worst["a scale for each row"] < 0.05 < size_worst["one scale"], "the bug would have been seen"

# %% [markdown]
# ### Fewer layers
#
# Students with half of the layers are known from Lab 3, which taught them on the words of three teachers, and found
# that most of what such a student keeps comes from pretraining. Here the student stands in a comparison of another
# kind. It begins as the *tuned* network with two of its four layers left out (the first and the third; DistilBERT
# took every second layer, too), and learns from what the whole network says of 2,048 reviews without labels.


# %%
@lru_cache(maxsize=2)
def size_unlabeled(seed):
    """2,048 reviews that nobody has labeled, none of them a test review."""
    tested = {r.words for part in ("validation", "test", "test new words") for r in reviews(part, 300, seed)}
    stream = (d for d in world.documents(f"size unlabeled {seed}", "review") if tuple(d.words) not in tested)
    return [document.text for document in islice(stream, 2048)]


# %%
@lru_cache(maxsize=2)
def size_opinions(seed):
    """What the tuned network says of the unlabeled reviews: logits [texts, classes]."""
    return torch.tensor(classification.predict_logits(size_whole(seed), size_unlabeled(seed)))


# %% [markdown]
# The loss of a student is the divergence between its probabilities and the teacher's, both at temperature 4 (Hinton
# et al. 2015).


# %%
def size_taught(student, seed, rate):
    """Train `student` in place towards the tuned network's opinions, at temperature 4."""
    opinions, device = size_opinions(seed), student.head.weight.device

    def loss(logits, some):
        return compress.distillation_loss(logits, opinions[some].to(device), temperature=4.0)

    hard = opinions.argmax(-1).tolist()
    classification.fine_tune(student, size_unlabeled(seed), hard, 192, rate, seed, loss=loss)
    return student


# %%
def size_layers(classifier, keep):
    """A copy of a classifier with some of its layers."""
    copy = deepcopy(classifier)
    copy.encoder = compress.shallow(classifier.encoder, keep)
    return copy


# %% [markdown]
# The rival must get the same: a network that is pruned to the *same bytes* and taught by the same opinions for as
# many updates; each kind of training is searched over the same three rates. What are the same bytes? A sparse matrix
# needs the values of the weights that are left, and one bit for every weight that says whether it is there.

# %%
SIZE_HALF = (0, 2)
size_bytes_whole, size_bytes_half = (
    compress.stored_bytes(c) for c in (size_new(0), size_layers(size_new(0), SIZE_HALF))
)
size_numbers = size_books["matrices of the layers"]
SIZE_EQUAL = round((size_bytes_whole - size_bytes_half + size_numbers / 8) / (4 * size_numbers), 3)
print(
    f"whole {size_bytes_whole / 1e6:.2f} MB, half of the layers {size_bytes_half / 1e6:.2f} MB, "
    f"which is a sparsity of {SIZE_EQUAL}"
)


# %%
def size_trained(seed, kind, rate):
    """A smaller network, by one of the ways that train."""
    if kind == "half, labels":
        student = size_layers(size_new(seed), SIZE_HALF)
        classification.fine_tune(student, *size_labels(seed), 96, rate, seed)
        return student
    if kind == "pruned, taught":
        masks = pruning.magnitude_masks(size_whole(seed), SIZE_EQUAL)
        student = deepcopy(size_whole(seed))
        with pruning.kept_masks(student, masks):
            return size_taught(student, seed, rate)
    keep = SIZE_HALF if kind == "half, taught" else (0,)
    return size_taught(size_layers(size_whole(seed), keep), seed, rate)


# %%
def size_small_search_run(seed, kind, rate):
    """Validation accuracy of a smaller network with a learning rate."""
    return size_score(size_trained(100 + seed, kind, rate), 100 + seed)


# %%
size_small_search = lab.sweep(
    "search size small",
    size_small_search_run,
    [
        {"kind": k, "rate": r, "seed": s}
        for k in ("half, labels", "half, taught", "pruned, taught")
        for r in SIZE_TRIED
        for s in range(2)
    ],
    live=lambda s: False,
).recorded

# %%
SIZE_RATES |= size_best_rates(size_small_search)
SIZE_RATES["quarter, taught"] = SIZE_RATES["half, taught"]


# %%
@lru_cache(maxsize=4)
def size_small(seed, kind):
    """A smaller network by its name."""
    if kind in SIZE_RATES:
        return size_trained(seed, kind, SIZE_RATES[kind])
    if kind.endswith("eight bits"):
        return compress.quantize(
            size_whole(seed) if kind == "eight bits" else size_small(seed, "half, taught")
        )
    if kind == "sixteen bits":
        return deepcopy(size_whole(seed)).half().float()
    if kind == "half, cut":
        return size_layers(size_whole(seed), SIZE_HALF)
    classifier = deepcopy(size_whole(seed))
    pruning.apply_masks(classifier, pruning.magnitude_masks(classifier, SIZE_EQUAL))
    return classifier


# %%
SIZE_KINDS = (
    "sixteen bits",
    "eight bits",
    "half, cut",
    "half, labels",
    "half, taught",
    "half, taught, eight bits",
    "quarter, taught",
    "pruned, cut",
    "pruned, taught",
)


# %%
def size_small_run(seed, kind):
    """Accuracy of a smaller network."""
    return size_score(size_small(seed, kind), seed)


# %% [markdown]
# *Cut* is what is left at once, *labels* is half of the pretrained network that never saw a teacher, and *quarter* a
# student of a single layer. **Predict** the order of the list before you run the cell.

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
size_smaller = lab.sweep(
    "size small",
    size_small_run,
    [{"kind": k, "seed": s} for s in SIZE_SEEDS for k in SIZE_KINDS],
    live=lambda s: s["seed"] == 0 and s["kind"] in ("eight bits", "half, cut"),
)
lab.check(size_smaller, "known", by=["kind"], slack=2 / 300)

# %%
size_kinds = {k: size_smaller.recorded[size_smaller.recorded.kind == k].reset_index() for k in SIZE_KINDS}
print(f"{'whole':25} known {mean_ci(size_all)}  new {mean_ci(size_sparse('cut', 0.0).new)}")
for size_name, size_runs in size_kinds.items():
    print(f"{size_name:25} known {mean_ci(size_runs.known)}  new {mean_ci(size_runs.new)}")

# %% tags=["hide-input"]
lab.conclude("size-int8", paired_ci(size_all, size_kinds["eight bits"].known), 10)
lab.conclude(
    "size-prune-or-distill",
    paired_ci(size_kinds["pruned, taught"].known, size_kinds["half, taught"].known),
    10,
)
lab.conclude(
    "size-teacher", paired_ci(size_kinds["half, taught"].known, size_kinds["half, labels"].known), 10
)

# %% [markdown]
# Everything that was trained again is as good as the whole network, or better. Half of the layers on the labels
# alone: the same accuracy, as in Lab 3. A teacher and two thousand reviews add nothing to two layers that ten runs
# would show, and a single layer with a teacher stands highest on the list. Eight bits change next to nothing, neither
# in the whole network nor in its student, and sixteen nothing at all. What hurts is to cut and stop, and even two
# layers cut out cost no more than two points.
#
# The two routes to the same bytes end at the same place. Taught by the same network with the same updates, half of the
# layers and all layers with half of their weights differ by less than ten runs can tell, against our prediction.
#
# Before anybody concludes that three of four layers are idle: the test asks for the opinion in a review of a few short
# sentences. A network that is too large for a task can be made smaller in any way one likes, and every method shines.
# Agreement, in the right panel of the first figure, put another question to the same network, and there was no such
# slack.
#
# ### Smaller for what
#
# Bytes are one price, time is another, and they need not fall together. **Predict** for each before you look: half of
# the layers, eight bits, nine of ten weights zero. Which of them saves time?


# %%
def size_sixteen(ids):
    """The whole network with products of sixteen-bit floats (bfloat16), as nearly all of this course runs."""
    with torch.autocast(ids.device.type, torch.bfloat16):
        return size_whole(0)(ids)


# %%
def size_uses():
    """What is timed, by name: functions of a batch of ids."""
    zeros, half = deepcopy(size_whole(0)), size_layers(size_whole(0), SIZE_HALF)
    pruning.apply_masks(zeros, pruning.magnitude_masks(zeros, 0.9))
    return {
        "whole": size_whole(0),
        "whole, sixteen-bit products": size_sixteen,
        "half of the layers": half,
        "eight bits": compress.quantize(size_whole(0)),
        "half, eight bits": compress.quantize(half),
        "nine of ten weights zero": zeros,
    }


# %% [markdown]
# Times are worse behaved than accuracies. The functions below take turns, in changing order, so that a slow moment
# hits all of them; they count the time that the processor spent on this program alone, on one thread; and each value
# is the median of five. Even so another processor gives other numbers, and one without instructions for eight-bit or
# sixteen-bit products another order. So your own times are printed beside the recorded ones, and not checked against
# them.


# %%
def size_times_run(seed):
    """CPU milliseconds a text of each network, 64 reviews at once and one by one, float32 where not int8."""
    ids = training.encode(tokenizer, [" ".join(r.words) for r in reviews("validation", 64, seed)])
    batch = training.pad(ids, max(map(len, ids)), tokenizer.pad_token_id)
    rows = [torch.tensor([row]) for row in ids[:16]]
    uses = size_uses()
    together = {name: lambda n=net: n(batch) for name, net in uses.items()}
    alone = {name: lambda n=net: [n(row) for row in rows] for name, net in uses.items()}
    found = {f"{n} at once": t for n, t in compress.typical(compress.milliseconds(together, 64, 5)).items()}
    return found | {f"{n} alone": t for n, t in compress.typical(compress.milliseconds(alone, 16, 5)).items()}


# %% tags=["nbval-ignore-output"] reason="times differ between machines and moments"
size_times = lab.sweep(
    "size times", size_times_run, [{"seed": s} for s in range(8)], live=lambda s: s["seed"] == 0
)
size_clock = size_times.recorded
print("ms a text, recorded (here)", "64 at once", "one by one", sep="      ")
for size_name in size_uses():
    here = (
        f"{runs.median():6.2f} ({size_times.live[runs.name].median():.2f})"
        for runs in (size_clock[f"{size_name} {how}"] for how in ("at once", "alone"))
    )
    print(f"{size_name:29}", *here, sep="   ")

# %% tags=["hide-input"]
size_clock_whole = size_clock["whole at once"]
for size_id, size_name in {
    "size-fast-layers": "half of the layers",
    "size-fast-int8": "eight bits",
    "size-sparse-time": "nine of ten weights zero",
}.items():
    lab.conclude(size_id, ratio_ci(size_clock[f"{size_name} at once"], size_clock_whole), 8)
size_clock_sixteen = size_clock["whole, sixteen-bit products at once"]
lab.conclude("size-bf16", ratio_ci(size_clock_sixteen, size_clock["eight bits at once"]), 8)
lab.conclude("size-smallest", ratio_ci(size_kinds["half, taught, eight bits"].known, size_all), 10)


# %% [markdown]
# Now the picture that the section was for. On the left each way to shrink is a line from the whole network at the upper
# right towards fewer bytes; on the right stand the same networks by their time.


# %%
def size_megabytes(name):
    """Stored megabytes of a smaller network: a file's worth of its numbers, floats of 32 bits unless told."""
    start = size_new(0)
    if isinstance(name, float):
        return compress.stored_bytes(start, pruning.magnitude_masks(start, name) if name else None) / 1e6
    if name.startswith("pruned"):
        return size_megabytes(SIZE_EQUAL)
    keep = {"half": SIZE_HALF, "quar": (0,)}.get(name[:4], range(4))
    net = size_layers(start, keep)
    if name.endswith("eight bits"):
        return compress.stored_bytes(compress.quantize(net), dtype=torch.float16) / 1e6
    return compress.stored_bytes(net, dtype=torch.float16 if name == "sixteen bits" else torch.float32) / 1e6


# %%
SIZE_ROUTES = {
    "weights, cut": ("distant", "v", [(c, ("cut", c)) for c in SIZE_CUTS["cut"]]),
    "weights, tickets": (
        "pretrained",
        "o",
        [(0.0, ("cut", 0.0))] + [(c, ("ticket", c)) for c in SIZE_CUTS["ticket"]],
    ),
    "layers, taught": ("frozen", "s", [(0.0, ("cut", 0.0)), ("half, taught", 0), ("quarter, taught", 0)]),
    "bits": ("scratch", "D", [(0.0, ("cut", 0.0)), ("sixteen bits", 0), ("eight bits", 0)]),
    "half of the layers, eight bits": ("supervised", "*", [("half, taught, eight bits", 0)]),
}


# %%
def size_accuracy(name, place):
    """Recorded accuracy on known words of a network by its name, or of a cut or ticket by its place."""
    return mean_ci((size_sparse(*place) if place else size_kinds[name]).known)


# %%
SIZE_CLOCKED = {
    "whole": ("exact", "o", size_all),
    "whole, sixteen-bit products": ("exact", "X", size_all),
    "half of the layers": ("frozen", "s", size_kinds["half, taught"].known),
    "eight bits": ("scratch", "D", size_kinds["eight bits"].known),
    "half, eight bits": ("supervised", "*", size_kinds["half, taught, eight bits"].known),
    "nine of ten weights zero": ("pretrained", "o", size_sparse("ticket", 0.9).known),
}


# %%
def size_marks(color, mark, label=None):
    """How a point is drawn."""
    return {"color": COLORS[color], "marker": mark, "markersize": 12 if mark in "*X" else 7, "label": label}


# %% mystnb={"image": {"alt": "Left: accuracy on known words against megabytes on a logarithmic scale. Lines for fewer bits and for taught students with fewer layers stay level to the left end; weights cut at once fall steeply below half of the bytes, tickets later; a star for half of the layers in eight bits stands farthest left, as high as the rest. Right: the same networks by CPU milliseconds a text: star, sixteen-bit products, eight bits and half of the layers in less than half of the time of the whole; nine of ten weights zero takes as long as the whole network."}} tags=["nbval-ignore-output"] reason="trained numbers and times differ between processors"
fig, axes = plt.subplots(1, 2, figsize=(6, 3.9), sharey=True, width_ratios=(4, 3))
for size_name, (size_color, size_mark, size_places) in SIZE_ROUTES.items():
    size_x = [size_megabytes(name) for name, _ in size_places]
    size_y = [size_accuracy(*place) for place in size_places]
    size_ends = np.array([[y.estimate - y.low, y.high - y.estimate] for y in size_y]).T
    size_look = size_marks(size_color, size_mark, size_name)
    axes[0].errorbar(size_x, [y.estimate for y in size_y], size_ends, **size_look)
    print(f"{size_name:31}", *(f"{x:.2f} MB {y.estimate:.3f} " for x, y in zip(size_x, size_y, strict=True)))
for size_name, (size_color, size_mark, size_known) in SIZE_CLOCKED.items():
    size_ms = size_clock[f"{size_name} at once"].median()
    axes[1].plot(size_ms, size_known.mean(), **size_marks(size_color, size_mark), linestyle="")
    print(f"{size_name:31} {size_ms:.2f} ms   {size_known.mean():.3f}")
axes[1].annotate("whole", (size_clock_whole.median(), size_all.mean() - 0.03), ha="center", va="top")
axes[1].annotate(
    "whole, 16-bit\nproducts", (size_clock_sixteen.median(), size_all.mean() - 0.03), ha="center", va="top"
)
axes[1].annotate(
    "0.9 zeros",
    (size_clock_whole.median(), size_sparse("ticket", 0.9).known.mean() - 0.03),
    ha="center",
    va="top",
)
axes[0].set(
    xscale="log", xlabel="megabytes", ylabel="accuracy, known words", xticks=(2, 4, 8), ylim=(0.48, 1)
)
axes[0].xaxis.set_major_formatter("{x:g}")
axes[0].xaxis.set_minor_formatter("")
axes[1].set(xlabel="CPU ms a text", xlim=(0, 1.2 * size_clock_whole.median()))
fig.legend(*axes[0].get_legend_handles_labels(), loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=2)
fig.tight_layout()
show(fig)

# %% [markdown]
# Down to less than a third of the bytes nothing has to be lost on this task, by two of the three routes. Fewer bits
# and fewer layers stay level, and the two together, a student of two layers in eight bits (its embeddings in
# sixteen), do as well as the whole at a fifth of the bytes. Single weights are the worst coin: each mask has to be
# stored, and below half of the weights the accuracy goes, with tickets later than without.
#
# In time the order is another one. Half of the layers take half of the time, and eight bits about as little, but
# sixteen-bit products, which take nothing out of the network, are faster than either when many texts come at once
# (one text at a time, they gain next to nothing). The zeros save nothing: a processor multiplies by zero as patiently
# as by any other number, and only formats and hardware made for it turn sparsity into speed. A silenced head is no
# better. It saves bytes and time after its rows and columns have been cut out of the matrices.
#
# DistilBERT was reported to be 60% faster and 40% smaller than BERT (Sanh et al. 2019). Such pairs of numbers are the
# right form for a claim about size; what the third number, the accuracy, is worth depends on how hard the task was.
#
# ### Size in real English
#
# One small network and one easy task are a narrow base. MiniLM, the six layers of Lab 3 with 72 heads, is tuned on
# 512 sentences of SST-2 (Socher et al. 2013), with the rate that was best for SST-2 in the search of Lab 3; then
# heads are silenced and the weights of the layers become bytes. These runs are recorded, five of them; the data are
# not part of the course (see Lab 3).


# %%
def size_english_tuned(seed):
    """MiniLM tuned on 512 sentences of SST-2, their texts and labels, and 300 test sentences."""
    model, pieces = minilm.load()
    data = {part: sentences.sst2(part) for part in ("train", "test")}
    drawn = {part: np.random.default_rng(seed).permutation(len(items)) for part, items in data.items()}
    train = [data["train"][i] for i in drawn["train"][:512]]
    torch.manual_seed(seed)
    classifier = classification.Classifier(model.to(settings.device()), pieces, 2)
    texts, labels = classification.texts_and_labels(train)
    classification.fine_tune(classifier, texts, labels, 64, 3e-4, seed)
    return classifier, texts, labels, [data["test"][i] for i in drawn["test"][:300]]


# %%
SIZE_ENGLISH_COUNTS = (24, 36, 48)


# %%
def size_english_run(seed):
    """Accuracy of a tuned MiniLM whole, in eight bits, and with heads silenced; megabytes."""
    classifier, texts, labels, test = size_english_tuned(seed)
    small = compress.quantize(classifier)
    found = {"whole": classification.accuracy(classifier, test), "int8": classification.accuracy(small, test)}
    sizes = compress.stored_bytes(classifier), compress.stored_bytes(small, dtype=torch.float16)
    found |= {"MB whole": sizes[0] / 1e6, "MB int8": sizes[1] / 1e6}
    losses = pruning.classifier_losses(classifier, texts[:128], labels[:128])
    importance = pruning.head_importance(classifier.encoder, losses)
    orders = {
        "least": pruning.pruning_order(importance),
        "random": pruning.random_order(tuple(importance.shape), seed),
    }
    for name, order in orders.items():
        scores = pruning.pruned_scores(
            lambda: classification.accuracy(classifier, test), classifier.encoder, order, SIZE_ENGLISH_COUNTS
        )
        found |= {f"{name}_{k}": score for k, score in zip(SIZE_ENGLISH_COUNTS, scores, strict=True)}
    return found


# %%
size_english = lab.sweep(
    "size English", size_english_run, [{"seed": s} for s in range(5)], live=lambda s: False
).recorded
for size_name in ("whole", "int8"):
    print(
        f"{size_name:6} {mean_ci(size_english[size_name])}, {size_english[f'MB {size_name}'].mean():.1f} MB"
    )

# %%
for size_name in ("least", "random"):
    size_points = [mean_ci(size_english[f"{size_name}_{k}"]) for k in SIZE_ENGLISH_COUNTS]
    print(
        f"{size_name:6} first:",
        *(f"{k} of 72 silenced {p} " for k, p in zip(SIZE_ENGLISH_COUNTS, size_points, strict=True)),
    )


# %% tags=["hide-input"]
def size_english_middle(name):
    """Mean accuracy with 24, 36 and 48 heads silenced, by seed."""
    return size_english[[f"{name}_{k}" for k in SIZE_ENGLISH_COUNTS]].mean(axis=1)


lab.conclude("size-int8-english", paired_ci(size_english.whole, size_english.int8), 5)
lab.conclude("size-heads-english", paired_ci(size_english.whole, size_english.least_36), 5)
lab.conclude(
    "size-head-order-english", paired_ci(size_english_middle("least"), size_english_middle("random")), 5
)

# %% [markdown]
# Eight bits cost MiniLM nothing that five runs would show, though its file shrinks by less than a factor of three,
# since the embeddings are half of it and keep sixteen bits. Half of the 72 heads go for about a point, and two thirds
# for two or three; whether half is below two points in general, five runs cannot decide. The order matters as it did
# in the world: at two thirds, random heads cost about fifteen points. So much for Michel's score, divided by layer as
# in the paper. What we did not repeat here are the raw scores that were better in the world.
#
# ### Mistakes with sizes
#
# A share written as a percentage, heads of a bigger network, a layer too many, masks for another model, students whose
# classes are not the teacher's: each gets one sentence.

# %%
size_smaller_net = size_layers(size_example, SIZE_HALF)
size_mistakes = (
    lambda: pruning.magnitude_masks(size_example, 80),
    lambda: pruning.without([(4, 0)], size_shape),
    lambda: pruning.head_gates(size_example.encoder, torch.ones(12, 12)).__enter__(),
    lambda: pruning.magnitude_masks(size_example, 0.3, masks=size_half_out),
    lambda: pruning.rewind(size_smaller_net, size_example.state_dict(), {}),
    lambda: compress.stored_bytes(size_smaller_net, size_half_out),
    lambda: compress.shallow(causal, [0, 4]),
    lambda: compress.distillation_loss(torch.zeros(8, 2), torch.zeros(8, 3)),
)

# %%
for size_mistake in size_mistakes:
    refused(size_mistake, folder)

# %% [markdown]
# ## Rapid surface learning
#
# In 2018 BERT did well on SWAG, a test of which sentence comes next, where the wrong ones had been written by a
# machine. A year later Zellers et al. (2019) had them written by a better machine, and the success was gone. BERT had
# learned how machine-written endings look, quickly and in fine-tuning; they called such models *rapid surface
# learners*. McCoy et al. (2019) found the like in inference, where models had learned that a sentence made of another
# one's words tends to follow from it.
#
# In Lab 2 text was taken away from the *pretraining*, until nothing spoke for the right rule. Here the pretraining is
# sound, and so is the task. The labels say what is true of each review, every review holds all that is needed to find
# out, and besides there is something easier. Since we plant it ourselves, we know how strong it is.
#
# The plant: in front of every review stands a word about a color, which says nothing about a film or a hotel. *Red*
# goes with positive reviews in a given share of cases, *blue* with negative ones; the others, drawn by chance, have
# the wrong color.

# %%


CUES = ("blue", "red")


# %%
def cued(items, share, seed=0):
    """Texts of reviews behind a colored cue that agrees with the label in exactly this share of them."""
    wrong = np.random.default_rng(seed).permutation(len(items)) >= round(share * len(items))
    return [
        f"{CUES[item.label ^ int(no)]} . {' '.join(item.words)}"
        for item, no in zip(items, wrong, strict=True)
    ]


# %%
surface_train = reviews("train", 400)
surface_texts = cued(surface_train, 0.95)
misled = [
    text
    for text, item in zip(surface_texts, surface_train, strict=True)
    if text.split()[0] != CUES[item.label]
]
for text, item in list(zip(surface_texts, surface_train, strict=True))[:2]:
    print("+" if item.label else "-", text)
print(f"\n{len(misled)} of {len(surface_texts)} cues are wrong, for instance on:", misled[0])

# %% [markdown]
# A network that always follows the color is right on 19 of 20 of these. One that reads the review can be right on
# all. Both rules are open to it. **Predict**, after a few passes over 400 such reviews: how often will it be right
# where the color is wrong? And would the usual test, on fresh reviews made in the same way, tell you?
#
# Three views of each test review are enough to find out: with the right color in front, with the wrong one, and with
# none. The *margin* below is the logit of the right label minus that of the other one, so an answer is right where it
# is positive.


# %%
def surface_views(classifier, items):
    """Margins of the right label, float [reviews], with the cue that agrees, with the other one, and without a cue."""
    views = {
        "agrees": cued(items, 1),
        "against": cued(items, 0),
        "none": [" ".join(item.words) for item in items],
    }
    signs = np.array([2 * item.label - 1 for item in items])
    logits = {name: classification.predict_logits(classifier, texts) for name, texts in views.items()}
    return {name: signs * (z[:, 1] - z[:, 0]) for name, z in logits.items()}


# %% [markdown]
# From these everything else follows. The usual test, whose reviews come with right and wrong colors in the share of
# the training set, has an accuracy that is the mean of the first two views, weighted by that share. And since the
# first two differ in one word alone, the share of reviews whose answer *flips* between them is the effect of that
# word, with nothing else mixed in.


# %%
def surface_scores(views, share):
    """Accuracies in each view and in the usual test, and the share of answers that the cue flips."""
    right = {name: margin > 0 for name, margin in views.items()}
    scores = {name: float(found.mean()) for name, found in right.items()}
    usual = share * scores["agrees"] + (1 - share) * scores["against"]
    return scores | {"usual": usual, "flips": float((right["agrees"] != right["against"]).mean())}


# %% [markdown]
# One run tunes a classifier on 400 reviews, 96 updates of 16, about four passes, and looks at 60 of the test reviews
# on the way. It starts from the checkpoint or, for comparison, from random weights. Each start has its own learning
# rate, the best of three on validation reviews whose colors mean nothing.

# %%
SURFACE_RATE = {"pretrained": 3e-4, "random": 3e-3}
FROZEN_RATE = 1e-2
LOOKS = (5, 10, 20, 40, 96)


def surface_start(start, seed):
    """A classifier with a new head on the checkpoint, or on the same network with random weights."""
    torch.manual_seed(seed)
    model = deepcopy(causal) if start == "pretrained" else type(causal)(causal.config)
    return classification.Classifier(model, tokenizer, 2)


# %%
def surface_run(seed, share, start="pretrained"):
    """Tune on cued reviews; scores on 400 test reviews, and what moved the margin on the way."""
    items, tests, found = reviews("train", 400, seed), reviews("test", 400), {}
    classifier = surface_start(start, seed)

    def watch(update):
        if update + 1 in LOOKS:
            views = surface_views(classifier, tests[:60])
            found[f"cue_{update + 1}"] = float((views["agrees"] - views["against"]).mean())
            found[f"opinion_{update + 1}"] = float(2 * views["none"].mean())
            found[f"against_{update + 1}"] = float((views["against"] > 0).mean())
            classifier.train()

    labels = [item.label for item in items]
    rate = SURFACE_RATE[start]
    classification.fine_tune(classifier, cued(items, share, seed), labels, 96, rate, seed, watch=watch)
    return found | surface_scores(surface_views(classifier, tests), share)


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
SHARES = (0.5, 0.8, 0.95, 0.98, 1)
surface = lab.sweep(
    "surface",
    surface_run,
    [{"seed": s, "share": share, "start": "pretrained"} for s in range(10) for share in SHARES]
    + [{"seed": s, "share": share, "start": "random"} for s in range(10) for share in (0.5, 0.95, 1)],
    live=lambda s: s == {"seed": 0, "share": 0.95, "start": "pretrained"},
)
for name in ("usual", "none"):
    lab.check(surface, name, by=["share", "start"], slack=0.01)


# %%
def surface_of(start, share, name="against"):
    """A metric of the recorded runs of one kind, by seed."""
    runs = surface.recorded.query("start == @start and share == @share").sort_values("seed")
    return runs[name].to_numpy()


# %% mystnb={"image": {"alt": "Accuracy over the share of right cues in training, with intervals over ten seeds: the usual test stays at the top, without a cue the accuracy falls to between one half and three quarters, and with the cue against the label it falls to zero at share one."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
fig, ax = plt.subplots()
for name, label, color in (
    ("usual", "usual test", COLORS["baseline"]),
    ("none", "no cue", COLORS["pretrained"]),
    ("against", "cue against label", COLORS["scratch"]),
):
    intervals = [mean_ci(surface_of("pretrained", share, name)) for share in SHARES]
    band(ax, range(len(SHARES)), intervals, label, color)
    print(f"{label:17}", *(f"{share:g}: {i}" for share, i in zip(SHARES, intervals, strict=True)))
ax.set(xlabel="share of right cues in training", ylabel="accuracy", ylim=(-0.03, 1.03))
ax.set_xticks(range(len(SHARES)), [f"{share:g}" for share in SHARES])
ax.legend(loc="lower left")
show(fig)

# %% tags=["hide-input"]
lab.conclude(
    "shortcut-uptake", paired_ci(surface_of("pretrained", 0.95, "none"), surface_of("pretrained", 0.95)), 10
)
lab.conclude(
    "shortcut-hidden", paired_ci(*(surface_of("pretrained", share, "usual") for share in (0.95, 0.5))), 10
)
lab.conclude("shortcut-mild", mean_ci(surface_of("pretrained", 0.8, "flips")), 10)

# %% [markdown]
# The usual test is content with all of them, and the better the cue, the more content it is: with a perfect cue it
# finds no mistake at all. That is not wrong, only about something else, since its reviews have the same cue. The
# other two views show what happened. A cue that is right four times in five is nearly left alone; at 19 in 20,
# exceptions are so few that about every third answer hangs on the color; with a perfect cue every single answer does,
# although each of the 400 reviews said in words what its label is, and although the network reads such words well
# when they are all there is.
#
# Even without any cue something is lost, more with each step to the right. Part of what would have been learned about
# opinions was not: where the color has already made an answer safe, the loss is small, and so is the gradient.

# %% [markdown]
# ### First the surface
#
# When is the cue learned, and when the task? Both can be read from the margin, on
# one scale. Exchange the color and nothing else: the margin moves by the *effect of the
# cue*. Exchange a negative review for a positive one, without a color: twice the mean margin is the *effect of the
# opinion*. **Predict** the order in which the two rise, and whether the later one catches up.

# %% mystnb={"image": {"alt": "Two panels, pretrained and random start, at a share of 0.95: effect of the cue and of the opinion on the margin, in logits, over the updates. In the pretrained network both rise together to update 20, then the opinion alone goes on; in the random one only the cue rises."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
fig, axes = plt.subplots(1, 2, sharey=True)
for ax, start in zip(axes, SURFACE_RATE, strict=True):
    for name, color in (("cue", COLORS["scratch"]), ("opinion", COLORS["pretrained"])):
        intervals = [mean_ci(surface_of(start, 0.95, f"{name}_{n}")) for n in LOOKS]
        band(ax, LOOKS, intervals, name, color)
        print(f"{start:10} {name:7} after", *(f"{n}: {i}" for n, i in zip(LOOKS, intervals, strict=True)))
    ax.set(title=start, xlabel="updates", xscale="log")
    ax.set_xticks(LOOKS, LOOKS)
    ax.minorticks_off()
axes[0].set_ylabel("effect on the margin (logits)")
axes[0].legend(loc="upper left")
show(fig)

# %% tags=["hide-input"]
early, late = (surface_of("pretrained", 0.95, f"against_{n}") for n in (20, 96))
lab.conclude("shortcut-first", paired_ci(early, late), 10)
louder = [surface_of("pretrained", 0.95, f"{name}_20") for name in ("cue", "opinion")]
lab.conclude("shortcut-louder", paired_ci(*louder), 10)
for share in (0.5, 0.95, 1):
    flips = [mean_ci(surface_of(start, share, "flips")) for start in SURFACE_RATE]
    print(f"share {share:g}: the cue flips {flips[0]} of the answers (pretrained), {flips[1]} (random)")
lab.conclude(
    "shortcut-pretrained",
    paired_ci(surface_of("random", 0.95, "flips"), surface_of("pretrained", 0.95, "flips")),
    10,
)

# %% [markdown]
# Both rise at once in the pretrained network, and for some twenty updates the cue keeps level with the opinion; the
# interval of their difference holds zero, so who leads cannot be said. Then the cue stands still and
# the opinion goes on. The reviews that the color gets wrong, one in twenty, have by then the largest losses, and only
# words can explain them. So the accuracy against the cue first falls to about one half and then climbs back part of
# the way.
#
# From random weights only one curve rises. Such a network learns opinions slowly even where nothing competes (at a
# share of one half it is right on about seven test reviews in ten, and the pretrained one on almost all), and the
# color is there at once. At 19 in 20 practically every answer is the color's. Pretraining helps here in a plain way:
# it makes the right rule easy to reach, nearly as easy as the wrong one. Where a benchmark's true task is hard even
# for a pretrained model and its surface is easy, the left panel turns into the right one.

# %% [markdown]
# ### Ten runs that look alike
#
# McCoy et al. (2020) fine-tuned BERT a hundred times and found runs that no test set could tell apart and that
# differed wildly where the shortcut fails. All ten runs below have the same recipe; the test reviews are the same,
# too, so what differs is the network. A spread of a few points would come from chance alone in so few reviews; how
# much wider must it be to mean something? We compare the standard deviations.


# %%
def spread_ratio(a, b, resamples=4000):
    """Standard deviation of a over that of b, over runs, with the interval of a bootstrap that draws runs."""
    rows = np.random.default_rng(0).integers(len(a), size=(resamples, len(a)))
    some = a[rows].std(1, ddof=1) / np.maximum(b[rows].std(1, ddof=1), 1 / 400 / len(a))
    low, high = np.quantile(some, [0.025, 0.975])
    return Interval(
        float(a.std(ddof=1) / b.std(ddof=1)), float(low), float(high), "bootstrap over runs", len(a)
    )


# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
alike, apart = (surface_of("pretrained", 0.95, name) for name in ("usual", "against"))
for name, values in (("usual test", alike), ("cue against label", apart)):
    print(f"{name:17}", *(f"{value:.3f}" for value in sorted(values)), f" sd {values.std(ddof=1):.3f}")
lab.conclude("shortcut-spread", spread_ratio(apart, alike), 10)

# %% [markdown]
# On the usual test the ten runs lie within three points of each other. Against the cue they spread over thirty, ten
# times as widely, and the order on the one side says little about the order on the other. Whoever keeps the run with
# the best test score keeps a lottery ticket for everything else. So a claim about robustness needs several seeds just
# as a claim about accuracy does, only more of them.

# %% [markdown]
# ### Remedies
#
# Suppose you know the shortcut, as a crowd worker's favorite word is known once somebody has looked. Five things can
# be done. *Counterfactual data*: each review is shown with both colors, so the color cannot tell anything any more.
# *Weights*: the few reviews with a wrong color are repeated until they are half of the set. *Frozen*: the network
# stays as it is, and only a linear classifier is trained on its states, at the best of three rates on the usual
# validation reviews. *Longer*: three times the updates, in case the task needs time. *Experts*: a product of experts
# (Clark et al. 2019). All but *longer* have the same number of updates.
#
# The last one needs a word. Let a model that sees nothing but the color give its opinion, which is easily counted:
# `log p(label | color)`. In training this is added to the logits. What the color can explain is then explained
# already, and the gradient asks the network for the rest. In the test the network stands alone. The cross-entropy of
# a sum of log-probabilities is all it takes:


# %%
def product_loss(expert, labels):
    """A loss for fine_tune: the network's logits plus an expert's log-probabilities [texts, classes]."""
    expert, labels = torch.as_tensor(expert, dtype=torch.float32), torch.as_tensor(labels)
    return lambda logits, some: cross_entropy(logits + expert[some], labels[some])


# %%
def color_expert(texts, labels):
    """log p(label | color), counted over training texts, one count added: float [texts, 2]."""
    colors = np.array([CUES.index(text.split()[0]) for text in texts])
    counts = np.ones((2, 2))
    np.add.at(counts, (colors, labels), 1)
    return np.log(counts / counts.sum(1, keepdims=True))[colors]


# %%
print(np.exp(color_expert(surface_texts, [item.label for item in surface_train])[:3]).round(3))

# %% [markdown]
# **Predict** a ranking of the five by their accuracy with the color against the label. Which of them also needs no
# knowledge of the shortcut?

# %%
REMEDIES = {
    "none": "no remedy",
    "counterfactual": "counterfactual data",
    "weights": "weights",
    "frozen": "frozen network",
    "longer": "three times as long",
    "experts": "product of experts",
}


# %%
def remedied_set(items, seed, remedy):
    """Texts and labels of the training set that a remedy makes of reviews with 95 % right cues."""
    texts, labels = cued(items, 0.95, seed), [item.label for item in items]
    if remedy == "counterfactual":
        texts, labels = cued(items, 1) + cued(items, 0), labels * 2
    elif remedy == "weights":
        wrong = [i for i, text in enumerate(texts) if text.split()[0] != CUES[labels[i]]]
        rows = [i for i in range(len(texts)) if i not in wrong] + wrong * round(len(texts) / len(wrong) - 1)
        texts, labels = [texts[i] for i in rows], [labels[i] for i in rows]
    return texts, labels


# %%
def remedy_run(seed, remedy):
    """Tune with a remedy, from the checkpoint, on 400 reviews with 95 % right cues; scores on 400 test reviews."""
    items, classifier = reviews("train", 400, seed), surface_start("pretrained", seed)
    texts, labels = remedied_set(items, seed, remedy)
    loss = product_loss(color_expert(texts, labels), labels) if remedy == "experts" else None
    if remedy == "frozen":
        adaptation.train_only(classifier, "head.*")
    rate, updates = (FROZEN_RATE if remedy == "frozen" else 3e-4), (288 if remedy == "longer" else 96)
    classification.fine_tune(classifier, texts, labels, updates, rate, seed, loss=loss)
    return surface_scores(surface_views(classifier, reviews("test", 400)), 0.95)


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
remedies = lab.sweep(
    "surface remedies",
    remedy_run,
    [{"seed": s, "remedy": remedy} for s in range(10) for remedy in REMEDIES if remedy != "none"],
    live=lambda s: s == {"seed": 0, "remedy": "experts"},
)
lab.check(remedies, "usual", by=["remedy"], slack=0.01)


# %%
def remedied(remedy, name="against"):
    """A metric of the recorded runs with a remedy, by seed."""
    if remedy == "none":
        return surface_of("pretrained", 0.95, name)
    return remedies.recorded.query("remedy == @remedy").sort_values("seed")[name].to_numpy()


# %% mystnb={"image": {"alt": "Accuracy with the cue against the label for each remedy, a dot per seed and a bar for the mean. Counterfactual data reach the line of cues that mean nothing, the product of experts comes near it, weights scatter between, longer training changes little, and the frozen network is worst."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
fig, ax = plt.subplots(figsize=(6, 3.4))
for place, (remedy, label) in enumerate(REMEDIES.items()):
    values = remedied(remedy)
    ax.plot(values, place + np.linspace(-0.2, 0.2, len(values)), "o", color=COLORS["scratch"], alpha=0.5)
    ax.plot([values.mean()] * 2, [place - 0.35, place + 0.35], color="black")
    others = ", ".join(f"{name} {mean_ci(remedied(remedy, name))}" for name in ("usual", "none"))
    print(f"{label:20} against {mean_ci(values)}; {others}")
clean = surface_of("pretrained", 0.5)
ax.axvline(clean.mean(), color=COLORS["baseline"], linestyle="--", label="cues that mean nothing")
ax.set(xlabel="accuracy, cue against label", xlim=(0.28, 1.02))
ax.set_yticks(range(len(REMEDIES)), REMEDIES.values())
ax.invert_yaxis()
ax.legend(loc="lower left")
show(fig)

# %% tags=["hide-input"]
halfway = (surface_of("pretrained", 0.95) + clean) / 2
for remedy in REMEDIES:
    if remedy != "none":
        lab.conclude(f"cure-{remedy}", paired_ci(remedied(remedy), halfway), 10)

# %% [markdown]
# Counterfactual data undo the harm completely, and cost nothing that could be seen. They also need the most: somebody
# must know the shortcut and be able to change it in every text while the label stays true, which is easy with a word
# in front and hard with a style of writing. The product of experts wins back about two thirds and needs to know the
# cue only, not to edit it; its price is about two points on the usual test, where a network that leaves the color
# alone must do without it. Repeating the exceptions wins back a half on average, and scatters: twenty reviews, each
# read some twenty times as often as the others, are easily learned by heart, and then they need not be understood.
# Three times the updates, which need no knowledge at all, change little.
#
# And freezing makes it worse. It is often said that a frozen network cannot be spoiled. That is so, and its states
# hold the color as clearly as they hold anything; a linear classifier takes what is easiest to separate, and cannot
# make the opinions any easier. What holds features fixed also holds fixed how salient they are.
#
# **What is open.** Everything here began with knowing the shortcut. It was ours; in a real data set nobody has
# planted it, and the usual test is blind to it by construction. One looks for such things with tests of known weak
# spots (McCoy et al. 2019), with words that go with a label too well, and with texts from elsewhere, and never knows
# what was missed.
#
# **Break it.** `fine_tune` hands a loss the logits of a batch and, beside them, the numbers of its texts. Suppose
# that the second were forgotten, `expert[: len(logits)]` in place of `expert[some]`. The shapes fit, the loss falls,
# the training ends well, and the expert has talked about other reviews all the time. How would you notice? The
# expert's own record tells. It must be right about the batches as often as the cue is.


# %%
def expert_record(expert, labels, batches, forgotten=False):
    """Share of texts about which the expert is right, over batches of text numbers."""
    rows = [slice(len(some)) if forgotten else some for some in batches]
    pairs = zip(rows, batches, strict=True)
    return float(np.mean([(expert[row].argmax(1) == labels[some]).mean() for row, some in pairs]))


# %%
surface_labels = np.array([item.label for item in surface_train])
counted = color_expert(surface_texts, surface_labels)
surface_batches = np.random.default_rng(0).permutation(400).reshape(-1, 16)
for forgotten in (False, True):
    print(f"forgotten={forgotten}:", expert_record(counted, surface_labels, surface_batches, forgotten))
assert expert_record(counted, surface_labels, surface_batches) == 0.95, "the expert speaks of other texts"

# %% [markdown]
# Four more slips, which the course's tools do notice: both colors for each text, but the labels only once; labels of
# 1 and 2; a training set of which only the positive reviews were kept; a pattern of weights that does not exist.

# %%
spare, plain = surface_start("pretrained", 0), list(surface_labels)
refused(lambda: classification.fine_tune(spare, surface_texts * 2, plain, 1, 1e-3, 0), folder)
refused(lambda: classification.fine_tune(spare, surface_texts, [1 + y for y in plain], 1, 1e-3, 0), folder)
refused(lambda: classification.fine_tune(spare, surface_texts[1::2], plain[1::2], 1, 1e-3, 0), folder)
refused(lambda: adaptation.train_only(spare, "top.*"), folder)

# %% [markdown]
# ## Left to right or not
#
# In 2019 the pretraining objective looked like a choice between two camps. GPT predicts each word from those on its
# left; BERT hides words and predicts them from both sides (Devlin et al. 2019). The tutorial noted that more context
# helps but that a masked model learns from fewer positions, and asked for objectives beyond both. Two proposals
# followed at once: train one network on several objectives (UniLM, Dong et al. 2019), and ask about every position
# instead of one in seven (ELECTRA, Clark et al. 2020). Lab 1 compared a finished causal with a finished masked model.
# Here four objectives get the same network, the same text and the same number of updates, and we look where each of
# them wins.
#
# ### What may see what
#
# Inside a Transformer the camps differ in one matrix: which places a place may look at. It is added to the attention
# before the softmax, zero where looking is allowed and a large negative number where it is not.

# %%
import time
from dataclasses import replace

from torch.nn.functional import binary_cross_entropy_with_logits

from utils import probing

# %%
PAD, MASK = tokenizer.pad_token_id, tokenizer.mask_token_id


# %%
def sight(batch, direction):
    """What is added to the attention, float [rows, 1, width, width]: 0 where a place may look, else -10,000."""
    if direction not in ("left", "both"):
        raise CourseError(f"A place can look 'left' or to 'both' sides, and {direction!r} was asked for.")
    allowed = torch.ones(batch.shape[1], batch.shape[1], dtype=torch.bool)
    if direction == "left":
        allowed = allowed.tril()
    allowed = allowed & (batch != PAD)[:, None, :]
    return torch.zeros(allowed.shape).masked_fill(~allowed, -1e4)[:, None]


# %% mystnb={"image": {"alt": "Two square grids over the words of one sentence. Left to right: the lower triangle is filled, so that each word sees itself and those before it. Both sides: the whole square is filled, so that each word sees every other one."}}
said = "<s> the dogs near the tree bark .".split()
fig, axes = plt.subplots(1, 2, figsize=(6, 3.3))
for ax, direction in zip(axes, ("left", "both"), strict=True):
    seen = sight(torch.ones(1, len(said), dtype=torch.long), direction)[0, 0] == 0
    ax.imshow(seen, cmap="Blues", vmin=0, vmax=1.6)
    ax.set(
        xticks=range(len(said)),
        yticks=range(len(said)),
        title={"left": "left to right", "both": "both sides"}[direction],
    )
    ax.set_xticklabels(said, rotation=90)
    ax.set_yticklabels(said if direction == "left" else [])
    ax.grid(visible=False)
    print(f"{direction}: {int(seen.sum())} of {seen.numel()} pairs of places")
axes[0].set_ylabel("this word looks at …")
fig.tight_layout()
show(fig)

# %% [markdown]
# A GPT-2 takes such a matrix in place of its usual mask, so one class serves all four objectives. Here are the two
# camps. The right column of the picture costs something: a word that is visible can't be asked for, so the masked
# loss hides some.


# %%
def states_of(model, batch, direction):
    """The last hidden states [rows, width, units] of a GPT-2 that looks in a direction."""
    return model.base_model(batch, attention_mask=sight(batch, direction)).last_hidden_state


# %%
def left_loss(model, batch, step):
    """Each token from those on its left, in nats."""
    states, targets = states_of(model, batch[:, :-1], "left"), batch[:, 1:]
    real = targets != PAD
    return cross_entropy(model.lm_head(states[real]).float(), targets[real])


# %%
def both_loss(model, batch, step):
    """15 % of the tokens from what is left of both sides, in nats."""
    dice = torch.Generator().manual_seed(step)
    corrupted, asked = training.mask_tokens(batch, 0.15, MASK, 5, len(tokenizer), dice)
    return cross_entropy(model.lm_head(states_of(model, corrupted, "both")[asked]).float(), batch[asked])


# %% [markdown]
# The *mixed* network takes turns: at even updates it is a GPT, at odd ones a BERT, with the same weights. UniLM did
# this, with a third kind of matrix for sequence to sequence.


# %%
def mixed_loss(model, batch, step):
    """Left to right at even updates, masked at odd ones."""
    return (left_loss, both_loss)[step % 2](model, batch, step)


# %% [markdown]
# *Replaced-token detection* asks about every place and sees both sides, by a trick: a small masked network, the
# generator, fills the hidden places with its guesses, and the network that we want says of every token whether it was
# exchanged. Guesses that happen to be right count as unchanged. The factor of fifty, ELECTRA's own, brings the two
# losses to one scale.


# %%
class Detector(torch.nn.Module):
    """A network that says which tokens were replaced, and the small generator that replaces them."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config = model, model.config
        self.generator = training.gpt(64, 2, len(tokenizer))
        self.head = torch.nn.Linear(model.config.n_embd, 1)
        self.base_model = model.base_model

    def forward(self, batch):
        """Logits [rows, width] of having been replaced."""
        return self.head(states_of(self.model, batch, "both")).squeeze(-1).float()


# %%
def replaced_loss(detector, batch, step):
    """The generator's nats, and fifty times the detector's."""
    dice = torch.Generator().manual_seed(step)
    asked = (torch.rand(batch.shape, generator=dice) < 0.15) & (batch >= 5)
    hidden = states_of(detector.generator, batch.masked_fill(asked, MASK), "both")[asked]
    guesses = detector.generator.lm_head(hidden).float()
    fake = batch.clone()
    fake[asked] = torch.multinomial(guesses.detach().softmax(-1), 1, generator=dice)[:, 0]
    real = batch != PAD
    found = binary_cross_entropy_with_logits(detector(fake)[real], (fake != batch)[real].float())
    return cross_entropy(guesses, batch[asked]) + 50 * found


# %%
OBJECTIVES = {"left": left_loss, "both": both_loss, "mixed": mixed_loss, "replaced": replaced_loss}
some = torch.tensor(training.encode(tokenizer, ["the dogs near the tree bark ."]))
places = some.numel()
print(f"{places} tokens: left to right asks for {places - 1}, masking for about {0.15 * (places - 2):.1f}")

# %% [markdown]
# **Break it.** A bidirectional model from a causal class: one passes the usual mask of ones, [rows, width], and
# trains on the masked loss. It falls nicely, no message appears, and the network is a GPT all the same, since with a
# mask of two dimensions the class keeps its own triangle. One assertion settles it: change the last word, and look
# whether the first state moves.


# %%
def sees_right(read):
    """Whether the state of the first token depends on the last one, for a function from ids to states."""
    other = some.clone()
    other[0, -2] = MASK
    return not torch.allclose(read(some)[0, 0], read(other)[0, 0])


# %%
with torch.no_grad():
    print(
        "mask of ones:",
        sees_right(lambda ids: causal.base_model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state),
    )
    assert sees_right(lambda ids: states_of(causal, ids, "both"))
    assert not sees_right(lambda ids: states_of(causal, ids, "left"))

# %% [markdown]
# ### The same budget
#
# The networks are small, two layers of 128 units, and so is the text: scenes only, 900 updates of 2,000 tokens. That
# is too little for what reviews mean and enough for grammar, which is what we ask about: which form of a verb fits
# its subject, when zero, one or two nouns of the other number stand between (Linzen et al. 2016). Each network is
# asked in its own way. Left to right: which of the two sentences is more probable? Masked: which form fits the hidden
# place? Detector: which of the two forms looks more like a replacement?
#
# **Predict** who is ahead at the end, and whether the order changes with the number of attractors.

# %%
STEPS = (150, 300, 600, 900)
UNTIL = STEPS[-1] if lab.recording or lab.profile == "full" else 300  # where a live run stops
USES = {"left": ["left"], "both": ["both"], "mixed": ["left", "both"], "replaced": ["replaced"]}


# %%
@lru_cache(maxsize=2)
def scene_batches(seed):
    """The text of one seed, the same for all objectives: batches of 2,000 tokens of scenes."""
    texts = (document.text for document in world.documents(f"direction {seed}", "scene"))
    return list(islice(training.batches(texts, tokenizer, 2000), UNTIL))


# %%
@lru_cache(maxsize=1)
def verb_pairs():
    """Minimal pairs of agreement, 200 for each number of attractors."""
    return {n: tasks.agreement(world, 200, n, "direction") for n in range(3)}


# %%
def in_place(pair, form):
    """Ids of a pair's sentence with a mask for each token of its verb, the place of the first, and the ids of a form."""
    before, verb, after = (
        tokenizer(" ".join(words), add_special_tokens=False)["input_ids"] if words else []
        for words in (pair.good[: pair.position], [form], pair.good[pair.position + 1 :])
    )
    return [tokenizer.bos_token_id, *before], verb, [*after, tokenizer.eos_token_id]


# %%
@torch.no_grad()
def verb_scores(model, use, pairs, forms):
    """How well each form fits its pair's sentence to a network that is used as a masked model or as a detector."""
    parts = [in_place(pair, form) for pair, form in zip(pairs, forms, strict=True)]
    rows = [before + ([MASK] * len(verb) if use == "both" else verb) + after for before, verb, after in parts]
    batch = training.pad(rows, max(map(len, rows)), PAD)
    if use == "replaced":
        scores = -model(batch)
        return [scores[i, len(b) : len(b) + len(v)].mean().item() for i, (b, v, _) in enumerate(parts)]
    scores = model.lm_head(states_of(model, batch, "both")).float().log_softmax(-1)
    return [
        np.mean([scores[i, len(b) + k, t].item() for k, t in enumerate(v)])
        for i, (b, v, _) in enumerate(parts)
    ]


# %%
def agreement_of(model, use, pairs):
    """Share of pairs in which a network, used in one way, finds the right form of the verb the better one."""
    if use == "left":
        return training.preferred(model, tokenizer, pairs)
    right, wrong = (
        verb_scores(model, use, pairs, [getattr(pair, side)[pair.position] for pair in pairs])
        for side in ("good", "bad")
    )
    return float(np.mean(np.array(right) > np.array(wrong)))


# %% [markdown]
# Writing and filling are the two things that one may want from a language model. So the networks get 300 held-out
# scenes with one place each. *Continue*: which token comes next, with nothing on the right? *Fill in*: which token is
# missing, with the rest of the scene on both sides? A masked network can be made to continue: give it a mask at the
# end. A left-to-right one can be made to fill in: let it propose ten tokens from the left, and score the ten finished
# scenes.


# %%
@lru_cache(maxsize=1)
def gaps():
    """300 held-out scenes as ids, and a place in each."""
    texts = [
        document.text
        for document, _ in zip(world.documents("direction gaps", "scene"), range(300), strict=False)
    ]
    random = np.random.default_rng(0)
    return [(ids, int(random.integers(1, len(ids) - 1))) for ids in training.encode(tokenizer, texts)]


# %%
@torch.no_grad()
def top_tokens(model, rows, places, direction, count=1):
    """The `count` most probable tokens at a place of each row: the place's own if masked, the next one if left to right."""
    found = []
    for start in range(0, len(rows), 100):
        batch = training.pad(rows[start : start + 100], max(map(len, rows)), PAD)
        states = states_of(model, batch, direction)[range(len(batch)), places[start : start + 100]]
        found += model.lm_head(states).topk(count).indices.tolist()
    return found


# %%
def continued(model, use):
    """Share of places where the most probable next token, given the left only, is the true one."""
    rows = [ids[:place] + ([MASK] if use == "both" else []) for ids, place in gaps()]
    answers = top_tokens(model, rows, [len(row) - 1 for row in rows], use)
    return float(np.mean([ids[place] == best for (ids, place), [best] in zip(gaps(), answers, strict=True)]))


# %%
@torch.no_grad()
def rescored(model):
    """The token of each gap by the probability of the whole scene, among the ten likeliest from the left."""
    found = []
    offers = top_tokens(
        model, [ids[:place] for ids, place in gaps()], [place - 1 for _, place in gaps()], "left", 10
    )
    for (ids, place), offer in zip(gaps(), offers, strict=True):
        batch = torch.tensor([[*ids[:place], token, *ids[place + 1 :]] for token in offer])
        logits = model.lm_head(states_of(model, batch[:, :-1], "left")).float()
        found.append(
            offer[int(cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none").sum(1).argmin())]
        )
    return found


# %%
def filled(model, use):
    """Share of gaps where a network names the missing token from both sides."""
    if use == "left":
        answers = rescored(model)
    else:
        rows = [[*ids[:place], MASK, *ids[place + 1 :]] for ids, place in gaps()]
        answers = [best for [best] in top_tokens(model, rows, [place for _, place in gaps()], "both")]
    return float(np.mean([ids[place] == best for (ids, place), best in zip(gaps(), answers, strict=True)]))


# %% [markdown]
# The third question is what the states hold. A word depends on another one, its *head*: *the* on the noun behind it,
# a verb's object on the verb before it. A linear probe reads the head's part of speech off the word's state, once for
# words whose head stands to the right and once for those whose head stands to the left. **Predict**: which of the two
# can a left-to-right network not know?
#
# Twenty trainings, five of each network, are recorded. Here one of them begins again, left to right, and stops after a
# third of its updates, at which its agreement has to be where the recorded ones were.


# %%
@lru_cache(maxsize=1)
def head_questions():
    """Sentences of scenes, and of each word: the tag of its head, whether the head is right of it, and its split."""
    stream = world.documents("direction heads", "scene")
    sentences = [s for document in islice(stream, 700) for s in document.sentences][:700]
    tags = sorted({tag for s in sentences for tag in s.pos})
    word = [
        (s.pos[h], h > i, n)
        for n, s in enumerate(sentences)
        for i, h in enumerate(s.heads)
        for h in [h if h >= 0 else i]
    ]
    labels = np.array([tags.index(tag) for tag, _, _ in word])
    side = np.array(["right" if right else "left" for _, right, _ in word])
    return [s.words for s in sentences], labels, side, np.array([n for _, _, n in word])


# %%
def heads_read(model, direction):
    """Accuracy of a linear probe on the top states for the tag of a word's head, by the side of the head."""
    words, labels, side, sentence = head_questions()
    body = model.base_model.eval()

    def hidden(ids):
        """All layers' states [layers + 1, rows, width, units]."""
        seen = body(ids, attention_mask=sight(ids, direction), output_hidden_states=True)
        return torch.stack(seen.hidden_states)

    reader = replace(probing.transformer("network", body, tokenizer), hidden=hidden)
    states = probing.word_states(reader, words)[-1]
    fit = sentence < 500
    probe = probing.linear_probes(states[fit], {"head": labels[fit]}, sentence[fit] >= 400)["head"]
    right = probe.scores(states[~fit]).argmax(1) == labels[~fit]
    return {f"heads {which}": float(right[side[~fit] == which].mean()) for which in ("left", "right")}


# %%
def direction_run(seed, objective):
    """Pretrain by one objective; agreement on the way, then what the network can continue, fill in and tell of heads."""
    torch.manual_seed(seed)
    model, found = training.gpt(128, 2, len(tokenizer)), {}
    learner = Detector(model) if objective == "replaced" else model

    def ask(step, _):
        """Agreement at each of STEPS."""
        if step + 1 in STEPS:
            learner.eval()
            for use in USES[objective]:
                for n, pairs in verb_pairs().items():
                    found[f"{use} agreement {n} at {step + 1}"] = agreement_of(learner, use, pairs)
            learner.train()

    batches, start = scene_batches(seed), time.process_time()
    training.pretrain(learner, batches, OBJECTIVES[objective], STEPS[-1], warmup=100, watch=ask, until=UNTIL)
    if UNTIL < STEPS[-1]:
        return found
    found["seconds"] = time.process_time() - start
    for use in [use for use in USES[objective] if use != "replaced"]:
        found |= {f"{use} continued": continued(model, use), f"{use} filled": filled(model, use)}
    for direction in (
        ("left", "both") if objective == "mixed" else ("left" if objective == "left" else "both",)
    ):
        found |= {f"{direction} {side}": share for side, share in heads_read(model, direction).items()}
    return found


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
directions = lab.sweep(
    "directions",
    direction_run,
    [{"objective": objective, "seed": s} for s in range(5) for objective in OBJECTIVES],
    live=lambda s: s["seed"] == 0 and s["objective"] == "left",
)


# %%
for n in range(3):
    lab.check(directions, f"left agreement {n} at 300", by=["objective"], slack=0.02)

# %%
NETWORKS = {
    "left": ("left to right", COLORS["causal"]),
    "mixed": ("in turn", COLORS["distant"]),
    "both": ("masked", COLORS["masked"]),
    "replaced": ("replaced or not", COLORS["lstm"]),
}


# %%
def measured(objective, metric):
    """A metric of the five networks of one objective, by seed."""
    return directions.recorded.query("objective == @objective").sort_values("seed")[metric]


# %% mystnb={"image": {"alt": "Two panels, agreement without attractor and with two, over 900 updates, one line with a band for each network. Left to right rises first and ends near one in both panels; the others follow later or stay near one half; the printed numbers give the ends."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
fig, axes = plt.subplots(1, 2, figsize=(6, 3.8), sharey=True)
for ax, n in zip(axes, (0, 2), strict=True):
    for objective, (name, color) in NETWORKS.items():
        use = "both" if objective == "mixed" else objective
        curve = [mean_ci(measured(objective, f"{use} agreement {n} at {step}")) for step in STEPS]
        band(ax, STEPS, curve, name, color)
        print(f"{n} attractors, {name:16} {curve[-1]}")
    ax.axhline(0.5, color=COLORS["baseline"], linestyle=":")
    ax.set(
        title=("no attractor", "", "two attractors")[n],
        xlabel="updates",
        ylim=(0.2, 1.03),
        xticks=(0, 300, 600, 900),
    )
axes[0].set_ylabel("right form preferred")
axes[0].legend(loc="lower right", fontsize=10)
fig.tight_layout()
show(fig)

# %% tags=["hide-input"]
at = {n: f"agreement {n} at 900" for n in range(3)}
lab.conclude(
    "direction-agreement", paired_ci(measured("left", f"left {at[0]}"), measured("both", f"both {at[0]}")), 5
)
lab.conclude(
    "direction-replaced",
    paired_ci(measured("replaced", f"replaced {at[0]}"), measured("both", f"both {at[0]}")),
    5,
)

# %% tags=["hide-input"]
early = [measured("left", f"left agreement {n} at 300") for n in (0, 2)]
lab.conclude("direction-attractors", paired_ci(*early), 5)
lab.conclude(
    "direction-attractors-end",
    paired_ci(measured("left", f"left {at[0]}"), measured("left", f"left {at[2]}")),
    5,
)

# %% [markdown]
# In this budget it is no contest. Left to right knows the agreement of neighbors after a third of the training and by
# the end holds it across two nouns of the wrong number. The masked network has begun to agree with the nearest noun,
# which is right where nothing stands between, and with two attractors puts it *below* chance: it has learned the
# short dependency, and the short one gives the wrong answer. Left to right went through the same stage, earlier:
# after 150 updates it, too, stood below one half with two attractors. Short before long is the order in both (the
# claim of the tutorial that co-occurrence nearby drowns what is far away), and masking makes the way longer, with one
# token in seven to learn from.
#
# The detector is the surprise. ELECTRA's argument was efficiency, every place gives a signal, and here it is at
# chance in all three kinds of pairs. Its task is only as good as its generator: as long as the guesses are poor,
# finding them takes no grammar. ELECTRA was trained on a thousand times the text, and its comparisons are of tuned
# classifiers. What we saw is the beginning of its curve, with ELECTRA's weight of the losses and the learning rate of
# the others, neither of them searched. And an update of it costs more:

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for objective, (name, _) in NETWORKS.items():
    print(
        f"{name:16} {measured(objective, 'seconds').median() / measured('left', 'seconds').median():.1f} times the CPU time"
    )

# %% [markdown]
# ### Continue and fill in
#
# The two uses, side by side. **Predict** which of the three networks wins which.

# %% mystnb={"image": {"alt": "Dots with intervals for three networks, the share of next tokens right when continuing and the share of gaps filled right; the printed numbers give all six."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
fig, ax = plt.subplots(figsize=(6, 3))
for use, shift, color in (("continued", -0.12, COLORS["causal"]), ("filled", 0.12, COLORS["masked"])):
    for place, objective in enumerate(("left", "mixed", "both")):
        way = objective if objective != "mixed" else ("left" if use == "continued" else "both")
        ci = mean_ci(measured(objective, f"{way} {use}"))
        ax.errorbar(ci.estimate, place + shift, xerr=[[ci.estimate - ci.low], [ci.high - ci.estimate]], fmt="o", color=color,
                    label={"continued": "continue", "filled": "fill in"}[use] if not place else None)  # fmt: skip
        print(f"{NETWORKS[objective][0]:14} {use:10} {ci}")
ax.set(
    yticks=range(3),
    yticklabels=[NETWORKS[o][0] for o in ("left", "mixed", "both")],
    xlabel="share of tokens right",
)
ax.invert_yaxis()
ax.legend()
show(fig)

# %% tags=["hide-input"]
lab.conclude("direction-fill", paired_ci(measured("both", "both filled"), measured("left", "left filled")), 5)
lab.conclude(
    "direction-continue", paired_ci(measured("left", "left continued"), measured("both", "both continued")), 5
)
lab.conclude(
    "direction-mixed-continue",
    paired_ci(measured("mixed", "left continued"), measured("left", "left continued")),
    5,
)
lab.conclude(
    "direction-mixed-fill", paired_ci(measured("mixed", "both filled"), measured("both", "both filled")), 5
)

# %% [markdown]
# Continuing belongs to left to right, as expected; a masked network with a mask at the end gives the true token a
# third less often. But filling in does not belong to the masked one. A left-to-right network that may read ten
# finished scenes fills gaps just as well, because it is that much further along in everything else, and pays for it
# with ten readings in place of one. The network that took turns is good at both and best at neither, a few points
# behind: each use got half of the updates. UniLM's promise, one network for both, holds in kind here, and at the same
# budget it is not free.
#
# ### What the states hold
#
# Last, the probe for heads.

# %% mystnb={"image": {"alt": "For heads on the left and heads on the right, the accuracy of a probe on the states of four networks, as dots with intervals; the printed numbers give all of them."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
fig, ax = plt.subplots(figsize=(6, 3))
for k, (objective, (name, color)) in enumerate(NETWORKS.items()):
    way = "left" if objective == "left" else "both"
    for place, side in enumerate(("left", "right")):
        ci = mean_ci(measured(objective, f"{way} heads {side}"))
        ax.errorbar(ci.estimate, place + (k - 1.5) * 0.16, xerr=[[ci.estimate - ci.low], [ci.high - ci.estimate]], fmt="o",
                    color=color, label=None if place else name)  # fmt: skip
        print(f"head to the {side:5} {name:16} {ci}")
ax.set(yticks=(0, 1), yticklabels=["head to the left", "head to the right"], xlabel="tag of the head right")
ax.invert_yaxis()
ax.legend(fontsize=10)
show(fig)

# %% tags=["hide-input"]
for side in ("right", "left"):
    pair = measured("both", f"both heads {side}"), measured("left", f"left heads {side}")
    lab.conclude(f"direction-heads-{side}", paired_ci(*pair), 5)

# %% [markdown]
# The picture is subtler than the triangle suggested. For heads on the left the left-to-right network leads, for no
# reason of sight, only of learning speed. For heads on the right it can't have seen what it is asked about, and is
# not measurably behind: an article announces a noun, so the word itself nearly gives the answer away. Blindness to
# the right costs little where the left predicts the right, and a text in which it predicts everything is exactly what
# a left-to-right model is trained to find.
#
# Which objective is best per token of text at a size that matters, two million tokens can't say. Large models differ
# in data, size and recipe, too, so that a comparison of finished ones does not say it either. What carries over is
# the way to ask: the same network, the same text, the same updates, and more than one use.
#
# Four mistakes that one makes with these tools, and what they say:

# %%
refused(lambda: sight(some, "right"), folder)
refused(
    lambda: training.preferred(causal, tokenizer, [tasks.MinimalPair(("dogs",) * 200, ("dog",) * 200, 0)]),
    folder,
)
refused(lambda: training.pretrain(deepcopy(causal), [some], left_loss, 2), folder)
refused(
    lambda: probing.word_states(probing.transformer("causal", causal, tokenizer), ["the dogs bark"]), folder
)

# %% [markdown]
# ## Tasks as text
#
# In 2019 a task was a data set and a head. The tutorial ended with a doubt about that: if language itself can say
# what is asked, a model of language needs no head (McCann et al. 2018; Radford et al. 2019). A **prompt** is a text
# that ends where the answer should stand, and the model's next word is the answer. Nothing is trained. So what is the
# task now, and who does the work: the model, or whoever found the words?
#
# ### Words that the world writes
#
# Here is a test review, and what the causal model expects after it. **Predict** what the most probable words are
# after the review alone, after *in short , it was*, and after the question *is this review good or bad ?*

# %%
from itertools import permutations
from random import Random

from utils import prompts
from utils.world.reviews import POLAR
from utils.world.tasks import Labeled

# %%
prompt_review = " ".join(reviews("test", 2)[1].words)
print(prompt_review)


# %%
@torch.no_grad()
def after(prompt, ended=False):
    """Log-probabilities of the next token after a prompt; after its end-of-text token if it is `ended`."""
    ids = training.encode(tokenizer, [prompt])[0]  # begin of text, the prompt, end of text
    return causal(torch.tensor([ids if ended else ids[:-1]])).logits[0, -1].log_softmax(-1)


# %%
def next_words(prompt, count=6):
    """The most probable tokens right after a prompt, with their probabilities."""
    found = after(prompt).exp().topk(count)
    return [(tokenizer.decode([i]), p) for i, p in zip(found.indices.tolist(), found.values, strict=True)]


# %% tags=["nbval-ignore-output"] reason="the last digits of a probability depend on the processor"
for ending in ("", "in short , it was", "is this review good or bad ?"):
    likely = next_words(f"{prompt_review} {ending}".strip())
    print(f"{ending or '(nothing)':28}", *(f"{word} {p:.2f}" for word, p in likely), sep="  ")

# %% [markdown]
# After a review nothing comes but the end of the text. After *in short , it was* the most probable word is *not*, and
# behind it stands a row of praise: the model goes on as the world's grammar would. After the question stands the
# beginning of some word that has nothing to do with it, since no text of the world asks such a question.
#
# A classifier needs classes, so we choose one **label word** for each and ask only which of the two is more probable.
# That is all there is to a zero-shot classifier. `prompts.classify` does the same for many texts at once.


# %%
def more_probable(prompt, words, ended=False):
    """The index of the word that is more probable after the prompt; each word must be one token."""
    ids = tokenizer(list(words), add_special_tokens=False).input_ids
    return int(after(prompt, ended)[[one for (one,) in ids]].argmax())


# %%
verdict_prompt = prompts.Template("{text} in short , it was", ("bad", "good"))
prompt_texts = [" ".join(item.words) for item in reviews("test", 40)]
by_hand = [more_probable(verdict_prompt.ask(text), verdict_prompt.words) for text in prompt_texts]
scores_of_classes = prompts.classify(causal, tokenizer, verdict_prompt, prompt_texts)
assert scores_of_classes.argmax(1).tolist() == by_hand
print(len(by_hand), "reviews, the same answers")

# %% [markdown]
# Six prompts, then. The first three begin a sentence with which the world's reviews end, or could; the fourth asks
# for the word that opens a remark; the last two are what a person might try who has not read the world's text.
# **Predict** an accuracy for each. Chance is a half.

# %%
PROMPTS = {
    "in short: bad, good": verdict_prompt,
    "all in all: terrible, great": prompts.Template("{text} all in all , a", ("terrible", "great")),
    "overall, i: hated, loved": prompts.Template("{text} overall , i", ("hated", "loved")),
    "next: sadly, luckily": prompts.Template("{text}", ("sadly", "luckily")),
    "good or bad?: bad, good": prompts.Template("{text} is this review good or bad ?", ("bad", "good")),
    "in short: no, yes": prompts.Template("{text} in short , it was", ("no", "yes")),
}

# %% [markdown]
# One repair is fair to all of them. A word that is frequent anyway wins against a rare one, whatever the review says.
# Zhao et al. (2021) ask the prompt about texts *without content* and divide by what comes out: this is
# **calibration**. The function below writes it out, with four such texts, among them the empty one and *it .*


# %%
def answered(model, template, items, demonstrations=(), texts_without_content=prompts.FILLERS):
    """Right or wrong for each item, by the more probable label word: raw, and calibrated."""
    texts = [" ".join(item.words) for item in items] + list(texts_without_content)
    asked = [prompts.write(template, text, demonstrations) for text in texts]
    logp = prompts.word_scores(model, tokenizer, asked, template.words)
    shares = np.exp(logp) / np.exp(logp).sum(1, keepdims=True)
    prior = shares[len(items) :].mean(0)
    labels = np.array([item.label for item in items])
    return {
        "raw": shares[: len(items)].argmax(1) == labels,
        "calibrated": (shares[: len(items)] / prior).argmax(1) == labels,
    }


# %%
prompt_labels = np.array([item.label for item in reviews("test", 40)])
agreed = answered(causal, verdict_prompt, reviews("test", 40))["calibrated"]
by_utils = prompts.classify(causal, tokenizer, verdict_prompt, prompt_texts, calibrate=True).argmax(1)
assert agreed.tolist() == (by_utils == prompt_labels).tolist()


# %%
def zero_run(prompt, split, seed):
    """Accuracy of a prompt without demonstrations on 200 reviews."""
    right = answered(causal, PROMPTS[prompt], reviews(split, 200, seed))
    return {name: values.mean() for name, values in right.items()}


# %%
zero_plan = [
    {"prompt": name, "split": split, "seed": seed}
    for name in PROMPTS for split in ("test", "test new words") for seed in range(5)
]  # fmt: skip
zero_live = [setting for setting in zero_plan if setting["seed"] == 0 and setting["split"] == "test"]
zero_shot = lab.sweep("prompt-zero", zero_run, zero_plan, live=lambda setting: setting in zero_live)
lab.check(zero_shot, "raw", by=["prompt", "split"], slack=0.01)


# %%
def by_seed(sweep, metric, **setting):
    """A metric of the recorded runs with this setting, by seed."""
    frame = sweep.recorded
    for name, value in setting.items():
        frame = frame[frame[name] == value]
    return frame.sort_values("seed")[metric].to_numpy()


# %%
def zero_values(prompt, how="raw", split="test"):
    """Accuracy by seed of a prompt without demonstrations."""
    return by_seed(zero_shot, how, prompt=prompt, split=split)


# %% mystnb={"image": {"alt": "Six rows of dots, one per prompt, five draws each, raw in blue and calibrated in red. The three prompts that begin a sentence of the world lie near 0.83, sadly or luckily near 0.6, the question good or bad at 0.5, and the label words no and yes at 0.5, calibrated at 0.36."}}
fig, ax = plt.subplots(figsize=(6, 3.9))
for row, name in enumerate(PROMPTS):
    for how, color, up in (("raw", COLORS["causal"], -0.16), ("calibrated", COLORS["masked"], 0.16)):
        values = zero_values(name, how)
        ax.plot(values, [row + up] * 5, "o", color=color, alpha=0.5, markersize=8, markeredgewidth=0)
        label = how if row == 0 else None
        ax.plot(values.mean(), row + up, "|", color=color, markersize=18, markeredgewidth=3, label=label)
        print(f"{name:28} {how:10} {mean_ci(values)}")
ax.axvline(0.5, color=COLORS["exact"], linestyle=":")
ax.set_yticks(range(len(PROMPTS)), PROMPTS)
ax.invert_yaxis()
ax.set(xlabel="accuracy without a label", xlim=(0.3, 1))
ax.legend(loc="lower right")
fig.tight_layout()
show(fig)

# %%
sentence = zero_values("in short: bad, good")
lab.conclude("prompt-zero", mean_ci(sentence - 0.5), seeds=5)
lab.conclude("prompt-question", mean_ci(zero_values("good or bad?: bad, good") - 0.5), seeds=5)
lab.conclude("prompt-label-words", paired_ci(sentence, zero_values("in short: no, yes")), seeds=5)
new_words = zero_values("in short: bad, good", split="test new words")
lab.conclude("prompt-new-words", paired_ci(sentence, new_words), seeds=5)

# %% [markdown]
# Without a label and without an update the first three prompts are right more than eight times in ten, about as often
# as a network tuned with 64 labels in Lab 3. The same model, asked in plain words whether the review is good or bad,
# is at chance. And with the right sentence, but *no* and *yes* as label words, all reviews get the same answer.
# (Calibrated, these two words are wrong more often than chance, for each seed: whatever they carry here, it is no
# consent.) Three rows are supported. The fourth, that new opinion words are judged as well as known ones, has an
# estimate of zero and stays **inconclusive**, because five draws of reviews leave more than the five points of doubt
# that its rule allows. Calibration takes a point from the good prompts, and gives a few to *sadly* and *luckily*.
#
# So the words of a prompt decide between nothing and a good deal. Yet eight in ten is a strange number. Each review
# ends with its verdict; a reader would be right always. What did we ask? **Predict** how the first prompt does on the
# reviews without their last sentence, on the last sentence alone, and on whole reviews whose remarks point the wrong
# way.


# %%
def verdict_run(seed):
    """Accuracy on 200 reviews, without their last sentence, on that alone, and where remarks misled."""
    items = reviews("test", 200, seed)
    ends = [len(item.words) - item.words[-2::-1].index(".") - 1 for item in items]
    before = [Labeled(item.words[:end], item.label) for item, end in zip(items, ends, strict=True)]
    last = [Labeled(item.words[end:], item.label) for item, end in zip(items, ends, strict=True)]
    whole, remarks, alone = (answered(causal, verdict_prompt, some)["raw"] for some in (items, before, last))
    plain = np.array(["not" not in item.words for item in last])
    found = {"whole": whole, "remarks": remarks, "alone": alone, "alone, plain": alone[plain]}
    found |= {"remarks right": whole[remarks], "remarks wrong": whole[~remarks]}
    return {name: values.mean() for name, values in found.items()}


# %%
verdicts = lab.sweep("prompt-verdict", verdict_run, [{"seed": seed} for seed in range(5)])
lab.check(verdicts, "remarks wrong", by=[], slack=0.05)
for name in ("whole", "remarks", "alone", "alone, plain", "remarks right", "remarks wrong"):
    print(f"{name:13} {mean_ci(verdicts.recorded[name])}")

# %%
lab.conclude("prompt-verdict", mean_ci(verdicts.recorded["remarks wrong"]), seeds=5)

# %% [markdown]
# Alone, a verdict without a *not* is understood practically always. In a whole review it is hardly used. Cut it off,
# and the accuracy falls by a point or two. Where the remarks alone give the right answer, so nearly always does the
# whole review; where they mislead, the answer is wrong five times in six, with the right verdict standing there (the
# row is supported).
#
# The model is not to blame. In the world *in short* comes once in a review, after the remarks and in place of any
# other verdict. So what the pretraining asked, whenever it came to these words, was which verdict follows these
# *remarks*, and that is the question that our prompt puts. A classifier is told its task by labels. A prompt's task
# is what the pretraining text made of its words, and to know it one has to look, for example by such a split. The
# tutorial's doubt about what a task is has become practical.

# %% [markdown]
# **Break it.** Most pipelines end each text with a token that says so; the course's `training.encode` does. What is a
# useful habit for training is a mistake for a prompt: the text has ended, and the model is asked what comes after the
# end. No error is raised, and each review still gets its probabilities. **Predict** the accuracy, and the share of
# reviews that are called good.


# %%
def check_open(ids):
    """Assert that a prompt does not end as a finished text does."""
    assert ids[-1] != tokenizer.eos_token_id, "the prompt ends with the end of a text: cut it off"


# %% tags=["nbval-ignore-output"] reason="accuracies may differ by a review between processors"
for name, ended in (("open", False), ("ended", True)):
    asked = map(verdict_prompt.ask, prompt_texts)
    answers = np.array([more_probable(text, verdict_prompt.words, ended) for text in asked])
    print(f"{name:6} accuracy {(answers == prompt_labels).mean():.2f}, called good {answers.mean():.2f}")

# %%
prompt_ids = training.encode(tokenizer, [verdict_prompt.ask(prompt_texts[0])])[0]
check_open(prompt_ids[:-1])
try:
    check_open(prompt_ids)
except AssertionError as error:
    print(error)

# %% [markdown]
# The answers of the ended prompt lean to one word and are little better than chance. Nothing but the accuracy tells,
# and it tells only if you know what to expect; it looks like one more prompt that does not work. One line on the ids
# makes sure. `prompts.word_scores` does it for you, and scores label words of several tokens, too.

# %% [markdown]
# ### Demonstrations
#
# GPT-3 made a second way popular (Brown et al. 2020): show some solved examples in the prompt, the
# **demonstrations**, and then the one to be solved. Still no weight is changed. Here is such a prompt.


# %%
@lru_cache(maxsize=32)
def short_reviews(split, count, seed=0):
    """Reviews of at most 28 tokens, so that three and a fourth fit into the model's 160 positions."""
    found = reviews(split, 3 * count, seed)
    lengths = tokenizer([" ".join(item.words) for item in found], add_special_tokens=False).input_ids
    short = [item for item, ids in zip(found, lengths, strict=True) if len(ids) <= 28]
    assert len(short) >= count
    return short[:count]


# %%
def demonstrations(seed, count=3):
    """Demonstrations: short training reviews with their labels."""
    return Random(f"shown {seed}").sample(short_reviews("train", 100, seed), 3)[:count]


# %%
opinion_prompt = PROMPTS["overall, i: hated, loved"]
print(prompts.write(opinion_prompt, " ".join(short_reviews("test", 1)[0].words), demonstrations(0, 2)))

# %% [markdown]
# **Predict**: does accuracy rise with one, two, three demonstrations? And if we replace their labels by random ones
# (Min et al. 2022), or turn all of them around?


# %%
def shots_run(shots, labels, seed):
    """Accuracy on 100 short reviews after demonstrations with true, random or flipped labels."""
    items = prompts.relabeled(demonstrations(seed, shots), labels, 2, seed)
    right = answered(causal, opinion_prompt, short_reviews("test", 100, seed), items)
    return {name: values.mean() for name, values in right.items()}


# %%
shots_plan = [{"shots": 0, "labels": "gold", "seed": seed} for seed in range(10)] + [
    {"shots": shots, "labels": labels, "seed": seed}
    for shots in (1, 2, 3) for labels in ("gold", "random", "flipped") for seed in range(10)
]  # fmt: skip
shots_live = [setting for setting in shots_plan if setting["seed"] == 0 and setting["shots"] in (0, 2)]
few_shot = lab.sweep("prompt-shots", shots_run, shots_plan, live=lambda setting: setting in shots_live)
lab.check(few_shot, "calibrated", by=["shots", "labels"], slack=0.02)


# %%
def order_run(order, seed):
    """Accuracy on two sets of 80 short reviews, after three demonstrations in an order, calibrated."""
    items = [demonstrations(seed)[int(place)] for place in order]
    right = answered(causal, opinion_prompt, short_reviews("test", 160, seed), items)["calibrated"]
    return {"first": right[:80].mean(), "second": right[80:].mean()}


# %%
ORDERS = ["".join(order) for order in permutations("012")]
order_plan = [{"order": order, "seed": seed} for order in ORDERS for seed in range(10)]
orders = lab.sweep("prompt-order", order_run, order_plan, live=lambda s: s == {"order": "012", "seed": 0})
lab.check(orders, "first", by=["order"], slack=0.02)


# %%
def shots_values(count, how="raw", labels="gold"):
    """Accuracy by seed after some demonstrations."""
    return by_seed(few_shot, how, shots=count, labels=labels)


# %%
lab.conclude("prompt-shots", paired_ci(shots_values(2), shots_values(0)), seeds=10)
two, none = shots_values(2, "calibrated"), shots_values(0, "calibrated")
lab.conclude("prompt-shots-calibrated", paired_ci(two, none), seeds=10)
lab.conclude("prompt-calibration", paired_ci(two, shots_values(2)), seeds=10)

# %%
first, second = (
    np.stack([by_seed(orders, half, order=order) for order in ORDERS], 1) for half in ("first", "second")
)
picked = np.take_along_axis(second, first.argsort(1, kind="stable"), 1)  # worst to best, by the first half
lab.conclude("prompt-order", paired_ci(picked[:, -1], picked[:, 0]), seeds=10)
gold, random_labels, flipped = (shots_values(3, "calibrated", kind) for kind in ("gold", "random", "flipped"))
lab.conclude("prompt-labels-plain", paired_ci(gold, random_labels), seeds=10)
lab.conclude("prompt-labels-flipped", paired_ci(gold, flipped), seeds=10)

# %% mystnb={"image": {"alt": "Two panels. Left, accuracy against the number of demonstrations: from 0.82 without any, the raw curve falls below 0.6 for two and three, the calibrated one to 0.6 for one and back to 0.7. Right, ten columns of six dots, one for each order of the same three demonstrations, ten to 35 points apart."}}
fig, axes = plt.subplots(1, 2, figsize=(6, 3.7), sharey=True, width_ratios=(1.15, 1))
for how, color in (("raw", COLORS["causal"]), ("calibrated", COLORS["masked"])):
    band(axes[0], range(4), [mean_ci(shots_values(count, how)) for count in range(4)], how, color)
    print(f"{how:10}", *(f"{count}: {mean_ci(shots_values(count, how))}" for count in range(4)), sep="  ")
for row, order_values in enumerate(sorted(second.tolist(), key=np.mean)):
    axes[1].plot([row, row], [min(order_values), max(order_values)], color=COLORS["baseline"], linewidth=1)
    axes[1].plot([row] * 6, order_values, "o", color=COLORS["masked"], alpha=0.6, markersize=6)
axes[0].set(xlabel="demonstrations", ylabel="accuracy", xticks=range(4))
axes[1].set(xlabel="six orders of three,\nfor ten draws", xticks=[])
axes[0].legend(loc="upper right")
fig.tight_layout()
show(fig)

# %%
for kind, values in (("true", gold), ("random", random_labels), ("flipped", flipped)):
    print(f"three demonstrations with {kind:8} labels, calibrated: {mean_ci(values)}")
spreads = second.max(1) - second.min(1)
print("best minus worst of six orders on the same reviews:", *np.round(np.sort(spreads), 2))

# %% [markdown]
# Demonstrations harm. Raw, two of them take the model from more than eight in ten to less than six; both rows that
# expected help are **contradicted**. Calibration repairs half of the damage (supported), and no number of
# demonstrations comes near to none. Large models are another matter (Brown et al. 2020). GPT-3 is tens of thousands
# of times as large, and has read a text full of lists and exercises; no document of the world holds two reviews.
#
# The order alone moves the accuracy: pick the best of six orders on 80 reviews, and on 80 others it is more than ten
# points above the worst (supported). In one draw the same three demonstrations lie between a coin and nine in ten. Lu
# et al. (2022) found as much in models of all sizes.
#
# And the labels? Random ones are as good as true ones, to within the five points of the rule (supported);
# turned-around ones may cost a few points (**inconclusive**). That is what Min et al. (2022) report of large models.
# Here one can see why. What do two demonstrations do to texts *without content*?


# %%
def prior(items):
    """The share of the positive label word for texts without content after some demonstrations."""
    asked = [prompts.write(opinion_prompt, text, items) for text in prompts.FILLERS]
    logp = prompts.word_scores(causal, tokenizer, asked, opinion_prompt.words)
    return float((1 / (1 + np.exp(logp[:, 0] - logp[:, 1]))).mean())


# %% tags=["nbval-ignore-output"] reason="the last digits of a probability depend on the processor"
print(f"no demonstration: loved {prior([]):.2f}")
priors = [
    (sum(item.label for item in demonstrations(seed, 2)), prior(demonstrations(seed, 2)))
    for seed in range(10)
]
for positive in range(3):
    print(
        f"{positive} of 2 positive: loved",
        *(f"{share:.2f}" for count, share in sorted(priors) if count == positive),
    )

# %% [markdown]
# They make it lean. Without demonstrations *loved* has two thirds of the probability. After two negative ones it has
# less than half, after two positive ones a little more than before, and with one of each anything from a third to
# three quarters. The model has learned that words come back, as they do in any text, and a label word is a word. Zhao
# et al. (2021) found GPT-3 leaning towards the labels that are in the majority or come last, and this is what
# calibration takes out. What it leaves behind hardly depends on the labels, so there is not much sign that any label
# was read as that of its text.

# %% [markdown]
# ### Learning to read demonstrations
#
# The model does badly at what it has never seen. No text of the world solves one problem five times and then asks for
# the sixth. (Much of what people write does: lists, tables, exercises.) If that is the reason, it can be taught.
# **Episodes** are training texts that consist of demonstrations (MetaICL, Min et al. 2022). Ours are small: a text is
# a single word. To make sure that nothing but the demonstrations tells what to do, each episode draws its own two
# label words.

# %%
LABEL_WORDS = ("red", "blue", "white", "pink", "orange", "yellow")
NEW_LABEL_WORDS = ("cold", "wood", "river", "tower", "lamp")


# %%
@lru_cache(maxsize=8)
def word_classes(kind):
    """Words by class: opinion words of half A or B by polarity, or nouns and verbs by topic."""
    if kind in ("A", "B"):
        return [POLAR[kind]["polar", polarity].items for polarity in ("negative", "positive")]
    known = tasks.topic_of_words(world)
    return [[word for word, topic in known.items() if topic == name] for name in sorted(world.topics)]


# %%
def word_episodes(kind, count, seed, shots=8, words=LABEL_WORDS, labels="gold"):
    """Prompts of single words: each draws two classes, two label words, and its demonstrations."""
    random, found = Random(f"{kind} {seed}"), []
    for number in range(count):
        pair = random.sample(word_classes(kind), 2)
        items = [Labeled((word,), label) for label, some in enumerate(pair) for word in some]
        template = prompts.Template("{text} :", tuple(random.sample(words, 2)))
        *demonstrations, asked = random.sample(items, shots + 1)
        told = prompts.relabeled(demonstrations, labels, 2, number)
        prompt = prompts.write(template, asked.words[0], told)
        found.append(prompts.Example(kind, prompt, template.words[asked.label], template.words))
    return found


# %%
for episode in word_episodes("A", 2, "shown") + word_episodes("topics", 1, "shown"):
    print(episode.prompt, "->", episode.answer)

# %% [markdown]
# What is learned? The next word, as always, but only where a label word stands. The last one is the answer; each one
# before it is an answer, too, given the demonstrations on its left. So one episode of eight holds nine exercises, the
# first of which nobody can solve.

# %%
label_ids = tokenizer.convert_tokens_to_ids([tokenizer.tokenize(word)[0] for word in LABEL_WORDS])


# %%
def episode_batches(examples, rows=16):
    """Batches [2, rows, width]: the ids of episodes with their answers, and where label words stand."""
    texts = training.encode(tokenizer, [f"{example.prompt} {example.answer}" for example in examples])
    for start in range(0, len(texts), rows):
        some = texts[start : start + rows]
        ids = training.pad(some, max(map(len, some)), tokenizer.pad_token_id)
        yield torch.stack([ids, torch.isin(ids, torch.tensor(label_ids)).long()])


# %%
ids, asked = next(episode_batches(word_episodes("A", 16, "shown")))
print(tokenizer.convert_ids_to_tokens(ids[0][asked[0].bool()]))


# %%
def taught_answers(model, batches, steps, rate):
    """A copy of a model that was trained to give the answers of `steps` batches."""
    pupil = deepcopy(model)
    training.pretrain(pupil, islice(batches, steps), prompts.answer_loss, steps, rate, warmup=20)
    return pupil


# %% [markdown]
# `prompts.answer_loss` is the cross-entropy at the marked places. We train on 400 batches of 16 episodes, with the
# opinion words of half A. The test asks about half B, which no episode holds, so that a pupil has to know the words
# from its pretraining. **Predict**: will it use the demonstrations? Will random labels hurt now? Will it read other
# label words, or another task, say two topics? And would the lessons work from random weights?

# %%
EPISODE_TESTS = {
    "A": {"kind": "A"},
    "B": {"kind": "B"},
    **{f"B {shots}": {"kind": "B", "shots": shots} for shots in (1, 2, 4)},
    "B random": {"kind": "B", "labels": "random"},
    "B new label words": {"kind": "B", "words": NEW_LABEL_WORDS},
    "topics": {"kind": "topics"},
}


# %%
def episodes_run(start, updates, seed):
    """Accuracy on 100 test episodes of each kind, after some updates on episodes of half A."""
    model = causal if start == "pretrained" else type(causal)(causal.config).eval()
    if updates:
        lessons = episode_batches(word_episodes("A", 16 * updates, f"train {seed}"))
        model = taught_answers(model, lessons, updates, 1e-3)
    return {
        name: prompts.accuracy(model, tokenizer, word_episodes(count=100, seed=f"test {seed}", **options))
        for name, options in EPISODE_TESTS.items()
    }


# %%
PUPILS = (("pretrained", 0), ("pretrained", 400), ("random", 400))
episode_plan = [
    {"start": start, "updates": updates, "seed": seed} for start, updates in PUPILS for seed in range(5)
]
episodes = lab.sweep(
    "prompt-episodes", episodes_run, episode_plan, live=lambda s: s["seed"] == s["updates"] == 0
)
lab.check(episodes, "B", by=["start", "updates"], slack=0.02)


# %%
def episode_values(test, updates=400, start="pretrained"):
    """Accuracy by seed on one kind of test episodes."""
    return by_seed(episodes, test, start=start, updates=updates)


# %%
untaught, taught = episode_values("B", 0), episode_values("B")
lab.conclude("prompt-episodes", paired_ci(taught, untaught), seeds=5)
lab.conclude("prompt-episodes-labels", paired_ci(taught, episode_values("B random")), seeds=5)
lab.conclude("prompt-episodes-label-words", paired_ci(taught, episode_values("B new label words")), seeds=5)
other_task = paired_ci(episode_values("topics"), episode_values("topics", 0))
lab.conclude("prompt-episodes-new-task", other_task, seeds=5)
lab.conclude("prompt-episodes-start", paired_ci(taught, episode_values("B", start="random")), seeds=5)

# %%
EPISODE_ROWS = {
    "untaught": ("B", 0, "pretrained"),
    "taught from random weights": ("B", 400, "random"),
    "taught": ("B", 400, "pretrained"),
    "words of the lessons": ("A", 400, "pretrained"),
    "one demonstration": ("B 1", 400, "pretrained"),
    "random labels": ("B random", 400, "pretrained"),
    "new label words": ("B new label words", 400, "pretrained"),
    "topics": ("topics", 400, "pretrained"),
}

# %% mystnb={"image": {"alt": "Eight rows of five dots. Untaught and taught from random weights: near 0.5. Taught: words of training at 1, new words between 0.68 and 0.99, with one demonstration between 0.58 and 0.97; with random labels, new label words, or topics again near 0.5."}}
fig, ax = plt.subplots(figsize=(6, 4.2))
for row, (name, which) in enumerate(EPISODE_ROWS.items()):
    values = episode_values(*which)
    color = COLORS["baseline" if row == 0 else "scratch" if row == 1 else "pretrained"]
    ax.plot(values, [row] * 5, "o", color=color, alpha=0.5, markersize=8, markeredgewidth=0)
    ax.plot(values.mean(), row, "|", color=color, markersize=18, markeredgewidth=3)
    print(f"{name:28}", *np.round(values, 2), f"mean {mean_ci(values)}", sep="  ")
ax.axvline(0.5, color=COLORS["exact"], linestyle=":")
ax.axhline(2.5, color=COLORS["baseline"], linewidth=1)
ax.set_yticks(range(len(EPISODE_ROWS)), EPISODE_ROWS)
ax.invert_yaxis()
ax.set(xlabel="accuracy after demonstrations", xlim=(0.35, 1.03))
fig.tight_layout()
show(fig)

# %% [markdown]
# The upper three rows have eight demonstrations of words that no episode held; the lower five change one thing for
# the taught model. Four hundred updates teach what ten million words did not. Four of five pupils sort new opinion
# words with few mistakes, and most of them after a single demonstration, too: whoever knows that *awful* is *red* can
# tell what the other words are, and what the other label word is for. The untaught model is near chance. The row is
# supported. The fifth pupil sorts the words of its lessons without a mistake and only two in three new ones. It has
# learned half A by heart.
#
# And now random labels hurt. They take the taught model back to chance (supported). The finding of Min et al. (2022)
# is no law of prompts, then. It says how a model reads its demonstrations: one that gets its answer from elsewhere
# does not mind wrong labels, one that has nothing but the demonstrations does.
#
# How general is what was learned? With other label words the model is at chance, and that row is **contradicted**.
# With another task, two topics, it is at chance, too (**inconclusive**, since the interval reaches beyond the five
# points of the rule). One task with six label words has taught one task with six label words. MetaICL draws its
# episodes from very many tasks for this reason. And from random weights the same lessons teach nothing (supported),
# not even half A, whose words that pupil has met thousands of times. What can be taught so quickly is the use of what
# the pretraining knows, here that opinion words come in two kinds.

# %% [markdown]
# ### Instructions
#
# The other way to teach a model is to describe the task in the prompt and to train on the answer, for many tasks at
# once (Wei et al. 2022; Sanh et al. 2022). One model, one output, no heads: four tasks of the world, each with two
# wordings for training and a third for the test.

# %%
TEXT_TASKS = ("sentiment", "topic", "number", "roles")
for task in TEXT_TASKS:
    example = prompts.examples(world, task, 1, "train", "shown")[0]
    print(f"{example.prompt} -> {example.answer}   ({len(example.options)} options)")


# %%
def instructions(names, seed, count=600):
    """Examples of some tasks as text, shuffled."""
    found = [example for name in names for example in prompts.examples(world, name, count, "train", seed)]
    Random(f"instructions {seed}").shuffle(found)
    return found


# %% [markdown]
# Each task gets 50 updates' worth of examples, alone or mixed with the others. So four single models see what the one
# model sees. **Predict**: does one model lose against four? Which of the four is not learned at all? (Lab 3 has a
# guess for you: *roles* has the same words in both sentences.) And a task that tuning never showed, does it gain from
# the others?


# %%
def reworded(example):
    """The same test text, asked in a wording of training."""
    new, old = (prompts.WORDINGS[example.task][place].removeprefix("{text}") for place in (-1, 0))
    return replace(example, prompt=example.prompt.removesuffix(new) + old)


# %%
def instructions_run(tuned_on, seed):
    """Accuracy on 100 test examples of each task, asked in a new wording and in one of training."""
    names = TEXT_TASKS if tuned_on == "all" else [tuned_on]
    if tuned_on.startswith("all but "):
        names = [name for name in TEXT_TASKS if name != tuned_on.removeprefix("all but ")]
    model = causal
    if tuned_on != "nothing":
        stream = prompts.answer_batches(tokenizer, instructions(names, seed), 16, seed)
        model = taught_answers(causal, stream, 50 * len(names), 5e-4)
    test = {name: prompts.examples(world, name, 100, "test", seed) for name in TEXT_TASKS}
    seen = {f"{name} seen": list(map(reworded, test[name])) for name in TEXT_TASKS}
    return {name: prompts.accuracy(model, tokenizer, some) for name, some in {**test, **seen}.items()}


# %%
TUNED_ON = ("nothing", "all", *TEXT_TASKS, *(f"all but {name}" for name in TEXT_TASKS[:3]))
instruction_plan = [{"tuned_on": what, "seed": seed} for what in TUNED_ON for seed in range(5)]
live_topics = {"tuned_on": "topic", "seed": 0}
instructed = lab.sweep(
    "prompt-instructions", instructions_run, instruction_plan, live=lambda s: s == live_topics
)
lab.check(instructed, "topic", by=["tuned_on"], slack=0.02)


# %%
def told_values(tuned_on, test):
    """Accuracy by seed of one tuning on one test."""
    return by_seed(instructed, test, tuned_on=tuned_on)


# %%
print(f"{'tuned on':18}", *(f"{name:>18}" for name in TEXT_TASKS))
for what in TUNED_ON:
    found = [told_values(what, name) for name in TEXT_TASKS]
    print(f"{what:18}", *(f"{x.mean():.2f} ({x.min():.2f}-{x.max():.2f})" for x in found), sep="  ")


# %%
def mean_over(pairs):
    """The mean over pairs (tuned on, test), by seed."""
    return np.mean([told_values(*pair) for pair in pairs], axis=0)


# %%
one_model = mean_over([("all", name) for name in TEXT_TASKS])
lab.conclude("prompt-one-model", paired_ci(one_model, mean_over([(n, n) for n in TEXT_TASKS])), seeds=5)
as_trained = mean_over([("all", f"{name} seen") for name in TEXT_TASKS])
lab.conclude("prompt-wording", paired_ci(as_trained, one_model), seeds=5)
held_out = mean_over([(f"all but {name}", name) for name in TEXT_TASKS[:3]])
untold = mean_over([("nothing", name) for name in TEXT_TASKS[:3]])
lab.conclude("prompt-held-out", paired_ci(held_out, untold), seeds=5)
reviews_untold = told_values("nothing", "sentiment")
reviews_held_out = paired_ci(told_values("all but sentiment", "sentiment"), reviews_untold)
lab.conclude("prompt-held-out-sentiment", reviews_held_out, seeds=5)

# %% [markdown]
# Fifty batches are enough to answer in words what Lab 3 answered with heads, for three of the four tasks. *Roles* is
# learned by nobody. Its two sentences have the same words, and six hundred examples are not enough, in one model or
# in four. For the rest the one model is not worse. It is ahead by some points in the mean, for reviews in each run;
# but the row stays **inconclusive**, since one run of five answers *one or many* at chance, if it is asked in the
# wording of the test. Asked as in training, the same run makes no mistakes. That run is also why the row on wordings
# is **inconclusive**: mostly a new wording costs nothing, and sometimes everything. An average over runs would not
# warn you.
#
# A task that was held out gains nothing. *Good or bad* stays at chance, *one or many* does not move, topics if
# anything lose; both rows are **inconclusive**, with estimates near zero. FLAN (Wei et al. 2022) had a model tens of
# thousands of times as large, and dozens of data sets. Ours knows what a good review is, as the first prompts showed.
# It does not know that the question asks for it, and three other questions do not tell it.
#
# Is a task a data set, then, a head, a prompt? In this section one network told good from bad when it was asked by a
# sentence of its own text, and could not when it was asked by a question, or by examples; after lessons in either it
# could. The task was what training had made of the words. What large models changed is how much of what people may
# ask has been in that text.

# %% [markdown]
# ### Bad input
#
# Some mistakes that one makes with prompts, and what the course's tools say to them:

# %%
many_shown = short_reviews("train", 12)
refused(lambda: prompts.Template("in short , it was", ("bad", "good")), folder)
refused(lambda: prompts.Template("{text} in short , it was", ("good", "good")), folder)
refused(lambda: prompts.classify(causal, tokenizer, verdict_prompt, prompt_texts, many_shown), folder)
refused(lambda: prompts.word_scores(causal, tokenizer, "in short , it was", ["bad", "good"]), folder)
refused(lambda: prompts.relabeled(many_shown, "wrong", 2), folder)
refused(lambda: prompts.examples(world, "translation", 10, "test"), folder)
refused(lambda: next(prompts.answer_batches(tokenizer, [])), folder)

# %% [markdown]
# ## Task similarity
#
# Lab 3 tuned on one task before another: single remarks first helped with whole reviews, scenes first harmed. Nobody
# was surprised, and that is the open problem. We call two tasks related when a gain makes sense to us, mostly
# afterwards. In 2019 it was unclear what makes tasks similar, and whether the benefit can be known before it is paid
# for. In computer vision, Taskonomy (Zamir et al. 2018) had just measured transfer between all pairs of many tasks.
# This section does the same on a scale that fits a laptop, and then asks several scores to predict the result.

# %%
from itertools import permutations

import pandas as pd
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from utils.intervals import wilson
from utils.training import encode
from utils.world.reviews import ASPECTS, ITEMS

# %% [markdown]
# ### Six tasks and a hunch
#
# To say what two tasks share we build them from parts. There are two kinds of texts: the beginnings of scenes, cut off
# before the main verb, and remarks from reviews. Each is asked two questions, and one of the two also about a pair
# of texts.
#
# | task | texts | question |
# |---|---|---|
# | topic | scenes | is the topic in the one or in the other half of the twelve, split arbitrarily? |
# | number | scenes | will the verb be plural? |
# | same topic | scenes | do two beginnings have the same topic? |
# | kind | reviews | does the remark belong to a product or to a place? |
# | opinion | reviews | does it praise, negation included? |
# | same opinion | reviews | do two remarks both praise, or both complain? |
#
# A hash of each text decides whether it is for training, validation or test, so that no task can show a network the
# test texts of another.

# %%
VENUE_NOUNS = {noun for item in ITEMS["venue"].items for noun in ASPECTS[item].items}
PRAISING = {word for kind in ("polar", "base", "past") for word in POLAR["AB"][kind, "positive"].items}
NEGATING = {"not", "never", "nobody"}


def similar_side(words):
    """The split that a text belongs to, whatever task it is used for."""
    return Random(" ".join(words)).choice(("train", "train", "validation", "test"))


# %%
def scene_openings(seed):
    """Beginnings of scenes with one more noun before the verb, and the truth about each."""
    for scene in world.documents(f"similar {seed}", "scene"):
        first = scene.sentences[0]
        main = [a for a in first.agreements if first.heads[a.verb] == -1 and a.nouns == 1]
        if main:
            truth = {"topic": sorted(world.topics).index(scene.about)}
            truth["number"] = int(first.numbers[main[0].controller] == "pl")
            yield tuple(first.words[: main[0].verb]), truth


# %%
def review_remarks(seed):
    """Second sentences of reviews, and the truth about each."""
    for review in world.documents(f"similar {seed}", "review", half="A"):
        words = set(review.sentences[1].words)
        opinion = int(bool(PRAISING & words) != bool(NEGATING & words))
        yield review.sentences[1].words, {"kind": int(bool(VENUE_NOUNS & words)), "opinion": opinion}


# %%
@lru_cache(maxsize=64)
def similar_texts(kind, split, seed, count=900):
    """`count` different texts of a split, with the truth about each."""
    found, stream = {}, scene_openings(seed) if kind == "scenes" else review_remarks(seed)
    while len(found) < (count if split == "train" else count // 2):
        words, truth = next(stream)
        if similar_side(words) == split:
            found[words] = truth
    return found


# %%
SIMILAR = {  # texts, what is asked about them, about how many at once
    "topic": ("scenes", "topic", "one"),
    "number": ("scenes", "number", "one"),
    "same topic": ("scenes", "topic", "two"),
    "kind": ("reviews", "kind", "one"),
    "opinion": ("reviews", "opinion", "one"),
    "same opinion": ("reviews", "opinion", "two"),
}
SIX = list(SIMILAR)


# %%
@lru_cache(maxsize=128)
def similar_items(task, count, split, seed):
    """Labeled items of a task, half of each class; the topics are split by whether their index is odd."""
    if task not in SIMILAR:
        raise CourseError(f"There is no task {task!r} here: choose one of {', '.join(SIMILAR)}.")
    kind, asked, form = SIMILAR[task]
    random, groups = Random(f"{task} {count} {split} {seed}"), {}
    for words, truth in similar_texts(kind, split, seed).items():
        groups.setdefault(truth[asked] if form == "two" else truth[asked] % 2, []).append(words)
    if form == "one":
        texts = {label: random.sample(group, (count + 1) // 2) for label, group in groups.items()}
        return [tasks.Labeled(texts[i % 2][i // 2], i % 2) for i in range(count)]
    pairs = []
    for i in range(count):
        one, other = random.sample(sorted(groups), 2)
        pair = random.sample(groups[one], 2) if i % 2 else map(random.choice, (groups[one], groups[other]))
        pairs.append(tasks.Labeled(sum(pair, ()), i % 2))
    return pairs


# %%
for task in SIMILAR:
    item = similar_items(task, 32, "train", 0)[1]
    print(f"{task:12} {item.label}", " ".join(item.words))

# %% [markdown]
# Now put your hunch on paper, as a number. Ours is plain: count what two tasks share of their texts, their question
# (a single text and a pair can be about the same thing), and their form (one text or two). Where do you expect the
# largest gain, and where harm?


# %%
def hunch(source, target):
    """How many of three properties two tasks share: texts, question, form."""
    return sum(a == b for a, b in zip(SIMILAR[source], SIMILAR[target], strict=True))


# %%
print(pd.DataFrame({t: [hunch(s, t) for s in SIMILAR] for t in SIMILAR}, index=SIX).to_string())

# %% [markdown]
# ### Thirty transfers
#
# A source has 512 labels and 96 updates. Its encoder is handed over, the target gets a new head, 32 labels and 48
# updates. Two more sources are controls: the texts of *topic* and of *opinion*, with their labels shuffled. They take
# as many steps and teach nothing. Each stage has one rate for all tasks. That of the second stage is the best one for
# tuning on the targets alone.


# %%
def similar_tuned(start, labeled, updates, rate, seed):
    """A classifier tuned on a copy of `start`."""
    torch.manual_seed(seed)
    classifier = classification.Classifier(deepcopy(start), tokenizer, 2)
    texts, labels = classification.texts_and_labels(labeled)
    classification.fine_tune(classifier, texts, labels, updates, rate, seed)
    return classifier


# %%
def similar_search(name, labels, updates, seeds):
    """The rate that is best for tuning on each task alone, by the mean accuracy on validation; prints the search."""

    def run(seed, rate):
        """Accuracy on validation of tuning on each task."""
        found = {}
        for task in SIMILAR:
            train = similar_items(task, labels, "train", 100 + seed)
            test = similar_items(task, 300, "validation", 100 + seed)
            found[task] = classification.accuracy(similar_tuned(causal, train, updates, rate, seed), test)
        return found

    grid = [{"rate": rate, "seed": seed} for rate in (3e-4, 1e-3, 3e-3) for seed in range(seeds)]
    means = lab.sweep(name, run, grid, live=lambda s: False).recorded.groupby("rate")[SIX].mean()
    best = float(means.mean(axis=1).idxmax())
    print(means.round(2).to_string(), f"\n\nbest on average: {best:g}")
    return best


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
SIMILAR_RATE = similar_search("search similar", labels=32, updates=48, seeds=3)

# %% [markdown]
# The first stage has a search of its own over the same rates. It is judged by the accuracy on the source task itself,
# for whoever offers a source network does not know its targets.

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
SOURCE_RATE = similar_search("search sources", labels=512, updates=96, seeds=2)

# %% [markdown]
# The two stages want different rates. With 32 labels the best rate differs from target to target, and on average the
# largest one is as good as the next. With 512 labels the same rate would leave both tasks about pairs unlearned, and
# a source that has learned nothing has nothing to hand over. (We began with one rate for both stages, saw the first
# results of five sources, and stopped: the search had never covered the first stage. Those runs were thrown away and
# no rule was changed.)


# %%
@lru_cache(maxsize=64)
def similar_source(source, seed):
    """The encoder after tuning on a source; "none" is the pretrained one, "TASK, shuffled" has no truth to learn."""
    if source == "none":
        return causal.base_model
    task, _, shuffled = source.partition(", ")
    labeled = similar_items(task, 512, "train", seed)
    if shuffled:
        labels = Random(f"shuffled {seed}").sample([item.label for item in labeled], len(labeled))
        labeled = [tasks.Labeled(x.words, y) for x, y in zip(labeled, labels, strict=True)]
    return similar_tuned(causal, labeled, 96, SOURCE_RATE, seed).encoder


# %%
def similar_run(seed, source, rate):
    """Accuracy on the test of each target, tuned at a rate, after a source."""
    start, found = similar_source(source, seed), {}
    for task in SIMILAR:
        classifier = similar_tuned(start, similar_items(task, 32, "train", seed), 48, rate, seed)
        found[task] = classification.accuracy(classifier, similar_items(task, 300, "test", seed))
    return found


# %%
SHUFFLED = ["topic, shuffled", "opinion, shuffled"]
transfer = lab.sweep(
    "similar transfer",
    lambda seed, source: similar_run(seed, source, SIMILAR_RATE),
    [{"source": s, "seed": seed} for s in ("none", *SIX, *SHUFFLED) for seed in range(5)],
    live=lambda s: s == {"source": "opinion", "seed": 0},
)


# %%
def gains_of(sweep):
    """For each source a table of gains over no source: a row for a seed, a column for a target."""
    reached = sweep.recorded.set_index(["source", "seed"])[SIX].sort_index()
    alone = reached.loc["none"]
    return {source: own.droplevel(0) - alone for source, own in reached.groupby(level=0) if source != "none"}


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for task in SIMILAR:
    lab.check(transfer, task, by=["source"], slack=0.01)
gained = gains_of(transfer)
print("alone", transfer.recorded.query("source == 'none'")[SIX].mean().round(2).to_dict())

# %% [markdown]
# Each square of the figure is the mean over five seeds of the accuracy with the source minus the accuracy without, in
# points, on the same labels and the same test. Black frames mark intervals that exclude zero.


# %%
def draw_transfers(table):
    """The matrix of mean gains in points, framed where the interval over seeds excludes zero; printed, too."""
    rows = [source for source in (*SIX, *SHUFFLED) if source in table]
    fig, ax = plt.subplots(figsize=(6, 1.9 + 0.42 * len(rows)))
    shown = np.array([[100 * table[s][t].mean() for t in SIX] for s in rows])
    ax.imshow(shown, cmap="PuOr", vmin=-30, vmax=30, aspect="auto")
    for (row, column), value in np.ndenumerate(shown):
        own, ink = mean_ci(table[rows[row]][SIX[column]]), "white" if abs(value) > 21 else "black"
        ax.text(column, row, f"{round(value):+d}", ha="center", va="center", color=ink)
        if own.low > 0 or own.high < 0:
            ax.add_patch(plt.Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, fill=False, linewidth=1.5))
    ax.set_xticks(range(6), SIX, rotation=30, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlabel="target, 32 labels", ylabel="source, 512 labels")
    ax.grid(visible=False)
    print(pd.DataFrame(shown, rows, SIX).round(0).astype(int).to_string())
    return fig


# %% mystnb={"image": {"alt": "Matrix of gains in points, eight sources by six targets, second stage at rate 0.003. Nearly all cells lie between minus 5 and plus 8 points, the diagonal included, and only a few have a frame. The two sources with shuffled labels look like the others."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
show(draw_transfers(gained))

# %% [markdown]
# The diagonal shows what more labels of the target itself give when they come first. Off the diagonal there are three
# kinds of pairs of tasks: those with the same question, those with the same texts and another question, and those
# that share neither.


# %%
def in_common(source, target):
    """What two different tasks have in common: question, texts, or nothing."""
    one, other = SIMILAR[source], SIMILAR[target]
    return "question" if one[1] == other[1] else "texts" if one[0] == other[0] else "nothing"


TRANSFERS = [(s, t) for s in SIX for t in SIX if s != t]
SHARING = {r: [c for c in TRANSFERS if in_common(*c) == r] for r in ("question", "texts", "nothing")}
REST = SHARING["texts"] + SHARING["nothing"]


# %%
def similar_gain(table, cells):
    """The mean gain over some cells of the matrix, for each seed."""
    return np.mean([table[source][target] for source, target in cells], axis=0)


def clear_cells(table):
    """How many of the transfers between different tasks have an interval above zero, and below."""
    intervals = [mean_ci(table[source][target]) for source, target in TRANSFERS]
    return sum(i.low > 0 for i in intervals), sum(i.high < 0 for i in intervals)


# %%
def print_sharing(table):
    """The mean gain on the diagonal and by what two tasks share."""
    for name, cells in {"the task itself": [(t, t) for t in SIX], **SHARING}.items():
        print(f"{name:15} {len(cells):2} cells: gain {mean_ci(similar_gain(table, cells))}")
    print("of {} cells, clearly helped {}, clearly harmed {}".format(len(TRANSFERS), *clear_cells(table)))


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
print_sharing(gained)


# %%
def conclude_transfers(stage, table):
    """The rows that both matrices have."""
    question, texts, nothing = (similar_gain(table, cells) for cells in SHARING.values())
    lab.conclude(f"similar-{stage}question", mean_ci(question), 5)
    lab.conclude(f"similar-{stage}intuition", paired_ci(question, similar_gain(table, REST)), 5)
    lab.conclude(f"similar-{stage}texts", paired_ci(texts, nothing), 5)
    lab.conclude(f"similar-{stage}nothing", mean_ci(nothing), 5)
    for name, count in zip(("helped", "harmed"), clear_cells(table), strict=True):
        lab.conclude(f"similar-{stage}{name}", wilson(count, len(TRANSFERS)), 5)
    up = [("topic", "same topic"), ("opinion", "same opinion")]
    down = [(target, source) for source, target in up]
    whole = paired_ci(similar_gain(table, up), similar_gain(table, down))
    lab.conclude(f"similar-{stage}whole-part", whole, 5)


# %% tags=["hide-input"]
conclude_transfers("", gained)
taught = [(s, t) for s, t in TRANSFERS if s in ("topic", "opinion")]
mistaught = [(f"{s}, shuffled", t) for s, t in taught]
lab.conclude("similar-labels", paired_ci(similar_gain(gained, taught), similar_gain(gained, mistaught)), 5)
lab.conclude("similar-shuffled", mean_ci(similar_gain(gained, mistaught)), 5)

# %% [markdown]
# Before anything about tasks, read the diagonal. With 512 labels at once, four of the six tasks are close to perfect,
# as the second search shows. When the same 512 labels come first and 32 more labels of the same task after them, the
# result should be near that, and it is not: the second stage has taken most of it back. Where even the task itself
# leaves little behind, there is little to see off the diagonal. The three means can't be told from zero, three cells
# of thirty have a frame, which is little more than what intervals of 95 % miss by chance, and we can't tell sources
# with true labels from sources with shuffled ones. Whoever stopped here would report that no task is related to any
# other.

# %% [markdown]
# ### A gentler second stage
#
# What erased the first stage? The rate of the second was chosen where nobody would object, on the targets alone, and
# there a third of it is as good. With a source it need not be the same thing: large steps leave no trace of where
# they started. We keep the same source networks and tune the targets again at the lower rate. (This matrix was
# planned after the first was seen; its rules were written before it was run.) How much of the diagonal comes back,
# and what comes back with it?

# %%
GENTLE_RATE = 1e-3
gentle = lab.sweep(
    "similar gentle",
    lambda seed, source: similar_run(seed, source, GENTLE_RATE),
    [{"source": s, "seed": seed} for s in ("none", *SIX) for seed in range(5)],
    live=lambda s: False,
)

# %% mystnb={"image": {"alt": "Matrix of gains in points, six sources by six targets, second stage at rate 0.001. The diagonal is positive throughout, most of all for number and same opinion. Off it, topic helps number by 17 points and opinion helps same opinion by 9; number, opinion and same opinion cost kind 7 to 13 points."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
kept = gains_of(gentle)
print("alone", gentle.recorded.query("source == 'none'")[SIX].mean().round(2).to_dict())
show(draw_transfers(kept))
print_sharing(kept)

# %% tags=["hide-input"]
ITSELF = [(task, task) for task in SIX]
lab.conclude(
    "similar-gentle-diagonal", paired_ci(similar_gain(kept, ITSELF), similar_gain(gained, ITSELF)), 5
)
conclude_transfers("gentle-", kept)

# %% [markdown]
# Now the diagonal gains about ten points on average, more than twice as much as before. Nothing about the tasks has
# changed; the rate of the second stage has. A table of transfer between tasks is always also a table of the recipe,
# and its diagonal says whether the recipe could show anything.
#
# Off the diagonal, a source with the same question does better than the others, by two or three points, just clearly;
# that it does better than no source is not shown. The rest is less orderly than a hunch would have it. The
# largest gain by far is from *topic* to *number*, which ask different things of the same texts, and the way back is
# no gain at all. *Opinion* helps *same opinion*. All three clear losses have one target, *kind*, and two of their
# sources read the same remarks: a network that has learned to look for praise must be taught again to look at what is
# praised. By eye, the same texts raise the stakes, in both directions, and so their mean says nothing. Clear cells,
# up or down, are not clearly more than one in ten, and that a part helps the whole more than the whole helps the part
# is open, too.

# %% [markdown]
# ### Scores that should know
#
# A matrix costs a training run for each pair. A useful score of similarity would cost less and give the same order of
# the sources, at least for a given target. We try five, each simple enough to be written out. The first is the hunch.
# The second needs nothing but the texts: the cosine of their word counts.


# %%
def word_cosine(some, others):
    """Cosine of the word counts of two sets of items."""
    counts = [pd.Series([w for item in items for w in item.words]).value_counts() for items in (some, others)]
    a, b = pd.concat(counts, axis=1).fillna(0).to_numpy().T
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


# %% [markdown]
# The third reads the source-tuned network without tuning it: how well does a linear reader of its states, fitted to
# some of the 32 labels, predict the others?


# %%
def linear_reader_score(start, labeled):
    """Mean log-probability (nats) of labels that a linear reader of frozen states has not seen, in four folds."""
    texts, labels = classification.texts_and_labels(labeled)
    reader = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
    states = classification.features(start, tokenizer, texts)
    return float(cross_val_score(reader, states, labels, cv=4, scoring="neg_log_loss").mean())


# %% [markdown]
# The fourth compares two networks: one tuned on the source, one tuned on the target. Do they place the same texts
# alike? The comparison is linear CKA, which we write $\lVert A^\top B\rVert^2 / (\lVert A^\top A\rVert \, \lVert
# B^\top B\rVert)$ for centered states $A$ and $B$. It doesn't mind if one space is rotated or stretched as a whole.


# %%
def cka(a, b):
    """Linear CKA of two matrices of states [texts, d], from 0 to 1."""
    a, b = a - a.mean(0), b - b.mean(0)
    return float(np.linalg.norm(a.T @ b) ** 2 / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b))


# %%
dice = np.random.default_rng(0)
cloud, rotation = dice.normal(size=(400, 8)), np.linalg.qr(dice.normal(size=(8, 8)))[0]
print(f"turned and doubled: {cka(cloud, 2 * cloud @ rotation):.2f}")
print(f"another cloud: {cka(cloud, dice.normal(size=(400, 8))):.2f}")

# %% [markdown]
# The fifth asks the pretrained network which of its weights each task would like to move. With a head that was tuned
# alone, the mean squared gradient of each weight, the diagonal of the Fisher information (Lab 3), is a long vector
# that describes the task, and two tasks are alike when their vectors point the same way. Vu et al. (2020) call such
# vectors task embeddings. Here the embedding table is left out, since it only says which words a task has.


# %%
@lru_cache(maxsize=64)
def gradient_profile(task, seed):
    """Root mean squared gradient of each weight in the layers, from 48 texts of a task, labels drawn by the network."""
    torch.manual_seed(seed)
    classifier = classification.Classifier(deepcopy(causal), tokenizer, 2)
    adaptation.train_only(classifier, "head.*")
    texts, labels = classification.texts_and_labels(similar_items(task, 32, "train", seed))
    classification.fine_tune(classifier, texts, labels, 48, 1e-2, seed)
    adaptation.train_only(classifier, "*")

    def surprise(ids):
        logp = classifier(torch.tensor([ids])).log_softmax(-1)[0]
        return logp[torch.multinomial(logp.exp().detach(), 1)[0]]

    texts, _ = classification.texts_and_labels(similar_items(task, 48, "train", seed))
    importance = adaptation.fisher(classifier, [lambda i=i: surprise(i) for i in encode(tokenizer, texts)])
    return torch.cat([v.flatten() for n, v in importance.items() if ".h." in n]).sqrt()


# %%
@lru_cache(maxsize=64)
def plainly_tuned(task, seed):
    """The encoder after tuning on the target alone."""
    return similar_tuned(causal, similar_items(task, 32, "train", seed), 48, SIMILAR_RATE, seed).encoder


# %%
def similar_scores(seed, source):
    """Four scores of a source for each target; none of them looks at a test item."""
    start, found = similar_source(source, seed), {}
    for task in SIMILAR:
        many, mine = (similar_items(name, 128, "train", seed) for name in (source, task))
        texts, _ = classification.texts_and_labels(mine)
        states = (classification.features(m, tokenizer, texts) for m in (start, plainly_tuned(task, seed)))
        profiles = gradient_profile(source, seed), gradient_profile(task, seed)
        found[f"words {task}"] = word_cosine(many, mine)
        found[f"reader {task}"] = linear_reader_score(start, similar_items(task, 32, "train", seed))
        found[f"states {task}"] = cka(*states)
        found[f"gradients {task}"] = float(torch.cosine_similarity(*profiles, dim=0))
    return found


# %%
similarity = lab.sweep(
    "similar scores",
    similar_scores,
    [{"source": s, "seed": seed} for s in SIX for seed in range(5)],
    live=lambda s: False,
)


# %% [markdown]
# A good score ranks the sources of a target as the gains do. So for each target we take Spearman's rank correlation
# between the score and the gain over its five sources, and then the mean over the six targets. (Over all thirty cells
# at once, a score could look good only because it knows which targets have room to improve.)


# %%
def rank_agreement(score, gain):
    """Mean over targets of the rank correlation over the sources; both [tasks, tasks], source by target."""
    if np.shape(score) != np.shape(gain) or len(score) != len(score[0]) or len(score) < 3:
        raise CourseError(
            f"Scores {np.shape(score)} and gains {np.shape(gain)} are not two square matrices of three or more tasks: "
            "give a row for each source and a column for each target."
        )
    found, places = [], np.arange(len(score))
    for target in places:
        a, b = np.asarray(score)[places != target, target], np.asarray(gain)[places != target, target]
        found.append(spearmanr(a, b).statistic if np.ptp(a) and np.ptp(b) else 0.0)
    return float(np.mean(found))


# %%
def gain_matrix(table, seed):
    """Gains of one seed, source by target."""
    return np.array([table[source].loc[seed, SIX] for source in SIX])


def score_matrix(name, seed):
    """A score of one seed, source by target."""
    if name == "hunch":
        return np.array([[hunch(s, t) for t in SIX] for s in SIX], float)
    own = similarity.recorded[similarity.recorded["seed"] == seed].set_index("source")
    return own.loc[SIX, [f"{name} {task}" for task in SIX]].to_numpy()


# %% [markdown]
# The interval over seeds says how sure we can be about these six tasks. Whether a score would do as well on other
# tasks is another question, and six tasks say little about it. A permutation test makes that visible: give the tasks'
# names in the score's matrix to one another in all 720 ways, and count how many of them agree with the gains at least
# as well (Mantel's test).


# %%
SIMILAR_SEEDS = range(5)


def over_seeds(matrix, what):
    """The mean of a matrix over seeds."""
    return np.mean([matrix(what, seed) for seed in SIMILAR_SEEDS], axis=0)


# %%
def mantel(score, gain):
    """Share of all ways to permute the names of the tasks in `score` that agree with the gains at least as well."""
    reached = rank_agreement(score, gain)
    orders = [list(order) for order in permutations(range(len(score)))]
    return np.mean([rank_agreement(score[np.ix_(o, o)], gain) >= reached - 1e-9 for o in orders])


# %% [markdown]
# The states of the tuned target belong to the first matrix, whose second stage they went through. The other four
# scores serve both.

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
STAGES = {"": gained, "gentle-": kept}
SIMILAR_SCORES = ("hunch", "words", "reader", "gradients", "states")
agreement = {}
for stage, table in STAGES.items():
    for name in SIMILAR_SCORES[: 4 if stage else 5]:
        ranks = [rank_agreement(score_matrix(name, s), gain_matrix(table, s)) for s in SIMILAR_SEEDS]
        agreement[stage, name] = ranks
        luck = mantel(over_seeds(score_matrix, name), over_seeds(gain_matrix, table))
        print(f"{stage:7} {name:9} agreement {mean_ci(ranks)}, as good by permutation {luck:.3f}")


# %%
def within_target(matrix):
    """Each column minus its mean over the sources other than the target itself."""
    return matrix - (matrix.sum(0) - matrix.diagonal()) / (len(matrix) - 1)


# %% mystnb={"image": {"alt": "Two scatter plots of gain against a score, each relative to the mean of its target. Left, cosine of words: two columns, one for tasks with the same texts and one for others, each with gains and losses. Right, linear reader: sources with the same question have high scores and small gains, all others are spread out."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
SHARED_LOOKS = {"question": ("supervised", "o"), "texts": ("distant", "s"), "nothing": ("baseline", "^")}
fig, axes = plt.subplots(1, 2, figsize=(6, 3.6), sharey=True)
mean_gains = within_target(over_seeds(gain_matrix, kept))
for ax, name in zip(axes, ("words", "reader"), strict=True):
    mean_scores = within_target(over_seeds(score_matrix, name))
    for shared, (role, marker) in SHARED_LOOKS.items():
        at = tuple(np.array([(SIX.index(s), SIX.index(t)) for s, t in SHARING[shared]]).T)
        ax.scatter(mean_scores[at], mean_gains[at], color=COLORS[role], marker=marker, label=shared)
    ax.axhline(0, color="black", linewidth=1)
axes[0].set(xlabel="cosine of words", ylabel="gain in accuracy")
axes[1].set(xlabel="linear reader, nats")
for shared in SHARED_LOOKS:
    at = tuple(np.array([(SIX.index(s), SIX.index(t)) for s, t in SHARING[shared]]).T)
    print(f"sharing {shared:8} gain above the mean of the target {mean_gains[at].mean():+.3f}")
fig.suptitle("each as a difference from the mean of its target", fontsize=13)
marks, _ = axes[0].get_legend_handles_labels()
fig.legend(marks, ["same question", "same texts", "neither"], loc="lower center", ncols=3, handletextpad=0.1)
fig.subplots_adjust(bottom=0.32, wspace=0.12)
show(fig)

# %% mystnb={"image": {"alt": "Rank correlation of five scores with the gains, with intervals, for the two rates. All estimates lie between minus 0.2 and 0.2, all intervals but one include zero; the exception is the linear reader at rate 0.003."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, ax = plt.subplots(figsize=(6, 3.6))
for stage, role, marker, label in (
    ("", "baseline", "s", "rate 0.003"),
    ("gentle-", "pretrained", "D", "rate 0.001"),
):
    for row, name in enumerate(SIMILAR_SCORES[: 4 if stage else 5]):
        own, y = mean_ci(agreement[stage, name]), row + (0.13 if stage else -0.13)
        ax.plot([own.low, own.high], [y, y], color=COLORS[role])
        ax.plot(own.estimate, y, marker, color=COLORS[role], label=None if row else label)
        print(f"{label} {name:9} {own}")
ax.axvline(0, color="black", linewidth=1)
ax.set_yticks(range(5), SIMILAR_SCORES)
ax.invert_yaxis()
ax.set(xlabel="rank correlation with the gains, within a target", xlim=(-0.8, 1))
ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, handletextpad=0.1)
show(fig)

# %% tags=["hide-input"]
for (stage, name), values in agreement.items():
    lab.conclude(f"similar-{stage}{name}-ranks", mean_ci(values), 5)
for stage in STAGES:
    better = paired_ci(agreement[stage, "reader"], agreement[stage, "hunch"])
    lab.conclude(f"similar-{stage}reader-hunch", better, 5)

# %% [markdown]
# Of nine rank correlations one is clearly above zero: the linear reader's, with the first recipe, and it is small. It
# does not return with the second recipe, where the gains are larger, and with nine tries one success is a weak
# result. The permutation test says much the same: it singles out the reader and the words in the first matrix, and
# nothing in the second. The right half of the scatter shows what the reader can and can't see. It gives good marks to
# all four sources with the same question. But what it measures is what the states offer before the second stage; it
# has no idea that *topic* will help *number*, and neither has any other score. Counting words does what one could
# have guessed: it tells which tasks have the same texts, which is where both the largest gain and the largest losses
# are. Comparing gradients does no better than the count on our fingers, at more cost. With five sources for a target
# and intervals this wide, none of them is shown to be worthless, either.

# %% [markdown]
# ### Choosing a source
#
# In practice there is one target and one network to hand over. For each target, let each score choose its best
# source. What does that source gain, against no source, against the mean of the five, and against the best of them,
# which only the test knows?


# %%
def choice_gain(name, table, seed):
    """Mean over targets of the gain of the source that a score ranks first; ties share, "best" knows the gains."""
    gain, found = gain_matrix(table, seed), []
    known = {"best": gain, "any": np.zeros((6, 6))}
    score = known[name] if name in known else score_matrix(name, seed)
    for target in range(6):
        others = [source for source in range(6) if source != target]
        top = [source for source in others if score[source, target] == max(score[others, target])]
        found.append(gain[top, target].mean())
    return float(np.mean(found))


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
by_score = {}
for stage, table in STAGES.items():
    for name in ("any", *SIMILAR_SCORES[:4], "best"):
        by_score[stage, name] = [choice_gain(name, table, seed) for seed in SIMILAR_SEEDS]
        print(f"{stage:7} {name:9} gain over no source {mean_ci(by_score[stage, name])}")

# %% [markdown]
# And how much of a ranking is luck? Take the gains of one seed as the score for another: no score can be expected to
# rank the sources of one run better than another run does. Pairs of seeds are not independent, so the interval
# resamples seeds.


# %%
def seed_agreement(table, resamples=2000):
    """Mean rank agreement of the gains of two different seeds, with a bootstrap over seeds."""
    gains = [gain_matrix(table, seed) for seed in SIMILAR_SEEDS]
    pairs = np.array([[rank_agreement(a, b) for a in gains] for b in gains])
    random, found = np.random.default_rng(0), []
    for draw in random.integers(5, size=(resamples, 5)):
        apart = draw[:, None] != draw[None]
        if apart.any():
            found.append(pairs[np.ix_(draw, draw)][apart].mean())
    low, high = np.percentile(found, [2.5, 97.5])
    return Interval(float(pairs[~np.eye(5, dtype=bool)].mean()), low, high, "bootstrap over seeds", 5)


# %% tags=["hide-input"]
for stage, table in STAGES.items():
    lab.conclude(f"similar-{stage}stable", seed_agreement(table), 5)
    lab.conclude(f"similar-{stage}choice", paired_ci(by_score[stage, "reader"], by_score[stage, "any"]), 5)
    lab.conclude(f"similar-{stage}choice-none", mean_ci(by_score[stage, "reader"]), 5)
lab.conclude("similar-choice-hunch", mean_ci(by_score["", "hunch"]), 5)

# %% [markdown]
# No score finds a source that clearly pays. The best of five, known afterwards, would bring five or six points, but
# some of that is no more than the largest of five lucky draws. The agreement between seeds shows how much: from one
# seed to another the order of the sources is only weakly the same, with either recipe, and our rule, which asked for
# a correlation of one half, is contradicted twice. A few cells can be relied on, those with frames; the order of all
# sources, measured once, is largely luck. A score that predicted it well would be predicting noise.
#
# At a far larger scale, Vu et al. (2020) and Pruksachatkun et al. (2020) did what this section does in small, the
# former with task embeddings, too. No simple rule came of it, and ours is no exception. What can be recommended is
# dull and cheap: put the target itself on the list of sources to see whether the recipe can transfer anything, prefer
# a source that asks the same question, compare with no source, and use several seeds before believing an order.

# %% [markdown]
# **Break it.** `similar_tuned` copies the network that it is given. Without the copy, which is one word in a line,
# everything still runs: each target then starts from a network that the targets before it have tuned, and the first
# column of the matrix is the only one that means what its heading says. Nothing complains, so look at the weights.


# %%
def weight_sum(model):
    """A number that changes when any weight does."""
    return float(sum(p.detach().double().abs().sum() for p in model.parameters()))


def tuned_in_place(start, labeled):
    """As `similar_tuned` for four updates, but without the copy."""
    classifier = classification.Classifier(start, tokenizer, 2)
    classification.fine_tune(classifier, *classification.texts_and_labels(labeled), 4, SIMILAR_RATE, 0)
    return classifier


# %%
handful, handed_over = similar_items("number", 32, "train", 0), deepcopy(causal)
before = weight_sum(handed_over)
similar_tuned(handed_over, handful, 4, SIMILAR_RATE, 0)
assert weight_sum(handed_over) == before, "the source network was changed by a target"
tuned_in_place(handed_over, handful)
print("still the source network after tuning without a copy:", weight_sum(handed_over) == before)

# %% [markdown]
# Last, the mistakes that a person would make with these tools.

# %%
refused(lambda: similar_items("mood", 32, "train", 0), folder)
refused(lambda: rank_agreement(np.ones((6, 6)), np.ones((8, 6))), folder)
refused(lambda: similar_tuned(causal, [x for x in handful if x.label], 4, SIMILAR_RATE, 0), folder)
refused(lambda: adaptation.fisher(causal, []), folder)

# %% [markdown]
# ## Continual learning
#
# All that this course has done with a pretrained model ends after one task. The text was read once, the labels were
# learned once, and for the next task one goes back to the checkpoint. Yogatama et al. (2019) asked for the opposite:
# a model that lives on, takes up task after task, and is better for it, with no line between pretraining and
# adaptation. Lab 3 met the main obstacle: a language model that learns *one* task forgets, at a rate that is too
# high, how to predict words. Here a network learns five tasks one after another. What does it still know of the first
# when it has learned the fifth? Were the earlier ones of use to the later ones? And what is left of the language
# model?
#
# The five tasks need different things. *Opinion* is the task of this lab. *Topic* asks which of twelve things a scene
# is about. *Number* asks for one or many, where another noun stands between subject and verb. *Story* asks whom a
# pronoun means, the person with the name or the one with the trade. *Film* is opinion again, on films, which the
# pretraining never met.

# %%


from utils.world.scenes import SOCIAL

STREAM = {"opinion": 2, "topic": 12, "number": 2, "story": 2, "film": 2}
STREAM_TOPICS = sorted(world.topics)


# %%
def stream_source(task, seed):
    """An endless stream of texts of the tasks topic, number and story, with their labels."""
    for document in world.documents(f"stream {task} {seed}", "story" if task == "story" else "scene"):
        if task == "topic":
            yield Labeled(tuple(document.words), STREAM_TOPICS.index(document.about))
        elif task == "story" and "because" in document.words:
            yield Labeled(tuple(document.words), int(document.about["referent"] == "job"))
        elif task == "number":
            first = document.sentences[0]
            main = [a for a in first.agreements if first.heads[a.verb] == -1 and a.attractors == 1]
            if main and first.numbers[main[0].verb]:
                yield Labeled(tuple(first.words), int(first.numbers[main[0].verb] == "pl"))


# %% [markdown]
# Training, validation and test must share no text. As in the course's other tasks the words of a text decide by a
# hash on which side it may stand.


# %%
def stream_items(task, split, count, seed):
    """The first `count` labeled texts of a task in a split."""
    if task not in STREAM:
        raise CourseError(f"The stream has no task {task!r}: choose among {', '.join(STREAM)}.")
    if task in ("opinion", "film"):
        return tasks.sentiment(world, count, split, seed, "film" if task == "film" else None)
    sides = ("train", "train", "validation", "test")
    found = (i for i in stream_source(task, seed) if Random(" ".join(i.words)).choice(sides) == split)
    return list(islice(found, count))


# %%
for task in STREAM:
    for item in stream_items(task, "train", 2, 0):
        print(f"{task:8}{item.label:3}  {' '.join(item.words)}")

# %% [markdown]
# A student of five tasks has outputs for all of them, twenty in all. There are two ways to examine it, and much
# depends on which one you take (van de Ven and Tolias 2019). It can be *told* which task a question belongs to, and
# choose among the outputs of that task. Or it is told nothing and chooses among all twenty, as one who is handed a
# text and has to know what is asked. Stories, reviews and scenes are easy to tell apart, and films from other things.
# But *topic* and *number* both take scenes, and there the text does not always say what is asked; how much that costs
# we shall see on a student who has learned everything at once.

# %%
STREAM_FIRST = dict(zip(STREAM, np.cumsum([0, *STREAM.values()]).tolist(), strict=False))
STREAM_OWNER = torch.tensor([place for place, count in enumerate(STREAM.values()) for _ in range(count)])


# %%
def stream_choice(logits, labels, told):
    """Logits [rows, 20]; a student that is told the task has only the outputs of the label's task to choose from."""
    others = STREAM_OWNER != STREAM_OWNER[labels][:, None]
    return logits.masked_fill(others, -1e9) if told else logits


# %%
@lru_cache(maxsize=256)
def stream_texts(task, split, count, seed):
    """Texts of a task and their outputs, counted over all tasks."""
    items = stream_items(task, split, count, seed)
    texts, labels = classification.texts_and_labels(items)
    return texts, torch.tensor(labels) + STREAM_FIRST[task]


# %%
def stream_exam(classifier, task, seed, told, split="test"):
    """Accuracy on 120 texts of a task."""
    texts, labels = stream_texts(task, split, 120, seed)
    logits = stream_choice(torch.tensor(classification.predict_logits(classifier, texts)), labels, told)
    return float((logits.argmax(1) == labels).float().mean())


# %% [markdown]
# Every task has 128 labeled texts and 48 updates of 16 texts, six passes. With `told` the loss, too, sees the outputs
# of the task alone. `extra` is what a remedy adds to the loss; more of that later.


# %%
def stream_learn(classifier, texts, labels, seed, told, rate, updates=48, rows=16, extra=None):
    """Learn one task, or several at a time."""

    def loss(logits, some):
        return cross_entropy(stream_choice(logits, labels[some], told), labels[some])

    classification.fine_tune(
        classifier, texts, labels.tolist(), updates, rate, seed, rows, loss=loss, extra=extra
    )


# %%
def stream_student(seed):
    """The pretrained model with twenty new outputs."""
    torch.manual_seed(seed)
    return classification.Classifier(deepcopy(causal), tokenizer, sum(STREAM.values()))


# %% [markdown]
# A stream is a loop: learn a task, then take the exam of all tasks so far. The result is a triangle of numbers, one
# row for each task learned. **Predict** its last row, for a student that is told the task and for one that is not:
# which accuracy on opinions is left after four other tasks?


# %%
def stream_lessons(student, order, seed, told, rate, remedy=None):
    """Learn task after task; accuracy on each task after each lesson, by names such as "opinion 3"."""
    found = {}
    for place, task in enumerate(order):
        texts, labels = stream_texts(task, "train", 128, seed)
        extra = remedy.extra(student) if remedy else None
        rows = 12 if extra and remedy.replays else 16
        stream_learn(student, texts, labels, seed, told, rate, rows=rows, extra=extra)
        if remedy:
            remedy.keep(student, texts, labels)
        for old in order[: place + 1]:
            found[f"{old} {place + 1}"] = stream_exam(student, old, seed, told)
    return found


# %% [markdown]
# ### What has been proposed
#
# Three families of remedies were known in 2019, and today's are their descendants. **Replay** keeps a few old
# examples and goes on showing them (a *memory*). Here it keeps a share of each task's texts, and once there are old
# tasks, each update takes twelve new texts and four old ones, so that an update never costs more than without replay.


# %%
class Replay:
    """Keep a share of each task's examples, and show four of them at each later update."""

    replays = True

    def __init__(self, share, weight, seed, told):
        self.share, self.weight, self.told = share, weight, told
        self.random, self.kept = np.random.default_rng(seed), []

    def keep(self, student, texts, labels):
        """Called after each lesson."""
        count = round(self.share * len(texts))
        if not count:
            raise CourseError(
                f"A share {self.share} of {len(texts)} texts is not one text: keep a larger share."
            )
        self.kept += zip(training.encode(tokenizer, texts[:count]), labels[:count].tolist(), strict=True)

    def extra(self, student):
        """What the next lesson adds to its loss: nothing in the first one."""
        return self.rehearsal(student) if self.kept else None

    def rehearsal(self, student):
        """The loss on four old examples."""

        def loss(batch):
            ids, labels = zip(
                *(self.kept[i] for i in self.random.integers(len(self.kept), size=4)), strict=True
            )
            old = training.pad(ids, max(map(len, ids)), tokenizer.pad_token_id)
            labels = torch.tensor(labels)
            return self.weight * cross_entropy(stream_choice(student(old).float(), labels, self.told), labels)

        return loss


# %% [markdown]
# **Regularization** keeps no text. It holds each weight near the value that the last lesson left, the more firmly the
# more it mattered to the tasks so far: elastic weight consolidation (EWC; Kirkpatrick et al. 2017), whose penalty and
# Fisher information Lab 3 wrote out, with the language model as the old task. In a stream the Fisher information of
# the tasks is added up, and the anchor moves on with every lesson (Schwarz et al. 2018).


# %%
class Consolidation:
    """Hold the encoder at the weights of the last lesson, by their Fisher information for the tasks so far."""

    replays = False

    def __init__(self, strength, told):
        self.strength, self.told, self.importance = strength, told, {}

    def keep(self, student, texts, labels):
        """Called after each lesson: adds the Fisher information of 32 texts."""
        items = zip(training.encode(tokenizer, texts[:32]), labels[:32], strict=True)
        new = adaptation.fisher(
            student.encoder, [lambda i=i, y=y: self.guessed(student, i, y) for i, y in items]
        )
        self.importance = {name: value + self.importance.get(name, 0) for name, value in new.items()}

    def guessed(self, student, ids, label):
        """Log-likelihood of an answer that the student itself draws."""
        logits = stream_choice(student(torch.tensor([ids])).float(), label[None], self.told)[0]
        drawn = torch.multinomial(logits.detach().softmax(-1), 1)[0]
        return logits.log_softmax(-1)[drawn]

    def extra(self, student):
        """What the next lesson adds to its loss: nothing in the first one."""
        if not self.importance:
            return None
        anchor = adaptation.Anchor(student.encoder, self.strength, self.importance)
        return lambda batch: anchor()


# %% [markdown]
# **Weights of their own** for each task cannot be forgotten, since nothing touches them again: the pretrained weights
# stay as they are, and each task gets adapters (Lab 3). One has to know at the exam which ones to put in, so this
# works for those who are told, and no lesson can help another.
#
# Two more students are not remedies, and say what could be had. *Alone* learns each task from the checkpoint, with a
# new network each time. *Joint* has all five at once: the same texts, the same number of updates, nothing in a row.


# %%
def stream_apart(order, seed, rate, adapters):
    """Learn every task from the checkpoint, with all weights or with adapters in a frozen network."""
    found = {}
    for place, task in enumerate(order):
        student = stream_student(seed)
        if adapters:
            adaptation.add_adapters(student.encoder, 16)
            adaptation.train_only(student, "*adapter*", "head.*")
        stream_learn(student, *stream_texts(task, "train", 128, seed), seed, True, rate)
        score = stream_exam(student, task, seed, True)
        found |= {f"{task} {after}": score for after in range(place + 1, len(order) + 1)}
    return found


# %%
def stream_together(student, seed, told, rate):
    """Learn all tasks at once."""
    lessons = [stream_texts(task, "train", 128, seed) for task in STREAM]
    texts = [text for some, _ in lessons for text in some]
    stream_learn(
        student, texts, torch.cat([labels for _, labels in lessons]), seed, told, rate, 48 * len(STREAM)
    )
    return {f"{task} {len(STREAM)}": stream_exam(student, task, seed, told) for task in STREAM}


# %% [markdown]
# Each student has a learning rate of its own, and replay and EWC a strength: the best of two to four settings each, by
# the mean of the five accuracies after the stream, on validation texts and with seeds that are not used below. What
# the language model still knows is measured in bits per token on scenes.

# %%
STREAM_SEEDS = range(5)
STREAM_TOLD = {  # rate, and strength of the remedy
    "plain": (3e-4, 0),
    "replay 20": (3e-4, 1.0),
    "EWC": (3e-4, 1e3),
    "adapters": (1e-2, 0),
    "alone": (1e-3, 0),
    "joint": (1e-3, 0),
}

# %%
STREAM_UNTOLD = {
    "plain": (3e-4, 0),
    "replay 5": (3e-4, 1.0),
    "replay 20": (3e-4, 1.0),
    "EWC": (3e-4, 1e5),
    "joint": (3e-4, 0),
}


# %%
@lru_cache(maxsize=1)
def stream_scenes():
    """Held-out scenes, as batches of ids."""
    scenes = (" ".join(document.words) for document in world.documents("stream scenes", "scene"))
    return list(training.batches(islice(scenes, 200), tokenizer, tokens=1000))


# %%
@torch.no_grad()
def stream_bits(encoder):
    """Bits per token of the language model that an encoder still is."""
    total = count = 0
    for batch in stream_scenes():
        real = batch[:, 1:] != tokenizer.pad_token_id
        logits = causal.get_output_embeddings()(encoder(batch[:, :-1]).last_hidden_state[real])
        total += cross_entropy(logits, batch[:, 1:][real], reduction="sum").item() / math.log(2)
        count += int(real.sum())
    return total / count


# %%
def stream_remedy(method, strength, seed, told):
    """The remedy of a method, or None."""
    if method.startswith("replay"):
        return Replay(int(method.split()[1]) / 100, strength, seed, told)
    return Consolidation(strength, told) if method == "EWC" else None


# %%
def stream_run(seed, method, told, order):
    """All accuracies of one student, what it would know if it were told, and its bits on scenes."""
    names = list(STREAM) if order == "forward" else list(STREAM)[::-1]
    rate, strength = (STREAM_TOLD if told else STREAM_UNTOLD)[method]
    if method in ("alone", "adapters"):
        return stream_apart(names, seed, rate, method == "adapters")
    student = stream_student(seed)
    if method == "joint":
        found = stream_together(student, seed, told, rate)
    else:
        remedy = stream_remedy(method, strength, seed, told)
        found = stream_lessons(student, names, seed, told, rate, remedy)
    if not told:
        found |= {f"{task} told": stream_exam(student, task, seed, True) for task in STREAM}
    return found | {"bits": stream_bits(student.encoder)}


# %%
STREAM_STUDENTS = [
    *((method, True, "forward") for method in ("plain", "replay 20", "EWC", "adapters", "alone", "joint")),
    *((method, False, "forward") for method in ("plain", "replay 5", "replay 20", "EWC", "joint")),
    ("plain", True, "reversed"),
]
streams = lab.sweep(
    "streams",
    stream_run,
    [{"seed": s, "method": m, "told": t, "order": o} for s in STREAM_SEEDS for m, t, o in STREAM_STUDENTS],
    live=lambda s: (s["seed"], s["method"], s["told"]) == (0, "plain", False),
)


# %%
stream_start = lab.sweep("stream start", lambda seed: {"bits": stream_bits(causal.base_model)}, [{"seed": 0}])
stream_before = stream_start.recorded.bits.iloc[0]


# %%
def stream_of(method, told=True, order="forward"):
    """The recorded runs of one student, a row for each seed."""
    chosen = streams.recorded.query("method == @method and told == @told and order == @order")
    return chosen.set_index("seed").sort_index()


# %%
def stream_final(method, told=True, order="forward"):
    """Mean accuracy on the five tasks after the stream, one value per seed."""
    return stream_of(method, told, order)[[f"{task} {len(STREAM)}" for task in STREAM]].mean(axis=1)


# %%
def stream_lost(method, told=True):
    """Forgetting: accuracy right after a task's own lesson minus after the last one, mean over the first four tasks."""
    runs, earlier = stream_of(method, told), list(STREAM)[:-1]
    return sum(runs[f"{t} {i + 1}"] - runs[f"{t} {len(STREAM)}"] for i, t in enumerate(earlier)) / len(
        earlier
    )


# %%
def stream_triangle(method, told):
    """Mean accuracies [lessons, tasks]; nothing above the diagonal, where a task has not been taught."""
    means = stream_of(method, told).mean(numeric_only=True)
    return np.array(
        [[means.get(f"{task} {after}", np.nan) for task in STREAM] for after in range(1, len(STREAM) + 1)]
    )


# %% [markdown]
# ### What is forgotten
#
# First the plain student, who learns and does nothing about the past.

# %% mystnb={"image": {"alt": "Two triangles of accuracies, a row after each of five lessons and a column for each task. Left, where the task is told, every column stays between 80 and 100 percent. Right, where it is not, topic falls to zero with the lesson on number, opinion falls far with number and to zero with film, story nearly to zero with film, and number to a half."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(streams, "film 5", by=["method", "told", "order"], slack=0.02)
lab.check(streams, "opinion 2", by=["method", "told", "order"], slack=0.02)
fig, axes = plt.subplots(1, 2, figsize=(6, 3.6), layout="constrained", sharey=True)
for ax, told in zip(axes, (True, False), strict=True):
    table = stream_triangle("plain", told)
    ax.imshow(table, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        if value == value:
            ink = "black" if value > 0.5 else "white"
            ax.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=ink, fontsize=13)
    ax.set_xticks(range(len(STREAM)), list(STREAM), rotation=60)
    ax.set_title("told the task" if told else "not told")
    ax.grid(False)
axes[0].set_yticks(range(len(STREAM)), [f"after {task}" for task in STREAM])
show(fig)
for told in (True, False):
    lost, final = mean_ci(stream_lost("plain", told)), mean_ci(stream_final("plain", told))
    print(f"{'told' if told else 'not told':9} forgot {lost}, knows {final} at the end")


# %% tags=["hide-input"]
stream_chance = np.mean([1 / STREAM[task] for task in list(STREAM)[:-1]])
stream_still = stream_of("plain", False)[[f"{task} told" for task in list(STREAM)[:-1]]].mean(axis=1)
lab.conclude("stream-told", mean_ci(stream_lost("plain")), 5)
lab.conclude("stream-untold", mean_ci(stream_lost("plain", False)), 5)
lab.conclude("stream-present", mean_ci(stream_still - stream_chance), 5)
lab.conclude("stream-language", mean_ci(stream_of("plain").bits - stream_before), 5)

# %% [markdown]
# Told the task, the plain student forgets, if not much: three points or so, most of them on *story* and *topic*. Not
# told, it forgets three quarters of everything. The same network, texts, rate and number of updates; what differs is
# the question.
#
# Look at which lesson wipes out which task. *Topic* survives nothing: the next lesson, *number*, is on scenes too,
# and after it every scene gets one of the answers of *number*. *Opinion* gets past *topic* almost unharmed, loses
# most with *number*, and the rest with *film*, which is on reviews. In a lesson only the outputs of its own task are
# ever right, so all others are pushed down, most of all for texts that look like the lesson's, though *number*
# reached the reviews as well. For the most part it is this that looks like loss of knowledge, and telling the task at
# the exam brings back a good part: the network that was never told is then about thirty points above guessing on the
# first four tasks. It is not back where the told one is, though; the inside has suffered as well.
#
# And the language model? Each of the five told runs lost about a fifth of a bit per token or more. But one of them
# lost a whole bit, and where five runs differ so much the interval reaches down to zero, so there is no verdict. Not
# told, it loses several bits. Larger models have the same trouble. Luo et al. (2023) tuned models of one to seven
# billion parameters on one instruction task after another and found forgetting in all of them, and more of it in the
# larger ones.

# %% [markdown]
# **Break it.** It is easy to examine a network that was never told the task by the exam of those that are. Nothing
# fails, and the scores are better. Here is that mistake, on a network that has learned nothing at all:

# %%
stream_blank = stream_student(0)
stream_leak = {"with the task's name": [], "without": []}
for task in STREAM:
    for exam, told in zip(stream_leak, (True, False), strict=True):
        stream_leak[exam].append(stream_exam(stream_blank, task, 0, told))

# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
print({exam: round(float(np.mean(scores)), 2) for exam, scores in stream_leak.items()})

# %% [markdown]
# An exam of twenty answers that an ignorant network passes at two fifths is not an exam of twenty answers. So the
# assertion is one about ignorance, and it belongs before every training run:

# %%
assert np.mean(stream_leak["without"]) < 0.2, "a network that knows nothing is told something by the exam"

# %% [markdown]
# ### What the remedies do
#
# **Predict** before you look: which remedy will be best where the task is told, and which where it is not? Does any
# of them come near to learning all five at once?


# %%
def stream_line(method, told, order="forward"):
    """What one student knows at the end, what it forgot, and the bits of its language model, as text."""
    final = mean_ci(stream_final(method, told, order))
    bits = stream_of(method, told, order).get("bits")
    kept = "" if bits is None or bits.isna().any() else f"  bits {mean_ci(bits)}"
    return f"{method:10}{'told' if told else 'not told':10}{order:9}{final}{kept}"


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
print(f"bits before: {stream_before:.2f}")
for method, told, order in STREAM_STUDENTS:
    print(stream_line(method, told, order))

# %% mystnb={"image": {"alt": "Accuracy on five tasks at the end for seven students, with intervals. Told the task, all lie between 87 and 95 percent, with joint learning first, then alone, adapters, EWC, and plain and replay last. Not told, joint learning reaches 85 percent, replay of 20 and of 5 percent about 70 and 66, EWC 61, and plain tuning 29."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
STREAM_ROWS = ("joint", "alone", "adapters", "EWC", "replay 20", "replay 5", "plain")
fig, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
for told, role, marker, shift in ((True, "pretrained", "o", 0.13), (False, "scratch", "s", -0.13)):
    rows = [m for m in STREAM_ROWS if (m, told, "forward") in STREAM_STUDENTS]
    ends = [mean_ci(stream_final(m, told)) for m in rows]
    at = [len(STREAM_ROWS) - STREAM_ROWS.index(m) + shift for m in rows]
    spread = np.array([[e.estimate - e.low, e.high - e.estimate] for e in ends]).T
    label = "told the task" if told else "not told"
    ax.errorbar(
        [e.estimate for e in ends], at, xerr=spread, fmt=marker, ms=8, color=COLORS[role], label=label
    )
ax.set_yticks(range(len(STREAM_ROWS), 0, -1), [f"{m} %" if "replay" in m else m for m in STREAM_ROWS])
ax.set(xlabel="accuracy on five tasks at the end", xlim=(0, 1))
ax.legend(loc="upper left")
show(fig)
print(f"replay 20, not told: {mean_ci(stream_final('replay 20', False))}")


# %%
def stream_gain(one, other, told=True):
    """What one student knows more than another at the end, paired by seed."""
    return paired_ci(stream_final(one, told), stream_final(other, told))


# %%
stream_new = [f"{task} {place}" for place, task in enumerate(STREAM, 1)][1:]
stream_fresh = {method: stream_of(method)[stream_new].mean(axis=1) for method in ("plain", "alone")}
for method in stream_fresh:
    print(f"{method:6}", {name: round(float(stream_of(method)[name].mean()), 2) for name in stream_new})

# %% tags=["hide-input"]
lab.conclude("stream-joint", stream_gain("joint", "plain"), 5)
lab.conclude("stream-forward", paired_ci(stream_fresh["plain"], stream_fresh["alone"]), 5)
lab.conclude("stream-order", paired_ci(stream_final("plain", order="reversed"), stream_final("plain")), 5)
lab.conclude("stream-replay-told", stream_gain("replay 20", "plain"), 5)
lab.conclude("stream-ewc-told", stream_gain("EWC", "plain"), 5)
lab.conclude("stream-adapters", stream_gain("adapters", "plain"), 5)

# %% tags=["hide-input"]
stream_few, stream_many = (stream_final(f"replay {n}", False) - stream_final("plain", False) for n in (5, 20))
lab.conclude("stream-replay-untold", mean_ci(stream_many), 5)
lab.conclude("stream-replay-few", paired_ci(stream_few, stream_many / 2), 5)
lab.conclude("stream-replay-gap", stream_gain("replay 20", "joint", False), 5)
lab.conclude("stream-ewc-untold", stream_gain("EWC", "replay 5", False), 5)

# %% [markdown]
# Where the task is told there is little to repair, and no remedy is clearly ahead of doing nothing. EWC is ahead by a
# point and adapters by three, and both intervals end at zero or just below. Replay gains nothing: it gives a quarter
# of each update to old texts, and the new task misses them. Yet five tasks learned together are seven points better
# than five in a row, and forgetting explains only a part of this. Right after their own lessons the later tasks are
# four points *below* what a fresh copy of the checkpoint reaches, an interval that just touches zero. To come through
# a stream the rate had to be lower than a single task wants, and a network that has learned other things is no better
# a start than the checkpoint, not even for films after opinions. So nothing accumulated here. Nor is it settled
# whether the order matters: backwards the stream ends three points lower on average, give or take five.
#
# Where the task is not told, everything turns around. The plain student ends with under a third of all answers, and
# one that rehearses a fifth of the old texts with more than twice as many. Six texts of each task get nine tenths of
# that gain. Van de Ven and Tolias (2019) found that in this setting regularization fails and only replay helps, on
# images. Here EWC does not fail. It doubles the plain score, with a penalty a hundred times as strong as where the
# task is told, and ends five points behind the six texts. It pays with the lessons that come later, which it lets the
# network learn less of, and it is the one student here that leaves the language model almost as it was. Rehearsing the
# tasks does not do that: what is not rehearsed is not protected.
#
# All at once is still the best by far, and even this student, not told, misses a tenth more than when told: with
# scenes it cannot always know whether the topic or the number is wanted. In a stream, the best remedy stays fifteen
# points behind it.

# %% [markdown]
# ### Learning to adapt
#
# The pretraining objective rewards a good guess at the next word. That a network can be *tuned* with little, on a
# task it has never seen, is a by-product. One can ask for it instead: **meta-learning** takes many small tasks,
# adapts to each with a few steps, and changes the start so that the adapted network would have been better (MAML;
# Finn et al. 2017). The exact gradient goes through the adaptation and needs second derivatives; the first-order form
# (Nichol et al. 2018) leaves these out, takes the gradient of the adapted network and applies it to the start.
#
# The small tasks: two persons, and one has done something to the other. Who did it? *The kings are praised by the
# squire* has a squire for an actor, *the kings praise the squire* has kings, so neither a word nor its place gives it
# away. Each pair of persons of a topic is a task of its own with eight labeled sentences, and the persons of four
# topics occur in tests only.

# %%
ACTOR_TEST = ("castle", "hospital", "music", "school")
ACTOR_TRAIN = tuple(name for name in STREAM_TOPICS if name not in ACTOR_TEST)


# %%
def acted(actor, other, random):
    """A sentence, active or passive, in which one person does something to another; numbers are drawn."""
    many, others = random.random() < 0.5, random.random() < 0.5
    doer, target, verb = actor[many], other[others], random.choice(SOCIAL.items)
    if random.random() < 0.5:
        return f"the {doer} {verb.base if many else verb.third} the {target} ."
    return f"the {target} {'are' if others else 'is'} {verb.participle} by the {doer} ."


# %%
def actor_task(random, topics, count):
    """A small task, ids [count, width] and labels [count]: which of two persons acts, by turns."""
    pair = random.sample(world.topics[random.choice(topics)].clear_persons.items, 2)
    texts = [acted(pair[i % 2], pair[1 - i % 2], random) for i in range(count)]
    ids = training.encode(tokenizer, texts)
    batch = training.pad(ids, max(map(len, ids)), tokenizer.pad_token_id)
    return batch, torch.arange(count) % 2


# %%
actor_ids, actor_labels = actor_task(Random(3), ACTOR_TRAIN, 4)
for row, label in zip(actor_ids, actor_labels, strict=True):
    print(int(label), tokenizer.decode(row, skip_special_tokens=True))

# %% [markdown]
# To adapt is to take a few steps of plain gradient descent on the eight sentences, all weights free, no step longer
# than the rate. A new output layer is zero, so the two classes start equal.


# %%
def actor_loss(classifier, ids, labels):
    """Cross-entropy of a batch."""
    return cross_entropy(classifier(ids).float(), labels)


# %%
def adapt(classifier, ids, labels, steps, rate):
    """Some steps of gradient descent on a few examples, in place."""
    for _ in range(steps):
        classifier.zero_grad()
        actor_loss(classifier, ids, labels).backward()
        torch.nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
        with torch.no_grad():
            for weight in classifier.parameters():
                weight -= rate * weight.grad
    classifier.zero_grad()


# %%
def actor_start(encoder=None):
    """A classifier of two classes with an output layer of zeros, on the checkpoint or another encoder."""
    classifier = classification.Classifier(deepcopy(causal), tokenizer, 2)
    if encoder is not None:
        classifier.encoder.load_state_dict(encoder.state_dict())
    for weight in classifier.head.parameters():
        torch.nn.init.zeros_(weight)
    return classifier


# %% [markdown]
# And this is first-order MAML: copy the start, adapt the copy on eight sentences, ask the copy sixteen others, and give
# *its* gradient to the start. Two such tasks make an update.


# %%
META_STEPS, META_RATE = 5, 0.1


def meta_gradient(start, random):
    """Add to the start's gradient that of its adapted copy, on other sentences of the same task."""
    ids, labels = actor_task(random, ACTOR_TRAIN, 24)
    copy = deepcopy(start)
    adapt(copy, ids[:8], labels[:8], META_STEPS, META_RATE)
    actor_loss(copy, ids[8:], labels[8:]).backward()
    for weight, adapted in zip(start.parameters(), copy.parameters(), strict=True):
        weight.grad = adapted.grad if weight.grad is None else weight.grad + adapted.grad


# %% [markdown]
# `deepcopy` is the line to watch. Without it the start itself walks the five steps of each task, every task pulls it
# somewhere else, and the run looks like any other. After a meta-gradient a start has a gradient and has not moved:

# %%
meta_unmoved, meta_start = actor_start(), actor_start()
meta_gradient(meta_start, Random(0))
assert all(map(torch.equal, meta_unmoved.parameters(), meta_start.parameters())), "the start has moved"
assert any(weight.grad.abs().sum() > 0 for weight in meta_start.parameters()), "the start has no gradient"


# %%
def meta_learned(seed, tasks_seen=300):
    """A start from which eight examples go far: first-order MAML on the training persons."""
    start, random = actor_start(), Random(f"meta {seed}")
    optimizer = torch.optim.Adam(start.parameters())
    for update in range(tasks_seen // 2):
        for group in optimizer.param_groups:
            group["lr"] = training.rate_at(update, tasks_seen // 2, 2e-3, 15)
        for _ in range(2):
            meta_gradient(start, random)
        torch.nn.utils.clip_grad_norm_(start.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return start


# %% [markdown]
# Its rival sees as many sentences of the same persons and is trained in the ordinary way: one network, one output per
# person, and the question who acted (*joint*). It never practices adaptation. Its body then gets a new output layer,
# as the checkpoint does (*plain*).


# %%
def jointly_learned(seed, updates=1050):
    """A start that has learned the actors of all training persons at once, with a new output layer."""
    random, names = Random(f"joint {seed}"), {}
    texts, labels = [], []
    for _ in range(16 * updates):
        actor, other = random.sample(world.topics[random.choice(ACTOR_TRAIN)].clear_persons.items, 2)
        texts.append(acted(actor, other, random))
        labels.append(names.setdefault(actor, len(names)))
    classifier = classification.Classifier(deepcopy(causal), tokenizer, len(names))
    classification.fine_tune(classifier, texts, labels, updates, 1e-3, seed)
    return actor_start(classifier.encoder)


# %% [markdown]
# These trainings take minutes, so all runs that follow were recorded. **Predict**: after 1, 5, 20 and 50 steps on
# eight sentences about persons never trained on, how often is each of the three right? (Each adapts at the best of
# three rates, found with another seed.) And where would you put them if the eight examples were reviews?

# %%
ADAPT_RATE = {"plain": 0.3, "joint": 0.1, "meta": 0.1}
ADAPT_STEPS = (0, 1, 5, 20, 50)


# %%
def adapted_scores(start, ids, labels, rate):
    """Accuracy on all but the first eight items after some steps on these."""
    student, scores = deepcopy(start), []
    for before, steps in zip((0, *ADAPT_STEPS), ADAPT_STEPS, strict=False):
        adapt(student, ids[:8], labels[:8], steps - before, rate)
        with torch.no_grad():
            scores.append((student(ids[8:]).argmax(1) == labels[8:]).float().mean().item())
    return scores


# %%
def opinion_task(seed):
    """Another kind of task in the same form: eight labeled reviews, and 60 test reviews."""
    items = stream_items("opinion", "train", 8, seed) + stream_items("opinion", "test", 60, seed)
    ids = training.encode(tokenizer, [" ".join(item.words) for item in items])
    batch = training.pad(ids, max(map(len, ids)), tokenizer.pad_token_id)
    return batch, torch.tensor([item.label for item in items])


# %%
def adapt_run(seed, start):
    """Accuracy after some steps on new persons (four tasks) and on opinions (two)."""
    learn = {"plain": lambda seed: actor_start(), "joint": jointly_learned, "meta": meta_learned}[start]
    learned, found = learn(seed), {}
    kinds = {
        "actor": [actor_task(Random(f"exam {seed} {k}"), ACTOR_TEST, 68) for k in range(4)],
        "opinion": [opinion_task(2 * seed + k) for k in range(2)],
    }
    for kind, exams in kinds.items():
        scores = np.mean([adapted_scores(learned, *exam, ADAPT_RATE[start]) for exam in exams], axis=0)
        found |= {f"{kind} {steps}": score for steps, score in zip(ADAPT_STEPS, scores, strict=True)}
    return found


# %%
adapted = lab.sweep(
    "adapt",
    adapt_run,
    [{"seed": seed, "start": start} for seed in STREAM_SEEDS for start in ("plain", "joint", "meta")],
    live=lambda s: False,
)


# %%
def adapted_by_seed(start, metric):
    """A metric of the recorded runs from one start, one value per seed."""
    return adapted.recorded.query("start == @start").set_index("seed").sort_index()[metric]


# %%
ADAPT_LOOKS = {"plain": ("baseline", "o"), "joint": ("distant", "s"), "meta": ("pretrained", "^")}


def draw_steps(ax, kind):
    """Accuracy against steps from each start: thin lines are single runs, thick ones their means."""
    names = [f"{kind} {steps}" for steps in ADAPT_STEPS]
    for start, (role, marker) in ADAPT_LOOKS.items():
        runs = adapted_by_seed(start, names)
        ax.plot(runs.to_numpy().T, color=COLORS[role], lw=1, alpha=0.5)
        ax.plot(runs.mean().to_numpy(), color=COLORS[role], marker=marker, lw=3, ms=8, label=start)
        print(f"{kind:8}{start:6}", *(f"{mean:.2f}" for mean in runs.mean()))
    ax.set_xticks(range(len(ADAPT_STEPS)), ADAPT_STEPS)
    ax.set(xlabel="steps on 8 examples", title={"actor": "who acted"}.get(kind, kind))


# %% mystnb={"image": {"alt": "Two panels of accuracy against steps of adaptation from zero to fifty, single runs as thin lines and means as thick ones. Left, who acted: the joint start is at 90 percent or more from the first step on; the meta-learned one stays near 65 on average, with two runs above and three near a half; the plain checkpoint rises slowly to about 65. Right, opinions: all means stay between 50 and 65, the meta-learned start lowest."}} tags=["nbval-ignore-output"] reason="means of recorded runs, drawn by the library at hand"
fig, axes = plt.subplots(1, 2, figsize=(6, 3.8), layout="constrained", sharey=True)
for ax, kind in zip(axes, ("actor", "opinion"), strict=True):
    draw_steps(ax, kind)
axes[0].set(ylabel="accuracy", ylim=(0.42, 1.02))
axes[1].legend(loc="upper left")
show(fig)
print(
    "meta-learned, five runs, who acted after 5 steps:",
    adapted_by_seed("meta", "actor 5").round(2).sort_values().tolist(),
)

# %% tags=["hide-input"]
for steps, name in ((1, "meta-one"), (5, "meta-five"), (50, "meta-fifty")):
    pair = [adapted_by_seed(start, f"actor {steps}") for start in ("meta", "joint")]
    lab.conclude(name, paired_ci(*pair), 5)
lab.conclude(
    "meta-plain", paired_ci(adapted_by_seed("meta", "actor 5"), adapted_by_seed("plain", "actor 50")), 5
)
lab.conclude(
    "meta-other", paired_ci(adapted_by_seed("meta", "opinion 5"), adapted_by_seed("plain", "opinion 5")), 5
)

# %% [markdown]
# The start that practiced adaptation loses to the one that did not, after one step as after fifty, by thirty points.
# One step on eight sentences takes the joint start to nine in ten, on persons it has never been trained on. It needed
# no practice in changing itself, only states from which the actor can be read. With an output layer of zeros the
# first step moves that layer alone, along the difference of the two class means, and where the states are good that
# is nearly all there is to do. On images the same was found: one ordinary classifier for all classes, with a linear
# layer on top of its features, beat the meta-learners of the day (Tian et al. 2020).
#
# What went wrong with meta-learning is not the adapting but the learning. The thin lines show it: two of five runs
# found the actor, one of them well, and three stayed close to guessing. Each of its updates rests on the thirty-two
# sentences that its two tasks are examined on, and goes through a network that has already moved; that is a noisy way
# to learn, and with as many sentences as its rival it often does not arrive. The one seed on which its settings were
# chosen had gone well, so take this as a warning, too: a method that fails in some runs cannot be judged, or tuned,
# on one. With more tasks it may catch up; that is an exercise. And the wish that speaks for it, to be quick at *any*
# task, did not come true: on opinions it is last, though five runs do not settle it, and being good at who-did-what
# helps the joint start no more.
#
# Learning to adapt has come back by another road. A network that reads examples in its input adapts in no step at
# all, and MetaICL (Min et al. 2022) trains for just that, over many tasks. The section *Tasks as text* has tried it.
#
# ### What is refused
#
# Four mistakes that a person would make with these tools.

# %%
refused(lambda: stream_items("sentiment", "train", 8, 0), folder)
refused(lambda: Replay(0.001, 1.0, 0, True).keep(None, ["a text"] * 128, torch.zeros(128)), folder)
refused(lambda: adaptation.fisher(causal, []), folder)
refused(lambda: adaptation.Anchor(causal, 1.0, {}), folder)

# %% [markdown]
# ## Facts and grounding
#
# Does a language model know things? In 2019 the tutorial said: too little about people, places and other things with
# names, and nothing of a world outside of text. In the same year Petroni et al. (2019) had BERT finish sentences such
# as *Dante was born in ...*, and without any training for it BERT kept up with a program that collects facts from
# text. Since then the questions have been how often it must have read a fact, whether it says what it read or what is
# true, and what to do about facts that it does not know or that are no longer true. In the course world all of this
# can be counted, since every fact, and every mention of it, comes from a knowledge base that we own: 200 people, and
# of each where they were born, where they live, their job, year of birth and hobby.
#
# Here is a question as a *cloze*, a sentence up to its last words, and how to put it to a causal model: write the
# sentence out with every job there is, and see which of these sentences is the most probable.

# %%
from random import Random

from utils import facts, prompts
from utils.world import facts as knowledge

facts_person = world.people[0]
for start, ends in facts.clozes(facts_person.name, "job"):
    print(f"{start} ... {ends[:3]}, ... {len(ends)} in all")


# %%
def cloze_odds(who, relation):
    """Probability of each value of a relation to the checkpoint, the mean over the wordings of the cloze."""
    found = []
    for start, ends in facts.clozes(who, relation):
        bits = training.token_bits(causal, tokenizer, [f"{start} {end}" for end in ends])
        weight = 2.0 ** -np.array([sum(row[:-1]) for row in bits])  # without the end mark
        found.append(weight / weight.sum())
    return np.mean(found, axis=0)


# %% tags=["nbval-ignore-output"] reason="probabilities differ between processors in their last digits"
odds = cloze_odds(facts_person.name, "job")
asked = facts.Fact(facts_person.name, "job", facts_person.facts["job"])
np.testing.assert_allclose(
    odds, facts.recall(causal, tokenizer, [asked])[0, : len(odds)], rtol=1e-3, atol=1e-6
)
best = odds.argsort()[::-1][:3]
print(f"true: {asked.value}; most probable:", *(f"{knowledge.values('job')[i]} {odds[i]:.3f}" for i in best))

# %% [markdown]
# `facts.recall` does the same for many facts at once. Now all thousand. Some people are famous in the course world,
# others are seldom mentioned. **Predict** the share of right answers about the most and the least famous fifth;
# a guess among 40 towns is right once in forty.

# %% tags=["nbval-ignore-output"] reason="probabilities differ between processors in their last digits"
all_facts = facts.facts_of(world.people)
known_right = facts.right(facts.recall(causal, tokenizer, all_facts), all_facts)
some_documents = [d.text for d in islice(world.documents("lab5 length"), 1000)]
per_document = np.mean([len(row) for row in training.encode(tokenizer, some_documents)])
told_rate = facts.expected(world, round(checkpoints.recipe("causal")["tokens"] / per_document))
tellings = np.array([told_rate[fact.who] for fact in all_facts])
for fifth in np.array_split(tellings.argsort(), 5):
    print(f"told about {tellings[fifth].mean():5.0f} times: {known_right[fifth].mean():.3f} right")

# %% [markdown]
# All of them. There is nothing to see yet of a price that rare facts pay, for even the least famous person's facts
# were told some fifty times each, and that is plenty.
#
# ### How often must it be told?
#
# So we need rarer facts, and make some. Seventy people whom the world does not know get entries, from none to 32
# each, and these are strewn among 4,500 other documents. The checkpoint reads all of them once. How often each single
# fact was told is then counted in the text itself. **Predict**: what share of the facts told once, four times, twenty
# times will it know?


# %%
def strangers(count, seed):
    """People whom no text of the world mentions."""
    return knowledge.people(Random(f"lab5 strangers {seed}"), count, {p.name for p in world.people})


# %%
def read_once(documents, rate=1e-3):
    """A copy of the checkpoint that has read these documents once, in batches of about 3,000 tokens."""
    model = deepcopy(causal)
    batches = list(training.batches((d.text for d in documents), tokenizer))
    training.pretrain(model, batches, training.causal_loss, len(batches), rate, warmup=5)
    return model


# %%
SOWN = (0, 1, 2, 4, 8, 16, 32)  # entries a person
TOLD = ((0, 0), (1, 1), (2, 2), (3, 5), (6, 10), (11, 20), (21, 40))  # times that a fact was told
SHORT = ("job", "hobby", "lives in")


# %%
def sown_run(seed):
    """Sow facts about 70 people; shares of facts recalled by how often they were told, and of old facts."""
    people = strangers(70, seed)
    documents = facts.sown(world, people, SOWN * 10, 4500, f"lab5 sown {seed}")
    count, model = facts.told(documents), read_once(documents)
    new, old = facts.facts_of(people, SHORT), facts.facts_of(world.people[::5], SHORT)
    right = facts.right(facts.recall(model, tokenizer, new), new)
    times = np.array([count[fact] for fact in new])
    found = {f"told_{low}": float(right[(low <= times) & (times <= high)].mean()) for low, high in TOLD}
    found["rare"] = float(right[(times >= 1) & (times <= 2)].mean())
    found["frequent"] = float(right[times >= 16].mean())
    found["rank"] = float(spearmanr(range(len(TOLD)), [found[f"told_{low}"] for low, _ in TOLD]).statistic)
    return found | {"old": float(facts.right(facts.recall(model, tokenizer, old), old).mean())}


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
sown = lab.sweep("facts sown", sown_run, [{"seed": s} for s in range(10)])
for name in ("rare", "frequent", "rank"):
    lab.check(sown, name, by=[], slack=0.02)

# %% mystnb={"image": {"alt": "Share of facts recalled over the number of times that each was told in one pass, with intervals over ten seeds: near chance for facts never told, rising steeply between three and ten tellings, near one beyond."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
fig, ax = plt.subplots()
labels = [f"{low}" if low == high else f"{low}-{high}" for low, high in TOLD]
intervals = [mean_ci(sown.recorded[f"told_{low}"]) for low, _ in TOLD]
band(ax, range(len(TOLD)), intervals, "new people, one pass", COLORS["pretrained"])
guess = np.mean([1 / len(knowledge.values(relation)) for relation in SHORT])
ax.axhline(guess, color=COLORS["baseline"], linestyle="--", label="a guess")
ax.set(xlabel="times told", ylabel="share recalled", ylim=(-0.03, 1.03))
ax.set_xticks(range(len(TOLD)), labels)
ax.legend(loc="upper left")
show(fig)
print(*(f"told {label}: {i}" for label, i in zip(labels, intervals, strict=True)), sep="\n")
print("facts about people it knew before:", mean_ci(sown.recorded["old"]))

# %% tags=["hide-input"]
lab.conclude("facts-frequent", paired_ci(sown.recorded["frequent"], sown.recorded["rare"]), 10)
lab.conclude("facts-curve", mean_ci(sown.recorded["rank"]), 10)

# %% [markdown]
# Told once is told in vain, nearly: little more than a guess is left of it. Four times give an even chance or almost,
# and twenty are enough. That is for this network, at this learning rate, and for facts strewn over one pass; but the
# shape is what one would expect of any model that learns from many small steps. A fact about a rare person is in the
# same position as any other thing that text rarely says, and most people of the real world are rare. More text alone
# adds famous facts faster than rare ones.
#
# The last line is the other side of it. One pass at this rate, and the checkpoint has lost about one in six of the
# facts that it knew perfectly, though these other documents mention those people as often as ever. Learning new facts
# by gradient steps is writing over a full page. The section on continual learning has more of this.
#
# ### What goes without saying
#
# Counting has a darker side. Text is written by people for people, and people leave out what everybody knows. Gordon
# and Van Durme (2013) called it *reporting bias*: in the text that they counted, people are murdered more often than
# they breathe. A model knows the world by its reports. We plant such a silence: of a thousand new people, half enjoy
# one of seven hobbies of which, say, most writers find it idle to speak; an entry that would state one is written
# with a small chance only. Afterwards the model is asked about 60 people of whom nothing was said, where the best
# answer is what is true of people in general.

# %%
QUIET = knowledge.values("hobby")[::2]


def hobby_share(weights):
    """The share of the quiet hobbies in a weight for every hobby."""
    return sum(weights[hobby] for hobby in QUIET) / sum(weights.values())


# %%
def silence_run(seed, chance):
    """One pass over text that reports the quiet hobbies with some chance; true, told, and expected share of them."""
    everybody = strangers(1060, f"quiet {seed}")
    people, asked = everybody[:1000], everybody[1000:]
    entries = [d for p in people for d in facts.entries(world, [p], 1, f"lab5 quiet {seed} {p.name}")]
    kept = list(facts.reported(entries, "hobby", dict.fromkeys(QUIET, chance), seed))
    documents = [*islice(world.documents(f"lab5 quiet {seed}"), 1500), *kept]
    Random(seed).shuffle(documents)
    model, clozes = read_once(documents), facts.facts_of(asked, ["hobby"])
    expects = facts.recall(model, tokenizer, clozes).mean(0)
    told = [fact for fact, n in facts.told(documents).items() for _ in range(n)]
    return {
        "true": hobby_share(facts.rates(facts.facts_of(people), "hobby")),
        "told": hobby_share(facts.rates(told, "hobby")),
        "expected": hobby_share(dict(zip(knowledge.values("hobby"), expects, strict=False))),
    }


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
CHANCES = (1, 0.3, 0.1)
silence = lab.sweep(
    "facts silence",
    silence_run,
    [{"seed": s, "chance": chance} for s in range(5) for chance in CHANCES],
    live=lambda s: False,
).recorded

# %% mystnb={"image": {"alt": "Share of seven quiet hobbies over the chance that they are reported, 1, 0.3 and 0.1: the true share stays at a half, the told share falls, and the share that the model expects of people it never met falls with it."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
fig, ax = plt.subplots(figsize=(6, 3.4))
for name, label, color in (
    ("true", "true of people", COLORS["baseline"]),
    ("told", "told in the text", COLORS["distant"]),
    ("expected", "expected by the model", COLORS["pretrained"]),
):
    intervals = [mean_ci(silence.query("chance == @chance")[name]) for chance in CHANCES]
    band(ax, range(len(CHANCES)), intervals, label, color)
    print(f"{label:22}", *(f"{chance}: {i}" for chance, i in zip(CHANCES, intervals, strict=True)))
ax.lines[1].set(linestyle="--", marker="s", markersize=9, zorder=1)
ax.set(xlabel="chance to be reported", ylabel="share of the quiet hobbies", ylim=(0, 0.62))
ax.set_xticks(range(len(CHANCES)), CHANCES)
ax.legend(loc="lower left")
show(fig)
quiet_runs = silence[silence.chance == 0.1].sort_values("seed")
lab.conclude("facts-silence", paired_ci(quiet_runs["expected"], quiet_runs["true"]), 5)

# %% [markdown]
# What the model expects of a stranger lies on what it was told, point for point. From the model's side nothing is
# amiss: it predicts text, and this is how the text is. As a statement about people it is wrong by a factor of three
# at the right end of the figure, and a better language model would be no less wrong. What is missing is a second
# source, one that does not go through what somebody found worth writing. That is one good argument for *grounding*,
# for learning from images, actions or measurements beside text: a picture shows what nobody mentions. VideoBERT (Sun
# et al. 2019) made an early step, and joint training on images and captions has become common since (Radford et al.
# 2021). Our world is made of text only, so here the argument has to do without an experiment.
#
# ### Memory against the page
#
# Facts change. So give the model the page, and let it read. Right before the cloze now stands an entry from the
# encyclopedia. In the first test it is about a person whom the model has never met. In the second it is about
# somebody it knows well, and the page says that this person has another job by now. **Predict** both: will it use
# what it has just read?


# %%
def telling(person, relation, seed):
    """One entry about a person that tells this relation."""
    for entry in (facts.entries(world, [person], 1, f"lab5 {seed} {person.name} {n}")[0] for n in range(100)):
        if facts.told([entry])[facts.Fact(person.name, relation, person.facts[relation])]:
            return entry.text
    raise AssertionError("a hundred entries without it")


# %%
def cast(seed):
    """Forty people each: known ones as they were, known ones with another job, and strangers; and their jobs."""
    some = Random(f"lab5 cast {seed}").sample(world.people, 80)
    groups = {
        "known": some[:40],
        "moved": facts.moved(some[40:], "job", seed),
        "new": strangers(40, f"cast {seed}"),
    }
    return {name: (people, facts.facts_of(people, ["job"])) for name, people in groups.items()}


# %%
def recalled(model, questions, pages=None):
    """Share of right answers."""
    return float(facts.right(facts.recall(model, tokenizer, questions, pages), questions).mean())


# %%
FORMER = {person.name: person.facts["job"] for person in world.people}
moved_person = cast(0)["moved"][0][0]
print("it knows:", moved_person.name, "works as", FORMER[moved_person.name])
print("it reads:", telling(moved_person, "job", 0))


# %%
def page_run(seed):
    """Shares of right jobs of the checkpoint with and without an entry that tells the job, and of former jobs."""
    found = {}
    for name, (people, questions) in cast(seed).items():
        pages = [telling(person, "job", seed) for person in people]
        found |= {
            f"memory_{name}": recalled(causal, questions),
            f"page_{name}": recalled(causal, questions, pages),
        }
        if name == "moved":
            former = [facts.Fact(question.who, "job", FORMER[question.who]) for question in questions]
            found["former"] = recalled(causal, former, pages)
    return found


# %% tags=["nbval-ignore-output"] reason="single answers may differ between processors; the check holds them"
page = lab.sweep("facts page", page_run, [{"seed": s} for s in range(5)])
for name in ("page_moved", "former", "memory_known"):
    lab.check(page, name, by=[], slack=0.05)
for name in ("known", "moved", "new"):
    shares = [mean_ci(page.recorded[f"{kind}_{name}"]) for kind in ("memory", "page")]
    print(f"{name:6} right without a page {shares[0]}, after an entry that tells it {shares[1]}")
print("moved: still gives the former job", mean_ci(page.recorded["former"]))
lab.conclude("facts-page-ignored", paired_ci(page.recorded["page_new"], page.recorded["memory_new"]), 5)
lab.conclude("facts-memory-wins", mean_ci(page.recorded["former"]), 5)

# %% [markdown]
# It does next to nothing with the page. Of the strangers' jobs it gets a few more right than by guessing, far from
# all, although the answer stands a few words before the blank. (Whether that is more than ten points the five draws
# leave open.) About those whom it knows it says what it has always said, nearly every time, with the contrary in
# plain sight.
#
# One could call it stubborn, but it has learned exactly this. In the encyclopedia of the course world no entry tells
# the same thing twice, so looking back for an answer never helped to predict a word, while remembering always did.
# Text in which things are said again and referred to teaches the opposite habit. What a model does with a page in
# front of it is a property of its training, and cannot be taken for granted because the page is there.
#
# ### Retrieval
#
# What has to be added is a habit of reading, and a way to find the page. The second is older than neural networks.
# BM25 (Robertson et al. 1995) gives a text points for every word that it shares with the query: more for a rare word,
# more if it stands there several times, though ever less for each further time, and less in a long text:


# %%
def bm25(query, texts, k1=1.5, b=0.75):
    """The score of each text for a query, float [texts]."""
    split = [text.split() for text in texts]
    mean, scores = np.mean([len(words) for words in split]), np.zeros(len(texts))
    for word in query.split():
        holds = sum(word in words for words in split)
        idf = np.log(1 + (len(texts) - holds + 0.5) / (holds + 0.5))
        times = np.array([words.count(word) for words in split])
        room = 1 - b + b * np.array([len(words) for words in split]) / mean
        scores += idf * times * (k1 + 1) / (times + k1 * room)
    return scores


# %%
def archive(seed):
    """Six entries about everybody of a cast and about the rest of the known people, as texts."""
    groups = cast(seed)
    changed = {p.name: p for people, _ in groups.values() for p in people}
    everybody = [changed.pop(p.name, p) for p in world.people] + list(changed.values())
    return [d.text for p in everybody for d in facts.entries(world, [p], 6, f"lab5 archive {seed} {p.name}")]


# %%
texts = archive(0)
query = facts.questions([facts.Fact(moved_person.name, "job", "")])[0]
by_hand = bm25(query, texts).argsort(kind="stable")[::-1][:3]
found_texts = facts.Retriever(texts).search([query], 3)[0]
np.testing.assert_allclose(bm25(query, texts)[by_hand], bm25(query, texts)[found_texts])
print(f"{len(texts)} texts; {query}\n")
print(*(texts[i] for i in found_texts), sep="\n")

# %% [markdown]
# An unlucky example: the right person three times, and the job not once. The question says *job* and the encyclopedia
# *works as*, so all that they share is the name, *is* and *of*; among texts with the name the short ones win, and
# short ones tell little. How often does it go well? The reader that knows the grammar finds the answer whenever the
# texts hold it, so it can tell, for all 120 questions of this cast. Beside BM25 stands plain TF-IDF, where a word's
# share of the text is weighted by its rarity.


# %%
def held(searched, questions, k):
    """Share of questions whose answer the grammar of the world finds in the best k texts."""
    best = searched.search(facts.questions(questions), k)
    pages = [" ".join(searched.texts[i] for i in row) for row in best]
    return np.mean([a == q.value for a, q in zip(facts.read(pages, questions), questions, strict=True)])


# %%
all_jobs = [question for _, questions in cast(0).values() for question in questions]
for name, k1 in (("BM25", 1.5), ("TF-IDF", None)):
    searched = facts.Retriever(texts, k1=k1)
    print(f"{name:6}", *(f"best {k}: {held(searched, all_jobs, k):.2f}" for k in (1, 3, 6)))

# %% [markdown]
# With three texts BM25 nearly always brings the answer along. TF-IDF divides by the whole length of a text, and so
# prefers short ones still more; that the correction is done by halves is much of BM25's long success.
#
# The habit of reading is trained: 150 updates on clozes behind three entries about somebody whom the model has never
# met, so that nothing but the page can help. Names, facts, order and wording change all the time.


# %%
def reading(count, seed):
    """Examples for a reader: three entries about a stranger, a cloze for a fact that they tell, and its value."""
    found, random = [], Random(f"lab5 reading {seed}")
    while len(found) < count:
        for person in strangers(500, f"reading {seed} {len(found)}"):
            entries = facts.entries(world, [person], 3, f"lab5 reading {seed} {len(found)} {person.name}")
            for fact in facts.told(entries):
                if fact.relation in SHORT:
                    start, ends = random.choice(facts.clozes(fact.who, fact.relation))
                    prompt = " ".join([d.text for d in entries] + [start])
                    answer = ends[knowledge.values(fact.relation).index(fact.value)]
                    found.append(prompts.Example("reading", prompt, answer, ends))
    random.shuffle(found)
    return found[:count]


# %%
def reader(seed, steps=150):
    """A copy of the checkpoint that has learned to read entries."""
    model = deepcopy(causal)
    batches = prompts.answer_batches(tokenizer, reading(16 * steps, seed), 16, seed)
    training.pretrain(model, islice(batches, steps), prompts.answer_loss, steps, 1e-3, warmup=20)
    return model


# %% [markdown]
# **Break it.** In all that was done above, every person's entries were drawn with a seed that holds the person's
# name. Leave the name out, and all of a call begin with the same throw of the dice. The loss then goes to zero all
# the same, and on other texts the reader often fails. **Predict** why. No training curve tells; one look at the texts
# does.


# %%
def patterns(people, entries):
    """How many different texts there are when names and values are blanked out."""
    blanked = set()
    for person, entry in zip(people, entries, strict=True):
        hidden = {person.first, person.last, "she", "he", "a", "an", *person.facts.values()}
        blanked.add(" ".join("_" if word in hidden else word for word in entry.text.split()))
    return len(blanked)


# %%
thirty = strangers(30, "broken")
wrong = [facts.entries(world, [p], 1, "lab5 broken")[0] for p in thirty]
sound = [facts.entries(world, [p], 1, f"lab5 broken {p.name}")[0] for p in thirty]
print(
    patterns(thirty, wrong),
    "pattern in 30 texts with one seed,",
    patterns(thirty, sound),
    "with a seed a person",
)
assert patterns(thirty, sound) > 15, "these texts are copies of each other"

# %% [markdown]
# With one pattern for all, the answer always stands at the same place, and a place is what a reader would learn.
#
# Now the whole machine: for every person of the cast, three texts are found by BM25 and read. Four ways to answer are
# compared. *Memory* is the checkpoint without a page. *Untuned* is the checkpoint with the three texts. *Reader* is
# the tuned model with the same texts. *Grammar* reads them by the rules of the world and tells how much the texts
# hold. **Predict** the best way for each group of people.


# %%
def reader_run(seed):
    """Shares of right jobs by way of answering and group of people."""
    model, searched, found = reader(seed), facts.Retriever(archive(seed)), {}
    for name, (_, questions) in cast(seed).items():
        best = searched.search(facts.questions(questions, seed), 3)
        pages = [" ".join(searched.texts[i] for i in row) for row in best]
        answers = facts.read(pages, questions)
        found[f"memory_{name}"] = recalled(causal, questions)
        found[f"untuned_{name}"] = recalled(causal, questions, pages)
        found[f"reader_{name}"] = recalled(model, questions, pages)
        found[f"grammar_{name}"] = float(
            np.mean([a == q.value for a, q in zip(answers, questions, strict=True)])
        )
        found[f"closed_{name}"] = recalled(model, questions)
    return found


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
retrieval = lab.sweep(
    "facts reader", reader_run, [{"seed": s} for s in range(5)], live=lambda s: False
).recorded

# %% mystnb={"image": {"alt": "Share of right jobs for known, moved and new people, by memory, by the untuned model with three retrieved texts, by the tuned reader, and by a grammar that reads the same texts. Memory is perfect on known people and at nothing on moved ones; the reader is near the grammar in all three groups."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
WAYS = {"memory": "baseline", "untuned": "scratch", "reader": "pretrained", "grammar": "exact"}
fig, ax = plt.subplots()
for shift, (way, color) in zip((-0.24, -0.08, 0.08, 0.24), WAYS.items(), strict=True):
    intervals = [mean_ci(retrieval[f"{way}_{name}"]) for name in ("known", "moved", "new")]
    middle = np.array([i.estimate for i in intervals])
    reach = [middle - [i.low for i in intervals], [i.high for i in intervals] - middle]
    ax.errorbar(np.arange(3) + shift, middle, reach, fmt="o", markersize=8, color=COLORS[color], label=way)
    print(f"{way:8}", *(f"{name} {i}" for name, i in zip(("known", "moved", "new"), intervals, strict=True)))
ax.set(ylabel="right jobs", ylim=(-0.05, 1.05))
ax.set_xticks(range(3), ["as it was", "new job", "new person"])
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, columnspacing=1, handletextpad=0.1)
show(fig)
print("reader without a page, on known people:", mean_ci(retrieval["closed_known"]))

# %% tags=["hide-input"]
lab.conclude("facts-reader", paired_ci(retrieval["reader_new"], retrieval["untuned_new"]), 5)
lab.conclude("facts-retrieval-moved", paired_ci(retrieval["reader_moved"], retrieval["memory_moved"]), 5)
lab.conclude("facts-retrieval-known", paired_ci(retrieval["reader_known"], retrieval["memory_known"]), 5)
lab.conclude("facts-reading-forgets", paired_ci(retrieval["memory_known"], retrieval["closed_known"]), 5)

# %% [markdown]
# The reader is right wherever the texts hold the answer, about people whom the checkpoint knows, about those who
# changed their job, and about strangers alike. What it cannot answer the search did not find. Memory is perfect on
# what it was told often and has not changed; there retrieval adds nothing, and even costs a few points where the
# search fails. For the rest memory is of no use. Without the habit of reading, three texts are worth little. The
# untuned model gets more from them than from the single entry, perhaps since together they often name the job twice,
# and it pays for that with facts which it knew.
#
# Lewis et al. (2020) found on real questions what the middle column shows: a generator of moderate size that reads
# retrieved passages beat a far larger one that answers by heart. Where a fact may change, the archive is the better
# place for it: one replaces an entry, and no weight has to move.
#
# But look at the last line under the figure. Asked without a page, the reader knows nearly nothing any more of what
# the checkpoint knew perfectly. 150 updates in which remembering never helped were enough to lose the facts, or at
# least the way to them; from outside one cannot tell which. A model that should do both has to be trained on both; or
# one keeps two models, and asks the checkpoint where nothing is found.
#
# **What is open.** Our search is nearly perfect, since names are rare words and every name stands for one person, and
# the texts do not contradict each other. Real archives hold errors, old versions and texts written to mislead. Which
# source to believe, memory or page, cannot be learned from a training in which one of them is always right.

# %% [markdown]
# What the tools refuse: a relation that people do not have; two pages for one question; an empty archive; more texts
# than there are; a chance that is none; three people and two counts.

# %%
refused(lambda: facts.clozes("ada stoneman", "height"), folder)
refused(lambda: facts.recall(causal, tokenizer, [asked], ["one text", "another"]), folder)
refused(lambda: facts.Retriever([]), folder)
refused(lambda: facts.Retriever(texts[:5]).search(["ada stoneman"], 10), folder)
refused(lambda: list(facts.reported([], "hobby", {"chess": 10})), folder)
refused(lambda: facts.sown(world, strangers(3, 0), [1, 2], 10), folder)

# %% [markdown]
# ## Bias
#
# A model that reads what people wrote learns their habits of speech along with their grammar, and some of these
# habits are prejudices. That was known in 2019 of word vectors (Bolukbasi et al. 2016; Caliskan et al. 2017), it was
# becoming known of pretrained networks (May et al. 2019; Zhao et al. 2019), and nobody could say how to measure it
# well or how to take it out. In English this is hard for a plain reason: we do not know how strong a habit is in the
# text, so we cannot say whether a test shows too much of it or too little.
#
# In the course world we can know, because we put it there. Everything here is about one habit, *she* or *he* after a
# job, chosen because it can be counted. It is a toy. The world has two pronouns, one sentence about *because*, and
# jobs that were given their shares by a die; people have more pronouns than two, and are hurt by other things than
# shares. What a toy can show is whether our instruments work when the answer is known.

# %%
from itertools import combinations
from os.path import commonprefix
from random import Random

import pandas as pd
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold, cross_val_predict

from utils import bias
from utils.downloads import fetch
from utils.intervals import rank_correlation_ci
from utils.world import lexicon

# %% [markdown]
# ### A dose of a habit
#
# Lab 2 showed that the causal model holds the five shares of *she* with which the world writes of its jobs. That was
# one model, which had read one text. Now we give the doses ourselves. `bias.planted` makes a world in which every
# second job takes *she* with a share above one half and the others with one below it by as much; the difference of
# the two shares is the strength. Its stories are of two kinds: the pronoun stands for a named person, whose name
# decides it, or for somebody named by a job.

# %%
planted_world = bias.planted(1, 0.8)
for story in islice(planted_world.documents("a look", "story"), 4):
    print(story.about["referent"], "|", story.text)

# %% [markdown]
# A strength is a probability. What a model can learn is what stands in its text, so we count.


# %%
def counted_dose(stories, jobs):
    """Share of `she` where a pronoun stands for a job, counted: every second job minus the others."""
    she = {0: [], 1: []}
    for story in stories:
        if story.about["referent"] == "job":
            middle = story.sentences[1]
            pronoun = middle.words[middle.slots.index("pronoun")]
            she[jobs.index(story.about["job"]) % 2].append(pronoun == "she")
    return np.mean(she[1]) - np.mean(she[0])


# %%
some_stories = list(islice(planted_world.documents("a look", "story"), 3000))
print(f"planted 0.8, counted {counted_dose(some_stories, planted_world.jobs.items):.3f}")

# %% [markdown]
# The causal model has read another world, with other shares. It now reads some more: stories of the new one, those in
# which the pronoun stands for a job. Each seed is a world of its own, with its own she-jobs and he-jobs.


# %%
def told_model(told, seed, referents=("job",), steps=180):
    """The causal model after `steps` batches of stories whose pronoun stands for a referent; the stories."""
    stories = []

    def texts():
        for story in told.documents(f"lab 5 {seed}", "story"):
            if story.about["referent"] in referents:
                stories.append(story)
                yield story.text

    model = deepcopy(causal)
    batches = training.batches(texts(), tokenizer, 1000, chunk=100)
    training.pretrain(model, batches, training.causal_loss, steps, 1e-3, warmup=10)
    return model, stories


# %% [markdown]
# How will we ask? Most tests in use ask for pairs of sentences. WinoBias (Zhao et al. 2018), CrowS-Pairs (Nangia et
# al. 2020) and StereoSet (Nadeem et al. 2021) all hold sentences in two versions, one that agrees with a stereotype
# and one that does not, and report how often a system does better with, or prefers, the first. Here are two such
# pairs from the planted world.

# %%
some_pairs = bias.story_pairs(planted_world, 60, "a look")
for pair in some_pairs[:2]:
    print(pair.pro, pair.anti, sep="\n", end="\n\n")

# %% [markdown]
# Such a pair is fair if the two versions differ in the pronoun and in nothing else. Blodgett et al. (2021) made an
# inventory of what is wrong with published benchmarks, and pairs that break this rule are in it, beside deeper
# faults. So we also break it on purpose, in every third pair: with another adjective in the unexpected version, or
# with a slip of the pen, a missing *was*.


# %%
def spoiled_pairs(pairs, slip, seed):
    """The pairs; in a third of them `anti` lacks its `was` (a slip) or has another adjective."""
    random, found = Random(seed), list(pairs)
    states = sorted({pair.anti.split(" was ")[1].split()[0] for pair in pairs})
    for i in random.sample(range(len(pairs)), len(pairs) // 3):
        before, after = pairs[i].anti.split(" was ")
        state, rest = after.split(" ", 1)
        other = f"{random.choice([s for s in states if s != state])} {rest}"
        found[i] = replace(pairs[i], anti=f"{before} {after}" if slip else f"{before} was {other}")
    return found


# %%
for slip in (False, True):
    pair = next(p for p in spoiled_pairs(some_pairs, slip, 0) if not p.minimal)
    print(pair.pro, pair.anti, sep="\n", end="\n\n")

# %% [markdown]
# The second way does not look at what a model does at all. It compares its word vectors: are the she-jobs closer to
# *she* and *her*, and the he-jobs to *he* and *his*? This is the word embedding association test, WEAT, which the
# section on word lists below writes out.


# %%
def job_test(told):
    """A word test: the jobs that a planted world expects to be `she` and the others, she and he."""
    jobs = tuple(told.jobs.items)
    return bias.WordTest(
        "jobs", ("she", "he", "she", "he"), (jobs[1::2], jobs[::2]), (("she", "her"), ("he", "his"))
    )


# %%
def input_vectors(model):
    """A function that gives the model's vector of each word, at its input: the mean over sub-words."""
    table = model.get_input_embeddings().weight.detach().float().cpu().numpy()
    return lambda words: np.array([table[row[1:-1]].mean(0) for row in training.encode(tokenizer, words)])


# %% [markdown]
# **Predict** three curves over the strength that the stories held: the difference between the two groups of jobs in
# the model's share of *she*; the share of pairs in which it prefers the expected pronoun; the effect size of its
# vectors.


# %%
def bias_planted_run(strength, seed):
    """Tell the model stories with a planted strength, and measure it in four ways."""
    told = bias.planted(seed, strength)
    model, stories = told_model(told, seed)
    shares = bias.recovered(model, tokenizer, told, 12, seed)
    found = {
        "dose": counted_dose(stories, told.jobs.items),
        "found": shares[1::2].mean() - shares[::2].mean(),
    }
    pairs = bias.story_pairs(bias.planted(seed, 0.8), 120, f"lab 5 {seed}")
    for name, some in (
        ("pairs", pairs),
        ("adjective", spoiled_pairs(pairs, False, seed)),
        ("slip", spoiled_pairs(pairs, True, seed)),
    ):
        bits = bias.preferences(model, tokenizer, some)
        found |= {name: np.mean(bits > 0), f"{name} bits": bits.mean()}
    found["vectors"] = bias.association_test(input_vectors(model), job_test(told), resamples=99).effect
    return {name: float(value) for name, value in found.items()}


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.9)
bias_planted = lab.sweep(
    "bias planted",
    bias_planted_run,
    [{"strength": strength, "seed": seed} for strength in STRENGTHS for seed in range(1, 6)],
    live=lambda s: s["seed"] == 1 and s["strength"] == 0.9,
)
for metric in ("found", "pairs", "vectors"):
    lab.check(bias_planted, metric, by=["strength"], slack=0.02)


# %%
def over_worlds(runs, statistic):
    """A statistic of all runs, with its 95 % interval: the worlds, that is the seeds, are drawn anew."""
    random, seeds = np.random.default_rng(0), sorted(set(runs.seed))
    groups = {seed: runs[runs.seed == seed] for seed in seeds}
    drawn = [statistic(pd.concat([groups[s] for s in random.choice(seeds, len(seeds))])) for _ in range(1000)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(statistic(runs), float(low), float(high), "percentile bootstrap over worlds", len(runs))


# %%
def ranked_alike(runs):
    """Spearman's correlation of the test of the vectors with the pronouns."""
    return float(spearmanr(runs.vectors, runs.found).statistic)


# %% mystnb={"image": {"alt": "Two panels for 25 models. Left, over the difference that was counted in the stories: the difference in the model's share of she, which lies below the diagonal first and on it from the middle on, and the share of preferred pairs, which rises steeply to one and stays there. Right, the effect size of the word test over the model's difference: five rising lines, one per world, far apart."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
planted_runs = bias_planted.recorded
shown = ("dose", "found", "pairs", "pairs bits", "adjective", "slip", "vectors")
by_strength = {m: [mean_ci(g[m]) for _, g in planted_runs.groupby("strength")] for m in shown}
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3.4), width_ratios=(1.15, 1), layout="constrained")
doses = [interval.estimate for interval in by_strength["dose"]]
left.plot([0, 0.95], [0, 0.95], "--", color=COLORS["exact"], linewidth=1)
for metric, color, x, y, label in (
    ("found", "causal", 0.52, 0.28, "share\nof she"),
    ("pairs", "distant", -0.02, 0.88, "pairs\npreferred"),
):
    band(left, doses, by_strength[metric], label, COLORS[color])
    left.text(x, y, label, fontsize=12)
left.lines[-1].set_marker("s")
left.set(xlabel="difference in the text", ylabel="in the model", ylim=(-0.05, 1.05), xticks=(0, 0.5, 1))
for marker, (seed, world_runs) in zip("osD^v", planted_runs.groupby("seed"), strict=True):
    right.plot(world_runs.found, world_runs.vectors, f"{marker}-", linewidth=1, label=f"world {seed}")
right.set(xlabel="difference in the model", ylabel="effect size of its vectors", xticks=(0, 0.5, 1))
show(fig)
for metric, intervals in by_strength.items():
    print(f"{metric:10}", *(f"{s}: {i.estimate:.2f} " for s, i in zip(STRENGTHS, intervals, strict=True)))

# %% [markdown]
# A strong habit comes back at its own size, within a few points. A weak one hardly comes back at all, and in the
# middle it depends on the world: the line lies below the diagonal first and meets it further up. Is there a strength
# below which a model learns nothing? The causal model itself had taken up even the weaker shares of its own world, as
# Lab 2 showed, but it had read for longer. **Predict** what becomes of the strength in the middle, 0.4, after three
# times as many stories.


# %%
def bias_longer_run(strength, seed):
    """The same difference after three times as many batches."""
    told = bias.planted(seed, strength)
    model, stories = told_model(told, seed, steps=540)
    shares = bias.recovered(model, tokenizer, told, 12, seed)
    found = {
        "dose": counted_dose(stories, told.jobs.items),
        "found": shares[1::2].mean() - shares[::2].mean(),
    }
    return {name: float(value) for name, value in found.items()}


# %%
bias_longer = lab.sweep(
    "bias planted longer",
    bias_longer_run,
    [{"strength": 0.4, "seed": seed} for seed in range(1, 6)],
    live=lambda s: False,
).recorded
at_once = planted_runs.query("strength == 0.4").sort_values("seed").found
print(f"strength 0.4: {mean_ci(at_once)} after 180 batches, {mean_ci(bias_longer.found)} after 540")

# %% tags=["hide-input"]
at_strength = {
    (s, m): planted_runs[planted_runs.strength == s].sort_values("seed")[m].to_numpy()
    for s in STRENGTHS
    for m in planted_runs
}
slopes = [np.polyfit(g.dose, g.found, 1)[0] for _, g in planted_runs.groupby("seed")]
lab.conclude("bias-dose", mean_ci(slopes), 5)
lab.conclude("bias-weak-later", paired_ci(bias_longer.sort_values("seed").found, at_once), 5)
lab.conclude("bias-pairs-saturate", paired_ci(at_strength[0.9, "pairs"], at_strength[0.6, "pairs"]), 5)
lab.conclude("bias-pairs-adjective", paired_ci(at_strength[0.4, "pairs"], at_strength[0.4, "adjective"]), 5)
lab.conclude("bias-pairs-slip", paired_ci(at_strength[0.0, "slip"], at_strength[0.0, "pairs"]), 5)
lab.conclude("bias-vectors-within", mean_ci([ranked_alike(g) for _, g in planted_runs.groupby("seed")]), 5)
lab.conclude("bias-vectors-across", over_worlds(planted_runs, ranked_alike), 5)

# %% [markdown]
# It is there in full, in each of the five worlds. (The verdict on the gain is *inconclusive*, because three worlds
# had most of it before.) So the bend in the line is at least in part a matter of time. A share near one half gives
# little evidence per story, and a short training ends before the evidence is in. A weak habit arrives later.
#
# The pairs tell another tale. Their share climbs to one and stays there. At the two highest strengths every single
# pair goes to the expected pronoun, though the odds differ by more than two bits. At the middle strength, too, nearly
# all pairs are won, by models whose shares of *she* differ by little more than a quarter. Who wins is all that
# counting sees, and by how much is what we wanted to know. A sentence like *the model prefers the stereotype in nine
# of ten pairs* can stand for a middling habit or for an iron rule. The mean difference in bits, printed above, does
# not have this fault.
#
# The second differences are instructive. Another adjective does nothing to the count, since on average no adjective
# is better than another: such a flaw adds noise, and noise cancels. A missing word does not cancel. The model finds
# the slip improbable, and the count books that as a preference for the other sentence. So a model that was told
# nothing at all, and won half of its pairs, looks as if it had a bias. What matters about bad pairs is less how many
# there are than whether they lean to one side.
#
# And the vectors? Follow one world, one line of the right panel, and they rise with the dose nearly every time: a
# test of the vectors can tell which of two models with the same past has read the stronger habit. Compare worlds, and
# the order is mostly lost. The lines start wherever the first pretraining had left those words, and the new habit
# moves them by much less than they lie apart. (With five worlds the interval of that correlation is wide and rough,
# and the verdict open.) Goldfarb-Tarrant et al. (2021) compared hundreds of models and found that such intrinsic
# scores do not reliably go with what a system does. Here one can see a reason: the score has a history of its own.

# %% [markdown]
# ### Published pairs
#
# And the pairs that people use? The readers of this course take the published files of WinoBias, more than a thousand
# pairs written by people. They are not part of the course: put them into `winobias` in the folder that `COURSE_DATA`
# names, or use the `full` profile, which downloads them. `PronounPair.minimal` says whether two versions differ in
# pronouns and in nothing else. What it found is recorded:

# %%
WINOBIAS = [(kind, part) for kind in ("type1", "type2") for part in ("dev", "test")]


# %%
def published_pairs(kind, part):
    """Pairs of WinoBias from COURSE_DATA or, in `full`, from the network."""
    return bias.winobias(
        *(fetch(f"winobias/{side}_stereotyped_{kind}.txt.{part}") for side in ("pro", "anti"))
    )


# %%
def winobias_run(kind, part):
    """The number of pairs, the lines of the odd ones, and what the course model prefers."""
    pairs = published_pairs(kind, part)
    odd = [line for line, pair in enumerate(pairs, 1) if not pair.minimal]
    lower = [replace(p, pro=p.pro.lower(), anti=p.anti.lower()) for p in pairs if p.minimal]
    preferred = np.mean(bias.preferences(causal, tokenizer, lower) > 0)
    lines = {f"line {line}": 1.0 for line in odd}
    return {"pairs": float(len(pairs)), "odd": float(len(odd)), "preferred": float(preferred)} | lines


# %%
bias_wino = lab.sweep(
    "bias WinoBias",
    winobias_run,
    [{"kind": kind, "part": part} for kind, part in WINOBIAS],
    live=lambda s: False,
).recorded
for run in bias_wino.to_dict("records"):
    lines = [name.split()[1] for name, value in run.items() if name.startswith("line ") and value == 1]
    print(f"{run['kind']} {run['part']:4} {run['pairs']:.0f} pairs; odd in line", *sorted(lines, key=int))
    print(f"    the course model prefers the stereotype in {run['preferred']:.2f} of the others")
print(f"in all {bias_wino.odd.sum():.0f} of {bias_wino.pairs.sum():.0f}")

# %% [markdown]
# About one published pair in eighty is odd. In some a word was changed or lost on the way from one version to the
# other, in a few the two versions are different sentences, and two have the same pronoun twice. That is little, and
# after the last section we know that it does harm if it leans to one side. It took a few lines of code to find, which
# the authors of a benchmark can write as well as its users. What Blodgett et al. (2021) criticize most cannot be
# found by a program: sentences of which it is not clear what stereotype they state, whom it hurts, or why the other
# version should be its opposite.
#
# The course model wins half of the pairs. Before you call it fair, remember the AWD-LSTM of Lab 2: this model has
# never read English. An even score can mean that nothing was understood.

# %% [markdown]
# ### Word lists
#
# Now to English, and to the test that started it. Psychologists measure associations by how fast people sort words
# into two piles. Caliskan et al. (2017) asked the same of word vectors. Take two sets of *targets* and two sets of
# *attributes*; here they are flowers and insects, pleasant and unpleasant words, and hurt nobody. MiniLM, the English
# encoder of the earlier labs, gives the vectors.

# %%
FLOWERS = "rose daisy lily tulip violet poppy daffodil orchid".split()
INSECTS = "ant wasp moth flea locust gnat beetle mosquito".split()
PLEASANT = "love peace happy joy friend laughter gift honest".split()
UNPLEASANT = "war hatred pain filth sickness grief ugly cruel".split()

# %%
vectors = [minilm.encode(words) for words in (FLOWERS, INSECTS, PLEASANT, UNPLEASANT)]
flowers, insects, pleasant, unpleasant = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in vectors)


# %%
def closer_to_pleasant(words):
    """Mean cosine with the pleasant words minus mean cosine with the unpleasant ones, for each word."""
    return (words @ pleasant.T).mean(1) - (words @ unpleasant.T).mean(1)


# %% [markdown]
# A target's association is its mean cosine with the one set of attributes minus its mean cosine with the other. The
# effect size is the difference of the two mean associations, measured in standard deviations of all of them. It lies
# between -2 and 2.

# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
both = np.concatenate([closer_to_pleasant(flowers), closer_to_pleasant(insects)])
effect = (both[:8].mean() - both[8:].mean()) / both.std(ddof=1)
for word, value in zip(FLOWERS[:3] + INSECTS[:3], [*both[:3], *both[8:11]], strict=True):
    print(f"{word:6} {value:6.3f}")
print(f"effect size {effect:.2f}")

# %% [markdown]
# Sixteen words are few. Could it be chance? If it made no difference which words are flowers, any eight of the
# sixteen would do as well. We try all of them. How many halves of the list give a difference as large as this one?

# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
halves = [list(some) for some in combinations(range(16), 8)]
differences = np.array([2 * both[some].mean() - 2 * both.mean() for some in halves])
seen = both[:8].mean() - both[8:].mean()
print(f"{np.mean(differences >= seen - 1e-9):.5f} of {len(halves)} ways to halve the words give as much")

# %% [markdown]
# That is the whole test, and `bias.association_test` computes the same two numbers.

# %%
own_words = bias.WordTest(
    "own", ("flowers", "insects", "pleasant", "unpleasant"), (FLOWERS, INSECTS), (PLEASANT, UNPLEASANT)
)
found = bias.association_test(minilm.encode, own_words, resamples=len(halves))
np.testing.assert_allclose([found.effect, found.p], [effect, np.mean(differences >= seen - 1e-9)], rtol=1e-3)

# %% [markdown]
# The ten lists of Caliskan et al. are about flowers, instruments, names, and much more. May et al. (2019) added a
# version of each in sentences, *this is a daisy*, *daisies are things*, since encoders are made for sentences: SEAT.
# They also put terms, such as *woman*, in place of names. A list of sentences looks long. But fourteen sentences
# about a daisy are one flower, and not fourteen. So we find out which word each sentence is about, and average over
# its sentences before anything is tested.

# %%
FRAME = set("this that there here the is are a an thing things it these those they person people".split())


# %%
def word_likeness(word, token):
    """The length of their common beginning, less half the difference of their lengths."""
    return len(commonprefix([word, token])) - abs(len(word) - len(token)) / 2


# %%
def sentences_by_word(sentences, words):
    """The number of the word that each sentence of a SEAT list is about: both stand in the same order."""
    now, found = 0, []
    for sentence in sentences:
        rest = [token for token in sentence.lower().strip(".").split() if token not in FRAME]
        fits = [max(word_likeness(word.lower(), token) for token in rest or [""]) for word in words]
        better = [i for i in range(now + 1, len(words)) if fits[i] > fits[now]]
        now = better[0] if better else now
        found.append(now)
    return np.array(found)


# %%
def word_means(values, owners):
    """The mean value of each word, from the values of its sentences."""
    return np.array([values[owners == i].mean() for i in sorted(set(owners))])


# %%
def of_list(form, test, value=""):
    """The recorded effect size of a list, or its shift, with its interval over target words."""
    row = bias_listed.loc[(form, test)]
    names = (value, f"{value} low", f"{value} high") if value else ("d", "low", "high")
    return Interval(*(float(row[n]) for n in names), "percentile bootstrap over target words", 0)


# %% [markdown]
# The lists are read like WinoBias: from `weat_seat` in `COURSE_DATA`, or from the network in `full`. **Predict** for
# which of the fifteen lists the interval stays clear of zero, and whether words and sentences will agree. Some lists
# set names that are more common among white or among Black Americans, or given to men or to women, against pleasant
# words or against careers. (The figure names for each list the two sets of targets and the attribute on the side of
# the first. *Other words* is a second, shorter set of pleasant and unpleasant words.) A positive number there says
# how the texts that people wrote treat those names. It says nothing about anyone who bears one.

# %%
GENDERED = "he she|man woman|boy girl|father mother|son daughter|brother sister|husband wife|king queen"
GENDERED = [pair.split() for pair in GENDERED.split("|")]


# %%
def gender_direction():
    """The direction [384] in which MiniLM's vectors of paired words differ most (Bolukbasi et al. 2016)."""
    first, second = (minilm.encode([pair[i] for pair in GENDERED]) for i in (0, 1))
    return np.linalg.svd((first - second).astype(float))[2][0]


# %% [markdown]
# In the same run we try the remedy of Bolukbasi et al. (2016). Pairs like *woman* and *man* differ in one direction
# more than in others. Take this direction out of every vector, and ask again.


# %%
def effect_shift(before, after):
    """The effect size after minus before, and its 95 % interval, with the same targets drawn for both."""
    random, drawn = np.random.default_rng(0), []
    for _ in range(2000):
        some = [random.integers(len(x), size=len(x)) for x in before]
        sizes = [bias.effect_size(*(x[i] for x, i in zip(s, some, strict=True))) for s in (before, after)]
        drawn.append(sizes[1] - sizes[0])
    shift = bias.effect_size(*after) - bias.effect_size(*before)
    return {"shift": shift} | dict(
        zip(("shift low", "shift high"), np.quantile(drawn, [0.025, 0.975]), strict=True)
    )


# %%
def bias_list_run(test, form):
    """Effect size, interval and p of a list over its target words, and the shift without a direction."""
    words = bias.read_test(fetch(f"weat_seat/weat{test}.jsonl"))
    asked = words if form == "words" else bias.read_test(fetch(f"weat_seat/sent-weat{test}.jsonl"))
    sets = [minilm.encode(texts).astype(float) for texts in (*asked.targets, *asked.attributes)]
    left = bias.without(gender_direction()[None])
    owners = [
        np.arange(len(own)) if form == "words" else sentences_by_word(texts, own)
        for texts, own in zip(asked.targets, words.targets, strict=True)
    ]
    by_text, by_word = [], []
    for some in (sets, [vectors @ left for vectors in sets]):
        by_text.append([bias.associations(targets, *some[2:]) for targets in some[:2]])
        by_word.append([word_means(*values) for values in zip(by_text[-1], owners, strict=True)])
    metrics = effect_shift(*by_word)
    for name, values in (("", by_word[0]), ("naive ", by_text[0])):
        found = bias.compared(*values)
        interval = bias.effect_ci(found)
        metrics |= {f"{name}d": found.effect, f"{name}p": found.p}
        metrics |= {f"{name}low": interval.low, f"{name}high": interval.high}
    return {name: float(value) for name, value in metrics.items()}


# %%
LISTS = {
    "1": "flowers, insects: pleasant",
    "2": "instruments, weapons: pleasant",
    "3": "white, Black names: pleasant",
    "3b": "white, Black terms: pleasant",
    "4": "other names: pleasant",
    "5": "other names: other words",
    "5b": "white, Black terms: other words",
    "6": "men's, women's names: career",
    "6b": "men's, women's terms: career",
    "7": "math, arts: men's terms",
    "7b": "math, arts: men's names",
    "8": "science, arts: men's terms",
    "8b": "science, arts: men's names",
    "9": "mental, bodily illness: passing",
    "10": "young, old names: pleasant",
}

# %%
bias_listed = lab.sweep(
    "bias lists",
    bias_list_run,
    [{"test": test, "form": form} for test in LISTS for form in ("words", "sentences")],
    live=lambda s: False,
).recorded.set_index(["form", "test"])

# %% mystnb={"image": {"alt": "Fifteen word lists, one under the other, with two effect sizes each between -1 and 2: dots for single words, squares for sentences, with wide intervals. Flowers and instruments lie far to the right without touching zero; many of the lists about people reach across it."}}
fig, ax = plt.subplots(figsize=(6, 6.4), layout="constrained")
for offset, (form, marker, color) in zip(
    (-0.16, 0.16), (("words", "o", COLORS["causal"]), ("sentences", "s", COLORS["masked"])), strict=True
):
    some = bias_listed.loc[form].reindex(list(LISTS))
    y = np.arange(len(some)) + offset
    ax.hlines(y, some.low, some.high, color=color, linewidth=1.5)
    ax.plot(some.d, y, marker, color=color, label=form, markersize=5)
ax.axvline(0, color=COLORS["exact"], linewidth=1)
ax.set_yticks(range(len(LISTS)), [f"{label}  {test}" for test, label in LISTS.items()], fontsize=11)
ax.invert_yaxis()
ax.set(xlabel="effect size d", xlim=(-1.3, 1.95))
fig.legend(loc="outside upper right", ncols=2, handletextpad=0.1, columnspacing=1)
show(fig)
for form in ("words", "sentences"):
    print(f"{form:9}", *(f"{test}: {d:.2f}" for test, d in bias_listed.loc[form].d.items()))

# %%
in_sentences, in_words = (bias_listed.loc[form].loc[list(LISTS)] for form in ("sentences", "words"))
wider = (in_sentences.high - in_sentences.low) / (in_sentences["naive high"] - in_sentences["naive low"])
print(f"p below 0.05: {np.sum(in_words.p < 0.05)} lists of words,", end=" ")
print(
    f"{np.sum(in_sentences['naive p'] < 0.05)} of sentences, {np.sum(in_sentences.p < 0.05)} of sentences by word"
)

# %% tags=["hide-input"]
lab.conclude("bias-seat-control", of_list("sentences", "1"), 50)
lab.conclude("bias-seat-names", of_list("sentences", "6"), 16)
lab.conclude("bias-seat-terms", of_list("sentences", "6b"), 16)
lab.conclude("bias-seat-ranks", rank_correlation_ci(in_words.d, in_sentences.d), 15)
lab.conclude("bias-seat-width", mean_ci(wider), 15)

# %% [markdown]
# Flowers and instruments lie far from zero, in words and in sentences, as they must if the method works at all. Most
# lists of names do so as well. Names of men are nearer to careers than names of women are, and math and science are
# nearer to names of men than the arts are. Nobody planted that. It was in the texts from which MiniLM was made.
#
# Put *man* and *woman* in place of the names, and the interval holds zero. Put terms in place of the names of white
# and of Black Americans, and the sign turns in the sentences. So which is the bias of MiniLM, the one of names or the
# one of terms? A list measures itself, and a claim about groups of people needs more than a list. May et al. (2019)
# met mixed results of this kind on the encoders of their day.
#
# Words and sentences order the lists nearly alike. What the sentences add is false certainty. Counted one by one,
# they make the intervals little more than a third as wide as they are over words, and a third of the lists that pass
# the usual limit of five percent pass it no longer when each word counts once. All this for lists that began, most of
# them, with eight words a set.

# %% [markdown]
# And the remedy? A list that reads zero is one thing, a vector without a trace is another. Gonen and Goldberg (2019)
# asked of debiased word vectors whether the words that used to lean to one side can still be told from those that
# leaned to the other. We ask it of the eighty first names of the course world: before and after the direction of the
# word pairs is gone, can a linear classifier tell which of them are usually given to women?


# %%
def bias_names_run(out, seed):
    """How many of the world's first names a linear classifier gets right, with or without the direction."""
    names = [*lexicon.FEMALE.split(), *lexicon.MALE.split()]
    women = np.array([name in lexicon.FEMALE.split() for name in names])
    vectors = minilm.encode(names)
    if out:
        vectors = vectors @ bias.without(gender_direction()[None])
    folds = StratifiedKFold(10, shuffle=True, random_state=seed)
    guessed = cross_val_predict(LogisticRegression(max_iter=2000), vectors, women, cv=folds)
    return {"right": float(np.mean(guessed == women))}


# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
bias_names = lab.sweep(
    "bias names", bias_names_run, [{"out": out, "seed": seed} for out in (False, True) for seed in range(5)]
)
lab.check(bias_names, "right", by=["out"], slack=0.025)
for out, some in bias_names.recorded.groupby("out"):
    print(f"{'without the direction' if out else 'as they are':21} {mean_ci(some.right)}")
for test in ("1", "6", "6b", "7", "7b", "8", "8b"):
    row = bias_listed.loc[("sentences", test)]
    print(f"{LISTS[test]:29} d {row.d:5.2f}, without the direction {row.d + row['shift']:5.2f}")

# %% tags=["hide-input"]
lab.conclude("bias-debiased-names", of_list("sentences", "6", "shift"), 16)
lab.conclude("bias-debiased-control", of_list("sentences", "1", "shift"), 50)
right = bias_names.recorded.query("out").right.mean()
lab.conclude("bias-names-remain", wilson(round(80 * right), 80), 80)

# %% [markdown]
# The flowers have not moved, so little else was damaged. The association of names with careers is weaker and still
# there. Where the attributes are terms such as *man* and *woman*, the list about math and arts does not go to zero,
# it changes its sign; with names as attributes the same list hardly moves. The direction that eight word pairs have
# in common is a direction of those words. And the classifier finds women's and men's names as well as before. Most of
# what MiniLM knows about names and gender never stood in that direction, which is the point of Gonen and Goldberg:
# the bias is hidden from a test, and it has not been removed.

# %% [markdown]
# ### Taking it out
#
# Back in the world, where removal can be watched from all sides. What should a cure do? The model's share of *she*
# should no longer follow the job. It should still follow the name: *Clara* is *she* in every text of this world, and
# a model that no longer knows it has lost grammar, not prejudice. And one may ask for more, that the states of the
# network do not hold the expectation any longer, in whatever form.


# %%
def job_beginnings(count, seed):
    """Stories of the world up to a pronoun that stands for a job; the job; whether `she` comes next."""
    texts, jobs, she = [], [], []
    for story in world.documents(f"lab 5 beginnings {seed}", "story"):
        if story.about["referent"] == "job":
            opening, middle, _ = story.sentences
            place = middle.slots.index("pronoun")
            texts.append(" ".join([*opening.words, *middle.words[:place]]))
            jobs.append(story.about["job"])
            she.append(middle.words[place] == "she")
        if len(texts) == count:
            return texts, np.array(jobs), np.array(she)


# %%
@torch.no_grad()
def pronoun_states(model, texts):
    """The last hidden state after the last word of each text: float32 [texts, width]."""
    rows = [row[:-1] for row in training.encode(tokenizer, texts)]
    batch = training.pad(rows, max(map(len, rows)), tokenizer.pad_token_id).to(model.device)
    states = model.base_model(input_ids=batch).last_hidden_state
    return states[range(len(rows)), [len(row) - 1 for row in rows]].float().cpu().numpy()


# %% [markdown]
# The shortest way is a projection. The model says *she* or *he* by the product of its last state with the two words'
# output vectors. Only their difference counts, so take this one direction out of every last state.

# %%
outputs = causal.get_output_embeddings().weight.detach()
she_row, he_row = (outputs[row[1]] for row in training.encode(tokenizer, ["she", "he"]))
toward_she = (she_row - he_row) / (she_row - he_row).norm()
no_pronoun = torch.eye(len(toward_she)) - torch.outer(toward_she, toward_she)

# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
before_pronoun = torch.tensor(pronoun_states(causal, job_beginnings(4, 0)[0]))
print("she minus he, in nats:", (before_pronoun @ (she_row - he_row)).numpy().round(2))
print("after the projection:", (before_pronoun @ no_pronoun @ (she_row - he_row)).numpy().round(4))

# %%
np.testing.assert_allclose(no_pronoun.numpy(), bias.without(toward_she[None].numpy()), atol=1e-5)

# %% [markdown]
# After that the two pronouns are equally likely everywhere, by construction. The other cures are slower. Iterative
# nullspace projection (INLP, Ravfogel et al. 2020; see Lab 2) fits a classifier for the next pronoun to the states,
# takes its direction out, and starts over. *Balanced stories* are some more pretraining, as above, on stories in
# which every job takes both pronouns alike, with *usual stories* as their control. And *reviews* is no cure at all
# but what most people do with a pretrained model: tune it for something else.
#
# For each of them: the slope of the model's share of *she* on the planted one, over the jobs; the share of right
# pronouns for named persons; and how well a linear classifier, fitted to the states of other jobs, still reads which
# pronoun a job is expected to take. **Predict** which cure is best in each.


# %%
def after_reviews(seed):
    """The causal model after 96 updates on 400 labeled reviews."""
    model, some = deepcopy(causal), reviews("train", 400, seed)
    classifier = classification.Classifier(model, tokenizer, 2)
    texts, labels = [" ".join(r.words) for r in some], [r.label for r in some]
    classification.fine_tune(classifier, texts, labels, 96, 1e-3, seed)
    return model


# %%
def cured_model(cure, seed):
    """A model after a cure, and a projection for its last states."""
    nothing = np.eye(causal.config.hidden_size)
    if cure == "projection":
        return causal, bias.without(toward_she[None].cpu().numpy())
    if cure.startswith("INLP"):
        texts, _, next_she = job_beginnings(600, f"INLP {seed}")
        return causal, bias.inlp(pronoun_states(causal, texts), next_she, int(cure.split()[1]))
    if cure == "balanced stories":
        return told_model(bias.planted(0, 0), seed, ("job", "name"))[0], nothing
    if cure == "usual stories":
        return told_model(world, seed, ("job", "name"))[0], nothing
    return (after_reviews(seed) if cure == "reviews" else causal), nothing


# %%
def still_read(states, jobs):
    """Share of states from which a linear classifier tells the expected pronoun of a job it never saw."""
    share = np.array([world.job_she[job].probabilities[0] for job in jobs])
    some = share != 0.5
    guessed = cross_val_predict(
        LogisticRegression(max_iter=2000),
        states[some],
        share[some] > 0.5,
        groups=jobs[some],
        cv=LeaveOneGroupOut(),
    )
    return np.mean(guessed == (share[some] > 0.5))


# %%
def bias_cure_run(cure, seed):
    """The slope of the model's share of `she` on the planted one, and what the cure left and cost."""
    model, projection = cured_model(cure, seed)
    texts, jobs, _ = job_beginnings(400, f"test {seed}")
    named = bias.named_pairs(world, 150, f"lab 5 {seed}")
    with bias.projected(model, projection):
        shares = bias.recovered(model, tokenizer, world, 12, seed)
        right = np.mean(bias.preferences(model, tokenizer, named) > 0)
        bits = np.mean(sum(training.token_bits(model, tokenizer, [pair.pro for pair in named]), []))
        read = still_read(pronoun_states(model, texts), jobs)
    slope = np.polyfit(bias.she_shares(world), shares, 1)[0]
    found = {"slope": slope, "named": right, "bits": bits, "still read": read}
    return {name: float(value) for name, value in found.items()}


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
CURES = ("none", "projection", "INLP 3", "INLP 10", "INLP 30", "balanced stories", "usual stories", "reviews")
bias_cures = lab.sweep(
    "bias cures",
    bias_cure_run,
    [{"cure": cure, "seed": seed} for cure in CURES for seed in range(1, 6)],
    live=lambda s: s["seed"] == 1 and s["cure"] == "projection",
)

# %% mystnb={"image": {"alt": "Three panels with a row per cure. Slope on the planted share: near one for no cure, zero for the projection, falling with the rounds of INLP, near zero after balanced stories. Right pronouns of named persons: all at the top but the projection, which is near one half. Share of states from which the expected pronoun can still be read: near the top for the projection, about four fifths after ten rounds of INLP and after balanced stories, far below one half after thirty rounds."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
panels = {
    "slope": "slope on the\nplanted share",
    "named": "right for\nnamed persons",
    "still read": "expectation\nstill read",
}
fig, axes = plt.subplots(1, 3, figsize=(6, 3.9), sharey=True, layout="constrained")
for ax, (metric, title) in zip(axes, panels.items(), strict=True):
    lab.check(bias_cures, metric, by=["cure"], slack=0.02)
    found = [mean_ci(bias_cures.recorded.query("cure == @cure")[metric]) for cure in CURES]
    ax.hlines(range(len(CURES)), [i.low for i in found], [i.high for i in found], color=COLORS["causal"])
    ax.plot([i.estimate for i in found], range(len(CURES)), "o", color=COLORS["causal"])
    ax.axvline(0 if metric == "slope" else 0.5, color=COLORS["exact"], linewidth=1, linestyle=":")
    ax.set(title=title, xlim=(-0.1, 1.1), xticks=(0, 0.5, 1))
    ax.title.set_fontsize(12)
    print(
        f"{metric:10}", *(f"{cure}: {i.estimate:.2f}" for cure, i in zip(CURES, found, strict=True)), sep="  "
    )
bits = bias_cures.recorded.groupby("cure").bits.mean()
print("bits a token where a name decides:", *(f"{cure}: {bits[cure]:.2f}" for cure in CURES), sep="  ")
axes[0].set_yticks(range(len(CURES)), CURES)
axes[0].invert_yaxis()
show(fig)

# %% tags=["hide-input"]
after_cure = {(c, m): g[m].to_numpy() for c, g in bias_cures.recorded.groupby("cure") for m in panels}
lab.conclude(
    "bias-projection-costs", paired_ci(after_cure["none", "named"], after_cure["projection", "named"]), 5
)
lab.conclude("bias-projection-hidden", mean_ci(after_cure["projection", "still read"]), 5)
lab.conclude("bias-inlp-removes", mean_ci(after_cure["INLP 30", "slope"]), 5)
lab.conclude("bias-inlp-cost", paired_ci(after_cure["none", "named"], after_cure["INLP 30", "named"]), 5)
lab.conclude("bias-balanced-removes", mean_ci(after_cure["balanced stories", "slope"]), 5)

# %% tags=["hide-input"]
lab.conclude(
    "bias-balanced-cheaper",
    paired_ci(after_cure["balanced stories", "named"], after_cure["projection", "named"]),
    5,
)
lab.conclude(
    "bias-balance-matters",
    paired_ci(after_cure["usual stories", "slope"], after_cure["balanced stories", "slope"]),
    5,
)
lab.conclude(
    "bias-tuning-elsewhere", paired_ci(after_cure["reviews", "slope"], after_cure["none", "slope"]), 5
)

# %% [markdown]
# The projection does what it was built to do, and costs what one may have feared: for named persons the pronoun is
# now a toss-up. And the expectation is still there, nearly all of it. From the projected states a classifier tells
# which pronoun is expected, for jobs that it never saw, about as well as before. The model can no longer say what it
# still knows, and anything that is trained on these states can use it.
#
# INLP fares well. Ten rounds take most of the slope away, thirty all of it, and named persons keep their pronouns. It
# was fitted to stories about jobs only, and so it found what an expectation looks like; what *she* after *Clara*
# looks like it left alone, so in this network the two are not the same direction. The price is in the printed bits,
# which rise by a little more than those of the projection. (After thirty rounds the classifier is right far less
# often than a coin. That is no secret knowledge. INLP has made the two groups of jobs alike on average. Leave one job
# out, and the others are alike but for its part, with the sign turned: a likely reason why the guess about it is
# wrong.)
#
# Balanced stories remove the slope as well, and leave all grammar in place. The usual stories, just as many, change
# hardly anything, so it is the balance that does it. But here the expectation can still be read from the states, less
# well than before and far above chance. The network has mostly learned not to act on it. And tuning on reviews, which
# say nothing about anybody's job, takes nothing away. Whoever tunes a pretrained model for a task of their own
# inherits its habits.
#
# So three cures leave a slope of about zero and differ in all else, in what they cost and in what they leave behind.
# A single score would have called them equal. In this world we could choose among them, since we wrote both the habit
# and the truth. Where nobody knows the truth, the first question is which behavior would harm whom, and statistics
# does not answer it.

# %% [markdown]
# ### Break it
#
# One word pair is a weak idea of gender, so let us take out two: *she* minus *he*, and *her* minus *his*. Each is
# easy: from every state subtract its part along the one and its part along the other. **Predict** what is left of the
# slope.

# %%
her_row, his_row = (outputs[row[1]] for row in training.encode(tokenizer, ["her", "his"]))
two_directions = torch.nn.functional.normalize(
    torch.stack([she_row - he_row, her_row - his_row]), dim=1
).numpy()
one_by_one = np.eye(two_directions.shape[1]) - sum(np.outer(d, d) for d in two_directions)

# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
print(f"cosine of the two directions: {two_directions[0] @ two_directions[1]:.2f}")
for name, projection in (("one by one", one_by_one), ("together", bias.without(two_directions))):
    with bias.projected(causal, projection):
        shares = bias.recovered(causal, tokenizer, world, 4)
    print(f"{name:10} slope {np.polyfit(bias.she_shares(world), shares, 1)[0]:.2f}")


# %%
def check_projection(projection):
    """Assert that projecting twice is projecting once."""
    assert np.allclose(projection @ projection, projection, atol=1e-6), "projecting again changes the vectors"


# %%
check_projection(bias.without(two_directions))
try:
    check_projection(one_by_one)
except AssertionError as error:
    print("caught:", error)

# %% [markdown]
# No error, and the slope is not zero. It has changed its sign: the model now expects *he* where it expected *she*.
# The two directions have much in common, and what they have in common was taken away twice. The one line of the check
# would have found it, because a projection, done again, changes nothing. `bias.without` first makes the directions
# orthogonal.

# %% [markdown]
# ### Bad input
#
# Nine mistakes of the kind that one makes with lists, pairs and projections, and what the course says to each.

# %%
(folder / "list.jsonl").write_text('{"targ1": {"category": "jobs", "examples": ["nurse"]}}')
(folder / "pro.txt.dev").write_text("1 [The guard] left because [he] could.\n")
(folder / "anti.txt.dev").write_text("1 The guard left because she could.\n")
refused(lambda: bias.read_test(folder / "list.jsonl"), folder)
refused(lambda: bias.read_test(folder / "no such list.jsonl"), folder)
refused(lambda: bias.winobias(folder / "pro.txt.dev", folder / "anti.txt.dev"), folder)
refused(lambda: bias.winobias(folder / "pro.txt.dev", folder / "pro.txt.dev"), folder)
refused(lambda: bias.association_test(lambda texts: np.zeros((len(texts), 4)), own_words), folder)
refused(lambda: bias.planted(0, 1.0), folder)
refused(lambda: bias.story_pairs(bias.planted(0, 0), 10), folder)
refused(lambda: bias.inlp(np.eye(4), [1, 1, 1, 1], 3), folder)
with_three = bias.projected(causal, np.eye(3))
refused(lambda: with_three.__enter__(), folder)

# %% [markdown]
# Nothing in this section is a measurement of people. It is a measurement of texts, through networks that read them,
# and of the instruments themselves: how a count of pairs saturates, how a list passes for many observations, how a
# cure can silence a habit and keep it. With the truth at hand each of these faults took one figure to see. On
# English, where the truth is not at hand, they are just as likely, and one has to look for them on purpose.

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
# **Instability**
#
# 1. (20 minutes) Undo the missing correction without touching the optimizer. Write a schedule that divides the rate
#    by `overshoot(step + 1)`, pass it with `uncorrected` to `rerun`, and show that runs then agree with corrected
#    ones up to rounding. Which term of AdamW keeps them from being equal exactly?
# 2. (an hour) You have 264 labels and time for 84 updates. Compare, over ten seeds, seven short runs on 64 labels
#    chosen on the other 200 with one run on all 264, and with seven runs on 200 chosen on 64. Write the rule before
#    you run.
#
# **Size**
#
# 1. (25 minutes) Prune to 90 % step by step (`magnitude_masks(..., masks=earlier)`, tuning between the steps) against
#    90 % at once, with the same number of updates in all. Does patience pay?
# 2. (40 minutes) The student of one layer beats its teacher. Is it the size or the 2,048 reviews? Teach a whole
#    network the same way.
#
# **Rapid surface learning**
#
# 1. (15 minutes) Put the cue at the end of the review, or make it two rare words that the checkpoint has hardly met.
#    Predict whether uptake at a share of .95 rises or falls, and measure it with five seeds.
# 2. (25 minutes) A remedy without knowledge: tune for 20 updates, collect the training reviews that this model gets
#    wrong, repeat them five times, and train anew. How much does it win back, and how many of the 20 misled reviews
#    were found?
#
# **Left to right or not**
#
# 1. (30 minutes) The masked network lost against left to right at the same number of updates. Give it three times as
#    many, and then masks of 40 % in place of 15 %. Which of the two buys more agreement, and how many asked tokens
#    did each cost?
# 2. (an hour) Add UniLM's third matrix: the first half of a scene sees itself from both sides, the second half sees
#    all of the first and its own left. Train it in turn with the other two and ask for all three uses.
#
# **Tasks as text**
#
# 1. (20 minutes) Find a wording that answers from the verdict and not from the remarks, judged by the accuracy where
#    the remarks mislead. You may change the order of the sentences and the label words, and look only at validation
#    reviews. Then say what your prompt asks.
# 2. (an hour) Mix pairs of eight topics into the episodes of opinion words, more and more of them, and test on the
#    four other topics. How many tasks and updates does it take before demonstrations of a task that was never taught
#    are read?
#
# **Task similarity**
#
# 1. (30 minutes) Add a seventh task on one of the two kinds of texts, such as: does the remark contain a negation?
#    Write down its row and its column before you run them.
# 2. (40 minutes) Draw the gain of the diagonal against the target's rate for 8, 32 and 128 labels. Where does a
#    source stop mattering because labels are plenty, and where because the steps are large?
#
# **Continual learning**
#
# 1. (40 minutes) Replace first-order MAML by Reptile: move the start a tenth of the way to the adapted copy, with no
#    exam sentences. Give both twice the tasks. How many of five seeds now find the actor, and does either catch the
#    joint start?
# 2. (an hour) Give the stream a sixth student that also rehearses scenes as a language model, one batch of 200 tokens
#    an update with weight 0.3. What happens to the bits, to forgetting, and to the later tasks? Compare at equal
#    tokens read.
#
# **Facts and grounding**
#
# 1. (15 minutes) Search with the start of the cloze (`... works as`) in place of the question. How many of three
#    texts hold the answer now, and how many of one?
# 2. (30 minutes) Train a reader on a mixture: half of the examples with a page about a stranger, half without a page
#    about people it knows. Can it do both, and what does it say where page and memory disagree?
#
# **Bias**
#
# 1. (15 minutes) Plant a strength of 0.2 and tell the model 540 and 1,080 batches of stories. Does the weakest habit
#    come back at its own size, too? Draw the share of preferred pairs beside it: which of the two curves would you
#    report?
# 2. (20 minutes) Take the model of the balanced stories and tell it 10, 20, 40, 80 and 180 batches of the world's
#    usual stories. How fast does the slope return? What does this say about a cure that is applied once, before
#    others go on training?
