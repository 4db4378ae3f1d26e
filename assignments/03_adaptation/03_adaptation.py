# %% [raw]
# # ASSIGNMENT CONFIG

# %% [markdown]
# # Assignment 3: What to change, and what to hold
#
# <!-- colab badge -->
#
# Adapting a network is a handful of small decisions, and each of them is a few lines of code that can be wrong without any
# error. You write a recipe of learning rates, modules that begin as nothing and can be folded away, and the importance that
# elastic weight consolidation gives to each weight. You find out why frozen weights move. And you ask, in a world of your
# own, whether tuning on a few labels does any good, with an answer that has an interval.
#
# **You should know** the chapter *How to adapt a pretrained model* and Lab 3. **You need** three to four hours. There are
# 20 points: 18 are given by checks, some of which you can run here, and 2 by your teacher for the answer in words.
#
# Where a cell has `...`, your answer goes; keep the names. All functions get and return numbers, lists, dictionaries, NumPy
# arrays or PyTorch tensors, and none of them may change its arguments.
#
# | question | | points |
# |---|---|---|
# | 1 | Who learns when, and how fast? | 3 |
# | 2 | Modules that begin as nothing | 4 |
# | 3 | Which weights matter? | 4 |
# | 4 | Find the bug: frozen weights that move | 3 |
# | 5 | Does tuning help? | 4 |
# | 6 | Read your figure (in words) | 2 |

# %%
# course setup

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import stats

from utils import checks
from utils.plots import COLORS, show, style
from utils.world import tasks

# %%
student = "open"  # your student id
code = ""  # the code that your teacher sent you

# %%
mine = checks.Assignment("03_adaptation", student, code)
world = mine.world
style()

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: Who learns when, and how fast? (3 points)
#
# ULMFiT's recipe has three parts, and Lab 3 switched them on and off one by one. Here they meet in one table: the learning
# rate of every layer at every step.
#
# - **Slanted triangular.** With $T$ steps, the rate rises during the first $k$ of them and falls during the rest, where $k$
#   is $cT$ rounded down, and at least 1. At step $t = 0, 1, \dots, T - 1$ the factor is
#   $\dfrac{1 + p_t (\rho - 1)}{\rho}$ with $p_t = t / k$ for $t < k$, else $p_t = 1 - \dfrac{t - k}{T - k}$.
# - **Discriminative.** The top layer has the full rate; each layer further down has that of the layer above it divided by
#   `decay`.
# - **Gradual unfreezing.** At first only the top layer learns. After every `every` steps one more layer joins, from the top
#   down; with `every` 0 all layers learn from the start. A frozen layer has rate 0. The triangle runs on meanwhile: who
#   thaws late meets it where it is then.
#
# **Write `rates(steps, layers, peak, share, ratio, decay, every)`** with `share` $= c$ and `ratio` $= \rho$. Return an array
# [steps, layers] whose column 0 is the *lowest* layer and whose last column is the top one.
#
# For example, `rates(4, 2, peak=1.0, share=0.5, ratio=5, decay=2.0, every=2)` is
#
# | step | layer 0 | layer 1 |
# |---|---|---|
# | 0 | 0 | 0.2 |
# | 1 | 0 | 0.6 |
# | 2 | 0.5 | 1 |
# | 3 | 0.3 | 0.6 |

# %% [raw]
# # BEGIN SOLUTION


# %%
def rates(
    steps: int, layers: int, peak: float, share: float, ratio: float, decay: float, every: int
) -> np.ndarray:
    """The learning rate of each layer (columns, lowest first) at each step (rows): float [steps, layers]."""
    # BEGIN SOLUTION
    cut = max(1, int(steps * share))
    t = np.arange(steps)
    p = np.where(t < cut, t / cut, 1 - (t - cut) / (steps - cut))
    triangle = peak * (1 + p * (ratio - 1)) / ratio
    below_top = layers - 1 - np.arange(layers)
    learns = t[:, None] >= every * below_top
    return learns * triangle[:, None] / decay**below_top
    # END SOLUTION


# %%
# The recipe of ULMFiT over 96 steps, five layers. Which layer gets how much of all the rate that is spent?
recipe = rates(96, 5, 1.0, 0.1, 32, 2.6, 12)
if recipe is not None:
    fig, ax = plt.subplots()
    ax.plot(recipe, drawstyle="steps-post", label=[f"layer {i}" for i in range(5)])
    ax.set(xlabel="step", ylabel="learning rate", yscale="log")
    ax.legend()
    show(fig)
    print("share of the rate spent, from the lowest layer up:", (recipe.sum(0) / recipe.sum()).round(3))

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_table_of_the_example(answer, mine):
    """points: 1"""
    import numpy as np

    found = answer.rates(4, 2, peak=1.0, share=0.5, ratio=5, decay=2.0, every=2)
    assert found is not None, "rates is not written yet: it must return the table."
    found = np.asarray(found, dtype=float)
    assert found.shape == (4, 2), (
        f"The table has a row for each step and a column for each layer: yours is {found.shape}."
    )
    right = np.array([[0, 0.2], [0, 0.6], [0.5, 1], [0.3, 0.6]])
    assert np.allclose(found[:, 1], right[:, 1]), (
        f"The top layer of the example has the rates {right[:, 1].tolist()}, yours {found[:, 1].round(3).tolist()}: the peak "
        "is at step k, and the lowest factor is 1 / ratio, not 0."
    )
    assert np.allclose(found[:, 0], right[:, 0]), (
        f"Layer 0 of the example has the rates {right[:, 0].tolist()}, yours {found[:, 0].round(3).tolist()}: it joins "
        "after `every` steps and learns more slowly than the layer above."
    )


