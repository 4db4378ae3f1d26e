"""Wrong answers to assignment 1."""

from tools.assignments.source import Mutant

RULERS = ["rulers_example", "rulers_and_honest_on_random_texts"]
HONEST = ["honest_example", "rulers_and_honest_on_random_texts", "own_world"]

MUTANTS = [
    Mutant(
        "q1",
        "averages the means of the texts, so that a short text weighs as much as a long one",
        [*RULERS, "own_world"],
        replace={
            "total, units = sum(map(sum, scored)), sum(map(len, scored))": "total, units = sum(sum(row) / len(row) for row in scored), len(scored)"
        },
    ),
    Mutant(
        "q1",
        "takes bits for nats: e to the bits per unit",
        RULERS,
        replace={'"perplexity": 2 ** (total / units)': '"perplexity": float(np.exp(total / units))'},
    ),
    Mutant(
        "q1",
        "averages the perplexities of the texts",
        [*RULERS, "own_world"],
        replace={
            '"perplexity": 2 ** (total / units)': '"perplexity": sum(2 ** (sum(row) / len(row)) for row in scored) / len(scored)'
        },
    ),
    Mutant(
        "q1",
        "forgets that the end of a text is a word",
        [*RULERS, "own_world"],
        replace={
            "    words = sum(len(text.split()) + 1 for text in texts)\n": "    words = sum(len(text.split()) for text in texts)\n"
        },
    ),
    Mutant(
        "q1",
        "leaves the spaces out of the characters",
        RULERS,
        replace={"sum(len(text) + 1 for": 'sum(len(text.replace(" ", "")) + 1 for'},
    ),
    Mutant(
        "q1",
        "divides by units in place of words",
        [*RULERS, "own_world"],
        replace={'"bits per word": total / words': '"bits per word": total / units'},
    ),
    Mutant(
        "q1",
        "pays for the spelling of a word once, however often it occurs",
        ["rulers_and_honest_on_random_texts", "own_world"],
        replace={
            "for text in texts for word in text.split())\n    return": 'for word in set(" ".join(texts).split()))\n    return'
        },
    ),
    Mutant(
        "q1",
        "adds the mean spelling per unknown word to the bits per word",
        HONEST,
        replace={
            "    return total / sum(len(text.split()) + 1 for text in texts)": "    words = sum(len(text.split()) + 1 for text in texts)\n"
            "    return sum(map(sum, scored)) / words + sum(spelling.values()) / len(spelling)"
        },
    ),
    Mutant(
        "q1",
        "orders the models by what the word model says before it has paid",
        ["own_world"],
        replace={'honest_words if n == "words" else table[n]': "table[n]"},
    ),
    Mutant(
        "q2",
        "takes the mean of the texts' own ratios",
        ["gap_example", "gap_on_random_texts", "measured"],
        replace={"float(difference.sum() / words.sum())": "float((difference / words).mean())"},
    ),
    Mutant(
        "q2",
        "uses the factor of independent samples",
        ["gap_example", "gap_on_random_texts", "measured"],
        replace={"np.sqrt((n - 1) / n * spread)": "np.sqrt(spread / (n - 1) / n)"},
    ),
    Mutant(
        "q2",
        "divides by n - 1 where the jackknife multiplies",
        ["gap_example", "gap_on_random_texts", "measured"],
        replace={"(n - 1) / n * spread": "n / (n - 1) * spread"},
    ),
    Mutant(
        "q2",
        "leaves a text out of the bits and not out of the words",
        ["gap_example", "gap_on_random_texts", "measured"],
        replace={"(words.sum() - words)": "words.sum()"},
    ),
    Mutant(
        "q2",
        "squares the distance to R in place of the mean of the R(i)",
        ["gap_example", "gap_on_random_texts"],
        replace={"left_out - left_out.mean()": "left_out - difference.sum() / words.sum()"},
    ),
    Mutant(
        "q2",
        "exchanges the 6-gram on new text with that on its own",
        ["letters"],
        replace={
            "strict=True)}  # SOLUTION": 'strict=True)}\nletters["6-gram"], letters["6-gram, own text"] = letters["6-gram, own text"], letters["6-gram"]'
        },
    ),
    Mutant(
        "q2",
        "measures on the training text",
        ["measured"],
        replace={
            'still_missing = gap(*largest["6-gram"])': 'still_missing = gap(*largest["6-gram, own text"])'
        },
    ),
    Mutant(
        "q3",
        "masks each piece by itself",
        ["corrupt_example", "shares"],
        replace={"[mask_id] * len(word)": "[mask_id if random.random() < 0.8 else i for i in word]"},
    ),
    Mutant("q3", "chooses marks as well", ["corrupt_example"], replace={"min(word) >= specials and ": ""}),
    Mutant(
        "q3", "reads 80/10/10 as 80 masked and 20 random", ["shares"], replace={"kind < 0.9": "kind < 1.0"}
    ),
    Mutant(
        "q3",
        "exchanges the shares of masked and kept words",
        ["shares"],
        replace={"kind < 0.8": "kind < 0.1", "kind < 0.9": "kind < 0.2"},
    ),
    Mutant(
        "q3",
        "never draws the last id",
        ["shares"],
        replace={"integers(specials, vocabulary,": "integers(specials, vocabulary - 1,"},
    ),
    Mutant(
        "q3",
        "draws from all ids, marks included",
        ["shares"],
        replace={"integers(specials, vocabulary,": "integers(0, vocabulary,"},
    ),
    Mutant(
        "q3",
        "gives all pieces of a word the same random id",
        ["shares"],
        replace={
            "random.integers(specials, vocabulary, len(word)).tolist()": "[int(random.integers(specials, vocabulary))] * len(word)"
        },
    ),
    Mutant(
        "q3",
        "chooses exactly the first words, not each by chance",
        ["corrupt_example"],
        replace={
            "for word in words:\n        asked = min(word) >= specials and random.random() < rate": "for place, word in enumerate(words):\n        asked = min(word) >= specials and place < rate * len(words)"
        },
    ),
    Mutant("q3", "ignores the seed", ["corrupt_example"], replace={"default_rng(seed)": "default_rng(0)"}),
    Mutant(
        "q3",
        "changes the text that it is given",
        ["corrupt_example"],
        replace={"new = [mask_id] * len(word)": "word[:] = new = [mask_id] * len(word)"},
    ),
    Mutant(
        "q3",
        "forgets that visible pieces are not masks",
        ["trust_example", "trust"],
        replace={"return right / visible": "return right"},
    ),
    Mutant(
        "q3",
        "forgets that a random id can be the old one",
        ["trust_example", "trust"],
        replace={" + 0.1 * rate / ordinary": ""},
    ),
    Mutant(
        "q3",
        "counts all chosen pieces as masks",
        ["trust_example", "trust"],
        replace={"visible = 1 - 0.8 * rate": "visible = 1 - rate"},
    ),
    Mutant(
        "q4",
        "counts how often, not after how many different words",
        ["kong_example", "values", "own_kong"],
        replace={
            'pairs = {pair for text in texts for pair in zip(["<s>", *text], [*text, "</s>"], strict=True)}': 'pairs = [pair for text in texts for pair in zip(["<s>", *text], [*text, "</s>"], strict=True)]'
        },
    ),
    Mutant(
        "q4",
        "counts different words behind, not before",
        ["kong_example", "sums_to_one", "values", "own_kong"],
        replace={"Counter(w for _, w in pairs)": "Counter(h for h, _ in pairs)"},
    ),
    Mutant(
        "q4",
        "adds the shorter model without its weight",
        ["kong_example", "sums_to_one", "values"],
        replace={"d * len(counts) / total * shorter": "shorter"},
    ),
    Mutant(
        "q4",
        "spends the discount of one pair only",
        ["sums_to_one", "values"],
        replace={"d * len(counts) / total * shorter": "d / total * shorter"},
    ),
    Mutant(
        "q4",
        "gives nothing after an unseen word",
        ["sums_to_one", "values"],
        replace={"return shorter": "return 0.0"},
    ),
    Mutant(
        "q4",
        "lets pairs cross from text to text",
        ["kong_example", "values", "own_kong"],
        replace={
            "for text in texts for pair in zip": 'for text in [[word for text in texts for word in [*text, "</s>"]][:-1]] for pair in zip'
        },
    ),
    Mutant(
        "q4",
        "lets negative shares stand for unseen pairs",
        ["sums_to_one", "values"],
        replace={"max(counts[w] - d, 0)": "(counts[w] - d)"},
    ),
    Mutant(
        "q4",
        "takes the most frequent word for the Kong",
        ["own_kong"],
        replace={"multiple = {w: n / everything / shares[w]": "multiple = {w: n / everything"},
    ),
    Mutant("q4", "forgets the ends of texts among the words", ["own_kong"], replace={" + len(read)": ""}),
    Mutant(
        "q5",
        "the leak stays",
        ["windows_example", "windows_on_random_texts"],
        replace={"padded[place - k : place]": "padded[place - k + 1 : place + 1]"},
    ),
    Mutant(
        "q5",
        "lets the text before look into the contexts",
        ["windows_example", "windows_on_random_texts"],
        replace={
            "    for text in texts:\n        padded = [mark] * k + [*text, mark]\n        for place in range(k, len(padded)):": "    padded = [mark] * k + [t for text in texts for t in [*text, mark]]\n    if True:\n        for place in range(k, len(padded)):"
        },
    ),
    Mutant(
        "q5",
        "looks one token too far back",
        ["windows_example", "windows_on_random_texts"],
        replace={"padded[place - k : place]": "padded[max(0, place - k - 1) : place - 1]"},
    ),
    Mutant(
        "q5",
        "does not ask for the end of a text",
        ["windows_example", "windows_on_random_texts"],
        replace={"[*text, mark]": "list(text)"},
    ),
    Mutant("q5", "calls a column leaky for one agreement", ["leaks"], replace={"if all(": "if any("}),
    Mutant(
        "q5",
        "looks at the last column only",
        ["leaks"],
        replace={"for j in range(len(contexts[0]))": "for j in [len(contexts[0]) - 1]"},
    ),
    Mutant(
        "q5",
        "compares with the target of the row before",
        ["leaks"],
        replace={"zip(contexts, targets, strict=True)": "zip(contexts[1:], targets, strict=False)"},
    ),
]
