-- What a search finds, best first, equally good ones by kind and id, from after a place on. Of words that are nearly
-- everywhere no more than 10,000 documents are ranked: not the best, but the same ones for each page, rules before crawl
-- items. Text is escaped before words are marked: the only markup is <mark>.
create or replace function community.search(
    words text, of_kind text, with_tag text, after_rank double precision, after_kind text, after_id text, most integer
)
returns table (
    kind text, id text, rank double precision, title text, url text, tags jsonb, title_html text, snippet_html text
)
language plpgsql
stable
set search_path = pg_catalog
set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    asked tsquery := community.search_query(words);
begin
    return query
    with candidates as (
        select vectors.generation, vectors.kind, vectors.id, vectors.vector
        from community.search_vectors as vectors
        where
            vectors.generation = (select current.generation from community.search_index as current)
            and vectors.vector @@ asked
            and (of_kind is null or vectors.kind = of_kind)
            and (with_tag is null or vectors.tags @> jsonb_build_array(with_tag))
        order by vectors.kind desc, vectors.id desc
        limit 10000
    ),
    matching as (
        select
            candidates.generation, candidates.kind, candidates.id,
            ts_rank_cd(candidates.vector, asked, 1)::double precision as rank
        from candidates
    ),
    page as (
        select * from matching
        where
            after_rank is null
            or matching.rank < after_rank
            or (matching.rank = after_rank and (matching.kind, matching.id) > (after_kind, after_id))
        order by matching.rank desc, matching.kind asc, matching.id asc
        limit most
    )
    select
        page.kind, page.id, page.rank, documents.title, documents.url, documents.tags,
        ts_headline(
            'pg_catalog.english', community.escaped_html(documents.title), asked,
            'HighlightAll=true, StartSel=<mark>, StopSel=</mark>'
        ),
        ts_headline(
            'pg_catalog.english', community.escaped_html(left(documents.body, 20000)), asked,
            'MaxFragments=2, MinWords=10, MaxWords=30, FragmentDelimiter=" … ", StartSel=<mark>, StopSel=</mark>'
        )
    from page
    inner join community.search_documents as documents
        on page.generation = documents.generation and page.kind = documents.kind and page.id = documents.id
    order by page.rank desc, page.kind asc, page.id asc;
end
$$;

revoke all on function community.search(text, text, text, double precision, text, text, integer) from public;
grant execute on function community.search(text, text, text, double precision, text, text, integer)
to pipeline_intake, pipeline_worker;
