# %% [raw]
# # ASSIGNMENT CONFIG

# %% [markdown]
# # Assignment 4: From a task to a score
#
# <!-- colab badge -->
#
# Chapter 4 and its labs took three tasks from raw text to a number. Here you write the small programs at the end of
# that way, which turn outputs into answers and answers into scores. They are short, and they are where mistakes hide:
# nothing crashes, and the number is a little wrong.
#
# **You will be able to** write a scorer and know what it forgives; find a bug by feeding a program the truth; choose
# answers among millions of spans; say what a ranking is worth when scores are equal; sample from a nucleus and
# measure what it buys; plan the way from a new task to a model.
#
# **You should know** chapter 4 and one of its labs (4b for questions 1 to 3, 4c for questions 4 and 5; each question
# says again what it needs).
#
# | question | what | points |
# |---|---|---|
# | 1 | a scorer for answers | 3 |
# | 2 | find the bug: names and pieces | 3 |
# | 3 | the best answers of a page | 4 |
# | 4 | Hits@1 when scores are equal, and a figure | 3 |
# | 5 | the nucleus and what it buys | 4 |
# | 6 | in words: from a task to a model | 3 |
# Plan three hours. Write your answers where a cell says `...`, and run the check at the end of each question, as
# often as you like. A check that passes is a good sign, no proof: your teacher has further checks, with inputs that
# you haven't seen. Add cells where you want, keep the names of functions and variables, and hand in this notebook.

# %%
# course setup

# %% [markdown]
# Your teacher sent you a code. With it you get a world of your own: other people, other towns, other chats than
# anybody else in class. Without it (`student = "open"`) you can work and run the checks in the open world.

# %%
student = "open"  # your student id
code = ""  # the code that your teacher sent you

# %%
import string
import unicodedata
from collections import Counter
from math import comb

import matplotlib.pyplot as plt
import numpy as np

from utils import checks
from utils.plots import COLORS, show, style
from utils.world import chats, tasks

# %%
style()
mine = checks.Assignment("04_applications", student, code)
world = mine.world

# %% [raw]
# # BEGIN QUESTION
# name: q1
# points: 3

# %% [markdown]
# ## Question 1: A scorer for answers (3 points)
#
# *Denver Broncos*, says the key; *the Denver Broncos!*, says the model. A scorer has to decide what it forgives. In
# Lab 4b you saw that SQuAD's official one drops **ASCII** punctuation and **English** articles, so that *24-10* and
# *24–10*, with a hyphen and with a dash, are different answers. Whoever scores questions in other languages needs
# more. The scorer of MLQA (Lewis et al. 2020) drops the punctuation of all scripts, and the articles of the language
# at hand. You write one like it. In this order:
#
# 1. make the text lower case (`str.lower`); 2. drop every character that is punctuation, with *nothing* in its place:
#    it is in `string.punctuation`, or its Unicode category begins with P, as `unicodedata.category("–")`, which is
#    `"Pd"`; 3. split the text at white space, and leave out the words that are articles.
#
# | text | articles | words that count |
# |---|---|---|
# | `"The Denver Broncos!"` | a, an, the | `denver`, `broncos` |
# | `"a steam-powered machine"` | a, an, the | `steampowered`, `machine` |
# | `"«La» Casa, de la Pradera"` | el, la, los, las | `casa`, `de`, `pradera` |
#
# Two scores compare a prediction with a key. *Exact match* is 1 where both have the same words in the same order, and
# otherwise zero. *F1* looks at two **bags** of words, in which a word may lie several times: with $c$ words in
# common, $g$ words given and $k$ words in the key, precision is $c/g$, recall is $c/k$, and F1 is their harmonic
# mean, $2c/(g+k)$. For *a la la land* (English articles) against the key *la la la* that is $c = 2$, $g = 3$,
# $k = 3$, so F1 is 2/3: two of the three *la* of the key were given.
#
# Several keys: each score is the best over the keys, and the two may come from different keys. Keys of which no word
# is left don't count. Where no key is left (or none was given) the question is *impossible*: both scores are 1 if no
# word of the prediction is left, else 0. And a prediction of which no word is left gets 0 for a question with a key.
#
# **Write** `words_of` and `score`.

# %% [markdown]
# Now a reader to score. It is the simplest that comes to mind: it says the whole sentence that has most words in
# common with the question, and nothing where even that sentence has fewer than three of them. It answers 120
# questions about people of your world. For half of them the page has no answer, and the list of keys is empty.


# %%
def sentence_reader(question, page):
    """The sentence of the page with most different words of the question; "" where it has fewer than three."""
    asked = set(question.split())
    best = max(page.split(" . "), key=lambda sentence: len(asked & set(sentence.split())))
    return best if len(asked & set(best.split())) >= 3 else ""


# %%
ENGLISH = ["a", "an", "the"]
asked = [
    (row["question"], paragraph["context"], [answer["text"] for answer in row["answers"]])
    for article in tasks.qa(world, 15, "test", "assignment", impossible=4)["data"]
    for paragraph in article["paragraphs"]
    for row in paragraph["qas"]
]
for question, page, keys in asked[:5]:
    print(f"{question:45} {keys} | {sentence_reader(question, page)}")

# %% [markdown]
# **Compute** `own`, a dictionary of four means in percent: `"exact"` and `"f1"` over all 120 questions, `"f1 answer"`
# over those that have a key, and `"f1 none"` over those that have none.

# %% [raw]
# # BEGIN SOLUTION


# %%
def words_of(text, articles):
    """The words of a text that count: lower case, without punctuation and without articles; a list in their order."""
    # BEGIN SOLUTION
    kept = [c for c in text.lower() if c not in string.punctuation and unicodedata.category(c)[0] != "P"]
    return [word for word in "".join(kept).split() if word not in articles]
    # END SOLUTION


# %%
def score(prediction, answers, articles):
    """Exact match and F1 of a prediction, from 0 to 1, as a pair; `answers` is a list of keys, empty if impossible."""
    # BEGIN SOLUTION
    given = words_of(prediction, articles)
    keys = [key for key in (words_of(answer, articles) for answer in answers) if key]
    if not keys or not given:
        return (1.0, 1.0) if not keys and not given else (0.0, 0.0)
    exact = max(float(given == key) for key in keys)
    return exact, max(2 * (Counter(given) & Counter(key)).total() / (len(given) + len(key)) for key in keys)
    # END SOLUTION


