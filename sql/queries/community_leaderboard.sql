-- The places of one board of `day`, or of the newest day with boards; titles of rules that are published.
select
    boards.day,
    boards.rank,
    boards.subject_id,
    rules.title,
    boards.score,
    boards.points,
    boards.views,
    boards.previous_rank,
    boards.rank_change
from community.leaderboard_snapshots as boards
left join community.rules as rules
    on boards.kind = 'RULE' and boards.subject_id = rules.rule_id and rules.status = 'published'
where
    boards.day = coalesce(cast(:day as date), (select max(newest.day) from community.leaderboard_snapshots as newest))
    and boards.period = :period and boards.kind = :kind and boards.scope = :scope
    and boards.scope_value = :scope_value
order by boards.rank
