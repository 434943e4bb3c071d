-- How many months of ledgers have changed since the derived tables were built, and a number that no other state has had.
select
    count(*) as month_count,
    sum(version) as state
from sales.ledger_months
where daily_version <> version or monthly_version <> version
having count(*) > 0
