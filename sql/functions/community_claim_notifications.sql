-- Hands out what is due to up to `people` persons, at most `most` new rows of each, for `lease`: meanwhile no other sender
-- gets anything of theirs. Rows of one batch_id are one message: a digest, or more than `singles` that are due at once.
-- A batch stays together and keeps its id however often it is tried; what was tried by itself stays by itself.
create or replace function community.claim_notifications(
    people integer, most integer, singles integer, lease interval, at timestamptz default clock_timestamp()
)
returns table (
    id uuid,
    idempotency_key text,
    person_id text,
    kind text,
    payload jsonb,
    created_at timestamptz,
    batch_id uuid,
    attempts integer,
    lease_until timestamptz,
    target text
)
language plpgsql
set search_path = pg_catalog
as $$
#variable_conflict use_column
begin
    perform pg_advisory_xact_lock(hashtextextended('community.claim_notifications', 0));
    return query
    with persons as materialized (
        select person_id
        from community.notifications
        where due_at is not null
        group by person_id
        having min(due_at) <= at and coalesce(max(lease_until) <= at, true)
        order by min(due_at)
        limit people
    ),
    fresh as materialized (
        select
            id,
            person_id,
            digest <> 'none' as is_digest,
            count(*) over (partition by person_id, digest <> 'none') as due_count
        from (
            select
                waiting.*,
                row_number() over (partition by person_id order by due_at, created_at, id) as place
            from community.notifications as waiting
            where due_at <= at and attempts = 0 and person_id in (select person_id from persons)
        ) as placed
        where place <= most
    ),
    batches as materialized (
        select
            person_id,
            is_digest,
            gen_random_uuid() as batch_id
        from fresh
        where is_digest or due_count > singles
        group by person_id, is_digest
    ),
    chosen as materialized (
        select
            fresh.id,
            batches.batch_id
        from fresh
        left join batches using (person_id, is_digest)
        union all
        select
            id,
            batch_id
        from community.notifications
        where due_at <= at and attempts > 0 and person_id in (select person_id from persons)
    ),
    claimed as (
        update community.notifications as claiming
        set
            lease_until = at + lease,
            attempts = attempts + 1,
            batch_id = chosen.batch_id
        from chosen
        where claiming.id = chosen.id
        returning claiming.*
    )
    select
        claimed.id,
        claimed.idempotency_key,
        claimed.person_id,
        claimed.kind,
        claimed.payload,
        claimed.created_at,
        claimed.batch_id,
        claimed.attempts,
        claimed.lease_until,
        preferences.target
    from claimed
    left join community.notification_preferences as preferences on claimed.person_id = preferences.person_id
    order by claimed.person_id, claimed.created_at, claimed.id;
end
$$;

revoke all on function community.claim_notifications(integer, integer, integer, interval, timestamptz) from public;
grant execute on function community.claim_notifications(integer, integer, integer, interval, timestamptz)
to pipeline_worker;
