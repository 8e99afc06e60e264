"""What the shop's pages say."""

from quickcommerce.kit import texts

TEXTS = texts.load("quickcommerce.shop")
