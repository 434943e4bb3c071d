-- Places on GLOBAL boards, `first` to `last` day, whose score, points or views are not what the metrics of the rule, or of
-- all rules of the author, give. Places of authors that were erased have nobody's name.
with owned as (
    select
        author_id,
        array_agg(rule_id) as rule_ids
    from community.rules
    where author_id is not null
    group by author_id
)

select
    boards.day,
    boards.period,
    boards.kind,
    boards.rank,
    boards.subject_id,
    boards.score,
    boards.points,
    boards.views,
    case
        when boards.period in ('WEEKLY', 'MONTHLY') then coalesce(sums.fading, 0)
        else coalesce(sums.points, 0)
    end as metric_score,
    coalesce(sums.points, 0) as metric_points,
    coalesce(sums.views, 0)::bigint as metric_views
from community.leaderboard_snapshots as boards
left join owned on boards.kind = 'AUTHOR' and boards.subject_id = owned.author_id
cross join
    lateral (
        select
            sum(metrics.points) as points,
            sum(metrics.views) as views,
            sum(metrics.trending_score * power(0.5, 24 * least(boards.day - metrics.day, 30) / :half_life_hours)) as fading
        from community.rule_metrics_daily as metrics
        where
            metrics.rule_id = any(case boards.kind when 'RULE' then array[boards.subject_id] else owned.rule_ids end)
            and metrics.day <= boards.day
            and metrics.day > case boards.period
                when 'DAILY' then boards.day - 1
                when 'WEEKLY' then boards.day - 7
                when 'MONTHLY' then boards.day - 30
                else '-infinity'::date
            end
    ) as sums
where
    boards.day between :first and :last and boards.scope = 'GLOBAL' and not starts_with(boards.subject_id, 'erased:')
    and (
        (boards.points, boards.views) is distinct from (coalesce(sums.points, 0), coalesce(sums.views, 0))
        or abs(
            boards.score
            - case
                when boards.period in ('WEEKLY', 'MONTHLY') then coalesce(sums.fading, 0)
                else coalesce(sums.points, 0)
            end
        ) > 1e-6 + 1e-9 * boards.score
    )
order by boards.day, boards.period, boards.kind, boards.rank
