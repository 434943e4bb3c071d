-- Builds sales.sales_daily again for the months whose ledger has changed since, at most `most` of them; returns how many
-- months and rows. A month that is being stored right now is left for the next time.
create or replace function sales.build_daily(most integer, out months integer, out row_count integer)
language plpgsql
set search_path = pg_catalog
as $$
declare
    changed record;
    added integer;
begin
    months := 0;
    row_count := 0;
    for changed in
        select owner_id, platform, month, (month + interval '1 month')::date as next_month, version
        from sales.ledger_months
        where daily_version <> version
        order by owner_id, platform, month
        limit most
        for update skip locked
    loop
        delete from sales.sales_daily as daily
        where
            daily.owner_id = changed.owner_id and daily.platform = changed.platform
            and daily.day >= changed.month and daily.day < changed.next_month;
        insert into sales.sales_daily (
            day, period_days, owner_id, platform, title_id, format, country, title, currency, units_sold, units_refunded,
            net_units, free_units, pages_read, royalty, royalty_usd, row_count, is_final
        )
        select
            events.period_start, events.period_end - events.period_start + 1, events.owner_id, events.platform,
            events.title_id, events.format, coalesce(events.country, 'ZZ'),
            (max(array[to_char(events.exported_at at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), events.title]))[2],
            events.currency,
            coalesce(sum(events.units_sold) filter (where events.kind <> 'free'), 0),
            coalesce(sum(events.units_refunded) filter (where events.kind <> 'free'), 0),
            coalesce(sum(events.net_units) filter (where events.kind <> 'free'), 0),
            coalesce(sum(events.net_units) filter (where events.kind = 'free'), 0),
            sum(events.pages_read),
            sum(coalesce(events.royalty, events.estimated_royalty)),
            case
                when
                    count(*) filter (
                        where coalesce(events.royalty, events.estimated_royalty) is not null
                        and events.royalty_usd is null
                    ) = 0
                    then sum(events.royalty_usd)
            end,
            count(*),
            bool_and(events.is_final and events.estimated_royalty is null)
        from sales.sales_events as events
        where
            events.owner_id = changed.owner_id and events.platform = changed.platform
            and events.period_start >= changed.month and events.period_start < changed.next_month
            and events.superseded_by is null
        group by 1, 2, 3, 4, 5, 6, 7, 9;
        get diagnostics added = row_count;
        update sales.ledger_months as built set daily_version = changed.version
        where
            built.owner_id = changed.owner_id and built.platform = changed.platform and built.month = changed.month;
        months := months + 1;
        row_count := build_daily.row_count + added;
    end loop;
end
$$;

revoke all on function sales.build_daily(integer) from public;
grant execute on function sales.build_daily(integer) to pipeline_worker;
