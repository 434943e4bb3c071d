-- Decides which rows of an owner's months are counted once a report of `sold_on` is stored, and returns how many rows
-- stopped to be. It looks at nothing but the reports that are there, so their order of arrival does not matter:
-- final_month   an estimate of KDP of a month, format and measure of which a final report has rows, or a sheet without any:
--               Total Earnings is the sheet of all. A report with rows that could not be read is final only for what it has
--               rows of. Free units are in no final report: they stay.
-- newer_export  a final row of KDP where a newer final report has the same sheet of the same month and not the row.
-- other_sheet   a row of KDP where another sheet says the same of the same days with other words: Combined Sales or Total
--               Earnings and the sheets by format (of pages the one that states what they earned, else the one that was
--               exported last, else the sheet by format), eBook Orders Placed on days that a report of Orders Processed
--               covers.
-- newer_export  estimates of KDP by the day where another export states the month as a whole, or the other way round: of
--               days that both cover, one of them counts. The newer one, if it states no less, or if it is by the day and
--               its reports span all that the month's covers; else the older one: the newer is of a part of the month.
-- Draft2Digital's and Smashwords' rows have functions of their own; a sale of Smashwords depends on what counts of
-- Draft2Digital.
create or replace function sales.supersede(owner text, sold_on text, months date[])
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
    if sold_on = 'draft2digital' then
        stopped := sales.supersede_draft2digital(supersede.owner, supersede.months);
        return stopped + sales.supersede_smashwords(supersede.owner, supersede.months);
    elsif sold_on = 'smashwords' then
        return sales.supersede_smashwords(supersede.owner, supersede.months);
    elsif sold_on <> 'amazon_kdp' then
        return 0;
    end if;
    -- the newest final report of each month and sheet, of those of which every row was read
    with finals as materialized (
        select distinct on (month, part)
            date_trunc('month', period_start)::date as month, unnest(parts) as part, exported_at, sha256
        from sales.report_files
        where
            owner_id = supersede.owner and platform = 'amazon_kdp'
            and status = 'ingested' and report = 'kdp_prior_month' and is_final and problem_count = 0
            and period_start >= first_month and period_start < after_months
        order by month, part, exported_at desc, sha256 desc
    ),
    -- rows that share a verdict are judged together
    alike as (
        select
            period_start, period_end, kind, format, is_final, superseded_by as before, source_sha256, source_report,
            case
                when source_report in ('kdp_combined_sales', 'kdp_total_earnings', 'kdp_orders_placed')
                    then source_report
                else case kind when 'free' then 'free' when 'pages_read' then 'pages' else format end
            end as part,
            date_trunc('month', period_start)::date as month,
            case kind when 'free' then 'free' when 'pages_read' then 'pages' else 'royalty' end as measure,
            period_end > period_start as is_month,
            max(exported_at) as exported_at,
            bool_and(royalty is not null) as states_royalty,
            sum(units_sold) + sum(pages_read) as stated
        from sales.sales_events
        where
            owner_id = supersede.owner and platform = 'amazon_kdp'
            and period_start >= first_month and period_start < after_months
            and date_trunc('month', period_start)::date = any(supersede.months)
        group by period_start, period_end, kind, format, is_final, superseded_by, source_sha256, source_report
    ),
    reissued as (
        select
            alike.*,
            coalesce(
                alike.is_final and (alike.exported_at, alike.source_sha256) < (finals.exported_at, finals.sha256), false
            ) as is_reissued
        from alike
        left join finals on alike.month = finals.month and alike.part = finals.part
    ),
    settled as (
        select
            *,
            case
                when is_reissued then 'newer_export'
                when measure = 'free'
                    then case
                        when
                            part = 'kdp_orders_placed' and exists (
                                select from sales.report_files as files
                                where
                                    files.owner_id = supersede.owner and files.platform = 'amazon_kdp'
                                    and files.status = 'ingested' and 'free' = any(files.parts)
                                    and files.period_start <= reissued.period_start
                                    and files.period_end >= reissued.period_end
                            )
                            then 'other_sheet'
                    end
                when
                    part <> first_value(part) over (
                        partition by period_start, period_end, measure, format, is_final
                        order by is_reissued, states_royalty desc, exported_at desc, part like 'kdp_%'
                    )
                    then 'other_sheet'
            end as settled_as
        from reissued
    ),
    -- the days of the month that the report covers; one of months at most up to the day of its export, which somewhere on
    -- earth is the next day already
    covering as (
        select
            settled.*, files.is_by_day,
            daterange(settled.month, (settled.month + interval '1 month')::date)
            * daterange(
                coalesce(files.period_start, settled.period_start), coalesce(files.period_end, settled.period_end), '[]'
            )
            * daterange(null, case when settled.is_month then (settled.exported_at at time zone 'UTC')::date + 2 end)
                as covers
        from settled
        left join sales.report_files as files
            on
                files.owner_id = supersede.owner and files.platform = 'amazon_kdp'
                and files.sha256 = settled.source_sha256
        where settled.settled_as is null
    ),
    parts as (
        select
            *,
            bool_or(is_final) over same_part as has_final,
            daterange(
                min(lower(covers)) filter (where is_month and not is_final) over same_part,
                max(upper(covers)) filter (where is_month and not is_final) over same_part
            ) as month_covers,
            max(exported_at) filter (where is_month and not is_final) over same_part as month_at,
            sum(stated) filter (where is_month and not is_final) over same_part as month_stated
        from covering
        window same_part as (partition by month, measure, format)
    ),
    overlapping as (
        select *, not is_final and (is_month or month_covers @> period_start) as is_overlapping
        from parts
    ),
    compared as (
        select
            *,
            case
                when coalesce(bool_or(not is_month and exported_at >= month_at) over same_part, false)
                    then
                        sum(stated) filter (where not is_month) over same_part < month_stated
                        and not coalesce(
                            range_agg(covers) filter (where is_by_day and exported_at >= month_at) over same_part
                            @> month_covers,
                            false
                        )
                else month_stated >= coalesce(sum(stated) filter (where not is_month) over same_part, 0)
            end as is_month_counted
        from overlapping
        window same_part as (partition by month, measure, format, is_overlapping)
    ),
    judged as (
        select
            month, period_start, period_end, kind, format, is_final, source_sha256, source_report, before,
            settled_as as verdict
        from settled
        where settled_as is not null
        union all
        select
            compared.month, compared.period_start, compared.period_end, compared.kind, compared.format, compared.is_final,
            compared.source_sha256, compared.source_report, compared.before,
            case
                when compared.is_final then null
                when
                    compared.measure <> 'free' and (
                        compared.has_final
                        or (compared.month, case compared.measure when 'pages' then 'pages' else compared.format end)
                        in (select month, part from finals)
                        or compared.month in (select month from finals where part = 'kdp_total_earnings')
                    )
                    then 'final_month'
                when compared.is_overlapping and compared.is_month <> compared.is_month_counted then 'newer_export'
            end as verdict
        from compared
    ),
    updated as (
        update sales.sales_events as kept set superseded_by = judged.verdict
        from judged
        where
            kept.owner_id = supersede.owner and kept.platform = 'amazon_kdp'
            and kept.period_start >= first_month and kept.period_start < after_months
            and kept.period_start = judged.period_start and kept.period_end = judged.period_end
            and kept.kind = judged.kind and kept.format = judged.format and kept.is_final = judged.is_final
            and kept.source_sha256 = judged.source_sha256 and kept.source_report = judged.source_report
            and kept.superseded_by is not distinct from judged.before
            and judged.verdict is distinct from judged.before
        returning judged.month, judged.before is null as is_stopped
    )
    select array_agg(distinct month), count(*) filter (where is_stopped) into changed_months, stopped
    from updated;
    perform sales.mark_months(supersede.owner, sold_on, changed_months);
    return stopped;
end
$$;

revoke all on function sales.supersede(text, text, date[]) from public;
grant execute on function sales.supersede(text, text, date[]) to pipeline_worker;
