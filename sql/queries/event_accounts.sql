-- What became of the events received on each UTC day from :first to :last, as PostgreSQL knows it.
with watermark as (
    select coalesce(max(next_transaction_id), '0'::xid8) as next_transaction_id
    from events.warehouse_sync_status
    where warehouse_type = 'delta' and status = 'committed'
),

counted as (
    select
        day,
        sum(received) as received,
        sum(stored) as stored,
        sum(duplicate) as duplicate,
        sum(rejected) as rejected,
        sum(erased) as erased
    from events.intake_counts
    where day >= :first and day <= :last
    group by day
),

hot as (
    select
        (log.received_at at time zone 'UTC')::date as day,
        count(*) as hot,
        count(*) filter (where log.origin <> 'sql') as by_intake,
        count(*) filter (
            where log.transaction_id >= watermark.next_transaction_id
            or states.is_held and states.processing_status <> 'failed'
        ) as pending,
        count(*) filter (where states.is_held and states.processing_status = 'failed') as dead
    from events.event_log as log
    cross join watermark
    left join events.event_states as states on log.event_id = states.event_id
    where log.received_at >= :first and log.received_at < :last + 1
    group by (log.received_at at time zone 'UTC')::date
)

select
    coalesce(counted.day, hot.day) as day,
    coalesce(counted.received, 0)::bigint as received,
    coalesce(counted.stored, 0)::bigint as stored,
    coalesce(counted.duplicate, 0)::bigint as duplicate,
    coalesce(counted.rejected, 0)::bigint as rejected,
    coalesce(counted.erased, 0)::bigint as erased,
    coalesce(hot.hot, 0) as hot,
    coalesce(hot.by_intake, 0) as by_intake,
    coalesce(hot.pending, 0) as pending,
    coalesce(hot.dead, 0) as dead
from counted
full join hot on counted.day = hot.day
order by coalesce(counted.day, hot.day)
