-- What somebody types, as a query: words as they are or as English stems. Words of which English keeps none ("the who")
-- count as they are; with an exclusion only the stems do, or "-shoes" would still find "shoe".
create or replace function community.search_query(words text)
returns tsquery
language sql
immutable
parallel safe
set search_path = pg_catalog
as $$
    select
        case
            when numnode(asked.stems) = 0 then asked.plain
            when asked.stems = asked.plain or asked.stems::text like '%!%' then asked.stems
            else asked.plain || asked.stems
        end
    from (
        select
            websearch_to_tsquery('pg_catalog.simple', words) as plain,
            websearch_to_tsquery('pg_catalog.english', words) as stems
    ) as asked
$$;

revoke all on function community.search_query(text) from public;
grant execute on function community.search_query(text) to pipeline_worker, pipeline_intake;
