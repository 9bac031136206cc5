"""What a token may carry, how it is made, and whether one still holds."""