# %%
def test_single_switches(answer, mine):
    """points: 1, hidden
    one part of the recipe at a time
    """
    import numpy as np

    random = mine.fresh("q1 switches")
    for _ in range(5):
        steps, layers, peak = (
            int(random.integers(20, 200)),
            int(random.integers(3, 8)),
            float(random.uniform(0.01, 1)),
        )
        decay, every = float(random.uniform(1.5, 3)), int(random.integers(2, steps // layers))
        flat = np.asarray(answer.rates(steps, layers, peak, 0.2, 1.0, 1.0, every))
        first = [int(np.flatnonzero(flat[:, i])[0]) for i in range(layers)]
        right = [every * (layers - 1 - i) for i in range(layers)]
        assert first == right, (
            f"With every = {every} the layers join at {right}, from the lowest up, not at {first}."
        )
        slow = np.asarray(answer.rates(steps, layers, peak, 0.2, 1.0, decay, 0))
        right = peak / decay ** np.arange(layers - 1, -1, -1)
        assert np.allclose(slow, right), (
            f"Without triangle and freezing the layers have {right}, not {slow[0]}."
        )


# %%
def test_random_recipes(answer, mine):
    """points: 1, hidden
    random recipes
    """
    import numpy as np

    random = mine.fresh("q1 recipes")
    for _ in range(8):
        steps, layers, every = (
            int(random.integers(10, 150)),
            int(random.integers(1, 7)),
            int(random.integers(0, 12)),
        )
        peak, share = float(random.uniform(0.001, 1)), float(random.choice([0.03, 0.1, 0.25, 0.5]))
        ratio, decay = float(random.uniform(2, 40)), float(random.uniform(1, 3))
        cut = max(1, int(steps * share))
        found = np.asarray(answer.rates(steps, layers, peak, share, ratio, decay, every))
        assert found.shape == (steps, layers), (
            f"The table of {steps} steps and {layers} layers is {found.shape}."
        )
        for t in range(steps):
            p = t / cut if t < cut else 1 - (t - cut) / (steps - cut)
            for i in range(layers):
                down = layers - 1 - i
                right = peak * (1 + p * (ratio - 1)) / ratio / decay**down if t >= every * down else 0
                assert abs(found[t, i] - right) < 1e-9, (
                    f"T={steps}, layers={layers}, c={share}, ratio={ratio:.2f}, decay={decay:.2f}, every={every}: layer {i} at "
                    f"step {t} has {right:.5f}, not {found[t, i]:.5f}."
                )


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 4

# %% [markdown]
# ## Question 2: Modules that begin as nothing (4 points)
#
# A new module with random weights would spoil a good network before it has learned anything. So adapters and LoRA begin as
# nothing, and LoRA can end as nothing, too: what it learned is added to the weights, and the network is as fast as before.
# Write both for tensors; as in PyTorch, a linear map with `weight` [out, in] takes rows `x` [n, in] to `x @ weight.T`.
#
# **`lora(x, weight, a, b, alpha)`**: the map with its low-rank update, $x W^\top + \frac{\alpha}{r}\, x A^\top B^\top$, with
# $A$ [r, in] and $B$ [out, r]. The rank is read off `a`.
#
# **`merge(weight, a, b, alpha)`**: one weight [out, in] that does the same as `lora`.
#
# **`switch(merged, old, new)`**: a server keeps one merged weight and serves many tasks. `old` and `new` are triples
# `(a, b, alpha)`, perhaps of different rank. Return the weight with `old` taken out and `new` folded in.
#
# **`adapter(h, down, down_bias, up, up_bias)`**: a bottleneck, $h + \mathrm{GELU}(h\, W_{down}^\top + b_{down})\,
# W_{up}^\top + b_{up}$. With its nonlinearity, it can't be folded into any weight.
#
# For example, with $W = (1\;\, 2)$, $A = (1\;\, 1)$, $B = (3)$ and $\alpha = 2$: `merge` is $(7\;\, 8)$, and the row
# $(1, 1)$ is taken to 15.
#
# Then think. An adapter is nothing if `up` and `up_bias` are zero, **or** if all four of its tensors are zero, **or** if
# `down`, `down_bias` and `up_bias` are zero and `up` is random. But it must also be able to learn. Which tensors get a
# gradient other than zero at the very first update (for random `h`, and a random gradient coming from above)? Give the set
# of their names for each of the three starts, `up_zero`, `all_zero` and `down_zero`; for instance, `{"up", "down_bias"}`. You
# can find out by thinking, or by an experiment with `backward()`; GELU is 0 at 0, and its slope there is 1/2.

# %% [raw]
# # BEGIN SOLUTION


# %%
def lora(
    x: torch.Tensor, weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, alpha: float
) -> torch.Tensor:
    """A linear map with a low-rank update beside it: [n, in] -> [n, out]."""
    # BEGIN SOLUTION
    return x @ weight.T + alpha / len(a) * (x @ a.T) @ b.T
    # END SOLUTION


# %%
def merge(weight: torch.Tensor, a: torch.Tensor, b: torch.Tensor, alpha: float) -> torch.Tensor:
    """The weight [out, in] of one linear map that does the same as `lora`."""
    # BEGIN SOLUTION
    return weight + alpha / len(a) * b @ a
    # END SOLUTION


# %%
def switch(merged: torch.Tensor, old: tuple, new: tuple) -> torch.Tensor:
    """The merged weight [out, in] of another task: `old` and `new` are (a, b, alpha)."""
    # BEGIN SOLUTION
    a, b, alpha = old
    return merge(merge(merged, a, -b, alpha), *new)
    # END SOLUTION


# %%
def adapter(
    h: torch.Tensor, down: torch.Tensor, down_bias: torch.Tensor, up: torch.Tensor, up_bias: torch.Tensor
) -> torch.Tensor:
    """A bottleneck adapter: [n, d] -> [n, d], with down [m, d], down_bias [m], up [d, m], up_bias [d]."""
    # BEGIN SOLUTION
    return h + torch.nn.functional.gelu(h @ down.T + down_bias) @ up.T + up_bias
    # END SOLUTION


# %%
up_zero = {"up", "up_bias"}  # SOLUTION
all_zero = {"up_bias"}  # SOLUTION
down_zero = {"down", "down_bias", "up_bias"}  # SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_lora_example(answer, mine):
    """points: 1"""
    import torch

    w, a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[3.0]])
    x = torch.tensor([[1.0, 1.0]])
    found = answer.merge(w, a, b, 2.0)
    assert found is not None, "merge is not written yet: it must return a tensor."
    assert tuple(found.shape) == (1, 2), (
        f"A merged weight has the shape of the weight, [1, 2]; yours is {tuple(found.shape)}."
    )
    assert torch.allclose(found, torch.tensor([[7.0, 8.0]])), (
        f"In the example merge gives [[7, 8]], yours {found.tolist()}."
    )
    found = answer.lora(x, w, a, b, 2.0)
    assert found is not None, "lora is not written yet: it must return a tensor."
    assert abs(float(found) - 15) < 1e-5, (
        f"In the example lora takes (1, 1) to 15, yours to {found.tolist()}."
    )
    back = answer.switch(torch.tensor([[7.0, 8.0]]), (a, b, 2.0), (a, 0 * b, 2.0))
    assert back is not None and torch.allclose(back, w), (
        "Taking a task out and folding nothing in must give the weight back."
    )


