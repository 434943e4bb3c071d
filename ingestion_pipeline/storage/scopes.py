"""Whose rows a transaction of the intake's role sees: what row-level security asks for. The worker sees all anyway."""

AS_OPERATOR = "select set_config('app.scope', 'operator', true)"
"""First in a transaction that sees the rows of all."""
