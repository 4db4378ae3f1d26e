# %% [raw]
# # ASSIGNMENT CONFIG
# files: [checkpoints/tokenizer.json]

# %% [markdown]
# # Assignment 1: What does a loss say?
#
# <!-- colab badge -->
#
# A language model reports one number. In this assignment you build the instruments that tell what the number is worth:
# three rulers for one text, the distance to the exact entropy with its uncertainty, the masking that a masked model
# learns from, the counts behind the best counting model, and a detector for a bug that makes every loss look wonderful.
#
# **You should know** the chapter *Pretraining* and Lab 1. **You need** two to four hours. There are 20 points: 17 are
# given by checks, some of which you can run here, and 3 by your teacher for the answer in words.
#
# Your data come from a world of your own. It has the grammar of the course world and its own frequencies, people and
# texts, so your numbers are nobody else's. Where a cell has `...`, your answer goes; keep the names. All functions get
# and return plain Python data, and none of them may change its arguments.
#
# | question | | points |
# |---|---|---|
# | 1 | One text, three rulers | 3 |
# | 2 | How far from the floor, and how sure? | 4 |
# | 3 | Masking whole words | 3 |
# | 4 | How many different neighbors? | 4 |
# | 5 | Find the bug | 3 |
# | 6 | Below the floor (in words) | 3 |

# %%
# course setup

# %%
from collections import Counter, defaultdict

import matplotlib.pyplot as plt
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from utils import checks
from utils.checkpoints import FOLDER
from utils.ngram import KneserNey
from utils.plots import show, style

# %%
student = "open"  # your student id
code = ""  # the code that your teacher sent you

# %%
mine = checks.Assignment("01_pretraining", student, code)
world = mine.world
style()

# %%
for document, _ in zip(world.documents("hello"), range(3), strict=False):
    print(f"{document.kind} ({document.bits:.1f} bits): {document.text}")

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: One text, three rulers (3 points)
#
# Three models read the same text. One cuts it into words, one into sub-words, one into characters, and each reports the
# bits of its own units. The end of a text is a unit, too: a model that does not pay for stopping has not said which text
# it is.
#
# **Write `rulers(scored, texts)`.** `scored` has for each text the list of the bits of its units, the end included, and
# `texts` has the texts as strings, with single spaces between words. Return a dictionary with
#
# - `"bits per unit"`, over all units of all texts;
# - `"perplexity"`, the number of equally likely choices that cost as many bits per unit;
# - `"bits per word"`: each text has its words and one end;
# - `"bits per character"`: each text has its characters, spaces among them, and one end.
#
# For example, two texts, the first cut into three pieces and the second into one:
#
# `rulers([[1.0, 1.0, 1.0, 2.0], [3.0, 1.0]], ["ab c", "d"])` has 9 bits in all: 1.5 per unit, perplexity 2.83, 1.8 per
# word and 1.286 per character.
#
# **Then write `honest(scored, texts, spelling)`.** A word model has a closed vocabulary, and reads all other words as one
# token, `<unk>`. That token is frequent and therefore cheap, and the model never says *which* word stood there. To compare
# it with a model that can write any word, it has to pay for the spelling as well. `spelling` has the bits of spelling each
# word that is not in the vocabulary. Return the bits per word of `scored` with all spellings paid.
#
# For example, `honest([[2.0, 3.0, 1.0]], ["a zebu"], {"zebu": 12.0})` is 18 bits over 3 words: 6.0.

# %% [markdown]
# **Three models of your world.** The cell below trains them on the same text and scores the same new texts: Kneser-Ney on
# words that occur at least five times, on the sub-words of a byte-pair encoding, and on characters. Before you go on, write
# down which of the three will look best by perplexity, which by bits per word, and which deserves to.

# %%
train, new = world.corpus(40_000, "rulers"), world.corpus(5_000, "rulers, new")
texts = [document.text for document in new]
frequency = Counter(word for document in train for word in document.words)
known = {word for word, n in frequency.items() if n >= 5}

# %%
bpe = Tokenizer(models.BPE())
bpe.pre_tokenizer = pre_tokenizers.Metaspace()
bpe.train_from_iterator((d.text for d in train), trainers.BpeTrainer(vocab_size=1500, show_progress=False))


# %%
def closed(text):
    """The words of a text, those outside the vocabulary as <unk>."""
    return [word if word in known else "<unk>" for word in text.split()]


# %%
CUTS = {"words": (closed, 5), "sub-words": (lambda t: bpe.encode(t).tokens, 6), "characters": (list, 8)}
scored = {}
for name, (cut, order) in CUTS.items():
    model = KneserNey(order).fit(cut(document.text) for document in train)
    scored[name] = [model.bits(cut(text)) for text in texts]

# %%
speller = KneserNey(6).fit(list(word) for word in frequency)
spelling = {w: sum(speller.bits(list(w))) for text in texts for w in text.split() if w not in known}
print("spelling:", {w: round(bits, 1) for w, bits in list(spelling.items())[:5]})

# %% [markdown]
# With your functions, make `table`, a dictionary from the three names to their `rulers`, and `honest_words`, the honest bits
# per word of the word model. Then give two lists of the three names: `by_perplexity`, from the lowest perplexity to the
# highest, and `fairly`, from the best model to the worst when all pay for the same thing.

# %% [raw]
# # BEGIN SOLUTION


