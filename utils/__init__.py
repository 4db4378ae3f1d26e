"""The shared package of the course: plumbing that two or more labs need. The taught thing stands in the labs."""

import warnings

warnings.filterwarnings("ignore", message="IProgress not found")  # tqdm's bars need no ipywidgets here
