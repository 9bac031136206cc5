"""What an issuer of tokens says, to whom it gives them, and what of it nobody else is to read."""
