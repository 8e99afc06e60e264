"""Which of our drawings stands for a product: one of its own where a word of its English name has one, else that of its
category.
"""

import re

from quickcommerce.shop.assets import FILES

WORDS = {
    "tangerine": "orange", "orange": "orange", "banana": "banana", "strawberr": "strawberry", "grape": "grape",
    "blueberr": "blueberry", "tomato": "tomato", "pear": "pear", "melon": "melon",
    "watermelon": "melon", "grapefruit": "orange", "eggplant": "cucumber", "kiwi": "kiwi", "lemon": "lemon",
    "avocado": "avocado", "lettuce": "leafy", "spinach": "leafy", "cabbage": "leafy", "perilla": "leafy",
    "onion": "onion", "garlic": "onion", "potato": "potato", "mushroom": "mushroom", "paprika": "pepper",
    "bell pepper": "pepper", "chili": "pepper", "cucumber": "cucumber", "zucchini": "cucumber", "egg": "egg",
    "cheese": "cheese", "yogurt": "yogurt", "yoghurt": "yogurt", "shrimp": "shrimp", "prawn": "shrimp",
    "chicken": "chicken", "tofu": "tofu", "water": "water",
}  # fmt: skip
"""The beginning of a word, and the drawing."""
FRESH = frozenset({"fruit", "vegetable", "meat", "seafood", "dairy", "eggs-tofu", "drink"})
"""Where a name says what the thing looks like. A tomato sauce looks like a sauce."""
_WORD = re.compile(r"\b(" + "|".join(sorted(WORDS, key=len, reverse=True)) + ")")


def tile(category: str) -> str:
    """The colour behind a product: that of its category, or of goods of no known category."""
    name = f"cat-{category}"
    return name if f"{name}.svg" in FILES else "cat-other"


def picture(category: str, name_en: str) -> str:
    """The name of a product's drawing."""
    found = _WORD.search(name_en.lower()) if category in FRESH else None
    return f"pic-{WORDS[found[1]]}" if found else tile(category)