# %%
def test_adapter_begins_as_nothing(answer, mine):
    """points: 0"""
    import torch

    h = torch.tensor([[1.0, -2.0]])
    down, none = torch.tensor([[0.5, 1.0]]), torch.zeros(1)
    found = answer.adapter(h, down, none, torch.zeros(2, 1), torch.zeros(2))
    assert found is not None, "adapter is not written yet: it must return a tensor."
    assert torch.allclose(found, h), (
        f"With `up` and its bias zero, h comes out as it went in: yours gives {found.tolist()}."
    )


# %%
def test_lora_on_random_weights(answer, mine):
    """points: 1, hidden
    random sizes, ranks and tasks
    """
    import torch

    random = mine.fresh("q2 lora")
    for _ in range(5):
        n, i, o = (int(v) for v in random.integers(2, 9, 3))
        w, x = torch.tensor(random.normal(size=(o, i))), torch.tensor(random.normal(size=(n, i)))
        made = []
        for _ in range(2):
            r = int(random.integers(2, 5))
            a, b = torch.tensor(random.normal(size=(r, i))), torch.tensor(random.normal(size=(o, r)))
            made.append((a, b, float(random.uniform(1, 16))))
        (a, b, alpha), second = made
        full = w + alpha / len(a) * b @ a
        assert torch.allclose(answer.lora(x, w, a, b, alpha), x @ full.T), (
            f"lora is wrong for rank {len(a)}, alpha {alpha:.2f}."
        )
        assert torch.allclose(answer.merge(w, a, b, alpha), full), (
            f"merge is wrong for rank {len(a)}, alpha {alpha:.2f}."
        )
        other = w + second[2] / len(second[0]) * second[1] @ second[0]
        found = answer.switch(full, made[0], second)
        assert torch.allclose(found, other), f"switch is wrong from rank {len(a)} to rank {len(second[0])}."


# %%
def test_adapter_on_random_weights(answer, mine):
    """points: 1, hidden
    random adapters
    """
    import torch

    random = mine.fresh("q2 adapter")
    for _ in range(5):
        n, d, m = (int(v) for v in random.integers(2, 7, 3))
        shapes = ((n, d), (m, d), (m,), (d, m), (d,))
        h, down, db, up, ub = (torch.tensor(random.normal(size=s)) for s in shapes)
        right = h + torch.nn.functional.gelu(h @ down.T + db) @ up.T + ub
        found = answer.adapter(h, down, db, up, ub)
        assert torch.allclose(found, right, atol=2e-3), "adapter is wrong on random weights (with biases)."


# %%
def test_moves(answer, mine):
    """points: 1, hidden
    what can learn at the first update
    """
    assert set(answer.up_zero) == {"up", "up_bias"}, "With up zero, nothing gets through to `down` yet."
    assert set(answer.all_zero) == {"up_bias"}, (
        "With all zero, `up` sees zeros and `down` gets nothing: a dead start."
    )
    assert set(answer.down_zero) == {"down", "down_bias", "up_bias"}, "With down zero, only `up` has to wait."


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 4

# %% [markdown]
# ## Question 3: Which weights matter? (4 points)
#
# Elastic weight consolidation holds each weight as strongly as the old task depends on it: by its Fisher information. Lab 3
# estimated it by *drawing* labels from the model. For a softmax classifier no drawing is needed, for the mean over labels
# can be taken exactly.
#
# A classifier has `weight` [classes, d] and gives text $x$ the probabilities $p = \mathrm{softmax}(W x)$. The gradient of
# $\log p(y \mid x)$ for the weight of class $c$ and feature $j$ is
#
# $$\frac{\partial \log p(y \mid x)}{\partial W_{cj}} = \bigl( [y = c] - p_c \bigr)\, x_j .$$
#
# **Write `fisher(x, weight)`** for texts `x` [n, d]: for each weight the square of this gradient, averaged over the texts
# *and* over all labels $y$, each as probable as the model says. Squares first, then the mean: positive and negative
# gradients would cancel. An array [classes, d].
#
# **Write `empirical(x, labels, weight)`**, what many programs compute in its place: the same with the labels of the data.
# Where the model fits its data, this quantity goes to zero, and with it the protection.
#
# **Write `anchored(weight, start, importance, strength)`**: the pair of the penalty
# $\frac{\lambda}{2} \sum_{cj} F_{cj} (W_{cj} - W^0_{cj})^2$ and its gradient [classes, d].
#
# For example, with two classes, one feature, `weight` $= (\ln 3,\, 0)$ and one text $x = 2$ the probabilities are
# $\mathrm{softmax}(2 \ln 3,\, 0) = (0.9,\, 0.1)$; `fisher` is $0.9 \cdot 0.1 \cdot 4 = 0.36$ for both weights, and
# `empirical` with label 0 is $0.1^2 \cdot 4 = 0.04$.
#
# **What does it hold?** The cell after this one trains a reader of product reviews in your world: a softmax classifier that
# sees which words occur. With your function, find `heaviest`, the set of the five words with the largest difference of the
# weights of both classes, in absolute value; `most_important`, the set of the three words with the largest Fisher
# information (summed over both classes); and `held_by_frequent`, the share of all Fisher information that falls on the
# twenty words that occur in most training reviews (of several, the first in the alphabet). Are the words that decide the
# ones that are held?


