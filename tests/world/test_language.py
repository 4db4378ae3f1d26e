"""Second languages: one to one, with the wanted share of words, the same for the same seed."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.errors import CourseError
from utils.settings import root
from utils.world import World
from utils.world.language import Language


@pytest.fixture(scope="module")
def words(world: World) -> list[str]:
    return [word for document in world.corpus(100_000) for word in document.words]


def types(words: list[str]) -> set[str]:
    return {word for word in words if any(map(str.isalpha, word))}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shared", [0, 0.1, 0.5, 0.9, 1])
def test_one_to_one_with_the_wanted_share(words: list[str], shared: float, seed: int) -> None:
    language = Language(words, shared, seed)
    assert language.forms.keys() == set(words)
    assert len(set(language.forms.values())) == len(language.forms)
    same = {word for word, form in language.forms.items() if word == form}
    assert same == language.shared | (set(words) - types(words))
    assert len(language.shared) / len(types(words)) == pytest.approx(shared, abs=0.002)
    assert not set(words) & {language.forms[word] for word in set(words) - same}


def test_inverse(words: list[str]) -> None:
    language = Language(words, 0.3, 1)
    assert len(language.translate(words)) == len(words)
    assert list(language.inverse(language.translate(words))) == words


@given(st.lists(st.text("abcdefs.", min_size=1, max_size=8), min_size=1), st.floats(0, 1))
def test_any_words_will_do(words: list[str], shared: float) -> None:
    language = Language(words, shared, 0)
    assert len(set(language.forms.values())) == len(set(words))
    assert list(language.inverse(language.translate(words))) == words


def test_the_same_for_the_same_seed(words: list[str]) -> None:
    assert (
        Language(words, 0.5, 1).forms
        == Language(sorted(words), 0.5, 1).forms
        != Language(words, 0.5, 2).forms
    )
    code = (
        "from utils.world.language import Language\n"
        "words = 'the dog sees the dogs run in a green field'.split()\n"
        "print(Language(words, 0.4, 3).translate(words))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root(),
            env={"PYTHONHASHSEED": hashes, "PATH": ""},
        ).stdout
        for hashes in "12"
    }  # fmt: skip
    assert len(runs) == 1


def test_a_larger_share_keeps_more_and_changes_nothing_else(words: list[str]) -> None:
    less, more = Language(words, 0.2, 4), Language(words, 0.6, 4)
    assert less.shared < more.shared
    assert all(less.forms[word] == more.forms[word] for word in types(words) - more.shared)


def test_inflections_stay_related(words: list[str]) -> None:
    language = Language(words, 0, 0)
    nouns = ["goat", "queen", "singer", "bakery", "wolf"]
    plurals = ["goats", "queens", "singers", "bakeries", "wolves"]
    endings = {
        new.removeprefix(stem)
        for stem, new in zip(language.translate(nouns), language.translate(plurals), strict=True)
    }
    assert len(endings) == 1 and endings.pop().isalpha()
    assert language.forms["thanked"].startswith(language.forms["thank"])
    half = Language(words, 0.5, 0)
    assert all(
        (noun in half.shared) == (form in half.shared) for noun, form in zip(nouns, plurals, strict=True)
    )


def test_function_words_and_content_words_change_alike(words: list[str]) -> None:
    kept = [Language(words, 0.5, seed).shared for seed in range(20)]
    for word in ("the", "that", "was", "goat", "good", "sings"):
        assert 2 < sum(word in shared for shared in kept) < 18


def test_a_language_of_a_world_holds_its_words(world: World) -> None:
    language = Language(world, 0, 0)
    for document in world.corpus(200_000, "other"):
        language.translate(document.words)


def test_mistakes_get_one_sentence() -> None:
    with pytest.raises(CourseError, match="cannot share 25 of its words: choose a share from 0 to 1"):
        Language(["a"], 25, 0)
    with pytest.raises(CourseError, match="needs words"):
        Language([], 0.5, 0)
    language = Language(["goat", "sheep"], 0, 0)
    for look_up in (language.translate, language.inverse):
        with pytest.raises(
            CourseError, match="'cow' is not a word of the language: make the language from all texts"
        ):
            look_up(["cow"])
