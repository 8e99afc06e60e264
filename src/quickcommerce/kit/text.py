"""Text as it is compared when people search: however it was typed, in whatever script."""

import unicodedata


def fold(text: str) -> str:
    """The text without case, NFC: equal for texts that differ only in case or in how characters are composed.

    It may be up to three times as long. Folding takes the text apart first, since some characters have case only
    then (Unicode's canonical caseless matching).
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
