"""Tokens for jobs: members leave a refresh token at the access point, their jobs get short-lived access tokens."""
