"""Assignments: try and build them, give out codes, and grade a class. `python -m tools.assignments --help`."""
