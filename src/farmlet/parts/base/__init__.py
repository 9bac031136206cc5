"""What every node has: names and trust, the node agent; on the control node the control API and the reverse proxy."""
