"""Node images and what goes into them."""
