"""The parts of a facility: one folder each, all alike inside. What they share is `part` and `resources`."""
