"""The overlay: one HTCondor pool over all sites, grown and shrunk by COBalD/TARDIS as the queue asks for it."""
