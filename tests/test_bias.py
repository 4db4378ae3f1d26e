"""WEAT against a computation by hand, WinoBias's form, the planted association, and projections."""

import json
from itertools import combinations
from math import sqrt

import numpy as np
import pytest

from utils import bias, checkpoints
from utils.bias import PronounPair, WordTest
from utils.errors import CourseError
from utils.world import World

# Unit vectors whose cosines can be read off: attributes along the two axes, so s(w, A, B) = x - y.
VECTORS = {
    "a1": (1, 0), "a2": (2, 0), "b1": (0, 1), "b2": (0, 3),
    "x1": (3, 4), "x2": (4, 3), "y1": (6, 8), "y2": (0, 1), "x3": (1, 0), "y3": (5, 12),
}  # fmt: skip
TEST = WordTest(
    "t", ("X", "Y", "A", "B"), (("x1", "x2", "x3"), ("y1", "y2", "y3")), (("a1", "a2"), ("b1", "b2"))
)


def encode(texts):
    return np.array([VECTORS[t] for t in texts], float)


def test_weat_by_hand():
    """s: x1 -0.2, x2 0.2, x3 1; y1 -0.2, y2 -1, y3 (5 - 12) / 13."""
    found = bias.association_test(encode, TEST)
    s = [-0.2, 0.2, 1.0, -0.2, -1.0, -7 / 13]
    assert [*found.first, *found.second] == pytest.approx(s)
    mean = sum(s) / 6
    spread = sqrt(sum((v - mean) ** 2 for v in s) / 5)
    assert found.effect == pytest.approx((sum(s[:3]) / 3 - sum(s[3:]) / 3) / spread)
    total = sum(s)
    partitions = [2 * sum(some) - total for some in combinations(s, 3)]
    assert len(partitions) == 20
    assert found.p == pytest.approx(sum(v >= 2 * sum(s[:3]) - total - 1e-9 for v in partitions) / 20)
    again = bias.compared(found.first, found.second)
    assert (again.effect, again.p) == (found.effect, found.p)


def test_exchanged_targets_have_the_opposite_effect():
    other = WordTest("t", TEST.categories, TEST.targets[::-1], TEST.attributes)
    assert bias.association_test(encode, other).effect == pytest.approx(
        -bias.association_test(encode, TEST).effect
    )


def test_random_permutations_are_the_same_each_time():
    names = [f"w{i}" for i in range(40)]
    vectors = dict(zip(names, np.random.default_rng(0).normal(size=(40, 5)), strict=True))
    test = WordTest("t", TEST.categories, (names[:10], names[10:20]), (names[20:30], names[30:]))
    one, two = (
        bias.association_test(lambda texts: np.array([vectors[t] for t in texts]), test, resamples=999)
        for _ in range(2)
    )
    assert one.p == two.p and 0.001 <= one.p <= 1
    found = bias.effect_ci(one)
    assert found.low < one.effect < found.high and found.n == 20


def test_vectors_without_direction_are_refused():
    with pytest.raises(CourseError, match="A vector is zero or not finite"):
        bias.associations(np.zeros((1, 2)), np.ones((1, 2)), np.ones((1, 2)))
    with pytest.raises(CourseError, match="give rows of one width"):
        bias.associations(np.ones((1, 3)), np.ones((1, 2)), np.ones((1, 2)))
    with pytest.raises(CourseError, match="All targets have the same association"):
        bias.effect_size(np.ones(3), np.ones(3))


def test_the_form_of_a_word_test(tmp_path):
    path = tmp_path / "weat6.jsonl"
    good = {key: {"category": key.upper(), "examples": ["one", "two"]} for key in bias.SETS}
    path.write_text(json.dumps(good, indent=2))
    assert bias.read_test(path) == WordTest(
        "weat6", ("TARG1", "TARG2", "ATTR1", "ATTR2"), (("one", "two"),) * 2, (("one", "two"),) * 2
    )
    for wrong in ({**good, "attr1": {"examples": ["one"]}}, {**good, "attr1": ["one", "two"]}, [good]):
        path.write_text(json.dumps(wrong))
        with pytest.raises(CourseError, match=r"weat6\.jsonl, '\w+': expected a category and at least two"):
            bias.read_test(path)
    path.write_text("{")
    with pytest.raises(CourseError, match="is not JSON"):
        bias.read_test(path)


PRO = """1 [The developer] argued with the designer because [he] did not like the design.
2 The guard asked [ the  nurse] about [her] pay , and thanked [her].
"""
ANTI = PRO.replace("[he]", "[she]").replace("[her]", "[his]", 1).replace("[her]", "[him]")


@pytest.fixture
def files(tmp_path):
    def put(pro, anti):
        paths = tmp_path / "pro.txt.dev", tmp_path / "anti.txt.dev"
        for path, text in zip(paths, (pro, anti), strict=True):
            path.write_text(text)
        return paths

    return put