# %%
def rulers(scored: list[list[float]], texts: list[str]) -> dict[str, float]:
    """Four readings of one code length: per unit, its perplexity, per word and per character."""
    # BEGIN SOLUTION
    total, units = sum(map(sum, scored)), sum(map(len, scored))
    words = sum(len(text.split()) + 1 for text in texts)
    characters = sum(len(text) + 1 for text in texts)
    return {
        "bits per unit": total / units,
        "perplexity": 2 ** (total / units),
        "bits per word": total / words,
        "bits per character": total / characters,
    }
    # END SOLUTION


# %%
def honest(scored: list[list[float]], texts: list[str], spelling: dict[str, float]) -> float:
    """Bits per word when every word outside the vocabulary also pays for its spelling."""
    # BEGIN SOLUTION
    total = sum(map(sum, scored)) + sum(spelling.get(word, 0.0) for text in texts for word in text.split())
    return total / sum(len(text.split()) + 1 for text in texts)
    # END SOLUTION


# %%
table = {name: rulers(rows, texts) for name, rows in scored.items()}  # SOLUTION
honest_words = honest(scored["words"], texts, spelling)  # SOLUTION
print(table, honest_words)

# %%
by_perplexity = sorted(CUTS, key=lambda n: table[n]["perplexity"])  # SOLUTION
fairly = sorted(CUTS, key=lambda n: honest_words if n == "words" else table[n]["bits per word"])  # SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_rulers_example(answer, mine):
    """points: 1"""
    found = answer.rulers([[1.0, 1.0, 1.0, 2.0], [3.0, 1.0]], ["ab c", "d"])
    assert isinstance(found, dict), "rulers must return a dictionary."
    right = {"bits per unit": 1.5, "perplexity": 2**1.5, "bits per word": 1.8, "bits per character": 9 / 7}
    for name, value in right.items():
        assert name in found, f"The dictionary of rulers has no {name!r}."
        assert abs(found[name] - value) < 1e-6, (
            f"In the example {name} is {value:.3f}, yours is {found[name]:.3f}. All bits of all texts are added before "
            "anything is divided, and each text has one end."
        )


# %%
def test_honest_example(answer, mine):
    """points: 0"""
    found = answer.honest([[2.0, 3.0, 1.0]], ["a zebu"], {"zebu": 12.0})
    assert isinstance(found, float), "honest must return a number."
    assert abs(found - 6.0) < 1e-6, f"In the example honest gives 6.0 bits per word, yours gives {found:.3f}."


# %%
def test_rulers_and_honest_on_random_texts(answer, mine):
    """points: 1, hidden
    random texts and spellings
    """
    import numpy as np

    random = mine.fresh("q1")
    for _ in range(5):
        words = [["ox", "zebu", "a", "the", "yak"][i] for i in random.integers(0, 5, 40)]
        cuts = np.sort(random.choice(np.arange(1, 40), 6, replace=False))
        texts = [" ".join(part) for part in np.split(np.array(words), cuts)]
        scored = [random.exponential(3, int(random.integers(2, 30))).tolist() for _ in texts]
        total, units = sum(map(sum, scored)), sum(map(len, scored))
        n, c = sum(len(t.split()) + 1 for t in texts), sum(len(t) + 1 for t in texts)
        right = {
            "bits per unit": total / units,
            "perplexity": 2 ** (total / units),
            "bits per word": total / n,
            "bits per character": total / c,
        }
        found = answer.rulers(scored, texts)
        for name, value in right.items():
            assert abs(found[name] - value) < 1e-6, (
                f"On random texts {name} is {value:.4f}, not {found[name]:.4f}."
            )
        spelling = {"zebu": float(random.uniform(5, 20)), "yak": float(random.uniform(5, 20))}
        value = (total + sum(spelling.get(w, 0.0) for w in words)) / n
        found = answer.honest(scored, texts, spelling)
        assert abs(found - value) < 1e-6, f"On random texts honest gives {value:.4f}, not {found:.4f}."


