-- The words of a document with their weights: A title, B tags, C body; as they are and as English stems.
create or replace function community.search_vector(title text, tags jsonb, body text)
returns tsvector
language sql
immutable
parallel safe
set search_path = pg_catalog
as $$
    select
        setweight(to_tsvector('pg_catalog.simple', title) || to_tsvector('pg_catalog.english', title), 'A')
        || setweight(to_tsvector('pg_catalog.simple', said.tags) || to_tsvector('pg_catalog.english', said.tags), 'B')
        || setweight(to_tsvector('pg_catalog.simple', body) || to_tsvector('pg_catalog.english', body), 'C')
    from (
        select coalesce(string_agg(tag, ' ' order by place), '') as tags
        from jsonb_array_elements_text(tags) with ordinality as one (tag, place)
    ) as said
$$;

revoke all on function community.search_vector(text, jsonb, text) from public;
grant execute on function community.search_vector(text, jsonb, text) to pipeline_worker;
