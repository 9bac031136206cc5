"""The identity service: a Django project of one app, run on the node `service` behind the reverse proxy.

`django`: configuration (the JSON file) → project (Django's settings, the provider) → models · `members`, `clients`, `tokens`
and `keys`: plain functions over them · `oauth`: the protocol · `login`, `pages`, `scim`, `openapi`: what else HTTP shows ·
`admin`: the command line.
"""
