"""ConvAI2: what the readers refuse, the converter against the JSON made by hand, and ParlAI's scores."""

import copy
import json
import os
from pathlib import Path

import pytest

from utils import convai
from utils.convai import Chat, Turn
from utils.errors import CourseError
from utils.settings import root
from utils.world import World, tasks

CHAT = {
    "personality": ["i have two dogs .", "i like tea ."],
    "utterances": [
        {"history": ["hello !"], "candidates": ["no .", "hi , how are you ?"]},
        {
            "history": ["hello !", "hi , how are you ?", "fine , and you ?"],
            "candidates": ["yes .", "tired ."],
        },
    ],
}
PARLAI = """1 your persona: i have two dogs.
2 your persona: i like tea.
3 hello !\thi , how are you ?
4 fine , and you ?\ttired .
1 your persona: who reads this?
2 good day .\tgood evening !
"""
FIRST = Chat(
    ("i have two dogs .", "i like tea ."),
    (
        Turn(("hello !",), ("good evening !", "hi , how are you ?")),
        Turn(("hello !", "hi , how are you ?", "fine , and you ?"), ("good evening !", "tired .")),
    ),
)


def written(tmp_path, text):
    path = tmp_path / "chats.txt"
    path.write_text(text, "utf-8")
    return path


def test_a_list_in_the_published_format():
    (chat,) = convai.parse([CHAT])
    assert chat.persona == ("i have two dogs .", "i like tea .")
    assert [turn.reply for turn in chat.turns] == ["hi , how are you ?", "tired ."]
    assert chat.turns[1].history[0] is chat.turns[0].history[0]


def test_the_course_world_writes_this_format():
    chats = convai.parse(tasks.dialogue(World(0), 5, "convai test"))
    assert len(chats) == 5 and all(len(turn.candidates) == 20 for chat in chats for turn in chat.turns)


def test_write_and_read(tmp_path):
    chats = {"train": convai.parse([CHAT]), "valid": [FIRST]}
    convai.write(chats, tmp_path / "both.json")
    assert convai.read(tmp_path / "both.json") == chats


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(personality=[]), r'there\[0\]: "personality" must be a list'),
        (lambda c: c.update(personality=["i ski .", " "]), r'a text of "personality" is empty'),
        (lambda c: c.pop("utterances"), r'"utterances" must be a list'),
        (lambda c: c["utterances"][0].update(history=[]), r'utterances\[0\]: "history" must be a list'),
        (lambda c: c["utterances"][0].update(candidates=[]), r'"candidates" must be a list'),
        (lambda c: c["utterances"][1]["history"].pop(), r"utterances\[1\]: the history has 2 turns"),
        (
            lambda c: c["utterances"][0]["candidates"].pop(),
            r"utterances\[0\]: the reply was 'hi , how are you \?'",
        ),
        (lambda c: c["utterances"].append("?"), r"utterances\[2\]: an object was expected"),
    ],
)
def test_what_is_not_of_the_format(change, message):
    chat = copy.deepcopy(CHAT)
    change(chat)
    with pytest.raises(CourseError, match=message):
        convai.parse([chat], "there")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"train": [', "line 1, column 12: this is not JSON"),
        ("[]", 'must be an object with the lists "train" and "valid"'),
        ('{"train": [], "valid": []}', "train: a list of chats was expected"),
        ('{"train": [1], "valid": []}', r"train\[0\]: an object was expected"),
    ],
)
def test_what_is_no_file_of_chats(tmp_path, text, message):
    with pytest.raises(CourseError, match=message):
        convai.read(written(tmp_path, text))


def test_load_takes_a_sample(tmp_path, monkeypatch, capsys):
    (tmp_path / "convai2").mkdir()
    path = tmp_path / "convai2" / "personachat_self_original.small.json"
    convai.write({"train": [FIRST], "valid": [FIRST, FIRST]}, path)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert convai.load("valid") == [FIRST, FIRST]
    assert capsys.readouterr().out == f"ConvAI2 valid: 2 chats of {path.name} in COURSE_DATA\n"
    with pytest.raises(CourseError, match="'test' is not a split of ConvAI2"):
        convai.load("test")


