"""The pages people use, their templates and style."""
