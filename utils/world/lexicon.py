"""The words of the course world, by hand.

Twelve topics hold the vocabulary of the scenes. Each topic lists persons, animals, things, places, transitive verbs with
the things they go with, intransitive verbs and adjectives. Verbs and adjectives belong to one topic only; a few nouns
stand in two topics on purpose (`bat`, `seal`, `organ`): they are the ambiguous words of the labs. Many verbs are also
nouns (`guards`, `plants`, `records`), so that a word alone does not give away its part of speech.
"""

TOPICS: dict[str, dict[str, str]] = {
    "farm": {
        "persons": "farmer shepherd milkmaid gardener rancher picker miller beekeeper",
        "animals": "goat hen sheepdog mouse",
        "things": "tractor plow fence bucket pumpkin haystack plant seed cart egg trough orchard harvest load",
        "places": "barn meadow field stable mill",
        "transitive": "fence:field+meadow+orchard cart:haystack+pumpkin plow:field+orchard+meadow harvest:pumpkin+haystack+plant feed:hen+goat+sheepdog water:plant+orchard+pumpkin "
        "milk:goat mend:fence+cart+trough plant:seed+pumpkin+orchard load:cart+haystack+bucket herd:goat+hen gather:egg+haystack+seed",
        "intransitive": "graze bleat ripen rake weed",
        "adjectives": "muddy fertile rustic woolly barren sunlit",
    },
    "sea": {
        "persons": "sailor captain fisherman diver pirate mate docker helmsman",
        "animals": "seal gull dolphin crab",
        "things": "anchor sail net boat rope compass oar raft lantern crate hull mast splash dive",
        "places": "harbor lighthouse pier island cove dock",
        "transitive": "chart:cove+island+harbor anchor:boat+raft row:boat+raft cast:net+rope+anchor hoist:sail+mast+anchor steer:boat+raft "
        "repair:hull+net+oar+mast dock:boat+raft unload:crate+boat fish:cove+harbor salvage:crate+anchor+compass",
        "intransitive": "drift dive splash float surface",
        "adjectives": "salty stormy seaworthy tidal foggy barnacled",
    },
    "kitchen": {
        "persons": "cook baker waiter butcher brewer grocer taster dishwasher",
        "animals": "cat lobster fly moth",
        "things": "oven pot pan spoon scale pitcher knife stove biscuit stew pie recipe brew feast taste",
        "places": "kitchen pantry cellar bakery counter",
        "transitive": "cook:stew+pie+lobster bake:pie+biscuit stir:stew+pot season:stew+pan+pie knead:biscuit chop:pie+biscuit "
        "scrub:pot+pan+oven+stove heat:oven+stove+pan taste:stew+pie+biscuit brew:stew+recipe",
        "intransitive": "simmer boil fry feast crumble",
        "adjectives": "greasy crispy savory spicy burnt raw",
    },
    "hospital": {
        "persons": "nurse doctor surgeon patient midwife dentist medic pharmacist",
        "animals": "leech parrot rat hamster",
        "things": "bandage organ needle pill syringe bed stretcher chart wound monitor drug vaccine cough sneeze test",
        "places": "ward clinic laboratory wing pharmacy",
        "transitive": "treat:wound+organ bandage:wound inject:drug+vaccine examine:organ+wound+chart monitor:organ+wound+bed "
        "prescribe:pill+drug sterilize:needle+syringe+bed transplant:organ test:drug+vaccine+pill stitch:wound",
        "intransitive": "recover faint sneeze ache cough",
        "adjectives": "sterile feverish contagious bloody healthy numb",
    },
    "school": {
        "persons": "teacher student pupil tutor principal coach librarian janitor",
        "animals": "spider turtle snail worm",
        "things": "book table desk pencil essay map globe ruler lesson notebook puzzle poster review whisper giggle",
        "places": "classroom library playground campus hallway",
        "transitive": "study:map+book+lesson+globe read:book+essay+map grade:essay+notebook+puzzle write:essay+book+lesson "
        "draw:map+poster+table borrow:book+pencil+ruler memorize:lesson+table+map color:map+poster+globe sharpen:pencil "
        "review:essay+lesson+book",
        "intransitive": "graduate whisper giggle daydream recite",
        "adjectives": "diligent studious illegible punctual bookish curious",
    },
    "music": {
        "persons": "singer drummer conductor pianist composer dancer star violinist",
        "animals": "canary cricket nightingale puppy",
        "things": "violin drum organ song key note album scale trumpet piano record microphone dance march hum",
        "places": "stage theater studio opera ballroom",
        "transitive": "play:violin+drum+organ+trumpet+piano record:song+album tune:violin+piano+organ compose:song+album "
        "sing:song+note+scale rehearse:song+scale hum:song+note amplify:violin+drum+trumpet strum:violin+key "
        "perform:song+album",
        "intransitive": "dance clap improvise bow serenade",
        "adjectives": "melodic shrill rhythmic deafening acoustic sonorous",
    },
    "forest": {
        "persons": "hunter ranger woodcutter hiker scout hermit poacher trapper",
        "animals": "bat crane fox wolf",
        "things": "branch trail log axe trap tent campfire mushroom leaf berry twig nest hike howl hunt",
        "places": "forest cabin clearing bank cave camp",
        "transitive": "map:trail+cave+forest hunt:fox+wolf+crane track:fox+wolf fell:log+branch trap:fox+crane split:log+branch+twig "
        "explore:cave+bank+clearing light:campfire pitch:tent pick:berry+mushroom+leaf carve:twig+branch+log",
        "intransitive": "howl prowl forage hike shiver nest",
        "adjectives": "mossy leafy feral wooded thorny shaded",
    },
    "city": {
        "persons": "driver mechanic cyclist conductor mayor guard plumber painter",
        "animals": "pigeon poodle raccoon sparrow",
        "things": "bus crane taxi bridge train engine brick pipe signal elevator drill sidewalk crash detour honk",
        "places": "station garage tower plant avenue park",
        "transitive": "book:taxi+train drive:bus+taxi+train park:bus+taxi guard:bridge+station+tower paint:bridge+elevator+taxi "
        "build:bridge+tower+sidewalk drill:brick+pipe demolish:bridge+tower inspect:engine+pipe+signal+drill "
        "board:train+bus pave:sidewalk+avenue",
        "intransitive": "commute honk crash detour hurry signal",
        "adjectives": "crowded urban rusty concrete noisy municipal",
    },
    "sport": {
        "persons": "goalkeeper runner referee pitcher champion swimmer boxer skater",
        "animals": "horse greyhound bull pony",
        "things": "ball bat medal racket helmet goal trophy whistle score glove jersey hurdle kick sprint race throw catch swing",
        "places": "stadium court gym pool arena",
        "transitive": "kick:ball score:goal strike:goal+hurdle win:medal+trophy throw:ball+glove catch:ball "
        "defend:goal+trophy swing:bat+racket jump:hurdle polish:medal+trophy+helmet",
        "intransitive": "sprint train sweat race stumble whistle",
        "adjectives": "athletic undefeated sweaty agile muscular victorious",
    },
    "space": {
        "persons": "astronaut pilot scientist engineer inventor physicist astronomer technician",
        "animals": "chimp jellyfish octopus beetle",
        "things": "rocket telescope star planet satellite probe wing comet robot lens panel battery launch program spin glow",
        "places": "spaceport observatory crater hangar orbit",
        "transitive": "orbit:planet+star+comet probe:crater+comet launch:rocket+satellite+probe observe:star+planet+comet program:robot+probe measure:star+comet+crater "
        "assemble:telescope+robot+panel calibrate:lens+telescope charge:battery+robot film:planet+comet+rocket "
        "name:planet+star+comet pilot:rocket",
        "intransitive": "hover glow spin explode levitate",
        "adjectives": "lunar weightless robotic distant cosmic metallic",
    },
    "castle": {
        "persons": "king knight queen jester wizard squire archer blacksmith",
        "animals": "dragon falcon stallion hound",
        "things": "crown sword shield key seal throne banner scroll cannon gauntlet torch spell duel joust",
        "places": "castle dungeon court gate palace",
        "transitive": "scale:castle+palace crown:king+queen+wizard forge:sword+shield+key+gauntlet besiege:castle+palace+gate seal:scroll+dungeon+gate wield:sword+torch+cannon "
        "steal:crown+scroll+key carry:banner+torch+shield unlock:gate+dungeon buckle:gauntlet+crown hammer:sword+gauntlet "
        "raise:banner+shield",
        "intransitive": "reign duel kneel march joust",
        "adjectives": "royal ancient enchanted noble cursed gilded",
    },
    "office": {
        "persons": "clerk manager lawyer secretary banker accountant broker auditor",
        "animals": "goldfish cockroach ferret gecko",
        "things": "contract invoice note printer mouse computer budget report bill stamp file letter memo audit yawn",
        "places": "office bank boardroom lobby archive",
        "transitive": "sign:contract+bill+letter stamp:letter+invoice+file file:report+invoice+bill print:report+contract+letter "
        "pay:bill+invoice audit:budget+bank approve:budget+contract+report mail:letter+note+contract schedule:report+budget "
        "type:letter+note+report",
        "intransitive": "resign negotiate yawn retire doodle",
        "adjectives": "bureaucratic overdue confidential corporate tidy clerical",
    },
}