def test_the_converter(tmp_path):
    first, second = convai.from_parlai(written(tmp_path, PARLAI), candidates=2)
    assert first == FIRST and second.persona == ("who reads this ?",)
    assert second.turns[0].candidates[0] in {turn.reply for turn in first.turns}


def test_the_converter_keeps_candidates(tmp_path):
    text = "1 your persona: i ski.\n2 hello !\thi .\t\tno .|hi .|yes .\n"
    (chat,) = convai.from_parlai(written(tmp_path, text))
    assert chat == Chat(("i ski .",), (Turn(("hello !",), ("no .", "yes .", "hi .")),))


def test_drawn_candidates_are_other_replies(tmp_path):
    lines = [
        f"1 your persona: i am number {i}.\n2 hello {i} !\treply {i} .\n3 and {i} ?\tanother {i % 7} .\n"
        for i in range(30)
    ]
    chats = convai.from_parlai(written(tmp_path, "".join(lines)))
    assert chats == convai.from_parlai(tmp_path / "chats.txt")
    assert chats != convai.from_parlai(tmp_path / "chats.txt", seed=1)
    for chat in chats:
        for turn in chat.turns:
            assert len(set(turn.candidates)) == len(turn.candidates) == 20
            assert f"reply {chat.persona[0].split()[3]} ." not in turn.candidates[:-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("your persona: i ski.\n", "line 1: a number, a space and a text"),
        ("2 your persona: i ski.\n", "line 1: the number 2 does not follow"),
        ("1 your persona: i ski.\n3 hello !\thi .\n", "line 2: the number 3 does not follow"),
        ("1 his persona: i ski.\n", "line 1: the speaker 'his' is unknown"),
        ("1 your persona: i ski.\n2 hello !\n", "line 2: a persona, or a turn and its reply"),
        ("1 hello !\thi .\n", "a chat has no persona or no reply"),
        ("1 your persona: i ski.\n2 hello !\t\n", "line 2: a turn and its reply, divided by a tab"),
        ("1 your persona: i ski.\n2 hello !\thi .\t\tno .|yes .\n", "line 2: the reply 'hi .' is not among"),
        ("1 your persona: i ski.\n2 hello !\thi .\n", "too few other replies to draw 19 candidates"),
    ],
)
def test_what_is_not_of_parlai(tmp_path, text, message):
    with pytest.raises(CourseError, match=message):
        convai.from_parlai(written(tmp_path, text))


def test_word_f1():
    assert convai.normalize("The dog's a-OK, an  apple_pie!") == "dog s ok apple pie"
    assert convai.word_f1("i have a cat .", "i have two cats !") == pytest.approx(4 / 7)
    assert convai.word_f1("yes", "no") == convai.word_f1("", "") == convai.word_f1("the", "the") == 0
    assert convai.word_f1("no no no", "no , i say no") == pytest.approx(4 / 7)


def test_diversity():
    assert convai.distinct(["a b a", "a b"], 1) == pytest.approx(2 / 5)
    assert convai.distinct(["a b a", "a b"], 2) == pytest.approx(2 / 3)
    assert convai.distinct([], 1) == convai.repetition("a b") == 0
    assert convai.repetition("a b c a b c d") == pytest.approx(1 / 5)


SAMPLES = Path(os.environ.get("COURSE_DATA") or root().parent / "shared" / "data") / "convai2"


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="needs the samples of ConvAI2")
def test_the_samples():
    known = convai.read(SAMPLES / "personachat_self_original.derived300.json")
    made = convai.from_parlai(SAMPLES / "valid_self_original_no_cands.first700.txt")
    one = convai.parse([json.loads((SAMPLES / "example_entry.json").read_text("utf-8"))])
    assert len(known["train"]) == 250 and len(known["valid"]) == 50 and len(one) == 1 and len(made) == 700
    for theirs, ours in zip(known["train"], made, strict=False):
        assert theirs.persona == ours.persona
        assert [(t.history, t.reply) for t in theirs.turns] == [(t.history, t.reply) for t in ours.turns]
