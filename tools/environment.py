"""The environment in which notebooks are built and tested, so that the same cells print the same numbers."""

import os

NOTEBOOK_ENVIRONMENT = {
    "COURSE_PROFILE": "mini",
    "HF_HUB_OFFLINE": "1",  # the mini profile needs no network, so any attempt is a mistake
    "OMP_WAIT_POLICY": "passive",  # idle threads sleep: several times faster on two shared cores
    "PYTHONHASHSEED": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TQDM_DISABLE": "1",  # progress bars carry times, which differ from run to run
}
SPREADING = ("COURSE_JOBS", "COURSE_SCHEDULER")
PERSONAL = ("COURSE_DATA", "COURSE_RECORD", "COURSE_REF", "COURSE_REPO", "MPLBACKEND", *SPREADING)


def notebook_environment() -> dict[str, str]:
    """The caller's environment with the course's settings in and personal ones (`COURSE_DATA`, ...) out."""
    kept = {key: value for key, value in os.environ.items() if key not in PERSONAL}
    return kept | NOTEBOOK_ENVIRONMENT


def enter_notebook_environment() -> None:
    """Make it this process's environment, which kernels inherit."""
    env = notebook_environment()
    os.environ.clear()
    os.environ.update(env)


def recording_environment() -> dict[str, str]:
    """The environment of `make evidence`: the same, but all recorded seeds, with progress bars and no display."""
    env = notebook_environment() | {"COURSE_RECORD": "1", "MPLBACKEND": "agg"}
    env |= {key: os.environ[key] for key in SPREADING if key in os.environ}
    del env["TQDM_DISABLE"]
    return env
