"""What a stranger could hand out in place of data."""

import os
from pathlib import Path


class Stranger:
    """An object whose pickle makes the folder `canary` where it is read freely."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)
