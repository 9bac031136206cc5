"""The batch system: one HTCondor pool of the facility's own nodes and of the drones at its sites."""

PACKAGE = __name__
