"""Every kind of job and delivery, and every warmer of the cache: what both processes and the command know.

Belongs here: the lists of all domains, put together. Does not belong here: what a kind is (domains/<d>/jobs.py and
contracts.py), what is done with it (handlers and assets, which only Dagster's process imports).
"""

from ingestion_pipeline.domains.community import content_jobs, leaderboard_reads, rollup_jobs, stripe
from ingestion_pipeline.domains.market import jobs as market_jobs
from ingestion_pipeline.domains.market import reads as market_reads
from ingestion_pipeline.domains.operations import warming_jobs
from ingestion_pipeline.domains.property import contracts as property_contracts
from ingestion_pipeline.domains.property import jobs as property_jobs
from ingestion_pipeline.domains.property import reads as property_reads
from ingestion_pipeline.domains.sales import jobs as sales_jobs

JOB_TYPES = (
    *market_jobs.JOB_TYPES,
    *property_jobs.JOB_TYPES,
    *sales_jobs.JOB_TYPES,
    *content_jobs.JOB_TYPES,
    *rollup_jobs.JOB_TYPES,
    *warming_jobs.JOB_TYPES,
)
DELIVERY_TYPES = (*property_contracts.DELIVERY_TYPES.values(), *stripe.DELIVERY_TYPES.values())
WARMERS = (*market_reads.WARMERS, *property_reads.WARMERS, *leaderboard_reads.WARMERS)
