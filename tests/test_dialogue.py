"""Dialogue: speakers and types at every turn, both losses against transformers', decoding against its `generate`."""

import json
import subprocess
import sys
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from transformers import (
    GPT2Config,
    GPT2DoubleHeadsModel,
    NoRepeatNGramLogitsProcessor,
    OpenAIGPTConfig,
    OpenAIGPTDoubleHeadsModel,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from utils import checkpoints, convai, dialogue
from utils.dialogue import SKIP, Chats, Marks
from utils.errors import CourseError
from utils.settings import root
from utils.world import World, tasks

MARKS = Marks(first=1, last=2, pad=0, own=3, partner=4)
words = st.lists(st.integers(5, 40), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def chats():
    return convai.parse(tasks.dialogue(World(0), 6, "dialogue test", candidates=4))


@pytest.fixture(scope="module")
def causal():
    """The course's GPT-2 with the tokens of a conversation, its tokenizer and their marks."""
    model, tokenizer = checkpoints.load_causal()
    dialogue.add_tokens(tokenizer, model)
    return model.eval(), tokenizer, Marks.of(tokenizer)


def double_heads(kind, vocabulary, positions=160):
    """A small model with two heads and random weights, without dropout."""
    torch.manual_seed(0)
    if kind == "gpt2":
        options = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "summary_first_dropout": 0.0}
        config = GPT2Config(
            vocab_size=vocabulary,
            n_positions=positions,
            n_embd=32,
            n_layer=2,
            n_head=2,
            num_labels=1,
            **options,
        )
        return GPT2DoubleHeadsModel(config).eval()
    config = OpenAIGPTConfig(vocab_size=vocabulary, n_positions=positions, n_embd=32, n_layer=2, n_head=2)
    config.num_labels = 1
    return OpenAIGPTDoubleHeadsModel(config).eval()


# ---- inputs


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    persona=st.lists(words, min_size=1, max_size=4),
    history=st.lists(words, min_size=1, max_size=12),
    reply=st.lists(st.integers(5, 40), max_size=6),
    turns=st.sampled_from([1, 3, 5, 7, 99]),
    end=st.booleans(),
)
def test_types_agree_with_speakers(persona, history, reply, turns, end):
    """Each token's type is the speaker token before it; speakers alternate; only the reply and its end are learned."""
    found = dialogue.inputs(persona, history, reply, MARKS, turns, end)
    speaker, spoke = MARKS.own, []
    for token, kind in zip(found.ids, found.types, strict=True):
        if token in (MARKS.own, MARKS.partner):
            speaker = token
            spoke.append(token)
        assert kind == speaker
    said = min(turns, len(history))
    assert len(spoke) == said + 1 and spoke[-1] == MARKS.own
    assert all(a != b for a, b in zip(spoke, spoke[1:], strict=False))
    learned = [token for token, label in zip(found.ids, found.labels, strict=True) if label != SKIP]
    assert learned == reply + [MARKS.last] * end == [label for label in found.labels if label != SKIP]
    assert found.labels[: len(found.ids) - len(learned)] == [SKIP] * (len(found.ids) - len(learned))
    assert found.ids[: found.parts[0][2]] == [MARKS.first, *(t for text in persona for t in text)]
    assert [part[0] for part in found.parts] == [MARKS.own, *spoke]
    assert [part[1] for part in found.parts] == [0, *(part[2] for part in found.parts[:-1])]
    assert found.parts[-1][2] == len(found.ids)


def test_a_decoded_example(causal, chats):
    _, tokenizer, _ = causal
    turn = Chats(chats, tokenizer)[1]
    chat = chats[0]
    expected = [f"<s> {' '.join(chat.persona)}"]
    said = [*chat.turns[1].history, chat.turns[1].reply]
    expected += [f"<speaker{1 + (len(said) - i) % 2 * 1}> {text}" for i, text in enumerate(said, 1)]
    shown = [tokenizer.decode(turn[-1].ids[begin:end]) for _, begin, end in turn[-1].parts]
    assert [" ".join(text.replace("</s>", "").split()) for text in shown] == [
        " ".join(t.split()) for t in expected
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"persona": []}, "The persona is empty"),
        ({"persona": [[]]}, "The persona is empty"),
        ({"history": []}, "The history is empty"),
        ({"turns": 4}, "4 turns of history do not begin and end with the partner"),
        ({"turns": -1}, "-1 turns of history"),
        (
            {"limit": 12},
            "The input has 13 tokens and the model has room for 12; 3 turns are in it, the longest of 2",
        ),
    ],
)
def test_what_makes_no_input(change, message):
    given = {"persona": [[7, 8]], "history": [[5], [6], [5, 6]], "reply": [9], "marks": MARKS}
    assert len(dialogue.inputs(**given).ids) == 13
    with pytest.raises(CourseError, match=message):
        dialogue.inputs(**given | change)


