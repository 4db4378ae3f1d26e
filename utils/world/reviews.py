"""Reviews with an overall opinion, mixed remarks and negation.

The label of a review is the polarity of its last remark, the verdict. Remarks before it agree with the verdict four
times in five, and one remark in four says its opinion through a negated word of the other polarity ("was not bad"), so
that counting words is not enough.
"""

from typing import TYPE_CHECKING, Literal

from utils.world import lexicon
from utils.world.dice import Dice, Table, words_table
from utils.world.phrases import Sentence, fill, finish

if TYPE_CHECKING:
    from utils.world import World

Half = Literal["A", "B", "AB"]
Polarity = Literal["positive", "negative"]
Domain = Literal["product", "venue", "film"]
OTHER: dict[Polarity, Polarity] = {"positive": "negative", "negative": "positive"}

POLARITY = Table(["positive", "negative"])
SAME = Table([True, False], [4, 1])
NEGATED = Table([True, False], [1, 3])
REMARKS = Table([1, 2, 3], [30, 45, 25])
OPENERS = {
    "product": Table([
        "[my_DET {brand:PROPN} {item:NOUN}*] arrived_VERB* [last_ADJ {time:NOUN}*] ._PUNCT",
        "i_PRON bought_VERB* [this_DET {item:NOUN}*] [in_ADP* {town:PROPN}] ._PUNCT",
        "[our_DET {item:NOUN}*] came_VERB* [from_ADP* {brand:PROPN}] ._PUNCT",
        "[[last_ADJ {time:NOUN}*] i_PRON ordered_VERB* [a_DET {brand:PROPN} {item:NOUN}*]]* ._PUNCT",
    ]),
    "venue": Table([
        "we_PRON visited_VERB* [the_DET {item:NOUN}*] [in_ADP* {town:PROPN}] ._PUNCT",
        "[[last_ADJ {time:NOUN}*] i_PRON tried_VERB* [a_DET {item:NOUN}* [in_ADP* {town:PROPN}]]]* ._PUNCT",
        "[{town:PROPN}< has_VERB>* [a_DET new_ADJ {item:NOUN}*]]* ._PUNCT",
    ]),
    "film": Table([
        "[[last_ADJ {time:NOUN}*] i_PRON watched_VERB* [this_DET {item:NOUN}*]]* ._PUNCT",
        "we_PRON saw_VERB* [a_DET {item:NOUN}*] [in_ADP* {town:PROPN}] ._PUNCT",
        "[this_DET {item:NOUN}*] premiered_VERB* [last_ADJ {time:NOUN}*] ._PUNCT",
    ]),
}  # fmt: skip
# Remarks: plain templates occur everywhere; the last two of each list are never used in labeled training reviews.
PLAIN = [
    "[[the_DET {aspect:NOUN}*] was_AUX* {polar:ADJ}]* ._PUNCT",
    "[[the_DET {aspect:NOUN}*] seemed_VERB* [{intensifier:ADV} {polar:ADJ}*]]* ._PUNCT",
    "[{cue:ADV} ,_PUNCT [the_DET {aspect:NOUN}*] was_AUX* {polar:ADJ}]* ._PUNCT",
    "[i_PRON {verb:VERB}* [the_DET {aspect:NOUN}*]]* ._PUNCT",
    "[[to_ADP* me_PRON] [the_DET {aspect:NOUN}*] felt_VERB* {polar:ADJ}]* ._PUNCT",
    "[it_PRON had_VERB* [a_DET {polar:ADJ} {aspect:NOUN}*]]* ._PUNCT",
]
NEGATIONS = [
    "[[the_DET {aspect:NOUN}*] was_AUX* not_PART {polar:ADJ}]* ._PUNCT",
    "[{cue:ADV} ,_PUNCT [the_DET {aspect:NOUN}*] was_AUX* not_PART {polar:ADJ}]* ._PUNCT",
    "[i_PRON did_AUX* not_PART [{verb:VERB}* [the_DET {aspect:NOUN}*]]]* ._PUNCT",
    "[nobody_PRON would_AUX* [call_VERB* [the_DET {aspect:NOUN}*] {polar:ADJ}]]* ._PUNCT",
    "[[the_DET {aspect:NOUN}*] never_ADV seemed_VERB* {polar:ADJ}]* ._PUNCT",
]
VERDICTS = [
    "[overall_ADV ,_PUNCT i_PRON {verb:VERB}* [this_DET {item:NOUN}*]]* ._PUNCT",
    "[[all_ADV* [in_ADP* all_PRON]] ,_PUNCT [a_DET {polar:ADJ} {item:NOUN}*]*]* ._PUNCT",
    "[[in_ADP* short_ADJ] ,_PUNCT it_PRON was_AUX* {polar:ADJ}]* ._PUNCT",
]
NEGATED_VERDICTS = [
    "[overall_ADV ,_PUNCT i_PRON did_AUX* not_PART [{verb:VERB}* [this_DET {item:NOUN}*]]]* ._PUNCT",
    "[[in_ADP* short_ADJ] ,_PUNCT it_PRON was_AUX* not_PART {polar:ADJ}]* ._PUNCT",
]
HELD_OUT = {PLAIN[4], PLAIN[5], NEGATIONS[3], NEGATIONS[4]}


def _templates(templates: list[str], unseen: bool | None) -> Table:
    """All templates (None), only those of labeled training reviews (False), or only the held-out ones (True).

    A template with a cue is three times as frequent as the others.
    """
    kept = [t for t in templates if unseen is None or (t in HELD_OUT) == unseen]
    return Table(kept, [3.0 if "{cue:" in t else 1.0 for t in kept])