# Verbs between persons, outside the topics: base, third person, participle. They make roles that word order alone decides.
SOCIAL = (
    "help helps helped,thank thanks thanked,visit visits visited,call calls called,follow follows followed,trust trusts trusted,"
    "warn warns warned,praise praises praised,greet greets greeted,join joins joined,invite invites invited,ignore ignores ignored"
)
REPORTING = "say think know hope claim doubt"
NOUN_PREPOSITIONS = "near behind beside with above"
PLACE_PREPOSITIONS = "in at"
ADVERBS = "today often now again slowly quietly together early"

# Polar words of the reviews, in two halves. No labeled training review ever shows a word of half B.
POSITIVE = {
    "A": "good great lovely superb pleasant delightful charming excellent perfect reliable elegant brilliant fresh sturdy generous "
    "comfortable",
    "B": "wonderful splendid fantastic admirable marvelous exquisite flawless terrific stunning dependable graceful outstanding "
    "vibrant solid gorgeous cozy",
}
NEGATIVE = {
    "A": "bad awful poor horrible unpleasant dreadful disappointing terrible useless unreliable ugly faulty stale flimsy stingy "
    "uncomfortable",
    "B": "lousy dismal pathetic atrocious mediocre ghastly defective abysmal worthless shabby clumsy miserable bland brittle hideous "
    "cramped",
}
POSITIVE_VERBS = {
    "A": "like/liked love/loved enjoy/enjoyed admire/admired",
    "B": "adore/adored applaud/applauded cherish/cherished favor/favored",
}
NEGATIVE_VERBS = {
    "A": "hate/hated dislike/disliked regret/regretted despise/despised",
    "B": "loathe/loathed resent/resented detest/detested curse/cursed",
}
POSITIVE_CUES = {"A": "happily luckily", "B": "fortunately thankfully"}
NEGATIVE_CUES = {"A": "sadly unluckily", "B": "unfortunately regrettably"}
INTENSIFIERS = "very really quite rather truly"

