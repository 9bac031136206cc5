"""A stand-in for an INDIGO IAM, for service and facility tests: its paths, its manners, none of its code.

Its specification is what was observed on INDIGO IAM 1.12.0; `§` in this folder is a section of that list: 1 discovery, 2 access
tokens, 3 device flow, 4 refresh, revocation, introspection, 5 SCIM, 6 clients, 7 groups, 8 scopes, 9 life of an account,
10 errors. `test_standin.py` walks through it. What nobody here asks an IAM for is missing: authorization code, token exchange,
certificates, writing by SCIM (`Iam` has methods instead).
"""

from indigo.client import Client
from indigo.iam import ADMIN, BATCH, CLIENT, EXTENSION, MEMBERS, PASSWORD, SECRET, Iam
from indigo.server import Handler, Server

__all__ = ["ADMIN", "BATCH", "CLIENT", "EXTENSION", "MEMBERS", "PASSWORD", "SECRET", "Client", "Handler", "Iam", "Server"]
