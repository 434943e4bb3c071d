-- How many months of ledgers have changed since the derived tables were built, and a number that no other state has had:
-- the sum of the versions of all months only grows.
select
    count(*) filter (where daily_version <> version or monthly_version <> version) as month_count,
    sum(version) as state
from sales.ledger_months
having count(*) filter (where daily_version <> version or monthly_version <> version) > 0
