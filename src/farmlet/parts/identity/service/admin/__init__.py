"""The command `farmlet-identity` and its verbs."""
