-- Indexes up to `most` documents that have changed, in the generation that readers see and in one that is being built;
-- how many changes it took. Several may work at once: none takes what another has.
create or replace function community.index_changes(most integer)
returns integer
language plpgsql
set search_path = pg_catalog
as $$
declare
    index community.search_index;
    changes record;
    taken integer := 0;
begin
    -- a rebuild waits here before it switches
    select * into index from community.search_index for share;
    for changes in
        with mine as (
            select kind, id from community.search_changes
            order by kind, id
            limit most
            for update skip locked
        ),
        removed as (
            delete from community.search_changes as kept using mine
            where kept.kind = mine.kind and kept.id = mine.id
            returning kept.kind, kept.id
        )
        select kind, array_agg(id) as ids from removed group by kind order by kind
    loop
        taken := taken + cardinality(changes.ids);
        perform community.index_documents(index.generation, changes.kind, changes.ids, true);
        if index.building is not null then
            perform community.index_documents(index.building, changes.kind, changes.ids, true);
        end if;
    end loop;
    return taken;
end
$$;

revoke all on function community.index_changes(integer) from public;
grant execute on function community.index_changes(integer) to pipeline_worker;
