"""The figures of the chapters: up to date, the same bytes each time, legible, honest about what is missing."""

import json
import shutil
from collections import defaultdict
from itertools import combinations
from random import Random

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from tools import figures, make_figures
from tools.figures import adaptation, analysis, applications, introduction, open_problems, pretraining
from utils.errors import CourseError
from utils.evidence import append_runs, canonical
from utils.plots import style
from utils.settings import root
from utils.world import lexicon

SMALLEST = 12  # points; at 6 inches a figure is shown at 3.6 inches on a phone


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A repository with recorded runs and a tokenizer."""
    folder = tmp_path_factory.mktemp("recorded")
    runs = folder / figures.runs_file(pretraining.LAB)
    random = Random(0)
    for height, method in zip((0.8, 0.75, 0.52, 0.49), pretraining.METHODS, strict=True):
        for step, labels in enumerate((32, 64, 128, 256, 512, 1024)):
            for seed in range(3):
                accuracy = height + 0.02 * step + random.gauss(0, 0.01)
                setting = canonical({"method": method, "labels": labels, "seed": seed})
                append_runs(
                    runs, "sentiment", setting, {"accuracy": accuracy + 0.1, "accuracy_new": accuracy}
                )
    bits = dict(zip((*pretraining.MODELS, "exact"), (2.9, 2.6, 2.4, 2.2), strict=True))
    append_runs(runs, "held out", canonical({"seed": 0}), bits)
    measure_analysis(folder / figures.runs_file(analysis.LAB), random)
    measure_adaptation(folder / figures.runs_file(adaptation.LAB), random)
    measure_open_problems(folder / figures.runs_file(open_problems.LAB), random)
    for lab in (applications.FILMS, applications.QUESTIONS, applications.REPLIES):
        shutil.copy(root() / "evidence" / f"{lab}.json", folder / "evidence")
    tokenizer = folder / pretraining.TOKENIZER
    tokenizer.parent.mkdir()
    merges = [["u", "n"], ["l", "y"], ["▁", "un"], ["c", "k"], ["i", "ly"], ["u", "ck"], ["uck", "ily"]]
    tokenizer.write_text(json.dumps({"model": {"merges": merges}}), "utf-8")
    return folder


@pytest.fixture
def measured(recorded, tmp_path, monkeypatch):
    """A copy of it, which the figures read."""
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(figures, "root", lambda: tmp_path)
    return tmp_path


def measure_analysis(runs, random):
    """Made-up runs of the lab on analysis."""
    found = defaultdict(dict)
    for seed in range(3):
        for layer in range(analysis.PATCHED_LAYERS):
            for place in range(len(analysis.ROLES)):
                found["patching", canonical({"seed": seed})][f"patch {layer} {place}"] = random.random()
        for k in analysis.ATTRACTORS:
            for place, model in enumerate(analysis.MODELS):
                accuracy = 1 - 0.3 * place - 0.01 * random.random()
                found["attractors", canonical({"seed": seed})][f"{model}_{k}"] = accuracy
            for dose in analysis.DOSES:
                setting = canonical({"seed": seed, "kind": "lstm", "dose": dose})
                found["dose", setting][f"original_{k}"] = 1 - 0.2 * dose * k
        for encoder in analysis.READERS:
            for task, (sweep, _) in analysis.TASKS.items():
                for k in range(5):
                    scores = {f"{task} {k}": random.random(), f"{task} control {k}": random.random()}
                    found[sweep, canonical({"seed": seed, "encoder": encoder})] |= scores
        for slope, (features, task) in zip((2.4, 1.8, 0.7, 0.5), analysis.CODES, strict=True):
            code = {f"{task} bits {n}": slope * n for n in analysis.SENT}
            setting = canonical({"seed": seed, "features": features})
            found["code-length", setting] |= {**code, f"{task} accuracy": random.random()}
    for (sweep, setting), metrics in found.items():
        append_runs(runs, sweep, setting, metrics)


def measure_adaptation(runs, random):
    """Made-up runs of the lab on adaptation."""
    found = {}
    for seed in range(3):
        for place, way in enumerate(adaptation.WAYS):
            cost = {name: 1e6 * (0.1 + 7 * place) for name in ("trained", "optimizer", "kept")}
            found["costs", canonical({"method": way, "seed": seed})] = cost
            for labels in adaptation.COUNTS:
                for far, task in enumerate(adaptation.TASKS):
                    setting = {"task": task, "method": way, "labels": labels, "seed": seed}
                    accuracy = 0.9 - 0.1 * far + 0.03 * place + 0.01 * random.random()
                    found["similarity", canonical(setting)] = {"accuracy": accuracy}
        for place, task in enumerate(adaptation.TASKS):
            found["task distance", canonical({"task": task, "seed": seed})] = {"distance": 0.2 * place}
        for place, method in enumerate((*adaptation.LINES, "adapters")):
            for labels in adaptation.LABELS:
                scores = {
                    test: 0.9 - 0.1 * place + 0.01 * random.random() for test in ("known", "new", "bits")
                }
                found["curves", canonical({"method": method, "labels": labels, "seed": seed})] = scores
        for recipe in adaptation.RECIPES:
            accuracy = {"known": 0.8 + 0.1 * random.random()}
            found["recipes", canonical({"recipe": recipe, "seed": seed})] = accuracy
        found["plain tuning", canonical({"seed": seed})] = {"bits 1": 4, "known 1": 0.8}
        found["lowest rate", canonical({"seed": seed})] = {"bits": 2.1, "known": 0.82}
        found["pretrained bits", canonical({"seed": seed})] = {"bits": 2}
        for family in adaptation.HOLDS:
            for strength in (0.1, 1):
                setting = canonical({"family": family, "strength": strength, "seed": seed})
                found["holding on", setting] = {
                    "bits": 2 + random.random(),
                    "known": 0.7 + 0.2 * random.random(),
                }
    for (sweep, setting), metrics in found.items():
        append_runs(runs, sweep, setting, metrics)


def measure_open_problems(runs, random):
    """Made-up runs of the lab on open problems."""
    found = {}

    def run(sweep, metrics, **setting):
        found.setdefault((sweep, canonical(setting)), {}).update(metrics)

    def near(value):
        return value + 0.02 * random.random()

    for seed in range(3):
        accuracy = {"known": near(0.55 + 0.1 * seed)}
        run("reruns", accuracy, updates=12, rate=1e-3, correction="yes", seed=seed)
        for prompt in open_problems.WORDINGS:
            run("prompt-zero", {"raw": near(0.6)}, prompt=prompt, split="test", seed=seed)
        for share in open_problems.SHARES:
            scores = {"usual": near(0.9), "against": near(1 - share)}
            run("surface", scores, start="pretrained", share=share, seed=seed)
        run("facts page", dict.fromkeys(open_problems.ANSWERS, near(0.5)), seed=seed)
        for order in open_problems.ORDERS:
            scores = {f"known_{k}": near(0.9 - 0.02 * k) for k in open_problems.HEADS}
            run("size heads", scores, order=order, seed=seed)
        for kind, gone in open_problems.GONE.items():
            for sparsity in gone:
                run("size weights", {"known": near(0.6)}, kind=kind, sparsity=sparsity, seed=seed)
        for source in ("none", *open_problems.TASKS):
            scores = {task: random.random() for task in open_problems.TASKS}
            run("similar gentle", scores, source=source, seed=seed)
        for strength in open_problems.STRENGTHS:
            scores = {metric: near(strength) for metric in ("dose", "found", "pairs")}
            run("bias planted", scores, strength=strength, seed=seed)
        for cure in open_problems.CURES:
            run("bias cures", {"slope": random.random(), "named": near(0.7)}, cure=cure, seed=seed)
    for (sweep, setting), metrics in found.items():
        append_runs(runs, sweep, setting, metrics)


@pytest.mark.parametrize("name", make_figures.FIGURES)
def test_committed_figure_is_current(name):
    path = root() / make_figures.FOLDER / f"{name}.png"
    try:
        inputs = make_figures.FIGURES[name].inputs()
    except CourseError:
        assert not path.exists(), f"{name} shows what the repository does not hold"
        return
    assert path.is_file(), "run `make figures`"
    with Image.open(path) as image:
        assert image.info.get("Comment") == make_figures.fingerprint(name, inputs), "run `make figures`"


def test_every_committed_figure_is_drawn_by_the_script():
    committed = {path.name for path in (root() / make_figures.FOLDER).iterdir()}
    assert committed <= {f"{name}.png" for name in make_figures.FIGURES}


@pytest.mark.parametrize("name", make_figures.FIGURES)
def test_figure_is_the_same_each_time(name, measured):
    make_figures.save(name, measured / "a")
    make_figures.save(name, measured / "b")
    assert (measured / "a" / f"{name}.png").read_bytes() == (measured / "b" / f"{name}.png").read_bytes()


@pytest.mark.parametrize("name", make_figures.FIGURES)
def test_text_is_large_enough_and_stays_apart(name, measured):
    source = make_figures.FIGURES[name]
    style()
    fig = source.draw(source.inputs())
    fig.canvas.draw()
    texts = [text for text in fig.findobj(plt.Text) if text.get_text().strip() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= SMALLEST
    boxes = {id(text): text.get_window_extent() for text in texts}
    for text in texts:
        box = boxes[id(text)]
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= fig.bbox.x1 and box.y1 <= fig.bbox.y1
        assert inside, text.get_text()
    for a, b in combinations(texts, 2):
        assert not boxes[id(a)].overlaps(boxes[id(b)]), (a.get_text(), b.get_text())
    plt.close(fig)


MEASURED = [name for name in make_figures.FIGURES if make_figures.FIGURES[name].inputs.__name__ != "<lambda>"]


def test_missing_measurements_get_one_sentence_each(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "root", lambda: tmp_path)
    make_figures.main()
    lines = capsys.readouterr().err.splitlines()
    for name in MEASURED:
        said = [line for line in lines if f"{name}.png is not drawn" in line]
        assert len(said) == 1 and "run `make" in said[0], name
        assert not (tmp_path / make_figures.FOLDER / f"{name}.png").exists()
    assert (tmp_path / make_figures.FOLDER / "objectives.png").is_file()


def test_missing_method_is_named(measured, monkeypatch):
    monkeypatch.setitem(pretraining.METHODS, "adapters", ("adapters", "black", "o"))
    with pytest.raises(CourseError, match="no accuracy_new of the method 'adapters'"):
        pretraining.new_words()


def test_head_start_needs_all_its_methods(measured, monkeypatch):
    monkeypatch.setitem(introduction.SHOWN, "prayer", ("prayer", "black", "o"))
    with pytest.raises(CourseError, match="no accuracy of the method 'prayer'"):
        introduction.known_words()


def test_head_start_is_measured_between_points_or_ends_at_the_last():
    rows = [(32, 0.5, 0.5, 0.5), (64, 0.6, 0.6, 0.6), (256, 0.8, 0.8, 0.8)]
    assert introduction.reaches(rows, 0.7) == pytest.approx(128)
    assert introduction.reaches(rows, 0.9) == 256


def test_missing_metric_is_named(measured, monkeypatch):
    monkeypatch.setattr(analysis, "SENT", (*analysis.SENT, 6400))
    with pytest.raises(CourseError, match="'code-length' lacks the metric 'control bits 6400'"):
        analysis.code_lengths()


def test_missing_row_is_named(measured, monkeypatch):
    monkeypatch.setattr(applications, "DUELS", (("films", applications.FILMS, 100, "no-such-row", "", 1),))
    with pytest.raises(CourseError, match="04a_imdb_ulmfit_fastai.json has no row 'no-such-row'"):
        applications.duels()


def test_missing_setting_is_named(measured, monkeypatch):
    monkeypatch.setattr(analysis, "READERS", {**analysis.READERS, "LSTM": "recurrent"})
    with pytest.raises(CourseError, match="'word-probes' has no runs with {'encoder': 'LSTM'}"):
        analysis.probed_layers()


def test_map_takes_the_cheapest_way_that_is_not_measurably_worse():
    cheap, best = dict(enumerate((0.70, 0.72, 0.71))), dict(enumerate((0.80, 0.81, 0.82)))
    level = dict(enumerate((0.85, 0.76, 0.79)))  # its mean is lower than the best, but it wins with one seed
    assert adaptation.cheapest({"head": cheap, "full": best}, "a task") == "full"
    assert adaptation.cheapest({"head": cheap, "mix": level, "full": best}, "a task") == "mix"
    assert adaptation.cheapest({"head": best, "full": cheap}, "a task") == "head"


def test_map_pairs_equal_seeds_only():
    with pytest.raises(CourseError, match="a task differ in their seeds"):
        adaptation.cheapest({"head": {0: 0.7, 1: 0.7}, "full": {1: 0.8, 2: 0.8}}, "a task")


def test_map_needs_a_cell_in_every_row(measured, monkeypatch):
    monkeypatch.setattr(adaptation, "TASKS", {**adaptation.TASKS, "poems": "poems"})
    with pytest.raises(CourseError, match="no number of labels has runs of .* for 'poems'"):
        adaptation.decisions()


def test_transfer_pairs_equal_seeds_only(measured):
    runs = measured / figures.runs_file(open_problems.LAB)
    extra = canonical({"source": "topic", "seed": 3})
    append_runs(runs, "similar gentle", extra, dict.fromkeys(open_problems.TASKS, 0.5))
    with pytest.raises(CourseError, match="'topic' and of no source differ in seeds"):
        open_problems.gains()


def test_missing_cure_is_named(measured, monkeypatch):
    monkeypatch.setattr(open_problems, "CURES", {"prayer": "prayer"})
    with pytest.raises(CourseError, match="no run of 'bias cures' has the metric 'slope' with .*prayer"):
        open_problems.association()


def test_each_fingerprint_knows_its_own_chapter(monkeypatch):
    before = {name: make_figures.fingerprint(name, None) for name in ("objectives", "patching")}
    source = make_figures.inspect.getsource
    changed = {analysis: "changed"}
    monkeypatch.setattr(
        make_figures.inspect, "getsource", lambda module: changed.get(module) or source(module)
    )
    assert make_figures.fingerprint("objectives", None) == before["objectives"]
    assert make_figures.fingerprint("patching", None) != before["patching"]


def test_merges_follow_their_order():
    steps = pretraining.merged("aab", [["a", "b"], ["a", "a"], ["▁", "a"]])
    assert steps == [(0, ["▁", "a", "a", "b"]), (1, ["▁", "a", "ab"]), (3, ["▁a", "ab"])]


def test_pieces_of_an_unseen_word(measured):
    assert pretraining.tokenizer_steps()["unhappily"][-1][1] == ["▁un", "h", "a", "p", "p", "ily"]


def test_unseen_words_are_not_in_the_world():
    words = (root() / "utils" / "world" / "lexicon.py").read_text("utf-8").split()
    assert lexicon.NEGATIVE_CUES["A"].split()[1] == pretraining.SEEN
    assert not set(pretraining.UNSEEN) & set(words)
