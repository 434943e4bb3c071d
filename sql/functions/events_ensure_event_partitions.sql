-- Makes the daily partitions of events.event_log from yesterday to `days_ahead` days from today. Rows that arrived before
-- their partition was there lie in the default partition and move. Called by a schedule, by the intake when it starts and
-- by the migration; returns how many partitions it made. A transaction that writes to the default partition is not waited
-- for long, because everybody else would wait too: it fails then, and the next call makes up for it.
create or replace function events.ensure_event_partitions(days_ahead integer default 7)
returns integer
language plpgsql
security definer
set search_path = pg_catalog
set timezone = 'UTC'
set lock_timeout = '2s'
as $$
declare
    first_day date := (now() - interval '1 day')::date;
    wanted date;
    leaf text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtextextended('events.event_log', 2));
    for wanted in
        select generate_series(first_day, (now() + make_interval(days => least(days_ahead, 60)))::date, interval '1 day')::date
        union
        select distinct received_at::date from events.event_log_default
        order by 1
    loop
        leaf := 'event_log_' || to_char(wanted, 'YYYYMMDD');
        continue when to_regclass('events.' || leaf) is not null;
        lock table events.event_log_default in access exclusive mode;
        execute format('create table events.%I (like events.event_log including defaults including constraints)', leaf);
        execute format(
            'with moved as (delete from events.event_log_default where received_at >= %L and received_at < %L returning *) '
            'insert into events.%I select * from moved',
            wanted, wanted + 1, leaf
        );
        execute format(
            'alter table events.event_log attach partition events.%I for values from (%L) to (%L)',
            leaf, wanted, wanted + 1
        );
        execute format('grant insert on events.%I to pipeline_intake', leaf);
        execute format('revoke select, update, delete on events.%I from pipeline_reader, pipeline_intake', leaf);
        made := made + 1;
    end loop;
    return made;
end
$$;

revoke all on function events.ensure_event_partitions(integer) from public;
grant execute on function events.ensure_event_partitions(integer) to pipeline_worker, pipeline_intake;
