"""What keeps the rest running: alerts on failure and staleness, upkeep of the lake."""