# ---- tokens


def test_new_tokens_start_at_the_mean():
    model, tokenizer = checkpoints.load_causal()
    old = model.get_input_embeddings().weight.detach().clone()
    with pytest.raises(CourseError, match="no token for <speaker1>, <speaker2>: call add_tokens"):
        Marks.of(tokenizer)
    state = torch.get_rng_state()
    assert dialogue.add_tokens(tokenizer, model) == ["<speaker1>", "<speaker2>"]
    assert torch.equal(state, torch.get_rng_state())
    table = model.get_input_embeddings().weight.detach()
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert torch.equal(table[:-2], old) and not torch.equal(table[-1], table[-2])
    distance = (table[-2:] - old.mean(0)).norm(dim=1)
    assert (distance < 0.3 * (old - old.mean(0)).norm(dim=1).mean()).all()
    assert dialogue.add_tokens(tokenizer, model) == []
    assert torch.equal(table, model.get_input_embeddings().weight)


def test_a_published_vocabulary_gets_its_marks():
    """GPT-2's tokenizer has one mark of its own; the others are added. Its texts begin with a space."""
    from transformers import GPT2Tokenizer

    vocabulary = {token: i for i, token in enumerate(["a", "b", "Ġ", "Ġa", "<|endoftext|>"])}
    tokenizer = GPT2Tokenizer(vocab=vocabulary, merges=[("Ġ", "a")])
    model = double_heads("gpt2", len(tokenizer))
    new = dialogue.add_tokens(tokenizer, model)
    assert set(new) == {"<pad>", "<speaker1>", "<speaker2>"} and model.config.vocab_size == len(tokenizer)
    marks = Marks.of(tokenizer)
    assert marks.first == marks.last == tokenizer.eos_token_id and marks.pad == model.config.pad_token_id
    assert dialogue.text_ids(tokenizer, ["a", "b"])[0] == [vocabulary["Ġa"]]


# ---- batches


def test_an_item_and_a_batch(causal, chats):
    _, tokenizer, marks = causal
    data = Chats(chats, tokenizer, candidates=3)
    assert len(data) == sum(len(chat.turns) for chat in chats)
    batch = dialogue.collate([data[0], data[2]], marks.pad)
    assert batch["ids"].shape == batch["types"].shape == batch["labels"].shape and batch["ids"].shape[1] == 3
    assert (batch["labels"][:, :-1] == SKIP).all() and (batch["labels"][:, -1] != SKIP).any(1).all()
    for i, item in enumerate((data[0], data[2])):
        for k, one in enumerate(item):
            assert batch["ids"][i, k, : len(one.ids)].tolist() == one.ids
            assert (batch["ids"][i, k, len(one.ids) :] == marks.pad).all()
            assert batch["ids"][i, k, batch["last"][i, k]] == marks.last
    assert max(len(one.ids) for item in (data[0], data[2]) for one in item) == batch["ids"].shape[2]
    some = list(dialogue.batches(data, 4, seed=1))
    assert sum(len(b["ids"]) for b in some) == len(data)


def test_personas_come_in_other_orders(causal, chats):
    _, tokenizer, _ = causal
    data = Chats(chats, tokenizer, candidates=1, shuffle=0)
    seen = set()
    for data.epoch in range(8):
        _, begin, end = data[0][0].parts[0]
        seen.add(tuple(data[0][0].ids[begin:end]))
    assert len(seen) > 1 and len({tuple(sorted(ids)) for ids in seen}) == 1


def test_batches_that_cannot_be(causal, chats):
    _, tokenizer, marks = causal
    data = Chats(chats, tokenizer)
    with pytest.raises(CourseError, match=r"these have \[2, 4\]: set candidates"):
        dialogue.collate([data[0], data[1][-2:]], marks.pad)
    with pytest.raises(CourseError, match="There is no chat"):
        Chats([], tokenizer)
    with pytest.raises(CourseError, match="0 candidates leave no reply"):
        Chats(chats, tokenizer, candidates=0)
    with pytest.raises(CourseError, match="the model has room for 20"):
        Chats(chats, tokenizer, limit=20)[0]
    with pytest.raises(CourseError, match="no token for <speaker1>"):
        Chats(chats, checkpoints.load_tokenizer())


