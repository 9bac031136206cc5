"""HTML of the pages. All that is put in here goes through `text`; what sites say is hostile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape as text
from typing import Any
from urllib.parse import urlencode

from farmlet.parts.gate import Gate
from farmlet.parts.sitetests.result import WORDS, Result
from farmlet.parts.sitetests.store import Change, Closed

MARKS = 4  # of a row of times, below one that is told
SIGNS = ("✓", "!", "✕", "?")
PAGE = """\
<!doctype html>
<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} – {title}</title>
<link rel="stylesheet" href="/style.css">
<link rel="stylesheet" href="/page.css">
<link rel="icon" href="/icon.svg" type="image/svg+xml">
</head>
<body>
<header><a href="/"><img src="/icon.svg" alt="" width="24" height="24">{title}</a></header>
<main class="board">
<nav aria-label="Pages"><a href="/">All sites</a></nav>
<h1>{name}</h1>
{body}
</main>
<footer><form method="post" action="/logout"><span>{person}</span><button class="second">Log out</button></form></footer>
</body>
</html>
"""
Strip = Mapping[int, int]  # bucket → code of the worst result in it
Strips = Mapping[tuple[str, str], Strip]  # by site and test


def page(title: str, name: str, body: str, person: str) -> str:
    return PAGE.format(title=text(title), name=text(name), body=body, person=text(person))


def moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S") if 0 < at < 1e11 else "–"


def age(seconds: float) -> str:
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{max(seconds, 0):.0f} s"


def link(path: str, words: str, more: str = "", **query: object) -> str:
    """An anchor; `words` is HTML."""
    return f'<a href="{text(f"{path}?{urlencode(query)}")}"{more}>{words}</a>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], name: str, span: int = 1, kind: str = "list") -> str:
    """`head` is text, each of it but the first above `span` columns; `rows` are HTML, the first of each is its head. A table of
    the kind `scroll` scrolls by itself where it is too wide; it has links, by which keys come there."""
    wide = f' colspan="{span}"' if span > 1 else ""
    top = "".join(f'<th scope="col"{wide if number else ""}>{text(one)}</th>' for number, one in enumerate(head))
    lines = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{one}</td>" for one in others)}</tr>' for first, *others in rows
    )
    box = f'<div class="{kind}" role="region" aria-label="{text(name)}">'
    return f"{box}<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"


def overview(
    now: float,
    told: Mapping[str, Any],
    tests: Sequence[str],
    rows: Sequence[tuple[str, Gate | None, bool, Strips]],
    buckets: int,
    place: tuple[str, int, bool, int],
) -> str:
    """`place`: what was looked for, the number of this page, whether there is one more, how many sites there are."""
    wanted, number, more, total = place
    parts = [f'<p class="small">{total} sites, those with trouble first. Last update {moment(now)} UTC.</p>']
    for test in told["frozen"]:
        parts.append(
            f'<p class="error">{text(str(test))} fails at many sites: most likely the fault is ours. It moves no gate.</p>'
        )
    parts += [f'<p class="small">Not used: {text(str(fault))}</p>' for fault in told["faults"]]
    lines = []
    for site, gate, is_open, strips in rows:
        cells = [_cell(site, test, gate, strips.get((site, test), {}), now, buckets) for test in tests]
        lines.append([link("/site", text(site), name=site), _gate(gate, is_open), *cells])
    parts.append(
        f'<form class="find"><label for="find">Site</label><input id="find" name="find" value="{text(wanted)}" maxlength="60">'
        '<button class="second">Find</button></form>'
    )
    head = ["site", "new drones", *tests]
    parts.append(table(head, lines, "sites and tests", kind="scroll") if lines else "<p>There is no such site.</p>")
    steps = [link("/", "Earlier sites", find=wanted, page=number - 1)] if number else []
    steps += [link("/", "More sites", find=wanted, page=number + 1)] if more else []
    parts.append(f"<p>{' · '.join(steps)}</p>" if steps else "")
    parts.append(
        "<h2>One test at all sites</h2><p>" + " · ".join(link("/test", text(test), name=test) for test in tests) + "</p>"
    )
    return "\n".join(parts)


def _gate(gate: Gate | None, is_open: bool) -> str:
    if gate is None:
        return "not tested yet"
    if is_open:
        return "yes"
    return '<span class="small">maintenance</span>' if gate.by_hand else '<strong class="bad">no</strong>'


def _cell(site: str, test: str, gate: Gate | None, strip: Strip, now: float, buckets: int) -> str:
    """The last result, which leads to what it said, over a day's worth of marks."""
    row = gate.tests.get(test) if gate else None
    if not row:
        return "–"
    code, at = int(row[0]), float(row[1])
    words = f'<span class="c{code}">{SIGNS[code]} {WORDS[code]}</span> <span class="small">{age(now - at)}</span>'
    marks = "".join(f'<i class="{f"c{strip[one]}" if one in strip else "none"}"></i>' for one in range(buckets))
    return f'{link("/result", words, site=site, test=test)}<span class="strip" aria-hidden="true">{marks}</span>'


