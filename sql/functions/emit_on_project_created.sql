-- Trigger function of the seed: every row inserted into an application's table of projects emits `project.created`, in
-- the same transaction. The table needs a column id; client_id, owner_id, user_id or created_by says whose it is; title,
-- budget and currency are taken along where they are there. To switch it on:
--
--     create trigger emit_project_created after insert on projects
--     for each row execute function events.emit_project_created();
create or replace function events.emit_project_created()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    project jsonb := to_jsonb(new);
begin
    perform events.emit_platform_event(
        event_type => 'project.created',
        event_category => 'transaction',
        user_id => coalesce(project ->> 'client_id', project ->> 'owner_id', project ->> 'user_id', project ->> 'created_by'),
        event_data => jsonb_strip_nulls(jsonb_build_object(
            'project_id', project ->> 'id',
            'title', project ->> 'title',
            'budget', project -> 'budget',
            'currency', project ->> 'currency'
        )),
        idempotency_key => 'project.created:' || (project ->> 'id')
    );
    return null;
end
$$;

revoke all on function events.emit_project_created() from public;
