# %% [markdown]
# # Lab 2: What do representations capture?
#
# <!-- colab badge -->
#
# Three networks have read three to twenty million words and can now complete a sentence. What do they know? Nobody put a
# part of speech, a tree, or the number of a subject into them, and no label said that these exist. You will look for
# them in five ways: by eye, by behavior, with classifiers, by comparing teachers, and with a scalpel. Each way can fool
# you, and for each you will build the control that shows when it does.
#
# **You will be able to** test a language model on minimal pairs; probe its layers, and say with a control task and a
# description length what a probe's score is worth; fit a structural probe; remove a property from a network's states;
# and find by activation patching where a network keeps what it uses.
#
# **You should know** what Lab 1 builds: language models, hidden states, and bits per word. The chapter *What do
# representations capture?* has the ideas; this lab has the evidence.
#
# | what | two CPU cores | one GPU |
# |---|---|---|
# | time | about 5 minutes | not measured |
# | memory | 3 GiB | not measured |
# | download | nothing | nothing (`mini`); 27 MB (`full`: English treebank, agreement items, minimal pairs, entities, WikiText-2) |
#
# Measured numbers here differ a little from machine to machine. Behind each figure stand many recorded runs; the lab
# repeats some of them live and checks that they fall where the recorded ones say.

# %%
# course setup

# %%
from collections import Counter, defaultdict

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

# %%
from utils import checkpoints, lstm, probing, settings, training
from utils.evidence import Lab
from utils.intervals import mean_ci, paired_ci, rank_correlation_ci, ratio_ci, slope_ci
from utils.plots import COLORS, band, show, style
from utils.world import World, tasks

# %%
style()
settings.threads(1)
settings.seed_everything(0)
lab = Lab("02_analysis")
world = World(0)

# %% [markdown]
# ## The patients
#
# The three models of Lab 1, as shipped: a causal Transformer, which reads from left to right, a masked one, which sees
# both sides, and an AWD-LSTM. A fourth has the causal one's shape and random weights. It has learned nothing, so whatever
# an analysis finds in it was not put there by language. None of the four is trained any further, in the whole lab, unless
# a section says so.

# %%
causal, tokenizer = checkpoints.load_causal()
masked, _ = checkpoints.load_masked()
recurrent, vocabulary = lstm.load()

# %%
from transformers import GPT2LMHeadModel


# %%
def untrained(seed):
    """The causal Transformer's twin that has learned nothing: same shape, random weights."""
    torch.manual_seed(seed)
    return GPT2LMHeadModel(causal.config).eval()


# %%
encoders = {
    "causal": probing.transformer("causal", causal, tokenizer),
    "masked": probing.transformer("masked", masked, tokenizer),
    "LSTM": probing.recurrent("LSTM", recurrent, vocabulary),
    "random": probing.transformer("random", untrained(0), tokenizer),
}

# %%
for name, encoder in encoders.items():
    print(f"{name:7} {encoder.layers} layers, {encoder.width} units at most")

# %% [markdown]
# A network reads a sentence and leaves a state for every word at every layer. Layer 0 is the table of embeddings: what a
# word is without its sentence. All later layers have seen the neighbors. A word that is cut into several sub-words gets
# their mean.

# %%
sentences = tasks.tagging(world, 3, "patients")
states = probing.word_states(encoders["causal"], [s.words for s in sentences])
print("words:", sum(len(s.words) for s in sentences), " states: layers x words x width =", states.shape)

# %% [markdown]
# And for each word the world knows the truth: its tag, its head in the tree, the number it carries, and which verb agrees
# with which noun, across how many nouns of the other number (the *attractors*).

# %%
example = next(s for s in tasks.tagging(world, 300, "patients") if any(a.attractors for a in s.agreements))
for word, tag, head, number in zip(example.words, example.pos, example.heads, example.numbers, strict=True):
    print(f"{word:12} {tag:6} head: {example.words[head] if head >= 0 else '-':10} {number}")

# %% [markdown]
# ## Pictures
#
# The oldest way to analyze a network is to look. A picture leaves the model alone: it projects or colors what is
# there. Let us hold on to that before anything else, with a checksum of every weight, and compare it at the end of
# the section.

# %%
import hashlib
from functools import lru_cache
from itertools import islice


# %%
def checksum(model):
    """One number that changes when any weight of the model does."""
    digest = hashlib.sha256()
    for weight in model.state_dict().values():
        digest.update(weight.cpu().numpy().tobytes())
    return digest.hexdigest()


# %%
before = {
    name: checksum(model) for name, model in (("causal", causal), ("masked", masked), ("LSTM", recurrent))
}

# %% [markdown]
# ### Maps
#
# Word vectors have 64 dimensions and paper has two. Principal component analysis (PCA) keeps the two directions of
# most variance; t-SNE (van der Maaten and Hinton 2008) moves points about until near neighbors are near. We draw the
# nouns and verbs that belong to one topic of the world. The vectors are those of Lab 1 (PPMI, compressed by a
# singular value decomposition), counted with numpy this time.

# %%
from scipy.sparse import coo_matrix
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.extmath import randomized_svd


# %%
@lru_cache(maxsize=1)
def frequent_words(seed, size=200_000):
    """A corpus as the ids of its frequent words (ten times or more), the text each stands in, and those words."""
    texts = [document.words for document in world.corpus(size, f"static vectors {seed}")]
    frequent = [w for w, n in Counter(w for text in texts for w in text).most_common() if n >= 10]
    index = {word: i for i, word in enumerate(frequent)}
    kept = [(index[word], number) for number, text in enumerate(texts) for word in text if word in index]
    ids, numbers = np.array(kept).T
    return ids, numbers, frequent


# %%
def pair_counts(ids, numbers, window):
    """How often two words stand within `window` places in one text: a sparse matrix [words, words]."""
    gaps = [(gap, numbers[gap:] == numbers[:-gap]) for gap in range(1, window + 1)]
    left = np.concatenate([ids[:-gap][near] for gap, near in gaps])
    right = np.concatenate([ids[gap:][near] for gap, near in gaps])
    both = np.r_[left, right], np.r_[right, left]
    table = coo_matrix((np.ones(len(both[0])), both), shape=[ids.max() + 1] * 2)
    table.sum_duplicates()
    return table


# %%
def static_vectors(seed, window=4, dimensions=64):
    """PPMI and a truncated SVD, scaled to length one: float [words, dimensions], and the words."""
    ids, numbers, frequent = frequent_words(seed)
    counts = pair_counts(ids, numbers, window)
    margins = np.asarray(counts.sum(axis=0)).ravel()
    pmi = np.log(counts.data * counts.sum() / (margins[counts.row] * margins[counts.col]))
    ppmi = coo_matrix((np.maximum(pmi, 0), (counts.row, counts.col)), shape=counts.shape).tocsr()
    left, strength, _ = randomized_svd(ppmi, dimensions, random_state=seed)
    vectors = left * np.sqrt(strength)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9), frequent


# %% [markdown]
# PCA of the same vectors is the same picture each time. t-SNE begins with random places. Predict: of a word's ten
# nearest neighbors on the map, how many are still there when you change nothing but the seed? And when you change the
# perplexity, the knob that says how many neighbors count?


# %%
def tsne_map(vectors, seed=0, perplexity=30):
    """t-SNE from random places, as it was published: float [words, 2]."""
    return TSNE(perplexity=perplexity, init="random", random_state=seed).fit_transform(vectors)


# %%
def ten_nearest(points):
    """The ten nearest other points of each point: int [points, 10]."""
    return NearestNeighbors(n_neighbors=10).fit(points).kneighbors(return_distance=False)


# %%
def neighbors_kept(a, b):
    """Mean share of the ten nearest neighbors that two drawings of the same words have in common."""
    return float(
        np.mean([len(set(x) & set(y)) / 10 for x, y in zip(ten_nearest(a), ten_nearest(b), strict=True)])
    )


# %%
def topic_vectors(seed):
    """Vectors of the words that have one topic, and those words."""
    vectors, frequent = static_vectors(seed)
    known = tasks.topic_of_words(world)
    kept = [i for i, word in enumerate(frequent) if word in known]
    return vectors[kept], [frequent[i] for i in kept]


# %%
def maps_run(seed):
    """Neighbors on maps of one corpus: against another seed, another perplexity, and the space itself."""
    vectors, _ = topic_vectors(seed)
    pca = PCA(2).fit(vectors)
    first = tsne_map(vectors)
    return {
        "other seed": neighbors_kept(first, tsne_map(vectors, seed=1)),
        "other perplexity": neighbors_kept(first, tsne_map(vectors, perplexity=5)),
        "variance": float(pca.explained_variance_ratio_.sum()),
        "space, t-SNE": neighbors_kept(vectors, first),
        "space, PCA": neighbors_kept(vectors, pca.transform(vectors)),
    }


# %%
maps = lab.sweep("maps", maps_run, [{"seed": s} for s in range(10)], live=lambda s: s["seed"] == 0)

# %% tags=["nbval-ignore-output"] reason="t-SNE differs between processors; the check holds the numbers"
for name in ("other seed", "other perplexity", "variance", "space, t-SNE", "space, PCA"):
    lab.check(maps, name, by=[], slack=0.01)
    print(f"{name:17} {mean_ci(maps.recorded[name])}")

# %% mystnb={"image": {"alt": "Three maps of the same words side by side, PCA and t-SNE with two seeds; words of four topics have their own color and marker. In PCA three of them are arms and the fourth lies in a heap with all others, in t-SNE each is an island, whose place differs between the seeds."}} tags=["nbval-ignore-output"] reason="t-SNE differs between processors"
drawn, drawn_words = topic_vectors(0)
drawings = {"PCA": PCA(2).fit_transform(drawn)} | {
    f"t-SNE, seed {s}": tsne_map(drawn, seed=s) for s in (0, 1)
}
fig, axes = plt.subplots(1, 3, figsize=(6, 2.7))
roles = {
    "space": ("lstm", "o"),
    "hospital": ("causal", "^"),
    "kitchen": ("masked", "s"),
    "sea": ("ngram", "D"),
}
known = tasks.topic_of_words(world)
groups = np.array([known[word] for word in drawn_words])
for ax, (title, points) in zip(axes, drawings.items(), strict=True):
    ax.scatter(*points.T, s=2, color="#BBBBBB")
    for topic, (role, marker) in roles.items():
        chosen = points[groups == topic]
        ax.scatter(*chosen.T, s=14, color=COLORS[role], marker=marker, label=topic, linewidths=0)
    ax.set(title=title, xticks=[], yticks=[])
fig.legend(
    *axes[0].get_legend_handles_labels(), loc="lower center", ncols=4, columnspacing=0.8, markerscale=1.8
)
fig.subplots_adjust(bottom=0.17, wspace=0.08)
show(fig)
print(f"{len(drawn_words)} words; gray: the other eight topics")

# %% tags=["hide-input"]
lab.conclude("tsne-seed", mean_ci(maps.recorded["other seed"]), 10)
lab.conclude("tsne-perplexity", mean_ci(maps.recorded["other perplexity"]), 10)
lab.conclude("pca-variance", mean_ci(maps.recorded["variance"]), 10)
lab.conclude("tsne-minus-pca", paired_ci(maps.recorded["space, t-SNE"], maps.recorded["space, PCA"]), 10)

# %% [markdown]
# Change the seed and more than nine of ten near neighbors stay; change the perplexity and about a third go. What does
# not stay is everything else: where an island lies, and which island is next to it. t-SNE keeps neighborhoods and
# nothing more, so distances between islands are not evidence. PCA is the other way round. It can be repeated, its
# axes are directions of the space, and it shows about an eighth of the variance: two axes are spent on three topics,
# and the other nine lie on one heap. In the 64 dimensions they do not.

# %% [markdown]
# Static vectors have one point per word. The states of a network have one per *occurrence*: where are the two kinds
# of *seal*? We collect the nouns that live in two topics, with the scenes around them, and take the cosine of pairs
# of occurrences: the same word in the same topic, the same word in the other topic, and two different words. Draw the
# three curves over the layers before you see them.


# %%
def two_topic_nouns(seed, scenes=1500):
    """Scenes with a noun of two topics: (words, position, noun form, topic)."""
    things = [noun for topic in world.topics.values() for noun in topic.things.items]
    forms = {form for noun in things if noun.singular in world.ambiguous for form in noun}
    return [
        (document.words, position, word, document.about)
        for document in islice(world.documents(f"contextual {seed}", "scene"), scenes)
        for position, word in enumerate(document.words)
        if word in forms
    ]


# %%
def occurrence_states(encoder, found):
    """The state of each found occurrence: float [layers + 1, occurrences, width]."""
    starts = np.cumsum([0] + [len(words) for words, *_ in found[:-1]])
    places = starts + [position for _, position, *_ in found]
    return probing.word_states(encoder, [words for words, *_ in found])[:, places]


# %%
def cosine_run(seed):
    """Mean cosine of pairs of occurrences by layer and model, for three kinds of pairs."""
    found = two_topic_nouns(seed)
    word, topic = (np.array([item[k] for item in found]) for k in (2, 3))
    alike, together = word[:, None] == word, topic[:, None] == topic
    apart = ~np.eye(len(word), dtype=bool)
    kinds = {"same topic": alike & together & apart, "other topic": alike & ~together, "other word": ~alike}
    values = {}
    for name in ("causal", "masked"):
        for layer, states in enumerate(occurrence_states(encoders[name], found)):
            unit = states / np.linalg.norm(states, axis=1, keepdims=True)
            cosine = unit @ unit.T
            values |= {f"{name} {kind} {layer}": float(cosine[pairs].mean()) for kind, pairs in kinds.items()}
    return values


# %%
cosines = lab.sweep("cosines", cosine_run, [{"seed": s} for s in range(10)], live=lambda s: s["seed"] == 0)

# %% tags=["nbval-ignore-output"] reason="states differ between processors; the check holds the numbers"
c = cosines.recorded
KINDS = ("same topic", "other topic", "other word")
for kind in KINDS:
    lab.check(cosines, f"masked {kind} 4", by=[], slack=0.01)
    print(f"{kind:11}", [f"{c[f'masked {kind} {k}'].mean():.2f}" for k in range(5)], "masked")
    print(f"{'':11}", [f"{c[f'causal {kind} {k}'].mean():.2f}" for k in range(5)], "causal")

# %% mystnb={"image": {"alt": "Left: one noun's occurrences projected by PCA at layer 3 of the masked model, colored by topic, which form two clouds. Right: mean cosine against the layer for three kinds of pairs of occurrences: same word and topic, same word and other topic, other word."}} tags=["nbval-ignore-output"] reason="states differ between processors"
pictured = [item for item in two_topic_nouns(0, 6000) if item[2] == "seal"]
senses = np.array([topic for *_, topic in pictured])
points = PCA(2).fit_transform(occurrence_states(encoders["masked"], pictured)[3])
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 3.1))
for topic, role, marker in zip(sorted(set(senses)), ("masked", "causal"), "s^", strict=True):
    left.scatter(*points[senses == topic].T, color=COLORS[role], marker=marker, s=18, label=topic, alpha=0.7)
left.set(xticks=[], yticks=[])
left.set_title("every “seal”, layer 3", fontsize=12)
left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, handletextpad=0.1, columnspacing=0.8)
styles = (("lstm", "o", 2.0, 1.02), ("distant", "s", 1.7, 0.76), ("baseline", "^", 2.0, 0.46))
for kind, (role, marker, x, height) in zip(KINDS, styles, strict=True):
    curve = [c[f"masked {kind} {k}"].mean() for k in range(5)]
    right.plot(range(5), curve, marker=marker, color=COLORS[role])
    right.text(x, height, kind, ha="center", fontsize=11)
right.set(xlabel="layer", xticks=range(5), ylim=(0, 1.14))
right.set_title("mean cosine", fontsize=12)
fig.subplots_adjust(bottom=0.2)
show(fig)
print(f"{len(pictured)} occurrences of seal: {dict(Counter(senses.tolist()))}")

# %% tags=["hide-input"]
lab.conclude("sense-cosine", paired_ci(c["masked same topic 4"], c["masked other topic 4"]), 10)
within = {k: (c[f"masked same topic {k}"] + c[f"masked other topic {k}"]) / 2 for k in (0, 4)}
spread = {k: within[k] - c[f"masked other word {k}"] for k in (0, 4)}
lab.conclude("word-cosine", paired_ci(spread[4], spread[0]), 10)

# %% [markdown]
# At layer 0 all occurrences of a word are one point. Layer by layer the two kinds of *seal* part: at the top two of
# the same topic still have a cosine near 0.9, two of different topics 0.7. Different words first come closer, since
# they share their scenes, and part again. So the lead that a word's own occurrences have over those of other words
# shrinks by about two fifths from the embeddings to the top, and still a state says more about its word than about
# its topic. (In the causal model layer 0 holds the position as well, so there even the embeddings of one word
# differ.) Some seals of the castle lie far from the others: what do their scenes have in common?

# %% [markdown]
# ### Analogies
#
# The most famous picture of word vectors has parallel arrows: *farmer* is to *farmers* as *baker* is to ... In
# numbers: take `farmers - farmer + baker` and look for the nearest word. Almost every published accuracy leaves out
# the three words of the question from the candidates. Predict what happens when they may be answers too.


# %%
def number_pairs(frequent):
    """(singular, plural) of nouns and (third person, base) of verbs, by their ids among the frequent words."""
    index = {word: i for i, word in enumerate(frequent)}
    nouns, verbs = set(), set()
    for topic in world.topics.values():
        for table in (topic.persons, topic.animals, topic.things, topic.places):
            nouns |= {(noun.singular, noun.plural) for noun in table.items}
        for table in (topic.transitive, topic.intransitive):
            verbs |= {(verb.third, verb.base) for verb in table.items}
    return [
        [(index[a], index[b]) for a, b in sorted(kind) if a in index and b in index]
        for kind in (nouns, verbs)
    ]


# %%
def analogy_questions(frequent, seed, count=200):
    """Questions a : b :: c : d, half of nouns and half of verbs, as ids [count, 4]."""
    random = np.random.default_rng(seed)
    kinds = number_pairs(frequent)
    drawn = [random.choice(len(kinds[k % 2]), 2, replace=False) for k in range(count)]
    return np.array([[*kinds[k % 2][i], *kinds[k % 2][j]] for k, (i, j) in enumerate(drawn)])


# %%
def answers(vectors, target, banned=None):
    """The nearest word to each target vector; `banned`, ids [questions, n], may not be answers."""
    similarity = target @ vectors.T
    if banned is not None:
        np.put_along_axis(similarity, banned, -np.inf, axis=1)
    return similarity.argmax(1)


# %%
def analogy_scores(vectors, questions):
    """Whether each question is answered rightly, in three ways: bool [questions] each."""
    a, b, c, d = questions.T
    offset = vectors[b] - vectors[a] + vectors[c]
    return {
        "query words excluded": answers(vectors, offset, questions[:, :3]) == d,
        "nothing excluded": answers(vectors, offset) == d,
        "no offset at all": answers(vectors, vectors[c], questions[:, :3]) == d,
    }


# %% [markdown]
# We ask three tables of vectors: the input embeddings of the AWD-LSTM, as Mikolov et al. (2013) took them from a
# recurrent network; those of the causal Transformer (of words that are one token); and the counted ones from above.
# The third way (after Linzen 2016) never uses the arrow: it answers with the nearest other word of *baker*. What it
# gets right, the arrow did not need to know. And since a picture shows five arrows, not two hundred, we also pick the
# five most parallel ones.


# %%
def network_vectors(name):
    """Input embeddings of the LSTM or the causal model, of length one, and their words."""
    if name == "LSTM":
        table, words = recurrent[0].encoder.weight, list(vocabulary)
    else:
        table, words = causal.base_model.wte.weight, tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
        words = [word.removeprefix("▁") if word.startswith("▁") else "-" for word in words]
    kept = [i for i, word in enumerate(words) if word.isalpha() and not word.startswith("xx")]
    vectors = table.detach().numpy()[kept]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), [words[i] for i in kept]


# %%
def analogy_run(seed, table):
    """Analogy accuracies with 200 questions, and those of the five best-looking ones."""
    vectors, words = static_vectors(seed) if table == "counted" else network_vectors(table)
    questions = analogy_questions(words, seed)
    right = analogy_scores(vectors, questions)
    a, b, c, d = (vectors[ids] for ids in questions.T)
    arrows = [(y - x) / np.linalg.norm(y - x, axis=1, keepdims=True) for x, y in ((a, b), (c, d))]
    parallel = (arrows[0] * arrows[1]).sum(1)
    best = np.argsort(-parallel)[:5]
    echo = answers(vectors, b - a + c) == questions[:, 2]
    return {name: float(values.mean()) for name, values in right.items()} | {
        "chance": 1 / (len(words) - 3),
        "third word again": float(echo.mean()),
        "five best": float(right["query words excluded"][best].mean()),
        "parallel": float(parallel.mean()),
        "five best, parallel": float(parallel[best].mean()),
    }


# %%
TABLES = ("LSTM", "causal", "counted")
analogies = lab.sweep(
    "analogies",
    analogy_run,
    [{"seed": s, "table": t} for t in TABLES for s in range(10)],
    live=lambda s: s["seed"] == 0,
)

# %% tags=["nbval-ignore-output"] reason="vectors differ between processors; the check holds the numbers"
means = analogies.recorded.groupby("table").mean().drop(columns="seed").T
print(means[list(TABLES)].round(3))
for name in ("query words excluded", "nothing excluded", "no offset at all"):
    lab.check(analogies, name, by=["table"], slack=0.01)

# %% tags=["hide-input"]
r = analogies.recorded.query("table == 'LSTM'")
lab.conclude("analogy-chance", paired_ci(r["query words excluded"], r["chance"]), 10)
lab.conclude("analogy-trick", paired_ci(r["query words excluded"], r["nothing excluded"]), 10)
lab.conclude("analogy-offset", paired_ci(r["query words excluded"], r["no offset at all"]), 10)
lab.conclude("five-best-analogies", paired_ci(r["five best"], r["query words excluded"]), 10)

# %% [markdown]
# The embeddings of both networks hold the plural and the third person as arrows; the causal model does better, but
# its questions are easier, since only words of one token can be asked. The counted vectors hardly hold any: at this
# size of corpus they know topics, and answer with a word of the topic, with or without an arrow. *The* analogy
# accuracy of a corpus does not exist.
#
# The exclusion matters. Without it accuracy falls for every table: a little for the LSTM, by more than half for the
# causal model, where most answers are then the third query word itself. The nearest word to `farmers - farmer +
# baker` is *baker*, because the arrow is short.
#
# And the picture flatters. The five most parallel of two hundred look far more parallel than the average in every
# table. For the LSTM about three in four of them are also answered rightly, twice the rate of all; for the causal
# model the pretty ones are no better than the rest, only prettier.

# %% [markdown]
# Are vectors with good analogies good vectors? We build sixteen tables, with four windows and four sizes, on five
# corpora, and give each table another task: tag the words of fresh sentences by a linear classifier that sees a
# word's vector and nothing else.


# %%
def tagging_data(frequent, seed, count=500):
    """Ids of known words of fresh sentences, their tags as numbers, and which words validate."""
    index = {word: i for i, word in enumerate(frequent)}
    some = tasks.tagging(world, count, f"embedding settings {seed}")
    kept = [
        (index[w], tag, n % 5 == 0)
        for n, s in enumerate(some)
        for w, tag in zip(s.words, s.pos, strict=True)
        if w in index
    ]
    ids, tags, validation = zip(*kept, strict=True)
    return np.array(ids), np.unique(tags, return_inverse=True)[1], np.array(validation)


# %%
def embedding_run(seed, window, dimensions):
    """Analogy accuracy and tagging accuracy of one table of vectors."""
    vectors, frequent = static_vectors(seed, window, dimensions)
    right = analogy_scores(vectors, analogy_questions(frequent, seed))
    ids, tags, validation = tagging_data(frequent, seed)
    states = vectors[ids].astype(np.float32)
    half = np.arange(len(ids)) < len(ids) // 2
    probe = probing.linear_probes(states[half], {"tag": tags[half]}, validation[half])["tag"]
    return {
        "analogies": float(right["query words excluded"].mean()),
        "tagging": probe.accuracy(states[~half], tags[~half]),
    }


# %%
embeddings = lab.sweep(
    "embeddings",
    embedding_run,
    [
        {"window": w, "dimensions": d, "seed": s}
        for s in range(5)
        for w in (1, 2, 4, 8)
        for d in (8, 16, 64, 128)
    ],
    live=lambda s: s == {"seed": 0, "window": 4, "dimensions": 64},
)

# %% tags=["nbval-ignore-output"] reason="vectors differ between processors; the check holds the numbers"
lab.check(embeddings, "tagging", by=["window", "dimensions"], slack=0.02)
tables = embeddings.recorded.groupby(["window", "dimensions"])[["analogies", "tagging"]].mean()
print(tables.sort_values("analogies").round(3).iloc[[0, 5, 10, 15]])
agree = rank_correlation_ci(tables["analogies"], tables["tagging"])
print("rank correlation over sixteen tables:", agree)
lab.conclude("analogy-tagging", agree, 5)

# %% [markdown]
# The question stays open. The tables that are best at analogies have windows of two or four and sixteen dimensions or
# more, but not too many; tagging wants small windows and as many dimensions as it can get. The rank correlation is
# near zero, and its interval holds everything from a clearly negative relation to a moderately positive one. To
# choose vectors for a tagger, score a tagger.

# %% [markdown]
# ### One neuron
#
# Radford et al. (2017) found one unit in a language model of reviews that followed sentiment. Our causal Transformer
# has 768 units in four layers, our AWD-LSTM 800 in three, and both have read reviews without labels. We look for the
# unit whose value at the last token, the full stop, correlates best with the review's opinion, on one half of 600
# reviews, and let it judge the other half with a threshold between the class means. Beside it, a linear probe on all
# units; and both one word earlier. How far apart will they be?


# %%
def end_states(encoder, texts, back=1):
    """All units of all layers at the last word of each text but `back - 1`: float [texts, units]."""
    states = probing.word_states(encoder, texts)[1:, np.cumsum([len(words) for words in texts]) - back]
    flat = np.concatenate(list(states), axis=1)
    return flat[:, flat.std(axis=0) > 0]


# %%
def unit_correlations(units, label):
    """The correlation of each unit [n, units] with one label [n]: float [units]."""
    units, label = units - units.mean(0), label - label.mean()
    return label @ units / np.linalg.norm(label) / np.linalg.norm(units, axis=0).clip(1e-9)


# %%
def one_unit(units, labels, half):
    """The unit that follows the labels best on one half, and its accuracy on the other half."""
    found = unit_correlations(units[half], labels[half])
    best = int(np.abs(found).argmax())
    threshold = (units[half & (labels == 0), best].mean() + units[half & (labels == 1), best].mean()) / 2
    guesses = (units[~half, best] > threshold) == (found[best] > 0)
    return best, float(np.mean(guesses == labels[~half]))


# %%
def unit_run(seed):
    """Sentiment by one unit and by a probe, for two models and two places, on reviews that chose neither."""
    texts = tasks.sentiment(world, 600, "train", f"units {seed}")
    labels, half = np.array([text.label for text in texts]), np.arange(600) < 300
    values, check = {}, np.arange(300) // 2 % 5 == 0
    for name in ("LSTM", "causal"):
        for place, back in (("end", 1), ("last word", 2)):
            states = end_states(encoders[name], [text.words for text in texts], back)
            best, accuracy = one_unit(states, labels, half)
            probe = probing.linear_probes(states[half], {"label": labels[half]}, check)["label"]
            values |= {f"{name} unit, {place}": accuracy, f"{name} best, {place}": best}
            values[f"{name} probe, {place}"] = probe.accuracy(states[~half], labels[~half])
    return values


# %%
units = lab.sweep("sentiment unit", unit_run, [{"seed": s} for s in range(10)], live=lambda s: s["seed"] == 0)

# %% tags=["nbval-ignore-output"] reason="states differ between processors; the check holds the numbers"
u = units.recorded
for name in ("LSTM", "causal"):
    lab.check(units, f"{name} unit, end", by=[], slack=0.02)
    for place in ("last word", "end"):
        one, all_units = (mean_ci(u[f"{name} {kind}, {place}"]) for kind in ("unit", "probe"))
        print(f"{name:6} {place:9} one unit {one}   probe on all {all_units}")

# %% tags=["hide-input"]
for name in ("causal", "LSTM"):
    lab.conclude(f"sentiment-unit-{name.lower()}", mean_ci(u[f"{name} unit, end"]), 10)
lab.conclude("unit-minus-probe", paired_ci(u["causal unit, end"], u["causal probe, end"]), 10)

# %% [markdown]
# A review, word by word, in the color of the unit that was chosen most often. Nobody told the network which words are
# good or bad.


# %%
def every_unit(encoder, words):
    """All units of all layers at each word of one text: float [words, units]."""
    return np.concatenate(list(probing.word_states(encoder, [words])[1:]), axis=1)


# %%
def colored_text(ax, words, shades, width=46, lines=5):
    """Write words in lines of at most `width` characters, each on a background of its shade."""
    column, line = 0, 0
    for word, shade in zip(words, shades, strict=True):
        if column + len(word) > width:
            column, line = 0, line + 1
        ax.add_patch(plt.Rectangle((column - 0.4, -line - 0.35), len(word) + 0.8, 0.85, color=shade, lw=0))
        ax.text(column, -line, word, family="monospace", fontsize=11.5, va="center")
        column += len(word) + 1
    ax.set(xlim=(-0.5, width + 0.5), ylim=(-lines + 0.4, 0.6))
    ax.axis("off")


# %% mystnb={"image": {"alt": "Two reviews whose words have backgrounds from orange to violet by the value of one unit: the last full stop is orange in the positive review and nearly white in the negative one, and the colors before it follow articles, commas and nouns."}} tags=["nbval-ignore-output"] reason="states differ between processors"
shown = tasks.sentiment(world, 40, "train", "colored")
FAVORITE, times = Counter(u["causal best, end"].astype(int)).most_common(1)[0]
every = np.concatenate([every_unit(encoders["causal"], text.words)[:, FAVORITE] for text in shown])
longest = [max((t for t in shown if t.label == k), key=lambda t: len(t.words)) for k in (0, 1)]
fig, axes = plt.subplots(2, 1, figsize=(6, 3.5))
for ax, text in zip(axes, longest, strict=True):
    values = (every_unit(encoders["causal"], text.words)[:, FAVORITE] - every.mean()) / every.std() / 2
    colored_text(ax, text.words, plt.cm.PuOr(0.5 + 0.3 * values.clip(-1, 1)))
    ax.set_title(("negative", "positive")[text.label] + " review", loc="left", fontsize=12)
show(fig)
print(
    f"layer {FAVORITE // 192 + 1}, unit {FAVORITE % 192}: the best one in {times} of {len(u)} samples of reviews"
)

# %% [markdown]
# In the causal model one unit, most often the same one in the last layer, is right about three times in four. It is
# no single seat of sentiment: a probe on all units is better by more than a tenth, so the opinion is spread over
# many. In the LSTM one unit is only a little better than a coin. Even the probe reads less from it after the full
# stop than one word earlier: at the end of a text nothing depends on the opinion anymore, and the recurrent state
# lets it go.
#
# Now look at the colored text. At the last full stop the unit does what it was chosen for. Everywhere else its color
# follows the kind of word: violet on nouns and adjectives, good and bad alike, orange on articles and commas. It was
# chosen at one place, and the name *sentiment unit* would promise something about all places.

# %% [markdown]
# Now the warning. Give every review a label by coin, so that nothing can be found, and look for the best unit anyway,
# among the first $k$ units in random order. How large a correlation will the best of 800 show on 100 reviews?

# %%
CROWD = (1, 3, 10, 30, 100, 300, 700)


# %%
def coin_run(seed, reviews):
    """The best |correlation| of k units with labels by coin: mean over 20 coins, on the choosing reviews and others."""
    texts = [text.words for text in tasks.sentiment(world, 2 * reviews, "train", f"coin {seed}")]
    states = end_states(encoders["LSTM"], texts)
    random = np.random.default_rng(seed)
    seen, fresh = [], []
    for _ in range(20):
        coins = random.permutation(np.arange(2 * reviews) % 2)
        order = random.permutation(states.shape[1])
        chosen, other = (
            np.abs(unit_correlations(states[side::2][:, order], coins[side::2])) for side in (0, 1)
        )
        seen.append(np.maximum.accumulate(chosen)[np.array(CROWD) - 1])
        fresh.append([other[chosen[:k].argmax()] for k in CROWD])
    return {f"best of {k}": float(v) for k, v in zip(CROWD, np.mean(seen, 0), strict=True)} | {
        f"again {k}": float(v) for k, v in zip(CROWD, np.mean(fresh, 0), strict=True)
    }


# %%
coins = lab.sweep(
    "coins",
    coin_run,
    [{"seed": s, "reviews": n} for n in (50, 100, 400) for s in range(10)],
    live=lambda s: s == {"seed": 0, "reviews": 100},
)
lab.check(coins, "best of 700", by=["reviews"])

# %% mystnb={"image": {"alt": "Largest correlation with labels by coin against the number of units searched, on a logarithmic axis: three rising lines for 50, 100 and 400 reviews, fewer reviews higher; a dotted line shows that the chosen unit falls back on fresh reviews."}} tags=["nbval-ignore-output"] reason="states differ between processors"
fig, ax = plt.subplots()
for reviews, role in ((50, "masked"), (100, "causal"), (400, "lstm")):
    runs = coins.recorded.query("reviews == @reviews")
    curve = [mean_ci(runs[f"best of {k}"]) for k in CROWD]
    band(ax, CROWD, curve, f"{reviews} reviews", COLORS[role])
    print(f"{reviews:3} reviews: one unit {curve[0].estimate:.2f}, best of 700 {curve[-1].estimate:.2f}")
runs = coins.recorded.query("reviews == 100")
again = [runs[f"again {k}"].mean() for k in CROWD]
ax.plot(CROWD, again, linestyle=":", color=COLORS["causal"], label="100, on fresh reviews")
ax.set(xscale="log", xlabel="units searched", ylabel="best |correlation| with a coin", ylim=(0, 0.58))
ax.legend(loc="upper left", fontsize=11)
show(fig)

# %% tags=["hide-input"]
lab.conclude("best-of-many", paired_ci(runs["best of 700"], runs["best of 1"]), 10)

# %% [markdown]
# One unit correlates with a coin by almost a tenth on 100 reviews; the best of 700 by a quarter, and on fresh reviews
# it is back where one unit was. With 50 reviews the best is higher still, with 400 about half as high. Whoever looks
# through a network for a unit should draw this curve first, and choose on one half and test on the other.

# %% [markdown]
# Karpathy et al. (2016) showed cells with a job, such as one that counts the position in a line. We look for a unit
# that follows the position of a word and one that follows its depth in the tree, again on one half of the sentences
# and tested on the other. The baseline must be fair: for the position, shuffled labels; for the depth, labels
# shuffled among words of the *same tag at the same position*, because a unit that knows determiners, or the end of a
# sentence, knows something about depth as well.


# %%
def shuffled_within(labels, groups, random):
    """The labels, shuffled among the words of each group."""
    shuffled = labels.copy()
    for group in np.unique(groups):
        places = np.flatnonzero(groups == group)
        shuffled[places] = labels[random.permutation(places)]
    return shuffled


# %%
def best_elsewhere(states, label, half):
    """|correlation| on one half of the unit that was chosen on the other."""
    best = np.abs(unit_correlations(states[half], label[half])).argmax()
    return float(np.abs(unit_correlations(states[~half][:, [best]], label[~half]))[0])


# %%
def job_run(seed):
    """Units that follow position and depth, in LSTM and causal model, and their baselines."""
    some = tasks.tagging(world, 600, f"jobs {seed}")
    position = np.concatenate([np.arange(len(s.words)) for s in some]).astype(float)
    depth = np.concatenate([s.depths() for s in some]).astype(float)
    half = probing.sentence_ids([s.words for s in some]) < 300
    random, values = np.random.default_rng(seed), {}
    tags = np.unique([tag for s in some for tag in s.pos], return_inverse=True)[1]
    groups = {"position": np.zeros(len(position)), "depth": 100 * tags + position}
    for name in ("LSTM", "causal"):
        states = np.concatenate(
            list(probing.word_states(encoders[name], [s.words for s in some])[1:]), axis=1
        )
        for job, label in (("position", position), ("depth", depth)):
            values[f"{name} {job}"] = best_elsewhere(states, label, half)
            mixed = shuffled_within(label, groups[job], random)
            values[f"{name} {job} shuffled"] = best_elsewhere(states, mixed, half)
    return values


# %%
jobs = lab.sweep("jobs of units", job_run, [{"seed": s} for s in range(10)], live=lambda s: s["seed"] == 0)

# %% tags=["nbval-ignore-output"] reason="states differ between processors; the check holds the numbers"
for name in ("LSTM", "causal"):
    for job in ("position", "depth"):
        lab.check(jobs, f"{name} {job}", by=[], slack=0.01)
        real, mixed = (mean_ci(jobs.recorded[f"{name} {job}{end}"]) for end in ("", " shuffled"))
        print(f"{name:6} {job:8} {real}   shuffled {mixed}")

