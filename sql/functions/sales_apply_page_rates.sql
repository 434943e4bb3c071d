-- Gives the rows of pages read whose report states no royalty what sales.kenp_rates says that they are worth, and returns how
-- many rows changed. Whoever changes the rates takes the lock of sales.sales_events first, as no report is stored then.
create or replace function sales.apply_page_rates()
returns integer
language plpgsql
set search_path = pg_catalog
as $$
declare
    changed record;
    total integer := 0;
begin
    for changed in
        with updated as (
            update sales.sales_events as kept set
                estimated_royalty = round(kept.pages_read * rates.rate, 8),
                royalty_usd = round(round(kept.pages_read * rates.rate, 8) * kept.fx_rate, 8)
            from sales.kenp_rates as rates
            where
                kept.kind = 'pages_read' and kept.royalty is null
                and lower(kept.storefront) = rates.storefront and kept.currency = rates.currency
                and date_trunc('month', kept.period_start)::date = rates.month
                and kept.estimated_royalty is distinct from round(kept.pages_read * rates.rate, 8)
            returning kept.owner_id, kept.platform, rates.month
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

revoke all on function sales.apply_page_rates() from public;
grant execute on function sales.apply_page_rates() to pipeline_worker;
