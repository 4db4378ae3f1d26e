"""Every test and every notebook kernel runs in the environment in which the notebooks were built."""

import os

from tools.environment import notebook_environment

_settings = notebook_environment()
os.environ.clear()
os.environ.update(_settings)
