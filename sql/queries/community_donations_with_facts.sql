-- Donations that were paid on the UTC days from :first to :last, and those of the last 30 days that are not paid.
select
    payment_intent,
    rule_id,
    donor_id,
    is_anonymous,
    currency,
    received,
    refunded,
    disputed,
    net,
    status,
    dispute_status,
    donor_name,
    message,
    paid_at,
    is_live
from community.donations
where
    paid_on between :first and :last
    or (paid_on is null and updated_at > now() - interval '30 days')
