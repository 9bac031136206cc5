"""The unpacked area: images of registries as root file systems below /cvmfs/unpacked.DOMAIN, in DUCC's layout."""
