-- Places on GLOBAL boards of rules, `first` to `last` day, whose points or views are not the sum of their metrics.
select
    boards.day,
    boards.period,
    boards.rank,
    boards.subject_id,
    boards.points,
    boards.views,
    coalesce(sums.points, 0) as metric_points,
    coalesce(sums.views, 0)::bigint as metric_views
from community.leaderboard_snapshots as boards,
    lateral (
        select
            sum(metrics.points) as points,
            sum(metrics.views) as views
        from community.rule_metrics_daily as metrics
        where
            metrics.rule_id = boards.subject_id and metrics.day <= boards.day
            and metrics.day > case boards.period
                when 'DAILY' then boards.day - 1
                when 'WEEKLY' then boards.day - 7
                when 'MONTHLY' then boards.day - 30
                else '-infinity'::date
            end
    ) as sums
where
    boards.day between :first and :last and boards.kind = 'RULE' and boards.scope = 'GLOBAL'
    and (boards.points, boards.views) is distinct from (coalesce(sums.points, 0), coalesce(sums.views, 0))
order by boards.day, boards.period, boards.rank
