"""Batches, losses and the training loop, on models small enough for a second each."""

import math
import resource
from collections import Counter
from itertools import islice

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    ModernBertConfig,
    ModernBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from utils import training
from utils.errors import CourseError
from utils.training import (
    WIDTHS,
    batches,
    causal_loss,
    encode,
    mask_tokens,
    masked_choice,
    masked_loss,
    pad,
    precision,
    prediction_head,
    preferred,
    pretrain,
    rate_at,
    token_bits,
    train_tokenizer,
)
from utils.world.tasks import MinimalPair

WORDS = [consonant + vowel + end for consonant in "bdklmnst" for vowel in "aeiou" for end in ("", "n")]
TEXTS = [" ".join(WORDS[(i * 7 + j * j) % len(WORDS)] for j in range(3 + i % 11)) for i in range(300)]
PAD, BEGIN, END, MASK, SPECIALS = 0, 2, 3, 4, 5
POSITIONS = 32


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 200)


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """The same sums on every processor; one test below looks at bfloat16."""
    monkeypatch.setattr(training, "precision", lambda: "no")


def causal(vocabulary, seed=0):
    torch.manual_seed(seed)
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=vocabulary, n_layer=1, n_embd=32, n_head=2, n_positions=POSITIONS, initializer_range=0.1,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, pad_token_id=PAD, bos_token_id=BEGIN, eos_token_id=END,
    )).eval()  # fmt: skip


def masked(vocabulary, kind="modernbert"):
    torch.manual_seed(0)
    shape = {
        "vocab_size": vocabulary, "num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2,
        "intermediate_size": 32, "max_position_embeddings": POSITIONS, "pad_token_id": PAD, "bos_token_id": BEGIN,
        "eos_token_id": END, "cls_token_id": BEGIN, "sep_token_id": END, "initializer_range": 0.1,
    }  # fmt: skip
    config, model = {
        "modernbert": (ModernBertConfig, ModernBertForMaskedLM),
        "bert": (BertConfig, BertForMaskedLM),
        "roberta": (RobertaConfig, RobertaForMaskedLM),
    }[kind]
    return model(config(**shape)).eval()


