-- Takes a person out of the community: as a donor their name, id and message, also out of the deliveries that said them;
-- as an author the names of their figures; what they were told and how they wanted it. Money, counts and places stay.
-- Returns how much of what, where there was anything.
create or replace function community.forget_person(person text)
returns jsonb
language plpgsql
security definer
set search_path = pg_catalog
as $$
declare
    payments text[];
    given bigint;
    received bigint;
    figures bigint;
    places bigint;
    told bigint;
begin
    select array_agg(found.payment) into payments
    from (
        select payment_intent as payment from community.donations where donor_id = person
        union
        select coalesce(payload #>> '{data,data,object,payment_intent}', payload #>> '{data,data,object,id}')
        from operations.deliveries
        where
            source = 'stripe' and person in (
                payload #>> '{data,data,object,metadata,donorId}', payload #>> '{data,data,object,client_reference_id}'
            )
    ) as found;
    update operations.deliveries
    set payload = jsonb_set(
        payload #- '{data,data,object,client_reference_id}' #- '{data,data,object,customer_details}',
        '{data,data,object,metadata}',
        case jsonb_typeof(payload #> '{data,data,object,metadata}')
            when 'object' then (payload #> '{data,data,object,metadata}') - '{donorId,donorName,message}'::text []
            else '{}'
        end || '{"anonymous": "true"}'
    )
    where
        source = 'stripe' and (
            payload #>> '{data,data,object,payment_intent}' = any(payments)
            or payload #>> '{data,data,object,id}' = any(payments)
        );
    update community.donation_facts
    set
        is_anonymous = true,
        state = state - 'client_reference_id' - 'customer_details'
        #- '{metadata,donorId}' #- '{metadata,donorName}' #- '{metadata,message}'
    where payment_intent = any(payments);
    update community.donations
    set donor_id = null, donor_name = null, message = null, is_anonymous = true, updated_at = clock_timestamp()
    where donor_id = person;
    get diagnostics given = row_count;

    update operations.deliveries set payload = payload #- '{data,data,object,metadata,authorId}'
    where source = 'stripe' and payload #>> '{data,data,object,metadata,authorId}' = person;
    update community.donation_facts set state = state #- '{metadata,authorId}'
    where state #>> '{metadata,authorId}' = person;
    update community.rule_events set author_id = null where author_id = person;
    update community.rules set author_id = null where author_id = person;
    update community.donations set author_id = null, updated_at = clock_timestamp() where author_id = person;
    get diagnostics received = row_count;
    update community.rule_metrics_daily set author_id = null where author_id = person;
    delete from community.author_metrics_daily where author_id = person;
    get diagnostics figures = row_count;
    update community.leaderboard_snapshots set subject_id = 'erased' where kind = 'AUTHOR' and subject_id = person;
    get diagnostics places = row_count;

    delete from community.notification_preferences where person_id = person;
    delete from community.notifications where person_id = person;
    get diagnostics told = row_count;
    return (
        select coalesce(jsonb_object_agg(counted.name, counted.number), '{}')
        from (
            values ('donations_given', given), ('donations_received', received), ('author_days', figures),
            ('places', places), ('notifications', told)
        ) as counted (name, number)
        where counted.number > 0
    );
end
$$;

revoke all on function community.forget_person(text) from public;
grant execute on function community.forget_person(text) to pipeline_worker;
