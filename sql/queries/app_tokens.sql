-- Every application token, without its digest.
select
    name,
    scopes,
    created_at,
    expires_at,
    revoked_at
from operations.app_tokens
order by created_at, name
