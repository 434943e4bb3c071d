"""Product events: HTTP intake → hot log in PostgreSQL → history in the lake → aggregations; retention and erasure."""
