"""The issuer's signing keys and their rotation."""
