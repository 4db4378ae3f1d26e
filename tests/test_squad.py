"""SQuAD: what the reader refuses, windows, answers as the usual implementations give them, and the official scores.

`data/squad_references.json` holds what two reference implementations and the official scorers gave. `official_scores`
says again the steps of SQuAD's evaluate-v2.0.py.
"""

import collections
import copy
import hashlib
import json
import math
import random
import re
from pathlib import Path

import numpy as np
import pytest

from utils import minilm, squad
from utils.errors import CourseError
from utils.squad import Answer, Example, evaluate, predict, read
from utils.world import World, tasks

PLAIN = (
    'Ada Byron\'s mother, Lady Byron (1792-1860), hired a tutor. In 1833 Ada met Mr. Babbage; "the engine" cost '
    "$17,000! A steam-powered machine, with 25,000 parts, was never built: it weighed 15 tons. The twenty-eight "
    "notes of 1843 hold an algorithm, the first one, to compute Bernoulli's numbers (with a typo, found in 2018)."
)
UNICODE = (
    "Zoë Bézout lives in Málaga\u00a0– near 東京タワー, they say\u2026  Her cat “Ñandú” cost 5\u202f€; 🐈 it is "
    "the A\u0301vila\tkind.\nÉcole, naïve, façade."
)


@pytest.fixture(scope="module")
def pieces():
    return minilm.tokenizer()


def document(**changes):
    """A SQuAD document of one question, with changes to the question or, for `text` and `answer_start`, its answer."""
    answer = {"text": "a tutor", "answer_start": PLAIN.index("a tutor")}
    answer |= {key: changes.pop(key) for key in ("text", "answer_start") if key in changes}
    question = {"id": "q1", "question": "Who came?", "answers": [answer]} | changes
    return {
        "version": "1.1",
        "data": [{"title": "Ada", "paragraphs": [{"context": PLAIN, "qas": [question]}]}],
    }


def example(context, answer="", number=0, question="Which one is it?"):
    answers = (Answer(answer, context.index(answer)),) if answer else ()
    return Example(f"q{number}", question, context, answers, "")


def some_examples(count, seed):
    """Questions about parts of the contexts, some long, and answers that begin and end at spaces."""
    draw = random.Random(seed)
    found = []
    for number in range(count):
        context = " ".join(draw.choices([PLAIN, UNICODE], k=draw.randint(1, 4)))
        words = [m.span() for m in re.finditer(r"\S+", context)]
        first = draw.randrange(len(words))
        last = min(len(words) - 1, first + draw.randint(0, 5))
        answer = context[words[first][0] : words[last][1]]
        question = " ".join(
            draw.choices(["which", "Who", "was", "Ada", "engineering"], k=draw.randint(1, 12))
        )
        found.append(Example(str(number), question, context, (Answer(answer, words[first][0]),), ""))
    return found


# ---- the reader


def test_a_document(tmp_path):
    path = tmp_path / "some.json"
    path.write_text("\ufeff" + json.dumps(document()), encoding="utf-8")
    answer = Answer("a tutor", PLAIN.index("a tutor"))
    assert read(path) == [Example("q1", "Who came?", PLAIN, (answer,), "Ada")]
    assert PLAIN[answer.start : answer.end] == "a tutor"


def test_the_worlds_questions():
    made = tasks.qa(World(0), 20, "train")
    examples = squad.parse(made)
    assert len(examples) == sum(len(p["qas"]) for a in made["data"] for p in a["paragraphs"]) > 60
    assert all(e.context[a.start : a.end] == a.text for e in examples for a in e.answers)


def test_questions_without_an_answer():
    examples = squad.parse(
        document(answers=[], is_impossible=True, plausible_answers=[{"text": "x", "answer_start": 0}])
    )
    assert examples[0].answers == () and examples[0].target is None


