-- A row if anything is due to be sent to somebody of whom no sender holds anything, or a donation was paid since `since` of
-- which its author was not told.
select true as is_pending
where
    exists (
        select from community.notifications as waiting
        where
            waiting.due_at <= :now
            and not exists (
                select from community.notifications as claimed
                where
                    claimed.person_id = waiting.person_id and claimed.due_at is not null and claimed.lease_until > :now
            )
    )
    or exists (
        select from community.donations as donations
        where
            donations.paid_on >= cast(cast(:since as timestamptz) at time zone 'UTC' as date)
            and donations.paid_at >= :since and donations.is_live and donations.net > 0
            and length(donations.author_id) between 1 and 200
            and not exists (
                select from community.notifications as told
                where told.idempotency_key = 'new_donation:' || donations.payment_intent
            )
    )
