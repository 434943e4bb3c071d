-- Donations whose net is not what was received less what was refunded and disputed, or that have money without payment.
select
    payment_intent,
    status,
    currency,
    received,
    refunded,
    disputed,
    net
from community.donations
where
    net <> received - refunded - disputed
    or net < 0
    or (paid_at is null and received + refunded + disputed <> 0)
    or (status = 'refunded' and net + disputed <> 0)
order by payment_intent
limit 1000
