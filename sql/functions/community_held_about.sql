-- What the community holds about a person, one part of it, in the order of `place`: what they gave and received, what
-- Stripe said of what they gave and the deliveries in which it did, whatever became of them, rules, what was said of them,
-- figures, places, what they were told, and how they want it, but not the target, which is a key.
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
    select
        concat_ws(' ', facts.payment_intent, facts.object_type, facts.object_id),
        to_jsonb(facts)
    from community.donation_facts as facts
    where
        of_part = 'donation_facts'
        and person in (facts.state ->> 'client_reference_id', facts.state #>> '{metadata,donorId}')
    union all
    select
        sent.delivery_id::text,
        jsonb_build_object(
            'received_at', sent.received_at, 'status', sent.status, 'reason', sent.reason, 'payload', sent.payload
        )
    from operations.deliveries as sent
    where
        of_part = 'deliveries' and sent.event_type = 'stripe.event'
        and person in (
            sent.payload #>> '{data,data,object,client_reference_id}',
            sent.payload #>> '{data,data,object,metadata,donorId}'
        )
    union all
    select rules.rule_id, to_jsonb(rules)
    from community.rules
    where of_part = 'rules' and rules.author_id = person
    union all
    select facts.event_id, to_jsonb(facts)
    from community.rule_events as facts
    where of_part = 'rule_events' and person in (facts.user_id, facts.author_id)
    union all
    select metrics.day::text, to_jsonb(metrics)
    from community.author_metrics_daily as metrics
    where of_part = 'author_metrics' and metrics.author_id = person
    union all
    select
        concat_ws(' ', boards.day, boards.period, boards.scope, boards.scope_value),
        to_jsonb(boards)
    from community.leaderboard_snapshots as boards
    where of_part = 'places' and boards.kind = 'AUTHOR' and boards.subject_id = person
    union all
    select notifications.id::text, to_jsonb(notifications)
    from community.notifications
    where of_part = 'notifications' and notifications.person_id = person
    union all
    select 'preferences', to_jsonb(preferences) - 'target'
    from community.notification_preferences as preferences
    where of_part = 'notification_preferences' and preferences.person_id = person
    order by 1
$$;

revoke all on function community.held_about(text, text) from public;
grant execute on function community.held_about(text, text) to pipeline_worker, pipeline_intake;
