-- Inserts or updates the items of one source, each external id at most once; what became of each. What changed is kept
-- as a revision, the newest 50 of each item, and marked for the search index. What was removed by community.remove_crawl_item
-- stays away. Requests for one source take turns.
create or replace function community.store_crawl_items(
    source text, ids text[], urls text[], titles text[], summaries text[], raws text[], sender text, request text
)
returns table (external_id text, outcome text, revision integer)
language plpgsql
set search_path = pg_catalog
as $$
#variable_conflict use_column
declare
    instant timestamptz;
begin
    perform pg_advisory_xact_lock(hashtextextended('community.crawl_items:' || source, 0));
    instant := clock_timestamp();
    return query
    with given as (
        select one.id, one.url, one.title, one.summary, one.raw::jsonb as raw
        from unnest(ids, urls, titles, summaries, raws) as one (id, url, title, summary, raw)
        where not exists (
            select from community.removed_crawl_items as removed
            where removed.source_id = source and removed.external_id = one.id
        )
    ),
    compared as (
        select
            given.*,
            kept.source_id is not null as is_known,
            array_remove(array[
                case when given.url is distinct from kept.url then 'url' end,
                case when given.title is distinct from kept.title then 'title' end,
                case when given.summary is distinct from kept.summary then 'summary' end,
                case when given.raw is distinct from kept.raw then 'raw' end
            ], null) as changed_fields
        from given
        left join community.crawl_items as kept on kept.source_id = source and kept.external_id = given.id
    ),
    written as (
        insert into community.crawl_items as kept (
            source_id, external_id, url, title, summary, raw, revision, caller, first_seen_at, updated_at, last_seen_at
        )
        select source, it.id, it.url, it.title, it.summary, it.raw, 1, sender, instant, instant, instant
        from compared as it
        order by it.id
        on conflict (source_id, external_id) do update set
            url = excluded.url,
            title = excluded.title,
            summary = excluded.summary,
            raw = excluded.raw,
            revision = kept.revision + case
                when (kept.url, kept.title, kept.summary, kept.raw)
                    is distinct from (excluded.url, excluded.title, excluded.summary, excluded.raw) then 1
                else 0
            end,
            caller = excluded.caller,
            updated_at = case
                when (kept.url, kept.title, kept.summary, kept.raw)
                    is distinct from (excluded.url, excluded.title, excluded.summary, excluded.raw)
                    then greatest(kept.last_seen_at, instant)
                else kept.updated_at
            end,
            last_seen_at = greatest(kept.last_seen_at, instant)
        returning kept.*
    ),
    revised as (
        insert into community.crawl_item_revisions (
            source_id, external_id, revision, changed_fields, url, title, summary, raw, caller, request_id, changed_at
        )
        select
            source, it.id, written.revision, it.changed_fields, it.url, it.title, it.summary, it.raw, sender, request,
            instant
        from compared as it
        inner join written on written.external_id = it.id
        where it.changed_fields <> '{}'
    ),
    dropped as (
        delete from community.crawl_item_revisions as old
        using compared as it, written
        where
            it.changed_fields <> '{}' and written.external_id = it.id
            and old.source_id = source and old.external_id = it.id and old.revision <= written.revision - 50
    ),
    marked as (
        insert into community.search_changes as kept (kind, id, changed_at)
        select 'crawl', written.document_id, instant
        from compared as it
        inner join written on written.external_id = it.id
        where it.changed_fields && '{url,title,summary}'
        order by written.document_id
        on conflict (kind, id) do update set changed_at = excluded.changed_at
    )
    select
        it.id,
        case when not it.is_known then 'created' when it.changed_fields <> '{}' then 'updated' else 'unchanged' end,
        written.revision
    from compared as it
    inner join written on written.external_id = it.id
    union all
    select one.id, 'removed', null
    from unnest(ids) as one (id)
    where one.id not in (select given.id from given);
end
$$;

revoke all on function community.store_crawl_items(text, text[], text[], text[], text[], text[], text, text) from public;
grant execute on function community.store_crawl_items(text, text[], text[], text[], text[], text[], text, text)
to pipeline_intake, pipeline_worker;
