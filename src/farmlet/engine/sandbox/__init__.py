"""What a sandbox makes on this host."""