# What is reviewed: item and its aspects.
PRODUCTS = {
    "camera": "lens screen flash zoom",
    "phone": "screen speaker camera charger",
    "laptop": "keyboard screen hinge fan",
    "kettle": "handle lid switch spout",
    "guitar": "neck bridge finish tone",
    "bicycle": "saddle brake chain frame",
    "watch": "strap dial clasp glass",
    "jacket": "zipper lining collar pocket",
    "backpack": "strap zipper pocket lining",
    "sofa": "cushion fabric frame armrest",
    "lamp": "switch shade base bulb",
    "blender": "blade motor lid jar",
    "radio": "antenna speaker dial tone",
    "tablet": "screen charger speaker case",
    "mattress": "foam cover spring edge",
    "umbrella": "handle frame fabric tip",
}
VENUES = {
    "restaurant": "soup waitress dessert menu",
    "hotel": "room breakfast view terrace",
    "museum": "exhibit guide ticket gallery",
    "cafe": "coffee cake terrace barista",
    "cinema": "seat popcorn sound film",
    "zoo": "tour enclosure ticket path",
    "spa": "sauna massage towel pool",
    "hostel": "dorm shower breakfast locker",
}
# Films are reviewed in target text only, never in the corpus that the course's models are pretrained on: these nouns and
# polar words are new to them. Reviews of films use the general polar words as well.
FILMS = {
    "comedy": "plot cast script dialogue",
    "thriller": "plot twist villain soundtrack",
    "western": "hero landscape duel camerawork",
    "musical": "choreography soundtrack costume cast",
    "documentary": "narrator footage topic pacing",
    "drama": "script cast dialogue finale",
    "sequel": "plot hero finale pacing",
    "cartoon": "animation hero soundtrack narrator",
}
POSITIVE_FILMS = {
    "A": "gripping touching witty hilarious inventive suspenseful heartfelt subtle",
    "B": "riveting poignant clever enthralling uplifting masterful captivating thoughtful",
}
NEGATIVE_FILMS = {
    "A": "boring predictable wooden tedious silly pretentious sloppy shallow",
    "B": "dull contrived lifeless dreary laughable bloated incoherent forgettable",
}
BRANDS = "zenko arlo vexa kora minto tavo lumo pirro sella dorin novak ferra halden ulmo quanto brio"
TIMES = "week month year weekend spring summer autumn winter"

