"""What members make for themselves: images of their own, as files."""
