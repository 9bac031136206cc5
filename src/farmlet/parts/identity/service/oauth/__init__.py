"""The protocol: oauthlib's server with our grants, and the validator that ties it to the database and the policy."""
