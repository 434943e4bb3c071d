-- Decides which rows of an owner's months are counted, and returns how many rows stopped to be. It looks at nothing but the
-- reports that are there, so their order of arrival does not matter:
-- final_month   an estimate of KDP in a month whose Prior Month Royalties are there, rows or none. Free units are in no
--               final report: they stay. Of a final report that is one sheet as CSV, only what it has rows of.
-- newer_export  an estimate of KDP by the day where a newer export states the month as a whole, or the other way round.
-- draft2digital a sale of Smashwords in a month in which Draft2Digital lists sales of the distributor Smashwords, from the
--               first day on that it lists.
create or replace function sales.supersede(owner text, months date[])
returns integer
language plpgsql
set search_path = pg_catalog
as $$
declare
    first_month constant date := (select min(one) from unnest(months) as one);
    after_months constant date := (select max(one) + interval '1 month' from unnest(months) as one);
    changed record;
    stopped integer := 0;
begin
    for changed in
        with lines as (
            select
                platform, natural_key, superseded_by, is_final, exported_at, period_start, format, storefront,
                date_trunc('month', period_start)::date as month,
                case kind when 'free' then 'free' when 'pages_read' then 'pages' else 'royalty' end as measure,
                case when period_end > period_start then 'month' else 'day' end as grain
            from sales.sales_events
            where
                owner_id = supersede.owner and platform in ('amazon_kdp', 'smashwords')
                and period_start >= first_month and period_start < after_months
                and date_trunc('month', period_start)::date = any(supersede.months)
        ),
        final_months as (
            select distinct date_trunc('month', period_start)::date as month
            from sales.report_files
            where
                owner_id = supersede.owner and platform = 'amazon_kdp' and status = 'ingested'
                and report in ('kdp_prior_month', 'kdp_legacy') and is_final and is_whole
                and period_start >= first_month and period_start < after_months
        ),
        final_parts as (
            select distinct month, measure, format from lines where platform = 'amazon_kdp' and is_final
        ),
        grains as (
            select
                month, measure, format,
                case
                    when
                        max(exported_at) filter (where grain = 'month')
                        > coalesce(max(exported_at) filter (where grain = 'day'), '-infinity')
                        then 'month'
                    else 'day'
                end as counted
            from lines
            where platform = 'amazon_kdp' and not is_final
            group by month, measure, format
        ),
        listed as (
            select date_trunc('month', period_start)::date as month, min(period_start) as first_day
            from sales.sales_events
            where
                owner_id = supersede.owner and platform = 'draft2digital' and storefront ilike 'smashwords%'
                and period_start >= first_month and period_start < after_months
            group by 1
        ),
        judged as (
            select
                lines.platform, lines.natural_key, lines.month, lines.superseded_by as before,
                case
                    when lines.platform = 'smashwords' and lines.period_start >= listed.first_day then 'draft2digital'
                    when lines.platform <> 'amazon_kdp' or lines.is_final then null
                    when
                        lines.measure <> 'free' and (final_months.month is not null or final_parts.month is not null)
                        then 'final_month'
                    when lines.grain <> grains.counted then 'newer_export'
                end as superseded_by
            from lines
            left join listed on lines.month = listed.month
            left join final_months on lines.month = final_months.month
            left join final_parts
                on lines.month = final_parts.month and lines.measure = final_parts.measure
                and lines.format = final_parts.format
            left join grains
                on lines.month = grains.month and lines.measure = grains.measure and lines.format = grains.format
        ),
        updated as (
            update sales.sales_events as kept set superseded_by = judged.superseded_by
            from judged
            where
                kept.owner_id = supersede.owner and kept.platform = judged.platform
                and kept.natural_key = judged.natural_key
                and judged.superseded_by is distinct from judged.before
            returning judged.platform, judged.month, judged.before is null as is_stopped
        )
        select platform, array_agg(distinct month) as months, count(*) filter (where is_stopped) as rows_stopped
        from updated
        group by platform
        order by platform
    loop
        perform sales.mark_months(supersede.owner, changed.platform, changed.months);
        stopped := stopped + changed.rows_stopped;
    end loop;
    return stopped;
end
$$;

revoke all on function sales.supersede(text, date[]) from public;
grant execute on function sales.supersede(text, date[]) to pipeline_worker;
