-- Content of the community: what partners' crawlers found, rules by their events, and the index that finds both.

create schema if not exists community;

grant usage on schema community to pipeline_worker, pipeline_reader, pipeline_intake;

create table community.crawl_items (
    source_id text collate "C" not null check (source_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$'),
    external_id text collate "C" not null check (length(external_id) between 1 and 200),
    document_id text collate "C" not null generated always as (source_id || '/' || external_id) stored,
    url text not null check (url ~ '^https?://' and length(url) <= 2000),
    title text not null check (length(title) between 1 and 500),
    summary text check (length(summary) <= 20000),
    raw jsonb,
    revision integer not null check (revision >= 1),
    caller text not null,
    first_seen_at timestamptz not null,
    updated_at timestamptz not null,
    last_seen_at timestamptz not null,
    primary key (source_id, external_id),
    check (first_seen_at <= updated_at and updated_at <= last_seen_at)
);
create unique index crawl_items_document on community.crawl_items (document_id);
create index crawl_items_last_seen on community.crawl_items (last_seen_at);

create table community.crawl_item_revisions (
    source_id text collate "C" not null,
    external_id text collate "C" not null,
    revision integer not null check (revision >= 1),
    changed_fields text[] not null check (changed_fields <@ '{url,title,summary,raw}'),
    url text not null,
    title text not null,
    summary text,
    raw jsonb,
    caller text not null,
    request_id text,
    changed_at timestamptz not null,
    primary key (source_id, external_id, revision),
    foreign key (source_id, external_id) references community.crawl_items (source_id, external_id) on delete cascade
);
comment on table community.crawl_item_revisions is
'One row per state of a crawl item, of the newest 50: what it said from then on, and which fields were others before. The '
'first has all fields that are not null.';

create table community.removed_crawl_items (
    source_id text collate "C" not null,
    external_id text collate "C" not null,
    removed_at timestamptz not null default clock_timestamp(),
    primary key (source_id, external_id)
);
comment on table community.removed_crawl_items is
'One row per crawl item that an operator has removed (community.remove_crawl_item): sent again, it is not stored.';

create table community.rule_events (
    event_id text primary key,
    day date not null,
    rule_id text collate "C" not null check (rule_id <> ''),
    event_type text not null check (event_type in ('rule.published', 'rule.updated', 'rule.deleted')),
    occurred_at timestamptz not null,
    user_id text,
    author_id text,
    title text,
    body text,
    tags jsonb check (jsonb_typeof(tags) = 'array'),
    model text
);
comment on table community.rule_events is
'One row per event that says something of a rule, as the lake has it: the facts of which community.rules is made. NULL is '
'what the event does not say. user_id is who said it, author_id whose rule it says that it is: empty for that of nobody, '
'an author who was erased.';
create index rule_events_rule on community.rule_events (rule_id, occurred_at);
create index rule_events_day on community.rule_events (day);

create table community.rules (
    rule_id text collate "C" primary key,
    author_id text,
    title text not null,
    body text not null,
    tags jsonb not null check (jsonb_typeof(tags) = 'array'),
    model text,
    status text not null check (status in ('published', 'deleted')),
    published_at timestamptz not null,
    updated_at timestamptz not null,
    event_id text not null,
    check (published_at <= updated_at)
);
create index rules_author on community.rules (author_id) where author_id is not null;
create index rules_updated on community.rules (updated_at);

create table community.search_index (
    is_only boolean primary key default true check (is_only),
    generation integer not null,
    building integer check (building > generation),
    built_at timestamptz
);
comment on table community.search_index is
'One row: the generation of documents that readers see, and the one that a rebuild is making, which may have been given up.';
insert into community.search_index (generation) values (1);

create table community.search_documents (
    generation integer not null,
    kind text collate "C" not null check (kind in ('rule', 'crawl')),
    id text collate "C" not null,
    title text not null,
    body text not null,
    url text,
    tags jsonb not null,
    primary key (generation, kind, id)
);

create table community.search_vectors (
    generation integer not null,
    kind text collate "C" not null,
    id text collate "C" not null,
    tags jsonb not null,
    vector tsvector not null,
    primary key (generation, kind, id),
    foreign key (generation, kind, id) references community.search_documents (generation, kind, id) on delete cascade
);
comment on table community.search_vectors is
'One row per search document: its words, weighted (A title, B tags, C body), as they are and as English stems. Beside '
'the documents so that ranking reads no text.';
create index search_vectors_words on community.search_vectors using gin (vector);

create table community.search_changes (
    kind text collate "C" not null check (kind in ('rule', 'crawl')),
    id text collate "C" not null,
    changed_at timestamptz not null default clock_timestamp(),
    primary key (kind, id)
);
comment on table community.search_changes is
'One row per rule or crawl item that has changed since it was last indexed; gone when it is.';

create view community.search_sources with (security_invoker = true) as
select
    'rule' as kind,
    rules.rule_id as id,
    rules.title,
    left(rules.body, 50000) as body,
    null as url,
    rules.tags
from community.rules as rules
where rules.status = 'published'
union all
select
    'crawl' as kind,
    items.document_id as id,
    items.title,
    coalesce(items.summary, '') as body,
    items.url,
    '[]'::jsonb as tags
from community.crawl_items as items;
comment on view community.search_sources is 'One row per document that the search index should hold.';

grant select, insert, update, delete on
community.crawl_items, community.crawl_item_revisions, community.removed_crawl_items, community.rule_events,
community.rules, community.search_index, community.search_documents, community.search_vectors, community.search_changes
to pipeline_worker;
grant select on community.search_sources to pipeline_worker;
grant select on
community.crawl_items, community.crawl_item_revisions, community.rules, community.search_index, community.search_documents
to pipeline_reader;
grant select, insert, update on community.crawl_items to pipeline_intake;
grant select (source_id, external_id, revision), insert, delete on community.crawl_item_revisions to pipeline_intake;
grant select on community.removed_crawl_items to pipeline_intake;
grant select, insert, update on community.search_changes to pipeline_intake;
grant select on
community.rules, community.search_index, community.search_documents, community.search_vectors
to pipeline_intake;

insert into events.event_schemas
(event_type, event_category, retention_class, required_fields, json_schema, description)
values
(
    'rule.published', 'content', 'content', '{ruleId}',
    '{"type": "object", "required": ["title"], "properties": {"authorId": {"type": "string", "minLength": 1, "maxLength": 200}, "title": {"type": "string", "minLength": 1, "maxLength": 500}, "body": {"type": "string", "maxLength": 100000}, "tags": {"type": "array", "maxItems": 50, "items": {"type": "string", "minLength": 1, "maxLength": 100}}, "model": {"type": "string", "minLength": 1, "maxLength": 200}}}',
    'A rule was published, or published again after it was deleted'
),
(
    'rule.updated', 'content', 'content', '{ruleId}',
    '{"type": "object", "properties": {"authorId": {"type": "string", "minLength": 1, "maxLength": 200}, "title": {"type": "string", "minLength": 1, "maxLength": 500}, "body": {"type": "string", "maxLength": 100000}, "tags": {"type": "array", "maxItems": 50, "items": {"type": "string", "minLength": 1, "maxLength": 100}}, "model": {"type": "string", "minLength": 1, "maxLength": 200}}}',
    'A rule was changed; what the event does not say stays as it was'
),
('rule.deleted', 'content', 'content', '{ruleId}', '{"type": "object"}', 'A rule was deleted');
