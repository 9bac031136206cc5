"""Software that members and their jobs run: unpacked container images below /cvmfs, started by Apptainer."""
