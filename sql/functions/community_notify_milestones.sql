-- Tells authors with activity since `since` of the highest power of ten that they have reached: views from 100 on,
-- donations from 10 on; returns how many are news. Whoever falls below a milestone is not told of it, or of a lower one,
-- again.
create or replace function community.notify_milestones(since date, at timestamptz default clock_timestamp())
returns bigint
language plpgsql
set search_path = pg_catalog
as $$
begin
    -- an erasure that is going on is waited for, and what follows sees what it did
    perform pg_advisory_xact_lock_shared(hashtextextended('community.notifications', 0));
    return (
        select count(*) filter (where community.notify(key, author_id, 'milestone', details, at))
        from (
            select
                concat_ws(':', 'milestone', reached.metric, reached.threshold, reached.author_id) as key,
                reached.author_id,
                jsonb_build_object('metric', reached.metric, 'threshold', reached.threshold) as details
            from (
                select
                    sums.author_id,
                    totals.metric,
                    rpad('1', length(totals.total::text), '0')::bigint as threshold
                from (
                    select
                        author_id,
                        sum(views)::bigint as views,
                        sum(donations)::bigint as donations
                    from community.author_metrics_daily
                    where
                        author_id in (select author_id from community.author_metrics_daily where day >= since)
                        and length(author_id) between 1 and 200
                    group by author_id
                ) as sums,
                lateral (values ('views', sums.views, 100), ('donations', sums.donations, 10))
                    as totals (metric, total, least)
                where totals.total >= totals.least
            ) as reached
            where
                not exists (
                    select from community.notifications as told
                    where
                        told.person_id = reached.author_id and told.kind = 'milestone'
                        and told.payload ->> 'metric' = reached.metric
                        and (told.payload ->> 'threshold')::bigint >= reached.threshold
                )
            order by key
        ) as news
    );
end
$$;

revoke all on function community.notify_milestones(date, timestamptz) from public;
grant execute on function community.notify_milestones(date, timestamptz) to pipeline_worker;
