"""The shared package of the course: plumbing that two or more labs need. The taught thing stands in the labs."""
