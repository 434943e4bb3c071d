-- Takes a person out of the community once the lake holds nothing of theirs any more: as a donor their name, id and
-- message; as an author their rules' events, as the mode says, and their name in those of others and in all figures; what
-- they were told and how they wanted it. Money, counts and places stay, but for boards of tags and models that were theirs
-- alone. Returns how much of what, where there was anything.
-- Waits for whoever makes boards, reads rules out of the lake, or applies what Stripe says: who comes later finds nothing. A payment of
-- which Stripe's objects name two donors, or two authors, loses both.
create or replace function community.forget_person(person text, erasure_mode text)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    donors text[];
    authors text[];
    paid_days date[];
    figure_days date[];
    own_rules text[];
    own_tags text[];
    own_models text[];
    unused_tags text[];
    unused_models text[];
    named_rules text[];
    given bigint;
    received bigint;
    figures bigint;
    places bigint;
    told bigint;
begin
    -- What is being told of them is finished before, by whoever holds this lock shared: it is deleted below.
    perform pg_advisory_xact_lock(hashtextextended('community.notifications', 0));
    perform pg_advisory_xact_lock(hashtextextended('community.leaderboard_snapshots', 0));
    perform pg_advisory_xact_lock(hashtextextended('community.rules', 0));
    perform pg_advisory_xact_lock(hashtextextended('community.donations', 2));

    select
        array_agg(payment) filter (where person in (said ->> 'client_reference_id', said #>> '{metadata,donorId}')),
        array_agg(payment) filter (where said #>> '{metadata,authorId}' = person)
    into donors, authors
    from (
        select payment_intent as payment, state as said from community.donation_facts
        union all
        select
            community.payment_of(payload),
            payload #> '{data,data,object}'
        from operations.deliveries
        -- nobody else may say whose payment it is: as _require_stripe in donations_ledger.py
        where
            event_type = 'stripe.event'
            and (origin <> 'http' or starts_with(signed_by, 'STRIPE_WEBHOOK_SECRET '))
        union all
        select
            payment_intent,
            jsonb_build_object('client_reference_id', donor_id, 'metadata', jsonb_build_object('authorId', author_id))
        from community.donations
    ) as found
    where payment is not null;

    insert into community.forgotten_payments as kept (payment_intent, forgets_donor, forgets_author)
    select payment, bool_or(is_given), bool_or(not is_given)
    from (
        select unnest(donors) as payment, true as is_given
        union all
        select unnest(authors), false
    ) as found
    group by payment
    order by payment
    on conflict (payment_intent) do update set
        forgets_donor = kept.forgets_donor or excluded.forgets_donor,
        forgets_author = kept.forgets_author or excluded.forgets_author;
    update community.donation_facts
    set
        is_anonymous = true,
        state = state - '{client_reference_id,customer_details}'::text []
        #- '{metadata,donorId}' #- '{metadata,donorName}' #- '{metadata,message}'
    where payment_intent = any(donors);
    update community.donations
    set donor_id = null, donor_name = null, message = null, is_anonymous = true, updated_at = clock_timestamp()
    where
        payment_intent = any(donors)
        and (not is_anonymous or num_nonnulls(donor_id, donor_name, message) > 0);
    get diagnostics given = row_count;
    update community.donation_facts set state = state #- '{metadata,authorId}' where payment_intent = any(authors);
    with changed as (
        update community.donations set author_id = null, author_is_rules = false, updated_at = clock_timestamp()
        where payment_intent = any(authors) and author_id is not null
        returning paid_on
    )
    select count(*), array_agg(paid_on) into received, paid_days from changed;

    own_rules := array(select distinct rule_id from community.rule_events where user_id = person);
    own_tags := array(select jsonb_array_elements_text(tags) from community.rule_events where user_id = person);
    own_models := array(select model from community.rule_events where user_id = person);
    if erasure_mode = 'erase' then
        delete from community.rule_events where user_id = person;
    else
        update community.rule_events
        set user_id = null, author_id = null, title = null, body = null, tags = null, model = null
        where user_id = person;
    end if;
    with unnamed as (
        update community.rule_events set author_id = '' where author_id = person returning rule_id
    )
    select array_agg(distinct rule_id) into named_rules from unnamed;
    update events.event_log set event_data = event_data || '{"authorId": null}'
    where event_type in ('rule.published', 'rule.updated', 'rule.deleted') and event_data ->> 'authorId' = person;
    perform community.remake_rules(own_rules || named_rules);
    delete from community.search_documents where kind = 'rule' and id = any(own_rules);

    select array_agg(day) into figure_days
    from (
        select day from community.rule_metrics_daily where author_id = person
        union
        select day from community.author_metrics_daily where author_id = person
    ) as days
    where day >= community.first_rollable_day();
    update community.rule_metrics_daily set author_id = null where author_id = person;
    delete from community.author_metrics_daily where author_id = person;
    get diagnostics figures = row_count;
    update community.leaderboard_snapshots set subject_id = 'erased:' || erasure.id
    from (select gen_random_uuid() as id) as erasure
    where kind = 'AUTHOR' and subject_id = person;
    get diagnostics places = row_count;
    -- rules are read once, whatever the number of boards
    unused_tags := array(
        select unnest(own_tags)
        except
        select jsonb_array_elements_text(tags) from community.rules where tags ?| own_tags
    );
    unused_models := array(
        select unnest(own_models)
        except
        select model from community.rules where model = any(own_models)
    );
    delete from community.leaderboard_snapshots as boards
    using
        community.leaderboard_snapshots as winners,
        (
            select 'TAG' as scope, unnest(unused_tags) as scope_value
            union all
            select 'MODEL', unnest(unused_models)
        ) as unused
    where
        (winners.scope, winners.scope_value, winners.rank) = (unused.scope, unused.scope_value, 1)
        and (boards.day, boards.period, boards.kind, boards.scope, boards.scope_value)
        = (winners.day, winners.period, winners.kind, winners.scope, winners.scope_value);
    if places > 0 or cardinality(own_rules) > 0 then
        -- read by whoever caches boards; the pattern is KEYS of leaderboard_reads.py
        insert into operations.ingestion_events (event_type, source, processing_time_ms, cache_keys_invalidated)
        values (
            'leaderboards.forgotten',
            'leaderboards',
            1000 * extract(epoch from clock_timestamp() - transaction_timestamp()),
            '{community:leaderboards:*}'
        );
    end if;
    perform community.mark_dirty_days(paid_days, 'erasure', 'donations');
    perform community.mark_dirty_days(figure_days, 'erasure', 'rules');

    delete from community.notification_preferences where person_id = person;
    delete from community.notifications where person_id = person;
    get diagnostics told = row_count;
    return (
        select coalesce(jsonb_object_agg(counted.name, counted.number), '{}')
        from (
            values ('donations_given', given), ('donations_received', received),
            ('rules', coalesce(cardinality(own_rules), 0)), ('author_days', figures), ('places', places),
            ('notifications', told)
        ) as counted (name, number)
        where counted.number > 0
    );
end
$$;

revoke all on function community.forget_person(text, text) from public;
grant execute on function community.forget_person(text, text) to pipeline_worker;
