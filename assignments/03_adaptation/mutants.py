"""Wrong answers to assignment 3."""

from tools.assignments.source import Mutant

TABLE = ["table_of_the_example", "random_recipes"]
EVERY = ["table_of_the_example", "single_switches", "random_recipes"]
INTERVALS = ["interval_example", "random_intervals"]

MUTANTS = [
    Mutant(
        "q1",
        "gives the lowest layer the highest rate",
        EVERY,
        replace={"below_top = layers - 1 - np.arange(layers)": "below_top = np.arange(layers)"},
    ),
    Mutant(
        "q1",
        "thaws from the bottom",
        EVERY,
        replace={"t[:, None] >= every * below_top": "t[:, None] >= every * np.arange(layers)"},
    ),
    Mutant("q1", "thaws one step late", EVERY, replace={"t[:, None] >= every": "t[:, None] > every"}),
    Mutant(
        "q1", "lets the rate end at zero", EVERY, replace={"peak * (1 + p * (ratio - 1)) / ratio": "peak * p"}
    ),
    Mutant(
        "q1",
        "begins a new triangle when a layer thaws",
        TABLE,
        replace={
            "return learns * triangle[:, None] / decay**below_top": "late = np.clip(t[:, None] - every * below_top, 0, None)\n"
            "    return learns * triangle[late] / decay**below_top"
        },
    ),
    Mutant(
        "q1",
        "subtracts the decay in place of dividing by its power",
        EVERY,
        replace={"/ decay**below_top": "/ (1 + decay * below_top)"},
    ),
    Mutant(
        "q1",
        "falls over all steps in place of those that are left",
        TABLE,
        replace={"(t - cut) / (steps - cut)": "(t - cut) / steps"},
    ),
    Mutant(
        "q2",
        "forgets to divide alpha by the rank",
        ["lora_on_random_weights"],
        replace={
            "alpha / len(a) * (x @ a.T)": "alpha * (x @ a.T)",
            "alpha / len(a) * b @ a": "alpha * b @ a",
        },
    ),
    Mutant(
        "q2",
        "divides by the width in place of the rank",
        ["lora_example", "lora_on_random_weights"],
        replace={"alpha / len(a) * b @ a": "alpha / a.shape[1] * b @ a"},
    ),
    Mutant(
        "q2",
        "switches with the new task's factor for both",
        ["lora_on_random_weights"],
        replace={
            "return merge(merge(merged, a, -b, alpha), *new)": "c, d, beta = new\n    return merged + beta / len(c) * (d @ c - b @ a)"
        },
    ),
    Mutant(
        "q2",
        "adds the new task and leaves the old one in",
        ["lora_example", "lora_on_random_weights"],
        replace={"merge(merged, a, -b, alpha), *new": "merged, *new"},
    ),
    Mutant(
        "q2",
        "leaves the residual out of the adapter",
        ["adapter_begins_as_nothing", "adapter_on_random_weights"],
        replace={"return h + torch.nn": "return torch.nn"},
    ),
    Mutant(
        "q2",
        "bends after the second map",
        ["adapter_on_random_weights"],
        replace={
            "torch.nn.functional.gelu(h @ down.T + down_bias) @ up.T + up_bias": "torch.nn.functional.gelu((h @ down.T + down_bias) @ up.T + up_bias)"
        },
    ),
    Mutant(
        "q2",
        "takes ReLU for GELU",
        ["adapter_on_random_weights"],
        replace={"functional.gelu": "functional.relu"},
    ),
    Mutant(
        "q2",
        "thinks that zero weights get no gradient",
        ["moves"],
        replace={'up_zero = {"up", "up_bias"}': 'up_zero = {"down", "down_bias"}'},
    ),
    Mutant(
        "q2",
        "thinks that all tensors learn at once",
        ["moves"],
        replace={'all_zero = {"up_bias"}': 'all_zero = {"down", "down_bias", "up", "up_bias"}'},
    ),
    Mutant(
        "q3",
        "squares the mean gradient in place of averaging squares",
        ["fisher_on_random_classifiers", "what_is_held"],
        replace={
            "return (p * (1 - p)).T @ x**2 / len(x)": "s = np.sqrt(p * (1 - p))\n    return (s.T @ x / len(x)) ** 2"
        },
    ),
    Mutant(
        "q3",
        "sums over the texts",
        ["fisher_on_random_classifiers"],
        replace={"(p * (1 - p)).T @ x**2 / len(x)": "(p * (1 - p)).T @ x**2"},
    ),
    Mutant(
        "q3",
        "takes the most probable label for the labels of the model",
        ["fisher_example", "fisher_on_random_classifiers"],
        replace={
            "return (p * (1 - p)).T @ x**2 / len(x)": "return ((np.eye(len(weight))[p.argmax(1)] - p) ** 2).T @ x**2 / len(x)"
        },
    ),
    Mutant(
        "q3",
        "forgets to square the features",
        ["fisher_example", "fisher_on_random_classifiers"],
        replace={"(p * (1 - p)).T @ x**2": "(p * (1 - p)).T @ x"},
    ),
    Mutant(
        "q3",
        "pulls to zero and not to the start",
        ["fisher_example", "anchored_on_random_weights"],
        replace={"away = weight - start": "away = weight"},
    ),
    Mutant(
        "q3",
        "forgets the half in the penalty",
        ["fisher_example", "anchored_on_random_weights"],
        replace={"strength / 2 * (importance": "strength * (importance"},
    ),
    Mutant(
        "q3",
        "halves the gradient as well",
        ["fisher_example", "anchored_on_random_weights"],
        replace={"strength * importance * away": "strength / 2 * importance * away"},
    ),
    Mutant(
        "q3",
        "takes large weights for important ones",
        ["what_is_held"],
        replace={"np.argsort(-information)[:3]": "np.argsort(-difference)[:3]"},
    ),
    Mutant(
        "q3",
        "ranks by signed differences",
        ["what_is_held"],
        replace={"np.abs(reader[1] - reader[0])": "reader[1] - reader[0]"},
    ),
    Mutant(
        "q4",
        "sets the gradient to zero and lets decay and momentum go on",
        ["one_update", "random_updates"],
        replace={
            "            new_weights[name], new_momentum[name] = weight.copy(), np.zeros_like(momentum[name])\n            continue\n": "            gradients = {**gradients, name: 0 * gradients[name]}\n"
        },
    ),
    Mutant(
        "q4",
        "keeps the momentum of what is frozen",
        ["one_update", "random_updates"],
        replace={"np.zeros_like(momentum[name])": "momentum[name].copy()"},
    ),
    Mutant(
        "q4",
        "decays biases as well",
        ["one_update", "random_updates"],
        replace={"decay if weight.ndim > 1 else 0.0": "decay"},
    ),
    Mutant(
        "q4",
        "uses the old momentum for the weight",
        ["one_update", "random_updates"],
        replace={"weight - rate * new_momentum[name]": "weight - rate * momentum[name]"},
    ),
    Mutant(
        "q4",
        "changes the weights that it is given",
        ["one_update"],
        replace={
            "new_weights[name] = weight - rate * new_momentum[name]": "weight -= rate * new_momentum[name]\n        new_weights[name] = weight"
        },
    ),
    Mutant(
        "q4",
        "allows a tolerance",
        ["moved"],
        replace={
            "not np.array_equal(before[name], after[name])": "before[name].shape != after[name].shape or not np.allclose(before[name], after[name])"
        },
    ),
    Mutant(
        "q4",
        "looks only at names that both have",
        ["moved"],
        replace={"changed | (before.keys() ^ after.keys())": "changed"},
    ),
    Mutant(
        "q4",
        "compares sums",
        ["moved"],
        replace={
            "not np.array_equal(before[name], after[name])": "round(before[name].sum(), 6) != round(after[name].sum(), 6)"
        },
    ),
    Mutant("q5", "divides the variance by n (ddof)", INTERVALS, replace={"d.std(ddof=1)": "d.std()"}),
    Mutant("q5", "forgets the root of n", [*INTERVALS, "own_world"], replace={" / np.sqrt(len(d))\n": "\n"}),
    Mutant(
        "q5",
        "takes 1.96 for Student's t",
        [*INTERVALS, "own_world"],
        replace={"stats.t.ppf(0.975, len(d) - 1)": "1.96"},
    ),
    Mutant(
        "q5",
        "takes the 95% quantile for a two-sided interval",
        [*INTERVALS, "own_world"],
        replace={"ppf(0.975, len(d) - 1)": "ppf(0.95, len(d) - 1)"},
    ),
    Mutant(
        "q5",
        "adds standard deviations in place of variances",
        ["random_intervals", "own_world"],
        replace={
            "np.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b))": "np.std(a, ddof=1) / len(a) ** 0.5 + np.std(b, ddof=1) / len(b) ** 0.5"
        },
    ),
    Mutant(
        "q5",
        "calls everything equal whose interval holds zero",
        ["interval_example", "random_verdicts"],
        replace={
            '    if low > margin:\n        return "more"': '    if low <= 0 <= high:\n        return "equal"\n    if low > margin:\n        return "more"'
        },
    ),
    Mutant(
        "q5",
        "asks only whether zero is in the interval",
        ["interval_example", "random_verdicts"],
        replace={"if low > margin": "if low > 0", "if high < -margin": "if high < 0"},
    ),
    Mutant(
        "q5",
        "compares tuned with scratch in place of no tuning",
        ["own_world"],
        replace={"[untuned] * 10": 'runs["scratch"][16]'},
    ),
]