# ---- losses and scores


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_losses_are_those_of_transformers(kind, causal, chats):
    _, tokenizer, _ = causal
    model = double_heads(kind, len(tokenizer))
    data = Chats(chats, tokenizer)
    batch = next(iter(dialogue.batches(data, 3, seed=0)))
    theirs = model(
        input_ids=batch["ids"],
        token_type_ids=batch["types"],
        labels=batch["labels"],
        mc_token_ids=batch["last"],
        mc_labels=torch.full((3,), 3),
    )
    language, choice = dialogue.losses(model, batch)
    assert language.item() == pytest.approx(theirs.loss.item(), rel=1e-5)
    assert choice.item() == pytest.approx(theirs.mc_loss.item(), rel=1e-5)
    (language + choice).backward()
    assert model.multiple_choice_head.summary.weight.grad.abs().sum() > 0
    assert model.get_input_embeddings().weight.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_without_gradients_the_numbers_are_the_same(kind, causal, chats):
    """Candidates that share all, a part, or nothing but the first token are read as if each stood alone."""
    _, tokenizer, _ = causal
    model = double_heads(kind, len(tokenizer))
    data = Chats(chats, tokenizer)
    for batch in dialogue.batches(data, 3, seed=0):
        batch["types"][0, 1, 1:] = data.marks.partner
        with torch.no_grad():
            found = dialogue.heads(model, batch)
        for kept, anew in zip(found, dialogue.heads(model, batch), strict=True):
            torch.testing.assert_close(kept, anew.detach(), rtol=1e-4, atol=1e-5)
    same = dialogue.collate([[data[0][0], data[0][0]]], data.marks.pad)
    with torch.no_grad():
        torch.testing.assert_close(dialogue.heads(model, same)[2][:, 0], dialogue.heads(model, same)[2][:, 1])


def test_losses_need_a_choice(causal, chats):
    model, tokenizer, _ = causal
    batch = next(iter(dialogue.batches(Chats(chats, tokenizer, candidates=1), 2)))
    with pytest.raises(CourseError, match="GPT2LMHeadModel has no head for the choice"):
        dialogue.losses(model, batch)
    with pytest.raises(CourseError, match="A choice among one candidate"):
        dialogue.losses(double_heads("gpt2", len(tokenizer)), batch)


def test_scores_do_not_depend_on_the_batch(causal, chats):
    """Padding changes nothing; the mean over turns is not the perplexity."""
    _, tokenizer, _ = causal
    model = double_heads("gpt2", len(tokenizer)).train()
    data = Chats(chats, tokenizer)
    one, four = (dialogue.evaluate(model, data, size) for size in (1, 4))
    assert model.training
    for name in ("nats", "tokens", "hit"):
        assert len(one[name]) == len(data)
        np.testing.assert_allclose(one[name], four[name], rtol=1e-5)
    assert one["tokens"].tolist() == [
        sum(label != SKIP for label in data[i][-1].labels) for i in range(len(data))
    ]
    nats, tokens = np.array([1.0, 9.0]), np.array([1, 3])
    assert dialogue.perplexity(nats, tokens) == pytest.approx(np.exp(2.5))


class Fixed(torch.nn.Module):
    """A head that gives the same scores to every turn."""

    def __init__(self, scores):
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, states, last):
        return self.scores.repeat(len(states), 1)


def test_a_tie_is_a_miss(causal, chats):
    _, tokenizer, _ = causal
    model = double_heads("gpt2", len(tokenizer))
    for gold, hit in ((1.0, 0), (1.1, 1)):
        model.multiple_choice_head = Fixed([0.0, 1.0, 0.5, gold])
        assert dialogue.evaluate(model, Chats(chats[:1], tokenizer))["hit"].tolist() == [hit] * len(
            chats[0].turns
        )


def test_training_learns_both(causal, chats):
    _, tokenizer, _ = causal
    data = Chats(chats, tokenizer, candidates=3, shuffle=0)
    model = double_heads("gpt2", len(tokenizer))
    before = dialogue.evaluate(model, data)
    found = dialogue.train(model, data, 60, 5e-3, language=2.0)
    after = dialogue.evaluate(model, data)
    assert len(found) == 60 and np.mean(found[-5:]) < 0.7 * np.mean(found[:5])
    assert dialogue.perplexity(after["nats"], after["tokens"]) < 0.3 * dialogue.perplexity(
        before["nats"], before["tokens"]
    )


