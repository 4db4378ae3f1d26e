# %% [raw]
# # ASSIGNMENT CONFIG
# files: [checkpoints/tokenizer.json, checkpoints/causal]

# %% [markdown]
# # Assignment 2: What does a probe's score show?
#
# <!-- colab badge -->
#
# A probe always has a score, and the score is always higher than expected. In this assignment you build what it takes to
# read one: the dictionary and the control task that it must beat, a score for minimal pairs, a split that does not leak, the
# code length that tells easy from learned by heart, and a way to choose a layer without fooling yourself.
#
# **You should know** the chapter *What do representations capture?* and Lab 2. **You need** three to four hours. There are
# 20 points: 17 are given by checks, some of which you can run here, and 3 by your teacher for the answer in words.
#
# Your sentences come from a world of your own, and the network that reads them is the course's causal Transformer. Where a
# cell has `...`, your answer goes; keep the names. All functions get and return numbers, lists, dictionaries or NumPy
# arrays, and none of them may change its arguments.
#
# | question | | points |
# |---|---|---|
# | 1 | What a dictionary knows | 3 |
# | 2 | Which of the two is right? | 3 |
# | 3 | Find the bug: a coin that can be read | 3 |
# | 4 | How many bits? | 4 |
# | 5 | Which layer? | 4 |
# | 6 | What has been shown? (in words) | 3 |

# %%
# course setup

# %%
from collections import Counter, defaultdict

import matplotlib.pyplot as plt
import numpy as np
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

from utils import checks
from utils.checkpoints import FOLDER
from utils.ngram import KneserNey
from utils.plots import COLORS, show, style
from utils.world import tasks

# %%
student = "open"  # your student id
code = ""  # the code that your teacher sent you

# %%
mine = checks.Assignment("02_analysis", student, code)
world = mine.world
style()

# %%
sentences = [s for s in tasks.tagging(world, 700, "probes") if 2 < len(s.words) < 30]
TAGS = sorted({tag for s in sentences for tag in s.pos} | {"ROOT"})
for s in sentences[:3]:
    print(" ".join(f"{word}_{tag}" for word, tag in zip(s.words, s.pos, strict=True)))

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: What a dictionary knows (3 points)
#
# The poorest way to tag a word is to look it up. If a probe on the states of a network does no better than a dictionary, it
# has found the word in the states, and nothing else.
#
# **Write `dictionary(train_words, train_labels, test_words)`**: the label of each test word, as a list. A word that the
# training data has gets the label that it had most often there; a word that they lack, the label that is most frequent in
# all training data. Of labels that are equally frequent take the smallest.
#
# For example, trained on the words `["mail", "mail", "the", "a", "mail", "mail"]` with the labels `[3, 1, 0, 0, 1, 3]`,
# *mail* gets 1 (twice 1, twice 3), *the* gets 0, and *yak*, which is new, gets 0 (of 0, 1 and 3, all twice).
#
# **Write `control(words, labels, seed)`**, the control task of Hewitt and Liang, in which there is nothing but a dictionary
# to learn. Each word *type* gets one label, drawn at random, independently of its own: each label with the share that it
# has among all words (of text, not types). Return the list of the new labels, one for each word. The same seed gives the
# same labels, another seed others.
#
# Then, for your world: `words` and `tags` below are split in the middle, first half for training, second half for testing.
# Give `dictionary_right`, the share of the test words that the dictionary tags rightly, and `several_right`, the same over
# those test words that have **several tags**, that is, whose type has at least two different tags in the training half. Which
# of the two would you want a network to beat?

# %%
words = [word for s in sentences for word in s.words]
tags = [TAGS.index(tag) for s in sentences for tag in s.pos]
middle = len(words) // 2

# %% [raw]
# # BEGIN SOLUTION


# %%
def dictionary(train_words: list[str], train_labels: list[int], test_words: list[str]) -> list[int]:
    """The most frequent label of each word, and of all words for one that is new; ties go to the smallest label."""

    # BEGIN SOLUTION
    def best(counts):
        return min(counts, key=lambda label: (-counts[label], label))

    counts = defaultdict(Counter)
    for word, label in zip(train_words, train_labels, strict=True):
        counts[word][label] += 1
    fallback = best(Counter(train_labels))
    return [best(counts[word]) if word in counts else fallback for word in test_words]
    # END SOLUTION


# %%
def control(words: list[str], labels: list[int], seed: int) -> list[int]:
    """A random label for each word type, drawn as often as the words have it."""
    # BEGIN SOLUTION
    random = np.random.default_rng(seed)
    drawn = {word: int(random.choice(labels)) for word in sorted(set(words))}
    return [drawn[word] for word in words]
    # END SOLUTION


# %%
# BEGIN SOLUTION
guesses = np.array(dictionary(words[:middle], tags[:middle], words[middle:]))
right = guesses == np.array(tags[middle:])
found = defaultdict(set)
for word, tag in zip(words[:middle], tags[:middle], strict=True):
    found[word].add(tag)
several = np.array([len(found[word]) > 1 for word in words[middle:]])
# END SOLUTION
dictionary_right = float(right.mean())  # SOLUTION
several_right = float(right[several].mean())  # SOLUTION
print(dictionary_right, several_right)

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_mail(answer, mine):
    """points: 1"""
    found = answer.dictionary(
        ["mail", "mail", "the", "a", "mail", "mail"], [3, 1, 0, 0, 1, 3], ["mail", "the", "yak"]
    )
    assert found is not None, "dictionary is not written yet: it must return a list of labels."
    assert len(found) == 3, "dictionary must return one label for each test word."
    assert found[1] == 0, "A word gets the label that it had most often."
    assert found[0] == 1, (
        f"Of labels that are equally frequent the smallest is taken: mail gets 1, not {found[0]}."
    )
    assert found[2] == 0, (
        f"A new word gets the most frequent label of all, ties to the smallest: 0, not {found[2]}."
    )
    words, labels = ["mail", "the"] * 50 + [f"w{i}" for i in range(40)], [0, 1] * 50 + [2] * 40
    found = answer.control(words, labels, 5)
    assert found is not None, "control is not written yet: it must return a list of labels."
    assert len(found) == len(words), "control must return one label for each word."
    assert len(set(found[0:100:2])) == 1 == len(set(found[1:100:2])), (
        "In the control task a word has the same label everywhere."
    )
    assert list(found) == list(answer.control(words, labels, 5)), "The same seed must give the same labels."
    assert list(found) != list(answer.control(words, labels, 6)), "Another seed must give other labels."


