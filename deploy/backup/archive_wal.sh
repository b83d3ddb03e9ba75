#!/bin/sh
# PostgreSQL's archive_command: keeps a finished segment of its log, all of it or nothing, and never over another one.
#
#   archive_command = 'sh /etc/pullsync-backup/archive_wal.sh /archive "%p" %f'
#
# While it fails, PostgreSQL keeps the segment and tries again.
set -eu
umask 077
archive=$1 segment=$2 name=$3

# It was kept just before a crash, which PostgreSQL does not know.
if [ -e "$archive/$name" ]; then exec cmp "$segment" "$archive/$name"; fi

cp "$segment" "$archive/$name.unfinished"
sync "$archive/$name.unfinished"
mv "$archive/$name.unfinished" "$archive/$name"
sync "$archive"
