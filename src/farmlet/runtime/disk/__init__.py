"""Limits of folders: what each file system can do, in one way."""