# %%
def features(items, index):
    """Which words of `index` each review has, float [reviews, words], and the labels, int [reviews]."""
    table = np.zeros((len(items), len(index)), dtype=np.float32)
    for row, item in enumerate(items):
        table[row, [index[word] for word in item.words if word in index]] = 1
    return table, np.array([item.label for item in items])


# %%
def softmax(logits):
    """Probabilities by row: [n, classes] -> [n, classes]."""
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


# %%
def train(x, labels, start, steps=200, rate=1.0, pull=0.0):
    """A softmax classifier after gradient descent from `start`; `pull` draws it back there in each step."""
    weight, truth = start.copy(), np.eye(2, dtype=np.float32)[labels]
    for _ in range(steps):
        weight -= rate * ((softmax(x @ weight.T) - truth).T @ x / len(x) + pull * (weight - start))
    return weight


# %%
product_reviews = tasks.sentiment(world, 1500, "train", "old", domain="product")
film_reviews = tasks.sentiment(world, 1500, "train", "new", domain="film")
vocabulary = sorted({word for item in product_reviews + film_reviews for word in item.words})
index = {word: i for i, word in enumerate(vocabulary)}

# %%
x_old, y_old = features(product_reviews, index)
reader = train(x_old, y_old, np.zeros((2, len(index)), dtype=np.float32), 300)
print("its training accuracy:", np.mean((x_old @ reader.T).argmax(1) == y_old))

# %% [raw]
# # BEGIN SOLUTION