# %%
def test_own_world(answer, mine):
    """points: 1, hidden
    the three models of your world
    """
    from collections import Counter

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    from utils.ngram import KneserNey

    train, new = mine.world.corpus(40_000, "rulers"), mine.world.corpus(5_000, "rulers, new")
    frequency = Counter(word for document in train for word in document.words)
    known = {word for word, n in frequency.items() if n >= 5}
    n = sum(len(document.words) + 1 for document in new)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Metaspace()
    bpe.train_from_iterator(
        (d.text for d in train), trainers.BpeTrainer(vocab_size=1500, show_progress=False)
    )
    bits, per_unit = {}, {}
    for name, cut, order in (
        ("words", lambda d: [w if w in known else "<unk>" for w in d.words], 5),
        ("sub-words", lambda d: bpe.encode(d.text).tokens, 6),
        ("characters", lambda d: list(d.text), 8),
    ):
        model = KneserNey(order).fit(cut(d) for d in train)
        scored = [model.bits(cut(d)) for d in new]
        bits[name] = sum(map(sum, scored))
        per_unit[name] = bits[name] / sum(map(len, scored))
    speller = KneserNey(6).fit(list(word) for word in frequency)
    bits["words"] += sum(sum(speller.bits(list(w))) for d in new for w in d.words if w not in known)
    value = bits["words"] / n
    assert abs(answer.honest_words - value) < 1e-4, f"honest_words is {value:.4f} in this world."
    assert list(answer.fairly) == sorted(bits, key=bits.get), (
        "fairly orders the models by what each word costs in all."
    )
    assert list(answer.by_perplexity) == sorted(per_unit, key=per_unit.get), (
        "by_perplexity orders the models by 2 to the bits per unit."
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
# ## Question 2: How far from the floor, and how sure? (4 points)
#
# The world knows the exact bits of each text it writes. What a model pays above them is what it does not know,
#
# $$R = \frac{\sum_i (m_i - e_i)}{\sum_i n_i} ,$$
#
# with the model's bits $m_i$, the exact bits $e_i$ and the number of words $n_i$ of text $i$, its end included.
#
# How sure is this number? Another sample of texts would give another one. Two things make it harder than the standard
# error of a mean. Texts differ in length, so $R$ is a ratio of sums and not a mean. And texts differ in how much choice
# there is in them, but that difference is in $m_i$ *and* in $e_i$: it cancels, if both are taken from the same texts.
#
# The *jackknife* handles both. Leave out one text after the other and compute $R_{(i)}$ from all others. If one text more or
# less hardly matters, $R$ is sure. With $\bar R$ the mean of the $N$ values $R_{(i)}$,
#
# $$\mathrm{SE} = \sqrt{\frac{N - 1}{N} \sum_i \bigl( R_{(i)} - \bar R \bigr)^2} .$$
#
# The factor before the sum is not the usual one. The $R_{(i)}$ share nearly all of their texts, so they differ from each
# other far less than independent samples would.
#
# **Write `gap(model, exact, words)`**: three lists with one number for each text. Return the pair $(R, \mathrm{SE})$.
#
# For example, `gap([10, 20, 33], [8, 18, 24], [4, 8, 12])` has $R = 13 / 24 = 0.5417$; left out one by one, 11/20, 11/16 and
# 4/12; and $\mathrm{SE} = 0.2062$.

# %% [markdown]
# Now a figure from your world: bits per word above the exact ones, so that the floor is at zero, for four lines. Three are
# models scored on **new** texts: a `"unigram"`, a `"bigram"` and a `"6-gram"`. The fourth is the 6-gram scored on the first
# 6,000 words of **its own training text**, `"6-gram, own text"`. The letters are dealt by your world.


# %%
def above_floor(model, documents):
    """Bits of each text by a model, the exact bits, and the numbers of words."""
    return (
        [sum(model.bits(d.words)) for d in documents],
        [d.bits for d in documents],
        [len(d.words) + 1 for d in documents],
    )


# %%
SIZES = (6_000, 20_000, 60_000, 120_000)
longest, new = world.corpus(SIZES[-1], "curves"), world.corpus(10_000, "curves, new")
ends = np.cumsum([len(document.words) + 1 for document in longest])
own = longest[: int(np.searchsorted(ends, SIZES[0])) + 1]
names = ["unigram", "bigram", "6-gram", "6-gram, own text"]
lines, largest = defaultdict(list), {}
for size in SIZES:
    training_text = [d.words for d in longest[: int(np.searchsorted(ends, size)) + 1]]
    for name, order in zip(names, (1, 2, 6, 6), strict=True):
        model = KneserNey(order).fit(training_text)
        largest[name] = above_floor(model, own if name == "6-gram, own text" else new)
        m, e, n = map(sum, largest[name])
        lines[name].append((m - e) / n)

# %%
dealt = mine.rng("letters").permutation(4)
fig, ax = plt.subplots()
for letter, i, marker in zip("ABCD", dealt, "osD^", strict=True):
    ax.plot(SIZES, lines[names[i]], marker=marker, label=letter)
ax.axhline(0, color="black", linestyle="--", label="exact entropy")
ax.set(xscale="log", xlabel="words of training text", ylabel="bits per word above the entropy")
ax.legend(ncols=2)
show(fig)

# %% [markdown]
# Read the figure. Say which letter is which in `letters`, a dictionary from each of the four names to its letter. You could
# find out from the code above; try it from the shapes first, for question 6 will ask for the reasons.
#
# Then measure: `still_missing` is the pair `gap(...)` of the 6-gram on new text after the longest training (its three
# lists are `largest["6-gram"]`). And `wrong_error` is the standard error that someone would report who forgets that both
# bits come from the same texts: the jackknife of the model's bits per word alone, with the exact bits of every text taken
# as zero. How many times as large is it?

# %% [raw]
# # BEGIN SOLUTION


# %%
def gap(model: list[float], exact: list[float], words: list[int]) -> tuple[float, float]:
    """Bits per word above the exact ones, and the jackknife standard error over texts."""
    # BEGIN SOLUTION
    difference, words = np.array(model) - np.array(exact), np.array(words)
    left_out = (difference.sum() - difference) / (words.sum() - words)
    spread = ((left_out - left_out.mean()) ** 2).sum()
    n = len(words)
    return float(difference.sum() / words.sum()), float(np.sqrt((n - 1) / n * spread))
    # END SOLUTION


# %%
letters = {names[i]: letter for letter, i in zip("ABCD", dealt, strict=True)}  # SOLUTION
still_missing = gap(*largest["6-gram"])  # SOLUTION
wrong_error = gap(largest["6-gram"][0], [0.0] * len(new), largest["6-gram"][2])[1]  # SOLUTION
print(letters, still_missing, wrong_error)

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_gap_example(answer, mine):
    """points: 1"""
    found = answer.gap([10, 20, 33], [8, 18, 24], [4, 8, 12])
    assert found is not None and found is not ... and len(found) == 2, "gap must return two numbers."
    assert abs(found[0] - 13 / 24) < 1e-6, f"In the example R is 0.5417, yours is {found[0]:.4f}."
    assert abs(found[1] - 0.206174) < 1e-4, (
        f"In the example the standard error is 0.2062, yours is {found[1]:.4f}. Leave out one text at a time from both "
        "sums, and mind the factor before the sum of squares."
    )


# %%
def test_gap_on_random_texts(answer, mine):
    """points: 1, hidden
    random bits and lengths
    """
    import numpy as np

    random = mine.fresh("q2")
    for n in (5, 23, 60):
        words = random.integers(3, 60, n)
        exact = words * random.uniform(1, 3, n)
        model = exact + words * random.uniform(0, 1, n)
        d = model - exact
        left = np.array([np.delete(d, i).sum() / np.delete(words, i).sum() for i in range(n)])
        right = d.sum() / words.sum(), np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())
        found = answer.gap(model.tolist(), exact.tolist(), words.tolist())
        assert np.allclose(found, right, rtol=1e-6), f"On random texts gap gives {right}, not {tuple(found)}."


