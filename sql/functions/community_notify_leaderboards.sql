-- Tells authors whose rule, or who themselves, came among the first `places` of a GLOBAL board on `board_day`; returns
-- how many are news.
create or replace function community.notify_leaderboards(
    board_day date, places integer, at timestamptz default clock_timestamp()
)
returns bigint
language plpgsql
set search_path = pg_catalog
as $$
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

revoke all on function community.notify_leaderboards(date, integer, timestamptz) from public;
grant execute on function community.notify_leaderboards(date, integer, timestamptz) to pipeline_worker;
