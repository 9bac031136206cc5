"""Membership becomes UNIX accounts: a directory on the control node, sssd on every node, homes where members log in."""

PACKAGE = __name__
