-- Builds sales.sales_monthly again for the months whose days were built since, at most `most` of them; returns how many
-- months and rows.
create or replace function sales.build_monthly(most integer, out months integer, out row_count integer)
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
        select owner_id, platform, month, (month + interval '1 month')::date as next_month, daily_version
        from sales.ledger_months
        where monthly_version <> daily_version
        order by owner_id, platform, month
        limit most
        for update skip locked
    loop
        delete from sales.sales_monthly as monthly
        where
            monthly.owner_id = changed.owner_id and monthly.platform = changed.platform
            and monthly.month = changed.month;
        insert into sales.sales_monthly (
            month, owner_id, platform, title_id, format, country, title, currency, units_sold, units_refunded, net_units,
            free_units, pages_read, royalty, royalty_usd, row_count, is_final
        )
        select
            changed.month, daily.owner_id, daily.platform, daily.title_id, daily.format, daily.country,
            (max(array[to_char(daily.day, 'YYYYMMDD'), daily.title]))[2],
            daily.currency,
            sum(daily.units_sold), sum(daily.units_refunded), sum(daily.net_units), sum(daily.free_units),
            sum(daily.pages_read),
            sum(daily.royalty),
            case
                when count(*) filter (where daily.royalty is not null and daily.royalty_usd is null) = 0
                    then sum(daily.royalty_usd)
            end,
            sum(daily.row_count),
            bool_and(daily.is_final)
        from sales.sales_daily as daily
        where
            daily.owner_id = changed.owner_id and daily.platform = changed.platform
            and daily.day >= changed.month and daily.day < changed.next_month
        group by 2, 3, 4, 5, 6, 8;
        get diagnostics added = row_count;
        update sales.ledger_months as built set monthly_version = changed.daily_version
        where
            built.owner_id = changed.owner_id and built.platform = changed.platform and built.month = changed.month;
        months := months + 1;
        row_count := build_monthly.row_count + added;
    end loop;
end
$$;

revoke all on function sales.build_monthly(integer) from public;
grant execute on function sales.build_monthly(integer) to pipeline_worker;
