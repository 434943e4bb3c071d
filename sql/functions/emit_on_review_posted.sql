-- Trigger function of the seed: every row inserted into an application's table of reviews emits `review.posted`, in the
-- same transaction. The table needs a column id; reviewer_id, author_id, user_id or created_by says whose it is;
-- project_id and rating are taken along where they are there. To switch it on:
--
--     create trigger emit_review_posted after insert on reviews
--     for each row execute function events.emit_review_posted();
create or replace function events.emit_review_posted()
returns trigger
language plpgsql
security definer
set search_path = pg_catalog
as $$
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

revoke all on function events.emit_review_posted() from public;