# %%
def test_random_words(answer, mine):
    """points: 1, hidden
    random words and labels
    """
    from collections import Counter

    import numpy as np

    random = mine.fresh("q1 words")
    for _ in range(5):
        train = [f"w{int(i)}" for i in random.integers(0, 12, 40)]
        labels = random.integers(0, 4, 40).tolist()
        test = [f"w{int(i)}" for i in random.integers(0, 15, 30)]
        everywhere = [labels.count(k) for k in range(4)]
        right = []
        for word in test:
            own = [sum(w == word and y == k for w, y in zip(train, labels, strict=True)) for k in range(4)]
            right.append(int(np.argmax(own if sum(own) else everywhere)))
        found = list(answer.dictionary(train, labels, test))
        wrong = [w for w, a, b in zip(test, found, right, strict=True) if a != b]
        assert not wrong, f"dictionary is wrong for {wrong[0]!r} of {train} with {labels}."
    # 3,000 types: label 2 on most words of text, but on few types
    types = [f"t{i}" for i in range(3000)]
    words = types + ["t0"] * 6000
    labels = random.integers(0, 2, 3000).tolist() + [2] * 6000
    found = list(answer.control(words, labels, int(random.integers(1_000_000))))
    by_type = dict(zip(words, found, strict=True))
    assert all(by_type[w] == y for w, y in zip(words, found, strict=True)), (
        "A type has two labels in the control task."
    )
    shares, counts = Counter(labels), Counter(by_type.values())
    for k in (0, 1, 2):
        p = shares[k] / len(labels)
        assert abs(counts[k] - 3000 * p) < 5 * (3000 * p * (1 - p)) ** 0.5, (
            f"Label {k} has {p:.2f} of the words of text, and {counts[k] / 3000:.2f} of the types in the control task."
        )
    same = sum(by_type[w] == y for w, y in zip(types, labels, strict=False)) / 3000
    assert same < 0.35, f"The control labels depend on the true ones: {same:.2f} of the types kept theirs."


# %%
def test_own_dictionary(answer, mine):
    """points: 1, hidden
    the dictionary of your world
    """
    from collections import Counter, defaultdict

    import numpy as np

    from utils.world import tasks

    sentences = [s for s in tasks.tagging(mine.world, 700, "probes") if 2 < len(s.words) < 30]
    names = sorted({tag for s in sentences for tag in s.pos} | {"ROOT"})
    pairs = [(w, names.index(t)) for s in sentences for w, t in zip(s.words, s.pos, strict=True)]
    half = len(pairs) // 2
    counts = defaultdict(Counter)
    for w, t in pairs[:half]:
        counts[w][t] += 1
    total = Counter(t for _, t in pairs[:half])

    def best(c):
        return min(c, key=lambda t: (-c[t], t))

    right = np.array([best(counts[w] if w in counts else total) == t for w, t in pairs[half:]])
    several = np.array([w in counts and len(counts[w]) > 1 for w, _ in pairs[half:]])
    a, b = right.mean(), right[several].mean()
    assert abs(answer.dictionary_right - a) < 1e-6, f"dictionary_right is {a:.4f} in this world."
    assert abs(answer.several_right - b) < 1e-6, f"several_right is {b:.4f} in this world."


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 3

# %% [markdown]
# ## Question 2: Which of the two is right? (3 points)
#
# A minimal pair is decided by the probabilities of its two sentences. Models give them in pieces: `bits[i]` is the list of
# $-\log_2 p$ of the sub-words of sentence $i$, each given those before it. The two sentences of a pair may be cut into
# different *numbers* of pieces.
#
# **Write `preferred(good, bad)`**: for each pair 1.0 if the good sentence is the more probable one, 0.0 if the bad one is,
# and 0.5 if they are equally probable (a model that can't tell should not be credited by the direction of a `<`). As a list.
#
# **Write `by_attractors(good, bad, attractors)`**: `attractors` has for each pair the number of nouns of the other number
# between subject and verb. Return a dictionary from each number that occurs to the accuracy on its pairs.
#
# **Write `balanced(good, bad, attractors)`**: the accuracy if every number of attractors counted the same. In plain text
# most sentences have none, and a model that always agrees with the nearest noun looks fine on average.
#
# For example, the good sentence with the bits [1, 2, 3] and the bad one with [2, 2] cost 6 and 4 bits: 0.0. Per piece it
# would be 2 and 2, and that is not what the pair asks.
#
# For your world: the cell below scores pairs by a 4-gram model. Give `accuracies` (by attractors) and `balanced_accuracy`.

# %%
four = KneserNey(4).fit(document.words for document in world.corpus(100_000, "pairs"))
pairs, attractors = [], []
for n, count in ((0, 160), (1, 60), (2, 30)):
    pairs += tasks.agreement(world, count, n, "pairs")
    attractors += [n] * count
good, bad = [four.bits(p.good) for p in pairs], [four.bits(p.bad) for p in pairs]
print(" ".join(pairs[-1].good), "|", pairs[-1].bad[pairs[-1].position])

# %% [raw]
# # BEGIN SOLUTION