# %% tags=["hide-input"]
for job in ("position", "depth"):
    excess = paired_ci(jobs.recorded[f"LSTM {job}"], jobs.recorded[f"LSTM {job} shuffled"])
    lab.conclude(f"{job}-unit", excess, 10)

# %% [markdown]
# Both are there, far beyond the baselines. The depth baseline is the instructive one: shuffled within tag and
# position it still gives a correlation of about 0.3, so more than half of what looks like a depth unit is knowing
# tags and places. What is left over cannot be explained that way, though a third property that we did not think of
# might explain it.

# %% [markdown]
# ### Attention maps
#
# A head's weights can be drawn as a table: who looks at whom. Here is the pretty example that every paper shows. To
# get one number per pair of words, the weights of a word's sub-words are summed where they are looked at and averaged
# where they look; the marks at both ends are left out, although heads put much weight there.


# %%
@torch.no_grad()
def word_attention(model, sentences):
    """Attention between the words of each sentence: one array [layers, heads, words, words] per sentence."""
    pieces = [tokenizer(list(words), add_special_tokens=False)["input_ids"] for words in sentences]
    lengths = np.array([sum(map(len, piece)) for piece in pieces])
    found = [None] * len(pieces)
    for length in np.unique(lengths):  # sentences of one length need no padding
        some = np.flatnonzero(lengths == length)
        ids = [[tokenizer.bos_token_id, *sum(pieces[i], []), tokenizer.eos_token_id] for i in some]
        maps = torch.stack(model.base_model(torch.tensor(ids), output_attentions=True).attentions, 1).numpy()
        for i, weights in zip(some, maps, strict=True):
            found[i] = by_words(weights[:, :, 1:-1, 1:-1], [len(piece) for piece in pieces[i]])
    return found


# %%
def by_words(weights, sizes):
    """Token weights [..., tokens, tokens] as word weights: mean over a word's rows, sum over its columns."""
    starts = np.cumsum([0, *sizes[:-1]])
    rows = np.add.reduceat(weights, starts, axis=-2) / np.array(sizes)[:, None]
    return np.add.reduceat(rows, starts, axis=-1)


# %% [markdown]
# One sentence is an anecdote. The corpus question: at a verb, is the most attended earlier word the head noun of its
# subject? Verbs count that have at least two nouns before them, so that there is a choice. Two readers who know no
# grammar stand beside the heads: one points at the nearest noun, one at the first. The head is chosen on one half of
# the verbs and measured on the other.


# %%
def verbs_with_a_choice(seed, scenes=500):
    """Sentences, and (sentence, verb, controller, nouns between, nearest noun, first noun) of their verbs."""
    documents = islice(world.documents(f"attention {seed}", "scene"), scenes)
    some = [s for document in documents for s in document.sentences]
    cases = []
    for number, s in enumerate(some):
        for verb, controller, between, _ in s.agreements:
            nouns = [i for i in range(verb) if s.pos[i] == "NOUN"]
            if len(nouns) > 1:
                cases.append((number, verb, controller, between, nouns[-1], nouns[0]))
    return [s.words for s in some], np.array(cases)


# %%
def most_attended(maps, cases, both_sides=False):
    """The word that each head looks at most at each verb, the verb itself left out: int [cases, layers * heads]."""
    found = []
    for number, verb, *_ in cases:
        weights = maps[number][:, :, verb].copy()
        weights[:, :, verb] = -1
        found.append(weights[:, :, : None if both_sides else verb].argmax(-1).ravel())
    return np.array(found)


# %%
def hide(words, position):
    """The sentence with a mask in place of one word."""
    return [*words[:position], tokenizer.mask_token, *words[position + 1 :]]


# %%
def mean_distances(maps):
    """Mean distance in words between who looks and what is looked at, by layer; marks left out."""
    total = [0, 0]
    for weights in maps:
        gap = np.abs(np.subtract.outer(*[np.arange(weights.shape[-1])] * 2))
        total[0] += (weights * gap).sum((1, 2, 3))
        total[1] += weights.sum((1, 2, 3))
    return total[0] / total[1]


# %%
def sample_widths(hits, best, random):
    """How wide the hit rate is from 5, 50, 2000 verbs, and how often that many verbs crown the best head."""
    values = {}
    for size in (5, 50, 2000):
        drawn = hits[random.integers(len(hits), size=(300, size))].mean(1)  # [samples, heads]
        low, high = np.percentile(drawn[:, best], [2.5, 97.5])
        top = drawn == drawn.max(1, keepdims=True)
        values |= {f"width {size}": high - low, f"crowned {size}": (top[:, best] / top.sum(1)).mean()}
    return {name: float(value) for name, value in values.items()}


# %%
def attention_run(seed):
    """Hit rates of the chosen head and of grammarless readers; distances and hits by layer; sample sizes."""
    texts, cases = verbs_with_a_choice(seed)
    half, values = np.arange(len(cases)) % 2 == 0, {}
    subject, between = cases[:, 2], cases[:, 3]
    hidden = [hide(texts[case[0]], case[1]) for case in cases]
    own = np.column_stack([np.arange(len(cases)), cases[:, 1:]])  # here every verb has a sentence of its own
    for name, model in (("causal", causal), ("masked", masked), ("verb hidden", masked)):
        asked, read = (own, hidden) if name == "verb hidden" else (cases, texts)
        maps = word_attention(model, read)
        hits = most_attended(maps, asked, name != "causal") == subject[:, None]
        best = hits[half].mean(0).argmax()
        values[f"{name} head"], values[f"{name} best"] = float(hits[~half, best].mean()), float(best)
        for k in (0, 1, 2):
            values[f"{name} head {k}"] = float(hits[~half & (between == k), best].mean())
        layers = hits.reshape(len(cases), 4, 4).mean(2)
        order = layers[half].mean(0).argsort()
        values[f"{name} layers"] = float(layers[~half].mean(0)[order[[3, 0]]] @ [1, -1])
        values |= {f"{name} distance {k}": float(d) for k, d in enumerate(mean_distances(maps), 1)}
        values |= {f"{name} hits {k}": float(h) for k, h in enumerate(layers[~half].mean(0), 1)}
        if name == "causal":
            values |= sample_widths(hits[~half], best, np.random.default_rng(seed))
    test = cases[~half]
    values["nearest noun"], values["first noun"] = (float(np.mean(test[:, k] == test[:, 2])) for k in (4, 5))
    values |= {
        f"first noun {k}": float(np.mean((t := test[test[:, 3] == k])[:, 5] == t[:, 2])) for k in (0, 1, 2)
    }
    return values | {"any earlier word": float(np.mean(1 / test[:, 1]))}


# %%
attention = lab.sweep(
    "attention", attention_run, [{"seed": s} for s in range(10)], live=lambda s: s["seed"] == 0
)

# %% tags=["nbval-ignore-output"] reason="weights differ between processors; the check holds the numbers"
for name in (
    "causal head",
    "masked head",
    "verb hidden head",
    "first noun",
    "nearest noun",
    "any earlier word",
):
    lab.check(attention, name, by=[], slack=0.02)
    print(f"{name:17} {mean_ci(attention.recorded[name])}")

# %% mystnb={"image": {"alt": "Left: attention of one head as a table of words, the row of the main verb points at its subject across another noun. Right: share of verbs whose most attended word is the subject, against the number of nouns between, for the best causal head, the best masked head, the same with the verb hidden, and readers that point at the first and at the nearest noun."}} tags=["nbval-ignore-output"] reason="weights differ between processors"
PRETTY = "the nurse near the teachers helps a doctor .".split()
HEAD = Counter(attention.recorded["causal best"].astype(int)).most_common(1)[0][0]
table = word_attention(causal, [PRETTY])[0][HEAD // 4, HEAD % 4]
fig = plt.figure(figsize=(6, 3.9))
left, right = fig.add_axes((0.12, 0.24, 0.42, 0.66)), fig.add_axes((0.7, 0.5, 0.3, 0.4))
left.imshow(table, cmap="Blues", vmin=0, vmax=1, aspect="auto")
left.set_xticks(range(len(PRETTY)), PRETTY, rotation=90, fontsize=11)
left.set_yticks(range(len(PRETTY)), PRETTY, fontsize=11)
left.set_title(f"layer {HEAD // 4 + 1}, head {HEAD % 4 + 1}", fontsize=12)
left.grid(False)
a = attention.recorded
drawn_as = (("causal", "causal", "o"), ("masked", "masked", "s"), ("verb hidden", "distant", "^"))
for name, role, marker in drawn_as:
    band(right, (0, 1, 2), [mean_ci(a[f"{name} head {k}"]) for k in (0, 1, 2)], name, COLORS[role])
    right.lines[-1].set_marker(marker)
first = [a[f"first noun {k}"].mean() for k in (0, 1, 2)]
right.plot((0, 1, 2), first, ":", marker="x", color=COLORS["baseline"], label="first noun")
right.plot((0, 1, 2), (1, 0, 0), "--", marker="+", color=COLORS["baseline"], label="nearest noun")
right.set(xlabel="nouns between", xticks=(0, 1, 2), ylim=(-0.04, 1.04))
right.set_title("subject hit rate", fontsize=12)
right.legend(loc="upper center", bbox_to_anchor=(0.4, -0.4), fontsize=11, labelspacing=0.25)
show(fig)
for name in ("causal", "masked", "verb hidden"):
    print(name, [f"{a[f'{name} head {k}'].mean():.2f}" for k in (0, 1, 2)], "with 0, 1, 2 nouns between")

# %% tags=["hide-input"]
lab.conclude("subject-head", paired_ci(a["causal head"], a["any earlier word"]), 10)
lab.conclude(
    "subject-shortcut", paired_ci(a["causal head"], a[["nearest noun", "first noun"]].max(axis=1)), 10
)
lab.conclude("masked-head", paired_ci(a["masked head"], a["any earlier word"]), 10)

# %% tags=["nbval-ignore-output"] reason="weights differ between processors; the check holds the numbers"
lab.check(attention, "causal layers", by=[], slack=0.02)
for name in ("causal", "masked"):
    print(
        f"{name}: mean distance", [f"{a[f'{name} distance {k}'].mean():.1f}" for k in (1, 2, 3, 4)], end=" "
    )
    print("hit rate, mean of heads", [f"{a[f'{name} hits {k}'].mean():.2f}" for k in (1, 2, 3, 4)])
for size in (5, 50, 2000):
    print(f"{size:4} verbs: hit rate {a[f'width {size}'].mean():.2f} wide,", end=" ")
    print(f"the right head crowned {a[f'crowned {size}'].mean():.0%} of the time")

# %% tags=["hide-input"]
lab.conclude("layer-hits", mean_ci(a["causal layers"]), 10)
lab.conclude("five-sentences", mean_ci(a["width 5"]), 10)

# %% [markdown]
# The pretty example was no accident: a head in the third layer of the causal model finds the subject of nine verbs in
# ten. But look at the readers beside it. Pointing at the first noun is right about three times in four, because most
# verbs with such a choice are main verbs with nouns between, and there *the head and the first noun can't be told
# apart*: both are right nearly always. What separates them is the verb of an embedded clause, whose subject stands
# right before it: the head is right about three times in five, and the first noun never. Only those cases show that
# the head follows the grammar and not the place, and in those it often fails.
#
# In the masked model no single head does such a thing, neither when it sees the verb nor when the verb is hidden,
# although it beats chance; yet that model chooses the right form of the verb as well as the causal one does. A map
# without a link is no proof of a missing ability.
#
# Layers differ in how far they look and at what: in the causal model the heads of the third layer look at subjects
# nearly twice as often as those of the others. And five verbs leave the hit rate of a head open by 0.4. Asked which
# head is the best, five verbs name the right one little more than half of the time, and fifty nearly always do.

# %% [markdown]
# **Break it.** The model reads a mark before the first word. Forget it when you pair weights with words, and every
# weight is credited to the word behind the one that was looked at. Python's `zip` cuts the surplus at the end without
# a word, and the map stays as blue as before.

# %%
tokens = tokenizer.tokenize(" ".join(PRETTY))
ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer.convert_tokens_to_ids(tokens)]])
with torch.no_grad():
    weights = causal.base_model(ids, output_attentions=True).attentions[HEAD // 4][0, HEAD % 4].tolist()
verb = tokens.index("▁helps")

# %%
for name, words, strict in (("without", tokens, False), ("with", ["<s>", *tokens], True)):
    weight, word = max(zip(weights[verb + 1], words, strict=strict))
    print(f"{name} the mark: {weight:.3f} to {word}")
assert len(weights) == len(["<s>", *tokens])  # one column per token, marks included: write this line first

# %% [markdown]
# ### Is attention an explanation?
#
# In a classifier attention says how much each word's state counts, so many papers color the input with it and call it
# the reason. Jain and Wallace (2019) asked for *counterfactuals*: is there quite another distribution that gives the
# same prediction? We train their kind of model on the world's reviews: word vectors, a bidirectional LSTM, and
# additive attention. Here the truth is known: the last remark decides, through a polar word and perhaps a *not*.

# %%
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from utils.world import reviews as review_words

# %%
WIDE = 48  # no review of the world is longer
POLAR_WORDS = {w for key, table in review_words.POLAR["AB"].items() if key[0] != "cue" for w in table.items}
CUE_WORDS = {w for key, table in review_words.POLAR["AB"].items() if key[0] == "cue" for w in table.items}


# %%
class AttentionReader(nn.Module):
    """Word vectors, a bidirectional LSTM (or one layer word by word), additive attention, one logit."""

    def __init__(self, words, context=True, width=32):
        super().__init__()
        self.embed = nn.Embedding(words, width, padding_idx=0)
        self.read = nn.LSTM(width, width, bidirectional=True, batch_first=True) if context else None
        self.flat = None if context else nn.Sequential(nn.Linear(width, 2 * width), nn.Tanh())
        self.score = nn.Sequential(nn.Linear(2 * width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))
        self.out = nn.Linear(2 * width, 1)

    def states(self, ids):
        """One state per word: [reviews, words, 2 * width]."""
        return self.read(self.embed(ids))[0] if self.read else self.flat(self.embed(ids))

    def forward(self, ids, imposed=None):
        """Logits and attention weights; `imposed` weights take the place of the learned ones."""
        states = self.states(ids)
        scores = self.score(states)[..., 0].masked_fill(ids == 0, -1e9)
        weights = scores.softmax(-1) if imposed is None else imposed
        return self.out((weights[..., None] * states).sum(1))[:, 0], weights


# %%
@lru_cache(maxsize=1)
def review_data(seed, train=2000, test=400):
    """Ids [reviews, WIDE] (0 is padding, 1 an unknown word) and labels, for training and test, and the test texts."""
    sides = [tasks.sentiment(world, n, s, f"attention {seed}") for n, s in ((train, "train"), (test, "test"))]
    index = {w: i + 2 for i, w in enumerate(sorted({w for text in sides[0] for w in text.words}))}
    data = [training.pad([[index.get(w, 1) for w in text.words] for text in side], WIDE, 0) for side in sides]
    labels = [torch.tensor([float(text.label) for text in side]) for side in sides]
    return data, labels, [text.words for text in sides[1]], len(index) + 2


# %%
def uniform_weights(ids):
    """The same weight for every word: [reviews, words]."""
    return (ids != 0) / (ids != 0).sum(1, keepdim=True)


# %%
def train_reader(seed, context=True, imposed=None, target=None, push=0.0, epochs=6):
    """Train a reader; with `target` (predictions, weights) it imitates the first and flees the second."""
    (ids, _), (labels, _), _, words = review_data(seed)
    torch.manual_seed(seed)
    model = AttentionReader(words, context)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(epochs):
        for some in torch.randperm(len(ids)).split(50):
            logits, weights = model(ids[some], None if imposed is None else imposed[some])
            if target is None:
                loss = binary_cross_entropy_with_logits(logits, labels[some])
            else:
                loss = (logits.sigmoid() - target[0][some]).abs().mean()
                loss = loss - push * divergence(target[1][some], weights).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


# %% [markdown]
# Two distributions are compared by the Jensen-Shannon divergence, which is 0 for equal ones and $\ln 2 \approx
# 0.69$ for two that share no word. For each review we search weights that diverge as much as possible while the
# predicted probability moves by less than 0.01. How far will they get?


# %%
def divergence(a, b):
    """Jensen-Shannon divergence of weights [reviews, words], in nats: [reviews]."""
    middle = (a + b) / 2
    terms = [(p * ((p + 1e-12) / (middle + 1e-12)).log()).sum(1) for p in (a, b)]
    return (terms[0] + terms[1]) / 2


# %%
def other_weights(model, ids, steps=300):
    """Per review the largest divergence of weights that move the prediction by less than 0.01: [reviews], weights."""
    with torch.no_grad():
        states, (logits, learned) = model.states(ids), model(ids)
    scores = torch.randn(ids.shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=0.1)
    best, kept = torch.zeros(len(ids)), learned.clone()
    for _ in range(steps):
        weights = scores.masked_fill(ids == 0, -1e9).softmax(-1)
        moved = (model.out((weights[..., None] * states).sum(1))[:, 0].sigmoid() - logits.sigmoid()).abs()
        far = divergence(learned, weights)
        with torch.no_grad():
            better = (moved < 0.01) & (far > best)
            best[better], kept[better] = far[better], weights[better]
        optimizer.zero_grad()
        (50 * (moved - 0.005).clip(min=0) - far).sum().backward()
        optimizer.step()
    return best, kept


# %%
def in_verdict(words, place):
    """Whether a place lies in the last sentence."""
    return bool(place > [i for i, word in enumerate(words) if word == "."][-2])


# %%
def kind_of_word(words, place):
    """What a word is to the opinion of its review: verdict, other polar word, cue, negation, or something else."""
    if words[place] in POLAR_WORDS:
        return "verdict's polar word" if in_verdict(words, place) else "other polar word"
    if words[place] in CUE_WORDS:
        return "cue"
    return "negation" if words[place] in ("not", "never", "nobody") else "no opinion word"


# %% [markdown]
# Wiegreffe and Pinter (2019) answer with questions that the search above skips. Does the model need its attention at
# all, or do as well with uniform weights? Is there *one model* that predicts the same and attends elsewhere on all
# reviews, or only weights picked review by review? And do the learned weights help another model that sees each word
# alone?

# %%
PUSHES = (0.0, 0.001, 0.003)


# %%
def accuracy_of(model, ids, labels, imposed=None):
    """Share of reviews on the right side."""
    with torch.no_grad():
        return float(((model(ids, imposed)[0] > 0) == (labels > 0.5)).float().mean())


# %%
def explanation_run(seed):
    """Both papers' tests on one training of the classifier; all numbers from test reviews."""
    (ids, test), (_, labels), texts, _ = review_data(seed)
    base = train_reader(seed)
    with torch.no_grad():
        sides = {"train": base(ids), "test": base(test)}
    learned, p = {k: w for k, (_, w) in sides.items()}, {k: v.sigmoid() for k, (v, _) in sides.items()}
    kinds = Counter(kind_of_word(t, int(k)) for t, k in zip(texts, learned["test"].argmax(1), strict=True))
    values = {kind: n / len(texts) for kind, n in kinds.items()}
    values = {kind: values.get(kind, 0.0) for kind in OPINION} | {"accuracy": accuracy_of(base, test, labels)}
    values["verdict"] = float(
        np.mean([in_verdict(t, k) for t, k in zip(texts, learned["test"].argmax(1), strict=True)])
    )
    far = other_weights(base, test)[0]
    values |= {
        "review by review": float(far.mean()),
        "half of ln 2": float((far > np.log(2) / 2).float().mean()),
    }
    flat = {"train": uniform_weights(ids), "test": uniform_weights(test)}
    uniform = train_reader(seed, imposed=flat["train"])
    values["accuracy, uniform"] = accuracy_of(uniform, test, labels, flat["test"])
    twin = train_reader(seed + 1)
    with torch.no_grad():
        again = twin(test)[1]
    values["another seed"] = float(divergence(learned["test"], again).mean())
    found = []
    for push in PUSHES:
        other = train_reader(seed + 1, target=(p["train"], learned["train"]), push=push, epochs=12)
        with torch.no_grad():
            (logits, weights), (_, seen) = other(test), other(ids)
        moved = float((logits.sigmoid() - p["test"]).abs().mean())
        gap = float(divergence(learned["test"], weights).mean())
        values |= {f"moved {push}": moved, f"gap {push}": gap}
        found.append((max(moved, 0.01), -gap, {"train": seen, "test": weights}))
    _, gap, rival = min(found, key=lambda item: item[:2])  # the farthest below 0.01, else the most faithful
    values["one model"] = -gap
    for name, imposed in (("uniform", flat), ("learned", learned), ("rival", rival)):
        single = train_reader(seed, context=False, imposed=imposed["train"])
        values[f"word by word, {name}"] = accuracy_of(single, test, labels, imposed["test"])
    own = train_reader(seed, context=False)
    return values | {"word by word, own": accuracy_of(own, test, labels)}


# %%
OPINION = ("verdict's polar word", "other polar word", "cue", "negation", "no opinion word")
explained = lab.sweep("explanation", explanation_run, [{"seed": s} for s in range(6)], live=lambda s: False)

# %%
e = explained.recorded
print(f"accuracy: learned {mean_ci(e['accuracy'])}, uniform {mean_ci(e['accuracy, uniform'])}")
print("most attended word in the verdict:", mean_ci(e["verdict"]))
for kind in OPINION:
    print(f"  {kind:21} {mean_ci(e[kind])}")

# %% [markdown]
# These are recorded runs, ten trainings each. Live we train one classifier and search for twenty reviews: here is one
# of them, with its learned weights and with weights that the search found. The prediction moves by less than 0.01.

# %% mystnb={"image": {"alt": "One review written twice with blue backgrounds that show attention weights: the learned weights lie mostly on full stops and words beside them, the searched weights on another word, and the predicted probability above the two texts is nearly the same."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
reader = train_reader(0)
(_, test_ids), _, test_texts, _ = review_data(0)
gaps, others = other_weights(reader, test_ids[:20])
with torch.no_grad():
    pictured = int(gaps.argmax())
    logits, weights = reader(test_ids[:20])
    moved = reader(test_ids[:20], others)[0].sigmoid()[pictured].item()
fig, axes = plt.subplots(2, 1, figsize=(6, 3.4))
probability = logits.sigmoid()[pictured].item()
sides = (("learned", weights, probability), ("searched", others, moved))
for ax, (name, shown_weights, positive) in zip(axes, sides, strict=True):
    row = shown_weights[pictured, : len(test_texts[pictured])].numpy()
    colored_text(ax, test_texts[pictured], plt.cm.Blues(0.75 * row / row.max()), lines=4)
    ax.set_title(f"{name} weights, probability of positive {positive:.3f}", loc="left", fontsize=12)
show(fig)
print(f"mean divergence that the search found for twenty reviews: {gaps.mean():.2f}")
print(f"here {gaps[pictured]:.2f}, prediction moved by {abs(moved - probability):.4f}")

# %%
print(f"weights picked review by review: divergence {mean_ci(e['review by review'])}")
print(f"one adversarial model:           divergence {mean_ci(e['one model'])}")
print(f"the same training, another seed: divergence {mean_ci(e['another seed'])}")
for push in PUSHES:
    print(
        f"  push {push}: {e[f'gap {push}'].mean():.2f}, predictions moved by {e[f'moved {push}'].mean():.3f}"
    )
for name in ("uniform", "own", "rival", "learned"):
    print(f"word-by-word reader, {name:7} weights: accuracy {mean_ci(e[f'word by word, {name}'])}")

# %% tags=["hide-input"]
lab.conclude("adversarial-attention", mean_ci(e["review by review"]), 6)
lab.conclude("attention-on-cue", mean_ci(e["verdict's polar word"]), 6)
lab.conclude("uniform-attention", paired_ci(e["accuracy"], e["accuracy, uniform"]), 6)
lab.conclude("one-adversary", paired_ci(e["one model"], e["review by review"]), 6)
lab.conclude("adversary-minus-seed", paired_ci(e["one model"], e["another seed"]), 6)
learned_weights = e["word by word, learned"]
lab.conclude("imposed-attention", paired_ci(learned_weights, e["word by word, uniform"]), 6)
lab.conclude("imposed-rival", paired_ci(learned_weights, e["word by word, rival"]), 6)

# %% [markdown]
# *Review by review*, the search nearly always succeeds: the divergence comes close to the greatest there is, and the
# prediction does not move. Look at where all the weight of the searched example went. So these weights do not say
# what the prediction depended on. Neither do the learned ones: they rest mostly on words without any opinion, such as
# full stops and openers like *in short*, and on average in less than a tenth of the reviews on the verdict's polar
# word. The reason can be named here. After a bidirectional LSTM the state at any place may hold the verdict, so it
# hardly matters which state is taken.
#
# That is also what uniform weights say. The classifier without learned attention is as good to within the interval.
# On such a task attention was not needed, and a test of what it explains says little: Wiegreffe and Pinter's first
# point. Their second one did not come out clearly. The adversarial models attend far away from the first one, on all
# reviews at once, but they seldom keep the prediction: of six, one stayed below a mean change of 0.01, and the others
# moved it by one to four hundredths. Even so their divergence is not clearly below that of the search, and not
# clearly above that of another seed, which by itself is about half of the greatest possible. How far two honest
# trainings differ is the ruler that the search lacks.
#
# Their third test splits. Learned weights help a reader that sees each word alone, from about 85 to 98 percent: they
# carry information. But so do the weights of the adversary, to within the interval. Weights computed from the whole
# review can point at whatever the first model knew, so what they carry need not be the reason for anything. The
# search shows that a map is not unique; uniform weights show whether it was needed; imposed weights show whether it
# is informative. None of the three shows a cause. That takes an intervention on the input or the states, as in the
# section on changing the model.

# %% [markdown]
# And the models are what they were:

# %%
after = {
    name: checksum(model) for name, model in (("causal", causal), ("masked", masked), ("LSTM", recurrent))
}
assert after == before
lab.conclude("weights-unchanged", mean_ci([float(after[name] != before[name]) for name in before]), 1)

# %% [markdown]
# ## Behavior
#
# The simplest way to ask what a language model knows is to let it work. Give it two sentences that differ in one
# word, one right and one wrong, and see which of them it finds more probable. No classifier is trained, so nothing
# but the model can be praised or blamed. English agreement makes good pairs: *the nurses near the ward* needs *are*,
# though the noun just before the verb is a singular. Such a noun of the wrong number, between the subject and its
# verb, is an **attractor**.

# %%
for attractors in range(4):
    pair = tasks.agreement(world, 1, attractors, "shown", copula=True)[0]
    print(
        attractors, *pair.good[: pair.position], f"[{pair.good[pair.position]} / {pair.bad[pair.position]}]"
    )

# %% [markdown]
# A causal model scores a pair by the bits of its sentences. The LSTM, whose units are words, needs no more than this:


# %%
@torch.no_grad()
def recurrent_bits(sentences):
    """-log2 p of each word by the LSTM, and of the end, 0 behind it: float [sentences, longest + 1]."""
    index = {word: i for i, word in enumerate(vocabulary)}
    rows = [[index[lstm.START], *(index[word] for word in s), index[lstm.START]] for s in sentences]
    batch = training.pad(rows, max(map(len, rows)), lstm.PADDING)
    recurrent.reset()
    logp = recurrent(batch[:, :-1])[0].log_softmax(-1).gather(-1, batch[:, 1:, None])[..., 0]
    return (-logp * (batch[:, 1:] != lstm.PADDING)).numpy() / np.log(2)


# %%
def both_sides(pairs):
    """The good and the bad sentence of each pair, one after the other."""
    return [words for pair in pairs for words in (pair.good, pair.bad)]


# %%
def prefers_right(scores):
    """Which pairs are decided rightly, from the bits of good, bad, good, bad, ...: bool [pairs]."""
    scores = np.asarray(scores)
    return scores[::2] < scores[1::2]


# %% [markdown]
# The masked model sees both sides of a word and gives no probability to a sentence. It is asked to fill the place of
# the verb, which must then be one token, so all models get items with a form of *be*. It reads what stands behind the
# verb as well; keep that in mind when you compare. The counting model is a 5-gram with Kneser-Ney smoothing, fitted
# on a million words.


# %%
@torch.no_grad()
def filled_rightly(pairs):
    """Which pairs the masked model decides rightly at the masked verb (single tokens): bool [pairs]."""
    rows = training.encode(tokenizer, [" ".join(pair.good) for pair in pairs])
    wrong = training.encode(tokenizer, [" ".join(pair.bad) for pair in pairs])
    good, bad = (training.pad(side, max(map(len, side)), tokenizer.pad_token_id) for side in (rows, wrong))
    place = (good != bad).nonzero()
    assert place[:, 0].tolist() == list(range(len(pairs)))  # the two sides differ in one token
    places = tuple(place.T)
    ids = good.index_put(places, torch.tensor(tokenizer.mask_token_id))
    logits = masked(ids, attention_mask=(ids != tokenizer.pad_token_id).long()).logits[places]
    return (logits.gather(1, good[places][:, None]) > logits.gather(1, bad[places][:, None]))[:, 0].numpy()


# %%
from utils.ngram import KneserNey

five_gram = KneserNey(5).fit(document.words for document in world.corpus(1_000_000))


# %% [markdown]
# ### Attractors
#
# Before you run it, draw four curves: accuracy over the number of attractors, for the LSTM, the causal and the masked
# Transformer, and the 5-gram. At what accuracy is the 5-gram with two attractors, when the subject has left its
# window?


# %%
def attractor_run(seed):
    """Accuracy of four models on a sample of 60 items each with 0 to 3 attractors."""
    found = {}
    for k in range(4):
        pairs = tasks.agreement(world, 60, k, f"behavior {seed}", copula=True)
        sentences = both_sides(pairs)
        bits = training.token_bits(causal, tokenizer, [" ".join(words) for words in sentences])
        found[f"causal_{k}"] = prefers_right(list(map(sum, bits))).mean()
        found[f"lstm_{k}"] = prefers_right(recurrent_bits(sentences).sum(1)).mean()
        found[f"ngram_{k}"] = prefers_right([sum(five_gram.bits(words)) for words in sentences]).mean()
        found[f"masked_{k}"] = filled_rightly(pairs).mean()
    return {name: float(value) for name, value in found.items()}


# %%
attractor_items = lab.sweep(
    "attractors", attractor_run, [{"seed": s} for s in range(10)], live=lambda s: s["seed"] == 0
)


# %%
def across(runs, name, levels=(1, 2, 3)):
    """The mean accuracy over numbers of attractors, one value for each run."""
    return runs[[f"{name}_{k}" for k in levels]].mean(axis=1)


# %% mystnb={"image": {"alt": "Accuracy over zero to three attractors for four models: both Transformers and the LSTM run along one, the masked one dips a little at three attractors, and the 5-gram falls from above 0.8 to below 0.4."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
fig, ax = plt.subplots()
for name, label, line in (
    ("masked", "masked Transformer", ":"),
    ("causal", "causal Transformer", "-"),
    ("lstm", "AWD-LSTM", "--"),
    ("ngram", "5-gram", "-."),
):
    intervals = [mean_ci(attractor_items.recorded[f"{name}_{k}"]) for k in range(4)]
    band(ax, range(4), intervals, label, COLORS[name])
    ax.lines[-1].set_linestyle(line)
    print(f"{label:19}", *intervals)
ax.axhline(0.5, color=COLORS["baseline"], linewidth=1)
ax.set(xlabel="attractors between subject and verb", ylabel="accuracy", xticks=range(4))
ax.legend(loc="center right")
show(fig)
for name in ("causal", "masked", "lstm", "ngram"):
    for k in range(4):
        lab.check(attractor_items, f"{name}_{k}", by=[], slack=0.02)

# %% tags=["hide-input"]
recorded = attractor_items.recorded
lab.conclude("attractor-drop", paired_ci(recorded["lstm_0"], recorded["lstm_3"]), 10)
lab.conclude("lstm-minus-ngram", paired_ci(across(recorded, "lstm"), across(recorded, "ngram")), 10)

# %% [markdown]
# On these items both language models are never wrong, whatever stands in between, and the LSTM does it without
# attention. So the published rise of errors with attractors (Linzen et al. 2016) can't be seen in it: three million
# words of so regular a language are enough to bring it to the ceiling, and a test at its ceiling says only that it is
# too easy. The 5-gram does what its window lets it do. Without an attractor it is mostly right; with one it falls
# *below* one half, because the noun that it does see before the verb is the wrong one. The masked Transformer
# stumbles a little at three attractors, although it may read behind the verb too.
#
# There are two ways to get down from a ceiling, harder items and smaller networks. The rest of this section takes
# both.
#
# ### Sentence or verb
#
# Two sentences that differ in one word can be compared as wholes, or at that word alone, given what stands before it.
# The second way asks for the verb, the first also for what the verb does to the rest. And where a verb is more than
# one token, a third way is often taken by accident: add up the bits of its sub-words. Can you see what is wrong with
# it?

# %%
for verb in ("plow", "plant", "repair"):
    print([tokenizer.tokenize(form) for form in (verb, verb + "s")])

# %% [markdown]
# The sub-word *plant* begins *plants* too, and its bits don't say whether the word ends there. The end of a word
# shows only in the next token, which opens a new word or closes the text.

# %%
opens = torch.tensor([t.startswith("▁") for t in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))])
opens[tokenizer.eos_token_id] = True


# %%
@torch.no_grad()
def end_bits(beginnings):
    """-log2 of the probability that the last word of each beginning ends there, by the causal model."""
    rows = [row[:-1] for row in training.encode(tokenizer, [" ".join(words) for words in beginnings])]
    batch = training.pad(rows, max(map(len, rows)), tokenizer.pad_token_id)
    states = causal.transformer(batch).last_hidden_state[range(len(rows)), [len(row) - 1 for row in rows]]
    return -causal.lm_head(states).softmax(-1)[:, opens].sum(1).log2().numpy()


# %%
def causal_scores(pairs):
    """Bits of both sides of the pairs by three ways of scoring: whole sentence, verb, verb's sub-words."""
    sentences, places = both_sides(pairs), [pair.position for pair in pairs for _ in range(2)]
    rows = training.token_bits(causal, tokenizer, [" ".join(words) for words in sentences])
    starts = [
        len(tokenizer.tokenize(" ".join(words[:i]))) for words, i in zip(sentences, places, strict=True)
    ]
    lengths = [len(tokenizer.tokenize(words[i])) for words, i in zip(sentences, places, strict=True)]
    pieces = np.array([sum(row[i : i + n]) for row, i, n in zip(rows, starts, lengths, strict=True)])
    ends = end_bits([words[: i + 1] for words, i in zip(sentences, places, strict=True)])
    return {"sentence": np.array(list(map(sum, rows))), "verb": pieces + ends, "pieces": pieces}


# %%
def recurrent_scores(pairs):
    """Bits of both sides of the pairs by the LSTM: whole sentence, and verb."""
    bits = recurrent_bits(both_sides(pairs))
    places = [pair.position for pair in pairs for _ in range(2)]
    return {"sentence": bits.sum(1), "verb": bits[range(len(bits)), places]}


# %% [markdown]
# ### Colorless green ideas
#
# A right answer may come from meaning: *dogs* and *bark* go together, whatever the grammar does. Gulordava et al.
# (2018) therefore replaced every content word by a random one of the same form. Grammar stays, sense goes.

# %%
for nonce in (False, True):
    print(*tasks.agreement(world, 1, 1, "shown nonce", nonce=nonce)[0].good)


# %%
def nonce_run(seed):
    """Both language models, each way of scoring, on 100 items each with 0 to 2 attractors."""
    found, words = defaultdict(list), {}
    for kind in ("original", "nonce"):
        bits, count = 0, 0
        for k in range(3):
            pairs = tasks.agreement(world, 100, k, f"nonce {seed}", nonce=kind == "nonce")
            for name, score in (("causal", causal_scores), ("lstm", recurrent_scores)):
                scored = score(pairs)
                for way, values in scored.items():
                    found[f"{name}_{way}_{kind}"] += list(prefers_right(values))
                found[f"{name}_disagree"] += list(
                    prefers_right(scored["sentence"]) != prefers_right(scored["verb"])
                )
                if name == "causal":
                    bits += scored["sentence"][::2].sum()
            count += sum(len(pair.good) + 1 for pair in pairs)
        words[f"causal_bits_{kind}"] = bits / count
    return {name: float(np.mean(value)) for name, value in (found | words).items()}


# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
nonsense = lab.sweep("nonce", nonce_run, [{"seed": s} for s in range(10)], live=lambda s: s["seed"] == 0)
for name, ways in (("causal", ("sentence", "verb", "pieces")), ("lstm", ("sentence", "verb"))):
    for way in ways:
        for kind in ("original", "nonce"):
            lab.check(nonsense, f"{name}_{way}_{kind}", by=[], slack=0.01)
            print(f"{name:6} {way:8} {kind:8} {mean_ci(nonsense.recorded[f'{name}_{way}_{kind}'])}")
    print(f"{name:6} sentence and verb disagree: {mean_ci(nonsense.recorded[f'{name}_disagree'])}")

