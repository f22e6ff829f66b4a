"""Secrets leave no text: what was read as a secret is known by its value, everybody else's by its form (X-9).

A driver may repeat in an error what it was given, in any form, so each value that a configuration's reference gave
is remembered while this process lives. What nobody gave us, a signed URL or a token in an answer, is known by how
it looks.
"""

from __future__ import annotations

import base64
import json
import re
from collections import OrderedDict
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

HIDDEN = "***"

SHORTEST = 6
"""A value with fewer characters is not looked for: it would be found in numbers and words that are none."""

SHORTEST_LINE = 20
"""A line of a secret of several lines that is at least as long is looked for by itself."""

MOST_KNOWN = 2_000
"""Values that are remembered; the one that was read longest ago is forgotten for a new one."""

ANY = "surrogatepass"
"""How a secret is spelled in bytes that is no proper text: it is hidden all the same."""

_known: OrderedDict[str, tuple[str, ...]] = OrderedDict()
"""Each value with all its spellings, the last one read at the end."""

_sought: tuple[str, ...] = ()
"""All spellings, longer ones first: where one is part of another, the rest of that would stay."""


def remember(secret: str) -> None:
    """`mask` hides this value from now on, and its spellings in JSON, URLs and base64."""
    global _sought  # noqa: PLW0603 one memory for the process: a secret of one pipeline is none of another's business
    if secret in _known:
        _known.move_to_end(secret)
        return
    _known[secret] = _spellings(secret)
    while len(_known) > MOST_KNOWN:
        _known.popitem(last=False)
    _sought = tuple(sorted({one for each in _known.values() for one in each}, key=len, reverse=True))


def mask(text: str) -> str:
    """`text` with `***` in the place of every secret in it."""
    for spelling in _sought:
        if spelling in text:
            text = text.replace(spelling, HIDDEN)
    for form, instead in FORMS:
        text = form.sub(instead, text)
    return text


def _spellings(secret: str) -> tuple[str, ...]:
    """How a secret may look: as it is, its lines if it has several, and as other formats write it."""
    lines = secret.splitlines()
    pieces = {secret, *(line for line in lines if len(lines) > 1 and len(line) >= SHORTEST_LINE)}
    found = {spelling for piece in pieces for spelling in _written(piece)}
    return tuple(one for one in found if len(one) >= SHORTEST)


def _written(piece: str) -> Iterable[str]:
    raw = piece.encode(errors=ANY)
    quoted = (quote(piece, errors=ANY), quote(piece, safe="", errors=ANY), quote_plus(piece, errors=ANY))
    yield from (piece, *quoted, repr(piece)[1:-1])
    for plain in (False, True):
        inside = json.dumps(piece, ensure_ascii=plain)[1:-1]
        yield from (inside, inside.replace("/", "\\/"))
    yield from (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode())


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.VERBOSE)


_NAMES = r"""(?: pass(?:word|wd|phrase|code)? | pwd | secrets? | tokens? | credentials? | cookie | api[_-]?key
    | access[_-]?key(?:[_-]?id)? | private[_-]?key | session[_-]?id )"""
"""What the names of settings and headers end with that hold a secret: `SLUICEWAY_PASSWORD`, `x-api-key`."""

_VALUE = r"""(?: "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.|'')*' | \\+(["']).*?\\+\2 | [^\s"'&,;)}\]\\]+ )"""

_PLAIN = r"(?: \*\*\* | `?\{ | \?(?!\w) | (?:yes|no|true|false|null|none)\b | (?-i:(?:[a-z]+\ ){2}) )"
"""What may stand after such a name: no secret, as in `(using password: YES)`, a reference, a
place in a statement, or a sentence."""

_WEBHOOKS = r"""hooks\.slack\.com | (?:\w{1,63}\.)?discord(?:app)?\.com/api/webhooks | hooks\.zapier\.com
    | [\w-]{1,63}\.webhook\.office\.com | [\w.-]{1,100}\.(?:logic\.azure|powerplatform)\.com
    | chat\.googleapis\.com/v1/spaces"""

_SIGNATURES = r"""sig | signature | key | awsaccesskeyid | googleaccessid
    | x-amz-(?:signature|credential|security-token) | x-goog-(?:signature|credential)"""

FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    # a block of PEM; of one that is cut off, everything after its beginning
    (_form(r"-----BEGIN\ [A-Z0-9 ]+-----(?:.|\n)*?(?:-----END[^-]*-----|\Z)"), HIDDEN),
    # a JSON web token
    (_form(r"\beyJ[\w-]{4,2000}\.[\w-]+(?:\.[\w-]*){0,3}"), HIDDEN),
    # what stands in a header that says who asks
    (_form(r"""(Snowflake\ Token\s*=\s*) (?!\*\*\*) (?: \\?["'] )? [^\s"'\\]+ (?: \\?["'] )?"""), rf"\1{HIDDEN}"),
    (_form(r"""(authorization \\?["']? \s* [:=] \s* (?: b?\\?["'] )?) [^"'\r\n}\\]+"""), rf"\1{HIDDEN}"),
    (_form(r"\b(bearer|basic|apikey|negotiate)\ +(?=\S*[\d+/=_.~-])[\w+/=.~-]{8,}"), rf"\1 {HIDDEN}"),
    # scheme://user:password@host
    (_form(r"\b([a-z][a-z0-9+.-]{0,20}://[^\s/:@]*:)[^\s/@]+@"), rf"\1{HIDDEN}@"),
    # URLs that are a secret, or that are signed
    (_form(rf"""(https?://(?:{_WEBHOOKS})[/?:]) [^\s"'<>]+"""), rf"\1{HIDDEN}"),
    (_form(rf"""([?&;](?:{_SIGNATURES})=) [^\s&"'<>;]+"""), rf"\1{HIDDEN}"),
    # ids of keys at AWS, tokens of Slack
    (_form(r"\b(?:AKIA|ASIA|AIDA|AROA)[A-Z0-9]{16}\b"), HIDDEN),
    (_form(r"\bxox[a-z]-[\w-]{8,}"), HIDDEN),
    # name=value, "name": "value"
    (_form(rf"""(\b[\w.-]{{0,64}}{_NAMES} \\?["']? \s* [:=]>? \s* ) (?!{_PLAIN}) {_VALUE}"""), rf"\1{HIDDEN}"),
    (_form(r"""(\bIDENTIFIED\ BY\ (?:PASSWORD\ )?) (?: '(?:[^'\\]|\\.|'')*' | "[^"]*" )"""), rf"\1{HIDDEN}"),
)
"""What a secret looks like, and what stands there instead."""