# %%
def preferred(good: list[list[float]], bad: list[list[float]]) -> list[float]:
    """For each pair 1.0, 0.5 or 0.0: is the good sentence more, equally or less probable?"""
    # BEGIN SOLUTION
    return [float(0.5 + 0.5 * np.sign(sum(b) - sum(g))) for g, b in zip(good, bad, strict=True)]
    # END SOLUTION


# %%
def by_attractors(good: list[list[float]], bad: list[list[float]], attractors: list[int]) -> dict[int, float]:
    """Accuracy for each number of attractors that occurs."""
    # BEGIN SOLUTION
    scores = defaultdict(list)
    for n, score in zip(attractors, preferred(good, bad), strict=True):
        scores[n].append(score)
    return {n: float(np.mean(some)) for n, some in scores.items()}
    # END SOLUTION


# %%
def balanced(good: list[list[float]], bad: list[list[float]], attractors: list[int]) -> float:
    """Accuracy with equal weight for each number of attractors."""
    # BEGIN SOLUTION
    return float(np.mean(list(by_attractors(good, bad, attractors).values())))
    # END SOLUTION


# %%
accuracies = by_attractors(good, bad, attractors)  # SOLUTION
balanced_accuracy = balanced(good, bad, attractors)  # SOLUTION
print(accuracies, balanced_accuracy)

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_pairs_of_the_example(answer, mine):
    """points: 1"""
    good, bad = [[1.0, 2.0, 3.0], [1.0, 1.0], [2.0], [1.0]], [[2.0, 2.0], [0.5, 2.5], [1.0, 1.0], [4.0]]
    found = answer.preferred(good, bad)
    assert found is not None and len(found) == 4, "preferred must return one number for each pair."
    assert found[0] == 0.0, (
        "A sentence costs the sum of its bits, not their mean: the first pair is lost, 6 bits against 4."
    )
    assert found[1] == 1.0, "Fewer bits are more probable: the second pair is won, 2 bits against 3."
    assert found[2] == 0.5, "Equally probable sentences count one half."
    found = answer.by_attractors(good, bad, [0, 0, 0, 2])
    assert isinstance(found, dict), "by_attractors must return a dictionary."
    assert set(found) == {0, 2}, (
        "The dictionary has the numbers of attractors that occur, 0 and 2 in this example."
    )
    assert abs(found[0] - 0.5) < 1e-9 and found[2] == 1.0, (
        "Here the accuracy is 0.5 without attractors and 1 with two."
    )
    found = answer.balanced(good, bad, [0, 0, 0, 2])
    assert isinstance(found, float), "balanced must return a number."
    assert abs(found - 0.75) < 1e-9, (
        "The one pair with two attractors must count as much as the three without."
    )


# %%
def test_random_pairs(answer, mine):
    """points: 1, hidden
    random bits and attractors
    """
    import numpy as np

    random = mine.fresh("q2")
    for _ in range(5):
        n = int(random.integers(8, 40))
        good, bad = (
            [random.integers(1, 6, int(random.integers(1, 5))).astype(float).tolist() for _ in range(n)]
            for _ in "ab"
        )
        attractors = random.integers(0, 4, n).tolist()
        right = np.array(
            [(sum(g) < sum(b)) + 0.5 * (sum(g) == sum(b)) for g, b in zip(good, bad, strict=True)]
        )
        assert np.allclose(answer.preferred(good, bad), right), "preferred is wrong on random pairs."
        groups = {k: right[np.array(attractors) == k].mean() for k in set(attractors)}
        found = answer.by_attractors(good, bad, attractors)
        assert set(found) == set(groups), f"by_attractors has the keys {sorted(found)}, not {sorted(groups)}."
        assert all(abs(found[k] - groups[k]) < 1e-9 for k in groups), (
            f"by_attractors gives {groups}, not {found}."
        )
        value = np.mean(list(groups.values()))
        assert abs(answer.balanced(good, bad, attractors) - value) < 1e-9, f"balanced gives {value:.4f}."


# %%
def test_own_pairs(answer, mine):
    """points: 1, hidden
    the pairs of your world
    """
    import numpy as np

    from utils.ngram import KneserNey
    from utils.world import tasks

    four = KneserNey(4).fit(document.words for document in mine.world.corpus(100_000, "pairs"))
    right = {}
    for n, count in ((0, 160), (1, 60), (2, 30)):
        bits = [
            (sum(four.bits(p.good)), sum(four.bits(p.bad)))
            for p in tasks.agreement(mine.world, count, n, "pairs")
        ]
        right[n] = np.mean([(g < b) + 0.5 * (g == b) for g, b in bits])
    for n, value in right.items():
        assert abs(answer.accuracies[n] - value) < 1e-6, f"With {n} attractors the accuracy is {value:.4f}."
    value = np.mean(list(right.values()))
    assert abs(answer.balanced_accuracy - value) < 1e-6, f"balanced_accuracy is {value:.4f} in this world."


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# ## The network
#
# From here on the course's causal Transformer reads your sentences. There is not much to it, so here it is in whole: four
# layers, each an attention and an MLP that add to the stream of states. A word's state is the mean over its sub-words;
# layer 0 is the embedding. The second network has the same shape and random weights.

# %%
weights = {name: w.float() for name, w in load_file(str(FOLDER / "causal" / "model.safetensors")).items()}
tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


# %%
def norm(x, w, name):
    """Layer normalization with the scale and shift of this name."""
    return torch.nn.functional.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"])


# %%
def attention(x, w, name, heads=4):
    """Causal self-attention over the tokens of one text [tokens, 192]."""
    q, k, v = (
        part.view(len(x), heads, -1).transpose(0, 1)
        for part in (x @ w[name + ".c_attn.weight"] + w[name + ".c_attn.bias"]).chunk(3, -1)
    )
    mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return mixed.transpose(0, 1).reshape(x.shape) @ w[name + ".c_proj.weight"] + w[name + ".c_proj.bias"]