def random_batch(rows=6, width=12, vocabulary=100, seed=0):
    """Rows of random ordinary tokens between the marks, of several lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [width - i % 4 for i in range(rows)]
    inside = [torch.randint(SPECIALS, vocabulary, (n - 2,), generator=generator).tolist() for n in lengths]
    return pad([[BEGIN, *row, END] for row in inside], width, PAD)


# ---- batches


@pytest.mark.parametrize("count", [40, 1201])
def test_batches_hold_every_text_once(tokenizer, count):
    texts = [f"{TEXTS[i % len(TEXTS)]} {WORDS[i // len(TEXTS)]}" for i in range(count)]
    given = Counter(tuple(row) for row in encode(tokenizer, texts))
    found, rows_of = Counter(), {}
    for batch in batches(texts, tokenizer, tokens=100):
        rows, width = batch.shape
        assert width in WIDTHS and rows == max(1, 100 // width)
        rows_of[width] = rows
        for row in batch.tolist():
            length = row.index(END) + 1
            assert row[length:] == [PAD] * (width - length), "padding stands on the right"
            assert width == min(w for w in WIDTHS if w >= length), "the narrowest width"
            found[tuple(row[:length])] += 1
    assert found <= given, "no text twice, none that was not given"
    lost = Counter(next(w for w in WIDTHS if w >= len(row)) for row in (given - found).elements())
    assert all(lost[width] < max(1, 100 // width) for width in lost), "lost is what fills no batch"
    assert len(rows_of) > 1


def test_batches_cut_long_texts(tokenizer):
    text = " ".join(WORDS * 7)
    row = encode(tokenizer, [text])[0]
    assert len(row) > 2 * WIDTHS[-1]
    found = [[i for i in batch[0].tolist() if i != PAD] for batch in batches([text], tokenizer, tokens=1)]
    assert [len(piece) for piece in found[:-1]] == [WIDTHS[-1]] * (len(found) - 1)
    assert sum(found, []) == row


def test_batches_of_an_endless_stream_come_at_once(tokenizer):
    def endless():
        while True:
            yield from TEXTS

    assert len(list(islice(batches(endless(), tokenizer, tokens=200), 20))) == 20
    assert list(batches([], tokenizer)) == []


def test_tokenizer_gives_back_what_it_got(tokenizer):
    assert len(tokenizer) <= 200
    assert [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id] == [PAD, BEGIN, END]
    assert tokenizer.mask_token_id == MASK
    for row, text in zip(encode(tokenizer, TEXTS[:20]), TEXTS, strict=False):
        assert row[0] == BEGIN and row[-1] == END
        assert tokenizer.decode(row[1:-1]) == text


# ---- losses


def test_causal_loss_is_the_mean_of_minus_log_p():
    model, batch = causal(100), random_batch()
    nats = []
    with torch.no_grad():
        for row in batch.tolist():
            real = row[: row.index(END) + 1]
            for i in range(1, len(real)):  # each token alone, given those on its left
                logits = model(input_ids=torch.tensor([real[:i]])).logits[0, -1].tolist()
                top = max(logits)
                nats.append(top + math.log(math.fsum(math.exp(x - top) for x in logits)) - logits[real[i]])
    loss = causal_loss(model, batch, 0).item()
    assert loss == pytest.approx(math.fsum(nats) / len(nats), abs=1e-5)


def test_losses_do_not_see_padding():
    batch = random_batch()
    wider = torch.nn.functional.pad(batch, (0, 7), value=PAD)
    model = causal(100)
    assert causal_loss(model, wider, 0).item() == pytest.approx(causal_loss(model, batch, 0).item(), abs=1e-5)
    model = masked(100)
    attention = (batch != PAD).long()
    states = model.base_model(batch, attention_mask=attention).last_hidden_state
    attention = (wider != PAD).long()
    same = model.base_model(wider, attention_mask=attention).last_hidden_state[:, : batch.shape[1]]
    assert torch.allclose(states[batch != PAD], same[batch != PAD], atol=1e-5)


def within(share, expected, n):
    """Five standard errors of a binomial share."""
    return abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / n)


def test_mask_tokens_has_the_shares_of_bert():
    batch = torch.randint(SPECIALS, 10_005, (300, 100), generator=torch.Generator().manual_seed(1))
    batch[:, 0], batch[:, -2], batch[:, -1] = BEGIN, END, PAD
    corrupted, chosen = mask_tokens(batch, 0.3, MASK, SPECIALS, 10_005, torch.Generator().manual_seed(2))
    ordinary = batch >= SPECIALS
    assert not chosen[~ordinary].any()
    assert torch.equal(corrupted[~chosen], batch[~chosen])
    assert within(chosen[ordinary].float().mean().item(), 0.3, int(ordinary.sum()))
    before, after = batch[chosen], corrupted[chosen]
    n = len(before)
    assert within((after == MASK).float().mean().item(), 0.8, n)
    assert within((after == before).float().mean().item(), 0.1, n)  # and 1 of 100,000 by chance
    random = after[(after != MASK) & (after != before)]
    assert within(len(random) / n, 0.1, n)
    assert random.min() >= SPECIALS and random.max() < 10_005
    assert within((random < 5005).float().mean().item(), 0.5, len(random))


def test_mask_tokens_follows_its_generator():
    batch = random_batch(20, 40)

    def draw(seed):
        return mask_tokens(batch, 0.3, MASK, SPECIALS, 100, torch.Generator().manual_seed(seed))

    for one, other in zip(draw(3), draw(3), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(draw(3)[1], draw(4)[1])
    assert torch.equal(batch, random_batch(20, 40)), "the batch itself stays as it is"


def test_masked_loss_is_at_chosen_places_only(monkeypatch):
    model, batch, loss = masked(100), random_batch(), masked_loss(0.3, MASK, seed=5)
    generator = torch.Generator().manual_seed(5 * 1_000_003 + 9)
    corrupted, chosen = mask_tokens(batch, 0.3, MASK, SPECIALS, 100, generator)
    with torch.no_grad():
        logp = model(corrupted, attention_mask=(batch != PAD).long()).logits.log_softmax(-1)
        by_hand = -logp[chosen, batch[chosen]].mean().item()
        assert loss(model, batch, 9).item() == pytest.approx(by_hand, abs=1e-5)
        assert loss(model, batch, 9).item() == loss(model, batch, 9).item()
        assert loss(model, batch, 8).item() != loss(model, batch, 9).item()

        def target(place):
            """A batch with another target at one place, where the model reads what it read before."""
            changed = batch.clone()
            changed[place] = SPECIALS + (batch[place] - SPECIALS + 1) % (100 - SPECIALS)
            return changed

        monkeypatch.setattr(training, "mask_tokens", lambda *_: (corrupted, chosen))
        unchosen = tuple((~chosen & (batch >= SPECIALS)).nonzero()[0].tolist())
        assert loss(model, target(unchosen), 9).item() == pytest.approx(by_hand, abs=1e-5)
        assert abs(loss(model, target(tuple(chosen.nonzero()[0].tolist())), 9).item() - by_hand) > 1e-4


@pytest.mark.parametrize("kind", ["modernbert", "bert", "roberta"])
def test_prediction_head_gives_the_logits_of_the_model(kind):
    model, batch = masked(100, kind), random_batch()
    batch = batch[batch[:, -1] != PAD]
    chosen = torch.zeros_like(batch, dtype=torch.bool)
    chosen[0, 3] = chosen[1, 7] = True
    with torch.no_grad():
        states = model.base_model(batch).last_hidden_state
        assert torch.allclose(prediction_head(model, states[chosen]), model(batch).logits[chosen], atol=1e-5)


# ---- the loop


def test_rate_rises_and_falls_linearly():
    rates = [rate_at(step, 100, 3e-3, 20) for step in range(101)]
    assert max(rates) == rates[19] == pytest.approx(3e-3)
    assert rates[0] == pytest.approx(3e-3 / 20)
    assert rates[100] == 0 < rates[99]
    for part in (rates[:20], rates[20:]):
        steps = [b - a for a, b in zip(part, part[1:], strict=False)]
        assert steps == pytest.approx([steps[0]] * len(steps))


def test_precision_and_training_in_bfloat16(monkeypatch, tokenizer):
    assert precision() in ("bf16", "no")
    monkeypatch.setattr(training, "precision", lambda: "bf16")
    model = causal(len(tokenizer))
    losses = pretrain(model, batches(TEXTS * 3, tokenizer, 200), causal_loss, 30, 1e-2, 5)
    assert losses[-1] < losses[0] - 0.5
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name, share", [("causal", 0.8), ("masked", 0.95)])
def test_loss_falls(tokenizer, name, share):
    model = {"causal": causal, "masked": masked}[name](len(tokenizer))
    loss = causal_loss if name == "causal" else masked_loss(0.3, MASK)
    seen = []
    stream = batches(TEXTS * 8, tokenizer, 300)
    losses = pretrain(model, stream, loss, 60, 1e-2, 10, watch=lambda *pair: seen.append(pair))
    assert seen == list(enumerate(losses))
    assert sum(losses[-10:]) < share * sum(losses[:10])
    assert not model.training


def test_stopped_before_its_end_it_has_done_the_same(tokenizer):
    whole, part = (
        pretrain(
            causal(len(tokenizer)), batches(TEXTS * 8, tokenizer, 300), causal_loss, 20, warmup=5, until=until
        )
        for until in (None, 8)
    )
    assert len(whole) == 20 and part == whole[:8]


class Killed(Exception):
    pass


def test_interrupted_training_ends_with_the_same_weights(tokenizer, tmp_path):
    resume = tmp_path / "new folder" / "causal.interrupted"

    def run(**options):
        model = causal(len(tokenizer))
        losses = pretrain(model, batches(TEXTS * 3, tokenizer, 200), causal_loss, 20, 1e-2, 5, **options)
        return model, losses

    def kill(step, loss):
        if step == 13:
            raise Killed

    model, losses = run()
    with pytest.raises(Killed):
        run(resume=resume, every=5, watch=kill)
    assert [path.name for path in resume.parent.iterdir()] == [resume.name]
    watched = []
    for steps in (list(range(10, 20)), []):
        again, losses_again = run(resume=resume, every=5, watch=lambda step, _: watched.append(step))
        assert watched == steps, "goes on after the last step kept, and when complete only reads"
        watched.clear()
        assert losses_again == losses
        for key, value in model.state_dict().items():
            assert torch.equal(value, again.state_dict()[key]), key
    assert [path.name for path in resume.parent.iterdir()] == [resume.name]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def changed(**parts):
    """Write other parts into a state; None leaves one out."""

    def damage(path):
        state = torch.load(path) | {name: value for name, value in parts.items() if value is not None}
        torch.save({name: value for name, value in state.items() if parts.get(name, value) is not None}, path)

    return damage


FOUR = {"steps": 4, "peak": 2e-3, "warmup": 150, "decay": 0.05, "processes": 1}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "interrupted is damaged, and tensors were expected: nothing was executed, delete it to start again"),
        (lambda path: path.write_text("no training"), "interrupted is damaged"),
        (changed(plan=None), "interrupted does not hold an interrupted training: delete it to start again"),
        (changed(plan=FOUR | {"peak": 1e-3}), "by a training with peak=0.001, and this one has peak=0.002: repeat"),
        (changed(plan=FOUR | {"steps": 3}), "by a training with steps=3, and this one has steps=4: repeat"),
        (changed(checksum=5), "was written by a training on other batches: give the same ones to go on, or delete"),
        (changed(model={}), "does not fit its model: tensor .* is missing in the file"),
        (changed(losses=None), "lacks a part of an interrupted training: delete it to start again"),
        (changed(optimizer={"state": {}, "param_groups": []}), "lacks a part of an interrupted training"),
        (changed(random=[]), "lacks a part of an interrupted training"),
    ],
)  # fmt: skip
def test_damaged_resume_file(tmp_path, damage, message):
    resume, batch = tmp_path / "causal.interrupted", random_batch()

    def run(watch=None):
        pretrain(causal(100), [batch] * 4, causal_loss, 4, resume=resume, every=2, watch=watch)

    def kill(step, loss):
        if step == 2:
            raise Killed

    with pytest.raises(Killed):
        run(kill)
    damage(resume)
    with pytest.raises(CourseError, match=message) as refused:
        run()
    assert resume.exists() and "\n" not in str(refused.value)


def test_a_state_that_cannot_be_written(tmp_path):
    """On a full disk: one sentence, the state before stays, and nothing else does."""
    resume, batch = tmp_path / "causal.interrupted", random_batch()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step, loss):
        if step == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))

    try:
        with pytest.raises(
            CourseError, match="interrupted cannot be written .*: make room, or check its rights"
        ):
            pretrain(causal(100), [batch] * 4, causal_loss, 4, resume=resume, every=2, watch=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [resume]
    watched = []
    pretrain(
        causal(100), [batch] * 4, causal_loss, 4, resume=resume, watch=lambda step, _: watched.append(step)
    )
    assert watched == [2, 3]


def test_stream_too_short():
    message = "^The text was used up after 2 of 3 steps: give more text or fewer steps[.]$"
    with pytest.raises(CourseError, match=message):
        pretrain(causal(100), [random_batch()] * 2, causal_loss, 3)


def test_loss_that_is_not_finite():
    def broken(model, batch, step):
        return causal_loss(model, batch, step) * (math.nan if step == 1 else 1.0)

    message = "^The loss is nan at step 1: use a lower learning rate than 0.002[.]$"
    with pytest.raises(CourseError, match=message):
        pretrain(causal(100), [random_batch()] * 3, broken, 3)


def test_out_of_memory():
    def greedy(model, batch, step):
        raise torch.OutOfMemoryError("CUDA out of memory")

    message = r"^The GPU ran out of memory on a batch of \(6, 12\) tokens: use batches of fewer tokens[.]$"
    with pytest.raises(CourseError, match=message):
        pretrain(causal(100), [random_batch()], greedy, 1)


# ---- scores


def test_token_bits_do_not_depend_on_the_batch(tokenizer):
    model, texts = causal(len(tokenizer)), [TEXTS[i] for i in (7, 0, 3, 10, 5, 0, 9)]
    alone = [token_bits(model, tokenizer, [text])[0] for text in texts]
    for rows in (2, 64):
        together = token_bits(model, tokenizer, texts, rows)
        assert [len(row) for row in together] == [len(row) - 1 for row in encode(tokenizer, texts)]
        for one, other in zip(alone, together, strict=True):
            assert one == pytest.approx(other, abs=1e-4)
    bits = torch.tensor(sum(alone, [])).mean().item()
    stacked = pad(encode(tokenizer, texts), POSITIONS, PAD)
    assert bits == pytest.approx(causal_loss(model, stacked, 0).item() / math.log(2), abs=1e-4)
    assert token_bits(model, tokenizer, []) == []


def of_tokens(tokenizer, count):
    """A text of `count` tokens, marks included."""
    word = next(w for w in WORDS if len(encode(tokenizer, [w])[0]) == 3)
    return " ".join([word] * (count - 2))


def test_token_bits_of_texts_as_long_as_the_model(tokenizer):
    """A model of 32 positions reads 32 tokens and gives the probability of the 33rd."""
    model = causal(len(tokenizer))
    assert len(token_bits(model, tokenizer, [of_tokens(tokenizer, POSITIONS + 1)])[0]) == POSITIONS
    message = "^A text of 34 tokens does not fit a model of 32 positions: cut it into shorter texts[.]$"
    with pytest.raises(CourseError, match=message):
        token_bits(model, tokenizer, ["", of_tokens(tokenizer, POSITIONS + 2)])


def test_preferred_is_the_share_of_more_probable_texts(tokenizer):
    model = training.gpt(32, 1, len(tokenizer)).eval()
    assert model.config.n_head == 1 and model.config.n_positions == 160
    pairs = [
        MinimalPair(tuple(TEXTS[i].split()), tuple([*TEXTS[i].split()[:-1], word]), len(TEXTS[i].split()) - 1)
        for i, word in enumerate(WORDS[:20])
    ]
    good, bad = (
        [sum(row) for row in token_bits(model, tokenizer, [" ".join(words) for words in side])]
        for side in ([pair.good for pair in pairs], [pair.bad for pair in pairs])
    )
    share = sum(a < b for a, b in zip(good, bad, strict=True)) / 20
    assert preferred(model, tokenizer, pairs) == share
    turned = [MinimalPair(pair.bad, pair.good, pair.position) for pair in pairs]
    assert 0 < share < 1 and preferred(model, tokenizer, turned) == pytest.approx(1 - share, abs=0.05)


def test_masked_choice(tokenizer):
    model = masked(len(tokenizer))
    good = [w for w in WORDS if len(encode(tokenizer, [w])[0]) == 3]
    words, choices = [WORDS[1], good[0], WORDS[5], WORDS[7]], [good[0], good[1]]
    row = encode(tokenizer, [" ".join(words)])[0]
    for position in (0, 1, 3):
        left = len(encode(tokenizer, [" ".join(words[:position])])[0]) - 2
        own = len(encode(tokenizer, [words[position]])[0]) - 2
        masked_row = [*row[: left + 1], MASK, *row[left + 1 + own :]]
        with torch.no_grad():
            logp = model(torch.tensor([masked_row])).logits[0, left + 1].log_softmax(-1)
        expected = [logp[encode(tokenizer, [choice])[0][1]].item() for choice in choices]
        assert masked_choice(model, tokenizer, words, position, choices) == pytest.approx(expected, abs=1e-5)


def test_masked_choice_of_several_tokens(tokenizer):
    word = "".join(WORDS[:3])
    tokens = len(encode(tokenizer, [word])[0]) - 2
    message = f"^'{word}' is {tokens} tokens, and a mask stands for one: choose another word[.]$"
    with pytest.raises(CourseError, match=message):
        masked_choice(masked(len(tokenizer)), tokenizer, ["ba", "be"], 1, [word])
