"""Monitoring: numbers of every node in a store on the control node, a page that shows them, and alarms by mail."""
