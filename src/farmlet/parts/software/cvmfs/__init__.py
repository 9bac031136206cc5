"""The client of CVMFS, which mounts other people's software below /cvmfs: what it is told, and whether it works."""
