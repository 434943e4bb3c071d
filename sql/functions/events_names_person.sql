-- Does a refused event name this person: by a text equal to their id, wherever it stands, by a number of the same
-- spelling in a member that holds an id or a user, or somewhere in a text that could not be read? Other numbers name
-- nobody: person 1 has no part in everything that says 1.
create or replace function events.names_person(event jsonb, user_id text)
returns boolean
language sql immutable parallel safe
set search_path = pg_catalog
as $$
    select coalesce(
        jsonb_path_exists(event, '$.** ? (@ == $id)', jsonb_build_object('id', names_person.user_id))
        or exists (
            select from jsonb_path_query(
                event, '$.** ? (@.type() == "object").keyvalue() ? (@.key like_regex "(id|user)$" flag "i").value'
            ) as member
            where jsonb_typeof(member) = 'number' and member #>> '{}' = names_person.user_id
        )
        or strpos(event ->> 'unreadable', to_json(names_person.user_id)::text) > 0,
        false
    )
$$;
