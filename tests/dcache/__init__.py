"""A stand-in for a dCache with its WebDAV door and a pool, for service and facility tests: its manners, none of its code.

Its specification is what was observed of dCache 11.2; `§` in this folder is a section of that list: 1 trust, 2 time, 3 too many
errors, 4 requests, 5 third-party copies. `test_dcache_standin.py` walks through it. Missing is what nobody here asks for:
authorisation by groups, spaces, root doors, macaroons.
"""

from dcache.dcache import Dcache
from dcache.tokens import PREFIX, Authority

__all__ = ["PREFIX", "Authority", "Dcache"]
