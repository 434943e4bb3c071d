-- Resolves what is over, then hands out up to `amount` alerts of which something is due to be said, most severe first,
-- for `lease`: meanwhile no other sender gets them, afterwards the next one does.
--
-- An alert is over when it has been cleared for `quiet_time`, or, if it tells of something that does not last, when it
-- was not raised again until its reminder. Whoever was told of a lasting one, or may have been by a sender that died, is
-- told that it is over. While the same alert is open anew that is not said, and no more once the new one has been: its
-- own end will be.
create or replace function operations.claim_notices(
    amount integer, lease interval, quiet_time interval, at timestamptz default clock_timestamp()
)
returns setof operations.alerts
language plpgsql
set search_path = pg_catalog
as $$
begin
    update operations.alerts as former set notice = null, notice_at = null, lease_until = null
    where
        former.notice = 'recovery'
        and (former.lease_until is null or former.lease_until <= at)
        and exists (
            select from operations.alerts as anew
            where
                anew.alert_key = former.alert_key and anew.resolved_at is null
                and (anew.notified_at is not null or anew.lease_until is not null)
        );

    update operations.alerts set
        resolved_at = coalesce(cleared_at, at),
        notice = case when is_lasting and (notified_at is not null or lease_until is not null) then 'recovery' end,
        notice_at = case when is_lasting and (notified_at is not null or lease_until is not null) then at end,
        lease_until = null,
        reached = '{}',
        failure_count = 0
    where
        resolved_at is null
        and (lease_until is null or lease_until <= at)
        and (
            cleared_at <= at - quiet_time
            or (not is_lasting and notice = 'reminder' and notice_at <= at and raised_count = noticed_count)
        );

    return query
    update operations.alerts as claimed
    set lease_until = at + lease
    from (
        select alert_id
        from operations.alerts as one
        where
            notice_at <= at
            and (lease_until is null or lease_until <= at)
            and case
                when resolved_at is null then cleared_at is null
                else not exists (
                    select from operations.alerts as anew
                    where anew.alert_key = one.alert_key and anew.resolved_at is null
                )
            end
        order by array_position('{info,warning,error,critical}'::text[], severity) desc, notice_at, alert_id
        limit amount
        for update skip locked
    ) as due
    where claimed.alert_id = due.alert_id
    returning claimed.*;
end
$$;

revoke all on function operations.claim_notices(integer, interval, interval, timestamptz) from public;
grant execute on function operations.claim_notices(integer, interval, interval, timestamptz) to pipeline_worker;
