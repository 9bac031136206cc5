"""The grant types this service has, by their names in the protocol."""

from __future__ import annotations

from farmlet.runtime import oauth

CODE = "authorization_code"  # RFC 6749 §4.1
DEVICE_CODE = oauth.DEVICE_CODE  # RFC 8628 §3.4
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # RFC 8693 §2.1
