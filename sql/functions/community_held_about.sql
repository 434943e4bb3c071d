-- What the community holds about a person, one part of it (`donations`, `notifications`, `notification_preferences`), in
-- the order of `place`. The target of a person's notifications is a key: it is theirs, and handed over here alone.
create or replace function community.held_about(person text, of_part text)
returns table (place text, content jsonb)
language sql
stable
security definer
set search_path = pg_catalog
as $$
    select
        donations.payment_intent,
        case
            when donations.donor_id = person then to_jsonb(donations)
            else to_jsonb(donations) - '{donor_id,donor_name}'::text []
        end
    from community.donations
    where of_part = 'donations' and person in (donations.donor_id, donations.author_id)
    union all
    select notifications.id::text, to_jsonb(notifications)
    from community.notifications
    where of_part = 'notifications' and notifications.person_id = person
    union all
    select 'preferences', to_jsonb(preferences)
    from community.notification_preferences as preferences
    where of_part = 'notification_preferences' and preferences.person_id = person
    order by 1
$$;

revoke all on function community.held_about(text, text) from public;
grant execute on function community.held_about(text, text) to pipeline_worker, pipeline_intake;
