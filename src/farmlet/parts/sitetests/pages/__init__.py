"""The web page of site tests: site × test × time, for members; with what tests printed, for admins."""
