# %% [markdown]
# # Lab 4b: Answering questions with BERT and TensorFlow
#
# <!-- colab badge -->
#
# A question, a page, and the answer somewhere on the page: SQuAD made reading measurable in 2016, and in 2018 BERT
# passed people's score on it with a single new layer. This lab takes a published TensorFlow checkpoint apart and puts
# it together again: a readable encoder, three ways to bring weights into it, windows over pages that are too long for
# it, a head of two numbers per token, the choice of an answer, the official scores. None of it is hard, and nearly all
# of it can go wrong without an error message. So each step comes with the check that would have noticed.
#
# **You will be able to** load a checkpoint into a model that is not quite the one that wrote it, and know which
# variable went where; cut long contexts into windows without losing an answer; fine-tune a span classifier in
# TensorFlow and score it as the leaderboard does; export the tuned encoder; tell what a score hides.
#
# **You should know** what a Transformer encoder and a masked language model are (Lab 1), and what fine-tuning is (Lab
# 3).
#
# | what | two CPU cores | one GPU |
# |---|---|---|
# | time | about 7 minutes | not measured |
# | memory | 4 GiB | not measured |
# | download | nothing | nothing (`mini`); SQuAD, 35 MB, and Google's BERT, 408 MB (`full`) |
#
# Measured numbers here differ a little from machine to machine. Behind each figure stand recorded runs; the lab repeats
# some of them live and checks that they fall where the recorded ones say.

# %%
# course setup

# %%
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from random import Random

from utils import settings

settings.seed_everything(0)

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from transformers import BertModel, BertTokenizer

torch.set_num_threads(1)

# %% [markdown]
# PyTorch comes first on purpose: where its CUDA build is installed, the other order can end the kernel. And `tf_keras`
# is Keras 2. What `tf.keras` means today is Keras 3, in which TF Hub's layers do not work.

# %%
with settings.quiet():
    import tensorflow as tf
    import tf_keras

# %%
from utils import bert_tf, minilm, span_tf, squad
from utils.errors import refused
from utils.evidence import Lab
from utils.intervals import mean_ci, paired_ci
from utils.plots import COLORS, band, show, style
from utils.world import World, lexicon, tasks

# %%
style()
devices = span_tf.strategy()  # all GPUs where there are several, and all machines that TF_CONFIG names
lab = Lab("04b_squad_bert_tensorflow")
world = World(0)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# The encoder is MiniLM (Wang et al. 2020): a BERT of 6 layers and 384 units. Google never published it, so we write it
# down as Google publishes a BERT: a checkpoint, its config and its vocabulary. In the `full` profile the same cells
# take Google's own 12 layers of 768 units. Dropout is turned off. It guards against learning a training set by heart,
# and a few passes over a few hundred questions with a small network leave no time for that.

