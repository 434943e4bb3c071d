-- Makes rules anew of what community.rule_events says of them: of each field what the newest event that says one says. A
-- rule of which nothing is said any more is gone. All of them are marked for the search index.
create or replace function community.remake_rules(ids text[])
returns void
language plpgsql
set search_path = pg_catalog
as $$
begin
    delete from community.rules as kept
    where
        kept.rule_id = any(ids)
        and not exists (select from community.rule_events as facts where facts.rule_id = kept.rule_id);

    insert into community.rules as kept (
        rule_id, author_id, title, body, tags, model, status, published_at, updated_at, event_id
    )
    select
        facts.rule_id,
        nullif(
            (array_agg(facts.author_id order by facts.occurred_at desc, facts.event_id desc)
                filter (where facts.author_id is not null))[1],
            ''
        ),
        coalesce(
            (array_agg(facts.title order by facts.occurred_at desc, facts.event_id desc)
                filter (where facts.title is not null))[1],
            ''
        ),
        coalesce(
            (array_agg(facts.body order by facts.occurred_at desc, facts.event_id desc)
                filter (where facts.body is not null))[1],
            ''
        ),
        coalesce(
            (array_agg(facts.tags order by facts.occurred_at desc, facts.event_id desc)
                filter (where facts.tags is not null))[1],
            '[]'
        ),
        (array_agg(facts.model order by facts.occurred_at desc, facts.event_id desc)
            filter (where facts.model is not null))[1],
        case
            (array_agg(facts.event_type order by facts.occurred_at desc, facts.event_id desc)
                filter (where facts.event_type <> 'rule.updated'))[1]
            when 'rule.deleted' then 'deleted'
            else 'published'
        end,
        coalesce(
            min(facts.occurred_at) filter (where facts.event_type = 'rule.published'),
            min(facts.occurred_at)
        ),
        max(facts.occurred_at),
        (array_agg(facts.event_id order by facts.occurred_at desc, facts.event_id desc))[1]
    from community.rule_events as facts
    where facts.rule_id = any(ids)
    group by facts.rule_id
    order by facts.rule_id
    on conflict (rule_id) do update set
        author_id = excluded.author_id, title = excluded.title, body = excluded.body, tags = excluded.tags,
        model = excluded.model, status = excluded.status, published_at = excluded.published_at,
        updated_at = excluded.updated_at, event_id = excluded.event_id;

    insert into community.search_changes (kind, id)
    select distinct 'rule', one from unnest(ids) as one
    order by 2
    on conflict (kind, id) do update set changed_at = excluded.changed_at;
end
$$;

revoke all on function community.remake_rules(text[]) from public;
grant execute on function community.remake_rules(text[]) to pipeline_worker;
