/**
 * Imported first by the daemon, before anything else runs: what this process may use. Both take effect although Node
 * is already running, because the pool is made with its first use and the heap only grows when it has to.
 */
import { setFlagsFromString } from 'node:v8';

// File calls that hang on a frozen disk occupy a thread of libuv's pool each; with the usual four the fifth call, of
// whatever kind, waits with them (measured).
process.env['UV_THREADPOOL_SIZE'] ??= '16';

// The daemon allocates little and lives long. V8's default young generation lets it grow to 66 MB of private memory
// where 33 MB do (measured); on a database server the rest belongs to Postgres.
setFlagsFromString('--max-semi-space-size=1');
setFlagsFromString('--optimize-for-size');
