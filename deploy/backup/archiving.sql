-- Has PostgreSQL keep all that it writes in /archive (docker-compose.pitr.yml), so that it can be restored to any moment;
-- docs/backup.md. To be run as the superuser; it counts from the next start of the server on, and may be repeated.

\if :{?archive} \else \set archive /archive \endif
\if :{?scripts} \else \set scripts /etc/pullsync-backup \endif
\set command 'sh ' :scripts '/archive_wal.sh ' :archive ' "%p" %f'

ALTER SYSTEM SET archive_mode = on;
ALTER SYSTEM SET archive_command = :'command';
-- So much can be lost with the machine, at the most.
ALTER SYSTEM SET archive_timeout = '60s';
