"""Members, groups and service members: plain functions over the database."""
