-- Deliveries that could not be applied, per source, with the newest reason.
select
    source,
    count(*) as dead_count,
    (array_agg(reason order by received_at desc))[1] as newest_reason,
    (array_agg(delivery_id::text order by received_at desc))[1] as newest_delivery_id
from operations.deliveries
where status = 'dead'
group by source
order by source
