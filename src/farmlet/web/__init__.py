"""What the pages of all our web services share: theme, base template, headers, and log-in at the facility's issuer."""
