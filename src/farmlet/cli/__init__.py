"""The `farmlet` command: one module a verb; only `main` prints errors and exits."""
