"""`python -m farmlet.parts.identity.service`: the command `farmlet-identity`."""

import sys

from farmlet.parts.identity.service.admin.command import main

if __name__ == "__main__":
    sys.exit(main())
