-- How many months of ledgers have changed since the derived tables were built; no row if none has.
select count(*) as month_count
from sales.ledger_months
where daily_version <> version or monthly_version <> version
having count(*) > 0
