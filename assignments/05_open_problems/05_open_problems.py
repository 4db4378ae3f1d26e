# %% [raw]
# # ASSIGNMENT CONFIG

# %% [markdown]
# # Assignment 5: One more run
#
# <!-- colab badge -->
#
# Chapter 5 met four colleagues with good news, and asked each of them for one more run. Here you write the
# instruments for such questions: an interval for a count of failures, a comparison of paired runs, a test for a word
# list. You take a classifier's weights away, feed noise to somebody's program, and plant a shortcut in a world in
# which you know that it is there. No network is trained; everything runs in seconds, so there is time to think.
#
# **You will be able to** say what ten failures in fifty runs tell; prune by magnitude without being fooled by equal
# weights; compute WEAT's effect size and its exact p-value; find out with noise whether a program cheats; measure a
# shortcut and two cures; criticize a bias score.
#
# **You should know** chapter 5 and the sections of Lab 5 on instability, fewer weights, rapid surface learning and
# bias.
#
# | question | what | points |
# |---|---|---|
# | 1 | failures, counted and paired | 3 |
# | 2 | what can go: pruning | 3 |
# | 3 | a word list against chance | 4 |
# | 4 | find the bug, by feeding it noise | 3 |
# | 5 | a planted shortcut, two cures, and a figure | 4 |
# | 6 | in words: a bias score | 3 |
#
# Plan three hours. Write your answers where a cell says `...`, and run the check at the end of each question, as
# often as you like. A check that passes is a good sign, no proof: your teacher has further checks, with inputs that
# you haven't seen. Add cells where you want, keep the names of functions and variables, and hand in this notebook.

# %%
# course setup

# %%
import math
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression

from utils import checks
from utils.plots import COLORS, show, style
from utils.world import lexicon, tasks

# %% [markdown]
# Your teacher sent you a code. With it you get a world and random numbers of your own. Without it
# (`student = "open"`) you can work and run the checks in the open world.

# %%
student = "open"  # your student id
code = ""  # the code that your teacher sent you

# %%
style()
mine = checks.Assignment("05_open_problems", student, code)
world = mine.world

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: Failures, counted and paired (3 points)
#
# Fine-tuning fails by luck: of $n$ runs that differ in their seeds alone, $k$ end no better than guessing. What does
# $k/n$ say about the next run? The interval that most people know, $\hat p \pm z\sqrt{\hat p (1 - \hat p)/n}$ with
# $\hat p = k/n$ and $z = 1.96$, breaks where it is needed: for no failure in ten runs it has the width zero, as if
# ten runs had proved that the recipe never fails. Wilson's interval (1927) asks the question the other way round: for
# which true shares would what we saw not be surprising? It is
#
# $$
# \frac{\hat p + \frac{z^2}{2n} \pm z \sqrt{\frac{\hat p (1 - \hat p)}{n} + \frac{z^2}{4 n^2}}}{1 + \frac{z^2}{n}} .
# $$
#
# For 3 failures of 10 it goes from 0.108 to 0.603, for 0 of 10 from 0 to 0.278.
#
# Two recipes are compared best with **the same seeds**: run $i$ of both starts from the same weights and sees the
# data in the same order. Then their failures come in pairs, and two intervals that overlap needn't be the last word.
# Pairs in which both fail, or neither, say nothing about which recipe is better. Of the other pairs, $b$ in which
# only A failed and $c$ in which only B did, each would fall on either side with probability 1/2 if the recipes were
# equal. The exact **sign test** asks how probable a split at least as uneven is, in either direction:
#
# $$
# p = \min\Bigl(1,\; 2 \sum_{j=0}^{\min(b, c)} \binom{b+c}{j} \Bigl(\frac12\Bigr)^{b+c}\Bigr) .
# $$
#
# (With $b = c = 0$ it is 1.) For $b = 6$ and $c = 1$ that is $2 \cdot (1 + 7)/128 = 0.125$; for $b = 6$ and $c = 0$
# it is $2/64 \approx 0.031$.
#
# **Write** `wilson(failures, runs, z=1.96)`, a pair, and `sign_test(a, b)` for two lists of True (failed) and False,
# run by run. Then take fifty runs of two recipes with the same seeds, drawn for you, and **compute** `own`: a
# dictionary with `"A"` and `"B"`, the interval of each; `"same seeds"`, the p of A against B; and `"fewest"`, the
# smallest number of seeds with which two recipes that share them could possibly reach $p < 0.05$.

# %%
luck = mine.rng("runs").random((50, 3))
runs_a = (luck[:, 0] < 0.34).tolist()
runs_b = ((luck[:, 0] < 0.13) | (luck[:, 1] < 0.03)).tolist()
print("A failed:", "".join("x" if failed else "." for failed in runs_a))
print("B failed:", "".join("x" if failed else "." for failed in runs_b))

# %% [raw]
# # BEGIN SOLUTION


# %%
def wilson(failures, runs, z=1.96):
    """Wilson's interval for the share of failures: (low, high)."""
    # BEGIN SOLUTION
    share, wide = failures / runs, z**2 / runs
    half = z * math.sqrt(share * (1 - share) / runs + wide / (4 * runs))
    return (share + wide / 2 - half) / (1 + wide), (share + wide / 2 + half) / (1 + wide)
    # END SOLUTION


# %%
def sign_test(a, b):
    """The exact two-sided p of the pairs in which exactly one run failed."""
    # BEGIN SOLUTION
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    pairs = only_a + only_b
    return min(1.0, 2 * sum(math.comb(pairs, j) for j in range(min(only_a, only_b) + 1)) / 2**pairs)
    # END SOLUTION


# %%
# BEGIN SOLUTION
intervals = {"A": wilson(sum(runs_a), 50), "B": wilson(sum(runs_b), 50)}
fewest = next(n for n in range(1, 50) if sign_test([True] * n, [False] * n) < 0.05)
# END SOLUTION
own = intervals | {"same seeds": sign_test(runs_a, runs_b), "fewest": fewest}  # SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_worked_examples(answer, mine):
    """points: 1"""
    for failures, runs, low, high in ((3, 10, 0.1078, 0.6032), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)):
        found = answer.wilson(failures, runs)
        assert found is not None, "wilson gives None: does it return its pair?"
        assert len(found) == 2, f"wilson gives a pair, low and high, and yours gives {found}."
        assert abs(found[0] - low) < 1e-3 and abs(found[1] - high) < 1e-3, (
            f"For {failures} failures of {runs}, yours goes from {found[0]:.3f} to {found[1]:.3f}. Compare with the "
            "formula: its middle is not the share itself, and everything stands over 1 + z²/n."
        )
    for only_a, only_b, both, right in ((6, 1, 3, 0.125), (6, 0, 0, 2 / 64), (2, 2, 0, 1.0), (0, 0, 4, 1.0)):
        a = [True] * only_a + [False] * only_b + [True] * both
        b = [False] * only_a + [True] * only_b + [True] * both
        found = answer.sign_test(a, b)
        assert found is not None, "sign_test gives None: does it return its number?"
        assert abs(found - right) < 1e-9, (
            f"Only A failed {only_a} times, only B {only_b} times, both {both} times: your p is {found:.4f}. It counts "
            "both directions, leaves out pairs that agree, and is at most 1."
        )


