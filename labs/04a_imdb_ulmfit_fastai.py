# %% [markdown]
# # Lab 4a: Classifying film reviews with ULMFiT and fastai
#
# <!-- colab badge -->
#
# A language model that has read general text meets film reviews. A few of them say whether they praise or blame; many
# others say nothing. ULMFiT (Howard and Ruder 2018) turned this situation into a recipe of three steps: pretrain a language
# model on general text, tune it on the target's text, put a classifier on top and tune that with care. This lab follows
# the recipe with the library that was written around it, and then asks of every step what it is worth, by leaving it out.
#
# **You will be able to** load text with fastai's data blocks; tune a language model and hand its encoder to a classifier;
# write a schedule and an order of thawing as callbacks; measure each step of a recipe against its absence; see what leaking
# test data is worth; look into a recurrent classifier; and ship it without a pickle.
#
# **You should know** what Lab 1 builds, an AWD-LSTM among other things, and what fine-tuning is. Lab 3 compares ways to adapt
# a Transformer; this lab takes one recipe apart on the network for which it was invented.
#
# | what | two CPU cores | one GPU |
# |---|---|---|
# | time | about 5 minutes | not measured |
# | memory | 2 GiB | not measured |
# | download | nothing | nothing (`mini`); IMDb, 84 MB, and the AWD-LSTM of WikiText-103, size not published (`full`) |
#
# Measured numbers here differ a little from machine to machine. Behind each figure stand many recorded runs; the lab
# repeats some of them live and checks that they fall where the recorded ones say.

# %%
# course setup

# %%
import math
import tempfile
from functools import lru_cache
from pathlib import Path

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from fastai.callback.core import Callback, CancelValidException
from fastai.callback.schedule import ParamScheduler
from fastai.torch_core import set_seed

# %%
from utils import lstm, settings, ulmfit
from utils.evidence import Lab
from utils.intervals import mean_ci, paired_ci, rank_correlation_ci
from utils.plots import COLORS, band, show, style
from utils.world import World, tasks

# %%
style()
settings.threads(1)
settings.seed_everything(0)
lab = Lab("04a_imdb_ulmfit_fastai")
world = World(0)
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Films, and a reader who has seen none
#
# The course world has a kind of text that no pretrained model of the course has met: reviews of films. They use the words
# of other reviews (*good*, *dreadful*, *sadly*) and words of their own, such as *thriller*, *gripping* and *wooden*. A review
# is positive or negative by its last remark, its verdict.

# %%
LABELS = (32, 128, 1024)
SEEDS = range(10)


# %%
@lru_cache(maxsize=64)
def films(split, count, seed):
    """Labeled film reviews as a table; the seed draws another sample."""
    items = tasks.sentiment(world, count, split, seed, "film")
    return pd.DataFrame({"text": [" ".join(i.words) for i in items], "label": [i.label for i in items]})


# %%
@lru_cache(maxsize=16)
def unlabeled(count, seed):
    """Texts of film reviews that nobody has labeled, none of which is in a validation or test set."""
    return [" ".join(words) for words in tasks.unlabeled(world, count, seed, "film")]


# %%
for review in films("train", 16, 0).head(2).itertuples():
    print("+" if review.label else "-", review.text)
for review in films("test new words", 300, 0).head(2).itertuples():
    print("new words,", "+" if review.label else "-", review.text)

# %% [markdown]
# The labeled reviews draw their polar words from one half of the lexicon. One test does so too (*known words*). Another test
# takes all its polar words from the other half, which no label ever shows (*new words*); there only what was learned without
# labels can help. The unlabeled reviews have the words of both.
#
# The reader is an AWD-LSTM (Merity et al. 2018): three LSTM layers with dropout on everything, the weights between the
# steps of time included. Lab 1 trains one on three million words. Before you build on a pretrained network, ask what it
# knows. We put the same question to Lab 1's network and to the pair this lab uses, which read six million words, one
# network from left to right, the other from right to left.
#
# The question is a choice: after *sadly , the soup was*, is a negative word more probable than a positive one? **Predict**:
# which of the networks knows, and how surely?


# %%
READERS = {"awd_lstm": 1, "ulmfit_forward": 1, "ulmfit_backward": -1}
cues = tasks.polarity_cues(world, 300, "held out")
heldout = [document.words for document in world.corpus(20_000, "held out")]
for name, step in READERS.items():
    model, vocabulary = lstm.load(name)
    bits = sum(lstm.bits(model, vocabulary, [words[::step] for words in heldout]))
    words = sum(len(words) + 1 for words in heldout)
    fitting = lstm.preferred(model, vocabulary, cues, step)
    print(f"{name:15} {fitting:.2f} of the cues, {bits / words:.2f} bits a word")

# %% [markdown]
# Lab 1's network has learned grammar and guesses at opinions, and nothing in its loss shows that: the pair is only a few
# tenths of a bit better. Words that praise and words that blame stand in the same places, so a network that starts
# from random embeddings has little reason to tell them apart. The pair has read twice as much, and it started from vectors of
# the words that share a document (latent semantic analysis, from chapter 1's history), in which words of praise and of
# blame are already apart.

# %% [markdown]
# ## From text to batches
#
# A network reads numbers in rectangles. Between a table of reviews and a rectangle stand four decisions: what a word is,
# which words have a number, where a text is cut, and which texts share a batch. fastai decides each of them for you, and
# most of what goes wrong in a text classifier goes wrong here without a word. So we look at each decision once.
#
# **What a word is.** fastai first rewrites a text by eight rules, then lets spaCy cut it. Predict the outcome of this
# sentence: what happens to capitals, to repeated marks, and to the number?

# %%
from fastai.text.all import (
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    LMDataLoader,
    LMTensorText,
    Pad_Chunk,
    RandomSplitter,
    SpacyTokenizer,
    TextBlock,
    TfmdDL,
    defaults,
    match_embeds,
)

# %%
spacy_words = SpacyTokenizer()
text = "SOOOO good!!!! The WHOLE film cost 1,000,000. We laughed laughed laughed."
for rule in defaults.text_proc_rules:
    before, text = text, rule(text)
    if text != before:
        print(f"{rule.__name__:17}", text)
print("\nwords:", *next(spacy_words([text])))

# %% [markdown]
# What a rule takes away it writes down: `xxmaj` says that the next word began with a capital, `xxup` that all of it was in
# capitals, `xxrep 4 !` that four marks stood there, `xxwrep 3` that a word came three times. These are words of the
# vocabulary like others, and the network learns what they mean. But the rules know no meaning themselves. The one made for
# *!!!!* turns a million into `1, xxrep 3 0 , xxrep 3 0`, and *SOOOO* into *s* and four times *o*; and since single capitals get
# no mark, the later rule for *WHOLE* finds nothing to note there. Read a few of your own texts after the rules.
#
# **Which words have a number.** A `DataBlock` says what a row of the table becomes, here one text; the loaders built from it
# count the words. Our two functions below serve the whole lab. The first is for the language model, which needs no labels:
# it keeps every tenth text aside to validate on. (fastai 1 called the result a `DataBunch`, and so do older notebooks;
# fastai 2 calls it `DataLoaders`.)


# %%
def language_loaders(texts, vocab=None, backwards=False, rows=32, width=48, held=0.1, **options):
    """Two fastai loaders of one long stream each, the second from a share of the texts that is held back."""
    text = TextBlock.from_df(
        "text", vocab, is_lm=True, seq_len=width, backwards=backwards, tok=spacy_words, n_workers=0
    )
    block = DataBlock(text, get_x=ColReader("text"), splitter=RandomSplitter(held, seed=0))
    options = {"bs": rows, "seq_len": width, "num_workers": 0, "device": "cpu", **options}
    return block.dataloaders(pd.DataFrame({"text": texts}), **options)


# %%
set_seed(0)
loaders = language_loaders(unlabeled(2000, 0))
print(len(loaders.vocab), "words:", *loaders.vocab[:16], "...", *loaders.vocab[-3:])

# %% [markdown]
# Nine marks, then the words by frequency. A word seen fewer than three times has no number and is read as `xxunk`. The size
# is rounded up to a multiple of eight, which some GPUs like, with words called `xxfake`; remember them for later.
#
# **Where a text is cut.** A language model has no use for single texts. fastai writes all of them one behind the other,
# cuts this stream into rows of equal length, one for each place in the batch, and moves a window over the rows. To
# see it done, we give fastai's loader four reviews whose words are all replaced by the number of their review.

# %%
ids = [loaders.train_ds[i][0] for i in range(4)]
owners = [LMTensorText([number] * len(review)) for number, review in enumerate(ids)]
windows = [owner for owner, target in LMDataLoader(owners, bs=4, seq_len=7)]
print(*(tuple(window.shape) for window in windows))

# %%
REVIEW_COLORS = [COLORS[role] for role in ("pretrained", "distant", "frozen", "supervised")]


# %% tags=["hide-input"]
def draw_cells(ax, owners, x, y, step=1.0):
    """Words from left to right as cells in the color of their review, from x on at height y."""
    for place, owner in enumerate(owners):
        corner = (x + step * place, y)
        ax.add_patch(plt.Rectangle(corner, 0.86 * step, 0.8, color=REVIEW_COLORS[int(owner)], lw=0))


# %% mystnb={"image": {"alt": "Four reviews in four colors as one stream of words at the top; below, the stream cut into four rows, and the rows cut into four windows, the batches. Reviews begin and end anywhere in a row. A dashed frame, one word further right, marks the targets of the second batch."}}
fig, ax = plt.subplots(figsize=(6, 3.1))
stream, length = torch.cat(owners), sum(window.shape[1] for window in windows)
draw_cells(ax, stream[: 4 * length], 0, 6.2, 31 / (4 * length))
ax.text(0, 7.6, "the stream, and where it is cut into rows", fontsize=12)
for row in range(4):
    ax.plot([31 / 4 * row] * 2, [5.9, 7.2], color="black", linewidth=1.5)
    ax.text(-0.6, 3.4 - row, f"row {row + 1}", ha="right", va="center", fontsize=12)
    for number, window in enumerate(windows):
        draw_cells(ax, window[row], 8 * number, 3 - row)
for number in range(len(windows)):
    ax.text(8 * number, 4.2, f"batch {number + 1}", fontsize=12)
ax.add_patch(plt.Rectangle((8.93, -0.15), 7.93, 4.1, fill=False, linestyle="--", linewidth=1.8))
ax.text(8.9, -1.3, "what batch 2 must predict", fontsize=12)
ax.set(xlim=(-4, 31.2), ylim=(-1.6, 8.5))
ax.axis("off")
show(fig)
print(f"{len(stream)} words in 4 rows of {length}, in windows of {[w.shape[1] for w in windows]}")

# %% [markdown]
# A review may begin in the middle of a row and end in the next batch. That is no harm: row 1 of the second batch goes on
# where row 1 of the first one stopped, and the network keeps its state from batch to batch (a callback resets it when an
# epoch begins). The targets are the same words, one further on. In words, and with a network that reads from right to
# left, for which fastai turns each text around by itself:

# %%
set_seed(0)
loaders = language_loaders(unlabeled(2000, 0))
inputs, targets = loaders.one_batch()
print("input  ", *(loaders.vocab[i] for i in inputs[0, :14]))
print("target ", *(loaders.vocab[i] for i in targets[0, :14]))
assert (inputs[:, 1:] == targets[:, :-1]).all()
turned = language_loaders(unlabeled(2000, 0), backwards=True).one_batch()[0]
print("turned ", *(loaders.vocab[i] for i in turned[0, :14]))

# %% [markdown]
# **Which texts share a batch.** A classifier wants whole reviews, with a label each, and reviews differ in length. The
# shorter ones of a batch are filled with `xxpad`. For IMDb, whose reviews have between ten and more than two thousand words,
# most of a batch would be filling. The reviews of our world have 18 to 39. How large is the share of filling in a batch of 16 that
# come in random order, and how large if each batch has reviews of nearly one length?


# %%
def class_loaders(train, validation, vocab, backwards=False, rows=16, width=72, **options):
    """Two fastai loaders of labeled texts in padded batches; a text is read in stretches of `width` words."""
    frame = pd.concat([train.assign(held=False), validation.assign(held=True)], ignore_index=True)
    text = TextBlock.from_df("text", vocab, seq_len=width, backwards=backwards, tok=spacy_words, n_workers=0)
    block = DataBlock(
        (text, CategoryBlock),
        get_x=ColReader("text"),
        get_y=ColReader("label"),
        splitter=ColSplitter("held"),
    )
    return block.dataloaders(frame, **{"bs": rows, "num_workers": 0, "device": "cpu", **options})


# %%
set_seed(0)
labeled_films = class_loaders(films("train", 1024, 0), films("validation", 100, 0), loaders.vocab)
fill = Pad_Chunk(seq_len=72)
shuffled = TfmdDL(labeled_films.train_ds, bs=16, shuffle=True, before_batch=fill, num_workers=0)
PADDED = {"random order": list(shuffled), "sorted by length": list(labeled_films.train)}


# %%
def share_of_padding(batches):
    """Share of the places of padded batches that hold no word."""
    return sum((x == 1).sum().item() for x, _ in batches) / sum(x.numel() for x, _ in batches)


# %% mystnb={"image": {"alt": "Two panels of six batches of sixteen reviews each, a dark line per review and pale filling behind it. In random order the lines end anywhere and much is pale; sorted by length, each batch has its own width and hardly any filling."}}
fig, axes = plt.subplots(1, 2, figsize=(6, 3.6), sharey=True)
for ax, (name, batches) in zip(axes, PADDED.items(), strict=True):
    for number, (x, _) in enumerate(batches[:6]):
        picture = np.where(x == 1, 0.35, 1.0)
        place = (0, x.shape[1], 17.5 * number + 16, 17.5 * number)
        ax.imshow(picture, cmap="Blues", vmin=0, vmax=1.2, extent=place, aspect="auto", interpolation="none")
    ax.set(xlim=(0, 40), ylim=(103.5, 0), xlabel="word", yticks=17.5 * np.arange(6) + 8)
    ax.set_title(f"{name}: {share_of_padding(batches):.0%}", fontsize=12.5)
    ax.grid(False)
axes[0].set_yticklabels([f"batch {number + 1}" for number in range(6)])
show(fig)
print({name: round(share_of_padding(batches), 3) for name, batches in PADDED.items()})

# %% [markdown]
# Almost a quarter against one word in a hundred. `SortedDL`, which fastai takes for labeled texts by itself, sorts stretches
# of fifty batches and shuffles these batches, so that an epoch still differs from the last. Two of its habits are worth
# knowing. The batch with the longest text always comes first: if the memory does not suffice, you learn it at once. And
# a validation loader hands out its texts from the longest to the shortest, not in the order of your table; `get_preds` puts
# them back, a loop of your own does not.
#
# **New words.** The pretrained network has its own vocabulary, without the words of films. What should such a word begin
# with: zeros, random numbers, the vector of a word like it?

# %%
general_model, words_before = lstm.load("ulmfit_forward")
new_words = [w for w in loaders.vocab if w not in words_before and w != "xxfake"]
spoken = " ".join(films("test", 300, 0).text).split()
share = np.mean([w in set(new_words) for w in spoken])
print(f"{len(new_words)} new words, {share:.0%} of a test review:", *new_words[30:40], "...")

# %%
state = general_model.state_dict()
mean = state["0.encoder.weight"].mean(0)
table = match_embeds(dict(state), words_before, list(loaders.vocab))["0.encoder.weight"]
row = {word: table[i] for i, word in enumerate(loaders.vocab)}
print("all new words have the mean vector:", all(torch.equal(row[word], mean) for word in new_words))
print(f"gripping - boring {torch.dist(row['gripping'], row['boring']):.2f}")
print(f"good - bad        {torch.dist(row['good'], row['bad']):.2f}")

# %% [markdown]
# fastai's `match_embeds` keeps the rows of known words, in the new order, and gives every new word the mean of all rows. It is
# a modest choice: the mean is in the middle of what the layers above are used to, and it claims nothing. Nothing is also what
# the network now knows about a fifth of each review. *Gripping* and *boring* are the same word to it until it has
# trained on texts that use them. Tuning the language model may tell them apart without a label; a classifier that is tuned on
# 128 labels meets the polar words of one half only.
#
# **Who may be seen.** The texts that tune the language model have no labels, and it is tempting to take every text there is,
# those of the test among them. We do not; a later section measures what it would be worth. Validation reviews decide
# between settings and are in no training set. Both statements can be checked, and should be:

