-- Notes that months of an owner's ledger have changed: what is derived from them is to be built again.
create or replace function sales.mark_months(owner text, sold_on text, months date[])
returns void
language sql
set search_path = pg_catalog
as $$
    insert into sales.ledger_months as kept (owner_id, platform, month)
    select distinct mark_months.owner, mark_months.sold_on, date_trunc('month', one)::date
    from unnest(mark_months.months) as one
    order by 3
    on conflict (owner_id, platform, month) do update set version = kept.version + 1
$$;

revoke all on function sales.mark_months(text, text, date[]) from public;
grant execute on function sales.mark_months(text, text, date[]) to pipeline_worker;