# %%
def test_random_runs(answer, mine):
    """points: 1, hidden
    random counts, levels and pairs of runs
    """
    from scipy.stats import binomtest, norm

    rng = mine.fresh("q1")
    for _ in range(40):
        runs, level = int(rng.integers(3, 80)), float(rng.choice([0.8, 0.9, 0.95, 0.99]))
        failures = int(rng.integers(0, runs + 1))
        right = binomtest(failures, runs).proportion_ci(level, method="wilson")
        z = float(norm.ppf((1 + level) / 2))
        found = answer.wilson(failures, runs, z)
        assert abs(found[0] - right.low) < 1e-6 and abs(found[1] - right.high) < 1e-6, (
            f"wilson({failures}, {runs}, {z:.3f}) is ({right.low:.4f}, {right.high:.4f}), and yours gives {found}."
        )
        a, b = (rng.random(runs) < 0.4).tolist(), (rng.random(runs) < float(rng.choice([0.1, 0.4]))).tolist()
        only_a = sum(x > y for x, y in zip(a, b, strict=True))
        pairs = only_a + sum(x < y for x, y in zip(a, b, strict=True))
        right = binomtest(only_a, pairs).pvalue if pairs else 1.0
        found = answer.sign_test(a, b)
        assert abs(found - right) < 1e-9, (
            f"Of {pairs} pairs that differ A failed in {only_a}: p is {right:.4f}, and yours {found:.4f}."
        )


# %%
def test_own_runs(answer, mine):
    """points: 1, hidden
    `own`, the runs with your random numbers
    """
    from scipy.stats import binomtest

    luck = mine.rng("runs").random((50, 3))
    a, b = luck[:, 0] < 0.34, (luck[:, 0] < 0.13) | (luck[:, 1] < 0.03)
    for name, failed in (("A", a), ("B", b)):
        right = binomtest(int(failed.sum()), 50).proportion_ci(0.95, method="wilson")
        found = answer.own[name]
        assert abs(found[0] - right.low) < 1e-3 and abs(found[1] - right.high) < 1e-3, (
            f"own[{name!r}] is ({right.low:.3f}, {right.high:.3f}), and yours {found}."
        )
    right = binomtest(int((a & ~b).sum()), int((a ^ b).sum())).pvalue
    found = answer.own["same seeds"]
    assert abs(found - right) < 1e-6, f"own['same seeds'] is {right:.5f}, and yours {found:.5f}."
    assert answer.own["fewest"] == 6, (
        f"Five seeds give 0.0625 at best, six give 0.031: {answer.own['fewest']}."
    )


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 3

# %% [markdown]
# ## Question 2: What can go (3 points)
#
# *Magnitude pruning* takes away the weights that are nearest to zero. All matrices compete, so that one that has many
# small weights loses many. It sounds like a threshold, and with a threshold it goes wrong as soon as weights are
# **equal**: after quantization, in a table of counts, or after an earlier pruning, thousands of weights share one
# value, and `size > threshold` takes all of them or none. So take a *number* of weights instead: of $n$ weights in
# all, `round(share * n)` go, and of equally small ones those that come first (matrices in the order of the
# dictionary, each read row by row).
#
# *Step by step.* Usually one prunes a little, tunes, and prunes again. What is gone stays gone and counts, even if
# training has moved the zero away from zero. And each step should cost about the same, so it takes the same share
# **of what is left**: to end at 0.75 in two steps, go to 0.5 first (half of all), then to 0.75 (half of the rest).
#
# Example: `{"q": [[0.5, -0.1], [0.2, 0.2]], "k": [[-0.2, 0.9]]}` at a share of 0.5. Three of six weights go: -0.1,
# and two of the three of size 0.2, the first ones, both in `q`. Left are 0.5 in `q` and all of `k`.
#
# **Write** `prune(weights, share, gone=None)`: `weights` is a dictionary of arrays, `gone` a dictionary of arrays
# with True where a weight has been taken away before. It returns a dictionary of arrays with True where a weight is
# **left**, and changes none of its arguments. And `schedule(share, steps)`: the shares after each of the steps, a
# list that ends with `share`.
#
# Then prune a classifier of your world. It has one weight for each word: how much more often it stands in positive
# reviews than in negative ones, as a logarithm. A review is called positive if the weights of its words add up to
# more than zero. **Compute** `left`: for each share in `TAKEN`, the accuracy on the 500 test reviews (0 to 1) with
# the pruned weights.

# %%
TAKEN = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)
train, test = (
    tasks.sentiment(world, count, split, "assignment") for count, split in ((400, "train"), (500, "test"))
)
words = sorted({word for review in train for word in review.words})
counts = np.full((2, len(words)), 0.5)
for review in train:
    for word in set(review.words):
        counts[review.label, words.index(word)] += 1
word_weights = np.array([round(math.log(positive / negative), 6) for negative, positive in counts.T])
print(len(words), "words; largest:", words[word_weights.argmax()], "smallest:", words[word_weights.argmin()])
print(len(set(word_weights.tolist())), "different weights")


# %%
def accuracy(weights):
    """The share of test reviews that are judged rightly by weights [words]."""
    known = dict(zip(words, weights, strict=True))
    right = [(sum(known.get(w, 0.0) for w in set(r.words)) > 0) == r.label for r in test]
    return float(np.mean(right))


# %% [raw]
# # BEGIN SOLUTION


# %%
def prune(weights, share, gone=None):
    """Which weights are left when the share of those nearest to zero has gone: a dictionary of bool arrays."""
    # BEGIN SOLUTION
    sizes = []
    for name, values in weights.items():
        size = np.abs(np.asarray(values, dtype=float))
        sizes.append(np.where(gone[name], -1.0, size).ravel() if gone else size.ravel())
    sizes = np.concatenate(sizes)
    stays = np.ones(len(sizes), dtype=bool)
    stays[np.argsort(sizes, kind="stable")[: round(share * len(sizes))]] = False
    shapes = {name: np.shape(values) for name, values in weights.items()}
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    parts = np.split(stays, ends[:-1])
    return {name: part.reshape(shapes[name]) for name, part in zip(shapes, parts, strict=True)}
    # END SOLUTION


# %%
def schedule(share, steps):
    """The share that is gone after each step, each step taking the same share of what is left: a list."""
    # BEGIN SOLUTION
    return [1 - (1 - share) ** (step / steps) for step in range(1, steps + 1)]
    # END SOLUTION


