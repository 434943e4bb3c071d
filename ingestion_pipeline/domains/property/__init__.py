"""Property data (seed S0): macro series, fundamentals of markets, comparable sales, valuations and their accuracy."""
