-- Donations of the last 30 days that no author gets: without a rule or an author in their metadata, or for a rule that
-- nobody knows. Not those of an author who was erased.
select
    payment_intent,
    rule_id,
    currency,
    net,
    paid_at
from community.donations
where
    author_id is null and is_live and net > 0 and paid_at > now() - interval '30 days'
    and not exists (
        select from community.forgotten_payments as forgotten
        where forgotten.payment_intent = donations.payment_intent and forgotten.forgets_author
    )
order by paid_at
limit 1000