# %%
@torch.no_grad()
def states_of(text, w):
    """The states of each word of a text at each layer: float [5, words, 192]."""
    pieces = [tokenizer.encode(word).ids for word in text]
    ids = torch.tensor([2, *(i for piece in pieces for i in piece)])
    x = w["transformer.wte.weight"][ids] + w["transformer.wpe.weight"][: len(ids)]
    layers = [x]
    for i in range(4):
        x = x + attention(norm(x, w, f"transformer.h.{i}.ln_1"), w, f"transformer.h.{i}.attn")
        y = norm(x, w, f"transformer.h.{i}.ln_2")
        y = y @ w[f"transformer.h.{i}.mlp.c_fc.weight"] + w[f"transformer.h.{i}.mlp.c_fc.bias"]
        y = torch.nn.functional.gelu(y, approximate="tanh") @ w[f"transformer.h.{i}.mlp.c_proj.weight"]
        x = x + y + w[f"transformer.h.{i}.mlp.c_proj.bias"]
        layers.append(x)
    layers[-1] = norm(x, w, "transformer.ln_f")
    cut = np.cumsum([1, *map(len, pieces)])
    return np.stack(
        [[layer[a:b].mean(0).numpy() for a, b in zip(cut, cut[1:], strict=False)] for layer in layers]
    )


# %%
read = sentences[:330]
generator = torch.Generator().manual_seed(0)
random_weights = {
    name: 0.06 * torch.randn(w.shape, generator=generator) if w.ndim > 1 else w * 0 + ("weight" in name)
    for name, w in weights.items()
}
states = np.concatenate([states_of(s.words, weights) for s in read], 1)
untrained = np.concatenate([states_of(s.words, random_weights) for s in read], 1)
print("states of the trained network:", states.shape)

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 3

# %% [markdown]
# ## Question 3: Find the bug: a coin that can be read (3 points)
#
# A colleague throws a coin for each different sentence and asks whether the network's states know how it fell (for each word the mean state
# of its sentence up to there). They can't. But look.


# %%
def colleagues_split(sentence_of_word, share, seed):
    """True for the words to test on, a share of them at random."""
    return np.random.default_rng(seed).random(len(sentence_of_word)) < share