# %%
left = {}
# BEGIN SOLUTION
for share in TAKEN:
    left[share] = accuracy(word_weights * prune({"words": word_weights}, share)["words"])
# END SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_worked_example(answer, mine):
    """points: 1"""
    import numpy as np

    weights = {"q": np.array([[0.5, -0.1], [0.2, 0.2]]), "k": np.array([[-0.2, 0.9]])}
    found = answer.prune(weights, 0.5)
    assert found is not None, "prune gives None: does it return its dictionary?"
    kept = {name: np.asarray(part).astype(int).tolist() for name, part in found.items()}
    assert sum(map(sum, kept["q"] + kept["k"])) == 3, (
        f"Of six weights three are left at a share of 0.5, exactly, whatever is equal; yours: {kept}."
    )
    assert kept == {"q": [[1, 0], [0, 0]], "k": [[1, 1]]}, (
        f"Left are 0.5 in q and both of k, since of equal sizes the first go; yours (1 is left): {kept}."
    )
    found = answer.schedule(0.75, 2)
    assert found is not None, "schedule gives None: does it return its list?"
    assert np.allclose(found, [0.5, 0.75]), (
        f"0.75 in two steps is half of all, then half of the rest; yours: {found}."
    )


# %%
def test_random_weights(answer, mine):
    """points: 1, hidden
    random matrices with equal weights, in several steps; random schedules
    """
    import numpy as np

    rng = mine.fresh("q2")
    for trial in range(30):
        shapes = [tuple(rng.integers(1, 6, 2).tolist()) for _ in range(int(rng.integers(1, 4)))]
        draw = (lambda s: rng.integers(-3, 4, s) / 4) if trial % 2 else (lambda s: rng.normal(size=s))
        weights = {f"layer {i}": draw(shape) * (1 + 3 * i) for i, shape in enumerate(shapes)}
        flat = [(abs(w), i) for i, w in enumerate(v for values in weights.values() for v in values.ravel())]
        out, gone = set(), None
        for share in sorted(rng.uniform(0, 0.95, 2).tolist()):
            order = sorted(range(len(flat)), key=lambda i: (i not in out, flat[i]))
            out = set(order[: round(share * len(flat))])
            found = answer.prune(weights, share, gone)
            stays = np.concatenate([np.asarray(found[name]).ravel() for name in weights]).astype(bool)
            assert [np.shape(found[name]) for name in weights] == shapes, f"Shapes change: {shapes}."
            assert set(np.flatnonzero(~stays).tolist()) == out, (
                f"At a share of {share:.3f} of {len(flat)} weights {sorted(out)} should be gone (numbered through), "
                f"and with yours {np.flatnonzero(~stays).tolist()} are."
            )
            places = np.split(~stays, np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1])
            gone = {name: place.reshape(s) for name, place, s in zip(weights, places, shapes, strict=True)}
            for name in weights:  # training moves what is gone
                weights[name] = np.where(gone[name], 5.0, weights[name])
        share, steps = float(rng.uniform(0.1, 0.99)), int(rng.integers(1, 8))
        kept = (1 - share) ** (1 / steps)
        right = [1 - kept**step for step in range(1, steps + 1)]
        found = answer.schedule(share, steps)
        assert np.allclose(found, right), (
            f"schedule({share:.3f}, {steps}) is {np.round(right, 4)}, yours {found}."
        )


# %%
def test_own_classifier(answer, mine):
    """points: 1, hidden
    `left`, the classifier of your world
    """
    import math

    import numpy as np

    from utils.world import tasks

    train = tasks.sentiment(mine.world, 400, "train", "assignment")
    test = tasks.sentiment(mine.world, 500, "test", "assignment")
    words = sorted({word for review in train for word in review.words})
    seen = [[sum(w in r.words for r in train if r.label == label) + 0.5 for w in words] for label in (0, 1)]
    weights = np.array([round(math.log(b / a), 6) for a, b in zip(*seen, strict=True)])
    order = np.argsort(np.abs(weights), kind="stable")
    for share in (0.0, 0.5, 0.8, 0.9, 0.95, 0.99):
        kept = dict(zip(words, weights, strict=True))
        for place in order[: round(share * len(words))]:
            kept[words[place]] = 0.0
        right = np.mean([(sum(kept.get(w, 0.0) for w in set(r.words)) > 0) == r.label for r in test])
        found = answer.left[share]
        assert abs(found - right) < 0.003, (
            f"left[{share}] is {right:.3f} in this world, and yours {found:.3f}."
        )


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 4

# %% [markdown]
# ## Question 3: A word list against chance (4 points)
#
# WEAT (Caliskan et al. 2017) measures an association of two sets of *target* words, X and Y, with two sets of
# *attribute* words, A and B. The association of one target $w$ is
#
# $$
# s(w) = \frac{1}{|A|} \sum_{a \in A} \cos(w, a) - \frac{1}{|B|} \sum_{b \in B} \cos(w, b) .
# $$
#
# The *effect size* $d$ is the mean of $s$ over X minus the mean over Y, divided by the standard deviation of $s$ over
# all targets of both sets together, with $n - 1$ in its denominator.
#
# Is it chance? If it made no difference which targets are called X, every way to choose $|X|$ of all the targets
# would do as well. So the exact one-sided $p$ is the share of all these ways, **the one seen among them**, in which
# the difference of the two means is at least as large as the one seen. Sums of the same numbers in another order
# differ in their last digits; count a difference as *as large* if at most $10^{-9}$ are missing. The sets may have
# different sizes.
#
# Example in two dimensions: A is the vector (1, 0), B is (0, 1). X holds (2, 0) and (1, 0), Y holds (0, 3), (1, 1)
# and (0, 1). The associations are 1, 1 and -1, 0, -1. The difference of the means is 5/3, the standard deviation is
# 1, so $d$ is 5/3. Of the ten ways to choose two of five targets only the one seen reaches 5/3, and $p$ is 1/10. With
# sets of two and three it can never be smaller, whatever the words.
#
# **Write** `effect_size(x, y, a, b)` and `p_value(x, y, a, b)`, whose arguments are lists of vectors.
#
# In your world some jobs take *she* nine times in ten and others one time in ten. We know, because it was planted.
# Words get vectors from 5,000 stories of the world: for each word, with which other words it shares a story more
# often than chance would have it. X are the jobs of the first kind, Y those of the second. And there are two lists of
# attributes, each as plausible as the other: names of women and of men, and the pronouns. **Compute** `weat`: a
# dictionary with `"names"` and `"pronouns"`, each a pair $(d, p)$, and `"least"`, the smallest $p$ that sets of these
# sizes could give.