def state(gate: Gate | None, now: float) -> str:
    if gate is None:
        return "<p>No test has ended yet.</p>"
    word = "gets new drones" if gate.ok else "gets no new drones"
    words = f"It {word} since {moment(gate.since)} UTC ({age(now - gate.since)})."
    reason = f'<p class="error">{text(gate.reason)}</p>' if gate.reason and not gate.ok else ""
    return f"<p>{words}</p>{reason}"


def cost(jobs: int, seconds: float, slow: Sequence[Mapping[str, Any]]) -> str:
    """What tests took in the last day, and which are seldom for what they take."""
    parts = [f"In the last day {jobs} jobs tested it; their tests took {age(seconds)} together."]
    for one in slow:
        often = f"it runs each {age(one['every'])}, not sooner"
        parts.append(f"{text(str(one['test']))} takes {age(one['takes'])} here, so {often}.")
    return f'<p class="small">{" ".join(parts)}</p>'


def times(
    here: str,
    rows: Sequence[tuple[str, Strip, tuple[str, str]]],
    span: tuple[float, int, int],
    ranges: Mapping[int, str],
    what: str,
) -> str:
    """Rows × time: each mark leads to the worst that was found in it. `span`: now, seconds, how many marks."""
    now, seconds, buckets = span
    step, begin = seconds / buckets, now - seconds
    chosen = " · ".join(
        f'<strong aria-current="true">{words}</strong>'
        if one == seconds
        else f'<a href="{text(f"{here}&range={one}")}">{words}</a>'
        for one, words in ranges.items()
    )
    lines = []
    for name, strip, (site, test) in rows:
        cells = [link("/site" if what == "site" else "/test", text(name), name=name)]
        for one in range(buckets):
            if one not in strip:
                cells.append("")
                continue
            code, at = strip[one], begin + one * step
            label = f' class="mark c{code}" aria-label="{text(f"{name}: {WORDS[code]}, from {moment(at)}")}"'
            cells.append(
                link("/result", SIGNS[code], label, site=site, test=test, **{"from": f"{at:.3f}", "to": f"{at + step:.3f}"})
            )
        lines.append(cells)
    head = [what, *(_clock(begin + one * step, seconds) for one in range(0, buckets, MARKS))]
    legend = "✓ ok · ! warning · ✕ critical · ? unknown; the worst of each time, in UTC."
    return f'<p>Range: {chosen}</p>{table(head, lines, "results by time (UTC)", MARKS, "scroll")}<p class="small">{legend}</p>'


def _clock(at: float, seconds: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M" if seconds <= 86400 else "%d.%m.")


def history(changes: Sequence[Change], closures: Sequence[Closed], now: float) -> str:
    parts = []
    if closures:
        rows = [
            [moment(one.since), moment(one.until) if one.until else "until it is opened", text(one.reason)] for one in closures
        ]
        parts.append("<h2>Maintenance</h2>" + table(["from (UTC)", "to", "reason"], rows, "maintenance"))
    if changes:
        rows = [[moment(one.at), "opened" if one.ok else "closed", text(one.reason)] for one in changes]
        parts.append(
            "<h2>When the gate opened and closed</h2>" + table(["at (UTC)", "gate", "reason"], rows, "history of the gate")
        )
    return "".join(parts)


def order(site: str, test: str, may: bool, asked: bool) -> str:
    """The button by which it runs now, for who may."""
    if asked:
        return '<p role="status">It runs as soon as the site takes it. Open this page again in a minute.</p>'
    fields = "".join(
        f'<input type="hidden" name="{name}" value="{text(value)}">' for name, value in (("site", site), ("test", test))
    )
    return f'<form method="post" action="/run">{fields}<button class="second">Run it now</button></form>' if may else ""


def result(site: str, one: Result, others: Sequence[tuple[float, Result]], admin: bool, again: str = "") -> str:
    """What one run found; `others`: when they were stored, and the last results of the test there; `again`: see `order`."""
    parts = [f'<p><strong class="c{one.code}">{SIGNS[one.code]} {one.word}</strong> {text(one.text)}</p>']
    facts = {"began": f"{moment(one.at)} UTC", "took": f"{one.seconds:.1f} s"}
    if admin:
        facts |= {"on": text(one.host or "–")}
    facts |= {text(label): f"{value:g} {text(unit)}" for label, (value, unit) in one.numbers.items()}
    parts.append('<dl class="facts">' + "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items()) + "</dl>")
    parts.append(again)
    if admin:
        cut = f'<p class="small">{one.dropped} bytes of it were left out.</p>' if one.dropped else ""
        said = f"<pre>{text(one.output)}</pre>" if one.output else "<p>Nothing.</p>"
        parts.append(f"<h2>What it printed</h2>{said}{cut}")
    rows = []
    for stored, other in others:
        numbers = ", ".join(
            f"{text(label)} {value:g} {text(unit)}".strip() for label, (value, unit) in list(other.numbers.items())[:3]
        )
        words = f'<span class="c{other.code}">{SIGNS[other.code]} {other.word}</span>'
        when = link("/result", moment(other.at), site=site, test=one.test, at=f"{stored:.6f}")
        rows.append([when, words, f"{other.seconds:.1f}\u00a0s", numbers, text(other.text)])
    parts.append(
        "<h2>The last results here</h2>"
        + table(["began (UTC)", "result", "took", "numbers", "text"], rows, "last results", kind="scroll")
    )
    return "\n".join(parts)
