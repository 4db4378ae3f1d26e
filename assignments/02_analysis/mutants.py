"""Wrong answers to assignment 2."""

from tools.assignments.source import Mutant

WORDS = ["mail", "random_words"]
PAIRS = ["pairs_of_the_example", "random_pairs"]
CODES = ["short_code", "random_codes", "own_codes"]
RUNS = ["two_runs", "random_runs"]

MUTANTS = [
    Mutant(
        "q1",
        "takes the label that came first of several",
        WORDS,
        replace={
            "return min(counts, key=lambda label: (-counts[label], label))": "return counts.most_common(1)[0][0]"
        },
    ),
    Mutant(
        "q1",
        "gives a new word the smallest label",
        ["random_words", "own_dictionary"],
        replace={"fallback = best(Counter(train_labels))": "fallback = min(train_labels)"},
    ),
    Mutant(
        "q1",
        "gives a new word the label of most types",
        ["random_words", "own_dictionary"],
        replace={
            "fallback = best(Counter(train_labels))": "fallback = best(Counter(best(c) for c in counts.values()))"
        },
    ),
    Mutant(
        "q1",
        "draws a new label for every word of the text",
        WORDS,
        replace={
            "return [drawn[word] for word in words]": "return [int(random.choice(labels)) for _ in words]"
        },
    ),
    Mutant(
        "q1",
        "draws all labels equally often",
        ["random_words"],
        replace={"random.choice(labels)": "random.choice(sorted(set(labels)))"},
    ),
    Mutant(
        "q1",
        "shuffles the labels among the types, each with its own",
        ["random_words"],
        replace={
            "    drawn = {word: int(random.choice(labels)) for word in sorted(set(words))}": "    own = dict(zip(words, labels, strict=True))\n"
            "    drawn = dict(zip(sorted(own), random.permutation([own[w] for w in sorted(own)]).tolist(), strict=True))"
        },
    ),
    Mutant(
        "q1",
        "keeps the true labels",
        WORDS,
        replace={"return [drawn[word] for word in words]": "return list(labels)"},
    ),
    Mutant(
        "q1",
        "counts new words among those with several tags",
        ["own_dictionary"],
        replace={"len(found[word]) > 1": "len(found[word]) != 1"},
    ),
    Mutant(
        "q1",
        "tests on what it was trained on",
        ["own_dictionary"],
        replace={
            "guesses = np.array(dictionary(words[:middle], tags[:middle], words[middle:]))": "guesses = np.array(dictionary(words, tags, words[middle:]))"
        },
    ),
    Mutant("q2", "compares bits per piece", PAIRS, replace={"sum(b) - sum(g)": "np.mean(b) - np.mean(g)"}),
    Mutant(
        "q2",
        "takes bits for log-probabilities: more is better",
        [*PAIRS, "own_pairs"],
        replace={"sum(b) - sum(g)": "sum(g) - sum(b)"},
    ),
    Mutant(
        "q2",
        "counts ties as right",
        PAIRS,
        replace={"float(0.5 + 0.5 * np.sign(sum(b) - sum(g)))": "float(sum(g) <= sum(b))"},
    ),
    Mutant(
        "q2",
        "counts ties as wrong",
        PAIRS,
        replace={"float(0.5 + 0.5 * np.sign(sum(b) - sum(g)))": "float(sum(g) < sum(b))"},
    ),
    Mutant(
        "q2",
        "compares the last piece only",
        [*PAIRS, "own_pairs"],
        replace={"sum(b) - sum(g)": "b[-1] - g[-1]"},
    ),
    Mutant(
        "q2",
        "averages over all pairs in place of the groups",
        [*PAIRS, "own_pairs"],
        replace={
            "np.mean(list(by_attractors(good, bad, attractors).values()))": "np.mean(preferred(good, bad))"
        },
    ),
    Mutant(
        "q2",
        "divides each group by the number of all pairs",
        [*PAIRS, "own_pairs"],
        replace={"float(np.mean(some)) for": "float(np.sum(some) / len(good)) for"},
    ),
    Mutant(
        "q3",
        "numbers the places, so that a repeated text gets a new number",
        ["small_split", "random_texts_and_leaks"],
        replace={"[numbers.setdefault(text, len(numbers)) for text in texts]": "list(range(len(texts)))"},
    ),
    Mutant(
        "q3",
        "splits words at random",
        ["small_split", "random_splits"],
        replace={
            "return [group in set(chosen.tolist()) for group in groups]": "return (np.random.default_rng(seed).random(len(groups)) < share).tolist()"
        },
    ),
    Mutant(
        "q3",
        "always tests on the last groups",
        ["small_split", "random_splits"],
        replace={
            "np.random.default_rng(seed).choice(names, round(share * len(names)), replace=False)": "np.array(names[len(names) - round(share * len(names)):])"
        },
    ),
    Mutant("q3", "draws groups with replacement", ["random_splits"], replace={", replace=False": ""}),
    Mutant(
        "q3",
        "tests on the share that should train",
        ["small_split", "random_splits"],
        replace={"round(share * len(names))": "len(names) - round(share * len(names))"},
    ),
    Mutant(
        "q3",
        "cuts words in the middle of their order",
        ["small_split", "random_splits"],
        replace={
            "return [group in set(chosen.tolist()) for group in groups]": "return [i < share * len(groups) for i in range(len(groups))]"
        },
    ),
    Mutant(
        "q3",
        "lists the groups on either side",
        ["small_split", "random_texts_and_leaks"],
        replace={"inside & outside": "inside | outside"},
    ),
    Mutant(
        "q3",
        "compares neighboring words only",
        ["random_texts_and_leaks"],
        replace={
            "return sorted(inside & outside)": "rows = list(zip(groups, test, strict=True))\n"
            "    return sorted({a for (a, s), (b, t) in zip(rows, rows[1:], strict=False) if a == b and s != t})"
        },
    ),
    Mutant("q4", "takes nats for bits", CODES, replace={"np.log2(p[block": "np.log(p[block"}),
    Mutant(
        "q4", "sends the first block for nothing", CODES, replace={"float(ends[0] * np.log2(classes))": "0.0"}
    ),
    Mutant(
        "q4",
        "encodes a block by a probe that was trained on it",
        ["random_codes", "own_codes"],
        replace={
            "zip(probabilities, ends, ends[1:], strict=False)": "zip([*probabilities[1:], probabilities[-1]], ends, ends[1:], strict=False)"
        },
    ),
    Mutant(
        "q4",
        "loses the first label of each block",
        CODES,
        replace={"np.arange(start, end)": "np.arange(start + 1, end)"},
    ),
    Mutant(
        "q4",
        "gives the bits of each block, not all that were spent",
        CODES,
        replace={"float(spent[-1] - np.log2": "float(-np.log2"},
    ),
    Mutant(
        "q4",
        "pays for the most probable label",
        ["random_codes", "own_codes"],
        replace={"p[block, labels[block]]": "p[block].max(1)"},
    ),
    Mutant(
        "q4",
        "divides the code by the plain one",
        CODES,
        replace={"float(count * np.log2(classes) / bits)": "float(bits / (count * np.log2(classes)))"},
    ),
    Mutant(
        "q4",
        "reports the compression of the last block",
        ["own_codes"],
        replace={"compression(code[-1], ENDS[-1]": "compression(code[-1] - code[-2], ENDS[-1] - ENDS[-2]"},
    ),
    Mutant(
        "q5",
        "takes the best run of each layer (wrong axis)",
        [*RUNS, "own_layers"],
        replace={
            "np.argmax(validation, axis=1).tolist()": "(np.argmax(validation, axis=0) % validation.shape[1]).tolist()",
            "choose(validation), strict=True": "choose(validation), strict=False",
        },
    ),
    Mutant(
        "q5",
        "takes the highest of several layers",
        RUNS,
        replace={
            "np.argmax(validation, axis=1).tolist()": "(validation.shape[1] - 1 - np.argmax(validation[:, ::-1], axis=1)).tolist()"
        },
    ),
    Mutant(
        "q5",
        "chooses the layer on the test scores",
        [*RUNS, "own_layers"],
        replace={"zip(test, choose(validation), strict=True)": "zip(test, choose(test), strict=True)"},
    ),
    Mutant(
        "q5",
        "reports validation scores",
        [*RUNS, "own_layers"],
        replace={
            "zip(test, choose(validation), strict=True)": "zip(validation, choose(validation), strict=True)"
        },
    ),
    Mutant(
        "q5",
        "takes the best layer of the means in place of each run's best",
        [*RUNS, "own_layers"],
        replace={"np.max(test, axis=1).mean()": "test.mean(0).max()"},
    ),
    Mutant(
        "q5",
        "divides by the control in place of subtracting it",
        RUNS,
        replace={"(task - control).mean(0)": "(task / (control + 1e-9)).mean(0)"},
    ),
    Mutant(
        "q5",
        "takes the layer with the best task score for the most selective",
        [*RUNS, "own_layers"],
        replace={"(task - control).mean(0)": "task.mean(0)"},
    ),
]