# %%
# BEGIN SOLUTION
points = np.array([score(sentence_reader(question, page), keys, ENGLISH) for question, page, keys in asked])
has_answer = np.array([bool(keys) for _, _, keys in asked])
parts = {
    "exact": points[:, 0],
    "f1": points[:, 1],
    "f1 answer": points[has_answer, 1],
    "f1 none": points[~has_answer, 1],
}
# END SOLUTION
own = {name: 100 * float(values.mean()) for name, values in parts.items()}  # SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_scorer_examples(answer, mine):
    """points: 1"""
    english, spanish = ["a", "an", "the"], ["el", "la", "los", "las"]
    lines = [
        ("The Denver Broncos!", english, ["denver", "broncos"]),
        ("a steam-powered machine", english, ["steampowered", "machine"]),
        ("«La» Casa, de la Pradera", spanish, ["casa", "de", "pradera"]),
        ("24–10", english, ["2410"]),
    ]
    for text, articles, words in lines:
        found = answer.words_of(text, articles)
        assert found is not None, "words_of gives None: does it return its list?"
        assert list(found) == words, f"words_of({text!r}, {articles}) is {words}, and yours gives {found}."
    cases = [
        ("the Denver Broncos!", ["Denver Broncos"], (1, 1)),
        ("a la la land", ["la la la"], (0, 2 / 3)),
        ("in the old town", ["London", "the old Town hall"], (0, 2 / 3)),
        ("", [], (1, 1)),
        ("Paris", [], (0, 0)),
    ]
    for prediction, keys, right in cases:
        found = answer.score(prediction, keys, english)
        assert found is not None and len(found) == 2, (
            f"score must return a pair, exact match and F1; yours gives {found}."
        )
        for name, value, expected in zip(("exact match", "F1"), found, right, strict=True):
            assert abs(value - expected) < 1e-9, (
                f"The {name} of {prediction!r} with the keys {keys} is {expected:.3g}, and yours is {value:.3g}."
            )


# %%
def test_random_texts(answer, mine):
    """points: 1, hidden
    random texts, articles and keys, among them impossible questions
    """
    import string
    import unicodedata
    from collections import Counter

    import numpy as np

    def reference(prediction, keys, articles):
        def words(text):
            kept = [
                c for c in text.lower() if c not in string.punctuation and unicodedata.category(c)[0] != "P"
            ]
            return [w for w in "".join(kept).split() if w not in articles]

        given, left = words(prediction), [w for w in map(words, keys) if w]
        if not given or not left:
            return (float(not given and not left),) * 2
        f1 = [2 * sum((Counter(given) & Counter(k)).values()) / (len(given) + len(k)) for k in left]
        return float(given in left), max(f1)

    rng = mine.fresh("q1")
    marks = ["", "", "", ",", "!", "–", "»", "-", "'s", "…", "$", "।"]
    for trial in range(200):
        articles = [["a", "an", "the"], ["der", "die", "das"], ["le", "la", "les"]][trial % 3]
        words = [*articles, "Ufer", "uFER", "mill", "Mill", "lake", "rose"]

        def text(least, most, words=words):
            row = [str(rng.choice(words)) for _ in range(int(rng.integers(least, most)))]
            return " ".join(
                str(rng.choice(marks)) * (i % 2) + w + str(rng.choice(marks)) for i, w in enumerate(row)
            )

        keys = [text(1, 5) for _ in range(int(rng.integers(0, 4)))] + ["the —"] * int(rng.integers(0, 2))
        prediction = text(0, 6) if trial % 4 or not keys else keys[0].upper() + " –"
        if trial % 8 == 0 and keys:  # the words of a key in another order
            prediction = " ".join(rng.permutation(prediction.split()).tolist())
        found = answer.score(prediction, keys, articles)
        right = reference(prediction, keys, articles)
        assert np.allclose(found, right), (
            f"score({prediction!r}, {keys}, {articles}) is ({right[0]:.3g}, {right[1]:.3g}), and yours gives {found}."
        )


# %%
def test_own_world(answer, mine):
    """points: 1, hidden
    `own`, the reader in your world
    """
    import numpy as np

    from utils import squad
    from utils.world import tasks

    found = {"exact": [], "f1": [], "f1 answer": [], "f1 none": []}
    for article in tasks.qa(mine.world, 15, "test", "assignment", impossible=4)["data"]:
        for paragraph in article["paragraphs"]:
            for row in paragraph["qas"]:
                asked = set(row["question"].split())
                best = max(paragraph["context"].split(" . "), key=lambda s: len(asked & set(s.split())))
                said = best if len(asked & set(best.split())) >= 3 else ""
                key = row["answers"][0]["text"] if row["answers"] else ""
                f1 = squad.f1(said, key)
                found["exact"].append(squad.exact_match(said, key))
                found["f1"].append(f1)
                found["f1 answer" if key else "f1 none"].append(f1)
    for name, values in found.items():
        right = 100 * float(np.mean(values))
        assert abs(answer.own[name] - right) < 0.01, (
            f"own[{name!r}] is {right:.2f} in this world, and yours is {answer.own[name]:.2f}."
        )


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# Look at your numbers before you go on. This reader says whole sentences, so it has not given a single exact answer,
# and see what its exact match is. A mean over two kinds of questions says little about either of them.

# %% [raw]
# # BEGIN QUESTION
# name: q2
# points: 3

# %% [markdown]
# ## Question 2: Find the bug, by feeding it the truth (3 points)
#
# A colleague tags names in encyclopedia entries: B (begins) and I (inside), with a kind, and O for all other words.
# The encoder reads *pieces* of words, so each label goes to the first piece of its word, and all other pieces, with
# [CLS] and [SEP], get -100, which the loss leaves out. The colleague's tagger finds far too few persons. Is it the
# training, the network, or the program around it?
#
# There is a test that needs no network: **feed it the truth.** Take the right labels, bring them to the pieces as for
# training, read them back to words as for scoring, and count the names. A perfect tagger must come out perfect. Here
# is the program.

# %%
SKIP = -100


# %%
def colleague_aligned(word_ids, labels):
    """A label for each piece; `word_ids` has for each piece the number of its word, None for [CLS] and [SEP]."""
    found, before = [], None
    for word in word_ids:
        if word and word != before:
            found.append(labels[word])
        else:
            found.append(SKIP)
        before = word
    return found


# %%
def read_back(word_ids, aligned, count):
    """A label for each of `count` words: the one on a piece of it, O where there is none. (No bug in here.)"""
    found = ["O"] * count
    for word, label in zip(word_ids, aligned, strict=True):
        if label != SKIP:
            found[word] = label
    return found


# %%
def colleague_names(labels):
    """The names in a row of labels, as (kind, first word, last word)."""
    found, first = [], None
    for place, label in enumerate(labels):
        if label.startswith("B-"):
            first = place
        elif label == "O" and first is not None:
            found.append((labels[first][2:], first, place - 1))
            first = None
    return found


# %% [markdown]
# And here are entries of your world with their true labels. A person's name has two words at its first mention. In
# place of a real tokenizer a function cuts words after every fifth letter.


