"""Text as people see it, and as it is compared when they search: however it was typed, in whatever script."""

import unicodedata

SHORTEST = 3
"""Letters that an English word needs to have a plural: below it words are units, as in 1 kg."""


_UNSEEN = (
    r"\x00-\x1f\x7f-\x9f"
    "\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
    "\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
    "\U000e0020-\U000e007f"
)
"""Controls, format characters and separators of lines (Unicode's Cc, Cf, Zl, Zp), as ranges of a regular expression.

They turn the order of what stands behind them, or make two texts look the same that are not.
"""
_BLANK = (
    r"\s" "\u0300-\u036f\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
)
"""Blanks, letters that look like them, and what only changes the letter before it."""
PLAIN = rf"^(?:[^{_UNSEEN}]|(?<=[^{_UNSEEN}])[\u200c\u200d](?=[^{_UNSEEN}]))*\Z"
"""A text of a line, as a regular expression. Joiners stand between others: emoji and some scripts need them."""
VISIBLE = PLAIN.replace("^", rf"^(?=.*[^{_UNSEEN}{_BLANK}])", 1)
"""Such a text in which there is something to see."""


def fold(text: str) -> str:
    """The text without case, NFC: equal for texts that differ only in case or in how characters are composed.

    It may be up to three times as long. Folding takes the text apart first, since some characters have case only
    then (Unicode's canonical caseless matching).
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def forms(word: str) -> frozenset[str]:
    """A folded word, and where it is English also its regular other number: `berry` and `berries`, `egg` and `eggs`.

    Only words of three letters or more, all of the English alphabet, have another number.
    """
    if len(word) < SHORTEST or not (word.isascii() and word.isalpha()):
        return frozenset({word})
    if word.endswith("ies"):
        return frozenset({word, word[:-3] + "y", word[:-1]})
    if word.endswith(("oes", "xes", "ches", "shes", "sses")):
        return frozenset({word, word[:-2], word[:-1]})
    if word.endswith("s") and not word.endswith("ss"):
        return frozenset({word, word[:-1]})
    if word.endswith("y") and word[-2] not in "aeiou":
        return frozenset({word, word[:-1] + "ies"})
    # With an s behind it, it is found by itself: what is looked for may stand inside a word.
    return frozenset({word})
