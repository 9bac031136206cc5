"""What HTTP shows: metadata and keys, the token endpoint, the pages people use, SCIM."""
