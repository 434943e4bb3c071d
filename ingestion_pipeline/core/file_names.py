"""What people may call a file. For them to read, never a path."""

LONGEST_NAME = 200


def file_name(text: str) -> str:
    """`text` without folders and without what cannot be printed, at most LONGEST_NAME characters; `upload` for none."""
    last = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
    clean = "".join(c for c in last if c.isprintable()).strip().lstrip(".")
    if len(clean) > LONGEST_NAME:
        stem, dot, ending = clean.rpartition(".")
        clean = stem[: LONGEST_NAME - len(ending) - 1] + dot + ending if len(ending) < LONGEST_NAME // 2 else clean
    return clean[:LONGEST_NAME] or "upload"
