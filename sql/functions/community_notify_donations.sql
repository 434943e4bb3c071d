-- Tells authors of donations that were paid since `since`, each once, whatever becomes of it later; returns how many.
-- Who gave is not in the outbox: that is looked up when it is said.
create or replace function community.notify_donations(since timestamptz, at timestamptz default clock_timestamp())
returns bigint
language plpgsql
set search_path = pg_catalog
as $$
begin
    -- an erasure that is going on is waited for, and what follows sees what it did
    perform pg_advisory_xact_lock_shared(hashtextextended('community.notifications', 0));
    return (
        select count(*) filter (where community.notify(key, author_id, 'new_donation', details, at))
        from (
            select
                'new_donation:' || donations.payment_intent as key,
                donations.author_id,
                jsonb_build_object(
                    'paymentIntent', donations.payment_intent,
                    'ruleId', donations.rule_id,
                    'amount', donations.received::text,
                    'currency', donations.currency,
                    'paidOn', donations.paid_on
                ) as details
            from community.donations as donations
            where
                donations.paid_on >= (since at time zone 'UTC')::date and donations.paid_at >= since
                and donations.is_live and donations.net > 0
                and length(donations.author_id) between 1 and 200
                and not exists (
                    select from community.notifications as told
                    where told.idempotency_key = 'new_donation:' || donations.payment_intent
                )
            order by key
        ) as news
    );
end
$$;

revoke all on function community.notify_donations(timestamptz, timestamptz) from public;
grant execute on function community.notify_donations(timestamptz, timestamptz) to pipeline_worker;