# %%
def nearest_accuracy(x, labels, test):
    """Accuracy of the label of the nearest word (by cosine) on the other side."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    labels = np.array(labels)
    return float(np.mean(labels[~test][(unit[test] @ unit[~test].T).argmax(1)] == labels[test]))


# %%
texts = [" ".join(s.words) for s in read]
sentence_of_word = [i for i, s in enumerate(read) for _ in s.words]
different = sorted(set(texts))
flipped = dict(zip(different, mine.rng("coins").integers(0, 2, len(different)).tolist(), strict=True))
coins = [flipped[texts[i]] for i in sentence_of_word]
ends = np.cumsum([len(s.words) for s in read])
so_far = np.concatenate(
    [np.cumsum(part, 0) / np.arange(1, len(part) + 1)[:, None] for part in np.split(states[2], ends[:-1])]
)  # for each word the mean state of its sentence up to there
test = colleagues_split(sentence_of_word, 0.3, 0)
print(f"{nearest_accuracy(so_far, coins, test):.1%} of the coins are read off the states of layer 2")

# %% [markdown]
# **Write `groups_of(texts)`**: a number for each text, such that two texts have the same number exactly if they are the
# same text. Number them 0, 1, 2, ... in the order in which they first occur.
#
# **Write `split(groups, share, seed)`**: `groups` has the number of the group of each word. Return a list with `True` for the
# words to test on, such that no group stands on both sides. Of the different groups, a `share` is tested on (rounded to a
# whole number of groups), chosen at random: the same seed gives the same split, another seed another one.
#
# **Write `on_both_sides(groups, test)`**, the check that finds the leak: the sorted list of the groups that have words on
# both sides.
#
# For example, `groups_of(["a b", "c", "a b"])` is `[0, 1, 0]`; and `on_both_sides([0, 0, 1, 1, 2], [True, False, True, True,
# False])` is `[0]`.
#
# After your functions a cell reads the coins again: once split by your groups, and once by the number of the sentence in
# the sample, so that a sentence which occurs twice can stand on both sides. What is each of the three scores made of?

# %% [raw]
# # BEGIN SOLUTION


# %%
def groups_of(texts: list[str]) -> list[int]:
    """The number of each text among the different ones, in order of their first occurrence."""
    # BEGIN SOLUTION
    numbers: dict[str, int] = {}
    return [numbers.setdefault(text, len(numbers)) for text in texts]
    # END SOLUTION


# %%
def split(groups: list[int], share: float, seed: int) -> list[bool]:
    """True for the words to test on: all words of a random share of the groups."""
    # BEGIN SOLUTION
    names = sorted(set(groups))
    chosen = np.random.default_rng(seed).choice(names, round(share * len(names)), replace=False)
    return [group in set(chosen.tolist()) for group in groups]
    # END SOLUTION


# %%
def on_both_sides(groups: list[int], test: list[bool]) -> list[int]:
    """The groups that have words on both sides."""
    # BEGIN SOLUTION
    inside = {group for group, tested in zip(groups, test, strict=True) if tested}
    outside = {group for group, tested in zip(groups, test, strict=True) if not tested}
    return sorted(inside & outside)
    # END SOLUTION


# %%
if groups_of(texts):
    numbers = np.array(groups_of(texts))
    for name, groups in (
        ("by text", numbers[sentence_of_word].tolist()),
        ("by sentence number", sentence_of_word),
    ):
        scores = [nearest_accuracy(so_far, coins, np.array(split(groups, 0.3, seed))) for seed in range(12)]
        print(f"{np.mean(scores):.1%} of the coins are read when the words are split {name}")

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_small_split(answer, mine):
    """points: 1"""
    found = answer.groups_of(["a b", "c", "a b"])
    assert found is not None, "groups_of is not written yet: it must return a list of numbers."
    assert list(found) == [0, 1, 0], f"groups_of(['a b', 'c', 'a b']) is [0, 1, 0], yours is {found}."
    groups = [i // 7 for i in range(70)]
    test = answer.split(groups, 0.3, 1)
    assert test is not None and len(test) == 70, "split must return True or False for each word."
    assert not any(0 < sum(test[i : i + 7]) < 7 for i in range(0, 70, 7)), (
        "A group stands on both sides of your split."
    )
    assert sum(test) == 21, f"A share of 0.3 of 10 groups of 7 words is 21 words: yours tests on {sum(test)}."
    assert list(test) == list(answer.split(groups, 0.3, 1)), "The same seed must give the same split."
    assert any(list(test) != list(answer.split(groups, 0.3, s)) for s in (2, 3, 4)), (
        "Another seed must give another split."
    )
    found = answer.on_both_sides([0, 0, 1, 1, 2], [True, False, True, True, False])
    assert found is not None and list(found) == [0], (
        f"In the example only group 0 is on both sides, yours says {found}."
    )


# %%
def test_random_splits(answer, mine):
    """points: 1, hidden
    groups of all sizes, in any order
    """
    import numpy as np

    random = mine.fresh("q3 split")
    often = np.zeros(40)
    for i in range(60):
        n = 40 if i < 50 else int(random.integers(5, 60))
        groups = [k for k in range(n) for _ in range(int(random.integers(1, 9)))]
        if i % 2:
            groups = random.permutation(groups).tolist()
        share = 0.5 if i < 50 else float(random.uniform(0.1, 0.9))
        test = answer.split(groups, share, int(random.integers(1_000_000)))
        inside = {g for g, t in zip(groups, test, strict=True) if t}
        outside = {g for g, t in zip(groups, test, strict=True) if not t}
        assert not inside & outside, f"The groups {sorted(inside & outside)} stand on both sides."
        assert abs(len(inside) - share * n) <= 0.5, (
            f"{share:.3f} of {n} groups were to be tested on, not {len(inside)}."
        )
        if i < 50:
            often[list(inside)] += 1
    assert often.min() >= 8 and often.max() <= 42, (
        "Some groups are tested on nearly always or hardly ever: choose at random."
    )


# %%
def test_random_texts_and_leaks(answer, mine):
    """points: 1, hidden
    repeated texts, and leaks that are there
    """
    random = mine.fresh("q3 leaks")
    for _ in range(5):
        texts = [" ".join(f"w{int(i)}" for i in random.integers(0, 3, 2)) for _ in range(25)]
        order = list(dict.fromkeys(texts))
        found = list(answer.groups_of(texts))
        assert found == [order.index(t) for t in texts], f"groups_of is wrong for {texts}: {found}."
        groups = random.integers(0, 12, 40).tolist()
        test = [bool(v) for v in random.integers(0, 2, 40)]
        sides = [{g for g, t in zip(groups, test, strict=True) if t is side} for side in (True, False)]
        right = sorted(sides[0] & sides[1])
        found = list(answer.on_both_sides(groups, test))
        assert found == right, f"The groups {right} are on both sides, and on_both_sides says {found}."


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 4

# %% [markdown]
# ## Question 4: How many bits? (4 points)
#
# A score at the end hides how it was reached. Voita and Titov send the labels in blocks: the first as it is, each further
# one with the probabilities of a probe that was trained on all labels sent **before** it:
#
# $$L = t_1 \log_2 K + \sum_{i=1}^{S-1} \; \sum_{t = t_i + 1}^{t_{i+1}} -\log_2 p_{\theta_i}(y_t \mid x_t) .$$
#
# **Write `online_code(labels, probabilities, ends, classes)`**. `ends` are the numbers $t_1 < \dots < t_S$ of labels sent when
# each block is through, the last one all of them. `probabilities[i]` is an array [labels, classes] with what the probe
# trained on the first `ends[i]` labels says about **every** label, whether it has seen it or not; there is one for each end
# but the last. Return the bits spent in all after each block, a list as long as `ends`.
#
# **Write `compression(bits, count, classes)`**: how many times as long a code would be that sends all `count` labels as
# they are.
#
# For example, with `classes=4`, `ends=[2, 3]`, labels `[0, 1, 2]` and one probe that gives label 2 of the third word
# probability 0.5, the code takes 4 bits and then 5, and `compression(5.0, 3, 4)` is 1.2.
#
# Below, probes are trained on the tag of each word's **parent** in the syntax tree, from layer 2 of the trained and of the
# untrained network, and on a control task of the same labels. Give `codes`, a dictionary from the three names to their lists
# of bits, and `final`, one from the three names to their compression. Which of the three would you not have told apart
# by the accuracy at the end?


# %%
def parent_tags(sentence):
    """The tag of the word above each word in the syntax tree, ROOT for the top."""
    return [TAGS.index(sentence.pos[h] if h >= 0 else "ROOT") for h in sentence.heads]


# %%
parents = np.array([tag for s in read for tag in parent_tags(s)])
types = [word for s in read for word in s.words]
drawn = dict(zip(sorted(set(types)), mine.rng("control").choice(parents, len(set(types))), strict=True))
ENDS = [60, 120, 240, 480, 960, 1920]
SENT = {
    "trained": (states[2], parents),
    "untrained": (untrained[2], parents),
    "control": (states[2], np.array([drawn[word] for word in types])),
}


# %%
def probe_probabilities(x, labels, n):
    """What a probe trained on the first n labels says about all that are sent: float [labels, classes]."""
    center, spread = x[:n].mean(0), x[:n].std(0) + 1e-3
    z = (x[: ENDS[-1]] - center) / spread
    probe = LogisticRegression(C=0.01, max_iter=40, tol=1e-2).fit(z[:n], labels[:n])
    found = np.full((len(z), len(TAGS)), 1e-3)
    found[:, probe.classes_] += probe.predict_proba(z)
    return found / found.sum(1, keepdims=True)


# %%
import warnings

warnings.simplefilter("ignore")  # a probe that has not quite converged is a probe, too
said = {name: [probe_probabilities(x, y, n) for n in ENDS[:-1]] for name, (x, y) in SENT.items()}
sent = {name: y[: ENDS[-1]] for name, (_, y) in SENT.items()}
for name, rows in said.items():
    late = slice(ENDS[-2], ENDS[-1])
    print(
        f"{name:10} accuracy on the last block: {np.mean(rows[-1][late].argmax(1) == sent[name][late]):.1%}"
    )

# %% [raw]
# # BEGIN SOLUTION


# %%
def online_code(
    labels: np.ndarray, probabilities: list[np.ndarray], ends: list[int], classes: int
) -> list[float]:
    """Bits spent in all after each block of the online code."""
    # BEGIN SOLUTION
    spent = [float(ends[0] * np.log2(classes))]
    for p, start, end in zip(probabilities, ends, ends[1:], strict=False):
        block = np.arange(start, end)
        spent.append(float(spent[-1] - np.log2(p[block, labels[block]]).sum()))
    return spent
    # END SOLUTION


# %%
def compression(bits: float, count: int, classes: int) -> float:
    """How many times as long the code is that sends each label as it is."""
    # BEGIN SOLUTION
    return float(count * np.log2(classes) / bits)
    # END SOLUTION


# %%
codes = {name: online_code(sent[name], said[name], ENDS, len(TAGS)) for name in SENT}  # SOLUTION
final = {name: compression(code[-1], ENDS[-1], len(TAGS)) for name, code in codes.items()}  # SOLUTION
print(final)

# %%
if isinstance(codes, dict):
    fig, ax = plt.subplots()
    for name, role in zip(SENT, ("pretrained", "scratch", "baseline"), strict=True):
        ax.plot(ENDS, np.array(codes[name]) / 1000, marker="o", color=COLORS[role], label=name)
    ax.set(xlabel="labels sent", ylabel="kilobits spent")
    ax.legend()
    show(fig)

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_short_code(answer, mine):
    """points: 1"""
    import numpy as np

    p = np.full((3, 4), 0.25)
    p[2] = [0.25, 0.125, 0.5, 0.125]
    found = answer.online_code(np.array([0, 1, 2]), [p], [2, 3], 4)
    assert found is not None, "online_code is not written yet: it must return a list of bits."
    assert len(found) == 2, (
        "online_code must return the bits spent after each block, one number for each end."
    )
    assert abs(found[0] - 4) < 1e-9, (
        f"The first block is sent as it is, 2 labels of 2 bits: 4 bits, not {found[0]:.3f}."
    )
    assert abs(found[1] - 5) < 1e-9, (
        f"The third label has probability one half: one bit more, 5 in all, not {found[1]:.3f}. Bits have the logarithm of "
        "base 2, and are added up over the blocks."
    )
    found = answer.compression(5.0, 3, 4)
    assert isinstance(found, float), "compression must return a number."
    assert abs(found - 1.2) < 1e-9, f"compression(5.0, 3, 4) is 6 bits over 5, 1.2, not {found:.3f}."


# %%
def test_random_codes(answer, mine):
    """points: 2, hidden
    random probes, blocks and classes
    """
    import numpy as np

    random = mine.fresh("q4")
    for _ in range(6):
        k, s = int(random.integers(2, 9)), int(random.integers(2, 6))
        ends = np.cumsum(random.integers(1, 12, s)).tolist()
        labels = random.integers(0, k, ends[-1])
        probabilities = [random.dirichlet(np.ones(k), ends[-1]) for _ in ends[:-1]]
        right = [ends[0] * np.log2(k)]
        for i in range(s - 1):
            block = [-np.log2(probabilities[i][t, labels[t]]) for t in range(ends[i], ends[i + 1])]
            right.append(right[-1] + sum(block))
        found = answer.online_code(labels, probabilities, ends, k)
        assert len(found) == s, f"There are {s} ends, and online_code gives {len(found)} numbers."
        assert np.allclose(found, right), (
            f"With ends {ends} and {k} classes the bits are {right}, not {list(found)}."
        )
        value = ends[-1] * np.log2(k) / right[-1]
        assert abs(answer.compression(right[-1], ends[-1], k) - value) < 1e-9, f"compression is {value:.4f}."


# %%
def test_own_codes(answer, mine):
    """points: 1, hidden
    the probes of your world
    """
    import numpy as np

    from utils.world import tasks

    sample = [s for s in tasks.tagging(mine.world, 700, "probes") if 2 < len(s.words) < 30]
    names = sorted({tag for s in sample for tag in s.pos} | {"ROOT"})
    above = [names.index(s.pos[h] if h >= 0 else "ROOT") for s in sample[:330] for h in s.heads]
    ends, sent, said = list(answer.ENDS), answer.sent, answer.said
    assert np.array_equal(sent["trained"], above[: ends[-1]]), "These labels are of another world."
    assert ends == [60, 120, 240, 480, 960, 1920], "ENDS was changed."
    for name in ("trained", "untrained", "control"):
        k = said[name][0].shape[1]
        right = [ends[0] * np.log2(k)]
        for i, p in enumerate(said[name]):
            block = np.arange(ends[i], ends[i + 1])
            right.append(right[-1] - np.log2(p[block, sent[name][block]]).sum())
        assert np.allclose(answer.codes[name], right), (
            f"codes[{name!r}] ends at {right[-1]:.1f} bits in this world."
        )
        value = ends[-1] * np.log2(k) / right[-1]
        assert abs(answer.final[name] - value) < 1e-6, f"final[{name!r}] is {value:.4f} in this world."


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 4

# %% [markdown]
# ## Question 5: Which layer? (4 points)
#
# Five layers, ten splits of the sentences into training, validation and test: which layer knows the parent's tag best, and
# how well? Whoever looks at the test scores to choose the layer reports a number that is too good, for the best of five
# lucky scores is luckier than one.
#
# Scores are arrays [runs, layers].
#
# **Write `choose(validation)`**: for each run the layer with the best validation score, the lowest of several. A list.
#
# **Write `reported(validation, test)`**: the mean over runs of the test score of the layer that its own validation chose.
#
# **Write `optimism(validation, test)`**: by how much the mean over runs of each run's best *test* score is above `reported`.
#
# **Write `selective(task, control)`**: the layer with the highest *mean* selectivity over runs, task minus control; the
# lowest of several.
#
# For example, with `validation = [[0.5, 0.7], [0.8, 0.6]]` and `test = [[0.6, 0.5], [0.7, 0.8]]`, the chosen layers are
# `[1, 0]`, `reported` is 0.6, the best test scores are 0.6 and 0.8, and `optimism` is 0.1.
#
# The next cells run the probes (least squares with a little ridge, a closed form) and draw their scores. Give for your world,
# for the trained network and the parent's tag: `layer_by_accuracy`, the layer that most runs choose (the lowest of
# several); `layer_by_selectivity`, that of `selective` on the test scores; and `fair_score` and `too_good`, from
# `reported` and `optimism`.


# %%
def ridge_scores(x, labels, part, strength=1.0):
    """Validation and test accuracy of a linear probe by least squares; `part` is 0, 1, 2 for train, validation, test."""
    z = (x - x[part == 0].mean(0)) / (x[part == 0].std(0) + 1e-3)
    z = np.concatenate([z, np.ones((len(z), 1))], 1)
    fit, truth = z[part == 0], np.eye(len(TAGS))[labels[part == 0]]
    weight = np.linalg.solve(fit.T @ fit + strength * len(fit) / 100 * np.eye(z.shape[1]), fit.T @ truth)
    guess = (z @ weight).argmax(1)
    return [float(np.mean(guess[part == side] == labels[part == side])) for side in (1, 2)]


# %%
controls = SENT["control"][1]
scores = defaultdict(list)
number_of_text = np.unique(texts, return_inverse=True)[1]
for seed in range(10):
    side = np.random.default_rng(seed).choice(3, len(different), p=[0.6, 0.15, 0.25])
    part = side[number_of_text][np.array(sentence_of_word)]
    for name, x, y in (
        ("task", states, parents),
        ("control", states, controls),
        ("untrained", untrained, parents),
    ):
        scores[name].append([ridge_scores(layer, y, part) for layer in x])
validation, test_scores, control_scores, untrained_scores = (
    np.array(scores[name])[:, :, side]
    for name, side in (("task", 0), ("task", 1), ("control", 1), ("untrained", 1))
)

# %%
fig, ax = plt.subplots()
for name, table, role in (
    ("parent's tag, trained", test_scores, "pretrained"),
    ("parent's tag, untrained", untrained_scores, "scratch"),
    ("control task, trained", control_scores, "baseline"),
):
    ax.plot(table.mean(0), marker="o", color=COLORS[role], label=name)
most_frequent = Counter(parents.tolist()).most_common(1)[0][1] / len(parents)
ax.axhline(most_frequent, color="black", linestyle=":", label="most frequent tag")
ax.set(xlabel="layer", ylabel="test accuracy", ylim=(0, 1), xticks=range(5))
ax.legend(fontsize=10)
show(fig)

# %% [raw]
# # BEGIN SOLUTION


# %%
def choose(validation: np.ndarray) -> list[int]:
    """For each run the layer with the best validation score: [runs, layers] -> a list of layers."""
    # BEGIN SOLUTION
    return np.argmax(validation, axis=1).tolist()
    # END SOLUTION


# %%
def reported(validation: np.ndarray, test: np.ndarray) -> float:
    """The mean test score of the layer that each run's own validation chose."""
    # BEGIN SOLUTION
    return float(np.mean([row[layer] for row, layer in zip(test, choose(validation), strict=True)]))
    # END SOLUTION


