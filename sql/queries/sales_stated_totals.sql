-- The last 1,000 reports that state totals of their own, newest first.
select
    owner_id,
    platform,
    name,
    sha256,
    report,
    totals,
    problem_count
from sales.report_files
where status = 'ingested' and totals <> '{}'
order by settled_at desc
limit 1000