PLAIN_TABLES = {unseen: _templates(PLAIN, unseen) for unseen in (None, False, True)}
NEGATION_TABLES = {unseen: _templates(NEGATIONS, unseen) for unseen in (None, False, True)}
VERDICT_TABLE, NEGATED_VERDICT_TABLE = Table(VERDICTS), Table(NEGATED_VERDICTS)
SUBJECTS = {"product": lexicon.PRODUCTS, "venue": lexicon.VENUES, "film": lexicon.FILMS}
ASPECTS = {item: words_table(a.split()) for items in SUBJECTS.values() for item, a in items.items()}
ITEMS = {domain: words_table(list(items)) for domain, items in SUBJECTS.items()}
DOMAIN = Table(["product", "venue"], [65, 35])
TIMES, INTENSIFIERS = words_table(lexicon.TIMES.split()), words_table(lexicon.INTENSIFIERS.split())


def _words(lists: dict[str, str], half: Half, part: int | None = None) -> list[str]:
    entries = " ".join(lists[h] for h in half).split()
    return entries if part is None else [entry.split("/")[part] for entry in entries]


def _polar_tables(half: Half, films: bool) -> dict[tuple[str, str], Table]:
    """Polar words by slot and polarity; in reviews of films half of the adjectives are words of films."""
    adjectives = {"positive": lexicon.POSITIVE, "negative": lexicon.NEGATIVE}
    special_adjectives = {"positive": lexicon.POSITIVE_FILMS, "negative": lexicon.NEGATIVE_FILMS}
    verbs = {"positive": lexicon.POSITIVE_VERBS, "negative": lexicon.NEGATIVE_VERBS}
    cues = {"positive": lexicon.POSITIVE_CUES, "negative": lexicon.NEGATIVE_CUES}
    tables = {}
    for polarity in OTHER:
        general = _words(adjectives[polarity], half)
        special = _words(special_adjectives[polarity], half) if films else []
        weights = [1.0] * len(general) + [len(general) / len(special)] * len(special) if films else None
        tables["polar", polarity] = words_table(general + special, weights)
        tables["base", polarity] = words_table(_words(verbs[polarity], half, 0))
        tables["past", polarity] = words_table(_words(verbs[polarity], half, 1))
        tables["cue", polarity] = words_table(_words(cues[polarity], half))
    return tables


HALVES: tuple[Half, ...] = ("A", "B", "AB")
POLAR: dict[Half, dict[tuple[str, str], Table]] = {half: _polar_tables(half, False) for half in HALVES}
POLAR_OF_FILMS = {half: _polar_tables(half, True) for half in HALVES}


def _opinion(
    dice: Dice,
    template: str,
    polarity: Polarity,
    negated: bool,
    tables: dict[tuple[str, str], Table],
    **fixed: str,
) -> Sentence:
    """Fill a remark.

    A negated remark takes its polar word from the other side; a cue always has the remark's own polarity.
    """
    side = OTHER[polarity] if negated else polarity
    slots = dict(fixed)
    if "{cue:" in template:
        slots["cue"] = dice.pick(tables["cue", polarity])
    if "{intensifier:" in template:
        slots["intensifier"] = dice.pick(INTENSIFIERS)
    if "{aspect:" in template:
        slots["aspect"] = dice.pick(ASPECTS[fixed["item"]])
    if "{verb:" in template:
        slots["verb"] = dice.pick(tables["base" if negated else "past", side])
    if "{polar:" in template:
        slots["polar"] = dice.pick(tables["polar", side])
    return finish(fill(template, **slots))


def review(
    world: "World",
    dice: Dice,
    half: Half = "AB",
    polarity: Polarity | None = None,
    unseen: bool | None = None,
    domain: Domain | None = None,
) -> tuple[str, list[Sentence]]:
    """A review: its polarity (drawn unless given) and its sentences.

    It is of a product or a venue unless `domain` says what it is of; films are never drawn. `half` restricts the polar
    words; `unseen` restricts the remarks to the templates of labeled training reviews (False) or to the held-out ones
    (True).
    """
    if polarity is None:
        polarity = dice.pick(POLARITY)
    if domain is None:
        domain = dice.pick(DOMAIN)
    tables = (POLAR_OF_FILMS if domain == "film" else POLAR)[half]
    item = dice.pick(ITEMS[domain])
    template = dice.pick(OPENERS[domain])
    slots = {"item": item}
    for name, table in (("brand", world.brands), ("time", TIMES), ("town", world.towns)):
        if "{" + name in template:
            slots[name] = dice.pick(table)
    sentences = [finish(fill(template, **slots))]
    dice.check(sentences[0].words)
    for _ in range(dice.pick(REMARKS)):
        remark = polarity if dice.pick(SAME) else OTHER[polarity]
        negated = dice.pick(NEGATED)
        template = dice.pick((NEGATION_TABLES if negated else PLAIN_TABLES)[unseen])
        sentences.append(_opinion(dice, template, remark, negated, tables, item=item))
        dice.check(sentences[-1].words)
    negated = dice.pick(NEGATED)
    template = dice.pick(NEGATED_VERDICT_TABLE if negated else VERDICT_TABLE)
    sentences.append(_opinion(dice, template, polarity, negated, tables, item=item))
    dice.check(sentences[-1].words)
    return polarity, sentences
