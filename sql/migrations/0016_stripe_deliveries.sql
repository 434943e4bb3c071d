-- What an erasure reads of Stripe's deliveries, and what rule.deleted may say.

-- an erasure, for which others wait, reads these alone
create index deliveries_stripe on operations.deliveries (status, received_at) where event_type = 'stripe.event';

-- as in the other two types: "authorId": null says that the author was erased, and nobody else may say so
update events.event_schemas
set json_schema = '{"type": "object", "properties": {"authorId": {"type": "string", "minLength": 1, "maxLength": 200}}}'
where event_type = 'rule.deleted' and json_schema = '{"type": "object"}';