# %%
seen = {*unlabeled(2000, 0), *films("train", 1024, 0).text}
for split in ("validation", "test", "test new words"):
    print(f"{split:15} {len(seen.intersection(films(split, 1000, 0).text))} of 1,000 texts were seen before")

# %% [markdown]
# **Break it.** The classifier's loaders need the vocabulary of the language model: `vocab=` in a `TextBlock`, `text_vocab=` in
# `TextDataLoaders.from_df`. Leave it out and they count words for themselves. If they find fewer words, `load_encoder` stops
# with an error about sizes. But sizes agree more often than you would think. They are rounded to multiples of eight. They are
# capped at some 60,000 words, so that two large collections of text get the same size. Or, as here, the words are counted in
# another draw of the same kind of text:

# %%
recount = language_loaders(unlabeled(2000, 1)).vocab
same = np.mean([a == b for a, b in zip(loaders.vocab, recount, strict=True)])
print(f"{len(recount)} words, the same ones: {set(recount) == set(loaders.vocab)}")
print(f"numbers that stand for the same word: {same:.0%}")
for word in ("gripping", "sequel", "delightful"):
    print(f"what the encoder reads for {word}:", loaders.vocab[recount.index(word)])

# %% [markdown]
# The sizes are equal, so the weights fit, and no line fails. A test of one line would: the two lists of words must be the
# same list. fastai's file of weights does not hold the words, so `utils.ulmfit` writes them beside it and compares.

# %%
from fastai.text.all import (
    AWD_LSTM,
    accuracy,
    awd_lstm_clas_config,
    awd_lstm_lm_config,
    language_model_learner,
    text_classifier_learner,
)

# %%
from utils.errors import CourseError

# %%
BEFORE = {"drop_mult": 0.3, "path": folder, "model_dir": "."}
names = ulmfit.pretrained("forward", folder, "mini")
config = awd_lstm_lm_config | ulmfit.shape("forward", "mini")
before_films = language_model_learner(loaders, AWD_LSTM, config, pretrained_fnames=names, **BEFORE)
ulmfit.save_encoder(before_films, "before-films")


# %%
def untuned_reader(vocab, seed):
    """A classifier of 128 labeled films under a vocabulary; its weights are random so far."""
    data = class_loaders(films("train", 128, seed), films("validation", 64, seed), vocab)
    config = awd_lstm_clas_config | ulmfit.shape("forward", "mini")
    return text_classifier_learner(
        data, AWD_LSTM, config=config, pretrained=False, metrics=accuracy, **BEFORE
    )


# %%
careless = untuned_reader(recount, 0)
careless.load_encoder("before-films")  # fastai: not a word
try:
    ulmfit.load_encoder(careless, "before-films")
except CourseError as error:
    print(error)

# %% [markdown]
# What does it cost to go on? Two classifiers start from the pretrained network, which is not tuned on films yet, with the
# same 128 labels and the same training, one under the encoder's vocabulary and one under the recounted one. Predict the
# accuracy of the second: near one half, or near that of the first?


# %%
def order_run(seed, order):
    """Accuracy after 128 labels, with the vocabulary of the encoder or with the recounted one."""
    reader = untuned_reader(loaders.vocab if order == "same" else recount, seed)
    reader.load_encoder("before-films").unfreeze()
    with reader.no_bar(), reader.no_logging():
        reader.fit_one_cycle(5, 1e-2)
        tests = {"known": films("test", 200, seed), "new": films("test new words", 200, seed)}
        batches = {name: reader.dls.test_dl(test, with_labels=True) for name, test in tests.items()}
        return {name: reader.validate(dl=batch)[1] for name, batch in batches.items()}


