SELECT * FROM cron_logs ORDER BY started_at DESC LIMIT 5;
SELECT * FROM ingestion_jobs WHERE status = 'failed';
SELECT * FROM ingestion_attempts WHERE job_id = '[jobId]';