def test_the_answer_to_learn_is_what_most_people_said():
    answers = [("b", 2), ("a", 0), ("a", 4), ("a", 4), ("b", 2)]
    chosen = Example("1", "?", "a b a", tuple(Answer(*a) for a in answers), "")
    assert chosen.target == Answer("b", 2), "the first of two that two people gave"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"text": "no tutor"},
            r"qas\[0\]\.answers\[0\]: the answer 'no tutor' does not stand in its context",
        ),
        (
            {"answer_start": 3},
            "does not stand at character 3 of its context, the nearest one is at 50: correct",
        ),
        ({"answer_start": "50"}, "\"answer_start\" must be a number of characters from 0, and is '50'"),
        ({"answer_start": True}, "must be a number of characters from 0, and is True"),
        ({"answer_start": -1}, "must be a number of characters from 0, and is -1"),
        ({"text": ""}, "\"text\" must be a text that is not empty, and is ''"),
        (
            {"question": "  "},
            r"data\[0\]\.paragraphs\[0\]\.qas\[0\]: \"question\" must be a text that is not",
        ),
        ({"id": 7}, '"id" must be a text that is not empty, and is 7'),
        ({"answers": []}, 'the question has no answer: "is_impossible" must be true where there is none'),
        ({"answers": {}}, 'has a list "answers" here, and there is none'),
        ({"answers": ["a tutor"]}, r"answers\[0\]: an object was expected, and this is 'a tutor'"),
        ({"is_impossible": True}, "the question is marked impossible and has an answer"),
        ({"is_impossible": "no"}, "\"is_impossible\" must be true or false, and is 'no'"),
    ],
)
def test_other_questions_are_refused(changes, message):
    with pytest.raises(CourseError, match=message):
        squad.parse(document(**changes), "some.json")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], 'the document: SQuAD\'s format has a list "data" here, and there is none'),
        ({"data": {}}, 'the document: SQuAD\'s format has a list "data"'),
        ({"data": [{"title": "x"}]}, r'data\[0\]: SQuAD\'s format has a list "paragraphs"'),
        ({"data": [{"paragraphs": [{"qas": []}]}]}, r'paragraphs\[0\]: "context" must be a text .* is None'),
        (
            {"data": [{"paragraphs": [{"context": "x"}]}]},
            r'paragraphs\[0\]: SQuAD\'s format has a list "qas"',
        ),
        ({"data": []}, "holds no question: get the file again"),
    ],
)
def test_other_documents_are_refused(wrong, message):
    with pytest.raises(CourseError, match=message):
        squad.parse(wrong, "some.json")


def test_an_id_twice():
    twice = document()
    paragraph = twice["data"][0]["paragraphs"][0]
    paragraph["qas"].append(copy.deepcopy(paragraph["qas"][0]))
    with pytest.raises(CourseError, match=r"qas\[1\]: the id 'q1' was there before"):
        squad.parse(twice)


def test_half_a_file(tmp_path):
    path = tmp_path / "half.json"
    path.write_text(json.dumps(document(), indent=1)[:300])
    with pytest.raises(
        CourseError, match=r"half\.json, line \d+, column \d+: this is not JSON .*half a download"
    ):
        read(path)


def test_repair_moves_answers_and_drops_none(capsys):
    wrong = document(answer_start=30)
    wrong["data"][0]["paragraphs"][0]["context"] = "a tutor, " * 9
    assert squad.parse(wrong, repair=True)[0].answers == (Answer("a tutor", 27),), "the nearest of nine"
    assert "1 of 1 answers moved to the nearest place" in capsys.readouterr().out
    squad.parse(document(), repair=True)
    assert not capsys.readouterr().out
    with pytest.raises(CourseError, match="does not stand in its context"):
        squad.parse(document(text="nobody"), repair=True)


def test_overlapping_places(capsys):
    wrong = document(text="aba", answer_start=3)
    wrong["data"][0]["paragraphs"][0]["context"] = "ababa"
    assert squad.parse(wrong, repair=True)[0].answers == (Answer("aba", 2),)


