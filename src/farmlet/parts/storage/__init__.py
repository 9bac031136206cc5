"""Storage: an XRootD element that lets in who bears a token, by what the token says, and the clients for it."""

PACKAGE = __name__
