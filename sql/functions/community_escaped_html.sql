-- Text as HTML that shows it: nothing in it is markup.
create or replace function community.escaped_html(content text)
returns text
language sql
immutable
parallel safe
set search_path = pg_catalog
as $$
    select replace(replace(replace(replace(replace(
        content, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;')
$$;

revoke all on function community.escaped_html(text) from public;
grant execute on function community.escaped_html(text) to pipeline_worker, pipeline_intake;
