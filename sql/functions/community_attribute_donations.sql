-- Gives donations for a rule whose author was not known the author that is known by now, unless they were erased from
-- it, with a row of the audit log for each; returns how many.
create or replace function community.attribute_donations(run_id text)
returns integer
language plpgsql
set search_path = pg_catalog
as $$
declare
    days date[];
begin
    with found as (
        update community.donations as kept
        set author_id = rules.author_id, author_is_rules = true, updated_at = clock_timestamp()
        from community.rules as rules
        where
            kept.author_id is null and kept.rule_id = rules.rule_id and rules.author_id <> ''
            and not exists (
                select from community.forgotten_payments as forgotten
                where forgotten.payment_intent = kept.payment_intent and forgotten.forgets_author
            )
        returning kept.payment_intent, kept.rule_id, kept.author_id, kept.paid_on
    ),

    told as (
        insert into operations.audit_log (actor, action, subject_digest, details)
        select
            'pipeline',
            'donation attributed',
            community.person_digest(found.author_id),
            jsonb_build_object('payment_intent', found.payment_intent, 'rule_id', found.rule_id, 'run_id', run_id)
        from found
    )

    select array_agg(found.paid_on) into days from found;
    perform community.mark_dirty_days(days, 'author found');
    return coalesce(cardinality(days), 0);
end
$$;

revoke all on function community.attribute_donations(text) from public;
grant execute on function community.attribute_donations(text) to pipeline_worker;