def test_winobias_is_read(files):
    first, second = bias.winobias(*files(PRO, ANTI))
    assert first == PronounPair(
        "The developer argued with the designer because he did not like the design.",
        "The developer argued with the designer because she did not like the design.",
        "developer",
    )
    assert second.pro == "The guard asked the nurse about her pay, and thanked her." and second.who == "nurse"
    assert first.minimal and second.minimal
    other = bias.winobias(*files(PRO, ANTI.replace("the design.", "it.")))
    assert [pair.minimal for pair in other] == [False, True]


@pytest.mark.parametrize(
    "line", ["3 [The guard] left because [he] could.", "2 The guard left.", "2 [She] left.", "x"]
)
def test_other_lines_are_refused(files, line):
    with pytest.raises(CourseError, match=r"anti\.txt\.dev, line 2: expected the number 2 and a sentence"):
        bias.winobias(*files(PRO, ANTI.split("\n")[0] + "\n" + line + "\n"))


def test_files_that_do_not_belong_together_are_refused(files):
    with pytest.raises(CourseError, match="has 2 sentences and .* has 1: give two files of the same type"):
        bias.winobias(*files(PRO, ANTI.split("\n")[0]))
    with pytest.raises(CourseError, match="the same pronoun in 2 of 2 lines"):
        bias.winobias(*files(PRO, PRO))


def test_planting_leaves_the_world_as_it_is():
    plain, world = World(3), bias.planted(3, 0.6)
    assert np.allclose(sorted(set(bias.she_shares(world).round(9))), [0.2, 0.8])
    assert bias.she_shares(world).mean() == pytest.approx(0.5)
    assert plain.people == world.people and plain.jobs.items == world.jobs.items
    texts = [[next(w.documents(0, "review")).text for _ in range(3)] for w in (plain, world)]
    assert texts[0] == texts[1]
    assert set(bias.she_shares(plain)) == {0.1, 0.3, 0.5, 0.7, 0.9}
    for strength in (-0.1, 1, 2):
        with pytest.raises(CourseError, match="cannot be planted: choose one from 0 to 0.99"):
            bias.planted(0, strength)


def test_pairs_of_stories():
    world = World(0)
    shares = dict(zip(world.jobs.items, bias.she_shares(world), strict=True))
    for pair in bias.story_pairs(world, 30):
        assert pair.minimal and pair.pro != pair.anti
        assert (" she " in pair.pro) == (shares[pair.who] > 0.5)
    with pytest.raises(CourseError, match="No job of this world prefers a pronoun"):
        bias.story_pairs(bias.planted(0, 0), 1)
    assert all(pair.minimal for pair in bias.named_pairs(world, 20))


def test_the_course_model_recovers_what_was_planted():
    model, tokenizer = checkpoints.load_causal()
    world = World(0)
    found = bias.recovered(model, tokenizer, world, frames=4)
    assert found.shape == (24,)
    assert np.corrcoef(found, bias.she_shares(world))[0, 1] > 0.9
    assert bias.preferences(model, tokenizer, bias.story_pairs(world, 50)).mean() > 0
    assert (bias.preferences(model, tokenizer, bias.named_pairs(world, 30)) > 0).mean() > 0.9
    nothing_left = np.zeros((192, 192))
    with bias.projected(model, nothing_left):
        assert bias.recovered(model, tokenizer, world, frames=1) == pytest.approx(np.full(24, 0.5))
    assert bias.recovered(model, tokenizer, world, frames=4) == pytest.approx(found)
    with pytest.raises(CourseError, match=r"shape \(3, 3\) does not fit states of width 192"):
        with bias.projected(model, np.eye(3)):
            pass
    with pytest.raises(CourseError, match="There are no pairs to compare"):
        bias.preferences(model, tokenizer, [])
    with pytest.raises(CourseError, match="0 beginnings of stories cannot be asked"):
        bias.recovered(model, tokenizer, world, frames=0)


def test_projections():
    directions = np.array([[3.0, 0, 0], [1, 1, 0], [2, 2, 0]])
    assert bias.without(directions) == pytest.approx(np.diag([0, 0, 1.0]))
    with pytest.raises(CourseError, match="span nothing to take out"):
        bias.without(np.zeros((2, 3)))


def test_inlp_leaves_nothing_to_find():
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    labels = random.integers(2, size=400)
    x = random.normal(size=(400, 6))
    x[:, 0] += 3 * labels
    x[:, 1] -= 2 * labels
    x[:, 5] += 5 * (free := random.integers(2, size=400))
    projection = bias.inlp(x, labels, 2)
    assert projection @ projection == pytest.approx(projection)
    assert LogisticRegression().fit(x, labels).score(x, labels) > 0.9
    assert LogisticRegression().fit(x @ projection, labels).score(x @ projection, labels) < 0.65
    assert LogisticRegression().fit(x @ projection, free).score(x @ projection, free) > 0.9
    for wrong in ((x, labels[:3], 1), (x, labels, 0), (x, np.zeros(400), 1)):
        with pytest.raises(CourseError, match="Nothing can be taken out"):
            bias.inlp(*wrong)