# %%
def optimism(validation: np.ndarray, test: np.ndarray) -> float:
    """How much higher the mean of each run's best test score is than the reported score."""
    # BEGIN SOLUTION
    return float(np.max(test, axis=1).mean() - reported(validation, test))
    # END SOLUTION


# %%
def selective(task: np.ndarray, control: np.ndarray) -> int:
    """The layer with the highest mean of task minus control."""
    # BEGIN SOLUTION
    return int(np.argmax((task - control).mean(0)))
    # END SOLUTION


# %%
layer_by_accuracy = int(np.bincount(choose(validation)).argmax())  # SOLUTION
layer_by_selectivity = selective(test_scores, control_scores)  # SOLUTION
fair_score = reported(validation, test_scores)  # SOLUTION
too_good = optimism(validation, test_scores)  # SOLUTION
print(layer_by_accuracy, layer_by_selectivity, fair_score, too_good)

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_two_runs(answer, mine):
    """points: 1"""
    import numpy as np

    validation, test = np.array([[0.5, 0.7], [0.8, 0.6]]), np.array([[0.6, 0.5], [0.7, 0.8]])
    found = answer.choose(validation)
    assert found is not None, "choose is not written yet: it must return a layer for each run."
    assert list(found) == [1, 0], (
        f"The two runs choose the layers [1, 0], yours {list(found)}: rows are runs, columns layers."
    )
    found = answer.choose(np.array([[0.2, 0.9, 0.9]]))
    assert list(found) == [1], f"Of layers that are equally good the lowest is taken: 1, not {list(found)}."
    found = answer.reported(validation, test)
    assert isinstance(found, float), "reported must return a number."
    assert abs(found - 0.6) < 1e-9, (
        f"reported is 0.6 in the example, yours is {found:.3f}: each run uses its own layer."
    )
    found = answer.optimism(validation, test)
    assert isinstance(found, float) and abs(found - 0.1) < 1e-9, "optimism is 0.1 in the example."
    found = answer.selective(
        np.array([[0.5, 0.9, 1.0], [0.5, 0.8, 0.9]]), np.array([[0.1, 0.4, 0.8], [0.1, 0.3, 0.6]])
    )
    assert found == 1, (
        "selective asks for task minus control: here the three layers have 0.4, 0.5 and 0.25 on average."
    )


