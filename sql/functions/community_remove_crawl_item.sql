-- Removes a crawl item with its revisions and what was refused of it, for good: sent again, it stays away. The search index
-- forgets it within a minute. True if it was there.
create or replace function community.remove_crawl_item(of_source text, item_id text, actor text)
returns boolean
language plpgsql
set search_path = pg_catalog
as $$
declare
    was_there boolean;
begin
    perform pg_advisory_xact_lock(hashtextextended('community.crawl_items:' || of_source, 0));
    insert into community.removed_crawl_items (source_id, external_id) values (of_source, item_id)
    on conflict do nothing;
    delete from community.crawl_items where source_id = of_source and external_id = item_id;
    was_there := found;
    delete from operations.rejects
    where
        source = 'crawl' and payload ->> 'sourceId' = of_source and payload #>> '{item,externalId}' = item_id;
    insert into community.search_changes (kind, id) values ('crawl', of_source || '/' || item_id)
    on conflict (kind, id) do update set changed_at = excluded.changed_at;
    insert into operations.audit_log (actor, action, details)
    values (
        actor,
        'crawl item removed',
        jsonb_build_object('source_id', of_source, 'external_id', item_id, 'was_there', was_there)
    );
    return was_there;
end
$$;

revoke all on function community.remove_crawl_item(text, text, text) from public;
grant execute on function community.remove_crawl_item(text, text, text) to pipeline_worker;
