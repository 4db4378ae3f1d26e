"""Where a lab's time goes: looks at the stack fifty times a second, in the kernel that runs the lab (see README.md).

`labs.py` copies this file into the kernel's startup folder, so it imports nothing of the course; PARTS_FILE names the
JSON file that is written when the kernel ends.
"""

import atexit
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable

EVERY = 0.02  # seconds
KINDS = {  # where any frame of the stack is in such a file, the first kind that fits
    "imports": ("<frozen importlib",),
    "figures": ("/matplotlib/", "/matplotlib_inline/", "/utils/plots.py"),
    "text": ("/utils/world/", "/spacy/", "/tokenization", "/utils/squad.py:windows"),
    "statistics": ("/sklearn/", "/scipy/", "/utils/intervals.py", "/pandas/"),
    "training": (
        "/torch/optim/",
        "/torch/autograd/",
        "/torch/_tensor.py:backward",
        "/utils/span_tf.py:train",
    ),
    "networks": ("/torch/nn/", "/transformers/", "/tensorflow/", "/fastai/"),
}


def kind(places: Iterable[str], learning: bool) -> str:
    """What a stack is busy with, "other" where no file tells; `places` are FILE:FUNCTION, innermost first.

    A network that is computed while gradients are kept is being trained, else it only reads.
    """
    stack = [place.replace("\\", "/") for place in places]
    for name, parts in KINDS.items():
        if any(part in place for part in parts for place in stack):
            return name if name != "networks" else "training" if learning else "reading"
    return "other"


def start() -> None:
    """Count computing time, all threads together, by the kind of stack in which the main thread is met."""
    found: Counter[str] = Counter()
    last = time.process_time()

    def look(_: int, frame) -> None:
        nonlocal last
        now = time.process_time()
        places = []
        while frame is not None:
            places.append(f"{frame.f_code.co_filename}:{frame.f_code.co_name}")
            frame = frame.f_back
        torch = sys.modules.get("torch")
        learning = (
            hasattr(torch, "is_grad_enabled") and "tensorflow" not in sys.modules and torch.is_grad_enabled()
        )
        found[kind(places, learning)] += now - last
        last = now

    def end() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        with open(os.environ["PARTS_FILE"], "w", encoding="utf-8") as file:
            json.dump(found, file)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, EVERY, EVERY)
    atexit.register(end)


if "PARTS_FILE" in os.environ:
    start()