# %% tags=["hide-input"]
recorded = nonsense.recorded
lab.conclude("sentence-or-verb", mean_ci(recorded["causal_disagree"]), 10)
lab.conclude(
    "word-end", paired_ci(recorded["causal_sentence_original"], recorded["causal_pieces_original"]), 10
)
lab.conclude("nonce-gap", paired_ci(recorded["lstm_sentence_original"], recorded["lstm_sentence_nonce"]), 10)
lab.conclude("nonce-strange", paired_ci(recorded["causal_bits_nonce"], recorded["causal_bits_original"]), 10)

# %% [markdown]
# Both language models stay perfect on the original sentences. Nonsense costs the causal Transformer about one item in
# twenty and the LSTM next to nothing: the drop is there in both, and a good deal smaller than the published one.
# Sentence and verb disagree on about one item in a hundred, and on these neither is clearly the better judge. The
# careless third way is wrong on several *original* sentences in a hundred, where the model itself errs on none.
#
# But what does a drop on nonsense mean? The words of a nonsense sentence cost the model between three and four bits
# more, so each of them is less than a tenth as probable as it would be in its place in a real text. A model that
# stumbles there may have leaned on meaning before, or it may just be far from anything it has read (Kuncoro et al.
# 2018). Small networks, which make more errors, let us look: are the wrong ones among the stranger ones?
#
# ### The nearest noun
#
# The checkpoints differ in size, text, tokens and training, so their curves do not compare architectures. For that we
# train small networks from scratch: an LSTM and a causal Transformer with about as many parameters, on the same
# sentences in the same order, with the same number of updates, each with a learning rate chosen by its loss in trial
# runs.
#
# And we change the text. In most sentences the noun nearest before the verb has the verb's number, so that two rules
# explain most of what a network reads: agree with the subject, or agree with the noun nearest by. Only sentences
# where the nearest noun misleads tell the rules apart. We drop a share of these, the **dose**, and write other
# sentences in their place. At dose 1 the text never shows which rule is the right one. Predict the accuracy across
# attractors at dose 0.5, 0.9 and 1.


# %%
def misleading(sentence):
    """Whether the noun nearest before some verb has another number than that verb."""
    for agreement in sentence.agreements:
        nouns = [i for i in range(agreement.verb) if sentence.pos[i] == "NOUN"]
        if sentence.numbers[nouns[-1]] != sentence.numbers[agreement.controller]:
            return True
    return False


# %%
def dosed_sentences(dose, seed):
    """An endless stream of scene sentences without a share `dose` of the misleading ones."""
    chance = np.random.default_rng(seed)
    for document in world.documents(f"dose {seed}", "scene"):
        for sentence in document.sentences:
            if not (misleading(sentence) and chance.random() < dose):
                yield sentence.words


# %%
some_scenes = [
    s for d, _ in zip(world.documents("some", "scene"), range(2000), strict=False) for s in d.sentences
]
print(f"misleading: {np.mean([misleading(s) for s in some_scenes]):.0%} of the sentences, such as")
print(*next(s.words for s in some_scenes if misleading(s)))

# %% [markdown]
# Words are the units, so that no tokenizer stands between the text and the question.

# %%
MARKS = ["<pad>", "<s>", "</s>"]
scene_words = {w for d in world.corpus(500_000, "scene words") if d.kind == "scene" for w in d.words}
scene_ids = {word: i for i, word in enumerate([*MARKS, *sorted(scene_words)])}


# %%
def scene_rows(sentences):
    """Sentences as rows of ids between the two marks: int [sentences, longest + 2]."""
    rows = [[1, *(scene_ids[word] for word in words), 2] for words in sentences]
    return training.pad(rows, max(map(len, rows)), 0)


# %%
def dosed_batches(dose, seed, rows=160, together=20):
    """An endless stream of batches of sentences of nearly the same length."""
    stream, order = dosed_sentences(dose, seed), np.random.default_rng(seed)
    while True:
        some = sorted((next(stream) for _ in range(rows * together)), key=len)
        for i in order.permutation(together):
            yield scene_rows(some[i * rows : (i + 1) * rows])


# %%
class SmallLSTM(torch.nn.Module):
    """One recurrent layer between word vectors that serve as input and as output."""

    def __init__(self, words, width):
        super().__init__()
        self.vectors = torch.nn.Embedding(words, width)
        self.layer = torch.nn.LSTM(width, width, batch_first=True)
        self.bias = torch.nn.Parameter(torch.zeros(words))
        torch.nn.init.normal_(self.vectors.weight, std=0.2)

    def forward(self, ids):
        return self.layer(self.vectors(ids))[0] @ self.vectors.weight.T + self.bias


# %%
def next_word_bits(network, batch):
    """-log2 p of each next word, 0 at padding: float [rows, width - 1]."""
    scores = network(batch[:, :-1])
    scores = getattr(scores, "logits", scores).float()
    return torch.nn.functional.cross_entropy(
        scores.transpose(1, 2), batch[:, 1:], reduction="none", ignore_index=0
    ) / np.log(2)


# %%
def small_network(kind, dose, seed, steps, watch=None):
    """A network of one kind, trained on dosed text."""
    torch.manual_seed(seed)
    network = SmallLSTM(len(scene_ids), 96) if kind == "lstm" else training.gpt(64, 2, len(scene_ids))

    def loss(network, batch, step):
        return next_word_bits(network, batch).sum() / (batch[:, 1:] > 0).sum() * np.log(2)

    training.pretrain(
        network, dosed_batches(dose, seed), loss, steps, peak=RATE[kind], warmup=50,
        watch=watch and (lambda step, _: watch(step, network)),
    )  # fmt: skip
    return network.eval()


# %%
RATE = {"lstm": 2e-2, "causal": 6e-3}
for kind in RATE:
    network = small_network(kind, 0, 0, steps=20)
    print(f"{kind}: {sum(p.numel() for p in network.parameters()):,} parameters")

# %% [markdown]
# The items are the same for all networks: originals and nonce, with none to three attractors. One run trains a
# network and asks it everything.

# %%
from functools import cache


# %%
@cache
def small_items(attractors, kind):
    """The items of this experiment."""
    count = {0: 300, 1: 300, 2: 150, 3: 60}[attractors]
    return tasks.agreement(world, count, attractors, "small", nonce=kind == "nonce")


# %%
@torch.no_grad()
def small_scores(network, pairs):
    """Bits of each word of good, bad, good, bad, ...; float [2 pairs, longest + 1]."""
    return next_word_bits(network, scene_rows(both_sides(pairs))).numpy()


# %%
def strangeness_slope(pairs, bits):
    """Change of accuracy for each bit per word that a sentence costs without its verb, among some pairs."""
    good, places = bits[::2], [pair.position for pair in pairs]
    cost = (good.sum(1) - good[range(len(good)), places]) / [len(pair.good) for pair in pairs]
    return np.polyfit(cost, prefers_right(bits.sum(1)), 1)[0]


# %%
def small_run(seed, kind, dose, steps=1200, every=200):
    """Train a small network; its accuracies, those on its way, its bits per word on ordinary text."""
    found = {}

    def watch(step, network):
        if (step + 1) % every == 0:
            for k in (0, 1):
                scored = small_scores(network, small_items(k, "original"))
                found[f"after_{step + 1}_{k}"] = prefers_right(scored.sum(1)).mean()

    network = small_network(kind, dose, seed, steps, watch)
    for text in ("original", "nonce"):
        for k in range(4):
            pairs = small_items(k, text)
            scored = small_scores(network, pairs)
            places = [pair.position for pair in pairs for _ in range(2)]
            found[f"{text}_{k}"] = prefers_right(scored.sum(1)).mean()
            found[f"verb_{text}_{k}"] = prefers_right(scored[range(len(scored)), places]).mean()
    pairs = small_items(1, "nonce")
    found["strangeness"] = strangeness_slope(pairs, small_scores(network, pairs))
    ordinary = scene_rows([s.words for s in some_scenes[:1000]])
    with torch.no_grad():
        found["bits"] = next_word_bits(network, ordinary).sum() / (ordinary[:, 1:] > 0).sum()
    return {name: float(value) for name, value in found.items()}


# %% [markdown]
# Forty networks take a quarter of an hour, so all of them are recorded ones.

# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
DOSES = (0, 0.5, 0.9, 1)
small = lab.sweep(
    "dose",
    small_run,
    [{"seed": s, "kind": kind, "dose": dose} for s in range(5) for dose in DOSES for kind in RATE],
    live=lambda s: False,
).recorded
ordinary_text = small[small.dose == 0]
for kind, runs in ordinary_text.groupby("kind"):
    print(f"{kind}: {mean_ci(runs['bits'])} bits per word;", "accuracy with 0 to 3 attractors:")
    print("  original", *(mean_ci(runs[f"original_{k}"]) for k in range(4)))
    print("  nonce   ", *(mean_ci(runs[f"nonce_{k}"]) for k in range(4)))

# %% mystnb={"image": {"alt": "Accuracy over the updates of training for small LSTMs and Transformers on ordinary text, without an attractor and with one: the curves without attractor rise first."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
fig, ax = plt.subplots()
updates = range(200, 1201, 200)
for kind, label in (("causal", "Transformer"), ("lstm", "LSTM")):
    for k, line in ((0, "--"), (1, "-")):
        runs = ordinary_text[ordinary_text.kind == kind]
        intervals = [mean_ci(runs[f"after_{n}_{k}"]) for n in updates]
        band(ax, updates, intervals, f"{label}, {('no', 'one')[k]} attractor", COLORS[kind])
        ax.lines[-1].set(linestyle=line, marker="so"[kind == "causal"])
        print(f"{label:12} {k} attractors:", *(f"{i.estimate:.2f}" for i in intervals))
ax.axhline(0.5, color=COLORS["baseline"], linewidth=1)
ax.set(xlabel="updates", ylabel="accuracy", ylim=(0.3, 1.04), xticks=updates)
ax.legend(loc="lower right", frameon=True, edgecolor="white", framealpha=1)
show(fig)

# %% tags=["hide-input"]
by_kind = {kind: runs.sort_values("seed") for kind, runs in ordinary_text.groupby("kind")}
means = {kind: across(runs, "original").to_numpy() for kind, runs in by_kind.items()}
lab.conclude("matched-architectures", paired_ci(means["causal"], means["lstm"]), 5)
lab.conclude("trained-drop-lstm", paired_ci(by_kind["lstm"]["original_0"], means["lstm"]), 5)
lab.conclude("trained-drop-causal", paired_ci(by_kind["causal"]["original_0"], means["causal"]), 5)
lab.conclude("strange-slope", mean_ci(ordinary_text["strangeness"]), 10)

# %% [markdown]
# Sentences without an attractor come first, most clearly in the LSTM, and on ordinary text both kinds end near the
# ceiling. The LSTM gets there sooner and has the lower loss, and it keeps its accuracy across two and three
# attractors, where some of the Transformers begin to err; over five seeds even that drop is not certain. The
# published expectation, that a Transformer does well on syntax because it is one, finds no support here: the interval
# of the difference holds zero, and its larger part speaks for the LSTM. Read it with care. For both kinds initial
# values and learning rates were chosen by the loss of a few trial runs, for the LSTM also the number of layers, and a
# verdict on architectures is always a verdict on how they were trained, too.
#
# Strangeness counts. Among nonsense sentences, each further bit per word costs one or two points of accuracy, and
# nonsense costs three to four bits per word. Strangeness alone could therefore make a drop of several points, as
# large as those seen here, with no meaning involved.
#
# Now the doses. Every dot of the figure is one network; its test items are the same at all doses.

# %% mystnb={"image": {"alt": "Accuracy over the dose of dropped misleading sentences, one dot per network: without attractors near one at every dose, across attractors falling, to a wide spread around one half at dose 1."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
fig, ax = plt.subplots()
for kind, label, marker in (("causal", "Transformer", "o"), ("lstm", "LSTM", "s")):
    runs = small[small.kind == kind]
    at = {dose: place for place, dose in enumerate(DOSES)}
    side = runs.dose.map(at) + (0.06 if kind == "lstm" else -0.06)
    ax.plot(side, across(runs, "original"), marker, color=COLORS[kind], label=f"{label}, attractors")
    ax.plot(side, runs["original_0"], marker, color=COLORS[kind], fillstyle="none", label=f"{label}, none")
    for dose in DOSES:
        some = runs[runs.dose == dose]
        shown = [mean_ci(values) for values in (some["original_0"], across(some, "original"))]
        print(f"{label:11} dose {dose}: no attractor {shown[0]}, one to three {shown[1]}")
        if dose == 1:
            print("    with 1, 2, 3 attractors", *(f"{some[f'original_{k}'].mean():.2f}" for k in (1, 2, 3)))
            ways = [f"{some[f'after_{n}_1'].mean():.2f}" for n in updates]
            print("    with one attractor after 200, 400, ... updates", *ways)
ax.axhline(0.5, color=COLORS["baseline"], linewidth=1)
ax.set(xlabel="dose", ylabel="accuracy", xticks=range(4), xticklabels=DOSES)
ax.legend(loc="lower left", frameon=True, edgecolor="white", framealpha=1)
show(fig)

# %% tags=["hide-input"]
for kind in RATE:
    runs = small[small.kind == kind]
    lab.conclude(f"dose-slope-{kind}", slope_ci(runs["dose"], across(runs, "original")), 20)
fooled = small[small.dose == 1]
lab.conclude("dose-one", mean_ci(across(fooled, "original") - 0.5), 10)
lab.conclude("right-wrong-reason", paired_ci(fooled["original_0"], across(fooled, "original")), 10)
drop = across(small, "original", (1, 2)) - across(small, "nonce", (1, 2))
lab.conclude("nonce-drop-dose", slope_ci(small["dose"], drop), 40)

# %% [markdown]
# Without an attractor every network is right at every dose, and from these items alone you could not tell the doses
# apart. Across attractors the accuracy falls, slowly at first: at dose 0.9, when about three sentences in a hundred
# still mislead, the LSTMs have nearly the right rule and the Transformers most of it. At dose 1 it falls steeply, and
# the networks spread out, though they differ in nothing but their seed. McCoy et al. (2020) saw the same in seeds of
# one large model: nearly equal test scores, and anything from failure to fair success where the shortcut fails.
#
# Still, the networks of dose 1 do not simply follow the nearest noun. With one attractor they are more often right
# than wrong, with three mostly wrong, as if the nouns before the verb had a vote each and the subject a little more.
# The LSTM starts with the nearest noun, after 200 updates it is wrong on most items with one attractor, and comes
# round to the subject later, although no sentence of its text asks for that.
#
# And the drop on nonsense, which should warn of such shortcuts? It hardly changes with the dose. A network that leans
# on the nearest noun leans on it in nonsense, too. The exchange of words takes away what words tell about each other
# and leaves every position in place: a control answers for the one shortcut that it removes, and for no other.
#
# ### What the text holds
#
# The same question can be put to what nobody would call grammar. In the stories of the course world a person who is
# named by a job is later *she* or *he*, and each job has its own share of *she*, planted at one of five doses. After
# *the nurse carried a lamp because*, how probable is *she* against *he* to the models? A model could blur the jobs
# together, or exaggerate, or hold what the text holds. Which slope of the model's share on the planted share do you
# expect?


# %%
def until_pronoun(seed, referent, count):
    """Stories up to a pronoun that stands for a `referent` (name or job), and what they are about."""
    beginnings, about = [], []
    for document in world.documents(f"jobs {seed}", "story"):
        if document.about["referent"] == referent:
            words = [*document.sentences[0].words, *document.sentences[1].words]
            beginnings.append(words[: words.index("because") + 1])
            about.append(document.about)
        if len(about) == count:
            return beginnings, about


# %%
@torch.no_grad()
def shares_of_she(beginnings):
    """p(she) / (p(she) + p(he)) as the next word, by both language models: two arrays [beginnings]."""
    ends = [[*words, pronoun] for words in beginnings for pronoun in ("she", "he")]
    last = [len(words) - 1 for words in ends]
    recurrent_last = recurrent_bits(ends)[range(len(ends)), last]
    rows = training.token_bits(causal, tokenizer, [" ".join(words) for words in ends])
    causal_last = np.array([row[-2] for row in rows])
    return [1 / (1 + 2 ** (bits[::2] - bits[1::2])) for bits in (causal_last, recurrent_last)]


# %%
assert all(len(tokenizer.tokenize(pronoun)) == 1 for pronoun in ("she", "he"))


# %%
PLANTED = (0.1, 0.3, 0.5, 0.7, 0.9)
dose_of = {job: world.job_she[job].probabilities[0] for job in world.jobs.items}


# %%
def pronoun_run(seed):
    """Share of *she* by planted dose, its slope over jobs, and after the names of women and men."""
    beginnings, about = until_pronoun(seed, "job", 480)
    jobs, planted = np.array([a["job"] for a in about]), np.array([dose_of[a["job"]] for a in about])
    found = {}
    for name, shares in zip(("causal", "lstm"), shares_of_she(beginnings), strict=True):
        means = {job: shares[jobs == job].mean() for job in sorted(set(jobs))}
        found[f"{name}_slope"] = np.polyfit([dose_of[job] for job in means], list(means.values()), 1)[0]
        for dose in PLANTED:
            found[f"{name}_{dose}"] = shares[np.isclose(planted, dose)].mean()
    beginnings, about = until_pronoun(seed, "name", 200)
    women = np.array([a["gender"] == "female" for a in about])
    for name, shares in zip(("causal", "lstm"), shares_of_she(beginnings), strict=True):
        found |= {f"{name}_women": shares[women].mean(), f"{name}_men": shares[~women].mean()}
    return {name: float(value) for name, value in found.items()}


# %% mystnb={"image": {"alt": "The models' share of she after a job over the planted share, five doses: the causal Transformer rises along the dashed diagonal, the AWD-LSTM is flat at one half."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
pronouns = lab.sweep("pronouns", pronoun_run, [{"seed": s} for s in range(10)], live=lambda s: s["seed"] == 0)
fig, ax = plt.subplots()
ax.plot([0, 1], [0, 1], "--", color=COLORS["exact"], linewidth=1, label="planted")
for name, label in (("causal", "causal Transformer"), ("lstm", "AWD-LSTM")):
    lab.check(pronouns, f"{name}_slope", by=[])
    shares = {key: mean_ci(pronouns.recorded[f"{name}_{key}"]) for key in (*PLANTED, "women", "men", "slope")}
    band(ax, PLANTED, [shares[dose] for dose in PLANTED], label, COLORS[name])
    print(f"{label}: slope {shares['slope']}")
    print(f"    she after a woman's name {shares['women']}, after a man's {shares['men']}")
ax.lines[-1].set_marker("s")
ax.set(xlabel="planted share of she", ylabel="the model's share of she")
ax.legend(loc="upper left")
show(fig)

# %% [markdown]
# Caliskan et al. (2017) looked for such associations in static word vectors, by closeness. Both models have static
# vectors, those of their input. Is a job that goes with *she* closer to *she* than to *he*?


# %%
def static_vector(name, word):
    """A word's vector at a model's input, of length 1; the mean over its sub-words."""
    if name == "lstm":
        vector = recurrent[0].encoder.weight[vocabulary.index(word)]
    else:
        vector = causal.transformer.wte.weight[training.encode(tokenizer, [word])[0][1:-1]].mean(0)
    return torch.nn.functional.normalize(vector.detach(), dim=0)


# %%
def job_vector_run(name, job):
    """Cosine of a job's static vector to *she* minus that to *he*, and the planted share of *she*."""
    toward = static_vector(name, "she") - static_vector(name, "he")
    return {"closeness": float(static_vector(name, job) @ toward), "planted": dose_of[job]}


# %%
job_vectors = lab.sweep(
    "static vectors",
    job_vector_run,
    [{"name": name, "job": job} for name in ("causal", "lstm") for job in world.jobs.items],
    live=lambda s: True,
).recorded

# %% tags=["hide-input"]
lab.conclude("bias-slope", mean_ci(pronouns.recorded["causal_slope"]), 10)
for name, id in (("lstm", "bias-vectors"), ("causal", "bias-vectors-causal")):
    some = job_vectors[job_vectors.name == name]
    lab.conclude(id, rank_correlation_ci(some["planted"], some["closeness"]), 24)

# %% [markdown]
# The causal model holds what the text holds: its shares lie close to the diagonal at every dose, though no job was
# ever called female. A social association is learned like any other fact about words, and the strength in the text is
# the strength in the model. The published figure beside it is of another kind: coreference systems score 21.1 F1
# higher where the pronoun fits the stereotype (Zhao et al. 2018), and nobody planted that.
#
# The LSTM looks fair, with one half for every job. Before you praise it, read its control: it also gives *she* one
# half after the names of women and of men, where the text never wavers. It has not learned whom a pronoun stands for,
# so it has no bias to show; an even answer may be ignorance. Its static vectors, accordingly, know nothing of the
# doses either, and the interval over the 24 jobs is wide. The causal model's vectors do carry the association, but
# loosely, with a correlation of about one half where its behavior follows the doses almost exactly. Closeness of
# vectors is a blurred picture of behavior.
#
# ### Break it
#
# Back to the careless way of scoring: the bits of the verb's sub-words, without the end of the word. No error is
# raised and most answers are right. Which items will be wrong, singular or plural ones?

# %%
pairs = tasks.agreement(world, 600, 1, "break it")
scored = causal_scores(pairs)
forms = [(pair.good[pair.position], pair.bad[pair.position]) for pair in pairs]


# %%
def begins(form, other):
    """Whether the sub-words of one word form are the first ones of the other."""
    short, long = tokenizer.tokenize(form), tokenizer.tokenize(other)
    return long[: len(short)] == short


# %%
continued = {
    "right form begins the wrong one": np.array([begins(good, bad) for good, bad in forms]),
    "wrong form begins the right one": np.array([begins(bad, good) for good, bad in forms]),
}
continued["neither"] = ~np.logical_or(*continued.values())

# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors"
for name, some in continued.items():
    accuracy = {way: f"{prefers_right(values)[some].mean():.2f}" for way, values in scored.items()}
    print(f"{name:32} {some.sum():3} items, accuracy", accuracy)

# %% [markdown]
# Where the right form begins the wrong one, its bits are a part of the other's bits, so it can only win; where the
# wrong form begins the right one, the wrong one can only win. No model, however good, changes that, and the mean over
# all items hides it. The bits of a whole sentence are safe, because they go on behind the verb. One line tells
# whether a list of pairs is safe without them:


# %%
def check_forms(forms):
    """Refuse to score verbs by sub-words where one form goes on where the other may end."""
    for good, bad in forms:
        assert not begins(good, bad) and not begins(bad, good), f"{good} / {bad}: count the end of the word"


# %%
try:
    check_forms(forms)
except AssertionError as error:
    print(error)

# %% [markdown]
# ## Probes
#
# Behavior shows what a model does. A **classifier probe** asks what its states hold: freeze the network, run it over
# sentences, and train a small classifier from the states to a label that you know. Everything in this section is made
# of these three steps, and most of the section is about what their result does not mean.
#
# ### Asking a frozen network
#
# Our world knows the truth about each word: its tag, the tag of its parent and of its parent's parent in the syntax
# tree, its depth, the distance to its parent, the topic of its scene, and which word stood one to four places before.

# %%
from utils.probing import SKIP

# %%
WORD_TASKS = ["tag", "parent", "grandparent", "depth", "distance", "topic"]
STEPS_BACK = ["1 back", "2 back", "3 back", "4 back"]
TAGS = sorted({tag for sentence in tasks.tagging(world, 2000, "tags") for tag in sentence.pos}) + ["ROOT"]
TOPICS = sorted(world.topics)
common = Counter(word for document in world.corpus(20_000, "common") for word in document.words)
COMMON = {word: i for i, (word, _) in enumerate(common.most_common(20))}


# %%
def distinct_sentences(count, seed):
    """`count` different sentences of at least three words, each with the topic of its scene (None elsewhere)."""
    found = {}
    for document in world.documents(f"probes {seed}"):
        for sentence in document.sentences:
            if len(sentence.words) > 2 and len(found) < count:
                found.setdefault(sentence, document.about if document.kind == "scene" else None)
        if len(found) == count:
            return list(found), list(found.values())


# %%
def tag_above(sentence, word, steps):
    """The tag `steps` edges above a word in the syntax tree."""
    for _ in range(steps):
        word = sentence.heads[word]
        if word < 0:
            return TAGS.index("ROOT")
    return TAGS.index(sentence.pos[word])


# %%
def word_labels(sentences, topics):
    """The labels of all words by task; SKIP where a task does not ask."""
    rows = defaultdict(list)
    for sentence, topic in zip(sentences, topics, strict=True):
        depths = sentence.depths()
        for i, head in enumerate(sentence.heads):
            for steps, name in enumerate(("tag", "parent", "grandparent")):
                rows[name].append(tag_above(sentence, i, steps))
            rows["depth"].append(min(depths[i], 6))
            rows["distance"].append(int(np.clip(head - i, -4, 4)) + 4 if head >= 0 else 4)
            content = topic and sentence.pos[i] in ("NOUN", "VERB", "ADJ")
            rows["topic"].append(TOPICS.index(topic) if content else SKIP)
            for k in range(1, 5):
                rows[f"{k} back"].append(COMMON.get(sentence.words[i - k], SKIP) if i >= k else SKIP)
    return {name: np.array(row) for name, row in rows.items()}


# %% [markdown]
# Frozen means that not one weight moves. A checksum before and after says so. How well can a linear probe tag, would
# you guess, from the states of a network that has learned nothing?


# %%
def weight_sum(model):
    return sum(float(p.detach().double().abs().sum()) for p in model.parameters())


# %%
TRAIN, VALIDATION, TEST = 0, 1, 2


def draw_sides(units, seed):
    """A side for each unit (a sentence, a text): 60 % to train on, 10 % to validate, 30 % to test."""
    return np.random.default_rng(seed).choice(3, size=units, p=[0.6, 0.1, 0.3])


# %%
def probe_layer(states, labels, side):
    """A linear probe for each task on one layer: {task: (validation accuracy, test accuracy, probe)}."""
    fit, held, test = side != TEST, side == VALIDATION, side == TEST
    probes = probing.linear_probes(states[fit], {t: y[fit] for t, y in labels.items()}, held[fit])
    return {
        t: (p.accuracy(states[held], labels[t][held]), p.accuracy(states[test], labels[t][test]), p)
        for t, p in probes.items()
    }


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the sweeps check them"
before = weight_sum(causal)
sentences, topics = distinct_sentences(300, "first")
labels, of_sentence = word_labels(sentences, topics), probing.sentence_ids([s.words for s in sentences])
side = draw_sides(len(sentences), 0)[of_sentence]
for name in ("causal", "random"):
    states = probing.layer(probing.word_states(encoders[name], [s.words for s in sentences]), 2)
    found = probe_layer(states, {"tag": labels["tag"]}, side)
    print(f"{name:7} tags right: {found['tag'][1]:.1%}")
assert weight_sum(causal) == before

# %% [markdown]
# A network that has learned nothing gets three words in four right, where always guessing the most frequent tag gets
# one in five. This is the trouble with probes. Random states are still a function of the word, a probe can learn a
# dictionary from words to tags, and most words have one tag. Hewitt and Liang (2019) therefore ask the same probe for
# something that *only* a dictionary can give: a **control task**, in which each word type has a random label, drawn
# from the labels of the real task. What a probe scores on the task beyond the control is its **selectivity**.


# %%
def control_labels(labels, types, seed):
    """For each word type one random label, drawn as often as the task has it."""
    asked = labels != SKIP
    names, which = np.unique(types, return_inverse=True)
    drawn = np.random.default_rng(seed).choice(labels[asked], len(names))
    return np.where(asked, drawn[which], SKIP)


# %%
def with_controls(labels, types, seed):
    return labels | {f"{t} control": control_labels(y, types, seed) for t, y in labels.items()}


# %% [markdown]
# Now every layer, every task, five encoders. Two of them have random weights, drawn anew in each run: a Transformer
# and an LSTM. We keep the test accuracy of each layer, and that of the layer which is best on validation words.


# %%
def random_lstm(seed):
    """The course's LSTM with PyTorch's initial weights in place of what it learned."""
    torch.manual_seed(seed)
    model, words = lstm.load()
    for weight in model.parameters():
        torch.nn.init.uniform_(weight, -(320**-0.5), 320**-0.5)
    return probing.recurrent("random LSTM", model, words)


# %%
def frozen_encoder(name, seed):
    """A frozen encoder by name; random weights depend on the seed."""
    if name == "random LSTM":
        return random_lstm(seed)
    return probing.transformer(name, untrained(seed), tokenizer) if name == "random" else encoders[name]


# %%
def probe_all_layers(states, labels, side):
    """Test accuracies: "task layer" for each layer, and "task best" for the layer chosen on validation words."""
    found = [probe_layer(layer, labels, side) for layer in states]
    scores = {f"{t} {k}": result[t][1] for k, result in enumerate(found) for t in labels}
    best = {t: max(range(1, len(found)), key=lambda k, t=t: found[k][t][0]) for t in labels}
    return scores | {f"{t} best": found[k][t][1] for t, k in best.items()}, found, best


# %%
def lens_bits(documents):
    """Bits per token if the causal model's output layer reads layer k in place of the top: [layers + 1]."""
    rows = training.encode(tokenizer, [document.text for document in documents])
    ids = training.pad(rows, max(map(len, rows)), tokenizer.pad_token_id)
    target, bits = ids[:, 1:], []
    with torch.no_grad():
        states = causal(ids, output_hidden_states=True).hidden_states
        for k, layer in enumerate(states):
            layer = layer if k == len(states) - 1 else causal.transformer.ln_f(layer)
            loss = torch.nn.functional.cross_entropy(
                causal.lm_head(layer[:, :-1]).flatten(0, 1),
                target.flatten(),
                ignore_index=tokenizer.pad_token_id,
            )
            bits.append(float(loss) / np.log(2))
    return bits


# %%
def word_probe_run(seed, encoder):
    """600 sentences: all word tasks and their controls on all layers of one encoder."""
    sentences, topics = distinct_sentences(600, seed)
    words = [s.words for s in sentences]
    labels, side = (
        word_labels(sentences, topics),
        draw_sides(len(sentences), seed)[probing.sentence_ids(words)],
    )
    types = np.array([w for s in words for w in s])
    states = probing.word_states(frozen_encoder(encoder, seed), words)
    scores, found, best = probe_all_layers(states, with_controls(labels, types, seed), side)
    tags = defaultdict(set)
    for word, tag in zip(types, labels["tag"], strict=True):
        tags[word].add(tag)
    several = np.array([len(tags[w]) > 1 for w in types]) & (side == TEST)
    unseen = ~np.isin(types, types[side != TEST])
    for k in range(len(states)):
        right = found[k]["tag"][2].scores(states[k]).argmax(1) == labels["tag"]
        scores |= {f"ambiguous {k}": right[several].mean(), f"new {k}": right[unseen].mean()}
    for name in ("ambiguous", "new"):
        scores[f"{name} best"] = scores[f"{name} {best['tag']}"]
    if encoder == "causal":
        scores |= {f"lens {k}": b for k, b in enumerate(lens_bits(world.corpus(2000, f"lens {seed}")))}
    return scores


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
FIVE = [*encoders, "random LSTM"]
grid = [{"seed": s, "encoder": e} for e in FIVE for s in range(10)]
word_probes = lab.sweep(
    "word-probes", word_probe_run, grid, live=lambda s: s == {"seed": 0, "encoder": "causal"}
)

# %%
for metric in ("tag 2", "parent 2", "grandparent best", "tag control 2"):
    lab.check(word_probes, metric, by=["encoder"], slack=0.02)


# %%
def probed(sweep, encoder, metric):
    """The recorded values of a metric for one encoder, by seed."""
    return sweep.recorded[sweep.recorded.encoder == encoder].sort_values("seed")[metric].to_numpy()


# %%
for e in FIVE:
    tag, null = probed(word_probes, e, "tag best"), probed(word_probes, e, "tag control best")
    print(f"{e:12} tags {tag.mean():.1%}   selectivity {100 * np.mean(tag - null):4.1f} points")

# %% [markdown]
# ### Pairs of words, and whole texts
#
# Some questions are about two words: is this noun the subject of that verb, is this the person that the pronoun means,
# which relation holds between this person and that town. **Edge probes** (Tenney et al. 2019) classify what two states
# say together; we give a linear probe both states and their product. Two more questions go with them: at the word
# before the verb, what is the subject's number, and in active and passive sentences of the same words, who is the
# agent?


# %%
def subject_questions(seed):
    """Scenes: number at the word before the main verb (with its attractors), and one true and one false subject."""
    random = np.random.default_rng(seed)
    texts, number, pairs = [], [], []
    for document in world.documents(f"subjects {seed}", "scene"):
        for s in document.sentences:
            main = [a for a in s.agreements if s.heads[a.verb] == -1]
            others = (
                [i for i, tag in enumerate(s.pos) if tag == "NOUN" and i != main[0].controller]
                if main
                else []
            )
            if not others or s.numbers[main[0].controller] not in ("sg", "pl"):
                continue
            verb, controller, _, attractors = main[0]
            number.append((len(texts), verb - 1, verb - 1, int(s.numbers[controller] == "pl"), attractors))
            for noun, label in ((controller, 1), (random.choice(others), 0)):
                pairs.append((len(texts), noun, verb, label, 0))
            texts.append(s.words)
        if len(texts) >= 500:
            return texts, {"number": number, "subject of": pairs}


# %%
def role_questions(seed):
    """Active and passive sentences with the same words: is this noun the agent?"""
    texts, rows = [], []
    for pair in tasks.roles(world, 250, f"probes {seed}"):
        texts += [pair.premise, pair.hypothesis]
        for text, agent, patient in ((len(texts) - 2, 1, 4), (len(texts) - 1, 6, 1)):
            rows += [(text, agent, agent, 1, 0), (text, patient, patient, 0, 0)]
    return texts, {"role": rows}


# %%
def coreference_questions(seed):
    """Stories: does the pronoun mean the named person, does it mean the person with the job?"""
    texts, rows = [], []
    for document, _ in zip(world.documents(f"pronouns {seed}", "story"), range(300), strict=False):
        start, middle = len(document.sentences[0].words), document.sentences[1]
        pronoun = start + middle.slots.index("pronoun")
        for slot in ("name", "job"):
            if slot in middle.slots:
                label = int(document.about["referent"] == slot)
                rows.append((len(texts), start + middle.slots.index(slot), pronoun, label, 0))
        texts.append(document.words)
    return texts, {"coreference": rows}


# %%
def relation_questions(seed):
    """Entries: was this person born in that town, or living there?"""
    texts, rows = [], []
    for document, _ in zip(world.documents(f"relations {seed}", "entry"), range(400), strict=False):
        at = 0
        for s in document.sentences:
            for label, slot in enumerate(("fact: born in", "fact: lives in")):
                if slot in s.slots:
                    rows.append((len(texts), at, at + s.slots.index(slot), label, 0))
            at += len(s.words)
        texts.append(document.words)
    return texts, {"relation": rows}


# %%
QUESTIONS = [subject_questions, role_questions, coreference_questions, relation_questions]
TEXT_TASKS = ["number", "subject of", "role", "coreference", "relation"]
for ask in QUESTIONS:
    texts, asked = ask(99)
    for name, rows in asked.items():
        text, a, b, label, _ = rows[0]
        print(f"{name:12} {label}  {texts[text][a]!r}, {texts[text][b]!r} in: {' '.join(texts[text])[:75]}")

# %% [markdown]
# The label of *number* is 1 for a plural, of *relation* 1 for a home. Which of the five can static vectors answer?
# Which of them can a causal model not answer at the place where we ask?