# %%
def test_random_runs(answer, mine):
    """points: 2, hidden
    random scores, with ties
    """
    import numpy as np

    random = mine.fresh("q5")
    for _ in range(8):
        shape = int(random.integers(2, 12)), int(random.integers(2, 8))
        validation, test, task, control = (random.integers(0, 9, shape) / 8 for _ in range(4))
        chosen = [int(min(np.flatnonzero(row == row.max()))) for row in validation]
        assert list(answer.choose(validation)) == chosen, f"choose gives {chosen} for {validation.tolist()}."
        right = np.mean([test[i, layer] for i, layer in enumerate(chosen)])
        assert abs(answer.reported(validation, test) - right) < 1e-9, (
            f"reported is {right:.4f} on random runs."
        )
        value = np.mean([row.max() for row in test]) - right
        assert abs(answer.optimism(validation, test) - value) < 1e-9, (
            f"optimism is {value:.4f} on random runs."
        )
        means = np.round((task - control).mean(0), 9)
        if np.sum(means == means.max()) == 1:
            assert answer.selective(task, control) == int(np.argmax(means)), (
                "selective gives another layer on random runs."
            )


# %%
def test_own_layers(answer, mine):
    """points: 1, hidden
    the layers in your world
    """
    import numpy as np

    from utils.world import tasks

    sample = [s for s in tasks.tagging(mine.world, 700, "probes") if 2 < len(s.words) < 30]
    names = sorted({tag for s in sample for tag in s.pos} | {"ROOT"})
    above = [names.index(s.pos[h] if h >= 0 else "ROOT") for s in sample[:330] for h in s.heads]
    assert np.array_equal(answer.parents, above), "These labels are of another world."
    validation, test, control = answer.validation, answer.test_scores, answer.control_scores
    chosen = validation.argmax(1)
    fair = test[np.arange(len(test)), chosen].mean()
    assert np.ptp(test) > 0 and test.shape == (10, 5), "test_scores was changed."
    assert answer.layer_by_accuracy == np.bincount(chosen).argmax(), "layer_by_accuracy is another layer."
    assert answer.layer_by_selectivity == (test - control).mean(0).argmax(), (
        "layer_by_selectivity is another layer."
    )
    assert abs(answer.fair_score - fair) < 1e-9, f"fair_score is {fair:.4f} in this world."
    value = test.max(1).mean() - fair
    assert abs(answer.too_good - value) < 1e-9, f"too_good is {value:.4f} in this world."


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
# ## Question 6: What has been shown? (3 points, in words)
#
# Somebody draws only the blue line of your figure of question 5 and writes: "Our probe reads the tag of a word's parent off
# the network's best layer far more often than guessing the most frequent tag would. So this layer has learned syntax, and
# the network uses it to predict words." In 150 to 250 words, with numbers from your world:
#
# 1. What do the other two lines, and the code lengths of question 4, add to the first sentence? How much of the score needs
#    no network that has learned anything?
# 2. Does the evidence in your figure support "has learned syntax"? Say what it supports and what it does not.
# 3. Why does "uses it" not follow, and which experiment of Lab 2 would test it?

