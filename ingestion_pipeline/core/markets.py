"""What markets are called in addresses, deliveries and jobs: slugs such as `san-antonio`."""

import re

_WORDS = "[a-z0-9]+(-[a-z0-9]+)*"

SLUG_PATTERN = rf"^{_WORDS}$(?!\n)"  # Python's `$` alone lets a last newline through
"""Of a market, or of `all`, which stands for every market."""
MARKET_SLUG_PATTERN = rf"^(?!all$){_WORDS}$(?!\n)"
MARKET_SLUG = re.compile(MARKET_SLUG_PATTERN)
LONGEST_SLUG = 100
