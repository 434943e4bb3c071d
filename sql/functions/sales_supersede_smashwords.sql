-- Decides which of Smashwords' rows are counted, and returns how many stopped to be: those of `months`, and of the months
-- that Draft2Digital's rows which begin in them reach into. `draft2digital` is a row whose store and days Draft2Digital
-- lists, under the distributor Smashwords. A row of it lists the days of its window; a row of one day lists the rest of the
-- month, up to the day of the export, which somewhere on earth is the next day already. Stores are one if their first words
-- are: Kobo and Kobo Books; Smashwords.com, Smashwords Store and a sale of Smashwords without a vendor.
create or replace function sales.supersede_smashwords(owner text, months date[])
returns integer
language plpgsql
set search_path = pg_catalog
-- no statistics know the rows of this transaction: joins thought to be of one row with one would go through all pairs
set enable_nestloop = off
as $$
declare
    judged_months constant date[] := (
        select array_agg(distinct month)
        from (
            select unnest(supersede_smashwords.months) as month
            union all
            select generate_series(date_trunc('month', starts::timestamp), ends::timestamp, interval '1 month')::date
            from (
                select distinct period_start as starts, period_end as ends
                from sales.sales_events
                where
                    owner_id = supersede_smashwords.owner
                    and platform = 'draft2digital' and storefront ilike 'smashwords%'
                    and date_trunc('month', period_start)::date = any(supersede_smashwords.months)
            ) as windows
        ) as reached
    );
    first_month constant date := (select min(one) from unnest(judged_months) as one);
    after_months constant date := (select max(one) + interval '1 month' from unnest(judged_months) as one);
    changed_months date[];
    stopped integer;
begin
    with listed as (
        select distinct
            substring(regexp_replace(lower(storefront), '^smashwords: ', '') from '[^\s.,:&-]+') as store,
            case
                when period_end > period_start then daterange(period_start, period_end, '[]')
                else
                    daterange(
                        period_start,
                        greatest(
                            period_start + 1,
                            least(
                                (date_trunc('month', period_start) + interval '1 month')::date,
                                (exported_at at time zone 'UTC')::date + 2
                            )
                        )
                    )
            end as days
        from sales.sales_events
        where
            owner_id = supersede_smashwords.owner
            and platform = 'draft2digital' and storefront ilike 'smashwords%' and superseded_by is null
            and period_start < after_months and period_end >= first_month
    ),
    reported as (
        select store, range_agg(days) as days
        from listed
        group by store
    ),
    alike as (
        select distinct
            storefront, period_start, period_end, superseded_by as before,
            substring(lower(storefront) from '[^\s.,:&-]+') as store
        from sales.sales_events
        where
            owner_id = supersede_smashwords.owner and platform = 'smashwords'
            and period_start >= first_month and period_start < after_months
            and date_trunc('month', period_start)::date = any(judged_months)
    ),
    judged as (
        select
            alike.*,
            case when reported.days && daterange(alike.period_start, alike.period_end, '[]') then 'draft2digital' end
                as verdict
        from alike
        left join reported on alike.store = reported.store
    ),
    updated as (
        update sales.sales_events as kept set superseded_by = judged.verdict
        from judged
        where
            kept.owner_id = supersede_smashwords.owner and kept.platform = 'smashwords'
            and kept.period_start >= first_month and kept.period_start < after_months
            and kept.storefront = judged.storefront
            and kept.period_start = judged.period_start and kept.period_end = judged.period_end
            and kept.superseded_by is not distinct from judged.before
            and judged.verdict is distinct from judged.before
        returning date_trunc('month', kept.period_start)::date as month, judged.before is null as is_stopped
    )
    select array_agg(distinct month), count(*) filter (where is_stopped) into changed_months, stopped
    from updated;
    perform sales.mark_months(supersede_smashwords.owner, 'smashwords', changed_months);
    return stopped;
end
$$;

revoke all on function sales.supersede_smashwords(text, date[]) from public;
grant execute on function sales.supersede_smashwords(text, date[]) to pipeline_worker;