# %%
def pair_probe_run(seed, encoder):
    """Number, subject, role, coreference and relation with their controls, on all layers of one encoder."""
    scores = {}
    for ask in QUESTIONS:
        texts, asked = ask(seed)
        states = probing.word_states(frozen_encoder(encoder, seed), texts)
        starts = np.cumsum([0, *map(len, texts)])
        for name, rows in asked.items():
            text, a, b, label, attractors = np.array(rows).T
            first, second = starts[text] + a, starts[text] + b
            types = np.array([f"{texts[t][i]} {texts[t][j]}" for t, i, j in zip(text, a, b, strict=True)])
            x = states[:, first]
            if (first != second).any():
                x = np.concatenate([x, states[:, second], x * states[:, second]], axis=2)
            side = draw_sides(len(texts) // 2 + 1, seed)[text // 2]
            more, found, best = probe_all_layers(x, with_controls({name: label}, types, seed), side)
            scores |= more
            if name == "number":
                hard = (attractors > 0) & (side == TEST)
                p, layer = found[best["number"]]["number"][2], x[best["number"]]
                scores["number attractors best"] = p.accuracy(layer[hard], label[hard])
    return scores


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
pair_probes = lab.sweep(
    "pair-probes", pair_probe_run, grid, live=lambda s: s == {"seed": 0, "encoder": "LSTM"}
)

# %%
for metric in ("number best", "subject of best", "relation best"):
    lab.check(pair_probes, metric, by=["encoder"], slack=0.03)
for e in FIVE:
    means = [probed(pair_probes, e, f"{t} best").mean() for t in TEXT_TASKS]
    print(f"{e:12}" + "  ".join(f"{t} {m:.0%}" for t, m in zip(TEXT_TASKS, means, strict=True)))

# %% [markdown]
# ### Layer by layer
#
# Here is everything at once: on top the accuracy of each probe, below its selectivity. Layer 0 is the embedding.
# Before you look: in which columns do you expect the two maps to disagree?

# %%
HEAT = [*WORD_TASKS, "1 back", "4 back", *TEXT_TASKS]
DEPTH = {"causal": 5, "masked": 5, "LSTM": 4, "random": 5}


# %%
def task_by_layer(selective):
    """Mean accuracy (or selectivity) by task and by layer of four encoders: [tasks, columns]."""
    return np.array([
        [
            np.mean(probed(sweep, e, f"{t} {k}") - selective * probed(sweep, e, f"{t} control {k}"))
            for e, depth in DEPTH.items()
            for k in range(depth)
        ]
        for sweep, names in ((word_probes, HEAT[:8]), (pair_probes, HEAT[8:]))
        for t in names
    ])  # fmt: skip


# %% mystnb={"image": {"alt": "Two heat maps of thirteen tasks against the layers of the causal, masked, LSTM and untrained encoders; accuracy on top is high nearly everywhere, selectivity below is much lower, and zero for depth, distance and tags of parents in the untrained one"}}
fig, axes = plt.subplots(2, 1, figsize=(6, 10.5), layout="constrained")
edges = np.cumsum([0, *DEPTH.values()])
for ax, title, table in zip(
    axes, ("accuracy", "selectivity"), (task_by_layer(0), task_by_layer(1)), strict=True
):
    image = ax.imshow(table, cmap="viridis", vmin=0, vmax=1 if title == "accuracy" else 0.75, aspect="auto")
    ax.set_yticks(range(len(HEAT)), HEAT)
    ax.set_xticks(range(edges[-1]), [k for depth in DEPTH.values() for k in range(depth)])
    for at, name in zip(edges[:-1], DEPTH, strict=True):
        ax.text(at + 1.8, -0.75, name, ha="center")
        ax.axvline(at - 0.5, color="white", linewidth=3)
    ax.set_title(title, pad=24)
    ax.set_xlabel("layer")
    ax.grid(False)
    fig.colorbar(image, ax=ax, aspect=40)
show(fig)
for t, row in zip(HEAT, task_by_layer(1), strict=True):
    print(
        f"selectivity {t:12}"
        + "  ".join(f"{e} {row[a:b].max():.2f}" for e, a, b in zip(DEPTH, edges, edges[1:], strict=False))
    )

# %% tags=["hide-input"]
TRAINED = ["causal", "masked", "LSTM"]


def over_trained(sweep, metric):
    return np.mean([probed(sweep, e, metric) for e in TRAINED], axis=0)


# %% tags=["hide-input"]
hard = [probed(pair_probes, e, "number attractors best") for e in ("causal", "random")]
lab.conclude("number-across", paired_ci(*hard), 10)
pair = [probed(word_probes, e, "grandparent best") for e in ("causal", "random")]
lab.conclude("grandparent-tag", paired_ci(*pair), 10)

# %% tags=["hide-input"]
gain = {t: over_trained(pair_probes, f"{t} best") - over_trained(pair_probes, f"{t} 0") for t in TEXT_TASKS}
lab.conclude("arc-in-states", mean_ci(gain["subject of"]), 10)
meaning = np.mean([gain[t] for t in ("role", "coreference", "relation")], axis=0)
lab.conclude("meaning-in-states", mean_ci(meaning), 10)

# %% tags=["hide-input"]
context = [over_trained(word_probes, f"ambiguous {k}") for k in ("best", "0")]
lab.conclude("context-beats-static", paired_ci(*context), 10)
gains = [
    over_trained(word_probes, f"{t} best") - over_trained(word_probes, f"{t} 0") for t in ("parent", "topic")
]
lab.conclude("syntax-gains-more", paired_ci(*gains), 10)

# %% tags=["hide-input"]
new = [probed(word_probes, e, "new best") for e in ("causal", "random")]
lab.conclude("new-words", paired_ci(*new), 10)
tag = [probed(word_probes, e, "tag best") for e in ("causal", "random")]
lab.conclude("random-scores-high", paired_ci(*tag), 10)

# %% [markdown]
# On top nearly everything is "there", in nearly every column. Below, much of it goes dark (what is below zero is drawn
# as zero). Depth, distance and the tags of parent and grandparent are so unevenly spread over frequent words that a
# dictionary gets most of the score, and for the untrained network a dictionary is all there is: on these tasks its
# selectivity is zero or less. Trained networks keep something beyond it on every one of them. Context adds more to the
# parent's tag than to the topic (in the LSTM the topic even loses), as Tenney et al. (2019) found for English, and on
# words that the probe never met the trained encoder's tagger is right nine times in ten where the untrained one is
# wrong more often than not. One expectation failed: we had thought that an untrained encoder would tag within ten
# points of the trained one, and it is nearly twice as far behind.
#
# Three rows are a warning about tasks, not models. *Subject of* is solved by the untrained Transformer, because
# subjects come early and its layer 0 knows positions. *Coreference* is solved by an LSTM with random weights, because
# which of two people a pronoun means hangs on a verb a few words back, and random states remember words. The causal
# model holds it too; the trained LSTM has let go of it. *Role* stops at three in four for everything that reads from
# left to right, since at the first noun nobody knows whether the sentence will be passive. Only the masked model can
# look ahead.
#
# The number of the subject, finally, is what the probe should find if behavior is any guide: across attractors the
# causal model and the LSTM hold it nearly without error, and their untrained twins are at chance.


# %%
def mean_at(encoder, layer):
    """Mean accuracy over the word tasks at one layer, by seed."""
    return np.mean([probed(word_probes, encoder, f"{t} {layer}") for t in WORD_TASKS], axis=0)


# %% [markdown]
# Which layer is best? For language models the literature has two stories: in an LSTM the first layer serves probes
# best and the top belongs to the task of pretraining; in a Transformer the middle is best. We can also ask how well
# each layer serves pretraining itself, by giving it to the output layer (the *logit lens*).

# %% mystnb={"image": {"alt": "Mean accuracy of six word tasks against the layer, zero to four, for the causal and masked Transformers, the LSTM and an untrained Transformer, with intervals over ten samples of sentences"}}
fig, ax = plt.subplots()
looks = {"causal": "causal", "masked": "masked", "LSTM": "lstm", "random": "baseline"}
for (e, role), marker in zip(looks.items(), "os^D", strict=True):
    curve = [mean_ci(mean_at(e, k)) for k in range(DEPTH[e])]
    band(ax, range(DEPTH[e]), curve, e, COLORS[role])
    ax.lines[-1].set_marker(marker)
    print(f"{e:7}", "  ".join(f"layer {k}: {c.estimate:.3f}" for k, c in enumerate(curve)))
ax.set(xlabel="layer", ylabel="accuracy, mean of six tasks", xticks=range(5))
ax.legend(ncols=2, loc="center right")
show(fig)

# %%
from scipy.stats import kendalltau, spearmanr

# %% tags=["hide-input"]
lab.conclude("lstm-lower-layers", paired_ci(mean_at("LSTM", 1), mean_at("LSTM", 3)), 10)
ends = {
    e: [np.maximum(mean_at(e, a), mean_at(e, b)) for a, b in ((2, 3), (1, 4))] for e in ("causal", "masked")
}
middle = np.mean([a - b for a, b in ends.values()], axis=0)
lab.conclude("transformer-middle", mean_ci(middle), 10)

# %% tags=["hide-input"]
change = [mean_at(e, top) - mean_at(e, 1) for e, top in (("LSTM", 3), ("causal", 4))]
lab.conclude("trends-differ", paired_ci(*change), 10)
lens = np.array([probed(word_probes, "causal", f"lens {k}") for k in range(1, 5)])
transfer = np.array([mean_at("causal", k) for k in range(1, 5)])
rank = [spearmanr(a, b).statistic for a, b in zip(lens.T, transfer.T, strict=True)]
lab.conclude("trade-off", mean_ci(rank), 10)

# %%
print("bits per token by layer:", np.round(lens.mean(1), 2))

# %% [markdown]
# Both stories hold, and the second one barely. The LSTM loses about five points from its first layer to its top. In
# the Transformers a middle layer is ahead of the ends by less than a point: the causal model's curve is nearly flat,
# the masked one's still rises to layer 3. The trade-off between pretraining and probes is there as a tendency: from
# layer 2 of the causal model on, each layer predicts the next token better and serves probes a little worse, but layer
# 1 is bad at the former and not best at the latter.

# %% [markdown]
# No layer has to be chosen. ELMo (Peters et al. 2018) learns, with the probe, a **scalar mix**: one weight per layer
# from a softmax, and a factor $\gamma$. The mean layer under these weights is a task's **center of gravity**.


# %%
def scalar_mix(layers, labels, side, steps=150):
    """The learned weights of the layers [layers, n, width] for one task: float [layers]."""
    x, y = torch.from_numpy(layers[:, side == TRAIN]), torch.from_numpy(labels[side == TRAIN])
    weights, gamma = torch.zeros(len(x), requires_grad=True), torch.ones(1, requires_grad=True)
    probe = torch.nn.Linear(x.shape[2], int(labels.max()) + 1)
    optimizer = torch.optim.Adam([weights, gamma, *probe.parameters()], lr=0.02)
    for _ in range(steps):
        mixed = gamma * torch.einsum("k,knw->nw", weights.softmax(0), x)
        loss = torch.nn.functional.cross_entropy(probe(mixed), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return weights.detach().softmax(0).numpy()


# %% [markdown]
# Layers differ in scale, so each is divided by its own standard deviation first. The learned mixture is then probed
# like any layer, by the same linear probe.

# %%
MIXED = ["tag", "parent", "depth", "topic"]


def mix_run(seed, encoder):
    """Scalar mix against single layers for four tasks: accuracies and centers of gravity."""
    sentences, topics = distinct_sentences(500, f"mix {seed}")
    words = [s.words for s in sentences]
    labels, side = (
        word_labels(sentences, topics),
        draw_sides(len(sentences), seed)[probing.sentence_ids(words)],
    )
    states = probing.word_states(frozen_encoder(encoder, seed), words)
    states /= states.std(axis=(1, 2), keepdims=True)
    scores, _, _ = probe_all_layers(states[1:], {t: labels[t] for t in MIXED}, side)
    top = len(states) - 1
    result = {}
    for t in MIXED:
        asked = labels[t] != SKIP
        share = scalar_mix(states[:, asked], labels[t][asked], side[asked])
        mixed = np.einsum("k,knw->nw", share, states)
        result |= {
            f"{t} mix": probe_layer(mixed, {t: labels[t]}, side)[t][1],
            f"{t} center": share @ np.arange(top + 1),
        }
        result |= {f"{t} top": scores[f"{t} {top - 1}"], f"{t} best": scores[f"{t} best"]}
        result |= {f"{t} share {k}": s for k, s in enumerate(share)}
    return result


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
mixes = lab.sweep(
    "scalar-mix",
    mix_run,
    [{"seed": s, "encoder": e} for e in TRAINED for s in range(10)],
    live=lambda s: s == {"seed": 0, "encoder": "masked"},
)

# %%
for t in MIXED:
    lab.check(mixes, f"{t} mix", by=["encoder"], slack=0.02)
    for e in TRAINED:
        values = [probed(mixes, e, f"{t} {x}").mean() for x in ("mix", "top", "best", "center")]
        print(
            f"{t:7} {e:7} mix {values[0]:.3f}  top {values[1]:.3f}  best {values[2]:.3f}  center {values[3]:.2f}"
        )

# %% tags=["hide-input"]
mixed, top, best = (
    np.mean([over_trained(mixes, f"{t} {x}") for t in MIXED], axis=0) for x in ("mix", "top", "best")
)
lab.conclude("mix-beats-top", paired_ci(mixed, top), 10)
lab.conclude("mix-beats-best", paired_ci(mixed, best), 10)

# %% tags=["hide-input"]
lab.conclude(
    "rnn-order", paired_ci(probed(mixes, "LSTM", "topic center"), probed(mixes, "LSTM", "tag center")), 10
)
centers = [probed(mixes, "masked", f"{t} center") for t in ("parent", "tag")]
lab.conclude("transformer-order", paired_ci(*centers), 10)

# %% [markdown]
# The mix is ahead of the top layer by two to three points, nearly all of it in the LSTM and the causal model. Over the
# best single layer, chosen on validation words, it wins half a point: a scalar mix saves the search for a layer more
# than it adds to it (it may also draw on the embedding, which the single layers 1 and up may not).
#
# The centers of gravity tell tasks apart. In the masked model tags are drawn from about a layer lower than the
# parents' tags, the order that Tenney, Das and Pavlick (2019) called a pipeline; in the LSTM tags are lower than
# topics, but by a seventh of a layer, hardly a picture of morphology below and meaning on top.

# %% [markdown]
# ### Memory
#
# Four of the tasks ask for no linguistics at all: which word stood one to four places back. An untrained LSTM is a
# fixed random function of all it has read. Will it remember more or less than the trained one?

# %% mystnb={"image": {"alt": "Accuracy of naming the word one to four places back against the distance, for layers one and two of the trained LSTM and of an untrained LSTM, with intervals over ten samples"}}
fig, ax = plt.subplots()
for e, color in (("LSTM", COLORS["lstm"]), ("random LSTM", COLORS["baseline"])):
    for k, dash in ((1, "-"), (2, "--")):
        curve = [mean_ci(probed(word_probes, e, f"{b} {k}")) for b in STEPS_BACK]
        band(ax, range(1, 5), curve, f"{e}, layer {k}", color)
        ax.lines[-1].set(linestyle=dash, marker="o" if k == 1 else "s")
        print(f"{e:11} layer {k}:", "  ".join(f"{c.estimate:.2f}" for c in curve))
ax.set(xlabel="places back", ylabel="accuracy", xticks=range(1, 5), ylim=(0, 1.02))
ax.legend(loc="lower left")
show(fig)

# %% tags=["hide-input"]
far, near = ([probed(word_probes, "LSTM", f"{b} {k}") for k in (2, 1)] for b in ("4 back", "1 back"))
lab.conclude("near-and-far-words", paired_ci(far[0] - far[1], near[0] - near[1]), 10)
kept = [
    np.mean([probed(word_probes, e, f"{b} best") for b in STEPS_BACK], axis=0)
    for e in ("random LSTM", "LSTM")
]
lab.conclude("untrained-remembers", paired_ci(*kept), 10)

# %% tags=["hide-input"]
tagged = [
    np.mean([probed(word_probes, e, f"{t} best") for t in WORD_TASKS[:3]], axis=0)
    for e in ("LSTM", "random LSTM")
]
lab.conclude("trained-tags", paired_ci(*tagged), 10)

# %% [markdown]
# With the better of its layers the untrained LSTM wins at every distance: training turns a memory of words into a
# summary that predicts. And the old finding of Zhang and Bowman (2018) is here in both its parts. In the trained
# network layer 1 is better at the word just before and layer 2 at the word four places back. On tags the order is
# reversed, trained before untrained. A probe for memory and a probe for language rank the same two networks in
# opposite ways.

# %%
rankings = []
for seed in range(10):
    table = [
        [
            probed(word_probes if t in [*WORD_TASKS, *STEPS_BACK] else pair_probes, e, f"{t} best")[seed]
            for e in FIVE
        ]
        for t in HEAT
    ]
    taus = [kendalltau(table[i], table[j]).statistic for i in range(len(HEAT)) for j in range(i)]
    rankings.append(float(np.nanmean(taus)))
lab.conclude("rankings-differ", mean_ci(rankings), 10)

# %% [markdown]
# So which encoder is best? Rank the five by each of the thirteen tasks and compare the rankings two by two: Kendall's
# tau is 1 where they agree and 0 where they have nothing to do with each other. It is about a third. A score on one
# task, or a mean over tasks that somebody chose, ranks encoders by the choice.
#
# A vector for a whole sentence is probed for its surface too: how long is it, and which word occurs? The mean of the
# states has seen every word; the last state of a language model is where the whole sentence has been read. Which knows
# what?


# %%
def sentence_vector_run(seed, encoder):
    """Which of 30 nouns a scene sentence holds, and its length in six bins, from its mean and from its last state."""
    scenes = zip(world.documents(f"surface {seed}", "scene"), range(1500), strict=False)
    sentences = list(dict.fromkeys(sentence for scene, _ in scenes for sentence in scene.sentences))
    nouns = Counter(
        w for s in sentences for w in {w for w, tag in zip(s.words, s.pos, strict=True) if tag == "NOUN"}
    )
    chosen = [w for w, _ in nouns.most_common(30)]
    some = [(s, [chosen.index(w) for w in s.words if w in chosen]) for s in sentences]
    some = [(s, found[0]) for s, found in some if len(found) == 1][:900]
    words = [s.words for s, _ in some]
    states, starts = (
        probing.word_states(frozen_encoder(encoder, seed), words)[2],
        np.cumsum([0, *map(len, words)]),
    )
    lengths = np.array([len(w) for w in words])
    labels = {
        "content": np.array([c for _, c in some]),
        "length": np.searchsorted(np.quantile(lengths, np.arange(1, 6) / 6), lengths),
    }
    side = draw_sides(len(some), seed)
    vectors = {
        "mean": np.add.reduceat(states, starts[:-1]) / lengths[:, None],
        "last": states[starts[1:] - 1],
    }
    return {
        f"{t} {how}": score
        for how, x in vectors.items()
        for t, (_, score, _) in probe_layer(x, labels, side).items()
    }


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
surface = lab.sweep(
    "sentence-vectors",
    sentence_vector_run,
    [{"seed": s, "encoder": e} for e in encoders for s in range(10)],
    live=lambda s: s == {"seed": 0, "encoder": "causal"},
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for metric in ("content mean", "content last"):
    lab.check(surface, metric, by=["encoder"], slack=0.02)
for e in encoders:
    values = [
        probed(surface, e, f"{t} {how}").mean() for t in ("content", "length") for how in ("mean", "last")
    ]
    print("{:7} word: mean {:.2f}, last {:.2f}   length: mean {:.2f}, last {:.2f}".format(e, *values))

# %% tags=["hide-input"]
pooled = [over_trained(surface, f"content {how}") for how in ("mean", "last")]
lab.conclude("word-content-pooled", paired_ci(*pooled), 10)

# %% [markdown]
# Which word occurs is in the mean, for every encoder. The masked model's mean is best, and next is the untrained
# Transformer's, ahead of the causal model and the LSTM: for the surface of a sentence, again, training is no help in
# itself. Length, in six bins, is told right four to six times in ten, from the mean or from the last state.

# %% [markdown]
# ### How large a probe?
#
# A probe with a hidden layer can learn more. More of what? Below is the whole of it: standardized states, one hidden
# layer (or none), Adam, and an end as soon as held-out words (the last tenth) get no better. The code lengths further
# down use the same function with the same settings.


# %%
def train_head(states, labels, classes, hidden, seed=0, epochs=40, patience=4):
    """A linear (hidden = 0) or MLP probe; returns the function from states to log2 probabilities [n, classes]."""
    torch.manual_seed(seed)
    mean, scale = states.mean(0), states.std(0) + 1e-6
    x, y = torch.from_numpy((states - mean) / scale), torch.from_numpy(labels)
    cut = len(x) - max(5, len(x) // 10)
    linear = torch.nn.Linear
    layers = (
        [linear(x.shape[1], hidden), torch.nn.ReLU(), linear(hidden, classes)]
        if hidden
        else [linear(x.shape[1], classes)]
    )
    head, best, waited = torch.nn.Sequential(*layers), (np.inf, None), 0
    optimizer = torch.optim.Adam(head.parameters(), lr=3e-3, weight_decay=1e-4)
    for _ in range(epochs):
        for rows in torch.randperm(cut).split(128):
            loss = torch.nn.functional.cross_entropy(head(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            held = float(torch.nn.functional.cross_entropy(head(x[cut:]), y[cut:]))
        waited += 1
        if held < best[0]:
            best, waited = (held, {k: v.clone() for k, v in head.state_dict().items()}), 0
        if waited == patience:
            break
    head.load_state_dict(best[1])

    @torch.no_grad()
    def log_shares(new):
        return (head(torch.from_numpy((new - mean) / scale)).log_softmax(1) / np.log(2)).numpy()

    return log_shares


# %% [markdown]
# Hidden sizes from 2 to 512 (and none), on the causal model's layer 2: tags, their control, and the parent's tag,
# which needs structure. We also keep how many bits per word of the label the probe leaves unexplained, from contextual
# states and from static vectors. Predict the four curves.


# %%
def capacity_run(seed, hidden):
    """Probes of one size: accuracies, and bits per word left unexplained."""
    sentences, topics = distinct_sentences(600, seed)
    words = [s.words for s in sentences]
    labels, test = (
        word_labels(sentences, topics),
        draw_sides(len(sentences), seed)[probing.sentence_ids(words)] == TEST,
    )
    types = np.array([w for s in words for w in s])
    labels |= {"control": control_labels(labels["tag"], types, seed)}
    states = probing.word_states(encoders["causal"], words)
    result = {}
    for name, task, layer in (
        ("tag", "tag", 2), ("control", "control", 2), ("parent", "parent", 2), ("parent static", "parent", 0)
    ):  # fmt: skip
        log_shares = train_head(states[layer][~test], labels[task][~test], len(TAGS), hidden, seed)(
            states[layer][test]
        )
        truth = labels[task][test]
        result[f"{name} accuracy"] = (log_shares.argmax(1) == truth).mean()
        result[f"{name} bits"] = -log_shares[np.arange(len(truth)), truth].mean()
    return result


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
SIZES = [0, 2, 8, 32, 128, 512]
capacity = lab.sweep(
    "probe-capacity",
    capacity_run,
    [{"seed": s, "hidden": h} for h in SIZES for s in range(10)],
    live=lambda s: s["seed"] == 0 and s["hidden"] in (0, 32),
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for metric in ("tag accuracy", "control accuracy", "parent bits"):
    lab.check(capacity, metric, by=["hidden"], slack=0.03)


# %%
def at_size(hidden, metric):
    """The recorded values of a metric for probes of one size, by seed."""
    return capacity.recorded[capacity.recorded.hidden == hidden].sort_values("seed")[metric].to_numpy()


# %% mystnb={"image": {"alt": "Accuracy of tags and of their control task, and their difference, the selectivity, against the hidden size of the probe from two to 512 with the linear probe at the left, with intervals over ten samples"}}
fig, ax = plt.subplots()
places = [1, *SIZES[1:]]
for name, color, marker in (
    ("tag", COLORS["pretrained"], "o"),
    ("control", COLORS["baseline"], "s"),
    ("selectivity", COLORS["scratch"], "^"),
):
    values = [
        at_size(h, "tag accuracy") - at_size(h, "control accuracy")
        if name == "selectivity"
        else at_size(h, f"{name} accuracy")
        for h in SIZES
    ]
    band(ax, places, [mean_ci(v) for v in values], name, color)
    ax.lines[-1].set_marker(marker)
    print(f"{name:12}", "  ".join(f"{h}: {v.mean():.3f}" for h, v in zip(SIZES, values, strict=True)))
ax.set_xscale("log", base=2)
ax.set_xticks(places, ["linear", *map(str, SIZES[1:])])
ax.set(xlabel="hidden units of the probe", ylabel="accuracy", ylim=(0, 1.02))
ax.legend(loc="center right")
show(fig)

# %% tags=["hide-input"]
selective = {h: at_size(h, "tag accuracy") - at_size(h, "control accuracy") for h in (0, 512)}
lab.conclude("mlp-less-selective", paired_ci(selective[0], selective[512]), 10)
lab.conclude("capacity-hardly-helps", paired_ci(at_size(512, "tag accuracy"), at_size(0, "tag accuracy")), 10)
lab.conclude("mlp-head-helps", paired_ci(at_size(128, "parent accuracy"), at_size(0, "parent accuracy")), 10)
lab.conclude("better-probe-tighter", paired_ci(at_size(0, "parent bits"), at_size(512, "parent bits")), 10)

# %% tags=["hide-input"]
for h in SIZES:
    gain = mean_ci(at_size(h, "parent static bits") - at_size(h, "parent bits"))
    print(f"hidden {h:3}: context explains {gain} bits of the parent's tag more than the word does")

# %% [markdown]
# Two numbers are too few to hold the tags. From 32 hidden units on accuracy hardly moves: the largest MLP is about one
# point above the linear probe. The control moves more, because hidden units are good at dictionaries, so selectivity
# falls. It falls by a few points only, much less than the 26.0 to 4.5 of the published probes, which saw far more text
# to learn their dictionary from; here most word types occur once or twice. The parent's tag is another matter: there a
# hidden layer is worth several points, so how well a frozen network "knows" a task depends on the head that asks.
#
# Pimentel et al. (2020) read this differently. The bits that a probe leaves unexplained bound from above what the
# states leave unexplained, so the best probe is the best bound, and a large one is not to blame for being good. What
# then separates a representation from a dictionary is the *gain* of contextual states over the word alone, in bits. In
# the last lines it is there at every size, and it grows a little, not shrinks, with the probe.

# %% [markdown]
# ### How many bits?
#
# Voita and Titov (2020) drop the question "how many right?" for "how many bits does it take to *send* the labels to
# someone who has the states?". A good representation makes the probe learn from few examples, and a code that is
# learned on the way is short. The **online code** sends the first 50 labels at $\log_2$ of the number of classes each,
# fits a probe on them, sends the next 50 at $-\log_2 p$, fits on all 100, and so on, doubling. So that a tag that the
# probe has not met yet costs a bounded number of bits, one hundredth of the probability is spread evenly over all
# tags.


# %%
def online_code(states, labels, classes, ends, seed):
    """Bits spent when the first `ends[i]` labels have been sent: float [ends]."""
    spent = [ends[0] * np.log2(classes)]
    for start, end in zip(ends, ends[1:], strict=False):
        log_shares = train_head(states[:start], labels[:start], classes, 0, seed)(states[start:end])
        share = 2.0 ** log_shares[np.arange(end - start), labels[start:end]]
        spent.append(spent[-1] - np.log2(0.99 * share + 0.01 / classes).sum())
    return spent


# %% [markdown]
# Four kinds of states: static vectors (layer 0 of the causal model), and layer 2 of the causal, the masked and an
# untrained Transformer. Which order will accuracy give, and which order will bits give?

# %%
ENDS = [50 * 2**i for i in range(7)]
FEATURES = {
    "static": ("causal", 0),
    "causal": ("causal", 2),
    "masked": ("masked", 2),
    "random": ("random", 2),
}


def code_run(seed, features):
    """Code lengths of tags and of their control, growing with the data, and the final accuracies."""
    sentences, topics = distinct_sentences(800, f"code {seed}")
    words = [s.words for s in sentences]
    types = np.array([w for s in words for w in s])
    tag = word_labels(sentences, topics)["tag"]
    encoder, layer = FEATURES[features]
    states = probing.word_states(frozen_encoder(encoder, seed), words)[layer]
    result, n = {}, ENDS[-1]
    for name, labels in (("tag", tag), ("control", control_labels(tag, types, seed))):
        spent = online_code(states, labels, len(TAGS), ENDS, seed)
        result |= {f"{name} bits {end}": s for end, s in zip(ENDS, spent, strict=True)}
        shares = train_head(states[:n], labels[:n], len(TAGS), 0, seed)(states[n:])
        result[f"{name} accuracy"] = (shares.argmax(1) == labels[n:]).mean()
    return result


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
codes = lab.sweep(
    "code-length",
    code_run,
    [{"seed": s, "features": f} for f in FEATURES for s in range(10)],
    live=lambda s: s["seed"] == 0 and s["features"] in ("causal", "static"),
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for metric in (f"tag bits {ENDS[-1]}", f"control bits {ENDS[-1]}"):
    lab.check(codes, metric, by=["features"], slack=0.01)


# %%
def coded(features, metric):
    """The recorded values of a metric for one kind of states, by seed."""
    return codes.recorded[codes.recorded.features == features].sort_values("seed")[metric].to_numpy()


# %% mystnb={"image": {"alt": "Kilobits of the online code against the number of labels sent, for tags from causal, masked, static and untrained states with solid lines and for their control tasks with dashed lines; control codes grow much faster"}}
fig, ax = plt.subplots(figsize=(6, 4.4))
looks = {
    "causal": ("causal", "o"),
    "masked": ("masked", "s"),
    "static": ("ngram", "^"),
    "random": ("baseline", "D"),
}
for f, (role, marker) in looks.items():
    for name, dash in (("tag", "-"), ("control", "--")):
        curve = [mean_ci(coded(f, f"{name} bits {end}") / 1000) for end in ENDS]
        band(ax, ENDS, curve, f if name == "tag" else "", COLORS[role])
        ax.lines[-1].set(linestyle=dash, marker=marker)
ax.set(xlabel="labels sent", ylabel="kilobits (dashed: control)")
ax.legend(loc="upper left")
show(fig)
for f in looks:
    tag, null = (coded(f, f"{name} bits {ENDS[-1]}").mean() / 1000 for name in ("tag", "control"))
    hits = [coded(f, f"{name} accuracy").mean() for name in ("tag", "control")]
    print(
        f"{f:7} accuracy {hits[0]:.3f}, control {hits[1]:.3f}   code {tag:.2f} kbit, control {null:.2f} kbit"
    )

# %% tags=["hide-input"]
total = {f: coded(f, f"tag bits {ENDS[-1]}") for f in FEATURES}
lab.conclude("code-of-random", ratio_ci(total["random"], total["causal"]), 10)
lab.conclude("code-of-control", ratio_ci(coded("static", f"control bits {ENDS[-1]}"), total["static"]), 10)

# %% [markdown]
# Look at the pairs that accuracy can't tell apart. The causal model's layer 2 and its static vectors tag equally well,
# but from the static vectors the tags cost about a quarter fewer bits: as far as tags go, context is here something to
# be learned around. The masked model, which also sees what comes next, has the shortest code. The untrained network
# needs more than twice the bits of the trained one, and nearly as many as a control task takes from static vectors:
# with bits, "most of it is dictionary" is visible without a second experiment. On static vectors themselves the
# control costs more than three times as much as the tags, although both are functions of the word: tags of words are
# easy to learn because pretraining has put words of one tag side by side, random labels are not.

# %% [markdown]
# ### With few labels
#
# The code is short when few labels are enough, so look at few labels directly. We tag with 50 to 5,000 labeled words,
# from the first layer of the trained LSTM, of the untrained one, and without any states: the most frequent tag of each
# word.


# %%
def word_majority(words, labels, new):
    """For each new word the most frequent label that it had, or that all words had."""
    counts = defaultdict(Counter)
    for word, label in zip(words, labels, strict=True):
        counts[word][label] += 1
        counts[None][label] += 1
    return np.array([(counts[w] if w in counts else counts[None]).most_common(1)[0][0] for w in new])


# %%
AMOUNTS = [50, 150, 500, 1500, 5000]


def few_labels_run(seed):
    """Tagging accuracy by number of labeled words, of which every fifth validates."""
    sentences, topics = distinct_sentences(1200, f"few {seed}")
    words = [s.words for s in sentences]
    types, tag = np.array([w for s in words for w in s]), word_labels(sentences, topics)["tag"]
    test, result = slice(AMOUNTS[-1], AMOUNTS[-1] + 2000), {}
    for n in AMOUNTS:
        result[f"most frequent tag {n}"] = (
            word_majority(types[:n], tag[:n], types[test]) == tag[test]
        ).mean()
    for name in ("LSTM", "random LSTM"):
        states = probing.word_states(frozen_encoder(name, seed), words)[1]
        for n in AMOUNTS:
            probe = probing.linear_probes(states[:n], {"tag": tag[:n]}, np.arange(n) % 5 == 4)["tag"]
            result[f"{name} {n}"] = probe.accuracy(states[test], tag[test])
    return result


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
few = lab.sweep("few-labels", few_labels_run, [{"seed": s} for s in range(20)])
lab.check(few, "LSTM 5000", by=[], slack=0.01)
lab.check(few, "random LSTM 50", by=[], slack=0.02)

# %% mystnb={"image": {"alt": "Tagging accuracy against the number of labeled words from 50 to 5,000, for the trained LSTM, an untrained LSTM and the most frequent tag of each word, with intervals over twenty samples"}}
fig, ax = plt.subplots()
looks = {"LSTM": ("lstm", "o"), "most frequent tag": ("exact", "^"), "random LSTM": ("baseline", "s")}
for name, (role, marker) in looks.items():
    curve = [mean_ci(few.recorded[f"{name} {n}"]) for n in AMOUNTS]
    band(ax, AMOUNTS, curve, name, COLORS[role])
    ax.lines[-1].set_marker(marker)
    print(f"{name:18}", "  ".join(f"{n}: {c.estimate:.3f}" for n, c in zip(AMOUNTS, curve, strict=True)))
ax.set_xscale("log")
ax.set_xticks(AMOUNTS, [f"{n:,}" for n in AMOUNTS])
ax.minorticks_off()
ax.set(xlabel="labeled words", ylabel="tagging accuracy", ylim=(None, 1.02))
ax.legend(loc="lower right")
show(fig)

# %% tags=["hide-input"]
runs = few.recorded
lab.conclude("few-labels-reverse", paired_ci(runs["random LSTM 50"], runs["most frequent tag 50"]), 20)
lead = [runs[f"LSTM {n}"] - runs[f"random LSTM {n}"] for n in (50, 5000)]
lab.conclude("few-labels-gap", paired_ci(*lead), 20)

# %% [markdown]
# The trained LSTM leads everywhere, with 50 labels by about twice as much as with 5,000. The published reversal,
# though, is not here: with 50 labels the untrained network is level with the most frequent tag, and it is with *many*
# labels that it falls behind. In our small vocabulary a word list soon knows nearly every word, and the probe on
# random states is a word list with noise.

# %% [markdown]
# ### Is there a tree?
#
# So far a tree was cut into labels. Hewitt and Manning's (2019) **structural probe** asks for the tree itself: is
# there one linear map $B$ such that the squared distance of any two words, $\lVert B(h_i - h_j) \rVert^2$, is the
# number of edges between them in the syntax tree, and the squared length of a word's own image its depth? The map is
# all that is trained.


# %%
def squared_distances(z):
    """Squared distances of all pairs: [sentences, words, words] from [sentences, words, rank]."""
    length = (z * z).sum(-1)
    return length[:, :, None] + length[:, None] - 2 * z @ z.transpose(1, 2)


# %%
def squared_lengths(z):
    return (z * z).sum(-1)


# %%
def structural_map(states, gold, real, measure, rank=48, steps=250, seed=0):
    """The map [width, rank] with which `measure` of the mapped states is closest to `gold` where `real`."""
    torch.manual_seed(seed)
    matrix = (torch.randn(states.shape[-1], rank) * 0.05).requires_grad_()
    optimizer = torch.optim.Adam([matrix], lr=5e-3)
    for _ in range(steps):
        loss = ((measure(states @ matrix) - gold).abs() * real).sum() / real.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return matrix.detach()


# %%
from scipy.sparse.csgraph import minimum_spanning_tree, shortest_path


# %%
def tree_of(sentence):
    """The undirected edges of a sentence's tree, final punctuation left out: 0/1 [words, words]."""
    n = len(sentence.words) - (sentence.pos[-1] == "PUNCT")
    edges = np.zeros((n, n))
    for i, head in enumerate(sentence.heads[:n]):
        if 0 <= head < n:
            edges[i, head] = edges[head, i] = 1
    return edges


# %%
def attachment(distances, edges):
    """Of the edges of the tree that spans the words at the smallest distances, the number that are true."""
    tree = minimum_spanning_tree(distances - distances.min() + 1e-3).toarray() > 0
    return float((tree * edges).sum())


# %% [markdown]
# Neighbors are often linked, so a chain that joins each word to the next is the baseline. What share of the true edges
# will it have? We train on 300 scene sentences and test on 150 others.


# %%
def scene_trees(count, seed):
    """Different scene sentences of 6 to 20 words, and their trees."""
    found = {}
    for document in world.documents(f"trees {seed}", "scene"):
        found |= {s.words: s for s in document.sentences if 6 <= len(s.words) <= 20}
        if len(found) >= count:
            some = list(found.values())[:count]
            return some, [tree_of(s) for s in some]


# %%
def padded(arrays, shape):
    """Arrays of different lengths as one tensor, zeros where there is nothing."""
    out = torch.zeros(len(arrays), *shape)
    for row, array in zip(out, arrays, strict=True):
        row[tuple(slice(n) for n in array.shape)] = torch.from_numpy(array)
    return out


# %%
def structural_run(seed, encoder):
    """Distances and depths of layer 2: rank correlations with the tree, edges found, edges of the chain."""
    sentences, trees = scene_trees(450, seed)
    flat = probing.word_states(frozen_encoder(encoder, seed), [s.words for s in sentences])[2]
    flat /= flat.std()
    starts = np.cumsum([0, *(len(s.words) for s in sentences)])
    sizes = [len(tree) for tree in trees]
    far = [shortest_path(tree, unweighted=True) for tree in trees]
    deep = [np.array(s.depths()[:n], dtype=float) for s, n in zip(sentences, sizes, strict=True)]
    x = padded([flat[a : a + n] for a, n in zip(starts, sizes, strict=False)], (20, flat.shape[1]))
    is_word = (torch.arange(20) < torch.tensor(sizes)[:, None]).float()
    pairs = is_word[:, :, None] * is_word[:, None]
    fit, new = slice(300), range(300, 450)
    near = structural_map(x[fit], padded(far, (20, 20))[fit], pairs[fit], squared_distances, seed=seed)
    down = structural_map(x[fit], padded(deep, (20,))[fit], is_word[fit], squared_lengths, seed=seed)
    distance, depth = squared_distances(x @ near).numpy(), squared_lengths(x @ down).numpy()
    scores = defaultdict(list)
    for i in new:
        n, upper = sizes[i], np.triu_indices(sizes[i], 1)
        scores["distance"].append(spearmanr(distance[i][upper], far[i][upper]).statistic)
        scores["depth"].append(spearmanr(depth[i, :n], deep[i]).statistic)
        scores["root"].append(depth[i, :n].argmin() == deep[i].argmin())
    found = sum(attachment(distance[i, : sizes[i], : sizes[i]], trees[i]) for i in new)
    edges = sum(trees[i].sum() / 2 for i in new)
    chain = sum(np.trace(trees[i], offset=1) for i in new)
    return {k: np.mean(v) for k, v in scores.items()} | {"edges": found / edges, "chain": chain / edges}


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
structural = lab.sweep(
    "structural-probe",
    structural_run,
    [{"seed": s, "encoder": e} for e in encoders for s in range(10)],
    live=lambda s: s == {"seed": 0, "encoder": "masked"},
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for metric in ("distance", "edges"):
    lab.check(structural, metric, by=["encoder"], slack=0.01)
for e in encoders:
    values = [probed(structural, e, m).mean() for m in ("distance", "depth", "root", "edges", "chain")]
    print("{:7} distance {:.2f}  depth {:.2f}  root {:.2f}  edges {:.2f}  (chain {:.2f})".format(e, *values))

# %% tags=["hide-input"]
lab.conclude(
    "tree-distances",
    paired_ci(over_trained(structural, "distance"), probed(structural, "random", "distance")),
    10,
)
lab.conclude(
    "tree-beats-chain",
    paired_ci(probed(structural, "masked", "edges"), probed(structural, "masked", "chain")),
    10,
)

# %% [markdown]
# One matrix is enough for most of the tree. The LSTM's distances follow those of the tree most closely, then the
# causal model's; the untrained network finds fewer edges than the chain of neighbors. The masked model is the
# surprise: at its layer 2 it beats the chain by a hair, although it reads both sides of each word. A probe at one
# fixed layer says what that layer holds in this form, not what the model knows.
#
# No tree was needed to train these models. Can we read one off without training a probe on trees either? Take the
# attention weights of the masked model, average them over the sub-words of each word, and span a tree over the
# strongest. Which head? We let other sentences choose the best of the sixteen.


# %%
@torch.no_grad()
def attention_distances(model, encoder, words):
    """Minus the larger attention weight of two words on each other: [layers * heads, words, words]."""
    pieces = encoder.pieces(words)
    owner = torch.tensor([-1, *(i for i, piece in enumerate(pieces) for _ in piece), -1])
    belongs = torch.nn.functional.one_hot(owner + 1, len(words) + 1)[:, 1:].float()
    ids = torch.tensor([encoder.marks[0] + [i for piece in pieces for i in piece] + encoder.marks[1]])
    weights = torch.cat(model(ids, output_attentions=True).attentions, 1)[0]
    shared = (belongs / belongs.sum(0)).T @ weights @ belongs
    return -torch.maximum(shared, shared.transpose(1, 2)).numpy()


# %%
def attention_tree_run(seed):
    """Edges found by the masked model's best head and by that of a random twin (chosen on half of 200 sentences)."""
    (sentences, trees), reader = scene_trees(200, seed), encoders["masked"]
    torch.manual_seed(seed)
    random = type(masked)(masked.config).eval()
    count = sum(tree.sum() / 2 for tree in trees[100:])
    result = {"chain": sum(np.trace(tree, offset=1) for tree in trees[100:]) / count}
    for name, model in (("trained", masked), ("random", random)):
        found = np.array([
            [attachment(far[: len(tree), : len(tree)], tree) for far in attention_distances(model, reader, s.words)]
            for s, tree in zip(sentences, trees, strict=True)
        ])  # fmt: skip
        best = found[:100].sum(0).argmax()
        result |= {name: found[100:, best].sum() / count, f"{name} head": best}
    return result


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
attended = lab.sweep("attention-trees", attention_tree_run, [{"seed": s} for s in range(10)])
lab.check(attended, "trained", by=[], slack=0.01)
for name in ("trained", "random", "chain"):
    print(f"{name:8} {mean_ci(attended.recorded[name])}")
lab.conclude("attention-trees", paired_ci(attended.recorded["trained"], attended.recorded["chain"]), 10)

# %% [markdown]
# One attention head of the masked model, never shown a tree and with nothing trained on top, finds more true edges
# than the chain, and more than the linear map of layer 2 did with 300 trees to learn from. The same recipe on random
# weights gives half of the chain's score. The edges are undirected and the head was picked from sixteen, so this is
# some notion of syntax, not a parser.

# %% [markdown]
# ### Fine print
#
# Liu et al. (2019) found linear probes on frozen encoders competitive except where a task is fine-grained. Two such
# tasks: is this verb wrongly inflected (half of the main verbs are), and does this word belong to the first conjunct
# of a coordination, to the second, or to neither? To compare them with tagging we count the share of the errors of the
# majority class that the probe removes.


# %%
def conjunct_labels(sentence):
    """1 for words of the first of two coordinated verb phrases, 2 for the second, 0 elsewhere."""
    conjunction = sentence.pos.index("CCONJ")
    second = sentence.heads[conjunction]
    first = sentence.heads[second]
    labels = []
    for i in range(len(sentence.words)):
        above = i
        while above not in (-1, second):
            above = sentence.heads[above]
        labels.append(2 if above == second and i != conjunction else int(first <= i < conjunction))
    return labels


# %%
def fine_run(seed):
    """Errors removed by linear probes on the causal model's layer 2, for tags, wrong inflection and conjuncts."""
    random, other = np.random.default_rng(seed), tasks.other_numbers(world)
    bent, rows, joined = [], defaultdict(list), []
    for document in world.documents(f"fine {seed}", "scene"):
        for s in document.sentences:
            main = [a.verb for a in s.agreements if s.heads[a.verb] == -1]
            if len(bent) < 800 and main and s.words[main[0]] in other:
                wrong, verb = int(random.integers(2)), main[0]
                words = [*s.words[:verb], other[s.words[verb]], *s.words[verb + 1 :]] if wrong else s.words
                rows["inflection"] += [wrong if i == verb else SKIP for i in range(len(words))]
                rows["tag"] += [TAGS.index(tag) for tag in s.pos]
                bent.append(words)
            if len(joined) < 300 and s.pos.count("CCONJ") == 1:
                rows["conjunct"] += conjunct_labels(s)
                joined.append(s.words)
        if len(bent) == 800 and len(joined) == 300:
            break
    result = {}
    for texts, names in ((bent, ("inflection", "tag")), (joined, ("conjunct",))):
        states, side = (
            probing.word_states(encoders["causal"], texts)[2],
            draw_sides(len(texts), seed)[probing.sentence_ids(texts)],
        )
        for name in names:
            labels = np.array(rows[name])
            _, score, _ = probe_layer(states, {name: labels}, side)[name]
            truth = labels[(side == TEST) & (labels != SKIP)]
            guess = np.bincount(truth).max() / len(truth)
            result |= {name: (score - guess) / (1 - guess), f"{name} accuracy": score}
    return result


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
fine = lab.sweep("fine-grained", fine_run, [{"seed": s} for s in range(10)])

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for name in ("tag", "inflection", "conjunct"):
    lab.check(fine, name, by=[], slack=0.02)
    print(
        f"{name:10} errors removed {mean_ci(fine.recorded[name])}, right {fine.recorded[f'{name} accuracy'].mean():.1%}"
    )
lag = fine.recorded["tag"] - fine.recorded[["inflection", "conjunct"]].mean(axis=1)
lab.conclude("fine-grained-lags", mean_ci(lag), 10)

# %% [markdown]
# The tagger is nearly perfect, the conjunct probe removes about four fifths of the errors, and the detector of wrong
# inflection is no better than a coin. Yet this is the model that hardly ever fails at agreement. It needs the number
# only *before* the verb, and there a probe did find it, in layers 3 and 4, while layer 2, the one asked here, hardly
# had it. Even where both numbers are at hand, whether the verb that came is the wrong one is an exclusive-or, which no
# linear classifier can draw from its parts, and which a language model has no reason to compute for us. A low probe
# score speaks of the states, of the layer, and of the probe at once.

# %% [markdown]
# ### Break it
#
# A silent mistake: the reader forgets that the model puts a start mark before the first word, so that each word is
# paired with the state one place to its left. Every array keeps its length and no line fails. What will the tagger
# score?

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
sentences, topics = distinct_sentences(400, "shifted")
words = [s.words for s in sentences]
side, aligned = (
    draw_sides(len(words), 0)[probing.sentence_ids(words)],
    probing.word_states(encoders["causal"], words),
)
shifted = np.roll(aligned, 1, axis=1)
labels = word_labels(sentences, topics)
for name, states in (("aligned", aligned), ("shifted", shifted)):
    found = probe_layer(states[2], {t: labels[t] for t in ("tag", "depth")}, side)
    print(name, {t: round(score, 3) for t, (_, score, _) in found.items()})

# %% [markdown]
# About three words in four: nobody who reports this number will look for a bug, since the untrained network scored no
# more. A causal model predicts the next word, so the state to its left does know much about it. What the wrong state
# can't do is name the word that it is said to stand for, and layer 0 of any encoder can. One probe for the words
# themselves catches the shift.


# %%
def assert_aligned(states, words, side):
    """Layer 0 must name the word that it stands for."""
    own = np.array([COMMON.get(word, SKIP) for sentence in words for word in sentence])
    score = probe_layer(states[0], {"own": own}, side)["own"][1]
    assert score > 0.98, "layer 0 does not know its own words: states and words are not aligned"


# %%
assert_aligned(aligned, words, side)
try:
    assert_aligned(shifted, words, side)
except AssertionError as error:
    print("caught:", error)

# %% [markdown]
# ## Objectives
#
# Every network so far was taught by one teacher: predict the missing word. What would it know, had another teacher
# taught it? Published comparisons of encoders rarely tell, because the encoders differ in data, size and architecture
# at once. Here they don't: one architecture, one text, one number of updates, one learning rate, and eight teachers
# who want different things from the same sentences. Before you read on, write down a ranking: which of language
# modeling, translation, autoencoding, predicting the next sentence and tagging leaves the most syntax behind?
#
# The encoder reads a whole sentence between two marks and returns the states of all its layers, word vectors first.
# It reads from the left, from the right (the sentence turned around), or both ways with two stacks of half the width,
# whose states are put side by side as in ELMo and never see each other.

# %%
START, END, PADDING = (vocabulary.index(mark) for mark in ("xxbos", "xxeos", "xxpad"))
WORD_IDS = {word: i for i, word in enumerate(vocabulary)}
WIDTH, UPDATES, PEAK_RATE = 128, 800, 4e-3


# %%
class SentenceLSTM(torch.nn.Module):
    """Word vectors and LSTM layers: ids [rows, n] -> states of all layers, each [rows, n, width]."""

    def __init__(self, layers=2, width=WIDTH, directions=(1,)):
        super().__init__()
        self.words, self.directions = torch.nn.Embedding(len(vocabulary), width), directions
        part = width // len(directions)
        sizes = [(width, part)] + [(part, part)] * (layers - 1)
        stack = [[torch.nn.LSTM(*size, batch_first=True) for size in sizes] for _ in directions]
        self.stacks = torch.nn.ModuleList(map(torch.nn.ModuleList, stack))

    def forward(self, ids):
        vectors = self.words(ids)
        sides = [self.read(vectors, *side) for side in zip(self.stacks, self.directions, strict=True)]
        return [vectors, *(torch.cat(parts, -1) for parts in zip(*sides, strict=True))]

    def read(self, states, stack, direction):
        found = []
        for rnn in stack:
            states = rnn(states)[0] if direction == 1 else rnn(states.flip(1))[0].flip(1)
            found.append(states)
        return found


# %%
class SentenceTransformer(torch.nn.Module):
    """The same with the layers of a GPT: each word sees those on its left."""

    def __init__(self, layers=2, width=WIDTH):
        super().__init__()
        self.core = training.gpt(width, layers, len(vocabulary)).transformer

    def forward(self, ids):
        return self.core(ids, output_hidden_states=True).hidden_states


# %% [markdown]
# ### What the teachers want
#
# A lesson is a sentence and what can be asked about it: its tags, the sentence that follows in the text (nothing at
# the end of a text), and its translation. The second language has its own words and another order: an adjective comes
# after its noun and the main verb goes to the end. Since its words correspond one to one to ours, they can share
# their numbers here; no weights are shared.

# %%
from utils.world.language import Language

second_language = Language([word for word in vocabulary if not word.startswith("xx")], shared=0, seed=0)


# %%
def second_order(sentence):
    """Positions of a sentence's words in the order in which the second language says them."""
    place = [float(i) for i in range(len(sentence.words))]
    for i, (tag, head) in enumerate(zip(sentence.pos, sentence.heads, strict=True)):
        if head == -1:
            place[i] = len(place) - 1.5
        elif tag == "ADJ" and head > i:
            place[i] = head + 0.5
    return sorted(range(len(place)), key=place.__getitem__)


# %%
translated = next(s for s in tasks.tagging(world, 200) if len(s.words) > 9 and "ADJ" in s.pos)
print(" ".join(translated.words))
print(" ".join(second_language.translate([translated.words[i] for i in second_order(translated)])))

# %%
tagged_sample = tasks.tagging(world, 5000, "tags and words")
TAG_IDS = {tag: i for i, tag in enumerate(sorted({tag for s in tagged_sample for tag in s.pos}))}


# %%
def lessons(words, seed):
    """All sentences of a text as lessons: dicts of lists of ids."""
    found = []
    for document in world.corpus(words, f"lessons {seed}"):
        ids = [[WORD_IDS[word] for word in s.words] for s in document.sentences]
        for k, s in enumerate(document.sentences):
            found.append({
                "ids": [START, *ids[k], END],
                "tags": [TAG_IDS[tag] for tag in s.pos],
                "second": [START, *(ids[k][i] for i in second_order(s)), END],
                "order": [i + 1 for i in second_order(s)],
                "next": [START, *(ids[k + 1] if k + 1 < len(ids) else []), END],
            })  # fmt: skip
    return found


# %% [markdown]
# Sentences of one length go into one batch, so the encoder never sees padding and "the last state" is the last state.
# Only the following sentences differ in length; their padding is left out of the loss.


# %%
def lesson_batches(found, seed, tokens=600):
    """An endless stream of batches of about `tokens` tokens, sentences of one length in each."""
    random, by_length = np.random.default_rng(seed), defaultdict(list)
    for lesson in found:
        by_length[len(lesson["ids"])].append(lesson)
    while True:
        groups = []
        for length, some in by_length.items():
            order, rows = random.permutation(len(some)), tokens // length
            groups += [[some[i] for i in order[at : at + rows]] for at in range(0, len(some), rows)]
        for number in random.permutation(len(groups)):
            group = groups[number]
            yield {key: filled_up([lesson[key] for lesson in group]) for key in group[0]}


# %%
def filled_up(rows):
    """Rows of ids as one tensor, filled up with padding on the right."""
    width = max(map(len, rows))
    return torch.tensor([row + [PADDING] * (width - len(row)) for row in rows])


# %% [markdown]
# Now the teachers. Each is a small head on the encoder's states and a loss; when school is over, the head is thrown
# away. Three language models, who ask for the next word, the previous word, or both:


# %%
def guess_loss(scores, targets):
    return torch.nn.functional.cross_entropy(
        scores.flatten(0, 1).float(), targets.flatten(), ignore_index=PADDING
    )


# %%
class NextWord(torch.nn.Module):
    def __init__(self, width=WIDTH):
        super().__init__()
        self.guess = torch.nn.Linear(width, len(vocabulary))

    def forward(self, states, lesson):
        return guess_loss(self.guess(states[-1][:, :-1]), lesson["ids"][:, 1:])


# %%
class PreviousWord(NextWord):
    def forward(self, states, lesson):
        return guess_loss(self.guess(states[-1][:, 1:]), lesson["ids"][:, :-1])


# %%
class BothWords(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.sides = torch.nn.ModuleList([NextWord(WIDTH // 2), PreviousWord(WIDTH // 2)])

    def forward(self, states, lesson):
        halves = states[-1].chunk(2, -1)
        return sum(side([half], lesson) for side, half in zip(self.sides, halves, strict=True)) / 2


# %% [markdown]
# Two who know grammar: the tagger, and a language model that also tags.


# %%
class Tags(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.guess = torch.nn.Linear(WIDTH, len(TAG_IDS))

    def forward(self, states, lesson):
        return guess_loss(self.guess(states[-1][:, 1:-1]), lesson["tags"])


# %%
class NextWordAndTags(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.word, self.tags = NextWord(), Tags()

    def forward(self, states, lesson):
        return self.word(states, lesson) + self.tags(states, lesson)


# %% [markdown]
# And three that write a sentence with a second network, a decoder, which hears the mean of the encoder's states at
# every step. The autoencoder has to write the same sentence again, the skip-thought teacher the following one (Kiros
# et al. 2015). As usual the decoder is told the right previous word at each step, but only sometimes: `HIDDEN_SHARE`
# of these words are hidden from it (Bowman et al. 2016). Why that matters you will see below.


# %%
HIDDEN_SHARE = 0.5


# %%
class Decoder(torch.nn.Module):
    """Writes a sentence from a state [rows, width]; returns its own states [rows, n, width]."""

    hidden = HIDDEN_SHARE

    def __init__(self):
        super().__init__()
        self.words, self.hear = torch.nn.Embedding(len(vocabulary), WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.rnn = torch.nn.LSTM(WIDTH, WIDTH, batch_first=True)

    def forward(self, state, previous):
        told = torch.rand(previous.shape) >= self.hidden
        return self.rnn(self.words(previous.where(told, PADDING)) + self.hear(state)[:, None])[0]


# %%
class SameSentence(torch.nn.Module):
    target = "ids"

    def __init__(self):
        super().__init__()
        self.decoder, self.guess = Decoder(), torch.nn.Linear(WIDTH, len(vocabulary))

    def forward(self, states, lesson):
        text = lesson[self.target]
        return guess_loss(self.guess(self.decoder(states[-1].mean(1), text[:, :-1])), text[:, 1:])


# %%
class NextSentence(SameSentence):
    target = "next"


# %% [markdown]
# The translator may look back: at each step it weighs the encoder's states by **attention** and guesses the word from
# the mean (Bahdanau et al. 2015; here in Luong's form, a plain product).


# %%
class Translation(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder, self.match = Decoder(), torch.nn.Linear(WIDTH, WIDTH)
        self.guess = torch.nn.Linear(2 * WIDTH, len(vocabulary))

    def attend(self, states, text):
        """Decoder states [rows, m, width] and attention [rows, m, n]."""
        written = self.decoder(states[-1].mean(1), text[:, :-1])
        return written, (written @ self.match(states[-1]).transpose(1, 2)).softmax(-1)

    def forward(self, states, lesson):
        written, attention = self.attend(states, lesson["second"])
        seen = torch.cat([written, attention @ states[-1]], -1)
        return guess_loss(self.guess(seen), lesson["second"][:, 1:])


# %% [markdown]
# School is the same for all: the same lessons in the same order, the same number of updates.

# %%
TEACHERS = {
    "next word": NextWord, "previous word": PreviousWord, "both words": BothWords, "next word + tags": NextWordAndTags,
    "tags": Tags, "translation": Translation, "same sentence": SameSentence, "next sentence": NextSentence,
}  # fmt: skip
READING_SIDES = {"previous word": (-1,), "both words": (1, -1)}


# %%
def teach(encoder, teacher, found, seed, updates=UPDATES):
    """Train encoder and teacher together, in place."""
    optimizer = torch.optim.AdamW([*encoder.parameters(), *teacher.parameters()], fused=True)
    half = training.precision() == "bf16"
    for step, lesson in zip(
        settings.progress(range(updates), "school"), lesson_batches(found, seed), strict=False
    ):
        optimizer.param_groups[0]["lr"] = training.rate_at(step, updates, PEAK_RATE, 100)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = teacher(encoder(lesson["ids"]), lesson)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
        optimizer.step()


# %% [markdown]
# ### The examination
#
# Then the encoder is frozen and linear probes ask for six things. Three are syntax: the tag of a word that has more
# than one, the tag of its parent in the tree, and that of its grandparent. One is agreement: sentences are cut before
# a verb whose subject stands behind one other noun, of the same number in half of them and of the other number in the
# rest, and the state of the last word must give the subject's number. One is memory: which of fifty frequent words
# stood two or four places before. The last is the topic of a scene, from the mean state. The probes see both layers
# side by side.

# %%
from functools import cache

TAGS_OF = defaultdict(set)
for written in tagged_sample:
    for word, tag in zip(written.words, written.pos, strict=True):
        TAGS_OF[word].add(tag)
NOUN_OR_VERB = {word for word, tags in TAGS_OF.items() if tags == {"NOUN", "VERB"}}
FREQUENT_IDS = {
    w: i for i, (w, _) in enumerate(Counter(w for s in tagged_sample for w in s.words).most_common(50))
}
ROOT, BACK = len(TAG_IDS), (2, 4)


# %%
def ancestor_tags(s):
    """For each word the tags of its parent and its grandparent; above the root there is only the root."""
    tags = [*(TAG_IDS[tag] for tag in s.pos), ROOT]
    heads = [*s.heads, -1]
    return [(tags[h], tags[heads[h]]) for h in s.heads]


# %%
def word_back(words, k):
    """For each word the number of the word `k` places before it, if there is one and it is frequent."""
    before = [words[i - k] if 0 <= i - k < len(words) else "" for i in range(len(words))]
    return [FREQUENT_IDS.get(word, probing.SKIP) for word in before]


# %%
def word_questions(some):
    """Labels of every word of the sentences, by task."""
    above = [pair for s in some for pair in ancestor_tags(s)]
    labels = {"parent": [p for p, _ in above], "grandparent": [g for _, g in above]}
    labels |= {f"{k} back": [i for s in some for i in word_back(s.words, k)] for k in BACK}
    labels["next"] = [i for s in some for i in word_back(s.words, -1)]
    return {name: np.array(answers) for name, answers in labels.items()}


# %%
def noun_or_verb(s):
    """For each word of the sentence that can be both: is it a verb here?"""
    return [
        int(tag == "VERB") if w in NOUN_OR_VERB else probing.SKIP
        for w, tag in zip(s.words, s.pos, strict=True)
    ]


# %%
def cut_before_verbs(count, seed):
    """Sentences cut before the main verb, with one noun between it and its subject; every second one an attractor."""
    found = [[], []]
    for document in world.documents(f"number {seed}", "scene"):
        s = document.sentences[0]
        for a in s.agreements:
            if s.heads[a.verb] == -1 and a.nouns == 1:
                found[a.attractors].append((s.words[: a.verb], s.numbers[a.verb] == "pl"))
        if min(map(len, found)) >= count // 2:
            return [item for pair in zip(*found, strict=False) for item in pair][:count]


# %%
@cache
def exam_papers(seed):
    """Four papers: sentences, how the states of a sentence become answers, and the labels."""
    written = tasks.tagging(world, 2400, f"exam {seed}")
    two_tags = [s for s in tasks.tagging(world, 30_000, f"tags {seed}") if NOUN_OR_VERB & {*s.words}][:1500]
    verbs = np.array([label for s in two_tags for label in noun_or_verb(s)])
    cut = cut_before_verbs(1500, f"exam {seed}")
    scenes = tasks.topics(world, 1500, f"exam {seed}")[0]
    return (
        ([s.words for s in written], lambda states: states, word_questions(written)),
        ([s.words for s in two_tags], lambda states: states, {"tag": verbs}),
        (
            [words for words, _ in cut],
            lambda states: states[:, -1:],
            {"number": np.array([plural for _, plural in cut], int)},
        ),
        ([s.words for s in scenes], mean_state, {"topic": np.array([s.label for s in scenes])}),
    )


# %%
def mean_state(states):
    return states.mean(1, keepdims=True)


# %%
@torch.no_grad()
def frozen_states(encoder, sentences):
    """The states of each sentence, float32 [layers + 1, words, width]; sentences of one length are read together."""
    by_length, found = defaultdict(list), {}
    for number, words in enumerate(sentences):
        by_length[len(words)].append(number)
    for numbers in by_length.values():
        ids = torch.tensor([[START, *map(WORD_IDS.get, sentences[i]), END] for i in numbers])
        states = torch.stack([layer[:, 1:-1] for layer in encoder(ids)]).float().numpy()
        found |= {i: states[:, row] for row, i in enumerate(numbers)}
    return [found[number] for number in range(len(sentences))]


# %%
def exam_states(encoder, seed):
    """For each paper: states [layers + 1, items, width], part of the items (0 fit, 1 validation, 2 test), labels."""
    for sentences, pool, labels in exam_papers(seed):
        states = [pool(each) for each in frozen_states(encoder, sentences)]
        share = np.repeat(np.arange(len(states)) / len(states), [each.shape[1] for each in states])
        yield np.concatenate(states, 1), np.digitize(share, (0.7, 0.8)), labels


# %%
def probe_accuracy(states, part, labels, wanted=None):
    """Fit linear probes on part 0, choose their decay by part 1, test on part 2: accuracy by task."""
    labels = {task: labels[task] for task in wanted or labels}
    some = part < 2
    asked = {task: found[some] for task, found in labels.items()}
    probes = probing.linear_probes(states[some], asked, part[some] == 1)
    return {
        task: probe.accuracy(states[part == 2], labels[task][part == 2]) for task, probe in probes.items()
    }


# %% [markdown]
# How much data the probe gets matters too, so one question, the parent's tag, is also asked by probes that see no
# more than a hundred, three hundred, a thousand or three thousand words.

# %%
PROBE_WORDS = (100, 300, 1000, 3000)


# %%
def few_words(part, words):
    """The parts with `words` words for fitting and validation in all; the test stays."""
    kept, rest = np.where(part == 2, 2, 3), np.flatnonzero(part == 0)
    kept[rest[: words * 4 // 5]], kept[rest[words * 4 // 5 : words]] = 0, 1
    return kept


# %%
def most_frequent(labels):
    return Counter(labels.tolist()).most_common(1)[0][0]


# %%
def examine(encoder, seed):
    """Accuracy of the probes on all layers side by side, and of those that see little."""
    found = {}
    for states, part, labels in exam_states(encoder, seed):
        both = np.concatenate(list(states[1:]), -1)
        found |= probe_accuracy(both, part, labels)
        if "parent" in labels:
            found["majority"] = float(
                np.mean(labels["parent"][part == 2] == most_frequent(labels["parent"][part == 0]))
            )
            for words in PROBE_WORDS:
                found[f"parent from {words}"] = probe_accuracy(
                    both, few_words(part, words), labels, ["parent"]
                )["parent"]
    return found | mean_accuracies(found)


# %%
def mean_accuracies(found, at=""):
    """Mean accuracies: of the three questions about syntax, of the two about memory, and of all six subjects."""
    syntax = [found[f"{task}{at}"] for task in ("tag", "parent", "grandparent")]
    memory = float(np.mean([found[f"{k} back{at}"] for k in BACK]))
    average = float(np.mean([*syntax, memory, found[f"number{at}"], found[f"topic{at}"]]))
    return {f"syntax{at}": float(np.mean(syntax)), f"memory{at}": memory, f"average{at}": average}


# %% [markdown]
# Each teacher also sits an exam of its own, on fresh text: its loss, and its loss when every sentence gets the
# encoder states of another one of the same length. The difference is what the teacher's answers owe to the encoder.


# %%
@torch.no_grad()
def own_exam(encoder, teacher, seed):
    """The teacher's loss on fresh sentences, in nats, with their own states and with those of another one."""
    fresh = lesson_batches(lessons(20_000, f"fresh {seed}"), 0)
    found = defaultdict(list)
    for lesson, _ in zip(fresh, range(30), strict=False):
        states = encoder(lesson["ids"])
        found["loss"].append(teacher(states, lesson).item())
        found["swapped"].append(teacher([layer.roll(1, 0) for layer in states], lesson).item())
        if isinstance(teacher, Translation):
            found |= {key: found[key] + hits for key, hits in alignment(teacher, states, lesson).items()}
    return {key: float(np.mean(values)) for key, values in found.items()}


# %% [markdown]
# The translator can be asked one thing more. When it writes a word of the second language, at which word does it
# look? The order of the translation is known, so every word has a right answer.


# %%
def alignment(teacher, states, lesson):
    """For every word that is written: is the strongest attention at its source? Does it stand in the same place?"""
    looked = teacher.attend(states, lesson["second"])[1].argmax(-1)[:, :-1]
    place = torch.arange(1, looked.shape[1] + 1).expand_as(looked)
    return {
        "aligned": (looked == lesson["order"]).flatten().tolist(),
        "same place": (place == lesson["order"]).flatten().tolist(),
    }


# %%
def objective_run(architecture, teacher, words, seed):
    """One encoder under one teacher ("none": as it was born), examined."""
    encoder = (
        SentenceTransformer()
        if architecture == "Transformer"
        else SentenceLSTM(directions=READING_SIDES.get(teacher, (1,)))
    )
    if teacher == "none":
        return examine(encoder, seed)
    head = TEACHERS[teacher]()
    teach(encoder, head, lessons(words, seed), seed)
    return examine(encoder, seed) | own_exam(encoder, head, seed)


# %% [markdown]
# Eight teachers and an encoder without one, with eight seeds each (weights, text and exam are drawn anew). Besides,
# with five seeds, language models with less text at the same number of updates, and two Transformers. All of that is
# half an hour of one core, so here you train one language model and look at one untrained encoder, both checked
# against what was recorded.

# %%
TEXT, TEXTS = 300_000, (10_000, 30_000, 100_000)
LIVE_SCHOOLS = [("LSTM", "none"), ("LSTM", "next word")]
SCHOOLS = [("LSTM", name, TEXT) for name in ("none", *TEACHERS)]
EXTRA = [("Transformer", name, TEXT) for name in ("next word", "same sentence")]
EXTRA += [("LSTM", "next word", words) for words in TEXTS]
OBJECTIVE_RUNS = [
    {"architecture": a, "teacher": t, "words": n, "seed": seed}
    for seed in range(8)
    for a, t, n in SCHOOLS + EXTRA * (seed < 5)
]

# %%
objectives = lab.sweep(
    "objectives",
    objective_run,
    OBJECTIVE_RUNS,
    live=lambda s: (
        s["seed"] == 0 and s["words"] == TEXT and (s["architecture"], s["teacher"]) in LIVE_SCHOOLS
    ),
)

# %%
EXAM_SUBJECTS = ["tag", "parent", "grandparent", "number", "memory", "topic"]


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for metric in EXAM_SUBJECTS:
    lab.check(objectives, metric, by=["architecture", "teacher", "words"], slack=0.01)
print(objectives.live[["teacher", *EXAM_SUBJECTS]].round(2).to_string(index=False))


# %%
def taught(metric, teacher="next word", words=TEXT, architecture="LSTM", seeds=8):
    """A metric of the recorded runs of one school, one value per seed."""
    school = {"architecture": architecture, "teacher": teacher, "words": words}
    found = objectives.recorded
    for column, value in school.items():
        found = found[found[column] == value]
    return found[found["seed"] < seeds].sort_values("seed")[metric].to_numpy()


# %% [markdown]
# First the teachers' own exams. Does each of them make use of its encoder?

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for name in TEACHERS:
    own, other = (taught(metric, name).mean() for metric in ("loss", "swapped"))
    print(f"{name:17} loss {own:.2f}, with another sentence's states {other:.2f}")

# %% [markdown]
# All do, the autoencoder least: to pack a whole sentence into one state is the hardest of these lessons, and in so
# few updates it is only begun. Keep that in mind when you read its line in the report card. Read the card by columns:
# the brightest cell of a column is the best encoder for that subject. Is there a best encoder?

# %% mystnb={"image": {"alt": "A table of nine encoders (eight teachers and none) by six subjects with the probe accuracy printed in each cell and the best of each column brightest: no row is brightest everywhere."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
report = np.array([[taught(m, name).mean() for m in EXAM_SUBJECTS] for name in ("none", *TEACHERS)])
shade = (report - report.min(0)) / np.ptp(report, axis=0)
fig, ax = plt.subplots(figsize=(6.2, 4.4))
ax.imshow(shade, cmap="cividis", aspect="auto")
for (row, column), value in np.ndenumerate(report):
    dark = shade[row, column] < 0.5
    ax.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if dark else "black")
ax.set_xticks(range(6), EXAM_SUBJECTS, rotation=30, ha="right")
ax.set_yticks(range(len(report)), ["no teacher", *TEACHERS])
ax.grid(visible=False)
show(fig)
for name, row in zip(("no teacher", *TEACHERS), report, strict=True):
    print(f"{name:17}" + "".join(f"{m} {value:.3f}  " for m, value in zip(EXAM_SUBJECTS, row, strict=True)))

# %% tags=["hide-input"]
lab.conclude("lm-or-translation", paired_ci(taught("syntax"), taught("syntax", "translation")), 8)
lab.conclude("lm-or-autoencoding", paired_ci(taught("syntax"), taught("syntax", "same sentence")), 8)
lab.conclude("lm-or-skip-thought", paired_ci(taught("syntax"), taught("syntax", "next sentence")), 8)

# %% tags=["hide-input"]
rivals = [taught("average", name) for name in ("tags", "translation", "same sentence", "next sentence")]
lab.conclude("lm-on-average", paired_ci(taught("average"), np.max(rivals, 0)), 8)
lab.conclude("close-teacher-tags", paired_ci(taught("tag", "tags"), taught("tag")), 8)
lab.conclude("close-teacher-memory", paired_ci(taught("memory", "same sentence"), taught("memory")), 8)

# %% tags=["hide-input"]
best_memory = np.max([taught("memory", name) for name in TEACHERS], 0)
lab.conclude("untrained-beats-teachers", paired_ci(taught("memory", "none"), best_memory), 8)

# %% tags=["hide-input"]
lab.conclude("both-sides-syntax", paired_ci(taught("syntax", "both words"), taught("syntax")), 8)
lab.conclude("both-sides-average", paired_ci(taught("average", "both words"), taught("average")), 8)


# %% tags=["hide-input"]
def on_the_tree(teacher):
    return (taught("parent", teacher) + taught("grandparent", teacher)) / 2


lab.conclude("tags-help-syntax", paired_ci(on_the_tree("next word + tags"), on_the_tree("next word")), 8)
lab.conclude("tags-help-agreement", paired_ci(taught("number", "next word + tags"), taught("number")), 8)

# %% [markdown]
# For syntax the published ranking holds: predicting the next word leaves more of the tree in the states than
# translating, copying or continuing, and the last two do little better than no teacher at all. A teacher of tags
# added to the language model adds a little more. But two published results turn around. Reading from both sides, at
# the same width, costs a little syntax: two halves of 64 units (with fewer weights in all) know less than one of 128,
# and what the right-hand side tells does not make up for it. And the untrained encoder is not the best at memory. It
# does remember more than the language models, which keep what helps to predict and let go of the rest; the
# translator, who has to say every word again, remembers still more.
#
# The diagonal is there, if you look for it: the tagger is perfect on tags (so is, nearly, the language model, which
# leaves no room for a difference), the copier beats the language model at memory. But watch the other columns. The
# topic of a scene is read best from random states, whose mean is little more than a bag of words, and a topic needs
# no more. And agreement is hardly there at all: after these few hundred updates the language model's states give the
# subject's number little better than a coin, and those who must say the whole sentence again, in whatever language,
# keep it a little better. They keep words, and a subject is one of them. So on average over the six subjects the
# language model is not ahead of the best of the others: the difference is too small to call.
#
# How messy is it to judge an encoder by a score? Rank the nine encoders by each subject and compare the rankings, two
# at a time. Kendall's tau is 1 for the same ranking, 0 for unrelated ones and -1 for a reversed one.

# %%
from itertools import combinations

from scipy.stats import kendalltau

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
by_subject = {m: np.array([taught(m, name) for name in ("none", *TEACHERS)]) for m in EXAM_SUBJECTS}
agreement_of = {
    (a, b): [kendalltau(by_subject[a][:, s], by_subject[b][:, s]).statistic for s in range(8)]
    for a, b in combinations(EXAM_SUBJECTS, 2)
}
for (a, b), taus in sorted(agreement_of.items(), key=lambda item: -np.mean(item[1])):
    print(f"{a:12} and {b:12} Kendall's tau {np.mean(taus):5.2f}")

# %% tags=["hide-input"]
lab.conclude("tasks-rank-differently", mean_ci(np.mean(list(agreement_of.values()), 0)), 8)

# %% [markdown]
# The three questions about syntax agree among themselves; memory, number and topic go their own ways, and some pairs
# of subjects lean towards opposite orders. "Encoder A is better than B" is half a sentence: better for what?
#
# ### More text, more questions
#
# Two amounts stand behind every such table: how much text the teacher had, and how many labels the probe had. Guess
# both curves before you look: where does an untrained encoder catch up?

# %% mystnb={"image": {"alt": "Two panels of accuracy on a logarithmic axis. Left: syntax of a language model rises with the words of pretraining text and flattens. Right: accuracy on the parent's tag rises with the words a probe is fitted on for four encoders, the language model on top, with the most frequent class as a dotted line."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.6))
amounts = (*TEXTS, TEXT)
band(left, amounts, [mean_ci(taught("syntax", words=n)) for n in amounts], "next word", COLORS["causal"])
left.set(xscale="log", xlabel="words of text", ylabel="accuracy on syntax")
FULL_PROBE = 11_900  # words of the whole exam for fitting and validation
shown = dict(zip(("next word", "translation", "same sentence", "none"), "osD^", strict=True))
for (name, mark), role in zip(shown.items(), ("causal", "masked", "lstm", "baseline"), strict=True):
    curve = [mean_ci(taught(f"parent from {n}", name)) for n in PROBE_WORDS] + [
        mean_ci(taught("parent", name))
    ]
    band(right, (*PROBE_WORDS, FULL_PROBE), curve, name.replace("none", "no teacher"), COLORS[role])
    right.lines[-1].set_marker(mark)
    print(f"{name:14}", "  ".join(f"{c.estimate:.3f}" for c in curve), "from", (*PROBE_WORDS, "all"))
right.axhline(taught("majority").mean(), color=COLORS["exact"], linestyle=":", label="most frequent")
right.set(xscale="log", xlabel="words for the probe", ylabel="accuracy on parent")
fig.legend(*right.get_legend_handles_labels(), loc="upper center", ncols=3, bbox_to_anchor=(0.5, 0))
fig.tight_layout()
show(fig)
print("syntax by words of text:", "  ".join(f"{n}: {taught('syntax', words=n).mean():.3f}" for n in amounts))

# %% tags=["hide-input"]
curves = np.array([taught("syntax", words=n, seeds=5) for n in amounts])
slopes = np.polyfit(np.log10(amounts), curves, 1)[0]
lab.conclude("more-pretraining-text", mean_ci(slopes), 5)
lab.conclude("diminishing-text", paired_ci(curves[1] - curves[0], curves[3] - curves[2]), 5)

# %% tags=["hide-input"]
few = {name: taught("parent from 100", name) for name in ("next word", "none")}
lab.conclude("reversal-with-few-words", paired_ci(few["next word"], few["none"]), 8)
lab.conclude("untrained-below-majority", paired_ci(few["none"], taught("majority", "none")), 8)

# %% [markdown]
# Ten times the text helps a lot, the next three times as much hardly: at this number of updates and this size the
# model can't use it. And the probe's data do not turn this ranking around. The untrained encoder is behind from the
# first hundred words on; the gap is widest in the middle and shrinks again at the end, since with enough labels a
# linear probe can put a good deal of the tree together from remembered words. The published collapse of the untrained
# encoder below the most frequent class does not show either: the world's small vocabulary makes a hundred words worth
# more than in English.
#
# ### Another architecture
#
# So far the architecture was fixed. The same two teachers now also teach a Transformer of two layers and the same
# width. Does the better architecture stay the better one when the teacher changes?

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
grid = {
    (a, t): taught("average", t, architecture=a, seeds=5)
    for a in ("LSTM", "Transformer")
    for t in ("next word", "same sentence")
}
for (architecture, teacher), values in grid.items():
    syntax = taught("syntax", teacher, architecture=architecture, seeds=5).mean()
    number = taught("number", teacher, architecture=architecture, seeds=5).mean()
    print(
        f"{architecture:12} {teacher:14} average {mean_ci(values)}  syntax {syntax:.2f}  number {number:.2f}"
    )

# %% tags=["hide-input"]
ahead = {t: grid["Transformer", t] - grid["LSTM", t] for t in ("next word", "same sentence")}
between_teachers = (grid["LSTM", "next word"] - grid["LSTM", "same sentence"]) / 2
between_teachers += (grid["Transformer", "next word"] - grid["Transformer", "same sentence"]) / 2
architectures = (ahead["next word"] + ahead["same sentence"]) / 2
lab.conclude("objective-or-architecture", paired_ci(abs(between_teachers), abs(architectures)), 5)
lab.conclude(
    "architecture-ranking-flips", mean_ci(100 * ahead["next word"] * 100 * ahead["same sentence"]), 5
)

# %% [markdown]
# Which teacher an encoder had makes more of a difference than which architecture it is. Under the autoencoder the LSTM
# is clearly ahead of a Transformer of the same depth and width; under the language model the two are level on average,
# and not level at all by subject, since the Transformer already knows the number of a subject, of which the LSTM knows
# next to nothing. With five seeds neither a flip of the ranking nor its absence is certain. Had we compared an LSTM
# autoencoder with a Transformer language model, as published tables do for want of anything better, we would have
# given some of this to the wrong cause.
#
# And where does the translator look? In the second language the strongest attention should lie on the word that is
# being translated, if attention were alignment.

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
print("strongest attention on the source word:", mean_ci(taught("aligned", "translation")))
print("the source word stands in the same place:", mean_ci(taught("same place", "translation")))

# %% tags=["hide-input"]
lab.conclude(
    "attention-aligns", paired_ci(taught("aligned", "translation"), taught("same place", "translation")), 8
)

# %% [markdown]
# It does not. The strongest attention is on the source word less often than a ruler laid along the diagonal would be.
# The translations are not to blame: with the states of another sentence the loss is far worse, so the translator does
# read. But an LSTM state holds the words before it as well, and the decoder has no reason to look at the one state
# that we would have pointed to. A picture of attention shows where information was fetched, not where it came from.
#
# ### Break it: a decoder that does not listen
#
# An autoencoder with one index wrong: its decoder hears the state of the start mark, which is the same for every
# sentence. What will its loss do?


# %%
class DeafDecoder(SameSentence):
    def forward(self, states, lesson):
        return super().forward([states[-1][:, :1]], lesson)


# %%
torch.manual_seed(0)
deaf_encoder, deaf = SentenceLSTM(), DeafDecoder()
before_school = own_exam(deaf_encoder, deaf, 0)
teach(deaf_encoder, deaf, lessons(30_000, 0), 0, updates=150)
after_school = own_exam(deaf_encoder, deaf, 0)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
print(f"loss before school {before_school['loss']:.2f}, after {after_school['loss']:.2f}")

# %% [markdown]
# It falls, as a loss should, and no error is raised: the decoder is told half of the previous words, and becomes a
# language model of its own. (The right one does much the same at first. Told *all* previous words, it may never come
# to listen at all, which is why half of them are hidden.) What gives the bug away is the exam with another sentence's
# states.


# %%
def assert_listening(loss, swapped):
    assert swapped > loss + 0.1, (
        "the states of another sentence do as well: the teacher does not use its encoder"
    )


# %%
assert_listening(*(taught(metric, "same sentence").mean() for metric in ("loss", "swapped")))
try:
    assert_listening(**after_school)
except AssertionError as error:
    print("caught:", error)

# %% [markdown]
# ### Middle layers, or not?
#
# Which layer should one take from a frozen network? Of recurrent language models it is said that the first layer
# transfers best, of Transformers that the middle ones do. Here are language models of three LSTM layers and of six
# Transformer layers, each trained with several seeds, every layer probed on its own. Draw your two histograms of the
# best layer first. (Half a minute or more for each network, so all of this is recorded.)

# %%
LAYER_SEEDS = 10
LAYER_SHAPES = {"LSTM": (SentenceLSTM, 3, 128), "Transformer": (SentenceTransformer, 6, 64)}


# %%
def layer_run(architecture, seed):
    """One language model: its loss, and the accuracy of the probes on each layer."""
    kind, layers, width = LAYER_SHAPES[architecture]
    encoder, head = kind(layers, width), NextWord(width)
    teach(encoder, head, lessons(TEXT, seed), seed)
    found = own_exam(encoder, head, seed)
    for states, part, labels in exam_states(encoder, seed):
        for k, layer in enumerate(states):
            found |= {f"{task} {k}": score for task, score in probe_accuracy(layer, part, labels).items()}
    return found | {
        key: value for k in range(layers + 1) for key, value in mean_accuracies(found, f" {k}").items()
    }


# %%
layer_runs = lab.sweep(
    "objective-layers",
    layer_run,
    [{"architecture": a, "seed": s} for s in range(LAYER_SEEDS) for a in LAYER_SHAPES],
    live=lambda s: False,
)


# %%
def by_layer(metric, architecture):
    """A metric of the recorded runs: one row per seed, one column per layer."""
    runs = layer_runs.recorded[layer_runs.recorded["architecture"] == architecture].sort_values("seed")
    return runs[[f"{metric} {k}" for k in range(LAYER_SHAPES[architecture][1] + 1)]].to_numpy()


# %% mystnb={"image": {"alt": "Two grids of counts, tasks by layers, for LSTM and Transformer language models: in how many of the training seeds a layer was the best one for a task, with the count printed in each cell and the average over the tasks in the last row."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.9), sharey=True, width_ratios=(4, 7))
for ax, (architecture, (_, depth, _)) in zip(axes, LAYER_SHAPES.items(), strict=True):
    best = [by_layer(m, architecture).argmax(1) for m in (*EXAM_SUBJECTS, "average")]
    counts = np.array([np.bincount(row, minlength=depth + 1) for row in best])
    ax.imshow(counts, cmap="cividis", vmin=0, vmax=LAYER_SEEDS, aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        color = "white" if count < 0.5 * LAYER_SEEDS else "black"
        ax.text(column, row, count or "", ha="center", va="center", color=color)
    ax.set(title=architecture, xlabel="best layer", xticks=range(depth + 1))
    ax.set_yticks(range(7), [*EXAM_SUBJECTS, "average"])
    ax.axhline(5.5, color="black", linewidth=1)
    ax.grid(visible=False)
    print(f"{architecture:12} best layer of the average:", best[-1].tolist())
fig.tight_layout()
show(fig)

# %% mystnb={"image": {"alt": "Two panels of probe accuracy by layer for LSTM and Transformer language models, one line per task, means over training seeds: topic falls from layer to layer, memory rises, and the accuracy on the next word, a dashed line, is nearly flat after the first layer."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
fig, axes = plt.subplots(1, 2, figsize=(6.4, 4.2), sharey=True, width_ratios=(4, 6))
marks = dict(zip((*EXAM_SUBJECTS, "next"), "osD^vPX", strict=True))
for ax, architecture in zip(axes, LAYER_SHAPES, strict=True):
    for metric, mark in marks.items():
        curve = by_layer(metric, architecture).mean(0)
        style_of = {"linestyle": "--", "color": "black"} if metric == "next" else {}
        ax.plot(range(len(curve)), curve, marker=mark, label=metric, **style_of)
        print(f"{architecture:12} {metric:12}", "  ".join(f"{value:.3f}" for value in curve))
    ax.set(title=architecture, xlabel="layer", xticks=range(len(curve)))
axes[0].set_ylabel("accuracy")
fig.legend(*axes[0].get_legend_handles_labels(), loc="upper center", ncols=4, bbox_to_anchor=(0.5, 0))
fig.tight_layout()
show(fig)

# %% tags=["hide-input"]
recurrent_average, attentive_average = (by_layer("average", a) for a in LAYER_SHAPES)
lab.conclude(
    "lstm-first-layer", paired_ci(recurrent_average[:, 1], recurrent_average[:, 2:].max(1)), LAYER_SEEDS
)
thirds = attentive_average[:, 1:].reshape(-1, 3, 2).mean(2)
lab.conclude("transformer-middle-layers", paired_ci(thirds[:, 1], thirds[:, [0, 2]].max(1)), LAYER_SEEDS)
falls = [values[:, 1] - values[:, -1] for values in (recurrent_average, attentive_average)]
lab.conclude("layer-trends-differ", paired_ci(*falls), LAYER_SEEDS)


# %% tags=["hide-input"]
def trade_off(architecture):
    """For each seed the correlation over layers of accuracy on the next word and average accuracy."""
    own, others = (by_layer(m, architecture)[:, 1:] for m in ("next", "average"))
    return [float(np.corrcoef(*pair)[0, 1]) for pair in zip(own, others, strict=True)]


lab.conclude("trade-off-lstm", mean_ci(trade_off("LSTM")), LAYER_SEEDS)
lab.conclude("trade-off-transformer", mean_ci(trade_off("Transformer")), LAYER_SEEDS)


# %% tags=["hide-input"]
def center_of_gravity(values):
    """Mean layer, each weighted by its accuracy above that of the worst layer; values [seeds, layers]."""
    above = values - values.min(1, keepdims=True)
    return (above * np.arange(values.shape[1])).sum(1) / above.sum(1)


centers_of = {m: center_of_gravity(by_layer(m, "Transformer")) for m in EXAM_SUBJECTS}
print({m: round(float(values.mean()), 2) for m, values in centers_of.items()})
lab.conclude("peaks-differ", paired_ci(centers_of["grandparent"], centers_of["tag"]), LAYER_SEEDS)

# %% [markdown]
# In the LSTM the first layer does transfer best on average, as published. But look at what the average is made of: the
# tags of parent and grandparent, and memory, grow up to the last layer, while topic collapses and takes the average
# with it. With another choice of subjects the same network would have told the opposite story. Whether the layers that
# predict the next word better transfer worse stays open there. In the Transformer there is no hump in the middle.
# After the second layer most curves are nearly flat, number climbs while topic sinks, the best layer of the average
# lies anywhere from the second to the last, and a layer that predicts the next word better also transfers better. Nor
# do tags lie in other layers than grandparents. Six narrow layers on simple text are not BERT on English; what carries
# over is the habit of drawing the histogram, by task and over seeds, before naming a best layer.
#
# Look at number once more, at layer 0. It is at one half, as it must be: the vector of a single word can't know the
# subject. In a first version of this exam it was far above, because the noun in between always had the other number,
# so that the opposite of the last noun was always right. A look at the layer that can't know is the cheapest test of
# an exam.

# %% [markdown]
# ## Changing the model
#
# A probe reads states and leaves the network as it is, so it can't tell whether the network reads them too. To find
# out, change something and watch the output: take a word from the input, a unit or a direction from the states, or put
# a state where it does not belong. In a world with a known grammar we know which words *should* matter. And as a change
# of any kind does some harm, each is held against the same change made at random.
#
# ### Erase words
#
# Li et al. (2016) erase a word and take the fall of the answer's log-odds for its importance. We tune the causal model
# on 512 reviews. The label of a review is the opinion of its last sentence, so two kinds of words decide it: the opinion
# word there and, if there is one, its *not*. How often will the word whose loss hurts most be one of them? A rival costs
# one backward pass: the gradient with respect to a word's vector, times the vector.

# %%
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

# %%
from utils import classification
from utils.world import reviews

# %%
OPINION_WORDS = {w for (slot, _), words in reviews.POLAR["AB"].items() if slot != "cue" for w in words.items}


# %%
def deciding_words(words):
    """Positions of the words that decide a review's label: opinion words and `not` in its last sentence."""
    start = max(i for i, word in enumerate(words[:-1]) if word == ".") + 1
    return [i for i in range(start, len(words)) if words[i] in OPINION_WORDS or words[i] == "not"]


# %%
@torch.no_grad()
def opinion_odds(classifier, texts):
    """Log-odds of `positive` for a few texts of like length: float [texts]."""
    ids = training.encode(tokenizer, [" ".join(words) for words in texts])
    logits = classifier(training.pad(ids, max(map(len, ids)), tokenizer.pad_token_id))
    return (logits[:, 1] - logits[:, 0]).numpy()


# %%
def harm_of_erasing(classifier, words):
    """The fall of the chosen label's log-odds when each word is left out: float [words]."""
    without = [words[:i] + words[i + 1 :] for i in range(len(words))]
    odds = opinion_odds(classifier, [words, *without])
    return (odds[0] - odds[1:]) * np.sign(odds[0])


# %%
def gradient_times_input(classifier, words):
    """The gradient of the chosen label's log-odds times the word vector, summed over sub-words: float [words]."""
    pieces = tokenizer(list(words), add_special_tokens=False)["input_ids"]
    ids = [tokenizer.bos_token_id, *(i for piece in pieces for i in piece), tokenizer.eos_token_id]
    vectors = classifier.encoder.wte(torch.tensor([ids])).detach().requires_grad_()
    states = classifier.encoder(inputs_embeds=vectors).last_hidden_state
    logits = classifier.head(classification.pool(states, torch.ones(1, len(ids), dtype=torch.long)))[0]
    (gradient,) = torch.autograd.grad((logits[1] - logits[0]).abs(), vectors)
    shares = (gradient * vectors).sum(-1)[0].detach().numpy()
    return np.add.reduceat(shares[:-1], np.cumsum([1, *map(len, pieces)])[:-1])


# %%
@cache
def opinion_classifier(seed):
    """The causal model with a classification head, tuned on 512 reviews."""
    settings.seed_everything(seed)
    model, _ = checkpoints.load_causal()
    classifier = classification.Classifier(model, tokenizer, 2)
    train = tasks.sentiment(world, 512, "train", seed)
    texts, labels = [" ".join(t.words) for t in train], [t.label for t in train]
    classification.fine_tune(classifier, texts, labels, 120, 3e-4, seed)
    return classifier


# %%
def erase_words_run(seed, reviews_asked=100):
    """Tune a classifier; how often the top word of each ranking decides the label, over reviews it gets right."""
    classifier, found = opinion_classifier(seed), defaultdict(list)
    for review in tasks.sentiment(world, reviews_asked, "test", seed):
        right = (opinion_odds(classifier, [review.words])[0] > 0) == bool(review.label)
        found["accuracy"].append(right)
        if right:
            truth = deciding_words(review.words)
            found["erasing"].append(np.argmax(harm_of_erasing(classifier, review.words)) in truth)
            found["gradient"].append(np.argmax(gradient_times_input(classifier, review.words)) in truth)
            found["random"].append(len(truth) / len(review.words))
    return {name: float(np.mean(values)) for name, values in found.items()}


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
erasing = lab.sweep("erase words", erase_words_run, [{"seed": s} for s in range(5)])
lab.check(erasing, "erasing", by=[], slack=0.02)
for name in ("accuracy", "erasing", "gradient", "random"):
    print(f"{name:8} {mean_ci(erasing.recorded[name])}")

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
some_review = next(t.words for t in tasks.sentiment(world, 100, "test", 0) if "not" in t.words[-4:])
lost = harm_of_erasing(opinion_classifier(0), some_review)
print(" ".join(some_review))
for i in np.argsort(-lost)[:4]:
    print(f"without {some_review[i]:12} the answer loses {lost[i]:5.2f} nats")

# %% tags=["hide-input"]
lab.conclude("erase-finds-words", paired_ci(erasing.recorded["erasing"], erasing.recorded["random"]), 5)
lab.conclude("erase-minus-gradient", paired_ci(erasing.recorded["erasing"], erasing.recorded["gradient"]), 5)

# %% [markdown]
# A random word decides in one review of twenty, the most harmful one in about three of four, and gradient times input in
# about one of five. The gradient asks what an infinitely small change would do, and a classifier that is sure of itself
# hardly moves for those; leaving out the *not* of a verdict is no small change. Where erasing misses, the answer is often
# safe without the word: the planted remarks agree four times in five with the verdict, and say it once more.
#
# ### Silence units
#
# Now into the states. PyTorch lets a function look at what a module gives out, and put something else in its place: a
# *hook*. All experiments from here on are this one.


# %%
@contextmanager
def edited(module, edit):
    """While this lasts, the network goes on with `edit(output)` in place of what `module` gives out."""
    handle = module.register_forward_hook(lambda _, inputs, output: edit(output))
    try:
        yield
    finally:
        handle.remove()


# %%
@torch.no_grad()
def outputs_of(modules, ids):
    """What each module gives out while the causal model reads `ids`: a list of tensors [rows, width, units]."""
    found, handles = {}, []
    for module in modules:
        handles.append(module.register_forward_hook(lambda m, _, output: found.update({m: output})))
    causal.transformer(ids)
    for handle in handles:
        handle.remove()
    return [found[module] for module in modules]


# %% [markdown]
# The behavior under study is number agreement. We need sentences of one shape, so that places can be compared: a subject,
# a preposition, and a second noun whose number says nothing about the verb. They come in pairs which differ in one
# sub-word, the ending of the subject. The answer is read off as log-odds, *is* and *was* against *are* and *were*.

# %%
ROLES = ("start", "the", "subject", "near", "the 2", "adjective", "noun 2")
BE = tokenizer.convert_tokens_to_ids(["▁is", "▁was"]), tokenizer.convert_tokens_to_ids(["▁are", "▁were"])


# %%
PROPERTIES = ("subject's number", "last noun's number", "topic", "preposition", "person or thing")


# %%
@dataclass(frozen=True)
class Beginnings:
    """Beginnings of sentences in pairs: even rows have a singular subject, odd rows the same one in the plural."""

    ids: torch.Tensor  # [rows, width]
    places: torch.Tensor  # [rows, roles]: where the last sub-word of each role stands
    labels: dict  # property -> int [rows]

    @property
    def last(self):
        """The places at which the verb is predicted, as an index of [rows, width]."""
        return torch.arange(len(self.ids)), self.places[:, -1]


# %%
def pieces_of(*words):
    """The sub-words of each word."""
    return tokenizer(list(words), add_special_tokens=False)["input_ids"]


# %%
SUBJECTS = [
    (topic, kind, noun)
    for topic, tables in sorted(world.topics.items())
    for kind, table in enumerate((tables.clear_persons, tables.things))
    for noun in table.items
    if pieces_of(noun.singular)[0][:-1] == pieces_of(noun.plural)[0][:-1]
]
print(f"{len(SUBJECTS)} nouns whose two forms differ in the last sub-word only")


# %%
def beginnings(pairs, seed):
    """`pairs` pairs of beginnings; the second noun has a number of its own."""
    from utils.world.scenes import NOUN_PREPOSITIONS

    random, rows, places, labels = np.random.default_rng(seed), [], [], defaultdict(list)
    for _ in range(pairs):
        topic, kind, subject = SUBJECTS[random.integers(len(SUBJECTS))]
        tables, preposition = world.topics[topic], random.integers(len(NOUN_PREPOSITIONS.items))
        noun = (tables.places, tables.things)[random.integers(2)].items
        noun, other = noun[random.integers(len(noun))], random.integers(2)
        adjective = tables.adjectives.items[random.integers(len(tables.adjectives.items))]
        for number in range(2):
            near = NOUN_PREPOSITIONS.items[preposition]
            words = pieces_of("the", subject[number], near, "the", adjective, noun[other])
            rows.append([tokenizer.bos_token_id, *(i for word in words for i in word)])
            places.append(np.cumsum([0, *map(len, words)]))
            known = (number, other, sorted(world.topics).index(topic), preposition, kind)
            for name, value in zip(PROPERTIES, known, strict=True):
                labels[name].append(value)
    ids = training.pad(rows, max(map(len, rows)), tokenizer.pad_token_id)
    return Beginnings(ids, torch.tensor(np.array(places)), {k: np.array(v) for k, v in labels.items()})


# %%
# %%
@torch.no_grad()
def verb_odds(some):
    """Log-odds of a singular against a plural form of *be* after each beginning: float [rows]."""
    logits = causal.lm_head(causal.transformer(some.ids).last_hidden_state[some.last])
    return logits[:, BE[0]].logsumexp(1) - logits[:, BE[1]].logsumexp(1)


# %%
def right_odds(some):
    """Log-odds of the right number against the wrong one: float [rows]."""
    return verb_odds(some) * torch.tensor(1.0 - 2 * some.labels["subject's number"])


# %%
shown = beginnings(3, 0)
for row, right in zip(shown.ids, right_odds(shown), strict=True):
    print(f"{tokenizer.decode(row, skip_special_tokens=True):44} right number by {right:.1f} nats")

# %% [markdown]
# *Pictures* looked for units that tell singular from plural. Are those the ones that the network needs? For image networks
# Morcos et al. (2018) found that a unit's selectivity says little about the harm done by silencing it. We take units of the
# four hidden layers between the states (768 each), freeze one at a time at its mean over ordinary text, and measure two
# harms: the fall of the right verb's log-odds, and the rise of the loss on ordinary text. Selectivity is
# $|2\,\mathrm{AUC} - 1|$ for the subject's number at the place before the verb. Guess both rank correlations.

# %%
from scipy.stats import rankdata, spearmanr


# %%
def signed_selectivity(values, labels):
    """2 AUC - 1 of each column of [n, units] for binary labels [n]: 1 or -1 if it separates them, 0 by chance."""
    ones = labels == 1
    above = rankdata(values, axis=0)[ones].sum(0) - ones.sum() * (ones.sum() + 1) / 2
    return 2 * above / (ones.sum() * (~ones).sum()) - 1


# %%
def frozen_unit(unit, value):
    """An edit that holds one unit (or several) at a value."""

    def edit(output):
        output = output.clone()
        output[..., unit] = value
        return output

    return edit


# %%
def held_out_text(count, seed):
    """Ids [rows, width] of documents of all kinds, cut at 40 tokens."""
    documents = zip(world.documents(seed), range(count), strict=False)
    ids = [row[:40] for row in training.encode(tokenizer, [d.text for d, _ in documents])]
    return training.pad(ids, max(map(len, ids)), tokenizer.pad_token_id)


# %%
@torch.no_grad()
def ordinary_bits(ids):
    """Mean bits per token of the causal model."""
    return training.causal_loss(causal, ids, 0).item() / np.log(2)


# %%
HIDDEN = [block.mlp.act for block in causal.transformer.h]


# %%
@cache
def silence_units(seed, value, each=24):
    """Per unit of a random sample: selectivity, fall of the right odds, rise of the loss; float [units, 3]."""
    some, text = beginnings(30, [5, seed]), held_out_text(20, f"units {seed}")
    right, bits, found = right_odds(some).mean(), ordinary_bits(text), []
    random, outputs = np.random.default_rng(seed), [outputs_of(HIDDEN, ids) for ids in (some.ids, text)]
    for module, seen, read in zip(HIDDEN, *outputs, strict=True):
        selectivity = np.abs(signed_selectivity(seen[some.last].numpy(), some.labels["subject's number"]))
        means = read[text != tokenizer.pad_token_id].mean(0) * (value == "mean")
        for unit in random.choice(len(means), each, replace=False):
            with edited(module, frozen_unit(unit, means[unit])):
                harm = float(right - right_odds(some).mean())
                found.append((selectivity[unit], harm, ordinary_bits(text) - bits))
    return np.array(found)


# %%
def silence_run(seed, value):
    """Rank correlations of selectivity with both harms over 96 units, for one sample of units and sentences."""
    selectivity, harm, loss = silence_units(seed, value).T
    return {
        "agreement": float(spearmanr(selectivity, harm).statistic),
        "loss": float(spearmanr(selectivity, loss).statistic),
        "most selective": float(selectivity.max()),
        "greatest harm": float(harm.max()),
        "usual margin": float(right_odds(beginnings(30, [5, seed])).mean()),
    }


# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
silenced = lab.sweep(
    "silence units",
    silence_run,
    [{"seed": s, "value": v} for v in ("mean", "zero") for s in range(10 if v == "mean" else 5)],
    live=lambda s: s["seed"] == 0 and s["value"] == "mean",
)
for metric in ("agreement", "loss"):
    lab.check(silenced, metric, by=["value"])
    for value, group in silenced.recorded.groupby("value"):
        print(f"selectivity and harm to {metric}, unit set to its {value}: {mean_ci(group[metric])}")

# %% mystnb={"image": {"alt": "Two scatter plots of 96 units: selectivity for the subject's number on the horizontal axis against the harm to agreement (left) and the rise of the loss on ordinary text (right) when the unit is silenced; most units lie near zero harm whatever their selectivity."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
points = silence_units(0, "mean") * (1, 1, 1000)
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2), layout="constrained")
for i, title in ((1, "fall of right log-odds"), (2, "rise of loss (0.001 bits)")):
    ax = axes[i - 1]
    ax.scatter(points[:, 0], points[:, i], s=14, color=COLORS["causal"], alpha=0.7, linewidth=0)
    ax.axhline(0, color=COLORS["baseline"], linestyle=":", linewidth=1)
    ax.set(xlabel="selectivity for number", title=title, xlim=(-0.03, 1.03))
show(fig)
means = silenced.recorded.query("value == 'mean'").mean(numeric_only=True)
print(f"greatest harm by one unit of 96: {means['greatest harm']:.2f} nats of {means['usual margin']:.1f}")

# %% tags=["hide-input"]
by_mean = silenced.recorded.query("value == 'mean'")
lab.conclude("selective-agreement", mean_ci(by_mean["agreement"]), 10)
lab.conclude("selective-loss", mean_ci(by_mean["loss"]), 10)

# %% [markdown]
# The number is all over the units: many tell singular from plural well above chance. Yet freezing any one of them takes
# hardly more than a percent from the right verb, and how selective it is says little about that, and nothing about the loss
# on ordinary text. What Morcos et al. saw in image networks holds here too. With one unit changed, the others still tell
# the story.
#
# ### Remove a property
#
# A property need not sit in one unit; a probe reads it along a *direction*. So take away directions. Iterative nullspace
# projection (Ravfogel et al. 2020) fits a linear classifier, removes the direction by which it reads, and starts over
# with what is left. A quicker way is to remove the directions in which the means of the classes differ: after that no
# linear classifier can gain on guessing (Belrose et al. 2023). Here are both.


# %%
def reading_directions(states, labels):
    """Orthonormal directions [width, classes - 1] by which a linear classifier reads labels [n] off states."""
    validation = np.arange(len(states)) % 20 < 4  # whole pairs
    weight = probing.linear_probes(states, {"it": labels}, validation)["it"].weight
    return np.linalg.svd(weight - weight.mean(1, keepdims=True), full_matrices=False)[0][:, :-1]


# %%
def nullspace_directions(states, labels, rounds):
    """The directions that `rounds` classifiers in turn read from: orthonormal [width, rounds * (classes - 1)]."""
    basis = np.zeros((states.shape[1], 0), dtype=np.float32)
    for _ in range(rounds):
        left = states - states @ basis @ basis.T
        basis = np.linalg.qr(np.hstack([basis, reading_directions(left, labels)]))[0]
    return basis


# %%
def mean_directions(states, labels):
    """The directions in which the means of the classes differ: orthonormal [width, classes - 1]."""
    means = np.stack([states[labels == c].mean(0) for c in range(labels.max() + 1)])
    return np.linalg.svd(means - means.mean(0), full_matrices=False)[2][:-1].T


# %%
def without_directions(places, basis, center):
    """An edit that puts the states at `places` at the center along each direction of `basis`."""
    basis, center = (torch.tensor(x, dtype=torch.float32) for x in (basis, center))

    def edit(output):
        output = output.clone()
        output[places] -= (output[places] - center) @ basis @ basis.T
        return output

    return edit


# %% [markdown]
# What a network has *encoded* it need not *use* (Elazar et al. 2021). At the place before the verb stand two numbers, that
# of the subject and that of the last noun. The verb needs the first; the second is there because the noun was just read.
# A probe can't tell the one from the other. What will happen to agreement when the directions of each are removed at layer
# 4, from which the verb is read, or at layer 3, one block before, and what when random directions are?

# %%
STAGES = [causal.transformer.drop, *causal.transformer.h]  # layer 0, the embeddings, and the four blocks
DIRECTIONS = (0, 1, 4, 16)


# %%
def removal_states(seed):
    """Fresh beginnings to fit on and to test on, with the states before the verb [layers + 1, rows, width]."""
    for some in (beginnings(400, [1, seed]), beginnings(80, [2, seed])):
        yield some, np.stack([states[some.last].numpy() for states in outputs_of(STAGES, some.ids)])


# %%
def agreement_without(test, layer, basis, center):
    """Accuracy and mean right log-odds after removing directions before the verb at one layer."""
    with edited(STAGES[layer], without_directions(test.last, basis, center)):
        right = right_odds(test)
    return float((right > 0).float().mean()), float(right.mean())


# %%
def random_directions(count, width, seed):
    """Orthonormal directions [width, count] drawn at random."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, count)))[0]


# %%
def removal_run(seed, layer):
    """Agreement, and a fresh probe, after removing either number, or random directions, before the verb."""
    (train, fit), (test, held) = removal_states(seed)
    fit, held, center, found = fit[layer], held[layer], fit[layer].mean(0), {}
    random = random_directions(DIRECTIONS[-1], fit.shape[1], seed)
    for name in ("subject's number", "last noun's number", "random"):
        labels, test_labels = (some.labels.get(name) for some in (train, test))
        rounds = random if labels is None else nullspace_directions(fit, labels, DIRECTIONS[-1])
        removed = {count: rounds[:, :count] for count in DIRECTIONS}
        removed["means"] = random[:, :1] if labels is None else mean_directions(fit, labels)
        for count, basis in removed.items():
            found[f"agreement {name} {count}"] = agreement_without(test, layer, basis, center)[0]
            if labels is not None:
                found[f"probe {name} {count}"] = fresh_probe(fit, labels, held, test_labels, basis)
        found[f"rise {name}"] = rise_of_loss(layer, removed["means"], center, seed)
    return found


# %%
def rise_of_loss(layer, basis, center, seed):
    """Bits per token by which the loss on ordinary text rises when directions are removed at every token."""
    text = held_out_text(40, f"removal {seed}")
    real = text[:, :-1] != tokenizer.pad_token_id  # the last token predicts nothing
    with edited(STAGES[layer], without_directions(real, basis, center)):
        changed = ordinary_bits(text)
    return changed - ordinary_bits(text)


# %%
def fresh_probe(fit, labels, held, held_labels, basis):
    """Held-out accuracy of a probe fitted on states without the directions of `basis`."""
    fit, held = (states - states @ basis @ basis.T for states in (fit, held))
    validation = np.arange(len(fit)) % 20 < 4
    return probing.linear_probes(fit, {"it": labels}, validation)["it"].accuracy(held, held_labels)


# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
removal = lab.sweep(
    "removal",
    removal_run,
    [{"seed": s, "layer": k} for k in (3, 4) for s in range(10)],
    live=lambda s: s["seed"] == 0 and s["layer"] == 4,
)
for name in ("subject's number", "last noun's number", "random"):
    lab.check(removal, f"agreement {name} means", by=["layer"], slack=0.05)

# %% mystnb={"image": {"alt": "Two panels, for layers 3 and 4: agreement accuracy against what is removed before the verb, up to 16 directions in turn or the direction of the class means. All points are near 1 but three in layer 4: with 16 directions both numbers cost some agreement, and without the class means of the subject's number it falls to about one half."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
LINES = {
    "subject's number": ("causal", "o"),
    "last noun's number": ("masked", "s"),
    "random": ("baseline", "^"),
}
fig, axes = plt.subplots(1, 2, sharey=True, figsize=(6.4, 3.8), layout="constrained")
for ax, (layer, group) in zip(axes, removal.recorded.groupby("layer"), strict=True):
    for i, (name, (role, marker)) in enumerate(LINES.items()):
        curve = [mean_ci(group[f"agreement {name} {n}"]) for n in (*DIRECTIONS, "means")]
        places = np.arange(len(curve)) + 0.16 * (i - 1)
        errors = np.maximum(0, [[c.estimate - c.low, c.high - c.estimate] for c in curve]).T
        ax.errorbar(places, [c.estimate for c in curve], errors, label=name, color=COLORS[role], fmt=marker)
        print(f"layer {layer}, agreement without the class means, {name:18}: {curve[-1]}")
    ax.set(title=f"layer {layer}", xlabel="directions removed", ylim=(0.4, 1.04))
    ax.set_xticks(range(len(curve)), (*DIRECTIONS, "means"))
axes[0].set_ylabel("agreement accuracy")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=11)
show(fig)

# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
print(f"a fresh probe after removing {DIRECTIONS} directions, or the class means:")
for layer, group in removal.recorded.groupby("layer"):
    for name in PROPERTIES[:2]:
        left = ", ".join(f"{group[f'probe {name} {n}'].mean():.2f}" for n in (*DIRECTIONS, "means"))
        print(
            f"layer {layer}, {name:18} {left}; rise of the loss {mean_ci(group[f'rise {name}'])} bits a token"
        )

# %% tags=["hide-input"]
third, fourth = (
    {n: group[f"agreement {n} means"] for n in LINES} for _, group in removal.recorded.groupby("layer")
)
lab.conclude("remove-used", paired_ci(fourth["random"], fourth["subject's number"]), 10)
lab.conclude("encoded-not-used", paired_ci(fourth["random"], fourth["last noun's number"]), 10)
lab.conclude("remove-and-reread", paired_ci(third["random"], third["subject's number"]), 10)

# %% [markdown]
# Look at the probe first, for a removal that has not removed anything proves nothing. After sixteen classifiers in turn a
# fresh one still reads the subject's number about nine times in ten: each takes *some* direction that separates the
# training sentences, and the states offer many. And sixteen are not harmless: those of the last noun's number cost some
# agreement too, as the later ones, with nothing left to read, take whatever is there. The direction of the class means does
# it in one stroke. Then, at layer 4, agreement falls nearly to guessing, while the last noun's number, as readable before
# and as unreadable after, can go without any harm: encoded, and not used. But at layer 3 the subject's number can go as
# well! That does not mean it was not used there. One block remains, and we shall see where it gets the number from.
#
# Ravichander et al. (2021) put it as a general doubt: does the accuracy of a probe say anything about what the task needs?
# We take five properties at four layers. For each: how far a probe is above guessing, and how much of the right
# log-odds goes when the directions of one classifier are removed, beyond what as many random ones do.


# %%
def importance_run(seed):
    """Rank correlation, over properties and layers, of probe accuracy above guessing with importance for agreement."""
    (train, fit), (test, held) = removal_states(seed)
    readable, important, found = [], [], {}
    for layer in range(1, len(STAGES)):
        center, validation = fit[layer].mean(0), np.arange(len(fit[layer])) % 20 < 4
        for name, probe in probing.linear_probes(fit[layer], train.labels, validation).items():
            guess = np.bincount(test.labels[name]).max() / len(test.labels[name])
            readable.append((probe.accuracy(held[layer], test.labels[name]) - guess) / (1 - guess))
            basis = mean_directions(fit[layer], train.labels[name])
            control = random_directions(basis.shape[1], len(basis), [seed, layer])
            left, control_left = (agreement_without(test, layer, b, center)[1] for b in (basis, control))
            important.append(control_left - left)
            found |= {f"probe {name} {layer}": readable[-1], f"importance {name} {layer}": important[-1]}
    return {**found, "rank": float(spearmanr(readable, important).statistic)}


# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
importance = lab.sweep("importance", importance_run, [{"seed": s} for s in range(10)])
lab.check(importance, "rank", by=[])
for name in PROPERTIES:
    probe, harm = (importance.recorded[f"{what} {name} 3"].mean() for what in ("probe", "importance"))
    print(f"{name:18} at layer 3: probe above guessing {probe:.2f}, loss of right log-odds {harm:5.2f} nats")
print("rank correlation over properties and layers:", mean_ci(importance.recorded["rank"]))

# %% tags=["hide-input"]
lab.conclude("probe-not-importance", mean_ci(importance.recorded["rank"]), 10)

# %% [markdown]
# At layer 3 a probe reads four of the five with hardly an error, and agreement needs one of them. (The preposition is not
# there to be read.) Without the topic the right verb even becomes surer. Over all properties and layers the two numbers
# hardly go together. As an instrument for what a network *uses*, a probe has little to say.
#
# ### Patch activations
#
# Removal asks whether something is needed. Patching asks where it sits: run a sentence and its partner of the other
# number, copy *one* state from the partner's run, and let the network go on (Vig et al. 2020; Meng et al. 2022; Wang et
# al. 2023). The effect is the share of the way from one answer to the other. Two corners of the grid are known
# beforehand: at layer 0 the partners differ at the subject and nowhere else, and at the last layer only the last place is
# read. What happens in between? Do the words on the way pass the number on, or does it jump?


# %%
def from_run(some, states, roles):
    """An edit that takes the states at some roles (a list of indices into ROLES) from another run."""
    rows, places = torch.arange(len(some.ids))[:, None], some.places[:, roles]

    def edit(output):
        output = output.clone()
        output[rows, places] = states[rows, places]
        return output

    return edit


# %%
def partner(values):
    """Each row's partner: rows 0 and 1 exchanged, 2 and 3, and so on."""
    return values.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


# %%
def recovered(own, patched):
    """The share of the way from the rows' own log-odds to their partners' that a patch has gone, all rows together."""
    way = partner(own) - own
    return float(((patched - own) * way.sign()).sum() / way.abs().sum())


# %%
def patch_share(some, own, layer, role, states):
    """The recovered share when the states of `layer` at `role` are replaced by `states`; `own` are the odds before."""
    with edited(STAGES[layer], from_run(some, states, role)):
        return recovered(own, verb_odds(some))


# %% [markdown]
# The control patches come from a stranger: the sentence of *another* pair that has the same number as the sentence itself.
# If that too moves the answer, it is not the number that moved it.


# %%
def patch_run(seed):
    """Recovered shares for 100 pairs: each layer and role, subject and last place together, and controls."""
    some = beginnings(100, [3, seed])
    own, states, found = verb_odds(some), outputs_of(STAGES, some.ids), {}
    for layer, here in enumerate(states):
        for role in range(len(ROLES)):
            found[f"patch {layer} {role}"] = patch_share(some, own, layer, [role], partner(here))
        found[f"two places {layer}"] = patch_share(some, own, layer, [2, 6], partner(here))
        found[f"stranger {layer}"] = patch_share(some, own, layer, [2, 6], from_stranger(some, here))
    found["fewest"] = min(found[f"two places {layer}"] for layer in range(len(STAGES)))
    return found | methods_by_layer(some, states, found)


# %%
def from_stranger(some, states):
    """The states of the next pair's sentence of the same number, each role where the row itself has it."""
    rows, moved = torch.arange(len(states))[:, None], states.clone()
    moved[rows, some.places] = states[rows.roll(2, 0), some.places.roll(2, 0)]
    return moved


# %% [markdown]
# The same run asks, layer by layer, the two older methods about the same property at the same place: the best single unit
# of the states (chosen on half of the pairs, tested on the other half), and a linear probe.


# %%
def methods_by_layer(some, states, found):
    """Unit, probe and patch before the verb at each layer, 0 at chance and 1 at best; and each one's mean layer."""
    labels, half = some.labels["subject's number"], len(some.ids) // 2
    train = beginnings(400, [4, len(states), int(some.ids.sum())])
    result = {}
    for layer, fit in enumerate(outputs_of(STAGES, train.ids)):
        here, fit = states[layer][some.last].numpy(), fit[train.last].numpy()
        chosen = signed_selectivity(here[:half], labels[:half])
        unit = np.abs(chosen).argmax()
        tested = signed_selectivity(here[half:, [unit]], labels[half:])[0] * np.sign(chosen[unit])
        validation = np.arange(len(fit)) % 20 < 4
        probe = probing.linear_probes(fit, {"number": train.labels["subject's number"]}, validation)["number"]
        result |= {f"unit {layer}": float(tested), f"probe {layer}": 2 * probe.accuracy(here, labels) - 1}
    for name, key in (("unit", "unit {}"), ("probe", "probe {}"), ("patch", f"patch {{}} {len(ROLES) - 1}")):
        curve = [(result | found)[key.format(layer)] for layer in range(len(STAGES))]
        result[f"mean layer {name}"] = mean_layer(curve)
    return result


# %%
def mean_layer(curve):
    """Where a curve over layers rises: the mean layer, weighted by the rise at each (Tenney et al. 2019)."""
    rises = np.diff(curve)
    return float((rises * np.arange(1, len(curve))).sum() / rises.sum())


# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
patching = lab.sweep("patching", patch_run, [{"seed": s} for s in range(10)])
lab.check(patching, "fewest", by=[], slack=0.01)
lab.check(patching, "patch 2 2", by=[], slack=0.01)

# %% mystnb={"image": {"alt": "The patching grid: layers 0 to 4 from bottom to top, the words of the sentence from left to right, and in each cell the recovered share of the verb's log-odds, printed and colored. The share is 1 at the subject in layer 0 and 1 at the last word in layer 4."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
shares = np.array(
    [[patching.recorded[f"patch {k} {r}"].mean() for r in range(len(ROLES))] for k in range(len(STAGES))]
)
fig, ax = plt.subplots(figsize=(6.4, 3.9))
ax.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto", origin="lower")
for (k, r), share in np.ndenumerate(shares):
    ink = "black" if share > 0.55 else "white"
    ax.text(r, k, f"{round(share, 2) + 0:.2f}", ha="center", va="center", color=ink)  # + 0: no "-0.00"
ax.set_xticks(range(len(ROLES)), ["<s>", "the", "farmers", "near", "the", "old", "barn"], rotation=35)
ax.set(
    ylabel="state taken from layer", yticks=range(len(STAGES)), title="recovered share of the verb's number"
)
ax.grid(False)
show(fig)
print("subject, by layer:     ", shares[:, 2].round(2).tolist())
print("last place, by layer:  ", shares[:, -1].round(2).tolist())

# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
for what in ("two places", "stranger"):
    moved = [f"{patching.recorded[f'{what} {k}'].mean():.2f}" for k in range(len(STAGES))]
    print(f"{what:10} by layer: {', '.join(moved)}")

# %% tags=["hide-input"]
worst = patching.recorded[[f"stranger {k}" for k in range(len(STAGES))]].abs().max(axis=1)
lab.conclude("patch-two-places", mean_ci(patching.recorded["fewest"]), 10)
lab.conclude("patch-stranger", mean_ci(worst), 10)

# %% [markdown]
# Two bright stretches and nothing between them. Up to layer 2 the number sits at the subject alone; after block 3 more than
# half of it is at the last place, after block 4 all. No word on the way carries it, at any layer: the number jumps. The two
# places together account for the whole effect, and strangers of the same number hardly move the verb. This also explains
# the removal at layer 3: what was taken from the last place could be fetched once more from the subject.
#
# Something carries the number to the last place, and in a Transformer that can only be attention. Which heads? Patch
# one head's output at the last place, in each of the 16. The eye would have chosen otherwise: it would have looked for
# heads whose attention at the last place falls on the subject. Do eye and hand agree?

# %%
HEADS, HEAD_WIDTH = causal.config.n_head, causal.config.n_embd // causal.config.n_head


# %%
@contextmanager
def head_from_partner(some, layer, head):
    """While this lasts, one head gives at the last place what it gives in the partner's run."""
    part = slice(head * HEAD_WIDTH, (head + 1) * HEAD_WIDTH)

    def edit(module, inputs):
        mixed = inputs[0].clone()
        mixed[(*some.last, part)] = partner(mixed[some.last])[:, part]
        return (mixed,)

    handle = causal.transformer.h[layer].attn.c_proj.register_forward_pre_hook(edit)
    try:
        yield
    finally:
        handle.remove()


# %%
@torch.no_grad()
def heads_run(seed):
    """For each head: attention from the last place to the subject, and the recovered share when it is patched."""
    some, found = beginnings(100, [3, seed]), {}
    own, (rows, last) = verb_odds(some), some.last
    weights = causal.transformer(some.ids, output_attentions=True).attentions
    for layer in range(causal.config.n_layer):
        for head in range(HEADS):
            found[f"eye {layer + 1}.{head}"] = float(
                weights[layer][rows, head, last, some.places[:, 2]].mean()
            )
            with head_from_partner(some, layer, head):
                found[f"hand {layer + 1}.{head}"] = recovered(own, verb_odds(some))
    return found


# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
heads = lab.sweep("heads", heads_run, [{"seed": s} for s in range(10)])
NAMES = [f"{layer + 1}.{head}" for layer in range(causal.config.n_layer) for head in range(HEADS)]
eye, hand = (
    heads.recorded[[f"{what} {name}" for name in NAMES]].mean().to_numpy() for what in ("eye", "hand")
)
lab.check(heads, f"hand {NAMES[hand.argmax()]}", by=[], slack=0.01)

# %% mystnb={"image": {"alt": "Sixteen heads as points with their names: attention from the last place to the subject on the horizontal axis, recovered share of the verb's number when the head is patched on the vertical axis."}} tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
fig, ax = plt.subplots()
ax.scatter(eye, hand, color=COLORS["causal"], zorder=3)
for i in set(np.argsort(-eye)[:3]) | set(np.argsort(-hand)[:3]):
    ax.annotate(NAMES[i], (eye[i], hand[i]), xytext=(-30, -4), textcoords="offset points", fontsize=12)
ax.set(xlabel="attention to the subject", ylabel="recovered share, head patched", xlim=(0, eye.max() * 1.12))
ax.margins(y=0.12)
show(fig)
for what, values in (("attention to the subject", eye), ("recovered share", hand)):
    best = [f"{NAMES[i]} ({values[i]:.2f})" for i in np.argsort(-values)[:3]]
    print(f"{what}: {', '.join(best)}, mean of all {values.mean():.2f}")
print("rank correlation over the 16 heads:", rank_correlation_ci(eye, hand))

# %% tags=["hide-input"]
lab.conclude("eye-and-hand", rank_correlation_ci(eye, hand), 10)

# %% [markdown]
# The three heads that look at the subject hardest are the three whose patch does most, two in block 3 and one in block 4,
# and together they bring nearly all of the number. So the eye chose well here. It could not have known how the three share
# the work: their attention is nearly the same, their effects are not. And over all sixteen heads, most of which neither look
# nor matter, the interval of the rank correlation is wide.
#
# Now one property, three methods, side by side: the subject's number before the verb, seen as the best unit, read by a
# probe, and moved by a patch. All three are scaled to 0 at chance and 1 at best. Do they name the same layer?

# %% tags=["nbval-ignore-output"] reason="numbers of networks differ between processors; the check holds them"
METHODS = {"picture": "unit {}", "probe": "probe {}", "change": f"patch {{}} {len(ROLES) - 1}"}
print(f"{'layer':8}" + "".join(f"{k:7}" for k in range(len(STAGES))) + "   mean layer of the rise")
for name, key in METHODS.items():
    values = "".join(f"{patching.recorded[key.format(k)].mean():7.2f}" for k in range(len(STAGES)))
    print(f"{name:8}{values}   {mean_ci(patching.recorded['mean layer ' + key.split()[0]])}")

# %% tags=["hide-input"]
rise = {name: patching.recorded[f"mean layer {name}"] for name in ("unit", "probe", "patch")}
lab.conclude("methods-one-layer", paired_ci(rise["patch"], rise["probe"]), 10)

# %% [markdown]
# They don't. Picture and probe find the number earlier than the patch can move it: after block 2 a probe is well above
# chance at a place where patching does next to nothing, because a trace is enough for a classifier that is trained to find
# it. The methods agree on the last two layers, and on what is not there at all: at layer 0 nobody finds anything.
#
# ### Dictionary features
#
# Units make a poor vocabulary if a network stores more properties than it has units, each in a direction of its own. Sparse
# autoencoders learn those directions (Bricken et al. 2023; Cunningham et al. 2024): write every state as a sum of a few
# entries from a large dictionary. Ours has 768 entries for the states of layer 3, and 12 may be active at a time.


# %%
class SparseDictionary(torch.nn.Module):
    """A top-k sparse autoencoder: at most `active` of `size` features write a state."""

    def __init__(self, center, size=768, active=12):
        super().__init__()
        write = torch.nn.functional.normalize(torch.randn(size, len(center)), dim=1)
        self.center, self.bias = torch.nn.Parameter(center.clone()), torch.nn.Parameter(torch.zeros(size))
        self.read, self.write = torch.nn.Parameter(write.T.clone()), torch.nn.Parameter(write.clone())
        self.active = active

    def features(self, states):
        """Activations [n, size], zero but for the largest ones."""
        found = torch.relu((states - self.center) @ self.read + self.bias)
        return torch.where(found >= found.topk(self.active, dim=1).values[:, -1:], found, 0)

    def forward(self, states):
        """The states [n, width] as the dictionary writes them."""
        return self.features(states) @ self.write + self.center


# %%
def fit_dictionary(dictionary, states, seed, steps=400, rows=1024):
    """Train in place on the squared error; the unexplained share of the variance at the end."""
    random = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(dictionary.parameters(), lr=2e-3)
    variance = (states - states.mean(0)).square().sum(1).mean()
    for _ in settings.progress(range(steps), "dictionary"):
        some = states[torch.randint(len(states), (rows,), generator=random)]
        loss = (dictionary(some) - some).square().sum(1).mean() / variance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            dictionary.write /= dictionary.write.norm(dim=1, keepdim=True)
    return loss.item()


# %% [markdown]
# Which units stand for a planted property? We ask about the number of a noun, the number of the subject at the words
# between it and its verb, being inside a relative clause, the opinion that a cue like *sadly* announces, and the topic
# (twelve questions, averaged). For each the best of 768 neurons (the hidden layer of block 3) is chosen on one text and
# tested on another, and so is the best of 768 features: as many lottery tickets for both. A third competitor is the
# dictionary before training, 768 random directions. Which will win, and on which property?


# %%
def inside_relative(sentence):
    """For each word whether it stands in a relative clause: below a `that` which hangs on a noun."""
    inside = []
    for i in range(len(sentence.words)):
        while i >= 0 and not (sentence.words[i] == "that" and sentence.pos[sentence.heads[i]] == "NOUN"):
            i = sentence.heads[i]
        inside.append(int(i >= 0))
    return inside


# %%
def between(sentence, starts_ends_labels):
    """Labels of the words strictly between two places, SKIP elsewhere."""
    labels = [probing.SKIP] * len(sentence.words)
    for start, end, label in starts_ends_labels:
        labels[start + 1 : end] = [label] * (end - start - 1)
    return labels


# %%
def carried_number(sentence):
    """The subject's number at the words between subject and verb."""
    return between(
        sentence,
        [(a.controller, a.verb, int(sentence.numbers[a.controller] == "pl")) for a in sentence.agreements],
    )


# %%
CUE_SIDE = {
    w: int(side == "positive") for (s, side), t in reviews.POLAR["AB"].items() if s == "cue" for w in t.items
}


# %%
def carried_opinion(sentence):
    """The side that a cue announces, at the words between the cue and the opinion word."""
    if sentence.words[0] not in CUE_SIDE:
        return [probing.SKIP] * len(sentence.words)
    return between(sentence, [(0, sentence.slots.index("polar"), CUE_SIDE[sentence.words[0]])])


# %%
def planted_properties(documents):
    """Binary labels of every word, `SKIP` where a property is not asked: name -> int [words]."""
    labels = defaultdict(list)
    for document in documents:
        for s in document.sentences:
            labels["number of a noun"] += [{"sg": 0, "pl": 1}.get(n, -1) if p == "NOUN" else -1
                                           for n, p in zip(s.numbers, s.pos, strict=True)]  # fmt: skip
            labels["number of the subject"] += carried_number(s)
            labels["inside a relative clause"] += inside_relative(s)
            labels["announced opinion"] += carried_opinion(s)
            for topic in world.topics:
                here = int(document.about == topic) if document.kind == "scene" else probing.SKIP
                labels[f"topic {topic}"] += [here] * len(s.words)
    return {name: np.array(values) for name, values in labels.items()}


# %%
DICTIONARY_LAYER = 3


# %%
def states_and_neurons(seed, words):
    """Documents, states after block 3 [words, width], and its hidden units [words, 768], at each word's last sub-word."""
    documents, found = world.corpus(words, seed), ([], [])
    for start in range(0, len(documents), 64):
        pieces = [pieces_of(*d.words) for d in documents[start : start + 64]]
        rows = [[tokenizer.bos_token_id, *(i for word in text for i in word)] for text in pieces]
        ids = training.pad(rows, max(map(len, rows)), tokenizer.pad_token_id)
        ends = [np.cumsum([len(word) for word in text]) for text in pieces]
        where = np.repeat(np.arange(len(rows)), [len(e) for e in ends]), np.concatenate(ends)
        for kept, output in zip(
            found, outputs_of([STAGES[DICTIONARY_LAYER], HIDDEN[DICTIONARY_LAYER - 1]], ids), strict=True
        ):
            kept.append(output[where])
    return documents, *(torch.cat(kept) for kept in found)


# %%
@cache
def learned_dictionary(seed):
    """A dictionary before training, the same after it, and the share of variance that it leaves unexplained."""
    _, states, _ = states_and_neurons(f"dictionary {seed}", 20_000)
    torch.manual_seed(seed)
    blank = SparseDictionary(states.mean(0)).requires_grad_(False)
    torch.manual_seed(seed)
    dictionary = SparseDictionary(states.mean(0))
    unexplained = fit_dictionary(dictionary, states, seed)
    return blank, dictionary.requires_grad_(False), unexplained


# %%
def best_unit(chosen_on, tested_on, labels, test_labels):
    """The column of the greatest selectivity on one text, and its selectivity on another."""
    asked, test_asked = labels != probing.SKIP, test_labels != probing.SKIP
    scores = signed_selectivity(chosen_on[asked], labels[asked])
    best = int(np.abs(scores).argmax())
    tested = signed_selectivity(tested_on[test_asked][:, [best]], test_labels[test_asked])[0]
    return best, float(tested * np.sign(scores[best]))


# %%
def dictionary_run(seed):
    """Held-out selectivity of the best of 768 neurons, features and random directions, for each property."""
    blank, dictionary, unexplained = learned_dictionary(seed)
    texts = [states_and_neurons(f"dictionary {seed} {side}", 5000) for side in ("choose", "test")]
    labels, test_labels = (planted_properties(documents) for documents, _, _ in texts)
    found = {"unexplained": unexplained}
    for kind in ("neuron", "feature", "random"):
        reader = {"feature": dictionary, "random": blank}.get(kind)
        sides = [(reader.features(states) if reader else neurons).numpy() for _, states, neurons in texts]
        scores = {name: best_unit(*sides, labels[name], test_labels[name])[1] for name in labels}
        found |= {f"{kind}: {name}": value for name, value in scores.items() if not name.startswith("topic")}
        found[f"{kind}: topic"] = float(
            np.mean([v for name, v in scores.items() if name.startswith("topic")])
        )
        found[kind] = float(np.mean([v for name, v in found.items() if name.startswith(kind + ":")]))
    return found


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
dictionaries = lab.sweep("dictionaries", dictionary_run, [{"seed": s} for s in range(5)])
lab.check(dictionaries, "feature", by=[], slack=0.01)
lab.check(dictionaries, "unexplained", by=[], slack=0.01)
print("variance that the dictionary leaves unexplained:", mean_ci(dictionaries.recorded["unexplained"]))

# %% mystnb={"image": {"alt": "Horizontal bars for five planted properties, three each: held-out selectivity of the best of 768 neurons, of 768 dictionary features, and of 768 random directions."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
PROPERTIES = [c.removeprefix("neuron: ") for c in dictionaries.recorded if c.startswith("neuron: ")]
fig, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
for i, (kind, role) in enumerate((("neuron", "frozen"), ("feature", "causal"), ("random", "baseline"))):
    ci = [mean_ci(dictionaries.recorded[f"{kind}: {name}"]) for name in PROPERTIES]
    widths = [[max(0, c.estimate - c.low) for c in ci], [max(0, c.high - c.estimate) for c in ci]]
    places = np.arange(len(PROPERTIES)) + 0.27 * (i - 1)
    ax.barh(
        places, [c.estimate for c in ci], 0.25, xerr=widths, label=kind, color=COLORS[role], ecolor="black"
    )
    print(
        f"{kind:8} " + ", ".join(f"{name} {c.estimate:.2f}" for name, c in zip(PROPERTIES, ci, strict=True))
    )
ax.set(
    yticks=range(len(PROPERTIES)),
    yticklabels=PROPERTIES,
    xlabel="held-out selectivity of the best unit",
    xlim=(0, 1.02),
)
ax.invert_yaxis()
fig.legend(loc="outside upper center", ncols=3)
show(fig)

# %% tags=["hide-input"]
best = dictionaries.recorded
lab.conclude("feature-minus-neuron", paired_ci(best["feature"], best["neuron"]), 5)
lab.conclude("feature-minus-random", paired_ci(best["feature"], best["random"]), 5)

# %% [markdown]
# The dictionary has learned something: its best features are far better than random directions. But only for the topic are
# they better than the best neurons, and on the whole they are worse. One reason is the question. A feature that is active at
# two words of a hundred cannot follow a property of every second word; it takes a share of it, such as the plural of a few
# nouns, and leaves the rest to other features. Selectivity asks for one unit that covers the whole property. A question about
# purity (what share of a unit's strongest contexts have the property?) might end otherwise, but ours was fixed before the
# runs.
#
# A feature is understood by what switches it on. Here are the strongest contexts, on fresh text, of the feature chosen for
# relative clauses. Would you have guessed its name?

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
read, read_states, _ = states_and_neurons("dictionary contexts", 5000)
active = learned_dictionary(0)[1].features(read_states).numpy()
in_clause = planted_properties(read)["inside a relative clause"]
feature, _ = best_unit(active, active, in_clause, in_clause)
read_words = [word for document in read for word in document.words]

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for i in np.argsort(-active[:, feature])[:100:20]:
    print(f"{active[i, feature]:5.2f}  {' '.join(read_words[max(0, i - 7) : i])} [{read_words[i]}]")
print(f"active at {np.mean(active[:, feature] > 0):.1%} of all words")

# %% [markdown]
# The strongest contexts look like a relative clause, the weaker ones less and less: naming a feature after its top examples
# is once more choosing by picture.
#
# ### Break it
#
# Two bugs, neither of which raises an error, and both of which say that *the number is nowhere*. A hook that edits a copy and
# forgets to hand it back returns `None`, and PyTorch goes on with the untouched output. And a baseline that is measured
# while the hook is still in place has been changed as well, so that every effect is zero.


# %%
def forgetful(output):
    """Silences every unit, so it seems."""
    output = output.clone()
    output[:] = 0


# %%
own = verb_odds(shown)
block_2 = outputs_of([STAGES[2]], shown.ids)[0]
with edited(STAGES[2], forgetful):
    print("all units of layer 2 silenced, change of the answer:", float((verb_odds(shown) - own).abs().max()))
with edited(STAGES[2], from_run(shown, partner(block_2), [2])):
    print("subject patched at layer 2, late baseline:", recovered(verb_odds(shown), verb_odds(shown)))
print(
    "subject patched at layer 2, as it should be:",
    round(patch_share(shown, own, 2, [2], partner(block_2)), 2),
)

# %% [markdown]
# Before you believe a grid, ask it two things whose answers are known. Patching a sentence into itself must change nothing,
# and patching all places at once must give the partner's answer. The first assertion alone would have passed both bugs.

# %%
every_role = list(range(len(ROLES)))
assert patch_share(shown, own, 2, every_role, block_2) == 0
with edited(STAGES[2], lambda output: partner(block_2)):
    assert torch.allclose(verb_odds(shown), partner(own), atol=1e-4)
assert abs(patch_share(shown, own, 0, [2], partner(outputs_of(STAGES, shown.ids)[0])) - 1) < 1e-4

# %% [markdown]
# ## Real English
#
# The world is tidy: a few thousand words, no typing errors, one reading for each sentence. Does what held there
# hold for a real encoder on real English? Ours is MiniLM, six layers of width 384, distilled from a BERT and then
# tuned on sentence pairs until similar sentences got similar vectors. It came without a masked-LM head, so it can't
# be asked what it would say; it can only be probed. One model is one model: the intervals below are over samples of
# sentences (and, for its untrained twin, over random weights), not over encoders.
#
# The profile chooses the sentences. In `mini` they are the course's own treebank, 235 sentences annotated in the
# scheme of Universal Dependencies, and the world's sentences, which MiniLM reads as the English that they are. In
# `full` they are web English (UD English EWT) and published test items. The cells are the same.

# %%
from utils import items, minilm, treebank

FULL = settings.profile() == "full"
PREFIX = "ewt-" if FULL else "english-"


# %%
def english_encoders(seed):
    """MiniLM, and a twin of the same shape whose random weights are drawn from `seed`."""
    return {
        "MiniLM": probing.transformer("MiniLM", *minilm.load()),
        "random": probing.transformer("random", *minilm.load(random_init=True, seed=seed)),
    }


# %% tags=["hide-input"]
def english_sentences(seed):
    """Annotated sentences in a random order, and how many of them are for fitting and for validation."""
    random = np.random.default_rng(seed)
    if not FULL:
        pool = [s for split in ("train", "dev", "test") for s in treebank.english(split)]
        return [pool[i] for i in random.permutation(len(pool))], 141, 35
    pools = [[s for s in treebank.ewt(split) if 4 <= len(s.words) <= 40] for split in ("train", "test")]
    train, test = ([pool[i] for i in random.permutation(len(pool))] for pool in pools)
    return train[:300] + test[:150], 240, 60


# %%
first = english_sentences(0)[0][0]
for i, word in enumerate(first.words):
    head = first.words[first.heads[i]] if first.heads[i] >= 0 else "(nothing)"
    print(f"{word:12} {first.pos[i]:6} {first.relations[i]:12} of {head}")

# %% [markdown]
# ### Which layer knows what?
#
# Every word gets four labels: its tag, its parent's tag, its grandparent's tag, and its relation to the parent. The
# static embedding of a word (layer 0) knows the word and its place in the sentence, and nothing of the other words.
# Before you look: for which labels will that be nearly enough? And which of the six layers will be best?


# %%
def tree_labels(sentence):
    """Tag, parent's tag, grandparent's tag and relation of each word of a sentence, by task."""

    def up(i):
        return sentence.heads[i] if i >= 0 else -1

    tags = [*sentence.pos, "ROOT"]  # the last entry stands at index -1
    words = range(len(sentence.words))
    return {
        "tag": list(sentence.pos),
        "parent": [tags[up(i)] for i in words],
        "grandparent": [tags[up(up(i))] for i in words],
        "relation": [relation.split(":")[0] for relation in sentence.relations],
    }


# %%
def numbered(labels):
    """Labels as whole numbers; None becomes SKIP."""
    number = {label: i for i, label in enumerate(sorted({x for x in labels if x is not None}))}
    return np.array([number.get(label, probing.SKIP) for label in labels])


# %% [markdown]
# A probe with many weights could learn by heart which word has which label. So each label gets a **control task**
# (Hewitt and Liang 2019): every word type is given a random label, drawn as often as the real ones occur. Only a
# probe that learns word types by heart can do well on it. What is left, accuracy minus control accuracy, is called
# *selectivity*.


# %%
def control(words, labels, seed):
    """A random label for each word type, with the frequencies of the real labels."""
    random = np.random.default_rng(seed)
    drawn = {word: random.choice(labels[labels != probing.SKIP]) for word in sorted(set(words))}
    return np.where(labels == probing.SKIP, probing.SKIP, [drawn[word] for word in words])


# %%
def probe_layers(states, tasks_, parts, name):
    """Test accuracy of every task at every layer, and at the layer (of 1 to 6) that does best on validation."""
    found, held = {}, {}
    fit = parts < 2  # 0 fits, 1 validates, 2 tests
    for k, layer in enumerate(states):
        probes = probing.linear_probes(layer[fit], {t: y[fit] for t, y in tasks_.items()}, parts[fit] == 1)
        for task, probe in probes.items():
            found[f"{name} {task} {k}"] = probe.accuracy(layer[parts == 2], tasks_[task][parts == 2])
            held[task, k] = probe.accuracy(layer[parts == 1], tasks_[task][parts == 1])
    for task in tasks_:
        best = max(range(1, len(states)), key=lambda k: held[task, k])
        found[f"{name} {task} layer"] = best
        found[f"{name} {task} best"] = found[f"{name} {task} {best}"]
    return found


# %% tags=["hide-input"]
def split_words(sentences, fitted, validated):
    """The part of each word: 0 fits, 1 validates, 2 tests; a sentence is never divided."""
    return np.searchsorted([fitted, fitted + validated], probing.sentence_ids(sentences), side="right")


# %% [markdown]
# *Static* and *contextual* differ most where one form has several tags: *the cook*, *they cook*. Such words of the
# test sentences are scored apart. And since no single layer need be best for everything, a last probe reads a
# learned mixture: seven weights that sum to one, trained together with a linear classifier, as ELMo's users did
# (Peters et al. 2018). The weighted mean of the layer numbers is the mixture's **center of gravity**.


# %%
def layer_mix(states, labels, parts, seed, steps=150):
    """Weights of the seven layers, trained with a linear classifier on the fitting words: float [layers + 1]."""
    torch.manual_seed(seed)
    asked = (labels != probing.SKIP) & (parts == 0)
    x, y = torch.from_numpy(states[:, asked]), torch.from_numpy(labels[asked])
    x = torch.nn.functional.layer_norm(x, x.shape[-1:])  # layers differ in scale
    scalars = torch.zeros(len(states), requires_grad=True)
    classify = torch.nn.Linear(x.shape[-1], int(y.max()) + 1)
    optimizer = torch.optim.Adam(
        [{"params": [scalars], "lr": 0.05}, {"params": classify.parameters(), "lr": 0.01}], weight_decay=1e-4
    )
    for _ in range(steps):
        mixture = torch.einsum("l,lnd->nd", scalars.softmax(0), x)
        loss = torch.nn.functional.cross_entropy(classify(mixture), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return scalars.detach().softmax(0).numpy()


# %%
def mix_scores(states, tasks_, parts, seed):
    """For each task the center of gravity of its mixture, and the accuracy of a linear probe on the mixture."""
    found = {}
    whole = torch.nn.functional.layer_norm(torch.from_numpy(states), states.shape[-1:]).numpy()
    for task, labels in tasks_.items():
        weights = layer_mix(states, labels, parts, seed)
        mixture = np.einsum("l,lnd->nd", weights, whole)
        found |= {f"gravity {task}": float(weights @ np.arange(len(weights)))}
        found |= {f"mix {task}": probe_layers([mixture, mixture], {task: labels}, parts, "")[f" {task} best"]}
    return found


# %% tags=["hide-input"]
def several_tags(words, tags):
    """Which words have a form that stands with more than one tag: bool [words]."""
    several = Counter(word for word, _ in {*zip(words, tags, strict=True)})
    return np.array([several[word] > 1 for word in words])


# %%
def english_run(seed):
    """Accuracy of every task and its control at every layer, for MiniLM and its random twin."""
    sentences, fitted, validated = english_sentences(seed)
    texts = [s.words for s in sentences]
    words = [word.lower() for text in texts for word in text]
    labels = [tree_labels(s) for s in sentences]
    tasks_ = {t: numbered([x for s in labels for x in s[t]]) for t in labels[0]}
    parts = split_words(texts, fitted, validated)
    more = {f"{t} control": control(words, y, seed) for t, y in tasks_.items()}
    asked = several_tags(words, tasks_["tag"]) | (parts < 2)
    more["ambiguous"] = np.where(asked, tasks_["tag"], probing.SKIP)
    found = {"ambiguous words": int((asked & (parts == 2)).sum())}
    for name, encoder in english_encoders(seed).items():
        states = probing.word_states(encoder, texts)
        found |= probe_layers(states, tasks_ | more, parts, name)
        if name == "MiniLM":
            found |= mix_scores(states, tasks_, parts, seed)
    return found


# %%
english = lab.sweep(
    "English", english_run, [{"seed": s} for s in range(5 if FULL else 12)], live=lambda s: s["seed"] == 0
)

# %% tags=["nbval-ignore-output"] reason="the last digits of states differ between processors; the check holds them"
for name in ("MiniLM", "random"):
    lab.check(english, f"{name} tag best", by=[], slack=0.01)
    lab.check(english, f"{name} relation best", by=[], slack=0.01)
print("accuracy            static   MiniLM   random twin")
for task in ("tag", "ambiguous", "parent", "grandparent", "relation"):
    means = [
        english.recorded[f"{c}"].mean()
        for c in (f"MiniLM {task} 0", f"MiniLM {task} best", f"random {task} best")
    ]
    print(f"{task:18}" + "".join(f"{mean:9.2f}" for mean in means))

# %% mystnb={"image": {"alt": "Two line plots over the layers 0 to 6 of MiniLM and of its random twin: accuracy of the relation, and of the tag on real English. MiniLM's lines rise from the static layer and stay above the random twin's."}} tags=["nbval-ignore-output"] reason="the last digits of states differ between processors; the check holds them"
fig, axes = plt.subplots(1, 2, sharey=True, figsize=(6.4, 3.6))
for ax, task in zip(axes, ("tag", "relation"), strict=True):
    for name, color in (("MiniLM", COLORS["pretrained"]), ("random", COLORS["baseline"])):
        columns = [f"{name} {task} {k}" for k in range(7)]
        band(ax, range(7), [mean_ci(english.recorded[c]) for c in columns], name, color)
        held = [english.recorded[f"{name} {task} control {k}"].mean() for k in range(7)]
        ax.plot(range(7), held, "--", color=color, label=f"{name}, control")
    ax.set(title=task, xlabel="layer", ylim=(0, 1))
axes[0].set_ylabel("accuracy")
axes[0].legend(loc="lower left")
show(fig)
print("control (dashed), tag at layer 3: MiniLM", mean_ci(english.recorded["MiniLM tag control 3"]))

# %% mystnb={"image": {"alt": "Heat map with the layers 0 to 6 of MiniLM as columns and the tasks tag, ambiguous words, parent, grandparent and relation as rows; the accuracy stands in each cell."}} tags=["nbval-ignore-output"] reason="the last digits of states differ between processors; the check holds them"
rows = ("tag", "ambiguous", "parent", "grandparent", "relation")
table = np.array([[english.recorded[f"MiniLM {t} {k}"].mean() for k in range(7)] for t in rows])
fig, ax = plt.subplots(figsize=(6, 3.2))
ax.imshow(table - table.max(axis=1, keepdims=True), cmap="cividis", aspect="auto", vmin=-0.15)
for row, line in enumerate(table):
    for k, value in enumerate(line):
        dark = value < line.max() - 0.08
        ax.text(
            k, row, f"{value:.2f}", ha="center", va="center", color="white" if dark else "black", fontsize=12
        )
ax.grid(False)
ax.set(xticks=range(7), yticks=range(len(rows)), yticklabels=rows, xlabel="layer")
show(fig)
print("best layer:", {task: int(line.argmax()) for task, line in zip(rows, table, strict=True)})

# %% [markdown]
# The static layer is right on nine tags in ten, since most forms have one tag only. On forms with several tags it
# falls to two in three, and the sentence brings back what it lacks. Every row of the table rises to the second or
# third layer and falls at the end: the last layer, which was tuned to compare whole sentences, is no better than
# the static one, save where a form has several tags. The random twin gets little from its layers. Its states are
# nearly functions of the word, and so they serve the control task, a random label per word type, better than
# MiniLM's do.
#
# Is there one best layer, or should the probe mix them? Guess before you run: does a mixture of all layers beat the
# best single one?


# %%
def mean_of(sweep, columns):
    """The mean of several columns, run by run."""
    return sweep.recorded[list(columns)].mean(axis=1)


# %%
CORE = ("tag", "parent", "relation")
best_layer = mean_of(english, [f"MiniLM {t} best" for t in CORE])
syntax = ("tag", "parent", "grandparent", "relation")
low, center, high = (
    mean_of(english, [f"MiniLM {t} {k}" for t in syntax for k in pair]) for pair in ((1, 2), (3, 4), (5, 6))
)
print("layers 1-2, 3-4, 5-6:", mean_ci(low), mean_ci(center), mean_ci(high))
for task in syntax:
    print(f"{task:12} center of gravity {mean_ci(english.recorded[f'gravity {task}'])}")

# %% tags=["hide-input"]
SEEDS = len(english.recorded)
lab.conclude(
    f"{PREFIX}context", paired_ci(best_layer, mean_of(english, [f"MiniLM {t} 0" for t in CORE])), SEEDS
)
lab.conclude(
    f"{PREFIX}over-random",
    paired_ci(*(mean_of(english, [f"{n} {t} best" for t in syntax[:3]]) for n in ("MiniLM", "random"))),
    SEEDS,
)
lab.conclude(f"{PREFIX}middle", paired_ci(center, np.maximum(low, high)), SEEDS)
lab.conclude(f"{PREFIX}mix", paired_ci(mean_of(english, [f"mix {t}" for t in CORE]), best_layer), SEEDS)
lab.conclude(
    f"{PREFIX}gravity",
    paired_ci(english.recorded["gravity relation"], english.recorded["gravity tag"]),
    SEEDS,
)


# %%
def selectivity(frame, name):
    """Accuracy minus control accuracy of the tag, at the layer that validation chose for the tag."""
    chosen = frame[f"{name} tag layer"].astype(int)
    held = [run[f"{name} tag control {k}"] for (_, run), k in zip(frame.iterrows(), chosen, strict=True)]
    return frame[f"{name} tag best"] - held


# %% tags=["nbval-ignore-output"] reason="the last digits of states differ between processors; the check holds them"
for name in ("MiniLM", "random"):
    print(f"selectivity of the tag probe, {name}: {mean_ci(selectivity(english.recorded, name))}")
lab.conclude(
    f"{PREFIX}selectivity",
    paired_ci(*(selectivity(english.recorded, n) for n in ("MiniLM", "random"))),
    SEEDS,
)

# %% [markdown]
# The middle layers win, relations draw on slightly deeper layers than tags, and MiniLM is far ahead of its twin.
# One verdict is *contradicted*: the learned mixture loses a little against the one layer that validation chose. Its
# weights are trained on some 1,400 words and stay spread over all layers (the center of gravity is near the middle
# because everything gets a share), so the mixture carries the upper layers along. With more text, as in `full`,
# this may come out otherwise; the rule stays.
#
# Selectivity says why accuracy alone is not enough. The twin's tag probe looks respectable until its control is
# seen: nearly all of it is knowing word types by heart. What MiniLM's middle layers do best is *forget* words, in
# favor of what words have in common.
#
# ### Syntax, meaning, and wrong endings
#
# Tenney et al. (2019) found that context helps a lot with syntax and little with meaning. For a label of meaning
# take one that words carry themselves, most of the time: the topic of the scene that a noun stands in (in `full`,
# the type of an entity in WNUT-17). Which of the two will gain more over layer 0?


# %% tags=["hide-input"]
def meaning_words(seed):
    """Sentences, a label of meaning for each word (None: not asked), and a label of syntax for each word or None."""
    if FULL:
        random = np.random.default_rng(seed)
        pool = items.entities()
        chosen = [pool[i] for i in random.permutation(len(pool))[:500]]
        return [words for words, _ in chosen], [x for _, types in chosen for x in types], None
    texts, meaning, syntax = [], [], []
    for document in world.documents(f"english {seed}", "scene"):
        for sentence in document.sentences:
            texts.append(sentence.words)
            meaning += [document.about if pos == "NOUN" else None for pos in sentence.pos]
            tags = [*sentence.pos, "ROOT"]
            syntax += [tags[head] for head in sentence.heads]
        if len(texts) >= 700:
            return texts, meaning, syntax
    raise AssertionError("a stream of documents has no end")


# %%
def meaning_run(seed):
    """Accuracy at layer 0 and at the best layer, for a label of syntax and one of meaning."""
    encoder = english_encoders(seed)["MiniLM"]
    texts, meaning, syntax = meaning_words(seed)
    parts = split_words(texts, int(0.6 * len(texts)), int(0.15 * len(texts)))
    tasks_ = {"meaning": numbered(meaning)} | ({"syntax": numbered(syntax)} if syntax else {})
    found = probe_layers(probing.word_states(encoder, texts), tasks_, parts, "MiniLM")
    if FULL:
        sentences, fitted, validated = english_sentences(seed)
        texts = [s.words for s in sentences]
        labels = numbered([x for s in sentences for x in tree_labels(s)["relation"]])
        parts = split_words(texts, fitted, validated)
        found |= probe_layers(probing.word_states(encoder, texts), {"syntax": labels}, parts, "MiniLM")
    return {
        f"{t} {k}": found[f"MiniLM {t} {k}"] for t in ("meaning", "syntax") for k in ("0", "best", "layer")
    }


# %%
english_meaning = lab.sweep("English meaning", meaning_run, [{"seed": s} for s in range(5 if FULL else 10)])

# %% tags=["nbval-ignore-output"] reason="the last digits of states differ between processors; the check holds them"
lab.check(english_meaning, "meaning best", by=[], slack=0.01)
context_gains = {
    t: english_meaning.recorded[f"{t} best"] - english_meaning.recorded[f"{t} 0"]
    for t in ("syntax", "meaning")
}
for task, gained in context_gains.items():
    print(
        f"{task:8} static {english_meaning.recorded[f'{task} 0'].mean():.2f}, gained by context {mean_ci(gained)}"
    )
lab.conclude(
    f"{PREFIX}syntax-gain",
    paired_ci(context_gains["syntax"], context_gains["meaning"]),
    len(english_meaning.recorded),
)

# %% [markdown]
# A tag can often be guessed from the word and its neighbor. Whether a verb has the *right ending* asks for more:
# the probe must know the subject, its number, and that of the form. We give half of the verbs the wrong number
# (*the farmers near the river walks*), and ask a linear probe at the verb. The tag is asked of one word per
# sentence, so that both probes see the same number of examples; and since guessing earns more in one task than in
# the other, we compare the share of guessing's errors that each probe removes.


# %% tags=["hide-input"]
def other_forms():
    """For every finite verb form of the profile's sentences the form of the other number."""
    if not FULL:
        return tasks.other_numbers(world)
    third, plain = {}, {}
    for sentence in treebank.ewt("train"):
        for word, lemma, features in zip(sentence.words, sentence.lemmas, sentence.features, strict=True):
            if features.get("Tense") == "Pres" and features.get("Mood") == "Ind" and lemma != "be":
                singular = features.get("Person") == "3" and features.get("Number") == "Sing"
                (third if singular else plain).setdefault(lemma, word.lower())
    pairs = [(third[v], plain[v]) for v in third.keys() & plain.keys() if third[v] == plain[v] + "s"]
    pairs += [("is", "are"), ("was", "were"), ("has", "have"), ("does", "do")]
    return {a: b for pair in pairs for a, b in (pair, pair[::-1])}


# %% tags=["hide-input"]
def inflected(seed, count):
    """Sentences of the profile with a finite verb that has a form for the other number: (sentence, verb, that form)."""
    other = other_forms()
    if FULL:
        pool = [s for s in treebank.ewt("train") if 4 <= len(s.words) <= 40]
        pool = [pool[i] for i in np.random.default_rng(seed).permutation(len(pool))]
        verbs = [
            [i for i, f in enumerate(s.features) if f.get("Mood") == "Ind" and "Number" in f] for s in pool
        ]
    else:
        pool = tasks.tagging(world, 6 * count, f"verbs {seed}")
        verbs = [[a.verb for a in s.agreements] for s in pool]
    found = []
    for sentence, places in zip(pool, verbs, strict=True):
        places = [i for i in places if sentence.words[i].lower() in other]
        if places:
            found.append((sentence, places[0], other[sentence.words[places[0]].lower()]))
    return found[:count]


# %%
def inflection_run(seed):
    """Share of guessing's errors that a probe removes, one word per sentence: a verb's inflection, a tag."""
    random = np.random.default_rng(seed)
    texts, wrong, tags = [], [], []
    for sentence, verb, other in inflected(seed, 900 if FULL else 1200):
        swap, asked = int(random.integers(2)), random.integers(len(sentence.words))
        words = list(sentence.words)
        words[verb] = other if swap else words[verb]
        texts.append(words)
        wrong += [swap if i == verb else None for i in range(len(words))]
        tags += [tag if i == asked else None for i, tag in enumerate(sentence.pos)]
    parts = split_words(texts, int(0.6 * len(texts)), int(0.15 * len(texts)))
    tasks_ = {"inflection": numbered(wrong), "tag": numbered(tags)}
    states = probing.word_states(english_encoders(seed)["MiniLM"], texts)
    found = probe_layers(states, tasks_, parts, "MiniLM")
    removed = {}
    for task, labels in tasks_.items():
        counts = np.bincount(labels[(parts == 2) & (labels != probing.SKIP)])
        guess = counts.max() / counts.sum()
        removed[task] = (found[f"MiniLM {task} best"] - guess) / (1 - guess)
        removed[f"{task} accuracy"] = found[f"MiniLM {task} best"]
        removed[f"{task} layer"] = found[f"MiniLM {task} layer"]
    return removed


# %%
endings = lab.sweep("English endings", inflection_run, [{"seed": s} for s in range(5 if FULL else 10)])

# %% tags=["nbval-ignore-output"] reason="the last digits of states differ between processors; the check holds them"
lab.check(endings, "inflection accuracy", by=[], slack=0.02)
for task in ("tag", "inflection"):
    print(
        f"{task:10} accuracy {mean_ci(endings.recorded[f'{task} accuracy'])}, "
        f"errors removed {mean_ci(endings.recorded[task])}, layer {endings.recorded[f'{task} layer'].mean():.1f}"
    )
lab.conclude(
    f"{PREFIX}inflection",
    paired_ci(endings.recorded["tag"], endings.recorded["inflection"]),
    len(endings.recorded),
)

# %% [markdown]
# Context adds four times as much to syntax as to meaning, though the static embedding leaves meaning little to
# gain: it names nine topics in ten. And the wrong endings show the limit of these frozen states. From as many
# examples as give nearly perfect tags, a linear probe removes about a fifth of guessing's errors. The layers that
# know that a word is a verb, and even how it ends, do not lay out in a line whether the ending is the right one;
# nothing that MiniLM was trained for asked for it.
#
# ### A number behind the mask
#
# MiniLM can't name the word under a `[MASK]`, but its state there must hold what it expects. We put `[MASK]` in a
# verb's place, read the number of the verb with a linear probe fitted on natural sentences, and test it on natural
# and on nonce sentences, and by the number of attractors. (The form of the verb is gone; only its surroundings
# tell.)


# %% tags=["hide-input"]
def hidden_verb(words, position, plural):
    """A sentence with [MASK] in a verb's place: (words, position, number of the verb, 1 is plural)."""
    return [*words[:position], "[MASK]", *words[position + 1 :]], position, int(plural)


# %% tags=["hide-input"]
def is_plural(form, other):
    """Whether a present or past verb form is the plural one of the two: of *walk* and *walks*, the shorter."""
    if form in ("is", "are", "was", "were", "has", "have"):
        return form in ("are", "were", "have")
    return len(form) < len(other)


# %% tags=["hide-input"]
def masked_tests(seed):
    """Test items by name: kind of sentence and number of attractors (natural ones), or source."""
    if FULL:
        random, linzen, green = np.random.default_rng(seed), items.linzen(), items.gulordava()
        found = {"original": [g for g in green if not g.nonce], "nonce": [g for g in green if g.nonce]}
        for attractors in range(4):
            for plural in (False, True):
                some = [item for item in linzen if (item.attractors, item.plural) == (attractors, plural)]
                kept = [some[i] for i in random.permutation(len(some))[:50]]
                found[f"natural {attractors}"] = found.get(f"natural {attractors}", []) + kept
        return {k: [hidden_verb(g.words, g.position, g.plural) for g in some] for k, some in found.items()}
    found = {}
    for attractors in range(3):
        for kind in ("natural", "nonce"):
            pairs = tasks.agreement(world, 100, attractors, f"masked {seed}", nonce=kind == "nonce")
            found[f"{kind} {attractors}"] = [
                hidden_verb(p.good, p.position, is_plural(p.good[p.position], p.bad[p.position]))
                for p in pairs
            ]
    return found


# %%
def states_of(encoder, hidden):
    """States of all layers at the hidden verbs: float32 [layers + 1, sentences, width]."""
    found = []
    for at in range(0, len(hidden), 200):
        some = hidden[at : at + 200]
        texts = [words for words, _, _ in some]
        starts = np.cumsum([0, *map(len, texts)])[:-1]
        places = [start + position for start, (_, position, _) in zip(starts, some, strict=True)]
        found.append(probing.word_states(encoder, texts)[:, places])
    return np.concatenate(found, axis=1)


# %%
def number_run(seed):
    """Accuracy of the number probe on each set of test items, at the layer that validation chose."""
    verbs, test = inflected(f"masked {seed}" if not FULL else seed, 600), masked_tests(seed)
    fit = [hidden_verb(s.words, verb, is_plural(s.words[verb].lower(), other)) for s, verb, other in verbs]
    labels = np.array([plural for *_, plural in fit])
    validation = np.arange(len(fit)) >= 0.8 * len(fit)
    found = {}
    for name, encoder in english_encoders(seed).items():
        states = states_of(encoder, fit)
        probes = [probing.linear_probes(x, {"n": labels}, validation)["n"] for x in states]
        held = [p.accuracy(x[validation], labels[validation]) for p, x in zip(probes, states, strict=True)]
        best = int(np.argmax(held))
        found[f"{name} layer"] = best
        for kind, some in test.items():
            if name == "MiniLM" or kind.startswith("natural"):
                answers = np.array([plural for *_, plural in some])
                found[f"{name} {kind}"] = probes[best].accuracy(states_of(encoder, some)[best], answers)
    return found | {"items": len(fit)}


# %%
hidden_number = lab.sweep("English number", number_run, [{"seed": s} for s in range(5 if FULL else 10)])

# %% mystnb={"image": {"alt": "Accuracy of the number probe at the mask against the number of attractors between subject and verb: lines for MiniLM on natural and on nonce sentences, and for its random twin; a dashed line marks guessing at one half."}} tags=["nbval-ignore-output"] reason="the last digits of states differ between processors; the check holds them"
lab.check(hidden_number, "MiniLM natural 0", by=[], slack=0.03)
lines = {
    "natural": ("MiniLM natural", COLORS["pretrained"]),
    "nonce": ("MiniLM nonce", COLORS["scratch"]),
    "random twin": ("random natural", COLORS["baseline"]),
}
fig, ax = plt.subplots()
for label, (start, color) in lines.items():
    columns = [c for c in (f"{start} {k}" for k in range(4)) if c in hidden_number.recorded]
    band(ax, range(len(columns)), [mean_ci(hidden_number.recorded[c]) for c in columns], label, color)
    print(f"{label:12}", *(mean_ci(hidden_number.recorded[c]) for c in columns))
ax.axhline(0.5, ls="--", color=COLORS["exact"], lw=1)
ax.set(xlabel="attractors", ylabel="accuracy at [MASK]", xticks=range(4 if FULL else 3), ylim=(0, 1.02))
ax.legend(loc="lower left")
show(fig)

# %% tags=["hide-input"]
PAIR = ("MiniLM original", "MiniLM nonce") if FULL else ("MiniLM natural 1", "MiniLM nonce 1")
lab.conclude(
    f"{PREFIX}nonce", paired_ci(*(hidden_number.recorded[c] for c in PAIR)), len(hidden_number.recorded)
)
lab.conclude(
    f"{PREFIX}attractors",
    paired_ci(hidden_number.recorded["MiniLM natural 0"], hidden_number.recorded["MiniLM natural 2"]),
    len(hidden_number.recorded),
)

# %% [markdown]
# Without an attractor the number that MiniLM expects can be read off the mask in four of five sentences; across one
# attractor the probe hardly beats guessing, and across two it is, if anything, wrong more often than right: what it
# has learned to read is the number of the nouns nearby, not of the subject. Even the random twin, which only mixes
# the words around, gets part of the way where nothing interferes. Across one attractor natural and nonce sentences
# do not differ measurably, and the verdict is *inconclusive*: where little is read, little can be lost. Without
# attractors the natural sentences are ahead. The course's own language models, trained to predict the next word in
# this very world, do far better (see *Behavior*); a sentence encoder is no substitute for asking a language model.
#
# Nonce sentences were invented so that nothing but syntax could help. But are they still the kind of text that the
# model knows? Take the mean of a sentence's last-layer states, and let a linear probe tell natural from nonce.


# %%
def unlike_run(seed):
    """Balanced accuracy of telling natural from nonce sentences by their mean state; variants stay on one side."""
    random = np.random.default_rng(seed)
    if FULL:
        pool = [(g.words, int(g.nonce), g.group) for g in items.gulordava()]
    else:
        pool = [
            (p.good, int(nonce), f"{i}")
            for nonce in (False, True)
            for i, p in enumerate(tasks.agreement(world, 300, 1, f"unlike {seed}", nonce=nonce))
        ]
    groups = sorted({group for *_, group in pool})
    part = dict(zip(groups, random.permutation(len(groups)) * 3 // len(groups), strict=True))
    pool = [
        x for x in pool for _ in range(1 if x[1] or not FULL else 9)
    ]  # originals weigh as much as their variants
    parts, nonce = np.array([part[g] for *_, g in pool]), np.array([x[1] for x in pool])
    last = minilm.encode([" ".join(words) for words, *_ in pool])
    fit = parts < 2
    probe = probing.linear_probes(last[fit], {"nonce": nonce[fit]}, parts[fit] == 1)["nonce"]
    sides = [
        probe.accuracy(last[(parts == 2) & (nonce == side)], nonce[(parts == 2) & (nonce == side)])
        for side in (0, 1)
    ]
    return {"balanced": float(np.mean(sides))}


# %% tags=["nbval-ignore-output"] reason="the last digits of states differ between processors; the check holds them"
unlike = lab.sweep("English unlike", unlike_run, [{"seed": s} for s in range(10)])
lab.check(unlike, "balanced", by=[], slack=0.02)
print("natural or nonce:", mean_ci(unlike.recorded["balanced"]))
lab.conclude(f"{PREFIX}unlike", mean_ci(unlike.recorded["balanced"] - 0.5), len(unlike.recorded))

# %% [markdown]
# Seven sentences in ten are told apart by a single linear probe. So a fall from natural to nonce, where there is
# one, measures two things: what a model owes to words that go together, and how it copes with text of a kind that
# it has never met.
#
# ### Distances
#
# The tags were labels of single words. Is a whole tree in the states? Hewitt and Manning (2019) look for a linear
# map after which the squared distance of two words is the number of edges between them in the tree. The map sees
# all pairs of words of a sentence at once. Its rival is not zero: words that stand side by side are often neighbors
# in the tree, too, so distance in words alone goes some way.

# %%
from scipy.stats import spearmanr


# %%
def tree_distances(sentence):
    """Number of edges between the words of a sentence, punctuation left out, and the places of these words."""
    keep = [i for i, pos in enumerate(sentence.pos) if pos != "PUNCT"]
    edges = np.zeros((len(sentence.words),) * 2)
    for i, head in enumerate(sentence.heads):
        if head >= 0:
            edges[i, head] = 1
    return shortest_path(edges, directed=False, unweighted=True)[np.ix_(keep, keep)], keep


# %%
def probe_distances(x, basis):
    """Squared distances between words after a linear map: states [s, n, width] to [s, n, n]."""
    z = x @ basis
    square = (z * z).sum(-1)
    return square[:, :, None] + square[:, None, :] - 2 * z @ z.transpose(1, 2)


# %%
def fit_distances(x, gold, real, validation, rank=32, steps=150):
    """A structural probe (Hewitt and Manning 2019): the map [width, rank] whose distances are nearest the tree's."""
    basis = torch.nn.Parameter(torch.randn(x.shape[-1], rank) / x.shape[-1])
    optimizer = torch.optim.Adam([basis], lr=0.01)
    best = (float("inf"), basis.detach().clone())
    for _ in range(steps):
        misses = (probe_distances(x, basis) - gold).abs() * real
        losses = misses.sum((1, 2)) / real.sum((1, 2))
        held = losses[validation].mean().item()
        if held < best[0]:
            best = (held, basis.detach().clone())
        optimizer.zero_grad()
        losses[~validation].mean().backward()
        optimizer.step()
    return best


# %% tags=["hide-input"]
def tree_scores(guess, gold):
    """How a matrix of distances fits a tree's: Spearman's correlation, and the share of edges in its spanning tree."""
    upper = np.triu_indices(len(gold), 1)
    tree = minimum_spanning_tree(guess + 1e-6 * (1 - np.eye(len(gold)))).toarray() > 0
    return spearmanr(guess[upper], gold[upper]).statistic, (tree | tree.T)[gold == 1].mean()


# %% tags=["hide-input"]
def stacked(parts, longest):
    """Arrays of different length [n, ...] filled up with zeros and stacked: float32 [sentences, longest, ...]."""
    whole = torch.zeros(len(parts), longest, *parts[0].shape[1:])
    for row, part in zip(whole, parts, strict=True):
        row[: len(part)] = torch.as_tensor(part, dtype=torch.float32)
    return whole


# %% tags=["hide-input"]
def stacked_trees(golds):
    """Distances in the trees, and where they are real: float32 [sentences, longest, longest] each."""
    longest = max(map(len, golds))
    square = [np.pad(g, ((0, 0), (0, longest - len(g)))) for g in golds]
    real = [np.pad(np.ones_like(g), ((0, 0), (0, longest - len(g)))) for g in golds]
    return stacked(square, longest), stacked(real, longest)


# %%
def layer_trees(x, gold, real, fitted, validated, golds, seed):
    """Validation loss of a layer's structural probe, and its mean scores on the test sentences: rank, edges."""
    torch.manual_seed(seed)
    train = fitted + validated
    x = x / x[:train].norm(dim=-1).max() * 10
    loss, basis = fit_distances(x[:train], gold[:train], real[:train], torch.arange(train) >= fitted)
    guesses = probe_distances(x[train:], basis).clip(min=0).numpy()
    scores = [
        tree_scores(g[: len(t), : len(t)], t)
        for g, t in zip(guesses, golds[train:], strict=True)
        if t.max() > 1
    ]
    return loss, np.mean(scores, axis=0).tolist()


# %%
def trees_run(seed):
    """Spearman's correlation and share of right edges by layer, at the layer of validation, and by position alone."""
    sentences, fitted, validated = english_sentences(seed)
    golds, keeps = zip(*map(tree_distances, sentences), strict=True)
    gold, real = stacked_trees(golds)
    starts, found = np.cumsum([0, *(len(s.words) for s in sentences)]), {}
    for name, encoder in english_encoders(seed).items():
        states, losses = probing.word_states(encoder, [s.words for s in sentences]), {}
        for k, layer in enumerate(states):
            words = [layer[start + np.array(keep)] for start, keep in zip(starts[:-1], keeps, strict=True)]
            x = stacked(words, gold.shape[1])
            losses[k], scores = layer_trees(x, gold, real, fitted, validated, golds, seed)
            found[f"{name} rank {k}"], found[f"{name} edges {k}"] = scores
        best = min(range(1, len(states)), key=losses.get)
        found |= {f"{name} {s} best": found[f"{name} {s} {best}"] for s in ("rank", "edges")} | {
            f"{name} layer": best
        }
    test = [g for g in golds[fitted + validated :] if g.max() > 1]
    places = [np.abs(np.subtract.outer(np.arange(len(g)), np.arange(len(g)))).astype(float) for g in test]
    scores = [tree_scores(place, g) for place, g in zip(places, test, strict=True)]
    found["position rank"], found["position edges"] = np.mean(scores, axis=0).tolist()
    return found


# %%
trees = lab.sweep("English trees", trees_run, [{"seed": s} for s in range(5 if FULL else 10)])

# %% tags=["nbval-ignore-output"] reason="the last digits of states differ between processors; the check holds them"
lab.check(trees, "MiniLM rank best", by=[], slack=0.02)
for label, name in (
    ("MiniLM", "MiniLM {} best"),
    ("its static layer", "MiniLM {} 0"),
    ("random twin", "random {} best"),
):
    print(f"{label:17}", *(f"{s} {mean_ci(trees.recorded[name.format(s)])}  " for s in ("rank", "edges")))
print("distance in words", *(f"{s} {mean_ci(trees.recorded[f'position {s}'])}  " for s in ("rank", "edges")))
lab.conclude(
    f"{PREFIX}trees",
    paired_ci(trees.recorded["MiniLM rank best"], trees.recorded["random rank best"]),
    len(trees.recorded),
)

# %% [markdown]
# After one linear map nearly three edges in four are where the treebank has them, and the distances of all pairs
# follow the tree closely. The static layer and the random twin come halfway, and beat distance in words: knowing
# that a word is *the* says much about where it hangs. That is the part that is not syntax of the sentence, and it
# is why the twin belongs in the comparison.

# %% [markdown]
# ### Minimal pairs of English
#
# `full` asks for behavior, too. A small causal Transformer and a 5-gram count the same sub-words of the same text
# (WikiText-2's validation text and the treebank's training text), and judge published pairs: agreement in BLiMP
# (Warstadt et al. 2020) and in the constructions of Marvin and Linzen (2018). Both read half a million words, which
# is little. Which of the two will agree verbs with subjects, and what will a noun in between do to it?

# %%
AGREE = (
    "regular_plural_subject_verb_agreement_1",
    "irregular_plural_subject_verb_agreement_1",
    "distractor_agreement_relational_noun",
    "distractor_agreement_relative_clause",
)
BUILT = ("simple_agrmt", "sent_comp", "prep_inanim", "subj_rel", "vp_coord")


# %%
def attracted(condition):
    """Whether a condition of Marvin and Linzen, such as `sing_IS_IV_plur_ES`, has nouns of both numbers."""
    return "sing" in condition and "plur" in condition


# %%
def marvin_sets(random, count=100):
    """`count` pairs of each condition of Marvin and Linzen, by construction and condition, if COURSE_DATA has them."""
    folder = (settings.data_dir() or settings.root()) / "lm_syneval"
    if not folder.is_dir():
        print("Left out: put the files of Marvin and Linzen (2018), as JSON, into lm_syneval of COURSE_DATA.")
        return {}
    found = {}
    for name in BUILT:
        for condition, pairs in items.marvin(folder / f"{name}.json").items():
            some = [pairs[i] for i in random.permutation(len(pairs))[:count]]
            found[f"{name} {condition}"] = [(good + " .", bad + " .") for good, bad in some]
    return found


# %%
def blimp_sets(random, paradigms, count=300):
    """`count` pairs of each paradigm of BLiMP, as the models read them: lower case, the period apart."""
    found = {}
    for name in paradigms:
        pairs = items.blimp(name)
        some = [pairs[i] for i in random.permutation(len(pairs))[:count]]
        found[name] = [tuple(text.lower().removesuffix(".") + " ." for text in pair) for pair in some]
    return found


# %%
def english_text():
    """The text of both models, in lower case: pieces of at most 48 words."""
    from utils.text import wikitext

    lines = [line.split() for text in wikitext("valid") for line in text.split("\n")]
    lines += [s.words for s in treebank.ewt("train")]
    return [" ".join(line[i : i + 48]).lower() for line in lines for i in range(0, len(line), 48)]


# %%
def behavior_run(seed, steps=300, width=128):
    """Share of pairs whose good sentence is the more probable one, by set of pairs: Transformer and 5-gram."""
    from utils.ngram import KneserNey

    train, random = english_text(), np.random.default_rng(seed)
    bpe = training.train_tokenizer(train, 4000)
    torch.manual_seed(seed)
    model = training.gpt(width, 4, len(bpe))
    stream = (train[i] for _ in range(20) for i in random.permutation(len(train)))
    training.pretrain(model, training.batches(stream, bpe), training.causal_loss, steps)
    counted, found = KneserNey(5).fit(row[1:-1] for row in training.encode(bpe, train)), {}
    for name, pairs in (blimp_sets(random, AGREE) | marvin_sets(random)).items():
        texts = [text for pair in pairs for text in pair]
        bits = {"causal": training.token_bits(model, bpe, texts)}
        bits["5-gram"] = [counted.bits(row[1:-1]) for row in training.encode(bpe, texts)]
        for judge, rows in bits.items():
            good, bad = np.array([sum(row) for row in rows]).reshape(-1, 2).T
            found[f"{judge} {name}"] = float(np.mean((good < bad) + (good == bad) / 2))
    return found


# %%
def over_conditions(sweep, judge, names):
    """Accuracy of a judge, the mean over the conditions of Marvin and Linzen whose name passes the test `names`."""
    start = tuple(f"{judge} {b} " for b in BUILT)
    return mean_of(sweep, [c for c in sweep.recorded if c.startswith(start) and names(c)])


# %%
if FULL:
    behavior = lab.sweep("English behavior", behavior_run, [{"seed": s} for s in range(5)])
    blimp = [mean_of(behavior, [f"{j} {p}" for p in AGREE]) for j in ("causal", "5-gram")]
    for column in sorted(c for c in behavior.recorded if c.startswith(("causal ", "5-gram "))):
        print(f"{column:60} {mean_ci(behavior.recorded[column])}")
    lab.conclude("ewt-lm-over-5gram", paired_ci(*blimp), 5)

# %%
if FULL and f"causal {BUILT[0]} sing_MS_MV" in behavior.recorded:
    crossed = [f"{b} " for b in ("prep_inanim", "subj_rel")]
    sides = [
        over_conditions(
            behavior, "causal", lambda c, side=side: any(b in c for b in crossed) and attracted(c) == side
        )
        for side in (False, True)
    ]
    print("one number", mean_ci(sides[0]), "both numbers", mean_ci(sides[1]))
    lab.conclude("ewt-attracted", paired_ci(*sides), 5)

# %% [markdown]
# MiniLM gives no probabilities, but its states may still tell a good sentence from a bad one. A linear probe reads
# the difference of the two sentences of a pair (the mean over words, a middle layer), good minus bad or the reverse.
# It is fitted on some paradigms of BLiMP and tested on others, where only knowledge that they share can help.

# %%
HELD_OUT = ("anaphor_number_agreement", "determiner_noun_agreement_1", "wh_island", "npi_present_1")


# %%
def pair_states(encoder, pairs, layer=3):
    """Mean state of the first sentence of each pair minus that of the second: float32 [pairs, width]."""
    texts = [text.split() for pair in pairs for text in pair]
    ids, states = probing.sentence_ids(texts), probing.word_states(encoder, texts)[layer]
    means = np.add.reduceat(states, np.flatnonzero(np.diff(ids, prepend=-1))) / np.bincount(ids)[:, None]
    return means[::2] - means[1::2]


# %%
def acceptable_run(seed):
    """Share of pairs of which the probe names the good sentence: of fitted paradigms (fresh pairs) and held-out ones."""
    random, found = np.random.default_rng(seed), {}
    sets = blimp_sets(random, AGREE + HELD_OUT)
    signs = {name: random.integers(2, size=len(pairs)) for name, pairs in sets.items()}
    parts = random.permutation(300) // 60  # 0 to 2 fit, 3 validates, 4 tests
    for name, encoder in english_encoders(seed).items():
        x = {k: pair_states(encoder, v) * (2 * signs[k] - 1)[:, None] for k, v in sets.items()}
        fit, y = np.concatenate([x[k][parts < 4] for k in AGREE]), [signs[k][parts < 4] for k in AGREE]
        held = np.tile(parts[parts < 4] == 3, len(AGREE))
        probe = probing.linear_probes(fit, {"good": np.concatenate(y)}, held)["good"]
        for k in x:
            test = parts == 4 if k in AGREE else parts >= 0
            found[f"{name} {k}"] = probe.accuracy(x[k][test], signs[k][test])
    return found


# %%
if FULL:
    acceptable = lab.sweep("English acceptability", acceptable_run, [{"seed": s} for s in range(5)])
    held_out = [mean_of(acceptable, [f"{n} {p}" for p in HELD_OUT]) for n in ("MiniLM", "random")]
    for column in sorted(c for c in acceptable.recorded if c.startswith(("MiniLM ", "random "))):
        print(f"{column:60} {mean_ci(acceptable.recorded[column])}")
    lab.conclude("ewt-acceptable", paired_ci(*held_out), 5)

# %% [markdown]
# ### Web English
#
# The treebank of the course is small, clean, and written by a hand that knew what it was for. The `full` profile
# runs the same cells on what people typed (UD English EWT), on tweets (WNUT-17), and on published test items. Which
# verdicts would you expect to change? This is what it recorded, on a CPU:

# %%
from utils import evidence

if not FULL:
    for name, row in evidence.load(lab.name, settings.root() / "evidence" / "full").items():
        if name.startswith("ewt-"):
            print(
                f"{name:16} {row['estimate']:6.3f} [{row['ci95'][0]:.3f}, {row['ci95'][1]:.3f}] {row['verdict']}"
            )

# %% [markdown]
# Most verdicts repeat, at lower accuracies of tags and trees: context, the twin, selectivity, the middle layers,
# the depth of relations, wrong endings, attractors. Two change. With some four thousand words to learn from, the
# learned mixture of layers is ahead of the best single layer, by a hair. And context helps no less with the type of
# an entity than with relations: that *Paris* is a person this time is meaning, but no word carries it alone.
# Whether semantics gains little from context depends on which semantics one asks for; the topic of a noun was an
# easy choice. The number behind the mask is read worse than in the world even without an attractor, so the 41
# original and 369 nonce sentences of Gulordava et al. again decide nothing.
#
# And the minimal pairs? The Transformer is ahead of the 5-gram in agreement, but look where both stand: near chance,
# after half a million words of text. Even so the Transformer is drawn by a noun in between, in the constructions of
# Marvin and Linzen as in the world. The probe of MiniLM's states names the better sentence of many pairs whose kind it
# was fitted on, carries over to number in anaphors and determiners, and not at all to islands and negative polarity;
# over all four held-out kinds its lead over the random twin is not certain. Acceptability is not one property.

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
# 1. (10 minutes) Choose a property that no network needs, such as whether a word has an even number of letters. Probe for
#    it, linear and with 256 hidden units, at layers 0 and 4. Which of the two scores tells you something about the
#    network, and which about the probe?
# 2. (20 minutes) Repeat the agreement curve with subjects that the nonce generator draws and attractors that it leaves
#    alone. Which half of a nonce sentence makes it hard?
# 3. (30 minutes) Patch the state of the *attractor* in place of the subject. By how much does it move the verb, at which
#    layer, and what would you expect of a network that just counts nouns?
# 4. (an hour) A colleague finds that layer 3 "encodes" the topic of a scene at every punctuation mark and concludes that the
#    network uses punctuation to store topics. Design the control that would support the conclusion, and the intervention
#    that could refute it. Write both rules down, then run them with ten samples.
