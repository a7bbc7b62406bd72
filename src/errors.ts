/**
 * The catalogue of error codes. Each has a paragraph in docs/errors.md; a unit test compares the two lists.
 * An error tells an operator what happened, what was not touched, and what to do.
 */

export const ERROR_CODES = [
  'PGHA_CONFIG_UNREADABLE',
  'PGHA_CONFIG_INVALID',
  'PGHA_ALREADY_RUNNING',
  'PGHA_DATA_DIRECTORY_FOREIGN',
  'PGHA_DATA_DIRECTORY_LOCKED',
  'PGHA_DATA_DIRECTORY_UNREADABLE',
  'PGHA_POSTGRES_TOO_OLD',
  'PGHA_POSTGRES_NOT_FOUND',
  'PGHA_POSTGRES_START_FAILED',
  'PGHA_POSTGRES_STOP_FAILED',
  'PGHA_POSTGRES_UNREACHABLE',
  'PGHA_PROMOTE_NOT_ALLOWED',
  'PGHA_PROMOTE_FAILED',
  'PGHA_BOOTSTRAP_FAILED',
  'PGHA_COPY_FAILED',
  'PGHA_FILES_NOT_KEPT',
  'PGHA_REWIND_FAILED',
  'PGHA_RESCUE_FAILED',
  'PGHA_WITHDRAW_FAILED',
  'PGHA_SLOT_FAILED',
  'PGHA_COMMAND_FAILED',
  'PGHA_POOLER_FILE_UNWRITABLE',
  'PGHA_CANCELLED',
  'PGHA_ETCD_UNREACHABLE',
  'PGHA_ETCD_V2',
  'PGHA_REQUEST_INVALID',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

export interface ErrorText {
  /** What happened, in one sentence. */
  readonly happened: string;
  /** What was not touched. */
  readonly untouched: string;
  /** What to do, or that there is nothing to do. */
  readonly todo: string;
}

export class PghaError extends Error {
  override readonly name = 'PghaError';
  readonly code: ErrorCode;
  readonly text: ErrorText;

  constructor(code: ErrorCode, text: ErrorText, options?: { readonly cause?: unknown }) {
    super(`${text.happened} ${text.untouched} ${text.todo}`, options);
    this.code = code;
    this.text = text;
  }
}