# %%
stories = [story.words for story, _ in zip(world.documents("assignment", "story"), range(5000), strict=False)]
told = sorted({word for story in stories for word in story})
number = {word: i for i, word in enumerate(told)}
together = np.zeros((len(told), len(told)))
for story in stories:
    ids = sorted({number[word] for word in story})
    together[np.ix_(ids, ids)] += 1
surprise = together * together.sum() / together.sum(0) / together.sum(1)[:, None]
vectors = np.log(np.maximum(surprise, 1))

# %%
share_of_she = {job: world.job_she[job].probabilities[0] for job in world.jobs.items}
LISTS = {
    "she": [job for job, share in share_of_she.items() if share > 0.8],
    "he": [job for job, share in share_of_she.items() if share < 0.2],
    "women": [name for name in lexicon.FEMALE.split() if name in number][:8],
    "men": [name for name in lexicon.MALE.split() if name in number][:8],
    "her": ["she", "her"],
    "his": ["he", "his"],
}
for name, some in LISTS.items():
    print(f"{name:6}", *some)


# %%
def rows(name):
    """The vectors of a list of words."""
    return [vectors[number[word]] for word in LISTS[name]]


# %% [raw]
# # BEGIN SOLUTION


# %%
# BEGIN SOLUTION
def associations(words, a, b):
    """s(w) of each word."""
    words, a, b = (np.asarray(v, float) for v in (words, a, b))
    words, a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (words, a, b))
    return (words @ a.T).mean(1) - (words @ b.T).mean(1)


# END SOLUTION


# %%
def effect_size(x, y, a, b):
    """WEAT's d."""
    # BEGIN SOLUTION
    first, second = associations(x, a, b), associations(y, a, b)
    return float((first.mean() - second.mean()) / np.concatenate([first, second]).std(ddof=1))
    # END SOLUTION


# %%
def p_value(x, y, a, b):
    """The exact one-sided p over all ways to choose the first set."""
    # BEGIN SOLUTION
    both = np.concatenate([associations(x, a, b), associations(y, a, b)])
    size, total = len(x), both.sum()

    def difference(chosen):
        some = both[list(chosen)].sum()
        return some / size - (total - some) / (len(both) - size)

    seen = difference(range(size))
    ways = [difference(chosen) >= seen - 1e-9 for chosen in combinations(range(len(both)), size)]
    return float(np.mean(ways))
    # END SOLUTION


# %%
# BEGIN SOLUTION
results = {}
for name, a, b in (("names", "women", "men"), ("pronouns", "her", "his")):
    results[name] = tuple(f(rows("she"), rows("he"), rows(a), rows(b)) for f in (effect_size, p_value))
least = 1 / math.comb(len(LISTS["she"]) + len(LISTS["he"]), len(LISTS["she"]))
# END SOLUTION
weat = results | {"least": least}  # SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_two_dimensions(answer, mine):
    """points: 1"""
    x, y, a, b = [[2, 0], [1, 0]], [[0, 3], [1, 1], [0, 1]], [[1, 0]], [[0, 1]]
    found = answer.effect_size(x, y, a, b)
    assert found is not None, "effect_size gives None: does it return its number?"
    assert abs(found - 5 / 3) < 1e-6, (
        f"The effect size of the example is 5/3, and yours is {found:.4f}. Are the vectors' lengths out of it, and is "
        "the standard deviation that of all five associations, with n - 1?"
    )
    found = answer.p_value(x, y, a, b)
    assert found is not None, "p_value gives None: does it return its number?"
    assert abs(found - 0.1) < 1e-6, f"Of ten ways one is as large: p is 1/10, and yours is {found:.4f}."
    found = answer.p_value(y, x, a, b)
    assert abs(found - 1) < 1e-6, (
        f"With X and Y exchanged every choice gives at least as much, so p is 1; yours is {found:.4f}. It is one-sided."
    )


# %%
def test_random_effects(answer, mine):
    """points: 1, hidden
    effect sizes of random vectors
    """
    import numpy as np

    rng = mine.fresh("q3 effect")
    for _ in range(30):
        sizes, d = rng.integers(2, 6, 4).tolist(), int(rng.integers(2, 6))
        x, y, a, b = ((rng.normal(size=(n, d)) * rng.uniform(0.2, 5, (n, 1))).tolist() for n in sizes)
        s = [
            np.mean([np.dot(w, v) / np.linalg.norm(w) / np.linalg.norm(v) for v in a])
            - np.mean([np.dot(w, v) / np.linalg.norm(w) / np.linalg.norm(v) for v in b])
            for w in x + y
        ]
        right = (np.mean(s[: len(x)]) - np.mean(s[len(x) :])) / np.std(s, ddof=1)
        found = answer.effect_size(x, y, a, b)
        assert abs(found - right) < 1e-6, (
            f"Sets of {sizes} vectors: d is {right:.4f}, and yours is {found:.4f}."
        )


# %%
def test_random_p_values(answer, mine):
    """points: 1, hidden
    p-values of random vectors, with sets of different sizes and equal associations
    """
    from itertools import combinations

    import numpy as np

    rng = mine.fresh("q3 p")
    a, b = [[1.0, 0.0]], [[0.0, 1.0]]
    grid = [[1, 0], [3, 1], [7, 5], [1, 3], [2, 9]]
    for trial in range(40):
        m, n = int(rng.integers(1, 6)), int(rng.integers(1, 5))
        pool = rng.integers(0, 5, m + n)
        words = [grid[i] for i in pool] if trial % 2 else rng.uniform(0.1, 1, (m + n, 2)).round(3).tolist()
        s = np.array([(w[0] - w[1]) / np.hypot(*w) for w in words])
        seen = s[:m].mean() - s[m:].mean()
        ways = list(combinations(range(m + n), m))
        diffs = [s[list(way)].mean() - s[[i for i in range(m + n) if i not in way]].mean() for way in ways]
        right = float(np.mean(np.array(diffs) >= seen - 1e-9))
        found = answer.p_value(words[:m], words[m:], a, b)
        assert abs(found - right) < 1e-6, (
            f"Associations {s[:m].round(3)} and {s[m:].round(3)}: p is {right:.4f} ({len(ways)} ways), yours {found}."
        )