# %%
def test_letters(answer, mine):
    """points: 1, hidden
    which line is which
    """
    names = ["unigram", "bigram", "6-gram", "6-gram, own text"]
    right = {names[i]: letter for letter, i in zip("ABCD", mine.rng("letters").permutation(4), strict=True)}
    found = answer.letters
    assert isinstance(found, dict), "letters must be a dictionary."
    wrong = [name for name in names if found.get(name) != right[name]]
    assert not wrong, f"These lines have another letter: {', '.join(wrong)}."


# %%
def test_measured(answer, mine):
    """points: 1, hidden
    the 6-gram of your world
    """
    import numpy as np

    from utils.ngram import KneserNey

    longest, new = mine.world.corpus(120_000, "curves"), mine.world.corpus(10_000, "curves, new")
    model = KneserNey(6).fit(d.words for d in longest)
    words = np.array([len(d.words) + 1 for d in new])
    bits = np.array([sum(model.bits(d.words)) for d in new])
    exact, n = np.array([d.bits for d in new]), len(words)

    def error(d):
        left = (d.sum() - d) / (words.sum() - words)
        return np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum())

    right = ((bits - exact).sum() / words.sum(), error(bits - exact))
    assert np.allclose(answer.still_missing, right, rtol=1e-4), f"still_missing is {right} in your world."
    assert np.isclose(answer.wrong_error, error(bits), rtol=1e-4), (
        f"wrong_error is {error(bits):.4f} in your world."
    )


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q3
# points: 3

# %% [markdown]
# ## Question 3: Masking whole words (3 points)
#
# A masked model that is asked for one piece of a word can often spell it out from the others: of *raven ▢ bridge* little is
# left to guess. BERT's authors later released models that mask **whole words**: if a word is chosen, all its pieces are.
#
# **Write `corrupt(words, rate, mask_id, specials, vocabulary, seed)`.** `words` is a text as a list of words, each word a
# list of the ids of its pieces. Each word is chosen with probability `rate`, independently of the others. Of the chosen
# words
#
# - 80% have all their pieces replaced by `mask_id`;
# - 10% have each piece replaced by a random ordinary id of its own, each of `specials`, ..., `vocabulary - 1` equally
#   likely;
# - 10% stay as they are.
#
# Words with an id below `specials` are marks, such as the begin of a text, and are never chosen. Return a pair: the new
# text, in the form of `words`, and a list with `True` for each chosen word, else `False`. The same seed gives the same
# result, another seed another one, and the argument stays as it is: it holds the answers that the model is trained to give.
#
# **Then write `trust(rate, ordinary)`.** Suppose every word is one piece. The model reads a corrupted text and looks at a
# piece that is *not* the mask. With what probability is it the piece that the writer wrote? There are `ordinary` ordinary
# ids, and the random id may happen to be the old one. For example, `trust(0.5, 2)` is 0.9583: of 60 visible pieces in 100,
# 50 were not chosen, 5 were chosen and kept, and of the 5 random ones half are right by luck. This number is why the 20%
# are there: were it 1, a model could copy all visible pieces and learn to read only at masks.

# %%
# The course's tokenizer, and a text to try yours on: after `corrupt` you will see what becomes of it.
tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
MASK = tokenizer.token_to_id("<mask>")
story = next(world.documents("masking", "story")).words
print([tokenizer.encode(word).tokens for word in story])

# %% [raw]
# # BEGIN SOLUTION


# %%
def corrupt(
    words: list[list[int]], rate: float, mask_id: int, specials: int, vocabulary: int, seed: int
) -> tuple[list[list[int]], list[bool]]:
    """BERT's 80/10/10 corruption of whole words: the new text, and which words were chosen."""
    # BEGIN SOLUTION
    random = np.random.default_rng(seed)
    result, chosen = [], []
    for word in words:
        asked = min(word) >= specials and random.random() < rate
        kind = random.random()
        new = list(word)
        if asked and kind < 0.8:
            new = [mask_id] * len(word)
        elif asked and kind < 0.9:
            new = random.integers(specials, vocabulary, len(word)).tolist()
        result.append(new)
        chosen.append(bool(asked))
    return result, chosen
    # END SOLUTION


