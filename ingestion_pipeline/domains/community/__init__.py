"""Community (seed S4): donations, crawled items, rules, daily rollups, leaderboards, search, notifications."""