# %%
def test_own_lists(answer, mine):
    """points: 1, hidden
    `weat`, the two lists in your world
    """
    import math
    from itertools import combinations

    import numpy as np

    from utils.bias import associations, effect_size
    from utils.world import lexicon

    world = mine.world
    stories = [s.words for s, _ in zip(world.documents("assignment", "story"), range(5000), strict=False)]
    told = sorted({word for story in stories for word in story})
    number = {word: i for i, word in enumerate(told)}
    seen = np.zeros((len(told), len(told)))
    for story in stories:
        ids = sorted({number[word] for word in story})
        seen[np.ix_(ids, ids)] += 1
    vectors = np.log(np.maximum(seen * seen.sum() / seen.sum(0) / seen.sum(1)[:, None], 1))
    shares = {job: world.job_she[job].probabilities[0] for job in world.jobs.items}
    x, y = [j for j, s in shares.items() if s > 0.8], [j for j, s in shares.items() if s < 0.2]
    women, men = ([n for n in names.split() if n in number][:8] for names in (lexicon.FEMALE, lexicon.MALE))
    ways = [list(way) for way in combinations(range(len(x) + len(y)), len(x))]
    for name, a, b in (("names", women, men), ("pronouns", ["she", "her"], ["he", "his"])):
        first, second = (
            associations(*(vectors[[number[w] for w in some]] for some in (target, a, b)))
            for target in (x, y)
        )
        s = np.concatenate([first, second])
        means = np.array([s[way].mean() - np.delete(s, way).mean() for way in ways])
        right = effect_size(first, second), float(np.mean(means >= first.mean() - second.mean() - 1e-9))
        got = answer.weat[name]
        assert np.allclose(got, right, atol=1e-4), (
            f"weat[{name!r}] is {right} in this world, and yours {got}."
        )
    least = 1 / math.comb(len(x) + len(y), len(x))
    assert abs(answer.weat["least"] - least) < 1e-6, (
        f"weat['least'] is 1/{len(ways)}, and yours {answer.weat['least']}."
    )


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# The same jobs, the same habit, the same vectors, and a list of names tells another story than a list of pronouns.
# You will need this for question 6.

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 3

# %% [markdown]
# ## Question 4: Find the bug, by feeding it noise (3 points)
#
# Assignment 4 fed a program the truth, to see whether it comes out whole. The other test is as cheap: **feed it
# noise.** Where there is nothing to be found a program must find nothing, and if it reports an accuracy above one
# half for two balanced labels, then part of every result that it ever reported was made of the same stuff.
#
# A colleague lets a language model judge reviews by prompts, without training anything. `scores[i][t]` tells by how
# much prompt $i$ prefers *good* to *bad* after text $t$. The program has three steps.


