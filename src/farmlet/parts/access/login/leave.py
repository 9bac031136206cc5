"""The end of a log-in: the refresh token dies at the issuer, and what was made here goes."""

from __future__ import annotations

from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.access.login import discovery, places, snippet, state, words
from farmlet.parts.access.login.places import Place
from farmlet.runtime import oauth


def log_out(place: Place) -> FarmletError | None:
    """Remove what a log-in made, nothing else. What is returned says why the issuer could not be told, if so.

    Raises FarmletError where files cannot be removed. The certificate and tokens that others hold end by themselves.
    """
    fault = None
    with state.locked(place):
        known = state.load(place)
        if known.refresh_token:
            try:
                oauth.revoke(known.issuer, known.client, known.refresh_token, state.cafile(place))
            except FarmletError as error:
                fault = words.explain(error, "")
        try:
            path = Path(known.bearer)
            if discovery.is_ours(state.read_own(path), known):
                path.unlink()
            # without its state a folder is no log-in any more: that goes first
            for path in (place.state, *place.files):
                path.unlink(missing_ok=True)
            if not any(place.folder.iterdir()):
                place.folder.rmdir()
            if not places.find():
                snippet.remove_include()
        except OSError as error:
            raise FarmletError(str(error.filename), f"cannot be removed: {error.strerror}", "remove it yourself") from error
    return fault
