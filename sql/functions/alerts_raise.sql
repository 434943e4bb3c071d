-- Raises an alert; true if there is something new to say. While one of the same key is open it is counted there; what is
-- said of it then comes with the reminder, unless it has become more severe than what was said last.
create or replace function operations.raise_alert(
    raised_key text,
    raised_severity text,
    raised_message text,
    raised_context jsonb default '{}',
    lasting boolean default true,
    at timestamptz default clock_timestamp()
)
returns boolean
language plpgsql
set search_path = pg_catalog
as $$
declare
    ranks constant text[] := '{info,warning,error,critical}';
    notice_before text;
    is_news boolean;
begin
    select notice into notice_before
    from operations.alerts
    where alert_key = raised_key and resolved_at is null
    for update;

    insert into operations.alerts as known (
        alert_key, severity, message, context, is_lasting, first_raised_at, last_raised_at, notice_at
    ) values (raised_key, raised_severity, raised_message, raised_context, lasting, at, at, at)
    on conflict (alert_key) where resolved_at is null do update set
        severity = excluded.severity,
        message = excluded.message,
        context = excluded.context,
        is_lasting = excluded.is_lasting,
        first_raised_at = least(known.first_raised_at, at),
        last_raised_at = greatest(known.last_raised_at, at),
        raised_count = known.raised_count + 1,
        cleared_at = null,
        notice = case
            when known.notice = 'reminder' and (known.lease_until is null or known.lease_until <= at)
            and array_position(ranks, excluded.severity)
            > array_position(ranks, coalesce(known.notified_severity, known.severity))
                then 'alert'
            else known.notice
        end,
        notice_at = case
            when known.notice = 'reminder' and (known.lease_until is null or known.lease_until <= at)
            and array_position(ranks, excluded.severity)
            > array_position(ranks, coalesce(known.notified_severity, known.severity))
                then at
            else known.notice_at
        end
    returning raised_count = 1 or (notice = 'alert' and notice_before = 'reminder') into is_news;
    return is_news;
end
$$;

revoke all on function operations.raise_alert(text, text, text, jsonb, boolean, timestamptz) from public;
grant execute on function operations.raise_alert(text, text, text, jsonb, boolean, timestamptz) to pipeline_worker;
