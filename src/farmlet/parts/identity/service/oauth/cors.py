"""What programs in a browser may ask from a page of another origin (CORS): what needs a token or a code, and never a cookie.

Any origin may: without credentials of the browser's a page can do no more here than any program elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse

ASKED = "Access-Control-Request-Method"  # in the question that a browser sends before a request
ANSWER = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Expose-Headers": "WWW-Authenticate",
    "Access-Control-Max-Age": "3600",
}


def open_to_pages(show: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The view, for pages of other origins too."""

    @wraps(show)
    def view(request: HttpRequest, **words: Any) -> HttpResponse:
        asked = request.method == "OPTIONS" and ASKED in request.headers
        answer = HttpResponse(status=204) if asked else show(request, **words)
        for name, value in ANSWER.items():
            answer.headers[name] = value
        return answer

    return view
