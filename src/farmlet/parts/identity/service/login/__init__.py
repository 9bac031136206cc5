"""Logging in by password, how often one may try, logging out."""