def test_training_follows_its_weights(causal, chats):
    """With choice=0 the second head stays; the same seed gives the same weights."""
    _, tokenizer, _ = causal
    data = Chats(chats, tokenizer, candidates=1)
    one, two = (double_heads("gpt2", len(tokenizer)) for _ in range(2))
    head = one.multiple_choice_head.summary.weight.detach().clone()
    assert dialogue.train(one, data, 3, 1e-3, choice=0) == dialogue.train(two, data, 3, 1e-3, choice=0)
    assert torch.equal(one.lm_head.weight, two.lm_head.weight)
    assert torch.equal(one.multiple_choice_head.summary.weight, head)
    with pytest.raises(CourseError, match="A choice among one candidate"):
        dialogue.train(one, data, 1, 1e-3)
    with pytest.raises(CourseError, match="The weights 0 and 0 leave nothing to learn"):
        dialogue.train(one, data, 1, 1e-3, language=0, choice=0)


# ---- decoding


@pytest.fixture(scope="module")
def starts(causal, chats):
    _, tokenizer, marks = causal
    ids = {
        text: tokenizer(text)["input_ids"] for chat in chats for turn in chat.turns for text in turn.history
    }
    return [
        dialogue.inputs(
            [tokenizer(text)["input_ids"] for text in chat.persona],
            [ids[text] for text in turn.history],
            [],
            marks,
            end=False,
        )
        for chat in chats[:3]
        for turn in chat.turns[:2]
    ]


def library(model, start, marks, **options):
    """The reply of transformers' `generate`."""
    ids, types = torch.tensor([start.ids]), torch.tensor([start.types])
    found = model.generate(
        ids, token_type_ids=types, attention_mask=torch.ones_like(ids), max_new_tokens=12, min_new_tokens=1,
        pad_token_id=marks.pad, eos_token_id=marks.last, **options,
    )  # fmt: skip
    return [token for token in found[0, len(start.ids) :].tolist() if token != marks.last]


def test_greedy_and_beam_are_those_of_generate(causal, starts):
    model, _, marks = causal
    for start in starts:
        ours = dialogue.generate(model, start, marks, longest=12)
        assert ours == library(model, start, marks, do_sample=False)
        for beams in (2, 4):
            ours = dialogue.generate(model, start, marks, longest=12, beams=beams)
            assert ours == library(
                model, start, marks, do_sample=False, num_beams=beams, early_stopping=False
            )


@pytest.mark.parametrize(
    "options", [{"top_k": 5}, {"top_p": 0.8}, {"temperature": 0.6, "top_k": 50, "top_p": 0.9}]
)
def test_sampling_is_that_of_generate(causal, starts, options):
    """The same random numbers give the same replies."""
    model, _, marks = causal
    for seed, start in enumerate(starts):
        torch.manual_seed(seed)
        ours = dialogue.generate(model, start, marks, longest=12, pick=dialogue.sampler(**options))
        torch.manual_seed(seed)
        assert ours == library(
            model, start, marks, **{"do_sample": True, "top_k": 0, "top_p": 1.0, **options}
        )


def test_filters_are_those_of_transformers():
    logits = torch.randn(20, 50, generator=torch.Generator().manual_seed(0)) * 3
    nothing = torch.zeros(20, 1, dtype=torch.long)
    torch.testing.assert_close(
        dialogue.filtered(logits, 0.7, top_k=9), TopKLogitsWarper(9)(nothing, logits / 0.7)
    )
    for top_p in (0.1, 0.5, 0.95):
        torch.testing.assert_close(
            dialogue.filtered(logits, top_p=top_p), TopPLogitsWarper(top_p)(nothing, logits)
        )
    ids = torch.randint(0, 4, (20, 15), generator=torch.Generator().manual_seed(1))
    for n in (1, 2, 3):
        ours = dialogue.blocked(logits, ids, n)
        torch.testing.assert_close(ours, NoRepeatNGramLogitsProcessor(n)(ids, logits.clone()))


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_what_is_kept_changes_nothing(kind, causal, starts):
    """Token by token, and with rows that change places as those of a beam do, as if all were read anew."""
    _, tokenizer, marks = causal
    model = double_heads(kind, len(tokenizer))
    generator = torch.Generator().manual_seed(0)
    for start in starts[:2]:
        read = dialogue._Reader(model, start, marks)
        reply, rows = torch.zeros((1, 0), dtype=torch.long), None
        for _ in range(5):
            with torch.no_grad():
                found, anew = read(reply, rows), dialogue._Reader(model, start, marks)(reply)
            torch.testing.assert_close(found, anew, rtol=1e-4, atol=1e-5)
            rows = torch.randint(len(reply), (3,), generator=generator)
            reply = torch.cat([reply[rows], torch.randint(5, 900, (3, 1), generator=generator)], 1)


