"""The web service of monitoring: the page for members, and what nodes hand in."""
