"""Dask workers made for recorded runs, on any machine with a clone: `make worker SCHEDULER=tcp://host:8786`."""

import signal
import subprocess
import sys

from tools.build_labs import ROOT
from tools.environment import recording_environment


def main(scheduler: str, workers: str = "1") -> None:
    """Start processes that work for the scheduler, one run at a time each, in the environment of the labs.

    Without Dask's nanny, which would bring a dead worker back, but with a hash seed of its own.
    """
    if not scheduler or not workers.isdecimal() or not int(workers):
        sys.exit(
            f"SCHEDULER={scheduler} JOBS={workers} names no scheduler or no number of workers: give the address that "
            "`dask scheduler` prints, as in: make worker SCHEDULER=tcp://host:8786 JOBS=2"
        )
    command = [
        sys.executable,
        "-m",
        "dask",
        "worker",
        scheduler,
        "--no-nanny",
        "--nthreads",
        "1",
        "--no-dashboard",
    ]
    env = recording_environment() | {"PYTHONPATH": str(ROOT)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    started = [subprocess.Popen(command, env=env) for _ in range(int(workers))]
    try:
        sys.exit(max(process.wait() for process in started))
    finally:
        for process in started:
            process.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
