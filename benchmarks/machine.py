"""What a benchmark runs on, and what the processes that it starts take."""

from __future__ import annotations

import platform
import re
import threading
from pathlib import Path

import psutil


def processor() -> str:
    """The name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


class Meter:
    """Computing time and memory of all processes that this one started: a lab's kernel and what that starts.

    `peak` is the most resident memory in bytes that was seen at one time, of all together, or that the system saw of
    one of them (Linux keeps that number).
    """

    def __init__(self) -> None:
        self.peak = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.25):
            sizes, highest = [0], [0]
            for process in psutil.Process().children(recursive=True):
                try:
                    sizes.append(process.memory_info().rss)
                    highest.append(_highest(process.pid))
                except (psutil.Error, OSError):  # it has just ended
                    continue
            self.peak = max(self.peak, sum(sizes), *highest)

    @staticmethod
    def core_seconds() -> float:
        """Seconds of computing so far, summed over cores, of all processes below this one, ended ones too."""
        own = psutil.Process()
        total = sum(own.cpu_times()[2:4])  # of ended children, in user and in system mode
        for process in own.children(recursive=True):
            try:
                total += sum(process.cpu_times()[:4])
            except psutil.Error:
                continue
        return total


def _highest(pid: int) -> int:
    """The most resident memory that a process ever had, in bytes, as Linux knows it; 0 elsewhere."""
    status = Path(f"/proc/{pid}/status")
    found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.M) if status.is_file() else None
    return 1024 * int(found[1]) if found else 0
