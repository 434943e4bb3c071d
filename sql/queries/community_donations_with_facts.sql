-- Donations that were paid on the UTC days from :first to :last, and those of the last 30 days that are not paid;
-- with their facts, as of one instant.
select
    payment_intent,
    rule_id,
    author_id,
    author_is_rules,
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
    is_live,
    (
        select
            jsonb_agg(
                jsonb_build_object(
                    'payment_intent', facts.payment_intent,
                    'object_type', facts.object_type,
                    'object_id', facts.object_id,
                    'event_id', facts.event_id,
                    'event_created', extract(epoch from facts.event_created)::bigint,
                    'event_rank', facts.event_rank,
                    'event_type', facts.event_type,
                    'is_live', facts.is_live,
                    'is_anonymous', facts.is_anonymous,
                    'settled_at', extract(epoch from facts.settled_at)::bigint,
                    'state', facts.state
                )
            )
        from community.donation_facts as facts
        where facts.payment_intent = donations.payment_intent
    ) as facts
from community.donations
where
    paid_on between :first and :last
    or (paid_on is null and updated_at > now() - interval '30 days')
