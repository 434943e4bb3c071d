-- Decides which of Draft2Digital's rows that begin in `months` are counted, and returns how many stopped to be: amounts
-- before Verified change, and a restated offer price makes another row. `newer_export` is an unverified row that a newer
-- export of the same kind (of e-books, of print) does not list, though it covers the row's days: they are within its
-- period, or it lists the same days of the same store, as it does with Apple's windows, which are not of a month. An export
-- of which a row could not be read may have listed it.
create or replace function sales.supersede_draft2digital(owner text, months date[])
returns integer
language plpgsql
set search_path = pg_catalog
-- no statistics know the rows of this transaction: joins thought to be of one row with one would go through all pairs
set enable_nestloop = off
as $$
declare
    first_month constant date := (select min(one) from unnest(months) as one);
    after_months constant date := (select max(one) + interval '1 month' from unnest(months) as one);
    changed_months date[];
    stopped integer;
begin
    -- rows that share a verdict are judged together; a listed row has the time of the newest export that lists it
    with alike as materialized (
        select distinct
            source_report, storefront, period_start, period_end, is_final, exported_at, source_sha256,
            superseded_by as before
        from sales.sales_events
        where
            owner_id = supersede_draft2digital.owner and platform = 'draft2digital'
            and period_start >= first_month and period_start < after_months
            and date_trunc('month', period_start)::date = any(supersede_draft2digital.months)
    ),
    readable as (
        select report, sha256, exported_at, period_start, period_end
        from sales.report_files
        where
            owner_id = supersede_draft2digital.owner and platform = 'draft2digital'
            and status = 'ingested' and problem_count = 0
    ),
    covering as (
        select distinct on (periods.source_report, periods.period_start, periods.period_end)
            periods.source_report, periods.period_start, periods.period_end, readable.exported_at, readable.sha256
        from (select distinct source_report, period_start, period_end from alike where not is_final) as periods
        inner join readable
            on
                periods.source_report = readable.report
                and periods.period_start >= readable.period_start and periods.period_end <= readable.period_end
        order by
            periods.source_report, periods.period_start, periods.period_end, readable.exported_at desc,
            readable.sha256 desc
    ),
    listing as (
        select distinct on (alike.source_report, alike.storefront, alike.period_start, alike.period_end)
            alike.source_report, alike.storefront, alike.period_start, alike.period_end, readable.exported_at,
            readable.sha256
        from alike
        inner join readable on alike.source_sha256 = readable.sha256
        order by
            alike.source_report, alike.storefront, alike.period_start, alike.period_end, readable.exported_at desc,
            readable.sha256 desc
    ),
    judged as (
        select
            alike.*,
            case
                when
                    not alike.is_final and (
                        (alike.exported_at, alike.source_sha256) < (covering.exported_at, covering.sha256)
                        or (alike.exported_at, alike.source_sha256) < (listing.exported_at, listing.sha256)
                    )
                    then 'newer_export'
            end as verdict
        from alike
        left join covering
            on
                alike.source_report = covering.source_report
                and alike.period_start = covering.period_start and alike.period_end = covering.period_end
        left join listing
            on
                alike.source_report = listing.source_report and alike.storefront = listing.storefront
                and alike.period_start = listing.period_start and alike.period_end = listing.period_end
    ),
    updated as (
        update sales.sales_events as kept set superseded_by = judged.verdict
        from judged
        where
            kept.owner_id = supersede_draft2digital.owner and kept.platform = 'draft2digital'
            and kept.period_start >= first_month and kept.period_start < after_months
            and kept.source_report = judged.source_report and kept.storefront = judged.storefront
            and kept.period_start = judged.period_start and kept.period_end = judged.period_end
            and kept.is_final = judged.is_final
            and kept.exported_at = judged.exported_at and kept.source_sha256 = judged.source_sha256
            and kept.superseded_by is not distinct from judged.before
            and judged.verdict is distinct from judged.before
        returning date_trunc('month', kept.period_start)::date as month, judged.before is null as is_stopped
    )
    select array_agg(distinct month), count(*) filter (where is_stopped) into changed_months, stopped
    from updated;
    perform sales.mark_months(supersede_draft2digital.owner, 'draft2digital', changed_months);
    return stopped;
end
$$;

revoke all on function sales.supersede_draft2digital(text, date[]) from public;
grant execute on function sales.supersede_draft2digital(text, date[]) to pipeline_worker;
