-- One of the donations that community.attribute_donations would give an author, if there is any.
select donations.payment_intent
from community.donations as donations
inner join community.rules as rules on donations.rule_id = rules.rule_id
where
    donations.author_id is null and rules.author_id <> ''
    and not exists (
        select from community.forgotten_payments as forgotten
        where forgotten.payment_intent = donations.payment_intent and forgotten.forgets_author
    )
order by donations.payment_intent
limit 1