# %%
def fisher(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The exact diagonal Fisher information of a softmax classifier: [n, d], [classes, d] -> [classes, d]."""
    # BEGIN SOLUTION
    p = softmax(x @ weight.T)
    return (p * (1 - p)).T @ x**2 / len(x)
    # END SOLUTION


# %%
def empirical(x: np.ndarray, labels: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mean squared gradient with the labels of the data: [classes, d]."""
    # BEGIN SOLUTION
    p = softmax(x @ weight.T)
    return ((np.eye(len(weight))[labels] - p) ** 2).T @ x**2 / len(x)
    # END SOLUTION


# %%
def anchored(
    weight: np.ndarray, start: np.ndarray, importance: np.ndarray, strength: float
) -> tuple[float, np.ndarray]:
    """The penalty of elastic weight consolidation and its gradient [classes, d]."""
    # BEGIN SOLUTION
    away = weight - start
    return float(strength / 2 * (importance * away**2).sum()), strength * importance * away
    # END SOLUTION


# %%
# BEGIN SOLUTION
difference, information = np.abs(reader[1] - reader[0]), fisher(x_old, reader).sum(0)
frequent = np.argsort(-x_old.sum(0), kind="stable")[:20]
# END SOLUTION
heaviest = {vocabulary[i] for i in np.argsort(-difference)[:5]}  # SOLUTION
most_important = {vocabulary[i] for i in np.argsort(-information)[:3]}  # SOLUTION
held_by_frequent = float(information[frequent].sum() / information.sum())  # SOLUTION
print(heaviest, most_important, held_by_frequent)

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_fisher_example(answer, mine):
    """points: 1"""
    import numpy as np

    x, weight = np.array([[2.0]]), np.array([[np.log(3)], [0.0]])
    found = answer.fisher(x, weight)
    assert found is not None, "fisher is not written yet: it must return an array [classes, d]."
    assert np.shape(found) == (2, 1), (
        f"fisher has the shape of the weight, (2, 1); yours is {np.shape(found)}."
    )
    assert np.allclose(found, 0.36), (
        f"In the example fisher is 0.36 for both weights, yours is {np.ravel(found)}."
    )
    found = answer.empirical(x, np.array([0]), weight)
    assert found is not None and np.allclose(found, 0.04), (
        "In the example empirical is 0.04 for both weights."
    )
    found = answer.anchored(weight, weight - 1, np.array([[1.0], [3.0]]), 0.5)
    assert found is not None and len(found) == 2, "anchored must return the penalty and its gradient."
    assert abs(found[0] - 1.0) < 1e-6, (
        "Each weight is 1 from its start, importance 1 and 3, strength 0.5: the penalty is 1."
    )
    assert np.allclose(found[1], [[0.5], [1.5]]), (
        "The gradient does not belong to the penalty: derive it for one weight."
    )


# %%
def test_fisher_on_random_classifiers(answer, mine):
    """points: 1, hidden
    more classes and texts
    """
    import numpy as np

    random = mine.fresh("q3 fisher")
    for _ in range(4):
        n, d, k = int(random.integers(3, 30)), int(random.integers(2, 7)), int(random.integers(2, 6))
        x, weight, labels = random.normal(size=(n, d)), random.normal(size=(k, d)), random.integers(0, k, n)
        right, data = np.zeros((k, d)), np.zeros((k, d))
        for row, label in zip(x, labels, strict=True):
            e = np.exp(weight @ row)
            p = e / e.sum()
            for y in range(k):
                square = (((np.arange(k) == y) - p)[:, None] * row) ** 2
                right += p[y] * square / n
                data += (y == label) * square / n
        assert np.allclose(answer.fisher(x, weight), right), f"fisher is wrong for {n} texts and {k} classes."
        assert np.allclose(answer.empirical(x, labels, weight), data), (
            f"empirical is wrong for {n} texts, {k} classes."
        )


# %%
def test_anchored_on_random_weights(answer, mine):
    """points: 1, hidden
    penalties and their gradients
    """
    import numpy as np

    random = mine.fresh("q3 anchor")
    for _ in range(4):
        shape = int(random.integers(2, 5)), int(random.integers(2, 6))
        weight, start = random.normal(size=shape), random.normal(size=shape)
        importance, strength = random.exponential(1, shape), float(random.uniform(0.1, 50))
        penalty, gradient = answer.anchored(weight, start, importance, strength)
        away = weight - start
        right = strength / 2 * (importance * away**2).sum()
        assert np.isclose(penalty, right), (
            f"The penalty is {right:.4f}, not {penalty:.4f} (strength {strength:.2f})."
        )
        assert np.allclose(gradient, strength * importance * away), "The gradient is not that of the penalty."
        penalty, gradient = answer.anchored(start, start, importance, strength)
        assert penalty == 0 and not np.any(gradient), "At the start there is neither penalty nor gradient."


# %%
def test_what_is_held(answer, mine):
    """points: 1, hidden
    the reader of your world
    """
    import numpy as np

    from utils.world import tasks

    old = tasks.sentiment(mine.world, 1500, "train", "old", domain="product")
    new = tasks.sentiment(mine.world, 1500, "train", "new", domain="film")
    words = sorted({word for item in old + new for word in item.words})
    x = np.array([[float(w in held) for w in words] for held in (set(item.words) for item in old)])
    truth = np.eye(2)[[item.label for item in old]]

    def softmax(logits):
        e = np.exp(logits - logits.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)

    weight = np.zeros((2, len(words)))
    for _ in range(300):
        weight -= (softmax(x @ weight.T) - truth).T @ x / len(x)
    p = softmax(x @ weight.T)
    information = ((p * (1 - p)).T @ x**2 / len(x)).sum(0)
    largest = np.sort(np.abs(weight[1] - weight[0]))[-6:]
    found = set(answer.heaviest)
    close = {w for w, d in zip(words, np.abs(weight[1] - weight[0]), strict=True) if d >= largest[1] - 1e-3}
    sure = {w for w, d in zip(words, np.abs(weight[1] - weight[0]), strict=True) if d > largest[0] + 1e-3}
    assert len(found) == 5 and sure & close <= found | (close - sure) and found <= close, (
        f"heaviest is {sorted(close)}."
    )
    order = np.argsort(-information)
    least = information[order[2]]
    allowed = {words[i] for i in order if information[i] >= least - 1e-6}
    assert len(set(answer.most_important)) == 3 and set(answer.most_important) <= allowed, (
        f"Of {sorted(allowed)}."
    )
    frequent = np.argsort(-x.sum(0), kind="stable")[:20]
    right = information[frequent].sum() / information.sum()
    assert abs(answer.held_by_frequent - right) < 1e-3, f"held_by_frequent is {right:.4f} in this world."


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 3

# %% [markdown]
# ## Question 4: Find the bug: frozen weights that move (3 points)
#
# A colleague freezes layers by setting their gradients to zero. `weights`, `gradients` and `momentum` are dictionaries from
# names to arrays, `frozen` is the list of the names that must stay.


# %%
def colleagues_step(weights, gradients, momentum, frozen, rate, decay, inertia):
    """One update by gradient descent with momentum and weight decay."""
    for name in weights:
        gradient = 0 * gradients[name] if name in frozen else gradients[name]
        momentum[name] = inertia * momentum[name] + gradient + decay * weights[name]
        weights[name] = weights[name] - rate * momentum[name]
    return weights, momentum


# %%
w = {"lower": np.ones((2, 2)), "lower bias": np.ones(2), "head": np.ones((1, 2))}
m = {name: np.full_like(value, 0.5) for name, value in w.items()}
g = {name: np.ones_like(value) for name, value in w.items()}
for _ in range(50):
    w, m = colleagues_step(w, g, m, ["lower", "lower bias"], 0.1, 0.05, 0.9)
print({name: value.round(2).ravel().tolist() for name, value in w.items()})

# %% [markdown]
# Nothing raises an error, the frozen layer had no gradient, and it is not what it was. **Write
# `step(weights, gradients, momentum, frozen, rate, decay, inertia)`**, which returns new dictionaries `weights` and `momentum`
# and keeps to these rules:
#
# - What is frozen stays, bit for bit. Its momentum becomes zero, so that it begins afresh when it is thawed.
# - Everything else follows $m \leftarrow \mu m + g + \delta w$ and $w \leftarrow w - \eta m$, with `inertia` $\mu$, `decay`
#   $\delta$ and `rate` $\eta$; but only matrices (two dimensions or more) decay. To pull biases and the scales of norms, which
#   are vectors, towards zero has no good reason, and is the second thing wrong above.
# - No argument is changed. (The third: whoever kept the old weights to compare with no longer has them.)
#
# For example, take a matrix with the single weight 1, gradient 2 and momentum 1, and rate 0.1, decay 0.5, inertia 0.9: its
# momentum becomes 0.9 + 2 + 0.5 = 3.4 and the weight 1 - 0.34 = 0.66. A vector gets 2.9 and 0.71.
#
# **And write the test that finds it, `moved(before, after)`**: the sorted list of the names whose arrays are not the same
# bit for bit. A name that stands in only one of the two has moved, too, and so has an array of another shape. Tolerance
# would be a mistake here: a small rate moves a weight by little.

# %% [raw]
# # BEGIN SOLUTION


# %%
def step(
    weights: dict[str, np.ndarray],
    gradients: dict[str, np.ndarray],
    momentum: dict[str, np.ndarray],
    frozen: list[str],
    rate: float,
    decay: float,
    inertia: float,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """One update; what is frozen stays, and only matrices decay. Returns new weights and momentum."""
    # BEGIN SOLUTION
    new_weights, new_momentum = {}, {}
    for name, weight in weights.items():
        if name in frozen:
            new_weights[name], new_momentum[name] = weight.copy(), np.zeros_like(momentum[name])
            continue
        shrink = decay if weight.ndim > 1 else 0.0
        new_momentum[name] = inertia * momentum[name] + gradients[name] + shrink * weight
        new_weights[name] = weight - rate * new_momentum[name]
    return new_weights, new_momentum
    # END SOLUTION


# %%
def moved(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> list[str]:
    """The sorted names of all arrays that are not the same bit for bit."""
    # BEGIN SOLUTION
    both = before.keys() & after.keys()
    changed = {name for name in both if not np.array_equal(before[name], after[name])}
    return sorted(changed | (before.keys() ^ after.keys()))
    # END SOLUTION


# %%
first = {"head": np.ones((1, 1)), "low": np.ones((2, 2))}
kept = {name: value.copy() for name, value in first.items()}
step(
    first, {n: v + 1 for n, v in first.items()}, {n: 0 * v for n, v in first.items()}, ["low"], 0.1, 0.5, 0.9
)
arguments_unchanged = all(np.array_equal(first[name], kept[name]) for name in kept)

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_one_update(answer, mine):
    """points: 1"""
    import numpy as np

    w = {"head": np.array([[1.0]]), "bias": np.array([1.0]), "low": np.array([[1.0]])}
    g, m = {n: np.full_like(v, 2) for n, v in w.items()}, {n: np.ones_like(v) for n, v in w.items()}
    found = answer.step(w, g, m, ["low"], 0.1, 0.5, 0.9)
    assert found is not None and len(found) == 2, "step must return the new weights and the new momentum."
    weights, momentum = found
    assert set(weights) == set(w) == set(momentum), "Both dictionaries must have all the names."
    assert np.array_equal(weights["low"], w["low"]), (
        "The frozen weight moved. With a gradient of zero, what else still enters the update?"
    )
    assert not np.any(momentum["low"]), "The momentum of what is frozen becomes zero."
    assert np.allclose(momentum["head"], 3.4) and np.allclose(weights["head"], 0.66), (
        "The head of the example is not right: momentum first, with gradient and decay in it, then the weight."
    )
    assert np.allclose(weights["bias"], 0.71), "A bias is a vector and does not decay."
    assert answer.arguments_unchanged is True, (
        "step changes the weights that it is given: make new dictionaries."
    )


# %%
def test_random_updates(answer, mine):
    """points: 1, hidden
    several updates of random weights
    """
    import numpy as np

    random = mine.fresh("q4 step")
    for _ in range(4):
        shapes = {"a": (3, 2), "b": (3,), "c": (2, 2, 2), "d": (1, 4), "e": (5,), "f": (2, 3)}
        w, m = ({n: random.normal(size=s) for n, s in shapes.items()} for _ in range(2))
        rate, decay, inertia = (float(v) for v in random.uniform(0.05, 0.9, 3))
        frozen = random.choice(list(shapes), 3, replace=False).tolist()
        for _ in range(3):
            g = {n: random.normal(size=s) for n, s in shapes.items()}
            weights, momentum = answer.step(w, g, m, frozen, rate, decay, inertia)
            for n in shapes:
                if n in frozen:
                    assert np.array_equal(weights[n], w[n]), f"The frozen {n!r} of shape {shapes[n]} moved."
                    assert not np.any(momentum[n]), "The momentum of what is frozen becomes zero."
                    m[n] = 0 * m[n]
                else:
                    m[n] = inertia * m[n] + g[n] + (decay if len(shapes[n]) > 1 else 0) * w[n]
                    w[n] = w[n] - rate * m[n]
                    assert np.allclose(momentum[n], m[n]), (
                        f"The momentum of {n!r}, shape {shapes[n]}, is wrong."
                    )
                    assert np.allclose(weights[n], w[n]), f"The weight {n!r}, shape {shapes[n]}, is wrong."


# %%
def test_moved(answer, mine):
    """points: 1, hidden
    names that moved, by little or by much
    """
    import numpy as np

    random = mine.fresh("q4 moved")
    for _ in range(5):
        before = {f"w{i}": random.normal(size=(2, 3)) for i in range(8)}
        after = {n: v.copy() for n, v in before.items()}
        chosen = [f"w{int(i)}" for i in random.choice(8, 4, replace=False)]
        after[chosen[0]][1, 2] = np.nextafter(after[chosen[0]][1, 2], 9)
        after[chosen[1]] = after[chosen[1]] * 2
        after[chosen[2]] = after[chosen[2]][:1]
        del after[chosen[3]]
        after["x"] = np.ones(1)
        found, right = list(answer.moved(before, after)), sorted([*chosen, "x"])
        assert found == right, (
            f"These moved: {right} (one bit, doubled, cut, gone, new), and moved says {found}."
        )
        assert list(answer.moved(before, before)) == [], "Nothing has moved, and moved says otherwise."


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 4

# %% [markdown]
# ## Question 5: Does tuning help? (4 points)
#
# The reader of question 3 knows reviews of products. Now come reviews of films, with some words of their own, and a few
# labels. Three ways to use them, all with 200 steps of gradient descent:
#
# - `"scratch"` begins with zeros;
# - `"tuned"` begins with the reader of products;
# - `"pulled"` does so, too, and each step draws the weights back a little to where they began (all importances 1).
#
# And there is a fourth: use no label at all. The cell below runs all of them, 10 seeds for each number of labels; a seed
# decides which films get a label, the same ones for all three ways. **Predict** before you run it: with 16 labels, in which
# order will the four stand?

# %%
LABELS, SEEDS, WAYS = (16, 64, 256, 1024), range(10), ("scratch", "tuned", "pulled")
x_new, y_new = features(film_reviews, index)
x_test, y_test = features(tasks.sentiment(world, 1000, "test", "new", domain="film"), index)
untuned = float(np.mean((x_test @ reader.T).argmax(1) == y_test))


# %%
def run(way, labels, seed):
    """Accuracy on new reviews of films after training on a sample of labels."""
    some = np.random.default_rng(seed).choice(len(y_new), labels, replace=False)
    start = np.zeros_like(reader) if way == "scratch" else reader
    weight = train(x_new[some], y_new[some], start, pull=0.03 if way == "pulled" else 0.0)
    return float(np.mean((x_test @ weight.T).argmax(1) == y_test))


# %%
runs = {way: {n: [run(way, n, seed) for seed in SEEDS] for n in LABELS} for way in WAYS}

# %%
fig, ax = plt.subplots()
for way, role, marker in zip(WAYS, ("scratch", "pretrained", "frozen"), "Dos", strict=True):
    ax.plot(LABELS, [np.mean(runs[way][n]) for n in LABELS], marker=marker, color=COLORS[role], label=way)
ax.axhline(untuned, color="black", linestyle="--", label="no tuning")
ax.set(xscale="log", xlabel="labeled reviews of films", ylabel="accuracy on films")
ax.set_xticks(LABELS, [str(n) for n in LABELS])
ax.minorticks_off()
ax.legend()
show(fig)

# %% [markdown]
# Is a difference real? **Write `paired(a, b)`**: for lists of accuracies of two ways, run $i$ of both with the same seed,
# the triple of the mean difference $\bar d$ of $a_i - b_i$ and the ends of its 95% interval,
#
# $$\bar d \pm t_{0.975,\, n-1} \frac{s}{\sqrt{n}} ,$$
#
# with the standard deviation $s$ of the $n$ differences (divided by $n - 1$) and Student's $t$
# (`stats.t.ppf(0.975, n - 1)`). For example, `paired([0.8, 0.9, 0.7], [0.7, 0.7, 0.7])` is $0.1$, from $-0.148$ to
# $0.348$.
#
# **Write `unpaired(a, b)`**: the same for someone who has lost the seeds. The difference of the means has the standard error
# $\sqrt{s_a^2 / n_a + s_b^2 / n_b}$; take Student's $t$ with $n_a + n_b - 2$ degrees of freedom.
#
# **Write `verdict(low, high, margin)`**: a difference below the margin does not interest us. Return `"more"` if the whole
# interval lies above the margin, `"less"` if it lies below minus the margin, `"equal"` if it lies between the two, and
# `"open"` if it reaches across either.
#
# With these, for your world:
#
# - `verdicts`: for each number in `LABELS` the verdict on *pulled* minus *tuned*, paired, with a margin of 0.01;
# - `harm`: the triple of `paired` for *tuned* minus *no tuning* with 16 labels (no tuning has the same accuracy in each run);
# - `worth_pairing`: for *pulled* minus *tuned* with 64 labels, how many times as long the unpaired interval is as the paired
#   one.

# %% [raw]
# # BEGIN SOLUTION


# %%
def paired(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """Mean of a[i] - b[i] and the ends of its 95% interval by Student's t."""
    # BEGIN SOLUTION
    d = np.array(a) - np.array(b)
    half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / np.sqrt(len(d))
    return float(d.mean()), float(d.mean() - half), float(d.mean() + half)
    # END SOLUTION


# %%
def unpaired(a: list[float], b: list[float]) -> tuple[float, float, float]:
    """Difference of the means and the ends of its 95% interval, the two samples independent."""
    # BEGIN SOLUTION
    d = np.mean(a) - np.mean(b)
    error = np.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b))
    half = stats.t.ppf(0.975, len(a) + len(b) - 2) * error
    return float(d), float(d - half), float(d + half)
    # END SOLUTION


# %%
def verdict(low: float, high: float, margin: float) -> str:
    """Whether an interval says "more", "less", "equal" (all within the margin) or nothing ("open")."""
    # BEGIN SOLUTION
    if low > margin:
        return "more"
    if high < -margin:
        return "less"
    return "equal" if -margin < low and high < margin else "open"
    # END SOLUTION


# %%
# BEGIN SOLUTION
both = runs["pulled"][64], runs["tuned"][64]
long, short = (high - low for _, low, high in (unpaired(*both), paired(*both)))
# END SOLUTION
verdicts = {n: verdict(*paired(runs["pulled"][n], runs["tuned"][n])[1:], 0.01) for n in LABELS}  # SOLUTION
harm = paired(runs["tuned"][16], [untuned] * 10)  # SOLUTION
worth_pairing = long / short  # SOLUTION
print(verdicts, harm, worth_pairing)

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_interval_example(answer, mine):
    """points: 1"""
    found = answer.paired([0.8, 0.9, 0.7], [0.7, 0.7, 0.7])
    assert found is not None and len(found) == 3, "paired must return the mean difference and two ends."
    assert abs(found[0] - 0.1) < 1e-9, "The mean difference of the example is 0.1."
    assert abs(found[1] + 0.1484) < 1e-3 and abs(found[2] - 0.3484) < 1e-3, (
        f"In the example the interval goes from -0.148 to 0.348, yours from {found[1]:.3f} to {found[2]:.3f}: the standard "
        "deviation is divided by n - 1, its error by the root of n, and t has n - 1 degrees of freedom."
    )
    cases = {(0.02, 0.05): "more", (-0.05, -0.02): "less", (-0.005, 0.008): "equal"}
    cases |= {(0.005, 0.05): "open", (-0.03, 0.05): "open"}
    for (low, high), right in cases.items():
        said = answer.verdict(low, high, 0.01)
        assert said == right, (
            f"From {low} to {high}, with a margin of 0.01, the verdict is {right!r}, not {said!r}."
        )


# %%
def test_random_intervals(answer, mine):
    """points: 1, hidden
    paired and unpaired intervals
    """
    import numpy as np
    from scipy import stats

    random = mine.fresh("q5 intervals")
    for _ in range(6):
        n = int(random.integers(3, 25))
        luck = random.normal(0.7, 0.05, n)
        a, b = (luck + random.normal(0.02, 0.02, n)).tolist(), luck.tolist()
        d = np.array(a) - np.array(b)
        half = stats.t.ppf(0.975, n - 1) * d.std(ddof=1) / n**0.5
        right = d.mean(), d.mean() - half, d.mean() + half
        assert np.allclose(answer.paired(a, b), right), f"paired gives {right} for n = {n}."
        b = b + random.normal(0.6, 0.1, int(random.integers(1, 9))).tolist()
        error = (np.var(a, ddof=1) / n + np.var(b, ddof=1) / len(b)) ** 0.5
        middle, half = np.mean(a) - np.mean(b), stats.t.ppf(0.975, n + len(b) - 2) * error
        right = middle, middle - half, middle + half
        assert np.allclose(answer.unpaired(a, b), right), f"unpaired gives {right} for {n} and {len(b)} runs."


# %%
def test_random_verdicts(answer, mine):
    """points: 1, hidden
    intervals of all kinds
    """
    random = mine.fresh("q5 verdicts")
    for _ in range(60):
        margin = float(random.uniform(0.005, 0.05))
        middle, half = float(random.normal(0, 2 * margin)), float(random.exponential(margin))
        low, high = middle - half, middle + half
        right = "more" if low > margin else "less" if high < -margin else "open"
        right = "equal" if max(-low, high) < margin else right
        said = answer.verdict(low, high, margin)
        assert said == right, f"From {low:.4f} to {high:.4f}, margin {margin:.4f}: {right!r}, not {said!r}."


# %%
def test_own_world(answer, mine):
    """points: 1, hidden
    the runs of your world
    """
    import numpy as np
    from scipy import stats

    from utils.world import tasks

    old = tasks.sentiment(mine.world, 1500, "train", "old", domain="product")
    new = tasks.sentiment(mine.world, 1500, "train", "new", domain="film")
    words = sorted({word for item in old + new for word in item.words})

    def table(items):
        x = np.array([[float(w in held) for w in words] for held in (set(item.words) for item in items)])
        return x, np.array([item.label for item in items])

    def fit(x, labels, start, steps, pull):
        weight = start.copy()  # of class 1 minus class 0, which gets twice the gradient of each
        for _ in range(steps):
            weight -= 2 * (1 / (1 + np.exp(-x @ weight)) - labels) @ x / len(x) + pull * (weight - start)
        return weight

    test = table(tasks.sentiment(mine.world, 1000, "test", "new", domain="film"))
    (x, y), films = table(old), table(new)
    reader = fit(x, y, np.zeros(len(words)), 300, 0.0)

    def score(weight):
        return float(np.mean((test[0] @ weight > 0) == test[1]))

    def scores(labels, pull):
        found = []
        for seed in range(10):
            some = np.random.default_rng(seed).choice(len(films[1]), labels, replace=False)
            found.append(score(fit(films[0][some], films[1][some], reader, 200, pull)))
        return np.array(found)

    def interval(d):
        half = stats.t.ppf(0.975, len(d) - 1) * d.std(ddof=1) / len(d) ** 0.5
        return d.mean() - half, d.mean() + half

    said, slack = answer.verdicts, 0.0015
    for n in (16, 64, 256, 1024):
        tuned, pulled = scores(n, 0.0), scores(n, 0.03)
        low, high = interval(pulled - tuned)
        possible = set()
        for a in (low - slack, low + slack):
            for b in (high - slack, high + slack):
                kind = (
                    "more" if a > 0.01 else "less" if b < -0.01 else "equal" if max(-a, b) < 0.01 else "open"
                )
                possible.add(kind)
        assert said[n] in possible, f"verdicts[{n}]: the interval goes from {low:.4f} to {high:.4f}."
        if n == 16:
            low, high = interval(tuned - score(reader))
            assert abs(answer.harm[1] - low) < 0.004 and abs(answer.harm[2] - high) < 0.004, (
                f"harm goes from {low:.4f} to {high:.4f} in this world, not from {answer.harm[1]:.4f} to {answer.harm[2]:.4f}."
            )
        if n == 64:
            error = (np.var(tuned, ddof=1) / 10 + np.var(pulled, ddof=1) / 10) ** 0.5
            low, high = interval(pulled - tuned)
            right = 2 * stats.t.ppf(0.975, 18) * error / (high - low)
            assert abs(answer.worth_pairing / right - 1) < 0.1, f"worth_pairing is {right:.3f} in this world."


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q6
# points: 2
# manual: true

# %% [markdown]
# ## Question 6: Read your figure (2 points, in words)
#
# Somebody shows only two lines of your figure of question 5, *tuned* and *scratch*, and concludes: "With 16 labels, fine-tuning
# is far ahead of training from scratch. So fine-tune as soon as you have labels." In 100 to 200 words, with numbers from
# your world:
#
# 1. Which comparison is missing, and what does it say about tuning with 16 labels? What happens to a classifier that was
#    good before, and why does *pulled* suffer less?
# 2. Nobody could choose the strength of the pull, or not to tune at all, by looking at the test reviews. What would you do
#    with 64 labeled films to decide, and what could go wrong?

# %% [raw]
# # BEGIN SOLUTION

# %% [markdown]
# The comparison with no tuning is missing. The reader of products is at the dashed line before it has seen a single labeled
# film, because most words of opinion are the same; tuning on 16 labels *lowers* it by several points, and the whole interval
# of `harm` lies below zero. So the lead over scratch is the reader's, and tuning has spent some of it. With 16 reviews every
# word that happens to occur in them gets a weight that fits these reviews, and 200 unpenalized steps fit them completely.
# *Pulled* stays near a start that was good, and loses less. Only near a thousand labels does tuning reach the line, and
# then the pull no longer helps.
#
# To decide without the test, set some of the 64 labels aside, or better, cross-validate: train on parts, measure on the
# rest, for each strength and for no tuning, always with the same parts, so that the comparison is paired. With so few
# reviews the interval is wide, and the best of many strengths looks better than it is; when it does not clearly beat no
# tuning, do not tune.
#
# **Rubric**: 2 points.
#
# | criterion | points |
# |---|---|
# | no tuning as the missing baseline, own numbers: tuning on 16 labels harms; fits few labels and leaves a good start, which the pull keeps near | 1 |
# | held-out labels or cross-validation on the films, no test data; noise of few labels, or choosing the best of many | 1 |
#
# *Full marks:* the answer above. *Half marks (1):* "Without tuning we already have 85%, with 16 labels only 77%, so tuning
# overfits and the pull is regularization (1). For the strength I would try several values and take the best accuracy (0: on
# which data?)." *No marks:* "From scratch is worse because it has no pretraining, so fine-tuning is right. One should use
# more labels and a lower learning rate."

# %% [raw]
# # END SOLUTION

# %% [raw]
# # END QUESTION