# %%
def colleague_accuracy(scores, labels):
    """The accuracy of a model that is asked by several prompts; labels are 0 and 1, equally many."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    # A. Some prompts say "good" to nearly everything: a prompt's median over the texts becomes its zero.
    answers = scores > np.median(scores, axis=1, keepdims=True)
    right = (answers == labels).mean(axis=1)
    # B. A prompt may mean the opposite ("... not at all ..."): then its two answers are exchanged.
    right = np.maximum(right, 1 - right)
    # C. Some prompts are understood better than others: the best one counts.
    return float(right.max())


# %%
def noise_sets():
    """Two hundred sets of scores with nothing in them: 8 prompts, 40 texts, and labels 0, 1, 0, 1, ..."""
    return mine.rng("noise").normal(size=(200, 8, 40)), np.arange(40) % 2


# %% [markdown]
# Every one of the steps sounds reasonable, and no weight was trained. **Find out** which of them use labels that
# nobody has at the time of use, and give their letters in alphabetical order in `guilty`.
#
# **Write** `honest_accuracy(scores, labels, dev)`. The texts whose numbers are in the list `dev` are for choosing: on
# them alone it is decided which prompts are exchanged (those with an accuracy below one half on `dev`) and which
# prompt is taken (the best on `dev` after exchanging; the first of equally good ones). What is returned is the
# accuracy of this prompt, exchanged or not, on all **other** texts. Steps without guilt stay as they are.
#
# Example: two prompts, eight texts with the labels 0, 1, 0, 1, ..., the first four for choosing. After step A prompt
# 1 is right on texts 0, 1, 2 and 5, prompt 2 on texts 4 and 5 and no other. On the four texts for choosing, prompt 1
# has 3/4, and prompt 2 has 0, or 1 if exchanged. So prompt 2 is taken, exchanged, and on the other four texts it is
# right on texts 6 and 7: 1/2. (The colleague would report 6/8.)
#
# **Compute** `noise`, a pair: the mean of `colleague_accuracy` and the mean of `honest_accuracy` over the 200 sets of
# noise, with the first 20 of the 40 texts for choosing.

# %% [raw]
# # BEGIN SOLUTION


# %%
def honest_accuracy(scores, labels, dev):
    """The accuracy on texts that are not in `dev`, of the prompt that is best on those that are."""
    # BEGIN SOLUTION
    scores, labels = np.asarray(scores), np.asarray(labels)
    right = (scores > np.median(scores, axis=1, keepdims=True)) == labels
    others = np.setdiff1d(np.arange(len(labels)), dev)
    chosen, tested = right[:, list(dev)].mean(axis=1), right[:, others].mean(axis=1)
    exchanged = chosen < 0.5
    best = np.argmax(np.where(exchanged, 1 - chosen, chosen))
    return float(1 - tested[best] if exchanged[best] else tested[best])
    # END SOLUTION


# %%
# BEGIN SOLUTION
sets, noise_labels = noise_sets()
by_colleague = np.mean([colleague_accuracy(scores, noise_labels) for scores in sets])
by_me = np.mean([honest_accuracy(scores, noise_labels, range(20)) for scores in sets])
# END SOLUTION
noise = (float(by_colleague), float(by_me))  # SOLUTION
guilty = "BC"  # SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_two_prompts(answer, mine):
    """points: 1"""
    labels = [0, 1, 0, 1, 0, 1, 0, 1]
    said = [[0, 1, 0, 0, 1, 1, 1, 0], [1, 0, 1, 0, 0, 1, 1, 0]]
    scores = [[3 + (2 * answer - 1) * (t + 1) / 2 for t, answer in enumerate(row)] for row in said]
    found = answer.honest_accuracy(scores, labels, [0, 1, 2, 3])
    assert found is not None, "honest_accuracy gives None: does it return its number?"
    assert abs(found - 0.5) < 1e-9, (
        f"In the example prompt 2 is taken, exchanged, and right on two of the other four texts; yours gives {found:.3f}."
    )
    found = answer.honest_accuracy([[9, 8, 7, 6], [1, 2, 1, 2]], [0, 1, 0, 1], [0, 1])
    assert abs(found - 1) < 1e-9, (
        f"A prompt that says good to everything still has its median for a zero; here the second one is perfect, and "
        f"yours gives {found:.3f}."
    )


# %%
def test_random_prompts(answer, mine):
    """points: 1, hidden
    random scores with some truth in them, and random texts for choosing
    """
    import numpy as np

    rng = mine.fresh("q4")
    for _ in range(60):
        prompts, texts = int(rng.integers(2, 7)), 2 * int(rng.integers(4, 15))
        labels = rng.permutation(np.arange(texts) % 2)
        scores = (
            rng.normal(size=(prompts, texts))
            + rng.normal(size=(prompts, 1)) * labels
            + rng.normal(size=(prompts, 1))
        )
        dev = sorted(
            rng.choice(texts, int(rng.choice([2, 4])), replace=False).tolist()
        )  # halves add up exactly
        others = [t for t in range(texts) if t not in dev]
        best, right = -1.0, None
        for row in scores:
            said = [int(value > np.median(row)) for value in row]
            on_dev = sum(said[t] == labels[t] for t in dev) / len(dev)
            if on_dev < 0.5:
                said, on_dev = [1 - answer for answer in said], 1 - on_dev
            if on_dev > best + 1e-12:
                best, right = on_dev, sum(said[t] == labels[t] for t in others) / len(others)
        found = answer.honest_accuracy(scores.tolist(), labels.tolist(), dev)
        assert abs(found - right) < 1e-9, (
            f"{prompts} prompts, {texts} texts, {len(dev)} for choosing: {right:.4f}, and yours gives {found:.4f}."
        )


# %%
def test_noise(answer, mine):
    """points: 1, hidden
    `noise` with your random numbers, and `guilty`
    """
    import numpy as np

    sets, labels = mine.rng("noise").normal(size=(200, 8, 40)), np.arange(40) % 2
    right = (sets > np.median(sets, axis=2, keepdims=True)) == labels
    all_texts, dev, others = right.mean(2), right[:, :, :20].mean(2), right[:, :, 20:].mean(2)
    by_colleague = np.maximum(all_texts, 1 - all_texts).max(1).mean()
    flipped = np.where(dev < 0.5, 1 - others, others)
    best = np.argmax(np.maximum(dev, 1 - dev), axis=1)
    by_me = flipped[np.arange(200), best].mean()
    found = answer.noise
    assert abs(found[0] - by_colleague) < 1e-6, (
        f"The colleague gets {by_colleague:.4f} from noise, yours {found[0]}."
    )
    assert abs(found[1] - by_me) < 0.02, f"The honest program gets {by_me:.4f} from noise, yours {found[1]}."
    assert sorted(answer.guilty) == ["B", "C"], f"B and C look at labels, A never does: {answer.guilty}."


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 4

# %% [markdown]
# ## Question 5: A planted shortcut, two cures, and a figure (4 points)
#
# In Lab 5 a network took a color in front of a review for the review's opinion. Does it take a network for that? Here
# the learner is logistic regression on a bag of words, the simplest reader there is, and you do the planting.
#
# **Write** three functions; labels are 0 and 1.
#
# `plant(texts, labels, share)` puts `"red . "` or `"blue . "` in front of each text. The *right* cue of label 1 is
# red, of label 0 blue. **Of each label** exactly `round(share * count)` texts, the first ones in the list, get the
# right cue, and the others the wrong one. (Counted over both labels together, one of them could get more wrong cues,
# and the cue would say something about how common a label is, too.)
#
# `both_cues(texts, labels)` makes each text into two, one behind red, then one behind blue, with the same label: a
# pair (texts, labels) of twice the length. On such texts the cue says nothing.
#
# `balancing(cues, labels)` is for whoever can't write new texts. It gives each text a weight in the training, so
# that, weighted, cue and label have nothing to do with each other, while neither label nor cue becomes more or less
# common (Kamiran and Calders 2012). If $n$ texts have $n_c$ times this cue, $n_y$ times this label, and $n_{cy}$
# times both, then chance would bring both together $n_c n_y / n$ times, and the weight is that over $n_{cy}$.
# Example: cues red, red, red, blue and labels 1, 1, 0, 0. For red and 1 it is $3 \cdot 2 / 4 / 2 = 0.75$, for red and
# 0 it is $3 \cdot 2/4/1 = 1.5$, and for blue and 0 it is $1 \cdot 2/4/1 = 0.5$.
#
# **Measure.** For each share in `SHARES`, train on the 400 reviews of your world with planted cues and test on its
# 500 test reviews. `measured[share]` is a dictionary of five accuracies:
#
# - `"usual"`: plain training; the test has cues planted with the same share, as a test usually has;
# - `"none"`: the same model, on test reviews without any cue;
# - `"against"`: the same model, on test reviews with the wrong cue in front of every one;
# - `"balanced"`: a model trained with the weights of `balancing`, tested with wrong cues;
# - `"both"`: a model trained on `both_cues`, tested with wrong cues.

# %%
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
reviews, opinions = ([" ".join(review.words) for review in train], [review.label for review in train])
test_reviews, test_opinions = ([" ".join(review.words) for review in test], [review.label for review in test])
bag = {
    word: i for i, word in enumerate(sorted({"red", "blue"} | {w for text in reviews for w in text.split()}))
}


# %%
def bags(texts):
    """1 where a text has a word: float [texts, words]."""
    found = np.zeros((len(texts), len(bag)))
    for row, text in zip(found, texts, strict=True):
        row[[bag[word] for word in text.split() if word in bag]] = 1
    return found


# %%
def fitted(texts, labels, weights=None):
    """Logistic regression on bags of words; `weights`, one for each text, say how much it counts."""
    return LogisticRegression(max_iter=1000).fit(bags(texts), labels, sample_weight=weights)


# %%
def right_share(model, texts, labels):
    """The share of texts that a model judges rightly."""
    return float(np.mean(model.predict(bags(texts)) == np.asarray(labels)))


# %% [markdown]
# The cell behind your measurements draws them. **Read the figure** and give three values:
#
# - `turns`: the smallest share in `SHARES` at which the plain model is right about fewer than half of the reviews
#   with the wrong cue;
# - `lift`: at 0.95, by how many points (of 100) the usual test is above the test without a cue, to one decimal: what
#   a leaderboard would take for progress;
# - `says`: the letters of **all** sentences that the figure supports, in alphabetical order, as `"AB"`. A sentence
#   may be true and still not be shown here.
#   - A. The model with the highest usual accuracy has learned best to read reviews.
#   - B. Where the wrong cues bring the plain model below a coin, it still reads opinions when there is no cue: what
#     it learned is not gone, it is overruled.
#   - C. At a share of 0.95 both cures are equally good.
#   - D. The usual test gets better and better as the model becomes worse and worse against the cue; so from the usual
#     test alone one cannot know.
#   - E. Trained on both cues the model is, with wrong cues in front, about as good as the plain one was at a share of
#     0.5, where the cue said nothing.
#   - F. A pretrained network would resist the cue for longer.

# %% [raw]
# # BEGIN SOLUTION


# %%
def plant(texts, labels, share):
    """The texts behind cues that are right in this share of each label: a list."""
    # BEGIN SOLUTION
    planted, seen = [], [0, 0]
    for text, label in zip(texts, labels, strict=True):
        right = seen[label] < round(share * list(labels).count(label))
        seen[label] += 1
        planted.append(f"{'red' if right == bool(label) else 'blue'} . {text}")
    return planted
    # END SOLUTION


# %%
def both_cues(texts, labels):
    """Each text behind red and behind blue: (texts, labels), twice as many."""
    # BEGIN SOLUTION
    doubled = [f"{cue} . {text}" for text in texts for cue in ("red", "blue")]
    return doubled, [label for label in labels for _ in range(2)]
    # END SOLUTION


# %%
def balancing(cues, labels):
    """A weight for each text, with which cue and label are independent: a list."""
    # BEGIN SOLUTION
    pairs = list(zip(cues, labels, strict=True))
    cues, labels = list(cues), list(labels)
    return [cues.count(c) * labels.count(y) / len(pairs) / pairs.count((c, y)) for c, y in pairs]
    # END SOLUTION


# %%
measured = {}
# BEGIN SOLUTION
wrong = plant(test_reviews, test_opinions, 0)
cured = right_share(fitted(*both_cues(reviews, opinions)), wrong, test_opinions)
for share in SHARES:
    cued = plant(reviews, opinions, share)
    plain = fitted(cued, opinions)
    balanced = fitted(cued, opinions, balancing([text.split()[0] for text in cued], opinions))
    measured[share] = {
        "usual": right_share(plain, plant(test_reviews, test_opinions, share), test_opinions),
        "none": right_share(plain, test_reviews, test_opinions),
        "against": right_share(plain, wrong, test_opinions),
        "balanced": right_share(balanced, wrong, test_opinions),
        "both": cured,
    }
# END SOLUTION

# %%
fig, ax = plt.subplots(figsize=(7, 4))
STYLES = {
    "usual": ("o-", "baseline", "usual test"),
    "none": ("s-", "frozen", "no cue"),
    "against": ("v-", "masked", "wrong cue"),
    "balanced": ("^--", "causal", "wrong cue, balanced"),
    "both": ("D--", "supervised", "wrong cue, both cues"),
}
for name, (marks, color, label) in STYLES.items():
    ax.plot(SHARES, [measured[share][name] for share in SHARES], marks, color=COLORS[color], label=label)
ax.axhline(0.5, color=COLORS["exact"], ls=":", lw=1.5)
ax.set(xlabel="share of right cues in training", ylabel="accuracy", ylim=(0, 1.02))
ax.legend(loc="lower left")
show(fig)

# %%
turns = min(share for share in SHARES if measured[share]["against"] < 0.5)  # SOLUTION
lift = round(100 * (measured[0.95]["usual"] - measured[0.95]["none"]), 1)  # SOLUTION
says = "BDE"  # SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_small_texts(answer, mine):
    """points: 1"""
    texts, labels = ["p", "q", "r", "s", "t", "u"], [1, 1, 1, 0, 1, 0]
    found = answer.plant(texts, labels, 0.5)
    assert found is not None, "plant gives None: does it return its list?"
    right = ["red . p", "red . q", "blue . r", "blue . s", "blue . t", "red . u"]
    assert list(found) == right, (
        f"plant({texts}, {labels}, 0.5) gives the right cue to the first two texts of label 1 and the first one of label "
        f"0; yours: {found}."
    )
    found = answer.both_cues(["p", "q"], [1, 0])
    assert found is not None, "both_cues gives None: does it return its pair?"
    right = ["red . p", "blue . p", "red . q", "blue . q"]
    assert list(found[0]) == right and list(found[1]) == [1, 1, 0, 0], (
        f"both_cues of p and q gives {right} with labels 1, 1, 0, 0; yours: {found}."
    )
    found = answer.balancing(["red", "red", "red", "blue"], [1, 1, 0, 0])
    assert found is not None, "balancing gives None: does it return its list?"
    assert max(abs(f - r) for f, r in zip(found, [0.75, 0.75, 1.5, 0.5], strict=True)) < 1e-9, (
        f"The weights of the example are 0.75, 0.75, 1.5, 0.5, and yours are {list(found)}."
    )


# %%
def test_random_texts(answer, mine):
    """points: 1, hidden
    random labels, shares and cues
    """
    import numpy as np

    rng = mine.fresh("q5")
    for _ in range(40):
        n, share = int(rng.integers(2, 30)), float(rng.choice([0, 0.3, 0.62, 0.9, 1]))
        labels = (rng.random(n) < rng.choice([0.3, 0.5, 0.8])).astype(int).tolist()
        texts = [f"text {i}" for i in range(n)]
        found = list(answer.plant(texts, labels, share))
        for label in (0, 1):
            places = [i for i in range(n) if labels[i] == label]
            first = round(share * len(places))
            for k, i in enumerate(places):
                cue = ("blue", "red")[label if k < first else 1 - label]
                assert found[i] == f"{cue} . text {i}", (
                    f"Labels {labels}, share {share}: text {i} should stand behind {cue}, and yours is {found[i]!r}."
                )
        doubled, twice = answer.both_cues(texts, labels)
        assert list(doubled) == [f"{cue} . {text}" for text in texts for cue in ("red", "blue")], (
            "both_cues differs."
        )
        assert list(twice) == np.repeat(labels, 2).tolist(), f"The labels of both_cues: {twice}."
        cues = np.where(rng.random(n) < 0.5, "red", "blue")
        table = {(c, y): sum((cues == c) & (np.array(labels) == y)) for c in ("red", "blue") for y in (0, 1)}
        right = [
            (table[c, 0] + table[c, 1]) * (table["red", y] + table["blue", y]) / n / table[c, y]
            for c, y in zip(cues.tolist(), labels, strict=True)
        ]
        found = answer.balancing(cues.tolist(), labels)
        assert np.allclose(found, right), (
            f"Cues {cues.tolist()}, labels {labels}: {right}, and yours {found}."
        )


# %%
def test_measured(answer, mine):
    """points: 1, hidden
    `measured` in your world
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from utils.world import tasks

    train = tasks.sentiment(mine.world, 400, "train", "assignment")
    test = tasks.sentiment(mine.world, 500, "test", "assignment")
    words = sorted({"red", "blue", *(word for review in train for word in review.words)})
    labels, truth = np.array([r.label for r in train]), np.array([r.label for r in test])

    def bags(some):
        return np.array([[float(word in review.words) for word in words] for review in some])

    def cued(table, labels, right):
        table = table.copy()
        red = np.where(right, labels, 1 - labels)
        table[:, words.index("red")], table[:, words.index("blue")] = red, 1 - red
        return table, red

    def planted(table, labels, share):
        right = np.zeros(len(labels), dtype=bool)
        for label in (0, 1):
            places = np.flatnonzero(labels == label)
            right[places[: round(share * len(places))]] = True
        return cued(table, labels, right)

    def model(table, labels, weights=None):
        return LogisticRegression(max_iter=1000).fit(table, labels, sample_weight=weights)

    train_bags, test_bags = bags(train), bags(test)
    wrong = planted(test_bags, truth, 0)[0]
    doubled = np.concatenate(
        [cued(train_bags, labels, labels == 1)[0], cued(train_bags, labels, labels == 0)[0]]
    )
    both = np.mean(model(doubled, np.tile(labels, 2)).predict(wrong) == truth)
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        table, red = planted(train_bags, labels, share)
        counts = np.array([[((red == c) & (labels == y)).sum() for y in (0, 1)] for c in (0, 1)])
        weights = (counts.sum(1)[:, None] * counts.sum(0) / counts.sum() / np.maximum(counts, 1))[red, labels]
        plain, balanced = model(table, labels), model(table, labels, weights)
        right = {
            "usual": np.mean(plain.predict(planted(test_bags, truth, share)[0]) == truth),
            "none": np.mean(plain.predict(test_bags) == truth),
            "against": np.mean(plain.predict(wrong) == truth),
            "balanced": np.mean(balanced.predict(wrong) == truth),
            "both": both,
        }
        for name, value in right.items():
            found = answer.measured[share][name]
            assert abs(found - value) < 0.0125, (
                f"measured[{share}][{name!r}] is {value:.3f} in this world, and yours {found:.3f}."
            )