FEMALE = (
    "mara clara nora elena ida greta vera sonja paula lena carla hilda rosa anna julia stella irene laura doris edith flora helen "
    "marta olga petra ruth sylvia tilda ursula wanda agnes betty celia diana emma freya gloria hanna ingrid joan"
)
MALE = (
    "cyrus oscar victor hugo felix arthur bruno carl david edgar frank george henry ivan jacob karl leo martin nathan oliver peter "
    "quentin robert simon thomas ulric vincent walter xavier adam boris conrad derek ernest fabian gregor harold isaac julian kevin"
)
SURNAMES = (
    "stoneman hartley winslow barlow cranston delaney eastwood farrow grayson holloway ingram jarvis keller lockwood merrick norwood "
    "osborne prescott quimby radcliffe sheldon thornton underhill vance wexford yardley abbott bishop calder dawson ellery fenwick "
    "garner hobbs irving jessup kendall langley monroe newell"
)
TOWNS = (
    "langham ravenbridge oakhaven elmstead fairwick glenmore hollowbrook ironford kestrelton lakeshire millbury northgate otterburn "
    "pinecrest quarrington rosedale silverton thistledown umberleigh vinefield westmere yarrowby ashcombe birchfield cloverton "
    "dunmoor eastvale foxhollow graymouth hazelwick inverlee juniperton kingsreach larkspur mossvale nettlecombe oldcastle "
    "pebbleton redwater stonebridge"
)
REGIONS = "arvonia belmark corvina dalmora estria fenland gorland helvia"
RIVERS = "tarn isk wend alder brun colne dace esk flint garry"
GOODS = (
    "cheese wool pottery honey lace cider clocks glass marble salt silk timber carpets pearls candles boots"
)
JOBS = (
    "plumber nurse pilot baker tailor sculptor librarian chemist carpenter teacher lawyer botanist jeweler dentist florist mechanic "
    "geologist banker surgeon translator blacksmith midwife architect programmer"
)
HOBBIES = "painting chess hiking knitting fishing gardening skating juggling archery pottery surfing origami climbing singing"
INSTRUMENTS = "violin trumpet flute cello guitar tuba piano harp banjo clarinet"
FOODS = "pizza curry sushi salad pancakes noodles dumplings soup chocolate lasagna"
COLORS = "red blue green yellow purple orange black white pink brown"
LANGUAGES = "spanish german finnish korean polish arabic hindi welsh"
PETS = "dog cat parrot hamster turtle rabbit ferret pony"
PET_NAMES = "rex bella toby luna max daisy coco milo"
DECADES = "1850 1860 1870 1880 1890 1900 1910 1920 1930 1940 1950 1960"
STORY_THINGS = "lantern ladder basket letter umbrella suitcase camera blanket bottle hammer mirror ticket"
STORY_PLACES = "market station library museum harbor bakery garden theater"
STATES = "tired late hungry lost nervous busy cold sick"
# Implicit causality: the pronoun after `because` is the subject of the first verbs, the object of the second ones.
SUBJECT_CAUSE = "amazed amused annoyed bored disappointed frightened impressed inspired"
OBJECT_CAUSE = "thanked praised blamed scolded pitied admired congratulated punished"

IRREGULAR_PLURALS = {
    "wolf": "wolves",
    "mouse": "mice",
    "leaf": "leaves",
    "fisherman": "fishermen",
    "helmsman": "helmsmen",
    "knife": "knives",
    "shepherd": "shepherds",
}


def plural(noun: str) -> str:
    """The plural form of an English noun of this lexicon."""
    if noun in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def third_person(verb: str) -> str:
    """The third person singular of an English verb of this lexicon."""
    return verb + "s" if verb.endswith(("afe", "ouse")) else plural(verb)
