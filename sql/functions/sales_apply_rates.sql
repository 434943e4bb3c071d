-- Gives every row of the ledger the rate of its last day as the rates are now, and returns how many rows changed: rows that
-- had none, and rows whose day has a later or another rate meanwhile. Run again it changes nothing.
create or replace function sales.apply_rates()
returns integer
language plpgsql
set search_path = pg_catalog
as $$
declare
    changed record;
    total integer := 0;
begin
    -- sales.store_report holds it shared: nobody else writes rows meanwhile
    perform pg_advisory_xact_lock(hashtextextended('sales.sales_events', 0));
    for changed in
        with days as (
            select distinct currency, period_end, fx_rate, fx_date from sales.sales_events
        ),
        -- few, mostly none: the ledger is read once, and a second time only where there is something to change
        rated as (
            select distinct days.currency, days.period_end, rate.fx_rate, rate.fx_date
            from days
            left join lateral sales.usd_rate(days.currency, days.period_end) as rate on true
            where (days.fx_rate, days.fx_date) is distinct from (rate.fx_rate, rate.fx_date)
        ),
        updated as (
            update sales.sales_events as kept set
                fx_rate = rated.fx_rate,
                fx_date = rated.fx_date,
                royalty_usd = round(kept.royalty * rated.fx_rate, 8)
            from rated
            where
                kept.currency = rated.currency and kept.period_end = rated.period_end
                and (kept.fx_rate, kept.fx_date) is distinct from (rated.fx_rate, rated.fx_date)
            returning kept.owner_id, kept.platform, date_trunc('month', kept.period_start)::date as month
        )
        select owner_id, platform, array_agg(distinct month) as months, count(*) as row_count
        from updated
        group by owner_id, platform
        order by owner_id, platform
    loop
        perform sales.mark_months(changed.owner_id, changed.platform, changed.months);
        total := total + changed.row_count;
    end loop;
    return total;
end
$$;

revoke all on function sales.apply_rates() from public;
grant execute on function sales.apply_rates() to pipeline_worker;
