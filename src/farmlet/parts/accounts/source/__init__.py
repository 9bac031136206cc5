"""Who keeps the members: our own identity or an INDIGO IAM, and what is remembered of them."""
