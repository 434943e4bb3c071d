-- Crawl items that are not what their last revision says, or lack one of their newest 50 revisions.
select
    items.source_id,
    items.external_id,
    items.revision,
    counted.revisions
from community.crawl_items as items
left join (
    select
        source_id,
        external_id,
        count(*) as revisions
    from community.crawl_item_revisions
    group by source_id, external_id
) as counted on items.source_id = counted.source_id and items.external_id = counted.external_id
left join community.crawl_item_revisions as newest
    on
        items.source_id = newest.source_id
        and items.external_id = newest.external_id
        and items.revision = newest.revision
where
    counted.revisions is distinct from least(items.revision, 50)
    or (items.url, items.title, items.summary, items.raw)
    is distinct from (newest.url, newest.title, newest.summary, newest.raw)