# %%
def trust(rate: float, ordinary: int) -> float:
    """The probability that a visible piece of a corrupted text is the original one."""
    # BEGIN SOLUTION
    visible = 1 - 0.8 * rate
    right = 1 - rate + 0.1 * rate + 0.1 * rate / ordinary
    return right / visible
    # END SOLUTION


# %%
# A text of your world, corrupted by your function; the argument must be untouched.
pieces = [tokenizer.encode(word).ids for word in story]
masked, chosen = corrupt(pieces, 0.3, MASK, 5, tokenizer.get_vocab_size(), 1) or (pieces, [])
untouched = pieces == [tokenizer.encode(word).ids for word in story]
print(" ".join("".join(map(tokenizer.id_to_token, word)) for word in masked).replace("▁", ""))
print(
    "chosen:",
    [word for word, yes in zip(story, chosen, strict=False) if yes],
    " argument untouched:",
    untouched,
)

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_corrupt_example(answer, mine):
    """points: 1"""
    words = [[2], [10, 11, 12], [13], [14, 15], [3]] * 200
    found = answer.corrupt(words, 0.5, 4, 5, 100, 7)
    assert found is not None and found is not ..., "corrupt must return the new text and the chosen words."
    new, chosen = [[int(i) for i in word] for word in found[0]], [bool(c) for c in found[1]]
    assert len(new) == len(chosen) == len(words), (
        "There must be one list of ids and one True or False for each word."
    )
    assert [len(w) for w in new] == [len(w) for w in words], "No word may lose or gain pieces."
    assert not any(c for w, c in zip(words, chosen, strict=True) if min(w) < 5), (
        "Marks, ids below `specials`, are never chosen."
    )
    assert all(list(n) == w for n, w, c in zip(new, words, chosen, strict=True) if not c), (
        "A word that is not chosen stays."
    )
    half = [n for n in new if 4 in n and set(n) != {4}]
    assert not half, (
        f"All pieces of a word are masked together: yours has {half[0] if half else ''} (the mask is 4)."
    )
    assert any(set(n) == {4} for n in new), "No word was masked, and most of the chosen ones should be."
    again, other = answer.corrupt(words, 0.5, 4, 5, 100, 7), answer.corrupt(words, 0.5, 4, 5, 100, 8)
    same = list(again[1]) == chosen and [[int(i) for i in word] for word in again[0]] == new
    assert same, "The same seed must give the same result."
    assert list(other[1]) != chosen, "Another seed must give another result."
    assert answer.untouched is True, "corrupt changes the text that it is given: work on a copy."


# %%
def test_trust_example(answer, mine):
    """points: 0"""
    found = answer.trust(0.5, 2)
    assert isinstance(found, float), "trust must return a number."
    assert abs(found - 0.575 / 0.6) < 1e-6, f"trust(0.5, 2) is 0.9583, yours is {found:.4f}."


# %%
def test_shares(answer, mine):
    """points: 1, hidden
    many words, other rates and vocabularies
    """
    import numpy as np

    random = mine.fresh("q3 shares")
    for _ in range(2):
        rate, size = float(random.uniform(0.1, 0.6)), int(random.integers(300, 900))
        words = [random.integers(5, size, int(random.integers(1, 5))).tolist() for _ in range(20_000)]
        new, chosen = answer.corrupt(words, rate, 4, 5, size, int(random.integers(1_000_000)))
        picked = [(w, [int(i) for i in n]) for w, n, c in zip(words, new, chosen, strict=True) if c]

        def near(count, n, p, what):
            width = 5 * (n * p * (1 - p)) ** 0.5
            assert abs(count - n * p) < width, f"{what}: {count / n:.3f} in place of {p:.3f}, of {n} words."

        near(len(picked), len(words), rate, "Share of the words that are chosen")
        near(
            sum(set(n) == {4} for _, n in picked),
            len(picked),
            0.8,
            "Share of the chosen words that are masked",
        )
        near(sum(w == n for w, n in picked), len(picked), 0.1, "Share of the chosen words that stay")
        replaced = [n for w, n in picked if w != n and set(n) != {4}]
        ids = np.array([i for n in replaced for i in n])
        assert ids.min() >= 5 and ids.max() < size, (
            "Random ids must be ordinary ones, from specials to vocabulary - 1."
        )
        assert abs(ids.mean() - (4 + size) / 2) < 5 * size / (12 * len(ids)) ** 0.5, (
            "Random ids are not all equally likely."
        )
        edges = np.sum(ids == size - 1), np.sum(ids == 5)
        assert len(ids) < 20 * size or min(edges) > 0, "The first or the last ordinary id never comes up."
        several = [n for n in replaced if len(n) > 2]
        assert sum(len(set(n)) == 1 for n in several) < 0.05 * len(several), (
            "Each piece gets a random id of its own."
        )
    tiny = [[int(i)] for i in random.integers(5, 9, 20_000)]
    new, chosen = answer.corrupt(tiny, 1.0, 4, 5, 9, int(random.integers(1_000_000)))
    new = [[int(i) for i in word] for word in new]
    found = {n[0] for w, n in zip(tiny, new, strict=True) if n[0] not in (4, w[0])}
    assert found == {5, 6, 7, 8}, "Of four ordinary ids, all four must come up as random ones, and no other."
    same = sum(w == n for w, n in zip(tiny, new, strict=True)) / len(tiny)
    assert abs(same - 0.125) < 0.012, (
        "A random id may be the old one: with four ids 12.5% of the chosen words look kept."
    )


