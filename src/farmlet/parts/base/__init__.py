"""What every node has: names and trust, the node agent; on the control node the hub and the front door."""
