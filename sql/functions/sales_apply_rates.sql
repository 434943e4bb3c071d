-- Gives the rows of the ledger the rates that have changed since the last time (sales.rate_changes): rows that had none, and
-- rows whose day has a later or another rate now. Returns how many rows changed, or NULL while a report is being stored:
-- the changes then wait for the next time, and nobody waits for them.
create or replace function sales.apply_rates()
returns integer
language plpgsql
set search_path = pg_catalog
as $$
declare
    changed record;
    total integer := 0;
begin
    if not exists (select from sales.rate_changes) then
        return 0;
    end if;
    -- sales.store_report holds it shared: a row that is being stored may have been rated before the rates changed
    if not pg_try_advisory_xact_lock(hashtextextended('sales.sales_events', 0)) then
        return null;
    end if;
    for changed in
        with taken as (
            delete from sales.rate_changes
            returning currency, rate_date
        ),
        -- a rate is for its day and, where no nearer one is, for 45 days more (sales.usd_rate)
        spans as (
            select currency, unnest(range_agg(daterange(rate_date, rate_date + 45, '[]'))) as days
            from taken
            group by currency
        ),
        periods as materialized (
            select distinct spans.currency, kept.period_end
            from spans
            inner join sales.sales_events as kept
                on
                    spans.currency = kept.currency and kept.currency <> 'USD'
                    and kept.period_end >= lower(spans.days) and kept.period_end < upper(spans.days)
        ),
        updated as (
            update sales.sales_events as kept set
                fx_rate = rate.fx_rate,
                fx_date = rate.fx_date,
                royalty_usd = round(coalesce(kept.royalty, kept.estimated_royalty) * rate.fx_rate, 8)
            from periods
            cross join lateral sales.usd_rate(periods.currency, periods.period_end) as rate
            where
                kept.currency = periods.currency and kept.currency <> 'USD' and kept.period_end = periods.period_end
                and (kept.fx_rate, kept.fx_date) is distinct from (rate.fx_rate, rate.fx_date)
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
