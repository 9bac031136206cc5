"""What changed since: a feed that readers wait at, instead of asking for everybody again and again."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import time

from django.db.models import Max
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from farmlet.parts.identity.service.django.models import Change, Member
from farmlet.parts.identity.service.scim.access import ERROR, OURS, authorise_program, deny
from farmlet.parts.identity.service.tokens.bearer import Denied

LONGEST = 55.0  # seconds a reader of the feed is kept waiting
STEP = 0.2


@csrf_exempt
@require_safe
def follow(request: HttpRequest) -> HttpResponse:
    """`{"cursor", "changed": [sub, …], "removed": [sub, …]}` of what came after `cursor`; waits up to `wait` seconds (≤ 55).

    A cursor from the future (the database was restored) is answered at once with everybody. A member whose groups, or
    whose groups' rights, changed is told too. `removed` are those of the changed who are no members any more.
    """
    try:
        authorise_program(request, frozenset({"scim:read"}))
        cursor, wait = _number(request, "cursor"), _number(request, "wait")
    except Denied as error:
        return deny(error, OURS.content)
    except ValueError as error:
        body = {"schemas": [ERROR], "status": "400", "scimType": "invalidValue", "detail": str(error)}
        return JsonResponse(body, status=400, content_type=OURS.content)
    deadline = time.monotonic() + min(LONGEST, max(0, wait))
    while (newest := Change.objects.aggregate(newest=Max("id"))["newest"] or 0) == cursor and time.monotonic() < deadline:
        time.sleep(STEP)
    since = cursor if cursor <= newest else 0
    recent = Change.objects.filter(id__gt=since, id__lte=newest).order_by("id")
    states = {str(sub): state for sub, state in recent.values_list("member__sub", "member__state")}
    removed = [sub for sub, state in states.items() if state == Member.State.REMOVED]
    answer = {"cursor": newest, "changed": list(states), "removed": removed}
    return JsonResponse(answer, headers={"Cache-Control": "no-store"})


def _number(request: HttpRequest, name: str) -> int:
    text = request.GET.get(name, "0")
    if not text.lstrip("-").isdecimal() or len(text) > 18:
        raise ValueError(f"{name} is not an integer")
    return int(text)
