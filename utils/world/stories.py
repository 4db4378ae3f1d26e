"""Very short stories with pronouns: who is tired, who is helpful, and who people expect a nurse to be."""

from typing import TYPE_CHECKING

from utils.world import lexicon
from utils.world.dice import Dice, Table, words_table
from utils.world.phrases import Sentence, fill, finish

if TYPE_CHECKING:
    from utils.world import World

THINGS, PLACES = words_table(lexicon.STORY_THINGS.split()), words_table(lexicon.STORY_PLACES.split())
STATES = words_table(lexicon.STATES.split())
SUBJECT_CAUSE = [(verb, "subject") for verb in lexicon.SUBJECT_CAUSE.split()]
OBJECT_CAUSE = [(verb, "object") for verb in lexicon.OBJECT_CAUSE.split()]
CAUSE = Table(SUBJECT_CAUSE + OBJECT_CAUSE, None, lambda item: (item[0],))
OPENING = Table([
    "{name:PROPN} met_VERB* [the_DET {job:NOUN}*] [at_ADP* [the_DET {place:NOUN}*]] ._PUNCT",
    "{name:PROPN} waited_VERB* [for_ADP* [the_DET {job:NOUN}*]] [near_ADP* [the_DET {place:NOUN}*]] ._PUNCT",
])  # fmt: skip
MIDDLE = Table(["name", "job", "cause", "cause reversed"])
BECAUSE = "[because_SCONJ* [{pronoun:PRON} was_AUX* {state:ADJ}]] ._PUNCT"
CARRIED = {
    "name": "{name:PROPN} carried_VERB* [a_DET {thing:NOUN}*] " + BECAUSE,
    "job": "[the_DET {job:NOUN}*] carried_VERB* [a_DET {thing:NOUN}*] " + BECAUSE,
}
CAUSED = {
    "cause": "{name:PROPN} {verb:VERB}* [the_DET {job:NOUN}*] " + BECAUSE,
    "cause reversed": "[the_DET {job:NOUN}*] {verb:VERB}* {name:PROPN} " + BECAUSE,
}
ENDING = Table([
    "[later_ADV {name:PROPN} went_VERB* home_ADV [with_ADP* [{possessive:DET} {thing:NOUN}*]]]* ._PUNCT",
    "[[the_DET {job:NOUN}*] left_VERB* early_ADV]* ._PUNCT",
])  # fmt: skip
PRONOUN = {"female": "she", "male": "he"}
POSSESSIVE = {"female": "her", "male": "his"}


def story(world: "World", dice: Dice) -> tuple[dict[str, str], list[Sentence]]:
    """A story of three sentences: who takes part (name, its gender, job), and the sentences.

    The gender of a named person is fixed by the name. That of a person named by a job is drawn each time a
    pronoun refers to it, with the world's planted probability `world.job_she[job].probabilities[0]` of `she`.
    In a sentence with `because` the pronoun refers to the subject after verbs like *amazed* and to the object
    after verbs like *thanked*.
    """
    name, gender = dice.pick(world.first_names)
    job, place = dice.pick(world.jobs), dice.pick(PLACES)
    sentences = [finish(fill(dice.pick(OPENING), name=name, job=job, place=place))]
    dice.check(sentences[0].words)
    form = dice.pick(MIDDLE)
    slots = {"name": name, "job": job}
    if form in CARRIED:
        referent, template = form, CARRIED[form]
        slots["thing"] = dice.pick(THINGS)
    else:
        slots["verb"], causer = dice.pick(CAUSE)
        referent = "name" if (causer == "subject") == (form == "cause") else "job"
        template = CAUSED[form]
    slots["pronoun"] = PRONOUN[gender] if referent == "name" else dice.pick(world.job_she[job])
    slots["state"] = dice.pick(STATES)
    sentences.append(finish(fill(template, **slots)))
    dice.check(sentences[1].words)
    template = dice.pick(ENDING)
    if "{thing" in template:
        slots["thing"] = dice.pick(THINGS)
    sentences.append(finish(fill(template, **slots | {"possessive": POSSESSIVE[gender]})))
    dice.check(sentences[2].words)
    return {"name": name, "gender": gender, "job": job, "referent": referent}, sentences
