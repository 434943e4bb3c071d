-- Brings documents of one kind in a generation up to their sources; how many it wrote. A rebuild, which has read its
-- sources earlier than whoever else writes, replaces nothing.
create or replace function community.index_documents(target integer, of_kind text, ids text[], replaces boolean)
returns integer
language plpgsql
set search_path = pg_catalog
as $$
declare
    written integer;
begin
    if replaces then
        delete from community.search_documents as documents
        where
            documents.generation = target and documents.kind = of_kind and documents.id = any(ids)
            and documents.id not in (
                select sources.id from community.search_sources as sources
                where sources.kind = of_kind and sources.id = any(ids)
            );
    end if;
    with documents as (
        insert into community.search_documents as kept (generation, kind, id, title, body, url, tags)
        select target, sources.kind, sources.id, sources.title, sources.body, sources.url, sources.tags
        from community.search_sources as sources
        where sources.kind = of_kind and sources.id = any(ids)
        order by sources.id
        on conflict (generation, kind, id) do update
        set title = excluded.title, body = excluded.body, url = excluded.url, tags = excluded.tags
        where index_documents.replaces
        returning kept.*
    )
    insert into community.search_vectors as kept (generation, kind, id, tags, vector)
    select
        documents.generation, documents.kind, documents.id, documents.tags,
        community.search_vector(documents.title, documents.tags, documents.body)
    from documents
    on conflict (generation, kind, id) do update set tags = excluded.tags, vector = excluded.vector;
    get diagnostics written = row_count;
    return written;
end
$$;

revoke all on function community.index_documents(integer, text, text[], boolean) from public;
grant execute on function community.index_documents(integer, text, text[], boolean) to pipeline_worker;
