-- Donations of the last 30 days that no author gets: without a rule or an author in their metadata, or for a rule that
-- nobody knows.
select
    payment_intent,
    rule_id,
    currency,
    net,
    paid_at
from community.donations
where author_id is null and is_live and net > 0 and paid_at > now() - interval '30 days'
order by paid_at
limit 1000
