"""The engine: makes nodes equal to what the facility file says, sees what differs, and removes what it made."""
