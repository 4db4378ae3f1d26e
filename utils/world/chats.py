"""Persona chats: speaker b has a persona of four sentences and answers from it."""

from typing import TYPE_CHECKING, NamedTuple

from utils.world import lexicon
from utils.world.dice import Dice, Table, words_table
from utils.world.phrases import Sentence, fill, finish

if TYPE_CHECKING:
    from utils.world import World


class Trait(NamedTuple):
    """What a persona can say about itself: the words to choose from, and the sentences around them."""

    values: Table
    persona: Table
    questions: Table
    answers: Table


def _trait(words: str, persona: list[str], questions: list[str], answers: list[str]) -> Trait:
    return Trait(words_table(words.split()), Table(persona), Table(questions), Table(answers))


TRAITS: dict[str, Trait] = {
    "town": _trait(
        lexicon.TOWNS,
        [
            "i_PRON live_VERB* [in_ADP* {value:PROPN}] ._PUNCT",
            "[my_DET home_NOUN*] is_AUX* [in_ADP* {value:PROPN}] ._PUNCT",
        ],
        [
            "where_ADV do_AUX* [you_PRON live_VERB*] ?_PUNCT",
            "which_DET town_NOUN are_AUX* you_PRON from_ADP ?_PUNCT",
        ],
        [
            "i_PRON live_VERB* [in_ADP* {value:PROPN}] ._PUNCT",
            "i_PRON am_AUX* [from_ADP* {value:PROPN}] ._PUNCT",
        ],
    ),
    "job": _trait(
        lexicon.JOBS,
        [
            "i_PRON work_VERB* [as_ADP* [a_DET {value:NOUN}*]] ._PUNCT",
            "i_PRON am_AUX* [a_DET {value:NOUN}*] ._PUNCT",
        ],
        [
            "what_PRON do_AUX* you_PRON [do_VERB* [for_ADP* work_NOUN]] ?_PUNCT",
            "what_PRON is_AUX* [your_DET job_NOUN*] ?_PUNCT",
        ],
        [
            "i_PRON am_AUX* [a_DET {value:NOUN}*] ._PUNCT",
            "i_PRON earn_VERB* [my_DET living_NOUN*] [as_ADP* [a_DET {value:NOUN}*]] ._PUNCT",
        ],
    ),
    "instrument": _trait(
        lexicon.INSTRUMENTS,
        [
            "i_PRON play_VERB* [the_DET {value:NOUN}*] ._PUNCT",
            "i_PRON own_VERB* [an_DET old_ADJ {value:NOUN}*] ._PUNCT",
        ],
        [
            "do_AUX* you_PRON [play_VERB* [an_DET instrument_NOUN*]] ?_PUNCT",
            "are_AUX* you_PRON musical_ADJ ?_PUNCT",
        ],
        [
            "yes_INTJ ,_PUNCT i_PRON play_VERB* [the_DET {value:NOUN}*] ._PUNCT",
            "i_PRON practice_VERB* [the_DET {value:NOUN}*] daily_ADV ._PUNCT",
        ],
    ),
    "hobby": _trait(
        lexicon.HOBBIES,
        ["i_PRON love_VERB* {value:NOUN} ._PUNCT", "[my_DET hobby_NOUN*] is_AUX* {value:NOUN} ._PUNCT"],
        [
            "what_PRON do_AUX* you_PRON [do_VERB* [for_ADP* fun_NOUN]] ?_PUNCT",
            "do_AUX* you_PRON [have_VERB* [a_DET hobby_NOUN*]] ?_PUNCT",
        ],
        [
            "i_PRON enjoy_VERB* {value:NOUN} ._PUNCT",
            "[most_ADJ evenings_NOUN*] i_PRON go_VERB* {value:NOUN} ._PUNCT",
        ],
    ),
    "food": _trait(
        lexicon.FOODS,
        [
            "[my_DET favorite_ADJ food_NOUN*] is_AUX* {value:NOUN} ._PUNCT",
            "i_PRON eat_VERB* {value:NOUN} [every_DET day_NOUN*] ._PUNCT",
        ],
        [
            "what_PRON do_AUX* you_PRON [like_VERB* [to_PART* eat_VERB]] ?_PUNCT",
            "are_AUX* you_PRON hungry_ADJ ?_PUNCT",
        ],
        [
            "i_PRON could_AUX* [eat_VERB* {value:NOUN}] forever_ADV ._PUNCT",
            "i_PRON like_VERB* {value:NOUN} best_ADV ._PUNCT",
        ],
    ),
    "color": _trait(
        lexicon.COLORS,
        [
            "[my_DET favorite_ADJ color_NOUN*] is_AUX* {value:ADJ} ._PUNCT",
            "i_PRON only_ADV wear_VERB* {value:ADJ} clothes_NOUN ._PUNCT",
        ],
        ["which_DET color_NOUN do_AUX* you_PRON prefer_VERB ?_PUNCT"],
        ["i_PRON prefer_VERB* {value:ADJ} ._PUNCT", "{value:ADJ} ,_PUNCT of_ADP* course_NOUN ._PUNCT"],
    ),
    "language": _trait(
        lexicon.LANGUAGES,
        [
            "i_PRON speak_VERB* {value:PROPN} ._PUNCT",
            "i_PRON grew_VERB* up_ADV [speaking_VERB* {value:PROPN}] ._PUNCT",
        ],
        ["do_AUX* you_PRON [speak_VERB* [another_DET language_NOUN*]] ?_PUNCT"],
        [
            "i_PRON speak_VERB* [fluent_ADJ {value:PROPN}*] ._PUNCT",
            "my_DET {value:PROPN} is_AUX* rusty_ADJ ._PUNCT",
        ],
    ),
    "pet": _trait(
        lexicon.PETS,
        [
            "i_PRON have_VERB* [a_DET {value:NOUN}*] ._PUNCT",
            "i_PRON share_VERB* [my_DET flat_NOUN*] [with_ADP* [a_DET {value:NOUN}*]] ._PUNCT",
        ],
        [
            "do_AUX* you_PRON [have_VERB* [any_DET pets_NOUN*]] ?_PUNCT",
            "do_AUX* you_PRON [like_VERB* animals_NOUN] ?_PUNCT",
        ],
        [
            "yes_INTJ ,_PUNCT i_PRON have_VERB* [a_DET {value:NOUN}*] ._PUNCT",
            "[my_DET {value:NOUN}*] keeps_VERB* me_PRON busy_ADJ ._PUNCT",
        ],
    ),
}
NAMES = tuple(TRAITS)
PERSONA_SIZE = 4
UNKNOWN = Table([
    "i_PRON would_AUX* rather_ADV [not_PART say_VERB*] ._PUNCT",
    "[that_PRON is_AUX* [a_DET secret_NOUN*]]* ._PUNCT",
])  # fmt: skip
GREETINGS = Table([
    "hello_INTJ* ,_PUNCT [how_ADV are_AUX* you_PRON] ?_PUNCT",
    "hi_INTJ* there_ADV !_PUNCT",
    "good_ADJ evening_NOUN* ._PUNCT",
])  # fmt: skip
REPLIES = Table([
    "i_PRON am_AUX* fine_ADJ ,_PUNCT thanks_INTJ ._PUNCT",
    "hello_INTJ* !_PUNCT",
    "nice_ADJ* [to_PART* [meet_VERB* you_PRON]] ._PUNCT",
])  # fmt: skip
COMMENTS = Table([
    "[how_ADV interesting_ADJ*]* !_PUNCT",
    "[that_PRON sounds_VERB* nice_ADJ]* ._PUNCT",
    "i_PRON see_VERB* ._PUNCT",
    "[good_ADJ [for_ADP* you_PRON]*]* ._PUNCT",
])  # fmt: skip
EXCHANGES = Table([2, 3, 4], [30, 40, 30])
REMAINING = {n: Table(list(range(n))) for n in range(1, len(NAMES) + 1)}


