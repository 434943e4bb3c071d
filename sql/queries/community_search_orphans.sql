-- Documents that readers see and that have no source any more, but for what is marked and will be indexed in a moment.
select
    documents.kind,
    documents.id
from community.search_documents as documents
left join community.search_sources as sources on documents.kind = sources.kind and documents.id = sources.id
left join community.search_changes as changes on documents.kind = changes.kind and documents.id = changes.id
where
    documents.generation = (select current.generation from community.search_index as current)
    and sources.id is null
    and changes.id is null
