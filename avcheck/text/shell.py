"""Commands as a line that can be pasted into a shell."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable

# Controls, invisible and direction marks, separators of lines, and bytes that are not UTF-8
_UNTYPABLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def shell_line(words: Iterable[str]) -> str:
    """The words as one line, each quoted where it has to be.

    A name may hold what a terminal would act on, or bytes that are no text. `printf` is made to
    write these, by their numbers: every shell reads the line as the name that it is.
    """
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if not any(map(_is_untypable, word)):
        return shlex.quote(word)
    ends = re.search(r"\n*\Z", word)
    kept = word[: ends.start()] if ends else word
    name = f"\"$(printf '{''.join(map(_escaped, kept))}')\""
    return name + (f"'{ends[0]}'" if ends and ends[0] else "")  # which a shell takes off


def _is_untypable(char: str) -> bool:
    return unicodedata.category(char) in _UNTYPABLE


def _escaped(char: str) -> str:
    if char not in "'\\%-" and not _is_untypable(char):
        return char
    surrogate = "surrogateescape" if 0xDC80 <= ord(char) <= 0xDCFF else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", surrogate))