class Chat(NamedTuple):
    """A dialogue: persona sentences and (speaker, sentence) turns; a turn may hold a comment and a question."""

    persona: list[Sentence]
    turns: list[tuple[str, list[Sentence]]]


def _draw(dice: Dice, names: list[str]) -> str:
    return names.pop(dice.pick(REMAINING[len(names)]))


def chat(world: "World", dice: Dice) -> tuple[Chat, list[Sentence]]:
    """A persona chat, and the sentences of its text: `persona : ... a : ... b : ...`."""
    sentences: list[Sentence] = []

    def say(template: str, value: str | None = None, trait: str = "") -> Sentence:
        sentence = finish(fill(template, value=value) if value else fill(template))
        sentences.append(sentence)
        dice.check(sentence.words)
        return sentence

    def marker(text: str) -> None:
        say(f"{text}_NOUN* :_PUNCT")

    marker("persona")
    persona, persona_sentences = {}, []
    open_traits = list(NAMES)
    for _ in range(PERSONA_SIZE):
        name = _draw(dice, open_traits)
        persona[name] = dice.pick(TRAITS[name].values)
        persona_sentences.append(say(dice.pick(TRAITS[name].persona), persona[name]))
    turns: list[tuple[str, list[Sentence]]] = []

    def turn(speaker: str, *said: tuple[str, str | None]) -> None:
        marker(speaker)
        turns.append((speaker, [say(template, value) for template, value in said]))

    turn("a", (dice.pick(GREETINGS), None))
    turn("b", (dice.pick(REPLIES), None))
    to_ask = list(NAMES)
    for exchange in range(dice.pick(EXCHANGES)):
        comment = [(dice.pick(COMMENTS), None)] if exchange else []
        name = _draw(dice, to_ask)
        turn("a", *comment, (dice.pick(TRAITS[name].questions), None))
        if name in persona:
            turn("b", (dice.pick(TRAITS[name].answers), persona[name]))
        else:
            turn("b", (dice.pick(UNKNOWN), None))
    return Chat(persona_sentences, turns), sentences