# %%
def test_trust(answer, mine):
    """points: 1, hidden
    other rates and vocabularies
    """
    random = mine.fresh("q3 trust")
    for _ in range(10):
        rate, ordinary = float(random.uniform(0.05, 1)), int(random.integers(1, 50))
        right = (1 - 0.9 * rate + 0.1 * rate / ordinary) / (1 - 0.8 * rate)
        found = answer.trust(rate, ordinary)
        assert abs(found - right) < 1e-6, f"trust({rate:.3f}, {ordinary}) is {right:.4f}, not {found:.4f}."


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 4

# %% [markdown]
# ## Question 4: How many different neighbors? (4 points)
#
# *Kong* is frequent, but almost only after *Hong*. After a word that was never seen before, *Kong* is a poor guess, and a
# unigram that counts how *often* it occurs would still make it. Kneser and Ney's idea is to count after how many
# **different** words it occurs. Write the smallest model that has the idea, a bigram.
#
# Put `"<s>"` before each text and `"</s>"` behind it, and take all pairs of neighbors $(h, w)$ in the result. (No pair
# crosses from one text into the next.)
#
# **Write `continuation(texts)`**: a dictionary from each word $w$ that stands behind another (`"</s>"` too) to
#
# $$p_{\mathrm{cont}}(w) = \frac{\text{number of different } h \text{ before } w}{\text{number of different pairs } (h, w)} .$$
#
# **Write `probability(texts, d, h, w)`**, the interpolated bigram
#
# $$p(w \mid h) = \frac{\max(c(h, w) - d,\, 0)}{c(h)} + \frac{d\, N(h)}{c(h)}\; p_{\mathrm{cont}}(w) ,$$
#
# where $c(h, w)$ counts a pair, $c(h)$ all pairs that begin with $h$, and $N(h)$ the different words behind $h$. The discount
# $d$ is taken off each of the $N(h)$ seen pairs, and all that was taken is spent as $p_{\mathrm{cont}}$ advises. After an $h$
# that begins no pair there is nothing to count, and $p(w \mid h) = p_{\mathrm{cont}}(w)$. A word that was never seen has 0.
#
# For example, take `texts = [["in", "hong", "kong"], ["hong", "kong"], ["in", "rome"]]`. There are 7 different pairs: before
# *kong* stands one word, before *hong* two (*in* and `"<s>"`), before `"</s>"` two. So *kong* has 1/7 and *hong* 2/7,
# although both occur twice. With $d = 0.5$, $p(kong \mid hong) = 1.5/2 + 0.25 \cdot 1/7 = 0.786$.

# %% [markdown]
# **Which word is the *Kong* of your world?** Of all words of letters (`word.isalpha()`) that occur at least 40 times in `read`
# below, find the one whose share among all words (ends of texts count as words) is the largest multiple of its $p_{\mathrm{cont}}$;
# of several, the first in the alphabet. Call the word `kong` and the multiple `how_many_times`, and look at what stands before it.

# %%
read = [document.words for document in world.corpus(60_000, "kong")]

# %% [raw]
# # BEGIN SOLUTION


# %%
def continuation(texts: list[list[str]]) -> dict[str, float]:
    """For each word the share of all different pairs in which it stands second."""
    # BEGIN SOLUTION
    pairs = {pair for text in texts for pair in zip(["<s>", *text], [*text, "</s>"], strict=True)}
    return {word: n / len(pairs) for word, n in Counter(w for _, w in pairs).items()}
    # END SOLUTION


# %%
def probability(texts: list[list[str]], d: float, h: str, w: str) -> float:
    """The interpolated Kneser-Ney bigram p(w | h) with discount d."""
    # BEGIN SOLUTION
    counts = Counter(
        b for text in texts for a, b in zip(["<s>", *text], [*text, "</s>"], strict=True) if a == h
    )
    shorter = continuation(texts).get(w, 0.0)
    if not counts:
        return shorter
    total = sum(counts.values())
    return max(counts[w] - d, 0) / total + d * len(counts) / total * shorter
    # END SOLUTION


# %%
# BEGIN SOLUTION
occurrences = Counter(word for text in read for word in text)
everything = occurrences.total() + len(read)
shares = continuation(read)
multiple = {w: n / everything / shares[w] for w, n in occurrences.items() if n >= 40 and w.isalpha()}
# END SOLUTION
kong = min(multiple, key=lambda w: (-multiple[w], w))  # SOLUTION
how_many_times = multiple[kong]  # SOLUTION
print(
    kong,
    how_many_times,
    Counter(a for text in read for a, b in zip(text, text[1:], strict=False) if b == kong),
)

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_kong_example(answer, mine):
    """points: 1"""
    texts = [["in", "hong", "kong"], ["hong", "kong"], ["in", "rome"]]
    found = answer.continuation(texts)
    assert isinstance(found, dict), "continuation must return a dictionary."
    right = {"in": 1 / 7, "hong": 2 / 7, "kong": 1 / 7, "rome": 1 / 7, "</s>": 2 / 7}
    assert set(found) == set(right), f"In the example these words stand second in a pair: {sorted(right)}."
    for word, value in right.items():
        assert abs(found[word] - value) < 1e-6, (
            f"In the example {word!r} has {value:.3f}, not {found[word]:.3f}."
        )
    p = answer.probability(texts, 0.5, "hong", "kong")
    assert abs(p - (0.75 + 0.25 / 7)) < 1e-6, f"In the example p(kong | hong) is 0.786, not {p:.3f}."


