-- Rules that are not what their events say: of another event than the last, without events, or events without a rule.
select
    coalesce(rules.rule_id, facts.rule_id) as rule_id,
    rules.event_id,
    facts.last_event_id
from community.rules as rules
full join (
    select
        rule_id,
        (array_agg(event_id order by occurred_at desc, event_id desc))[1] as last_event_id
    from community.rule_events
    group by rule_id
) as facts on rules.rule_id = facts.rule_id
where rules.event_id is distinct from facts.last_event_id
