"""SCIM 2.0 (RFC 7643, 7644) over members and groups, at our own path and at INDIGO IAM's, and a feed of changes."""
