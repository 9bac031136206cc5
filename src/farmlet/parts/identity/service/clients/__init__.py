"""Programs that ask for tokens: those of the facility, and those that register themselves."""