# %%
def test_sums_to_one(answer, mine):
    """points: 1, hidden
    the probabilities of all words after one
    """
    random = mine.fresh("q4 sums")
    for _ in range(3):
        texts = [[f"w{int(i)}" for i in random.zipf(1.6, 12) % 9] for _ in range(12)]
        words, d = sorted({w for text in texts for w in text}), float(random.uniform(0.1, 0.9))
        for h in (*words[:4], "<s>", "nowhere"):
            total = sum(answer.probability(texts, d, h, w) for w in (*words, "</s>"))
            assert abs(total - 1) < 1e-6, f"After {h!r} the probabilities of all words add up to {total:.4f}."
        found = sum(answer.continuation(texts).values())
        assert abs(found - 1) < 1e-6, f"The shares of continuation add up to {found:.4f}."


# %%
def test_values(answer, mine):
    """points: 1, hidden
    random texts, histories and words
    """
    from collections import Counter

    random = mine.fresh("q4 values")
    for _ in range(4):
        texts = [
            [f"w{int(i)}" for i in random.zipf(1.5, int(random.integers(1, 15))) % 12] for _ in range(15)
        ]
        d = float(random.uniform(0.1, 0.9))
        pairs = Counter(p for t in texts for p in zip(["<s>", *t], [*t, "</s>"], strict=True))
        words = sorted({w for _, w in pairs})
        for h in ("<s>", words[1], words[-1], "nowhere"):
            follow = {w: n for (a, w), n in pairs.items() if a == h}
            for w in (words[0], words[2], words[-1], "never"):
                right = sum(b == w for _, b in pairs) / len(pairs)
                if follow:
                    c = sum(follow.values())
                    right = max(follow.get(w, 0) - d, 0) / c + d * len(follow) / c * right
                found = answer.probability(texts, d, h, w)
                assert abs(found - right) < 1e-6, (
                    f"On random texts p({w} | {h}) is {right:.4f}, not {found:.4f}."
                )


# %%
def test_own_kong(answer, mine):
    """points: 1, hidden
    the Kong of your world
    """
    from collections import Counter

    read = [document.words for document in mine.world.corpus(60_000, "kong")]
    occurrences = Counter(word for text in read for word in text)
    pairs = {p for t in read for p in zip(["<s>", *t], [*t, "</s>"], strict=True)}
    before, total = Counter(w for _, w in pairs), occurrences.total() + len(read)
    ratio = {w: n / total * len(pairs) / before[w] for w, n in occurrences.items() if n >= 40 and w.isalpha()}
    right = min(ratio, key=lambda w: (-ratio[w], w))
    assert answer.kong == right, f"kong is {right} in this world, not {answer.kong}."
    found = answer.how_many_times
    assert abs(found / ratio[right] - 1) < 1e-6, (
        f"how_many_times is {ratio[right]:.3f} in this world, not {found:.3f}."
    )


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 3

# %% [markdown]
# ## Question 5: Find the bug (3 points)
#
# A colleague trains a model that predicts a token from the `k` tokens before it. This cell makes its training rows.


# %%
def colleagues_windows(texts, k, mark):
    """For each token of each text, its end included, the k tokens before it; `mark` stands before and after a text."""
    contexts, targets = [], []
    stream = [mark] * k
    for text in texts:
        for token in [*text, mark]:
            stream.append(token)
            contexts.append(stream[-k:])
            targets.append(token)
    return contexts, targets


# %% [markdown]
# The model is a table: after each context it says the target that came most often. Here is its accuracy on new texts.
# Nothing raises an error. What would an honest model score, and what does yours?


# %%
def table_accuracy(windows, k=2):
    """Share of the tokens of new texts that the most frequent target of each training context names."""
    counts = defaultdict(Counter)
    for context, target in zip(*windows([d.words for d in world.corpus(30_000, "bug")], k, "|"), strict=True):
        counts[tuple(context)][target] += 1
    rows = list(zip(*windows([d.words for d in world.corpus(5_000, "bug, new")], k, "|"), strict=True))
    right = [bool(counts[tuple(c)]) and counts[tuple(c)].most_common(1)[0][0] == t for c, t in rows]
    return sum(right) / len(right)


print(f"{table_accuracy(colleagues_windows):.1%} of the tokens of new texts are predicted rightly")

# %% [markdown]
# **Write `windows(texts, k, mark)`** so that it does what the docstring says. There are two bugs. One makes the score
# wonderful; the other is quieter and makes an honest model a little worse. For example,
# `windows([["a", "b"], ["c"]], 2, "|")` gives the contexts `["|", "|"]`, `["|", "a"]`, `["a", "b"]`, `["|", "|"]`,
# `["|", "c"]` and the targets `"a"`, `"b"`, `"|"`, `"c"`, `"|"`.
#
# **And write the test that would have caught the first bug on any batch, `leaks(contexts, targets)`**: the list of all
# columns of the contexts, counted from 0, that hold the target in *every* row. An honest column agrees with the target now
# and then, by chance. Without any row nothing can be said, and the list is empty.

# %% [raw]
# # BEGIN SOLUTION


# %%
def windows(texts: list[list[str]], k: int, mark: str) -> tuple[list[list[str]], list[str]]:
    """For each token of each text, its end included, the k tokens before it; `mark` stands before and after a text."""
    # BEGIN SOLUTION
    contexts, targets = [], []
    for text in texts:
        padded = [mark] * k + [*text, mark]
        for place in range(k, len(padded)):
            contexts.append(padded[place - k : place])
            targets.append(padded[place])
    return contexts, targets
    # END SOLUTION


