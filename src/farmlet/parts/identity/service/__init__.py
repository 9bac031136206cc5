"""The identity service: a Django project of one app, run on the node `service` behind the front door.

`configuration` (the JSON file) → `project` (Django's settings, the provider) → `models`; `members`, `policy`, `tokens`
and `keys` are plain functions over them; `oauth` is the protocol, `views` what HTTP shows, `command` the command line.
"""
