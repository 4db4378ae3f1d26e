"""Every test and every notebook kernel runs in the environment in which the notebooks were built."""

from tools.environment import enter_notebook_environment

enter_notebook_environment()