# %%
def leaks(contexts: list[list[str]], targets: list[str]) -> list[int]:
    """The columns of the contexts that hold the target in every row."""
    # BEGIN SOLUTION
    if not targets:
        return []
    rows = list(zip(contexts, targets, strict=True))
    return [j for j in range(len(contexts[0])) if all(context[j] == target for context, target in rows)]
    # END SOLUTION


# %%
print(f"{table_accuracy(windows):.1%} with your windows" if windows([["a"]], 1, "|") else "not yet written")

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_windows_example(answer, mine):
    """points: 1"""
    found = answer.windows([["a", "b"], ["c"]], 2, "|")
    assert found is not None and found is not ... and len(found) == 2, (
        "windows must return contexts and targets."
    )
    contexts, targets = [list(c) for c in found[0]], list(found[1])
    assert targets == ["a", "b", "|", "c", "|"], (
        f"In the example the targets are a b | c |, yours are {targets}."
    )
    right = [["|", "|"], ["|", "a"], ["a", "b"], ["|", "|"], ["|", "c"]]
    for i, (ours, yours) in enumerate(zip(right, contexts, strict=False)):
        assert yours == ours, (
            f"In the example the context of target {i}, {targets[i]!r}, is {ours}, yours is {yours}."
        )
    assert len(contexts) == 5, "There must be one context for each target."


# %%
def test_windows_on_random_texts(answer, mine):
    """points: 1, hidden
    random texts and widths
    """
    random = mine.fresh("q5 windows")
    for _ in range(5):
        k = int(random.integers(1, 6))
        texts = [[f"w{int(i)}" for i in random.integers(0, 6, int(random.integers(0, 9)))] for _ in range(8)]
        right = [([*["#"] * k, *t, "#"][i : i + k], [*t, "#"][i]) for t in texts for i in range(len(t) + 1)]
        contexts, targets = answer.windows(texts, k, "#")
        assert list(targets) == [t for _, t in right], f"On random texts with k = {k} the targets are others."
        assert [list(c) for c in contexts] == [c for c, _ in right], (
            f"On random texts with k = {k} a context differs."
        )


# %%
def test_leaks(answer, mine):
    """points: 1, hidden
    random rows with leaky columns
    """
    random = mine.fresh("q5 leaks")
    assert list(answer.leaks([], [])) == [], "Without any row leaks gives an empty list."
    for _ in range(6):
        k, n = int(random.integers(2, 6)), int(random.integers(5, 40))
        targets = [f"w{int(i)}" for i in random.integers(0, 3, n)]
        contexts = [[f"w{int(i)}" for i in random.integers(0, 3, k)] for _ in range(n)]
        contexts[0] = [f"{targets[0]}x"] * k
        leaky = sorted(random.choice(k, int(random.integers(0, k)), replace=False).tolist())
        for context, target in zip(contexts, targets, strict=True):
            for j in leaky:
                context[j] = target
        found = answer.leaks(contexts, targets)
        assert list(found) == leaky, f"In these random rows the columns {leaky} leak, and leaks says {found}."


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
# ## Question 6: Below the floor (3 points, in words)
#
# Look again at your figure of question 2. On average nothing beats the entropy of a text, and yet one of your lines runs
# below it. Answer in 100 to 200 words:
#
# 1. How can a model be below the exact entropy, and why does this not contradict the theorem?
# 2. As the training text grows, the 6-gram gets better on new text while that line stays below zero. A colleague sees only
#    that line and says: "Our model knows this language better than its own generator, we can stop collecting text." What is
#    wrong with that, and which number of yours shows it?
# 3. On real text nobody knows the floor. Name one measurement that would still have shown your colleague the mistake.

# %% [raw]
# # BEGIN SOLUTION

# %% [markdown]
# The line is the 6-gram on text that it was trained on. The theorem is about texts drawn anew: averaged over all texts of
# the world, no model that was fixed beforehand needs fewer bits than the exact probabilities. This model was not fixed
# beforehand. It has counted these very sentences, and spends probability on them that the world would give to other
# sentences; so it encodes this sample cheaply and all others dearly.
#
# So the line says how much of the training text the model holds by heart, not what it knows about the language. On new
# text the same model is still more than a bit per word above the floor after the longest training (the exact number is my
# `still_missing`), and that line falls with every step in size: more text would help.
#
# Without a floor, the distance between the loss on the training text and on new text would have shown it. It needs no
# entropy, only texts that the model has not seen.
#
# **Rubric**: 3 points.
#
# | criterion | points |
# |---|---|
# | the text is the training text, and the theorem holds on average over texts drawn independently of the model | 1 |
# | own number on new text (`still_missing`, or read from the figure) against the claim; that line still falls | 1 |
# | a measurement that needs no floor: loss on held-out text, and its distance to the training loss | 1 |
#
# *Full marks:* the answer above. *Half marks (1.5):* "The 6-gram has memorized its training text, so it is below the
# entropy, which is only for new texts (1). The colleague is wrong because of overfitting (0: no number, nothing about new
# text). One should look at the perplexity (0.5: of which text?)." *No marks:* "The loss is below the entropy because of
# smoothing and rounding, and because the text is short. With more training it will go to zero. A larger model is needed."

# %% [raw]
# # END SOLUTION

# %% [raw]
# # END QUESTION
