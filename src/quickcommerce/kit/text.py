"""Text as it is compared when people search: however it was typed, in whatever script."""

import unicodedata

SHORTEST = 3
"""Letters that an English word needs to have a plural: below it words are units, as in 1 kg."""


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
