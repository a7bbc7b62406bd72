/** What Postgres was seen to do, in the words of Patroni's callbacks. */
export const CALLBACKS = ['on_start', 'on_stop', 'on_restart', 'on_reload', 'on_role_change'] as const;
export type CallbackName = (typeof CALLBACKS)[number];