# %% [raw]
# # BEGIN SOLUTION

# %% [markdown]
# Guessing is the wrong rival. The same probe on a network with random weights reads the parent's tag far above the most
# frequent tag, too (in my world the red line is about fifteen to thirty points below the blue one and well above the dotted
# one). Random states still tell the word, and its neighbors a little, and the probe learns what usually stands above such
# words. The grey line says how much can be learned by heart from the word alone: labels that mean nothing are read rightly
# for more than half of the words, at layer 0 even more often than the parent's tag; only what the task has beyond them, the
# selectivity, needs more than a dictionary. The code says the same in bits: the parents' tags need fewer bits from the
# trained network than the control does, and far fewer than from the untrained one (my `final`: 2.6, 2.2 and 2.0).
#
# What the figure supports: training makes the parent's tag easier to read by a linear map, for sentences that did not
# train the probe. It does not show that the layer holds trees, or rules: tags of parents can be guessed from the word and
# the one beside it, and one relation is not syntax.
#
# "Uses it" is about causes, and a probe changes nothing. A property can be readable and without effect. One would have to
# intervene: remove the directions that the probe reads, or copy a state from a sentence with another parent, and see whether
# the predictions change more than with a random direction of the same size.
#
# **Rubric**: 3 points.
#
# | criterion | points |
# |---|---|
# | untrained network and control as the rivals, with own numbers (selectivity or bits), and what they stand for | 1 |
# | supported: easier to read after training; not supported: a weaker reading is named (word identity, neighbors, one relation only) | 1 |
# | encoded is not used: an intervention (removal, patching) with its control | 1 |
#
# *Full marks:* the answer above. *Half marks (1.5):* "The untrained network already has 60%, so most of the score comes from
# the word itself (1). Therefore the layer has learned some syntax, but not everything (0: which part of the evidence?). To
# see whether it is used one would have to change the states (0.5: how, and compared with what?)." *No marks:* "The probe is
# significantly better than chance, so the layer encodes syntax, and since the network predicts well it must use it. A larger
# probe would show it even more clearly."

# %% [raw]
# # END SOLUTION

# %% [raw]
# # END QUESTION