# %%
def tagged(document):
    """The words of an entry and their labels."""
    kinds = {"first name": "person", "last name": "person", "who": "place", "fact: born in": "place"}
    kinds |= {"fact: lives in": "place", "fact: region": "place", "fact: river": "place"}
    words, labels = [], []
    for sentence in document.sentences:
        for word, slot in zip(sentence.words, sentence.slots, strict=True):
            begins = "I-" if slot == "last name" else "B-"
            labels.append(begins + kinds[slot] if slot in kinds else "O")
            words.append(word)
    return words, labels


# %%
def cut(words):
    """Words cut into pieces of up to five letters, and the number of each piece's word."""
    pieces, word_ids = ["[CLS]"], [None]
    for place, word in enumerate(words):
        for begin in range(0, len(word), 5):
            pieces.append("##" * (begin > 0) + word[begin : begin + 5])
            word_ids.append(place)
    return [*pieces, "[SEP]"], [*word_ids, None]


# %%
entries = [
    tagged(entry) for entry, _ in zip(world.documents("assignment", "entry"), range(300), strict=False)
]
words, labels = entries[0]
for piece, word in zip(*cut(words[:6]), strict=True):
    print(f"{piece:10} {word!s:>5} {'' if word is None else labels[word]}")

# %% [markdown]
# **Repair both functions** in `aligned` and `names`. For `names` the reading is the *strict* one:
#
# - a name begins at a B, wherever that stands, and at nothing else;
# - it goes on through all I of *its own kind* that follow without a gap, and ends before anything else, or with the
#   row;
# - an I that does not go on a name in this way belongs to no name.
#
# So `["B-person", "I-person", "I-place", "B-place"]` holds `("person", 0, 1)` and `("place", 3, 3)`.
#
# **Measure** `lost`: feed the truth of all 300 entries to `colleague_aligned`, read it back, and find names with your
# own `names`. How many of the names in the true labels are not found again? Give the pair (names lost, names in all).
#
# **Give witnesses.** `colleague_names` has three different faults, and your entries cannot show any of them, since
# every entry ends with a full stop and no two names touch. (Had you scored the tagger with this function, its faults
# would have been in the truth and in the prediction alike.) Write down `witnesses`: three rows of at most three
# labels each, so that each of the three faults is shown by one of them, that is, makes the result differ from the
# strict reading even if the other two faults are repaired. Use the labels O, B-person, I-person, B-place and I-place.

# %% [raw]
# # BEGIN SOLUTION


# %%
def aligned(word_ids, labels):
    """The label of each word on its first piece, SKIP on all other pieces."""
    # BEGIN SOLUTION
    found, before = [], None
    for word in word_ids:
        found.append(labels[word] if word is not None and word != before else SKIP)
        before = word
    return found
    # END SOLUTION


# %%
def names(labels):
    """The names in a row of labels by the strict reading: a list of (kind, first word, last word), in order."""
    # BEGIN SOLUTION
    found, kind, first = [], None, None
    for place, label in enumerate([*labels, "O"]):
        if kind is not None and label != f"I-{kind}":
            found.append((kind, first, place - 1))
            kind = None
        if label.startswith("B-"):
            kind, first = label[2:], place
    return found
    # END SOLUTION


# %%
# BEGIN SOLUTION
true_names = found_names = 0
for words, labels in entries:
    word_ids = cut(words)[1]
    again = names(read_back(word_ids, colleague_aligned(word_ids, labels), len(words)))
    true_names += len(names(labels))
    found_names += len(set(again) & set(names(labels)))
# END SOLUTION
lost = (true_names - found_names, true_names)  # SOLUTION
witnesses = [["O", "B-person"], ["B-person", "B-place", "O"], ["B-person", "I-place", "O"]]  # SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_repaired(answer, mine):
    """points: 1"""
    word_ids, labels = [None, 0, 0, 1, 2, 2, 3, None], ["B-person", "I-person", "O", "B-place"]
    right = [-100, "B-person", -100, "I-person", "O", -100, "B-place", -100]
    found = answer.aligned(word_ids, labels)
    assert found is not None, "aligned gives None: does it return its list?"
    assert list(found) == right, (
        f"aligned({word_ids}, {labels}) is {right}, and yours gives {list(found)}. Look at the first word."
    )
    row = ["B-person", "I-person", "I-place", "B-place"]
    found = answer.names(row)
    assert found is not None, "names gives None: does it return its list?"
    right = [("person", 0, 1), ("place", 3, 3)]
    assert [tuple(name) for name in found] == right, (
        f"The names of {row} are {right}, and yours gives {found}."
    )


# %%
def test_random_labels(answer, mine):
    """points: 1, hidden
    random rows of labels and pieces
    """

    def reference(labels):
        found = []
        for first, label in enumerate(labels):
            if label[0] == "B":
                last = first
                while last + 1 < len(labels) and labels[last + 1] == "I" + label[1:]:
                    last += 1
                found.append((label[2:], first, last))
        return found

    rng = mine.fresh("q2")
    kinds = ["O", "B-person", "I-person", "B-place", "I-place"]
    for _ in range(200):
        labels = [str(label) for label in rng.choice(kinds, int(rng.integers(1, 9)))]
        found, right = answer.names(labels), reference(labels)
        assert [tuple(name) for name in found] == right, (
            f"The names of {labels} are {right}, and yours gives {found}."
        )
        pieces = [int(n) for n in rng.integers(1, 4, len(labels))]
        word_ids = [None, *(word for word, n in enumerate(pieces) for _ in range(n)), None]
        right = [-100]
        for label, n in zip(labels, pieces, strict=True):
            right += [label] + [-100] * (n - 1)
        found = answer.aligned(word_ids, labels)
        assert list(found) == [*right, -100], f"aligned({word_ids}, {labels}) is wrong: {list(found)}."


