"""The main job: a new member takes recorded collision data through the whole facility, to a fitted Z boson peak."""