# %%
FULL = settings.profile() == "full"
google = bert_tf.published() if FULL else bert_tf.write_minilm(folder / "minilm")
config = bert_tf.Config.read(google / bert_tf.CONFIG)
config = replace(config, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
tokenizer = BertTokenizer(vocab=str(google / bert_tf.VOCABULARY))
bert_tf.check_vocabulary(tokenizer, config)
for path in sorted(google.iterdir()):
    print(f"{path.stat().st_size / 1e6:6.1f} MB  {path.name}")

# %% [markdown]
# The course world asks questions, too. A paragraph tells of three people; a question asks for one fact about one of
# them; the answer is a span of the paragraph. The format is SQuAD's, so everything below works on either.


# %%
@lru_cache(maxsize=32)
def questions(split, count, seed=0):
    """The first `count` questions of a world paper; the seed draws other paragraphs."""
    return squad.parse(tasks.qa(world, count // 2, split, seed))[:count]


# %%
TEST = questions("test", 200, "test")
for example in TEST[:2]:
    print(example.context, "\n", example.question, "->", example.answers[0].text, "\n")

# %% [markdown]
# About half of the test questions are worded in a way that no training question is. And the people? Each training below
# draws its 512 questions with its own seed. How many of the test's people occur in them, too? **Predict** it for these
# seeds, and for a test that is drawn with seed 0, which a training run has as well.


# %%
def people_of(examples):
    """Everybody whom the paragraphs of some questions introduce by both names."""
    given, surnames = {*lexicon.FEMALE.split(), *lexicon.MALE.split()}, set(lexicon.SURNAMES.split())
    words = [example.context.split() for example in examples]
    pairs = {pair for some in words for pair in zip(some, some[1:], strict=False)}
    return {pair for pair in pairs if pair[0] in given and pair[1] in surnames}


# %%
def met(test, seed):
    """How many people of a test a training run has met."""
    return len(people_of(test) & people_of(questions("train", 512, seed)))


# %%
known = [met(TEST, seed) for seed in range(5)]
print(f"of {len(people_of(TEST))} people in the test, training seeds 0 to 4 have met", known)
print(
    "of as many in a test that is drawn with seed 0, training seed 0 has met", met(questions("test", 200), 0)
)
assert max(known) < len(people_of(TEST)) / 5

# %% [markdown]
# Names that are drawn twice from the same lists coincide now and then. More than half is no coincidence. A paper takes
# all its people from one list, training from the front and the test from the back; the two are sure to be apart only
# where both ask for equally many paragraphs. The leak would be small, since what is told of somebody is drawn anew and
# a reader points at words that stand in front of it. But no error says that there is one. So the test gets a seed that
# no training has, and the assertion stays.

# %% [markdown]
# ## Three doors
#
# A pretrained network reaches you as a file of named arrays. It holds no layers and does not say what to do with the
# numbers. Your program holds variables, which have names and no values worth keeping. To load is to bring the two
# together by name, and everything that can go wrong lies in that sentence: names that differ, shapes that agree by
# accident, a computation around the right numbers that is not quite the one they were trained in.
#
# `bert_tf.Bert` is a BERT in a good hundred lines. Its variables carry the names that Google gave them in 2018.
# **Predict**: how many variables has one layer, and where are most of the numbers?

# %%
bert = bert_tf.Bert(config, seed=0)
for name, variable in bert.named.items():
    if "/encoder/" not in name or "/layer_0/" in name:
        print(f"{'x'.join(map(str, variable.shape)):>9}  {name}")
print(f"{len(bert.named)} variables, {sum(int(tf.size(v)) for v in bert.weights):,} numbers")

# %% [markdown]
# Sixteen variables in a layer; and MiniLM's table of word pieces is larger than all its layers together. A kernel is
# stored as [inputs, outputs], so that a layer computes `x @ kernel + bias`. Remember that order.
#
# **The first door** is the checkpoint, as Google publishes it. Today's TensorFlow still reads it:

# %%
door_file = google / bert_tf.CHECKPOINT
checkpoint = tf.train.load_checkpoint(str(door_file))
stored = checkpoint.get_variable_to_shape_map()
print(len(stored), "tensors, and the model has", len(stored.keys() & bert.named.keys()), "of their names")
by_index = tf.train.load_checkpoint(f"{door_file}.index").get_variable_to_shape_map()
print(len(by_index), "tensors, when opened by the name of its .index")

# %% [markdown]
# The second line is a warning. A checkpoint is named by what its files begin with. Name the `.index` itself, as you
# would with any other format, and TensorFlow opens it without complaint and finds nothing in it. A loader that skips
# what it can't find would then load nothing and be content.
#
# A loader that does not skip is two lines:

# %%
for name, variable in bert.named.items():
    variable.assign(checkpoint.get_tensor(name))

# %% [markdown]
# It stops at a name that is missing. Real loaders can't afford that: a checkpoint of a language model has a head that a
# reader of questions does not need, and the reader has one that the checkpoint lacks. So they skip, on both sides. What
# they owe you then is a report of three lists: variables that took a value, variables left as they were drawn, and
# tensors that went nowhere.

# %%
print(bert_tf.load_checkpoint(bert.named, door_file))

# %% [markdown]
# **The second door** is a file of PyTorch, where most BERTs live today. The numbers are the same. The names are others,
# and `nn.Linear` keeps its weight as [outputs, inputs]: every kernel has to be turned. **Predict** for which of these
# tensors you would notice, if you forgot that.

# %%
from safetensors.torch import load_file
from transformers import BertConfig

from utils.downloads import fetch

# %%
door_weights = fetch("bert-base-uncased-weights") if FULL else minilm.folder() / "model.safetensors"
door_state = load_file(door_weights)
for name, tensor in door_state.items():
    if ".layer.0." in name and name.endswith("weight"):
        ours = bert_tf.google_name(name).removeprefix("bert/encoder/")
        print(f"{'x'.join(map(str, tensor.shape)):>9}  {name} -> {ours}")

# %%
from_torch = bert_tf.Bert(config, seed=1)
print(bert_tf.load_safetensors(from_torch.named, door_weights))

# %% [markdown]
# The report has something to say. `position_ids` is the list 0, 1, 2, ..., which older versions of transformers stored
# beside the weights. It is nothing to worry about, but somebody had to look at it to know that.
#
# **The third door** is the SavedModel, the form in which TF Hub serves models. It holds the arrays and the computation,
# so you need neither the code of the model nor names. `hub.KerasLayer` makes a layer of it. (Published ones have
# addresses on kaggle.com, below `models/tensorflow/bert`, which `load_saved_model` takes as well. We write our own, so
# that the lab needs no network.)

# %%
bert_tf.save_model(bert, folder / "saved")
from_hub, _ = bert_tf.load_saved_model(folder / "saved")
print(type(from_hub).__name__, "with", len(from_hub.trainable_weights), "trainable weights")

# %% [markdown]
# Whatever the door, a BERT for TensorFlow takes a dict and gives a dict. We ask eight questions of the course world,
# and put the same rows through transformers' `BertModel`, which shares no line of code with ours.

# %%
door_texts = [example.question for example in TEST[:8]], [example.context for example in TEST[:8]]
door_rows = tokenizer(*door_texts, padding=True, return_tensors="np")
THEIR_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
door_inputs = {
    name: door_rows[key].astype(np.int32) for name, key in zip(bert_tf.INPUTS, THEIR_INPUTS, strict=True)
}
for name, value in {**door_inputs, **bert(door_inputs)}.items():
    print(f"{name:15}", f"list of {len(value)}" if isinstance(value, list) else tuple(value.shape))

# %%
their_config = BertConfig.from_dict(vars(config))
theirs = BertModel.from_pretrained(None, config=their_config, state_dict=door_state).eval()
with torch.no_grad():
    door_expected = theirs(*map(torch.tensor, door_inputs.values())).last_hidden_state.numpy()


# %%
def door_distance(model):
    """Largest difference from PyTorch's states, over all tokens but padding."""
    real = door_inputs["input_mask"].astype(bool)
    return np.abs(model(door_inputs)["sequence_output"].numpy() - door_expected)[real].max()


# %% tags=["nbval-ignore-output"] reason="the last digits of a sum depend on the processor"
DOORS = {"checkpoint": bert, "safetensors": from_torch, "SavedModel": from_hub}
door_distances = {name: door_distance(model) for name, model in DOORS.items()}
print({name: f"{value:.1e}" for name, value in door_distances.items()})
assert max(door_distances.values()) < 1e-4

# %% [markdown]
# The states have values up to about six, and the doors differ from PyTorch by a few millionths. That is rounding: the
# two libraries add in another order. With a reference at hand, this is the check to make, before the first step of
# training and not after a disappointing score. Compare numbers; that a model runs proves nothing, as the rest of this
# section shows.
#
# **Break it.** Somebody tidies up the code of a model, and one of its layers gets a better name. Here is a checkpoint
# in which that has happened to the fourth layer, and three ways to load it. **Predict** which of them complain.

# %%
renamed = folder / "renamed.ckpt"
bert_tf.write_checkpoint({n.replace("/layer_3/", "/block_3/"): v for n, v in bert.named.items()}, renamed)
careless = bert_tf.Bert(config, seed=0)
tf.get_logger().setLevel("ERROR")  # a remark that matching by name is fragile, whatever the names
status = tf.train.Checkpoint(bert=careless).restore(str(renamed))  # TensorFlow's own way
careless_report = bert_tf.load_checkpoint(careless.named, renamed, strict=False)
refused(lambda: bert_tf.load_checkpoint(careless.named, renamed), folder)

# %% [markdown]
# Two of three said nothing. `restore` hands back a status, and only who asks it
# (`status.assert_existing_objects_matched()`) learns that sixteen variables found nothing. Nor would you see it in the
# model: the shapes are right, the outputs are normalized like any others, the loss will fall. The report knows:

# %%
print(careless_report)
assert {name.split("/")[2] for name in careless_report.fresh} == {"layer_3"}

# %% [markdown]
# So the rule of this course's loaders: what stays random stays random because somebody said so. `strict` is on unless
# you turn it off, and who turns it off reads the report.
#
# **Break it**, once more. Now all names fit and every variable is assigned. Three things remain that no report can see.
# The first is the order of a kernel. A loader may look clever and turn a kernel *where its shape doesn't fit
# otherwise*. The two wide kernels of a layer then arrive as they should; those of queries, keys, values and the output
# of attention are square. The second is the gelu: Google's code approximates it by a tanh, transformers computes it
# exactly. The third is a constant in the norms, added to the variance before the root is taken: 1e-12 in BERT, 1e-3 in
# Keras unless you say otherwise.


# %%
class KerasNorm(bert_tf.Bert):
    """A BERT with the constant that Keras has in its norms."""

    def _norm(self, x, name):
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        gamma, beta = (self.named[f"{name}/LayerNorm/{part}"] for part in ("gamma", "beta"))
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)


# %%
FAULTS = ("gelu by tanh", "norms with 1e-3", "one layer random", "square kernels not turned")


# %%
def faulty(fault, source, seed=0):
    """The BERT of a checkpoint, loaded with a mistake that raises no error; the seed draws what is not loaded."""
    kind = KerasNorm if fault == "norms with 1e-3" else bert_tf.Bert
    found = kind(config, seed, exact_gelu=fault != "gelu by tanh")
    new = "/block_3/" if fault == "one layer random" else "/layer_3/"
    named = {name.replace("/layer_3/", new): variable for name, variable in found.named.items()}
    bert_tf.load_checkpoint(named, source, strict=False)
    if fault == "square kernels not turned":
        for name, v in found.named.items():
            if "/encoder/" in name and name.endswith("kernel") and v.shape[0] == v.shape[1]:
                v.assign(tf.transpose(v))
    return found


# %% [markdown]
# **Predict** the order of the four, the random layer among them, by how far each moves the states.

# %% tags=["nbval-ignore-output"] reason="the last digits of a sum depend on the processor"
fault_distances = {fault: door_distance(faulty(fault, door_file)) for fault in FAULTS}
assert min(fault_distances.values()) > 1e-4

# %% mystnb={"image": {"alt": "Seven dots on a logarithmic axis of the largest difference from PyTorch. The three doors lie together at a few millionths, left of a dotted line at one ten-thousandth; right of it, further and further, the gelu by tanh, the norms of Keras, one random layer, and the square kernels that were not turned."}} tags=["nbval-ignore-output"] reason="the last digits of a sum depend on the processor"
fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
off = {**door_distances, **fault_distances}
colors = [COLORS["pretrained"]] * len(door_distances) + [COLORS["scratch"]] * len(FAULTS)
ax.scatter(off.values(), range(len(off)), c=colors, s=70)
ax.axvline(1e-4, color=COLORS["exact"], linestyle=":", linewidth=1.2)
ax.set(xscale="log", xlim=(1e-6, 20), xticks=[1e-6, 1e-4, 1e-2, 1], xlabel="largest difference")
ax.set_yticks(range(len(off)), off)
ax.invert_yaxis()
show(fig)
print({name: f"{value:.1e}" for name, value in off.items()})

# %% [markdown]
# Between rounding and the smallest mistake lie three orders of magnitude, and the limit of one ten-thousandth stands
# between them: one line of `assert` finds all four. The smallest is less a mistake than a choice, and which of the two
# is right depends on who trained the weights. MiniLM grew up with the exact gelu; a checkpoint of Google's own wants
# `exact_gelu=False`.
#
# Whether such a distance matters is another question. Keep your guess at what each of the four costs a reader in F1; as
# soon as the lab has a tuned one, it will tell.
#
# Five copies of MiniLM are loaded by now, 90 MB each, and none of them is needed any more:

# %%
bert = from_torch = from_hub = theirs = careless = door_state = DOORS = None

# %% [markdown]
# ## From a page to windows
#
# A model reads pieces of words and points at two of them. What we want is a stretch of the page, as it stands there.
# Between the two lies bookkeeping that is easy to get almost right. Here is what the tokenizer makes of a sentence.
# **Predict** what you get if you join the pieces again.

# %%
sentence = "Zoë Bézout's café in Málaga cost $17,000."
sentence_pieces = tokenizer(sentence, return_offsets_mapping=True, add_special_tokens=False)
for piece, (begin, end) in zip(sentence_pieces.tokens(), sentence_pieces["offset_mapping"], strict=True):
    print(f"{piece:>7} {begin:3}-{end:<3} {sentence[begin:end]}")
print("joined:", tokenizer.decode(sentence_pieces["input_ids"]))

# %% [markdown]
# Capitals and accents are gone, and there are spaces in the price. So an answer is never put together from pieces. The
# tokenizer also gives the first character of each piece and the one behind its last, its *offsets*, and the answer is
# cut out of the page between the offset where it begins and the one where it ends. The way to the labels is the same
# one backwards: SQuAD says at which character an answer begins, and the label is the piece that holds this character.
#
# **Break it.** At which *character*. Many programs count bytes, and in plain English that is the same. We ask where the
# café is, and count both ways:

# %%
town = "Málaga"
by_characters, by_bytes = sentence.index(town), sentence.encode().index(town.encode())
for place in (by_characters, by_bytes):
    print(place, sentence[place : place + len(town)])
print("contexts of the world in plain ASCII:", all(example.context.isascii() for example in TEST))

# %% [markdown]
# Three accents stand before *Málaga*, each of which takes two bytes, and the label has moved by three characters. There
# is no error, since there are pieces there, too. The model would learn that the café is in *aga co*. No test on text in
# plain ASCII can notice, and our world is such text. What notices is one comparison, made for every answer when the
# file is read: does the answer's text stand where the file says?


# %%
def cafe(text, start):
    """A document in SQuAD's format with one question."""
    row = {"id": "café", "question": "Where is it?", "answers": [{"text": text, "answer_start": start}]}
    return {"data": [{"title": "", "paragraphs": [{"context": sentence, "qas": [row]}]}]}


# %%
refused(lambda: squad.parse(cafe("Málaga", by_bytes), "cafe.json"), folder)
refused(lambda: squad.parse(cafe("Malaga", by_characters), "cafe.json"), folder)
print(squad.parse(cafe("Málaga", by_bytes), "cafe.json", repair=True)[0].answers)

# %% [markdown]
# Leaving such a question out would be quieter, and the scores would then be those of another data set. The reader here
# stops, or moves the answer to the nearest place where its text stands and says how many it moved.
#
# ### Windows
#
# BERT has 512 positions, and attention costs the square of the length. A page can be longer than any limit. We make
# one: ten paragraphs of the test, with all their questions.


# %%
def one_page(examples):
    """The contexts of some questions as one long context; the answers move along."""
    contexts = list(dict.fromkeys(example.context for example in examples))
    begins = np.cumsum([0, *(len(context) + 1 for context in contexts)]).tolist()
    shift = dict(zip(contexts, begins[:-1], strict=True))
    moved = [squad.Answer(e.answers[0].text, e.answers[0].start + shift[e.context]) for e in examples]
    whole = " ".join(contexts)
    return [replace(e, context=whole, answers=(a,)) for e, a in zip(examples, moved, strict=True)]


# %%
PAGE = one_page(TEST[:40])
page_pieces = tokenizer(PAGE[0].context, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
page_offsets = np.array(page_pieces["offset_mapping"])
print(len(PAGE), "questions about a page of", len(page_offsets), "tokens")

# %% [markdown]
# `run_squad.py` lays windows of up to 384 tokens over the page, the question at the front of each. The next window
# begins `stride` = 128 tokens further on. (In the tokenizers of transformers the word *stride* means the overlap. With
# windows this long, Google's number given to transformers makes nearly twice the step that Google makes.) **Predict**
# how many windows this page needs.


# %%
def window_spans(tokens, room, stride):
    """First context token of each window, and the one behind its last."""
    begins = range(0, max(tokens - room, 0) + stride, stride)
    return [(begin, min(begin + room, tokens)) for begin in begins]


# %%
page_question = PAGE[18]
room = 384 - len(tokenizer(page_question.question)["input_ids"]) - 1  # [CLS] question [SEP] ... [SEP]
page_spans = window_spans(len(page_offsets), room, 128)
print(page_question.question, "->", page_question.answers[0].text)
print(page_spans)

# %% [markdown]
# Nearly every token is now in several windows, and gets several pairs of numbers. Which ones count? A token at the edge
# of a window is read with half of its surroundings missing; *she* at the very beginning could be anyone. So each token
# belongs to the window in which it has *maximum context*: the smaller of the numbers of tokens on its left and on its
# right is largest there. An answer counts only in the window to which its first token belongs.


# %%
def most_context(spans, tokens):
    """For each context token, which window shows most around it; the first of equals."""
    at, around = np.arange(tokens), []
    for begin, end in spans:
        least = np.minimum(at - begin, end - 1 - at) + 0.01 * (end - begin)  # Google's small prize for length
        around.append(np.where((begin <= at) & (at < end), least, -np.inf))
    return np.argmax(around, axis=0)


# %%
page_owner = most_context(page_spans, len(page_offsets))
asked_windows = squad.windows([page_question], tokenizer)
for number, ((begin, end), window) in enumerate(zip(page_spans, asked_windows, strict=True)):
    assert np.array_equal(window.offsets, page_offsets[begin:end])
    assert np.array_equal(window.max_context, page_owner[begin:end] == number)

# %% mystnb={"image": {"alt": "Four overlapping windows as horizontal bars over a page of several hundred tokens, each beginning 128 tokens after the one above. A dark stretch in each bar marks the tokens with maximum context there; the dark stretches together cover the page once. A vertical line marks the answer, with a dot on each window that holds it."}}
fig, ax = plt.subplots(figsize=(6, 2.8))
place = int(np.searchsorted(page_offsets[:, 1], page_question.answers[0].start, side="right"))
for number, ((begin, end), window) in enumerate(zip(page_spans, asked_windows, strict=True)):
    own = begin + np.flatnonzero(window.max_context)
    ax.barh(-number, end - begin, left=begin, height=0.62, color=COLORS["pretrained"], alpha=0.25)
    ax.barh(-number, len(own), left=own[0], height=0.62, color=COLORS["pretrained"])
    if window.start:
        ax.plot(place, -number, "o", color=COLORS["scratch"], markersize=8)
ax.axvline(place, color=COLORS["scratch"], linewidth=1.2)
ax.set(yticks=-np.arange(len(page_spans)), yticklabels=[f"window {i + 1}" for i in range(len(page_spans))])
ax.set(xlabel="token of the page; dark: maximum context", xlim=(0, len(page_offsets)))
ax.grid(False)
show(fig)
print("answer at token", place, "| tokens that belong to each window:", np.bincount(page_owner).tolist())

# %% [markdown]
# The dark stretches together are the page, each token once. The labels are another matter: each window that holds the
# whole answer learns where it is (the dots), maximum context or not. And what does a window learn that does not hold
# it?

# %%
for window in asked_windows:
    first, last = window.offsets[[window.start - window.first, window.end - window.first]]
    learned = page_question.context[first[0] : last[1]] if window.start else "[CLS]"
    print(f"labels {window.start:3} {window.end:3}  {learned}")

# %% [markdown]
# To point at [CLS], which says: not here. (A comment in Google's code says that it throws such windows out. The code
# below the comment keeps them. Read the code.)
#
# Two things must hold for every set-up: every token of the context is in a window and belongs to exactly one, and no
# question goes without a window. That is easy to check here, and the tests of the course do so for random texts. A
# third thing does not follow from them. **Predict**: if every token is in some window, can an answer still be lost?


# %%
def check_cover(made, examples, offsets):
    """Assert that each question's windows show every token and own each once; how many answers are whole nowhere."""
    lost = 0
    for number in range(len(examples)):
        own = [window for window in made if window.example == number]
        assert own, "a question without a window"
        assert np.array_equal(np.unique(np.concatenate([w.offsets for w in own]), axis=0), offsets)
        owned = np.concatenate([w.offsets[w.max_context] for w in own])
        assert np.array_equal(np.sort(owned, axis=0), offsets)
        lost += not any(window.start for window in own)
    return lost


# %% [markdown]
# The answers of our world are single words. Somebody else may ask for reasons or descriptions, so here is the same page
# with the whole sentence as the answer.


# %%
def whole_sentence(example):
    """The question with the sentence around its answer as the answer."""
    at = example.answers[0].start
    begin = example.context.rfind(" . ", 0, at) + 3 if " . " in example.context[:at] else 0
    text = example.context[begin : example.context.index(" .", at)]
    return replace(example, answers=(squad.Answer(text, begin),))


# %%
LONG_ANSWERS = [whole_sentence(example) for example in PAGE]
print(LONG_ANSWERS[18].answers[0].text)
for length, stride in ((384, 128), (128, 64), (64, 16), (64, 40), (64, 64)):
    words, sentences = (
        squad.windows(some, tokenizer, length, stride, max_question=24) for some in (PAGE, LONG_ANSWERS)
    )
    lost = [check_cover(made, PAGE, page_offsets) for made in (words, sentences)]
    empty = np.mean([not window.start for window in words])
    print(
        f"{length:3} long, stride {stride:3}: {len(words):4} windows, {empty:.0%} do not hold the word;",
        end=" ",
    )
    print(f"lost: {lost[0]} words, {lost[1]} sentences")

# %% [markdown]
# As long as windows overlap, nothing is lost. On the last line they don't, and some sentences, and even a word of
# several pieces, are cut by an edge and stand whole in no window: none can teach them, and none can answer with them.
# An answer is safe as long as it is not longer than the overlap, which is what the question and the stride leave of a
# window. The other columns show the price: the smaller the stride, the more windows, and most of them have nothing to
# learn but [CLS].
#
# **Break it.** The shortest way to make long pages fit is one argument, `truncation=True`. The shortest way to make
# evaluation work after that is to leave out the questions whose pages are too long; a published tutorial does so. To
# see what each of them does to a score, we take a reader that makes no mistake: it finds every answer that its window
# holds. Its pages have one to nine paragraphs. **Predict** its exact match with windows, with truncation, and with the
# long pages left out.


# %%
def perfect(made):
    """Start and end logits of a reader that finds every answer that its window holds."""
    starts, ends = ([np.zeros(len(window.input_ids)) for window in made] for _ in range(2))
    for window, start, end in zip(made, starts, ends, strict=True):
        start[window.start] = end[window.end] = 9.0
    return starts, ends


# %%
def perfect_texts(examples, made):
    """What the perfect reader answers, by the id of the question."""
    found = squad.predict(examples, made, *perfect(made))
    return {example.id: p.best.text for example, p in zip(examples, found, strict=True)}


# %%
cuts = 4 * np.cumsum([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 5])  # a paragraph has four questions
PAGES = [example for a, b in zip(cuts, cuts[1:], strict=False) for example in one_page(TEST[a:b])]
made = squad.windows(PAGES, tokenizer)
counts = np.bincount([window.example for window in made])
truncated = [window for window in made if window.offsets[0, 0] == 0]
short = [example for example, count in zip(PAGES, counts, strict=True) if count == 1]

# %%
kept = perfect_texts(short, squad.windows(short, tokenizer))
for name, asked_of, texts in (
    ("windows", PAGES, perfect_texts(PAGES, made)),
    ("truncated", PAGES, perfect_texts(PAGES, truncated)),
    ("long pages left out", short, kept),
):
    print(
        f"{name:20} exact match {squad.evaluate(asked_of, texts)['exact']:5.1f} of {len(asked_of)} questions"
    )

# %% [markdown]
# Truncation costs the perfect reader more than a third of its score. Leave out the long pages, which have more than
# half of all questions, and it is perfect again. That is why the two like to come together: the second one hides what
# the first one does. In SQuAD few paragraphs are longer than 384 tokens, and the error stays small. Of your contracts
# or manuals nearly all will be.
#
# A score needs its denominator, then. Ours refuses to shrink: all questions that were asked must be answered. And
# whoever wants a single window has to say so, and hears of each page that does not fit.

# %%
refused(lambda: squad.evaluate(PAGES, kept), folder)
refused(lambda: squad.windows(PAGES, tokenizer, stride=None), folder)

# %% [markdown]
# ## Two numbers per token
#
# The part of the model that knows the task is small. Devlin et al. (2019) add one linear layer: for each token two
# numbers, how much it looks like the first token of the answer and how much like the last. The two are trained as two
# classifications over the tokens of the window. **Predict** how many weights that adds to MiniLM's 22.7 million, and
# the loss of an untrained head on a window of 86 tokens.


# %%
def reader(start, seed):
    """A span model on MiniLM's weights or on random ones; the seed draws what is not loaded."""
    with devices.scope():
        encoder = bert_tf.Bert(config, seed, exact_gelu=not FULL)  # Google trained with the other form
        if start == "pretrained":
            bert_tf.load_checkpoint(encoder.named, google / bert_tf.CHECKPOINT)
        return span_tf.SpanModel(encoder, seed)


# %%
model = reader("pretrained", 0)
some = squad.windows(questions("train", 512)[:8], tokenizer)
logits = model(squad.batch(some))
print("logits", logits.shape, "| new weights", sum(int(tf.size(w)) for w in model.head.weights))

# %%
first, last = np.transpose(squad.labels(some))
rows = np.arange(len(some))
by_hand = -0.5 * (
    tf.nn.log_softmax(logits[:, :, 0]).numpy()[rows, first]
    + tf.nn.log_softmax(logits[:, :, 1]).numpy()[rows, last]
)
print(f"loss {by_hand.mean():.2f} nats; a guess among the tokens of a window", end=" ")
print(f"{np.mean([np.log(len(window.input_ids)) for window in some]):.2f}")
np.testing.assert_allclose(span_tf.losses(logits, squad.labels(some)), by_hand, rtol=1e-4)

# %% [markdown]
# The head has 770 weights, three thousandths of a percent. An untrained head knows nothing, and its loss is that of a
# guess among the tokens.
#
# One step of training is a few lines in TensorFlow: a tape that remembers the forward pass, gradients from it, an
# optimizer that applies them. **Predict**: which variables of the encoder get no gradient at all?

# %%
with tf.GradientTape() as tape:
    loss = tf.reduce_mean(span_tf.losses(model(squad.batch(some), training=True), squad.labels(some)))
weights = model.trainable_weights
gradients = tape.gradient(loss, weights)
print("no gradient:", [w.name for w, g in zip(weights, gradients, strict=True) if g is None])
print(
    "a sparse one:",
    [w.name for w, g in zip(weights, gradients, strict=True) if isinstance(g, tf.IndexedSlices)],
)

# %% [markdown]
# The pooler sits behind the first token and serves tasks with one label per text. No path leads from it to the loss. An
# optimizer that is handed `None` fails or warns; one that is handed zeros lets weight decay shrink the pooler. `train`
# leaves it out. The gradient of the word embeddings is sparse: only rows of words that occurred.
#
# `span_tf.train` repeats that step with AdamW, a rate that rises for a tenth of the steps and falls to zero, and
# gradients clipped to norm 1. Windows of similar length share a batch, so little is padded. We train on 512 questions
# for four epochs, once from MiniLM's weights and once from random ones, with the same budget. One of the first kind
# trains here, which takes two to four minutes. **Predict** the F1 of both on the 200 questions of the test.

# %%
EPOCHS = 4
RATES = {"pretrained": (1e-4, 2e-4, 4e-4), "random": (1e-4, 2e-4, 4e-4, 8e-4)}


# %%
def tuned(start, seed, count, rate):
    """A reader after four epochs on `count` questions of the course world."""
    model = reader(start, seed)
    made = squad.windows(questions("train", count, seed), tokenizer)
    span_tf.train(model, made, EPOCHS, rate, batch=8, seed=seed)
    return model


# %%
def answers(model, examples):
    """The predictions of a model for questions, with windows of 384 tokens."""
    made = squad.windows(examples, tokenizer)
    return squad.predict(examples, made, *span_tf.logits(model, made))


# %%
def scores(model, examples):
    """Exact match and F1 in percent."""
    best = {e.id: p.best.text for e, p in zip(examples, answers(model, examples), strict=True)}
    return squad.evaluate(examples, best)


# %% [markdown]
# Each start gets its own rate, found on questions that are in neither training nor test: three rates, and
# one more where the best stands at an end of the three. The search is recorded.


# %%
def search(start, rate, seed):
    """F1 on validation questions, which are training questions of another paper."""
    return {"f1": scores(tuned(start, seed, 512, rate), questions("train", 100, "validation"))["f1"]}


# %%
STARTS = ("pretrained", "random")
grid = [
    {"start": start, "rate": rate, "seed": seed} for start in STARTS for rate in RATES[start] for seed in [0]
]
searched = lab.sweep("search", search, grid, live=lambda setting: False)
found = searched.recorded.groupby(["start", "rate"]).f1.mean().unstack()
found.round(1)

# %%
RATE = found.idxmax(axis=1).to_dict()
print(RATE)


# %%
@lru_cache(maxsize=1)
def trained(start, seed):
    """The live model of this lab: 512 questions, four epochs."""
    return tuned(start, seed, 512, RATE[start])


# %% [markdown]
# About half of the test questions are worded as no training question is: *what is the native town of* somebody, where
# training asked *which town does* somebody *come from*. **Predict** what that costs the pretrained model, and the
# random one.

# %%
NEW = [wordings[-1].partition("{")[0] for wordings in tasks.QUESTIONS.values()]
unseen = np.array([example.question.startswith(tuple(NEW)) for example in TEST])
print(f"{unseen.sum()} of {len(TEST)} test questions are worded as no training question is: {NEW}")


# %%
def world_run(start, count, seed):
    """EM and F1 on the test in percent, F1 also for wordings that training had and for those it had not."""
    model = trained(start, seed) if count == 512 else tuned(start, seed, count, RATE[start])
    best = {e.id: p.best.text for e, p in zip(TEST, answers(model, TEST), strict=True)}
    exact, f1 = (100 * values for values in squad.question_scores(TEST, best))
    groups = {"seen": f1[~unseen].mean(), "unseen": f1[unseen].mean()}
    return {"exact": exact.mean(), "f1": f1.mean()} | groups


# %%
WORLD_SEEDS = {128: 5, 512: 3}  # a training on 512 questions takes four times as long
plan = [
    {"start": s, "count": n, "seed": k} for s in STARTS for n in WORLD_SEEDS for k in range(WORLD_SEEDS[n])
]
live_run = {"start": "pretrained", "count": 512, "seed": 0}
runs = lab.sweep("world", world_run, plan, live=lambda setting: setting == live_run)
for metric in ("exact", "f1", "unseen"):
    lab.check(runs, metric, by=["start", "count"], slack=0.5)


# %%
def world_values(metric, start, count):
    """A metric of the recorded runs, one number per seed."""
    return (
        runs.recorded.query(f"start == '{start}' and count == {count}").sort_values("seed")[metric].to_numpy()
    )


# %% mystnb={"image": {"alt": "Four pairs of rows of dots, F1 for wordings that training had and for new ones, five dots each with 128 questions and three with 512. From random weights all dots lie at about 10 with 128 questions and between 10 and 25 with 512. From MiniLM they lie between 13 and 40 with 128 questions; with 512 the known wordings lie between 84 and 96 and the new ones between 56 and 79."}}
fig, ax = plt.subplots(figsize=(6, 3.2))
rows = [(start, count) for start in STARTS for count in WORLD_SEEDS]
for row, (start, count) in enumerate(rows):
    for metric, shift, face in (("seen", -0.15, None), ("unseen", 0.15, "white")):
        values, color = world_values(metric, start, count), COLORS["scratch" if start == "random" else start]
        ax.plot(values, [row + shift] * len(values), "o", color=color, mfc=face, ms=8)
        print(f"{start:10} {count} questions, {metric:6} wordings: F1 {np.sort(values).round(1)}")
ax.set(xlim=(0, 100), xlabel="F1 (filled: known wordings, hollow: new ones)")
ax.set_yticks(range(4), [f"{start}, {count}" for start, count in rows])
ax.invert_yaxis()
show(fig)


# %%
for count, seeds in WORLD_SEEDS.items():
    gap = paired_ci(world_values("f1", "pretrained", count), world_values("f1", "random", count))
    lab.conclude(f"world-pretrained-{count}", gap, seeds=seeds)
wording = paired_ci(world_values("seen", "pretrained", 512), world_values("unseen", "pretrained", 512))
lab.conclude("world-wording", wording, seeds=3)

# %% [markdown]
# From random weights four epochs teach little more than what kinds of words are answers. From MiniLM the same questions
# teach reading, though not every time equally well: three seeds with 512 questions, each of which draws other questions
# and another order, end more than fifteen points apart. A single run of such a training says little, and a comparison
# of two single runs less. Four times the questions also mean four times the steps here; what part of the gain is due to
# which of them, this figure can't say.
#
# New wordings cost F1 in each run from MiniLM, with few questions and with many. With 512 it is about fifteen points
# twice, and once nearly twice as many. So the mean is rough, but its interval lies above zero, and the verdict is
# "supported". Part of what the reader has learned is the wordings of its training.

# %% [markdown]
# ### What the mistakes cost
#
# At its first door the lab collected four mistakes that raise no error, and for each a distance: how far it moves the
# states. Now there is a tuned reader, and the distances can be priced. We write its encoder as a checkpoint, as one
# would to hand it on, and load it with each mistake; the head arrives intact. Nothing is trained again. **Predict** the
# F1 of the four. Is it the order of the distances? And how many points does the smallest one cost?


# %%
def broken_run(fault, seed):
    """F1 on the test in percent of a tuned reader whose encoder was written and loaded with a fault."""
    model = trained("pretrained", seed)
    with tempfile.TemporaryDirectory() as own:
        bert_tf.write_checkpoint(model.encoder.named, Path(own) / "tuned.ckpt")
        loaded = span_tf.SpanModel(faulty(fault, Path(own) / "tuned.ckpt", seed))
    span_tf.logits(loaded, squad.windows(TEST[:1], tokenizer))  # builds the head
    loaded.head.set_weights(model.head.get_weights())
    return {"f1": scores(loaded, TEST)["f1"]}


# %%
broken_plan = [{"fault": fault, "seed": seed} for seed in range(3) for fault in ("none", *FAULTS)]
broken = lab.sweep(
    "broken",
    broken_run,
    broken_plan,
    live=lambda s: s["seed"] == 0 and s["fault"] in ("none", "gelu by tanh"),
)
lab.check(broken, "f1", by=["fault"], slack=0.5)
broken_f1 = broken.recorded.pivot(index="fault", columns="seed", values="f1").loc[["none", *FAULTS]]
broken_f1.round(1)

# %% mystnb={"image": {"alt": "F1 of three tuned readers as dots, and their mean as a bar, in a row for each way of loading. Without a mistake, with the gelu by tanh and with the norms of Keras the dots stand at nearly the same places, between about 70 and 90 percent. With one random layer they spread from below 20 to above 60, with square kernels not turned all lie below 10."}}
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for row, (name, values) in enumerate(broken_f1.iterrows()):
    color = COLORS["pretrained" if name == "none" else "scratch"]
    ax.plot(values, [row] * 3, "o", color=color, alpha=0.5, markersize=9, markeredgewidth=0)
    ax.plot(values.mean(), row, "|", color=color, markersize=24, markeredgewidth=3)
moves = {"none": door_distances["checkpoint"], **fault_distances}
ax.set_yticks(range(len(moves)), [f"{name}\n({moved:.0e})" for name, moved in moves.items()])
ax.set(xlim=(0, 100), ylim=(4.6, -0.6), xlabel="F1 of the tuned reader, %")
show(fig)
print(broken_f1.mean(axis=1).round(1).to_dict())

# %%
broken_cost = {fault: paired_ci(broken_f1.loc["none"], broken_f1.loc[fault]) for fault in FAULTS}
lab.conclude("broken-layer", broken_cost["one layer random"], 3)
lab.conclude("broken-kernels", broken_cost["square kernels not turned"], 3)
lab.conclude("broken-norms", broken_cost["norms with 1e-3"], 3)
lab.conclude("broken-gelu", broken_cost["gelu by tanh"], 3)

# %% [markdown]
# The costs keep the order of the distances only roughly, and not at all their proportions. The other gelu moves the
# states a thousand times further than rounding does, and all three readers keep their F1 to the last digit. The norms
# of Keras move them by a tenth, and our row that expected a loss is **inconclusive**: two readers are a little better
# and one is a little worse. One random layer costs every reader dearly, but one lost less than a third of its F1 and
# the others most of it, as the draw of the layer fell out. Three readers that far apart make an interval that reaches
# below zero, so this row is **inconclusive**, too, though none of the three got off lightly. With the square kernels
# not turned, all that was learned is gone.
#
# So F1 is a poor alarm. It missed two mistakes of four, which may wait for a task that is less forgiving, and for a
# third it depends on a seed how loud it rings. The comparison of numbers at the door found all of them, before anything
# was trained. (Here the mistake was made with a finished reader. Made before tuning, part of it would be trained away,
# which makes it harder to notice. How much would remain we did not measure.)

# %% [markdown]
# ## From logits to an answer
#
# The model has two opinions about every token, and what is wanted is one stretch of text. The obvious way takes the
# likeliest first token and the likeliest last one. **Predict**: for how many of the 200 test questions are these two no
# answer at all, because the last stands before the first, or because one of them is a word of the question?

# %%
read_windows = squad.windows(TEST, tokenizer)
read_starts, read_ends = span_tf.logits(trained("pretrained", 0), read_windows)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
picks = np.array([(row.argmax(), end.argmax()) for row, end in zip(read_starts, read_ends, strict=True)])
backwards = picks[:, 1] < picks[:, 0]
outside = picks.min(1) < [window.first for window in read_windows]
print(f"{backwards.sum()} end before they begin, {outside.sum()} begin or end outside of the paragraph")

# %% [markdown]
# None leaves the paragraph; that much has been learned. But some end before they begin, since nothing tells the two
# choices of one another. So look at pairs. The score of a pair is the sum of its two logits, and the best pair wins of
# all that could be an answer: those that lie in the paragraph, are in order, and are not too long (30 tokens, as in
# `run_squad.py`).


# %%
def allowed_pairs(tokens, longest=30):
    """True for pairs [first, last] in order and at most `longest` tokens long."""
    length = np.arange(tokens)[None] - np.arange(tokens)[:, None] + 1
    return (length > 0) & (length <= longest)


# %%
def best_pair(window, start, end):
    """First and last token of the best answer in a window, counted in the window."""
    inside = slice(window.first, len(window.input_ids) - 1)  # between the two [SEP]
    total = start[inside, None] + end[None, inside]
    total = np.where(allowed_pairs(len(total)), total, -np.inf)
    return np.add(np.unravel_index(total.argmax(), total.shape), window.first)


# %%
def cut_out(window, pair):
    """The text from the first token of a pair to its last, or none where that is no stretch of the paragraph."""
    first, last = pair - window.first
    if not 0 <= first <= last < len(window.offsets):
        return ""
    return TEST[window.example].context[window.offsets[first, 0] : window.offsets[last, 1]]


# %%
best_pairs = np.array([best_pair(*each) for each in zip(read_windows, read_starts, read_ends, strict=True)])
every_pair = squad.predict(TEST, read_windows, read_starts, read_ends, n_best=384)
for window, pair, prediction in zip(read_windows, best_pairs, every_pair, strict=True):
    assert prediction.best.text == cut_out(window, pair)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
for name, pairs in (("each by itself", picks), ("the best pair", best_pairs)):
    texts = {TEST[w.example].id: cut_out(w, pair) for w, pair in zip(read_windows, pairs, strict=True)}
    scored = squad.evaluate(TEST, texts)
    print(f"{name:14} EM {scored['exact']:.1f}, F1 {scored['f1']:.1f}")

# %% [markdown]
# A few points for one sum. Here are all pairs of one question, the one whose best answer is the least sure. What lies
# below the diagonal ends before it begins; what lies far to the right is too long.

# %%
unsure = int(np.argmin([prediction.best.probability for prediction in every_pair]))
window, start, end = read_windows[unsure], read_starts[unsure], read_ends[unsure]
inside = slice(window.first, len(window.input_ids) - 1)
pair_scores = start[inside, None] + end[None, inside] - every_pair[unsure].best.score
pair_scores = np.where(allowed_pairs(len(pair_scores)), pair_scores, np.nan)

# %% mystnb={"image": {"alt": "A square of all pairs of first and last token of a paragraph. Only a band along the diagonal is allowed and colored by score; the rest is gray. A circle at the lower edge of the band marks the darkest cell, the best pair. Darker lines run along the rows of likely first tokens and down the columns of likely last ones."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, ax = plt.subplots(figsize=(6, 4.6))
colors = plt.get_cmap("Blues").with_extremes(bad="#D9D9D9")
image = ax.imshow(pair_scores, cmap=colors, vmin=-12, vmax=0, interpolation="none")
ax.plot(
    *(best_pairs[unsure] - window.first)[::-1], "o", markersize=13, mfc="none", mec=COLORS["scratch"], mew=2
)
ax.set(xlabel="last token of the answer", ylabel="first token of the answer")
ax.grid(False)
fig.colorbar(image, label="score, best answer = 0")
show(fig)
print(TEST[unsure].question, "->", TEST[unsure].answers[0].text)
for span in every_pair[unsure].spans[:5]:
    print(f"{span.probability:.2f} {span.score:6.2f}  {span.text}")

# %% [markdown]
# A few dark points among thousands of pairs. Each stands where a likely first token meets a likely last one; the lines
# are such tokens with any partner, here the towns of the paragraph, between which the reader wavers. And look at the
# longer answers: they begin with one town and end with another, and no person would say such a thing. A sum of two
# numbers does not know that both ends must belong to one thing.
#
# On a page of 384 tokens there are over ten thousand such pairs. Everybody therefore takes the 20 best first tokens and
# the 20 best last ones and looks only at their pairs, the *n-best list*. **Predict** what another limit on the length
# does: none, two tokens, one token.

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
for longest in (384, 30, 2, 1):
    chosen = squad.predict(TEST, read_windows, read_starts, read_ends, n_best=20, max_answer=longest)
    scored = squad.evaluate(TEST, {e.id: p.best.text for e, p in zip(TEST, chosen, strict=True)})
    print(f"up to {longest:3} tokens: EM {scored['exact']:.1f}, F1 {scored['f1']:.1f}")

# %% [markdown]
# Hardly anything changes without a limit: this reader has learned how long answers are. A limit that is too short does
# harm. It counts pieces, not words, and the names of many towns have three. If the answers on your pages are sentences,
# look at their lengths before you keep the 30.
#
# ### Two other opinions
#
# Published numbers come from two programs, Google's `run_squad.py` and transformers' `utils_qa.py`. Do they, given the
# same logits, choose what we choose? Both were run on random logits for questions about a few texts in many overlapping
# windows; one of the texts is full of accents, rare spaces and letters that the vocabulary lacks. Their outcomes are
# kept with the tests of this course.

# %%
import json

# %%
told = json.loads((settings.root() / "tests/data/squad_references.json").read_text(encoding="utf-8"))
told_examples = squad.parse(told["document"])
told_windows = squad.windows(told_examples, tokenizer, **told["windows_of"])


# %%
def told_logits(seed):
    """The random logits that the other programs were given, a little higher at [CLS]."""
    draw = np.random.default_rng(seed)
    rows = [[3 * draw.normal(size=len(w.input_ids)) for w in told_windows] for _ in range(2)]
    for row in (*rows[0], *rows[1]):
        row[0] += 7
    return rows


# %%
agreed = []
for seed, outcomes in told["outcomes"].items():
    ours = squad.predict(told_examples, told_windows, *told_logits(int(seed)), **told["answers_of"])
    for p, (google_text, their_text, score, odds, _) in zip(ours, outcomes, strict=True):
        np.testing.assert_allclose((p.best.score, p.null_odds), (score, odds))
        agreed.append((p.best.text == their_text, p.best.text == google_text))
        if p.best.text != google_text and seed == "3":
            print(f"ours {p.best.text!r}, Google's {google_text!r}")
print(len(agreed), "answers; same as transformers and as Google:", *np.sum(agreed, 0))

# %% [markdown]
# All scores are equal, and so are all texts of transformers, which cuts with offsets as we do. Google's code of 2018
# had no offsets. It joins the pieces and then looks for the result in the words of the page; where it does not find it,
# as beside characters that the vocabulary lacks, it gives whole words with all that sticks to them. On plain English
# the three agree. One difference remains outside of the function: the example script of transformers does not tell it
# about maximum context, so the same stretch of text may stand in its list twice, from two windows.
#
# ### What is a right answer?
#
# *Denver Broncos*, says the key; the model says *the Denver Broncos!* Scores would be useless if they did not forgive
# that. The official scorers put both texts into lower case and drop punctuation and articles. *Exact match* is then
# equality, and *F1* treats both as bags of words: the harmonic mean of the share of given words that are right and the
# share of right words that are given. Of several keys the best counts. **Predict** both for each line.


# %%
def overlap(given, key):
    """The F1 score of two texts, as SQuAD defines it."""
    given, key = squad.normalize(given).split(), squad.normalize(key).split()
    same = sum(min(given.count(word), key.count(word)) for word in set(key))
    return 2 * same / (len(given) + len(key))


# %%
KEYS = [
    ("the Denver Broncos!", "Denver Broncos"),
    ("Denver", "Denver Broncos"),
    ("a steam-powered machine", "steam powered machine"),
    ("24-10", "24–10"),  # in the key there is a dash, not a hyphen
    ("$ 17, 000", "$17,000"),
    ("in 1833", "1833"),
]
for given, key in KEYS:
    assert np.isclose(squad.f1(given, key), overlap(given, key))
    print(f"EM {squad.exact_match(given, key):.0f}  F1 {squad.f1(given, key):.2f}  {given} | {key}")

# %% [markdown]
# **Break it.** Four of these lines are worth a thought. Only ASCII punctuation is dropped, so a dash makes a difference
# and a hyphen none. A hyphen is dropped without a space in its place, so *steam-powered* becomes one word. And the
# price is what you get if you join the model's pieces instead of cutting the page: the right answer, and not one point
# for it. In the course world, where words stand apart already, no score would show that mistake. On real pages every
# price, decade and hyphen would be lost. One assertion notices: an answer is a part of its page.

# %%
joined = tokenizer.decode(sentence_pieces["input_ids"][-5:-1])
print(joined, "| in the sentence:", joined in sentence)
assert all(p.best.text in e.context for e, p in zip(TEST, every_pair, strict=True))

# %% [markdown]
# ### No answer
#
# So far every question had an answer, and the reader knows it. What does it say when asked about somebody whom the
# paragraph does not mention? SQuAD 2.0 (Rajpurkar et al. 2018) has such questions, made by people to look answerable.
# In the world we make two kinds: about a person of another paragraph, and about a fact that the paragraph does not tell
# of its own people.


# %%
@lru_cache(maxsize=8)
def with_impossible(split, count, each, seed=0):
    """The questions of `questions` and, for each paragraph, `each` questions that it does not answer."""
    made = squad.parse(tasks.qa(world, count // 2, split, seed, impossible=each))
    return made[: count + count // 4 * each]  # four answerable questions a paragraph


# %%
ASKED = with_impossible("test", 200, 4, "test")
assert [example for example in ASKED if example.answers] == TEST
IMPOSSIBLE = [example for example in ASKED if not example.answers]
print(len(TEST), "have an answer and", len(IMPOSSIBLE), "have none")

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
print(IMPOSSIBLE[0].context)
for example, prediction in zip(
    IMPOSSIBLE[:4], answers(trained("pretrained", 0), IMPOSSIBLE[:4]), strict=True
):
    print(f"{prediction.best.probability:.2f} {prediction.best.text:10} {example.question}")

# %% [markdown]
# It answers all of them, and of some answers it is nearly certain. Asked where Bruno Cranston lives, it says where he
# comes from. The probability compares candidates with one another, and "none of them" is no candidate. BERT makes it
# one without a new weight: in training, both labels of such a question point at [CLS]. Then the two logits of [CLS] add
# up to the *null score*. Of several windows the lowest counts, since one window with an answer is enough. The question
# stays unanswered if the null score is above that of the best answer by more than a threshold. The loss knows nothing
# of F1, so the threshold is chosen on validation questions for the best F1.
#
# The reader of the last section goes on for one epoch: 256 of its own questions, and with their paragraphs as many
# impossible ones. On the test half of the questions have no answer. Whoever always answers gets at most half of the
# points, and so does, exactly, who never does. **Predict**: what does the reader get after this epoch, and what did it
# get before, if it too may be silent above a threshold of its own?


# %%
def judged(model, examples):
    """The best text for each question, and how far the null score is above it, both by id."""
    made = squad.windows(examples, tokenizer)
    predictions = squad.predict(examples, made, *span_tf.logits(model, made), null=True)
    pairs = list(zip(examples, predictions, strict=True))
    return {e.id: p.best.text for e, p in pairs}, {e.id: p.null_odds for e, p in pairs}


# %%
SILENT = [round(0.1 * tenth, 1) for tenth in range(11)]  # shares of the questions left unanswered


# %%
def silence_curve(examples, texts, odds):
    """F1 in percent if the share of questions with the highest odds is left unanswered, for each share of SILENT."""
    order = sorted(odds, key=odds.get, reverse=True)
    quiet = [dict.fromkeys(order[: round(share * len(order))], "") for share in SILENT]
    return [squad.evaluate(examples, texts | some, "2.0")["f1"] for some in quiet]


# %%
def taught_silence(model, seed):
    """A copy of a trained reader after one more epoch, half of whose questions have no answer."""
    made = squad.windows(with_impossible("train", 512, 4, seed)[:512], tokenizer)
    copy = reader("pretrained", seed)
    copy(squad.batch(made[:1]))
    copy.set_weights(model.get_weights())
    span_tf.train(copy, made, 1, RATE["pretrained"], batch=8, seed=seed)
    return copy


# %%
def impossible_run(taught, seed):
    """Scores on ASKED of a reader that was taught answerable questions, or then both kinds."""
    model = trained("pretrained", seed)
    if taught == "both":
        model = taught_silence(model, seed)
    held = with_impossible("train", 100, 4, "validation")
    threshold, _ = squad.best_threshold(held, *judged(model, held))
    texts, odds = judged(model, ASKED)
    said = {name: "" if odds[name] > threshold else text for name, text in texts.items()}
    scored = squad.evaluate(ASKED, said, "2.0")
    result = {"f1": scored["f1"], "has": scored["HasAns_f1"], "none": scored["NoAns_f1"]}
    for kind in ("person", "fact"):
        result[kind] = 100 * np.mean([not said[e.id] for e in IMPOSSIBLE if e.id.endswith(kind)])
    result["always"] = squad.evaluate(TEST, {example.id: texts[example.id] for example in TEST})["f1"]
    result["silent"] = float(np.mean([not text for text in said.values()]))
    curve = silence_curve(ASKED, texts, odds)
    return result | {f"silent {share}": value for share, value in zip(SILENT, curve, strict=True)}


# %%
silence = lab.sweep(
    "impossible",
    impossible_run,
    [{"taught": taught, "seed": seed} for taught in ("answerable", "both") for seed in range(3)],
    live=lambda s: s == {"taught": "answerable", "seed": 0},
)
for metric in ("f1", "always"):
    lab.check(silence, metric, by=["taught"], slack=0.5)


# %%
def silence_of(taught, metric):
    """The recorded runs of one metric, by seed."""
    rows = silence.recorded[silence.recorded["taught"] == taught]
    return rows.sort_values("seed")[metric].to_numpy()


# %%
SILENCE_SHOWN = ["taught", "seed", "f1", "has", "none", "person", "fact", "always"]
silence.recorded[SILENCE_SHOWN].round(1)

# %% [markdown]
# `f1` is the score of SQuAD 2.0 with the threshold, `has` that of the questions with an answer, `none` the share of the
# others that were left unanswered, `person` and `fact` this share by kind, and `always` the F1 of the questions with an
# answer if the reader always answers.

# %% mystnb={"image": {"alt": "F1 over the share of questions left unanswered, from all answered on the left to none answered on the right, where both curves meet at fifty. The means of both readers rise to a broad hill in the middle, the one after the epoch a few points higher; thin lines for single runs lie far above and below them. A diamond on each mean marks the threshold chosen on validation."}}
fig, ax = plt.subplots(figsize=(6, 3.9))
for taught, label, role in (
    ("both", "after the epoch", "pretrained"),
    ("answerable", "before it", "distant"),
):
    curves = np.array([silence_of(taught, f"silent {share}") for share in SILENT])
    ax.plot(100 * np.array(SILENT), curves, color=COLORS[role], linewidth=0.9, alpha=0.6)
    ax.plot(100 * np.array(SILENT), curves.mean(1), marker="o", color=COLORS[role], linewidth=3, label=label)
    at = 100 * silence_of(taught, "silent").mean(), silence_of(taught, "f1").mean()
    ax.plot(*at, "D", color=COLORS["exact"], markersize=8, zorder=5)
ax.axhline(50, color=COLORS["exact"], linewidth=0.8, linestyle=":")
ax.set(xlabel="questions left unanswered, % (least sure first)", ylabel="F1 of SQuAD 2.0", ylim=(30, 90))
ax.legend(loc="lower center")
show(fig)
for taught, label in (("answerable", "before"), ("both", "after")):
    low, high = silence_of(taught, "f1").min(), silence_of(taught, "f1").max()
    print(
        f"{label}: F1 {mean_ci(silence_of(taught, 'f1'))} with its threshold, runs from {low:.1f} to {high:.1f}"
    )

# %%
lab.conclude("impossible-learned", paired_ci(silence_of("both", "f1"), silence_of("answerable", "f1")), 3)
lab.conclude("impossible-cost", paired_ci(silence_of("answerable", "always"), silence_of("both", "has")), 3)
lab.conclude("impossible-kinds", paired_ci(silence_of("both", "person"), silence_of("both", "fact")), 3)

# %% [markdown]
# Did you expect the two curves so close? The epoch brings a few points, most of them in one of the three runs, and the
# interval contains zero: **inconclusive**. Three trainings of the same kind differ by several times as much.
#
# The surprise is the reader before the epoch. Nobody had told it of questions without an answer, and [CLS] was never a
# label. Yet a threshold on the same difference finds most questions about absent people. If nothing in the paragraph
# fits the question, no pair gets a high score, so the height of the best score is a measure of doubt by itself. What
# this reader lacked was not the doubt but the threshold, and that takes a few validation questions whose right answer
# is none. Whether longer training or more impossible questions would get further we have not measured. Questions in
# which every word fits and only one fact is missing are the ones to try it on: in two of the three runs far fewer of
# them were recognized, even after the epoch. In the third as many were, so this row, too, is **inconclusive**.
#
# To be able to say no has a price. In each run the questions that do have an answer lose against a reader that always
# answers, by seven points in one and by more than twenty in another. (With three runs so different the interval reaches
# below zero, and the verdict is **inconclusive**.) BERT, too, reached ten points of F1 less on SQuAD 2.0 than on 1.1
# (Devlin et al. 2019), where the questions are different and one model stands against an ensemble.
#
# A file that calls a question impossible and also answers it leaves open which of the two to learn, and is refused.

# %%
both_ways = tasks.qa(world, 2, "train", impossible=1)
both_ways["data"][0]["paragraphs"][0]["qas"][0]["is_impossible"] = True
refused(lambda: squad.parse(both_ways, "both-ways.json"), folder)

# %% [markdown]
# ## What stands on top
#
# A linear layer was enough on top of an encoder that was tuned together with it. What is it worth on an encoder that
# stays as it came? Freeze MiniLM, and its states become a table: each window is read once, and any number of heads can
# be trained on the table, each in seconds. So we can afford to ask which layers a head should read, whether it should
# be deeper, and when it should look at more than one token at a time.
#
# The last question needs a contrast. BERT reads question and passage *together*: in every layer each token of the
# passage can look at the question. For comparison we store states for which it read the two *apart*, the question
# without the passage and the passage without the question. The mask that hides padding can hide a question, too.

# %%
from functools import partial

# %%
head_encoder = reader("pretrained", 0).encoder


# %%
def layer_states(inputs, together=True):
    """The outputs of all layers of the frozen encoder, float32 [windows, tokens, layers, units]."""
    passage = inputs["input_type_ids"]
    masks = [inputs["input_mask"]] if together else [inputs["input_mask"] - passage, passage]
    read = [tf.stack(head_encoder(inputs | {"input_mask": m})["encoder_outputs"], 2) for m in masks]
    return np.where(passage[:, :, None, None], read[-1], read[0])


# %% tags=["nbval-ignore-output"] reason="the last digits of a sum depend on the processor"
head_inputs = squad.batch(squad.windows(questions("train", 512)[:8], tokenizer))
in_passage = head_inputs["input_type_ids"].astype(bool)
blotted = head_inputs | {"input_word_ids": np.where(in_passage, head_inputs["input_word_ids"], 0)}
for together in (True, False):
    moved = np.abs(layer_states(head_inputs, together) - layer_states(blotted, together))[in_passage].max()
    print("together:" if together else "apart:   ", f"{moved:.2f}")
assert moved < 1e-4

# %% [markdown]
# That was the check: blot out the question, and nothing of a passage that was read apart may move. **Predict** for both
# kinds of states: what F1 can a linear layer reach, which sees one token at a time?


# %%
@lru_cache(maxsize=3)
def frozen(split, count, seed, together):
    """Windows, the states of their layers in half precision, and which of their tokens are real, as 0 and 1."""
    made = squad.windows(questions(split, count, seed), tokenizer)
    inputs = squad.batch(made)
    parts = ({name: rows[i : i + 32] for name, rows in inputs.items()} for i in range(0, len(made), 32))
    states = [layer_states(part, together).astype(np.float16) for part in parts]
    return made, np.concatenate(states), inputs["input_mask"].astype(np.float32)


# %% [markdown]
# Four heads. *Linear* is the layer that we know, on the top layer. *Mix* is the same on a mean of all layers with
# learned weights (Peters et al. 2018). *Hidden* puts 64 units between the states and the two numbers. *Attention* lets
# the tokens look at each other once more, in a layer of its own. Which of them will gain most over *linear*, and on
# which states?


# %%
class LayerMix(tf_keras.layers.Layer):
    """The mean of the layers of states [windows, tokens, layers, units] with learned weights."""

    def build(self, shape):
        self.mix = self.add_weight("mix", shape=[shape[2]], initializer="zeros")

    @property
    def shares(self):
        return tf.nn.softmax(30.0 * self.mix)  # 30: so that a few numbers keep pace with hundreds

    def call(self, states):
        return tf.einsum("wtlu,l->wtu", states, self.shares)


# %%
def attending(states, real, masked=True):
    """One layer of self-attention over the tokens of the top layer, in 128 units."""
    x = tf_keras.layers.Dense(128)(states[:, :, -1])
    layer = tf_keras.layers.MultiHeadAttention(4, 32)
    mixed = layer(x, x, attention_mask=real[:, None] > 0) if masked else layer(x, x)
    return tf_keras.layers.LayerNormalization()(x + mixed)


# %%
HEADS = {
    "linear": lambda states, real: states[:, :, -1],
    "mix": lambda states, real: LayerMix(name="mix")(states),
    "hidden": lambda states, real: tf_keras.layers.Dense(64, "gelu")(states[:, :, -1]),
    "attention": attending,
}


# %%
def layers_for(head, states):
    """The states that a head reads, so that only these are copied: all layers, or the top layer."""
    return states if head == "mix" else states[:, :, -1:]


# %%
def head_model(build, layers, seed):
    """A head in tf_keras, from states of `layers` layers and a mask of tokens to two logits per token."""
    tf_keras.backend.clear_session()
    tf_keras.utils.set_random_seed(seed)
    states = tf_keras.Input([None, layers, config.hidden_size], dtype="float16")
    real = tf_keras.Input([None])
    given = tf_keras.layers.Dense(2)(build(tf.cast(states, tf.float32), real))
    return tf_keras.Model([states, real], given + bert_tf.MASKED * (1 - real)[:, :, None])


# %% [markdown]
# **Break it.** Keras gives us attention in one line. It knows nothing of our mask, unless it is told. Take the line
# without: training runs, and a window in a batch of its own gets an answer. Now put it beside a longer window. Its row
# is filled up with padding, sixty tokens here. Does the head notice?

# %% tags=["nbval-ignore-output"] reason="the last digits of a sum depend on the processor"
head_made, head_states, head_real = frozen("train", 16, 0, True)
own = len(head_made[0].input_ids)
alone = [head_states[:1, :own], head_real[:1, :own]]
padded = [np.pad(x, [(0, 0), (0, 60)] + [(0, 0)] * (x.ndim - 2)) for x in alone]
for masked in (False, True):
    careful = head_model(partial(attending, masked=masked), head_states.shape[2], 0)
    moved = np.abs(careful(alone).numpy() - careful(padded).numpy()[:, :own]).max()
    print("with a mask:   " if masked else "without a mask:", f"{moved:.4f}")
assert moved < 1e-4

# %% [markdown]
# Without the mask, the logits of a window depend on how long the window beside it is. Such a head trains and is scored
# without an error, but its answers change a little with the order and the size of the batches, and nothing says why.
# The test is cheap and finds any head in which padding takes part: put one input through alone and padded, and compare.
#
# Training is Keras's own loop; the loss is the one from above.

# %%
HEAD_EPOCHS, HEAD_RATES = 10, (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


# %%
def head_loss(labels, given):
    """The loss of the reader, in the order that Keras wants."""
    return span_tf.losses(given, labels)


# %%
def fitted_head(head, count, seed, rate, together):
    """A head that was trained on the frozen states of `count` questions."""
    made, states, real = frozen("train", count, seed, together)
    states = layers_for(head, states)
    model = head_model(HEADS[head], states.shape[2], seed)
    falling = tf_keras.optimizers.schedules.PolynomialDecay(rate, HEAD_EPOCHS * -(-len(made) // 16), 0.0)
    model.compile(tf_keras.optimizers.Adam(falling), head_loss)
    model.fit([states, real], squad.labels(made), 16, HEAD_EPOCHS, verbose=0)
    return model


# %%
def head_f1(head, model, split, count, seed, together):
    """F1 of a trained head in percent."""
    made, states, real = frozen(split, count, seed, together)
    given = model.predict([layers_for(head, states), real], 32, verbose=0)
    examples = questions(split, count, seed)
    found = squad.predict(examples, made, given[..., 0], given[..., 1])
    return squad.evaluate(examples, {e.id: p.best.text for e, p in zip(examples, found, strict=True)})["f1"]


# %% [markdown]
# Each head gets its own rate, found as the rate of the readers was, on other questions.


# %%
def head_search(together, head, rate, seed):
    """F1 of a head on validation questions."""
    model = fitted_head(head, 512, seed, rate, together)
    return {"f1": head_f1(head, model, "train", 100, "validation", together)}


# %%
KINDS = [(True, head) for head in HEADS] + [(False, "linear"), (False, "attention")]
head_grid = [
    {"together": together, "head": head, "rate": rate, "seed": seed}
    for seed in [0]
    for together, head in KINDS
    for rate in HEAD_RATES
]
head_searched = lab.sweep("head-search", head_search, head_grid, live=lambda setting: False)
head_found = head_searched.recorded.groupby(["together", "head", "rate"]).f1.mean().unstack()
HEAD_RATE = head_found.idxmax(axis=1).to_dict()
head_found.round(1)


# %%
def head_run(together, head, seed):
    """F1 of a head on the test in percent, and the shares of the layers in a mix."""
    model = fitted_head(head, 512, seed, HEAD_RATE[together, head], together)
    shares = model.get_layer("mix").shares.numpy() if head == "mix" else ()
    found = {f"layer {number}": float(share) for number, share in enumerate(shares, 1)}
    return {"f1": head_f1(head, model, "test", 200, "test", together), **found}


# %% [markdown]
# Three seeds each. Live we train the head with attention.

# %%
head_plan = [
    {"together": together, "head": head, "seed": seed} for seed in range(3) for together, head in KINDS
]
head_runs = lab.sweep(
    "heads",
    head_run,
    head_plan,
    live=lambda s: s == {"together": True, "head": "attention", "seed": 0},
)
lab.check(head_runs, "f1", by=["together", "head"], slack=0.5)


# %%
def head_values(together, head):
    """F1 of the recorded runs of a head on frozen states, by seed."""
    chosen = head_runs.recorded.query("together == @together and head == @head")
    return chosen.sort_values("seed")["f1"].to_numpy()


# %%
SHOWN = {f"apart, {head}": head_values(False, head) for head in ("linear", "attention")}
SHOWN |= {f"together, {head}": head_values(True, head) for head in HEADS}
SHOWN["tuned, linear"] = world_values("f1", "pretrained", 512)
HEAD_COLORS = {"apart": COLORS["distant"], "together": COLORS["frozen"], "tuned": COLORS["pretrained"]}

# %% mystnb={"image": {"alt": "F1 on the test across, a row for each of seven readers with three dots and a tick at their mean. On frozen states of question and passage read apart the linear head is at ten and the one with attention between thirty-three and thirty-nine; read together, four heads lie between twenty-two and thirty-eight, the one with attention highest; the tuned reader spreads from seventy-one to eighty-seven."}}
fig, ax = plt.subplots(figsize=(6, 3.4))
for row, (name, values) in enumerate(SHOWN.items()):
    color = HEAD_COLORS[name.partition(",")[0]]
    ax.plot(values, [-row] * len(values), "o", color=color, alpha=0.5, markersize=7, markeredgewidth=0)
    ax.plot(values.mean(), -row, "|", color=color, markersize=16, markeredgewidth=3)
ax.set(yticks=[-row for row in range(len(SHOWN))], yticklabels=SHOWN, xlim=(0, 100), xlabel="F1, %")
show(fig)
for name, values in SHOWN.items():
    print(f"{name:19} F1", *(f"{value:.1f}" for value in sorted(values)))

# %%
head_gains = {kind: head_values(kind, "attention") - head_values(kind, "linear") for kind in (True, False)}
head_best = max(HEADS, key=lambda head: head_found.loc[(True, head)].max())
lab.conclude("heads-mix", paired_ci(head_values(True, "mix"), head_values(True, "linear")), 3)
lab.conclude("heads-hidden-frozen", paired_ci(head_values(True, "hidden"), head_values(True, "linear")), 3)
lab.conclude("heads-attention-apart", mean_ci(head_gains[False]), 3)
lab.conclude("heads-attention-together", mean_ci(head_gains[True]), 3)
lab.conclude("heads-interaction", paired_ci(head_gains[False], head_gains[True]), 3)
lab.conclude("heads-tuned", paired_ci(SHOWN["tuned, linear"][:3], head_values(True, head_best)), 3)

# %%
head_shares = head_runs.recorded[head_runs.recorded["head"] == "mix"].filter(like="layer ").mean()
print("best on validation questions:", head_best, "| shares of the layers in the mix:", *head_shares.round(2))

# %% [markdown]
# Read the rows from the top. A linear layer on a passage that was read without the question can learn what answers look
# like, names of towns and trades and years, and not which of them is asked for. On states of a joint reading the same
# layer scores more than twice as high. So the question did leave traces in the passage, though this encoder was never
# trained to answer anything.
#
# *Which layers?* The mix is better than the top layer in two runs of three, and the interval contains zero, so our row
# is **inconclusive**. But its weights say where it looks: in each run nearly all at the two layers below the
# top. One reason may be that MiniLM was trained last to say in one vector what a sentence is about, which is not what a
# single word's state needs. *Deeper?* A hidden layer may add a point; three seeds can't say whether it stays below the
# two that our rule allows (**inconclusive**).
#
# *When must a head look at other tokens?* With a layer of attention the head gains some ten points on states of a joint
# reading, and more than twice as much on states read apart, where it ends no lower than on the joint ones. That is an
# old piece of advice with its condition measured: interaction in the head pays most where the vectors lack it. Peters
# et al. (2018) put whole models on ELMo's states, which know one text each. Devlin et al. (2019) needed one linear
# layer, since BERT reads both texts at once and was tuned.
#
# The second reason weighs more than the first. The reader that was tuned on the same questions scores more than twice
# as high as the best head on frozen states, and even its worst seed is far ahead. *A frozen encoder comes within five
# points of tuning* is **contradicted** here by far. In Lab 3, on reviews, the frozen network was behind as well, but by
# much less. There, one guess, a word of praise could be read off its own state; here it takes a comparison of two
# texts.
#
# Keep in mind that each row has three seeds and the search one, and that three of the six rates that it found stand at
# an end of the grid. Neither can close the gap to tuning.

# %% [markdown]
# ## Out again
#
# A tuned reader lives in the memory of this session. To hand it on you choose what the other side must already have. A
# checkpoint holds arrays; who gets it needs the code. A SavedModel holds arrays and computation; who gets it needs
# TensorFlow and nothing of ours. **Predict** what neither of them holds, though no answer can be given without it.

# %%
import tensorflow_hub as hub

# %%
export_model = trained("pretrained", 0)
export_windows = squad.windows(TEST[:60], tokenizer)
export_inputs = squad.batch(export_windows[:8])
bert_tf.save_model(export_model.encoder, folder / "tuned")
returned = hub.load(str(folder / "tuned"))
print(type(returned).__name__, "gives", ", ".join(sorted(returned(export_inputs))))

# %% [markdown]
# No class of this lab was asked. `hub.load` gives an object that can be called, and `hub.KerasLayer` makes a layer of
# it, which can be trained further. The head is not in there, since only the encoder was saved. We carry it over by
# hand:

# %%
returned_layer, _ = bert_tf.load_saved_model(folder / "tuned", config)
returned_model = span_tf.SpanModel(returned_layer)
returned_model(export_inputs)  # builds the head
returned_model.head.set_weights(export_model.head.get_weights())


# %%
def export_logits(model):
    """Logits of 60 test questions, all windows one behind the other: float32 [2, tokens]."""
    return np.array([np.concatenate(rows) for rows in span_tf.logits(model, export_windows)])


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
sent = export_logits(export_model)
np.testing.assert_allclose(export_logits(returned_model), sent, atol=1e-3)
for sender in (export_model, returned_model):
    print([prediction.best.text for prediction in answers(sender, TEST[:5])])

# %% [markdown]
# The same answers. A SavedModel also settles a question that a checkpoint leaves open. Google's config and that of
# transformers both say `"hidden_act": "gelu"`, and they mean two functions. In a SavedModel the function itself is
# written down. (That makes it a program, which can read and write files when it is called: take SavedModels from people
# from whom you would take programs.) What it does not hold is the vocabulary. Its input is numbers, and with the word
# pieces of another vocabulary it would answer as calmly. Send `vocab.txt` along.
#
# ### As Google would have written it
#
# `run_squad.py` saves the encoder under the names we know and its head as `cls/squad/output_weights`, [2, hidden]. A
# Keras layer keeps its kernel as [hidden, 2], so our head is turned on the way out.

# %%
SQUAD_WEIGHTS, SQUAD_BIAS = "cls/squad/output_weights", "cls/squad/output_bias"
squad_checkpoint = folder / "squad" / bert_tf.CHECKPOINT
squad_head = {SQUAD_WEIGHTS: tf.transpose(export_model.head.kernel), SQUAD_BIAS: export_model.head.bias}
bert_tf.write_checkpoint(export_model.encoder.named | squad_head, squad_checkpoint)

# %% [markdown]
# The other side builds a reader of random weights, with variables for the head in Google's shape, and loads.

# %%
received = reader("random", 1)
received(export_inputs)  # builds the head
drawn_head = received.head.kernel.numpy()
received_head = {
    SQUAD_WEIGHTS: tf.Variable(tf.zeros([2, config.hidden_size])),
    SQUAD_BIAS: received.head.bias,
}
print(bert_tf.load_checkpoint(received.encoder.named | received_head, squad_checkpoint))
received.head.kernel.assign(tf.transpose(received_head[SQUAD_WEIGHTS]))
np.testing.assert_allclose(export_logits(received), sent, atol=1e-3)

# %% [markdown]
# **Break it.** Two ways to receive the head wrongly. One forgets it; the encoder loads, and the head stays as drawn.
# The other needs [hidden, 2], has [2, hidden], and reaches for `reshape`, which never objects. **Predict** the F1 of
# both: which is worse, a head that knows nothing or one whose right numbers stand in the wrong places?

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
stored_head = received_head[SQUAD_WEIGHTS].numpy()
HEADS_RECEIVED = {
    "forgotten": drawn_head,
    "reshaped": stored_head.reshape(drawn_head.shape),
    "turned": stored_head.T,
}
for name, kernel in HEADS_RECEIVED.items():
    received.head.kernel.assign(kernel)
    print(f"{name:10} F1 {scores(received, TEST[:60])['f1']:5.1f}")

# %% [markdown]
# Neither complained. The forgotten head is worth nothing, which somebody will notice. The reshaped one is worse in its
# way: here more than half of the F1 was left, a score for which one would go and look for a better learning rate. The
# comparison of logits above finds both. When a model crosses a border, send a few inputs along with the outputs that
# they must give.
#
# ### Mistakes that get a sentence
#
# The functions of this lab are made to be called with somebody else's files, and some of these will not fit. TensorFlow
# notices some misfits late, in an error about an operation deep in a graph, and others never. Here is what the course's
# loaders say to the wrong size, the wrong words, the wrong model, a model that can't learn, and the wrong Keras.

# %%
smaller = bert_tf.Bert(replace(config, intermediate_size=config.intermediate_size // 2))
refused(lambda: bert_tf.load_checkpoint(smaller.named, squad_checkpoint), folder)
cased = replace(config, vocab_size=28_996)  # as many as the cased BERT has
refused(lambda: bert_tf.check_vocabulary(tokenizer, cased), folder)

# %%
tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=[3])]).save(folder / "dense", save_format="tf")
refused(lambda: bert_tf.load_saved_model(folder / "dense"), folder)


# %% [markdown]
# The next one is the meanest of them. A `tf.Module` is the plain way to save a model. TF Hub takes it back, and it
# gives the right states. But a layer made of it sees no variable to train: TF Hub writes a line into its log and goes
# on, and the head learns alone, on a frozen encoder.


# %%
class Plain(tf.Module):
    """A Bert, saved without tf_keras."""

    def __init__(self):
        super().__init__()
        self.bert = export_model.encoder

    @tf.function(input_signature=[span_tf.SIGNATURE], autograph=False)
    def __call__(self, inputs):
        return self.bert(inputs)


# %%
tf.saved_model.save(Plain(), str(folder / "plain"))
refused(lambda: bert_tf.load_saved_model(folder / "plain"), folder)

# %% [markdown]
# And Keras 3, which is what `tf.keras` and most examples on the web mean today:

# %%
refused(lambda: span_tf.SpanModel(tf.keras.layers.Dense(2)), folder)
refused(lambda: bert_tf.Bert(config)({name: tf.keras.Input([None]) for name in bert_tf.INPUTS}), folder)

# %% [markdown]
# ## Where it looks, where it fails
#
# F1 says how often the reader is right. It does not say what it answers when it is wrong, nor whether it is right for
# the reason for which we would be. Here both can be found out, since all that a passage of the course world tells is
# known: each sentence states one fact of one person, and its last word is the value. A few lines recover the facts,
# also of whom a *she* speaks: of the person named last.

# %%
import re
import textwrap
from typing import NamedTuple

# %%
from matplotlib.colors import TwoSlopeNorm
from scipy.stats import spearmanr

# %%
from utils.world import facts

# %%
GIVEN_NAMES = {*lexicon.FEMALE.split(), *lexicon.MALE.split()}
SURNAMES = set(lexicon.SURNAMES.split())
VALUE_OF = {v: relation for relation in facts.PERSON_ORDER for v in facts.values(relation)}


# %%
class Fact(NamedTuple):
    """What a sentence tells: of whom, which relation, its value and where it stands, and how the person is named."""

    who: str
    relation: str
    value: str
    start: int
    named: str


# %%
def facts_of(context):
    """All facts that a passage of the course world tells, in its order."""
    found, at, who = [], 0, ""
    for sentence in context.removesuffix(" .").split(" . "):
        words = sentence.split()
        names = [word for word in words if word in GIVEN_NAMES | SURNAMES]
        who = " ".join(names) if len(names) == 2 else who
        relation = VALUE_OF[words[-1]]
        if relation in {"born in", "lives in"}:
            relation = "lives in" if {"lives", "home"} & set(words) else "born in"
        start = at + len(sentence) - len(words[-1])
        found.append(
            Fact(who, relation, words[-1], start, ("pronoun", "first name", "full name")[len(names)])
        )
        at += len(sentence) + 3
    return found


# %%
def look_asked(example):
    """The fact that a question asks for."""
    return next(fact for fact in facts_of(example.context) if fact.start == example.answers[0].start)


# %%
LOOK = questions("test", 300, "look")
for fact in facts_of(LOOK[0].context)[:4]:
    print(*fact[:3], f"({fact.named})", sep=" | ")
assert all(look_asked(e).who in e.question and look_asked(e).value == e.answers[0].text for e in LOOK)

# %% [markdown]
# ### Word by word
#
# First look at what the model really says: for each token the probability of being the first of the answer, and of
# being the last. **Predict** the picture for a question that the reader gets wrong. Is the probability spread over the
# passage because the reader doesn't know, or does it stand on one wrong word?


# %%
def look_chances(model, example):
    """The probabilities of being the first and the last of the answer, float [context tokens, 2]."""
    (window,) = squad.windows([example], tokenizer)
    return tf.nn.softmax(model(squad.batch([window]))[0], axis=0).numpy()[window.first : -1]


# %%
@lru_cache(maxsize=2)
def look_spans(seed):
    """The best span of the reader of a training seed for each of these questions."""
    return [p.best for p in answers(trained("pretrained", seed), LOOK)]


# %%
def look_rivals(example):
    """The other values of a passage that could be the answer by their kind, such as its other towns."""
    asked = look_asked(example)
    return [f for f in facts_of(example.context) if f != asked and f.value in facts.values(asked.relation)]


# %%
sure = sorted(zip(LOOK, look_spans(0), strict=True), key=lambda pair: -pair[1].probability)
told_right = next((e, s) for e, s in sure if s.text == e.answers[0].text and len(look_rivals(e)) > 1)
told_wrong = next((e, s) for e, s in sure if squad.f1(s.text, e.answers[0].text) == 0)


# %%
def look_words(example, numbers):
    """For each word of a context its first character, and the sums of [context tokens, k] numbers over its tokens."""
    (window,) = squad.windows([example], tokenizer)
    begins = [word.start() for word in re.finditer(r"\S+", example.context)]
    owner = np.searchsorted(begins, window.offsets[:, 0], side="right") - 1
    return begins, np.stack([np.bincount(owner, column, len(begins)) for column in numbers.T], -1)


# %% tags=["hide-input"]
def look_typeset(examples, numbers):
    """Passages as text; bars above and below each word for its two numbers from 0 to 1, the true answer in a frame."""
    wrapped = [textwrap.wrap(example.context, 58) for example in examples]
    lines = [len(some) for some in wrapped]
    fig, axes = plt.subplots(
        len(lines), 1, figsize=(6, 0.43 * sum(lines) + 0.4), height_ratios=lines, squeeze=False
    )
    fig.subplots_adjust(left=0, right=1, bottom=0, top=1, hspace=0.12)
    for ax, example, some, rows in zip(axes[:, 0], examples, wrapped, numbers, strict=True):
        begins, bars = look_words(example, rows)
        pairs = iter(zip(begins, bars, strict=True))
        for y, line in enumerate(some):
            for match in re.finditer(r"\S+", line):
                (begin, (above, below)), x, wide = next(pairs), match.start(), len(match[0])
                ax.text(x, -3 * y, match[0], family="monospace", fontsize=11.5, va="center_baseline")
                ax.add_patch(plt.Rectangle((x, 0.55 - 3 * y), wide, above, color=COLORS["pretrained"], lw=0))
                ax.add_patch(plt.Rectangle((x, -0.6 - 3 * y), wide, -below, color=COLORS["scratch"], lw=0))
                if begin == example.answers[0].start:
                    frame = (x - 0.25, -0.6 - 3 * y), wide + 0.5, 1.15
                    ax.add_patch(plt.Rectangle(*frame, fill=False, linewidth=1.2))
        ax.set(xlim=(-0.5, 58.5), ylim=(1.4 - 3 * len(some), 2.6))
        ax.set_title(example.question, fontsize=12.5, loc="left", pad=1)
        ax.axis("off")
    return fig


# %% mystnb={"image": {"alt": "Two passages set as text. Over each word a blue bar shows the probability that the answer begins there, below it a red bar that it ends there; the true answer is framed. In the upper passage both bars stand on the framed word. In the lower one they stand, nearly as tall, on another word."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
pair = [told_right, told_wrong]
chances = [look_chances(trained("pretrained", 0), example) for example, _ in pair]
show(look_typeset([example for example, _ in pair], chances))
for example, span in pair:
    print(f"{example.question} {span.text!r} ({span.probability:.2f}), true: {example.answers[0].text!r}")
for name, right in (("right", True), ("wrong", False)):
    surety = [span.probability for example, span in sure if (span.text == example.answers[0].text) == right]
    print(f"{len(surety)} {name} answers, mean probability {np.mean(surety):.2f}")

# %% [markdown]
# No hesitation in either. The right answer is a year, of which the passage has several, and only the one told of the
# right person has bars. The wrong one has them at full height, too: a trade, where a hobby was asked for. It is the
# surest wrong answer of all, chosen to be shown; on average, wrong answers have less probability than right ones, as
# the two means say. So the probability is worth something as a warning, and no single answer may be trusted for it.
#
# ### Whose fact, which fact
#
# A wrong answer is one of few things: another fact of the right person (the reader took the wrong *what*), the same
# kind of fact of another person (the wrong *who*), both, the right fact cut wrongly, or no fact at all. **Predict**
# which kind is most frequent for a question worded as in training, and which for one that is worded in a new way.

# %%
LOOK_KINDS = ("right", "wrong cut", "wrong what", "wrong who", "both wrong", "no fact")


# %%
def look_kind(example, span):
    """Which of LOOK_KINDS an answer is."""
    asked = look_asked(example)
    hit = [f for f in facts_of(example.context) if f.start < span.end and span.start < f.start + len(f.value)]
    if span.text == asked.value:
        return "right"
    if asked in hit or not hit:
        return "wrong cut" if hit else "no fact"
    return LOOK_KINDS[1 + 2 * (hit[0].who != asked.who) + (hit[0].relation != asked.relation)]


# %%
def look_table(seed):
    """One row per question: how it is worded, how its fact is told, F1 in percent, and the kind of answer."""
    rows = []
    for example, span in zip(LOOK, look_spans(seed), strict=True):
        fact = look_asked(example)
        wording, f1 = example.question.replace(fact.who, "..."), 100 * squad.f1(span.text, fact.value)
        words = "new" if wording.startswith(tuple(NEW)) else "known"
        rows.append((wording, words, fact.named, f1, look_kind(example, span)))
    return pd.DataFrame(rows, columns=["wording", "words", "named", "f1", "kind"])


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
look_live = look_table(0)
print(pd.crosstab(look_live.kind, look_live.words).reindex(LOOK_KINDS, fill_value=0).to_string())

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
for kind in LOOK_KINDS[1:]:
    for i in np.flatnonzero(look_live.kind == kind)[:1]:
        print(f"{kind:11} {LOOK[i].question} {look_spans(0)[i].text!r}, true: {LOOK[i].answers[0].text!r}")

# %% [markdown]
# These are one reader's answers. Three readers, recorded, which differ in the training questions that they drew and in
# the order of them, say what is typical; one of them is trained again here and checked. The same runs answer a second
# question. Seven of ten further sentences of an entry begin with *he* or *she*, not with the name. **Predict**: does
# the reader find facts told of a pronoun as often as facts told of a name?


# %%
def look_run(seed):
    """F1 in percent by wording and by how the person is named, and the share of each kind of answer."""
    table = look_table(seed)
    found = {"f1": table.f1.mean()}
    for column in ("words", "named"):
        found |= {f"f1 {name}": value for name, value in table.groupby(column).f1.mean().items()}
    for column in ("words", "wording"):
        shares = pd.crosstab(table[column], table.kind, normalize="index").reindex(
            columns=LOOK_KINDS, fill_value=0
        )
        found |= {f"{kind}: {name}": value for (name, kind), value in shares.stack().items()}
    return found


# %%
LOOK_SEEDS = range(3)
looked = lab.sweep("look", look_run, [{"seed": seed} for seed in LOOK_SEEDS], live=lambda s: s["seed"] == 0)
for metric in ("f1", "f1 new", "f1 known", "wrong who: known", "wrong what: new"):
    lab.check(looked, metric, by=[], slack=0.05)

# %%
LOOK_COLORS = dict(
    zip(LOOK_KINDS, ("pretrained", "unigram", "scratch", "distant", "supervised", "baseline"), strict=True)
)
LOOK_ROWS = [wording.format(who="...") for asked in tasks.QUESTIONS.values() for wording in asked]

# %% mystnb={"image": {"alt": "Fifteen questions in five groups of three, a stacked bar for each with the shares of right answers, wrong cuts, the wrong fact of the right person, the right kind of fact of the wrong person, both wrong, and no fact. Questions about towns go wrong in all wordings; otherwise errors are rare but in the new wordings for year of birth and hobby, and most of them are the wrong fact of the right person."}}
fig, ax = plt.subplots(figsize=(6, 6.2))
for row, wording in enumerate(LOOK_ROWS):
    y, left = -row - 0.7 * (row // 3), 0.0
    for kind in LOOK_KINDS:
        share = 100 * looked.recorded[f"{kind}: {wording}"].mean()
        ax.barh(y, share, left=left, color=COLORS[LOOK_COLORS[kind]], label="" if row else kind)
        left += share
    weight = "bold" if row % 3 == 2 else "normal"
    ax.text(-2, y, wording, ha="right", va="center", fontsize=11, fontweight=weight)
ax.set(xlim=(0, 100), yticks=[], xlabel="share of answers, % (bold: new wording)")
ax.xaxis.set_label_coords(0.3, -0.07)
ax.legend(ncols=3, loc="lower right", bbox_to_anchor=(1.02, 1.0), columnspacing=1.0, handlelength=1.0)
ax.grid(False)
show(fig)
for words in ("known", "new"):
    shares = {kind: 100 * looked.recorded[f"{kind}: {words}"] for kind in LOOK_KINDS}
    print(f"{words} wording: " + ", ".join(f"{kind} {share.mean():.0f} %" for kind, share in shares.items()))

# %%
for named in ("full name", "first name", "pronoun"):
    print(f"told of a {named:10} F1", *(f"{value:.1f}" for value in looked.recorded[f"f1 {named}"]))
lab.conclude(
    "look-pronoun", paired_ci(looked.recorded["f1 full name"], looked.recorded["f1 pronoun"]), len(LOOK_SEEDS)
)

# %% [markdown]
# It nearly always knows *who*, and errs on *what*. Every passage offers two other people, and yet an answer of the
# wrong person is a rare thing; most wrong answers are another fact of the right one. Two causes can be read off the
# rows. Where somebody was born and where somebody lives are both towns, and the questions about towns go wrong in every
# wording, those of training included. And *hobby* and *year of birth* are words that no training question had: there
# about a third of the answers are another fact, where the known wordings are hardly ever wrong. *Native town* and
# *home*, just as new, cost nothing that could be seen. What a new wording costs is a matter of the word.
#
# The wrong cuts have a form of their own: they begin at one value and end at the next. First and last token are scored
# apart, and here each followed another candidate. No training answer was longer than one word, but nothing in the head
# can know that.
#
# As for pronouns: each of the three readers does a little better on facts that are told of the full name, but the
# readers differ so much from one another that the interval holds zero: **inconclusive**. On average a first name is no
# easier than a pronoun. So the path from *she* back to a name is not where this reader fails.
#
# ### What makes it worse
#
# A right answer can come from a wrong habit. If a passage names one town only, a reader that takes any town needs no
# question. The way to find out is to change what should not matter and to take away what should. Jia and Liang (2017)
# did the first to SQuAD, with a sentence appended to the paragraph that answers another question in nearly the same
# words. We add a sentence, too: it tells the fact that was asked for, of a stranger. Its truth does not touch the
# question. **Predict**: how much F1 does it cost, and is it worse if the stranger shares the first name, or the
# surname, of the person asked about?

# %%
SAYING = {
    "born in": "{} was born in {} .",
    "lives in": "{} lives in {} .",
    "job": "{} works as a {} .",
    "year": "{} was born around {} .",
    "hobby": "{} enjoys {} .",
}


# %%
def look_stranger(example, given=None, surname=None, other=False):
    """A sentence about somebody not in the passage: the fact that is asked for, or another one; and its value."""
    asked, random = look_asked(example), Random(f"stranger {example.id}")
    taken = {*example.context.split(), *example.question.split()}
    rest = {"job", "year", "hobby"} - {asked.relation}
    relation = random.choice(sorted(rest)) if other else asked.relation

    def fresh(words):
        return random.choice(sorted(set(words) - taken))

    who, value = (given or fresh(GIVEN_NAMES), surname or fresh(SURNAMES)), fresh(facts.values(relation))
    return SAYING[relation].format(" ".join(who), value), value


# %%
def look_changed(example, change):
    """Question and passage after a change, and the value that a stranger's sentence states."""
    question, context, decoy = example.question, example.context, ""
    who = look_asked(example).who
    place, _, what = change.partition(", ")
    if what:
        given, surname = who.split()
        same = {"same first name": {"given": given}, "same surname": {"surname": surname}}
        more, decoy = look_stranger(example, **same.get(what, {"other": what == "other fact"}))
        context = f"{more} {context}" if place == "in front" else f"{context} {more}"
    elif change == "names for pronouns":
        sentences = zip(context.split(" . "), facts_of(context), strict=True)
        context = " . ".join(re.sub(r"\b(he|she)\b", fact.who, text) for text, fact in sentences)
    else:
        other = {"only the name": f"{who} ?", "no name": question.replace(who, "this person")}
        question = other.get(change, question)
    return question, context, decoy


# %%
CHANGES = {
    "as asked": "as asked",
    "only the name": "question: only the name",
    "no name": "question: this person",
    "names for pronouns": "names for pronouns",
    "behind, other fact": "other fact behind",
    "behind, stranger": "stranger behind",
    "behind, same surname": "same surname behind",
    "behind, same first name": "same first name behind",
    "in front, stranger": "stranger in front",
    "in front, same first name": "same first name in front",
}
for change in ("names for pronouns", "behind, same first name"):
    print(f"{change}: {look_changed(LOOK[0], change)[1]}\n")


# %%
def changed_run(change, seed):
    """F1 in percent on 120 changed questions, and the share of answers that hold the stranger's value."""
    some = LOOK[:120]
    made = [look_changed(example, change) for example in some]
    asked = [replace(e, question=q, context=c, answers=()) for e, (q, c, _) in zip(some, made, strict=True)]
    texts = [p.best.text for p in answers(trained("pretrained", seed), asked)]
    f1 = [squad.f1(text, example.answers[0].text) for text, example in zip(texts, some, strict=True)]
    moved = [decoy != "" and decoy in text for text, (_, _, decoy) in zip(texts, made, strict=True)]
    return {"f1": 100 * np.mean(f1), "moved": 100 * np.mean(moved)}


# %%
changed = lab.sweep(
    "changed",
    changed_run,
    [{"change": change, "seed": seed} for seed in LOOK_SEEDS for change in CHANGES],
    live=lambda s: s["seed"] == 0 and s["change"] in {"no name", "in front, same first name"},
)
for metric in ("f1", "moved"):
    lab.check(changed, metric, by=["change"], slack=0.5)

# %% [markdown]
# Two of these changes leave half of a question. What would a perfect reader make of half a question? With the name
# alone it could pick any fact of that person; without the name, the right kind of fact of any person.


# %%
def look_share(field):
    """The share of right answers if all facts that agree with the one asked for in a field were equally good."""
    asked = [look_asked(example) for example in LOOK[:120]]
    pools = [[getattr(f, field) for f in facts_of(example.context)] for example in LOOK[:120]]
    return 100 * np.mean(
        [1 / pool.count(getattr(fact, field)) for fact, pool in zip(asked, pools, strict=True)]
    )


# %%
HALVES = {"only the name": look_share("who"), "no name": look_share("relation")}
print({change: f"{share:.0f} %" for change, share in HALVES.items()})

# %%
changed_f1, changed_moved = (
    changed.recorded.pivot(index="seed", columns="change", values=m) for m in ("f1", "moved")
)


# %% mystnb={"image": {"alt": "Ten rows, one for each change of question or passage, with the F1 of three readers as dots. Without the name or without the rest of the question all three fall far, to gray diamonds that mark what half a question is worth. Names for pronouns and strangers' sentences move them by a few points only. A column on the right gives the share of answers that moved to the stranger's value."}}
fig, ax = plt.subplots(figsize=(6, 4.6))
for row, change in enumerate(CHANGES):
    color = COLORS["frozen" if row < 1 else "distant" if row < 4 else "scratch"]
    ax.plot(changed_f1[change], [-row] * len(changed_f1), "o-", color=color, linewidth=1.5)
    ax.plot(HALVES.get(change, np.nan), -row, "D", color=COLORS["baseline"], markersize=6)
    if row > 3:
        ax.text(101, -row, f"{changed_moved[change].mean():.0f} %", va="center", fontsize=12)
ax.text(101, -3, "moved", va="center", fontsize=12)
for point in changed_f1["as asked"]:
    ax.axvline(point, color=COLORS["frozen"], linewidth=0.8, linestyle=":")
ax.set(
    yticks=[-row for row in range(len(CHANGES))], yticklabels=CHANGES.values(), xlim=(0, 100), xlabel="F1, %"
)
show(fig)
for change in CHANGES:
    points = " ".join(f"{point:.1f}" for point in changed_f1[change])
    print(f"{change:25} F1 {points}, moved {changed_moved[change].mean():.0f} %")

# %%
changed_rows = {
    "look-name": paired_ci(changed_f1["as asked"], changed_f1["no name"]),
    "look-resolved": paired_ci(changed_f1["names for pronouns"], changed_f1["as asked"]),
    "look-stranger": paired_ci(changed_f1["as asked"], changed_f1["behind, stranger"]),
    "look-namesake": paired_ci(
        changed_moved["in front, same first name"], changed_moved["in front, stranger"]
    ),
    "look-place": paired_ci(
        changed_moved["in front, same first name"], changed_moved["behind, same first name"]
    ),
}
for name, interval in changed_rows.items():
    lab.conclude(name, interval, len(LOOK_SEEDS))

# %% [markdown]
# As far as these changes go, the readers are right for the right reason. Without the name, or with nothing but the
# name, F1 falls to less than what half a question is worth to a perfect reader, so both halves are used. A sentence
# about a stranger, put behind the passage, leaves the answers where they were. Only a namesake draws some away, one in
# ten at most, and three readers are too few to say whether he draws more in front of the passage than behind it: those
# verdicts are **inconclusive**, and so is that on pronouns: full names in their place help one reader a little and hurt
# the other two. (A passage with a full name in every sentence is like none that they have read.)
#
# Systems of 2017 were easily misled by such sentences on SQuAD. One reason why ours are not may lie in what they were
# trained on: in each passage two people out of three are strangers to the question, with facts of the same kinds.
# Readers learn what their training questions can't be answered without; how often a paragraph of SQuAD has such rivals
# we did not count.
#
# ### What the heads look at
#
# Now inside. When the token of an answer is processed, its state must learn that it is what was asked for, and nothing
# but attention carries the question to it. So take the attention that the tokens of a value pay to the tokens of the
# question, and compare the answer with its *rivals*: other towns of the passage where a town is asked for, other trades
# where a trade is. A head *finds* the answer if it pays most from there. Between two values, chance finds it half of
# the time. That a value is a value, or a town a town, is no explanation, for the rivals are that too.


# %%
PER_LAYER = config.num_attention_heads


# %%
def heads_paid(model, examples):
    """What heads pay from the context to the question: a float [heads of all layers, context tokens] for each example."""
    found = []
    for at in range(0, len(examples), 20):
        windows = squad.windows(examples[at : at + 20], tokenizer)  # one each: the contexts are short
        maps = tf.concat(model.encoder.attentions(squad.batch(windows)), 1).numpy()
        for window, paid in zip(windows, maps, strict=True):
            context = slice(window.first, len(window.input_ids) - 1)
            found.append(paid[:, context, 1 : window.first - 1].sum(-1))
    return found


# %%
def heads_find(model, examples):
    """Whether each head finds the answer among its rivals, bool [questions with rivals, heads]; chance [questions]."""
    hits, chance = [], []
    for example, paid in zip(examples, heads_paid(model, examples), strict=True):
        rivals = look_rivals(example)
        begins = squad.windows([example], tokenizer)[0].offsets[:, 0]
        if rivals:
            places = [
                (begins >= f.start) & (begins < f.start + len(f.value))
                for f in (look_asked(example), *rivals)
            ]
            hits.append(np.argmax([paid[:, at].mean(1) for at in places], axis=0) == 0)
            chance.append(1 / len(places))
    return np.array(hits), np.array(chance)


# %% [markdown]
# There are many heads, and the best of many is good by luck alone. So the best head is chosen on half of the questions
# and counted on the other half. **Predict**: how often does the best head of MiniLM find the answer before tuning, how
# often after it, and in which layers?


# %%
def heads_best(hits):
    """How often the best head on one half of the questions finds the answer in the other, both ways, in percent."""
    halves = hits[::2], hits[1::2]
    return 50 * sum(b[:, a.mean(0).argmax()].mean() for a, b in (halves, halves[::-1]))


# %%
@lru_cache(maxsize=4)
def heads_rates(seed, after):
    """`heads_find` on 100 test questions of a seed's own draw, before or after tuning."""
    model = trained("pretrained", seed) if after else reader("pretrained", seed)
    return heads_find(model, questions("test", 100, f"heads {seed}"))


# %% mystnb={"image": {"alt": "Two tables of colored cells, a row for each layer and a column for each head, with the share of questions for which the head pays most from the answer to the question. Before tuning nearly all cells are pale, which is chance; after tuning single heads are dark orange, and most heads of the two upper layers purple, far below chance."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, axes = plt.subplots(1, 2, figsize=(6, 3.4), sharey=True, layout="constrained")
for ax, (name, tuned_too) in zip(axes, (("before", False), ("after tuning", True)), strict=True):
    hits, chance = heads_rates(0, tuned_too)
    picture, middle = 100 * hits.mean(0).reshape(-1, PER_LAYER), 100 * chance.mean()
    drawn = ax.imshow(picture, cmap="PuOr_r", norm=TwoSlopeNorm(middle, 0, 100), aspect="auto")
    ax.set(title=f"{name}: best {picture.max():.0f} %", xlabel="head", xticks=range(0, PER_LAYER, 3))
    ax.grid(False)
    print(f"{name}: best {heads_best(hits):.0f} % in the other half; chance {middle:.0f} %;", end=" ")
    print("mean of each layer", *(f"{share:.0f}" for share in picture.mean(1)))
axes[0].set(ylabel="layer", yticks=range(len(picture)), yticklabels=range(1, len(picture) + 1))
fig.colorbar(
    drawn,
    ax=axes,
    location="bottom",
    shrink=0.6,
    label="finds the answer, % (white: chance)",
    ticks=range(0, 101, 20),
)
show(fig)

# %% mystnb={"image": {"alt": "A passage set as text with its question above. Bars above the words show how much attention one head pays from the word to the question after tuning, bars below before tuning, relative to the largest. After tuning a tall bar stands on the answer alone, and next to nothing on any other word; before, bars of all heights stand everywhere."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
best_head = heads_rates(0, True)[0].mean(0).argmax()
example = told_right[0]
readers = trained("pretrained", 0), reader("pretrained", 0)
paid = np.stack([heads_paid(model, [example])[0][best_head] for model in readers], -1)
show(look_typeset([example], [paid / paid.max(0)]))
begins, sums = look_words(example, paid)
print(
    f"layer {best_head // PER_LAYER + 1}, head {best_head % PER_LAYER}, after tuning and before: {example.question}"
)
for fact in (look_asked(example), *look_rivals(example)):
    print(f"{fact.value:12} of {fact.who:18}", *(f"{share:.3f}" for share in sums[begins.index(fact.start)]))

# %% [markdown]
# Before tuning, nothing: the best of all heads is at chance in the other half. MiniLM's heads don't tell one town from
# another by the question. After tuning, in the reader above, a few heads of the upper two layers do, and the sharpest
# is as clear as a picture can be: the passage tells the years of several people, and the head pays from the right one
# only. Nearly all other heads of the last layer do the opposite: they find the answer far less often than chance would,
# so from there the answer looks away from the question, and its rivals don't.
#
# A single picture is not a trend, and here the runs warn us. Two of the three readers have such a head, the third
# hardly, and it is the one with the lowest F1. *Tuning makes such a head* is **inconclusive** with three readers,
# however large the step is in two of them.
#
# Looking is not using. What a head contributes passes through its own rows of one matrix,
# `attention/output/dense/kernel`, and nowhere else. So a factor on a head is a factor on these rows; the derivative of
# the loss by the factor is the sum of the rows times their gradient; and a head is silenced by zeros there. That gives
# two measures without a line of new model code. Michel et al. (2019) rank heads by the size of that derivative, which
# asks for one backward pass per question. **Predict**: are the heads that find the answer the heads that matter? And
# how many of all heads can fall silent before the answers suffer?


# %%
def heads_kernels(model):
    """The matrices through which the heads of each layer speak."""
    layers = range(config.num_hidden_layers)
    return [model.encoder.named[f"bert/encoder/layer_{i}/attention/output/dense/kernel"] for i in layers]


# %%
def heads_matter(model, examples):
    """The mean size of the derivative of a question's loss by a factor on each head: float [heads of all layers]."""
    kernels = heads_kernels(model)

    @tf.function(input_signature=[span_tf.SIGNATURE, tf.TensorSpec([None, 2], tf.int32)], autograph=False)
    def slopes(inputs, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(span_tf.losses(model(inputs), labels))
        pairs = zip(kernels, tape.gradient(loss, kernels), strict=True)
        return tf.concat([tf.reduce_sum(tf.reshape(k * g, [PER_LAYER, -1]), 1) for k, g in pairs], 0)

    made = squad.windows(examples, tokenizer)
    return np.mean([np.abs(slopes(squad.batch([w]), squad.labels([w]))) for w in made], axis=0)


# %%
@lru_cache(maxsize=2)
def heads_importance(seed):
    """`heads_matter` of a trained reader on 24 questions like those of its training, which are in no test."""
    return heads_matter(trained("pretrained", seed), questions("train", 24, f"heads {seed}"))


# %%
def heads_silent_f1(seed, order, count):
    """F1 with the first `count` heads of an order silenced; the model is left as it was."""
    model = trained("pretrained", seed)
    kept = [kernel.numpy() for kernel in heads_kernels(model)]
    loud = np.ones(PER_LAYER * len(kept), dtype=np.float32)
    loud[order[:count]] = 0.0
    for kernel, rows, part in zip(heads_kernels(model), kept, loud.reshape(-1, PER_LAYER), strict=True):
        kernel.assign(rows * np.repeat(part, len(rows) // PER_LAYER)[:, None])
    found = scores(model, LOOK[:80])["f1"]
    for kernel, rows in zip(heads_kernels(model), kept, strict=True):
        kernel.assign(rows)
    return found


# %%
def heads_run(seed):
    """How often the best head finds the answer, before and after, and the rank correlation of finding and mattering."""
    after, chance = heads_rates(seed, True)
    best = {"before": heads_best(heads_rates(seed, False)[0]), "after": heads_best(after)}
    found = spearmanr(after.mean(0), heads_importance(seed)).statistic
    return best | {"chance": 100 * chance.mean(), "finding and mattering": found}


# %%
heads_runs = lab.sweep(
    "attention", heads_run, [{"seed": seed} for seed in LOOK_SEEDS], live=lambda s: s["seed"] == 0
)
for metric in ("after", "finding and mattering"):
    lab.check(heads_runs, metric, by=[], slack=0.05)

# %%
ORDERS = ("least first", "random", "finders first")
SHARES = (0.25, 0.5, 0.75)


# %%
def silent_run(order, share, seed):
    """F1 in percent on 80 questions with a share of the heads silenced, in one of three orders."""
    orders = {
        "least first": np.argsort(heads_importance(seed)),
        "random": np.random.default_rng(seed).permutation(len(heads_importance(seed))),
        "finders first": np.argsort(-heads_rates(seed, True)[0].mean(0)),
    }
    return {"f1": heads_silent_f1(seed, orders[order], round(share * len(orders[order])))}


# %%
silent_plan = [
    {"order": order, "share": share, "seed": seed}
    for seed in LOOK_SEEDS
    for order in ORDERS
    for share in ((0.0, *SHARES) if order == "least first" else SHARES)
]
silent = lab.sweep("silent", silent_run, silent_plan, live=lambda s: False).recorded
silent_f1 = silent.pivot(index="seed", columns=["order", "share"], values="f1")

# %% mystnb={"image": {"alt": "Left: 72 heads as points, how often a head finds the answer across, how much the loss depends on it upward on a logarithmic axis; most heads of the last layer lie far down on the left, a few finders stand to the right of all others. Right: F1 against the share of heads silenced, falling slowly when the least important go first, and fast in random order or when the finders go first."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, (left, right) = plt.subplots(1, 2, figsize=(6, 4))
finds, slopes = 100 * heads_rates(0, True)[0].mean(0), heads_importance(0)
depth = np.arange(len(finds))[::-1] // PER_LAYER
for name, chosen, role in (
    ("last", depth == 0, "scratch"),
    ("one below", depth == 1, "distant"),
    ("others", depth > 1, "baseline"),
):
    left.plot(finds[chosen], slopes[chosen], "o", color=COLORS[role], markersize=4, label=f"layer: {name}")
left.set(xlabel="finds the answer, %", ylabel="size of the slope of the loss", yscale="log")
left.legend(loc="lower left", bbox_to_anchor=(-0.25, 1.0), labelspacing=0.2, handletextpad=0.1)
for order, role in zip(ORDERS, ("pretrained", "baseline", "scratch"), strict=True):
    curves = np.stack([silent_f1["least first", 0.0], *(silent_f1[order, share] for share in SHARES)])
    right.plot([0, *(100 * share for share in SHARES)], curves, color=COLORS[role], linewidth=0.8)
    right.plot([0, *(100 * share for share in SHARES)], curves.mean(1), "o-", color=COLORS[role], label=order)
    spots = [f"{share:.0%}: F1 {mean:.0f}" for share, mean in zip(SHARES, curves[1:].mean(1), strict=True)]
    print(f"{order}:", ", ".join(spots))
right.set(xlabel="heads silenced, %", ylabel="F1, %", ylim=(0, 100))
right.legend(loc="lower left", bbox_to_anchor=(-0.05, 1.0), labelspacing=0.2)
fig.tight_layout()
show(fig)

# %%
attention_rows = {
    "attention-before": paired_ci(heads_runs.recorded["before"], heads_runs.recorded["chance"]),
    "attention-tuned": paired_ci(heads_runs.recorded["after"], heads_runs.recorded["before"]),
    "attention-matter": mean_ci(heads_runs.recorded["finding and mattering"]),
    "attention-half": paired_ci(silent_f1["least first", 0.0], silent_f1["least first", 0.5]),
    "attention-order": paired_ci(silent_f1["least first", 0.5], silent_f1["random", 0.5]),
}
for name, interval in attention_rows.items():
    lab.conclude(name, interval, len(LOOK_SEEDS))

# %% [markdown]
# Finding and mattering go together, in all three readers, so that row is **supported**; but look at the picture before
# you believe it. The correlation lives at the bottom left: the heads of the last layer from which the answer looks away
# matter least. The finders matter, but the loss depends more on some heads of lower layers, which are at chance here
# and do something else. What a head looks at does not say what it is good for.
#
# Silencing says it more plainly. Take the heads on which the loss depends least, and half of all can go for fewer than
# ten points of F1 on average, three quarters for about a quarter of the score. The same number of heads in random
# order, or the finders first, leaves little. All three readers agree on that order, but they differ so much in
# size that its interval still holds zero, and that of *half of them for less than five points* holds five: both rows
# are **inconclusive**. Michel et al. report for BERT what the blue lines show: a large share of the heads can be
# removed at test time. That a model trained without them would be as good does not follow.
#
# ### Ask it yourself
#
# Everything between a question and an answer fits into one object now: `span_tf.Reader` cuts the text into windows,
# runs the model, and chooses among the spans. Give it any text in the language that the model was trained on, however
# long.

# %%
PASSAGE = (
    "vera norwood works as a pilot . she lives in elmstead . she enjoys chess . felix barlow was born in glenmore . "
    "felix works as a baker . he was born around 1880 ."
)
asker = span_tf.Reader(trained("pretrained", 0), tokenizer)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
for asked in (
    "where does vera norwood live ?",
    "what is the job of felix barlow ?",
    "where does felix barlow live ?",
):
    print(
        f"{asked:33}",
        *(f"{s.text!r} {s.probability:.2f}" for s in asker.predict(asked, PASSAGE).spans[:3]),
        sep="  ",
    )

# %% [markdown]
# The last question has no answer in the passage, and gets one. A reader that was trained on answerable questions alone
# can't do otherwise; `Reader` takes a `threshold` for one that has learned to say no. What is no question or no text is
# refused:

# %%
for asked, text in (("", PASSAGE), ("who lives in elmstead ?", " \n"), ("who ? " * 40, PASSAGE)):
    refused(lambda asked=asked, text=text: asker.answer(asked, text), folder)

# %% [markdown]
# ## Real SQuAD
#
# Our world asks five kinds of questions about three people. SQuAD's questions were written by people who looked at
# paragraphs of Wikipedia. The numbers of this section are recorded, on a sample: 4,364 questions on 797 paragraphs of
# 18 articles to train, 1,033 questions on six other articles to test. The text is not part of the course; where
# `COURSE_DATA` holds it, or in the `full` profile, which downloads SQuAD 1.1 (87,599 and 10,570 questions), the same
# cells run on it.
#
# One thing must be said before any number. MiniLM is not innocent of SQuAD: questions and paragraphs of SQuAD 2.0 were
# among the pairs of texts on which it learned to tell what belongs together. It has seen no answers. What is compared
# below is this start with a random one, with the same questions, epochs and search.

# %%
SQUAD_EPOCHS = {500: 4, 2000: 1, 4364: 2}  # full: 2, as published
SQUAD_SEEDS = range(3)


# %%
@lru_cache(maxsize=2)
def squad_questions(split):
    """The questions of SQuAD 1.1; a few answers of the sample stand a character off and are moved."""
    return squad.load(split, repair=True)


# %%
SQUAD_COUNTS = (len(squad_questions("train")),) if FULL else tuple(SQUAD_EPOCHS)

# %% [markdown]
# What is a good score? People disagree on where an answer ends. The published way to measure that takes the second
# answer that people gave as a prediction and scores it against the others. **Predict** the exact match of a person with
# other people.

# %%
QUESTION_WORDS = ("what", "who", "when", "how many", "where", "which", "how", "why", "other")


# %%
def question_word(question):
    """The first word of a question that says what is asked for."""
    words = question.lower().replace("?", " ").split()
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "how":
            return "how many" if following in {"many", "much", "long", "old", "far", "often"} else "how"
        if word in {"what", "who", "whom", "whose", "when", "where", "which", "why"}:
            return "who" if word in {"whom", "whose"} else word
    return "other"


# %%
ANSWER_LENGTHS = ("1 word", "2 words", "3 to 5 words", "more words")


# %%
def answer_length(example):
    """The length of the answer that most people gave, in words as the scorer counts them."""
    words = len(squad.normalize(example.target.text).split())
    return ANSWER_LENGTHS[(words > 1) + (words > 2) + (words > 5)]


# %%
def squad_groups(examples):
    """Masks bool [examples] by question word, by answer length, and of ten parts of equal size."""
    words = np.array([question_word(e.question) for e in examples])
    lengths = np.array([answer_length(e) for e in examples])
    found = {name: words == name for name in QUESTION_WORDS} | {n: lengths == n for n in ANSWER_LENGTHS}
    return found | {f"part {k}": np.arange(len(examples)) % 10 == k for k in range(10)}


# %%
def squad_people_run():
    """Scores of the second answer against the others, of questions with three or more, and sizes of groups."""
    asked = [e for e in squad_questions("dev") if len(e.answers) > 2]
    others = [replace(e, answers=(e.answers[0], *e.answers[2:])) for e in asked]
    found = squad.evaluate(others, {e.id: e.answers[1].text for e in asked})
    sizes = {name: int(mask.sum()) for name, mask in squad_groups(squad_questions("dev")).items()}
    windows = squad.windows(squad_questions("dev"), tokenizer)
    return found | sizes | {"questions": len(squad_questions("dev")), "windows": len(windows)}


# %%
people = lab.sweep("SQuAD people", squad_people_run, [{}], live=lambda setting: False).recorded.iloc[0]
print(f"one person against others: EM {people.exact:.1f}, F1 {people.f1:.1f} ({people.total:.0f} questions)")
print(f"{people.windows:.0f} windows of 384 tokens for {people.questions:.0f} questions")

# %% [markdown]
# The exact match of people stands well below 100, and that is what a model's score should be read against.
#
# Each start gets its own rate. The search trains for one epoch on 2,000 questions of the training articles, and
# validates on 400 questions of three articles that are left out of the search's training. The test articles are not
# touched by it. The best rate is kept for all numbers of questions. (That of random weights stands at the end of its
# grid. It differs little from its neighbor.) To save a fifth of the time, matrices are multiplied in bfloat16 where the
# processor can do it; weights and sums stay in 32 bits.

# %%
SQUAD_RATES = {"pretrained": (1e-4, 2e-4, 4e-4), "random": (1e-4, 2e-4, 4e-4)}
SQUAD_HELD = 3  # articles for validation


# %%
tf.config.optimizer.set_experimental_options({"auto_mixed_precision_onednn_bfloat16": not FULL})


# %%
def squad_tuned(start, examples, seed, rate, epochs):
    """A reader tuned on questions of SQuAD; in `full` a training that was killed goes on."""
    model = reader(start, seed)
    made = squad.windows(examples, tokenizer)
    kept = settings.root() / "_build" / "squad" / f"{start}-{seed}.state" if FULL else None
    span_tf.train(model, made, epochs, rate, batch=8, seed=seed, resume=kept)
    return model


# %%
def squad_search_run(start, rate, seed):
    """F1 on the left-out articles after one epoch on 2,000 questions of the others."""
    examples = squad_questions("train")
    left_out = Random(seed).sample(sorted({e.title for e in examples}), SQUAD_HELD)
    rest = [e for e in examples if e.title not in left_out]
    validation = [e for e in examples if e.title in left_out][:400]
    model = squad_tuned(start, Random(seed).sample(rest, 2000), seed, rate, 1)
    return {"f1": scores(model, validation)["f1"]}


# %%
squad_grid = [{"start": s, "rate": r, "seed": 0} for s in STARTS for r in SQUAD_RATES[s] if not FULL]
squad_searched = lab.sweep("SQuAD search", squad_search_run, squad_grid, live=lambda setting: False)
SQUAD_RATE = dict.fromkeys(STARTS, 3e-5)  # full: the published rate, not searched
if not FULL:
    squad_found = squad_searched.recorded.groupby(["start", "rate"]).f1.mean().unstack()
    SQUAD_RATE = squad_found.idxmax(axis=1).to_dict()
    print(squad_found.round(1).to_string())


# %%
def squad_scored(model, made, examples):
    """EM and F1 of each question in percent, from windows of any cut."""
    found = squad.predict(examples, made, *span_tf.logits(model, made))
    best = {e.id: p.best.text for e, p in zip(examples, found, strict=True)}
    return [100 * values for values in squad.question_scores(examples, best)]


# %% [markdown]
# Two more things are asked of the models that were tuned on all questions. What are windows worth? The same model reads
# the test in windows of 192 tokens, once all of them and once only the first of each page, which is what cutting off
# does. And how large is what tuning changed? Each matrix of the change is replaced by one of rank 4, or of rank 32, as
# LoRA would have it.


# %%
def squad_cuts(model, examples):
    """F1 with windows of 192 tokens, and with the first window of each page only."""
    made = squad.windows(examples, tokenizer, 192, 64)
    first = [w for i, w in enumerate(made) if i == 0 or made[i - 1].example != w.example]
    return {
        f"f1 {name}": squad_scored(model, w, examples)[1].mean()
        for name, w in (("192", made), ("cut", first))
    }


# %%
def squad_ranks(model, examples, seed):
    """F1 with the change of each matrix cut to a rank."""
    start = {name: weight.numpy() for name, weight in reader("pretrained", seed).encoder.named.items()}
    found = {}
    for rank in (4, 32):
        small = reader("pretrained", seed)
        span_tf.add_difference(small, span_tf.difference(model, start, rank))
        found[f"f1 rank {rank}"] = scores(small, examples)["f1"]
    return found


# %%
@lru_cache(maxsize=3)
def squad_model(start, count, seed):
    """A reader tuned on a sample of the training questions, which the seed draws, at the rate that was found."""
    chosen = Random(seed).sample(squad_questions("train"), count)
    return squad_tuned(start, chosen, seed, SQUAD_RATE[start], SQUAD_EPOCHS.get(count, 2))


# %%
def squad_run(start, count, seed):
    """EM and F1 on the test articles in percent, and F1 of its groups."""
    model, test = squad_model(start, count, seed), squad_questions("dev")
    exact, f1 = squad_scored(model, squad.windows(test, tokenizer), test)
    groups = {name: f1[mask].mean() for name, mask in squad_groups(test).items()}
    if start == "pretrained" and count == max(SQUAD_COUNTS):
        groups |= squad_cuts(model, test) | squad_ranks(model, test, seed)
    return {"exact": exact.mean(), "f1": f1.mean()} | groups


# %%
squad_plan = [{"start": s, "count": n, "seed": k} for n in SQUAD_COUNTS for s in STARTS for k in SQUAD_SEEDS]
squad_runs = lab.sweep("SQuAD", squad_run, squad_plan, live=lambda setting: False).recorded


# %%
def squad_values(metric, start="pretrained", count=None):
    """A metric of the recorded runs, one number per seed."""
    chosen = squad_runs[(squad_runs.start == start) & (squad_runs["count"] == (count or max(SQUAD_COUNTS)))]
    return chosen.sort_values("seed")[metric].to_numpy()


# %%
def squad_conclude(name, interval):
    """Record a row about the sample; the `full` profile, which has other questions, only prints its interval."""
    print(name, interval) if FULL else lab.conclude(name, interval, seeds=3)


# %% [markdown]
# Five hundred questions are read four times, two thousand once: as many steps, four times the questions. All 4,364 are
# read twice. **Predict** the two curves, over the number of questions, and where people stand.

# %% mystnb={"image": {"alt": "F1 on unseen articles over 500, 2,000 and 4,364 training questions. The line of MiniLM climbs steeply from below 40 to above 60; the line of random weights stays near 10. A dashed line far above both marks one person scored against the others."}}
fig, ax = plt.subplots(figsize=(6, 3.6))
for start, color in zip(STARTS, (COLORS["pretrained"], COLORS["scratch"]), strict=True):
    points = [mean_ci(squad_values("f1", start, count)) for count in SQUAD_COUNTS]
    band(ax, SQUAD_COUNTS, points, {"pretrained": "MiniLM"}.get(start, "random weights"), color)
    print(f"{start:10}", *(f"{n:,}: {p}  " for n, p in zip(SQUAD_COUNTS, points, strict=True)))
ax.axhline(people.f1, color=COLORS["baseline"], ls="--")
ax.text(SQUAD_COUNTS[0], people.f1 - 8, "one person against the others", color=COLORS["baseline"])
ax.set(xscale="log", ylim=(0, 100), xlabel="questions to train on", ylabel="F1 on six other articles")
ax.set_xticks(SQUAD_COUNTS, [f"{n:,}" for n in SQUAD_COUNTS])
ax.minorticks_off()
ax.legend(loc=(0.55, 0.13))
show(fig)

# %%
for start in STARTS:
    for count in SQUAD_COUNTS:
        print(f"{start:10} {count:6,} questions: EM {mean_ci(squad_values('exact', start, count))}")

# %%
for count in SQUAD_COUNTS:
    gap = paired_ci(squad_values("f1", "pretrained", count), squad_values("f1", "random", count))
    squad_conclude(f"squad-pretrained-{count}", gap)

# %%
most, least = max(SQUAD_COUNTS), min(SQUAD_COUNTS)
gap = paired_ci(squad_values("f1", "pretrained", least), squad_values("f1", "random", most))
squad_conclude("squad-no-catching-up", gap)
left, was = 100 - squad_values("f1"), 100 - squad_values("f1", "random")
squad_conclude("squad-error-cut", mean_ci(100 * (1 - left / was)))
squad_conclude("squad-bert-base", mean_ci(squad_values("f1")))
squad_conclude("squad-bert-base-exact", mean_ci(squad_values("exact")))

# %% [markdown]
# From random weights the same network, with the same questions and the rate that suits it best, learns hardly more than
# what answers look like. From MiniLM the curve is steep. Between 500 and 2,000 questions it is their variety that
# gains, since the steps are the same; and at its right end the curve still rises. BERT base, with five times the
# weights and all of SQuAD, stands a good twenty points higher. What pretraining is worth can be read off sideways, too:
# five hundred questions on MiniLM beat all 4,364 on random weights by far.
#
# Intervals over three trainings say how much chance in training matters. How much it matters which questions are asked
# is another thing; ten parts of the test, a hundred questions each, say that.

# %%
parts = [squad_values(f"part {k}").mean() for k in range(10)]
print("F1 over trainings:", mean_ci(squad_values("f1")), "| over parts of the test:", mean_ci(parts))

# %% [markdown]
# ### What is hard
#
# One number hides much. The same answers by what the question asks for, and by the length of the answer. **Predict**
# the easiest and the hardest of each.

# %% mystnb={"image": {"alt": "Two columns of dots with intervals, F1 by what the question asks for and by the length of the answer. Questions with when, who and how many lie highest, those with how and why lowest. Answers of up to five words lie close together, answers of more than five words about twenty-five points lower."}}
fig, axes = plt.subplots(1, 2, figsize=(6, 4), sharex=True, width_ratios=(1, 1))
shown = [w for w in QUESTION_WORDS if people[w] > 15]
for ax, names in zip(axes, (shown, ANSWER_LENGTHS), strict=True):
    for row, name in enumerate(names):
        point = mean_ci(squad_values(name))
        ax.plot([point.low, point.high], [row] * 2, color=COLORS["pretrained"])
        ax.plot(point.estimate, row, "o", color=COLORS["pretrained"])
        print(f"{name:13} {people[name]:4.0f} questions: {point}")
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlim=(0, 100), xlabel="F1")
fig.tight_layout()
show(fig)

# %%
longer = paired_ci(squad_values("1 word"), squad_values("more words"))
squad_conclude("squad-longer-answers", longer)

# %% [markdown]
# Years, people and quantities are found more often than not; reasons and ways are not. The two columns are not
# independent: *why* and *how* are asked for clauses, and long answers are the hardest. A long answer has two borders on
# which people, too, disagree, and it has no kind (a year, a name) that would give it away. The intervals of rare
# question words come from few questions; read the order of their groups with that in mind.
#
# ### Windows, committees, and the size of a change
#
# Now the two measurements on the models tuned on all questions, and two more. Three readers that differ in their seed
# answer together, by the mean of their logits, which costs three times the reading. Or their weights are averaged,
# number by number, into one network, which costs nothing (Wortsman et al. 2022). **Predict** which matters most:
# reading the whole page instead of its first window, asking three readers instead of one, or keeping all of a change
# instead of its rank 4. And does a mean of weights answer at all?


# %%
def squad_averaged(members):
    """One reader whose weights are the means of those of others."""
    model = reader("pretrained", 0)
    model(squad.batch(squad.windows(TEST[:1], tokenizer)))  # builds the head
    for weight, *others in zip(model.weights, *(member.weights for member in members), strict=True):
        weight.assign(np.mean([other.numpy() for other in others], axis=0))
    return model


# %%
def squad_together_run(how):
    """EM and F1 of three readers by the mean of their logits or of their weights, and F1 in ten parts."""
    test = squad_questions("dev")
    made = squad.windows(test, tokenizer)
    members = [squad_model("pretrained", max(SQUAD_COUNTS), seed) for seed in SQUAD_SEEDS]
    asked_of = members if how == "logits" else [squad_averaged(members)]
    logits = [span_tf.logits(member, made) for member in asked_of]
    mean = [[np.mean(one, axis=0) for one in zip(*side, strict=True)] for side in zip(*logits, strict=True)]
    best = {e.id: p.best.text for e, p in zip(test, squad.predict(test, made, *mean), strict=True)}
    exact, f1 = (100 * values for values in squad.question_scores(test, best))
    groups = {name: f1[m].mean() for name, m in squad_groups(test).items() if name.startswith("part")}
    return {"exact": exact.mean(), "f1": f1.mean()} | groups


# %%
squad_hows = [{"how": "logits"}, {"how": "weights"}]
squad_together = lab.sweep("SQuAD together", squad_together_run, squad_hows, live=lambda s: False)
together = squad_together.recorded.set_index("how")
for how, row in together.iterrows():
    print(f"mean of {how}: EM {row.exact:.1f}, F1 {row.f1:.1f}")

# %%
for name, how in (("squad-together", "logits"), ("squad-averaged", "weights")):
    gain = paired_ci([together.loc[how, f"part {k}"] for k in range(10)], parts)
    squad_conclude(name, gain)
windows_gain = paired_ci(squad_values("f1 192"), squad_values("f1 cut"))
squad_conclude("squad-windows", windows_gain)

# %%
for rank in (32, 4):
    lost = paired_ci(squad_values("f1"), squad_values(f"f1 rank {rank}"))
    squad_conclude(f"squad-rank-{rank}", lost)

# %% [markdown]
# The committee gains most: a few points, about as much as the whole page over its first window of 192 tokens. The
# surprise is the mean of the weights. It mixes networks that learned from the same questions in another order, under
# heads drawn at random, and keeps nearly all of the gain of the committee, at the price of one reader. What tuning did
# from one start to three ends lies close enough together for the middle to be a good place too.
#
# A rank of 4, enough for many a LoRA, loses much. A rank of 32 costs about a point; whether it stays below the two
# points of our rule three readers can't say (**inconclusive**). (That is a change cut down after full tuning. Tuned at
# rank 4 from the beginning, other weights might do the same work.)
#
# ### A reader for you
#
# Because a change of rank 32 is small, it can travel: 3 MB that turn MiniLM, which you have, into a reader tuned on
# SQuAD. It is the mean of the three above, cut to that rank. Ask it about anything in English.

# %%
english = span_tf.Reader(span_tf.load_tuned(), minilm.tokenizer())
page = (
    "The first trams of the town ran in 1896. They were drawn by horses until the power station at the harbor was "
    "finished eleven years later, and the last of the horses, a grey mare called Juno, retired to the mayor's own "
    "meadow. The line to the cemetery was closed in 1954, because nobody wanted to pay for the bridge."
)
asked = [
    "When did the first trams run?",
    "Who was Juno?",
    "Why was the line to the cemetery closed?",
    "What drew the trams before the power station was finished?",
    "In which year was the power station finished?",
    "Who painted the mayor's portrait?",
]

# %% tags=["nbval-ignore-output"] reason="close candidates can change places on another processor"
for question in asked:
    found = english.predict(question, page)
    print(f"{question:60} {found.best.text}  ({found.best.probability:.2f})")

# %% [markdown]
# Years, names and things are found where the page says them in nearly the words of the question. Of the reason only a
# piece is found. The year in which the power station was finished stands nowhere on the page; it has to be computed,
# and a reader that can only point takes a year that is there. And the last question has no answer at all. This reader
# has never met such a question, so it points at a name, and not with less confidence than before. Section "From logits
# to an answer" says what would be needed.
#
# What it is: 22 million weights, a few thousand questions, two passes. Ask it where a wrong answer costs nothing.

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
# 1. (10 minutes) Ask the reader of the last section about a paragraph of your own, in English, until it fails three
#    times. Which of the kinds of failure above do yours belong to, and which kind is missing there?
# 2. (20 minutes) The head scores the first and the last token independently of each other. Take the logits of one
#    window and list the five best pairs with and without the rule that the last token stands behind the first. How
#    often does the rule decide?
# 3. (30 minutes) Load MiniLM's weights through `load_checkpoint` with the names of layers 0 and 5 exchanged. Predict
#    the F1 after tuning before you run it; compare with the layer that stayed random.
# 4. (an hour) Give the tuning on 256 world questions a tenth of impossible ones, then a half. Plot HasAns F1 against
#    NoAns F1 for all thresholds. Which of the two models would you give to a user, and what would you have to know
#    about the user?
