-- Does a refused event name this person as its user, also under the wrong spelling for which it was refused, or somewhere
-- in a text that could not be read?
create or replace function events.names_person(event jsonb, user_id text)
returns boolean
language sql immutable parallel safe
set search_path = pg_catalog
as $$
    select coalesce(
        names_person.user_id in (event ->> 'userId', event ->> 'user_id', event ->> 'userID', event ->> 'user')
        or strpos(event ->> 'unreadable', to_json(names_person.user_id)::text) > 0,
        false
    )
$$;
