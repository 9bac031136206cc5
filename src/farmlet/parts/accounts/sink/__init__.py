"""Where accounts are kept: a directory, the nodes, memory."""
