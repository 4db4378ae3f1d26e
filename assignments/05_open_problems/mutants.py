"""Wrong answers to assignment 5."""

from tools.assignments.source import Mutant

MUTANTS = [
    Mutant(
        "q1",
        "the interval that breaks at zero",
        ["worked_examples", "random_runs", "own_runs"],
        replace={
            "half = z * math.sqrt(share * (1 - share) / runs + wide / (4 * runs))": (
                "half, wide = z * math.sqrt(share * (1 - share) / runs), 0.0"
            )
        },
    ),
    Mutant(
        "q1",
        "forgot to divide by 1 + z²/n",
        ["worked_examples", "random_runs", "own_runs"],
        replace={" / (1 + wide)": ""},
    ),
    Mutant(
        "q1",
        "z²/4n under the root in place of z²/4n²",
        ["worked_examples", "random_runs", "own_runs"],
        replace={"wide / (4 * runs)": "wide / 4"},
    ),
    Mutant(
        "q1",
        "1.96 whatever z is asked for",
        ["random_runs"],
        replace={
            "share, wide = failures / runs, z**2 / runs": "z = 1.96; share, wide = failures / runs, z**2 / runs"
        },
    ),
    Mutant(
        "q1",
        "one-sided p",
        ["worked_examples", "random_runs", "own_runs"],
        replace={"min(1.0, 2 * sum(": "min(1.0, sum("},
    ),
    Mutant(
        "q1",
        "p above 1",
        ["worked_examples", "random_runs"],
        replace={"min(1.0, 2 * sum(": "max(0.0, 2 * sum("},
    ),
    Mutant(
        "q1",
        "pairs that agree are counted",
        ["worked_examples", "random_runs", "own_runs"],
        replace={"pairs = only_a + only_b": "pairs = len(a)"},
    ),
    Mutant(
        "q1",
        "the split seen is left out of its own p",
        ["worked_examples", "random_runs", "own_runs"],
        replace={"range(min(only_a, only_b) + 1)": "range(min(only_a, only_b))"},
    ),
    Mutant(
        "q1",
        "counts compared as if the runs were not paired",
        ["worked_examples", "random_runs", "own_runs"],
        replace={
            "only_a = sum(x and not y for x, y in zip(a, b, strict=True))": "only_a = sum(a)",
            "only_b = sum(y and not x for x, y in zip(a, b, strict=True))": "only_b = sum(b)",
        },
    ),
    Mutant(
        "q1",
        "fewest seeds for a one-sided test",
        ["own_runs"],
        replace={"for n in range(1, 50) if": "for n in range(5, 6) if True or"},
    ),
    Mutant(
        "q2",
        "a threshold takes all equal weights",
        ["worked_example", "random_weights", "own_classifier"],
        replace={
            'stays[np.argsort(sizes, kind="stable")[: round(share * len(sizes))]] = False': (
                "n = round(share * len(sizes)); stays = sizes > np.sort(sizes)[n - 1] if n else stays"
            )
        },
    ),
    Mutant(
        "q2",
        "each matrix loses the same share",
        ["worked_example", "random_weights"],
        replace={
            'stays[np.argsort(sizes, kind="stable")[: round(share * len(sizes))]] = False': (
                "lengths = np.cumsum([np.size(v) for v in weights.values()])\n"
                "    for low, high in zip([0, *lengths[:-1]], lengths, strict=True):\n"
                '        order = low + np.argsort(sizes[low:high], kind="stable")\n'
                "        stays[order[: round(share * (high - low))]] = False"
            )
        },
    ),
    Mutant(
        "q2",
        "the sign counts: the most negative go",
        ["worked_example", "random_weights", "own_classifier"],
        replace={"np.abs(np.asarray(values, dtype=float))": "np.asarray(values, dtype=float)"},
    ),
    Mutant(
        "q2",
        "what is gone may come back",
        ["random_weights"],
        replace={"np.where(gone[name], -1.0, size).ravel() if gone else size.ravel()": "size.ravel()"},
    ),
    Mutant(
        "q2",
        "of equal sizes the last go",
        ["worked_example", "random_weights", "own_classifier"],
        replace={
            'np.argsort(sizes, kind="stable")[: round': (
                '(len(sizes) - 1 - np.argsort(sizes[::-1], kind="stable"))[: round'
            )
        },
    ),
    Mutant(
        "q2",
        "True for what is gone",
        ["worked_example", "random_weights", "own_classifier"],
        replace={"part.reshape(shapes[name])": "~part.reshape(shapes[name])"},
    ),
    Mutant(
        "q2",
        "equal steps in the share of all weights",
        ["worked_example", "random_weights"],
        replace={"1 - (1 - share) ** (step / steps)": "share * step / steps"},
    ),
    Mutant(
        "q2",
        "the schedule starts at zero and stops one step early",
        ["worked_example", "random_weights"],
        replace={"for step in range(1, steps + 1)": "for step in range(steps)"},
    ),
    Mutant(
        "q3",
        "n in the denominator of the standard deviation",
        ["two_dimensions", "random_effects", "own_lists"],
        replace={".std(ddof=1)": ".std()"},
    ),
    Mutant(
        "q3",
        "spread inside the two sets, not over all targets",
        ["two_dimensions", "random_effects", "own_lists"],
        replace={
            "np.concatenate([first, second]).std(ddof=1)": (
                "math.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)"
            )
        },
    ),
    Mutant(
        "q3",
        "dot products in place of cosines",
        ["two_dimensions", "random_effects", "random_p_values", "own_lists"],
        replace={
            "words, a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (words, a, b))": "pass"
        },
    ),
    Mutant(
        "q3",
        "cosine with the mean attribute in place of the mean cosine",
        ["random_effects", "own_lists"],
        replace={
            "words, a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (words, a, b))": (
                "a, b = a.mean(0, keepdims=True), b.mean(0, keepdims=True)\n"
                "    words, a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (words, a, b))"
            )
        },
    ),
    Mutant(
        "q3",
        "the one seen is not counted: larger in place of at least as large",
        ["two_dimensions", "random_p_values", "own_lists"],
        replace={">= seen - 1e-9": "> seen + 1e-9"},
    ),
    Mutant(
        "q3",
        "two-sided p",
        ["two_dimensions", "random_p_values", "own_lists"],
        replace={"difference(chosen) >= seen - 1e-9": "abs(difference(chosen)) >= abs(seen) - 1e-9"},
    ),
    Mutant(
        "q3",
        "always half of the targets",
        ["two_dimensions", "random_p_values"],
        replace={"    size, total = len(x), both.sum()": "    size, total = len(both) // 2, both.sum()"},
    ),
    Mutant(
        "q3",
        "a thousand random ways, the one seen not among them",
        ["two_dimensions", "random_p_values", "own_lists"],
        replace={
            "for chosen in combinations(range(len(both)), size)]": (
                "for chosen in (np.random.default_rng(0).permuted(np.tile(np.arange(len(both)), (1000, 1)), axis=1)"
                "[:, :size])]"
            )
        },
    ),
    Mutant(
        "q3",
        "the usual threshold for the smallest p",
        ["own_lists"],
        replace={"least = 1 / math.comb(": "least = 0.05 + 0 * math.comb("},
    ),
    Mutant(
        "q4",
        "chosen on all texts, tested on some",
        ["random_prompts", "noise"],
        replace={
            "right[:, list(dev)].mean(axis=1), right[:, others]": "right.mean(axis=1), right[:, others]"
        },
    ),
    Mutant(
        "q4",
        "the best one on the other texts",
        ["random_prompts", "noise"],
        replace={
            "np.argmax(np.where(exchanged, 1 - chosen, chosen))": (
                "np.argmax(np.where(exchanged, 1 - tested, tested))"
            )
        },
    ),
    Mutant(
        "q4",
        "exchanged by a look at the other texts",
        ["two_prompts", "random_prompts", "noise"],
        replace={"exchanged = chosen < 0.5": "exchanged = tested < 0.5"},
    ),
    Mutant(
        "q4",
        "never exchanged",
        ["two_prompts", "random_prompts"],
        replace={"exchanged = chosen < 0.5": "exchanged = chosen < -1"},
    ),
    Mutant(
        "q4",
        "tested on all texts, those for choosing too",
        ["two_prompts", "random_prompts", "noise"],
        replace={"others = np.setdiff1d(np.arange(len(labels)), dev)": "others = np.arange(len(labels))"},
    ),
    Mutant(
        "q4",
        "the innocent step was thrown out",
        ["two_prompts", "random_prompts", "noise"],
        replace={"(scores > np.median(scores, axis=1, keepdims=True))": "(scores > 0)", '"BC"': '"ABC"'},
    ),
    Mutant(
        "q4",
        "only the choice of the best prompt is seen as guilty",
        ["noise"],
        replace={'"BC"': '"C"'},
    ),
    Mutant(
        "q5",
        "right cues counted over both labels together",
        ["small_texts", "random_texts"],
        replace={
            "seen[label] < round(share * list(labels).count(label))": "sum(seen) < round(share * len(labels))"
        },
    ),
    Mutant(
        "q5",
        "red everywhere at the given share",
        ["small_texts", "random_texts", "measured", "reading"],
        replace={"'red' if right == bool(label) else 'blue'": "'red' if right else 'blue'"},
    ),
    Mutant(
        "q5",
        "rounded down",
        ["random_texts"],
        replace={"round(share * list(labels).count(label))": "int(share * list(labels).count(label))"},
    ),
    Mutant(
        "q5",
        "labels of both cues in the order of two lists",
        ["small_texts", "random_texts", "measured"],
        replace={"[label for label in labels for _ in range(2)]": "[*labels, *labels]"},
    ),
    Mutant(
        "q5",
        "the second copy gets the other label",
        ["small_texts", "random_texts", "measured"],
        replace={
            "[label for label in labels for _ in range(2)]": "[y for label in labels for y in (label, 1 - label)]"
        },
    ),
    Mutant(
        "q5",
        "weights by the pair alone",
        ["small_texts", "random_texts"],
        replace={
            "cues.count(c) * labels.count(y) / len(pairs) / pairs.count((c, y))": "len(pairs) / 4 / pairs.count((c, y))"
        },
    ),
    Mutant(
        "q5",
        "weights upside down",
        ["small_texts", "random_texts", "measured"],
        replace={
            "cues.count(c) * labels.count(y) / len(pairs) / pairs.count((c, y))": (
                "pairs.count((c, y)) * len(pairs) / cues.count(c) / labels.count(y)"
            )
        },
    ),
    Mutant(
        "q5",
        "the usual test without wrong cues",
        ["measured", "reading"],
        replace={
            "plant(test_reviews, test_opinions, share), test_opinions": "plant(test_reviews, test_opinions, 1), test_opinions"
        },
    ),
    Mutant(
        "q5",
        "the usual accuracy is taken for reading",
        ["reading"],
        replace={'says = "BDE"': 'says = "ABDE"'},
    ),
    Mutant(
        "q5",
        "a likely sentence is taken for a shown one",
        ["reading"],
        replace={'says = "BDE"': 'says = "BDEF"'},
    ),
]
