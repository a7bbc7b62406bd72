/** What the end-to-end tests use of ensure.mjs. */
export function postgresBinDir(): string | null;
export function which(program: string): string | null;
export function browser(): string | null;
