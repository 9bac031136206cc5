"""Log-in by SSH with short-lived certificates of the facility's own authority."""

PACKAGE = __name__