# %%
orders = lab.sweep(
    "vocabulary order",
    order_run,
    [{"order": order, "seed": s} for order in ("same", "other") for s in SEEDS],
    live=lambda s: s == {"order": "other", "seed": 0},
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(orders, "known", by=["order"], slack=0.02)
by_order = {k: orders.recorded[orders.recorded["order"] == k].sort_values("seed") for k in ("same", "other")}
for order, runs in by_order.items():
    print(f"{order:5} order: known words {mean_ci(runs['known'])}, new words {mean_ci(runs['new'])}")

# %% tags=["hide-input"]
lab.conclude("vocabulary-order", paired_ci(by_order["same"]["known"], by_order["other"]["known"]), 10)

# %% [markdown]
# The first classifier is right about six times in seven, on new words as well as on known ones. The second falls to seven in
# ten on known words and to a coin on new ones: it has what its 128 labels show, and all that the network had learned
# before now belongs to other words. Seven in ten is a number that one might believe. Few labels, you would say, a hard task,
# and look for a better learning rate. The test of one line costs nothing.

# %% [markdown]
# ## A language model meets films
#
# The first step of the recipe is done: the pair is pretrained. The second tunes the language model on the target's text.
# fastai loads the pretrained weights into a learner whose vocabulary is that of the films and freezes all but the last
# group of layers. ULMFiT tunes all of them, so we unfreeze.

# %%
from fastai.text.all import AWD_LSTM, awd_lstm_lm_config, language_model_learner

# %%
UNLABELED = 2000
EPOCHS = 4


# %%
def language_learner(loaders, direction="forward", start="pretrained", profile="mini"):
    """A fastai learner with the pretrained language model of a profile, or with random weights."""
    pair = ulmfit.pretrained(direction, folder, profile) if start == "pretrained" else None
    learner = language_model_learner(
        loaders,
        AWD_LSTM,
        config=awd_lstm_lm_config | ulmfit.shape(direction, profile),
        drop_mult=0.3,
        pretrained=False,
        pretrained_fnames=pair,
        path=folder,
        model_dir=".",
    )
    learner.unfreeze()
    return learner


# %%
set_seed(0)
learner = language_learner(language_loaders(unlabeled(UNLABELED, 0)))
for number, group in enumerate(learner.opt.param_lists):
    print(f"group {number}: {len(group)} tensors, {sum(p.numel() for p in group):,} numbers")

# %% [markdown]
# fastai sorts the language model into four groups: each LSTM layer, and, as the last, the embeddings, which are also the
# output layer. How fast should they learn? A range test (Smith 2017) raises the rate from batch to batch and watches the
# loss, which stays, falls, and explodes. A good rate stands where it falls. The test uses up batches, so it gets a
# learner of its own; a cell that is run twice then finds the same rate twice.

# %%
set_seed(0)
learner = language_learner(language_loaders(unlabeled(UNLABELED, 0)))
with learner.no_bar(), learner.no_logging():
    suggestion = learner.lr_find(show_plot=False).valley
rates, losses = np.array(learner.recorder.lrs), np.array(learner.recorder.losses)

# %% mystnb={"image": {"alt": "Smoothed loss of the language model in nats against the learning rate on a log scale: a plateau near the left end, a fall from about a thousandth on, a minimum, and a steep rise at the right end; a dot marks fastai's suggestion on the fall."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
shown = losses < 1.3 * losses[0]
fig, ax = plt.subplots()
ax.semilogx(rates[shown], losses[shown], color=COLORS["lstm"])
ax.plot(suggestion, np.interp(suggestion, rates, losses), "o", color=COLORS["exact"], label="suggested")
ax.set_xlabel("learning rate")
ax.set_ylabel("smoothed loss (nats)")
ax.legend()
show(fig)
print(f"suggested: {suggestion:.1e}; lowest loss at {rates[losses.argmin()]:.1e}")

# %% [markdown]
# ULMFiT does not give all layers one rate. Lower layers, which hold what is general, learn more slowly: each has the rate
# of the one above divided by 2.6. And the rate changes: it rises for a short while and then falls for long, the *slanted
# triangle*. fastai's habit is another schedule, Smith's *1cycle*: a longer rise and a fall along a cosine, while the
# momentum does the reverse. The slanted triangle is easily made exact: fastai's scheduler asks for a rate before every
# batch and says which share of the training is over.


# %%
def slanted(done, share=0.1, ratio=32):
    """Factor of the peak rate when a share `done` of the training is over (Howard and Ruder 2018, equation 3)."""
    p = done / share if done < share else 1 - (done - share) / (1 - share)
    return (1 + p * (ratio - 1)) / ratio


# %%
SCHEDULES = {
    "slanted": slanted,
    "constant": lambda done: 1.0,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}


# %% mystnb={"image": {"alt": "Factor of the peak learning rate over the share of a training that is done, three curves: the slanted triangle rises straight to one within a tenth and falls straight to almost zero; 1cycle rises along a cosine until a quarter and falls along a cosine to zero; a cosine falls from one at once."}}
from fastai.callback.schedule import combined_cos

one_cycle = combined_cos(0.25, 1 / 25, 1, 1e-5)
done = np.linspace(0, 1, 201)
fig, ax = plt.subplots(figsize=(6, 3))
ax.plot(done, [slanted(d) for d in done], color=COLORS["pretrained"], label="slanted triangle")
ax.plot(done, [one_cycle(d) for d in done], "--", color=COLORS["scratch"], label="1cycle")
ax.plot(done, [SCHEDULES["cosine"](d) for d in done], ":", color=COLORS["exact"], label="cosine")
ax.set_xlabel("share of the training")
ax.set_ylabel("share of the peak rate")
ax.legend()
show(fig)
shares = {"slanted": slanted, "1cycle": one_cycle, "cosine": SCHEDULES["cosine"]}
print(
    "mean share of the peak:",
    {name: round(float(np.mean([f(d) for d in done])), 2) for name, f in shares.items()},
)

# %% [markdown]
# Whoever compares schedules at one peak rate compares mean rates that differ by a factor of two with the constant one. Each
# schedule below has its own search for a peak.


# %%
def rates_of_groups(learner, peak, factor):
    """The peak rate of every group of layers: the last has `peak`, each lower one that of the next over `factor`."""
    groups = len(learner.opt.param_lists)
    return np.array([peak / factor ** (groups - 1 - group) for group in range(groups)])


# %%
class NoValidation(Callback):
    """Leaves out the look at the validation set after each epoch."""

    def before_validate(self):
        raise CancelValidException


# %%
def fit(learner, epochs, peak, factor=2.6, schedule="slanted", callbacks=()):
    """Train with fastai, silently: a schedule of ours, or fastai's own 1cycle."""
    peaks = rates_of_groups(learner, peak, factor)
    with learner.no_bar(), learner.no_logging(), ulmfit.distributed(learner):
        if schedule == "1cycle":
            return learner.fit_one_cycle(epochs, peaks, cbs=list(callbacks))
        follow = ParamScheduler({"lr": lambda done: peaks * SCHEDULES[schedule](done)})
        learner.fit(epochs, cbs=[follow, *callbacks])


# %% [markdown]
# All is compared on texts that no training sees. The measure is bits a word, over all words and over the
# words of films alone. **Predict**: before the tuning, how many bits does a word of films cost, when the vocabulary has 256
# entries and a guess at random costs eight?


# %%
VOCABULARY = list(learner.dls.vocab)
FILM_WORDS = set(VOCABULARY) - set(lstm.load("ulmfit_forward")[1])


# %%
@torch.no_grad()
def film_bits(learner, step=1):
    """Bits a word of 400 film reviews that were not trained on: all words, and the words of films alone."""
    model, index = learner.model.eval(), {word: i for i, word in enumerate(learner.dls.vocab)}
    every, new = [], []
    for text in unlabeled(400, 1000):
        words = text.split()[::step]
        model.reset()
        ids = torch.tensor([[index["xxbos"], *(index[word] for word in words)]])
        logp = model(ids[:, :-1])[0][0].log_softmax(-1) / -math.log(2)
        costs = logp.gather(-1, ids[0, 1:, None])[:, 0].tolist()
        every += costs
        new += [cost for cost, word in zip(costs, words, strict=True) if word in FILM_WORDS]
    return {"bits": float(np.mean(every)), "bits of film words": float(np.mean(new))}


# %%
print({key: round(value, 2) for key, value in film_bits(learner).items()})

# %% [markdown]
# Without any tuning a word of films costs more than a guess at random: the network has no idea of these words and is sure
# that others come. Their rows in the embedding are all the same, the mean of the known rows.
#
# Four ways to tune, as in ULMFiT's Table 6: not at all; all layers with one constant rate; with discriminative rates; with
# discriminative and slanted rates. Each gets the same four passes over the same texts and its own search over three rates.

# %%
TUNINGS = {
    "plain": {"factor": 1.0, "schedule": "constant"},
    "discriminative": {"schedule": "constant"},
    "ULMFiT": {},
}
LANGUAGE_RATES = (3e-3, 1e-2, 3e-2)


# %%
def tuned_language_model(seed, tuning, rate, direction="forward", texts=None):
    """A language model tuned on the seed's unlabeled films, in the vocabulary of the first sample."""
    loaders = language_loaders(texts or unlabeled(UNLABELED, seed), VOCABULARY, direction == "backward")
    learner = language_learner(loaders, direction)
    if tuning != "none":
        fit(learner, EPOCHS, rate, callbacks=[NoValidation()], **TUNINGS[tuning])
    return learner


# %%
language_search = lab.sweep(
    "language search",
    lambda seed, tuning, rate: film_bits(tuned_language_model(100 + seed, tuning, rate)),
    [{"tuning": t, "rate": r, "seed": 0} for t in TUNINGS for r in LANGUAGE_RATES],
    live=lambda s: False,
)
found = language_search.recorded.groupby(["tuning", "rate"])["bits"].mean()
LANGUAGE_BEST = {tuning: float(found[tuning].idxmin()) for tuning in TUNINGS} | {"none": 0.0}
print(found.unstack().round(3).to_string())

# %% [markdown]
# ULMFiT's best rate is the largest of the list. What lies beyond was looked at only after the encoders of this lab had been
# made: a rate of 0.1 is better by two thousandths of a bit. We kept 0.03.

# %%
language_beyond = lab.sweep(
    "language search beyond",
    lambda seed, tuning, rate: film_bits(tuned_language_model(100 + seed, tuning, rate)),
    [{"tuning": "ULMFiT", "rate": 1e-1, "seed": 0}],
    live=lambda s: False,
)
print(language_beyond.recorded[["rate", "bits"]].to_string(index=False))

# %% [markdown]
# With the rates chosen, ten samples of unlabeled films for every way. A run also keeps its encoder, the language
# model without its output layer, which the classifiers below will start from.


# %%
def encoder_name(seed, tuning, direction="forward", kind="films"):
    """The file name of an encoder."""
    return f"{kind}-{tuning}-{direction}-{seed}"


# %%
def language_run(seed, tuning, direction="forward", kind="films", texts=None):
    """Tune a language model, keep its encoder, measure its bits a word."""
    learner = tuned_language_model(seed, tuning, LANGUAGE_BEST[tuning], direction, texts)
    ulmfit.save_encoder(learner, encoder_name(seed, tuning, direction, kind))
    return film_bits(learner, -1 if direction == "backward" else 1)


# %%
def kept_encoder(seed, tuning, direction="forward", kind="films"):
    """The file name of an encoder, which is made now if it has not been."""
    name = encoder_name(seed, tuning, direction, kind)
    if not (folder / f"{name}.pth").exists():
        language_run(seed, tuning, direction, kind)
    return name


# %%
language = lab.sweep(
    "language",
    language_run,
    [{"tuning": t, "seed": s} for s in SEEDS for t in ("none", *TUNINGS)],
    live=lambda s: s["seed"] == 0 and s["tuning"] in ("none", "ULMFiT"),
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(language, "bits", by=["tuning"], slack=0.02)
tuned_bits = language.recorded.groupby("tuning")[["bits", "bits of film words"]].mean()
print(tuned_bits.loc[["none", *TUNINGS]].round(3).to_string())

# %% tags=["hide-input"]
bits_of = {tuning: runs.sort_values("seed")["bits"] for tuning, runs in language.recorded.groupby("tuning")}
lab.conclude("language-tuned", paired_ci(bits_of["none"], bits_of["ULMFiT"]), 10)
lab.conclude("language-recipe", paired_ci(bits_of["plain"], bits_of["ULMFiT"]), 10)

# %% [markdown]
# The tuning takes four passes over 50,000 words, seconds instead of the minutes of pretraining, and the film words fall
# from more than a guess to two or three bits. The discriminative rates are most of the gain. The slanted
# triangle on top of them gains nothing here: the constant rate leads by a hundredth of a bit. So ULMFiT's claim for
# its recipe holds against one constant rate for all groups, and rests on the rates, not on the schedule.
#
# Look at fastai's groups again before you explain it. The top group, which learns fastest, holds the embeddings, and with them
# the rows of the 59 new words. A guess: one rate for all that is high enough for these rows is too high for the LSTM
# layers, which have little to learn about grammar.

# %% [markdown]
# ## The classifier
#
# The third step puts a classifier on the tuned encoder. A review becomes a matrix of states, one for each word. ULMFiT
# joins three summaries of it: the last state, the maximum of each unit over the words, and the mean. Two blocks follow, each
# with batch normalization, dropout and a linear layer, the first with fifty units and a ReLU.

# %%
from fastai.text.models.core import PoolingLinearClassifier, masked_concat_pool

# %%
BATCH = 16
UPDATES = 128


# %%
def class_learner(train, encoder=None, direction="forward", validation=None):
    """A fastai classifier of films on an encoder of `language_run`, or on random weights."""
    held = train.head(2) if validation is None else validation
    learner = text_classifier_learner(
        class_loaders(train, held, VOCABULARY, direction == "backward"),
        AWD_LSTM,
        config=awd_lstm_clas_config | ulmfit.shape(direction, "mini"),
        drop_mult=0.3,
        pretrained=False,
        metrics=accuracy,
        path=folder,
        model_dir=".",
    )
    if encoder:
        ulmfit.load_encoder(learner, encoder)
    learner.unfreeze()
    return learner


# %%
set_seed(0)
forward_classifier = class_learner(films("train", 128, 0), kept_encoder(0, "ULMFiT"))
print(forward_classifier.model[1])

# %% [markdown]
# How many numbers is that, by hand and by counting? And is the pooling what the text says?

# %%
states = ulmfit.shape("forward", "mini")["emb_sz"]
blocks = [2 * 3 * states, 3 * states * 50, 2 * 50, 50 * 2]
counted = sum(p.numel() for p in forward_classifier.model[1].parameters())
print(blocks, "=", sum(blocks), "of", f"{sum(p.numel() for p in forward_classifier.model.parameters()):,}")
counted, sum(blocks)

# %%
batch, _ = forward_classifier.dls.train.one_batch()
with torch.no_grad():
    states, padding = forward_classifier.model.eval()[0](batch)
    pooled = masked_concat_pool(states, padding, bptt=72)
for row, hidden in enumerate(states):
    words = hidden[~padding[row]]
    by_hand = torch.cat([words[-1], words.max(0).values, words.mean(0)])
    assert torch.allclose(pooled[row], by_hand, atol=1e-6)
print(tuple(batch.shape), "words ->", tuple(states.shape), "states ->", tuple(pooled.shape), "pooled")

# %% [markdown]
# The mean skips the padding, and so does the maximum.
#
# fastai sorts the classifier into five groups: the embeddings, three LSTM layers, the new head. A new head on a trained
# network sends noise down at first, so ULMFiT thaws from the top: first the head learns alone, then one more group joins at
# a time. We give each stage an eighth of the training, and the whole network the remaining half. A rival order is
# *chain-thaw* (Felbo et al. 2017): the head alone, then every other group alone from the bottom, then everything.

# %%
ORDERS = {
    "all": lambda stage: range(5),
    "last": lambda stage: [4],
    "gradual": lambda stage: range(max(0, 4 - stage), 5),
    "chain": lambda stage: [[4], [0], [1], [2], [3]][stage] if stage < 5 else range(5),
}


# %%
class Thaw(Callback):
    """Says before each batch which groups of layers learn; a stage lasts an eighth of the training."""

    run_valid = False

    def __init__(self, order):
        self.plan, self.groups = ORDERS[order], None

    def before_batch(self):
        groups = list(self.plan(int(8 * self.pct_train)))
        if groups != self.groups:
            self.groups = groups
            for number, group in enumerate(self.opt.param_lists):
                for parameter in group:
                    parameter.requires_grad_(number in groups)
                    parameter.grad = None
            self.opt.clear_state()


# %% [markdown]
# fastai's own `freeze_to(-2)` does the same for orders that thaw from the top, the clearing of Adam's averages included; it
# has no way to freeze the top again, which chain-thaw needs. Setting the gradients to None is not pedantry. fastai's
# optimizer steps every tensor that has a gradient, frozen or not, and a gradient of zeros is a gradient: the weight decay
# goes on.

# %%
from fastai.optimizer import Adam

# %%
weight = torch.nn.Parameter(torch.ones(3))
optimizer = Adam([[weight]], lr=0.1, wd=0.1)
weight.grad = torch.zeros(3)
weight.requires_grad_(False)
optimizer.step()
print("break it: a frozen weight after one step:", weight.detach().numpy().round(3))
weight.grad = None
before = weight.detach().clone()
optimizer.step()
assert torch.equal(weight.detach(), before)

# %% [markdown]
# Now one whole training by ULMFiT's recipe with 128 labels, and one without its order, rates and schedule, both with a look
# at validation reviews. **Predict**: which has the lower training loss in the end, and which the lower validation loss?


# %%
def epochs_for(labels):
    """Passes over `labels` texts that make 128 batches of 16."""
    return UPDATES * BATCH // labels


# %%
@torch.no_grad()
def measure(learner, loader):
    """Accuracy and mean loss in nats on a loader of labeled texts, in the middle of a training or after it."""
    learner.model.eval()
    pairs = [(learner.model(ids)[0], labels) for ids, labels in loader]
    logits, labels = (torch.cat(parts).as_subclass(torch.Tensor) for parts in zip(*pairs, strict=True))
    learner.model.train()
    right = (logits.argmax(1) == labels).float().mean().item()
    return right, torch.nn.functional.cross_entropy(logits, labels).item()


# %%
class Watch(Callback):
    """Keeps the loss of every batch, and accuracy and loss on some loaders after every eighth of the training."""

    run_valid = False

    def __init__(self, **loaders):
        self.loaders, self.losses, self.seen = loaders, [], []

    def after_batch(self):
        self.losses.append(self.loss.item())
        if len(self.losses) % (self.n_iter * self.n_epoch // 8) == 0:
            self.seen.append({name: measure(self.learn, dl) for name, dl in self.loaders.items()})


# %%
def labeled(learner, frame):
    """A loader of labeled texts in the learner's vocabulary."""
    return learner.dls.test_dl(frame, with_labels=True)


# %%
def watched(seed, labels, peak, order="gradual", factor=2.6, schedule="slanted", **frames):
    """A training by a recipe, watched on tables of labeled texts."""
    set_seed(seed)
    learner = class_learner(films("train", labels, seed), kept_encoder(seed, "ULMFiT"))
    watch = Watch(**{name: labeled(learner, frame) for name, frame in frames.items()})
    fit(learner, epochs_for(labels), peak, factor, schedule, [Thaw(order), watch, NoValidation()])
    return learner, watch


# %%
held = films("validation", 300, 0)
forward_classifier, careful = watched(0, 128, 1e-1, held=held)
_, plain = watched(0, 128, 3e-3, order="all", factor=1.0, schedule="constant", held=held)

# %% mystnb={"image": {"alt": "Training loss, smoothed over sixteen batches, as solid lines and validation loss as dashed lines with dots over 128 batches, for ULMFiT and for plain tuning. The plain training loss falls at once. That of ULMFiT first rises, while the head and the top layer learn, and falls as more groups thaw at thin vertical lines; in the end both are near zero and the validation losses between 0.1 and 0.25."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, ax = plt.subplots()
for name, watch, color in (("ULMFiT", careful, "pretrained"), ("plain", plain, "scratch")):
    smooth = np.convolve(watch.losses, np.ones(16) / 16, "valid")
    ax.plot(range(16, UPDATES + 1), smooth, color=COLORS[color], label=f"{name}, training")
    seen = [point["held"][1] for point in watch.seen]
    ax.plot(range(16, UPDATES + 1, 16), seen, "o--", color=COLORS[color], label=f"{name}, validation")
    print(name, "training", round(smooth[-1], 3), "validation", round(seen[-1], 3))
for stage in range(1, 5):
    ax.axvline(stage * UPDATES // 8, color=COLORS["baseline"], linewidth=0.8)
ax.set_xlabel("batches of 16 reviews")
ax.set_ylabel("loss (nats)")
ax.legend(fontsize=11)
show(fig)

# %% [markdown]
# The head alone, with a rate of 0.1, makes the training loss rise at first; only as the layers below join does it
# fall. Plain tuning needs a fraction of the batches for the same. In the end both know nearly all of their 128 reviews by
# heart. Their validation losses differ, and with another seed or processor they differ otherwise: which of the two is
# better is a question for many seeds.

# %% [markdown]
# ## Every step against leaving it out
#
# ULMFiT's tables 6 and 7 compare the recipe with versions of it that lack a step, with one run for each cell. Here
# each version gets ten seeds. A seed decides the sample of labeled and unlabeled reviews, the new head, the
# order and the dropout; two versions with the same seed see the same reviews. All versions have the same 128 batches of 16
# reviews, and each has its own search for a rate: four rates, two seeds of their own, 128 labels, on validation reviews.
# The best one stands for all numbers of labels.

# %%
VERSIONS = {
    "ULMFiT": {},
    "language model not tuned": {"tuning": "none"},
    "from scratch": {"tuning": None, "order": "all", "factor": 1.0},
    "one rate for all groups": {"factor": 1.0},
    "constant rate": {"schedule": "constant"},
    "1cycle": {"schedule": "1cycle"},
    "all groups at once": {"order": "all"},
    "last state only": {"pooling": "last"},
}
TABLE_7 = {
    "full": {"order": "all", "factor": 1.0, "schedule": "constant"},
    "full + discr": {"order": "all", "schedule": "constant"},
    "last": {"order": "last", "factor": 1.0, "schedule": "constant"},
    "chain-thaw": {"order": "chain", "factor": 1.0, "schedule": "constant"},
    "freez": {"factor": 1.0, "schedule": "constant"},
    "freez + cos": {"factor": 1.0, "schedule": "cosine"},
}

# %% [markdown]
# The names of the second list are those of the paper's Table 7: *full* tunes all groups at one constant rate, *discr* gives lower
# groups lower rates, *freez* is gradual unfreezing, *cos* a cosine. Its remaining rows stand in the first list under
# the step they lack. One version needs a head of its own: it reads the last state alone.


# %%
class LastState(PoolingLinearClassifier):
    """fastai's head on the last state of a text, without maximum and mean."""

    def forward(self, input):
        states, padding = input
        pooled = masked_concat_pool(states, padding, self.bptt)[:, : states.shape[-1]]
        return self.layers(pooled), states, states


# %%
def version_learner(seed, labels, tuning="ULMFiT", pooling="concat", direction="forward", kind="films"):
    """The untrained classifier of a version, on the seed's labels and the seed's encoder."""
    name = kept_encoder(seed, tuning, direction, kind) if tuning else None
    set_seed(seed)
    learner = class_learner(films("train", labels, seed), name, direction)
    if pooling == "last":
        head = LastState([ulmfit.shape(direction, "mini")["emb_sz"], 50, 2], [0.12, 0.1], bptt=72)
        learner.model[1] = head
        learner.create_opt()
    return learner


# %%
def version_run(seed, labels, peak, order="gradual", factor=2.6, schedule="slanted", **beginning):
    """Train a version with a peak rate; the learner."""
    learner = version_learner(seed, labels, **beginning)
    fit(learner, epochs_for(labels), peak, factor, schedule, [Thaw(order), NoValidation()])
    return learner


# %%
RATES = (3e-3, 1e-2, 3e-2, 1e-1)


# %%
def search_run(seed, version, rate, labels=128):
    """Validation accuracy of a version with a rate."""
    learner = version_run(100 + seed, labels, rate, **(VERSIONS | TABLE_7)[version])
    return {"validation": measure(learner, labeled(learner, films("validation", 300, 100 + seed)))[0]}


# %%
search = lab.sweep(
    "search",
    search_run,
    [{"version": v, "rate": r, "seed": s} for s in range(2) for v in VERSIONS | TABLE_7 for r in RATES],
    live=lambda s: False,
)


# %%
def best_rates(*sweeps):
    """The rate with the highest mean validation accuracy of each version, and the table of these means."""
    runs = pd.concat([sweep.recorded for sweep in sweeps])
    means = runs.groupby(["version", "rate"])["validation"].mean().unstack()
    return means.idxmax(axis=1), means


# %% [markdown]
# A version whose best rate stands at an end of the list gets one more rate beyond that end.

# %%
first, _ = best_rates(search)
beyond = {
    v: {RATES[0]: 1e-3, RATES[-1]: 3e-1}[first[v]] for v in VERSIONS | TABLE_7 if first[v] in RATES[::3]
}
wider = lab.sweep(
    "search beyond",
    search_run,
    [{"version": v, "rate": r, "seed": s} for s in range(2) for v, r in beyond.items()],
    live=lambda s: False,
)
found, means = best_rates(search, wider)
BEST = {(version, labels): float(found[version]) for version in VERSIONS | TABLE_7 for labels in LABELS}
print(means.loc[list(VERSIONS | TABLE_7)].round(3).to_string(na_rep=""))

# %% [markdown]
# Training from scratch is the baseline of the largest claim, that a few labels replace many. So it gets, and it alone, a
# search of its own for the other numbers of labels.

# %%
scratch_search = lab.sweep(
    "search from scratch",
    search_run,
    [
        {"version": "from scratch", "labels": n, "rate": r, "seed": s}
        for s in range(2) for n in (32, 1024) for r in RATES
    ],
    live=lambda s: False,
)  # fmt: skip
found = scratch_search.recorded.groupby(["labels", "rate"])["validation"].mean()
BEST |= {("from scratch", labels): float(found[labels].idxmax()) for labels in (32, 1024)}
print(found.unstack().round(3).to_string())

# %% [markdown]
# Then the test sets, 300 reviews each, once for every run. **Predict**: order the eight versions by their accuracy
# with 32 labels, on known words and on new words. Which steps matter most when labels are few?


# %%
def tests_of(learner, seed):
    """Accuracy on reviews with known and with new polar words."""
    frames = {"known": films("test", 300, seed), "new": films("test new words", 300, seed)}
    return {name: measure(learner, labeled(learner, frame))[0] for name, frame in frames.items()}


# %%
def step_run(seed, version, labels):
    """Test accuracies of a version."""
    recipe = (VERSIONS | TABLE_7)[version]
    return tests_of(version_run(seed, labels, BEST[version, labels], **recipe), seed)


# %%
steps = lab.sweep(
    "steps",
    step_run,
    [{"version": v, "labels": n, "seed": s} for s in SEEDS for n in LABELS for v in VERSIONS],
    live=lambda s: s["seed"] == 0 and s["labels"] == 128 and s["version"] in ("ULMFiT", "from scratch"),
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(steps, "known", by=["version", "labels"], slack=0.02)
lab.check(steps, "new", by=["version", "labels"], slack=0.02)
table = steps.recorded.groupby(["version", "labels"])[["known", "new"]].mean().unstack("labels")
print(table.loc[list(VERSIONS)].round(2).to_string())


# %%
def of(version, labels, metric="known", sweep=steps):
    """The recorded accuracies of a version, in the order of the seeds."""
    runs = sweep.recorded
    runs = runs[(runs["version"] == version) & (runs["labels"] == labels)].sort_values("seed")
    return runs[metric].to_numpy()


# %% mystnb={"image": {"alt": "Two panels, known and new polar words: accuracy against 32, 128 and 1,024 labels with 95 percent bands for ULMFiT, for ULMFiT without tuning of the language model, and for training from scratch, which stays at one half, a dotted line, for new words."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
fig, axes = plt.subplots(1, 2, sharey=True, figsize=(6.4, 4))
shown = {"ULMFiT": "pretrained", "language model not tuned": "distant", "from scratch": "scratch"}
for ax, metric in zip(axes, ("known", "new"), strict=True):
    for version, color in shown.items():
        intervals = [mean_ci(of(version, labels, metric)) for labels in LABELS]
        band(ax, LABELS, intervals, version, COLORS[color])
        print(metric, version, [round(interval.estimate, 2) for interval in intervals])
    ax.set_xscale("log", base=2)
    ax.set_xticks(LABELS, [str(labels) for labels in LABELS])
    ax.set_title(f"{metric} words")
    ax.set_xlabel("labels")
axes[1].axhline(0.5, color=COLORS["baseline"], linestyle=":")
axes[0].set_ylabel("accuracy")
axes[0].legend(fontsize=10)
show(fig)

# %% tags=["hide-input"]
for labels in LABELS:
    gained = paired_ci(of("ULMFiT", labels), of("from scratch", labels))
    lab.conclude(f"step-pretraining-{labels}", gained, 10)
    tuned = paired_ci(of("ULMFiT", labels), of("language model not tuned", labels))
    lab.conclude(f"step-language-{labels}", tuned, 10)

# %% tags=["hide-input"]
whole = of("ULMFiT", 128, "new")
lab.conclude("step-pretraining-new", paired_ci(whole, of("from scratch", 128, "new")), 10)
lab.conclude("step-language-new", paired_ci(whole, of("language model not tuned", 128, "new")), 10)
lab.conclude("few-labels", paired_ci(of("ULMFiT", 32), of("from scratch", 1024)), 10)
lab.conclude("few-labels-new", paired_ci(of("ULMFiT", 32, "new"), of("from scratch", 1024, "new")), 10)

# %% [markdown]
# The right panel is the point of transfer. Words that no label ever showed are judged as well as those in the labels, and the
# network from scratch guesses at them, be its labels 32 or 1,024. Where training words come back in the test, the left
# panel, labels can replace reading, and the distances are smaller. So the claim that a few labels on a pretrained
# network do the work of many has two answers here. On new words 32 labels beat 1,024 by far. On known words they do not:
# 1,024 labels from scratch are some fourteen points better than the recipe with 32. ULMFiT's own comparison had 100 labels,
# and the next comparison shows that other versions of the recipe do better with 32, if not as well as that.
#
# The tuning of the language model is worth six points with few labels and eight with many, on known words and on new ones. It
# is the one step that the classifier can't make up for, since no label says what *riveting* means.

# %% [markdown]
# ### The steps of the third stage
#
# Now the steps that concern how the classifier is tuned: the order, the rates, the schedule, the pooling.

# %% mystnb={"image": {"alt": "For 32, 128 and 1,024 labels, one panel each, the accuracy that ULMFiT gains by each of four steps, as dots with 95 percent intervals around a vertical line at zero: gradual unfreezing, discriminative rates, slanted rates, pooling of three summaries."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
WITHOUT = {
    "gradual": "all groups at once",
    "discriminative": "one rate for all groups",
    "slanted": "constant rate",
    "pooling": "last state only",
}
fig, axes = plt.subplots(1, 3, sharex=True, sharey=True, figsize=(6.4, 3.4))
for ax, labels in zip(axes, LABELS, strict=True):
    for place, (step, version) in enumerate(WITHOUT.items()):
        gain = paired_ci(of("ULMFiT", labels), of(version, labels))
        ax.plot([100 * gain.low, 100 * gain.high], [place, place], color=COLORS["pretrained"])
        ax.plot(100 * gain.estimate, place, "o", color=COLORS["pretrained"])
        print(
            labels, step, f"{100 * gain.estimate:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] points"
        )
    ax.axvline(0, color=COLORS["exact"], linewidth=1)
    ax.set_title(f"{labels:,} labels")
axes[0].set_yticks(range(len(WITHOUT)), list(WITHOUT))
axes[0].invert_yaxis()
axes[1].set_xlabel("points gained by the step")
show(fig)

# %% tags=["hide-input"]
for labels in LABELS:
    for step, version in WITHOUT.items():
        gain = paired_ci(of("ULMFiT", labels), of(version, labels))
        lab.conclude(f"step-{step}-{labels}", gain, 10)


# %% tags=["hide-input"]
def over_labels(version):
    """Accuracy of a version, mean of the three numbers of labels, for each seed."""
    return np.mean([of(version, labels) for labels in LABELS], axis=0)


lab.conclude("step-1cycle", paired_ci(over_labels("1cycle"), over_labels("ULMFiT")), 10)

# %% [markdown]
# Pretraining and the tuning of the language model gave between six and fifty points. The four steps by which the classifier
# is tuned give less, and two of them take away. With 32 labels, gradual unfreezing costs about five points and the joined
# pooling nine. A guess at the reasons: half of the training passes before all layers may move, and until then
# the head can learn 32 reviews by heart; and three summaries give it three times the numbers to do so, while the last
# state would do, since the verdict comes last. Both differences are gone with 128 labels. The slanted triangle is better
# than a constant rate by almost two points with 128 and 1,024 labels. Discriminative rates gain nothing at any number of labels
# once each version has its own rate; with 1,024 they cost a third of a point.
#
# Is that a contradiction of the paper? It reports these steps together, with 25,000 labels for IMDb, and claims the most
# for the whole. What we see is that steps which protect a pretrained network from its new head have a price when labels are
# few. fastai's 1cycle is as good as the slanted triangle, within two points.

# %% [markdown]
# ### Tables 6 and 7 again, with intervals
#
# Table 6 of the paper varies how the language model is tuned, Table 7 how the classifier is. Ours have 128 labels and ten
# seeds. The published ones have all labels of a data set and one run.


# %%
def table_6_run(seed, tuning):
    """Test accuracies of ULMFiT on a language model that was tuned in another way, 128 labels."""
    return tests_of(version_run(seed, 128, BEST["ULMFiT", 128], tuning=tuning), seed)


# %%
table_6 = lab.sweep(
    "table 6",
    table_6_run,
    [{"tuning": t, "seed": s} for t in ("plain", "discriminative") for s in SEEDS],
    live=lambda s: False,
)
table_7 = lab.sweep(
    "table 7",
    step_run,
    [{"version": v, "labels": 128, "seed": s} for s in SEEDS for v in TABLE_7],
    live=lambda s: s["seed"] == 0 and s["version"] == "full",
)


# %%
def of_tuning(tuning):
    """Accuracies on known words by how the language model was tuned, in the order of the seeds."""
    runs = table_6.recorded
    return runs[runs["tuning"] == tuning].sort_values("seed")["known"].to_numpy()


# %%
def errors(accuracies):
    """Mean error in percent with its interval, as text."""
    interval = mean_ci(100 * (1 - np.asarray(accuracies)))
    return f"{interval.estimate:.1f} [{interval.low:.1f}, {interval.high:.1f}]"


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
OURS_6 = {
    "not tuned": (of("language model not tuned", 128), "6.99"),
    "full": (of_tuning("plain"), "5.86"),
    "full + discr": (of_tuning("discriminative"), "5.55"),
    "full + discr + stlr": (of("ULMFiT", 128), "5.00"),
}
rows = {name: [errors(values), published] for name, (values, published) in OURS_6.items()}
pd.DataFrame(rows, index=["our error, %", "IMDb in Table 6, %"]).T

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
IMDB_7 = {
    "full": 6.87, "full + discr": 5.57, "last": 6.49, "chain-thaw": 5.39, "freez": 6.37,
    "freez + discr": 5.39, "freez + stlr": 5.04, "freez + cos": 5.70, "freez + discr + stlr": 5.00,
}  # fmt: skip
SAME = {
    "freez + discr": "constant rate",
    "freez + stlr": "one rate for all groups",
    "freez + discr + stlr": "ULMFiT",
}
OURS_7 = {v: of(v, 128, sweep=table_7) if v in TABLE_7 else of(SAME[v], 128) for v in IMDB_7}
rows = {name: [errors(values), IMDB_7[name]] for name, values in OURS_7.items()}
pd.DataFrame(rows, index=["our error, %", "IMDb in Table 7, %"]).T

# %% tags=["hide-input"]
lab.check(table_7, "known", by=["version"], slack=0.02)
lab.conclude("table-6-plain", paired_ci(OURS_6["full + discr + stlr"][0], OURS_6["full"][0]), 10)
lab.conclude("table-7-freez", paired_ci(OURS_7["freez"], OURS_7["full"]), 10)
lab.conclude("table-7-all", paired_ci(OURS_7["freez + discr + stlr"], OURS_7["full"]), 10)
lab.conclude("table-7-discr", paired_ci(OURS_7["full + discr"], OURS_7["full"]), 10)
lab.conclude("table-7-chain", paired_ci(OURS_7["chain-thaw"], OURS_7["full"]), 10)
lab.conclude("table-7-last", paired_ci(OURS_7["full"], OURS_7["last"]), 10)
lab.conclude("table-7-cosine", paired_ci(OURS_7["freez + stlr"], OURS_7["freez + cos"]), 10)

# %% tags=["hide-input"]
means = [np.mean(OURS_7[version]) for version in IMDB_7]
lab.conclude("table-7-order", rank_correlation_ci(means, [-error for error in IMDB_7.values()]), 10)

# %% [markdown]
# In our Table 6 the tuning of the language model matters and the way of tuning hardly does: a plainly tuned language model,
# a sixth of a bit worse, makes as good a classifier as far as ten seeds can tell. The paper's steps from 5.86 to 5.00 are of
# a size that we could not have seen.
#
# In our Table 7 the head alone is far behind, as in the paper for TREC-6 and AG, though not for IMDb. The whole recipe is
# better than full tuning, by about a point. But so is gradual unfreezing alone, with or without a cosine. Chain-thaw, the
# better than full tuning for IMDb in the paper, does worst of those that tune everything, and its seeds scatter widely. A
# table with one run in each cell would have shown an order of nine versions, and another order with another seed.

# %% [markdown]
# ### Both directions
#
# The backward network reads a review from its verdict to its opener. ULMFiT tunes a language model and a
# classifier for each direction and averages their probabilities. **Predict**: is the average better than the better
# of the two?


# %%
@torch.no_grad()
def probabilities(learner, frame):
    """The probability of "positive" for the texts of a table, in their order."""
    with learner.no_bar(), learner.no_logging():
        return learner.get_preds(dl=learner.dls.test_dl(frame))[0][:, 1].numpy()


# %%
def both_run(seed, labels=128):
    """Test accuracies of the forward and the backward classifier, and of their mean probability."""
    learners = [
        version_run(seed, labels, BEST["ULMFiT", 128], direction=direction)
        for direction in ("forward", "backward")
    ]
    found = {}
    for metric, split in (("known", "test"), ("new", "test new words")):
        frame = films(split, 300, seed)
        forward, backward = (probabilities(learner, frame) for learner in learners)
        for name, p in (("forward", forward), ("backward", backward), ("both", (forward + backward) / 2)):
            found[f"{name} {metric}"] = float(np.mean((p > 0.5) == frame["label"]))
    return found


# %%
both = lab.sweep(
    "both directions",
    both_run,
    [{"seed": s} for s in SEEDS],
    live=lambda s: False,
)

# %%
both_others = lab.sweep(
    "both directions, other labels",
    both_run,
    [{"labels": n, "seed": s} for s in SEEDS for n in LABELS[::2]],
    live=lambda s: False,
)

# %%
every = pd.concat([both.recorded.assign(labels=128), both_others.recorded]).groupby("labels")
print(every.mean().drop(columns="seed").T.round(3).to_string())

# %% tags=["hide-input"]
lab.conclude("both-directions", paired_ci(both.recorded["both known"], both.recorded["forward known"]), 10)

# %% [markdown]
# The average is better than the forward classifier, as the paper says. And the backward one alone is better than either, by
# fourteen points over forward with 32 labels. It reads the verdict first. A review of films in our world is simpler than a
# real one, and its end says everything; nobody should expect as much on IMDb. (With 32 labels it is about as good as the
# forward network from scratch with 1,024; a backward one from scratch was not tried.) But the lesson is general: before you
# average two models, look at each.

# %% [markdown]
# ## What a leak is worth
#
# Look at any notebook that reaches 94 or 95 percent on IMDb with ULMFiT, fastai's own tutorials included. Its language model
# is tuned on *all* reviews, those of the test set too, since tuning needs no labels. And the test set is what it
# watches after each epoch. Neither is in the paper's protocol for a test set that counts. Is it worth anything?
#
# First the texts. We tune two language models for a seed: on 2,000 unlabeled reviews, or on 1,400 of them and the 600
# reviews of the two test sets, without their labels. **Predict** the gain in accuracy, in points.


# %%
def leaking_texts(seed):
    """2,000 texts, among which are all texts of the seed's tests."""
    tests = [films(split, 300, seed)["text"].tolist() for split in ("test", "test new words")]
    return unlabeled(UNLABELED - 600, seed) + tests[0] + tests[1]


# %%
def leak_run(seed, labels):
    """Test accuracies of ULMFiT whose language model has read the test sets."""
    if not (folder / f"{encoder_name(seed, 'ULMFiT', kind='leaking')}.pth").exists():
        language_run(seed, "ULMFiT", kind="leaking", texts=leaking_texts(seed))
    return tests_of(version_run(seed, labels, BEST["ULMFiT", labels], kind="leaking"), seed)


# %%
leak = lab.sweep(
    "leak",
    leak_run,
    [{"labels": n, "seed": s} for s in SEEDS for n in LABELS[:2]],
    live=lambda s: False,
)

# %% [markdown]
# Then the watching. A training has a rate and a length to choose. An honest choice needs labeled reviews that are
# kept out of the training; ours are 100. The usual notebook reports the best number it has seen on the test set. We watch
# both sets after every eighth of the training with 128 labels, for three of the rates.


# %%
def watch_run(seed, rate):
    """Accuracy on 100 validation and 300 test reviews after every eighth of a training."""
    frames = {"held": films("validation", 100, seed), "known": films("test", 300, seed)}
    _, watch = watched(seed, 128, rate, **frames)
    return {
        f"{name} {eighth}": point[name][0] for eighth, point in enumerate(watch.seen, 1) for name in frames
    }


# %%
watching = lab.sweep(
    "watching",
    watch_run,
    [{"rate": r, "seed": s} for s in SEEDS for r in RATES[1:]],
    live=lambda s: False,
)


# %%
def chosen(runs, by):
    """Test accuracy of the rate and length that are best by the accuracy on `by`; ties go to the longest."""
    columns = [str(eighth) for eighth in range(1, 9)]
    judged = runs[[f"{by} {column}" for column in columns]].to_numpy()
    best = judged.size - 1 - judged.ravel()[::-1].argmax()
    return runs[[f"known {column}" for column in columns]].to_numpy().ravel()[best]


# %%
groups = watching.recorded.groupby("seed")
choices = pd.DataFrame({by: groups.apply(chosen, by, include_groups=False) for by in ("held", "known")})
print(choices.mean().round(3).to_string())

# %% tags=["hide-input"]
lab.conclude("leak-watch", paired_ci(choices["known"], choices["held"]), 10)


# %% tags=["hide-input"]
def seed_means(runs):
    """Mean accuracy over both tests and 32 and 128 labels, for each seed."""
    return runs[["known", "new", "seed"]].groupby("seed").mean().mean(axis=1).to_numpy()


plain_runs = steps.recorded[(steps.recorded["version"] == "ULMFiT") & (steps.recorded["labels"] < 1024)]
lab.conclude("leak-texts", paired_ci(seed_means(leak.recorded), seed_means(plain_runs)), 10)

# %% [markdown]
# Neither leak shows. To have read the texts of the tests gains a point, with an interval from half a point below zero to
# two and a half above: these 600 texts say about the words of films what the 600 in their place would have said. And the best
# of 24 numbers on the test set lies a tenth of a point above the one that validation reviews choose, since nearly
# all good choices here are right on nearly all reviews.
#
# That is no licence. The gain from watching grows with the scatter of what is watched, and ours is small: a task
# that can be solved, and a rate that wins by far. A leak of texts is worth most when the tests have words of their own that
# no other text has, and our unlabeled texts have all words. What one may conclude is less and more: a leak need not make a
# number wrong, but whether it did can only be said by whoever measured without it. The notebooks with 94 to 95 percent did not.

# %% [markdown]
# ## What the classifier looks at
#
# The classifier has seen 128 labels. You know what decides a review in this world: the verdict at its end, and a *not* turns
# the verdict around. Did the classifier find that out, or something that nearly always comes to the same? We ask four
# questions: when does it err, which words move it, when does it make up its mind, and where in the network is the opinion.
#
# ### When it errs
#
# fastai's `ClassificationInterpretation` keeps the loss of every text of a loader. First the table of right and wrong answers
# for 600 test reviews with known words.

# %%
from fastai.interpret import ClassificationInterpretation

# %%
NAMES = ("negative", "positive")
judged = films("test", 600, 50)
judged_loader = class_loaders(films("train", 16, 0), judged, VOCABULARY).valid
with forward_classifier.no_bar(), forward_classifier.no_logging():
    interpretation = ClassificationInterpretation.from_learner(forward_classifier, dl=judged_loader)
    confusion = interpretation.confusion_matrix()
    chances = forward_classifier.get_preds(dl=judged_loader)[0][:, 1].numpy()

# %% mystnb={"image": {"alt": "Confusion matrix of 600 film reviews: rows are the true opinion, columns the classifier's answer, and each of the four cells has its number. The two cells of right answers are dark."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, ax = plt.subplots(figsize=(4.2, 3.3))
ax.imshow(confusion, cmap="Blues", vmin=0, vmax=450)
for (true, said), count in np.ndenumerate(confusion):
    ax.text(said, true, f"{count}", ha="center", va="center", fontsize=16)
ax.set(xticks=(0, 1), xticklabels=NAMES, yticks=(0, 1), yticklabels=NAMES)
ax.set(xlabel="the classifier says", ylabel="the review is")
ax.grid(False)
show(fig)
print(f"of {len(judged)} reviews {np.trace(confusion)} right;", *confusion.tolist())

# %% [markdown]
# Now the reviews with the highest loss, those on which it is most surely wrong. Read them: what do they have in common?

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
losses, worst = interpretation.top_losses(5)
for loss, i in zip(losses.tolist(), worst.tolist(), strict=True):
    print(f"loss {loss:.1f}, {NAMES[judged['label'][i]]}: {judged['text'][i]}")

# %% [markdown]
# Five examples suggest an answer; answers from five examples want counting. The lexicon of the world tells us of each review
# whether its verdict is negated (*in short, it was not bad*) and whether its remarks are mixed, so that one of them says
# the opposite of the verdict. Predict which of the two costs more accuracy.

# %%
from utils.intervals import wilson
from utils.world import lexicon

# %%
SIDES = [
    (lexicon.POSITIVE, lexicon.NEGATIVE),
    (lexicon.POSITIVE_FILMS, lexicon.NEGATIVE_FILMS),
    (lexicon.POSITIVE_VERBS, lexicon.NEGATIVE_VERBS),
]
POLARITY, EXCHANGE = {}, {}
for good, bad in SIDES:
    for praise, blame in zip(" ".join(good.values()).split(), " ".join(bad.values()).split(), strict=True):
        for plus, minus in zip(praise.split("/"), blame.split("/"), strict=True):
            POLARITY |= {plus: 1, minus: -1}
            EXCHANGE |= {plus: minus, minus: plus}
NEGATORS = {"not", "never", "nobody"}


# %%
def sentences_of(words):
    """The sentences of a review, each a list of words without its full stop."""
    return [sentence.split() for sentence in " ".join(words).split(" .")][:-1]


# %%
def opinions(words):
    """What each remark says, by its polar word and a negator: +1 or -1 each, the verdict last."""
    found = []
    for sentence in sentences_of(words):
        signs = [POLARITY[word] for word in sentence if word in POLARITY]
        found += [-sign if NEGATORS.intersection(sentence) else sign for sign in signs]
    return found


# %%
def negated(words):
    """Whether the verdict, the last sentence, is negated."""
    return bool(NEGATORS.intersection(sentences_of(words)[-1]))


# %%
def mixed(words):
    """Whether a remark says the opposite of the verdict."""
    return len(set(opinions(words))) > 1


# %%
judged_words = [text.split() for text in judged["text"]]
verdicts = np.array([opinions(words)[-1] for words in judged_words])
print(f"the verdict gives the label of {np.mean((verdicts > 0) == judged['label']):.0%} of the reviews")

# %% [markdown]
# For what follows we call the network itself, on lists of words, and read one number, the *log-odds* of positive: above
# zero, the answer is positive. It must agree with what fastai's learner says.

# %%
from fastai.text.models.core import masked_concat_pool

from utils.training import pad

# %%
NUMBER = {word: number for number, word in enumerate(VOCABULARY)}
network = forward_classifier.model


# %%
def batches_of(texts, rows=64):
    """Batches of ids of texts of nearly one length, each with the places of its texts."""
    order = np.argsort([len(words) for words in texts], kind="stable")
    for some in np.split(order, range(rows, len(order), rows)):
        ids = [[NUMBER["xxbos"], *(NUMBER[word] for word in texts[i])] for i in some]
        yield some, pad(ids, len(ids[-1]), NUMBER["xxpad"])


# %%
@torch.no_grad()
def pooled_states(network, texts):
    """Last state, maximum and mean of each text, joined: float [texts, 3 * units]."""
    found = [None] * len(texts)
    for some, batch in batches_of(texts):
        for i, pooled in zip(some, masked_concat_pool(*network.eval()[0](batch), 72), strict=True):
            found[i] = pooled
    return torch.stack(found)


# %%
@torch.no_grad()
def odds_of_pooled(network, pooled):
    """Log-odds of "positive" from joined states: float [texts]."""
    logits = network[1].layers(pooled)
    return (logits[:, 1] - logits[:, 0]).numpy()


# %%
def log_odds(network, texts):
    """Log-odds of "positive" for texts, lists of words: float [texts]."""
    return odds_of_pooled(network, pooled_states(network, texts))


# %%
odds = log_odds(network, judged_words)
assert np.allclose(1 / (1 + np.exp(-odds)), chances, atol=1e-4)


# %%
def error_rates(odds, texts, labels):
    """Wrong answers and all of them, for plain and negated verdicts, for agreeing and mixed remarks."""
    wrong = (odds > 0) != np.array(labels, bool)
    turned, opposed = (np.array([test(words) for words in texts]) for test in (negated, mixed))
    kinds = {"plain verdict": ~turned, "negated verdict": turned, "all agree": ~opposed, "mixed": opposed}
    return {name: (int(wrong[which].sum()), int(which.sum())) for name, which in kinds.items()}


# %% mystnb={"image": {"alt": "Error rates with intervals in four rows: reviews with a plain and with a negated verdict, reviews whose remarks all agree and reviews whose remarks are mixed. Agreeing remarks and a plain verdict are near zero, a negated verdict and mixed remarks near a tenth."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
errors = error_rates(odds, judged_words, judged["label"])
fig, ax = plt.subplots(figsize=(6, 2.5))
for place, (name, (wrong, count)) in enumerate(errors.items()):
    rate, color = wilson(wrong, count), COLORS["pretrained" if place < 2 else "scratch"]
    ax.plot([rate.low, rate.high], [-place, -place], color=color)
    ax.plot(rate.estimate, -place, "o", color=color)
    print(f"{name:16} {wrong:3} of {count} wrong: {rate}")
ax.set(yticks=-np.arange(4), yticklabels=list(errors), xlabel="error rate", ylim=(-3.5, 0.5))
ax.set_xlim(left=0)
show(fig)

# %% [markdown]
# When all remarks agree, hardly an answer is wrong. Most errors are in reviews with mixed remarks, and most are in reviews
# with a negated verdict. So the verdict must have weight, or more of the mixed reviews would be wrong; but
# something else has weight, too, and a *not* may be overlooked.
#
# Whether it looks for the verdict at all can be asked more sharply, by a change of one word. Take a review and exchange the
# polar word of its verdict for one of the other side: the label is now the other one. Or put a *not* into a verdict such as
# *in short, it was witty*, or take it out. How often does the answer change, if the classifier understood its task?


# %%
def exchanged(words):
    """The review with the polar word of its verdict exchanged for one of the other side."""
    place = max(i for i, word in enumerate(words) if word in POLARITY)
    return [*words[:place], EXCHANGE[words[place]], *words[place + 1 :]]


# %%
def denied(words):
    """A review that ends with "it was (not) ..." with that "not" put in or taken out; None for another ending."""
    rest, last = words[:-2], words[-2:]
    if rest[-3:] == ["it", "was", "not"]:
        return [*rest[:-1], *last]
    return [*rest, "not", *last] if rest[-2:] == ["it", "was"] else None


# %%
def turned_answers(network, texts, change):
    """Share of the texts that can be changed so, whose answer changes with them."""
    pairs = [(words, change(words)) for words in texts if change(words)]
    before, after = (log_odds(network, side) > 0 for side in zip(*pairs, strict=True))
    return float(np.mean(before != after))


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
print(" ".join(judged_words[0]), "->", " ".join(exchanged(judged_words[0])[-6:]))
for change in (exchanged, denied):
    print(f"{change.__name__:9} {turned_answers(network, judged_words, change):.2f} of the answers change")

# %% [markdown]
# If the verdict decided, every answer would change. Most follow the polar word, though not all, and many stay as they were
# when a *not* comes or goes. The accuracy does not show it. A test set has few reviews whose verdict stands alone against everything before it, and
# we have just written many. McCoy et al. (2020) met the same in large models: equal on the test set, and far apart on
# sentences made so that the usual shortcut fails.
#
# ### Which words move it
#
# There are two ways to ask for the share of each word in an answer. *Leave it out* (Li et al. 2016): how much do the log-odds
# fall when this word is gone? *Gradients*: how fast do they rise if the vector of the word grows a little? The gradient at
# the text itself knows only the next small step. So one takes its mean along a straight path, from a text that says nothing,
# here one in which every word has the mean vector of all words, to the real one. These *integrated gradients* have a
# property that one can check: their sum is the difference between the two ends.


# %%
def left_out(network, words):
    """By how much the log-odds fall when a word is left out: float [words]."""
    every = [words, *(words[:i] + words[i + 1 :] for i in range(len(words)))]
    odds = log_odds(network, every)
    return odds[0] - odds[1:]


# %%
def odds_of_vectors(network, vectors):
    """Log-odds of texts that are given as vectors, float [texts, words, size]."""
    encoder = network.eval()[0].module
    encoder.reset()
    states = encoder(vectors, from_embeds=True)
    logits = network[1]((states, torch.zeros(states.shape[:2], dtype=torch.bool)))[0]
    return logits[:, 1] - logits[:, 0]


# %%
def gradients_in(network, words, steps):
    """Integrated gradients in so many steps, from the mean vector to each word: float [words]; and the sum to reach."""
    vectors = network[0].module.encoder.weight.detach()
    full = vectors[[NUMBER["xxbos"], *(NUMBER[word] for word in words)]]
    empty = torch.cat([full[:1], vectors.mean(0).expand(len(words), -1)])
    along = ((torch.arange(steps) + 0.5) / steps)[:, None, None]
    path = (empty + along * (full - empty)).requires_grad_()
    (slopes,) = torch.autograd.grad(odds_of_vectors(network, path).sum(), path)
    with torch.no_grad():
        low, high = odds_of_vectors(network, torch.stack([empty, full])).tolist()
    return ((full - empty) * slopes.mean(0)).sum(-1)[1:].numpy(), high - low


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
for steps in (4, 16, 64, 256):
    shares, total = gradients_in(network, judged_words[0], steps)
    print(f"{steps:3} steps: the shares add up to {shares.sum():6.2f} of {total:.2f}")


# %%
def gradients(network, words):
    """Integrated gradients, float [words], in as many steps as it takes until they add up."""
    for steps in (32, 64, 128, 256, 512, 1024):
        shares, total = gradients_in(network, words, steps)
        if abs(shares.sum() - total) < 0.1 * max(1, abs(total)):
            return shares
    raise AssertionError("the shares do not add up")


# %% [markdown]
# **Break it** stood in that cell. With too few steps the picture would look as convincing as with enough of them; only the
# sum says that it is wrong, and few programs that draw such pictures print it. So `gradients` takes more steps until the
# sum is right within a tenth, and stops if it never is. Here are two reviews by both
# methods: the first one with mixed remarks that the classifier gets right, and the first one that it gets wrong.


# %% tags=["hide-input"]
def colored_words(ax, words, values, width=46):
    """Words in lines, on orange where they speak for negative, violet for positive, each with its number below."""
    column, line = 0.0, 0
    for word, value in zip(words, values, strict=True):
        room = max(len(word), 4.2)
        if column + room > width:
            column, line = 0.0, line + 1
        shade = np.clip(value / 6, -1, 1)
        place, ink = column + room / 2, "white" if shade > 0.85 else "black"
        box = plt.Rectangle((column - 0.3, -line - 0.45), room + 0.6, 0.9, lw=0)
        box.set_color(plt.cm.PuOr(0.5 + 0.36 * shade))
        ax.add_patch(box)
        ax.text(place, -line + 0.2, word, ha="center", va="center", fontsize=11.5, color=ink)
        ax.text(place, -line - 0.22, f"{value:+.1f}", ha="center", va="center", fontsize=10.5, color=ink)
        column += room + 1
    ax.set(xlim=(-0.5, width + 0.5), ylim=(-3.6, 0.6))
    ax.axis("off")


# %% mystnb={"image": {"alt": "Two reviews, each twice, by leaving out and by gradients: every word on a background from orange, against positive, to violet, for positive, with its number. Polar words, cues and the negator have the strongest colors."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
answered = (odds > 0) == judged["label"]
opposed = [(words, ok) for words, ok in zip(judged_words, answered, strict=True) if mixed(words)]
chosen = [next(words for words, ok in opposed if ok == right) for right in (True, False)]
WAYS = {"left out": left_out, "gradients": gradients}
fig, axes = plt.subplots(4, 1, figsize=(6, 8.2))
for ax, (words, name) in zip(axes, [(w, name) for w in chosen for name in WAYS], strict=True):
    values = WAYS[name](network, words)
    colored_words(ax, words, values)
    ax.set_title(f"{name}; log-odds {log_odds(network, [words])[0]:+.1f}", loc="left", fontsize=12)
    strongest = np.argsort(-np.abs(values))[:4]
    print(f"{name:9}", *(f"{words[i]} {values[i]:+.1f}" for i in strongest))
show(fig)

# %% [markdown]
# Which one should you believe? An explanation is *faithful* if the words it names matter to the network. So take them away,
# those with the highest share in the answer first, and watch the probability of that answer. A method that names the words in
# random order is the measure.


# %%
def deletion(network, words, shares, most=8):
    """Probability of the answer to the whole review when its 0, 1, 2, ... strongest words are gone."""
    answer = np.sign(log_odds(network, [words])[0])
    gone = np.argsort(-answer * shares, kind="stable")
    kept = [[w for i, w in enumerate(words) if i not in gone[:k]] for k in range(most + 1)]
    return 1 / (1 + np.exp(-answer * log_odds(network, kept)))


# %%
def deletion_curves(network, texts, seed):
    """Mean deletion curves of the two methods and of a random order: float [9] each."""
    random = np.random.default_rng(seed)
    ways = {**WAYS, "random": lambda network, words: random.random(len(words))}
    return {
        name: np.mean([deletion(network, words, way(network, words)) for words in texts], axis=0)
        for name, way in ways.items()
    }


# %% [markdown]
# ### Where the opinion is
#
# The head reads the last state, the maximum of each unit and the mean of each unit. Which of them does it use? We replace one
# of the three by its mean over the training, which the batch normalization keeps, for all reviews alike, and look at the
# accuracy. Predict the order of the three, from what decides a review.
#
# All of these measures together make one run. Ten of them start from the same tuned encoder, with other labels each; five more
# have eight times the labels, to see whether more labels teach the classifier what decides.

# %%
PARTS = ("last", "maximum", "mean")
PEAK = 0.1


# %%
def without(network, pooled, part):
    """Joined states with one part replaced by its mean over the training: all that it says about a text is gone."""
    units = pooled.shape[1] // 3
    place = slice(units * PARTS.index(part), units * (PARTS.index(part) + 1))
    pooled = pooled.clone()
    pooled[:, place] = network[1].layers[0][0].running_mean[place]
    return pooled


# %%
def inside_run(seed, labels):
    """Errors by kind, answers that turn with their label, use of the pooled parts, faithfulness, of one classifier."""
    learner = forward_classifier
    if (seed, labels) != (0, 128):
        set_seed(seed)
        learner = class_learner(films("train", labels, seed), kept_encoder(0, "ULMFiT"))
        fit(learner, epochs_for(labels), PEAK, callbacks=[Thaw("gradual"), NoValidation()])
    network, reviews = learner.model, films("test", 300, 100 + seed)
    texts, truth = [text.split() for text in reviews["text"]], reviews["label"].to_numpy()
    pooled = pooled_states(network, texts)
    odds = odds_of_pooled(network, pooled)
    found = {name: wrong / count for name, (wrong, count) in error_rates(odds, texts, truth).items()}
    found["accuracy"] = np.mean((odds > 0) == truth)
    for part in PARTS:
        answers = odds_of_pooled(network, without(network, pooled, part)) > 0
        found[f"without {part}"] = np.mean(answers == truth)
    found |= {change.__name__: turned_answers(network, texts, change) for change in (exchanged, denied)}
    if labels == 128:
        for name, curve in deletion_curves(network, texts[:10], seed).items():
            found |= {f"{name} {k}": value for k, value in enumerate(curve)}
    return found


# %%
inside = lab.sweep(
    "inside",
    inside_run,
    [{"labels": n, "seed": s} for n, count in ((128, 10), (1024, 5)) for s in range(count)],
    live=lambda s: s == {"labels": 128, "seed": 0},
)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
for metric in ("accuracy", "mixed", "left out 4"):
    lab.check(inside, metric, by=["labels"], slack=0.03)
few, many = (inside.recorded[inside.recorded["labels"] == n].sort_values("seed") for n in (128, 1024))
for name in ("accuracy", "plain verdict", "negated verdict", "all agree", "mixed", "exchanged", "denied"):
    print(f"{name:16} 128 labels {mean_ci(few[name])}   1,024 labels {mean_ci(many[name])}")

# %% tags=["hide-input"]
lab.conclude("errors-negated", paired_ci(few["negated verdict"], few["plain verdict"]), 10)
lab.conclude("errors-mixed", paired_ci(few["mixed"], few["all agree"]), 10)
lab.conclude("verdict-turned", mean_ci(few["exchanged"]), 10)
lab.conclude("verdict-turned-labels", paired_ci(many["exchanged"], few["exchanged"][:5]), 5)

# %% [markdown]
# Ten classifiers say the same. They are right in 97 of 100 reviews. With a plain verdict they err once in a hundred times, with
# a negated one eight times; eight times also with mixed remarks, hardly ever without. (We had put the bar for mixed remarks at ten
# points, with a weaker classifier in mind: that statement is contradicted.) Four in five answers turn with the polar word of
# the verdict. About half turn with its *not*, and here the ten differ widely: one follows it nearly always, another in a third of
# the cases. On the test set these two are 99 and 98 percent right, so nobody could tell them apart by their accuracy.
#
# Eight times the labels add two points of accuracy, and far more of what the task is about: 94 of 100 answers turn with the
# polar word, about three in four with the *not*.

# %% mystnb={"image": {"alt": "Left: probability of the answer against the number of words left out, falling fast if the words are chosen by leaving out, somewhat more slowly by gradients and little in random order. Right: accuracy of the whole classifier and without each of the three pooled parts, with intervals; without the last state it is lower, by seven points."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, (left, right) = plt.subplots(1, 2, figsize=(6.2, 3.3))
for name, color, label in (
    ("random", "baseline", "random"),
    ("gradients", "distant", "gradients"),
    ("left out", "pretrained", "leaving out"),
):
    curve = [mean_ci(few[f"{name} {k}"]) for k in range(9)]
    band(left, range(9), curve, label, COLORS[color])
    print(f"{label:11}", *(f"{point.estimate:.2f}" for point in curve))
left.set(xlabel="words gone", ylabel="probability of the answer", ylim=(0, 1.02), xticks=range(0, 9, 2))
left.legend(loc="lower left", fontsize=11)
for place, name in enumerate(("accuracy", *(f"without {part}" for part in PARTS))):
    value = mean_ci(few[name])
    right.plot([value.low, value.high], [-place, -place], color=COLORS["pretrained"])
    right.plot(value.estimate, -place, "o", color=COLORS["pretrained"])
    print(f"{name:16} {value}")
right.set(yticks=-np.arange(4), yticklabels=["all parts", "no last", "no max", "no mean"], xlabel="accuracy")
fig.tight_layout()
show(fig)


# %% tags=["hide-input"]
def area(name):
    """Mean probability of the answer with one to eight words gone, of every run."""
    return np.mean([few[f"{name} {k}"].to_numpy() for k in range(1, 9)], axis=0)


# %% tags=["hide-input"]
lab.conclude("left-out-faithful", paired_ci(area("random"), area("left out")), 10)
lab.conclude("left-out-minus-gradients", paired_ci(area("gradients"), area("left out")), 10)
for part in PARTS:
    lab.conclude(f"pooled-{part}", paired_ci(few["accuracy"], few[f"without {part}"]), 10)

# %% [markdown]
# Both methods name words that matter. With the single word gone that leaving out puts first, the probability of the answer falls
# from near one to about 0.6; eight random words gone do less. After that word its curve is flat for a while, since leaving
# out has tried every deletion of one word and none of two. Gradients come down more slowly, and over all eight steps they stay
# a little behind. There is a catch that the pictures show and the curves do not: leave out the last full stop and the log-odds
# may change a lot. A full stop has no opinion, but a review without one ends as no training review did. A deletion always
# makes a text of a kind that the network has not met, and part of each number is the surprise.
#
# Of the three parts the head uses the last state. Without it the accuracy falls by seven points; without the maximum or the mean
# it does not fall at all, and may even rise by a few tenths of a point, which contradicts two of our three statements. In a world where the verdict comes last this is what one would build, and the head found it. It is
# no advice for longer texts, where the last state has forgotten the beginning.
#
# ### When it makes up its mind
#
# A recurrent network reads one word after the other, so we can stop it at any word and ask. The two reviews of above:


# %%
def odds_by_word(network, words):
    """Log-odds of "positive" after each word of a review: float [words]."""
    return log_odds(network, [words[: i + 1] for i in range(len(words))])


# %% mystnb={"image": {"alt": "The probability of positive after each word of two reviews, a line with the words below it and large dots at the full stops. It wanders below one half through the remarks and rises to near one with the last words of the verdict."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, axes = plt.subplots(2, 1, figsize=(6, 6.6))
for ax, words in zip(axes, chosen, strict=True):
    after = 1 / (1 + np.exp(-odds_by_word(network, words)))
    stops = [i for i, word in enumerate(words) if word == "."]
    ax.plot(after, color=COLORS["pretrained"], linewidth=1.2)
    ax.plot(stops, after[stops], "o", color=COLORS["scratch"], markersize=9)
    ax.axhline(0.5, color=COLORS["baseline"], linewidth=0.8)
    ax.set(xticks=range(len(words)), ylim=(-0.05, 1.05), ylabel="“positive”")
    ax.set_xticklabels(words, rotation=90, fontsize=11)
    print("at the full stops:", *(f"{chance:.2f}" for chance in after[stops]))
fig.tight_layout()
show(fig)

# %% [markdown]
# Between the full stops the line wanders. The classifier has only ever been asked at the end of a review, and in the middle of a
# sentence its answers mean little: a picture of them all looks like a network that changes its mind with every word, and shows
# mostly questions that it was not trained on. At the full stops the line can be read. Follow it through the review that the
# classifier got wrong: at which full stop does it go astray, and which word of that sentence did it pass over?
#
# ### A unit that nobody trained
#
# Radford et al. (2017) looked into a language model of reviews and found a single unit that followed their sentiment, though
# no label had been used. Our language model was tuned without labels as well. Why should it care about opinions? Because at
# the verdict, after *in short , it was*, it has to predict a polar word, and the remarks before say of which kind. So we take
# the states *before the polar word of the verdict*, in all three layers, look for the unit that follows the label best on one
# half of 600 training reviews, and let it judge the other half. The same search in a network with random weights says what
# a search among 800 units finds by itself. Predict both accuracies, with a thought for how often the remarks agree with
# the verdict.


# %%
@torch.no_grad()
def unit_states(encoder, texts):
    """States of the units of all layers after each word and the start: a list of float [words + 1, units]."""
    found, seen = [None] * len(texts), []

    def keep(module, given, out):
        seen.append(out[0])

    hooks = [rnn.register_forward_hook(keep) for rnn in encoder.rnns]
    for some, batch in batches_of(texts):
        seen.clear()
        encoder.eval().reset()
        encoder(batch)
        for i, states in zip(some, torch.cat(seen, -1).numpy(), strict=True):
            found[i] = states[: len(texts[i]) + 1]
    for hook in hooks:
        hook.remove()
    return found


# %%
def verdict_place(words):
    """The place of the polar word of the verdict."""
    return max(i for i, word in enumerate(words) if word in POLARITY)


# %%
def unit_accuracy(units, labels, half):
    """Accuracy of each unit on the texts outside `half`, its sign and threshold taken from `half`: float [units]."""
    high, low = (units[half & (labels == side)].mean(0) for side in (1, 0))
    says = (units[~half] > (high + low) / 2) == (high > low)
    return (says == labels[~half, None].astype(bool)).mean(0)


# %%
def best_unit(units, labels, half):
    """The unit that follows the labels of one half best."""
    sides = units[half] - units[half].mean(0), labels[half] - labels[half].mean()
    return int(np.abs(sides[1] @ sides[0] / np.linalg.norm(sides[0], axis=0).clip(1e-9)).argmax())


# %%
def encoder_with(name):
    """The encoder of a fresh classifier: a tuned language model's by its name, with random weights for None."""
    return class_learner(films("train", 16, 0), name).model[0].module


# %%
PLACES = range(-8, 4)


# %%
def unit_run(seed):
    """The best single unit before the verdict's polar word, in the tuned language model and in random weights."""
    reviews = films("train", 600, 900 + seed)
    texts, labels = [text.split() for text in reviews["text"]], reviews["label"].to_numpy()
    found, half = {}, np.arange(600) < 300
    for name, file in (("tuned", kept_encoder(0, "ULMFiT")), ("random", None)):
        states, ends = unit_states(encoder_with(file), texts), [verdict_place(words) for words in texts]
        pairs = list(zip(states, ends, strict=True))
        at = {k: np.array([x[min(end + k + 1, len(x) - 1)] for x, end in pairs]) for k in PLACES}
        best = best_unit(at[-1], labels, half)
        found |= {f"{name} {k}": unit_accuracy(at[k], labels, half)[best] for k in PLACES} | {name: best}
    remarks = np.array([np.sign(sum(opinions(words)[:-1])) for words in texts])
    return found | {"remarks": np.mean(0.5 + 0.5 * remarks * np.where(labels, 1, -1))}


# %%
units = lab.sweep("unit", unit_run, [{"seed": s} for s in SEEDS], live=lambda s: s["seed"] == 0)

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the check holds them"
lab.check(units, "tuned -1", by=[], slack=0.02)
for name in ("tuned -1", "random -1", "remarks"):
    print(f"{name:10} {mean_ci(units.recorded[name])}")
favorites, times = np.unique(units.recorded["tuned"].astype(int), return_counts=True)
print("chosen in ten samples:", dict(zip(favorites.tolist(), times.tolist(), strict=True)))

# %% tags=["hide-input"]
tuned_unit, random_unit = (units.recorded[f"{name} -1"] for name in ("tuned", "random"))
lab.conclude("unit-tuned-minus-random", paired_ci(tuned_unit, random_unit), 10)

# %% mystnb={"image": {"alt": "Accuracy of the chosen unit against the place of reading, from eight words before the polar word of the verdict to three after it, with intervals; the line of the tuned language model lies between seven and eight tenths nearly everywhere, close below the majority of the remarks; that of random weights stays near one half."}} tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
fig, ax = plt.subplots(figsize=(6, 3.4))
drawn = {"tuned": ("language model, no labels", "lstm"), "random": ("random weights", "baseline")}
for name, (label, color) in drawn.items():
    curve = [mean_ci(units.recorded[f"{name} {k}"]) for k in PLACES]
    band(ax, PLACES, curve, label, COLORS[color])
    print(f"{name:7}", *(f"{point.estimate:.2f}" for point in curve))
agreeing = units.recorded["remarks"].mean()
ax.axhline(agreeing, color=COLORS["exact"], linestyle=":", label="majority of the remarks")
ax.axvline(0, color=COLORS["baseline"], linewidth=0.8)
ax.set(xlabel="words after the polar word of the verdict", ylabel="accuracy of the unit", ylim=(0.4, 0.95))
ax.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=11)
show(fig)

# %% [markdown]
# Three times in four this unit is right before the verdict has said anything, where random weights give a coin. What could be
# known at this place is what the majority of the remarks says, five times in six. In most samples it was the same unit, of the
# first layer, and it is not tied to one place: it holds the opinion over the words before as well. What the language model
# needs for its predictions it keeps, and a classifier finds it there.
#
# In Lab 2 the same search found next to nothing in the AWD-LSTM of Lab 1, though it was asked after the verdict. The search was
# no better here. The network was: the one knows that *sadly* announces a negative word, and the other does not.

# %% [markdown]
# ## Real reviews
#
# So far everything happened in a world of two thousand words. ULMFiT became known for what it does on IMDb (Maas et al.
# 2011): 25,000 labeled film reviews to train on, 25,000 to test on, 50,000 more without a label, all written by people.
# Its error was 4.6 percent, that of the best system before it 5.9. Nothing in the functions above is made for our world, so
# they can read IMDb as it is. What the profile `mini` cannot have is ULMFiT's network, which had read WikiText-103, whole
# articles of Wikipedia. Ours has read six million words of the course world. How far does it get?
#
# The numbers of this section are recorded, on a sample of IMDb: 1,000 of its training reviews and 1,000 of its test
# reviews, half of them negative, and no unlabeled ones. The text may not be handed on, so the lab does not bring it
# along. If you have it, point `COURSE_DATA` to its folder. One thing needs no data: how does fastai read a review as
# people write it, and what is left of it when only words of our world are known? **Predict** which of the words below our
# network has read before.

# %%
from fastai.text.all import tokenize1
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# %%
from utils import imdb, minilm
from utils.intervals import wilson

# %%
OWN_REVIEW = (
    "I can't believe this got 7/10!!!! The plot is ABSURD, the actors look bored.<br /><br />"
    "Still, my wife loved it: a warm little film, and (sadly) the last one Anna Bell made."
)


# %%
def imdb_pretrained_words():
    """The words that the pretrained language model has a row for, fastai's marks left out."""
    _, name = ulmfit.pretrained("forward", folder)
    return set(ulmfit.words(folder / f"{name}.pkl")) - set(defaults.text_spec_tok)


# %%
imdb_known = imdb_pretrained_words()
imdb_tokens = tokenize1(ulmfit.frame([OWN_REVIEW]).text[0], spacy_words)
print(*imdb_tokens[:24], "\n", *imdb_tokens[24:])
imdb_marks = [token for token in imdb_tokens if token in defaults.text_spec_tok]
print("known:", *(token for token in imdb_tokens if token in imdb_known))
imdb_count = sum(token in imdb_known for token in imdb_tokens)
print(f"{len(imdb_tokens)} tokens, {len(imdb_marks)} marks, {imdb_count} known")

# %% [markdown]
# The line breaks of HTML are gone before fastai sees the text, and the marks of the first section say where there were
# capitals and four exclamation marks. The marks themselves are in the pretrained vocabulary, too, and mean nothing to
# the network: the course world has no capitals, so it has never read one. What it knows is the grammar between
# the words, and a few of the opinions.
#
# The profile `full` runs the same cells with the network of WikiText-103 and with all 100,000 reviews. It first says what
# this will cost on the machine it is on, before any of it is spent.

# %%
FULL = settings.profile() == "full"
IMDB_DEVICE = settings.device("weeks for all of IMDb") if FULL else torch.device("cpu")
IMDB_PASSES = 10 if FULL else 4


# %%
@lru_cache(maxsize=3)
def imdb_table(split):
    """The reviews of a split as a table; in the full profile a sample without "unsup" is possible, and announced."""
    try:
        return ulmfit.frame(imdb.reviews(split))
    except CourseError as missing:
        if split != "unsup":
            raise
        print(f"{missing} The language model is tuned on the labeled training reviews alone.")
        return pd.DataFrame({"text": []})


# %%
IMDB_LABELS, IMDB_TESTED = (len(imdb_table(split)) if FULL else 1000 for split in ("train", "test"))


# %%
@lru_cache(maxsize=1)
def imdb_loaders():
    """Loaders for the language model: every training review, never a test review; a tenth is held back."""
    texts = list(imdb_table("train").text) + (list(imdb_table("unsup").text) if FULL else [])
    return language_loaders(texts, width=72, rows=64 if FULL else 32, device=IMDB_DEVICE)


# %%
def imdb_announce():
    """Measure one update of the language model and say what all of them will take."""
    import time

    batches = imdb_loaders().train
    learner, (ids, targets) = (
        language_learner(imdb_loaders(), profile=settings.profile()),
        batches.one_batch(),
    )
    start = time.perf_counter()
    for _ in range(2):
        learner.loss_func(learner.model(ids)[0], targets).backward()
        learner.model.zero_grad()
    hours = (time.perf_counter() - start) / 2 * len(batches) * IMDB_PASSES / 3600
    print(f"{len(batches):,} batches of {batches.bs * batches.seq_len:,} tokens, {IMDB_PASSES} passes,")
    print(f"about {hours:.1f} hours for a language model on {IMDB_DEVICE.type}; there are two of them")
    print("and the classifiers; downloaded are IMDb (84 MB) and the language model of WikiText-103")


# %% tags=["nbval-ignore-output"] reason="the time of this machine"
if FULL:
    imdb_announce()

# %% [markdown]
# ### The language model meets IMDb
#
# A fifth of a film review in our world was new to the pretrained network. How much of a real one is? And does it help to have
# read about another world? Two language models are tuned on the training reviews, one from the pretrained weights, the
# other from random ones, with a vocabulary of all words that occur at least three times. Both get the same passes over
# the text, and the same rates to choose from, each tried for one pass over 500 reviews. **Predict**: how many bits
# a word will the pretrained one save in the end?

# %%
IMDB_STARTS = ("pretrained", "random")
IMDB_LANGUAGE_RATES = (3e-3, 1e-2, 3e-2, 1e-1)  # the last was added: of three, the largest was best


# %%
def imdb_words_run():
    """Shares that the pretrained vocabulary covers: of the tokens of the training reviews, of their vocabulary."""
    known, marks = imdb_pretrained_words(), {*defaults.text_spec_tok[1:], "xxfake"}
    data = imdb_loaders()
    tokens = [data.vocab[i] for (ids,) in [*data.train_ds, *data.valid_ds] for i in ids.tolist()]
    words = [token for token in tokens if token not in marks]
    vocabulary = set(data.vocab) - marks - {"xxunk"}
    return {
        "tokens": len(tokens),
        "known tokens": float(np.mean([word in known for word in words])),
        "vocabulary": len(vocabulary),
        "known words": len(vocabulary & known),
        "unknown to both": tokens.count("xxunk") / len(tokens),
    }


# %%
imdb_words = lab.sweep("IMDb words", imdb_words_run, [{}], live=lambda s: False).recorded.iloc[0]
print(f"{imdb_words['tokens']:,.0f} tokens, {imdb_words['vocabulary']:,.0f} words")
print(f"known to the pretrained network: {imdb_words['known words']:,.0f} words,", end=" ")
print(f"{imdb_words['known tokens']:.0%} of the tokens")


# %%
def imdb_language_search_run(seed, start, rate):
    """Nats per token on held-out reviews after one pass over 500 training reviews."""
    texts = list(imdb_table("train").text.sample(500, random_state=seed))
    learner = language_learner(
        language_loaders(texts, imdb_loaders().vocab, width=72), start=start, profile=settings.profile()
    )
    fit(learner, 1, rate, callbacks=[NoValidation()])
    with learner.no_bar(), learner.no_logging():
        return {"nats": learner.validate()[0]}


# %%
imdb_language_search = lab.sweep(
    "IMDb language search",
    imdb_language_search_run,
    [{"start": a, "rate": r, "seed": 0} for a in IMDB_STARTS for r in IMDB_LANGUAGE_RATES if not FULL],
    live=lambda s: False,
)
IMDB_LANGUAGE_BEST = dict.fromkeys(IMDB_STARTS, 1e-2)  # full: not searched
if not FULL:
    found = imdb_language_search.recorded.groupby(["start", "rate"])["nats"].mean()
    IMDB_LANGUAGE_BEST = {start: float(found[start].idxmin()) for start in IMDB_STARTS}
    print(found.unstack().round(2).to_string())


# %%
@torch.no_grad()
def imdb_bits(learner):
    """Bits per token of the first 100 held-out reviews, in ten parts of ten reviews."""
    model, parts = learner.model.eval(), []
    reviews = [ids.as_subclass(torch.Tensor).to(IMDB_DEVICE) for (ids,) in learner.dls.valid_ds][:100]
    for part in range(10):
        nats = tokens = 0
        for ids in reviews[part::10]:
            model.reset()
            logits = model(ids[None, :-1])[0][0]
            nats += torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum").item()
            tokens += len(ids) - 1
        parts.append(nats / tokens / math.log(2))
    return parts


# %%
def imdb_language_model(start):
    """Tune a language model on the training reviews, and keep its encoder; in `full` it goes on after a kill."""
    set_seed(0)
    kept = settings.root() / "_build" / "ulmfit" / f"{start}.state"
    learner = language_learner(imdb_loaders(), start=start, profile=settings.profile())
    if start == "pretrained":
        ulmfit.save_encoder(learner, "imdb-untuned")
    callbacks = [NoValidation(), *([ulmfit.Resume(kept)] if FULL else [])]
    fit(learner, IMDB_PASSES, IMDB_LANGUAGE_BEST[start], callbacks=callbacks)
    ulmfit.save_encoder(learner, f"imdb-{start}")
    return learner


# %%
def imdb_language_run(start):
    """Bits per token of a tuned language model, over all and in ten parts."""
    parts = imdb_bits(imdb_language_model(start))
    return {"bits": float(np.mean(parts)), **{f"part {k}": parts[k] for k in range(10)}}


# %%
imdb_language = lab.sweep(
    "IMDb language", imdb_language_run, [{"start": a} for a in IMDB_STARTS], live=lambda s: False
)


# %%
def imdb_parts(runs, **chosen):
    """The ten parts of a measure, the mean over the runs that fit: float [10]."""
    fits = np.all([runs[key] == value for key, value in chosen.items()], axis=0)
    return runs[fits][[f"part {k}" for k in range(10)]].mean().to_numpy()


# %%
imdb_bits_of = {start: imdb_parts(imdb_language.recorded, start=start) for start in IMDB_STARTS}
for start, parts in imdb_bits_of.items():
    print(f"{start:10} {mean_ci(parts)} bits per token of held-out reviews")

# %% tags=["hide-input"]
saved = paired_ci(imdb_bits_of["random"], imdb_bits_of["pretrained"])
print(f"saved: {saved}") if FULL else lab.conclude("imdb-world-bits", saved, 1)

# %% [markdown]
# Half of what people write is made of a few hundred words that our world has, too, most of them small ones: *the*, *a*,
# *was*, the comma. The other half is new, and starts with one and the same vector. Still the world was worth reading. After
# the same passes over the same reviews, the language model that came from it needs fewer bits per token. A guess at what it
# brought along: where an article, a verb or an adjective goes, for English in our world and on IMDb agree about that.
#
# Both are poor models of the text, at nearly seven bits per token. A network of this kind wants millions of words, and we had
# some hundred thousand. Whether a classifier can use what was learned is another question.
# %% [markdown]
# ### The classifier, and what stands beside it
#
# Six ways to use the same 1,000 labels. *Whole recipe*: pretrained, language model tuned, classifier tuned with gradual
# unfreezing, discriminative and slanted rates. *Not tuned* leaves the language model as it came. *No pretraining* has its
# language model from IMDb alone. *Random weights* has only the labels. Beside the networks stand two that need no tuning:
# logistic regression on the weighted counts of a review's words, and on the mean state of MiniLM, an encoder
# that has read real English, and is frozen here. MiniLM reads 512 word pieces and no more: about a tenth of the reviews
# are cut.
#
# Every network tries three rates, and more where the best stands at an end of the list, with 400 labels and 200 validation reviews, all of the training set, and its classifier
# gets about the 128 batches of the sections above. Each logistic regression chooses its penalty by cross-validation on its
# own labels. Then the test reviews are read, once. Each network is trained three times; of the two language models
# there is one each.
#
# **Predict** the order of the six.

# %%
IMDB_RATES = (1e-2, 3e-2, 1e-1)
IMDB_BEYOND = {  # beyond the end of the list at which the best rate stood
    "whole recipe": (3e-3,),
    "not tuned": (3e-3,),
    "no pretraining": (3e-1,),
    "random weights": (1e-3, 3e-3),
}
IMDB_METHODS = {
    "whole recipe": {"encoder": "pretrained"},
    "not tuned": {"encoder": "untuned"},
    "no pretraining": {"encoder": "random"},
    "random weights": {"encoder": None, "order": "all", "factor": 1.0},
}
IMDB_FEATURES = ("MiniLM", "words")


# %%
def imdb_draw(labels, seed, start=0):
    """`labels` training reviews, drawn by the seed (the whole table comes in a new order, `start` skips some)."""
    order = np.random.default_rng(seed).permutation(len(imdb_table("train")))
    return imdb_table("train").iloc[order[start : start + labels]].reset_index(drop=True)


# %%
def imdb_classifier(train, seed, encoder):
    """A fastai classifier on an encoder of `imdb_language_model`, or on random weights."""
    vocabulary = imdb_loaders().vocab
    set_seed(seed)
    learner = text_classifier_learner(
        class_loaders(train, train.head(2), vocabulary, rows=BATCH, device=IMDB_DEVICE),
        AWD_LSTM,
        config=awd_lstm_clas_config | ulmfit.shape("forward"),
        drop_mult=0.3,
        pretrained=False,
        path=folder,
        model_dir=".",
    )
    if encoder and not (folder / f"imdb-{encoder}.pth").exists():
        imdb_language_model("random" if encoder == "random" else "pretrained")
    if encoder:
        ulmfit.load_encoder(learner, f"imdb-{encoder}")
    learner.unfreeze()
    return learner


# %%
def imdb_train(train, seed, rate, encoder, order="gradual", factor=2.6):
    """Train a classifier: 1,000 reviews are read twice, fewer more often."""
    learner = imdb_classifier(train, seed, encoder)
    passes = 4 if FULL else max(2, 1200 // len(train))
    set_seed(seed)
    fit(learner, passes, rate, factor, callbacks=[Thaw(order), NoValidation()])
    return learner


# %%
def imdb_right(learner, frame):
    """For each review of a table, in its order, whether the classifier is right: bool [reviews]."""
    with learner.no_bar(), learner.no_logging():
        shares, labels = learner.get_preds(dl=learner.dls.test_dl(frame, with_labels=True, bs=64))
    return (shares.argmax(1) == labels).numpy()


# %%
def imdb_search_run(seed, method, rate):
    """Validation accuracy of a network with a rate: 400 labels, 200 other training reviews."""
    learner = imdb_train(imdb_draw(400, 100 + seed, 200), 100 + seed, rate, **IMDB_METHODS[method])
    return {"validation": float(imdb_right(learner, imdb_draw(200, 100 + seed)).mean())}


# %%
imdb_search = lab.sweep(
    "IMDb search",
    imdb_search_run,
    [
        {"method": m, "rate": r, "seed": 0}
        for m in IMDB_METHODS
        for r in (*IMDB_RATES, *IMDB_BEYOND.get(m, ()))
        if not FULL
    ],
    live=lambda s: False,
)
IMDB_BEST = dict.fromkeys(IMDB_METHODS, 1e-2)  # full: not searched
if not FULL:
    found = imdb_search.recorded.groupby(["method", "rate"])["validation"].mean()
    IMDB_BEST = {method: float(found[method].idxmax()) for method in IMDB_METHODS}
    print(found.unstack().loc[list(IMDB_METHODS)].round(3).to_string())


# %%
@lru_cache(maxsize=2)
def imdb_states(split):
    """MiniLM's mean state of every review of a split, by the review's text."""
    texts = list(dict.fromkeys(imdb_table(split).text))
    return dict(zip(texts, minilm.encode(texts, batch_size=16), strict=True))


# %%
def imdb_features(method, frame, split):
    """What a logistic regression reads of a table of reviews: texts, or states float [reviews, 384]."""
    return frame.text if method == "words" else np.stack([imdb_states(split)[text] for text in frame.text])


# %%
def imdb_logistic(method):
    """Logistic regression whose penalty is chosen by five-fold cross-validation."""
    first = TfidfVectorizer(sublinear_tf=True, min_df=2) if method == "words" else StandardScaler()
    search = GridSearchCV(LogisticRegression(max_iter=5000), {"C": np.logspace(-3, 3, 7)}, cv=5)
    return make_pipeline(first, search)


# %%
def imdb_run(seed, method, labels):
    """Accuracy on all test reviews, and on each of ten parts of them."""
    train, test = imdb_draw(labels, seed), imdb_table("test")
    if method in IMDB_FEATURES:
        logistic = imdb_logistic(method).fit(imdb_features(method, train, "train"), train.label)
        right = logistic.predict(imdb_features(method, test, "test")) == test.label
    else:
        right = imdb_right(imdb_train(train, seed, IMDB_BEST[method], **IMDB_METHODS[method]), test)
    right = np.asarray(right, dtype=float)
    return {"accuracy": right.mean(), **{f"part {k}": right[k::10].mean() for k in range(10)}}


# %%
IMDB_FEW = [
    {"method": m, "labels": 100, "seed": s} for m in ("words", "MiniLM", "whole recipe") for s in range(5)
]
imdb_results = lab.sweep(
    "IMDb",
    imdb_run,
    [{"method": m, "labels": IMDB_LABELS, "seed": 0} for m in IMDB_FEATURES]
    + [{"method": m, "labels": IMDB_LABELS, "seed": s} for s in range(1 if FULL else 3) for m in IMDB_METHODS]
    + ([] if FULL else IMDB_FEW),
    live=lambda s: False,
)


# %%
def imdb_interval(method, labels=IMDB_LABELS):
    """Accuracy with its interval: over the runs, or, where there is one, Wilson's over the test reviews."""
    runs = imdb_results.recorded
    values = runs[(runs["method"] == method) & (runs["labels"] == labels)].sort_values("seed")["accuracy"]
    return mean_ci(values) if len(values) > 1 else wilson(round(values.iloc[0] * IMDB_TESTED), IMDB_TESTED)


# %%
IMDB_SHOWN = (*IMDB_METHODS, *IMDB_FEATURES)
for method in IMDB_SHOWN:
    print(f"{method:15} {imdb_interval(method)}")
if not FULL:
    for setting in IMDB_FEW[::5]:
        print(f"100 labels, {setting['method']:13} {imdb_interval(setting['method'], 100)}")

# %%
IMDB_PUBLISHED = {
    "ULMFiT, one model": 94.70,
    "ULMFiT, both directions": 95.42,
    "fastai's notebook": 95.4,
    "XLNet": 96.21,
}
IMDB_ROLES = dict(
    zip(IMDB_SHOWN, ("pretrained", "frozen", "supervised", "scratch", "distant", "baseline"), strict=True)
)

# %% mystnb={"image": {"alt": "Accuracy on IMDb test reviews across, a row for each of six methods with a dot and its interval, and below a line four published accuracies as gray diamonds close to 95 percent, far to the right of all networks of the course."}}
fig, ax = plt.subplots(figsize=(6, 4.4))
for row, method in enumerate(IMDB_SHOWN):
    found, color = imdb_interval(method), COLORS[IMDB_ROLES[method]]
    ax.plot([100 * found.low, 100 * found.high], [-row] * 2, color=color, linewidth=3)
    ax.plot(100 * found.estimate, -row, "o", color=color, markersize=8)
ax.axhline(-len(IMDB_SHOWN) + 0.5, color=COLORS["baseline"], linewidth=0.8)
places = [-row - len(IMDB_SHOWN) for row in range(len(IMDB_PUBLISHED))]
ax.plot(list(IMDB_PUBLISHED.values()), places, "D", color=COLORS["baseline"], markersize=7)
labels = [*(f"{m}" for m in IMDB_SHOWN), *(f"{m} *" for m in IMDB_PUBLISHED)]
ax.set(yticks=[-row for row in range(len(labels))], yticklabels=labels, xlim=(45, 100))
ax.axvline(50, color=COLORS["exact"], linewidth=0.8, linestyle=":")
ax.set_xlabel("accuracy on test reviews, % (* published)")
show(fig)
print({method: f"{imdb_interval(method).estimate:.1%}" for method in IMDB_SHOWN}, IMDB_PUBLISHED)


# %%
def imdb_tested(method):
    """Accuracy of a method with all labels on ten parts of the test reviews, mean over its runs: float [10]."""
    return imdb_parts(imdb_results.recorded, method=method, labels=IMDB_LABELS)


# %%
def imdb_few(method):
    """Accuracy with 100 labels on all test reviews, by draw of the labels: float [5]."""
    runs = imdb_results.recorded
    return (
        runs[(runs["method"] == method) & (runs["labels"] == 100)].sort_values("seed")["accuracy"].to_numpy()
    )


# %% tags=["hide-input"]
whole, one = imdb_tested("whole recipe"), 1 if FULL else 3
IMDB_ROWS = {
    "imdb-recipe-minus-scratch": paired_ci(whole, imdb_tested("random weights")),
    "imdb-language-model-tuning": paired_ci(whole, imdb_tested("not tuned")),
    "imdb-pretraining": paired_ci(whole, imdb_tested("no pretraining")),
    "imdb-recipe-minus-words": paired_ci(whole, imdb_tested("words")),
    "imdb-english-minus-recipe": paired_ci(imdb_tested("MiniLM"), whole),
    "imdb-distance": mean_ci(whole),
}
for name, interval in IMDB_ROWS.items():  # the statements are about the sample and the course's network
    print(f"{name}: {interval}") if FULL else lab.conclude(name, interval, one)
if not FULL:
    lab.conclude("imdb-few-labels", paired_ci(imdb_few("whole recipe"), imdb_few("words")), 5)

# %% [markdown]
# These intervals are over parts of the test set: they say what other reviews would have given, with the trainings we have.
# Three trainings each are few. What does the spread between them say about the two small differences?


# %%
def imdb_runs(method):
    """Accuracy of each run of a method with all labels, by seed."""
    runs = imdb_results.recorded
    chosen = runs[(runs["method"] == method) & (runs["labels"] == IMDB_LABELS)]
    return chosen.sort_values("seed")["accuracy"].to_numpy()


# %%
if not FULL:
    for method in ("not tuned", "no pretraining", "random weights"):
        over_seeds = paired_ci(imdb_runs("whole recipe"), imdb_runs(method))
        print(f"whole recipe minus {method}, over seeds: {over_seeds}")

# %% [markdown]
# The recipe works, and it is of no use here. It is thirteen points better than the same network from random weights, which
# has not learned anything in these few updates. Leaving out the tuning of the language model, or the pretraining, costs
# about four points each. For these two the evidence is weaker than the rows make it look. The intervals over test
# reviews are above zero, but over the three trainings both reach below it.
#
# And then a bag of words, fitted in a second, is right about five reviews of six, where the recipe is right about
# fewer than two of three. With 100 labels it is the same at a lower level. *The recipe beats a bag of words* is
# **contradicted** here, twice. Compare with the sections above. There, the network had read six million words of the
# language of its task, all but a fifth of every review was known to it, and a review had one verdict in thirty words. Here it
# knows every second token, has 1,000 reviews to learn thousands of other words from, and must find the opinion
# in three hundred tokens. For a word that it saw three times, logistic regression needs one number, and the network 160,
# which then have to pass through all its layers.
#
# MiniLM has read real English, and lies far above the recipe without changing a weight. It, too, is behind the
# words in this sample. One guess at the reasons: its states were made to say what a sentence is about, they are an average
# over a whole review, and the end of the longest reviews, where verdicts stand, is cut off.
#
# Why are the published numbers so far away (XLNet's is second-hand)? They
# have 25,000 labels where we have 1,000, up to 100,000 reviews for the language model where we have 1,000, a wider network
# (1,152 units in a layer of fastai's, 320 in ours), pretraining on real articles, and many more passes. Several of these could
# matter by themselves, and our runs cannot say how much each of them does. The profile `full` changes all of them: it takes
# the other network, all labels and all reviews.

# %% [markdown]
# ## Keep it and call it
#
# A trained classifier lives in the memory of this session. fastai keeps it in one line: `learner.export` writes a file, and
# `load_learner` makes a learner of the file again, in another program or on another machine. **Predict**: what does that
# other machine do while it reads the file?

# %%
import json
import pickle
import pickletools
import re
import zipfile

# %%
from fastai.callback.tracker import SaveModelCallback

from utils.errors import CourseError

# %% tags=["nbval-ignore-output"] reason="what a pickle asks for depends on the versions of Python and of its packages"
forward_classifier.export("export.pkl")
with zipfile.ZipFile(folder / "export.pkl") as exported:
    inside = next(name for name in exported.namelist() if name.endswith("data.pkl"))
    pickle_steps = [(step.name, value) for step, value, _ in pickletools.genops(exported.read(inside))]
asked_for = sorted({value for step, value in pickle_steps if step == "GLOBAL"})
made = sum(step in ("REDUCE", "NEWOBJ") for step, _ in pickle_steps)
print(f"{len(asked_for)} functions and classes are asked for, with {made} calls, among them:")
print(*(name.replace(" ", ".") for name in asked_for if "Avg" in name or "kle" in name), sep="\n")

# %% [markdown]
# The file is a *pickle*, and a pickle doesn't describe an object; it is a program that builds one: fetch this function,
# call it with that, put the result there. Here all calls build parts of a learner. But a pickle can fetch any function
# that Python can import, and whoever writes the file chooses. A vocabulary, for instance, is a list of words, and fastai's
# pretrained vocabularies are published as pickles. This one comes from a stranger.


# %%
class Stranger:
    """Pickled, it is a request to call `print`; it could be any call."""

    def __reduce__(self):
        return print, ("(this line was printed by a file of words)",)


# %%
strange = folder / "itos_strange.pkl"
strange.write_bytes(pickle.dumps(["xxunk", "xxpad", "film", Stranger()]))
pickle.loads(strange.read_bytes())

# %% [markdown]
# The list arrived, and on the way the file did what it liked; to look into the list afterwards is too late. So the course
# reads vocabularies with a reader that knows lists and words and refuses at the first request for anything else.
# `torch.load(..., weights_only=True)` does the same for weights. What `ulmfit.pretrained` hands to fastai, which unpickles
# freely, it has read in this way and written itself.


# %%
def keep_mistake(mistake):
    """Make a mistake and print the one sentence that follows, without the name of this session's folder."""
    try:
        mistake()
    except CourseError as error:
        print(str(error).replace(f"{folder}/", ""))
    else:
        raise AssertionError("nobody noticed")


# %%
keep_mistake(lambda: ulmfit.words(strange))

# %% [markdown]
# Never load a stranger's `export.pkl`, then, and don't ask others to load yours. What is a classifier without the code?
# Names and numbers: the vocabulary, the classes, the sizes, the weights. The first three fit into JSON. The weights fit into
# `safetensors`, a format with no place for a request: the length of a header; the header, which gives the type, shape and
# place of each tensor; the numbers.

# %%
ulmfit.save(forward_classifier, folder / "films")
raw = (folder / "films" / "model.safetensors").read_bytes()
header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
for name in ("0.module.encoder.weight", "1.layers.1.2.weight"):
    print(name, header[name]["dtype"], header[name]["shape"])
print(len(header), "tensors,", len(raw) // 1000, "kB")

# %% [markdown]
# The code comes from the reader's own fastai. To call the classifier takes no learner, data or optimizer. Does it say what
# the learner says?

# %%
kept = ulmfit.load(folder / "films")
judged_again = films("test", 300, 0)
with forward_classifier.no_bar(), forward_classifier.no_logging():
    by_learner = forward_classifier.get_preds(dl=forward_classifier.dls.test_dl(judged_again))[0][:, 1]
by_kept = [kept(text)[1] for text in judged_again["text"]]
assert np.allclose(by_kept, by_learner, atol=1e-5)

# %% [markdown]
# It does. Now texts as people would send them. Some write capitals and no space before a comma, which fastai's rules turn
# into marks such as `xxmaj` that no training review had. Others leave out the story and send the verdict alone, the
# last sentence, on which the label depends and nothing else. **Predict** the accuracy on the same 300 test
# reviews in these two forms.


# %%
def as_written(text):
    """The text with capitals, and with no space before commas and full stops."""
    text = re.sub(r" ([.,])", r"\1", text)
    return re.sub(r"(^|\. )(\w)", lambda found: found[1] + found[2].upper(), text)


# %%
def verdict_only(text):
    """The last sentence."""
    return text.rstrip(" .").rpartition(" . ")[2] + " ."


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
for form in (str, as_written, verdict_only):
    positive = np.array([kept(form(text))[1] for text in judged_again["text"]]) > 0.5
    right = np.mean(positive == judged_again["label"])
    print(f"{right:.2f} right, {positive.mean():.2f} called positive: {form(judged_again['text'][0])}")

# %% [markdown]
# The capitals cost little: the marks have vectors of their own, but these were hardly trained and say nothing. The verdict
# alone is all that is needed, and nearly all that the classifier needs; a little is lost, and it leans
# toward *positive*, for it has never seen so short a text. A test set drawn like the training set, as ours was, can't show
# either. Of the third text below it should be sure: see whether it is. And a classifier always answers, also to words
# that it has never read:

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
OWN_TEXTS = (
    "In short, it was gripping.",
    "In short, it was tedious.",
    "We saw a sequel. Sadly, the pacing was wooden. All in all, a gripping sequel.",
    "Colorless green ideas sleep furiously.",
)
for text in OWN_TEXTS:
    unknown = int((kept.ids(text) == 0).sum())
    print(f"{kept(text)[1]:.2f} positive, {unknown} unknown words: {text}")

# %% [markdown]
# Before you ship a classifier, feed it what its users will write, and let it say at least how much of a text it could read.
#
# ### Mistakes that get a sentence
#
# Whoever offers a function to others gets their input, and some of it is no review at all. fastai judges an empty text like
# any other, and it reads the tags of a web page as words. The functions of this lab refuse such input, and one sentence
# says what to do.

# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors"
with forward_classifier.no_bar(), forward_classifier.no_logging():
    print("fastai's verdict on an empty review:", forward_classifier.predict("")[0])
keep_mistake(lambda: kept(" <br /> "))
keep_mistake(lambda: kept("<p>The plot was gripping.</p>"))

# %%
mine = folder / "mine.csv"
mine.write_text('review,stars\n"A gripping film, really.",9\nBoring.,2\n')
keep_mistake(lambda: ulmfit.table(mine))
print(ulmfit.table(mine, text="review", label="stars"))

# %%
(folder / "aclImdb" / "train" / "positive").mkdir(parents=True, exist_ok=True)
keep_mistake(lambda: imdb.reviews("train", folder))

# %%
wide = {"n_hid": 400}
keep_wide = text_classifier_learner(
    forward_classifier.dls,
    AWD_LSTM,
    config=awd_lstm_clas_config | ulmfit.shape("forward", "mini") | wide,
    pretrained=False,
    path=folder,
    model_dir=".",
)
keep_mistake(lambda: ulmfit.load_encoder(keep_wide, kept_encoder(0, "ULMFiT")))

# %% [markdown]
# In this last case fastai would have stopped as well, with a list of tensors. Had the sizes been right and the words in
# another order, it would have gone on in silence: every word gets another's vector. `ulmfit.save_encoder` writes the
# vocabulary beside the encoder, so that `ulmfit.load_encoder` can compare.
#
# ### An interrupted epoch
#
# To tune a language model on all of IMDb takes hours, and in hours a machine can be switched off. fastai can keep weights
# and optimizer after every epoch (`SaveModelCallback`) and begin with a later epoch (`start_epoch`), at the right place of
# the schedule. **Predict**: a training is interrupted in its second epoch; the file of the first is loaded in a new session,
# and epochs two and three are trained. Is it the classifier that it would have been?


# %%
class Interrupt(Callback):
    """Stops the training after a number of batches, as Ctrl-C does."""

    run_valid = False

    def __init__(self, batches):
        self.batches = batches

    def after_batch(self):
        if self.train_iter == self.batches:
            raise KeyboardInterrupt


# %%
def keep_training(seed, *callbacks, start_epoch=0):
    """Three epochs of a classifier in a new session; its probabilities for test reviews."""
    set_seed(seed)
    learner = class_learner(films("train", 64, 0), kept_encoder(0, "ULMFiT"))
    with learner.no_bar(), learner.no_logging():
        if start_epoch:
            learner.load("model_0", with_opt=True)
        learner.fit_one_cycle(3, 1e-2, cbs=[NoValidation(), *callbacks], start_epoch=start_epoch)
        return learner.get_preds(dl=learner.dls.test_dl(judged_again.head(100)))[0][:, 1].numpy()


# %%
def keep_interrupted(callback):
    """The same, interrupted in the second of three epochs of four batches."""
    try:
        keep_training(0, callback, Interrupt(7))
    except KeyboardInterrupt:
        print("interrupted after 7 of 12 batches")


# %% tags=["nbval-ignore-output"] reason="trained numbers differ between processors; the next cell asserts what counts"
undisturbed = keep_training(0)
keep_interrupted(SaveModelCallback(every_epoch=True, with_opt=True))
resumed = keep_training(1, start_epoch=1)
for name, found in (("resumed as fastai does", resumed), ("another seed", keep_training(1))):
    print(f"{name}: probabilities differ by {np.abs(found - undisturbed).mean():.3f} on average")

# %% [markdown]
# It is another one. Weights, optimizer and schedule went on, but the random numbers did not: which review comes when, and
# what dropout leaves out. For a single training that may not matter. In a comparison over seeds it does, since a run that
# was interrupted is no longer the run of its seed, and it is the long runs that are interrupted. `Resume` keeps the random
# numbers, too, and the order of the texts, in a file that is read without unpickling.

# %%
resume_file = folder / "films.resume"
resume_file.unlink(missing_ok=True)
keep_interrupted(ulmfit.Resume(resume_file))
resumed = keep_training(1, ulmfit.Resume(resume_file))
assert np.array_equal(resumed, undisturbed)

# %% [markdown]
# Equal to the last bit, though the new session had another seed. (On one thread: several threads may add in
# another order.) Called once more, the same line would read the end of this training and train nothing. The file of another
# training is refused:

# %%
other_labels = class_learner(films("train", 32, 0))
keep_mistake(lambda: fit(other_labels, 3, 1e-2, callbacks=[ulmfit.Resume(resume_file)]))

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
# 1. (10 minutes) Give the classifier texts of reviews of products instead of films (`tasks.sentiment` without a domain). Which
#    words of theirs does its vocabulary lack, and what does `ulmfit.load` do with them?
# 2. (20 minutes) The factor 2.6 between groups was chosen for IMDb. Try 1, 1.5 and 4 with ten seeds and the search of this lab.
#    Does the best factor change with the number of labels?
# 3. (30 minutes) Give the language model 200, 2,000 and 20,000 unlabeled reviews. Plot the accuracy on new words against the
#    bits a word of films, one point for each language model. Is the loss all that counts?
# 4. (an hour) A notebook reports 94.6 percent on IMDb, and its author watched the test set over ten epochs and three learning
#    rates. From the recorded runs of the section on leaks, estimate how much of a lead of half a point such watching is worth,
#    for a test set of 300 reviews and for one of 25,000.
