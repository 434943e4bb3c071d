-- Daily rollups of the community: what counted on each rule and of each author, and what did not count and why.

create schema if not exists community;

grant usage on schema community to pipeline_worker, pipeline_reader, pipeline_intake;

create table community.rule_metrics_daily (
    day date not null,
    rule_id text not null check (rule_id <> ''),
    author_id text,
    views bigint not null check (views >= 0),
    copies bigint not null check (copies >= 0),
    saves bigint not null check (saves >= 0),
    forks bigint not null check (forks >= 0),
    votes_up bigint not null check (votes_up >= 0),
    votes_down bigint not null check (votes_down >= 0),
    unique_users bigint not null check (
        unique_users between 0 and views + copies + saves + forks + votes_up + votes_down
    ),
    points double precision not null check (
        points = views + 3 * copies + 4 * saves + 5 * forks + 2 * (votes_up - votes_down)
    ),
    trending_score double precision not null check (trending_score between '-1e18' and '1e18'),
    excluded_events bigint not null check (excluded_events >= 0),
    primary key (day, rule_id)
);
comment on table community.rule_metrics_daily is
'One row per UTC day and rule with an event on it, counted or not. points = views + 3 copies + 4 saves + 5 forks + '
'2 (votes_up - votes_down); trending_score weighs each event by 2^-(hours to the end of the day / half-life).';
create index rule_metrics_daily_rule on community.rule_metrics_daily (rule_id, day);
create index rule_metrics_daily_author on community.rule_metrics_daily (author_id, day) where author_id is not null;

create table community.author_metrics_daily (
    day date not null,
    author_id text not null check (author_id <> ''),
    rules bigint not null check (rules >= 0),
    views bigint not null check (views >= 0),
    copies bigint not null check (copies >= 0),
    saves bigint not null check (saves >= 0),
    forks bigint not null check (forks >= 0),
    votes_up bigint not null check (votes_up >= 0),
    votes_down bigint not null check (votes_down >= 0),
    points double precision not null,
    trending_score double precision not null check (trending_score between '-1e18' and '1e18'),
    donations bigint not null check (donations >= 0),
    donations_net jsonb not null check (jsonb_typeof(donations_net) = 'object'),
    primary key (day, author_id),
    check ((donations = 0) = (donations_net = '{}')),
    check (rules > 0 or donations > 0)
);
comment on table community.author_metrics_daily is
'One row per UTC day and author with an event on a rule of theirs, or a donation that was paid on the day. '
'donations_net: an exact amount a currency, {"USD": "12.50"}.';
create index author_metrics_daily_author on community.author_metrics_daily (author_id, day);

create table community.excluded_events_daily (
    day date not null,
    reason text not null check (
        reason in (
            'no_rule', 'repeat_view', 'bot', 'address_rate', 'self_vote', 'view_cap', 'repeat_vote', 'withdrawn_vote'
        )
    ),
    events bigint not null check (events > 0),
    views bigint not null check (views >= 0),
    copies bigint not null check (copies >= 0),
    saves bigint not null check (saves >= 0),
    forks bigint not null check (forks >= 0),
    votes bigint not null check (votes >= 0),
    primary key (day, reason),
    check (events = views + copies + saves + forks + votes)
);
comment on table community.excluded_events_daily is
'One row per UTC day and reason for which events of rules did not count: how many, and of which kinds. An event has one '
'reason, the first that holds.';

grant select, insert, update, delete on
community.rule_metrics_daily, community.author_metrics_daily, community.excluded_events_daily to pipeline_worker;
grant select on
community.rule_metrics_daily, community.author_metrics_daily, community.excluded_events_daily
to pipeline_reader, pipeline_intake;
