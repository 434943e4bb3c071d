-- Stores donations as their facts now make them, marks the UTC days that this changes, and writes what became of whose
-- money to the audit log, with the request that brought the news. One whose metadata names no author gets that of its
-- rule, and keeps it as long as it is for that rule; one whose author was erased gets none. Returns how many changed.
create or replace function community.store_donations(given jsonb, run_id text)
returns integer
language plpgsql
set search_path = pg_catalog
as $$
declare
    new record;
    old record;
    author text;
    by_rule boolean;
    changed integer := 0;
    days date[] := '{}';
begin
    for new in
        select
            it.*,
            (it.paid_at at time zone 'UTC')::date as paid_on,
            (select nullif(rules.author_id, '') from community.rules where rules.rule_id = it.rule_id) as rules_author,
            exists (
                select from community.forgotten_payments as forgotten
                where forgotten.payment_intent = it.payment_intent and forgotten.forgets_author
            ) as forgets_author
        from jsonb_to_recordset(given) as it (
            payment_intent text, rule_id text, author_id text, donor_id text, is_anonymous boolean, currency text,
            received numeric, refunded numeric, disputed numeric, status text, dispute_status text, donor_name text,
            message text, paid_at timestamptz, is_live boolean, delivery_id uuid
        )
        order by it.payment_intent collate "C"
    loop
        select * into old from community.donations as kept where kept.payment_intent = new.payment_intent for update;
        author := case
            when new.forgets_author then null
            when new.author_id is not null then new.author_id
            when old.author_is_rules and old.rule_id = new.rule_id then coalesce(old.author_id, new.rules_author)
            else new.rules_author
        end;
        by_rule := author is not null and new.author_id is null;
        continue when (
            old.rule_id, old.author_id, old.author_is_rules, old.donor_id, old.is_anonymous, old.currency, old.received,
            old.refunded, old.disputed, old.status, old.dispute_status, old.donor_name, old.message, old.paid_at,
            old.is_live
        ) is not distinct from (
            new.rule_id, author, by_rule, new.donor_id, new.is_anonymous, new.currency, new.received, new.refunded,
            new.disputed, new.status, new.dispute_status, new.donor_name, new.message, new.paid_at, new.is_live
        );
        insert into community.donations (
            payment_intent, rule_id, author_id, author_is_rules, donor_id, is_anonymous, currency, received, refunded,
            disputed, status, dispute_status, donor_name, message, paid_at, is_live
        ) values (
            new.payment_intent, new.rule_id, author, by_rule, new.donor_id, new.is_anonymous, new.currency,
            new.received, new.refunded, new.disputed, new.status, new.dispute_status, new.donor_name, new.message,
            new.paid_at, new.is_live
        )
        on conflict (payment_intent) do update set
            rule_id = excluded.rule_id, author_id = excluded.author_id, author_is_rules = excluded.author_is_rules,
            donor_id = excluded.donor_id, is_anonymous = excluded.is_anonymous, currency = excluded.currency,
            received = excluded.received, refunded = excluded.refunded, disputed = excluded.disputed,
            status = excluded.status, dispute_status = excluded.dispute_status, donor_name = excluded.donor_name,
            message = excluded.message, paid_at = excluded.paid_at, is_live = excluded.is_live,
            updated_at = clock_timestamp();
        changed := changed + 1;
        days := days || old.paid_on || new.paid_on;
        insert into operations.audit_log (actor, action, subject_digest, request_id, details)
        values (
            'stripe',
            'donation ' || new.status,
            community.person_digest(author),
            (select sent.request_id from operations.deliveries as sent where sent.delivery_id = new.delivery_id),
            jsonb_strip_nulls(
                jsonb_build_object(
                    'payment_intent', new.payment_intent, 'was', old.status, 'currency', new.currency,
                    'received', new.received::text, 'refunded', new.refunded::text, 'disputed', new.disputed::text,
                    'dispute_status', new.dispute_status, 'rule_id', new.rule_id, 'was_rule_id', old.rule_id,
                    'was_author_digest', community.person_digest(old.author_id), 'is_anonymous', new.is_anonymous,
                    'paid_at', new.paid_at, 'was_paid_at', old.paid_at, 'delivery_id', new.delivery_id, 'run_id', run_id
                )
            )
        );
    end loop;
    perform community.mark_dirty_days(days, 'donations');
    return changed;
end
$$;

revoke all on function community.store_donations(jsonb, text) from public;
grant execute on function community.store_donations(jsonb, text) to pipeline_worker;
