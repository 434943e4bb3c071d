-- Makes sales.coverage say what the reports cover as of `today`: every month since the first report of an owner's platform
-- up to the last month that is over, and later ones of the next two years that have a report already. Returns the number of
-- rows.
create or replace function sales.build_coverage(today date)
returns integer
language plpgsql
set search_path = pg_catalog
as $$
declare
    added integer;
begin
    perform pg_advisory_xact_lock(hashtextextended('sales.coverage', 0));
    delete from sales.coverage;
    with reports as (
        select
            files.owner_id, files.platform, month::date as month,
            count(*) as report_count,
            max(files.exported_at) as last_seen_at,
            bool_or(files.is_final and files.is_whole and files.report = 'kdp_prior_month') as has_final
        from sales.report_files as files
        cross join lateral generate_series(
            date_trunc('month', files.period_start::timestamp),
            least(files.period_end::timestamp, today::timestamp + interval '2 years'),
            interval '1 month'
        ) as month
        where files.status = 'ingested' and files.report <> 'kdp_payments'
        group by 1, 2, 3
    ),
    sold as (
        select owner_id, platform, month, sum(row_count) as row_count, bool_and(is_final) as is_final
        from sales.sales_monthly
        group by 1, 2, 3
    ),
    known as (
        select
            owner_id, platform, month, coalesce(report_count, 0) as report_count, coalesce(row_count, 0) as row_count,
            last_seen_at, coalesce(has_final, false) as has_final, coalesce(is_final, true) as is_final
        from reports
        full join sold using (owner_id, platform, month)
    ),
    months as (
        select owner_id, platform, month::date as month
        from (
            select owner_id, platform, min(month) as first_month, max(month) as last_month
            from known
            group by 1, 2
        ) as bounds
        cross join lateral generate_series(
            first_month::timestamp,
            greatest(last_month::timestamp, date_trunc('month', today::timestamp) - interval '1 month'),
            interval '1 month'
        ) as month
    )
    insert into sales.coverage (month, owner_id, platform, state, report_count, row_count, last_seen_at)
    select
        months.month, months.owner_id, months.platform,
        case
            when known.month is null then 'missing'
            when months.platform = 'amazon_kdp' then case when known.has_final then 'final' else 'estimate' end
            -- a report of the running month says nothing of the days to come
            when known.is_final and known.last_seen_at >= (months.month + interval '1 month') at time zone 'UTC'
                then 'final'
            else 'estimate'
        end,
        coalesce(known.report_count, 0), coalesce(known.row_count, 0), known.last_seen_at
    from months
    left join known
        on months.owner_id = known.owner_id and months.platform = known.platform and months.month = known.month;
    get diagnostics added = row_count;
    return added;
end
$$;

revoke all on function sales.build_coverage(date) from public;
grant execute on function sales.build_coverage(date) to pipeline_worker;
