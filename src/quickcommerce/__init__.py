"""QuickCommerce: the order-payment core of a quick-commerce shop."""