@pytest.mark.parametrize(
    "name", ["squad/dev-v1.1.json", "squad/dev-sample-v1.1.json", "dev-sample-v1.1.json"]
)
def test_own_files(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    (tmp_path / "squad").mkdir()
    (tmp_path / name).write_text(json.dumps(document()))
    assert len(squad.load("dev")) == 1
    assert f"SQuAD v1.1 dev: 1 questions of {name.split('/')[-1]} in COURSE_DATA" in capsys.readouterr().out


def test_own_files_beside_each_other(tmp_path, monkeypatch, capsys):
    """As `fetch` takes them; v2.0 has files of its own."""
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    for version in ("1.1", "2.0"):
        (tmp_path / f"train-v{version}.json").write_text(json.dumps(document(id=version)))
        assert squad.load("train", version)[0].id == version
        assert "which is not the published file" in capsys.readouterr().out


def test_unknown_split_and_version():
    with pytest.raises(CourseError, match="'test' is not a split of SQuAD: choose one of train, dev"):
        squad.load("test")
    with pytest.raises(CourseError, match=r"'3' is not a version of SQuAD: choose one of 1\.1, 2\.0"):
        squad.load("dev", "3")


# ---- windows


@pytest.mark.parametrize("seed", range(6))
def test_windows_cover_every_token_and_every_question(pieces, seed):
    draw = random.Random(seed)
    examples = some_examples(12, seed)
    room, stride = draw.randint(1, 60), draw.randint(1, 80)
    made = squad.windows(examples, pieces, max_length=8 + 3 + room, stride=stride, max_question=8)
    assert sorted({w.example for w in made}) == list(range(12))
    for number, one in enumerate(examples):
        whole = pieces(one.context, add_special_tokens=False, return_offsets_mapping=True)
        question = pieces(one.question, add_special_tokens=False)["input_ids"][:8]
        covered = collections.Counter()
        spans = []
        for w in (w for w in made if w.example == number):
            begin = next(
                i
                for i in range(len(whole["input_ids"]))
                if whole["offset_mapping"][i] == tuple(w.offsets[0].tolist())
            )
            end = begin + len(w.offsets)
            ids = [101, *question, 102, *whole["input_ids"][begin:end], 102]
            assert w.input_ids.tolist() == ids and len(ids) <= 8 + 3 + room
            assert w.token_type_ids.tolist() == [0] * (len(question) + 2) + [1] * (end - begin + 1)
            assert [tuple(o) for o in w.offsets.tolist()] == whole["offset_mapping"][begin:end]
            covered.update(range(begin, end))
            spans.append((begin, end, w.max_context))
        assert set(covered) == set(range(len(whole["input_ids"])))
        steps = {b - a for (a, *_), (b, *_) in zip(spans, spans[1:], strict=False)}
        assert steps <= {min(stride, 8 + 3 + room - len(question) - 3)}
        for token in covered:
            owners = [i for i, (b, e, best) in enumerate(spans) if b <= token < e and best[token - b]]
            assert owners == [most_context([(b, e) for b, e, _ in spans], token)]


def most_context(spans, token):
    """The index of the window with most context around a token, one after the other as in run_squad.py."""
    best, chosen = None, None
    for i, (begin, end) in enumerate(spans):
        if begin <= token < end:
            score = min(token - begin, end - 1 - token) + 0.01 * (end - begin)
            if best is None or score > best:
                best, chosen = score, i
    return chosen


def test_max_context_of_the_papers_example():
    """Windows of five words at a step of three: "bought" stands last in the second and second in the third."""
    words = "the man went to the store and bought a gallon of milk".split()
    spans = [(0, 5), (3, 8), (6, 11), (9, 12)]
    best = squad._max_context(spans, len(words))
    at = words.index("bought")
    assert [bool(b[at - s]) for b, (s, e) in zip(best, spans, strict=True) if s <= at < e] == [False, True]


@pytest.mark.parametrize("seed", range(4))
def test_labels_give_back_the_answer(pieces, seed):
    examples = some_examples(20, seed + 50)
    made = squad.windows(examples, pieces, max_length=44, stride=12, max_question=12)
    found = collections.Counter()
    for w, (start, end) in zip(made, squad.labels(made), strict=True):
        one = examples[w.example]
        if start == 0:
            assert end == 0
            inside = w.offsets[0, 0] <= one.target.start and one.target.end <= w.offsets[-1, 1]
            assert not inside
            continue
        found[w.example] += 1
        begin, stop = w.offsets[start - w.first, 0], w.offsets[end - w.first, 1]
        assert one.context[begin:stop] == one.target.text
    assert len(found) == 20, "an answer that is shorter than the overlap is whole somewhere"


def test_an_answer_inside_a_word_is_the_whole_word(pieces):
    (w,) = squad.windows([example("The Japanese industry.", "Japan")], pieces)
    assert pieces.convert_ids_to_tokens(w.input_ids[w.start : w.end + 1].tolist()) == ["japanese"]
    (w,) = squad.windows([example("in (1895-1943).", "1895")], pieces)
    assert pieces.convert_ids_to_tokens(w.input_ids[w.start : w.end + 1].tolist()) == ["1895"]


def test_questions_without_an_answer_point_at_cls(pieces):
    made = squad.windows([example(PLAIN)], pieces, max_length=64, stride=16, max_question=20)
    assert len(made) > 2 and not squad.labels(made).any()


def test_batch(pieces):
    made = squad.windows([example(PLAIN), example("Yes.")], pieces)
    both = squad.batch(made)
    assert {name: (rows.shape, rows.dtype) for name, rows in both.items()} == {
        name: ((2, len(made[0].input_ids)), np.dtype("int32"))
        for name in ("input_word_ids", "input_mask", "input_type_ids")
    }
    assert both["input_mask"].sum(1).tolist() == [len(w.input_ids) for w in made]
    text = pieces(example(PLAIN).question, PLAIN)
    assert both["input_word_ids"][0].tolist() == text["input_ids"]
    assert both["input_type_ids"][0].tolist() == text["token_type_ids"]
    assert squad.batch(made[1:], 32, pad=5)["input_word_ids"][0, -1] == 5
    with pytest.raises(CourseError, match="does not fit into 32"):
        squad.batch(made, 32)
    assert squad.batch([], 32)["input_mask"].shape == (0, 32) and squad.labels([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stride": 0}, "at a stride of 0"),
        ({"max_length": 67}, "max_length at least max_question"),
        ({"max_question": 0}, "must be positive"),
        (
            {"stride": None, "max_length": 68},
            r"has 93 tokens, and one window has room for 60: give a stride",
        ),
    ],
)
def test_windows_that_cannot_be(pieces, arguments, message):
    with pytest.raises(CourseError, match=message):
        squad.windows([example(PLAIN)], pieces, **arguments)


def test_contexts_and_answers_without_a_token(pieces):
    with pytest.raises(CourseError, match="Question q0: the tokenizer makes no token of its context"):
        squad.windows([example("\u200b\ufffd")], pieces)
    with pytest.raises(CourseError, match="Question q0: the tokenizer makes no token of the answer"):
        squad.windows([example("one \ufffd two", "\ufffd")], pieces)
    assert squad.windows([], pieces) == []


def test_slow_tokenizers():
    with pytest.raises(CourseError, match="object does not say where its tokens stand: use a fast tokenizer"):
        squad.windows([example(PLAIN)], object())


# ---- answers


def random_logits(made, seed):
    draw = np.random.default_rng(seed)
    return [[3 * draw.normal(size=len(w.input_ids)) for w in made] for _ in range(2)]


@pytest.fixture(scope="module")
def references():
    """What the original codes made of the same windows and logits; its "about" says how."""
    path = Path(__file__).parent / "data" / "squad_references.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def reference_windows(references, pieces):
    examples = squad.parse(references["document"])
    return examples, squad.windows(examples, pieces, **references["windows_of"])


def test_windows_of_the_references(references, reference_windows):
    def digest(window):
        told = [window.input_ids.tolist(), window.max_context.astype(int).tolist()]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    made = reference_windows[1]
    assert [[w.example, digest(w), w.start, w.end] for w in made] == references["windows"]


@pytest.mark.parametrize("seed", range(4))
def test_answers_of_the_references(references, reference_windows, seed):
    """Text and score are those of transformers. Google's text is cut out of words joined by single spaces, and it is
    all these words where they and the tokens do not align, as around [UNK]: it holds ours, and is ours in 65 of 76."""
    examples, made = reference_windows
    draw = np.random.default_rng(seed)
    starts, ends = ([3 * draw.normal(size=len(w.input_ids)) for w in made] for _ in range(2))
    for row in (*starts, *ends):
        row[0] += 7
    limits = references["answers_of"]
    plain = predict(examples, made, starts, ends, **limits)
    kept = predict(examples, made, starts, ends, **limits, null=True)
    for p, q, wanted in zip(plain, kept, references["outcomes"][str(seed)], strict=True):
        google, transformers, score, odds, answered = wanted
        assert p.text() == p.best.text == q.best.text == transformers
        assert "".join(transformers.split()) in "".join(google.split())
        assert p.best.score == q.best.score == pytest.approx(score, abs=1e-9)
        assert q.null_odds == pytest.approx(odds, abs=1e-9)
        assert q.text(threshold=0.0) == (transformers if answered else "")
    if seed == 0:
        for q, wanted in zip(kept, references["n_best"], strict=True):
            assert [span.text for span in q.spans] == [text for text, _, _ in wanted]
            ours = [(span.score, span.probability) for span in q.spans]
            assert np.array(ours) == pytest.approx(np.array([row[1:] for row in wanted]), abs=1e-9)


def test_most_texts_of_google_are_the_same(references):
    pairs = [row[:2] for rows in references["outcomes"].values() for row in rows]
    assert sum(google == ours for google, ours in pairs) == 65 and len(pairs) == 76


@pytest.mark.parametrize("seed", range(3))
def test_answers_are_cut_out_of_their_context(pieces, seed):
    examples = some_examples(15, seed + 90)
    made = squad.windows(examples, pieces, max_length=40, stride=10, max_question=10)
    for one, p in zip(examples, predict(examples, made, *random_logits(made, seed)), strict=True):
        assert p.best.text and all(one.context[s.start : s.end] == s.text for s in p.spans)
        assert sum(s.probability for s in p.spans) == pytest.approx(1)
        assert [s.score for s in p.spans] == sorted((s.score for s in p.spans), reverse=True)


def test_padding_is_ignored(pieces):
    examples = some_examples(6, 3)
    made = squad.windows(examples, pieces, max_length=60, stride=20, max_question=10)
    starts, ends = random_logits(made, 0)
    padded = [[np.append(row, [50.0] * 9) for row in some] for some in (starts, ends)]
    assert predict(examples, made, *padded) == predict(examples, made, starts, ends)


def test_every_question_has_an_answer(pieces):
    """Also where the model points at nothing but the question: the reference implementations say "empty" there."""
    examples = [example(PLAIN)]
    made = squad.windows(examples, pieces)
    starts, ends = random_logits(made, 0)
    for row in (*starts, *ends):
        row[made[0].first :] -= 1000
    best = predict(examples, made, starts, ends, n_best=4)[0].best
    first, tokens = made[0].first, len(made[0].offsets)
    want = max(
        starts[0][first + s] + ends[0][first + e]
        for s in range(tokens)
        for e in range(s, min(tokens, s + 30))
    )
    assert best.score == pytest.approx(want)
    p = predict(examples, made, starts, ends, n_best=1, null=True)[0]
    assert p.text() and p.text(0.0) == "" and p.null_odds > 1000


def test_logits_that_do_not_fit(pieces):
    examples = [example(PLAIN), example("Yes.", number=1)]
    made = squad.windows(examples, pieces)
    starts, ends = random_logits(made, 0)
    for arguments, message in [
        ((examples, made, starts[:1], ends), "2 windows, 1 rows of start logits and 2 of end logits"),
        ((examples, made, [row[:5] for row in starts], ends), "its logits are fewer or not all finite"),
        (
            (examples, made, [row * math.nan for row in starts], ends),
            "its logits are fewer or not all finite",
        ),
        ((examples, made[:1], starts[:1], ends[:1]), "Question q1 has no window"),
    ]:
        with pytest.raises(CourseError, match=message):
            predict(*arguments)
    with pytest.raises(CourseError, match="must be positive, and are 0 and 30"):
        predict(examples, made, starts, ends, n_best=0)


# ---- scores


def official_scores(answers, prediction):
    """Exact match and F1 of one question by the steps of evaluate-v2.0.py."""

    def words(text):
        kept = [c for c in text.lower() if c not in set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")]
        return re.compile(r"\b(a|an|the)\b", re.UNICODE).sub(" ", "".join(kept)).split()

    best = [0, 0]
    for gold in [words(a) for a in answers if words(a)] or [[]]:
        given = words(prediction)
        common = 0
        rest = list(given)
        for word in gold:
            if word in rest:
                rest.remove(word)
                common += 1
        if gold and given:
            p, r = common / len(given), common / len(gold)
            score = 2 * p * r / (p + r) if common else 0
        else:
            score = int(gold == given)
        best = [max(best[0], int(gold == given)), max(best[1], score)]
    return best


@pytest.mark.parametrize(
    ("prediction", "answer", "exact", "overlap"),
    [
        ("the Denver Broncos!", "Denver  broncos", 1, 1),
        ("Denver", "Denver Broncos", 0, 2 / 3),
        ("to be or not to be", "to be to be", 0, 4 / 5),
        ("a man, a plan", "man plan", 1, 1),
        ("theatre", "the atre", 0, 0),
        ("a.m.", "am", 1, 1),
        ("24–10", "2410", 0, 0),  # only ASCII punctuation is taken out
        ("24-10", "2410", 1, 1),
        ("ÉCOLE", "école", 1, 1),
        ("cafe\u0301", "café", 0, 0),  # not the same characters
        ("ISTANBUL", "istanbul", 1, 1),
        ("İ", "i", 0, 0),
        ("東京 タワー", "東京\u3000タワー", 1, 1),
        ("one\u00a0two", "one two", 1, 1),
        ("l'an 1000", "lan 1000", 1, 1),
        ("", "yes", 0, 0),
        ("the", "yes", 0, 0),
    ],
)
def test_one_answer(prediction, answer, exact, overlap):
    for version in ("1.1", "2.0"):
        one = Example("q", "?", answer, (Answer(answer, 0),), "")
        scores = squad.question_scores([one], {"q": prediction}, version)
        assert [s[0] for s in scores] == [exact, pytest.approx(overlap, abs=1e-15)]
        assert official_scores([answer], prediction) == [exact, pytest.approx(overlap, abs=1e-15)]


def test_answers_of_articles_and_punctuation_alone():
    """v1.1 calls them the same and gives no F1; v2.0 takes them for "no answer"."""
    one = Example("q", "?", "The", (Answer("The", 0),), "")
    assert [s[0] for s in squad.question_scores([one], {"q": "a"}, "1.1")] == [1, 0]
    assert [s[0] for s in squad.question_scores([one], {"q": ""}, "2.0")] == [1, 1]


def test_the_best_of_several_answers():
    answers = tuple(Answer(text, 0) for text in ("in 1066", "1066", "the year 1066"))
    one = Example("q", "?", "in 1066", answers, "")
    assert evaluate([one], {"q": "1066"}) == {"exact": 100, "f1": 100, "total": 1}
    assert evaluate([one], {"q": "year 66"})["f1"] == 50


def random_answers(seed, count=300):
    """Examples of v2.0, some without an answer, with predictions and the odds of none."""
    draw = random.Random(seed)
    words = ["the", "a", "Ada", "ada.", "Byron", "1833", "é", "-", "an engine"]
    examples, predictions, odds = [], {}, {}
    for i in range(count):
        texts = [" ".join(draw.choices(words, k=draw.randint(1, 4))) for _ in range(draw.randint(0, 3))]
        examples.append(Example(str(i), "?", "", tuple(Answer(text, 0) for text in texts), ""))
        predictions[str(i)] = " ".join(draw.choices(words, k=draw.randint(0, 3)))
        odds[str(i)] = draw.gauss(0, 3)
    return examples, predictions, odds


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_the_official_ones(seed):
    examples, predictions, _ = random_answers(seed)
    want = [official_scores([a.text for a in e.answers], predictions[e.id]) for e in examples]
    assert np.array_equal(np.array(want), np.array(squad.question_scores(examples, predictions, "2.0")).T)
    found = evaluate(examples, predictions, "2.0")
    has = [bool(e.answers) for e in examples]
    for prefix, chosen in (("", [True] * 300), ("HasAns_", has), ("NoAns_", [not h for h in has])):
        rows = [w for w, c in zip(want, chosen, strict=True) if c]
        assert found[prefix + "total"] == len(rows)
        assert found[prefix + "exact"] == pytest.approx(100 * sum(w[0] for w in rows) / len(rows), abs=1e-12)
        assert found[prefix + "f1"] == pytest.approx(100 * sum(w[1] for w in rows) / len(rows), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_scores_of_the_official_programs(references, seed):
    examples, predictions, odds = random_answers(seed)
    wanted = references["official"][str(seed)]
    answered = [one for one in examples if one.answers]
    found = evaluate(answered, predictions)
    assert [found["exact"], found["f1"]] == pytest.approx(
        [wanted["1.1"]["exact_match"], wanted["1.1"]["f1"]], abs=1e-12
    )
    found = evaluate(examples, predictions, "2.0")
    clear = [e for e in examples if not e.answers or any(squad.normalize(a.text) for a in e.answers)]
    texts = {key: text if squad.normalize(text) else "x" for key, text in predictions.items()}
    for metric in ("exact", "f1"):
        found[f"best_{metric}"] = squad.best_threshold(clear, texts, odds, metric)[1]
    assert found == pytest.approx(wanted["2.0"], abs=1e-12)


@pytest.mark.parametrize("metric", ["exact", "f1"])
@pytest.mark.parametrize("ties", [False, True])
def test_best_threshold(metric, ties):
    """No other threshold gives a better score, and this one gives what it promises."""
    examples, texts, odds = random_answers(9)
    texts = {key: text or "x" for key, text in texts.items()}
    if ties:
        odds = {key: float(round(value)) for key, value in odds.items()}
    threshold, score = squad.best_threshold(examples, texts, odds, metric)

    def at(limit):
        cut = {key: "" if odds[key] > limit else texts[key] for key in texts}
        return evaluate(examples, cut, "2.0")[metric]

    assert at(threshold) == pytest.approx(score)
    assert max(at(limit) for limit in [-math.inf, *odds.values()]) == pytest.approx(score)


def test_answering_nothing_can_be_best():
    examples = [Example(str(i), "?", "x", (), "") for i in range(3)]
    assert squad.best_threshold(examples, dict.fromkeys("012", "x"), dict.fromkeys("012", -9.0)) == (
        -math.inf,
        100.0,
    )


def test_no_question_leaves_the_denominator():
    examples = [example(PLAIN, "a tutor", i) for i in range(4)]
    right = {"q0": "a tutor", "q1": "a tutor"}
    with pytest.raises(CourseError, match="2 of 4 questions have no prediction, the first one is q2"):
        evaluate(examples, right)
    assert evaluate(examples, right | {"q2": "", "q3": ""})["exact"] == 50
    with pytest.raises(CourseError, match="There is no question to score"):
        evaluate([], {})
    with pytest.raises(CourseError, match=r"has no answer: score with version='2\.0'"):
        evaluate([example(PLAIN)], {"q0": ""})
    with pytest.raises(CourseError, match="'2' is not a version"):
        evaluate(examples, right, "2")
