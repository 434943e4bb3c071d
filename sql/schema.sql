-- Generated from sql/migrations and sql/functions: python -m ingestion_pipeline_tests.sql.schema

CREATE SCHEMA community;

ALTER SCHEMA community OWNER TO postgres;

CREATE SCHEMA events;

ALTER SCHEMA events OWNER TO postgres;

CREATE SCHEMA market;

ALTER SCHEMA market OWNER TO postgres;

CREATE SCHEMA operations;

ALTER SCHEMA operations OWNER TO postgres;

CREATE SCHEMA property;

ALTER SCHEMA property OWNER TO postgres;

CREATE SCHEMA sales;

ALTER SCHEMA sales OWNER TO postgres;

CREATE FUNCTION community.attribute_donations(run_id text) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION community.attribute_donations(run_id text) OWNER TO postgres;

CREATE FUNCTION community.bury_notifications(most integer, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    buried bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended('community.claim_notifications', 0));
    update community.notifications
    set due_at = null, lease_until = null, given_up_at = at, last_error = 'the sender died'
    where due_at <= at and attempts >= most and coalesce(lease_until <= at, true);
    get diagnostics buried = row_count;
    return buried;
end
$$;

ALTER FUNCTION community.bury_notifications(most integer, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION community.claim_notifications(people integer, most integer, singles integer, lease interval, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS TABLE(id uuid, idempotency_key text, person_id text, kind text, payload jsonb, created_at timestamp with time zone, batch_id uuid, attempts integer, lease_until timestamp with time zone, target text)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_column
begin
    perform pg_advisory_xact_lock(hashtextextended('community.claim_notifications', 0));
    return query
    with persons as materialized (
        select person_id
        from community.notifications
        where due_at is not null
        group by person_id
        having min(due_at) <= at and coalesce(max(lease_until) <= at, true)
        order by min(due_at)
        limit people
    ),
    fresh as materialized (
        select
            id,
            person_id,
            digest <> 'none' as is_digest,
            count(*) over (partition by person_id, digest <> 'none') as due_count
        from (
            select
                waiting.*,
                row_number() over (partition by person_id order by due_at, created_at, id) as place
            from community.notifications as waiting
            where due_at <= at and attempts = 0 and person_id in (select person_id from persons)
        ) as placed
        where place <= most
    ),
    batches as materialized (
        select
            person_id,
            is_digest,
            gen_random_uuid() as batch_id
        from fresh
        where is_digest or due_count > singles
        group by person_id, is_digest
    ),
    chosen as materialized (
        select
            fresh.id,
            batches.batch_id
        from fresh
        left join batches using (person_id, is_digest)
        union all
        select
            id,
            batch_id
        from community.notifications
        where due_at <= at and attempts > 0 and person_id in (select person_id from persons)
    ),
    claimed as (
        update community.notifications as claiming
        set
            lease_until = at + lease,
            attempts = attempts + 1,
            batch_id = chosen.batch_id
        from chosen
        where claiming.id = chosen.id
        returning claiming.*
    )
    select
        claimed.id,
        claimed.idempotency_key,
        claimed.person_id,
        claimed.kind,
        claimed.payload,
        claimed.created_at,
        claimed.batch_id,
        claimed.attempts,
        claimed.lease_until,
        preferences.target
    from claimed
    left join community.notification_preferences as preferences on claimed.person_id = preferences.person_id
    order by claimed.person_id, claimed.created_at, claimed.id;
end
$$;

ALTER FUNCTION community.claim_notifications(people integer, most integer, singles integer, lease interval, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION community.escaped_html(content text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $$
    select replace(replace(replace(replace(replace(
        content, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;')
$$;

ALTER FUNCTION community.escaped_html(content text) OWNER TO postgres;

CREATE FUNCTION community.first_rollable_day() RETURNS date
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    select coalesce(max((now() at time zone 'UTC' - kept_for)::date), '2000-01-01')
    from events.event_retention
    where event_type in ('VIEW', 'COPY', 'SAVE', 'FORK', 'VOTE')
$$;

ALTER FUNCTION community.first_rollable_day() OWNER TO postgres;

CREATE FUNCTION community.forget_deliveries(person text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
begin
    delete from operations.deliveries
    where
        status = 'rejected' and (source = 'stripe' or event_type = 'stripe.event')
        and events.names_person(payload, person);
    return community.strip_deliveries(
        array(select delivery_id from operations.deliveries where event_type = 'stripe.event')
    );
end
$$;

ALTER FUNCTION community.forget_deliveries(person text) OWNER TO postgres;

CREATE FUNCTION community.forget_person(person text, erasure_mode text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION community.forget_person(person text, erasure_mode text) OWNER TO postgres;

CREATE FUNCTION community.held_about(person text, of_part text) RETURNS TABLE(place text, content jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION community.held_about(person text, of_part text) OWNER TO postgres;

CREATE FUNCTION community.index_changes(most integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    index community.search_index;
    changes record;
    taken integer := 0;
begin
    -- a rebuild waits here before it switches
    select * into index from community.search_index for share;
    for changes in
        with mine as (
            select kind, id from community.search_changes
            order by kind, id
            limit most
            for update skip locked
        ),
        removed as (
            delete from community.search_changes as kept using mine
            where kept.kind = mine.kind and kept.id = mine.id
            returning kept.kind, kept.id
        )
        select kind, array_agg(id) as ids from removed group by kind order by kind
    loop
        taken := taken + cardinality(changes.ids);
        perform community.index_documents(index.generation, changes.kind, changes.ids, true);
        if index.building is not null then
            perform community.index_documents(index.building, changes.kind, changes.ids, true);
        end if;
    end loop;
    return taken;
end
$$;

ALTER FUNCTION community.index_changes(most integer) OWNER TO postgres;

CREATE FUNCTION community.index_documents(target integer, of_kind text, ids text[], replaces boolean) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    written integer;
begin
    if replaces then
        delete from community.search_documents as documents
        where
            documents.generation = target and documents.kind = of_kind and documents.id = any(ids)
            and documents.id not in (
                select sources.id from community.search_sources as sources
                where sources.kind = of_kind and sources.id = any(ids)
            );
    end if;
    with documents as (
        insert into community.search_documents as kept (generation, kind, id, title, body, url, tags)
        select target, sources.kind, sources.id, sources.title, sources.body, sources.url, sources.tags
        from community.search_sources as sources
        where sources.kind = of_kind and sources.id = any(ids)
        order by sources.id
        on conflict (generation, kind, id) do update
        set title = excluded.title, body = excluded.body, url = excluded.url, tags = excluded.tags
        where index_documents.replaces
        returning kept.*
    )
    insert into community.search_vectors as kept (generation, kind, id, tags, vector)
    select
        documents.generation, documents.kind, documents.id, documents.tags,
        community.search_vector(documents.title, documents.tags, documents.body)
    from documents
    on conflict (generation, kind, id) do update set tags = excluded.tags, vector = excluded.vector;
    get diagnostics written = row_count;
    return written;
end
$$;

ALTER FUNCTION community.index_documents(target integer, of_kind text, ids text[], replaces boolean) OWNER TO postgres;

CREATE FUNCTION community.mark_dirty_days(days date[], why text, of_table text DEFAULT 'donations'::text) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog'
    AS $$
    insert into community.dirty_days as kept (table_name, day, reason)
    select distinct of_table, one, why from unnest(days) as one where one is not null
    order by one
    on conflict (table_name, day) do update set
        reason = excluded.reason, changes = kept.changes + 1, marked_at = clock_timestamp()
$$;

ALTER FUNCTION community.mark_dirty_days(days date[], why text, of_table text) OWNER TO postgres;

CREATE FUNCTION community.notification_due_at(digest text, at timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog'
    AS $$
select case digest
    when 'daily' then date_trunc('day', at, 'UTC') + interval '24 hours'
    when 'weekly' then date_trunc('week', at, 'UTC') + interval '168 hours'
    else at
end
$$;

ALTER FUNCTION community.notification_due_at(digest text, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION community.notify(key text, person text, about text, details jsonb, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    wanted community.notification_preferences;
    is_wanted boolean;
begin
    -- whoever changes them at the same time waits, and then plans this row too
    select * into wanted from community.notification_preferences where person_id = person for share;
    is_wanted := coalesce(wanted.has_target and not wanted.is_muted and wanted.kinds ? about, false);

    insert into community.notifications (idempotency_key, person_id, kind, payload, created_at, due_at, digest)
    values (
        key, person, about, details, at,
        case when is_wanted then community.notification_due_at(wanted.digest, at) end,
        coalesce(wanted.digest, 'none')
    )
    on conflict (idempotency_key) do nothing;
    return found;
end
$$;

ALTER FUNCTION community.notify(key text, person text, about text, details jsonb, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION community.notify_donations(since timestamp with time zone, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    -- an erasure that is going on is waited for, and what follows sees what it did
    perform pg_advisory_xact_lock_shared(hashtextextended('community.notifications', 0));
    return (
        select count(*) filter (where community.notify(key, author_id, 'new_donation', details, at))
        from (
            select
                'new_donation:' || donations.payment_intent as key,
                donations.author_id,
                jsonb_build_object(
                    'paymentIntent', donations.payment_intent,
                    'ruleId', donations.rule_id,
                    'amount', donations.received::text,
                    'currency', donations.currency,
                    'paidOn', donations.paid_on
                ) as details
            from community.donations as donations
            where
                donations.paid_on >= (since at time zone 'UTC')::date and donations.paid_at >= since
                and donations.is_live and donations.net > 0
                and length(donations.author_id) between 1 and 200
                and not exists (
                    select from community.notifications as told
                    where told.idempotency_key = 'new_donation:' || donations.payment_intent
                )
            order by key
        ) as news
    );
end
$$;

ALTER FUNCTION community.notify_donations(since timestamp with time zone, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION community.notify_leaderboards(board_day date, places integer, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    -- an erasure that is going on is waited for, and what follows sees what it did
    perform pg_advisory_xact_lock_shared(hashtextextended('community.notifications', 0));
    return (
        select count(*) filter (where community.notify(key, person_id, 'leaderboard_entry', details, at))
        from (
            select
                concat_ws(':', 'leaderboard_entry', boards.day, boards.period, boards.kind, boards.subject_id) as key,
                case boards.kind when 'AUTHOR' then boards.subject_id else rules.author_id end as person_id,
                jsonb_build_object(
                    'day', boards.day,
                    'period', boards.period,
                    'kind', boards.kind,
                    'subjectId', boards.subject_id,
                    'title', rules.title,
                    'rank', boards.rank,
                    'previousRank', boards.previous_rank
                ) as details
            from community.leaderboard_snapshots as boards
            left join community.rules as rules on boards.kind = 'RULE' and boards.subject_id = rules.rule_id
            where
                boards.day = board_day and boards.scope = 'GLOBAL' and boards.rank <= places
                and coalesce(boards.previous_rank > places, true)
            order by key
        ) as news
        where length(person_id) between 1 and 200 and person_id not like 'erased:%' and length(key) <= 500
    );
end
$$;

ALTER FUNCTION community.notify_leaderboards(board_day date, places integer, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION community.notify_milestones(since date, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    -- an erasure that is going on is waited for, and what follows sees what it did
    perform pg_advisory_xact_lock_shared(hashtextextended('community.notifications', 0));
    return (
        select count(*) filter (where community.notify(key, author_id, 'milestone', details, at))
        from (
            select
                concat_ws(':', 'milestone', reached.metric, reached.threshold, reached.author_id) as key,
                reached.author_id,
                jsonb_build_object('metric', reached.metric, 'threshold', reached.threshold) as details
            from (
                select
                    sums.author_id,
                    totals.metric,
                    rpad('1', length(totals.total::text), '0')::bigint as threshold
                from (
                    select
                        author_id,
                        sum(views)::bigint as views,
                        sum(donations)::bigint as donations
                    from community.author_metrics_daily
                    where
                        author_id in (select author_id from community.author_metrics_daily where day >= since)
                        and length(author_id) between 1 and 200
                    group by author_id
                ) as sums,
                lateral (values ('views', sums.views, 100), ('donations', sums.donations, 10))
                    as totals (metric, total, least)
                where totals.total >= totals.least
            ) as reached
            where
                not exists (
                    select from community.notifications as told
                    where
                        told.person_id = reached.author_id and told.kind = 'milestone'
                        and told.payload ->> 'metric' = reached.metric
                        and (told.payload ->> 'threshold')::bigint >= reached.threshold
                )
            order by key
        ) as news
    );
end
$$;

ALTER FUNCTION community.notify_milestones(since date, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION community.payment_of(payload jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path TO 'pg_catalog'
    AS $$
    select said.id #>> '{}'
    from (
        values (1, payload #> '{data,data,object,payment_intent}'), (2, payload #> '{data,data,object,id}')
    ) as said (place, id)
    where jsonb_typeof(said.id) = 'string' and length(said.id #>> '{}') between 1 and 255
    order by said.place
    limit 1
$$;

ALTER FUNCTION community.payment_of(payload jsonb) OWNER TO postgres;

CREATE FUNCTION community.person_digest(person text) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT
    SET search_path TO 'pg_catalog'
    RETURN encode(sha256(convert_to(person, 'UTF8'::name)), 'hex'::text);

ALTER FUNCTION community.person_digest(person text) OWNER TO postgres;

CREATE FUNCTION community.remake_rules(ids text[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    delete from community.rules as kept
    where
        kept.rule_id = any(ids)
        and not exists (select from community.rule_events as facts where facts.rule_id = kept.rule_id);

    insert into community.rules as kept (
        rule_id, author_id, title, body, tags, model, status, published_at, updated_at, event_id
    )
    select
        facts.rule_id,
        nullif(
            (array_agg(facts.author_id order by facts.occurred_at desc, facts.event_id desc)
                filter (where facts.author_id is not null))[1],
            ''
        ),
        coalesce(
            (array_agg(facts.title order by facts.occurred_at desc, facts.event_id desc)
                filter (where facts.title is not null))[1],
            ''
        ),
        coalesce(
            (array_agg(facts.body order by facts.occurred_at desc, facts.event_id desc)
                filter (where facts.body is not null))[1],
            ''
        ),
        coalesce(
            (array_agg(facts.tags order by facts.occurred_at desc, facts.event_id desc)
                filter (where facts.tags is not null))[1],
            '[]'
        ),
        (array_agg(facts.model order by facts.occurred_at desc, facts.event_id desc)
            filter (where facts.model is not null))[1],
        case
            (array_agg(facts.event_type order by facts.occurred_at desc, facts.event_id desc)
                filter (where facts.event_type <> 'rule.updated'))[1]
            when 'rule.deleted' then 'deleted'
            else 'published'
        end,
        coalesce(
            min(facts.occurred_at) filter (where facts.event_type = 'rule.published'),
            min(facts.occurred_at)
        ),
        max(facts.occurred_at),
        (array_agg(facts.event_id order by facts.occurred_at desc, facts.event_id desc))[1]
    from community.rule_events as facts
    where facts.rule_id = any(ids)
    group by facts.rule_id
    order by facts.rule_id
    on conflict (rule_id) do update set
        author_id = excluded.author_id, title = excluded.title, body = excluded.body, tags = excluded.tags,
        model = excluded.model, status = excluded.status, published_at = excluded.published_at,
        updated_at = excluded.updated_at, event_id = excluded.event_id;

    insert into community.search_changes (kind, id)
    select distinct 'rule', one from unnest(ids) as one
    order by 2
    on conflict (kind, id) do update set changed_at = excluded.changed_at;
end
$$;

ALTER FUNCTION community.remake_rules(ids text[]) OWNER TO postgres;

CREATE FUNCTION community.remove_crawl_item(of_source text, item_id text, actor text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    was_there boolean;
begin
    perform pg_advisory_xact_lock(hashtextextended('community.crawl_items:' || of_source, 0));
    insert into community.removed_crawl_items (source_id, external_id) values (of_source, item_id)
    on conflict do nothing;
    delete from community.crawl_items where source_id = of_source and external_id = item_id;
    was_there := found;
    delete from operations.rejects
    where
        source = 'crawl' and payload ->> 'sourceId' = of_source and payload #>> '{item,externalId}' = item_id;
    insert into community.search_changes (kind, id) values ('crawl', of_source || '/' || item_id)
    on conflict (kind, id) do update set changed_at = excluded.changed_at;
    insert into operations.audit_log (actor, action, details)
    values (
        actor,
        'crawl item removed',
        jsonb_build_object('source_id', of_source, 'external_id', item_id, 'was_there', was_there)
    );
    return was_there;
end
$$;

ALTER FUNCTION community.remove_crawl_item(of_source text, item_id text, actor text) OWNER TO postgres;

CREATE FUNCTION community.remove_old_notifications(before timestamp with time zone) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    removed bigint;
begin
    delete from community.notifications as old
    where
        old.created_at < before and old.due_at is null
        and (
            old.kind <> 'milestone'
            or exists (
                select from community.notifications as higher
                where
                    higher.person_id = old.person_id and higher.kind = 'milestone'
                    and higher.payload ->> 'metric' = old.payload ->> 'metric'
                    and (higher.payload ->> 'threshold')::bigint > (old.payload ->> 'threshold')::bigint
            )
        );
    get diagnostics removed = row_count;
    return removed;
end
$$;

ALTER FUNCTION community.remove_old_notifications(before timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION community.search(words text, of_kind text, with_tag text, after_rank double precision, after_kind text, after_id text, most integer) RETURNS TABLE(kind text, id text, rank double precision, title text, url text, tags jsonb, title_html text, snippet_html text)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog'
    SET plan_cache_mode TO 'force_custom_plan'
    AS $$
#variable_conflict use_column
declare
    asked tsquery := community.search_query(words);
begin
    return query
    with candidates as (
        select vectors.generation, vectors.kind, vectors.id, vectors.vector
        from community.search_vectors as vectors
        where
            vectors.generation = (select current.generation from community.search_index as current)
            and vectors.vector @@ asked
            and (of_kind is null or vectors.kind = of_kind)
            and (with_tag is null or vectors.tags @> jsonb_build_array(with_tag))
        order by vectors.kind desc, vectors.id desc
        limit 10000
    ),
    matching as (
        select
            candidates.generation, candidates.kind, candidates.id,
            ts_rank_cd(candidates.vector, asked, 1)::double precision as rank
        from candidates
    ),
    page as (
        select * from matching
        where
            after_rank is null
            or matching.rank < after_rank
            or (matching.rank = after_rank and (matching.kind, matching.id) > (after_kind, after_id))
        order by matching.rank desc, matching.kind asc, matching.id asc
        limit most
    )
    select
        page.kind, page.id, page.rank, documents.title, documents.url, documents.tags,
        ts_headline(
            'pg_catalog.english', community.escaped_html(documents.title), asked,
            'HighlightAll=true, StartSel=<mark>, StopSel=</mark>'
        ),
        ts_headline(
            'pg_catalog.english', community.escaped_html(left(documents.body, 20000)), asked,
            'MaxFragments=2, MinWords=10, MaxWords=30, FragmentDelimiter=" … ", StartSel=<mark>, StopSel=</mark>'
        )
    from page
    inner join community.search_documents as documents
        on page.generation = documents.generation and page.kind = documents.kind and page.id = documents.id
    order by page.rank desc, page.kind asc, page.id asc;
end
$$;

ALTER FUNCTION community.search(words text, of_kind text, with_tag text, after_rank double precision, after_kind text, after_id text, most integer) OWNER TO postgres;

CREATE FUNCTION community.search_query(words text) RETURNS tsquery
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $$
    select
        case
            when numnode(asked.stems) = 0 then asked.plain
            when asked.stems = asked.plain or asked.stems::text like '%!%' then asked.stems
            else asked.plain || asked.stems
        end
    from (
        select
            websearch_to_tsquery('pg_catalog.simple', words) as plain,
            websearch_to_tsquery('pg_catalog.english', words) as stems
    ) as asked
$$;

ALTER FUNCTION community.search_query(words text) OWNER TO postgres;

CREATE FUNCTION community.search_vector(title text, tags jsonb, body text) RETURNS tsvector
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $$
    select
        setweight(to_tsvector('pg_catalog.simple', title) || to_tsvector('pg_catalog.english', title), 'A')
        || setweight(to_tsvector('pg_catalog.simple', said.tags) || to_tsvector('pg_catalog.english', said.tags), 'B')
        || setweight(to_tsvector('pg_catalog.simple', body) || to_tsvector('pg_catalog.english', body), 'C')
    from (
        select coalesce(string_agg(tag, ' ' order by place), '') as tags
        from jsonb_array_elements_text(tags) with ordinality as one (tag, place)
    ) as said
$$;

ALTER FUNCTION community.search_vector(title text, tags jsonb, body text) OWNER TO postgres;

CREATE FUNCTION community.set_notification_preferences(keeps_target boolean, new_target text, new_kinds jsonb, new_digest text, muted boolean, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    person constant text := nullif(current_setting('app.user_id', true), '');
    is_told boolean;
begin
    if person is null then
        raise insufficient_privilege using message = 'app.user_id names nobody';
    end if;
    insert into community.notification_preferences as known (person_id, target, kinds, digest, is_muted, updated_at)
    values (person, new_target, new_kinds, new_digest, muted, at)
    on conflict (person_id) do update set
        target = case when keeps_target then known.target else excluded.target end,
        kinds = excluded.kinds,
        digest = excluded.digest,
        is_muted = excluded.is_muted,
        updated_at = excluded.updated_at
    returning has_target and not known.is_muted into is_told;

    update community.notifications set
        due_at = case when is_told and new_kinds ? kind then community.notification_due_at(new_digest, created_at) end,
        digest = new_digest
    where person_id = person and due_at is not null and attempts = 0;
    update community.notifications set
        due_at = null,
        lease_until = null
    where
        person_id = person and due_at is not null
        and not (is_told and (new_kinds ? kind or batch_id is not null));  -- a batch that was tried stays as it is
end
$$;

ALTER FUNCTION community.set_notification_preferences(keeps_target boolean, new_target text, new_kinds jsonb, new_digest text, muted boolean, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION community.settle_notifications(ids uuid[], lease timestamp with time zone, problem text, retry_at timestamp with time zone, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    settled bigint;
begin
    update community.notifications set
        lease_until = null,
        due_at = case when problem is not null then retry_at end,
        sent_at = case when problem is null then at end,
        given_up_at = case when problem is not null and retry_at is null then at end,
        last_error = problem
    where id = any(ids) and lease_until = lease;
    get diagnostics settled = row_count;
    return settled;
end
$$;

ALTER FUNCTION community.settle_notifications(ids uuid[], lease timestamp with time zone, problem text, retry_at timestamp with time zone, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION community.store_crawl_items(source text, ids text[], urls text[], titles text[], summaries text[], raws text[], sender text, request text) RETURNS TABLE(external_id text, outcome text, revision integer)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_column
declare
    instant timestamptz;
begin
    perform pg_advisory_xact_lock(hashtextextended('community.crawl_items:' || source, 0));
    instant := clock_timestamp();
    return query
    with given as (
        select one.id, one.url, one.title, one.summary, one.raw::jsonb as raw
        from unnest(ids, urls, titles, summaries, raws) as one (id, url, title, summary, raw)
        where not exists (
            select from community.removed_crawl_items as removed
            where removed.source_id = source and removed.external_id = one.id
        )
    ),
    compared as (
        select
            given.*,
            kept.source_id is not null as is_known,
            array_remove(array[
                case when given.url is distinct from kept.url then 'url' end,
                case when given.title is distinct from kept.title then 'title' end,
                case when given.summary is distinct from kept.summary then 'summary' end,
                case when given.raw is distinct from kept.raw then 'raw' end
            ], null) as changed_fields
        from given
        left join community.crawl_items as kept on kept.source_id = source and kept.external_id = given.id
    ),
    written as (
        insert into community.crawl_items as kept (
            source_id, external_id, url, title, summary, raw, revision, caller, first_seen_at, updated_at, last_seen_at
        )
        select source, it.id, it.url, it.title, it.summary, it.raw, 1, sender, instant, instant, instant
        from compared as it
        order by it.id
        on conflict (source_id, external_id) do update set
            url = excluded.url,
            title = excluded.title,
            summary = excluded.summary,
            raw = excluded.raw,
            revision = kept.revision + case
                when (kept.url, kept.title, kept.summary, kept.raw)
                    is distinct from (excluded.url, excluded.title, excluded.summary, excluded.raw) then 1
                else 0
            end,
            caller = excluded.caller,
            updated_at = case
                when (kept.url, kept.title, kept.summary, kept.raw)
                    is distinct from (excluded.url, excluded.title, excluded.summary, excluded.raw)
                    then greatest(kept.last_seen_at, instant)
                else kept.updated_at
            end,
            last_seen_at = greatest(kept.last_seen_at, instant)
        returning kept.*
    ),
    revised as (
        insert into community.crawl_item_revisions (
            source_id, external_id, revision, changed_fields, url, title, summary, raw, caller, request_id, changed_at
        )
        select
            source, it.id, written.revision, it.changed_fields, it.url, it.title, it.summary, it.raw, sender, request,
            instant
        from compared as it
        inner join written on written.external_id = it.id
        where it.changed_fields <> '{}'
    ),
    dropped as (
        delete from community.crawl_item_revisions as old
        using compared as it, written
        where
            it.changed_fields <> '{}' and written.external_id = it.id
            and old.source_id = source and old.external_id = it.id and old.revision <= written.revision - 50
    ),
    marked as (
        insert into community.search_changes as kept (kind, id, changed_at)
        select 'crawl', written.document_id, instant
        from compared as it
        inner join written on written.external_id = it.id
        where it.changed_fields && '{url,title,summary}'
        order by written.document_id
        on conflict (kind, id) do update set changed_at = excluded.changed_at
    )
    select
        it.id,
        case when not it.is_known then 'created' when it.changed_fields <> '{}' then 'updated' else 'unchanged' end,
        written.revision
    from compared as it
    inner join written on written.external_id = it.id
    union all
    select one.id, 'removed', null
    from unnest(ids) as one (id)
    where one.id not in (select given.id from given);
end
$$;

ALTER FUNCTION community.store_crawl_items(source text, ids text[], urls text[], titles text[], summaries text[], raws text[], sender text, request text) OWNER TO postgres;

CREATE FUNCTION community.store_donations(given jsonb, run_id text) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION community.store_donations(given jsonb, run_id text) OWNER TO postgres;

CREATE FUNCTION community.strip_deliveries(ids uuid[]) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    object constant text [] := '{data,data,object}';
    changed bigint;
begin
    with found as materialized (
        select sent.delivery_id, sent.payload, forgotten.forgets_donor, forgotten.forgets_author
        from operations.deliveries as sent
        inner join community.forgotten_payments as forgotten
            on forgotten.payment_intent = community.payment_of(sent.payload)
        where sent.delivery_id = any(ids)
        order by sent.delivery_id
        for update of sent
    ),
    stripped as (
        select
            found.delivery_id,
            case
                when found.forgets_donor
                    then with_names.payload #- (object || 'client_reference_id'::text) #- (object || 'customer_details'::text)
                else with_names.payload
            end as payload
        from found
        cross join lateral (
            select case
                -- else it names nobody
                when jsonb_typeof(found.payload #> (object || 'metadata'::text)) = 'object'
                    then jsonb_set(
                        found.payload,
                        object || 'metadata'::text,
                        (found.payload #> (object || 'metadata'::text))
                        - case when found.forgets_donor then '{donorId,donorName,message}'::text [] else '{}' end
                        - case when found.forgets_author then '{authorId}'::text [] else '{}' end
                    )
                else found.payload
            end as payload
        ) as with_names
    )
    update operations.deliveries as sent set payload = stripped.payload
    from stripped
    where sent.delivery_id = stripped.delivery_id and sent.payload <> stripped.payload;
    get diagnostics changed = row_count;
    return changed;
end
$$;

ALTER FUNCTION community.strip_deliveries(ids uuid[]) OWNER TO postgres;

CREATE FUNCTION events.added_counts(counts jsonb, more jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $$
    select coalesce(jsonb_object_agg(summed.name, summed.total), '{}')
    from (
        select both_of_them.key as name, sum(both_of_them.value::bigint) as total
        from (select * from jsonb_each_text(counts) union all select * from jsonb_each_text(more)) as both_of_them
        group by both_of_them.key
    ) as summed
$$;

ALTER FUNCTION events.added_counts(counts jsonb, more jsonb) OWNER TO postgres;

CREATE FUNCTION events.aggregate_events_hourly(target_hour timestamp with time zone DEFAULT NULL::timestamp with time zone) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    AS $_$
declare
    first_instant constant timestamptz := date_trunc('hour', coalesce(target_hour, now() - interval '1 hour'));
    next_instant constant timestamptz := first_instant + interval '1 hour';
    hot_since constant timestamptz := (
        select min(to_date(right(leaf.relname, 8), 'YYYYMMDD'))
        from pg_inherits
        inner join pg_class as leaf on pg_inherits.inhrelid = leaf.oid
        where pg_inherits.inhparent = 'events.event_log'::regclass and leaf.relname ~ '^event_log_\d{8}$'
    );
    stored integer;
begin
    if first_instant < hot_since then
        raise exception 'the hour % is older than the hot log, which begins on %', first_instant, hot_since::date
        using hint = 'Materialize the day of events/event_aggregations_hourly: it reads the lake.';
    end if;
    -- the lock under which the asset replaces its partitions
    perform pg_advisory_xact_lock(hashtextextended('events.event_aggregations_hourly', 0));
    delete from events.event_aggregations_hourly where bucket_start = first_instant;
    insert into events.event_aggregations_hourly (
        bucket_start, event_type, event_category, event_count, uncounted_count, unique_users, unique_sessions,
        first_event_at, last_event_at, properties
    )
    with hour_events as materialized (
        select
            log.event_type,
            log.event_category,
            log.user_id,
            log.session_id,
            log.event_data,
            log."timestamp" as occurred_at,
            log.uncounted_reason is null as is_counted
        from events.platform_events as log
        where
            log."timestamp" >= first_instant and log."timestamp" < next_instant
            -- no event is received more than a day before it happened: older partitions are not read
            and log.created_at >= first_instant - interval '1 day'
    ),
    numeric_properties as (
        select distinct schemas.event_type, property.key as name
        from events.event_schemas as schemas
        cross join lateral jsonb_each(
            case when jsonb_typeof(schemas.json_schema -> 'properties') = 'object' then schemas.json_schema -> 'properties' end
        ) as property
        where jsonb_typeof(property.value) = 'object' and property.value -> 'type' ?| array['number', 'integer']
    ),
    property_values as (
        select
            hour_events.event_type,
            hour_events.event_category,
            numeric_properties.name,
            case when abs(number.value) >= 1e-300 then number.value else 0 end as value -- smaller ones are no double
        from hour_events
        inner join numeric_properties on hour_events.event_type = numeric_properties.event_type
        cross join lateral (
            select (hour_events.event_data ->> numeric_properties.name)::numeric as value
        ) as number
        where hour_events.is_counted and jsonb_typeof(hour_events.event_data -> numeric_properties.name) = 'number'
    ),
    property_statistics as (
        select
            event_type,
            event_category,
            name,
            jsonb_build_object(
                'count', count(*),
                'sum', sum(round(value, 9))::double precision,
                'min', min(value)::double precision,
                'max', max(value)::double precision,
                'p50', percentile_cont(0.50) within group (order by value::double precision),
                'p95', percentile_cont(0.95) within group (order by value::double precision)
            ) as figures
        from property_values
        where abs(value) <= 1e18
        group by event_type, event_category, name
    ),
    properties as (
        select event_type, event_category, jsonb_object_agg(name, figures) as figures
        from property_statistics
        group by event_type, event_category
    )
    select
        first_instant,
        hour_events.event_type,
        hour_events.event_category,
        count(*) filter (where hour_events.is_counted),
        count(*) filter (where not hour_events.is_counted),
        count(distinct hour_events.user_id) filter (where hour_events.is_counted),
        count(distinct hour_events.session_id) filter (where hour_events.is_counted),
        min(hour_events.occurred_at),
        max(hour_events.occurred_at),
        coalesce(properties.figures, '{}')
    from hour_events
    left join properties
        on hour_events.event_type = properties.event_type and hour_events.event_category = properties.event_category
    group by hour_events.event_type, hour_events.event_category, properties.figures;
    get diagnostics stored = row_count;
    return stored;
end
$_$;

ALTER FUNCTION events.aggregate_events_hourly(target_hour timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION events.apply_data_retention_policy(hot_days integer DEFAULT 30, deduplication_days integer DEFAULT 7) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '0'
    AS $_$
declare
    today constant date := now()::date;
    shortest constant interval := (select min(kept_for) from events.retention_classes);
    longest constant interval := (select max(kept_for) from events.retention_classes);
    watermark constant xid8 := coalesce(
        (
            select max(next_transaction_id) from events.warehouse_sync_status
            where warehouse_type = 'delta' and status = 'committed'
        ), '0'
    );
    unsettled constant text [] := '{pending,processing,failed}';
    leaf record;
    name text;
    sizes jsonb := '{}';
    dropped text [] := '{}';
    postponed text [] := '{}';
    is_whole boolean;
    amount bigint;
    expired bigint;
    cooled bigint := 0;
    removed jsonb;
begin
    if hot_days < 2 then
        raise exception 'hot_days is %, expected 2 or more', hot_days using errcode = 'invalid_parameter_value';
    end if;

    with gone as (
        delete from events.event_log as log
        where
            log.occurred_at < date_trunc('day', now() - shortest)
            and log.transaction_id < watermark
            and log.occurred_at < date_trunc('day', now() - coalesce(
                (select kept_for from events.event_retention as kept where kept.event_type = log.event_type), longest
            ))
            and not exists (
                select from events.event_states as states
                where states.event_id = log.event_id and states.is_held and states.processing_status = 'pending'
            )
        returning log.event_id, log.received_at, log.origin
    ),
    forgotten as (
        delete from events.event_states as states using gone where states.event_id = gone.event_id
    ),
    counted as (
        insert into events.intake_counts as counts (day, intake_id, erased)
        select received_at::date, 'retention', count(*) from gone where origin <> 'sql' group by 1
        on conflict (day, intake_id) do update set erased = counts.erased + excluded.erased
    )
    select count(*) into expired from gone;
    removed := jsonb_build_object('expired_events', expired);

    for leaf in
        select found.name, found.day
        from (
            select relname as name, to_date(right(relname, 8), 'YYYYMMDD') as day
            from pg_inherits inner join pg_class on pg_class.oid = pg_inherits.inhrelid
            where inhparent = 'events.event_log'::regclass and relname ~ '^event_log_\d{8}$'
        ) as found
        where found.day < today - hot_days
        order by found.day
    loop
        execute format(
            'select not exists (select from events.%1$I where transaction_id >= $1) and not exists ('
            'select from events.%1$I as log inner join events.event_states as states on log.event_id = states.event_id '
            'where states.received_at >= $2 and states.received_at < $3 and states.processing_status = any($4))',
            leaf.name
        ) into is_whole using watermark, leaf.day, leaf.day + 1, unsettled;
        if is_whole then
            execute format('select count(*) from events.%I', leaf.name) into amount;
            sizes := sizes || jsonb_build_object(leaf.name, amount);
        else
            execute format(
                'delete from events.%I as log where transaction_id < $1 and not exists (select from '
                'events.event_states as states where states.event_id = log.event_id '
                'and states.processing_status = any($2))', leaf.name
            ) using watermark, unsettled;
            get diagnostics amount = row_count;
            cooled := cooled + amount;
            delete from events.event_states as states
            where states.received_at >= leaf.day and states.received_at < leaf.day + 1
            and (states.processing_status is null or states.processing_status <> all(unsettled));
        end if;
    end loop;

    removed := removed || jsonb_build_object(
        'idempotency_keys', events.prune('idempotency_keys', deduplication_days),
        'rejects', events.prune('rejects', deduplication_days),
        'api_requests', events.prune('api_requests', deduplication_days)
    );

    delete from events.counted_views where counted_at < now() - interval '2 days';
    get diagnostics amount = row_count;
    removed := removed || jsonb_build_object('counted_views', amount);

    delete from events.address_keys where day < today - 1;
    get diagnostics amount = row_count;
    removed := removed || jsonb_build_object('address_keys', amount);

    removed := removed || jsonb_build_object('metrics', events.cleanup_expired_metrics());

    -- last, because from the first one on the intake waits until this transaction ends
    for name in select jsonb_object_keys(sizes) loop
        begin
            perform set_config('lock_timeout', '500ms', true);
            delete from events.event_states as states
            where states.received_at >= to_date(right(name, 8), 'YYYYMMDD')
            and states.received_at < to_date(right(name, 8), 'YYYYMMDD') + 1;
            execute format('drop table events.%I', name);
            cooled := cooled + (sizes ->> name)::bigint;
            dropped := dropped || name;
        exception
            when lock_not_available then
                postponed := postponed || name;
        end;
    end loop;
    return removed || jsonb_build_object(
        'cooled_events', cooled, 'dropped_partitions', dropped, 'postponed_partitions', postponed
    );
end
$_$;

ALTER FUNCTION events.apply_data_retention_policy(hot_days integer, deduplication_days integer) OWNER TO postgres;

CREATE FUNCTION events.cleanup_expired_metrics() RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    removed integer;
begin
    delete from events.platform_metrics_realtime where expires_at <= now();
    get diagnostics removed = row_count;
    return removed;
end
$$;

ALTER FUNCTION events.cleanup_expired_metrics() OWNER TO postgres;

CREATE FUNCTION events.emit_platform_event(event_type text, event_category text DEFAULT NULL::text, user_id text DEFAULT NULL::text, event_data jsonb DEFAULT '{}'::jsonb, session_id text DEFAULT NULL::text, metadata jsonb DEFAULT '{}'::jsonb, idempotency_key text DEFAULT NULL::text, occurred_at timestamp with time zone DEFAULT NULL::timestamp with time zone, rule_id text DEFAULT NULL::text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    AS $$
declare
    received timestamptz := clock_timestamp();
    new_id uuid := events.time_ordered_id(received);
    known uuid;
    schema events.event_schemas;
    reason text;
begin
    select * into schema
    from events.event_schemas as schemas
    where schemas.event_type = emit_platform_event.event_type and schemas.is_active
    order by schemas.schema_version desc
    limit 1;
    reason := case
        when schema.event_type is null
            then format('type is %L, expected one of the registered types', emit_platform_event.event_type)
        when emit_platform_event.event_category <> schema.event_category
            then format('category is %L, expected %L', emit_platform_event.event_category, schema.event_category)
        when 'userId' = any(schema.required_fields) and emit_platform_event.user_id is null
            then 'userId is missing, expected because its type requires it'
        when 'ruleId' = any(schema.required_fields) and emit_platform_event.rule_id is null
            then 'ruleId is missing, expected because its type requires it'
        when jsonb_typeof(coalesce(emit_platform_event.event_data, '{}')) <> 'object'
            then 'data is no object'
        when jsonb_typeof(coalesce(emit_platform_event.metadata, '{}')) <> 'object'
            then 'metadata is no object'
        when greatest(length(emit_platform_event.user_id), length(emit_platform_event.session_id),
                      length(emit_platform_event.rule_id), length(emit_platform_event.idempotency_key)) > 200
            then 'an id is longer than 200 characters'
        when least(length(emit_platform_event.user_id), length(emit_platform_event.session_id),
                   length(emit_platform_event.rule_id), length(emit_platform_event.idempotency_key)) = 0
            then 'an id is empty'
        when emit_platform_event.occurred_at < '2000-01-01Z' or emit_platform_event.occurred_at = 'infinity'
            then format('ts is %s, expected an instant since 2000', emit_platform_event.occurred_at)
    end;
    if reason is not null then
        insert into operations.rejects (source, reason, payload, payload_digest)
        select
            'events',
            reason,
            refused.payload,
            encode(sha256(convert_to((refused.payload -> 'event')::text, 'UTF8')), 'hex')
        from (
            select jsonb_build_object(
                'event', jsonb_strip_nulls(jsonb_build_object(
                    'type', emit_platform_event.event_type,
                    'category', emit_platform_event.event_category,
                    'userId', emit_platform_event.user_id,
                    'sessionId', emit_platform_event.session_id,
                    'ruleId', emit_platform_event.rule_id,
                    'ts', emit_platform_event.occurred_at,
                    'idempotencyKey', emit_platform_event.idempotency_key
                )) || jsonb_build_object(
                    'data', emit_platform_event.event_data,
                    'context', case
                        when jsonb_typeof(emit_platform_event.metadata) = 'object'
                            then emit_platform_event.metadata - 'ip'
                        else emit_platform_event.metadata
                    end
                ),
                'received', jsonb_build_object('receivedAt', received, 'caller', 'sql')
            ) as payload
        ) as refused
        on conflict (source, payload_digest) do update set
        last_seen_at = now(), seen_count = rejects.seen_count + 1, reason = excluded.reason,
        replayed_at = null, replayed_as = null;
        return null;
    end if;
    if emit_platform_event.idempotency_key is not null then
        insert into events.event_keys (key_hash, event_id)
        values (events.key_hash(emit_platform_event.idempotency_key), new_id)
        on conflict (key_hash) do nothing;
        if not found then
            select keys.event_id into known
            from events.event_keys as keys
            where keys.key_hash = events.key_hash(emit_platform_event.idempotency_key);
            return known;
        end if;
    end if;
    insert into events.event_log (
        event_id, event_type, event_category, schema_version, user_id, session_id, rule_id, event_data, metadata,
        occurred_at, received_at, idempotency_key, caller, origin
    ) values (
        new_id, schema.event_type, schema.event_category, schema.schema_version, emit_platform_event.user_id,
        emit_platform_event.session_id, emit_platform_event.rule_id, coalesce(emit_platform_event.event_data, '{}'),
        coalesce(emit_platform_event.metadata, '{}') - 'ip',
        case
            when emit_platform_event.occurred_at < received + interval '1 day' then emit_platform_event.occurred_at
            else received
        end,
        received, emit_platform_event.idempotency_key, 'sql', 'sql'
    );
    return new_id;
end
$$;

ALTER FUNCTION events.emit_platform_event(event_type text, event_category text, user_id text, event_data jsonb, session_id text, metadata jsonb, idempotency_key text, occurred_at timestamp with time zone, rule_id text) OWNER TO postgres;

CREATE FUNCTION events.emit_project_created() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
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

ALTER FUNCTION events.emit_project_created() OWNER TO postgres;

CREATE FUNCTION events.emit_review_posted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    review jsonb := to_jsonb(new);
begin
    perform events.emit_platform_event(
        event_type => 'review.posted',
        event_category => 'content',
        user_id => coalesce(review ->> 'reviewer_id', review ->> 'author_id', review ->> 'user_id', review ->> 'created_by'),
        event_data => jsonb_strip_nulls(jsonb_build_object(
            'review_id', review ->> 'id',
            'project_id', review ->> 'project_id',
            'rating', review -> 'rating'
        )),
        idempotency_key => 'review.posted:' || (review ->> 'id')
    );
    return null;
end
$$;

ALTER FUNCTION events.emit_review_posted() OWNER TO postgres;

CREATE FUNCTION events.ensure_address_key(wanted_day date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
begin
    insert into events.address_keys (day, key)
    values (wanted_day, uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    on conflict (day) do nothing;
    delete from events.address_keys where day < wanted_day - 1 and day < (now() at time zone 'UTC')::date - 1;
end
$$;

ALTER FUNCTION events.ensure_address_key(wanted_day date) OWNER TO postgres;

CREATE FUNCTION events.ensure_event_partitions(days_ahead integer DEFAULT 7) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    SET lock_timeout TO '2s'
    AS $$
declare
    first_day date := (now() - interval '1 day')::date;
    wanted date;
    leaf text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(hashtextextended('events.event_log', 2));
    for wanted in
        select generate_series(first_day, (now() + make_interval(days => least(days_ahead, 60)))::date, interval '1 day')::date
        union
        select distinct received_at::date from events.event_log_default
        order by 1
    loop
        leaf := 'event_log_' || to_char(wanted, 'YYYYMMDD');
        continue when to_regclass('events.' || leaf) is not null;
        lock table events.event_log_default in access exclusive mode;
        execute format('create table events.%I (like events.event_log including defaults including constraints)', leaf);
        execute format(
            'with moved as (delete from events.event_log_default where received_at >= %L and received_at < %L returning *) '
            'insert into events.%I select * from moved',
            wanted, wanted + 1, leaf
        );
        execute format(
            'alter table events.event_log attach partition events.%I for values from (%L) to (%L)',
            leaf, wanted, wanted + 1
        );
        execute format('grant insert on events.%I to pipeline_intake', leaf);
        execute format('revoke select, update, delete on events.%I from pipeline_reader, pipeline_intake', leaf);
        made := made + 1;
    end loop;
    return made;
end
$$;

ALTER FUNCTION events.ensure_event_partitions(days_ahead integer) OWNER TO postgres;

CREATE FUNCTION events.erase_hot_events(erased_user text, erasure_mode text) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    SET "TimeZone" TO 'UTC'
    AS $$
declare
    hot bigint;
    refused bigint;
    requests bigint;
begin
    if erasure_mode = 'erase' then
        with gone as (
            delete from events.event_log where user_id = erased_user returning event_id, received_at, origin
        ),
        forgotten as (
            delete from events.event_states as states using gone where states.event_id = gone.event_id
        ),
        counted as (
            insert into events.intake_counts as counts (day, intake_id, erased)
            select received_at::date, 'erasure', count(*) from gone where origin <> 'sql' group by 1
            on conflict (day, intake_id) do update set erased = counts.erased + excluded.erased
        )
        select count(*) into hot from gone;
    elsif erasure_mode = 'anonymise' then
        with changed as (
            update events.event_log set
            user_id = null, session_id = null, idempotency_key = null, metadata = '{}', clock_skew_seconds = null,
            address_hash = null, previous_address_hash = null,
            event_data = (
                select coalesce(jsonb_object_agg(member.key, member.value), '{}')
                from jsonb_each(event_data) as member
                inner join events.event_schemas as registered
                    on event_log.event_type = registered.event_type
                    and event_log.schema_version = registered.schema_version
                where
                    jsonb_typeof(member.value) in ('number', 'boolean')
                    and registered.json_schema -> 'properties' -> member.key -> 'type'
                    ?| '{number,integer,boolean}'::text []
            )
            where user_id = erased_user
            returning event_id
        ),
        silenced as (
            update events.event_states as states set error_message = null
            from changed
            where states.event_id = changed.event_id and states.error_message is not null
        )
        select count(*) into hot from changed;
    else
        raise exception 'mode is %, expected erase or anonymise', erasure_mode
        using errcode = 'invalid_parameter_value';
    end if;

    delete from operations.rejects where source = 'events' and events.names_person(payload -> 'event', erased_user);
    get diagnostics refused = row_count;
    update operations.api_requests set caller = 'erased'
    where caller = erased_user and caller not in (select name from operations.app_tokens);
    get diagnostics requests = row_count;
    return jsonb_build_object('hot_events', hot, 'rejects', refused, 'requests', requests);
end
$$;

ALTER FUNCTION events.erase_hot_events(erased_user text, erasure_mode text) OWNER TO postgres;

CREATE TABLE events.event_log (
    event_id uuid NOT NULL,
    transaction_id xid8 DEFAULT pg_current_xact_id() NOT NULL,
    event_type text NOT NULL,
    event_category text NOT NULL,
    schema_version integer NOT NULL,
    user_id text,
    session_id text,
    rule_id text,
    event_data jsonb NOT NULL,
    metadata jsonb NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    clock_skew_seconds double precision,
    idempotency_key text,
    caller text NOT NULL,
    origin text NOT NULL,
    country text,
    address_hash text,
    previous_address_hash text,
    CONSTRAINT event_log_event_category_check CHECK ((event_category = ANY (ARRAY['transaction'::text, 'interaction'::text, 'user_activity'::text, 'content'::text]))),
    CONSTRAINT event_log_event_type_check CHECK (((event_type <> ''::text) AND (length(event_type) <= 200))),
    CONSTRAINT event_log_occurred_at_check CHECK (((occurred_at >= '2000-01-01 00:00:00+00'::timestamp with time zone) AND (occurred_at < '2100-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT event_log_origin_check CHECK ((origin = ANY (ARRAY['http'::text, 'sql'::text, 'replay'::text]))),
    CONSTRAINT event_log_rule_id_check CHECK (((length(rule_id) >= 1) AND (length(rule_id) <= 200))),
    CONSTRAINT event_log_session_id_check CHECK (((length(session_id) >= 1) AND (length(session_id) <= 200))),
    CONSTRAINT event_log_user_id_check CHECK (((length(user_id) >= 1) AND (length(user_id) <= 200)))
)
PARTITION BY RANGE (received_at);

ALTER TABLE ONLY events.event_log FORCE ROW LEVEL SECURITY;

ALTER TABLE events.event_log OWNER TO postgres;

COMMENT ON TABLE events.event_log IS 'One row per accepted product event, by the UTC day it was received. Rows are inserted once and never updated: what has become of one is in event_states and, for the rest, follows from the watermark in warehouse_sync_status.';

CREATE TABLE events.event_states (
    event_id uuid NOT NULL,
    received_at timestamp with time zone NOT NULL,
    processing_status text,
    retry_count integer DEFAULT 0 NOT NULL,
    error_message text,
    next_attempt_at timestamp with time zone,
    processed_at timestamp with time zone,
    is_held boolean DEFAULT false NOT NULL,
    uncounted_reason text,
    CONSTRAINT event_states_processing_status_check CHECK ((processing_status = ANY (ARRAY['pending'::text, 'processing'::text, 'processed'::text, 'failed'::text]))),
    CONSTRAINT event_states_retry_count_check CHECK ((retry_count >= 0))
);

ALTER TABLE events.event_states OWNER TO postgres;

COMMENT ON TABLE events.event_states IS 'One row per event of which more is to be said than the watermark says: claimed or settled by a caller, held back from the lake (is_held; failed after the last attempt), or not to be counted.';

CREATE TABLE events.warehouse_sync_status (
    warehouse_type text NOT NULL,
    batch_number bigint NOT NULL,
    status text NOT NULL,
    first_transaction_id xid8,
    next_transaction_id xid8,
    retried_event_ids uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    events_synced bigint DEFAULT 0 NOT NULL,
    bytes_synced bigint DEFAULT 0 NOT NULL,
    sync_duration_ms bigint DEFAULT 0 NOT NULL,
    lag_seconds double precision,
    first_event_at timestamp with time zone,
    last_event_at timestamp with time zone,
    days date[] DEFAULT '{}'::date[] NOT NULL,
    target text DEFAULT ''::text NOT NULL,
    attempt_count integer DEFAULT 0 NOT NULL,
    error_message text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    committed_at timestamp with time zone,
    CONSTRAINT warehouse_sync_status_attempt_count_check CHECK ((attempt_count >= 0)),
    CONSTRAINT warehouse_sync_status_batch_number_check CHECK ((batch_number >= 1)),
    CONSTRAINT warehouse_sync_status_bytes_synced_check CHECK ((bytes_synced >= 0)),
    CONSTRAINT warehouse_sync_status_check CHECK (((status = 'committed'::text) = (committed_at IS NOT NULL))),
    CONSTRAINT warehouse_sync_status_events_synced_check CHECK ((events_synced >= 0)),
    CONSTRAINT warehouse_sync_status_status_check CHECK ((status = ANY (ARRAY['planned'::text, 'written'::text, 'committed'::text]))),
    CONSTRAINT warehouse_sync_status_sync_duration_ms_check CHECK ((sync_duration_ms >= 0)),
    CONSTRAINT warehouse_sync_status_warehouse_type_check CHECK ((warehouse_type = ANY (ARRAY['delta'::text, 'bigquery'::text, 'redshift'::text])))
);

ALTER TABLE events.warehouse_sync_status OWNER TO postgres;

COMMENT ON TABLE events.warehouse_sync_status IS 'The write-ahead ledger of warehouses, one row per batch and warehouse: planned (what belongs to it), written (it is in the warehouse), committed (everything that follows from it is recorded).';

CREATE VIEW events.platform_events WITH (security_invoker='true') AS
 SELECT log.event_id AS id,
    log.event_type,
    log.event_category,
    log.schema_version,
    log.user_id,
    log.session_id,
    log.rule_id,
    log.event_data,
    log.metadata,
    log.occurred_at AS "timestamp",
    log.received_at AS created_at,
    log.idempotency_key,
    log.caller,
    log.country,
    COALESCE(states.processing_status,
        CASE
            WHEN (log.transaction_id < watermark.next_transaction_id) THEN 'processed'::text
            ELSE 'pending'::text
        END) AS processing_status,
    COALESCE(states.retry_count, 0) AS retry_count,
    states.error_message,
    states.processed_at,
    states.uncounted_reason
   FROM ((events.event_log log
     LEFT JOIN events.event_states states ON ((log.event_id = states.event_id)))
     CROSS JOIN LATERAL ( SELECT COALESCE(max(synced.next_transaction_id), '0'::xid8) AS next_transaction_id
           FROM events.warehouse_sync_status synced
          WHERE ((synced.warehouse_type = 'delta'::text) AND (synced.status = 'committed'::text))) watermark);

ALTER VIEW events.platform_events OWNER TO postgres;

COMMENT ON VIEW events.platform_events IS 'The event log of the seed: every hot event with what has become of it. Pending events are those above the watermark of the lake.';

CREATE FUNCTION events.get_pending_events(batch_size integer DEFAULT 100) RETURNS SETOF events.platform_events
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    return query
    with candidates as materialized (
        select log.event_id, log.received_at
        from events.event_log as log
        left join events.event_states as states on log.event_id = states.event_id
        where
            (
                states.processing_status is null
                and log.transaction_id >= coalesce(
                    (
                        select max(synced.next_transaction_id)
                        from events.warehouse_sync_status as synced
                        where synced.warehouse_type = 'delta' and synced.status = 'committed'
                    ), '0'::xid8
                )
                or states.processing_status in ('pending', 'processing') and states.next_attempt_at <= now()
                and not states.is_held
            )
        order by log.received_at, log.event_id
        limit batch_size
        for update of log skip locked
    ),
    claimed as (
        insert into events.event_states as states (event_id, received_at, processing_status, next_attempt_at)
        select candidates.event_id, candidates.received_at, 'processing', now() + interval '5 minutes'
        from candidates
        on conflict (event_id) do update set
        processing_status = 'processing', next_attempt_at = now() + interval '5 minutes'
        where states.processing_status is null or states.next_attempt_at <= now()
        returning states.event_id
    )
    select platform_events.*
    from events.platform_events
    inner join claimed on platform_events.id = claimed.event_id
    order by platform_events.created_at, platform_events.id;
end
$$;

ALTER FUNCTION events.get_pending_events(batch_size integer) OWNER TO postgres;

CREATE FUNCTION events.key_hash(idempotency_key text) RETURNS uuid
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $$
    select encode(substring(sha256(convert_to(idempotency_key, 'UTF8')) from 1 for 16), 'hex')::uuid
$$;

ALTER FUNCTION events.key_hash(idempotency_key text) OWNER TO postgres;

CREATE FUNCTION events.mark_event_processed(event_id uuid, success boolean DEFAULT true, error_message text DEFAULT NULL::text) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    settled text;
begin
    insert into events.event_states as states (
        event_id, received_at, processing_status, retry_count, error_message, next_attempt_at, processed_at
    )
    select
        log.event_id,
        log.received_at,
        case when success then 'processed' else 'pending' end,
        case when success then 0 else 1 end,
        mark_event_processed.error_message,
        case when success then null else now() + interval '2 minutes' end,
        case when success then now() end
    from events.event_log as log
    where log.event_id = mark_event_processed.event_id
    on conflict on constraint event_states_pkey do update set
    processing_status = case
        when success then 'processed' when states.retry_count >= 2 then 'failed' else 'pending'
    end,
    retry_count = states.retry_count + case when success then 0 else 1 end,
    error_message = mark_event_processed.error_message,
    next_attempt_at = case
        when success or states.retry_count >= 2 then null
        else now() + interval '2 minutes' * power(2, states.retry_count)
    end,
    processed_at = case when success then now() end
    where states.processing_status is distinct from 'processed' and states.processing_status is distinct from 'failed'
    and not states.is_held
    returning states.processing_status into settled;
    return settled;
end
$$;

ALTER FUNCTION events.mark_event_processed(event_id uuid, success boolean, error_message text) OWNER TO postgres;

CREATE FUNCTION events.names_person(event jsonb, user_id text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $_$
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
$_$;

ALTER FUNCTION events.names_person(event jsonb, user_id text) OWNER TO postgres;

CREATE FUNCTION events.prune(kind text, deduplication_days integer, from_block bigint DEFAULT 0, before_block bigint DEFAULT '4294967295'::bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    from_row constant tid := format('(%s,0)', from_block);
    before_row constant tid := format('(%s,0)', before_block);
    shortest constant interval := (select min(kept_for) from events.retention_classes);
    -- once: as a condition it would be made anew for every row
    oldest_key constant uuid := events.time_ordered_id(now() - make_interval(days => greatest(deduplication_days, 7)));
    amount bigint;
begin
    case kind
        when 'idempotency_keys' then
            delete from events.event_keys
            where ctid >= from_row and ctid < before_row and event_id < oldest_key;
        when 'rejects' then
            delete from operations.rejects
            where ctid >= from_row and ctid < before_row and source = 'events' and last_seen_at < now() - coalesce(
                (
                    select kept_for from events.event_retention as kept
                    where kept.event_type = payload -> 'event' ->> 'type'
                ), shortest
            );
        when 'api_requests' then
            delete from operations.api_requests
            where ctid >= from_row and ctid < before_row and occurred_at < now() - interval '30 days';
        else
            raise exception 'kind is %, expected idempotency_keys, rejects or api_requests', kind
            using errcode = 'invalid_parameter_value';
    end case;
    get diagnostics amount = row_count;
    return amount;
end
$$;

ALTER FUNCTION events.prune(kind text, deduplication_days integer, from_block bigint, before_block bigint) OWNER TO postgres;

CREATE FUNCTION events.request_erasure(erased_user text, erasure_mode text, actor text, request_id text DEFAULT NULL::text) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    subject constant text := encode(sha256(convert_to(erased_user, 'UTF8')), 'hex');
    found_id uuid;
    more jsonb;
begin
    insert into events.erasure_requests as requests (user_id, user_digest, mode, requested_by, request_id)
    values (erased_user, subject, erasure_mode, actor, request_erasure.request_id)
    on conflict (user_id, mode) where status = 'requested' do update set
        request_id = excluded.request_id, next_attempt_at = clock_timestamp()
    returning erasure_id into found_id;
    insert into operations.audit_log (actor, action, subject_digest, request_id, details)
    values (
        actor, erasure_mode || ' requested', subject, request_erasure.request_id,
        jsonb_build_object('erasure_id', found_id)
    );
    more := events.erase_hot_events(erased_user, erasure_mode);
    update events.erasure_requests set removed = events.added_counts(removed, more) where erasure_id = found_id;
    return found_id;
end
$$;

ALTER FUNCTION events.request_erasure(erased_user text, erasure_mode text, actor text, request_id text) OWNER TO postgres;

CREATE FUNCTION events.retry_failed_events(received_from timestamp with time zone DEFAULT NULL::timestamp with time zone, received_before timestamp with time zone DEFAULT NULL::timestamp with time zone, of_type text DEFAULT NULL::text, reason_part text DEFAULT NULL::text, is_dry_run boolean DEFAULT false, most bigint DEFAULT NULL::bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    found_ids uuid [];
begin
    select coalesce(array_agg(found.event_id), '{}') into found_ids
    from (
        select states.event_id
        from events.event_states as states
        inner join events.event_log as log on states.event_id = log.event_id and states.received_at = log.received_at
        where
            states.processing_status = 'failed'
            and (received_from is null or states.received_at >= received_from)
            and (received_before is null or states.received_at < received_before)
            and (of_type is null or log.event_type = of_type)
            and (reason_part is null or strpos(lower(states.error_message), lower(reason_part)) > 0)
        order by states.received_at, states.event_id
        limit most
    ) as found;
    if not is_dry_run then
        update events.event_states set processing_status = 'pending', retry_count = 0, next_attempt_at = now()
        where event_id = any(found_ids) and processing_status = 'failed';
    end if;
    return cardinality(found_ids);
end
$$;

ALTER FUNCTION events.retry_failed_events(received_from timestamp with time zone, received_before timestamp with time zone, of_type text, reason_part text, is_dry_run boolean, most bigint) OWNER TO postgres;

CREATE FUNCTION events.time_ordered_id(instant timestamp with time zone DEFAULT clock_timestamp()) RETURNS uuid
    LANGUAGE sql PARALLEL SAFE
    SET search_path TO 'pg_catalog'
    AS $$
    select encode(
        set_byte(
            overlay(
                uuid_send(gen_random_uuid())
                placing substring(int8send(floor(extract(epoch from instant) * 1000)::bigint) from 3)
                from 1 for 6
            ),
            6,
            (get_byte(uuid_send(gen_random_uuid()), 6) & 15) | 112
        ),
        'hex'
    )::uuid
$$;

ALTER FUNCTION events.time_ordered_id(instant timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION events.update_realtime_metric(metric_name text, metric_value double precision, dimensions jsonb DEFAULT '{}'::jsonb, ttl interval DEFAULT '01:00:00'::interval, is_increment boolean DEFAULT false) RETURNS double precision
    LANGUAGE sql
    SET search_path TO 'pg_catalog'
    AS $$
    insert into events.platform_metrics_realtime as metrics (metric_name, dimensions, metric_value, expires_at)
    values (
        update_realtime_metric.metric_name,
        update_realtime_metric.dimensions,
        update_realtime_metric.metric_value,
        now() + ttl
    )
    on conflict (metric_name, dimensions) do update set
    metric_value = excluded.metric_value
    + case when is_increment and metrics.expires_at > now() then metrics.metric_value else 0 end,
    updated_at = now(),
    expires_at = excluded.expires_at
    returning metrics.metric_value
$$;

ALTER FUNCTION events.update_realtime_metric(metric_name text, metric_value double precision, dimensions jsonb, ttl interval, is_increment boolean) OWNER TO postgres;

CREATE FUNCTION operations.accept_deliveries(given jsonb) RETURNS TABLE(delivery_id uuid, is_duplicate boolean, is_same boolean, status text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    new record;
begin
    for new in
        select it.* from jsonb_to_recordset(given) as it (
            source text, idempotency_key text, event_type text, market_slug text, payload jsonb, reason text,
            scheme text, signed_by text, signed_at timestamptz, origin text, request_id text
        )
    loop
        loop
            insert into operations.deliveries as kept (
                source, idempotency_key, event_type, market_slug, payload, status, reason, settled_at, scheme,
                signed_by, signed_at, origin, request_id
            ) values (
                new.source, new.idempotency_key, new.event_type, new.market_slug, new.payload,
                case when new.reason is null then 'pending' else 'rejected' end, new.reason,
                case when new.reason is not null then clock_timestamp() end, new.scheme, new.signed_by, new.signed_at,
                new.origin, new.request_id
            )
            on conflict (source, idempotency_key) do update set
                event_type = excluded.event_type, market_slug = excluded.market_slug, payload = excluded.payload,
                status = excluded.status, reason = excluded.reason, settled_at = excluded.settled_at,
                scheme = excluded.scheme, signed_by = excluded.signed_by, signed_at = excluded.signed_at,
                origin = excluded.origin, request_id = excluded.request_id, received_at = excluded.received_at,
                attempt_count = 0, next_attempt_at = excluded.next_attempt_at
            where kept.status = 'rejected'
            returning kept.delivery_id, false, true, kept.status
            into accept_deliveries.delivery_id, is_duplicate, is_same, accept_deliveries.status;
            exit when found;
            select kept.delivery_id, true, kept.payload = new.payload, kept.status
            into accept_deliveries.delivery_id, is_duplicate, is_same, accept_deliveries.status
            from operations.deliveries as kept
            where kept.source = new.source and kept.idempotency_key = new.idempotency_key;
            exit when found;  -- else it was removed between the two statements
        end loop;
        return next;
    end loop;
    for new in
        select it.source, bool_or(it.reason is null) as is_good, bool_or(it.scheme <> 'file') as is_webhook
        from jsonb_to_recordset(given) as it (source text, reason text, scheme text)
        group by it.source
        order by it.source
    loop
        -- at most once a second: deliveries of one source do not wait for each other
        update operations.delivery_sources as sources
        set last_received_at = clock_timestamp(), by_webhook = sources.by_webhook or new.is_webhook
        where
            sources.source = new.source
            and (
                sources.last_received_at < clock_timestamp() - interval '1 second'
                or (new.is_webhook and not sources.by_webhook)
            );
        if not found and new.is_good then
            insert into operations.delivery_sources (source, by_webhook) values (new.source, new.is_webhook)
            on conflict (source) do nothing;
        end if;
    end loop;
end
$$;

ALTER FUNCTION operations.accept_deliveries(given jsonb) OWNER TO postgres;

CREATE FUNCTION operations.add_metrics(series jsonb) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    this_minute constant timestamptz := date_trunc('minute', clock_timestamp());
begin
    -- in the order of the key: two processes then wait for each other instead of deadlocking
    insert into operations.metrics as kept (name, labels, type, value, sample_count, bucket_bounds, bucket_counts)
    select one.name, one.labels, one.type, one.value, one.sample_count, one.bounds, one.counts
    from jsonb_to_recordset(series) as one (
        name text, labels jsonb, type text, value double precision, sample_count bigint,
        bounds double precision [], counts bigint []
    )
    order by one.name, one.labels
    on conflict (name, labels) do update set
        type = excluded.type,
        value = case
            when excluded.type = 'gauge' or kept.type <> excluded.type or kept.bucket_bounds <> excluded.bucket_bounds
                then excluded.value
            else kept.value + excluded.value
        end,
        sample_count = case
            when kept.bucket_bounds = excluded.bucket_bounds then kept.sample_count + excluded.sample_count
            else excluded.sample_count
        end,
        bucket_bounds = excluded.bucket_bounds,
        bucket_counts = case
            when kept.bucket_bounds = excluded.bucket_bounds then array(
                select before.amount + more.amount
                from unnest(kept.bucket_counts) with ordinality as before (amount, place)
                inner join unnest(excluded.bucket_counts) with ordinality as more (amount, place)
                    on before.place = more.place
                order by before.place
            )
            else excluded.bucket_counts
        end,
        updated_at = clock_timestamp();

    insert into operations.metric_minutes as kept (minute, name, labels, value)
    select this_minute, one.name, one.labels, one.value
    from jsonb_to_recordset(series) as one (name text, labels jsonb, type text, value double precision)
    where one.type = 'counter'
    order by one.name, one.labels
    on conflict (minute, name, labels) do update set value = kept.value + excluded.value;

    insert into operations.cache_metrics as kept (metric_name, metric_value, tags, created_at)
    select one.name, one.value, one.labels, this_minute
    from jsonb_to_recordset(series) as one (name text, labels jsonb, type text, value double precision)
    where one.type = 'counter' and one.name like 'cache\_%'
    order by one.name, one.labels
    on conflict (created_at, metric_name, tags) do update set metric_value = kept.metric_value + excluded.metric_value;

    insert into operations.cache_metrics (metric_name, metric_value, tags, created_at)
    select
        'cache_hit_ratio',
        coalesce(sum(metric_value) filter (where metric_name = 'cache_hit'), 0) / sum(metric_value), tags, this_minute
    from operations.cache_metrics
    where
        created_at = this_minute and metric_name in ('cache_hit', 'cache_miss', 'cache_stale')
        and tags in (
            select one.labels from jsonb_to_recordset(series) as one (name text, labels jsonb)
            where one.name in ('cache_hit', 'cache_miss', 'cache_stale')
        )
    group by tags
    having sum(metric_value) > 0
    order by tags
    on conflict (created_at, metric_name, tags) do update set metric_value = excluded.metric_value;
end
$$;

ALTER FUNCTION operations.add_metrics(series jsonb) OWNER TO postgres;

CREATE FUNCTION operations.api_latency_ms(since timestamp with time zone, OUT p50 double precision, OUT p95 double precision, OUT request_count bigint) RETURNS record
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    select
        percentile_cont(0.5) within group (order by duration_ms),
        percentile_cont(0.95) within group (order by duration_ms),
        count(*)
    from operations.api_requests
    where occurred_at >= since
$$;

ALTER FUNCTION operations.api_latency_ms(since timestamp with time zone, OUT p50 double precision, OUT p95 double precision, OUT request_count bigint) OWNER TO postgres;

CREATE FUNCTION operations.breaker_before_call(breaker_name text, probe_lease interval) RETURNS timestamp with time zone
    LANGUAGE plpgsql
    SET search_path TO 'operations', 'pg_temp'
    AS $$
declare
    refused_until timestamptz;
begin
    update operations.circuit_breakers
    set state = 'half_open', retry_at = clock_timestamp() + probe_lease, changed_at = clock_timestamp()
    where name = breaker_name and state <> 'closed' and retry_at <= clock_timestamp();
    if found then
        return null;
    end if;
    select retry_at into refused_until
    from operations.circuit_breakers
    where name = breaker_name and state <> 'closed';
    return refused_until;
end
$$;

ALTER FUNCTION operations.breaker_before_call(breaker_name text, probe_lease interval) OWNER TO postgres;

CREATE FUNCTION operations.breaker_record(breaker_name text, succeeded boolean, threshold integer, pause interval) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'operations', 'pg_temp'
    AS $$
begin
    if succeeded then
        update operations.circuit_breakers
        set state = 'closed', failure_count = 0, opened_at = null, retry_at = null, changed_at = clock_timestamp()
        where name = breaker_name and (state <> 'closed' or failure_count > 0);
        return;
    end if;
    insert into operations.circuit_breakers as breaker (name, failure_count)
    values (breaker_name, 1)
    on conflict (name) do update set failure_count = breaker.failure_count + 1;
    update operations.circuit_breakers
    set state = 'open', opened_at = coalesce(opened_at, clock_timestamp()),
        retry_at = clock_timestamp() + pause, changed_at = clock_timestamp()
    where name = breaker_name and (state = 'half_open' or (state = 'closed' and failure_count >= threshold));
end
$$;

ALTER FUNCTION operations.breaker_record(breaker_name text, succeeded boolean, threshold integer, pause interval) OWNER TO postgres;

CREATE FUNCTION operations.cache_hit_ratio(service text, since timestamp with time zone, at_least bigint DEFAULT 1) RETURNS double precision
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    select case
        when sum(value) >= at_least then coalesce(sum(value) filter (where name = 'cache_hit'), 0) / nullif(sum(value), 0)
    end
    from operations.metric_minutes
    where
        minute >= date_trunc('minute', since) and name in ('cache_hit', 'cache_miss', 'cache_stale')
        and labels ->> 'service' = service
$$;

ALTER FUNCTION operations.cache_hit_ratio(service text, since timestamp with time zone, at_least bigint) OWNER TO postgres;

CREATE FUNCTION operations.cancel_job(wanted uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    job operations.jobs;
begin
    select jobs.* into job
    from operations.jobs
    where
        jobs.job_id = wanted
        and (
            current_setting('app.scope', true) = 'operator'
            or jobs.owner_id = nullif(current_setting('app.user_id', true), '')
        )
    for update;
    if job.status in ('QUEUED', 'RETRYING') then
        update operations.jobs
        set status = 'CANCELLED', cancel_requested_at = clock_timestamp(), finished_at = clock_timestamp()
        where job_id = wanted;
        return 'CANCELLED';
    elsif job.status = 'RUNNING' and job.cancel_requested_at is null then
        update operations.jobs set cancel_requested_at = clock_timestamp() where job_id = wanted;
    end if;
    return job.status;
end
$$;

ALTER FUNCTION operations.cancel_job(wanted uuid) OWNER TO postgres;

CREATE TABLE operations.jobs (
    job_id uuid DEFAULT gen_random_uuid() NOT NULL,
    job_type text NOT NULL,
    status text DEFAULT 'QUEUED'::text NOT NULL,
    market_slug text,
    input_data jsonb DEFAULT '{}'::jsonb NOT NULL,
    output_data jsonb,
    owner_id text NOT NULL,
    request_id text,
    unique_key text,
    priority smallint DEFAULT 0 NOT NULL,
    attempt_count integer DEFAULT 0 NOT NULL,
    max_attempts integer DEFAULT 3 NOT NULL,
    postponed_count integer DEFAULT 0 NOT NULL,
    run_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    worker text,
    dagster_run_id text,
    lease_until timestamp with time zone,
    cancel_requested_at timestamp with time zone,
    error_kind text,
    error_message text,
    processing_time_ms double precision,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT jobs_attempt_count_check CHECK ((attempt_count >= 0)),
    CONSTRAINT jobs_check CHECK ((attempt_count <= max_attempts)),
    CONSTRAINT jobs_check1 CHECK (((status = 'RUNNING'::text) = (lease_until IS NOT NULL))),
    CONSTRAINT jobs_check2 CHECK (((status = 'RUNNING'::text) <= ((worker IS NOT NULL) AND (started_at IS NOT NULL)))),
    CONSTRAINT jobs_check3 CHECK (((status = ANY (ARRAY['COMPLETED'::text, 'FAILED'::text, 'CANCELLED'::text])) = (finished_at IS NOT NULL))),
    CONSTRAINT jobs_check4 CHECK (((status = 'COMPLETED'::text) >= (output_data IS NOT NULL))),
    CONSTRAINT jobs_check5 CHECK (((status = ANY (ARRAY['RETRYING'::text, 'FAILED'::text])) <= (error_message IS NOT NULL))),
    CONSTRAINT jobs_error_kind_check CHECK ((error_kind = ANY (ARRAY['transient'::text, 'permanent'::text, 'lost'::text]))),
    CONSTRAINT jobs_input_data_check CHECK ((jsonb_typeof(input_data) = 'object'::text)),
    CONSTRAINT jobs_job_type_check CHECK ((job_type ~ '^[a-z][a-z0-9_]{0,62}$'::text)),
    CONSTRAINT jobs_market_slug_check CHECK ((market_slug <> ''::text)),
    CONSTRAINT jobs_max_attempts_check CHECK (((max_attempts >= 1) AND (max_attempts <= 1000))),
    CONSTRAINT jobs_owner_id_check CHECK (((length(owner_id) >= 1) AND (length(owner_id) <= 220))),
    CONSTRAINT jobs_postponed_count_check CHECK ((postponed_count >= 0)),
    CONSTRAINT jobs_processing_time_ms_check CHECK ((processing_time_ms >= (0)::double precision)),
    CONSTRAINT jobs_status_check CHECK ((status = ANY (ARRAY['QUEUED'::text, 'RUNNING'::text, 'RETRYING'::text, 'COMPLETED'::text, 'FAILED'::text, 'CANCELLED'::text]))),
    CONSTRAINT jobs_unique_key_check CHECK (((length(unique_key) >= 1) AND (length(unique_key) <= 300)))
);

ALTER TABLE ONLY operations.jobs FORCE ROW LEVEL SECURITY;

ALTER TABLE operations.jobs OWNER TO postgres;

COMMENT ON TABLE operations.jobs IS 'One row per job: what is asked for, by whom, where it stands. Changes of status go through the functions operations.*_job(s); a trigger refuses every other one than docs/jobs.md draws.';

CREATE FUNCTION operations.claim_jobs(claimer text, types text[], limits integer[], most integer, lease interval, run_id text DEFAULT NULL::text) RETURNS TABLE(attempt_id bigint, job operations.jobs)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_column
declare
    held_types text[] := '{}'; -- limited ones whose turn it is for us until we commit
    full_types text[] := '{}';
    due record;
    most_at_once integer;
    claimed operations.jobs;
    begun_id bigint;
begin
    while most > 0 loop
        select waiting.job_id, waiting.job_type into due
        from operations.jobs as waiting
        where
            waiting.status in ('QUEUED', 'RETRYING') and waiting.run_at <= clock_timestamp()
            and waiting.job_type = any(types) and waiting.job_type <> all(full_types)
        order by waiting.priority desc, waiting.run_at, waiting.created_at
        limit 1
        for update skip locked;
        exit when not found;
        most_at_once := limits[array_position(types, due.job_type)];
        if most_at_once is not null then
            if due.job_type <> all(held_types) then
                if held_types = '{}' then
                    perform pg_advisory_xact_lock(hashtextextended('operations.jobs ' || due.job_type, 0));
                elsif not pg_try_advisory_xact_lock(hashtextextended('operations.jobs ' || due.job_type, 0)) then
                    full_types := full_types || due.job_type; -- two that hold one type each would wait for ever
                    continue;
                end if;
                held_types := held_types || due.job_type;
            end if;
            if most_at_once <= (
                select count(*) from operations.jobs where job_type = due.job_type and status = 'RUNNING'
            ) then
                full_types := full_types || due.job_type;
                continue;
            end if;
        end if;
        update operations.jobs
        set
            status = 'RUNNING', attempt_count = attempt_count + 1, worker = claimer, dagster_run_id = run_id,
            lease_until = clock_timestamp() + lease, started_at = clock_timestamp(), cancel_requested_at = null
        where job_id = due.job_id
        returning * into claimed;
        insert into operations.job_attempts as begun (job_id, attempt, worker, dagster_run_id, started_at)
        values (claimed.job_id, claimed.attempt_count, claimer, run_id, claimed.started_at)
        returning begun.attempt_id into begun_id;
        return query select begun_id, claimed;
        most := most - 1;
    end loop;
end
$$;

ALTER FUNCTION operations.claim_jobs(claimer text, types text[], limits integer[], most integer, lease interval, run_id text) OWNER TO postgres;

CREATE TABLE operations.alerts (
    alert_id uuid DEFAULT gen_random_uuid() NOT NULL,
    alert_key text NOT NULL,
    severity text NOT NULL,
    message text NOT NULL,
    context jsonb DEFAULT '{}'::jsonb NOT NULL,
    is_lasting boolean NOT NULL,
    first_raised_at timestamp with time zone NOT NULL,
    last_raised_at timestamp with time zone NOT NULL,
    raised_count integer DEFAULT 1 NOT NULL,
    cleared_at timestamp with time zone,
    resolved_at timestamp with time zone,
    notice text DEFAULT 'alert'::text,
    notice_at timestamp with time zone,
    lease_until timestamp with time zone,
    reached text[] DEFAULT '{}'::text[] NOT NULL,
    failure_count integer DEFAULT 0 NOT NULL,
    failure text,
    noticed_count integer DEFAULT 0 NOT NULL,
    notified_at timestamp with time zone,
    notified_severity text,
    recovery_notified_at timestamp with time zone,
    CONSTRAINT alerts_alert_key_check CHECK (((length(alert_key) >= 1) AND (length(alert_key) <= 300))),
    CONSTRAINT alerts_check CHECK ((last_raised_at >= first_raised_at)),
    CONSTRAINT alerts_check1 CHECK (((notice IS NULL) = (notice_at IS NULL))),
    CONSTRAINT alerts_check2 CHECK (((lease_until IS NULL) OR (notice IS NOT NULL))),
    CONSTRAINT alerts_check3 CHECK (
CASE
    WHEN (resolved_at IS NULL) THEN ((notice IS NOT NULL) AND (notice <> 'recovery'::text))
    ELSE (notice = 'recovery'::text)
END),
    CONSTRAINT alerts_check4 CHECK (((recovery_notified_at IS NULL) OR (resolved_at IS NOT NULL))),
    CONSTRAINT alerts_context_check CHECK ((jsonb_typeof(context) = 'object'::text)),
    CONSTRAINT alerts_failure_count_check CHECK ((failure_count >= 0)),
    CONSTRAINT alerts_message_check CHECK ((message <> ''::text)),
    CONSTRAINT alerts_notice_check CHECK ((notice = ANY (ARRAY['alert'::text, 'reminder'::text, 'recovery'::text]))),
    CONSTRAINT alerts_noticed_count_check CHECK ((noticed_count >= 0)),
    CONSTRAINT alerts_notified_severity_check CHECK ((notified_severity = ANY (ARRAY['info'::text, 'warning'::text, 'error'::text, 'critical'::text]))),
    CONSTRAINT alerts_raised_count_check CHECK ((raised_count >= 1)),
    CONSTRAINT alerts_severity_check CHECK ((severity = ANY (ARRAY['info'::text, 'warning'::text, 'error'::text, 'critical'::text])))
);

ALTER TABLE operations.alerts OWNER TO postgres;

COMMENT ON TABLE operations.alerts IS 'One row per alert from when it is raised until it is resolved; raised again meanwhile, it is counted, not repeated. `notice` is what is to be said about it next and notice_at when, `reached` who has been told it already; operations_alerts_sensor says it. A condition that is over is cleared, and resolved once it has stayed so.';

CREATE FUNCTION operations.claim_notices(amount integer, lease interval, quiet_time interval, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS SETOF operations.alerts
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    update operations.alerts as former set notice = null, notice_at = null, lease_until = null
    where
        former.notice = 'recovery'
        and (former.lease_until is null or former.lease_until <= at)
        and exists (
            select from operations.alerts as anew
            where
                anew.alert_key = former.alert_key and anew.resolved_at is null
                and (anew.notified_at is not null or anew.lease_until is not null)
        );

    update operations.alerts set
        resolved_at = coalesce(cleared_at, at),
        notice = case when is_lasting and (notified_at is not null or lease_until is not null) then 'recovery' end,
        notice_at = case when is_lasting and (notified_at is not null or lease_until is not null) then at end,
        lease_until = null,
        reached = '{}',
        failure_count = 0
    where
        resolved_at is null
        and (lease_until is null or lease_until <= at)
        and (
            cleared_at <= at - quiet_time
            or (not is_lasting and notice = 'reminder' and notice_at <= at and raised_count = noticed_count)
        );

    return query
    update operations.alerts as claimed
    set lease_until = at + lease
    from (
        select alert_id
        from operations.alerts as one
        where
            notice_at <= at
            and (lease_until is null or lease_until <= at)
            and case
                when resolved_at is null then cleared_at is null
                else not exists (
                    select from operations.alerts as anew
                    where anew.alert_key = one.alert_key and anew.resolved_at is null
                )
            end
        order by array_position('{info,warning,error,critical}'::text[], severity) desc, notice_at, alert_id
        limit amount
        for update skip locked
    ) as due
    where claimed.alert_id = due.alert_id
    returning claimed.*;
end
$$;

ALTER FUNCTION operations.claim_notices(amount integer, lease interval, quiet_time interval, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION operations.clear_alert(cleared_key text, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    update operations.alerts
    set cleared_at = at
    where alert_key = cleared_key and resolved_at is null and cleared_at is null;
    return found;
end
$$;

ALTER FUNCTION operations.clear_alert(cleared_key text, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION operations.due_job_count(types text[], limits integer[]) RETURNS bigint
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    select coalesce(sum(least(waiting.due_count, given.most_at_once - waiting.running_count)), 0)::bigint
    from unnest(types, limits) as given (name, most_at_once)
    cross join lateral (
        select
            count(*) filter (where jobs.status <> 'RUNNING' and jobs.run_at <= clock_timestamp()) as due_count,
            count(*) filter (where jobs.status = 'RUNNING') as running_count
        from operations.jobs
        where jobs.job_type = given.name and jobs.status in ('QUEUED', 'RETRYING', 'RUNNING')
    ) as waiting
    where given.most_at_once is null or given.most_at_once > waiting.running_count
$$;

ALTER FUNCTION operations.due_job_count(types text[], limits integer[]) OWNER TO postgres;

CREATE FUNCTION operations.enforce_job_states() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    if tg_op = 'INSERT' then
        if new.status <> 'QUEUED' or new.attempt_count <> 0 then
            raise exception 'a job begins as QUEUED, without attempts' using errcode = 'check_violation';
        end if;
        return new;
    end if;
    if tg_op = 'DELETE' then
        if old.status in ('QUEUED', 'RUNNING', 'RETRYING') then
            raise exception 'job % is %: cancel it before it is deleted', old.job_id, old.status
                using errcode = 'check_violation';
        end if;
        return old;
    end if;
    if new.status <> old.status and old.status || '>' || new.status not in (
        'QUEUED>RUNNING', 'QUEUED>CANCELLED',
        'RETRYING>RUNNING', 'RETRYING>CANCELLED',
        'RUNNING>COMPLETED', 'RUNNING>RETRYING', 'RUNNING>FAILED', 'RUNNING>CANCELLED',
        'FAILED>QUEUED', 'CANCELLED>QUEUED'
    ) then
        raise exception 'job %: % to % is no transition of docs/jobs.md', old.job_id, old.status, new.status
            using errcode = 'check_violation';
    end if;
    if new.attempt_count <> old.attempt_count and new.status = old.status then
        raise exception 'job %: attempts are counted by transitions only', old.job_id using errcode = 'check_violation';
    end if;
    if old.status in ('COMPLETED', 'FAILED', 'CANCELLED') and new.status = old.status then
        raise exception 'job % is %: what is finished is not changed', old.job_id, old.status
            using errcode = 'check_violation';
    end if;
    new.updated_at := clock_timestamp();
    return new;
end
$$;

ALTER FUNCTION operations.enforce_job_states() OWNER TO postgres;

CREATE FUNCTION operations.enqueue_job(job_type text, input_data jsonb, owner_id text, market_slug text DEFAULT NULL::text, unique_key text DEFAULT NULL::text, priority integer DEFAULT 0, run_at timestamp with time zone DEFAULT NULL::timestamp with time zone, max_attempts integer DEFAULT 3, request_id text DEFAULT NULL::text) RETURNS TABLE(job_id uuid, is_new boolean)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_column
declare
    known uuid;
begin
    if max_attempts not between 1 and 25 then
        raise exception 'max_attempts is %: expected 1 to 25', max_attempts using errcode = 'check_violation';
    end if;
    loop
        insert into operations.jobs as job (
            job_type, input_data, owner_id, market_slug, unique_key, priority, run_at, max_attempts, request_id
        )
        values (
            enqueue_job.job_type, enqueue_job.input_data, enqueue_job.owner_id, enqueue_job.market_slug,
            enqueue_job.unique_key, enqueue_job.priority, coalesce(enqueue_job.run_at, clock_timestamp()),
            enqueue_job.max_attempts, enqueue_job.request_id
        )
        on conflict (owner_id, job_type, unique_key)
        where status in ('QUEUED', 'RUNNING', 'RETRYING') and unique_key is not null
        do nothing
        returning job.job_id into known;
        if known is not null then
            return query select known, true;
            return;
        end if;
        select job.job_id into known
        from operations.jobs as job
        where
            job.owner_id = enqueue_job.owner_id and job.job_type = enqueue_job.job_type
            and job.unique_key = enqueue_job.unique_key and job.status in ('QUEUED', 'RUNNING', 'RETRYING');
        if known is not null then
            return query select known, false;
            return;
        end if;
        -- it was finished between the two statements: now there is room for a new one
    end loop;
end
$$;

ALTER FUNCTION operations.enqueue_job(job_type text, input_data jsonb, owner_id text, market_slug text, unique_key text, priority integer, run_at timestamp with time zone, max_attempts integer, request_id text) OWNER TO postgres;

CREATE FUNCTION operations.health_figures() RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
begin
    -- plpgsql, which looks for the other function when it runs: files are applied in the order of their names
    return (
        with recent as (
            select
                name, labels ->> 'service' as service, sum(value) as value,
                sum(value) filter (where minute >= date_trunc('minute', now() - interval '5 minutes')) as in_5_minutes
            from operations.metric_minutes
            where
                minute >= date_trunc('minute', now() - interval '1 hour')
                and name in ('cache_hit', 'cache_miss', 'cache_stale', 'api_retry_total') and labels ? 'service'
            group by name, labels ->> 'service'
        ),
        ratios as (
            select service, coalesce(sum(value) filter (where name = 'cache_hit'), 0) / sum(value) as ratio
            from recent
            where name <> 'api_retry_total'
            group by service having sum(value) > 0
        )
        select jsonb_build_object(
            'now', now(),
            'services', (
                select coalesce(jsonb_object_agg(service, to_jsonb(states) - 'service'), '{}')
                from operations.health_states as states
            ),
            'breakers', (
                select coalesce(jsonb_object_agg(name, jsonb_build_object('state', state, 'failures', failure_count)), '{}')
                from operations.circuit_breakers
            ),
            'cache_hit_ratio', (select coalesce(jsonb_object_agg(service, ratio), '{}') from ratios),
            'retries', (
                select coalesce(jsonb_object_agg(service, in_5_minutes), '{}') from recent
                where name = 'api_retry_total' and in_5_minutes > 0
            ),
            'prediction_latency_ms', (
                select jsonb_build_object('p50', p50, 'p95', p95)
                from operations.prediction_latency_ms(now() - interval '1 hour')
            )
        )
    );
end
$$;

ALTER FUNCTION operations.health_figures() OWNER TO postgres;

CREATE FUNCTION operations.heartbeat_jobs(claimer text, lease interval) RETURNS TABLE(attempt_id bigint, is_cancel_requested boolean)
    LANGUAGE sql
    SET search_path TO 'pg_catalog'
    AS $$
    update operations.jobs
    set lease_until = clock_timestamp() + lease
    from operations.job_attempts as attempts
    where
        jobs.worker = claimer and jobs.status = 'RUNNING'
        and attempts.job_id = jobs.job_id and attempts.finished_at is null
    returning attempts.attempt_id, jobs.cancel_requested_at is not null
$$;

ALTER FUNCTION operations.heartbeat_jobs(claimer text, lease interval) OWNER TO postgres;

CREATE FUNCTION operations.job_backoff(attempt integer) RETURNS interval
    LANGUAGE sql
    SET search_path TO 'pg_catalog'
    AS $$
    select least(5 * 2 ^ least(attempt - 1, 20), 600) * (0.8 + 0.4 * random()) * interval '1 second'
$$;

ALTER FUNCTION operations.job_backoff(attempt integer) OWNER TO postgres;

CREATE FUNCTION operations.job_failure_ratio(since timestamp with time zone, at_least bigint DEFAULT 1) RETURNS double precision
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    select case
        when count(*) >= at_least
            then (count(*) filter (where status = 'FAILED'))::double precision / nullif(count(*), 0)
    end
    from operations.jobs
    where finished_at >= since and status in ('COMPLETED', 'FAILED')
$$;

ALTER FUNCTION operations.job_failure_ratio(since timestamp with time zone, at_least bigint) OWNER TO postgres;

CREATE FUNCTION operations.prediction_latency_ms(since timestamp with time zone, OUT p50 double precision, OUT p95 double precision, OUT prediction_count bigint) RETURNS record
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    select
        percentile_cont(0.5) within group (order by processing_time_ms),
        percentile_cont(0.95) within group (order by processing_time_ms),
        count(*)
    from operations.ingestion_events
    where event_type = 'api.prediction' and created_at >= since and status <> 'failed'
$$;

ALTER FUNCTION operations.prediction_latency_ms(since timestamp with time zone, OUT p50 double precision, OUT p95 double precision, OUT prediction_count bigint) OWNER TO postgres;

CREATE FUNCTION operations.queue_depths() RETURNS TABLE(queue text, depth bigint, oldest_age_seconds double precision)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
    select 'jobs', count(*), coalesce(extract(epoch from clock_timestamp() - min(run_at)), 0)::double precision
    from operations.jobs
    where status in ('QUEUED', 'RETRYING') and run_at <= now()
    union all
    select 'deliveries', count(*), coalesce(extract(epoch from clock_timestamp() - min(received_at)), 0)::double precision
    from operations.deliveries
    where status = 'pending'
    union all
    select 'events', count(*), coalesce(extract(epoch from clock_timestamp() - min(received_at)), 0)::double precision
    from events.event_log
    where transaction_id >= coalesce(
        (
            select max(next_transaction_id) from events.warehouse_sync_status
            where warehouse_type = 'delta' and status = 'committed'
        ), '0'
    )
$$;

ALTER FUNCTION operations.queue_depths() OWNER TO postgres;

CREATE FUNCTION operations.raise_alert(raised_key text, raised_severity text, raised_message text, raised_context jsonb DEFAULT '{}'::jsonb, lasting boolean DEFAULT true, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    ranks constant text[] := '{info,warning,error,critical}';
    notice_before text;
    is_news boolean;
begin
    select notice into notice_before
    from operations.alerts
    where alert_key = raised_key and resolved_at is null
    for update;

    insert into operations.alerts as known (
        alert_key, severity, message, context, is_lasting, first_raised_at, last_raised_at, notice_at
    ) values (raised_key, raised_severity, raised_message, raised_context, lasting, at, at, at)
    on conflict (alert_key) where resolved_at is null do update set
        severity = excluded.severity,
        message = excluded.message,
        context = excluded.context,
        is_lasting = excluded.is_lasting,
        first_raised_at = least(known.first_raised_at, at),
        last_raised_at = greatest(known.last_raised_at, at),
        raised_count = known.raised_count + 1,
        cleared_at = null,
        notice = case
            when known.notice = 'reminder' and (known.lease_until is null or known.lease_until <= at)
            and array_position(ranks, excluded.severity)
            > array_position(ranks, coalesce(known.notified_severity, known.severity))
                then 'alert'
            else known.notice
        end,
        notice_at = case
            when known.notice = 'reminder' and (known.lease_until is null or known.lease_until <= at)
            and array_position(ranks, excluded.severity)
            > array_position(ranks, coalesce(known.notified_severity, known.severity))
                then at
            else known.notice_at
        end
    returning raised_count = 1 or (notice = 'alert' and notice_before = 'reminder') into is_news;
    return is_news;
end
$$;

ALTER FUNCTION operations.raise_alert(raised_key text, raised_severity text, raised_message text, raised_context jsonb, lasting boolean, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION operations.refuse_job_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
begin
    raise exception 'job %: what was asked for, and by whom, is not changed', old.job_id
        using errcode = 'check_violation';
end
$$;

ALTER FUNCTION operations.refuse_job_change() OWNER TO postgres;

CREATE FUNCTION operations.remove_old_metrics() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    amount bigint;
    removed bigint := 0;
begin
    delete from operations.metric_minutes where minute < now() - interval '2 days';
    get diagnostics amount = row_count;
    removed := removed + amount;
    delete from operations.cache_metrics where created_at < now() - interval '30 days';
    get diagnostics amount = row_count;
    removed := removed + amount;
    delete from operations.ingestion_events where created_at < now() - interval '365 days';
    get diagnostics amount = row_count;
    removed := removed + amount;
    delete from operations.metrics where updated_at < now() - interval '30 days';
    get diagnostics amount = row_count;
    return removed + amount;
end
$$;

ALTER FUNCTION operations.remove_old_metrics() OWNER TO postgres;

CREATE FUNCTION operations.rescue_jobs(ended_runs text[] DEFAULT '{}'::text[]) RETURNS TABLE(job_id uuid, status text)
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_column
declare
    lost record;
begin
    for lost in
        select jobs.job_id, jobs.lease_until, attempts.attempt_id
        from operations.jobs
        inner join operations.job_attempts as attempts on jobs.job_id = attempts.job_id
        where
            jobs.status = 'RUNNING' and attempts.finished_at is null
            and (jobs.lease_until < clock_timestamp() or jobs.dagster_run_id = any(ended_runs))
        order by jobs.lease_until
        limit 100
        for update of jobs skip locked
    loop
        job_id := lost.job_id;
        status := operations.settle_job(
            lost.attempt_id, 'lost', kind => 'lost',
            message => 'the process that worked on it is gone: it held the job and did not settle it'
        );
        return next;
    end loop;
end
$$;

ALTER FUNCTION operations.rescue_jobs(ended_runs text[]) OWNER TO postgres;

CREATE FUNCTION operations.retry_count(service text, since timestamp with time zone) RETURNS bigint
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog'
    AS $$
    select coalesce(sum(value), 0)::bigint
    from operations.metric_minutes
    where minute >= date_trunc('minute', since) and name = 'api_retry_total' and labels ->> 'service' = service
$$;

ALTER FUNCTION operations.retry_count(service text, since timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION operations.retry_job(wanted uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog'
    AS $$
declare
    job operations.jobs;
begin
    select jobs.* into job
    from operations.jobs
    where
        jobs.job_id = wanted
        and (
            current_setting('app.scope', true) = 'operator'
            or jobs.owner_id = nullif(current_setting('app.user_id', true), '')
        )
    for update;
    if job.status in ('FAILED', 'CANCELLED') then
        if job.attempt_count >= 1000 then
            raise exception 'job % has been tried 1000 times', wanted using errcode = 'check_violation';
        end if;
        update operations.jobs
        set
            status = 'QUEUED', run_at = clock_timestamp(), finished_at = null, cancel_requested_at = null,
            error_kind = null, error_message = null, postponed_count = 0,
            max_attempts = greatest(max_attempts, attempt_count + 1)
        where job_id = wanted;
        return 'QUEUED';
    end if;
    return job.status;
end
$$;

ALTER FUNCTION operations.retry_job(wanted uuid) OWNER TO postgres;

CREATE FUNCTION operations.settle_job(ended bigint, ending text, output jsonb DEFAULT NULL::jsonb, kind text DEFAULT NULL::text, message text DEFAULT NULL::text, wait interval DEFAULT NULL::interval, time_ms double precision DEFAULT NULL::double precision) RETURNS text
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
#variable_conflict use_column
declare
    job operations.jobs;
    next_status text;
    is_free boolean := false;
    told text := ending;
begin
    if ending not in ('completed', 'failed', 'postponed', 'cancelled', 'lost') then
        raise exception 'no ending of an attempt: %', ending using errcode = 'check_violation';
    end if;
    select jobs.* into job
    from operations.jobs
    where jobs.job_id = (select tried.job_id from operations.job_attempts as tried where tried.attempt_id = ended)
    for update;
    -- only now: who held the lock may have ended the attempt
    perform from operations.job_attempts as tried where tried.attempt_id = ended and tried.finished_at is null;
    if job.job_id is null or not found then
        return null;
    end if;
    if wait is not null then
        wait := greatest(least(wait, interval '1 hour'), interval '1 second');
    end if;
    if ending = 'completed' then
        next_status := 'COMPLETED';
    elsif ending = 'cancelled' or job.cancel_requested_at is not null then
        next_status := 'CANCELLED';
        told := case ending when 'lost' then 'lost' else 'cancelled' end;
    elsif ending = 'postponed' and job.postponed_count < 10 then
        next_status := 'RETRYING';
        is_free := true;
        wait := coalesce(wait, interval '30 seconds');
    elsif kind = 'permanent' or job.attempt_count >= job.max_attempts then
        next_status := 'FAILED';
        told := case ending when 'lost' then 'lost' else 'failed' end;
    else
        next_status := 'RETRYING';
        told := case ending when 'lost' then 'lost' else 'retrying' end;
    end if;
    update operations.job_attempts as tried
    set finished_at = clock_timestamp(), outcome = told, error_kind = kind, error_message = message
    where tried.attempt_id = ended;
    update operations.jobs
    set
        status = next_status,
        attempt_count = attempt_count - is_free::integer,
        postponed_count = postponed_count + is_free::integer,
        lease_until = null,
        run_at = case
            when next_status = 'RETRYING'
                then clock_timestamp() + coalesce(wait, operations.job_backoff(job.attempt_count))
            else run_at
        end,
        output_data = case next_status when 'COMPLETED' then coalesce(output, '{}') end,
        error_kind = case when next_status <> 'COMPLETED' then kind end,
        error_message = case when next_status <> 'COMPLETED' then coalesce(message, 'no reason given') end,
        processing_time_ms = coalesce(time_ms, processing_time_ms),
        finished_at = case when next_status <> 'RETRYING' then clock_timestamp() end
    where job_id = job.job_id;
    return next_status;
end
$$;

ALTER FUNCTION operations.settle_job(ended bigint, ending text, output jsonb, kind text, message text, wait interval, time_ms double precision) OWNER TO postgres;

CREATE FUNCTION operations.settle_notice(settled_id uuid, lease timestamp with time zone, took_it text[], problem text, retry_at timestamp with time zone, remind_at timestamp with time zone, said_count integer, said_severity text, at timestamp with time zone DEFAULT clock_timestamp()) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    ranks constant text[] := '{info,warning,error,critical}';
begin
    update operations.alerts set
        lease_until = null,
        notice = case
            when retry_at is not null then notice
            when notice = 'recovery' then null
            when array_position(ranks, severity) > array_position(ranks, said_severity) then 'alert'
            else 'reminder'
        end,
        notice_at = case
            when retry_at is not null then retry_at
            when notice = 'recovery' then null
            when array_position(ranks, severity) > array_position(ranks, said_severity) then at
            else remind_at
        end,
        reached = case when retry_at is null then '{}' else reached || took_it end,
        failure_count = case when retry_at is null then 0 else failure_count + 1 end,
        failure = problem,
        noticed_count = case
            when retry_at is null or cardinality(took_it) > 0 then said_count else noticed_count
        end,
        notified_at = case
            when notice <> 'recovery' and cardinality(took_it) > 0 then at else notified_at
        end,
        notified_severity = case
            when notice <> 'recovery' and cardinality(took_it) > 0 then said_severity else notified_severity
        end,
        recovery_notified_at = case
            when notice = 'recovery' and cardinality(took_it) > 0 then at else recovery_notified_at
        end
    where alert_id = settled_id and lease_until = lease;
    return found;
end
$$;

ALTER FUNCTION operations.settle_notice(settled_id uuid, lease timestamp with time zone, took_it text[], problem text, retry_at timestamp with time zone, remind_at timestamp with time zone, said_count integer, said_severity text, at timestamp with time zone) OWNER TO postgres;

CREATE FUNCTION sales.apply_page_rates() RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    changed record;
    total integer := 0;
begin
    for changed in
        with updated as (
            update sales.sales_events as kept set
                estimated_royalty = round(kept.pages_read * rates.rate, 8),
                royalty_usd = round(round(kept.pages_read * rates.rate, 8) * kept.fx_rate, 8)
            from sales.kenp_rates as rates
            where
                kept.kind = 'pages_read' and kept.royalty is null
                and lower(kept.storefront) = rates.storefront and kept.currency = rates.currency
                and date_trunc('month', kept.period_start)::date = rates.month
                and kept.estimated_royalty is distinct from round(kept.pages_read * rates.rate, 8)
            returning kept.owner_id, kept.platform, rates.month
        )
        select owner_id, platform, array_agg(distinct month) as months, count(*) as row_count
        from updated
        group by owner_id, platform
        order by owner_id, platform
    loop
        perform sales.mark_months(changed.owner_id, changed.platform, changed.months);
        total := total + changed.row_count;
    end loop;
    return total;
end
$$;

ALTER FUNCTION sales.apply_page_rates() OWNER TO postgres;

CREATE FUNCTION sales.apply_rates() RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    changed record;
    total integer := 0;
begin
    if not exists (select from sales.rate_changes) then
        return 0;
    end if;
    -- sales.store_report holds it shared: a row that is being stored may have been rated before the rates changed
    if not pg_try_advisory_xact_lock(hashtextextended('sales.sales_events', 0)) then
        return null;
    end if;
    for changed in
        with taken as (
            delete from sales.rate_changes
            returning currency, rate_date
        ),
        -- a rate is for its day and, where no nearer one is, for 45 days more (sales.usd_rate)
        spans as (
            select currency, unnest(range_agg(daterange(rate_date, rate_date + 45, '[]'))) as days
            from taken
            group by currency
        ),
        periods as materialized (
            select distinct spans.currency, kept.period_end
            from spans
            inner join sales.sales_events as kept
                on
                    spans.currency = kept.currency and kept.currency <> 'USD'
                    and kept.period_end >= lower(spans.days) and kept.period_end < upper(spans.days)
        ),
        updated as (
            update sales.sales_events as kept set
                fx_rate = rate.fx_rate,
                fx_date = rate.fx_date,
                royalty_usd = round(coalesce(kept.royalty, kept.estimated_royalty) * rate.fx_rate, 8)
            from periods
            cross join lateral sales.usd_rate(periods.currency, periods.period_end) as rate
            where
                kept.currency = periods.currency and kept.currency <> 'USD' and kept.period_end = periods.period_end
                and (kept.fx_rate, kept.fx_date) is distinct from (rate.fx_rate, rate.fx_date)
            returning kept.owner_id, kept.platform, date_trunc('month', kept.period_start)::date as month
        )
        select owner_id, platform, array_agg(distinct month) as months, count(*) as row_count
        from updated
        group by owner_id, platform
        order by owner_id, platform
    loop
        perform sales.mark_months(changed.owner_id, changed.platform, changed.months);
        total := total + changed.row_count;
    end loop;
    return total;
end
$$;

ALTER FUNCTION sales.apply_rates() OWNER TO postgres;

CREATE FUNCTION sales.build_coverage(today date) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    added integer;
begin
    perform pg_advisory_xact_lock(hashtextextended('sales.coverage', 0));
    delete from sales.coverage;
    with reports as (
        select
            files.owner_id, files.platform, month::date as month,
            count(*) as report_count,
            max(files.exported_at) as last_seen_at,
            bool_or(files.is_final and files.is_whole and files.report = 'kdp_prior_month') as has_final
        from sales.report_files as files
        cross join lateral generate_series(
            date_trunc('month', files.period_start::timestamp),
            least(files.period_end::timestamp, today::timestamp + interval '2 years'),
            interval '1 month'
        ) as month
        where files.status = 'ingested' and files.report <> 'kdp_payments'
        group by 1, 2, 3
    ),
    sold as (
        select owner_id, platform, month, sum(row_count) as row_count, bool_and(is_final) as is_final
        from sales.sales_monthly
        group by 1, 2, 3
    ),
    known as (
        select
            owner_id, platform, month, coalesce(report_count, 0) as report_count, coalesce(row_count, 0) as row_count,
            last_seen_at, coalesce(has_final, false) as has_final, coalesce(is_final, true) as is_final
        from reports
        full join sold using (owner_id, platform, month)
    ),
    months as (
        select owner_id, platform, month::date as month
        from (
            select owner_id, platform, min(month) as first_month, max(month) as last_month
            from known
            group by 1, 2
        ) as bounds
        cross join lateral generate_series(
            first_month::timestamp,
            greatest(last_month::timestamp, date_trunc('month', today::timestamp) - interval '1 month'),
            interval '1 month'
        ) as month
    )
    insert into sales.coverage (month, owner_id, platform, state, report_count, row_count, last_seen_at)
    select
        months.month, months.owner_id, months.platform,
        case
            when known.month is null then 'missing'
            when months.platform = 'amazon_kdp' then case when known.has_final then 'final' else 'estimate' end
            -- a report of the running month says nothing of the days to come
            when known.is_final and known.last_seen_at >= (months.month + interval '1 month') at time zone 'UTC'
                then 'final'
            else 'estimate'
        end,
        coalesce(known.report_count, 0), coalesce(known.row_count, 0), known.last_seen_at
    from months
    left join known
        on months.owner_id = known.owner_id and months.platform = known.platform and months.month = known.month;
    get diagnostics added = row_count;
    return added;
end
$$;

ALTER FUNCTION sales.build_coverage(today date) OWNER TO postgres;

CREATE FUNCTION sales.build_daily(most integer, OUT months integer, OUT row_count integer) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    changed record;
    added integer;
begin
    months := 0;
    row_count := 0;
    for changed in
        select owner_id, platform, month, (month + interval '1 month')::date as next_month, version
        from sales.ledger_months
        where daily_version <> version
        order by owner_id, platform, month
        limit most
        for update skip locked
    loop
        delete from sales.sales_daily as daily
        where
            daily.owner_id = changed.owner_id and daily.platform = changed.platform
            and daily.day >= changed.month and daily.day < changed.next_month;
        insert into sales.sales_daily (
            day, period_days, owner_id, platform, title_id, format, country, title, currency, units_sold, units_refunded,
            net_units, free_units, pages_read, royalty, royalty_usd, row_count, is_final
        )
        select
            events.period_start, events.period_end - events.period_start + 1, events.owner_id, events.platform,
            events.title_id, events.format, coalesce(events.country, 'ZZ'),
            (max(array[to_char(events.exported_at at time zone 'UTC', 'YYYYMMDDHH24MISSUS'), events.title]))[2],
            events.currency,
            coalesce(sum(events.units_sold) filter (where events.kind <> 'free'), 0),
            coalesce(sum(events.units_refunded) filter (where events.kind <> 'free'), 0),
            coalesce(sum(events.net_units) filter (where events.kind <> 'free'), 0),
            coalesce(sum(events.net_units) filter (where events.kind = 'free'), 0),
            sum(events.pages_read),
            sum(coalesce(events.royalty, events.estimated_royalty)),
            case
                when
                    count(*) filter (
                        where coalesce(events.royalty, events.estimated_royalty) is not null
                        and events.royalty_usd is null
                    ) = 0
                    then sum(events.royalty_usd)
            end,
            count(*),
            bool_and(events.is_final and events.estimated_royalty is null)
        from sales.sales_events as events
        where
            events.owner_id = changed.owner_id and events.platform = changed.platform
            and events.period_start >= changed.month and events.period_start < changed.next_month
            and events.superseded_by is null
        group by 1, 2, 3, 4, 5, 6, 7, 9;
        get diagnostics added = row_count;
        update sales.ledger_months as built set daily_version = changed.version
        where
            built.owner_id = changed.owner_id and built.platform = changed.platform and built.month = changed.month;
        months := months + 1;
        row_count := build_daily.row_count + added;
    end loop;
end
$$;

ALTER FUNCTION sales.build_daily(most integer, OUT months integer, OUT row_count integer) OWNER TO postgres;

CREATE FUNCTION sales.build_monthly(most integer, OUT months integer, OUT row_count integer) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    AS $$
declare
    changed record;
    added integer;
begin
    months := 0;
    row_count := 0;
    for changed in
        select owner_id, platform, month, (month + interval '1 month')::date as next_month, daily_version
        from sales.ledger_months
        where monthly_version <> daily_version
        order by owner_id, platform, month
        limit most
        for update skip locked
    loop
        delete from sales.sales_monthly as monthly
        where
            monthly.owner_id = changed.owner_id and monthly.platform = changed.platform
            and monthly.month = changed.month;
        insert into sales.sales_monthly (
            month, owner_id, platform, title_id, format, country, title, currency, units_sold, units_refunded, net_units,
            free_units, pages_read, royalty, royalty_usd, row_count, is_final
        )
        select
            changed.month, daily.owner_id, daily.platform, daily.title_id, daily.format, daily.country,
            (max(array[to_char(daily.day, 'YYYYMMDD'), daily.title]))[2],
            daily.currency,
            sum(daily.units_sold), sum(daily.units_refunded), sum(daily.net_units), sum(daily.free_units),
            sum(daily.pages_read),
            sum(daily.royalty),
            case
                when count(*) filter (where daily.royalty is not null and daily.royalty_usd is null) = 0
                    then sum(daily.royalty_usd)
            end,
            sum(daily.row_count),
            bool_and(daily.is_final)
        from sales.sales_daily as daily
        where
            daily.owner_id = changed.owner_id and daily.platform = changed.platform
            and daily.day >= changed.month and daily.day < changed.next_month
        group by 2, 3, 4, 5, 6, 8;
        get diagnostics added = row_count;
        update sales.ledger_months as built set monthly_version = changed.daily_version
        where
            built.owner_id = changed.owner_id and built.platform = changed.platform and built.month = changed.month;
        months := months + 1;
        row_count := build_monthly.row_count + added;
    end loop;
end
$$;

ALTER FUNCTION sales.build_monthly(most integer, OUT months integer, OUT row_count integer) OWNER TO postgres;

CREATE FUNCTION sales.mark_months(owner text, sold_on text, months date[]) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog'
    AS $$
    insert into sales.ledger_months as kept (owner_id, platform, month)
    select distinct mark_months.owner, mark_months.sold_on, date_trunc('month', one)::date
    from unnest(mark_months.months) as one
    order by 3
    on conflict (owner_id, platform, month) do update set version = kept.version + 1
$$;

ALTER FUNCTION sales.mark_months(owner text, sold_on text, months date[]) OWNER TO postgres;

CREATE FUNCTION sales.supersede(owner text, sold_on text, months date[]) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    SET enable_nestloop TO 'off'
    AS $$
declare
    first_month constant date := (select min(one) from unnest(months) as one);
    after_months constant date := (select max(one) + interval '1 month' from unnest(months) as one);
    changed_months date[];
    stopped integer;
begin
    if sold_on = 'draft2digital' then
        stopped := sales.supersede_draft2digital(supersede.owner, supersede.months);
        return stopped + sales.supersede_smashwords(supersede.owner, supersede.months);
    elsif sold_on = 'smashwords' then
        return sales.supersede_smashwords(supersede.owner, supersede.months);
    elsif sold_on <> 'amazon_kdp' then
        return 0;
    end if;
    -- the newest final report of each month and sheet, of those of which every row was read
    with finals as materialized (
        select distinct on (month, part)
            date_trunc('month', period_start)::date as month, unnest(parts) as part, exported_at, sha256
        from sales.report_files
        where
            owner_id = supersede.owner and platform = 'amazon_kdp'
            and status = 'ingested' and report = 'kdp_prior_month' and is_final and problem_count = 0
            and period_start >= first_month and period_start < after_months
        order by month, part, exported_at desc, sha256 desc
    ),
    -- rows that share a verdict are judged together
    alike as (
        select
            period_start, period_end, kind, format, is_final, superseded_by as before, source_sha256, source_report,
            case
                when source_report in ('kdp_combined_sales', 'kdp_total_earnings', 'kdp_orders_placed')
                    then source_report
                else case kind when 'free' then 'free' when 'pages_read' then 'pages' else format end
            end as part,
            date_trunc('month', period_start)::date as month,
            case kind when 'free' then 'free' when 'pages_read' then 'pages' else 'royalty' end as measure,
            period_end > period_start as is_month,
            max(exported_at) as exported_at,
            bool_and(royalty is not null) as states_royalty,
            sum(units_sold) + sum(pages_read) as stated
        from sales.sales_events
        where
            owner_id = supersede.owner and platform = 'amazon_kdp'
            and period_start >= first_month and period_start < after_months
            and date_trunc('month', period_start)::date = any(supersede.months)
        group by period_start, period_end, kind, format, is_final, superseded_by, source_sha256, source_report
    ),
    reissued as (
        select
            alike.*,
            coalesce(
                alike.is_final and (alike.exported_at, alike.source_sha256) < (finals.exported_at, finals.sha256), false
            ) as is_reissued
        from alike
        left join finals on alike.month = finals.month and alike.part = finals.part
    ),
    settled as (
        select
            *,
            case
                when is_reissued then 'newer_export'
                when measure = 'free'
                    then case
                        when
                            part = 'kdp_orders_placed' and exists (
                                select from sales.report_files as files
                                where
                                    files.owner_id = supersede.owner and files.platform = 'amazon_kdp'
                                    and files.status = 'ingested' and 'free' = any(files.parts)
                                    and files.period_start <= reissued.period_start
                                    and files.period_end >= reissued.period_end
                            )
                            then 'other_sheet'
                    end
                when
                    part <> first_value(part) over (
                        partition by period_start, period_end, measure, format, is_final
                        order by is_reissued, states_royalty desc, exported_at desc, part like 'kdp_%'
                    )
                    then 'other_sheet'
            end as settled_as
        from reissued
    ),
    -- the days of the month that the report covers; one of months at most up to the day of its export, which somewhere on
    -- earth is the next day already
    covering as (
        select
            settled.*, files.is_by_day,
            daterange(settled.month, (settled.month + interval '1 month')::date)
            * daterange(
                coalesce(files.period_start, settled.period_start), coalesce(files.period_end, settled.period_end), '[]'
            )
            * daterange(null, case when settled.is_month then (settled.exported_at at time zone 'UTC')::date + 2 end)
                as covers
        from settled
        left join sales.report_files as files
            on
                files.owner_id = supersede.owner and files.platform = 'amazon_kdp'
                and files.sha256 = settled.source_sha256
        where settled.settled_as is null
    ),
    parts as (
        select
            *,
            bool_or(is_final) over same_part as has_final,
            daterange(
                min(lower(covers)) filter (where is_month and not is_final) over same_part,
                max(upper(covers)) filter (where is_month and not is_final) over same_part
            ) as month_covers,
            max(exported_at) filter (where is_month and not is_final) over same_part as month_at,
            sum(stated) filter (where is_month and not is_final) over same_part as month_stated
        from covering
        window same_part as (partition by month, measure, format)
    ),
    overlapping as (
        select *, not is_final and (is_month or month_covers @> period_start) as is_overlapping
        from parts
    ),
    compared as (
        select
            *,
            case
                when coalesce(bool_or(not is_month and exported_at >= month_at) over same_part, false)
                    then
                        sum(stated) filter (where not is_month) over same_part < month_stated
                        and not coalesce(
                            range_agg(covers) filter (where is_by_day and exported_at >= month_at) over same_part
                            @> month_covers,
                            false
                        )
                else month_stated >= coalesce(sum(stated) filter (where not is_month) over same_part, 0)
            end as is_month_counted
        from overlapping
        window same_part as (partition by month, measure, format, is_overlapping)
    ),
    judged as (
        select
            month, period_start, period_end, kind, format, is_final, source_sha256, source_report, before,
            settled_as as verdict
        from settled
        where settled_as is not null
        union all
        select
            compared.month, compared.period_start, compared.period_end, compared.kind, compared.format, compared.is_final,
            compared.source_sha256, compared.source_report, compared.before,
            case
                when compared.is_final then null
                when
                    compared.measure <> 'free' and (
                        compared.has_final
                        or (compared.month, case compared.measure when 'pages' then 'pages' else compared.format end)
                        in (select month, part from finals)
                        or compared.month in (select month from finals where part = 'kdp_total_earnings')
                    )
                    then 'final_month'
                when compared.is_overlapping and compared.is_month <> compared.is_month_counted then 'newer_export'
            end as verdict
        from compared
    ),
    updated as (
        update sales.sales_events as kept set superseded_by = judged.verdict
        from judged
        where
            kept.owner_id = supersede.owner and kept.platform = 'amazon_kdp'
            and kept.period_start >= first_month and kept.period_start < after_months
            and kept.period_start = judged.period_start and kept.period_end = judged.period_end
            and kept.kind = judged.kind and kept.format = judged.format and kept.is_final = judged.is_final
            and kept.source_sha256 = judged.source_sha256 and kept.source_report = judged.source_report
            and kept.superseded_by is not distinct from judged.before
            and judged.verdict is distinct from judged.before
        returning judged.month, judged.before is null as is_stopped
    )
    select array_agg(distinct month), count(*) filter (where is_stopped) into changed_months, stopped
    from updated;
    perform sales.mark_months(supersede.owner, sold_on, changed_months);
    return stopped;
end
$$;

ALTER FUNCTION sales.supersede(owner text, sold_on text, months date[]) OWNER TO postgres;

CREATE FUNCTION sales.supersede_draft2digital(owner text, months date[]) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    SET enable_nestloop TO 'off'
    AS $$
declare
    first_month constant date := (select min(one) from unnest(months) as one);
    after_months constant date := (select max(one) + interval '1 month' from unnest(months) as one);
    changed_months date[];
    stopped integer;
begin
    -- rows that share a verdict are judged together; a listed row has the time of the newest export that lists it
    with alike as materialized (
        select distinct
            source_report, storefront, period_start, period_end, is_final, exported_at, source_sha256,
            superseded_by as before
        from sales.sales_events
        where
            owner_id = supersede_draft2digital.owner and platform = 'draft2digital'
            and period_start >= first_month and period_start < after_months
            and date_trunc('month', period_start)::date = any(supersede_draft2digital.months)
    ),
    readable as (
        select report, sha256, exported_at, period_start, period_end
        from sales.report_files
        where
            owner_id = supersede_draft2digital.owner and platform = 'draft2digital'
            and status = 'ingested' and problem_count = 0
    ),
    covering as (
        select distinct on (periods.source_report, periods.period_start, periods.period_end)
            periods.source_report, periods.period_start, periods.period_end, readable.exported_at, readable.sha256
        from (select distinct source_report, period_start, period_end from alike where not is_final) as periods
        inner join readable
            on
                periods.source_report = readable.report
                and periods.period_start >= readable.period_start and periods.period_end <= readable.period_end
        order by
            periods.source_report, periods.period_start, periods.period_end, readable.exported_at desc,
            readable.sha256 desc
    ),
    listing as (
        select distinct on (alike.source_report, alike.storefront, alike.period_start, alike.period_end)
            alike.source_report, alike.storefront, alike.period_start, alike.period_end, readable.exported_at,
            readable.sha256
        from alike
        inner join readable on alike.source_sha256 = readable.sha256
        order by
            alike.source_report, alike.storefront, alike.period_start, alike.period_end, readable.exported_at desc,
            readable.sha256 desc
    ),
    judged as (
        select
            alike.*,
            case
                when
                    not alike.is_final and (
                        (alike.exported_at, alike.source_sha256) < (covering.exported_at, covering.sha256)
                        or (alike.exported_at, alike.source_sha256) < (listing.exported_at, listing.sha256)
                    )
                    then 'newer_export'
            end as verdict
        from alike
        left join covering
            on
                alike.source_report = covering.source_report
                and alike.period_start = covering.period_start and alike.period_end = covering.period_end
        left join listing
            on
                alike.source_report = listing.source_report and alike.storefront = listing.storefront
                and alike.period_start = listing.period_start and alike.period_end = listing.period_end
    ),
    updated as (
        update sales.sales_events as kept set superseded_by = judged.verdict
        from judged
        where
            kept.owner_id = supersede_draft2digital.owner and kept.platform = 'draft2digital'
            and kept.period_start >= first_month and kept.period_start < after_months
            and kept.source_report = judged.source_report and kept.storefront = judged.storefront
            and kept.period_start = judged.period_start and kept.period_end = judged.period_end
            and kept.is_final = judged.is_final
            and kept.exported_at = judged.exported_at and kept.source_sha256 = judged.source_sha256
            and kept.superseded_by is not distinct from judged.before
            and judged.verdict is distinct from judged.before
        returning date_trunc('month', kept.period_start)::date as month, judged.before is null as is_stopped
    )
    select array_agg(distinct month), count(*) filter (where is_stopped) into changed_months, stopped
    from updated;
    perform sales.mark_months(supersede_draft2digital.owner, 'draft2digital', changed_months);
    return stopped;
end
$$;

ALTER FUNCTION sales.supersede_draft2digital(owner text, months date[]) OWNER TO postgres;

CREATE FUNCTION sales.supersede_smashwords(owner text, months date[]) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog'
    SET enable_nestloop TO 'off'
    AS $$
declare
    judged_months constant date[] := (
        select array_agg(distinct month)
        from (
            select unnest(supersede_smashwords.months) as month
            union all
            select generate_series(date_trunc('month', starts::timestamp), ends::timestamp, interval '1 month')::date
            from (
                select distinct period_start as starts, period_end as ends
                from sales.sales_events
                where
                    owner_id = supersede_smashwords.owner
                    and platform = 'draft2digital' and storefront ilike 'smashwords%'
                    and date_trunc('month', period_start)::date = any(supersede_smashwords.months)
            ) as windows
        ) as reached
    );
    first_month constant date := (select min(one) from unnest(judged_months) as one);
    after_months constant date := (select max(one) + interval '1 month' from unnest(judged_months) as one);
    changed_months date[];
    stopped integer;
begin
    with listed as (
        select distinct
            substring(regexp_replace(lower(storefront), '^smashwords: ', '') from '[^\s.,:&-]+') as store,
            case
                when period_end > period_start then daterange(period_start, period_end, '[]')
                else
                    daterange(
                        period_start,
                        greatest(
                            period_start + 1,
                            least(
                                (date_trunc('month', period_start) + interval '1 month')::date,
                                (exported_at at time zone 'UTC')::date + 2
                            )
                        )
                    )
            end as days
        from sales.sales_events
        where
            owner_id = supersede_smashwords.owner
            and platform = 'draft2digital' and storefront ilike 'smashwords%' and superseded_by is null
            and period_start < after_months and period_end >= first_month
    ),
    reported as (
        select store, range_agg(days) as days
        from listed
        group by store
    ),
    alike as (
        select distinct
            storefront, period_start, period_end, superseded_by as before,
            substring(lower(storefront) from '[^\s.,:&-]+') as store
        from sales.sales_events
        where
            owner_id = supersede_smashwords.owner and platform = 'smashwords'
            and period_start >= first_month and period_start < after_months
            and date_trunc('month', period_start)::date = any(judged_months)
    ),
    judged as (
        select
            alike.*,
            case when reported.days && daterange(alike.period_start, alike.period_end, '[]') then 'draft2digital' end
                as verdict
        from alike
        left join reported on alike.store = reported.store
    ),
    updated as (
        update sales.sales_events as kept set superseded_by = judged.verdict
        from judged
        where
            kept.owner_id = supersede_smashwords.owner and kept.platform = 'smashwords'
            and kept.period_start >= first_month and kept.period_start < after_months
            and kept.storefront = judged.storefront
            and kept.period_start = judged.period_start and kept.period_end = judged.period_end
            and kept.superseded_by is not distinct from judged.before
            and judged.verdict is distinct from judged.before
        returning date_trunc('month', kept.period_start)::date as month, judged.before is null as is_stopped
    )
    select array_agg(distinct month), count(*) filter (where is_stopped) into changed_months, stopped
    from updated;
    perform sales.mark_months(supersede_smashwords.owner, 'smashwords', changed_months);
    return stopped;
end
$$;

ALTER FUNCTION sales.supersede_smashwords(owner text, months date[]) OWNER TO postgres;

CREATE FUNCTION sales.usd_rate(currency text, day date) RETURNS TABLE(fx_rate numeric, fx_date date)
    LANGUAGE sql STABLE ROWS 1
    SET search_path TO 'pg_catalog'
    AS $$
    select 1::numeric, usd_rate.day
    where usd_rate.currency = 'USD'
    union all
    (
        select rates.usd_per_unit, rates.rate_date
        from sales.exchange_rates as rates
        where
            usd_rate.currency <> 'USD' and rates.currency = usd_rate.currency
            and rates.rate_date between usd_rate.day - 45 and usd_rate.day
        order by rates.rate_date desc
        limit 1
    )
$$;

ALTER FUNCTION sales.usd_rate(currency text, day date) OWNER TO postgres;

CREATE TABLE community.author_metrics_daily (
    day date NOT NULL,
    author_id text NOT NULL,
    rules bigint NOT NULL,
    views bigint NOT NULL,
    copies bigint NOT NULL,
    saves bigint NOT NULL,
    forks bigint NOT NULL,
    votes_up bigint NOT NULL,
    votes_down bigint NOT NULL,
    points double precision NOT NULL,
    trending_score double precision NOT NULL,
    donations bigint NOT NULL,
    donations_net jsonb NOT NULL,
    CONSTRAINT author_metrics_daily_author_id_check CHECK ((author_id <> ''::text)),
    CONSTRAINT author_metrics_daily_check CHECK (((donations = 0) = (donations_net = '{}'::jsonb))),
    CONSTRAINT author_metrics_daily_check1 CHECK (((rules > 0) OR (donations > 0))),
    CONSTRAINT author_metrics_daily_copies_check CHECK ((copies >= 0)),
    CONSTRAINT author_metrics_daily_donations_check CHECK ((donations >= 0)),
    CONSTRAINT author_metrics_daily_donations_net_check CHECK ((jsonb_typeof(donations_net) = 'object'::text)),
    CONSTRAINT author_metrics_daily_forks_check CHECK ((forks >= 0)),
    CONSTRAINT author_metrics_daily_rules_check CHECK ((rules >= 0)),
    CONSTRAINT author_metrics_daily_saves_check CHECK ((saves >= 0)),
    CONSTRAINT author_metrics_daily_trending_score_check CHECK (((trending_score >= '-1e+18'::double precision) AND (trending_score <= '1e+18'::double precision))),
    CONSTRAINT author_metrics_daily_views_check CHECK ((views >= 0)),
    CONSTRAINT author_metrics_daily_votes_down_check CHECK ((votes_down >= 0)),
    CONSTRAINT author_metrics_daily_votes_up_check CHECK ((votes_up >= 0))
);

ALTER TABLE community.author_metrics_daily OWNER TO postgres;

COMMENT ON TABLE community.author_metrics_daily IS 'One row per UTC day and author with an event on a rule of theirs, or a donation that was paid on the day. donations_net: an exact amount a currency, {"USD": "12.50"}.';

CREATE TABLE community.crawl_item_revisions (
    source_id text NOT NULL COLLATE pg_catalog."C",
    external_id text NOT NULL COLLATE pg_catalog."C",
    revision integer NOT NULL,
    changed_fields text[] NOT NULL,
    url text NOT NULL,
    title text NOT NULL,
    summary text,
    raw jsonb,
    caller text NOT NULL,
    request_id text,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT crawl_item_revisions_changed_fields_check CHECK ((changed_fields <@ '{url,title,summary,raw}'::text[])),
    CONSTRAINT crawl_item_revisions_revision_check CHECK ((revision >= 1))
);

ALTER TABLE community.crawl_item_revisions OWNER TO postgres;

COMMENT ON TABLE community.crawl_item_revisions IS 'One row per state of a crawl item, of the newest 50: what it said from then on, and which fields were others before. The first has all fields that are not null.';

CREATE TABLE community.crawl_items (
    source_id text NOT NULL COLLATE pg_catalog."C",
    external_id text NOT NULL COLLATE pg_catalog."C",
    document_id text GENERATED ALWAYS AS (((source_id || '/'::text) || external_id)) STORED NOT NULL COLLATE pg_catalog."C",
    url text NOT NULL,
    title text NOT NULL,
    summary text,
    raw jsonb,
    revision integer NOT NULL,
    caller text NOT NULL,
    first_seen_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    last_seen_at timestamp with time zone NOT NULL,
    CONSTRAINT crawl_items_check CHECK (((first_seen_at <= updated_at) AND (updated_at <= last_seen_at))),
    CONSTRAINT crawl_items_external_id_check CHECK (((length(external_id) >= 1) AND (length(external_id) <= 200))),
    CONSTRAINT crawl_items_revision_check CHECK ((revision >= 1)),
    CONSTRAINT crawl_items_source_id_check CHECK ((source_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,199}$'::text)),
    CONSTRAINT crawl_items_summary_check CHECK ((length(summary) <= 20000)),
    CONSTRAINT crawl_items_title_check CHECK (((length(title) >= 1) AND (length(title) <= 500))),
    CONSTRAINT crawl_items_url_check CHECK (((url ~ '^https?://'::text) AND (length(url) <= 2000)))
);

ALTER TABLE community.crawl_items OWNER TO postgres;

CREATE TABLE community.dirty_days (
    table_name text NOT NULL,
    day date NOT NULL,
    reason text NOT NULL,
    changes bigint DEFAULT 1 NOT NULL,
    marked_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT dirty_days_changes_check CHECK ((changes >= 1)),
    CONSTRAINT dirty_days_table_name_check CHECK ((table_name <> ''::text))
);

ALTER TABLE community.dirty_days OWNER TO postgres;

COMMENT ON TABLE community.dirty_days IS 'One row per table of the community and UTC day of it that has changed and is not yet reported as built again. Whoever has reported it deletes the row, unless marked_at has moved on.';

CREATE TABLE community.donation_facts (
    payment_intent text NOT NULL COLLATE pg_catalog."C",
    object_type text NOT NULL,
    object_id text NOT NULL COLLATE pg_catalog."C",
    event_id text NOT NULL COLLATE pg_catalog."C",
    event_created timestamp with time zone NOT NULL,
    event_rank bigint NOT NULL,
    event_type text NOT NULL,
    is_live boolean NOT NULL,
    is_anonymous boolean NOT NULL,
    settled_at timestamp with time zone,
    state jsonb NOT NULL,
    CONSTRAINT donation_facts_event_id_check CHECK ((event_id <> ''::text)),
    CONSTRAINT donation_facts_event_rank_check CHECK ((event_rank >= 0)),
    CONSTRAINT donation_facts_object_id_check CHECK ((object_id <> ''::text)),
    CONSTRAINT donation_facts_object_type_check CHECK ((object_type = ANY (ARRAY['checkout.session'::text, 'payment_intent'::text, 'charge'::text, 'refund'::text, 'dispute'::text]))),
    CONSTRAINT donation_facts_payment_intent_check CHECK ((payment_intent <> ''::text)),
    CONSTRAINT donation_facts_state_check CHECK ((jsonb_typeof(state) = 'object'::text))
);

ALTER TABLE ONLY community.donation_facts FORCE ROW LEVEL SECURITY;

ALTER TABLE community.donation_facts OWNER TO postgres;

COMMENT ON TABLE community.donation_facts IS 'One row per object of Stripe that belongs to a payment: its last state, by the greatest of event_created, event_rank (of two states of one second the one that comes later in its life) and event_id. Of all its states: is_anonymous once any asked for it, nothing of the donor is kept then; settled_at, the first that said that a payment intent or session is paid, or that a refund gives nothing back.';

CREATE TABLE community.donations (
    payment_intent text NOT NULL COLLATE pg_catalog."C",
    rule_id text,
    author_id text,
    author_is_rules boolean DEFAULT false NOT NULL,
    donor_id text,
    is_anonymous boolean NOT NULL,
    currency text NOT NULL,
    received numeric NOT NULL,
    refunded numeric NOT NULL,
    disputed numeric NOT NULL,
    net numeric GENERATED ALWAYS AS (((received - refunded) - disputed)) STORED NOT NULL,
    status text NOT NULL,
    dispute_status text,
    donor_name text,
    message text,
    paid_at timestamp with time zone,
    paid_on date GENERATED ALWAYS AS (((paid_at AT TIME ZONE 'UTC'::text))::date) STORED,
    is_live boolean NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT donations_author_id_check CHECK ((author_id <> ''::text)),
    CONSTRAINT donations_check CHECK (((status = ANY (ARRAY['pending'::text, 'failed'::text])) = (paid_at IS NULL))),
    CONSTRAINT donations_check1 CHECK (((paid_at IS NOT NULL) OR (received = (0)::numeric))),
    CONSTRAINT donations_check2 CHECK (((NOT is_anonymous) OR ((donor_id IS NULL) AND (donor_name IS NULL)))),
    CONSTRAINT donations_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT donations_disputed_check CHECK ((disputed >= (0)::numeric)),
    CONSTRAINT donations_donor_id_check CHECK ((donor_id <> ''::text)),
    CONSTRAINT donations_net_check CHECK ((net >= (0)::numeric)),
    CONSTRAINT donations_payment_intent_check CHECK ((payment_intent <> ''::text)),
    CONSTRAINT donations_received_check CHECK ((received >= (0)::numeric)),
    CONSTRAINT donations_refunded_check CHECK ((refunded >= (0)::numeric)),
    CONSTRAINT donations_rule_id_check CHECK ((rule_id <> ''::text)),
    CONSTRAINT donations_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'paid'::text, 'failed'::text, 'refunded'::text, 'partially_refunded'::text, 'disputed'::text, 'lost'::text])))
);

ALTER TABLE ONLY community.donations FORCE ROW LEVEL SECURITY;

ALTER TABLE community.donations OWNER TO postgres;

COMMENT ON TABLE community.donations IS 'One row per payment intent of Stripe. received only once it is paid; net = received - refunded - disputed, where a dispute counts while it is open and when it is lost. Amounts are in units of the currency, not in cents.';

CREATE TABLE community.excluded_events_daily (
    day date NOT NULL,
    reason text NOT NULL,
    events bigint NOT NULL,
    views bigint NOT NULL,
    copies bigint NOT NULL,
    saves bigint NOT NULL,
    forks bigint NOT NULL,
    votes bigint NOT NULL,
    CONSTRAINT excluded_events_daily_check CHECK ((events = ((((views + copies) + saves) + forks) + votes))),
    CONSTRAINT excluded_events_daily_copies_check CHECK ((copies >= 0)),
    CONSTRAINT excluded_events_daily_events_check CHECK ((events > 0)),
    CONSTRAINT excluded_events_daily_forks_check CHECK ((forks >= 0)),
    CONSTRAINT excluded_events_daily_reason_check CHECK ((reason = ANY (ARRAY['no_rule'::text, 'repeat_view'::text, 'bot'::text, 'address_rate'::text, 'self_vote'::text, 'view_cap'::text, 'repeat_vote'::text, 'withdrawn_vote'::text]))),
    CONSTRAINT excluded_events_daily_saves_check CHECK ((saves >= 0)),
    CONSTRAINT excluded_events_daily_views_check CHECK ((views >= 0)),
    CONSTRAINT excluded_events_daily_votes_check CHECK ((votes >= 0))
);

ALTER TABLE community.excluded_events_daily OWNER TO postgres;

COMMENT ON TABLE community.excluded_events_daily IS 'One row per UTC day and reason for which events of rules did not count: how many, and of which kinds. An event has one reason, the first that holds.';

CREATE TABLE community.forgotten_payments (
    payment_intent text NOT NULL COLLATE pg_catalog."C",
    forgets_donor boolean NOT NULL,
    forgets_author boolean NOT NULL,
    forgotten_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT forgotten_payments_payment_intent_check CHECK ((payment_intent <> ''::text))
);

ALTER TABLE ONLY community.forgotten_payments FORCE ROW LEVEL SECURITY;

ALTER TABLE community.forgotten_payments OWNER TO postgres;

COMMENT ON TABLE community.forgotten_payments IS 'One row per payment whose donor or author was erased: whatever Stripe says of it later is stored without them.';

CREATE TABLE community.leaderboard_snapshots (
    day date NOT NULL,
    period text NOT NULL,
    kind text NOT NULL,
    scope text NOT NULL,
    scope_value text NOT NULL COLLATE pg_catalog."C",
    rank integer NOT NULL,
    subject_id text NOT NULL COLLATE pg_catalog."C",
    score double precision NOT NULL,
    points double precision NOT NULL,
    views bigint NOT NULL,
    previous_rank integer,
    rank_change integer,
    CONSTRAINT leaderboard_snapshots_check CHECK (((scope = 'GLOBAL'::text) = (scope_value = ''::text))),
    CONSTRAINT leaderboard_snapshots_check1 CHECK ((NOT (rank_change IS DISTINCT FROM (previous_rank - rank)))),
    CONSTRAINT leaderboard_snapshots_kind_check CHECK ((kind = ANY (ARRAY['RULE'::text, 'AUTHOR'::text]))),
    CONSTRAINT leaderboard_snapshots_period_check CHECK ((period = ANY (ARRAY['DAILY'::text, 'WEEKLY'::text, 'MONTHLY'::text, 'ALL_TIME'::text]))),
    CONSTRAINT leaderboard_snapshots_points_check CHECK (((points > '-Infinity'::double precision) AND (points < 'Infinity'::double precision))),
    CONSTRAINT leaderboard_snapshots_previous_rank_check CHECK (((previous_rank >= 1) AND (previous_rank <= 100))),
    CONSTRAINT leaderboard_snapshots_rank_check CHECK (((rank >= 1) AND (rank <= 100))),
    CONSTRAINT leaderboard_snapshots_scope_check CHECK ((scope = ANY (ARRAY['GLOBAL'::text, 'TAG'::text, 'MODEL'::text]))),
    CONSTRAINT leaderboard_snapshots_score_check CHECK (((score > (0)::double precision) AND (score < 'Infinity'::double precision))),
    CONSTRAINT leaderboard_snapshots_subject_id_check CHECK ((subject_id <> ''::text)),
    CONSTRAINT leaderboard_snapshots_views_check CHECK ((views >= 0))
);

ALTER TABLE community.leaderboard_snapshots OWNER TO postgres;

COMMENT ON TABLE community.leaderboard_snapshots IS 'One row per place on a board of a UTC day, the first hundred of each. rank_change is the number of places won since the board''s newest earlier snapshot; null: new among the first hundred. Boards of tags and models are kept for 400 days.';

CREATE TABLE community.notification_preferences (
    person_id text NOT NULL,
    target text,
    has_target boolean GENERATED ALWAYS AS ((target IS NOT NULL)) STORED NOT NULL,
    kinds jsonb DEFAULT '["new_donation", "leaderboard_entry", "milestone"]'::jsonb NOT NULL,
    digest text DEFAULT 'none'::text NOT NULL,
    is_muted boolean DEFAULT false NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT notification_preferences_digest_check CHECK ((digest = ANY (ARRAY['none'::text, 'daily'::text, 'weekly'::text]))),
    CONSTRAINT notification_preferences_kinds_check CHECK ((kinds <@ '["new_donation", "leaderboard_entry", "milestone"]'::jsonb)),
    CONSTRAINT notification_preferences_person_id_check CHECK (((length(person_id) >= 1) AND (length(person_id) <= 300))),
    CONSTRAINT notification_preferences_target_check CHECK (((length(target) >= 1) AND (length(target) <= 2000)))
);

ALTER TABLE ONLY community.notification_preferences FORCE ROW LEVEL SECURITY;

ALTER TABLE community.notification_preferences OWNER TO postgres;

COMMENT ON TABLE community.notification_preferences IS 'One row per person who has said what they want to be told. `target` is where, as Apprise spells it: it holds a key, the HTTP process writes it (community.set_notification_preferences) and never reads it.';

CREATE TABLE community.notifications (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    idempotency_key text NOT NULL,
    person_id text NOT NULL,
    kind text NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone,
    digest text NOT NULL,
    batch_id uuid,
    lease_until timestamp with time zone,
    attempts integer DEFAULT 0 NOT NULL,
    last_error text,
    sent_at timestamp with time zone,
    given_up_at timestamp with time zone,
    CONSTRAINT notifications_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT notifications_check CHECK ((num_nonnulls(due_at, sent_at, given_up_at) <= 1)),
    CONSTRAINT notifications_check1 CHECK (((lease_until IS NULL) OR (due_at IS NOT NULL))),
    CONSTRAINT notifications_digest_check CHECK ((digest = ANY (ARRAY['none'::text, 'daily'::text, 'weekly'::text]))),
    CONSTRAINT notifications_idempotency_key_check CHECK (((length(idempotency_key) >= 1) AND (length(idempotency_key) <= 500))),
    CONSTRAINT notifications_kind_check CHECK ((kind = ANY (ARRAY['new_donation'::text, 'leaderboard_entry'::text, 'milestone'::text]))),
    CONSTRAINT notifications_payload_check CHECK ((jsonb_typeof(payload) = 'object'::text)),
    CONSTRAINT notifications_person_id_check CHECK (((length(person_id) >= 1) AND (length(person_id) <= 300)))
);

ALTER TABLE ONLY community.notifications FORCE ROW LEVEL SECURITY;

ALTER TABLE community.notifications OWNER TO postgres;

COMMENT ON TABLE community.notifications IS 'One row per thing that an author is told. With due_at it is to be sent then; without, it was sent, given up, or is only there to be read, because the person has no target, is muted or does not want this kind. Rows of one batch_id are one message, the same one whenever it is tried again.';

CREATE TABLE community.removed_crawl_items (
    source_id text NOT NULL COLLATE pg_catalog."C",
    external_id text NOT NULL COLLATE pg_catalog."C",
    removed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

ALTER TABLE community.removed_crawl_items OWNER TO postgres;

COMMENT ON TABLE community.removed_crawl_items IS 'One row per crawl item that an operator has removed (community.remove_crawl_item): sent again, it is not stored.';

CREATE TABLE community.rule_events (
    event_id text NOT NULL,
    day date NOT NULL,
    rule_id text NOT NULL COLLATE pg_catalog."C",
    event_type text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    user_id text,
    author_id text,
    title text,
    body text,
    tags jsonb,
    model text,
    CONSTRAINT rule_events_event_type_check CHECK ((event_type = ANY (ARRAY['rule.published'::text, 'rule.updated'::text, 'rule.deleted'::text]))),
    CONSTRAINT rule_events_rule_id_check CHECK ((rule_id <> ''::text)),
    CONSTRAINT rule_events_tags_check CHECK ((jsonb_typeof(tags) = 'array'::text))
);

ALTER TABLE community.rule_events OWNER TO postgres;

COMMENT ON TABLE community.rule_events IS 'One row per event that says something of a rule, as the lake has it: the facts of which community.rules is made. NULL is what the event does not say. user_id is who said it, author_id whose rule it says that it is: empty for that of nobody, an author who was erased.';

CREATE TABLE community.rule_metrics_daily (
    day date NOT NULL,
    rule_id text NOT NULL,
    author_id text,
    views bigint NOT NULL,
    copies bigint NOT NULL,
    saves bigint NOT NULL,
    forks bigint NOT NULL,
    votes_up bigint NOT NULL,
    votes_down bigint NOT NULL,
    unique_users bigint NOT NULL,
    points double precision NOT NULL,
    trending_score double precision NOT NULL,
    excluded_events bigint NOT NULL,
    CONSTRAINT rule_metrics_daily_check CHECK (((unique_users >= 0) AND (unique_users <= (((((views + copies) + saves) + forks) + votes_up) + votes_down)))),
    CONSTRAINT rule_metrics_daily_check1 CHECK ((points = (((((views + (3 * copies)) + (4 * saves)) + (5 * forks)) + (2 * (votes_up - votes_down))))::double precision)),
    CONSTRAINT rule_metrics_daily_copies_check CHECK ((copies >= 0)),
    CONSTRAINT rule_metrics_daily_excluded_events_check CHECK ((excluded_events >= 0)),
    CONSTRAINT rule_metrics_daily_forks_check CHECK ((forks >= 0)),
    CONSTRAINT rule_metrics_daily_rule_id_check CHECK ((rule_id <> ''::text)),
    CONSTRAINT rule_metrics_daily_saves_check CHECK ((saves >= 0)),
    CONSTRAINT rule_metrics_daily_trending_score_check CHECK (((trending_score >= '-1e+18'::double precision) AND (trending_score <= '1e+18'::double precision))),
    CONSTRAINT rule_metrics_daily_views_check CHECK ((views >= 0)),
    CONSTRAINT rule_metrics_daily_votes_down_check CHECK ((votes_down >= 0)),
    CONSTRAINT rule_metrics_daily_votes_up_check CHECK ((votes_up >= 0))
);

ALTER TABLE community.rule_metrics_daily OWNER TO postgres;

COMMENT ON TABLE community.rule_metrics_daily IS 'One row per UTC day and rule with an event on it, counted or not. points = views + 3 copies + 4 saves + 5 forks + 2 (votes_up - votes_down); trending_score weighs each event by 2^-(hours to the end of the day / half-life).';

CREATE TABLE community.rules (
    rule_id text NOT NULL COLLATE pg_catalog."C",
    author_id text,
    title text NOT NULL,
    body text NOT NULL,
    tags jsonb NOT NULL,
    model text,
    status text NOT NULL,
    published_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    event_id text NOT NULL,
    CONSTRAINT rules_check CHECK ((published_at <= updated_at)),
    CONSTRAINT rules_status_check CHECK ((status = ANY (ARRAY['published'::text, 'deleted'::text]))),
    CONSTRAINT rules_tags_check CHECK ((jsonb_typeof(tags) = 'array'::text))
);

ALTER TABLE community.rules OWNER TO postgres;

CREATE TABLE community.search_changes (
    kind text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT search_changes_kind_check CHECK ((kind = ANY (ARRAY['rule'::text, 'crawl'::text])))
);

ALTER TABLE community.search_changes OWNER TO postgres;

COMMENT ON TABLE community.search_changes IS 'One row per rule or crawl item that has changed since it was last indexed; gone when it is.';

CREATE TABLE community.search_documents (
    generation integer NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    title text NOT NULL,
    body text NOT NULL,
    url text,
    tags jsonb NOT NULL,
    CONSTRAINT search_documents_kind_check CHECK ((kind = ANY (ARRAY['rule'::text, 'crawl'::text])))
);

ALTER TABLE community.search_documents OWNER TO postgres;

CREATE TABLE community.search_index (
    is_only boolean DEFAULT true NOT NULL,
    generation integer NOT NULL,
    building integer,
    built_at timestamp with time zone,
    CONSTRAINT search_index_check CHECK ((building > generation)),
    CONSTRAINT search_index_is_only_check CHECK (is_only)
);

ALTER TABLE community.search_index OWNER TO postgres;

COMMENT ON TABLE community.search_index IS 'One row: the generation of documents that readers see, and the one that a rebuild is making, which may have been given up.';

CREATE VIEW community.search_sources WITH (security_invoker='true') AS
 SELECT 'rule'::text AS kind,
    rules.rule_id AS id,
    rules.title,
    "left"(rules.body, 50000) AS body,
    NULL::text AS url,
    rules.tags
   FROM community.rules rules
  WHERE (rules.status = 'published'::text)
UNION ALL
 SELECT 'crawl'::text AS kind,
    items.document_id AS id,
    items.title,
    COALESCE(items.summary, ''::text) AS body,
    items.url,
    '[]'::jsonb AS tags
   FROM community.crawl_items items;

ALTER VIEW community.search_sources OWNER TO postgres;

COMMENT ON VIEW community.search_sources IS 'One row per document that the search index should hold.';

CREATE TABLE community.search_vectors (
    generation integer NOT NULL,
    kind text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    tags jsonb NOT NULL,
    vector tsvector NOT NULL
);

ALTER TABLE community.search_vectors OWNER TO postgres;

COMMENT ON TABLE community.search_vectors IS 'One row per search document: its words, weighted (A title, B tags, C body), as they are and as English stems. Beside the documents so that ranking reads no text.';

CREATE TABLE events.address_keys (
    day date NOT NULL,
    key bytea NOT NULL
);

ALTER TABLE events.address_keys OWNER TO postgres;

COMMENT ON TABLE events.address_keys IS 'One row per UTC day that events still arrive for: the secret under which client addresses are hashed. Removed after two days, which makes the hashes of that day meaningless to everybody.';

CREATE TABLE events.changed_days (
    day date NOT NULL,
    reason text NOT NULL,
    changed_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

ALTER TABLE events.changed_days OWNER TO postgres;

COMMENT ON TABLE events.changed_days IS 'One row per UTC day of the event history that has lost rows and whose derived figures are to be built again. Whoever has seen to that deletes the row, unless changed_at has moved on.';

CREATE TABLE events.counted_views (
    address_hash text NOT NULL,
    rule_id text NOT NULL,
    counted_at timestamp with time zone NOT NULL
);

ALTER TABLE events.counted_views OWNER TO postgres;

COMMENT ON TABLE events.counted_views IS 'One row per counted VIEW of the last two days: another from the same address on the same rule within ten minutes does not count.';

CREATE TABLE events.daily_active_users (
    day date NOT NULL,
    active_users integer NOT NULL,
    active_users_7_days integer NOT NULL,
    active_users_28_days integer NOT NULL,
    new_users integer NOT NULL,
    sessions integer NOT NULL,
    CONSTRAINT daily_active_users_active_users_28_days_check CHECK ((active_users_28_days >= 0)),
    CONSTRAINT daily_active_users_active_users_7_days_check CHECK ((active_users_7_days >= 0)),
    CONSTRAINT daily_active_users_active_users_check CHECK ((active_users >= 0)),
    CONSTRAINT daily_active_users_new_users_check CHECK ((new_users >= 0)),
    CONSTRAINT daily_active_users_sessions_check CHECK ((sessions >= 0))
);

ALTER TABLE events.daily_active_users OWNER TO postgres;

CREATE TABLE events.erasure_requests (
    erasure_id uuid DEFAULT gen_random_uuid() NOT NULL,
    user_id text,
    user_digest text NOT NULL,
    mode text NOT NULL,
    status text DEFAULT 'requested'::text NOT NULL,
    requested_by text NOT NULL,
    request_id text,
    requested_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    completed_at timestamp with time zone,
    removed jsonb DEFAULT '{}'::jsonb NOT NULL,
    days date[] DEFAULT '{}'::date[] NOT NULL,
    attempt_count integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    error_message text,
    CONSTRAINT erasure_requests_attempt_count_check CHECK ((attempt_count >= 0)),
    CONSTRAINT erasure_requests_check CHECK (((status = 'completed'::text) = (user_id IS NULL))),
    CONSTRAINT erasure_requests_check1 CHECK (((status = 'completed'::text) = (completed_at IS NOT NULL))),
    CONSTRAINT erasure_requests_mode_check CHECK ((mode = ANY (ARRAY['erase'::text, 'anonymise'::text]))),
    CONSTRAINT erasure_requests_status_check CHECK ((status = ANY (ARRAY['requested'::text, 'completed'::text]))),
    CONSTRAINT erasure_requests_user_id_check CHECK (((length(user_id) >= 1) AND (length(user_id) <= 200)))
);

ALTER TABLE events.erasure_requests OWNER TO postgres;

COMMENT ON TABLE events.erasure_requests IS 'One row per request to erase or anonymise a person: what was removed where, which days of the lake it changed. The person''s id is there only until the request is completed, then only its SHA-256. One that fails is tried again at next_attempt_at, after 1, 2, 4 … 60 minutes.';

CREATE TABLE events.event_aggregations_daily (
    bucket_start timestamp with time zone CONSTRAINT event_aggregations_hourly_bucket_start_not_null NOT NULL,
    event_type text CONSTRAINT event_aggregations_hourly_event_type_not_null NOT NULL,
    event_category text CONSTRAINT event_aggregations_hourly_event_category_not_null NOT NULL,
    event_count integer CONSTRAINT event_aggregations_hourly_event_count_not_null NOT NULL,
    uncounted_count integer CONSTRAINT event_aggregations_hourly_uncounted_count_not_null NOT NULL,
    unique_users integer CONSTRAINT event_aggregations_hourly_unique_users_not_null NOT NULL,
    unique_sessions integer CONSTRAINT event_aggregations_hourly_unique_sessions_not_null NOT NULL,
    first_event_at timestamp with time zone CONSTRAINT event_aggregations_hourly_first_event_at_not_null NOT NULL,
    last_event_at timestamp with time zone CONSTRAINT event_aggregations_hourly_last_event_at_not_null NOT NULL,
    properties jsonb CONSTRAINT event_aggregations_hourly_properties_not_null NOT NULL,
    CONSTRAINT event_aggregations_hourly_event_count_check CHECK ((event_count >= 0)),
    CONSTRAINT event_aggregations_hourly_uncounted_count_check CHECK ((uncounted_count >= 0)),
    CONSTRAINT event_aggregations_hourly_unique_sessions_check CHECK ((unique_sessions >= 0)),
    CONSTRAINT event_aggregations_hourly_unique_users_check CHECK ((unique_users >= 0))
);

ALTER TABLE events.event_aggregations_daily OWNER TO postgres;

CREATE TABLE events.event_aggregations_hourly (
    bucket_start timestamp with time zone NOT NULL,
    event_type text NOT NULL,
    event_category text NOT NULL,
    event_count integer NOT NULL,
    uncounted_count integer NOT NULL,
    unique_users integer NOT NULL,
    unique_sessions integer NOT NULL,
    first_event_at timestamp with time zone NOT NULL,
    last_event_at timestamp with time zone NOT NULL,
    properties jsonb NOT NULL,
    CONSTRAINT event_aggregations_hourly_event_count_check CHECK ((event_count >= 0)),
    CONSTRAINT event_aggregations_hourly_uncounted_count_check CHECK ((uncounted_count >= 0)),
    CONSTRAINT event_aggregations_hourly_unique_sessions_check CHECK ((unique_sessions >= 0)),
    CONSTRAINT event_aggregations_hourly_unique_users_check CHECK ((unique_users >= 0))
);

ALTER TABLE events.event_aggregations_hourly OWNER TO postgres;

CREATE TABLE events.event_aggregations_weekly (
    bucket_start timestamp with time zone CONSTRAINT event_aggregations_hourly_bucket_start_not_null NOT NULL,
    event_type text CONSTRAINT event_aggregations_hourly_event_type_not_null NOT NULL,
    event_category text CONSTRAINT event_aggregations_hourly_event_category_not_null NOT NULL,
    event_count integer CONSTRAINT event_aggregations_hourly_event_count_not_null NOT NULL,
    uncounted_count integer CONSTRAINT event_aggregations_hourly_uncounted_count_not_null NOT NULL,
    unique_users integer CONSTRAINT event_aggregations_hourly_unique_users_not_null NOT NULL,
    unique_sessions integer CONSTRAINT event_aggregations_hourly_unique_sessions_not_null NOT NULL,
    first_event_at timestamp with time zone CONSTRAINT event_aggregations_hourly_first_event_at_not_null NOT NULL,
    last_event_at timestamp with time zone CONSTRAINT event_aggregations_hourly_last_event_at_not_null NOT NULL,
    properties jsonb CONSTRAINT event_aggregations_hourly_properties_not_null NOT NULL,
    CONSTRAINT event_aggregations_hourly_event_count_check CHECK ((event_count >= 0)),
    CONSTRAINT event_aggregations_hourly_uncounted_count_check CHECK ((uncounted_count >= 0)),
    CONSTRAINT event_aggregations_hourly_unique_sessions_check CHECK ((unique_sessions >= 0)),
    CONSTRAINT event_aggregations_hourly_unique_users_check CHECK ((unique_users >= 0))
);

ALTER TABLE events.event_aggregations_weekly OWNER TO postgres;

CREATE VIEW events.event_aggregations WITH (security_invoker='true') AS
 SELECT 'hourly'::text AS aggregation_period,
    hourly.bucket_start,
    hourly.event_type,
    hourly.event_category,
    hourly.event_count,
    hourly.uncounted_count,
    hourly.unique_users,
    hourly.unique_sessions,
    hourly.first_event_at,
    hourly.last_event_at,
    hourly.properties
   FROM events.event_aggregations_hourly hourly
UNION ALL
 SELECT 'daily'::text AS aggregation_period,
    daily.bucket_start,
    daily.event_type,
    daily.event_category,
    daily.event_count,
    daily.uncounted_count,
    daily.unique_users,
    daily.unique_sessions,
    daily.first_event_at,
    daily.last_event_at,
    daily.properties
   FROM events.event_aggregations_daily daily
UNION ALL
 SELECT 'weekly'::text AS aggregation_period,
    weekly.bucket_start,
    weekly.event_type,
    weekly.event_category,
    weekly.event_count,
    weekly.uncounted_count,
    weekly.unique_users,
    weekly.unique_sessions,
    weekly.first_event_at,
    weekly.last_event_at,
    weekly.properties
   FROM events.event_aggregations_weekly weekly;

ALTER VIEW events.event_aggregations OWNER TO postgres;

CREATE TABLE events.event_keys (
    key_hash uuid NOT NULL,
    event_id uuid NOT NULL
);

ALTER TABLE events.event_keys OWNER TO postgres;

COMMENT ON TABLE events.event_keys IS 'One row per idempotency key (its hash) of the last days: one table for all days, so that a key is one key across midnight. The event id is a UUIDv7, which tells the age.';

CREATE TABLE events.event_log_default (
    event_id uuid CONSTRAINT event_log_event_id_not_null NOT NULL,
    transaction_id xid8 DEFAULT pg_current_xact_id() CONSTRAINT event_log_transaction_id_not_null NOT NULL,
    event_type text CONSTRAINT event_log_event_type_not_null NOT NULL,
    event_category text CONSTRAINT event_log_event_category_not_null NOT NULL,
    schema_version integer CONSTRAINT event_log_schema_version_not_null NOT NULL,
    user_id text,
    session_id text,
    rule_id text,
    event_data jsonb CONSTRAINT event_log_event_data_not_null NOT NULL,
    metadata jsonb CONSTRAINT event_log_metadata_not_null NOT NULL,
    occurred_at timestamp with time zone CONSTRAINT event_log_occurred_at_not_null NOT NULL,
    received_at timestamp with time zone CONSTRAINT event_log_received_at_not_null NOT NULL,
    clock_skew_seconds double precision,
    idempotency_key text,
    caller text CONSTRAINT event_log_caller_not_null NOT NULL,
    origin text CONSTRAINT event_log_origin_not_null NOT NULL,
    country text,
    address_hash text,
    previous_address_hash text,
    CONSTRAINT event_log_event_category_check CHECK ((event_category = ANY (ARRAY['transaction'::text, 'interaction'::text, 'user_activity'::text, 'content'::text]))),
    CONSTRAINT event_log_event_type_check CHECK (((event_type <> ''::text) AND (length(event_type) <= 200))),
    CONSTRAINT event_log_occurred_at_check CHECK (((occurred_at >= '2000-01-01 00:00:00+00'::timestamp with time zone) AND (occurred_at < '2100-01-01 00:00:00+00'::timestamp with time zone))),
    CONSTRAINT event_log_origin_check CHECK ((origin = ANY (ARRAY['http'::text, 'sql'::text, 'replay'::text]))),
    CONSTRAINT event_log_rule_id_check CHECK (((length(rule_id) >= 1) AND (length(rule_id) <= 200))),
    CONSTRAINT event_log_session_id_check CHECK (((length(session_id) >= 1) AND (length(session_id) <= 200))),
    CONSTRAINT event_log_user_id_check CHECK (((length(user_id) >= 1) AND (length(user_id) <= 200)))
);

ALTER TABLE events.event_log_default OWNER TO postgres;

CREATE TABLE events.event_schemas (
    event_type text NOT NULL,
    schema_version integer DEFAULT 1 NOT NULL,
    event_category text NOT NULL,
    retention_class text NOT NULL,
    required_fields text[] DEFAULT '{}'::text[] NOT NULL,
    json_schema jsonb DEFAULT '{"type": "object"}'::jsonb NOT NULL,
    description text DEFAULT ''::text NOT NULL,
    is_active boolean DEFAULT true NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT event_schemas_event_category_check CHECK ((event_category = ANY (ARRAY['transaction'::text, 'interaction'::text, 'user_activity'::text, 'content'::text]))),
    CONSTRAINT event_schemas_event_type_check CHECK ((event_type <> ''::text)),
    CONSTRAINT event_schemas_schema_version_check CHECK ((schema_version >= 1))
);

ALTER TABLE events.event_schemas OWNER TO postgres;

COMMENT ON TABLE events.event_schemas IS 'One row per event type and version: the JSON Schema of its event_data, the fields of the envelope that it requires, how long it is kept. The highest active version holds for an event that names none.';

CREATE TABLE events.retention_classes (
    retention_class text NOT NULL,
    kept_for interval NOT NULL,
    CONSTRAINT retention_classes_kept_for_check CHECK ((kept_for > '00:00:00'::interval))
);

ALTER TABLE events.retention_classes OWNER TO postgres;

COMMENT ON TABLE events.retention_classes IS 'One row per retention class: how long after it occurred an event is kept.';

CREATE VIEW events.event_retention WITH (security_invoker='true') AS
 SELECT schemas.event_type,
    max(classes.kept_for) AS kept_for
   FROM (events.event_schemas schemas
     JOIN events.retention_classes classes ON ((schemas.retention_class = classes.retention_class)))
  GROUP BY schemas.event_type;

ALTER VIEW events.event_retention OWNER TO postgres;

COMMENT ON VIEW events.event_retention IS 'One row per event type: how long its events are kept, the longest of its versions.';

CREATE TABLE events.funnels (
    day date NOT NULL,
    funnel text NOT NULL,
    step integer NOT NULL,
    event_type text NOT NULL,
    users integer NOT NULL,
    conversion_ratio double precision,
    median_seconds double precision,
    CONSTRAINT funnels_conversion_ratio_check CHECK (((conversion_ratio >= (0)::double precision) AND (conversion_ratio <= (1)::double precision))),
    CONSTRAINT funnels_median_seconds_check CHECK ((median_seconds >= (0)::double precision)),
    CONSTRAINT funnels_step_check CHECK ((step >= 1)),
    CONSTRAINT funnels_users_check CHECK ((users >= 0))
);

ALTER TABLE events.funnels OWNER TO postgres;

CREATE TABLE events.intake_counts (
    day date NOT NULL,
    intake_id text NOT NULL,
    received bigint DEFAULT 0 NOT NULL,
    stored bigint DEFAULT 0 NOT NULL,
    duplicate bigint DEFAULT 0 NOT NULL,
    rejected bigint DEFAULT 0 NOT NULL,
    erased bigint DEFAULT 0 NOT NULL
);

ALTER TABLE events.intake_counts OWNER TO postgres;

COMMENT ON TABLE events.intake_counts IS 'One row per UTC day and intake process: events received and what became of each, counted in the transaction that stored them. Erasure counts what it took away again.';

CREATE TABLE events.platform_metrics_realtime (
    metric_name text NOT NULL,
    dimensions jsonb DEFAULT '{}'::jsonb NOT NULL,
    metric_value double precision NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT platform_metrics_realtime_metric_name_check CHECK ((metric_name <> ''::text))
);

ALTER TABLE events.platform_metrics_realtime OWNER TO postgres;

COMMENT ON TABLE events.platform_metrics_realtime IS 'One row per metric and its dimensions, for dashboards; gone after expires_at.';

CREATE TABLE events.retention_cohorts (
    week date NOT NULL,
    cohort_week date NOT NULL,
    weeks_since integer NOT NULL,
    cohort_users integer NOT NULL,
    retained_users integer NOT NULL,
    retention_ratio double precision,
    CONSTRAINT retention_cohorts_cohort_users_check CHECK ((cohort_users >= 0)),
    CONSTRAINT retention_cohorts_retained_users_check CHECK ((retained_users >= 0)),
    CONSTRAINT retention_cohorts_retention_ratio_check CHECK (((retention_ratio >= (0)::double precision) AND (retention_ratio <= (1)::double precision))),
    CONSTRAINT retention_cohorts_weeks_since_check CHECK ((weeks_since >= 0))
);

ALTER TABLE events.retention_cohorts OWNER TO postgres;

CREATE TABLE market.comparisons (
    as_of_date date NOT NULL,
    base_symbol text NOT NULL,
    quote_symbol text NOT NULL,
    window_days integer NOT NULL,
    price_ratio double precision,
    volume_ratio double precision,
    roi_spread_ratio double precision,
    return_correlation double precision,
    common_return_count integer NOT NULL,
    method_version text NOT NULL,
    CONSTRAINT comparisons_check CHECK ((base_symbol < (quote_symbol COLLATE "C"))),
    CONSTRAINT comparisons_common_return_count_check CHECK ((common_return_count >= 0)),
    CONSTRAINT comparisons_price_ratio_check CHECK (((price_ratio > (0)::double precision) AND (price_ratio < 'Infinity'::double precision))),
    CONSTRAINT comparisons_return_correlation_check CHECK (((return_correlation >= ('-1'::integer)::double precision) AND (return_correlation <= (1)::double precision))),
    CONSTRAINT comparisons_roi_spread_ratio_check CHECK (((roi_spread_ratio > '-Infinity'::double precision) AND (roi_spread_ratio < 'Infinity'::double precision))),
    CONSTRAINT comparisons_volume_ratio_check CHECK (((volume_ratio >= (0)::double precision) AND (volume_ratio < 'Infinity'::double precision))),
    CONSTRAINT comparisons_window_days_check CHECK ((window_days > 0))
);

ALTER TABLE market.comparisons OWNER TO postgres;

CREATE TABLE market.markets (
    symbol text NOT NULL,
    name text NOT NULL,
    base_asset text NOT NULL,
    quote_asset text NOT NULL,
    asset_class text NOT NULL,
    calendar text NOT NULL,
    periods_per_year integer NOT NULL,
    first_day date NOT NULL,
    provider text NOT NULL,
    CONSTRAINT markets_asset_class_check CHECK ((asset_class = ANY (ARRAY['crypto'::text, 'equity'::text, 'index'::text]))),
    CONSTRAINT markets_periods_per_year_check CHECK (((periods_per_year >= 1) AND (periods_per_year <= 366))),
    CONSTRAINT markets_symbol_check CHECK ((symbol <> ''::text))
);

ALTER TABLE market.markets OWNER TO postgres;

CREATE TABLE market.roi_statistics (
    as_of_date date NOT NULL,
    symbol text NOT NULL,
    window_days integer NOT NULL,
    return_count integer NOT NULL,
    total_return_ratio double precision,
    annualised_return_ratio double precision,
    volatility_ratio double precision,
    sharpe_ratio double precision,
    sortino_ratio double precision,
    max_drawdown_ratio double precision,
    max_drawdown_peak_date date,
    max_drawdown_trough_date date,
    calmar_ratio double precision,
    best_day_ratio double precision,
    worst_day_ratio double precision,
    periods_per_year integer NOT NULL,
    risk_free_rate_ratio double precision NOT NULL,
    method_version text NOT NULL,
    CONSTRAINT roi_statistics_annualised_return_ratio_check CHECK (((annualised_return_ratio >= ('-1'::integer)::double precision) AND (annualised_return_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_best_day_ratio_check CHECK (((best_day_ratio >= ('-1'::integer)::double precision) AND (best_day_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_calmar_ratio_check CHECK (((calmar_ratio > '-Infinity'::double precision) AND (calmar_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_check CHECK ((max_drawdown_peak_date < max_drawdown_trough_date)),
    CONSTRAINT roi_statistics_max_drawdown_ratio_check CHECK (((max_drawdown_ratio >= ('-1'::integer)::double precision) AND (max_drawdown_ratio <= (0)::double precision))),
    CONSTRAINT roi_statistics_return_count_check CHECK ((return_count >= 1)),
    CONSTRAINT roi_statistics_sharpe_ratio_check CHECK (((sharpe_ratio > '-Infinity'::double precision) AND (sharpe_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_sortino_ratio_check CHECK (((sortino_ratio > '-Infinity'::double precision) AND (sortino_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_total_return_ratio_check CHECK (((total_return_ratio >= ('-1'::integer)::double precision) AND (total_return_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_volatility_ratio_check CHECK (((volatility_ratio >= (0)::double precision) AND (volatility_ratio < 'Infinity'::double precision))),
    CONSTRAINT roi_statistics_window_days_check CHECK ((window_days > 0)),
    CONSTRAINT roi_statistics_worst_day_ratio_check CHECK (((worst_day_ratio >= ('-1'::integer)::double precision) AND (worst_day_ratio < 'Infinity'::double precision)))
);

ALTER TABLE market.roi_statistics OWNER TO postgres;

CREATE TABLE market.snapshots (
    symbol text NOT NULL,
    as_of timestamp with time zone NOT NULL,
    price double precision NOT NULL,
    change_24h_ratio double precision,
    volume_24h double precision,
    volatility_ratio double precision,
    roi_1d_ratio double precision,
    roi_7d_ratio double precision,
    roi_30d_ratio double precision,
    provider text NOT NULL,
    CONSTRAINT snapshots_change_24h_ratio_check CHECK (((change_24h_ratio > '-Infinity'::double precision) AND (change_24h_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_price_check CHECK (((price > (0)::double precision) AND (price < 'Infinity'::double precision))),
    CONSTRAINT snapshots_roi_1d_ratio_check CHECK (((roi_1d_ratio >= ('-1'::integer)::double precision) AND (roi_1d_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_roi_30d_ratio_check CHECK (((roi_30d_ratio >= ('-1'::integer)::double precision) AND (roi_30d_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_roi_7d_ratio_check CHECK (((roi_7d_ratio >= ('-1'::integer)::double precision) AND (roi_7d_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_volatility_ratio_check CHECK (((volatility_ratio >= (0)::double precision) AND (volatility_ratio < 'Infinity'::double precision))),
    CONSTRAINT snapshots_volume_24h_check CHECK (((volume_24h >= (0)::double precision) AND (volume_24h < 'Infinity'::double precision)))
);

ALTER TABLE market.snapshots OWNER TO postgres;

CREATE TABLE operations.api_requests (
    occurred_at timestamp with time zone NOT NULL,
    request_id text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    status smallint NOT NULL,
    duration_ms real NOT NULL,
    request_bytes bigint NOT NULL,
    response_bytes bigint NOT NULL,
    caller text,
    cache_hit boolean,
    market text,
    CONSTRAINT api_requests_duration_ms_check CHECK ((duration_ms >= (0)::double precision)),
    CONSTRAINT api_requests_request_bytes_check CHECK ((request_bytes >= 0)),
    CONSTRAINT api_requests_response_bytes_check CHECK ((response_bytes >= 0)),
    CONSTRAINT api_requests_status_check CHECK (((status >= 100) AND (status <= 599)))
);

ALTER TABLE ONLY operations.api_requests FORCE ROW LEVEL SECURITY;

ALTER TABLE operations.api_requests OWNER TO postgres;

COMMENT ON TABLE operations.api_requests IS 'One row per HTTP request, refused ones too: the path as its template, the caller by name, never an address.';

CREATE TABLE operations.app_tokens (
    name text NOT NULL,
    digest text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone,
    CONSTRAINT app_tokens_check CHECK ((expires_at > created_at)),
    CONSTRAINT app_tokens_digest_check CHECK ((digest ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT app_tokens_name_check CHECK ((name ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'::text)),
    CONSTRAINT app_tokens_scopes_check CHECK ((cardinality(scopes) > 0))
);

ALTER TABLE operations.app_tokens OWNER TO postgres;

COMMENT ON TABLE operations.app_tokens IS 'One row per application token: the SHA-256 of the token, never the token; what it may do and until when.';

CREATE TABLE operations.audit_log (
    audit_id bigint NOT NULL,
    occurred_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject_digest text,
    request_id text,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT audit_log_action_check CHECK ((action <> ''::text)),
    CONSTRAINT audit_log_actor_check CHECK ((actor <> ''::text)),
    CONSTRAINT audit_log_subject_digest_check CHECK ((subject_digest ~ '^[0-9a-f]{64}$'::text))
);

ALTER TABLE operations.audit_log OWNER TO postgres;

COMMENT ON TABLE operations.audit_log IS 'One row per sensitive action: who did what, when, in which request, about whom. The person is the SHA-256 of their id, which proves that something was done to somebody who is named, and names nobody. Rows are added and never changed.';

ALTER TABLE operations.audit_log ALTER COLUMN audit_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME operations.audit_log_audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE operations.cache_metrics (
    cache_metric_id bigint NOT NULL,
    metric_name text NOT NULL,
    metric_value double precision NOT NULL,
    tags jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT cache_metrics_metric_name_check CHECK ((metric_name <> ''::text)),
    CONSTRAINT cache_metrics_tags_check CHECK ((jsonb_typeof(tags) = 'object'::text))
);

ALTER TABLE ONLY operations.cache_metrics FORCE ROW LEVEL SECURITY;

ALTER TABLE operations.cache_metrics OWNER TO postgres;

COMMENT ON TABLE operations.cache_metrics IS 'One row per minute, count or ratio, and service (its tag), of the caches of all processes: cache_hit, cache_miss, cache_stale, cache_warm, cache_invalidate and cache_hit_ratio. created_at is the start of the minute.';

ALTER TABLE operations.cache_metrics ALTER COLUMN cache_metric_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME operations.cache_metrics_cache_metric_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE operations.circuit_breakers (
    name text NOT NULL,
    state text DEFAULT 'closed'::text NOT NULL,
    failure_count integer DEFAULT 0 NOT NULL,
    opened_at timestamp with time zone,
    retry_at timestamp with time zone,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT circuit_breakers_check CHECK (((state = 'closed'::text) = (retry_at IS NULL))),
    CONSTRAINT circuit_breakers_failure_count_check CHECK ((failure_count >= 0)),
    CONSTRAINT circuit_breakers_state_check CHECK ((state = ANY (ARRAY['closed'::text, 'open'::text, 'half_open'::text])))
);

ALTER TABLE operations.circuit_breakers OWNER TO postgres;

COMMENT ON TABLE operations.circuit_breakers IS 'One row per outside source: closed calls go through, open they do not, half_open one probe does until retry_at.';

CREATE TABLE operations.cron_logs (
    cron_log_id bigint NOT NULL,
    path text NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    finished_at timestamp with time zone,
    processed_count integer,
    status text DEFAULT 'running'::text NOT NULL,
    error_message text,
    request_id text,
    CONSTRAINT cron_logs_processed_count_check CHECK ((processed_count >= 0)),
    CONSTRAINT cron_logs_status_check CHECK ((status = ANY (ARRAY['running'::text, 'success'::text, 'failed'::text])))
);

ALTER TABLE operations.cron_logs OWNER TO postgres;

COMMENT ON TABLE operations.cron_logs IS 'One row per call of a cron endpoint that works on jobs (seed S3).';

ALTER TABLE operations.cron_logs ALTER COLUMN cron_log_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME operations.cron_logs_cron_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE operations.deliveries (
    delivery_id uuid DEFAULT gen_random_uuid() NOT NULL,
    source text NOT NULL,
    idempotency_key text NOT NULL,
    event_type text NOT NULL,
    market_slug text,
    payload jsonb NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    reason text,
    received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    settled_at timestamp with time zone,
    scheme text NOT NULL,
    signed_by text NOT NULL,
    signed_at timestamp with time zone,
    origin text DEFAULT 'http'::text NOT NULL,
    request_id text,
    attempt_count integer DEFAULT 0 NOT NULL,
    next_attempt_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    replay_count integer DEFAULT 0 NOT NULL,
    replayed_by text,
    dagster_run_id text,
    CONSTRAINT deliveries_attempt_count_check CHECK ((attempt_count >= 0)),
    CONSTRAINT deliveries_check CHECK (((status = 'pending'::text) = (settled_at IS NULL))),
    CONSTRAINT deliveries_check1 CHECK (((status = ANY (ARRAY['rejected'::text, 'dead'::text])) <= (reason IS NOT NULL))),
    CONSTRAINT deliveries_event_type_check CHECK (((length(event_type) >= 1) AND (length(event_type) <= 200))),
    CONSTRAINT deliveries_idempotency_key_check CHECK (((length(idempotency_key) >= 1) AND (length(idempotency_key) <= 300))),
    CONSTRAINT deliveries_market_slug_check CHECK (((length(market_slug) >= 1) AND (length(market_slug) <= 100))),
    CONSTRAINT deliveries_replay_count_check CHECK ((replay_count >= 0)),
    CONSTRAINT deliveries_scheme_check CHECK ((scheme = ANY (ARRAY['sha256'::text, 'standard'::text, 'file'::text]))),
    CONSTRAINT deliveries_source_check CHECK (((length(source) >= 1) AND (length(source) <= 100))),
    CONSTRAINT deliveries_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'processed'::text, 'rejected'::text, 'dead'::text])))
);

ALTER TABLE ONLY operations.deliveries FORCE ROW LEVEL SECURITY;

ALTER TABLE operations.deliveries OWNER TO postgres;

COMMENT ON TABLE operations.deliveries IS 'One row per webhook or dropped file that was accepted: what was sent, which key signed it and when, what became of it. `rejected` ones were signed and wrong, `dead` ones could not be applied; both keep the reason and can be replayed.';

CREATE TABLE operations.delivery_sources (
    source text NOT NULL,
    first_received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    by_webhook boolean DEFAULT true NOT NULL
);

ALTER TABLE operations.delivery_sources OWNER TO postgres;

COMMENT ON TABLE operations.delivery_sources IS 'One row per source that ever delivered, with when it last did: one that came by webhook and falls silent raises an alert, one that only dropped files does if WEBHOOK_SILENCE names it.';

CREATE TABLE operations.freshness_states (
    asset_key text NOT NULL,
    asset_group text NOT NULL,
    state text NOT NULL,
    state_changed_at timestamp with time zone NOT NULL,
    last_materialized_at timestamp with time zone,
    data_as_of timestamp with time zone,
    data_state text NOT NULL,
    reason text,
    checked_at timestamp with time zone NOT NULL,
    CONSTRAINT freshness_states_data_state_check CHECK ((data_state = ANY (ARRAY['PASS'::text, 'WARN'::text, 'FAIL'::text, 'UNKNOWN'::text]))),
    CONSTRAINT freshness_states_state_check CHECK ((state = ANY (ARRAY['PASS'::text, 'WARN'::text, 'FAIL'::text, 'UNKNOWN'::text])))
);

ALTER TABLE operations.freshness_states OWNER TO postgres;

COMMENT ON TABLE operations.freshness_states IS 'One row per served asset: Dagster''s freshness state (did it run?), and the age of its newest data (is it recent?), as of checked_at. Mirrored from Dagster by operations_freshness_sensor.';

CREATE TABLE operations.health_states (
    service text NOT NULL,
    status text NOT NULL,
    since timestamp with time zone NOT NULL,
    candidate text,
    candidate_since timestamp with time zone,
    candidate_checks integer DEFAULT 0 NOT NULL,
    reasons text[] DEFAULT '{}'::text[] NOT NULL,
    details jsonb DEFAULT '{}'::jsonb NOT NULL,
    checked_at timestamp with time zone NOT NULL,
    CONSTRAINT health_states_candidate_check CHECK ((candidate = ANY (ARRAY['GREEN'::text, 'YELLOW'::text, 'RED'::text, 'UNKNOWN'::text]))),
    CONSTRAINT health_states_candidate_checks_check CHECK ((candidate_checks >= 0)),
    CONSTRAINT health_states_check CHECK (((candidate IS NULL) = (candidate_since IS NULL))),
    CONSTRAINT health_states_status_check CHECK ((status = ANY (ARRAY['GREEN'::text, 'YELLOW'::text, 'RED'::text, 'UNKNOWN'::text])))
);

ALTER TABLE operations.health_states OWNER TO postgres;

COMMENT ON TABLE operations.health_states IS 'One row per service of the health endpoint, and one named `overall`: its status, since when, and the status that it would change to if that lasts: seen for the first time at candidate_since, in candidate_checks checks in a row.';

CREATE TABLE operations.ingestion_events (
    ingestion_event_id bigint NOT NULL,
    event_type text NOT NULL,
    market_slug text,
    source text NOT NULL,
    status text DEFAULT 'success'::text NOT NULL,
    processed_records integer DEFAULT 0 NOT NULL,
    rejected_records integer DEFAULT 0 NOT NULL,
    processing_time_ms double precision NOT NULL,
    cache_keys_invalidated text[] DEFAULT '{}'::text[] NOT NULL,
    provenance jsonb DEFAULT '{}'::jsonb NOT NULL,
    error_message text,
    delivery_id uuid,
    job_id uuid,
    dagster_run_id text,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ingestion_events_event_type_check CHECK ((event_type <> ''::text)),
    CONSTRAINT ingestion_events_processed_records_check CHECK ((processed_records >= 0)),
    CONSTRAINT ingestion_events_processing_time_ms_check CHECK ((processing_time_ms >= (0)::double precision)),
    CONSTRAINT ingestion_events_rejected_records_check CHECK ((rejected_records >= 0)),
    CONSTRAINT ingestion_events_source_check CHECK ((source <> ''::text)),
    CONSTRAINT ingestion_events_status_check CHECK ((status = ANY (ARRAY['success'::text, 'partial'::text, 'failed'::text])))
);

ALTER TABLE ONLY operations.ingestion_events FORCE ROW LEVEL SECURITY;

ALTER TABLE operations.ingestion_events OWNER TO postgres;

COMMENT ON TABLE operations.ingestion_events IS 'One row per ingestion, cache warming and prediction: what came from where, how long it took, which cache keys it made invalid. Types: market.fundamentals.upsert, comps.upsert, macro.update, api.prediction, cache.warming and others.';

ALTER TABLE operations.ingestion_events ALTER COLUMN ingestion_event_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME operations.ingestion_events_ingestion_event_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE operations.job_attempts (
    attempt_id bigint NOT NULL,
    job_id uuid NOT NULL,
    attempt integer NOT NULL,
    worker text NOT NULL,
    dagster_run_id text,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    finished_at timestamp with time zone,
    outcome text,
    error_kind text,
    error_message text,
    CONSTRAINT job_attempts_attempt_check CHECK ((attempt >= 1)),
    CONSTRAINT job_attempts_check CHECK (((outcome IS NULL) = (finished_at IS NULL))),
    CONSTRAINT job_attempts_error_kind_check CHECK ((error_kind = ANY (ARRAY['transient'::text, 'permanent'::text, 'lost'::text]))),
    CONSTRAINT job_attempts_outcome_check CHECK ((outcome = ANY (ARRAY['completed'::text, 'retrying'::text, 'failed'::text, 'postponed'::text, 'cancelled'::text, 'lost'::text])))
);

ALTER TABLE ONLY operations.job_attempts FORCE ROW LEVEL SECURITY;

ALTER TABLE operations.job_attempts OWNER TO postgres;

COMMENT ON TABLE operations.job_attempts IS 'One row per time that a worker took a job: when, in which Dagster run, and how it ended. A postponed one is not counted as an attempt and has the number of the next.';

ALTER TABLE operations.job_attempts ALTER COLUMN attempt_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME operations.job_attempts_attempt_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE operations.metric_minutes (
    minute timestamp with time zone NOT NULL,
    name text NOT NULL,
    labels jsonb NOT NULL,
    value double precision NOT NULL
);

ALTER TABLE operations.metric_minutes OWNER TO postgres;

COMMENT ON TABLE operations.metric_minutes IS 'One row per counter and minute in which it grew, by how much; kept for two days. What happened in the last five minutes is asked here.';

CREATE TABLE operations.metrics (
    name text NOT NULL,
    labels jsonb NOT NULL,
    type text NOT NULL,
    value double precision DEFAULT 0 NOT NULL,
    sample_count bigint DEFAULT 0 NOT NULL,
    bucket_bounds double precision[] DEFAULT '{}'::double precision[] NOT NULL,
    bucket_counts bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT metrics_check CHECK ((cardinality(bucket_bounds) = cardinality(bucket_counts))),
    CONSTRAINT metrics_labels_check CHECK ((jsonb_typeof(labels) = 'object'::text)),
    CONSTRAINT metrics_name_check CHECK ((name ~ '^[a-z_][a-z0-9_]*$'::text)),
    CONSTRAINT metrics_sample_count_check CHECK ((sample_count >= 0)),
    CONSTRAINT metrics_type_check CHECK ((type = ANY (ARRAY['counter'::text, 'gauge'::text, 'histogram'::text])))
);

ALTER TABLE operations.metrics OWNER TO postgres;

COMMENT ON TABLE operations.metrics IS 'One row per series: a counter''s total, a gauge''s last value, or a histogram''s sum with its counts (not cumulative) up to each bound. All processes add to the same rows, in batches.';

CREATE TABLE operations.rejects (
    reject_id bigint NOT NULL,
    source text NOT NULL,
    reason text NOT NULL,
    payload jsonb NOT NULL,
    payload_digest text NOT NULL,
    first_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    last_seen_at timestamp with time zone DEFAULT now() NOT NULL,
    seen_count integer DEFAULT 1 NOT NULL,
    replayed_at timestamp with time zone,
    replayed_as text,
    CONSTRAINT rejects_seen_count_check CHECK ((seen_count >= 1))
);

ALTER TABLE operations.rejects OWNER TO postgres;

COMMENT ON TABLE operations.rejects IS 'One row per bad row per source: what it was and why it was refused. Seen again, it is counted, not repeated.';

ALTER TABLE operations.rejects ALTER COLUMN reject_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME operations.rejects_reject_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE operations.schema_migrations (
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE operations.schema_migrations OWNER TO postgres;

CREATE TABLE property.comps (
    source text NOT NULL,
    comp_id text NOT NULL,
    market_slug text NOT NULL,
    property_type text NOT NULL,
    sale_date date NOT NULL,
    sale_price_usd double precision NOT NULL,
    living_area_sqft double precision,
    bedrooms double precision,
    bathrooms double precision,
    lot_sqft double precision,
    year_built integer,
    latitude double precision,
    longitude double precision,
    address text,
    revision integer NOT NULL,
    revised_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    provenance jsonb NOT NULL,
    CONSTRAINT comps_bathrooms_check CHECK (((bathrooms >= (0)::double precision) AND (bathrooms <= (1000)::double precision))),
    CONSTRAINT comps_bedrooms_check CHECK (((bedrooms >= (0)::double precision) AND (bedrooms <= (1000)::double precision))),
    CONSTRAINT comps_check CHECK (((latitude IS NULL) = (longitude IS NULL))),
    CONSTRAINT comps_comp_id_check CHECK (((length(comp_id) >= 1) AND (length(comp_id) <= 200))),
    CONSTRAINT comps_latitude_check CHECK (((latitude >= ('-90'::integer)::double precision) AND (latitude <= (90)::double precision))),
    CONSTRAINT comps_living_area_sqft_check CHECK (((living_area_sqft > (0)::double precision) AND (living_area_sqft < 'Infinity'::double precision))),
    CONSTRAINT comps_longitude_check CHECK (((longitude >= ('-180'::integer)::double precision) AND (longitude <= (180)::double precision))),
    CONSTRAINT comps_lot_sqft_check CHECK (((lot_sqft >= (0)::double precision) AND (lot_sqft < 'Infinity'::double precision))),
    CONSTRAINT comps_market_slug_check CHECK ((market_slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'::text)),
    CONSTRAINT comps_property_type_check CHECK ((property_type <> ''::text)),
    CONSTRAINT comps_revision_check CHECK ((revision >= 1)),
    CONSTRAINT comps_sale_price_usd_check CHECK (((sale_price_usd > (0)::double precision) AND (sale_price_usd < 'Infinity'::double precision))),
    CONSTRAINT comps_year_built_check CHECK (((year_built >= 1500) AND (year_built <= 2200)))
);

ALTER TABLE property.comps OWNER TO postgres;

CREATE TABLE property.comps_revisions (
    source text NOT NULL,
    comp_id text NOT NULL,
    revision integer NOT NULL,
    comp jsonb NOT NULL,
    revised_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    provenance jsonb NOT NULL,
    CONSTRAINT comps_revisions_revision_check CHECK ((revision >= 1))
);

ALTER TABLE property.comps_revisions OWNER TO postgres;

COMMENT ON TABLE property.comps_revisions IS 'One row per state that a comparable sale ever had, the current one included: all its columns as JSON, who said so and when.';

CREATE TABLE property.fundamentals (
    market_slug text NOT NULL,
    metric text NOT NULL,
    as_of_date date NOT NULL,
    value double precision NOT NULL,
    unit text NOT NULL,
    source text NOT NULL,
    revision integer NOT NULL,
    revised_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    provenance jsonb NOT NULL,
    CONSTRAINT fundamentals_market_slug_check CHECK ((market_slug ~ '^[a-z0-9]+(-[a-z0-9]+)*$'::text)),
    CONSTRAINT fundamentals_revision_check CHECK ((revision >= 1)),
    CONSTRAINT fundamentals_value_check CHECK (((value > '-Infinity'::double precision) AND (value < 'Infinity'::double precision)))
);

ALTER TABLE property.fundamentals OWNER TO postgres;

CREATE TABLE property.fundamentals_revisions (
    market_slug text NOT NULL,
    metric text NOT NULL,
    as_of_date date NOT NULL,
    revision integer NOT NULL,
    value double precision NOT NULL,
    unit text NOT NULL,
    source text NOT NULL,
    revised_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    provenance jsonb NOT NULL,
    CONSTRAINT fundamentals_revisions_revision_check CHECK ((revision >= 1))
);

ALTER TABLE property.fundamentals_revisions OWNER TO postgres;

COMMENT ON TABLE property.fundamentals_revisions IS 'One row per value that a fundamental ever had, the current one included: what it was, who said so first and when. Numbered as we learned them: a value that came late has a higher number than the one that is current.';

CREATE TABLE property.fundamentals_staleness (
    market_slug text NOT NULL,
    last_as_of_date date NOT NULL,
    last_received_at timestamp with time zone NOT NULL,
    age_days integer NOT NULL,
    max_age_days integer NOT NULL,
    is_stale boolean NOT NULL,
    metric_count integer NOT NULL,
    checked_at timestamp with time zone NOT NULL,
    CONSTRAINT fundamentals_staleness_metric_count_check CHECK ((metric_count >= 1))
);

ALTER TABLE property.fundamentals_staleness OWNER TO postgres;

CREATE TABLE property.macro_observations (
    series_id text NOT NULL,
    observation_date date NOT NULL,
    vintage_date date NOT NULL,
    confirmed_date date NOT NULL,
    value double precision,
    source text NOT NULL,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT macro_observations_check CHECK ((vintage_date <= confirmed_date)),
    CONSTRAINT macro_observations_series_id_check CHECK ((series_id ~ '^[A-Za-z0-9_.-]{1,64}$'::text)),
    CONSTRAINT macro_observations_value_check CHECK (((value > '-Infinity'::double precision) AND (value < 'Infinity'::double precision)))
);

ALTER TABLE property.macro_observations OWNER TO postgres;

CREATE VIEW property.macro_latest WITH (security_invoker='true') AS
 SELECT DISTINCT ON (series_id, observation_date) series_id,
    observation_date,
    value,
    vintage_date,
    confirmed_date,
    source,
    received_at
   FROM property.macro_observations
  ORDER BY series_id, observation_date, confirmed_date DESC, received_at DESC;

ALTER VIEW property.macro_latest OWNER TO postgres;

CREATE TABLE property.prediction_accuracy (
    as_of_date date NOT NULL,
    market_slug text NOT NULL,
    property_type text NOT NULL,
    method_version text NOT NULL,
    window_days integer NOT NULL,
    prediction_count integer NOT NULL,
    valued_count integer NOT NULL,
    mdape_ratio double precision,
    ppe10_ratio double precision,
    ppe20_ratio double precision,
    bias_ratio double precision,
    error_stddev_ratio double precision,
    CONSTRAINT prediction_accuracy_check CHECK (((valued_count >= 0) AND (valued_count <= prediction_count))),
    CONSTRAINT prediction_accuracy_error_stddev_ratio_check CHECK ((error_stddev_ratio >= (0)::double precision)),
    CONSTRAINT prediction_accuracy_mdape_ratio_check CHECK (((mdape_ratio >= (0)::double precision) AND (mdape_ratio < 'Infinity'::double precision))),
    CONSTRAINT prediction_accuracy_ppe10_ratio_check CHECK (((ppe10_ratio >= (0)::double precision) AND (ppe10_ratio <= (1)::double precision))),
    CONSTRAINT prediction_accuracy_ppe20_ratio_check CHECK (((ppe20_ratio >= (0)::double precision) AND (ppe20_ratio <= (1)::double precision))),
    CONSTRAINT prediction_accuracy_prediction_count_check CHECK ((prediction_count >= 0)),
    CONSTRAINT prediction_accuracy_window_days_check CHECK ((window_days > 0))
);

ALTER TABLE property.prediction_accuracy OWNER TO postgres;

CREATE TABLE property.predictions (
    prediction_id text NOT NULL,
    market_slug text NOT NULL,
    property_type text NOT NULL,
    subject_id text NOT NULL,
    subject jsonb NOT NULL,
    valuation_date date NOT NULL,
    estimate_usd double precision,
    low_usd double precision,
    high_usd double precision,
    comp_count integer NOT NULL,
    dispersion_ratio double precision,
    confidence_ratio double precision NOT NULL,
    filter_step integer,
    time_adjustment text NOT NULL,
    is_out_of_sample boolean NOT NULL,
    sale_price_usd double precision,
    subject_revision integer,
    method_version text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    job_id text,
    CONSTRAINT predictions_check CHECK (((low_usd <= estimate_usd) AND (estimate_usd <= high_usd))),
    CONSTRAINT predictions_check1 CHECK (((estimate_usd IS NULL) = (comp_count = 0))),
    CONSTRAINT predictions_check2 CHECK ((((estimate_usd IS NULL) = (low_usd IS NULL)) AND ((estimate_usd IS NULL) = (high_usd IS NULL)))),
    CONSTRAINT predictions_check3 CHECK ((is_out_of_sample <= ((sale_price_usd IS NOT NULL) AND (subject_revision IS NOT NULL)))),
    CONSTRAINT predictions_comp_count_check CHECK ((comp_count >= 0)),
    CONSTRAINT predictions_confidence_ratio_check CHECK (((confidence_ratio >= (0)::double precision) AND (confidence_ratio <= (1)::double precision))),
    CONSTRAINT predictions_dispersion_ratio_check CHECK (((dispersion_ratio >= (0)::double precision) AND (dispersion_ratio < 'Infinity'::double precision))),
    CONSTRAINT predictions_estimate_usd_check CHECK (((estimate_usd > (0)::double precision) AND (estimate_usd < 'Infinity'::double precision))),
    CONSTRAINT predictions_filter_step_check CHECK ((filter_step >= 1)),
    CONSTRAINT predictions_high_usd_check CHECK ((high_usd < 'Infinity'::double precision)),
    CONSTRAINT predictions_low_usd_check CHECK ((low_usd > (0)::double precision)),
    CONSTRAINT predictions_prediction_id_check CHECK ((length(prediction_id) = 32)),
    CONSTRAINT predictions_sale_price_usd_check CHECK (((sale_price_usd > (0)::double precision) AND (sale_price_usd < 'Infinity'::double precision))),
    CONSTRAINT predictions_time_adjustment_check CHECK ((time_adjustment = ANY (ARRAY['index'::text, 'trend'::text, 'none'::text])))
);

ALTER TABLE ONLY property.predictions FORCE ROW LEVEL SECURITY;

ALTER TABLE property.predictions OWNER TO postgres;

CREATE TABLE sales.coverage (
    month date NOT NULL,
    owner_id text NOT NULL,
    platform text NOT NULL,
    state text NOT NULL,
    report_count integer NOT NULL,
    row_count integer NOT NULL,
    last_seen_at timestamp with time zone,
    CONSTRAINT coverage_month_check CHECK ((EXTRACT(day FROM month) = (1)::numeric)),
    CONSTRAINT coverage_report_count_check CHECK ((report_count >= 0)),
    CONSTRAINT coverage_row_count_check CHECK ((row_count >= 0)),
    CONSTRAINT coverage_state_check CHECK ((state = ANY (ARRAY['final'::text, 'estimate'::text, 'missing'::text])))
);

ALTER TABLE sales.coverage OWNER TO postgres;

COMMENT ON TABLE sales.coverage IS 'One row per month, owner and platform since the first report: final, estimate or missing. A final month without sales is final, not missing.';

CREATE TABLE sales.exchange_rates (
    currency text NOT NULL,
    rate_date date NOT NULL,
    usd_per_unit numeric(24,12) NOT NULL,
    source text NOT NULL,
    CONSTRAINT exchange_rates_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT exchange_rates_usd_per_unit_check CHECK ((usd_per_unit > (0)::numeric))
);

ALTER TABLE sales.exchange_rates OWNER TO postgres;

CREATE VIEW sales.ingestion_attempts WITH (security_invoker='true') AS
 SELECT attempts.attempt_id AS id,
    attempts.job_id,
    attempts.attempt AS attempt_number,
    COALESCE(attempts.outcome, 'processing'::text) AS status,
    attempts.error_message,
    attempts.started_at,
    attempts.finished_at AS completed_at
   FROM (operations.job_attempts attempts
     JOIN operations.jobs jobs ON ((attempts.job_id = jobs.job_id)))
  WHERE (jobs.job_type = 'platform_ingest'::text);

ALTER VIEW sales.ingestion_attempts OWNER TO postgres;

CREATE VIEW sales.ingestion_jobs WITH (security_invoker='true') AS
 SELECT job_id AS id,
    job_id,
    owner_id AS user_id,
    (input_data ->> 'platform'::text) AS platform,
        CASE status
            WHEN 'QUEUED'::text THEN 'queued'::text
            WHEN 'RUNNING'::text THEN 'processing'::text
            WHEN 'RETRYING'::text THEN 'retrying'::text
            WHEN 'COMPLETED'::text THEN 'completed'::text
            ELSE 'failed'::text
        END AS status,
    attempt_count AS attempts,
    max_attempts,
    error_message,
    input_data AS payload,
    output_data AS result,
    created_at,
    updated_at,
    started_at,
    finished_at AS completed_at
   FROM operations.jobs
  WHERE (job_type = 'platform_ingest'::text);

ALTER VIEW sales.ingestion_jobs OWNER TO postgres;

CREATE TABLE sales.kenp_rates (
    month date NOT NULL,
    storefront text NOT NULL,
    rate numeric(24,12) NOT NULL,
    currency text NOT NULL,
    CONSTRAINT kenp_rates_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT kenp_rates_month_check CHECK ((EXTRACT(day FROM month) = (1)::numeric)),
    CONSTRAINT kenp_rates_rate_check CHECK ((rate > (0)::numeric)),
    CONSTRAINT kenp_rates_storefront_check CHECK ((storefront = lower(storefront)))
);

ALTER TABLE sales.kenp_rates OWNER TO postgres;

COMMENT ON TABLE sales.kenp_rates IS 'What a page read of KDP was worth, by month and marketplace (in lower case), in its currency.';

CREATE TABLE sales.ledger_months (
    owner_id text NOT NULL,
    platform text NOT NULL,
    month date NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    daily_version bigint DEFAULT 0 NOT NULL,
    monthly_version bigint DEFAULT 0 NOT NULL,
    CONSTRAINT ledger_months_month_check CHECK ((EXTRACT(day FROM month) = (1)::numeric))
);

ALTER TABLE sales.ledger_months OWNER TO postgres;

COMMENT ON TABLE sales.ledger_months IS 'One row per month of an owner''s ledger: how often it has changed, and which of these states the derived tables were built from.';

CREATE TABLE sales.payments (
    owner_id text NOT NULL,
    platform text NOT NULL,
    natural_key text NOT NULL COLLATE pg_catalog."C",
    payment_id text,
    period_start date,
    period_end date,
    storefront text,
    detail text,
    source text,
    method text,
    currency text NOT NULL,
    accrued numeric(24,8),
    tax_withheld numeric(24,8),
    adjustments numeric(24,8),
    net numeric(24,8),
    payout_currency text,
    fx_rate numeric(24,12),
    payout_amount numeric(24,8),
    status text,
    paid_on date,
    source_sha256 text NOT NULL,
    exported_at timestamp with time zone NOT NULL,
    sheet text,
    row_number integer NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT payments_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT payments_natural_key_check CHECK (((length(natural_key) = 64) AND (natural_key ~ '^[0-9a-f]+$'::text))),
    CONSTRAINT payments_owner_id_check CHECK ((owner_id <> ''::text)),
    CONSTRAINT payments_payout_currency_check CHECK ((payout_currency ~ '^[A-Z]{3}$'::text))
);

ALTER TABLE ONLY sales.payments FORCE ROW LEVEL SECURITY;

ALTER TABLE sales.payments OWNER TO postgres;

COMMENT ON TABLE sales.payments IS 'One row per payment that a platform reports. Payments are never added to royalties: they are the same money, later.';

CREATE TABLE sales.rate_changes (
    currency text NOT NULL,
    rate_date date NOT NULL
);

ALTER TABLE sales.rate_changes OWNER TO postgres;

COMMENT ON TABLE sales.rate_changes IS 'Rates that are new or corrected and not yet applied to the ledger.';

CREATE TABLE sales.report_files (
    owner_id text NOT NULL,
    sha256 text NOT NULL,
    platform text NOT NULL,
    name text NOT NULL,
    size_bytes bigint NOT NULL,
    status text DEFAULT 'received'::text NOT NULL,
    report text,
    period_start date,
    period_end date,
    is_final boolean,
    is_whole boolean,
    parts text[] DEFAULT '{}'::text[] NOT NULL,
    is_by_day boolean,
    reason text,
    row_count integer,
    problem_count integer,
    problems jsonb DEFAULT '[]'::jsonb NOT NULL,
    skipped jsonb DEFAULT '[]'::jsonb NOT NULL,
    totals jsonb DEFAULT '{}'::jsonb NOT NULL,
    exported_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    received_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    settled_at timestamp with time zone,
    job_id uuid,
    CONSTRAINT report_files_check CHECK (((status = 'received'::text) = (settled_at IS NULL))),
    CONSTRAINT report_files_check1 CHECK (((status = 'quarantined'::text) <= (reason IS NOT NULL))),
    CONSTRAINT report_files_check2 CHECK ((period_start <= period_end)),
    CONSTRAINT report_files_check3 CHECK (((period_start >= '2000-01-01'::date) AND (period_end < '2100-01-01'::date))),
    CONSTRAINT report_files_platform_check CHECK ((platform = ANY (ARRAY['amazon_kdp'::text, 'gumroad'::text, 'draft2digital'::text, 'smashwords'::text]))),
    CONSTRAINT report_files_problem_count_check CHECK ((problem_count >= 0)),
    CONSTRAINT report_files_row_count_check CHECK ((row_count >= 0)),
    CONSTRAINT report_files_sha256_check CHECK ((sha256 ~ '^[0-9a-f]{64}$'::text)),
    CONSTRAINT report_files_size_bytes_check CHECK ((size_bytes >= 0)),
    CONSTRAINT report_files_status_check CHECK ((status = ANY (ARRAY['received'::text, 'ingested'::text, 'quarantined'::text])))
);

ALTER TABLE ONLY sales.report_files FORCE ROW LEVEL SECURITY;

ALTER TABLE sales.report_files OWNER TO postgres;

COMMENT ON TABLE sales.report_files IS 'One row per report file and owner: the original is kept once under its SHA-256; what it was recognised as, how many rows it gave, which it could not read, or why it is in quarantine. Of two reports that say the same, the one that was exported last is right. is_whole: every row was read, and of KDP it has the sheets of e-books and of pages or the one of all. parts: what a report of KDP has sheets of, empty ones too. is_by_day: no row of it states more than a day.';

CREATE TABLE sales.sales_daily (
    day date NOT NULL,
    period_days integer NOT NULL,
    owner_id text NOT NULL,
    platform text NOT NULL,
    title_id text NOT NULL,
    format text NOT NULL,
    country text NOT NULL,
    title text NOT NULL,
    currency text NOT NULL,
    units_sold integer NOT NULL,
    units_refunded integer NOT NULL,
    net_units integer NOT NULL,
    free_units integer NOT NULL,
    pages_read integer NOT NULL,
    royalty numeric(24,8),
    royalty_usd numeric(24,8),
    row_count integer NOT NULL,
    is_final boolean NOT NULL,
    CONSTRAINT sales_daily_period_days_check CHECK ((period_days >= 1))
);

ALTER TABLE sales.sales_daily OWNER TO postgres;

COMMENT ON TABLE sales.sales_daily IS 'One row per day, owner, platform, title, format, country and currency with sales. What a report states of a longer period stands on its first day, with period_days.';

CREATE TABLE sales.sales_events (
    owner_id text NOT NULL,
    platform text NOT NULL,
    natural_key text NOT NULL COLLATE pg_catalog."C",
    storefront text NOT NULL,
    country text,
    title_id text NOT NULL,
    edition_id text,
    title text NOT NULL,
    author text,
    format text NOT NULL,
    kind text NOT NULL,
    transaction_type text,
    royalty_type text,
    units_sold integer NOT NULL,
    units_refunded integer NOT NULL,
    net_units integer NOT NULL,
    pages_read integer DEFAULT 0 NOT NULL,
    list_price numeric(24,8),
    offer_price numeric(24,8),
    currency text NOT NULL,
    royalty numeric(24,8),
    estimated_royalty numeric(24,8),
    reported_usd numeric(24,8),
    fx_rate numeric(24,12),
    fx_date date,
    royalty_usd numeric(24,8),
    period_start date NOT NULL,
    period_end date NOT NULL,
    is_final boolean NOT NULL,
    superseded_by text,
    source_report text NOT NULL,
    source_sha256 text NOT NULL,
    exported_at timestamp with time zone NOT NULL,
    sheet text,
    row_number integer NOT NULL,
    job_id text,
    first_seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT sales_events_check CHECK (((estimated_royalty IS NULL) OR ((royalty IS NULL) AND (kind = 'pages_read'::text)))),
    CONSTRAINT sales_events_check1 CHECK ((net_units = (units_sold - units_refunded))),
    CONSTRAINT sales_events_check2 CHECK ((period_start <= period_end)),
    CONSTRAINT sales_events_check3 CHECK (((period_start >= '2000-01-01'::date) AND (period_end < '2100-01-01'::date))),
    CONSTRAINT sales_events_check4 CHECK (((fx_rate IS NULL) = (fx_date IS NULL))),
    CONSTRAINT sales_events_check5 CHECK (((royalty_usd IS NULL) = ((COALESCE(royalty, estimated_royalty) IS NULL) OR (fx_rate IS NULL)))),
    CONSTRAINT sales_events_country_check CHECK ((country ~ '^[A-Z]{2}$'::text)),
    CONSTRAINT sales_events_currency_check CHECK ((currency ~ '^[A-Z]{3}$'::text)),
    CONSTRAINT sales_events_format_check CHECK ((format = ANY (ARRAY['ebook'::text, 'paperback'::text, 'hardcover'::text, 'audiobook'::text, 'other'::text]))),
    CONSTRAINT sales_events_fx_rate_check CHECK ((fx_rate > (0)::numeric)),
    CONSTRAINT sales_events_kind_check CHECK ((kind = ANY (ARRAY['sale'::text, 'refund'::text, 'free'::text, 'pages_read'::text, 'adjustment'::text]))),
    CONSTRAINT sales_events_natural_key_check CHECK (((length(natural_key) = 64) AND (natural_key ~ '^[0-9a-f]+$'::text))),
    CONSTRAINT sales_events_owner_id_check CHECK ((owner_id <> ''::text)),
    CONSTRAINT sales_events_pages_read_check CHECK ((pages_read >= 0)),
    CONSTRAINT sales_events_platform_check CHECK ((platform = ANY (ARRAY['amazon_kdp'::text, 'gumroad'::text, 'draft2digital'::text, 'smashwords'::text]))),
    CONSTRAINT sales_events_superseded_by_check CHECK ((superseded_by = ANY (ARRAY['final_month'::text, 'newer_export'::text, 'other_sheet'::text, 'draft2digital'::text])))
);

ALTER TABLE ONLY sales.sales_events FORCE ROW LEVEL SECURITY;

ALTER TABLE sales.sales_events OWNER TO postgres;

COMMENT ON TABLE sales.sales_events IS 'One row per line of a platform''s report: units, prices and the author''s money in its own currency, with where it stands in which file. Overlapping exports meet on the natural key. A row with superseded_by is kept and not counted: a final month, a newer export, another sheet of KDP, or Draft2Digital says the same.';

CREATE TABLE sales.sales_monthly (
    month date NOT NULL,
    owner_id text NOT NULL,
    platform text NOT NULL,
    title_id text NOT NULL,
    format text NOT NULL,
    country text NOT NULL,
    title text NOT NULL,
    currency text NOT NULL,
    units_sold integer NOT NULL,
    units_refunded integer NOT NULL,
    net_units integer NOT NULL,
    free_units integer NOT NULL,
    pages_read integer NOT NULL,
    royalty numeric(24,8),
    royalty_usd numeric(24,8),
    row_count integer NOT NULL,
    is_final boolean NOT NULL,
    CONSTRAINT sales_monthly_month_check CHECK ((EXTRACT(day FROM month) = (1)::numeric))
);

ALTER TABLE sales.sales_monthly OWNER TO postgres;

COMMENT ON TABLE sales.sales_monthly IS 'One row per month, owner, platform, title, format, country and currency with sales.';

ALTER TABLE ONLY events.event_log ATTACH PARTITION events.event_log_default DEFAULT;

ALTER TABLE ONLY community.author_metrics_daily
    ADD CONSTRAINT author_metrics_daily_pkey PRIMARY KEY (day, author_id);

ALTER TABLE ONLY community.crawl_item_revisions
    ADD CONSTRAINT crawl_item_revisions_pkey PRIMARY KEY (source_id, external_id, revision);

ALTER TABLE ONLY community.crawl_items
    ADD CONSTRAINT crawl_items_pkey PRIMARY KEY (source_id, external_id);

ALTER TABLE ONLY community.dirty_days
    ADD CONSTRAINT dirty_days_pkey PRIMARY KEY (table_name, day);

ALTER TABLE ONLY community.donation_facts
    ADD CONSTRAINT donation_facts_pkey PRIMARY KEY (payment_intent, object_type, object_id);

ALTER TABLE ONLY community.donations
    ADD CONSTRAINT donations_pkey PRIMARY KEY (payment_intent);

ALTER TABLE ONLY community.excluded_events_daily
    ADD CONSTRAINT excluded_events_daily_pkey PRIMARY KEY (day, reason);

ALTER TABLE ONLY community.forgotten_payments
    ADD CONSTRAINT forgotten_payments_pkey PRIMARY KEY (payment_intent);

ALTER TABLE ONLY community.leaderboard_snapshots
    ADD CONSTRAINT leaderboard_snapshots_day_period_kind_scope_scope_value_sub_key UNIQUE (day, period, kind, scope, scope_value, subject_id) DEFERRABLE;

ALTER TABLE ONLY community.leaderboard_snapshots
    ADD CONSTRAINT leaderboard_snapshots_pkey PRIMARY KEY (day, period, kind, scope, scope_value, rank);

ALTER TABLE ONLY community.notification_preferences
    ADD CONSTRAINT notification_preferences_pkey PRIMARY KEY (person_id);

ALTER TABLE ONLY community.notifications
    ADD CONSTRAINT notifications_idempotency_key_key UNIQUE (idempotency_key);

ALTER TABLE ONLY community.notifications
    ADD CONSTRAINT notifications_pkey PRIMARY KEY (id);

ALTER TABLE ONLY community.removed_crawl_items
    ADD CONSTRAINT removed_crawl_items_pkey PRIMARY KEY (source_id, external_id);

ALTER TABLE ONLY community.rule_events
    ADD CONSTRAINT rule_events_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY community.rule_metrics_daily
    ADD CONSTRAINT rule_metrics_daily_pkey PRIMARY KEY (day, rule_id);

ALTER TABLE ONLY community.rules
    ADD CONSTRAINT rules_pkey PRIMARY KEY (rule_id);

ALTER TABLE ONLY community.search_changes
    ADD CONSTRAINT search_changes_pkey PRIMARY KEY (kind, id);

ALTER TABLE ONLY community.search_documents
    ADD CONSTRAINT search_documents_pkey PRIMARY KEY (generation, kind, id);

ALTER TABLE ONLY community.search_index
    ADD CONSTRAINT search_index_pkey PRIMARY KEY (is_only);

ALTER TABLE ONLY community.search_vectors
    ADD CONSTRAINT search_vectors_pkey PRIMARY KEY (generation, kind, id);

ALTER TABLE ONLY events.address_keys
    ADD CONSTRAINT address_keys_pkey PRIMARY KEY (day);

ALTER TABLE ONLY events.changed_days
    ADD CONSTRAINT changed_days_pkey PRIMARY KEY (day);

ALTER TABLE ONLY events.counted_views
    ADD CONSTRAINT counted_views_pkey PRIMARY KEY (address_hash, rule_id, counted_at);

ALTER TABLE ONLY events.daily_active_users
    ADD CONSTRAINT daily_active_users_pkey PRIMARY KEY (day);

ALTER TABLE ONLY events.erasure_requests
    ADD CONSTRAINT erasure_requests_pkey PRIMARY KEY (erasure_id);

ALTER TABLE ONLY events.event_aggregations_daily
    ADD CONSTRAINT event_aggregations_daily_pkey PRIMARY KEY (event_type, event_category, bucket_start);

ALTER TABLE ONLY events.event_aggregations_hourly
    ADD CONSTRAINT event_aggregations_hourly_pkey PRIMARY KEY (event_type, event_category, bucket_start);

ALTER TABLE ONLY events.event_aggregations_weekly
    ADD CONSTRAINT event_aggregations_weekly_pkey PRIMARY KEY (event_type, event_category, bucket_start);

ALTER TABLE ONLY events.event_keys
    ADD CONSTRAINT event_keys_pkey PRIMARY KEY (key_hash);

ALTER TABLE ONLY events.event_schemas
    ADD CONSTRAINT event_schemas_pkey PRIMARY KEY (event_type, schema_version);

ALTER TABLE ONLY events.event_states
    ADD CONSTRAINT event_states_pkey PRIMARY KEY (event_id);

ALTER TABLE ONLY events.funnels
    ADD CONSTRAINT funnels_pkey PRIMARY KEY (day, funnel, step);

ALTER TABLE ONLY events.intake_counts
    ADD CONSTRAINT intake_counts_pkey PRIMARY KEY (day, intake_id);

ALTER TABLE ONLY events.platform_metrics_realtime
    ADD CONSTRAINT platform_metrics_realtime_pkey PRIMARY KEY (metric_name, dimensions);

ALTER TABLE ONLY events.retention_classes
    ADD CONSTRAINT retention_classes_pkey PRIMARY KEY (retention_class);

ALTER TABLE ONLY events.retention_cohorts
    ADD CONSTRAINT retention_cohorts_pkey PRIMARY KEY (week, cohort_week);

ALTER TABLE ONLY events.warehouse_sync_status
    ADD CONSTRAINT warehouse_sync_status_pkey PRIMARY KEY (warehouse_type, batch_number);

ALTER TABLE ONLY market.comparisons
    ADD CONSTRAINT comparisons_pkey PRIMARY KEY (as_of_date, base_symbol, quote_symbol);

ALTER TABLE ONLY market.markets
    ADD CONSTRAINT markets_pkey PRIMARY KEY (symbol);

ALTER TABLE ONLY market.roi_statistics
    ADD CONSTRAINT roi_statistics_pkey PRIMARY KEY (as_of_date, symbol, window_days);

ALTER TABLE ONLY market.snapshots
    ADD CONSTRAINT snapshots_pkey PRIMARY KEY (symbol, as_of);

ALTER TABLE ONLY operations.alerts
    ADD CONSTRAINT alerts_pkey PRIMARY KEY (alert_id);

ALTER TABLE ONLY operations.app_tokens
    ADD CONSTRAINT app_tokens_digest_key UNIQUE (digest);

ALTER TABLE ONLY operations.app_tokens
    ADD CONSTRAINT app_tokens_pkey PRIMARY KEY (name);

ALTER TABLE ONLY operations.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (audit_id);

ALTER TABLE ONLY operations.cache_metrics
    ADD CONSTRAINT cache_metrics_pkey PRIMARY KEY (cache_metric_id);

ALTER TABLE ONLY operations.circuit_breakers
    ADD CONSTRAINT circuit_breakers_pkey PRIMARY KEY (name);

ALTER TABLE ONLY operations.cron_logs
    ADD CONSTRAINT cron_logs_pkey PRIMARY KEY (cron_log_id);

ALTER TABLE ONLY operations.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (delivery_id);

ALTER TABLE ONLY operations.deliveries
    ADD CONSTRAINT deliveries_source_idempotency_key_key UNIQUE (source, idempotency_key);

ALTER TABLE ONLY operations.delivery_sources
    ADD CONSTRAINT delivery_sources_pkey PRIMARY KEY (source);

ALTER TABLE ONLY operations.freshness_states
    ADD CONSTRAINT freshness_states_pkey PRIMARY KEY (asset_key);

ALTER TABLE ONLY operations.health_states
    ADD CONSTRAINT health_states_pkey PRIMARY KEY (service);

ALTER TABLE ONLY operations.ingestion_events
    ADD CONSTRAINT ingestion_events_pkey PRIMARY KEY (ingestion_event_id);

ALTER TABLE ONLY operations.job_attempts
    ADD CONSTRAINT job_attempts_pkey PRIMARY KEY (attempt_id);

ALTER TABLE ONLY operations.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (job_id);

ALTER TABLE ONLY operations.metric_minutes
    ADD CONSTRAINT metric_minutes_pkey PRIMARY KEY (minute, name, labels);

ALTER TABLE ONLY operations.metrics
    ADD CONSTRAINT metrics_pkey PRIMARY KEY (name, labels);

ALTER TABLE ONLY operations.rejects
    ADD CONSTRAINT rejects_pkey PRIMARY KEY (reject_id);

ALTER TABLE ONLY operations.rejects
    ADD CONSTRAINT rejects_source_payload_digest_key UNIQUE (source, payload_digest);

ALTER TABLE ONLY operations.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

ALTER TABLE ONLY property.comps
    ADD CONSTRAINT comps_pkey PRIMARY KEY (source, comp_id);

ALTER TABLE ONLY property.comps_revisions
    ADD CONSTRAINT comps_revisions_pkey PRIMARY KEY (source, comp_id, revision);

ALTER TABLE ONLY property.fundamentals
    ADD CONSTRAINT fundamentals_pkey PRIMARY KEY (market_slug, metric, as_of_date);

ALTER TABLE ONLY property.fundamentals_revisions
    ADD CONSTRAINT fundamentals_revisions_pkey PRIMARY KEY (market_slug, metric, as_of_date, revision);

ALTER TABLE ONLY property.fundamentals_staleness
    ADD CONSTRAINT fundamentals_staleness_pkey PRIMARY KEY (market_slug);

ALTER TABLE ONLY property.macro_observations
    ADD CONSTRAINT macro_observations_pkey PRIMARY KEY (series_id, observation_date, vintage_date);

ALTER TABLE ONLY property.prediction_accuracy
    ADD CONSTRAINT prediction_accuracy_pkey PRIMARY KEY (as_of_date, market_slug, property_type, method_version);

ALTER TABLE ONLY property.predictions
    ADD CONSTRAINT predictions_pkey PRIMARY KEY (prediction_id);

ALTER TABLE ONLY sales.coverage
    ADD CONSTRAINT coverage_pkey PRIMARY KEY (month, owner_id, platform);

ALTER TABLE ONLY sales.exchange_rates
    ADD CONSTRAINT exchange_rates_pkey PRIMARY KEY (currency, rate_date);

ALTER TABLE ONLY sales.kenp_rates
    ADD CONSTRAINT kenp_rates_pkey PRIMARY KEY (month, storefront);

ALTER TABLE ONLY sales.ledger_months
    ADD CONSTRAINT ledger_months_pkey PRIMARY KEY (owner_id, platform, month);

ALTER TABLE ONLY sales.payments
    ADD CONSTRAINT payments_pkey PRIMARY KEY (owner_id, platform, natural_key);

ALTER TABLE ONLY sales.rate_changes
    ADD CONSTRAINT rate_changes_pkey PRIMARY KEY (currency, rate_date);

ALTER TABLE ONLY sales.report_files
    ADD CONSTRAINT report_files_pkey PRIMARY KEY (owner_id, platform, sha256);

ALTER TABLE ONLY sales.sales_daily
    ADD CONSTRAINT sales_daily_pkey PRIMARY KEY (day, period_days, owner_id, platform, title_id, format, country, currency);

ALTER TABLE ONLY sales.sales_events
    ADD CONSTRAINT sales_events_pkey PRIMARY KEY (owner_id, platform, natural_key);

ALTER TABLE ONLY sales.sales_monthly
    ADD CONSTRAINT sales_monthly_pkey PRIMARY KEY (month, owner_id, platform, title_id, format, country, currency);

CREATE INDEX author_metrics_daily_author ON community.author_metrics_daily USING btree (author_id, day);

CREATE UNIQUE INDEX crawl_items_document ON community.crawl_items USING btree (document_id);

CREATE INDEX crawl_items_last_seen ON community.crawl_items USING btree (last_seen_at);

CREATE INDEX donations_paid ON community.donations USING btree (paid_on, author_id);

CREATE INDEX donations_paid_at ON community.donations USING btree (paid_at);

CREATE INDEX donations_without_author ON community.donations USING btree (rule_id) WHERE ((author_id IS NULL) AND (rule_id IS NOT NULL));

CREATE INDEX leaderboard_snapshots_authors ON community.leaderboard_snapshots USING btree (subject_id) WHERE (kind = 'AUTHOR'::text);

CREATE INDEX leaderboard_snapshots_days ON community.leaderboard_snapshots USING btree (scope, scope_value, period, kind, day) WHERE (rank = 1);

CREATE INDEX leaderboard_snapshots_labelled ON community.leaderboard_snapshots USING btree (day) WHERE ((rank = 1) AND (scope <> 'GLOBAL'::text));

CREATE INDEX notifications_due ON community.notifications USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX notifications_over ON community.notifications USING btree (created_at) WHERE (due_at IS NULL);

CREATE INDEX notifications_person ON community.notifications USING btree (person_id, created_at DESC, id DESC);

CREATE INDEX rule_events_day ON community.rule_events USING btree (day);

CREATE INDEX rule_events_rule ON community.rule_events USING btree (rule_id, occurred_at);

CREATE INDEX rule_metrics_daily_author ON community.rule_metrics_daily USING btree (author_id, day) WHERE (author_id IS NOT NULL);

CREATE INDEX rule_metrics_daily_rule ON community.rule_metrics_daily USING btree (rule_id, day);

CREATE INDEX rules_author ON community.rules USING btree (author_id) WHERE (author_id IS NOT NULL);

CREATE INDEX rules_updated ON community.rules USING btree (updated_at);

CREATE INDEX search_vectors_words ON community.search_vectors USING gin (vector);

CREATE UNIQUE INDEX erasure_requests_open ON events.erasure_requests USING btree (user_id, mode) WHERE (status = 'requested'::text);

CREATE INDEX event_aggregations_daily_bucket_start_idx ON events.event_aggregations_daily USING btree (bucket_start);

CREATE INDEX event_aggregations_hourly_bucket ON events.event_aggregations_hourly USING btree (bucket_start);

CREATE INDEX event_aggregations_weekly_bucket_start_idx ON events.event_aggregations_weekly USING btree (bucket_start);

CREATE INDEX event_log_event_id ON ONLY events.event_log USING btree (event_id);

CREATE INDEX event_log_default_event_id_idx ON events.event_log_default USING btree (event_id);

CREATE INDEX event_log_transaction_id ON ONLY events.event_log USING btree (transaction_id);

CREATE INDEX event_log_default_transaction_id_idx ON events.event_log_default USING btree (transaction_id);

CREATE INDEX event_log_user_id ON ONLY events.event_log USING btree (user_id, received_at);

CREATE INDEX event_log_default_user_id_received_at_idx ON events.event_log_default USING btree (user_id, received_at);

CREATE INDEX event_states_due ON events.event_states USING btree (next_attempt_at) WHERE (processing_status <> 'processed'::text);

CREATE INDEX event_states_received_at ON events.event_states USING btree (received_at);

CREATE INDEX platform_metrics_realtime_expires_at ON events.platform_metrics_realtime USING btree (expires_at);

CREATE INDEX warehouse_sync_status_created_at ON events.warehouse_sync_status USING btree (created_at);

CREATE UNIQUE INDEX warehouse_sync_status_open ON events.warehouse_sync_status USING btree (warehouse_type) WHERE ((status <> 'committed'::text) AND (warehouse_type = 'delta'::text));

CREATE INDEX warehouse_sync_status_position ON events.warehouse_sync_status USING btree (warehouse_type, next_transaction_id);

CREATE INDEX snapshots_as_of ON market.snapshots USING btree (as_of);

CREATE INDEX alerts_due ON operations.alerts USING btree (notice_at) WHERE (notice_at IS NOT NULL);

CREATE UNIQUE INDEX alerts_open ON operations.alerts USING btree (alert_key) WHERE (resolved_at IS NULL);

CREATE INDEX alerts_resolved ON operations.alerts USING btree (resolved_at) WHERE (resolved_at IS NOT NULL);

CREATE INDEX api_requests_occurred ON operations.api_requests USING btree (occurred_at);

CREATE INDEX audit_log_subject ON operations.audit_log USING btree (subject_digest) WHERE (subject_digest IS NOT NULL);

CREATE UNIQUE INDEX cache_metrics_minutes ON operations.cache_metrics USING btree (created_at, metric_name, tags);

CREATE INDEX deliveries_pending ON operations.deliveries USING btree (received_at, delivery_id) WHERE (status = 'pending'::text);

CREATE INDEX deliveries_received ON operations.deliveries USING btree (received_at, delivery_id);

CREATE INDEX deliveries_refused ON operations.deliveries USING btree (received_at, delivery_id) WHERE (status = ANY (ARRAY['rejected'::text, 'dead'::text]));

CREATE INDEX deliveries_stripe ON operations.deliveries USING btree (status, received_at) WHERE (event_type = 'stripe.event'::text);

CREATE INDEX ingestion_events_created ON operations.ingestion_events USING btree (created_at);

CREATE INDEX ingestion_events_type ON operations.ingestion_events USING btree (event_type, created_at);

CREATE INDEX job_attempts_job ON operations.job_attempts USING btree (job_id, attempt_id);

CREATE UNIQUE INDEX job_attempts_open ON operations.job_attempts USING btree (job_id) WHERE (finished_at IS NULL);

CREATE INDEX jobs_created ON operations.jobs USING btree (created_at);

CREATE INDEX jobs_due ON operations.jobs USING btree (priority DESC, run_at, created_at) WHERE (status = ANY (ARRAY['QUEUED'::text, 'RETRYING'::text]));

CREATE INDEX jobs_finished ON operations.jobs USING btree (finished_at) WHERE (finished_at IS NOT NULL);

CREATE INDEX jobs_owner ON operations.jobs USING btree (owner_id, created_at);

CREATE INDEX jobs_running ON operations.jobs USING btree (job_type, lease_until) WHERE (status = 'RUNNING'::text);

CREATE UNIQUE INDEX jobs_unique_key ON operations.jobs USING btree (owner_id, job_type, unique_key) WHERE ((status = ANY (ARRAY['QUEUED'::text, 'RUNNING'::text, 'RETRYING'::text])) AND (unique_key IS NOT NULL));

CREATE INDEX rejects_last_seen ON operations.rejects USING btree (last_seen_at);

CREATE INDEX comps_market ON property.comps USING btree (market_slug, property_type, sale_date);

CREATE INDEX comps_sale_date ON property.comps USING btree (sale_date);

CREATE INDEX fundamentals_as_of ON property.fundamentals USING btree (as_of_date);

CREATE INDEX macro_observations_confirmed ON property.macro_observations USING btree (confirmed_date);

CREATE INDEX predictions_made ON property.predictions USING btree (made_at);

CREATE INDEX predictions_market ON property.predictions USING btree (market_slug, made_at) WHERE is_out_of_sample;

CREATE INDEX predictions_out_of_sample ON property.predictions USING btree (subject_id, method_version) WHERE is_out_of_sample;

CREATE INDEX exchange_rates_date ON sales.exchange_rates USING btree (rate_date);

CREATE INDEX ledger_months_changed ON sales.ledger_months USING btree (owner_id, platform, month) WHERE ((daily_version <> version) OR (monthly_version <> version));

CREATE INDEX report_files_period ON sales.report_files USING btree (owner_id, platform, period_start);

CREATE INDEX sales_events_exported ON sales.sales_events USING btree (exported_at);

CREATE INDEX sales_events_listed ON sales.sales_events USING btree (owner_id, period_start) WHERE ((platform = 'draft2digital'::text) AND (storefront ~~* 'smashwords%'::text));

CREATE INDEX sales_events_period ON sales.sales_events USING btree (owner_id, platform, period_start);

CREATE INDEX sales_events_rated ON sales.sales_events USING btree (currency, period_end) WHERE (currency <> 'USD'::text);

ALTER INDEX events.event_log_event_id ATTACH PARTITION events.event_log_default_event_id_idx;

ALTER INDEX events.event_log_transaction_id ATTACH PARTITION events.event_log_default_transaction_id_idx;

ALTER INDEX events.event_log_user_id ATTACH PARTITION events.event_log_default_user_id_received_at_idx;

CREATE TRIGGER enforce_job_states BEFORE INSERT OR DELETE OR UPDATE ON operations.jobs FOR EACH ROW EXECUTE FUNCTION operations.enforce_job_states();

CREATE TRIGGER refuse_job_change BEFORE UPDATE OF job_id, job_type, input_data, owner_id, unique_key, market_slug, created_at ON operations.jobs FOR EACH ROW EXECUTE FUNCTION operations.refuse_job_change();

ALTER TABLE ONLY community.crawl_item_revisions
    ADD CONSTRAINT crawl_item_revisions_source_id_external_id_fkey FOREIGN KEY (source_id, external_id) REFERENCES community.crawl_items(source_id, external_id) ON DELETE CASCADE;

ALTER TABLE ONLY community.search_vectors
    ADD CONSTRAINT search_vectors_generation_kind_id_fkey FOREIGN KEY (generation, kind, id) REFERENCES community.search_documents(generation, kind, id) ON DELETE CASCADE;

ALTER TABLE ONLY events.event_schemas
    ADD CONSTRAINT event_schemas_retention_class_fkey FOREIGN KEY (retention_class) REFERENCES events.retention_classes(retention_class);

ALTER TABLE ONLY market.snapshots
    ADD CONSTRAINT snapshots_symbol_fkey FOREIGN KEY (symbol) REFERENCES market.markets(symbol);

ALTER TABLE ONLY operations.job_attempts
    ADD CONSTRAINT job_attempts_job_id_fkey FOREIGN KEY (job_id) REFERENCES operations.jobs(job_id) ON DELETE CASCADE;

CREATE POLICY callers_see_theirs ON community.notification_preferences FOR SELECT TO pipeline_intake USING ((person_id = NULLIF(( SELECT current_setting('app.user_id'::text, true) AS current_setting), ''::text)));

CREATE POLICY callers_see_theirs ON community.notifications FOR SELECT TO pipeline_intake USING ((person_id = NULLIF(( SELECT current_setting('app.user_id'::text, true) AS current_setting), ''::text)));

ALTER TABLE community.donation_facts ENABLE ROW LEVEL SECURITY;

ALTER TABLE community.donations ENABLE ROW LEVEL SECURITY;

ALTER TABLE community.forgotten_payments ENABLE ROW LEVEL SECURITY;

ALTER TABLE community.notification_preferences ENABLE ROW LEVEL SECURITY;

ALTER TABLE community.notifications ENABLE ROW LEVEL SECURITY;

CREATE POLICY owner_sees_all ON community.donation_facts TO postgres USING (true) WITH CHECK (true);

CREATE POLICY owner_sees_all ON community.donations TO postgres USING (true) WITH CHECK (true);

CREATE POLICY owner_sees_all ON community.forgotten_payments TO postgres USING (true) WITH CHECK (true);

CREATE POLICY owner_sees_all ON community.notification_preferences TO postgres USING (true) WITH CHECK (true);

CREATE POLICY owner_sees_all ON community.notifications TO postgres USING (true) WITH CHECK (true);

CREATE POLICY readers_see_all ON community.donations FOR SELECT TO pipeline_reader USING (true);

CREATE POLICY workers_see_all ON community.donation_facts TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY workers_see_all ON community.donations TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY workers_see_all ON community.forgotten_payments TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY workers_see_all ON community.notification_preferences TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY workers_see_all ON community.notifications TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY callers_see_theirs ON events.event_log FOR SELECT TO pipeline_intake USING (
CASE
    WHEN (( SELECT current_setting('app.scope'::text, true) AS current_setting) = 'application'::text) THEN true
    ELSE (user_id = NULLIF(( SELECT current_setting('app.user_id'::text, true) AS current_setting), ''::text))
END);

ALTER TABLE events.event_log ENABLE ROW LEVEL SECURITY;

CREATE POLICY intake_inserts ON events.event_log FOR INSERT TO pipeline_intake WITH CHECK (true);

CREATE POLICY owner_sees_all ON events.event_log TO postgres USING (true) WITH CHECK (true);

CREATE POLICY readers_see_all ON events.event_log FOR SELECT TO pipeline_reader USING (true);

CREATE POLICY workers_see_all ON events.event_log TO pipeline_worker USING (true) WITH CHECK (true);

ALTER TABLE operations.api_requests ENABLE ROW LEVEL SECURITY;

CREATE POLICY applications_see_all ON operations.api_requests FOR SELECT TO pipeline_intake USING ((( SELECT current_setting('app.scope'::text, true) AS current_setting) = 'application'::text));

ALTER TABLE operations.cache_metrics ENABLE ROW LEVEL SECURITY;

CREATE POLICY callers_add_theirs ON operations.jobs FOR INSERT TO pipeline_intake WITH CHECK ((owner_id = NULLIF(( SELECT current_setting('app.user_id'::text, true) AS current_setting), ''::text)));

CREATE POLICY callers_see_theirs ON operations.job_attempts FOR SELECT TO pipeline_intake USING ((EXISTS ( SELECT
   FROM operations.jobs
  WHERE (jobs.job_id = job_attempts.job_id))));

CREATE POLICY callers_see_theirs ON operations.jobs FOR SELECT TO pipeline_intake USING (
CASE
    WHEN (( SELECT current_setting('app.scope'::text, true) AS current_setting) = 'operator'::text) THEN true
    ELSE (owner_id = NULLIF(( SELECT current_setting('app.user_id'::text, true) AS current_setting), ''::text))
END);

ALTER TABLE operations.deliveries ENABLE ROW LEVEL SECURITY;

ALTER TABLE operations.ingestion_events ENABLE ROW LEVEL SECURITY;

CREATE POLICY intake_adds ON operations.api_requests FOR INSERT TO pipeline_intake WITH CHECK (true);

CREATE POLICY intake_adds ON operations.cache_metrics FOR INSERT TO pipeline_intake WITH CHECK (true);

CREATE POLICY intake_adds ON operations.ingestion_events FOR INSERT TO pipeline_intake WITH CHECK (true);

ALTER TABLE operations.job_attempts ENABLE ROW LEVEL SECURITY;

ALTER TABLE operations.jobs ENABLE ROW LEVEL SECURITY;

CREATE POLICY operators_see_all ON operations.api_requests FOR SELECT TO pipeline_intake USING ((( SELECT current_setting('app.scope'::text, true) AS current_setting) = 'operator'::text));

CREATE POLICY operators_see_all ON operations.cache_metrics FOR SELECT TO pipeline_intake USING ((( SELECT current_setting('app.scope'::text, true) AS current_setting) = 'operator'::text));

CREATE POLICY operators_see_all ON operations.deliveries TO pipeline_intake USING ((( SELECT current_setting('app.scope'::text, true) AS current_setting) = 'operator'::text)) WITH CHECK ((( SELECT current_setting('app.scope'::text, true) AS current_setting) = 'operator'::text));

CREATE POLICY operators_see_all ON operations.ingestion_events FOR SELECT TO pipeline_intake USING ((( SELECT current_setting('app.scope'::text, true) AS current_setting) = 'operator'::text));

CREATE POLICY owner_sees_all ON operations.api_requests TO postgres USING (true) WITH CHECK (true);

CREATE POLICY owner_sees_all ON operations.cache_metrics TO postgres USING (true) WITH CHECK (true);

CREATE POLICY owner_sees_all ON operations.deliveries TO postgres USING (true) WITH CHECK (true);

CREATE POLICY owner_sees_all ON operations.ingestion_events TO postgres USING (true) WITH CHECK (true);

CREATE POLICY owner_sees_all ON operations.job_attempts TO postgres USING (true) WITH CHECK (true);

CREATE POLICY owner_sees_all ON operations.jobs TO postgres USING (true) WITH CHECK (true);

CREATE POLICY readers_see_all ON operations.cache_metrics FOR SELECT TO pipeline_reader USING (true);

CREATE POLICY readers_see_all ON operations.deliveries FOR SELECT TO pipeline_reader USING (true);

CREATE POLICY readers_see_all ON operations.ingestion_events FOR SELECT TO pipeline_reader USING (true);

CREATE POLICY readers_see_all ON operations.job_attempts FOR SELECT TO pipeline_reader USING (true);

CREATE POLICY readers_see_all ON operations.jobs FOR SELECT TO pipeline_reader USING (true);

CREATE POLICY workers_see_all ON operations.api_requests TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY workers_see_all ON operations.cache_metrics TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY workers_see_all ON operations.deliveries TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY workers_see_all ON operations.ingestion_events TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY workers_see_all ON operations.job_attempts TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY workers_see_all ON operations.jobs TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY owner_sees_all ON property.predictions TO postgres USING (true) WITH CHECK (true);

ALTER TABLE property.predictions ENABLE ROW LEVEL SECURITY;

CREATE POLICY readers_see_sales ON property.predictions FOR SELECT TO pipeline_reader, pipeline_intake USING (is_out_of_sample);

CREATE POLICY workers_see_all ON property.predictions TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY callers_add_theirs ON sales.report_files FOR INSERT TO pipeline_intake WITH CHECK ((owner_id = NULLIF(( SELECT current_setting('app.user_id'::text, true) AS current_setting), ''::text)));

CREATE POLICY callers_see_theirs ON sales.payments FOR SELECT TO pipeline_intake USING ((owner_id = NULLIF(( SELECT current_setting('app.user_id'::text, true) AS current_setting), ''::text)));

CREATE POLICY callers_see_theirs ON sales.report_files FOR SELECT TO pipeline_intake USING ((owner_id = NULLIF(( SELECT current_setting('app.user_id'::text, true) AS current_setting), ''::text)));

CREATE POLICY callers_see_theirs ON sales.sales_events FOR SELECT TO pipeline_intake USING ((owner_id = NULLIF(( SELECT current_setting('app.user_id'::text, true) AS current_setting), ''::text)));

CREATE POLICY owner_sees_all ON sales.payments TO postgres USING (true) WITH CHECK (true);

CREATE POLICY owner_sees_all ON sales.report_files TO postgres USING (true) WITH CHECK (true);

CREATE POLICY owner_sees_all ON sales.sales_events TO postgres USING (true) WITH CHECK (true);

ALTER TABLE sales.payments ENABLE ROW LEVEL SECURITY;

CREATE POLICY readers_see_all ON sales.payments FOR SELECT TO pipeline_reader USING (true);

CREATE POLICY readers_see_all ON sales.report_files FOR SELECT TO pipeline_reader USING (true);

CREATE POLICY readers_see_all ON sales.sales_events FOR SELECT TO pipeline_reader USING (true);

ALTER TABLE sales.report_files ENABLE ROW LEVEL SECURITY;

ALTER TABLE sales.sales_events ENABLE ROW LEVEL SECURITY;

CREATE POLICY workers_see_all ON sales.payments TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY workers_see_all ON sales.report_files TO pipeline_worker USING (true) WITH CHECK (true);

CREATE POLICY workers_see_all ON sales.sales_events TO pipeline_worker USING (true) WITH CHECK (true);

GRANT USAGE ON SCHEMA community TO pipeline_worker;
GRANT USAGE ON SCHEMA community TO pipeline_reader;
GRANT USAGE ON SCHEMA community TO pipeline_intake;

GRANT USAGE ON SCHEMA events TO pipeline_worker;
GRANT USAGE ON SCHEMA events TO pipeline_reader;
GRANT USAGE ON SCHEMA events TO pipeline_intake;

GRANT USAGE ON SCHEMA market TO pipeline_worker;
GRANT USAGE ON SCHEMA market TO pipeline_reader;
GRANT USAGE ON SCHEMA market TO pipeline_intake;

GRANT USAGE ON SCHEMA operations TO pipeline_worker;
GRANT USAGE ON SCHEMA operations TO pipeline_reader;
GRANT USAGE ON SCHEMA operations TO pipeline_intake;

GRANT USAGE ON SCHEMA property TO pipeline_worker;
GRANT USAGE ON SCHEMA property TO pipeline_reader;
GRANT USAGE ON SCHEMA property TO pipeline_intake;

GRANT USAGE ON SCHEMA sales TO pipeline_worker;
GRANT USAGE ON SCHEMA sales TO pipeline_reader;
GRANT USAGE ON SCHEMA sales TO pipeline_intake;

REVOKE ALL ON FUNCTION community.attribute_donations(run_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION community.attribute_donations(run_id text) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.bury_notifications(most integer, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION community.bury_notifications(most integer, at timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.claim_notifications(people integer, most integer, singles integer, lease interval, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION community.claim_notifications(people integer, most integer, singles integer, lease interval, at timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.escaped_html(content text) FROM PUBLIC;
GRANT ALL ON FUNCTION community.escaped_html(content text) TO pipeline_worker;
GRANT ALL ON FUNCTION community.escaped_html(content text) TO pipeline_intake;

REVOKE ALL ON FUNCTION community.first_rollable_day() FROM PUBLIC;
GRANT ALL ON FUNCTION community.first_rollable_day() TO pipeline_worker;

REVOKE ALL ON FUNCTION community.forget_deliveries(person text) FROM PUBLIC;
GRANT ALL ON FUNCTION community.forget_deliveries(person text) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.forget_person(person text, erasure_mode text) FROM PUBLIC;
GRANT ALL ON FUNCTION community.forget_person(person text, erasure_mode text) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.held_about(person text, of_part text) FROM PUBLIC;
GRANT ALL ON FUNCTION community.held_about(person text, of_part text) TO pipeline_worker;
GRANT ALL ON FUNCTION community.held_about(person text, of_part text) TO pipeline_intake;

REVOKE ALL ON FUNCTION community.index_changes(most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION community.index_changes(most integer) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.index_documents(target integer, of_kind text, ids text[], replaces boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION community.index_documents(target integer, of_kind text, ids text[], replaces boolean) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.mark_dirty_days(days date[], why text, of_table text) FROM PUBLIC;
GRANT ALL ON FUNCTION community.mark_dirty_days(days date[], why text, of_table text) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.notification_due_at(digest text, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION community.notification_due_at(digest text, at timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.notify(key text, person text, about text, details jsonb, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION community.notify(key text, person text, about text, details jsonb, at timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.notify_donations(since timestamp with time zone, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION community.notify_donations(since timestamp with time zone, at timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.notify_leaderboards(board_day date, places integer, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION community.notify_leaderboards(board_day date, places integer, at timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.notify_milestones(since date, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION community.notify_milestones(since date, at timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.payment_of(payload jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION community.payment_of(payload jsonb) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.person_digest(person text) FROM PUBLIC;
GRANT ALL ON FUNCTION community.person_digest(person text) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.remake_rules(ids text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION community.remake_rules(ids text[]) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.remove_crawl_item(of_source text, item_id text, actor text) FROM PUBLIC;
GRANT ALL ON FUNCTION community.remove_crawl_item(of_source text, item_id text, actor text) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.remove_old_notifications(before timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION community.remove_old_notifications(before timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.search(words text, of_kind text, with_tag text, after_rank double precision, after_kind text, after_id text, most integer) FROM PUBLIC;
GRANT ALL ON FUNCTION community.search(words text, of_kind text, with_tag text, after_rank double precision, after_kind text, after_id text, most integer) TO pipeline_intake;
GRANT ALL ON FUNCTION community.search(words text, of_kind text, with_tag text, after_rank double precision, after_kind text, after_id text, most integer) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.search_query(words text) FROM PUBLIC;
GRANT ALL ON FUNCTION community.search_query(words text) TO pipeline_worker;
GRANT ALL ON FUNCTION community.search_query(words text) TO pipeline_intake;

REVOKE ALL ON FUNCTION community.search_vector(title text, tags jsonb, body text) FROM PUBLIC;
GRANT ALL ON FUNCTION community.search_vector(title text, tags jsonb, body text) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.set_notification_preferences(keeps_target boolean, new_target text, new_kinds jsonb, new_digest text, muted boolean, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION community.set_notification_preferences(keeps_target boolean, new_target text, new_kinds jsonb, new_digest text, muted boolean, at timestamp with time zone) TO pipeline_intake;

REVOKE ALL ON FUNCTION community.settle_notifications(ids uuid[], lease timestamp with time zone, problem text, retry_at timestamp with time zone, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION community.settle_notifications(ids uuid[], lease timestamp with time zone, problem text, retry_at timestamp with time zone, at timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.store_crawl_items(source text, ids text[], urls text[], titles text[], summaries text[], raws text[], sender text, request text) FROM PUBLIC;
GRANT ALL ON FUNCTION community.store_crawl_items(source text, ids text[], urls text[], titles text[], summaries text[], raws text[], sender text, request text) TO pipeline_intake;
GRANT ALL ON FUNCTION community.store_crawl_items(source text, ids text[], urls text[], titles text[], summaries text[], raws text[], sender text, request text) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.store_donations(given jsonb, run_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION community.store_donations(given jsonb, run_id text) TO pipeline_worker;

REVOKE ALL ON FUNCTION community.strip_deliveries(ids uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION community.strip_deliveries(ids uuid[]) TO pipeline_worker;

REVOKE ALL ON FUNCTION events.aggregate_events_hourly(target_hour timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION events.aggregate_events_hourly(target_hour timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION events.apply_data_retention_policy(hot_days integer, deduplication_days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION events.apply_data_retention_policy(hot_days integer, deduplication_days integer) TO pipeline_worker;

REVOKE ALL ON FUNCTION events.cleanup_expired_metrics() FROM PUBLIC;
GRANT ALL ON FUNCTION events.cleanup_expired_metrics() TO pipeline_worker;

REVOKE ALL ON FUNCTION events.emit_platform_event(event_type text, event_category text, user_id text, event_data jsonb, session_id text, metadata jsonb, idempotency_key text, occurred_at timestamp with time zone, rule_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION events.emit_platform_event(event_type text, event_category text, user_id text, event_data jsonb, session_id text, metadata jsonb, idempotency_key text, occurred_at timestamp with time zone, rule_id text) TO pipeline_worker;
GRANT ALL ON FUNCTION events.emit_platform_event(event_type text, event_category text, user_id text, event_data jsonb, session_id text, metadata jsonb, idempotency_key text, occurred_at timestamp with time zone, rule_id text) TO pipeline_intake;

REVOKE ALL ON FUNCTION events.emit_project_created() FROM PUBLIC;

REVOKE ALL ON FUNCTION events.emit_review_posted() FROM PUBLIC;

REVOKE ALL ON FUNCTION events.ensure_address_key(wanted_day date) FROM PUBLIC;
GRANT ALL ON FUNCTION events.ensure_address_key(wanted_day date) TO pipeline_worker;
GRANT ALL ON FUNCTION events.ensure_address_key(wanted_day date) TO pipeline_intake;

REVOKE ALL ON FUNCTION events.ensure_event_partitions(days_ahead integer) FROM PUBLIC;
GRANT ALL ON FUNCTION events.ensure_event_partitions(days_ahead integer) TO pipeline_worker;
GRANT ALL ON FUNCTION events.ensure_event_partitions(days_ahead integer) TO pipeline_intake;

REVOKE ALL ON FUNCTION events.erase_hot_events(erased_user text, erasure_mode text) FROM PUBLIC;
GRANT ALL ON FUNCTION events.erase_hot_events(erased_user text, erasure_mode text) TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_log TO pipeline_worker;
GRANT SELECT,INSERT ON TABLE events.event_log TO pipeline_intake;
GRANT SELECT ON TABLE events.event_log TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_states TO pipeline_worker;
GRANT SELECT ON TABLE events.event_states TO pipeline_intake;
GRANT SELECT ON TABLE events.event_states TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.warehouse_sync_status TO pipeline_worker;
GRANT SELECT ON TABLE events.warehouse_sync_status TO pipeline_intake;
GRANT SELECT ON TABLE events.warehouse_sync_status TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.platform_events TO pipeline_worker;
GRANT SELECT ON TABLE events.platform_events TO pipeline_intake;
GRANT SELECT ON TABLE events.platform_events TO pipeline_reader;

REVOKE ALL ON FUNCTION events.get_pending_events(batch_size integer) FROM PUBLIC;
GRANT ALL ON FUNCTION events.get_pending_events(batch_size integer) TO pipeline_worker;

REVOKE ALL ON FUNCTION events.mark_event_processed(event_id uuid, success boolean, error_message text) FROM PUBLIC;
GRANT ALL ON FUNCTION events.mark_event_processed(event_id uuid, success boolean, error_message text) TO pipeline_worker;

REVOKE ALL ON FUNCTION events.prune(kind text, deduplication_days integer, from_block bigint, before_block bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION events.prune(kind text, deduplication_days integer, from_block bigint, before_block bigint) TO pipeline_worker;

REVOKE ALL ON FUNCTION events.request_erasure(erased_user text, erasure_mode text, actor text, request_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION events.request_erasure(erased_user text, erasure_mode text, actor text, request_id text) TO pipeline_worker;
GRANT ALL ON FUNCTION events.request_erasure(erased_user text, erasure_mode text, actor text, request_id text) TO pipeline_intake;

REVOKE ALL ON FUNCTION events.retry_failed_events(received_from timestamp with time zone, received_before timestamp with time zone, of_type text, reason_part text, is_dry_run boolean, most bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION events.retry_failed_events(received_from timestamp with time zone, received_before timestamp with time zone, of_type text, reason_part text, is_dry_run boolean, most bigint) TO pipeline_worker;
GRANT ALL ON FUNCTION events.retry_failed_events(received_from timestamp with time zone, received_before timestamp with time zone, of_type text, reason_part text, is_dry_run boolean, most bigint) TO pipeline_intake;

REVOKE ALL ON FUNCTION events.update_realtime_metric(metric_name text, metric_value double precision, dimensions jsonb, ttl interval, is_increment boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION events.update_realtime_metric(metric_name text, metric_value double precision, dimensions jsonb, ttl interval, is_increment boolean) TO pipeline_worker;

REVOKE ALL ON FUNCTION operations.accept_deliveries(given jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.accept_deliveries(given jsonb) TO pipeline_worker;
GRANT ALL ON FUNCTION operations.accept_deliveries(given jsonb) TO pipeline_intake;

REVOKE ALL ON FUNCTION operations.add_metrics(series jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.add_metrics(series jsonb) TO pipeline_worker;
GRANT ALL ON FUNCTION operations.add_metrics(series jsonb) TO pipeline_intake;

REVOKE ALL ON FUNCTION operations.api_latency_ms(since timestamp with time zone, OUT p50 double precision, OUT p95 double precision, OUT request_count bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.api_latency_ms(since timestamp with time zone, OUT p50 double precision, OUT p95 double precision, OUT request_count bigint) TO pipeline_worker;
GRANT ALL ON FUNCTION operations.api_latency_ms(since timestamp with time zone, OUT p50 double precision, OUT p95 double precision, OUT request_count bigint) TO pipeline_intake;

REVOKE ALL ON FUNCTION operations.cache_hit_ratio(service text, since timestamp with time zone, at_least bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.cache_hit_ratio(service text, since timestamp with time zone, at_least bigint) TO pipeline_worker;
GRANT ALL ON FUNCTION operations.cache_hit_ratio(service text, since timestamp with time zone, at_least bigint) TO pipeline_intake;
GRANT ALL ON FUNCTION operations.cache_hit_ratio(service text, since timestamp with time zone, at_least bigint) TO pipeline_reader;

REVOKE ALL ON FUNCTION operations.cancel_job(wanted uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.cancel_job(wanted uuid) TO pipeline_worker;
GRANT ALL ON FUNCTION operations.cancel_job(wanted uuid) TO pipeline_intake;

GRANT SELECT ON TABLE operations.jobs TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.jobs TO pipeline_worker;
GRANT SELECT,INSERT ON TABLE operations.jobs TO pipeline_intake;

REVOKE ALL ON FUNCTION operations.claim_jobs(claimer text, types text[], limits integer[], most integer, lease interval, run_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.claim_jobs(claimer text, types text[], limits integer[], most integer, lease interval, run_id text) TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.alerts TO pipeline_worker;

REVOKE ALL ON FUNCTION operations.claim_notices(amount integer, lease interval, quiet_time interval, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.claim_notices(amount integer, lease interval, quiet_time interval, at timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION operations.clear_alert(cleared_key text, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.clear_alert(cleared_key text, at timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION operations.due_job_count(types text[], limits integer[]) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.due_job_count(types text[], limits integer[]) TO pipeline_worker;

REVOKE ALL ON FUNCTION operations.enqueue_job(job_type text, input_data jsonb, owner_id text, market_slug text, unique_key text, priority integer, run_at timestamp with time zone, max_attempts integer, request_id text) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.enqueue_job(job_type text, input_data jsonb, owner_id text, market_slug text, unique_key text, priority integer, run_at timestamp with time zone, max_attempts integer, request_id text) TO pipeline_worker;
GRANT ALL ON FUNCTION operations.enqueue_job(job_type text, input_data jsonb, owner_id text, market_slug text, unique_key text, priority integer, run_at timestamp with time zone, max_attempts integer, request_id text) TO pipeline_intake;

REVOKE ALL ON FUNCTION operations.health_figures() FROM PUBLIC;
GRANT ALL ON FUNCTION operations.health_figures() TO pipeline_worker;
GRANT ALL ON FUNCTION operations.health_figures() TO pipeline_intake;

REVOKE ALL ON FUNCTION operations.heartbeat_jobs(claimer text, lease interval) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.heartbeat_jobs(claimer text, lease interval) TO pipeline_worker;

REVOKE ALL ON FUNCTION operations.job_backoff(attempt integer) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.job_backoff(attempt integer) TO pipeline_worker;

REVOKE ALL ON FUNCTION operations.job_failure_ratio(since timestamp with time zone, at_least bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.job_failure_ratio(since timestamp with time zone, at_least bigint) TO pipeline_worker;
GRANT ALL ON FUNCTION operations.job_failure_ratio(since timestamp with time zone, at_least bigint) TO pipeline_intake;
GRANT ALL ON FUNCTION operations.job_failure_ratio(since timestamp with time zone, at_least bigint) TO pipeline_reader;

REVOKE ALL ON FUNCTION operations.prediction_latency_ms(since timestamp with time zone, OUT p50 double precision, OUT p95 double precision, OUT prediction_count bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.prediction_latency_ms(since timestamp with time zone, OUT p50 double precision, OUT p95 double precision, OUT prediction_count bigint) TO pipeline_worker;
GRANT ALL ON FUNCTION operations.prediction_latency_ms(since timestamp with time zone, OUT p50 double precision, OUT p95 double precision, OUT prediction_count bigint) TO pipeline_intake;
GRANT ALL ON FUNCTION operations.prediction_latency_ms(since timestamp with time zone, OUT p50 double precision, OUT p95 double precision, OUT prediction_count bigint) TO pipeline_reader;

REVOKE ALL ON FUNCTION operations.queue_depths() FROM PUBLIC;
GRANT ALL ON FUNCTION operations.queue_depths() TO pipeline_worker;
GRANT ALL ON FUNCTION operations.queue_depths() TO pipeline_intake;

REVOKE ALL ON FUNCTION operations.raise_alert(raised_key text, raised_severity text, raised_message text, raised_context jsonb, lasting boolean, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.raise_alert(raised_key text, raised_severity text, raised_message text, raised_context jsonb, lasting boolean, at timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION operations.remove_old_metrics() FROM PUBLIC;
GRANT ALL ON FUNCTION operations.remove_old_metrics() TO pipeline_worker;

REVOKE ALL ON FUNCTION operations.rescue_jobs(ended_runs text[]) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.rescue_jobs(ended_runs text[]) TO pipeline_worker;

REVOKE ALL ON FUNCTION operations.retry_count(service text, since timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.retry_count(service text, since timestamp with time zone) TO pipeline_worker;
GRANT ALL ON FUNCTION operations.retry_count(service text, since timestamp with time zone) TO pipeline_intake;
GRANT ALL ON FUNCTION operations.retry_count(service text, since timestamp with time zone) TO pipeline_reader;

REVOKE ALL ON FUNCTION operations.retry_job(wanted uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.retry_job(wanted uuid) TO pipeline_worker;
GRANT ALL ON FUNCTION operations.retry_job(wanted uuid) TO pipeline_intake;

REVOKE ALL ON FUNCTION operations.settle_job(ended bigint, ending text, output jsonb, kind text, message text, wait interval, time_ms double precision) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.settle_job(ended bigint, ending text, output jsonb, kind text, message text, wait interval, time_ms double precision) TO pipeline_worker;

REVOKE ALL ON FUNCTION operations.settle_notice(settled_id uuid, lease timestamp with time zone, took_it text[], problem text, retry_at timestamp with time zone, remind_at timestamp with time zone, said_count integer, said_severity text, at timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION operations.settle_notice(settled_id uuid, lease timestamp with time zone, took_it text[], problem text, retry_at timestamp with time zone, remind_at timestamp with time zone, said_count integer, said_severity text, at timestamp with time zone) TO pipeline_worker;

REVOKE ALL ON FUNCTION sales.apply_page_rates() FROM PUBLIC;
GRANT ALL ON FUNCTION sales.apply_page_rates() TO pipeline_worker;

REVOKE ALL ON FUNCTION sales.apply_rates() FROM PUBLIC;
GRANT ALL ON FUNCTION sales.apply_rates() TO pipeline_worker;

REVOKE ALL ON FUNCTION sales.build_coverage(today date) FROM PUBLIC;
GRANT ALL ON FUNCTION sales.build_coverage(today date) TO pipeline_worker;

REVOKE ALL ON FUNCTION sales.build_daily(most integer, OUT months integer, OUT row_count integer) FROM PUBLIC;
GRANT ALL ON FUNCTION sales.build_daily(most integer, OUT months integer, OUT row_count integer) TO pipeline_worker;

REVOKE ALL ON FUNCTION sales.build_monthly(most integer, OUT months integer, OUT row_count integer) FROM PUBLIC;
GRANT ALL ON FUNCTION sales.build_monthly(most integer, OUT months integer, OUT row_count integer) TO pipeline_worker;

REVOKE ALL ON FUNCTION sales.mark_months(owner text, sold_on text, months date[]) FROM PUBLIC;
GRANT ALL ON FUNCTION sales.mark_months(owner text, sold_on text, months date[]) TO pipeline_worker;

REVOKE ALL ON FUNCTION sales.supersede(owner text, sold_on text, months date[]) FROM PUBLIC;
GRANT ALL ON FUNCTION sales.supersede(owner text, sold_on text, months date[]) TO pipeline_worker;

REVOKE ALL ON FUNCTION sales.supersede_draft2digital(owner text, months date[]) FROM PUBLIC;
GRANT ALL ON FUNCTION sales.supersede_draft2digital(owner text, months date[]) TO pipeline_worker;

REVOKE ALL ON FUNCTION sales.supersede_smashwords(owner text, months date[]) FROM PUBLIC;
GRANT ALL ON FUNCTION sales.supersede_smashwords(owner text, months date[]) TO pipeline_worker;

REVOKE ALL ON FUNCTION sales.usd_rate(currency text, day date) FROM PUBLIC;
GRANT ALL ON FUNCTION sales.usd_rate(currency text, day date) TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.author_metrics_daily TO pipeline_worker;
GRANT SELECT ON TABLE community.author_metrics_daily TO pipeline_reader;
GRANT SELECT ON TABLE community.author_metrics_daily TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.crawl_item_revisions TO pipeline_worker;
GRANT SELECT ON TABLE community.crawl_item_revisions TO pipeline_reader;
GRANT INSERT,DELETE ON TABLE community.crawl_item_revisions TO pipeline_intake;

GRANT SELECT(source_id) ON TABLE community.crawl_item_revisions TO pipeline_intake;

GRANT SELECT(external_id) ON TABLE community.crawl_item_revisions TO pipeline_intake;

GRANT SELECT(revision) ON TABLE community.crawl_item_revisions TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.crawl_items TO pipeline_worker;
GRANT SELECT ON TABLE community.crawl_items TO pipeline_reader;
GRANT SELECT,INSERT,UPDATE ON TABLE community.crawl_items TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.dirty_days TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.donation_facts TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.donations TO pipeline_worker;

GRANT SELECT(payment_intent) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(rule_id) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(author_id) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(author_is_rules) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(is_anonymous) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(currency) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(received) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(refunded) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(disputed) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(net) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(status) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(dispute_status) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(paid_at) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(paid_on) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(is_live) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT(updated_at) ON TABLE community.donations TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.excluded_events_daily TO pipeline_worker;
GRANT SELECT ON TABLE community.excluded_events_daily TO pipeline_reader;
GRANT SELECT ON TABLE community.excluded_events_daily TO pipeline_intake;

GRANT SELECT,INSERT,UPDATE ON TABLE community.forgotten_payments TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.leaderboard_snapshots TO pipeline_worker;
GRANT SELECT ON TABLE community.leaderboard_snapshots TO pipeline_reader;
GRANT SELECT ON TABLE community.leaderboard_snapshots TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.notification_preferences TO pipeline_worker;

GRANT SELECT(person_id) ON TABLE community.notification_preferences TO pipeline_intake;

GRANT SELECT(has_target) ON TABLE community.notification_preferences TO pipeline_intake;

GRANT SELECT(kinds) ON TABLE community.notification_preferences TO pipeline_intake;

GRANT SELECT(digest) ON TABLE community.notification_preferences TO pipeline_intake;

GRANT SELECT(is_muted) ON TABLE community.notification_preferences TO pipeline_intake;

GRANT SELECT(updated_at) ON TABLE community.notification_preferences TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.notifications TO pipeline_worker;

GRANT SELECT(id) ON TABLE community.notifications TO pipeline_intake;

GRANT SELECT(person_id) ON TABLE community.notifications TO pipeline_intake;

GRANT SELECT(kind) ON TABLE community.notifications TO pipeline_intake;

GRANT SELECT(payload) ON TABLE community.notifications TO pipeline_intake;

GRANT SELECT(created_at) ON TABLE community.notifications TO pipeline_intake;

GRANT SELECT(due_at) ON TABLE community.notifications TO pipeline_intake;

GRANT SELECT(digest) ON TABLE community.notifications TO pipeline_intake;

GRANT SELECT(sent_at) ON TABLE community.notifications TO pipeline_intake;

GRANT SELECT(given_up_at) ON TABLE community.notifications TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.removed_crawl_items TO pipeline_worker;
GRANT SELECT ON TABLE community.removed_crawl_items TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.rule_events TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.rule_metrics_daily TO pipeline_worker;
GRANT SELECT ON TABLE community.rule_metrics_daily TO pipeline_reader;
GRANT SELECT ON TABLE community.rule_metrics_daily TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.rules TO pipeline_worker;
GRANT SELECT ON TABLE community.rules TO pipeline_reader;
GRANT SELECT ON TABLE community.rules TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.search_changes TO pipeline_worker;
GRANT SELECT,INSERT,UPDATE ON TABLE community.search_changes TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.search_documents TO pipeline_worker;
GRANT SELECT ON TABLE community.search_documents TO pipeline_reader;
GRANT SELECT ON TABLE community.search_documents TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.search_index TO pipeline_worker;
GRANT SELECT ON TABLE community.search_index TO pipeline_reader;
GRANT SELECT ON TABLE community.search_index TO pipeline_intake;

GRANT SELECT ON TABLE community.search_sources TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE community.search_vectors TO pipeline_worker;
GRANT SELECT ON TABLE community.search_vectors TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.address_keys TO pipeline_worker;
GRANT SELECT ON TABLE events.address_keys TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.changed_days TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.counted_views TO pipeline_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.daily_active_users TO pipeline_worker;
GRANT SELECT ON TABLE events.daily_active_users TO pipeline_intake;
GRANT SELECT ON TABLE events.daily_active_users TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.erasure_requests TO pipeline_worker;

GRANT SELECT(erasure_id) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT(mode) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT(status) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT(requested_at) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT(completed_at) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT(removed) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT(error_message) ON TABLE events.erasure_requests TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_aggregations_daily TO pipeline_worker;
GRANT SELECT ON TABLE events.event_aggregations_daily TO pipeline_intake;
GRANT SELECT ON TABLE events.event_aggregations_daily TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_aggregations_hourly TO pipeline_worker;
GRANT SELECT ON TABLE events.event_aggregations_hourly TO pipeline_intake;
GRANT SELECT ON TABLE events.event_aggregations_hourly TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_aggregations_weekly TO pipeline_worker;
GRANT SELECT ON TABLE events.event_aggregations_weekly TO pipeline_intake;
GRANT SELECT ON TABLE events.event_aggregations_weekly TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_aggregations TO pipeline_worker;
GRANT SELECT ON TABLE events.event_aggregations TO pipeline_intake;
GRANT SELECT ON TABLE events.event_aggregations TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_keys TO pipeline_worker;
GRANT SELECT,INSERT ON TABLE events.event_keys TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_log_default TO pipeline_worker;
GRANT INSERT ON TABLE events.event_log_default TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_schemas TO pipeline_worker;
GRANT SELECT ON TABLE events.event_schemas TO pipeline_intake;
GRANT SELECT ON TABLE events.event_schemas TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.retention_classes TO pipeline_worker;
GRANT SELECT ON TABLE events.retention_classes TO pipeline_intake;
GRANT SELECT ON TABLE events.retention_classes TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.event_retention TO pipeline_worker;
GRANT SELECT ON TABLE events.event_retention TO pipeline_intake;
GRANT SELECT ON TABLE events.event_retention TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.funnels TO pipeline_worker;
GRANT SELECT ON TABLE events.funnels TO pipeline_intake;
GRANT SELECT ON TABLE events.funnels TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.intake_counts TO pipeline_worker;
GRANT SELECT,INSERT,UPDATE ON TABLE events.intake_counts TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.platform_metrics_realtime TO pipeline_worker;
GRANT SELECT ON TABLE events.platform_metrics_realtime TO pipeline_intake;
GRANT SELECT ON TABLE events.platform_metrics_realtime TO pipeline_reader;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE events.retention_cohorts TO pipeline_worker;
GRANT SELECT ON TABLE events.retention_cohorts TO pipeline_intake;
GRANT SELECT ON TABLE events.retention_cohorts TO pipeline_reader;

GRANT SELECT ON TABLE market.comparisons TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE market.comparisons TO pipeline_worker;

GRANT SELECT ON TABLE market.markets TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE market.markets TO pipeline_worker;
GRANT SELECT ON TABLE market.markets TO pipeline_intake;

GRANT SELECT ON TABLE market.roi_statistics TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE market.roi_statistics TO pipeline_worker;

GRANT SELECT ON TABLE market.snapshots TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE market.snapshots TO pipeline_worker;
GRANT SELECT ON TABLE market.snapshots TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.api_requests TO pipeline_worker;
GRANT SELECT,INSERT ON TABLE operations.api_requests TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.app_tokens TO pipeline_worker;
GRANT SELECT ON TABLE operations.app_tokens TO pipeline_intake;

GRANT SELECT,INSERT ON TABLE operations.audit_log TO pipeline_worker;
GRANT INSERT ON TABLE operations.audit_log TO pipeline_intake;

GRANT SELECT,USAGE ON SEQUENCE operations.audit_log_audit_id_seq TO pipeline_worker;

GRANT SELECT ON TABLE operations.cache_metrics TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.cache_metrics TO pipeline_worker;
GRANT SELECT,INSERT ON TABLE operations.cache_metrics TO pipeline_intake;

GRANT SELECT,USAGE ON SEQUENCE operations.cache_metrics_cache_metric_id_seq TO pipeline_worker;

GRANT SELECT ON TABLE operations.circuit_breakers TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.circuit_breakers TO pipeline_worker;
GRANT SELECT ON TABLE operations.circuit_breakers TO pipeline_intake;

GRANT SELECT ON TABLE operations.cron_logs TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.cron_logs TO pipeline_worker;
GRANT SELECT,INSERT,UPDATE ON TABLE operations.cron_logs TO pipeline_intake;

GRANT SELECT,USAGE ON SEQUENCE operations.cron_logs_cron_log_id_seq TO pipeline_worker;

GRANT SELECT ON TABLE operations.deliveries TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.deliveries TO pipeline_worker;
GRANT SELECT ON TABLE operations.deliveries TO pipeline_intake;

GRANT UPDATE(event_type) ON TABLE operations.deliveries TO pipeline_intake;

GRANT UPDATE(market_slug) ON TABLE operations.deliveries TO pipeline_intake;

GRANT UPDATE(status) ON TABLE operations.deliveries TO pipeline_intake;

GRANT UPDATE(reason) ON TABLE operations.deliveries TO pipeline_intake;

GRANT UPDATE(settled_at) ON TABLE operations.deliveries TO pipeline_intake;

GRANT UPDATE(attempt_count) ON TABLE operations.deliveries TO pipeline_intake;

GRANT UPDATE(next_attempt_at) ON TABLE operations.deliveries TO pipeline_intake;

GRANT UPDATE(replay_count) ON TABLE operations.deliveries TO pipeline_intake;

GRANT UPDATE(replayed_by) ON TABLE operations.deliveries TO pipeline_intake;

GRANT SELECT ON TABLE operations.delivery_sources TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.delivery_sources TO pipeline_worker;

GRANT SELECT ON TABLE operations.freshness_states TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.freshness_states TO pipeline_worker;
GRANT SELECT ON TABLE operations.freshness_states TO pipeline_intake;

GRANT SELECT ON TABLE operations.health_states TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.health_states TO pipeline_worker;
GRANT SELECT ON TABLE operations.health_states TO pipeline_intake;

GRANT SELECT ON TABLE operations.ingestion_events TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.ingestion_events TO pipeline_worker;
GRANT SELECT,INSERT ON TABLE operations.ingestion_events TO pipeline_intake;

GRANT SELECT,USAGE ON SEQUENCE operations.ingestion_events_ingestion_event_id_seq TO pipeline_worker;

GRANT SELECT ON TABLE operations.job_attempts TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.job_attempts TO pipeline_worker;
GRANT SELECT ON TABLE operations.job_attempts TO pipeline_intake;

GRANT SELECT,USAGE ON SEQUENCE operations.job_attempts_attempt_id_seq TO pipeline_worker;

GRANT SELECT ON TABLE operations.metric_minutes TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.metric_minutes TO pipeline_worker;
GRANT SELECT ON TABLE operations.metric_minutes TO pipeline_intake;

GRANT SELECT ON TABLE operations.metrics TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.metrics TO pipeline_worker;
GRANT SELECT ON TABLE operations.metrics TO pipeline_intake;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE operations.rejects TO pipeline_worker;
GRANT SELECT,INSERT,UPDATE ON TABLE operations.rejects TO pipeline_intake;

GRANT SELECT,USAGE ON SEQUENCE operations.rejects_reject_id_seq TO pipeline_worker;
GRANT SELECT,USAGE ON SEQUENCE operations.rejects_reject_id_seq TO pipeline_intake;

GRANT SELECT ON TABLE operations.schema_migrations TO pipeline_worker;
GRANT SELECT ON TABLE operations.schema_migrations TO pipeline_reader;
GRANT SELECT ON TABLE operations.schema_migrations TO pipeline_intake;

GRANT SELECT ON TABLE property.comps TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE property.comps TO pipeline_worker;
GRANT SELECT ON TABLE property.comps TO pipeline_intake;

GRANT SELECT ON TABLE property.comps_revisions TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE property.comps_revisions TO pipeline_worker;
GRANT SELECT ON TABLE property.comps_revisions TO pipeline_intake;

GRANT SELECT ON TABLE property.fundamentals TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE property.fundamentals TO pipeline_worker;
GRANT SELECT ON TABLE property.fundamentals TO pipeline_intake;

GRANT SELECT ON TABLE property.fundamentals_revisions TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE property.fundamentals_revisions TO pipeline_worker;
GRANT SELECT ON TABLE property.fundamentals_revisions TO pipeline_intake;

GRANT SELECT ON TABLE property.fundamentals_staleness TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE property.fundamentals_staleness TO pipeline_worker;
GRANT SELECT ON TABLE property.fundamentals_staleness TO pipeline_intake;

GRANT SELECT ON TABLE property.macro_observations TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE property.macro_observations TO pipeline_worker;
GRANT SELECT ON TABLE property.macro_observations TO pipeline_intake;

GRANT SELECT ON TABLE property.macro_latest TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE property.macro_latest TO pipeline_worker;
GRANT SELECT ON TABLE property.macro_latest TO pipeline_intake;

GRANT SELECT ON TABLE property.prediction_accuracy TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE property.prediction_accuracy TO pipeline_worker;
GRANT SELECT ON TABLE property.prediction_accuracy TO pipeline_intake;

GRANT SELECT ON TABLE property.predictions TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE property.predictions TO pipeline_worker;
GRANT SELECT ON TABLE property.predictions TO pipeline_intake;

GRANT SELECT ON TABLE sales.coverage TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sales.coverage TO pipeline_worker;

GRANT SELECT ON TABLE sales.exchange_rates TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sales.exchange_rates TO pipeline_worker;

GRANT SELECT ON TABLE sales.ingestion_attempts TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sales.ingestion_attempts TO pipeline_worker;
GRANT SELECT ON TABLE sales.ingestion_attempts TO pipeline_intake;

GRANT SELECT ON TABLE sales.ingestion_jobs TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sales.ingestion_jobs TO pipeline_worker;
GRANT SELECT ON TABLE sales.ingestion_jobs TO pipeline_intake;

GRANT SELECT ON TABLE sales.kenp_rates TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sales.kenp_rates TO pipeline_worker;

GRANT SELECT ON TABLE sales.ledger_months TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sales.ledger_months TO pipeline_worker;

GRANT SELECT ON TABLE sales.payments TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sales.payments TO pipeline_worker;
GRANT SELECT ON TABLE sales.payments TO pipeline_intake;

GRANT SELECT ON TABLE sales.rate_changes TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sales.rate_changes TO pipeline_worker;

GRANT SELECT ON TABLE sales.report_files TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sales.report_files TO pipeline_worker;
GRANT SELECT,INSERT ON TABLE sales.report_files TO pipeline_intake;

GRANT SELECT ON TABLE sales.sales_daily TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sales.sales_daily TO pipeline_worker;

GRANT SELECT ON TABLE sales.sales_events TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sales.sales_events TO pipeline_worker;
GRANT SELECT ON TABLE sales.sales_events TO pipeline_intake;

GRANT SELECT ON TABLE sales.sales_monthly TO pipeline_reader;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE sales.sales_monthly TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA events GRANT SELECT,USAGE ON SEQUENCES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA events GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA market GRANT SELECT ON TABLES TO pipeline_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA market GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA operations GRANT SELECT,USAGE ON SEQUENCES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA operations GRANT SELECT ON TABLES TO pipeline_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA operations GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA property GRANT SELECT,USAGE ON SEQUENCES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA property GRANT SELECT ON TABLES TO pipeline_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA property GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO pipeline_worker;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA property GRANT SELECT ON TABLES TO pipeline_intake;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA sales GRANT SELECT,USAGE ON SEQUENCES TO pipeline_worker;

ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA sales GRANT SELECT ON TABLES TO pipeline_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE postgres IN SCHEMA sales GRANT SELECT,INSERT,DELETE,UPDATE ON TABLES TO pipeline_worker;