# %%
def test_lost_and_witnesses(answer, mine):
    """points: 1, hidden
    `lost` in your world, and the three witnesses
    """
    places = ("who", "fact: born in", "fact: lives in", "fact: region", "fact: river")
    lost = total = 0
    for entry, _ in zip(mine.world.documents("assignment", "entry"), range(300), strict=False):
        slots = [slot for sentence in entry.sentences for slot in sentence.slots]
        total += sum(slot == "first name" or slot in places for slot in slots)
        lost += slots[0] == "first name" or slots[0] in places
    found = tuple(answer.lost)
    assert found == (lost, total), f"In this world {lost} of {total} names are lost, and yours is {found}."

    def read(labels, no_end, no_border, any_kind):
        """The strict reading with some of the three faults."""
        found, first = [], None
        for place, label in enumerate(labels if no_end else [*labels, "O"]):
            goes_on = label[0] == "I" and first is not None and (any_kind or label[2:] == labels[first][2:])
            if first is not None and not goes_on:
                if label[0] != "B" or not no_border:
                    found.append((labels[first][2:], first, place - 1))
                first = None
            if label[0] == "B":
                first = place
        return found

    rows = [list(row) for row in answer.witnesses]
    assert len(rows) == 3 and all(0 < len(row) <= 3 for row in rows), (
        f"witnesses must be three rows of one to three labels, and is {rows}."
    )
    for fault, name in enumerate(("the end of the row", "two names that touch", "an I of another kind")):
        flags = [i == fault for i in range(3)]
        assert any(read(row, *flags) != read(row, False, False, False) for row in rows), (
            f"No witness shows the fault with {name}: {rows}."
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
# ## Question 3: The best answers of a page (4 points)
#
# A reader of questions gives each token of a page two numbers: how much it looks like the first token of the answer,
# and how much like the last. In Lab 4b one answer was chosen, in one window, from a table of all pairs. Three things
# are missing for a program that people use.
#
# *Several windows.* A token stands in more than one, and its numbers differ. An answer counts only in the window that
# *owns* its first token (there the token has most context), and both of its numbers come from that window.
#
# *Several answers.* "Who won the prize?" may have three answers on a page. But the list of the best spans is mostly
# one answer with a word more and a word less. What one wants is the best span, then the best of all spans that have
# **no token in common** with it, then the best that has none in common with both, and so on.
#
# *Long pages.* Newer encoders read many thousands of tokens at once. For 20,000 of them a table of all pairs would
# have 400 million numbers, or 3.2 GB. An answer of more than `longest` tokens isn't allowed anyway, so all that is
# needed are `longest` sums for each token. Your function should take a few seconds at most for such a page, with
# `longest=30`.
#
# A window is a dictionary: `begin`, the page token that its first token is (counted from 0); `start` and `end`, the
# two lists of numbers, one for each token of the window; and `owned`, a list of True and False. Example, with
# `longest=2`:
#
# | | token 0 | token 1 | token 2 | token 3 | token 4 |
# |---|---|---|---|---|---|
# | window A, `start` / `end` | **1 / 0** | **5 / 1** | 9 / 4 | | |
# | window B, `start` / `end` | | | **2 / 6** | **0 / 3** | **1 / 1** |
#
# (Bold: owned by that window.) In A, tokens 1 to 2 get 5 + 4 = 9. That A gives token 2 a start of 9 does not count,
# since B owns it; there, token 2 alone gets 2 + 6 = 8, and tokens 2 to 3 get 5. Tokens 1 to 3 would be too long, and
# they stand in no window. So the best answer is (1, 2) with 9; of those without tokens 1 and 2, (3, 3) with 3 is best
# (in B, tokens 3 to 4 have 1, token 4 alone 2), then (4, 4) with 2, then (0, 0) with 1. Then nothing is left.
#
# **Write** `best_answers(windows, longest, count)`: the list of at most `count` answers (first token, last token,
# score), tokens counted in the page, best first. Of equal scores the one that begins earlier comes first; if they
# begin together, the shorter.

# %% [raw]
# # BEGIN SOLUTION


# %%
def best_answers(windows, longest, count):
    """The best spans of at most `longest` tokens without a common token: a list of (first, last, score)."""
    # BEGIN SOLUTION
    spans = []
    for window in windows:
        start, end = np.asarray(window["start"], float), np.asarray(window["end"], float)
        owned = np.asarray(window["owned"], bool)
        for length in range(1, min(longest, len(start)) + 1):
            firsts = np.flatnonzero(owned[: len(start) - length + 1])
            scores = start[firsts] + end[firsts + length - 1]
            spans.append(np.stack([-scores, window["begin"] + firsts, np.full(len(firsts), length)]))
    table = np.concatenate(spans, axis=1)
    taken, found = set(), []
    for place in np.lexsort(table[::-1]):
        if len(found) == count:
            break
        first, length = int(table[1, place]), int(table[2, place])
        tokens = range(first, first + length)
        if taken.isdisjoint(tokens):
            taken.update(tokens)
            found.append((first, first + length - 1, -float(table[0, place])))
    return found
    # END SOLUTION


# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_small_page(answer, mine):
    """points: 1"""
    windows = [
        {"begin": 0, "start": [1, 5, 9], "end": [0, 1, 4], "owned": [True, True, False]},
        {"begin": 2, "start": [2, 0, 1], "end": [6, 3, 1], "owned": [True, True, True]},
    ]
    right = [(1, 2, 9), (3, 3, 3), (4, 4, 2), (0, 0, 1)]
    for count in (1, 2, 10):
        found = answer.best_answers(windows, 2, count)
        assert found is not None, "best_answers gives None: does it return its list?"
        found = [(int(first), int(last), float(score)) for first, last, score in found]
        assert found == right[:count], (
            f"The {count} best answers of the example are {right[:count]}, and yours are {found}."
        )


# %%
def test_one_window(answer, mine):
    """points: 1, hidden
    random numbers in one window, with equal scores
    """
    rng = mine.fresh("q3 one")
    for _ in range(40):
        n, longest = int(rng.integers(1, 12)), int(rng.integers(1, 6))
        start, end = rng.integers(-4, 5, n).tolist(), rng.integers(-4, 5, n).tolist()
        spans = [(i, j, start[i] + end[j]) for i in range(n) for j in range(i, min(n, i + longest))]
        spans.sort(key=lambda span: (-span[2], span[0], span[1]))
        right = []
        for span in spans:
            if len(right) < 3 and all(span[1] < other[0] or other[1] < span[0] for other in right):
                right.append(span)
        window = {"begin": 0, "start": start, "end": end, "owned": [True] * n}
        found = [tuple(map(float, span)) for span in answer.best_answers([window], longest, 3)]
        assert found == right, (
            f"One window with start={start}, end={end}, longest={longest}: the three best answers are {right}, and "
            f"yours are {found}."
        )


# %%
def test_windows(answer, mine):
    """points: 1, hidden
    several windows over one page
    """
    import numpy as np

    rng = mine.fresh("q3 many")
    for _ in range(40):
        room, step, count = int(rng.integers(4, 8)), int(rng.integers(2, 4)), int(rng.integers(2, 4))
        tokens, longest = step * (count - 1) + room, int(rng.integers(2, 6))
        at = np.arange(tokens)
        around = [np.minimum(at - w * step, w * step + room - 1 - at) for w in range(count)]
        owner = np.argmax(around, 0)
        windows, spans = [], []
        for w in range(count):
            begin, start, end = w * step, rng.normal(size=room), rng.normal(size=room)
            owned = owner[begin : begin + room] == w
            windows.append(
                {"begin": begin, "start": start.tolist(), "end": end.tolist(), "owned": owned.tolist()}
            )
            for i in np.flatnonzero(owned).tolist():
                spans += [
                    (begin + i, begin + j, float(start[i] + end[j])) for j in range(i, min(room, i + longest))
                ]
        spans.sort(key=lambda span: (-span[2], span[0], span[1]))
        right = []
        for span in spans:
            if len(right) < 4 and all(span[1] < other[0] or other[1] < span[0] for other in right):
                right.append(span)
        found = answer.best_answers(windows, longest, 4)
        assert [tuple(map(int, span[:2])) for span in found] == [span[:2] for span in right], (
            f"With {count} windows of {room} tokens and longest={longest} the answers are {right}, yours {found}."
        )
        assert np.allclose([s[2] for s in found], [s[2] for s in right]), (
            f"The scores should be {right}: {found}."
        )


# %%
def test_long_page(answer, mine):
    """points: 1, hidden
    a page of 20,000 tokens
    """
    import numpy as np

    rng = mine.fresh("q3 long")
    start, end = rng.normal(size=20_000), rng.normal(size=20_000)
    chosen = sorted(rng.choice(np.arange(10, 19_000, 40), 3, replace=False).tolist())
    for bonus, first in enumerate(chosen):
        start[first] += 20 + bonus
        end[first + 29] += 20
        end[first + 30] += 30  # one too far
    window = {"begin": 0, "start": start.tolist(), "end": end.tolist(), "owned": [True] * 20_000}
    found = [tuple(map(int, span[:2])) for span in answer.best_answers([window], 30, 3)]
    tops = []
    for length in range(1, 31):
        total = start[: 20_000 - length + 1] + end[length - 1 :]
        for first in np.argsort(-total)[:100].tolist():
            tops.append((-total[first], first, first + length - 1))
    right = []
    for _, first, last in sorted(tops):
        if len(right) < 3 and all(last < a or b < first for a, b in right):
            right.append((first, last))
    assert found == right, f"The best answers of a page of 20,000 tokens are {right}, and yours are {found}."


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q4
# points: 3

# %% [markdown]
# ## Question 4: Hits@1 when scores are equal, and a figure (3 points)
#
# Hits@1 asks how often the true reply has the highest score of 20 candidates. Two things about it are arbitrary.
# *Ties*: a reader that counts words gives the same score to many candidates. A program that takes the first of them,
# or the last, measures in which order the list was written. The fair value is the **expected** one if a lot decides
# among the best. *Twenty*: from one list one can tell the value for every smaller number $k$ of candidates, if the
# $k-1$ rivals are drawn at random (without repetition) from the 19. Lab 4c did this for scores without ties.
#
# Both together: among the rivals in the list, some have a higher score than the true reply, some the same, some a
# lower one. If a rival with a higher score is drawn, the true reply loses. If none is, and $j$ with the same score
# are drawn, it wins with probability $1/(j+1)$.
#
# Example: scores `[3, 1, 2, 3]`, the last one is true, so of three rivals one is equal and two are lower. With
# $k = 4$ all rivals are there, and the value is 1/2. With $k = 2$ one rival is drawn; it is the equal one in one case
# of three, and the value is $\frac13 \cdot \frac12 + \frac23 \cdot 1 = \frac56$. With $k = 1$ nobody competes, and
# the true reply wins.
#
# **Write** `hits_at(scores, true, k)`: the expected Hits@1 of the candidate at index `true` among `k` candidates.
# (`math.comb(n, m)` is the number of ways to draw m of n.)

# %% [markdown]
# Two readers choose replies in the chats of your world. The *counting* one knows how often each reply was said in 200
# training chats, and looks at nothing else. The *persona* one counts how many different words of a candidate stand in
# the persona, and knows nothing else. The turns of the test are of two kinds: in some the true reply names something
# from the persona (*i live in ...*), in the others it does not (greetings, refusals).

# %%
training = tasks.dialogue(world, 200, "assignment train")
said = Counter(turn["candidates"][-1] for chat in training for turn in chat["utterances"])
values = {value for trait in chats.TRAITS.values() for value in trait.values.items}
rows = []  # for each test turn: does it need the persona, scores of the counting reader, of the persona reader
for chat in tasks.dialogue(world, 100, "assignment test"):
    persona = set(" ".join(chat["personality"]).split())
    for turn in chat["utterances"]:
        candidates = turn["candidates"]
        needs = bool(set(candidates[-1].split()) & values & persona)
        rows.append(
            (needs, [said[c] for c in candidates], [len(set(c.split()) & persona) for c in candidates])
        )
print(len(rows), "turns, of which", sum(needs for needs, _, _ in rows), "need the persona")

# %% [markdown]
# **Read the figure** that the cell behind your `hits_at` draws (`curves` has its numbers:
# `curves["all turns", "counting"][20]`). Give three values:
#
# - `half`: the largest number of candidates at which the persona reader still has a Hits@1 of at least 50 in the
#   turns that need the persona;
# - `twenty`: at 20 candidates and over all turns, how many points is the counting reader ahead of the persona reader,
#   to one decimal;
# - `says`: the letters of **all** sentences that the figure supports, in alphabetical order, as `"AB"`. A sentence
#   may be true and still not be shown here.
#   - A. The counting reader owes nearly all of its Hits@1 at 20 candidates to turns that do not need the persona.
#   - B. With 20 candidates the counting reader is several times as good as the persona reader, so it understands the
#     chats better.
#   - C. In the turns that need the persona, counting is no better than drawing lots.
#   - D. In the other turns the persona reader is worse than drawing lots.
#   - E. With fewer candidates both readers have more hits, so they choose better there.
#   - F. A reader that uses both scores together would be better than each of them.

# %% [raw]
# # BEGIN SOLUTION


# %%
def hits_at(scores, true, k):
    """The chance that candidate `true` wins against k - 1 of the others drawn at random, with lots among equals."""
    # BEGIN SOLUTION
    rivals = [score for place, score in enumerate(scores) if place != true]
    same = sum(score == scores[true] for score in rivals)
    lower = sum(score < scores[true] for score in rivals)
    ways = [comb(same, j) * comb(lower, k - 1 - j) / (j + 1) for j in range(min(same, k - 1) + 1)]
    return sum(ways) / comb(len(rivals), k - 1)
    # END SOLUTION


# %%
KS = range(1, 21)
fig, axes = plt.subplots(1, 3, figsize=(9, 3.4), sharey=True)
curves = {}
for ax, kind in zip(axes, ("all turns", "need the persona", "the others"), strict=True):
    some = [row for row in rows if kind == "all turns" or row[0] == (kind == "need the persona")]
    for column, reader, color in ((1, "counting", "causal"), (2, "persona", "masked")):
        curve = [100 * float(np.mean([hits_at(row[column], 19, k) for row in some])) for k in KS]
        ax.plot(KS, curve, "o-", ms=4, color=COLORS[color], label=reader)
        curves[kind, reader] = dict(zip(KS, curve, strict=True))
    ax.plot(KS, [100 / k for k in KS], "--", color=COLORS["baseline"], label="drawing lots")
    ax.set(title=kind, xlabel="candidates", xticks=(1, 5, 10, 15, 20), ylim=(0, 102))
axes[0].set_ylabel("Hits@1")
axes[2].legend()
fig.tight_layout()
show(fig)

# %%
half = max(k for k in KS if curves["need the persona", "persona"][k] >= 50)  # SOLUTION
twenty = round(curves["all turns", "counting"][20] - curves["all turns", "persona"][20], 1)  # SOLUTION
says = "ACD"  # SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_small_lists(answer, mine):
    """points: 1"""
    for scores, true, k, right in (
        ([3, 1, 2, 3], 3, 4, 1 / 2),
        ([3, 1, 2, 3], 3, 2, 5 / 6),
        ([3, 1, 2, 3], 3, 1, 1),
        ([3, 1, 2, 3], 2, 4, 0),
        ([3, 1, 2, 3], 2, 2, 1 / 3),
        ([0, 0, 0, 0, 0], 0, 5, 1 / 5),
        ([0, 0, 0, 0, 0], 4, 2, 1 / 2),
    ):
        found = answer.hits_at(scores, true, k)
        assert found is not None, "hits_at gives None: does it return its number?"
        assert abs(found - right) < 1e-9, (
            f"hits_at({scores}, {true}, {k}) is {right:.4f}, and yours gives {found:.4f}."
        )


# %%
def test_by_drawing(answer, mine):
    """points: 1, hidden
    random scores with ties, all draws of rivals
    """
    from itertools import combinations

    import numpy as np

    rng = mine.fresh("q4")
    for _ in range(60):
        n = int(rng.integers(2, 8))
        scores, true, k = rng.integers(0, 3, n).tolist(), int(rng.integers(n)), int(rng.integers(1, n + 1))
        drawn = list(combinations([score for place, score in enumerate(scores) if place != true], k - 1))
        wins = [
            (max((scores[true], *some)) == scores[true]) / (1 + some.count(scores[true])) for some in drawn
        ]
        right, found = float(np.mean(wins)), answer.hits_at(scores, true, k)
        assert abs(found - right) < 1e-9, (
            f"hits_at({scores}, {true}, {k}) is {right:.4f} (all {len(drawn)} draws tried), and yours gives {found}."
        )


# %%
def test_reading(answer, mine):
    """points: 1, hidden
    `half`, `twenty` and `says`, the figure of your world
    """
    from collections import Counter
    from math import comb

    import numpy as np

    from utils.world import chats, tasks

    def hits(row, k):
        above, same = sum(s > row[-1] for s in row[:-1]), sum(s == row[-1] for s in row[:-1])
        terms = [
            comb(same, j) * comb(19 - above - same, k - 1 - j) / (j + 1) for j in range(min(same, k - 1) + 1)
        ]
        return sum(terms) / comb(19, k - 1)

    training = tasks.dialogue(mine.world, 200, "assignment train")
    said = Counter(turn["candidates"][-1] for chat in training for turn in chat["utterances"])
    values = {value for trait in chats.TRAITS.values() for value in trait.values.items}
    counting, by_persona, needing = [], [], []
    for chat in tasks.dialogue(mine.world, 100, "assignment test"):
        persona = set(" ".join(chat["personality"]).split())
        for turn in chat["utterances"]:
            counting.append([said[c] for c in turn["candidates"]])
            by_persona.append([len(set(c.split()) & persona) for c in turn["candidates"]])
            if set(turn["candidates"][-1].split()) & values & persona:
                needing.append(by_persona[-1])
    half = max(k for k in range(1, 21) if np.mean([hits(row, k) for row in needing]) >= 0.5)
    twenty = 100 * float(
        np.mean([hits(a, 20) - hits(b, 20) for a, b in zip(counting, by_persona, strict=True)])
    )
    assert answer.half == half, f"half is {half} in this world, and yours is {answer.half}."
    assert abs(answer.twenty - twenty) < 0.06, (
        f"twenty is {twenty:.1f} in this world, and yours is {answer.twenty}."
    )
    assert set(answer.says) == set("ACD"), (
        f"The figure supports A, C and D, and yours says {answer.says}. B takes a score for understanding; E forgets "
        "that lots, too, win more often among few; F may well be true, and no curve here shows it."
    )


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [raw]
# # BEGIN QUESTION
# name: q5
# points: 4

# %% [markdown]
# ## Question 5: The nucleus and what it buys (4 points)
#
# A language model gives probabilities to the next word; somebody has to pick one. *Nucleus sampling* (Holtzman et al.
# 2020) draws from the likely words alone: the smallest set of most probable words whose probabilities add up to at
# least $p$. Within the set the proportions stay as they were, so each probability is divided by the sum of the set.
#
# A sampler must be tested, and drawing is hard to test, unless the chance comes from outside. So your function takes
# the random number: $u$, drawn between 0 and 1. Line up the words of the nucleus from the most probable to the least
# (of equally probable ones, the one with the smaller number first). Give each a stretch as long as its share of the
# nucleus. All stretches together reach from 0 to 1. The word in whose stretch $u$ lies is drawn (its beginning
# belongs to it, its end to the next one).
#
# Example: probabilities `[0.1, 0.5, 0.15, 0.25]` and $p = 0.7$. The nucleus is word 1 (0.5) and word 3 (0.25), which
# together have 0.75; their shares are 2/3 and 1/3. With $u = 0.6$ word 1 is drawn, with $u = 0.7$ word 3. With
# $p = 0.75$ it is the same nucleus, with $p = 0.76$ word 2 comes in, and with $p = 0.3$ only word 1 is left.
#
# **Write** `nucleus(probabilities, p, u)`, which gives the number of the word that is drawn, and
# `reply(table, p, uniforms)`, which writes a whole reply with it: `table[v]` is the list of probabilities of the word
# behind word `v`. Word 0 is the end mark, and it also stands in front of every reply, so the first word is drawn from
# `table[0]`. Use the numbers in `uniforms` one by one, one for each draw. Stop when word 0 is drawn, or when all
# numbers are used up. Return the list of the words' numbers, without any 0. (`p=1` keeps all words; should rounding
# leave $u$ behind the last stretch, take the last word of the nucleus.)

# %% [markdown]
# **A small investigation.** What does $p$ buy? Here is a language model of the simplest kind, counted on the replies
# of your world: nine tenths of the probability come from what followed a word in 200 chats, one tenth from how often
# each word occurs at all. And here is what no real model comes with: `RIGHT`, the set of all replies that the world
# can say.

# %%
replies = [turn["candidates"][-1].split() for chat in training for turn in chat["utterances"]]
vocabulary = ["", *sorted({word for row in replies for word in row})]
number = {word: i for i, word in enumerate(vocabulary)}
pairs = np.zeros((len(vocabulary), len(vocabulary)))
for row in replies:
    ids = [0, *(number[word] for word in row), 0]
    for one, next_one in zip(ids, ids[1:], strict=False):
        pairs[one, next_one] += 1
table = (0.9 * pairs / pairs.sum(1, keepdims=True) + 0.1 * pairs.sum(0) / pairs.sum()).tolist()
RIGHT = set()
for trait in chats.TRAITS.values():
    for template in [*trait.answers.items, *chats.UNKNOWN.items, *chats.REPLIES.items]:
        for value in trait.values.items if "{value" in template else [""]:
            RIGHT.add(" ".join(chats.finish(chats.fill(template, value=value)).words))
print(
    f"{len(replies)} replies with {len(vocabulary)} words; {len(RIGHT)} replies are possible: {min(RIGHT)!r}, ..."
)

# %% [markdown]
# For each $p$ in `PS` let it write 400 replies, one with each list of numbers in `draws()`. (The same numbers for
# each $p$, so that what differs is $p$ alone.) **Compute** `bought`: for each $p$ a pair, the percentage of the 400
# replies that are right, and the number of *different* right replies among them. Then plot both for yourself, and
# give `richest`, the $p$ with most different right replies.

# %%
PS = (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


# %%
def draws():
    """Four hundred lists of 15 numbers between 0 and 1, the same each time."""
    return mine.rng("draws").random((400, 15)).tolist()


# %% [raw]
# # BEGIN SOLUTION


# %%
def nucleus(probabilities, p, u):
    """The number of the word drawn by `u` from the nucleus `p`."""
    # BEGIN SOLUTION
    order = sorted(range(len(probabilities)), key=lambda word: (-probabilities[word], word))
    kept, total = [], 0.0
    for word in order:
        kept.append(word)
        total += probabilities[word]
        if total >= p:
            break
    end = 0.0
    for word in kept:
        end += probabilities[word] / total
        if u < end:
            return word
    return kept[-1]
    # END SOLUTION


# %%
def reply(table, p, uniforms):
    """The words of a reply drawn with the numbers `uniforms`, without the end mark: a list of numbers."""
    # BEGIN SOLUTION
    words, before = [], 0
    for u in uniforms:
        before = nucleus(table[before], p, u)
        if before == 0:
            break
        words.append(before)
    return words
    # END SOLUTION


# %%
bought = {}
# BEGIN SOLUTION
for p in PS:
    written = [" ".join(vocabulary[word] for word in reply(table, p, uniforms)) for uniforms in draws()]
    good = [text for text in written if text in RIGHT]
    bought[p] = (100 * len(good) / len(written), len(set(good)))
# END SOLUTION
richest = max(PS, key=lambda p: bought[p][1])  # SOLUTION

# %% [raw]
# # END SOLUTION

# %% [raw]
# # BEGIN TESTS


# %%
def test_sampler_examples(answer, mine):
    """points: 1"""
    probabilities = [0.1, 0.5, 0.15, 0.25]
    for p, u, right in (
        (0.7, 0.6, 1), (0.7, 0.7, 3), (0.75, 0.99, 3), (0.76, 0.99, 2), (0.3, 0.99, 1), (1.0, 0.99, 0), (0.7, 0.0, 1)
    ):  # fmt: skip
        found = answer.nucleus(probabilities, p, u)
        assert found is not None, "nucleus gives None: does it return the number of a word?"
        assert found == right, (
            f"nucleus({probabilities}, p={p}, u={u}) draws word {right}, and yours draws {found}."
        )
    table = [[0.0, 1.0, 0.0], [0.25, 0.0, 0.75], [1.0, 0.0, 0.0]]
    for p, uniforms, right in (
        (1.0, [0.5, 0.1, 0.5, 0.5], [1, 2]), (1.0, [0.5, 0.9, 0.2], [1]), (0.7, [0.5, 0.9, 0.2], [1, 2]),
        (1.0, [0.5], [1]),
    ):  # fmt: skip
        found = answer.reply(table, p, uniforms)
        assert found is not None, "reply gives None: does it return its list?"
        assert list(found) == right, (
            f"reply({table}, {p}, {uniforms}) is {right}, and yours gives {list(found)}."
        )


# %%
def test_random_draws(answer, mine):
    """points: 1, hidden
    random probabilities with ties
    """
    import numpy as np

    rng = mine.fresh("q5")
    for trial in range(60):
        n = int(rng.integers(2, 9))
        weights = rng.integers(1, 6, n) if trial % 2 else rng.random(n) + 0.01  # half of the tables have ties
        chances = (weights / weights.sum()).tolist()
        p = float(rng.uniform(0.05, 0.999))
        kept, total = [], 0.0
        for word in sorted(range(n), key=lambda w: (-chances[w], w)):
            if total < p:
                kept.append(word)
                total += chances[word]
        ends = np.cumsum([chances[word] / total for word in kept])
        for u in rng.random(8).tolist():
            if np.abs(ends - u).min() > 1e-6 and abs(total - p) > 1e-6:
                right, found = kept[int((ends <= u).sum())], answer.nucleus(chances, p, u)
                assert found == right, (
                    f"nucleus({np.round(chances, 3).tolist()}, p={p:.3f}, u={u:.3f}) draws word {right} from the "
                    f"nucleus {kept}, and yours draws {found}."
                )


# %%
def test_random_replies(answer, mine):
    """points: 1, hidden
    replies from random tables
    """
    import numpy as np

    rng = mine.fresh("q5 replies")
    for _ in range(40):
        n = int(rng.integers(3, 7))
        table = rng.dirichlet(np.ones(n), n).tolist()
        uniforms, p = rng.random(int(rng.integers(1, 8))).tolist(), float(rng.uniform(0.3, 0.99))
        right, before = [], 0
        for u in uniforms:
            kept, total = [], 0.0
            for word in sorted(range(n), key=lambda w, chances=table[before]: -chances[w]):
                if total < p:
                    kept.append(word)
                    total += table[before][word]
            ends = np.cumsum([table[before][word] / total for word in kept])
            before = kept[min(int((ends <= u).sum()), len(kept) - 1)]
            if before == 0:
                break
            right.append(before)
        found = list(answer.reply(table, p, uniforms))
        assert found == right, (
            f"With {n} words, p={p:.3f} and {len(uniforms)} numbers: {right}, and yours {found}."
        )


# %%
def test_bought(answer, mine):
    """points: 1, hidden
    `bought` and `richest` in your world
    """
    import numpy as np

    from utils.world import chats, tasks

    said = [
        turn["candidates"][-1]
        for chat in tasks.dialogue(mine.world, 200, "assignment train")
        for turn in chat["utterances"]
    ]
    vocabulary = ["", *sorted({word for text in said for word in text.split()})]
    pairs = np.zeros((len(vocabulary), len(vocabulary)))
    for text in said:
        ids = [0, *(vocabulary.index(word) for word in text.split()), 0]
        np.add.at(pairs, (ids[:-1], ids[1:]), 1)
    table = 0.9 * pairs / pairs.sum(1, keepdims=True) + 0.1 * pairs.sum(0) / pairs.sum()
    possible = set()
    for trait in chats.TRAITS.values():
        for template in [*trait.answers.items, *chats.UNKNOWN.items, *chats.REPLIES.items]:
            for value in trait.values.items if "{value" in template else [""]:
                possible.add(" ".join(chats.finish(chats.fill(template, value=value)).words))
    order = np.argsort(-table, axis=1, kind="stable")
    ordered = np.take_along_axis(table, order, 1)
    right = {}
    for p in (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0):
        written = []
        sums = ordered.cumsum(1)
        sizes = np.minimum((sums < p).sum(1) + 1, len(vocabulary))
        for uniforms in mine.rng("draws").random((400, 15)):
            words, before, going = [], 0, True
            for u in uniforms:
                if going:
                    size = sizes[before]
                    place = int((sums[before, :size] / sums[before, size - 1] <= u).sum())
                    before = int(order[before, min(place, size - 1)])
                    going = before != 0
                    words += [vocabulary[before]] if going else []
            written.append(" ".join(words))
        good = [text for text in written if text in possible]
        right[p] = (len(good) / 4, len(set(good)))
    for p, (percent, different) in right.items():
        found = answer.bought[p]
        assert abs(found[0] - percent) < 0.8 and abs(found[1] - different) < 3, (
            f"At p={p} {percent} percent of the replies are right, {different} different ones; yours is {found}."
        )
    best = max(different for _, different in right.values())
    assert right[answer.richest][1] >= best - 2, (
        f"Most right replies, {best}, come not from p={answer.richest}."
    )


# %% [raw]
# # END TESTS

# %% [raw]
# # END QUESTION

# %% [markdown]
# A probability of a hundredth may belong to a reply that is rare and right or to one that is wrong. The nucleus can't
# tell them apart, and neither can any other rule that looks at probabilities only.

# %% [raw]
# # BEGIN QUESTION
# name: q6
# points: 3
# manual: true

# %% [markdown]
# ## Question 6: From a task to a model (3 points)
#
# The last question is answered in words. The next cell prints a task that somebody brings to you; every student gets
# one of three.

# %%
CASES = (
    "A travel agency has 3,000 letters of complaint, some 400 words each, from 900 customers; many wrote more than "
    "once. For each letter it wants to know the sum of money that is claimed, as it is written in the letter, or that none "
    "is. 2,000 letters have been labeled with that sum.",
    "A hospital has 5,000 notes by 40 nurses about 1,200 patients. Each mention of a medicine and of its dose is to be "
    "marked in the text, also when it has several words. 600 notes have been marked.",
    "A town's library has 20,000 chats between visitors and librarians, by 60 librarians. When a visitor writes, the "
    "librarian is to be shown three possible replies, of which one may be clicked and sent. Half of all replies are "
    "greetings and thanks.",
)
print(CASES[mine.rng("case").integers(3)])

# %% [markdown]
# **Write** 150 to 250 words on three points, one paragraph each:
#
# 1. *Shape and head.* Which of the four shapes does the answer have? What does the network give for it (how many
#    numbers, where), and what has to be decided outside of the network before an answer is there?
# 2. *What is a score worth?* Name the score. Name one program that does not read, and say what it would get here. Say
#    what a test must not share with the training, and how you would split.
# 3. *A silent mistake.* Name one mistake of this very pipeline that would raise no error and might hardly lower the
#    score, and write the assertion, in a line of code or in exact words, that would catch it.

# %% [raw]
# # BEGIN SOLUTION

# %% [markdown]
# (Case of the notes, full marks.) Each word gets a label, B or I of two kinds or O, so the network gives five numbers
# on the first piece of every word. Nothing keeps it from saying *I-dose* behind *O*, so I decide for the whole
# sentence with Viterbi and forbid such steps; mentions are then read strictly.
#
# The score is F1 over whole mentions of the right kind. A program that says O everywhere is right for perhaps
# nineteen words of twenty and has an F1 of zero; one that looks up the medicines marked in training is the rival to
# beat. Notes about one patient repeat the medicines, and a nurse writes them always in the same way: I split by
# patients, and report notes of nurses whom training has not seen separately.
#
# A silent mistake: notes of more than 512 pieces are cut, and what stands behind the cut is in no window. The notes
# of the test are cut as well, so the score hardly moves if mentions are counted from the cut notes. I would write
# `assert len(read_back) == len(words)` for every note, and compare the number of true mentions that are scored with
# the number in the file.
#
# **Rubric**: one point for each paragraph; half a point if half of it is there, or if it is right in general and not
# tied to the case; zero otherwise.
#
# - 1 point, *shape and head*: the shape (letters: a span, or none; notes: a label for each word, B and I of two
#   kinds; chats: a text, or a choice among texts, if argued); what the network gives (two numbers for each token, and
#   a score for "none"; five numbers for each word; one number for each candidate, or a distribution over the next
#   token); what is decided outside of it (the best pair in order and not too long, windows, the threshold; a
#   consistent sequence; candidates, ties, how words are picked, three *different* replies).
# - 1 point, *score*: a score that fits (exact match and F1 with and without answer; F1 over whole mentions; hits
#   among three, or clicks); a program that does not read, with its rough result (always "none": the share of letters
#   that claim nothing; O everywhere: zero; the three commonest replies: right half of the time or more); a split by
#   customers, by patients (or nurses), by visitors, librarians or time, with the reason.
# - 1 point, *silent mistake*: one that belongs to the pipeline, raises nothing and hardly lowers the score (pages cut
#   off, characters counted as bytes, label i at position i, word 0 taken for nothing, the true reply always last
#   where ties go to the last, speakers exchanged), with an assertion that would fail.
#
# Half marks (1.5): *It is a tagging task, so I would take BERT with a head for token classification and tune it for
# three epochs. I would use F1, and as a baseline the most frequent label. The data should be split randomly into
# train, validation and test, and a patient should not be in both. A silent mistake is a wrong alignment of labels
# with pieces; I would look at some examples.* (The numbers of the head and the decision are missing; the split
# contradicts itself and the baseline has no result; no assertion.)
#
# Zero: *I would ask a large language model, since they are the best at all tasks today. If the accuracy on a random
# test set is above 95%, it is good. A mistake would be seen because the loss would not go down.*

# %% [raw]
# # END SOLUTION

# %% [raw]
# # END QUESTION
