"""Wrong answers to assignment 4."""

from tools.assignments.source import Mutant

MUTANTS = [
    Mutant(
        "q1",
        "words in common counted as a set",
        ["scorer_examples", "random_texts"],
        replace={"(Counter(given) & Counter(key)).total()": "len(set(given) & set(key))"},
    ),
    Mutant(
        "q1",
        "articles dropped before punctuation",
        ["scorer_examples", "random_texts"],
        replace={
            "for c in text.lower() if": 'for c in " ".join(w for w in text.lower().split() if w not in articles) if',
            '"".join(kept).split() if word not in articles]': '"".join(kept).split()]',
        },
    ),
    Mutant(
        "q1",
        "ASCII punctuation only, as SQuAD's own scorer",
        ["scorer_examples", "random_texts"],
        replace={' and unicodedata.category(c)[0] != "P"': ""},
    ),
    Mutant(
        "q1",
        "a space in the place of punctuation",
        ["scorer_examples", "random_texts"],
        replace={
            "[c for c in text.lower() if c not in string.punctuation and": (
                '[c if c not in string.punctuation and unicodedata.category(c)[0] != "P" else " " '
                'for c in text.lower()] if True else ["" for c in text.lower() if'
            )
        },
    ),
    Mutant(
        "q1",
        "mean over the keys in place of the best",
        ["scorer_examples", "random_texts"],
        replace={
            "exact = max(float(given == key) for key in keys)": (
                "exact = float(np.mean([given == key for key in keys]))"
            ),
            "return exact, max(2": "return exact, sum(2",
            "for key in keys)\n    # END": "for key in keys) / len(keys)\n    # END",
        },
    ),
    Mutant(
        "q1",
        "F1 from the key with the best exact match only, the first one",
        ["scorer_examples", "random_texts"],
        replace={"for key in keys)\n    # END": "for key in keys[:1])\n    # END"},
    ),
    Mutant(
        "q1",
        "exact match forgets the order of words",
        ["random_texts"],
        replace={"float(given == key)": "float(sorted(given) == sorted(key))"},
    ),
    Mutant(
        "q1",
        "silence about an impossible question counts as wrong",
        ["scorer_examples", "random_texts", "own_world"],
        replace={"(1.0, 1.0) if not keys and not given else (0.0, 0.0)": "(0.0, 0.0)"},
    ),
    Mutant(
        "q1",
        "keys of articles and punctuation alone are kept",
        ["random_texts"],
        replace={"for answer in answers) if key]": "for answer in answers)]"},
    ),
    Mutant(
        "q1",
        "the mean over all questions given for those with an answer",
        ["own_world"],
        replace={"points[has_answer, 1]": "points[:, 1]"},
    ),
    Mutant(
        "q2",
        "word 0 is taken for nothing, as before",
        ["repaired", "random_labels"],
        replace={"word is not None and word != before": "word and word != before"},
    ),
    Mutant(
        "q2",
        "the label on every piece of its word",
        ["repaired", "random_labels"],
        replace={"word is not None and word != before": "word is not None"},
    ),
    Mutant(
        "q2",
        "label i at position i",
        ["repaired", "random_labels"],
        replace={
            "found.append(labels[word] if word is not None and word != before else SKIP)": (
                "found.append(labels[len(found)] if len(found) < len(labels) else SKIP)"
            )
        },
    ),
    Mutant(
        "q2",
        "a name at the end of the row is lost",
        ["random_labels", "repaired"],
        replace={'enumerate([*labels, "O"])': "enumerate(labels)"},
    ),
    Mutant(
        "q2",
        "an I of any kind goes on",
        ["random_labels", "repaired"],
        replace={'label != f"I-{kind}"': 'label[0] != "I"'},
    ),
    Mutant(
        "q2",
        "the lenient reading: an I after O begins a name",
        ["random_labels", "repaired"],
        replace={'if label.startswith("B-"):': 'if label != "O" and kind is None:'},
    ),
    Mutant(
        "q2",
        "the last word is the one behind the name",
        ["random_labels", "repaired", "lost_and_witnesses"],
        replace={
            "(kind, first, place - 1)": "(kind, first, place)",
            "lost = (true_names - found_names, true_names)": "lost = (true_names - found_names, found_names)",
        },
    ),
    Mutant(
        "q2",
        "lost names counted with the repaired function",
        ["lost_and_witnesses"],
        replace={"colleague_aligned(word_ids, labels)": "aligned(word_ids, labels)"},
    ),
    Mutant(
        "q2",
        "three witnesses of one fault",
        ["lost_and_witnesses"],
        replace={'["B-person", "I-place", "O"]]': '["B-place", "B-person", "O"]]'},
    ),
    Mutant(
        "q2",
        "a witness that shows two faults only together",
        ["lost_and_witnesses"],
        replace={'["B-person", "B-place", "O"]': '["B-person", "I-person", "O"]'},
    ),
    Mutant(
        "q3",
        "one token too many",
        ["one_window", "windows", "long_page"],
        replace={"min(longest, len(start)) + 1": "min(longest + 1, len(start)) + 1"},
    ),
    Mutant(
        "q3",
        "one token too few",
        ["small_page", "one_window", "windows", "long_page"],
        replace={"min(longest, len(start)) + 1": "min(longest - 1, len(start)) + 1"},
    ),
    Mutant(
        "q3",
        "every window counts, owner or not",
        ["small_page", "windows"],
        replace={"np.flatnonzero(owned[: len(start) - length + 1])": "np.arange(len(start) - length + 1)"},
    ),
    Mutant(
        "q3",
        "both tokens must be owned",
        ["small_page", "windows"],
        replace={
            "np.flatnonzero(owned[: len(start) - length + 1])": (
                "np.flatnonzero(owned[: len(start) - length + 1] & owned[length - 1 :])"
            )
        },
    ),
    Mutant(
        "q3",
        "tokens counted in the window",
        ["small_page", "windows"],
        replace={'window["begin"] + firsts': "firsts"},
    ),
    Mutant(
        "q3",
        "the best spans, with tokens in common",
        ["small_page", "one_window", "windows"],
        replace={"if taken.isdisjoint(tokens):": "if True:"},
    ),
    Mutant(
        "q3",
        "different first tokens are thought to be enough",
        ["small_page", "one_window", "windows"],
        replace={"taken.isdisjoint(tokens)": "first not in taken"},
    ),
    Mutant(
        "q3",
        "of equal scores the longer one",
        ["one_window"],
        replace={
            "np.full(len(firsts), length)]": "np.full(len(firsts), -length)]",
            "int(table[2, place])": "-int(table[2, place])",
        },
    ),
    Mutant(
        "q3",
        "equal scores in any order",
        ["one_window"],
        replace={"np.lexsort(table[::-1])": "np.lexsort((-table[1], table[0]))"},
    ),
    Mutant(
        "q4",
        "the first of the best counts",
        ["small_lists", "by_drawing", "reading"],
        replace={"same = sum(": "same = 0 * sum(", "lower = sum(score < ": "lower = sum(score <= "},
    ),
    Mutant(
        "q4",
        "a tie counts as missed",
        ["small_lists", "by_drawing", "reading"],
        replace={"same = sum(": "same = 0 * sum("},
    ),
    Mutant(
        "q4",
        "shared among all equals, drawn or not",
        ["small_lists", "by_drawing", "reading"],
        replace={"/ (j + 1)": "/ (same + 1)"},
    ),
    Mutant(
        "q4",
        "k rivals in place of k - 1",
        ["small_lists", "by_drawing", "reading"],
        replace={"k - 1": "k", "comb(len(rivals), k)": "max(1, comb(len(rivals), k))"},
    ),
    Mutant(
        "q4",
        "rivals drawn with repetition",
        ["small_lists", "by_drawing", "reading"],
        replace={
            "ways = [": "n = max(1, len(rivals)); draws = k - 1; ways = [",
            "comb(same, j) * comb(lower, k - 1 - j) / (j + 1)": (
                "comb(draws, j) * (same / n) ** j * (lower / n) ** (draws - j) / (j + 1)"
            ),
            "range(min(same, k - 1) + 1)": "range(draws + 1)",
            "/ comb(len(rivals), k - 1)": "",
        },
    ),
    Mutant(
        "q4",
        "a higher score is taken for understanding",
        ["reading"],
        replace={'says = "ACD"': 'says = "ABCD"'},
    ),
    Mutant(
        "q4",
        "a likely sentence is taken for a shown one",
        ["reading"],
        replace={'says = "ACD"': 'says = "ACDF"'},
    ),
    Mutant(
        "q4",
        "the first k below one half",
        ["reading"],
        replace={
            'half = max(k for k in KS if curves["need the persona", "persona"][k] >= 50)': (
                'half = min(k for k in KS if curves["need the persona", "persona"][k] < 50)'
            )
        },
    ),
    Mutant(
        "q5",
        "forgot to divide by the sum of the nucleus",
        ["sampler_examples", "random_draws", "random_replies", "bought"],
        replace={"probabilities[word] / total": "probabilities[word]"},
    ),
    Mutant(
        "q5",
        "the word that reaches p is left out",
        ["sampler_examples", "random_draws", "random_replies", "bought"],
        replace={
            "kept.append(word)\n        total += probabilities[word]\n        if total >= p:\n            break": (
                "if kept and total + probabilities[word] >= p:\n            break\n"
                "        kept.append(word)\n        total += probabilities[word]"
            )
        },
    ),
    Mutant(
        "q5",
        "one word too many where p is reached exactly",
        ["sampler_examples"],
        replace={"total >= p": "total > p"},
    ),
    Mutant(
        "q5",
        "stretches in the order of the vocabulary",
        ["sampler_examples", "random_draws", "random_replies", "bought"],
        replace={"for word in kept:": "for word in sorted(kept):"},
    ),
    Mutant(
        "q5",
        "gives the rank in place of the word",
        ["sampler_examples", "random_draws", "random_replies", "bought"],
        replace={"return word\n": "return kept.index(word)\n", "return kept[-1]": "return len(kept) - 1"},
    ),
    Mutant(
        "q5",
        "of equally probable words the larger number first",
        ["random_draws", "bought"],
        replace={"(-probabilities[word], word)": "(-probabilities[word], -word)"},
    ),
    Mutant(
        "q5",
        "the least probable first",
        ["sampler_examples", "random_draws", "random_replies", "bought"],
        replace={"(-probabilities[word], word)": "(probabilities[word], word)"},
    ),
    Mutant(
        "q5",
        "the end mark is written into the reply",
        ["sampler_examples", "random_replies", "bought"],
        replace={
            "        if before == 0:\n            break\n        words.append(before)": (
                "        words.append(before)\n        if before == 0:\n            break"
            )
        },
    ),
    Mutant(
        "q5",
        "the first word is drawn behind itself: the table is read once",
        ["sampler_examples", "random_replies", "bought"],
        replace={"nucleus(table[before], p, u)": "nucleus(table[0], p, u)"},
    ),
    Mutant(
        "q5",
        "different replies counted, right or not",
        ["bought"],
        replace={"len(set(good))": "len(set(written))"},
    ),
    Mutant(
        "q5",
        "richest taken for the largest p",
        ["bought"],
        replace={"max(PS, key=lambda p: bought[p][1])": "max(PS)"},
    ),
]
