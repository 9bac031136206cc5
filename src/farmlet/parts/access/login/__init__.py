"""A member's own machine: log-in by the device flow, what it leaves there, and its renewal. Standard library only.

segno draws the QR code where it is installed. Linux and macOS.
"""
