"""The regular expression of the tokens of a plain text; the name of the matched group is a token's kind."""

from __future__ import annotations

import re

from lightning_gft.answers.words import CHANGING, LATIN, LINKING, NEGATING

_DIGITS = r"[0-9]+(?:[.,'][0-9]+)*"
EXPONENT = r"(?:\^\ ?(?:\{-?[0-9]\}|-?[0-9])|[0-9]+)"
_NUMBER_AHEAD = r"(?=\ [-+({\[]*\.?[0-9]|\ -?\\frac)"
TOKEN = re.compile(
    rf"""
    (?P<n> [1-9][0-9]{{0,2}}(?:\ [0-9]{{3}})+(?![0-9])(?:[.,][0-9]+)* (?:[eE][-+]?[0-9]+)?
         | {_DIGITS} (?:[eE][-+]?[0-9]+)?
         | (?<![0-9.])\.[0-9]+ (?:[eE][-+]?[0-9]+)? )
  | (?P<f> \\frac\ ? (?: \{{\ ?-?\ ?{_DIGITS}\ ?\}} | [0-9] ) \ ? (?: \{{\ ?-?\ ?{_DIGITS}\ ?\}} | [0-9] ) )
  | (?P<times> (?<=[0-9])[xX](?=[0-9]) | (?<=[0-9]\ )[xX](?=\ ?[0-9]) )
  | (?<!\w)(?: (?P<negating> {NEGATING} ) | (?P<changing> {CHANGING} ) | (?P<linking> {LINKING} ) ) {_NUMBER_AHEAD}
  | (?P<word> [{LATIN}]{{2,}}-[0-9]+ | [{LATIN}]+{EXPONENT}?(?:/[{LATIN}]+{EXPONENT}?)* | [^\W\d_]+ )
  | (?P<m> \\[a-zA-Z]+ | [√∛∞∑∏∫] | \|(?=-[0-9.]+\|) | (?<=[0-9A-Za-z)\]}}])_(?=[\w({{]) )
  | (?P<break> -{{1,3}}>|={{1,3}}>|<-{{1,3}}|<={{1,3}}>|<<|>>|\n\ ?[-+*>](?=\ )|\n )
  | (?P<i> <=|>=|!=|[<>≤≥≠±∓] )
  | (?P<op> [-+*/^] )
  | (?P<open> [(\[{{] )
  | (?P<close> [)\]}}] )
  | (?P<comma> , )
  | (?P<colon> (?<=[0-9]):(?=[0-9]) | (?<=[0-9]\ ):(?=\ [0-9]) )
  | (?P<p> [%‰°º] )
  | (?P<other> \S )
    """,
    re.VERBOSE,
)
