"""What may be asked for and sent: the platforms' names, how large a file may be, how ids look. Loads nothing."""

from typing import Literal, get_args

PlatformName = Literal["amazon_kdp", "gumroad", "draft2digital", "smashwords"]
PLATFORMS: tuple[str, ...] = get_args(PlatformName)
MOST_FILE_BYTES = 200 * 1024**2
LONGEST_PATH = 1_000
SHA256 = "^[0-9a-f]{64}$"
SALE_ID = "^[A-Za-z0-9_=-]{1,200}$"
