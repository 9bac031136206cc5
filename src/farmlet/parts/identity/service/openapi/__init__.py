"""The description of every endpoint for programs, as OpenAPI 3.1: tables in, one JSON document out."""