def test_blocking_ends_repetition(causal, starts):
    model, _, marks = causal
    for start in starts:
        reply = dialogue.generate(model, start, marks, longest=30, shortest=30, block=2)
        pairs = list(zip(reply, reply[1:], strict=False))
        assert len(reply) == 30 and len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}])
def test_settings_that_leave_no_token(options):
    with pytest.raises(CourseError, match="leave no token"):
        dialogue.sampler(**options)


def test_no_room_for_a_reply(causal, starts):
    model, _, marks = causal
    with pytest.raises(CourseError, match="do not fit into 160 positions"):
        dialogue.generate(model, starts[0], marks, longest=150)


# ---- a conversation


def test_a_conversation_reads_what_training_has(causal, chats):
    """However long it gets: an odd number of turns, the partner's first and last, types as speakers."""
    model, tokenizer, marks = causal
    talk = dialogue.Conversation(model, tokenizer, chats[0].persona, longest=5)
    for turn in chats[0].turns:
        talk.history.append(turn.history[-1])
        found = talk.inputs()
        speakers = [speaker for speaker, _, _ in found.parts[1:]]
        assert speakers[0] == speakers[-2] == marks.partner and speakers[-1] == marks.own
        assert len(speakers) == min(6, len(talk.history) + 1)
        talk.history.pop()
        reply = talk.say(turn.history[-1])
        assert talk.history[-2:] == [turn.history[-1], reply] and "<" not in reply
    assert len(talk.history) == 2 * len(chats[0].turns)


def test_a_conversation_is_repeatable(causal, chats):
    model, tokenizer, _ = causal
    said = [turn.history[-1] for turn in chats[0].turns]

    def replies(seed):
        pick = dialogue.sampler(top_p=0.9, generator=torch.Generator().manual_seed(seed))
        talk = dialogue.Conversation(model, tokenizer, chats[0].persona, longest=8, pick=pick)
        return [talk.say(text) for text in said]

    assert replies(1) == replies(1) != replies(2)


def test_what_cannot_be_said(causal):
    model, tokenizer, _ = causal
    for persona in ([], [" "], "i ski ."):
        with pytest.raises(CourseError, match="The persona is empty"):
            dialogue.Conversation(model, tokenizer, persona)
    talk = dialogue.Conversation(model, tokenizer, ["i ski ."])
    with pytest.raises(CourseError, match="The turn is empty"):
        talk.say("  ")
    with pytest.raises(CourseError, match="do not fit into 160 positions"):
        talk.say("hello " * 160)
    assert talk.history == []


# ---- memory

MEMORY = """
import json, re, sys
from pathlib import Path
from utils import checkpoints, convai, dialogue

def peak():  # of this process; resource.getrusage would remember its parent's
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

model, tokenizer = checkpoints.load_causal()
dialogue.add_tokens(tokenizer, model)
before = peak()
data = dialogue.Chats(convai.read(Path(sys.argv[1]))["train"], tokenizer)
shapes = [batch["ids"].shape for _, batch in zip(range(20), dialogue.batches(data, 4, seed=0))]
print(json.dumps({"turns": len(data), "mib": peak() - before, "whole": peak(), "shapes": shapes}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory as Linux tells it")
def test_ten_thousand_dialogues_fit_into_a_gibibyte(tmp_path):
    """From a file of the published form and size: 8 replies with 20 candidates in each of 10,000 chats."""
    random = Random(0)
    vocabulary = ["the", "dog", "works", "as", "a", "baker", "and", "likes", "tea", "very", "much", "today"]
    pool = [" ".join(random.choices(vocabulary, k=random.randint(4, 16))) + f" {i} ." for i in range(80_000)]
    chats = []
    for _ in range(10_000):
        said = random.choices(pool, k=16)
        turns = [
            {"history": said[: 2 * k + 1], "candidates": [*random.choices(pool, k=19), said[2 * k + 1]]}
            for k in range(8)
        ]
        chats.append({"personality": random.choices(pool, k=4), "utterances": turns})
    path = tmp_path / "chats.json"
    path.write_text(json.dumps({"train": chats, "valid": chats[:1]}), "utf-8")
    command = [sys.executable, "-c", MEMORY, str(path)]
    done = subprocess.run(command, cwd=root(), capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["turns"] == 80_000 and found["mib"] < 1024
    assert all(shape[:2] == [4, 20] for shape in found["shapes"])
