"""Identity: members, groups and the tokens that say what they may do. The service itself is in `service`."""