# %%
def test_reading(answer, mine):
    """points: 1, hidden
    `turns`, `lift` and `says`, the figure of your world
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    from utils.world import tasks

    train = tasks.sentiment(mine.world, 400, "train", "assignment")
    test = tasks.sentiment(mine.world, 500, "test", "assignment")
    words = sorted({"red", "blue", *(word for review in train for word in review.words)})

    def table(some, share):
        found = np.array([[float(word in review.words) for word in words] for review in some])
        labels = np.array([review.label for review in some])
        if share is not None:
            for label in (0, 1):
                places = np.flatnonzero(labels == label)
                first = round(share * len(places))
                for k, place in enumerate(places):
                    red = (label == 1) == (k < first)
                    found[place, words.index("red" if red else "blue")] = 1
        return found, labels

    against, usual, none = {}, {}, {}
    for share in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95):
        model = LogisticRegression(max_iter=1000).fit(*table(train, share))
        against[share] = model.score(*table(test, 0))
        usual[share], none[share] = model.score(*table(test, share)), model.score(*table(test, None))
    turns = [share for share, value in against.items() if value < 0.5]
    close = [share for share, value in against.items() if abs(value - 0.5) < 0.0125]
    assert answer.turns in (min(turns), *close), (
        f"turns is {min(turns)} in this world, and yours {answer.turns}."
    )
    lift = 100 * (usual[0.95] - none[0.95])
    assert abs(answer.lift - lift) < 1.5, f"lift is {lift:.1f} in this world, and yours {answer.lift}."
    assert set(answer.says) == set("BDE"), (
        f"The figure supports B, D and E, and yours says {answer.says}. A takes the cue's gain for reading; at 0.95 "
        "balanced weights are far below both cues, so C is wrong; F may be true, and no network is in the figure."
    )


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q6
# points: 3
# manual: true

# %% [markdown]
# ## Question 6: What has been shown? (3 points)
#
# The last question is answered in words. A manuscript about the word vectors of *your* world (question 3) reaches you
# for review. Its summary:
#
# > "We test vectors of job titles with WEAT, with women's and men's first names as attributes. The association is not
# > significant ($p > 0.05$), so the vectors are free of gender bias. With the pronouns *she, her* and *he, his* we
# find > an effect. We take the direction *she* minus *he* out of all vectors; after that, the effect size with the
# pronouns is > close to zero. The vectors can now be used to rank job applications without harm."
#
# (If your numbers in question 3 do not fit the summary in every point, say so; it is the authors' claim that you
# judge.)
#
# **Write** 150 to 250 words on three points, one paragraph each:
#
# 1. *The test.* What may be concluded from the result with the names, and what may not? Use the sizes of the lists
#    and a number of your own from question 3, and say what is known about this world that the authors did not know.
# 2. *The cure.* Why is the effect size after the projection no evidence that the association is gone? Name one
#    measurement on the projected vectors that would be evidence, and what result would worry you.
# 3. *The use.* What would have to be measured before the last sentence may be written, and against what? Name one
#    thing that the cure may cost, and how you would see it.

# %% [raw]
# # BEGIN SOLUTION

# %% [markdown]
# (Full marks.) With four jobs against five there are 126 ways to choose, so no p can be below 0.008, and a real habit
# has to be very strong to be seen. In my world the names give $d = -0.4$ and $p = 0.71$; yet two fifths of all jobs
# there take one pronoun nine times in ten, since it was planted. So "not significant" means that this list did not
# see it. Women's and men's names stand beside any job alike; the pronouns, which agree with the job, see it with the
# same vectors ($d = 1.2$). An instrument failed, nothing is shown about the vectors.
#
# The projection takes out the very direction that the test looks at, so a small effect with the pronouns would follow
# even if all else stayed. I would train a classifier on the projected vectors of some jobs to tell the she-jobs from
# the he-jobs, and test it on others, against shuffled labels. If it is right far more often than with shuffled
# labels, the habit is still in there, and a ranking could use it.
#
# For the use I would measure in the use: rank applications that differ in the name or pronoun alone, count how often
# the order changes, compare with the vectors before the cure and with no vectors at all, with an interval over
# applications. The cure may cost what the direction also carries, who is meant by *she* in a sentence: I would
# compare accuracy on sentences in which a name decides the pronoun, before and after.
#
# **Rubric**: one point for each paragraph; half a point if half of it is there, or if it is right in general and not
# tied to this case; zero otherwise.
#
# - 1 point, *the test*: no effect seen is not no effect (0.5); tied to this case by the few targets or the smallest
#   possible p, an own number, and the planted shares, which say that the habit exists (0.5). An answer whose own
#   names did reach $p < 0.05$ says that the summary does not hold in its world, and gets the point if it argues with
#   the sizes.
# - 1 point, *the cure*: the projection removes what the score looks at (0.5); a measurement that looks elsewhere,
#   such as a classifier on held-out jobs, neighbors, another attribute list, the application, with the result that
#   would worry (0.5).
# - 1 point, *the use*: behavior in the application, on pairs that differ in one thing, against a comparison (0.5); a
#   cost and how to see it (0.5).
#
# Half marks (1.5): *A p-value above 0.05 does not prove that there is no bias. It could be that the sample was too
# small. The projection only removes one direction, and bias can be in other directions too (Gonen and Goldberg showed
# that). One should test it on real applications and with other methods before using it, since people could be
# harmed.* (Each paragraph is right in general; no number of one's own, no result that would worry, no cost.)
#
# Zero: *The authors did the right thing. First they tested, and where they found a bias they removed it, and the
# score is zero now, so the vectors are fair. But all models are biased because people are, so nothing can be done in
# the end.*

# %% [raw]
# # END SOLUTION

# %% [raw]
# # END QUESTION
