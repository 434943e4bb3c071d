-- The last 1,000 reports that state totals of their own, newest first.
select
    platform,
    sha256,
    totals,
    problem_count
from sales.report_files
where status = 'ingested' and totals <> '{}'
order by settled_at desc
limit 1000
