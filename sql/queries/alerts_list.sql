-- Alerts that are not over, or with :with_resolved all of them, last raised first.
select
    cast(alert_id as text) as alert_id,
    alert_key,
    severity,
    message,
    context,
    first_raised_at,
    last_raised_at,
    raised_count,
    resolved_at,
    notified_at,
    recovery_notified_at,
    notice,
    notice_at,
    failure
from operations.alerts
where resolved_at is null or cast(:with_resolved as boolean)
order by (resolved_at is not null) asc, last_raised_at desc, alert_key asc
limit :limit
