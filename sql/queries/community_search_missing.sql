-- Sources without a document, or with one that says something else, but for what is marked; and documents without words.
select
    sources.kind,
    sources.id
from community.search_sources as sources
left join community.search_documents as documents
    on
        sources.kind = documents.kind
        and sources.id = documents.id
        and documents.generation = (select current.generation from community.search_index as current)
left join community.search_vectors as vectors
    on
        documents.generation = vectors.generation
        and documents.kind = vectors.kind
        and documents.id = vectors.id
left join community.search_changes as changes on sources.kind = changes.kind and sources.id = changes.id
where
    changes.id is null
    and (
        vectors.id is null
        or (sources.title, sources.body, sources.url, sources.tags)
        is distinct from (documents.title, documents.body, documents.url, documents.tags)
    )
