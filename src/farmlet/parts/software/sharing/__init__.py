"""What is published below /cvmfs, for nodes and sites that do not share the folder: packed, served, fetched by digest."""
