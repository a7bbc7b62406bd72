/**
 * Imported first by the daemon: file calls that hang on a frozen disk occupy a thread of libuv's pool each, and with
 * the usual four the fifth call, of whatever kind, waits with them (measured). Takes effect because the pool is made
 * with its first use.
 */
process.env['UV_THREADPOOL_SIZE'] ??= '16';
