-- How many donations were paid on each UTC day from :first to :last.
select
    paid_on,
    count(*) as row_count
from community.donations
where paid_on between :first and :last
group by paid_on
